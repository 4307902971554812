"""Verdicts of the chapter on capacity: from what was measured to claims, by registered rules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from bnlib import statistics
from bnlib.chapters.capacity.measure import CHANCE, TARGET, Arms, Run
from bnlib.results import UNDECIDED, Claim
from bnlib.statistics import Interval, Paired
from bnlib.verdicts import count, inside, majority, simultaneous, verdict

MARGIN = 0.5  # points of accuracy; fixed before the run
RETURNED = 0.02  # of the target's variance: an output that has come back
SIGNS = {"worse": "−", "better": "+", "equivalent": "=", "undecided": "?"}


def kink(residual: Mapping[str, float], ranks: Sequence[int], lowest: float) -> Claim:
    """Homogeneous about the data mean, of the derived ranks, and not below the floor.

    residual: arm -> of ReLU.  ranks, lowest error / floor: of ReLU none, ReLU gamma, tanh none.
    """
    rough = max(residual["none"], residual["gamma"])
    return Claim(
        "capacity-kink",
        verdict(rough <= 1e-10 and list(ranks) == [3, 3, 2] and lowest >= 0.99),
        f"Homogeneity residual {rough:.1e} without beta ({residual['beta']:.1f} with it); ranks "
        f"{list(ranks)} for ReLU none, ReLU gamma, tanh none; lowest trained error / floor "
        f"{lowest:.4f}.",
    )


def band_ceiling(shallow: Iterable[Arms], deep: Arms) -> Claim:
    """Without beta at or below the ceiling at depth 1, in every seed above it at depth 2.

    Undecided where gamma and beta do not lift the deep network above it, either: it did not learn.
    shallow: on training and on fresh rows.  deep: on fresh rows.
    """
    over = max((arms.score[a] - arms.limit).max() for arms in shallow for a in ("none", "gamma"))
    below, learned = over <= 1e-12, (deep.score["both"] > deep.limit).all()
    return Claim(
        "capacity-band-ceiling",
        verdict(below and (deep.score["none"] > deep.limit).all(), tested=learned or not below),
        f"Largest excess of none and gamma over the sample's ceiling {over:.4f} at depth 1; at "
        f"depth 2 normalize-only has {deep.score['none'].mean():.3f}, ceiling "
        f"{deep.limit.mean():.3f}.",
    )


def beta_restores(wave: Arms, band: Arms) -> Claim:
    """Beta beats gamma, by its interval, and the limit, on average: on both tasks, one, none.

    Undecided where the network with both does not beat the limit on each task.
    ReLU.  wave: errors and floors.  band: accuracies and ceilings at depth 1 on fresh rows.
    """
    less = statistics.paired_difference(wave.score["gamma"], wave.score["beta"])
    more = statistics.paired_difference(band.score["beta"], band.score["gamma"])
    ratio, beyond = wave.ratio("beta").mean(), (band.score["beta"] - band.limit).mean()
    learned = wave.ratio("both").mean() < 1 and (band.score["both"] > band.limit).mean() > 0.5
    return Claim(
        "capacity-beta-restores",
        count([less.low > 0 and ratio < 1, more.low > 0 and beyond > 0], tested=learned),
        f"ReLU, error of gamma minus beta on the wave {_with_ends(less)}, beta at {ratio:.2f} of "
        f"the floor; accuracy gained on the bands {_with_ends(more)}.",
    )


def linear_regime(shares: pd.DataFrame) -> Claim:
    """Nonlinear share below 5 %: all activations, some, none."""
    share = shares.quadrature
    agree = (shares.low < share) & (share < shares.high)
    return Claim(
        "capacity-linear-regime",
        count(share < 0.05),
        "Nonlinear share at gamma = 1, beta = 0: "
        + ", ".join(f"{name} {value:.3f}" for name, value in share.items())
        + f"; {agree.sum()} of {len(share)} inside their simultaneous Monte Carlo intervals, "
        f"formulas off by at most {(share - shares.formula).abs().max():.1e}.",
    )


def output_floor(errors: Mapping[str, np.ndarray], floor: Mapping[str, float]) -> Claim:
    """No seed below its floor, and every mean within 2 % of the target's variance above it.

    Undecided where none is below and the network with both stays away from its floor, too.
    errors: arm -> mean squared error, (S,).
    """
    excess = {arm: error - floor[arm] for arm, error in errors.items()}
    least = min(float(values.min()) for values in excess.values())
    learned = errors["both"].mean() <= RETURNED * TARGET[1] ** 2
    slack = max(statistics.mean_interval(v).high for v in excess.values()) / TARGET[1] ** 2
    means = (f"{arm} {e.mean():.3f} (floor {floor[arm]:.0f})" for arm, e in errors.items())
    return Claim(
        "capacity-output-floor",
        verdict(
            least >= -1e-9 and slack <= RETURNED, least >= -1e-9, tested=learned or least < -1e-9
        ),
        f"Errors {', '.join(means)}; smallest excess {least:.4f}, largest upper end {slack:.2%} "
        "of the target's variance.",
    )


def batch_scale(cells: Mapping[tuple[str, str, str], Interval]) -> Claim:
    """One half inside the interval where theory says chance, above 0.7 in every other cell.

    Undecided where the positive control, the network without norm, did not learn.
    cells: (norm, design, mode) -> interval of the accuracy.
    """
    blind = {key: bool(inside(0.5, cells[key])) for key in cells if key[:2] in CHANCE}
    learns = [cells[key].low > 0.7 for key in cells if key not in blind]
    return Claim(
        "capacity-batch-scale",
        verdict(all(blind.values()) and all(learns), tested=learned(cells)),
        f"Accuracy with BN: {_with_ends(cells['BN', 'batch', 't'])} if the batch shares the scale, "
        f"{cells['BN', 'sample', 't'].estimate:.3f} if each row has its own; chance inside "
        f"{sum(blind.values())} of {len(blind)} intervals, {sum(learns)} of {len(learns)} other "
        f"cells learned, the positive control at {cells['plain', 'batch', 'e'].estimate:.3f}.",
    )


def learned(cells: Mapping[tuple[str, str, str], Interval]) -> bool:
    """Whether the positive control read the scale that the batch shares."""
    return cells["plain", "batch", "e"].low > 0.7


def any_information(
    error: float, kinks: Claim, cells: Mapping[tuple[str, str, str], Interval]
) -> Claim:
    """A fixed location and scale come back, a scale that the batch shares does: both, one, none.

    Undecided where a control did not learn.  error: of the normalized output with both, as a share
    of the target's variance.  kinks: `beta_restores`.  cells: as `batch_scale` takes them.
    """
    tested = learned(cells) and error < RETURNED and kinks.verdict != UNDECIDED
    restored, lost = {"holds": 2, "partly": 1}.get(kinks.verdict, 0), cells["BN", "batch", "t"]
    back, kept = error < RETURNED, lost.low > 0.5
    return Claim(
        "capacity-any-information",
        count([back and restored == 2, kept], tested=tested),
        f"A fixed location and scale {'come' if back else 'do not come'} back (output error "
        f"{error:.2%} of the variance; kinks in {restored} of 2 tasks); a scale shared by the "
        f"batch {'does' if kept else 'does not'} (accuracy {lost.estimate:.3f} in training mode, "
        "gamma and beta trained).",
    )


def absorption(exact: Mapping[str, float], rest: Mapping[str, float]) -> Claim:
    """Relative errors: rounding where gamma can be absorbed, more than 1e-3 where not."""
    worst, least = max(exact.values()), min(rest.values())
    return Claim(
        "capacity-absorption",
        verdict(worst <= 1e-12 and least > 1e-3),
        f"Largest relative error {worst:.1e} over {len(exact)} absorbable cases; at least "
        f"{least:.3f} of the output is left by the best next layer in the {len(rest)} others.",
    )


class Compared(NamedTuple):
    """An arm against another in its row of the table, in points of test accuracy.

    delta, low, high: paired mean and 95 % t-interval, corrected for splits that share rows.
    p: Holm's, over all comparisons made.  verdict of the arm: "worse" or "better" (p < 0.05),
    "equivalent" (within half a point, two one-sided tests, Holm's p < 0.05, too), else "undecided".
    """

    data: str
    architecture: str
    arm: str
    delta: float
    low: float
    high: float
    p: float
    verdict: str


def compare(runs: Iterable[Run], against: str = "both") -> list[Compared]:
    """Each arm minus `against`, wherever both were run."""
    table = {_row(r): (100 * np.array(r["accuracy"]), r["overlap"]) for r in runs}
    rows = [row for row in table if row[2] != against and (*row[:2], against) in table]
    pairs: list[Paired] = []
    alike: list[float] = []
    for row in rows:
        (ours, overlap), (others, _) = table[row], table[(*row[:2], against)]
        pairs.append(statistics.paired_difference(ours, others, overlap=overlap))
        alike.append(statistics.equivalence_p(ours, others, MARGIN, overlap=overlap))
    apart, within = (statistics.holm(p).tolist() for p in ([pair.p for pair in pairs], alike))
    compared = []
    for row, pair, p, p_alike in zip(rows, pairs, apart, within, strict=True):
        side = "worse" if pair.estimate < 0 else "better"
        null = "equivalent" if p_alike < 0.05 else "undecided"
        compared.append(Compared(*row, *pair[:3], p, side if p < 0.05 else null))
    return compared


def beats(run: Run, chance: float) -> bool:
    """Whether a row learned: a quarter of the way from the most frequent class to no error."""
    return float(np.mean(run["accuracy"])) > chance + (1 - chance) / 4


class Judged(NamedTuple):
    """The runs that verdicts are taken over, and whose they are."""

    source: str
    runs: Sequence[Run]
    table: list[Compared]  # each against both
    contradicted: int  # comparisons that this run and the stored one decide in opposite directions
    tested: bool = True


def judge(runs: Sequence[Run], stored: Sequence[Run], *, learned: bool = True) -> Judged:
    """The stored table, unless there is none or these runs contradict it; then these runs.

    learned: whether the networks with both did; runs that learned nothing contradict nothing.
    """
    ours, full = compare(runs), compare(stored) if stored else []
    decided = {row[:3]: row.verdict for row in full}
    opposed = sum({row.verdict, decided.get(row[:3])} == {"worse", "better"} for row in ours)
    if stored and not (opposed and learned):
        return Judged("the stored table", stored, full, 0)
    return Judged("this run", runs, ours, opposed, learned)


def fell(table: Iterable[Compared], arm: str) -> dict[str, int]:
    """How often each verdict fell on an arm."""
    verdicts = [row.verdict for row in table if row.arm == arm]
    return {name: verdicts.count(name) for name in SIGNS}


def ablation(judged: Judged) -> Claim:
    """Normalize-only worse than both: in most rows, in some, in none."""
    needed = majority(row.verdict == "worse" for row in judged.table if row.arm == "none")
    return Claim(
        "capacity-ablation",
        needed if judged.tested else UNDECIDED,
        f"Normalize-only against both, rows of {judged.source}: {_tally(judged.table, 'none')}; "
        f"{len(judged.table)} comparisons; contradicted by this run: {judged.contradicted}.",
    )


def affine_alone(judged: Judged) -> Claim:
    """Holds: affine equivalent to both everywhere.  Fails: normalize-only beats it mostly."""
    to_affine = compare(judged.runs, "affine")
    alike = all(row.verdict == "equivalent" for row in judged.table if row.arm == "affine")
    beaten = majority(row.verdict == "better" for row in to_affine if row.arm == "none")
    return Claim(
        "capacity-affine-alone",
        verdict(alike and judged.tested, beaten != "holds", tested=judged.tested),
        f"Rows of {judged.source}: normalize-only against affine {_tally(to_affine, 'none')}; "
        f"affine against both {_tally(judged.table, 'affine')}.",
    )


def logit_floor(gap: float, over: Mapping[str, np.ndarray]) -> Claim:
    """Attained by one-hot logits; none and beta not under it, gamma and both under it.

    Undecided where not even the network without norm gets under it.
    gap: between one-hot logits and the floor.  over: arm -> training cross-entropy / floor, (S,).
    """
    stays = min(over[arm].min() for arm in ("none", "beta"))
    goes = max(over[arm].mean() for arm in ("gamma", "both"))
    sound = gap <= 1e-10 and stays >= 0.98
    return Claim(
        "capacity-logit-floor",
        verdict(sound and goes < 1, tested=over["plain"].mean() < 1 or not sound),
        f"One-hot logits attain the floor to {gap:.1e}; training cross-entropy of none and beta at "
        f"least {stays:.3f} of it, mean of gamma and both at most {goes:.3f}.",
    )


def summary(runs: Sequence[Run]) -> dict[tuple[str, str], dict[str, str]]:
    """Mean accuracy in percent, verdict against both, chosen rate, mean training cross-entropy.

    Returns (data, architecture) -> arm -> for example "97.8 = | 0.2* | 0.004"; a star marks a rate
    at the edge of its grid, an exclamation mark a run in which a seed diverged.
    """
    sign = {row[:3]: f" {SIGNS[row.verdict]}" for row in compare(runs)} if runs else {}
    table: dict[tuple[str, str], dict[str, str]] = {}
    for r in runs:
        rate = f"{r['rate']:g}{'*' * r['edge']}{'!' * bool(r['diverged'])}"
        accuracy = f"{100 * np.mean(r['accuracy']):.1f}{sign.get(_row(r), '')}"
        cell = f"{accuracy} | {rate} | {np.mean(r['loss']):.3f}"
        table.setdefault((r["data"], r["architecture"]), {})[r["arm"]] = cell
    return table


def gains(runs: Iterable[Run]) -> dict[tuple[str, str], tuple[Paired, bool]]:
    """(data, setting) -> gamma, beta minus as many random weights, in points; whether it counts.

    It does if the 95 % interval lies above 0 and gamma, beta reach at least three times the share
    of the most frequent class.
    """
    gained = {}
    for setting, cell in _subset_pairs(runs).items():
        ours, others = (100 * np.array(r["accuracy"]) for r in cell)
        points = statistics.paired_difference(ours, others, overlap=cell[0]["overlap"])
        gained[setting] = points, bool(points.low > 0 and ours.mean() > 300 * cell[0]["chance"])
    return gained


def _subset_pairs(runs: Iterable[Run]) -> dict[tuple[str, str], list[Run]]:
    """(data, setting) -> the run of gamma, beta and that of as many random weights."""
    table = {(r["data"], r["setting"], r["subset"]): r for r in runs}
    settings = dict.fromkeys(row[:2] for row in table)
    return {s: [table[(*s, name)] for name in ("gamma, beta", "random weights")] for s in settings}


def own_rate_gains(runs: Iterable[Run]) -> dict[tuple[str, str], tuple[Interval, bool]]:
    """`gains` with intervals that hold together, and whether both rates are in the grid."""
    pairs = _subset_pairs(runs)
    level, gained = simultaneous(len(pairs)), {}
    for setting, (ours, others) in pairs.items():
        points = 100 * (np.array(ours["accuracy"]) - np.array(others["accuracy"]))
        interval = statistics.mean_interval(points, level, ours["overlap"])
        gained[setting] = interval, not (ours["edge"] or others["edge"])
    return gained


def affine_against_random(gained: Mapping[tuple[str, str], tuple[Interval, bool]]) -> Claim:
    """Settings ahead at rates inside the grid: all, some; none, and all tested ones behind."""
    inside_grid = [gain for gain, inside in gained.values() if inside]
    ahead = [gain.low > 0 for gain in inside_grid]
    behind = bool(inside_grid) and all(gain.high < 0 for gain in inside_grid)
    differences = "; ".join(
        f"{', '.join(setting)} {_with_ends(gain, 1)}{'' if tested else ' (at the edge)'}"
        for setting, (gain, tested) in gained.items()
    )
    return Claim(
        "capacity-affine-against-random",
        verdict(sum(ahead) == len(gained), any(ahead), tested=any(ahead) or behind),
        f"Gamma and beta minus as many random weights, each at its own rate, in points: "
        f"{differences}.",
    )


def train_only_affine(runs: Sequence[Run], stored: Sequence[Run]) -> Claim:
    """Settings that count: all, some, none; of the stored runs unless these contradict them.

    They do where intervals of the same setting lie on opposite sides of 0.  Undecided without a
    stored run where even training everything does not beat chance.
    """
    whole = next((r for r in runs if r["subset"] == "all"), None)
    learned = whole is None or beats(whole, whole["chance"])
    ours, full = gains(runs), gains(stored)
    both = [(ours[setting][0], full[setting][0]) for setting in ours if setting in full]
    opposed = learned and any(a.low > 0 > b.high or b.low > 0 > a.high for a, b in both)
    taken = full if full and not opposed else ours
    source = "the stored table" if taken is full else "this run"
    differences = "; ".join(_with_ends(points, 1) for points, _ in taken.values())
    return Claim(
        "capacity-train-only-affine",
        count((counts for _, counts in taken.values()), tested=learned or taken is full),
        f"Gamma and beta minus as many random weights, in points, settings of {source}: "
        f"{differences}. In this run: {_with_ends(next(iter(ours.values()))[0], 1)}.",
    )


def _row(run: Run) -> tuple[str, str, str]:
    return run["data"], run["architecture"], run["arm"]


def _tally(table: Iterable[Compared], arm: str) -> str:
    return ", ".join(f"{number} {name}" for name, number in fell(table, arm).items())


def _with_ends(interval: Any, digits: int = 3) -> str:
    estimate, low, high = (f"{value:.{digits}f}" for value in interval[:3])
    return f"{estimate} [{low}, {high}]"
