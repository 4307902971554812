"""A teacher without normalization, and students with it: a task whose optimum is the identity."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from bnlib import statistics, training
from bnlib.networks.seed_batched import SeedBatchedMLP
from bnlib.networks.spec import Spec

ARMS = {
    "γ, β": ["gamma", "beta"],
    "W, γ, β": ["W1", "gamma", "beta"],
    "scratch": None,
}
INPUTS, UNITS = 8, 16
COLUMNS = ["trained", "m", "steps", "relative MSE", "median d", "low", "high"]
COLUMNS += ["share d < 0.1", "loss, last fifth"]


class Teacher(NamedTuple):
    """S teachers y = top tanh(weight x + bias) with their data."""

    x: Tensor  # (S, n, 8)
    y: Tensor  # (S, n, 1)
    weight: Tensor  # (S, 16, 8), rows of scales over a factor of ten
    bias: Tensor  # (S, 16)
    top: Tensor  # (S, 1, 16)


class Student(NamedTuple):
    """What became of S students."""

    mse: np.ndarray  # (S,) evaluation, as a share of the variance of y
    d: np.ndarray  # (S, 16) sqrt((gamma/tau - 1)^2 + ((beta - mu)/tau)^2), exact statistics
    late: float  # relative change of the training loss over the last fifth of the steps


class Comparison(NamedTuple):
    """Students side by side, and whether d falls where only gamma and beta are trained.

    A ratio is the geometric mean over teachers; both intervals hold together with 95 %.
    """

    table: pd.DataFrame  # a row for each arm and batch size, and one of four times the steps
    by_rows: statistics.Interval  # d at the last batch size over d at the first
    by_steps: statistics.Interval  # d after four times the steps over d, at the last batch size


def teachers(seeds: int, entropy: list[int], *, rows: int = 4096) -> Teacher:
    """One teacher a seed, each drawn from the generator (*entropy, its number)."""
    parts = []
    for k in range(seeds):
        rng = np.random.default_rng([*entropy, k])
        scale = 10 ** rng.uniform(-0.5, 0.5, (UNITS, 1)) / np.sqrt(INPUTS)
        weight = rng.standard_normal((UNITS, INPUTS)) * scale
        bias, top = rng.standard_normal(UNITS), rng.standard_normal((1, UNITS))
        parts.append((rng.standard_normal((rows, INPUTS)), weight, bias, top))
    x, weight, bias, top = (torch.tensor(np.stack(part)) for part in zip(*parts, strict=True))
    return Teacher(x, torch.tanh(x @ weight.mT + bias[:, None]) @ top.mT, weight, bias, top)


def study(teacher: Teacher, arm: str, *, m: int, steps: int) -> Student:
    """Train Linear - BN - tanh - Linear on the teacher's outputs with batches of m.

    arm: one of ARMS. "γ, β" and "W, γ, β" start from the teacher's weights and keep its output
    weights: SGD 0.02, momentum 0.9. "scratch" trains all from its own start: Adam 0.01. All with a
    cosine schedule. The teacher's bias is part of mu, except from scratch, where no unit
    corresponds to a teacher's and d refers to the unit's own input.
    """
    net = SeedBatchedMLP(Spec((INPUTS, UNITS, 1), "tanh"), range(len(teacher.x)))
    scratch = arm == "scratch"
    if not scratch:
        net.params |= {"W1": teacher.weight.clone(), "W2": teacher.top.clone()}
    how: dict[str, Any] = (
        {"lr": 0.01, "optimizer": "adam"} if scratch else {"lr": 0.02, "momentum": 0.9}
    )
    how |= {"steps": steps, "batch": m, "loss": "mse", "schedule": "cosine"}
    history = training.train(net, teacher.x, teacher.y, trainable=ARMS[arm], **how)
    stats = net.recalibrate(teacher.x)
    tau, mu = (stats[1].var + net.spec.eps).sqrt(), stats[1].mean + (0 if scratch else teacher.bias)
    d = torch.hypot(net.params["gamma1"] / tau - 1, (net.params["beta1"] - mu) / tau)
    mse = training.losses(net, teacher.x, teacher.y, loss="mse", stats=stats)
    variance = teacher.y.var((1, 2), correction=0).numpy()
    before, last = history.loss[-2 * (steps // 5) : -(steps // 5)], history.loss[-(steps // 5) :]
    return Student(mse / variance, d.detach().numpy(), float(last.mean() / before.mean() - 1))


def comparison(seed: int, seeds: int, sizes: Sequence[int], steps: int) -> Comparison:
    """`study` of every arm and batch size, and of "γ, β" at the last size with four times as long.

    A teacher's d is that of its median unit; the table has the median over teachers with its 95 %
    interval.
    """
    school, rows, typical = teachers(seeds, [seed, 12]), [], []
    for arm, m, length in [*product(ARMS, sizes, [steps]), ("γ, β", sizes[-1], 4 * steps)]:
        student, rng = study(school, arm, m=m, steps=length), np.random.default_rng([seed, 13])
        typical.append(np.median(student.d, axis=1))
        d, near = statistics.median_interval(typical[-1], rng=rng), (student.d < 0.1).mean()
        rows.append([arm, m, length, np.median(student.mse), *d, near, student.late])
    few, many, longer = (typical[k] for k in (0, len(sizes) - 1, -1))
    table = pd.DataFrame(rows, columns=COLUMNS)
    return Comparison(table, _ratio(many, few), _ratio(longer, many))


def _ratio(after: np.ndarray, before: np.ndarray) -> statistics.Interval:
    """Geometric mean of after / before over pairs, with the interval for one of two statements."""
    found = statistics.paired_difference(np.log(after), np.log(before), 1 - 0.05 / 2)
    return statistics.Interval(*(float(np.exp(v)) for v in found[:3]))
