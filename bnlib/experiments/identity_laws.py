"""Monte Carlo of the error law over populations and batch sizes, and how the laws fare in it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import numpy as np

from bnlib import identity, laws, statistics
from bnlib.experiments.identity_trials import Sums, sample_errors
from bnlib.populations import POPULATIONS


class Check(NamedTuple):
    """The law of each population (rows) and batch size (columns) against the draws."""

    point: statistics.Interval  # of the measured error, 95 %, over seeds
    inside: np.ndarray  # whether the law lies in `point`
    jointly: np.ndarray  # whether it lies in the simultaneous interval of all of them
    broken: list[int]  # batch sizes where a Gaussian law off by -2 %, by +2 % would lie inside
    sound: bool  # the law with the measured E[s_m] leaves sampling noise and rounding alone


class Best(NamedTuple):
    """The gamma that minimizes the measured error, Gaussian rows; one entry a batch size."""

    gamma: statistics.Interval  # simultaneous with `floor`
    floor: statistics.Interval  # the error left there
    a: np.ndarray  # what the law says of gamma: E[s_m] / sigma
    lowest: np.ndarray  # and of the floor: 1 - a^2
    balance: float  # largest |gain in training - cost in evaluation| of the exact laws


def sample(seed: int, seeds: int, rows: int, sizes: Sequence[int]) -> Sums:
    """`sample_errors` for every seed, population and batch size: (seeds, populations, sizes)."""
    grid = list(product(enumerate(POPULATIONS.values()), sizes))
    sums = [
        [
            sample_errors(population, m, rows, np.random.default_rng([seed, 5, place, m, k]))
            for (place, population), m in grid
        ]
        for k in range(seeds)
    ]
    return Sums(*np.moveaxis(np.array(sums), -1, 0).reshape(4, seeds, len(POPULATIONS), -1))


def formulas(sizes: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """The exact law and its leading term, each (populations, sizes).

    By quadrature; the first population is the Gaussian, which takes the closed form.
    """
    of = POPULATIONS.values()
    a = np.array([[population.expected_std(m) for m in sizes] for population in of])
    tied = np.array([[population.tied(m) for m in sizes] for population in of])
    exact = identity.error(a, tied=tied)
    exact[0] = [identity.gaussian_error(m) for m in sizes]
    leading = [[identity.leading_error(m, p.kurtosis) for m in sizes] for p in of]
    return exact, np.array(leading)


def check(sums: Sums, exact: np.ndarray) -> Check:
    """The intervals of the draws, and which of them contain the law."""
    joint = 1 - 0.05 / exact.size
    point, wide = (statistics.mean_interval(sums.error, level) for level in (0.95, joint))
    broken = [int(hits(point, factor * exact)[0].sum()) for factor in (0.98, 1.02)]
    residue = sums.present - 2 * sums.std
    rest = statistics.mean_interval(sums.error - (1 + residue), joint)  # sampling: <x²> - 1
    rounding = float(np.abs(sums.error - (sums.energy + residue)).max())
    sound = ((rest.low <= 1e-12) & (rest.high >= -1e-12)).all() and rounding <= 1e-10
    return Check(point, hits(point, exact), hits(wide, exact), broken, bool(sound))


def best_constants(sums: Sums, sizes: Sequence[int]) -> Best:
    """Vertex and floor of the measured parabola in gamma, of the first population (Gaussian)."""
    vertex, floor = sums.std / sums.present, sums.energy - sums.std**2 / sums.present
    level = 1 - 0.05 / (2 * len(sizes))  # simultaneous over both statements and all batch sizes
    fixed, lowest, price = (
        np.array([identity.gaussian_error(m, mode) for m in sizes]) for mode in identity.MODES
    )
    return Best(
        *(statistics.mean_interval(v[:, 0], level) for v in (vertex, floor)),
        a=np.array([laws.expected_batch_std(m) for m in sizes]),
        lowest=lowest,
        balance=float(np.abs(fixed - lowest - price).max()),
    )


def hits(interval: statistics.Interval, law: np.ndarray) -> np.ndarray:
    """Whether an interval contains the law, ends included."""
    return (interval.low <= law) & (law <= interval.high)
