"""One update of all layers, split exactly into first order, own curvature and interaction.

A network is a plain function of its parameters: a dict of name -> tensor (S, ...), S networks at
once, where a name ends in the number of its layer ("W3", "gamma3"). Such a function takes any
multiple of S networks, copy k of network s in row k S + s, so that subsets of layers are evaluated
as one tensor program. `direction` has the structure of the parameters, `step` is eta, a number or
one for each network, (S,).

Source: goodfellow2016, section 8.7.1; you2017 (layer-normalized direction).
"""

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from bnlib import data
from bnlib.networks import arms
from bnlib.networks.spec import BATCH_ORDER, seeded
from bnlib.orders import subset_masks
from bnlib.parameters import one_of

Params = Mapping[str, Tensor]
Function = Callable[[Params], Tensor]
CHUNK = 64  # subsets at once: larger ones leave the processor cache and take twice as long
LONGEST = 50.0  # largest step of `descend`
DIRECTIONS = ("gradient", "layer-normalized", "adam")


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


class Curvature(NamedTuple):
    """L_0 d.Hd / (g.d)^2 and its parts from diagonal and off-diagonal blocks of H, (S,) each."""

    kappa: Tensor
    own: Tensor
    off: Tensor


def layer_of(name: str) -> int:
    """The layer that a parameter belongs to: the number at the end of its name."""
    number = re.search(r"\d+$", name)
    if not number:
        raise ValueError(f"expected a name that ends in its layer's number, as 'W3', got {name!r}")
    return int(number[0])


def layers(params: Params) -> list[int]:
    """The numbers of all layers, ascending.  Raises ValueError where there is none to update."""
    if not params:
        raise ValueError("expected at least 1 layer to update, got depth 0: no parameters")
    return sorted({layer_of(name) for name in params})


def gradient(loss: Function, params: Params) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss (S,) and its gradient with respect to every parameter; 0 for one that is not used."""
    leaves = _leaves(params)
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


def stepped(params: Params, direction: Params, step: Tensor) -> dict[str, Tensor]:
    """theta + eta d of every parameter; step: eta of each network, (S,), or (P, S) for P copies."""
    return {
        name: value + step[(...,) + (None,) * (value.ndim - 1)] * direction[name]
        for name, value in params.items()
    }


def moved(
    params: Params, direction: Params, masks: np.ndarray, step: float | Tensor
) -> dict[str, Tensor]:
    """theta + eta sum_{l in S} d_l for every row S of the masks: name -> (K S, ...).

    masks: (K, L) of bool, columns in the order of `layers`.
    Raises ValueError for a step that is not finite, and masks with another number of layers.
    """
    numbers = layers(params)
    if masks.ndim != 2 or masks.shape[1] != len(numbers):
        raise ValueError(
            f"expected masks (K, {len(numbers)}), one column a layer, got {masks.shape}"
        )
    size = torch.as_tensor(step, dtype=torch.float64)
    if not bool(torch.isfinite(size).all()):
        raise ValueError(f"step: expected finite step sizes, got {step}: no part would be finite")
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


def first_order(fn: Function, params: Params, direction: Params) -> Tensor:
    """J d, the derivative of fn along the direction, (S, ...).

    Two reverse passes: the derivative with respect to u of  (J^T u).d,  which is linear in u.
    """
    leaves = _leaves(params)
    value = fn(leaves)
    u = torch.zeros_like(value, requires_grad=True)
    back = torch.autograd.grad(
        value, list(leaves.values()), u, create_graph=True, materialize_grads=True
    )
    along = layer_dots(dict(zip(leaves, back, strict=True)), direction)
    return torch.autograd.grad(along.sum(), u)[0]


def match_loss(loss: Tensor, slope: Tensor, r: float) -> Tensor:
    """The step of predicted relative decrease r of the loss:  eta = r L_0 / (-g.d), (S,).

    Raises ValueError for r that is not positive and finite, and where the direction does not
    descend: no step lowers the loss to first order.
    """
    if not 0 < r < float("inf"):
        raise ValueError(f"r: expected a positive finite share of the loss, got {r}")
    if not bool((slope < 0).all()):
        raise ValueError(f"expected a descent direction, slope < 0, got {slope.max().item():.3g}")
    return r * loss / -slope


def match_output(derivative: Tensor, c: float) -> Tensor:
    """The step that moves centered logits by c to first order:  eta = c / rms(J d), (S,).

    derivative: J d, (S, m, k); rms over rows and classes.
    Raises ValueError for c that is not positive and finite, and where no output moves.
    """
    if not 0 < c < float("inf"):
        raise ValueError(f"c: expected a positive finite change of the logits, got {c}")
    rms = centered(derivative).square().flatten(1).mean(1).sqrt()
    if not bool((rms > 0).all()):
        raise ValueError("expected outputs that move, got J d = 0 in some network")
    return c / rms


def layer_normalized(params: Params, grads: Params) -> dict[str, Tensor]:
    """d_l = -||W_l|| g_l / ||g_l|| for the weights W; every other parameter stays.

    Consequence: where f ignores the norm of W_l, f(theta + eta d) ignores it too.
    """
    direction = {}
    for name, grad in grads.items():
        if name.startswith("W"):
            size, slope = (v.flatten(1).norm(dim=1) for v in (params[name], grad))
            scale = torch.where(slope > 0, size / slope, torch.zeros_like(size))
            direction[name] = -scale[(...,) + (None,) * (grad.ndim - 1)] * grad
        else:
            direction[name] = torch.zeros_like(grad)
    return direction


def direction_of(rule: str, params: Params, grads: Params) -> dict[str, Tensor]:
    """-g; `layer_normalized`; or the first step of Adam, -g/(|g| + 1e-8)."""
    one_of("direction", rule, DIRECTIONS)
    if rule == "layer-normalized":
        return layer_normalized(params, grads)
    if rule == "adam":
        return {name: -grad / (grad.abs() + 1e-8) for name, grad in grads.items()}
    return {name: -grad for name, grad in grads.items()}


def curvature_split(loss: Function, params: Params, direction: Params) -> Curvature:
    """Curvature along the direction, from blocks within a layer and between layers.

        kappa = L_0 d.Hd / (g.d)^2 = own + off,   with eta = r L_0 / (-g.d):
        L(eta)/L_0 = 1 - r + r^2 kappa / 2 + O(r^3)

    One Hessian-vector product a layer.  Consequences: INT / |LIN| = r off / 2 + O(r^2), and OWN
    likewise; the same for L -> c L, another for L -> L + c.
    """
    leaves = _leaves(params)
    value, inputs = loss(leaves), list(leaves.values())
    grads = torch.autograd.grad(value.sum(), inputs, create_graph=True, materialize_grads=True)
    slopes = layer_dots(dict(zip(leaves, grads, strict=True)), direction)
    rows = []
    for slope in slopes.unbind(1):
        products = torch.autograd.grad(
            slope.sum(), inputs, retain_graph=True, materialize_grads=True
        )
        rows.append(layer_dots(dict(zip(leaves, products, strict=True)), direction))
    blocks = torch.stack(rows, 1) * (value / slopes.sum(1) ** 2).detach()[:, None, None]
    own = blocks.diagonal(dim1=1, dim2=2).sum(1)
    return Curvature(blocks.sum((1, 2)), own, blocks.sum((1, 2)) - own)


def participation(slopes: Tensor) -> tuple[Tensor, Tensor]:
    """Share of each layer in the predicted decrease, (S, L), and 1 / sum s^2, (S,).

    slopes: g_l.d_l, from `layer_dots`.  1: a single layer carries the step; L: all alike.
    """
    shares = slopes / slopes.sum(1, keepdim=True)
    return shares, 1 / shares.square().sum(1)


class Problem(NamedTuple):
    """An arm on digits with the one batch that gradient, step and evaluation share."""

    arm: arms.Arm
    x: Tensor  # (S, m, d)
    y: Tensor  # (S, m)

    def logits(self, params: Params) -> Tensor:
        """(K S, m, k)."""
        return self.arm.logits(params, self.x)

    def loss_of(self, logits: Tensor) -> Tensor:
        """Mean cross-entropy of each network, (K S,)."""
        labels = self.y.repeat(len(logits) // len(self.y), 1)
        loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
        return loss.unflatten(0, labels.shape).mean(1)

    def loss(self, params: Params) -> Tensor:
        """(K S,)."""
        return self.loss_of(self.logits(params))


def problem(
    name: str,
    depth: int,
    seeds: Sequence[int],
    *,
    activation: str = "relu",
    width: int = 32,
    batch: int = 64,
    eps: float = 1e-5,
    factor: float = 1.0,
) -> Problem:
    """An arm with `depth` weight matrices and a batch for every seed, drawn with the seed.

    Raises ValueError for depth < 1 and for a batch that the data cannot fill.
    """
    if depth < 1:
        raise ValueError(f"depth: expected at least 1 weight matrix, got {depth}")
    rows = data.digits_split(0)
    x = data.standardized(np.concatenate([rows.x_train, rows.x_test]))
    y = np.concatenate([rows.y_train, rows.y_test])
    if not 2 <= batch <= len(x):
        raise ValueError(f"batch: expected 2 to {len(x)} rows, got {batch}")
    chosen = np.stack([seeded(s, BATCH_ORDER).permutation(len(x))[:batch] for s in seeds])
    sizes = (x.shape[1], *(width,) * (depth - 1), int(y.max()) + 1)
    inputs, labels = torch.from_numpy(x[chosen]), torch.from_numpy(y[chosen])
    arm = arms.build(name, sizes, seeds, inputs, activation=activation, eps=eps, factor=factor)
    return Problem(arm, inputs, labels)


class Aim(NamedTuple):
    """A descent direction at a point: what every step along it needs."""

    params: Params
    direction: dict[str, Tensor]
    loss: Tensor  # (S,)
    slopes: Tensor  # g_l.d_l, (S, L)
    derivative: Tensor  # J d, (S, m, k)

    @property
    def slope(self) -> Tensor:
        """g.d, (S,)."""
        return self.slopes.sum(1)


def aim(at: Problem, params: Params | None = None, rule: str = "gradient") -> Aim:
    """The direction of a rule at the given parameters, or at the initial ones."""
    params = at.arm.params if params is None else params
    loss, grads = gradient(at.loss, params)
    direction = direction_of(rule, params, grads)
    slopes = layer_dots(grads, direction)
    return Aim(params, direction, loss, slopes, first_order(at.logits, params, direction))


def descend(at: Problem, *, steps: int = 20, share: float = 0.1) -> dict[str, Tensor]:
    """Parameters after full-batch gradient steps, each of predicted relative decrease `share`."""
    params: dict[str, Tensor] = dict(at.arm.params)
    for _ in range(steps):
        loss, grads = gradient(at.loss, params)
        size = share * loss / layer_dots(grads, grads).sum(1)
        params = stepped(params, grads, -size.clamp(max=LONGEST))
    return params


def one_step(at: Problem, target: Aim, step: float | Tensor) -> dict[str, np.ndarray]:
    """Everything about one step, an array (S,) each; shares are of the predicted decrease.

    act = 1 - own - int.  net: ||f_all - f_add|| / ||eta J d||.  int-loss, own-loss: in units of the
    loss, not as a share.  per-layer: int / (1 - sum s^2).
    """
    values = corners(at.logits, target.params, target.direction, step)
    losses = at.loss_of(values.flatten(0, 1)).unflatten(0, (len(values), -1))
    size = torch.as_tensor(step, dtype=torch.float64)
    parts = step_split(losses, size * target.slope)
    moves = size.expand(len(target.loss))[:, None, None] * target.derivative
    outputs = output_split(values, at.loss_of, moves)
    predicted = -parts.lin
    shares, n_eff = participation(target.slopes)
    spread = 1 - shares.square().sum(1)
    values_of = {
        "act": -parts.total / predicted,
        "own": parts.own / predicted,
        "int": parts.inter / predicted,
        "miss": (parts.own + parts.inter).abs() / predicted,
        "own-loss": parts.own,
        "int-loss": parts.inter,
        "curvature": outputs.curvature / predicted,
        "network": outputs.network / predicted,
        "net": outputs.net_share,
        "step": size.expand(len(predicted)),
        "loss": target.loss,
        "n-eff": n_eff,
        "per-layer": parts.inter / predicted / spread if bool((spread > 0).all()) else 0 * spread,
    }
    return {name: value.numpy() for name, value in values_of.items()}


def constant_share(at: Problem, params: Params) -> np.ndarray:
    """Share of the centered logits that all rows have in common, (S,)."""
    with torch.no_grad():
        f = centered(at.logits(params))
    rest = (f - f.mean(1, keepdim=True)).square().flatten(1).mean(1)
    return (1 - rest / f.square().flatten(1).mean(1)).numpy()


def survey(
    names: Sequence[str],
    seeds: Sequence[int],
    *,
    activations: Sequence[str] = ("relu",),
    depths: Sequence[int] = (8,),
    states: Sequence[str] = ("start",),
    r_values: Sequence[float] = (),
    c_values: Sequence[float] = (),
    rule: str = "gradient",
    steps: int = 20,
    **bench: Any,
) -> pd.DataFrame:
    """`one_step` for every arm, state and step, one row a seed: columns of the cell and results.

    matched: "loss" for steps matched in predicted decrease (size r), "output" for steps matched in
    first-order change of the logits (size c).  states: "start" and "trained" (`descend`).
    bench: `problem`'s width, batch, eps, factor.
    """
    frames = []
    for activation, depth, name in product(activations, depths, names):
        at = problem(name, depth, seeds, activation=activation, **bench)
        for state in states:
            target = aim(at, descend(at, steps=steps) if state == "trained" else None, rule)
            cell = {"activation": activation, "L": depth, "state": state, "arm": name}
            constant = constant_share(at, target.params)
            for matched, size in (*product(["loss"], r_values), *product(["output"], c_values)):
                if matched == "loss":
                    step = match_loss(target.loss, target.slope, size)
                else:
                    step = match_output(target.derivative, size)
                results = one_step(at, target, step)
                where = {**cell, "matched": matched, "size": size, "seed": list(seeds)}
                frames.append(pd.DataFrame({**where, **results, "constant": constant}))
    return pd.concat(frames, ignore_index=True)


def _leaves(params: Params) -> dict[str, Tensor]:
    return {name: value.detach().requires_grad_() for name, value in params.items()}
