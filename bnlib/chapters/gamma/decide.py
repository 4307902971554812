"""From what the gamma chapter measured to its verdicts, by the rules of `book/claims.toml`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from bnlib.chapters.gamma.measure import STARTS
from bnlib.results import Claim
from bnlib.statistics import Interval, with_ends
from bnlib.verdicts import inside, verdict

EXACT = 1e-12  # relative, of losses in float64
INNER, TENTH, UNIFORM, NEAR = list(STARTS)[1:]


class Start(NamedTuple):
    """Log of the ratio of best losses to those of the start 1: 95 % interval; within the margin."""

    log: Interval
    equivalent: bool


def _ratio(start: Start) -> str:
    return with_ends(Interval(*np.exp(start.log)), ".2f")


def start_is_rate(gaps: Mapping[float, float], starts: Mapping[str, Start]) -> Claim:
    """gaps: of the two paths, by k.  starts: with ReLU, by name."""
    worst, log = max(gaps.values()), starts[INNER].log
    rate = worst <= EXACT and (log.low > 0 or log.high < 0)
    taste = starts[TENTH].equivalent and starts[NEAR].equivalent
    word = "fails" if rate else verdict(taste, True)
    return Claim(
        "gamma-start-is-rate",
        word,
        f"A start of k with the rate k² η gives the losses of the start 1 to {worst:.1e} at every "
        f"step, k = {', '.join(map(str, gaps))}. Best loss of the start 0.1 over that of 1: "
        f"{_ratio(starts[INNER])} in inner norms only, {_ratio(starts[TENTH])} in all; "
        f"of N(1, 0.02): {_ratio(starts[NEAR])}.",
    )


def uniform_start(starts: Mapping[str, Start]) -> Claim:
    """starts: of the uniform start, by activation."""
    worse = all(start.log.low > 0 for start in starts.values())
    same = all(start.equivalent for start in starts.values())
    ratios = ", ".join(f"{_ratio(start)} with {name}" for name, start in starts.items())
    return Claim(
        "gamma-uniform-start",
        verdict(same, not worse),
        f"Best loss of the start U(0, 1) over that of 1: {ratios}.",
    )


def decay_regularizes(inner: float, last: float) -> Claim:
    """Gaps of decay to a growing rate, at norms that another follows and at the last one."""
    return Claim(
        "gamma-decay-regularizes",
        verdict(inner > EXACT),
        f"Decay of γ and β against no decay with a growing rate: losses apart by {inner:.1e} at "
        f"norms that another one follows, by {last:.1e} at the last one.",
    )


class Best(NamedTuple):
    """The best gamma of one law and batch size: drawn, and what two theories say."""

    drawn: Interval
    exact: float
    penalty: float


def noise_is_decay(
    cells: Mapping[tuple[str, int], Best], control: Mapping[int, tuple[Interval, float]]
) -> Claim:
    """cells: by law and m.  control: Gaussian, drawn with m other rows and exact, by m."""
    exact = [bool(inside(cell.exact, cell.drawn)) for cell in cells.values()]
    penalty = [bool(inside(cell.penalty, cell.drawn)) for cell in cells.values()]
    tested = all(inside(value, drawn) for drawn, value in control.values())
    word = verdict(all(penalty), any(penalty) or not all(exact), tested=tested)
    m, (drawn, value) = next(iter(control.items()))
    return Claim(
        "gamma-noise-is-decay",
        word,
        f"Of {len(cells)} intervals of the best γ, {sum(penalty)} contain the penalty's value and "
        f"{sum(exact)} the mean batch standard deviation. Other rows, Gaussian, m = {m}: "
        f"{with_ends(drawn, '.3f')}, exact {value:.3f}.",
    )
