"""Smoothness of the loss along a direction, in raw steps or in matched ones.

Source: santurkar2018.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from bnlib.interactions.split import Function, Params, gradient


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
