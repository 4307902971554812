"""Networks on digits with one batch a seed: where a step starts and where it points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from bnlib import data
from bnlib.interactions.split import Params, gradient, layer_dots
from bnlib.interactions.steps import first_order, layer_normalized
from bnlib.networks import arms
from bnlib.networks.spec import BATCH_ORDER, seeded

LONGEST = 50.0  # largest step of the descent
DIRECTIONS = ("gradient", "layer-normalized", "adam")


class Problem(NamedTuple):
    """An arm with the one batch that gradient, step and evaluation share."""

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
        raise ValueError(f"depth: want at least 1 weight matrix, got {depth}")
    rows = data.digits_split(0)
    x = data.standardized(np.concatenate([rows.x_train, rows.x_test]))
    y = np.concatenate([rows.y_train, rows.y_test])
    if not 2 <= batch <= len(x):
        raise ValueError(f"batch: want 2 to {len(x)} rows, got {batch}")
    chosen = np.stack([seeded(s, BATCH_ORDER).permutation(len(x))[:batch] for s in seeds])
    sizes = (x.shape[1], *(width,) * (depth - 1), int(y.max()) + 1)
    inputs, labels = torch.from_numpy(x[chosen]), torch.from_numpy(y[chosen])
    arm = arms.build(name, sizes, seeds, inputs, activation=activation, eps=eps, factor=factor)
    return Problem(arm, inputs, labels)


def direction_of(rule: str, params: Params, grads: Params) -> dict[str, Tensor]:
    """-g; -||W|| g/||g|| a layer; or the first step of Adam, -g/(|g| + 1e-8)."""
    if rule == "layer-normalized":
        return layer_normalized(params, grads)
    if rule == "adam":
        return {name: -grad / (grad.abs() + 1e-8) for name, grad in grads.items()}
    if rule != "gradient":
        raise ValueError(f"direction: want one of {DIRECTIONS}, got {rule!r}")
    return {name: -grad for name, grad in grads.items()}


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


def stepped(params: Params, direction: Params, step: Tensor) -> dict[str, Tensor]:
    """theta + eta d of every parameter; step: eta of each network, (S,)."""
    return {
        name: value + step[(...,) + (None,) * (value.ndim - 1)] * direction[name]
        for name, value in params.items()
    }


def descend(at: Problem, *, steps: int = 20, share: float = 0.1) -> dict[str, Tensor]:
    """Parameters after full-batch gradient steps, each promising `share` of the current loss."""
    params: dict[str, Tensor] = dict(at.arm.params)
    for _ in range(steps):
        loss, grads = gradient(at.loss, params)
        size = share * loss / layer_dots(grads, grads).sum(1)
        params = stepped(params, grads, -size.clamp(max=LONGEST))
    return params
