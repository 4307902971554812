"""The bench of the chapter `covariate-shift`: rows, arms, and gradient descent watched on its way.

All arms of a seed share weights and one stream of mini-batches. A walk trains in float32; what is
measured on the way is measured in float64, on the batch of the step that comes next.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from bnlib import data, interactions
from bnlib.interactions import LONGEST, Problem
from bnlib.networks import arms
from bnlib.networks.batches import batch_order

Params = dict[str, Tensor]


class Conditions(NamedTuple):
    """What all measurements of a page share."""

    rows: data.Split  # of tensors, standardized
    width: int = 32
    batch: int = 64
    eps: float = 1e-5


class Pace(NamedTuple):
    """The step of each of S walks: eta = rate, or share L / ||g||^2 where share > 0; (S,) each."""

    rate: Tensor
    share: Tensor

    def steps(self, loss: Tensor, squares: Tensor) -> Tensor:
        matched = (self.share * loss / squares).clamp(max=LONGEST)
        return torch.where(self.share > 0, matched, self.rate).to(loss.dtype)


def load(dataset: str) -> data.Split:
    """The split of seed 0 of "digits", "mnist1d" or an `.npz`; each column standardized."""
    split = data.load(dataset, 0)
    x = data.standardized(np.concatenate([split.x_train, split.x_test]))
    n = len(split.x_train)
    parts = x[:n], split.y_train, x[n:], split.y_test
    return data.Split(*map(torch.from_numpy, parts))


def stream(at: Conditions, seeds: Sequence[int], steps: int) -> Tensor:
    """Row numbers (steps, S, batch): the mini-batches of each seed, the same in every arm."""
    return batch_order(seeds, len(at.rows.x_train), batch=at.batch, steps=steps)


def build(
    at: Conditions, name: str, depth: int, seeds: Sequence[int], activation: str = "relu"
) -> arms.Arm:
    """The arm with `depth` weight matrices; "frozen" takes the statistics of the first batch."""
    if depth < 2:
        raise ValueError(f"depth: want at least 2 weight matrices, one below another, got {depth}")
    first = stream(at, seeds, 1)[0]
    sizes = (at.rows.x_train.shape[1], *(at.width,) * (depth - 1), at.rows.classes)
    x = at.rows.x_train[first]
    return arms.build(name, sizes, seeds, x, activation=activation, eps=at.eps)


def problem(at: Conditions, arm: arms.Arm, chosen: Tensor) -> Problem:
    """The arm with the batch of row numbers (S, m)."""
    return Problem(arm, at.rows.x_train[chosen], at.rows.y_train[chosen])


def double(params: interactions.Params) -> Params:
    return {name: value.detach().double() for name, value in params.items()}


Watch = Callable[[int, Params, Tensor, Pace], None]
Logits = Callable[[int, interactions.Params, Tensor], Tensor]


def walk(
    at: Conditions,
    arm: arms.Arm,
    order: Tensor,
    pace: Pace,
    *,
    watch: Watch | None = None,
    every: int = 10,
    logits: Logits | None = None,
) -> Params:
    """Plain SGD along the batches `order` (steps, S, m); parameters at the end, float64.

    watch(step, parameters in float64, row numbers, pace): called every `every` steps before the
    update.  logits(step, params, x): what the network computes, by default the arm.
    A network that diverges becomes NaN and leaves the others as they are.
    """
    small, x = arm.each(Tensor.float), at.rows.x_train.float()
    params = dict(small.params)
    for number, chosen in enumerate(order):
        if watch is not None and number % every == 0:
            watch(number, double(params), chosen, pace)
        rows, labels = x[chosen], at.rows.y_train[chosen]

        def loss_of(p: interactions.Params, rows: Tensor = rows, labels: Tensor = labels) -> Tensor:
            out = logits(number, p, rows) if logits else small.logits(p, rows)  # noqa: B023
            return F.cross_entropy(out.transpose(1, 2), labels, reduction="none").mean(1)

        loss, grads = interactions.gradient(loss_of, params)
        squares = sum(g.flatten(1).square().sum(1) for g in grads.values())
        size = pace.steps(loss, torch.as_tensor(squares))
        params = interactions.stepped(params, grads, -size)
    return double(params)


def clean_loss(
    at: Conditions, arm: arms.Arm, params: interactions.Params, count: int = 512
) -> np.ndarray:
    """Loss on the first `count` training rows as one batch, (S,); infinite where not finite."""
    x, y = at.rows.x_train[:count], at.rows.y_train[:count]
    many = len(params["W1"])
    with torch.no_grad():
        logits = arm.logits(params, x.expand(many, *x.shape))
        loss = F.cross_entropy(logits.transpose(1, 2), y.expand(many, -1), reduction="none").mean(1)
    return np.nan_to_num(loss.numpy(), nan=np.inf, posinf=np.inf)
