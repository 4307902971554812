"""Smoothness of the loss along a direction, in raw steps or in matched ones.

Source: santurkar2018.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from bnlib.interactions.split import Function, Params, gradient, layer_dots
from bnlib.interactions.steps import layer_normalized
from bnlib.parameters import one_of

UNITS = ("raw", "matched", "layer-normalized")


class Path(NamedTuple):
    """The loss at K steps along a direction, (K, S) each.

    change: norm of the change of the gradient since the start.  smoothness: change / distance, the
    Lipschitz constant that the gradient must have at least.  cosine: of the gradients.
    """

    loss: Tensor
    change: Tensor
    smoothness: Tensor
    cosine: Tensor


def _flat(values: Params) -> Tensor:
    return torch.cat([values[name].flatten(1) for name in sorted(values)], 1)


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
    if sizes.ndim not in (1, 2) or not len(sizes) or not bool((sizes > 0).all()):
        raise ValueError(f"steps: want positive step sizes, (K,) or (K, S), got {steps}")
    if not bool(torch.isfinite(sizes).all()):
        raise ValueError(f"steps: want finite step sizes, got {steps}")
    way = {k: -g for k, g in grads.items()} if direction is None else direction
    start, distance, rows = _flat(grads), _flat(way).norm(dim=1), []
    for size in sizes:
        a = size.expand(len(start))
        point = {k: v + a[(...,) + (None,) * (v.ndim - 1)] * way[k] for k, v in params.items()}
        loss, there = gradient(loss_fn, point)
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
