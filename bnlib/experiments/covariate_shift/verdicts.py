"""From measurements to verdicts: the decision rules of the chapter, fixed before the run.

Intervals are 95 % bootstrap percentile intervals of a median over seeds, of differences of BN and
the network without norm on the same seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from bnlib import statistics
from bnlib.experiments.covariate_shift import smoothness
from bnlib.statistics import column_medians

CELL = ["activation", "L", "rule"]
KEPT = (0.8, 0.3)  # share of the gain that noisy BN must keep for "holds", for "partly"


def middle(values: Any) -> statistics.Interval:
    """Median over seeds, (S,), with its bootstrap interval."""
    return statistics.median_interval(values, rng=np.random.default_rng(0))


def per_seed(frame: pd.DataFrame, what: str, by: Sequence[str]) -> pd.DataFrame:
    """Median over the places of a walk where it is finite; a row a seed, a column a group."""
    finite = frame[np.isfinite(frame[what])]
    return finite.pivot_table(index="seed", columns=list(by), values=what, aggfunc="median")


def quartiles(frame: pd.DataFrame, what: str, by: str = "at") -> tuple[np.ndarray, ...]:
    """Places and, over the seeds that are finite there, the three quartiles, (P,) each."""
    finite = frame[np.isfinite(frame[what])]
    by_place = finite.groupby(by)[what]
    found = [by_place.quantile(q) for q in (0.25, 0.5, 0.75)]
    return found[0].index.to_numpy(), *(line.to_numpy() for line in found)


def differences(frame: pd.DataFrame, what: str, by: Sequence[str]) -> pd.DataFrame:
    """bn - none, one row a cell: median over the seeds that both arms have, interval, sign.

    seeds: how many these are.  Raises ValueError where fewer than 2 are left.
    """
    wide, rows = per_seed(frame, what, ["arm", *by]), {}
    gaps = pd.DataFrame(wide["bn"] - wide["none"])
    for cell in gaps.columns:
        left = gaps[cell].dropna()
        if len(left) < 2:
            raise ValueError(f"{what} in {cell}: want 2 seeds that stay finite, got {len(left)}")
        rows[cell] = column_medians(left.to_frame()).iloc[0].to_dict() | {"seeds": len(left)}
    index = pd.MultiIndex.from_tuples(rows, names=by) if len(by) > 1 else pd.Index(rows, name=by[0])
    return pd.DataFrame(list(rows.values()), index=index)


def shift_cells(frame: pd.DataFrame) -> pd.DataFrame:
    """Reading of every cell (activation, L, rule): "reduced", "raised" or "open".

    reduced: relative change below 0 and cosine above 0, both intervals without 0.  raised: both
    the other way round.
    """
    relative, cosine = (differences(frame, what, CELL) for what in ("relative", "cosine"))
    reduced = (relative.sign < 0) & (cosine.sign > 0)
    raised = (relative.sign > 0) & (cosine.sign < 0)
    reading = np.where(reduced, "reduced", np.where(raised, "raised", "open"))
    columns = {"cosine": cosine.estimate, "cosine low": cosine.low, "cosine high": cosine.high}
    kept = relative[["estimate", "low", "high", "seeds"]]
    return pd.DataFrame(kept.assign(**columns, reading=reading))


def reduces(cells: pd.DataFrame) -> str:
    """holds: reduced in every cell.  fails: in none.  partly: in some."""
    reduced = (cells.reading == "reduced").to_numpy()
    return "holds" if reduced.all() else "partly" if reduced.any() else "fails"


def not_reduced(cells: pd.DataFrame) -> str:
    """The opposite claim.  holds: reduced in no cell.  fails: in every one.  partly: in some."""
    return {"holds": "fails", "fails": "holds"}.get(reduces(cells), "partly")


def is_interaction(error: float, slopes: Mapping[str, float]) -> str:
    """holds: relative error of the exact identity at most 1e-8 and every slope in [2.7, 3.3]."""
    right = all(2.7 <= slope <= 3.3 for slope in slopes.values())
    return "holds" if error <= 1e-8 and right else "fails"


class Gain(NamedTuple):
    """What BN gains in log loss, and which share of it noisy BN keeps; intervals over seeds."""

    gain: statistics.Interval
    kept: statistics.Interval
    verdict: str
    testable: bool


def noise_harmless(frame: pd.DataFrame, resamples: int = 2000) -> Gain:
    """G = log loss(none) - log loss(bn), kept = (log loss(none) - log loss(noisy bn)) / G, medians.

    Over the seeds on which all three end finite.
    holds: kept >= 0.8; partly: >= 0.3; fails: below.  Not testable unless the interval of G lies
    above 0, as there is nothing to keep: then "partly", and the caller says so.
    Raises ValueError where fewer than 2 seeds are left.
    """
    logs = pd.DataFrame(frame[np.isfinite(frame.loss)]).assign(loss=lambda f: np.log(f.loss))
    wide = logs.pivot_table(index="seed", columns="arm", values="loss")
    wide = wide.reindex(columns=["none", "bn", "noisy bn"]).dropna()
    if len(wide) < 2:
        raise ValueError(f"want 2 seeds on which every arm ends finite, got {len(wide)}")
    gain = (wide["none"] - wide["bn"]).to_numpy()
    noisy = (wide["none"] - wide["noisy bn"]).to_numpy()
    found = middle(gain)
    picks = np.random.default_rng(0).integers(len(gain), size=(resamples, len(gain)))
    ratios = _share(np.median(noisy[picks], axis=1), np.median(gain[picks], axis=1))
    low, high = np.quantile(ratios, (0.025, 0.975))
    kept = float(_share(np.median(noisy), np.median(gain)))
    testable = bool(found.low > 0)
    verdict = "holds" if kept >= KEPT[0] else "partly" if kept >= KEPT[1] else "fails"
    interval = statistics.Interval(kept, min(float(low), kept), max(float(high), kept))
    return Gain(found, interval, verdict if testable else "partly", testable)


def _share(part: Any, whole: Any) -> np.ndarray:
    """part / whole; 0 where the whole is 0: of nothing, nothing is kept."""
    there = np.asarray(whole) != 0
    return np.where(there, part, 0.0) / np.where(there, whole, 1.0)


def log_ratios(frame: pd.DataFrame, what: Sequence[str], by: Sequence[str]) -> pd.DataFrame:
    """log bn - log none of positive measures, one row a measure and group."""
    logs = frame.assign(**{name: np.log(frame[name]) for name in what})
    return pd.concat({name: differences(logs, name, by) for name in what}, names=["measure"])


def by_unit(walked: pd.DataFrame, level: float) -> dict[str, pd.DataFrame]:
    """`log_ratios` of the smoothness measures in each unit, and at equal loss where units allow it.

    walked: from `smoothness.survey`.  level: the loss at which the arms are compared a second time.
    """
    found = {}
    for suffix, frame, units in (
        ("", walked, smoothness.UNITS),
        (", equal loss", smoothness.equal_loss(walked, level), ("raw", "matched")),
    ):
        for unit in units:
            own = pd.DataFrame(frame[frame.unit == unit])
            rows = log_ratios(own, smoothness.MEASURES, ["unit"])
            found[unit + suffix] = rows.droplevel("unit")
    return found


def ratio(row: pd.Series) -> str:
    """The ratio bn / none of a row of `log_ratios`, in words, with its interval."""
    estimate, low, high = np.exp([row.estimate, row.low, row.high])
    return f"{estimate:.2f} ({low:.2f} to {high:.2f})"


def smoother(rows: pd.DataFrame) -> str:
    """holds: every measure lies below 0.  partly: some.  fails: none."""
    below = (rows.sign < 0).to_numpy()
    return "holds" if below.all() else "partly" if below.any() else "fails"


def uncoupled(rows: pd.DataFrame) -> str:
    """From `log_ratios` of "off" and "share" by state.

    A state holds if the off-diagonal norm falls, holds partly if only its share, else it fails.
    The claim has the verdict of the states where they agree, else it holds partly.
    """
    signs = rows.sign.unstack("measure")
    holds, partly = signs["off"] < 0, signs["share"] < 0
    states = set(np.where(holds, "holds", np.where(partly, "partly", "fails")))
    return str(states.pop()) if len(states) == 1 else "partly"


def cures(factor: statistics.Interval) -> str:
    """fails: the factor per layer lies above 1.  holds: it does not exceed 1.  partly: open."""
    return "fails" if factor.low > 1 else "holds" if factor.high <= 1 else "partly"
