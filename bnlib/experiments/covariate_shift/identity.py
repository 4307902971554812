"""Experiment A: the interaction of a step against integrals of covariate shift."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from bnlib import interactions, landscape
from bnlib.experiments.covariate_shift import bench
from bnlib.experiments.covariate_shift.along import constant, follow
from bnlib.experiments.covariate_shift.bench import Conditions
from bnlib.interactions import Problem

Rule = dict[str, int]
LEFT: Rule = {}  # t = 0 only: the covariate shift of the gradients at hand
RULES: dict[str, Rule] = {
    "left endpoint": LEFT,
    "midpoint": {"nodes": 1},
    "12 nodes": {"nodes": 12},
}


class Point:
    """Networks at their start with one batch: the interaction of a step and its quadratures."""

    def __init__(self, at: Problem):
        self.at, self.params = at, at.arm.params
        self.loss, self.grads = interactions.gradient(at.loss, self.params)
        self.squares = interactions.layer_dots(self.grads, self.grads).sum(1)
        self.down = {name: -g for name, g in self.grads.items()}

    def promise(self, r: float) -> torch.Tensor:
        """The step that promises to lower the loss by the share r, (S,)."""
        return interactions.match_loss(self.loss, -self.squares, r)

    def inter(self, step: float | torch.Tensor) -> torch.Tensor:
        """INT, (S,)."""
        values = interactions.corners(self.at.loss, self.params, self.down, step)
        return interactions.step_split(values, -step * self.squares).inter

    def quadrature(self, step: float | torch.Tensor, rule: Rule) -> torch.Tensor:
        """The right side of the theorem, (S,): `ics_integral`, or its left endpoint for {}."""
        if rule:
            return landscape.ics_integral(self.at.loss, self.params, self.grads, step, **rule)
        ics = landscape.ics_change(self.at.loss, self.params, self.grads, step)
        return -step * ics.projection.sum(1)


def points(
    at: Conditions, names: Sequence[str], depth: int, seeds: Sequence[int], activation: str
) -> dict[str, Point]:
    """Every arm at its start, with the first batch of each seed."""
    chosen = bench.stream(at, seeds, 1)[0]
    built = {name: bench.build(at, name, depth, seeds, activation) for name in names}
    return {name: Point(bench.problem(at, arm, chosen)) for name, arm in built.items()}


def theorem_errors(found: dict[str, Point], r: float, rule: Rule) -> dict[str, float]:
    """Largest relative error of the theorem over seeds, for every arm, at the promise r."""
    errors = {}
    for name, point in found.items():
        step = point.promise(r)
        inter = point.inter(step)
        gap = (point.quadrature(step, rule) - inter).abs() / inter.abs()
        errors[name] = float(gap.max())
    return errors


def residuals(point: Point, steps: Sequence[float]) -> dict[str, np.ndarray]:
    """|quadrature - INT| of every rule, (K, S), for K step sizes."""
    inter = [point.inter(step) for step in steps]
    return {
        name: torch.stack(
            [(point.quadrature(s, rule) - i).abs() for s, i in zip(steps, inter, strict=True)]
        ).numpy()
        for name, rule in RULES.items()
    }


def slope(steps: Sequence[float], values: np.ndarray) -> float:
    """Slope of the median over seeds on double logarithmic axes, over the smallest decade of steps.

    values: (K, S), all above rounding.
    """
    eta = np.asarray(steps, dtype=float)
    least = eta <= 10 * eta.min()
    line = np.polyfit(np.log(eta[least]), np.log(np.median(values, axis=1)[least]), 1)
    return float(line[0])


def on_the_way(
    at: Conditions,
    names: Sequence[str],
    depth: int,
    seeds: Sequence[int],
    rates: Sequence[float],
    *,
    steps: int,
    every: int,
    activation: str = "tanh",
) -> pd.DataFrame:
    """INT / (eta |g|^2) and -sum s_i rho_i at points of SGD, for every arm and rate."""
    paces = {f"{rate:g}": constant(seeds, rate=rate) for rate in rates}
    frames = [
        follow(at, bench.build(at, n, depth, seeds, activation), seeds, paces, steps, every).assign(
            arm=n
        )
        for n in names
    ]
    return pd.concat(frames, ignore_index=True)
