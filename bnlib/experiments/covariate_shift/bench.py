"""The bench of the chapter `covariate-shift`: rows, arms, and gradient descent watched on its way.

All arms of a seed share weights and one stream of mini-batches. A walk trains in float32; what is
measured on the way is measured in float64, on the batch of the step that comes next.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from bnlib import data, interactions
from bnlib.experiments.interactions import LONGEST, Problem, standardized
from bnlib.networks import arms, seed_batched
from bnlib.networks.batches import batch_order

Params = dict[str, Tensor]


class Rows(NamedTuple):
    """One data set, standardized: x (n, d), y (n,) for training and for the test."""

    x: Tensor
    y: Tensor
    x_test: Tensor
    y_test: Tensor

    @property
    def classes(self) -> int:
        return int(self.y.max()) + 1


class Conditions(NamedTuple):
    """What all measurements of a page share."""

    rows: Rows
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


def load(dataset: str) -> Rows:
    """The split of seed 0 of "digits", "mnist1d" or an `.npz`; each column standardized."""
    split = data.load(dataset, 0)
    x = torch.from_numpy(standardized(np.concatenate([split.x_train, split.x_test])))
    n = len(split.x_train)
    y, y_test = (torch.from_numpy(labels) for labels in (split.y_train, split.y_test))
    return Rows(x[:n], y, x[n:], y_test)


def stream(at: Conditions, seeds: Sequence[int], steps: int) -> Tensor:
    """Row numbers (steps, S, batch): the mini-batches of each seed, the same in every arm."""
    return batch_order(seeds, len(at.rows.x), batch=at.batch, steps=steps)


def build(
    at: Conditions, name: str, depth: int, seeds: Sequence[int], activation: str = "relu"
) -> arms.Arm:
    """The arm with `depth` weight matrices; "frozen" takes the statistics of the first batch."""
    if depth < 2:
        raise ValueError(f"depth: want at least 2 weight matrices, one below another, got {depth}")
    first = stream(at, seeds, 1)[0]
    sizes = (at.rows.x.shape[1], *(at.width,) * (depth - 1), at.rows.classes)
    x = at.rows.x[first]
    return arms.build(name, sizes, seeds, x, activation=activation, eps=at.eps)


def problem(at: Conditions, arm: arms.Arm, chosen: Tensor) -> Problem:
    """The arm with the batch of row numbers (S, m)."""
    return Problem(arm, at.rows.x[chosen], at.rows.y[chosen])


def single(arm: arms.Arm) -> arms.Arm:
    """The arm in float32."""
    stats = arm.stats and {
        site: seed_batched.Moments(*(v.float() for v in pair)) for site, pair in arm.stats.items()
    }
    return replace(arm, params={k: v.float() for k, v in arm.params.items()}, stats=stats)


def repeated(arm: arms.Arm, times: int) -> arms.Arm:
    """The S networks of an arm `times` over, copy k of network s at k S + s."""
    stats = arm.stats and {
        site: seed_batched.Moments(*(v.repeat(times, 1) for v in pair))
        for site, pair in arm.stats.items()
    }
    copies = {k: v.repeat(times, *[1] * (v.ndim - 1)) for k, v in arm.params.items()}
    return replace(arm, params=copies, stats=stats)


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
    small, x = single(arm), at.rows.x.float()
    params = dict(small.params)
    for number, chosen in enumerate(order):
        if watch is not None and number % every == 0:
            watch(number, double(params), chosen, pace)
        rows, labels = x[chosen], at.rows.y[chosen]

        def loss_of(p: interactions.Params, rows: Tensor = rows, labels: Tensor = labels) -> Tensor:
            out = logits(number, p, rows) if logits else small.logits(p, rows)  # noqa: B023
            return F.cross_entropy(out.transpose(1, 2), labels, reduction="none").mean(1)

        loss, grads = interactions.gradient(loss_of, params)
        squares = sum(g.flatten(1).square().sum(1) for g in grads.values())
        size = pace.steps(loss, torch.as_tensor(squares))
        params = {
            k: v - size[(...,) + (None,) * (v.ndim - 1)] * grads[k] for k, v in params.items()
        }
    return double(params)


def clean_loss(
    at: Conditions, arm: arms.Arm, params: interactions.Params, count: int = 512
) -> np.ndarray:
    """Loss on the first `count` training rows as one batch, (S,); infinite where not finite."""
    x, y = at.rows.x[:count], at.rows.y[:count]
    many = len(params["W1"])
    with torch.no_grad():
        logits = arm.logits(params, x.expand(many, *x.shape))
        loss = F.cross_entropy(logits.transpose(1, 2), y.expand(many, -1), reduction="none").mean(1)
    return np.nan_to_num(loss.numpy(), nan=np.inf, posinf=np.inf)
