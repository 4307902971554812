"""One update of all layers, split exactly into first order, own curvature and interaction.

A network is a plain function of its parameters: a dict of name -> tensor (S, ...), S networks at
once, where a name ends in the number of its layer ("W3", "gamma3"). Such a function takes any
multiple of S networks, copy k of network s in row k S + s, so that subsets of layers are evaluated
as one tensor program. `direction` has the structure of the parameters, `step` is eta, a number or
one for each network, (S,).

Source: goodfellow2016, section 8.7.1.
"""

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from bnlib.orders import subset_masks

Params = Mapping[str, Tensor]
Function = Callable[[Params], Tensor]
CHUNK = 64  # subsets at once: larger ones leave the processor cache and take twice as long


class StepSplit(NamedTuple):
    """The change of f in one step, (S,) each: total = lin + own + inter."""

    lin: Tensor  # first order, eta g.d
    own: Tensor  # what each layer adds to it when it moves alone
    inter: Tensor  # what exists only because layers move together
    total: Tensor


class OutputSplit(NamedTuple):
    """Interaction in the outputs, and that of the loss in two parts, (S,) each."""

    net_share: Tensor  # ||change - sum of single changes|| / ||first order||
    curvature: Tensor  # part of the loss's interaction that additive outputs would have too
    network: Tensor  # the rest: outputs that do not add up


def layer_of(name: str) -> int:
    """The layer that a parameter belongs to: the number at the end of its name."""
    found = re.search(r"\d+$", name)
    if not found:
        raise ValueError(f"want a name that ends in its layer's number, as 'W3', got {name!r}")
    return int(found[0])


def leaves_of(params: Params) -> dict[str, Tensor]:
    return {name: value.detach().requires_grad_() for name, value in params.items()}


def layers(params: Params) -> list[int]:
    """The numbers of all layers, ascending.  Raises ValueError where there is none to update."""
    if not params:
        raise ValueError("want at least 1 layer to update, got depth 0: no parameters")
    return sorted({layer_of(name) for name in params})


def gradient(loss: Function, params: Params) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss (S,) and its gradient with respect to every parameter; 0 for one that is not used."""
    leaves = leaves_of(params)
    value = loss(leaves)
    grads = torch.autograd.grad(value.sum(), list(leaves.values()), materialize_grads=True)
    return value.detach(), dict(zip(leaves, grads, strict=True))


def layer_dots(a: Params, b: Params) -> Tensor:
    """sum over the parameters of each layer of a times b, (S, L); its sum over L is a.b."""
    numbers = layers(a)
    dots = torch.zeros(len(next(iter(a.values()))), len(numbers), dtype=torch.float64)
    for name, value in a.items():
        dots[:, numbers.index(layer_of(name))] += (value * b[name]).reshape(len(value), -1).sum(1)
    return dots


def moved(
    params: Params, direction: Params, masks: np.ndarray, step: float | Tensor
) -> dict[str, Tensor]:
    """theta + eta sum_{l in S} d_l for every row S of the masks: name -> (K S, ...).

    masks: (K, L) of bool, columns in the order of `layers`.
    Raises ValueError for a step that is not finite, and masks with another number of layers.
    """
    numbers = layers(params)
    if masks.ndim != 2 or masks.shape[1] != len(numbers):
        raise ValueError(f"want masks (K, {len(numbers)}), one column a layer, got {masks.shape}")
    size = torch.as_tensor(step, dtype=torch.float64)
    if not bool(torch.isfinite(size).all()):
        raise ValueError(f"step: want finite step sizes, got {step}: no part would be finite")
    on = torch.from_numpy(np.ascontiguousarray(masks)).to(torch.float64)
    result = {}
    for name, value in params.items():
        weight = (on[:, numbers.index(layer_of(name)), None] * size).to(value.dtype)
        weight = weight.expand(len(masks), len(value))[(...,) + (None,) * (value.ndim - 1)]
        result[name] = (value + weight * direction[name]).flatten(0, 1)
    return result


def evaluate(
    fn: Function, params: Params, direction: Params, masks: np.ndarray, step: float | Tensor
) -> Tensor:
    """fn with the layers of each row of the masks moved, (K, S, ...), in chunks of `CHUNK` rows."""
    with torch.no_grad():
        parts = [
            fn(moved(params, direction, part, step)).unflatten(0, (len(part), -1))
            for part in np.array_split(masks, -(-len(masks) // CHUNK))
        ]
    return torch.cat(parts)


def corners(fn: Function, params: Params, direction: Params, step: float | Tensor) -> Tensor:
    """fn with no layer moved, each layer moved alone, all moved: L + 2 evaluations, (L+2, S, ...).

    All that the exact split needs, for any depth.
    """
    depth = len(layers(params))
    masks = np.vstack([np.zeros(depth), np.eye(depth), np.ones(depth)]).astype(bool)
    return evaluate(fn, params, direction, masks, step)


def all_subsets(fn: Function, params: Params, direction: Params, step: float | Tensor) -> Tensor:
    """fn on all 2^L subsets of the layers, (2^L, S, ...), for `orders.order_sums`.

    Raises ValueError beyond `orders.MAX_DEPTH` layers.
    """
    return evaluate(fn, params, direction, subset_masks(len(layers(params))), step)


def step_split(values: Tensor, lin: Tensor) -> StepSplit:
    """The exact three-way split of a step.

        Delta_all = LIN + OWN + INT
        OWN = sum_l Delta_l - LIN,    INT = Delta_all - sum_l Delta_l = sum_{k >= 2} A_k

    values: (L+2, S), from `corners`.  lin: eta g.d, (S,).
    Consequences: INT = 0 where f is additive over layers; OWN = 0 where f is linear in each layer;
    OWN, INT = O(eta^2).
    """
    single, total = (values[1:-1] - values[0]).sum(0), values[-1] - values[0]
    return StepSplit(lin, single - lin, total - single, total)


def centered(logits: Tensor) -> Tensor:
    """Logits minus their mean over the classes, which a softmax ignores."""
    return logits - logits.mean(-1, keepdim=True)


def output_split(values: Tensor, loss_of: Callable[[Tensor], Tensor], lin: Tensor) -> OutputSplit:
    """Interaction in the outputs, and that of the loss in two.

        f_add = f_0 + sum_l (f_l - f_0)
        net share = ||f_all - f_add|| / ||eta J d||
        INT = [l(f_add) - l(f_0) - sum_l (l(f_l) - l(f_0))] + [l(f_all) - l(f_add)]
                             curvature                             network

    values: (L+2, S, m, k) logits, from `corners`.  loss_of: logits (S, m, k) -> (S,).
    lin: eta J d, (S, m, k).  Norms are of centered logits.
    Consequences: curvature + network = `step_split(...).inter`; network = 0 for additive outputs.
    """
    added = values[0] + (values[1:-1] - values[0]).sum(0)
    gap = centered(values[-1] - added).flatten(1).norm(dim=1)
    base = loss_of(values[0])
    single = torch.stack([loss_of(v) - base for v in values[1:-1]]).sum(0)
    return OutputSplit(
        gap / centered(lin).flatten(1).norm(dim=1),
        loss_of(added) - base - single,
        loss_of(values[-1]) - loss_of(added),
    )
