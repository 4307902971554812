"""Internal covariate shift as a change of gradients, and its integral, the interaction.

G_i is the gradient of layer i; G'_i the same after the layers below i have moved by -eta g, layer i
and those above it not yet. Same batch, batch statistics computed anew.

Source: santurkar2018.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from bnlib.interactions.split import Function, Params, layer_dots, layer_of, layers, moved


class Ics(NamedTuple):
    """Change of every layer's gradient by the steps of the layers below, (S, L) each.

    Layer 1 has none below: 0, 0, 1, 0.  relative and cosine are NaN where G_i = 0.
    """

    norm: Tensor  # ||G'_i - G_i||
    relative: Tensor  # ||G'_i - G_i|| / ||G_i||
    cosine: Tensor  # between G'_i and G_i
    projection: Tensor  # g_i.(G'_i - G_i)


def _opposite(params: Params, grads: Params) -> dict[str, Tensor]:
    if set(params) != set(grads):
        odd = sorted(set(params) ^ set(grads))
        raise ValueError(f"want a gradient for every parameter and no other, got {odd} in one only")
    return {name: -grad for name, grad in grads.items()}


def _of_layer(loss_fn: Function, point: Params, number: int) -> dict[str, Tensor]:
    """The gradient with respect to the parameters of one layer; the rest of the graph is saved."""
    own = {k: v.detach().requires_grad_() for k, v in point.items() if layer_of(k) == number}
    value = loss_fn({**point, **own})
    found = torch.autograd.grad(value.sum(), list(own.values()), materialize_grads=True)
    return dict(zip(own, found, strict=True))


def _dot(a: Params, b: Params) -> Tensor:
    """a.b of one layer, (K S,)."""
    return layer_dots(a, b).sum(1)


def ics_change(loss_fn: Function, params: Params, grads: Params, step: float | Tensor) -> Ics:
    """How the steps of the layers below change each layer's gradient.

        G'_i = grad_i L(theta'_1, ..., theta'_{i-1}, theta_i, ..., theta_L),  theta' = theta - eta g

    step: eta, a number or (S,).  grads: g, which is also the direction.
    Consequence: the sum of -eta projections is the interaction INT up to O(eta^3).
    Raises ValueError for gradients that do not fit the parameters and steps that are not finite.
    """
    direction, numbers, rows = _opposite(params, grads), layers(params), []
    for place, number in enumerate(numbers):
        below = np.arange(len(numbers))[None] < place
        old = {name: grads[name] for name in params if layer_of(name) == number}
        point = moved(params, direction, below, step)
        new = _of_layer(loss_fn, point, number) if place else old
        change = {name: new[name] - old[name] for name in old}
        sizes = [_dot(a, a).sqrt() for a in (change, old, new)]
        cosine = _dot(new, old) / (sizes[1] * sizes[2])
        rows.append((sizes[0], sizes[0] / sizes[1], cosine, _dot(change, old)))
    return Ics(*(torch.stack(column, 1) for column in zip(*rows, strict=True)))


def _quadrature(nodes: int, panels: int) -> tuple[np.ndarray, np.ndarray]:
    """Places in (0, 1) and weights of Gauss and Legendre's rule on equal panels."""
    for name, value in {"nodes": nodes, "panels": panels}.items():
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{name}: want a whole number >= 1, got {value!r}")
    at, weight = np.polynomial.legendre.leggauss(nodes)
    places = (np.arange(panels)[:, None] + (1 + at) / 2) / panels
    return places.ravel(), np.tile(weight / 2 / panels, panels)


def ics_integral(
    loss_fn: Function,
    params: Params,
    grads: Params,
    step: float | Tensor,
    *,
    nodes: int = 12,
    panels: int = 1,
) -> Tensor:
    """The interaction as an integral of covariate shift along each layer's own step, (S,).

        INT = -eta sum_i int_0^1 g_i.(G'_i(t) - G_i(t)) dt

    with layer i at theta_i - t eta g_i in both G'_i and G_i; Gauss and Legendre's rule with `nodes`
    places on each of `panels` equal parts.
    Consequences: exact for smooth L up to the rule's error; one node is the midpoint rule, whose
    error is O(eta^4); ReLU has kinks, so more panels help and more nodes hardly do.
    Raises ValueError as `ics_change`, and for less than one node or panel.
    """
    direction, numbers = _opposite(params, grads), layers(params)
    places, weights = _quadrature(nodes, panels)
    size = torch.as_tensor(step, dtype=torch.float64)
    total = torch.zeros(len(next(iter(params.values()))), dtype=torch.float64)
    for place, number in enumerate(numbers[1:], start=1):
        masks = np.zeros((2, len(places), len(numbers)))
        masks[1, :, :place] = 1
        masks[:, :, place] = places
        found = _of_layer(
            loss_fn, moved(params, direction, masks.reshape(-1, len(numbers)), size), number
        )
        old = {k: grads[k].repeat(len(places) * 2, *[1] * (grads[k].ndim - 1)) for k in found}
        dots = _dot(found, old).unflatten(0, (2, len(places), -1))
        total += torch.einsum("n,ns->s", torch.from_numpy(weights), dots[1] - dots[0])
    return -size * total
