"""The loss around a point: shift of a layer's gradient, smoothness, gradients of activations.

Networks are plain functions of layered parameters, S at once, as in `bnlib.interactions`.

Internal covariate shift is measured as a change of gradients: G_i is the gradient of layer i, G'_i
the same after the layers below i have moved by -eta g, layer i and those above it not yet. Same
batch, batch statistics computed anew.

Source: santurkar2018 (shift, smoothness), yang2019 (explosion of gradients).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from bnlib.interactions import (
    Function,
    Params,
    gradient,
    layer_dots,
    layer_normalized,
    layer_of,
    layers,
    moved,
    stepped,
)
from bnlib.networks.seed_batched import Statistics, forward
from bnlib.networks.spec import Spec
from bnlib.parameters import one_of

UNITS = ("raw", "matched", "layer-normalized")


class Ics(NamedTuple):
    """Change of every layer's gradient by the steps of the layers below, (S, L) each.

    Layer 1 has none below: 0, 0, 1, 0.  relative and cosine are NaN where G_i = 0.
    """

    norm: Tensor  # ||G'_i - G_i||
    relative: Tensor  # ||G'_i - G_i|| / ||G_i||
    cosine: Tensor  # between G'_i and G_i
    projection: Tensor  # g_i.(G'_i - G_i)


class Path(NamedTuple):
    """The loss at K steps along a direction, (K, S) each.

    change: norm of the change of the gradient since the start.  smoothness: change / distance, the
    Lipschitz constant that the gradient must have at least.  cosine: of the gradients.
    """

    loss: Tensor
    change: Tensor
    smoothness: Tensor
    cosine: Tensor


def layer_gradient(loss_fn: Function, point: Params, number: int) -> dict[str, Tensor]:
    """The gradient with respect to the parameters of one layer; the others are constants."""
    return gradient(
        lambda leaves: loss_fn({**point, **leaves}),
        {name: value for name, value in point.items() if layer_of(name) == number},
    )[1]


def ics_change(loss_fn: Function, params: Params, grads: Params, step: float | Tensor) -> Ics:
    """How the steps of the layers below change each layer's gradient.

        G'_i = grad_i L(theta'_1, ..., theta'_{i-1}, theta_i, ..., theta_L),  theta' = theta - eta g

    step: eta, a number or (S,).  grads: g, which is also the direction.
    Consequence: the sum of -eta projections is the interaction INT up to O(eta^3).
    Raises ValueError for gradients that do not fit the parameters and steps that are not finite.
    """
    odd = sorted(set(params) ^ set(grads))
    if odd:
        raise ValueError(f"expected a gradient for every parameter and no other, got {odd} in one")
    direction, numbers, rows = {k: -grad for k, grad in grads.items()}, layers(params), []
    for place, number in enumerate(numbers):
        below = np.arange(len(numbers))[None] < place
        old = {name: grads[name] for name in params if layer_of(name) == number}
        point = moved(params, direction, below, step)
        new = layer_gradient(loss_fn, point, number) if place else old
        change = {name: new[name] - old[name] for name in old}
        sizes = [_dot(a, a).sqrt() for a in (change, old, new)]
        cosine = _dot(new, old) / (sizes[1] * sizes[2])
        rows.append((sizes[0], sizes[0] / sizes[1], cosine, _dot(change, old)))
    return Ics(*(torch.stack(column, 1) for column in zip(*rows, strict=True)))


def gradient_path(
    loss_fn: Function,
    params: Params,
    grads: Params,
    steps: Sequence[float] | Tensor,
    *,
    direction: Params | None = None,
) -> Path:
    """Loss and gradient at theta + a d for every step a.

        change = ||grad L(theta + a d) - g||,    smoothness = change / (a ||d||)

    grads: g at theta.  direction: d, by default -g.  steps: (K,) for all networks, or (K, S).
    Consequence: for theta = c phi  smoothness is c^2 times as large at the same points, so it has
    a unit; times L / ||g||^2 it has none.
    Raises ValueError for no steps, and for steps that are not positive and finite: at a = 0 there
    is no distance to divide by.
    """
    sizes = torch.as_tensor(steps, dtype=torch.float64)
    right = sizes.ndim in (1, 2) and len(sizes) > 0
    if not right or not bool(((sizes > 0) & torch.isfinite(sizes)).all()):
        raise ValueError(f"steps: expected positive finite sizes, (K,) or (K, S), got {steps}")
    way = {k: -g for k, g in grads.items()} if direction is None else direction
    start, distance, rows = _flat(grads), _flat(way).norm(dim=1), []
    for size in sizes:
        a = size.expand(len(start))
        loss, there = gradient(loss_fn, stepped(params, way, a))
        now = _flat(there)
        change = (now - start).norm(dim=1)
        cosine = (now * start).sum(1) / (now.norm(dim=1) * start.norm(dim=1))
        rows.append((loss, change, change / (a * distance), cosine))
    return Path(*(torch.stack(column) for column in zip(*rows, strict=True)))


def unit_scaled(loss_fn: Function, params: Params) -> tuple[Function, dict[str, Tensor]]:
    """The same network in units of its weights: phi_l = W_l / ||W_l||, and L as a function of phi.

    Only matrices called W... are rescaled, each by its norm at this point, a constant.
    Consequence: where L ignores the norm of W_l, nothing measured on phi sees W_l -> a W_l.
    """
    sizes = {k: v.flatten(1).norm(dim=1) for k, v in params.items() if k.startswith("W")}

    def times(values: Params, power: float) -> dict[str, Tensor]:
        scaled = dict(values)
        for name, size in sizes.items():
            factor = size.repeat(len(values[name]) // len(size)) ** power
            scaled[name] = values[name] * factor[:, None, None]
        return scaled

    return lambda phi: loss_fn(times(phi, 1.0)), times(params, -1.0)


def smoothness(
    loss_fn: Function, params: Params, unit: str, sizes: Sequence[float]
) -> dict[str, Tensor]:
    """Loss range, gradient change and effective smoothness along one direction, (S,) each.

    raw: steps a = `sizes` along -g; everything in its own unit.
    matched: a = r L/|g|^2 for r in `sizes`; range / L, change / |g|, smoothness L / |g|^2.
    layer-normalized: the same with every matrix in units of its norm, along -g_l/||g_l||, where
    |slope| takes the place of |g|: blind to scales that the function does not see.
    Further (K, S), a row a step: "loss-line", "change-line"; and (S,): "cosine" at the longest
    step, "kept" = actual / predicted decrease there.  Raises ValueError for an unknown unit.
    """
    if one_of("unit", unit, UNITS) == "layer-normalized":
        loss_fn, params = unit_scaled(loss_fn, params)
    loss, grads = gradient(loss_fn, params)
    way = {name: -g for name, g in grads.items()}
    if unit == "layer-normalized":
        way = layer_normalized(params, grads)
    slope = -layer_dots(grads, way).sum(1)  # predicted decrease per step size
    size, length = (layer_dots(v, v).sum(1).sqrt() for v in (grads, way))
    steps = torch.tensor(sizes, dtype=torch.float64)[:, None].expand(-1, len(loss))
    steps = steps * (1.0 if unit == "raw" else loss / slope)
    path = gradient_path(loss_fn, params, grads, steps, direction=way)
    by = (loss, size, (slope / length) ** 2 / loss)
    by = tuple(map(torch.ones_like, by)) if unit == "raw" else by
    return {
        "range": (path.loss.amax(0) - path.loss.amin(0)) / by[0],
        "change": path.change.amax(0) / by[1],
        "smoothness": path.smoothness.amax(0) / by[2],
        "cosine": path.cosine[-1],
        "kept": (loss - path.loss[-1]) / (steps[-1] * slope),
        "loss-line": path.loss / by[0],
        "change-line": path.change / by[1],
    }


def layer_gradient_norms(
    params: Params, x: Tensor, y: Tensor, spec: Spec, *, stats: Statistics | None = None
) -> Tensor:
    """||dL/dz_l||^2 of the pre-activations z_l = W_l a_{l-1} (+ b_l) of every layer, (S, L).

    x: (S, m, d).  y: (S, m) classes.  L: mean cross-entropy.  stats: constants for a frozen norm.
    z_l is the input of the norm, where there is one.
    Raises ValueError for spec.order "post", whose norm sees activations, not z.
    """
    if spec.order != "pre":
        raise ValueError(f"spec.order: expected 'pre', got {spec.order!r}: the norm sees no z")
    pre: dict[int, Tensor] = {}
    point = {name: value.detach().requires_grad_() for name, value in params.items()}
    output = forward(spec, point, x, stats=stats, pre=pre)
    sites = [pre[layer] for layer in range(1, len(spec.sizes))]
    loss = torch.nn.functional.cross_entropy(output.flatten(0, 1), y.flatten(), reduction="none")
    grads = torch.autograd.grad(loss.unflatten(0, y.shape).mean(1).sum(), sites)
    return torch.stack([g.square().sum((1, 2)) for g in grads], 1)


def _dot(a: Params, b: Params) -> Tensor:
    """a.b of one layer, (K S,)."""
    return layer_dots(a, b).sum(1)


def _flat(values: Params) -> Tensor:
    return torch.cat([values[name].flatten(1) for name in sorted(values)], 1)
