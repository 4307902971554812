"""From measurements to verdicts: the decision rules of the chapter, fixed before the run.

Intervals are 95 % intervals of a median over seeds, of differences of BN and
the network without norm on the same seed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from bnlib import statistics, verdicts
from bnlib.chapters.covariate_shift.measure import (
    MEASURES,
    RELU_FACTOR,
    STATES,
    Theorem,
    equal_loss,
)
from bnlib.landscape import UNITS
from bnlib.results import Claim

CELL = ["activation", "L", "rule"]
READINGS = ("reduced", "raised", "open")
JUDGED = ("raw", "matched")  # units of steps with a claim each
KEPT = (0.8, 0.3)  # share of the gain that noisy BN must keep for "holds", for "partly"
DRIFT = 10  # times as much as with BN: what counts as distributions that shift


def differences(frame: pd.DataFrame, what: str, by: Sequence[str]) -> pd.DataFrame:
    """bn - none, one row a cell: median over the seeds that both arms have, interval, sign.

    Of each seed it is the median over the places of its walk where it is finite.  seeds: how many.
    Raises ValueError where fewer than 2 are left.
    """
    finite, parts = frame[np.isfinite(frame[what])], []
    wide = finite.pivot_table(index="seed", columns=["arm", *by], values=what, aggfunc="median")
    gaps = pd.DataFrame(wide["bn"] - wide["none"])
    for cell in gaps.columns:
        left = pd.DataFrame(gaps[[cell]].dropna())
        if len(left) < 2:
            raise ValueError(
                f"{what} in {cell}: expected 2 seeds that stay finite, got {len(left)}"
            )
        parts.append(statistics.column_medians(left).assign(seeds=len(left)))
    return pd.concat(parts)


def log_ratios(frame: pd.DataFrame, what: Sequence[str], by: Sequence[str]) -> pd.DataFrame:
    """log bn - log none of positive measures, one row a measure and group."""
    logs = frame.assign(**{name: np.log(frame[name]) for name in what})
    return pd.concat({name: differences(logs, name, by) for name in what}, names=["measure"])


def ratio(row: Any) -> str:
    """The ratio bn / none of a row of `log_ratios`, in words, with its interval."""
    estimate, low, high = np.exp([row.estimate, row.low, row.high])
    return f"{estimate:.2f} ({low:.2f} to {high:.2f})"


def is_interaction(theorem: Theorem, depth: int) -> Claim:
    """holds: relative error of the exact identity at most 1e-8 and every slope in [2.7, 3.3]."""
    slopes = theorem.slopes
    right = all(2.7 <= slope <= 3.3 for slope in slopes.values())
    return Claim(
        "ics-is-interaction",
        verdicts.verdict(theorem.error <= 1e-8 and right),
        f"tanh, L = {depth}: the integral equals INT to a relative {theorem.error:.0e}, "
        f"and the left endpoint misses it by eta^{slopes['none']:.2f} without norm and "
        f"eta^{slopes['bn']:.2f} with BN.",
    )


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
    return relative.drop(columns="sign").assign(**columns, reading=reading)


def tally(cells: pd.DataFrame) -> dict[str, int]:
    """How many cells have which reading."""
    return {reading: int((cells.reading == reading).sum()) for reading in READINGS}


def reduces(cells: pd.DataFrame) -> tuple[Claim, Claim]:
    """holds: reduced in every cell.  fails: in none.  partly: in some.  And the opposite claim."""
    counts = tally(cells)
    evidence = (
        f"Of {len(cells)} cells (activation, depth, rule) BN reduces covariate shift in "
        f"{counts['reduced']} and raises it in {counts['raised']}; {counts['open']} are open."
    )
    verdict = verdicts.count(cells.reading == "reduced")
    opposite = {"holds": "fails", "fails": "holds"}.get(verdict, "partly")
    return Claim("bn-reduces-ics", verdict, evidence), Claim("ics-not-reduced", opposite, evidence)


class Gain(NamedTuple):
    """What BN gains in log loss, and which share of it noisy BN keeps; intervals over seeds."""

    gain: statistics.Interval
    kept: statistics.Interval


def gains(frame: pd.DataFrame, resamples: int = 2000) -> Gain:
    """G = log loss(none) - log loss(bn), kept = (log loss(none) - log loss(noisy bn)) / G, medians.

    Over the seeds on which all three end finite, NaN where fewer than 2 do.
    """
    logs = frame[np.isfinite(frame.loss)].assign(loss=lambda rows: np.log(rows.loss))
    wide = logs.pivot_table(index="seed", columns="arm", values="loss")
    wide = wide.reindex(columns=["none", "bn", "noisy bn"]).dropna()
    if len(wide) < 2:
        return Gain(*[statistics.Interval(math.nan, math.nan, math.nan)] * 2)
    gain, noisy = ((wide["none"] - wide[arm]).to_numpy() for arm in ("bn", "noisy bn"))
    picks = np.random.default_rng(0).integers(len(gain), size=(resamples, len(gain)))
    ratios = _share(np.median(noisy[picks], axis=1), np.median(gain[picks], axis=1))
    low, high = np.quantile(ratios, (0.025, 0.975))
    kept = float(_share(np.median(noisy), np.median(gain)))
    interval = statistics.Interval(kept, min(float(low), kept), max(float(high), kept))
    return Gain(statistics.median_interval(gain), interval)


def _share(part: Any, whole: Any) -> np.ndarray:
    """part / whole; 0 where the whole is 0: of nothing, nothing is kept."""
    there = np.asarray(whole) != 0
    return np.where(there, part, 0.0) / np.where(there, whole, 1.0)


def noise_harmless(gain: Gain, depth: int) -> Claim:
    """holds: kept >= 0.8; partly: >= 0.3; fails: below.

    Undecided unless the interval of G lies above 0: there is nothing to keep.
    """
    (estimate, low, high), kept = gain
    testable = low > 0
    return Claim(
        "noise-harmless",
        verdicts.verdict(
            testable and kept.estimate >= KEPT[0], kept.estimate >= KEPT[1], tested=testable
        ),
        f"L = {depth}: BN gains {estimate:.2f} ({low:.2f} to {high:.2f}) "
        f"in log loss; noisy BN keeps {kept.estimate:.2f} ({kept.low:.2f} to "
        f"{kept.high:.2f}) of it."
        + ("" if testable else " No gain that excludes 0: not testable here."),
    )


def doses(
    rows: Sequence[Mapping[str, Any]],
) -> tuple[pd.DataFrame, dict[str, statistics.Interval]]:
    """The stored noise: a row a data set and strength; and the gain in log loss of each data set.

    kept: ratio of mean gains.  gain, low, high: what noisy BN gains, with its t-interval.  left,
    lost: surely more than 0.8, surely less than 0.3 of the gain, intervals of a data set together.
    drift, drift/none, turned: shift of distributions over that of bn and of none, of gradients over
    that of bn, medians over seeds.
    """
    runs = {(row["data"], row["arm"], row["strength"]): row for row in rows}
    strengths = sorted({size for _, arm, size in runs if arm == "noisy bn"})
    level, table, gained = verdicts.simultaneous(len(KEPT) * len(strengths)), {}, {}
    for name in dict.fromkeys(row["data"] for row in rows):
        none, bn = (runs[name, arm, 0.0] for arm in ("none", "bn"))
        whole = _log(none) - _log(bn)
        gained[name] = statistics.mean_interval(whole[np.isfinite(whole)])
        for size in strengths:
            noisy = runs[name, "noisy bn", size]
            both = np.stack([_log(none) - _log(noisy), whole])
            part, full = both[:, np.isfinite(both).all(0)]
            most, some = (statistics.mean_interval(part - k * full, level) for k in KEPT)
            gain, low, high = statistics.mean_interval(part)
            table[name, size] = {
                "kept": float(_share(part.mean(), full.mean())),
                "gain": gain, "low": low, "high": high,
                "left": bool(most.low > 0), "lost": bool(some.high < 0),
                "drift": _times(noisy, bn, "distribution"),
                "drift/none": _times(noisy, none, "distribution"),
                "turned": _times(noisy, bn, "relative"), "rate": noisy["rate"],
                "edge": noisy["edge"],
            }  # fmt: skip
    return pd.DataFrame(table).T.rename_axis(["data", "strength"]), gained


def _log(run: Mapping[str, Any]) -> np.ndarray:
    return np.log(np.array(run["loss"], dtype=float))


def _times(run: Mapping[str, Any], other: Mapping[str, Any], what: str) -> float:
    return float(
        np.nanmedian(np.array(run[what], float)) / np.nanmedian(np.array(other[what], float))
    )


def noise_is_dose(table: pd.DataFrame, gained: Mapping[str, statistics.Interval]) -> Claim:
    """A data set shows a dose: most is left while distributions drift, and lost with more noise.

    holds: all do.  partly: some.  fails: none, and every strength of each has the same reading.
    """
    shown, alike, evidence = [], [], []
    for name, gain in gained.items():
        part = table.loc[name]
        mild, strong = part.index[part.left & (part.drift >= DRIFT)], part.index[part.lost]
        tested = gain.low > 0
        shown.append(bool(tested and len(mild) and len(strong) and mild.min() < strong.max()))
        alike.append(bool(tested and (part.left.all() or part.lost.all())))
        kept = ", ".join(f"{share:.2f} at {size:g}" for size, share in part.kept.items())
        evidence.append(
            f"{name}: BN gains {statistics.with_ends(gain, '.2f')} in log loss; noise leaves {kept}"
        )
    word = verdicts.verdict(all(shown), any(shown), tested=any(shown) or all(alike))
    return Claim("noise-is-dose", word, "; ".join(evidence) + ".")


def by_unit(walked: pd.DataFrame, level: float) -> dict[str, pd.DataFrame]:
    """`log_ratios` of the smoothness measures in each unit, and at equal loss where units allow it.

    level: the loss at which the arms are compared a second time.
    """
    near = equal_loss(walked, level)
    frames = {unit: statistics.rows_with(walked, unit=unit) for unit in UNITS}
    frames |= {f"{unit}, equal loss": statistics.rows_with(near, unit=unit) for unit in JUDGED}
    ratios = {name: log_ratios(frame, MEASURES, ["unit"]) for name, frame in frames.items()}
    return {name: rows.droplevel("unit") for name, rows in ratios.items()}


def smoother(unit: str, rows: pd.DataFrame) -> Claim:
    """holds: every measure lies below 0.  partly: some.  fails: none."""
    words = ", ".join(f"{name} {ratio(row)}" for name, row in rows.iterrows())
    evidence = f"BN over none, median ratio along the walk, {unit} steps: {words}."
    return Claim(f"smoother-{unit}", verdicts.count(rows.sign < 0), evidence)


def uncoupled(rows: pd.DataFrame, steps: int) -> Claim:
    """From `log_ratios` of "off" and "share" by state.

    A state holds if the off-diagonal norm falls, holds partly if only its share, else it fails.
    The claim has the verdict of the states where they agree, else it holds partly.
    """
    readings = {
        verdicts.verdict(rows.sign["off", state] < 0, rows.sign["share", state] < 0)
        for state in STATES
    }
    start, trained = (
        f"off-diagonal {ratio(rows.loc['off', state])}, share {ratio(rows.loc['share', state])}"
        for state in STATES
    )
    verdict = readings.pop() if len(readings) == 1 else "partly"
    evidence = f"BN over none: at the start {start}; after {steps} steps {trained}."
    return Claim("coupling-removed", verdict, evidence)


def cures(factors: Mapping[str, statistics.Interval], width: int, batch: int) -> Claim:
    """fails: BN's factor per layer lies above 1.  holds: it does not exceed 1.  partly: open."""
    grown, plain = factors["bn"], factors["none"]
    return Claim(
        "bn-cures-explosion",
        verdicts.verdict(grown.high <= 1, grown.low <= 1),
        f"Width {width}, batch {batch}: the squared gradient grows by {grown.estimate:.2f} "
        f"({grown.low:.2f} to {grown.high:.2f}) per layer with BN, by {plain.estimate:.2f} "
        f"without; theory {RELU_FACTOR:.3f} and 1.",
    )


def beside(claims: Sequence[Claim], dataset: str, table: Mapping[str, Any]) -> pd.DataFrame:
    """Verdicts of this run and of a stored one, with its evidence."""
    other, stored = table["parameters"]["dataset"], table["claims"]
    columns = {
        f"this run ({dataset})": {claim.id: claim.verdict for claim in claims},
        f"stored ({other})": {claim.id: stored[claim.id]["verdict"] for claim in claims},
        f"evidence on {other}": {claim.id: stored[claim.id]["evidence"] for claim in claims},
    }
    return pd.DataFrame(columns)
