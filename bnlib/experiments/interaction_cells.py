"""From one-step measurements to verdicts: paired differences cell by cell, and the rules.

A cell is (activation, L, state, how steps are matched, size); the frames are those of
`interactions.survey`. Intervals are bootstrap percentile intervals of a median over seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from bnlib import statistics
from bnlib.experiments import lists
from bnlib.interactions import survey
from bnlib.networks import arms, spec

CELL = ["activation", "L", "state", "matched", "size"]
COMPARED = ("none", "frozen", "bn")  # arms of every cell
JUDGED = 4  # weight matrices from which on a cell counts
CHECKS: dict[str, lists.Check] = {
    "activations": lists.names(tuple(spec.ACTIVATIONS), among=("relu",)),
    "others": lists.names(arms.ARMS, without=COMPARED),
    "depths": lists.whole(2, some=JUDGED),
    "line_depths": lists.whole(2, count=2),
    "r_values": lists.ascending,
    "c_values": lists.ascending,
}


def medians(frame: pd.DataFrame, what: str, by: Sequence[str], seed: int = 0) -> pd.DataFrame:
    """Median over seeds with its bootstrap interval, one row for each group of `by`."""
    wide = frame.pivot_table(index="seed", columns=list(by), values=what, sort=False)
    found = statistics.median_interval(wide.to_numpy(), rng=np.random.default_rng(seed))
    return pd.DataFrame(found._asdict(), index=wide.columns)


def differences(
    frame: pd.DataFrame, what: str, first: str, second: str, seed: int = 0
) -> pd.DataFrame:
    """Median of first - second over common seeds with its bootstrap interval, one row a cell."""
    wide = frame.pivot_table(index="seed", columns=["arm", *CELL], values=what, sort=False)
    return statistics.column_medians(pd.DataFrame(wide[first] - wide[second]), seed)


def reduced(rows: pd.DataFrame) -> str:
    """Verdict on "BN reduces it", from one row a cell: medians of BN - none, L >= 4.

    holds: below 0 in every ReLU cell and in some cell of another activation.  partly: below 0
    somewhere, above 0 nowhere.  fails: otherwise.
    """
    rows = pd.DataFrame(rows[rows.index.get_level_values("L") >= JUDGED])
    relu = _relu(rows)
    below, above = rows.sign < 0, rows.sign > 0
    if below[relu].all() and below[~relu].any():
        return "holds"
    return "partly" if below.any() and not above.any() else "fails"


def _relu(rows: pd.DataFrame) -> np.ndarray:
    relu = np.asarray(rows.index.get_level_values("activation") == "relu")
    if not relu.any():
        raise ValueError("want ReLU cells with L >= 4, which the decision rule needs, got none")
    return relu


def explained(frame: pd.DataFrame, what: str) -> pd.DataFrame:
    """What frozen statistics already give, one row a cell.

        phi = median(frozen - none) / median(bn - none)

    with its 95 % bootstrap interval over seeds (wide, or beyond 0 and 1, where bn - none is about
    0), and the interval of BN - frozen.  verdict: "holds" if that lies below 0 and phi < 1/2,
    "partly" if it lies below 0, else "fails".
    """
    rows = differences(frame, what, "bn", "frozen")
    wide = frame.pivot_table(index="seed", columns=["arm", *CELL], values=what, sort=False)
    gains = (pd.DataFrame(wide[arm] - wide["none"]) for arm in ("frozen", "bn"))
    part, whole = (np.asarray(gain[list(rows.index)]) for gain in gains)
    picks = np.random.default_rng(0).integers(len(part), size=(2000, len(part)))
    with np.errstate(divide="ignore", invalid="ignore"):
        drawn = np.median(part[picks], axis=1) / np.median(whole[picks], axis=1)
        phi = np.median(part, axis=0) / np.median(whole, axis=0)
    low, high = np.quantile(drawn, (0.025, 0.975), axis=0)
    below = rows.sign < 0
    verdict = np.where(below & (phi < 0.5), "holds", np.where(below, "partly", "fails"))
    found = {"phi": phi, "phi low": low, "phi high": high, "verdict": verdict}
    return pd.DataFrame(rows.assign(**found))


def against_others(frame: pd.DataFrame, what: str, others: Sequence[str]) -> pd.DataFrame:
    """The sign of bn - X for every other arm X, one row a cell, one column an arm.

    verdict: "holds" where BN lies below every X, "partly" where below some, else "fails".
    """
    signs = pd.DataFrame({x: differences(frame, what, "bn", x).sign for x in others})
    below = (signs < 0).sum(axis=1)
    verdict = np.where(below == len(others), "holds", np.where(below > 0, "partly", "fails"))
    return pd.DataFrame(signs.assign(verdict=verdict))


def over_cells(rows: pd.DataFrame) -> str:
    """One verdict out of the column `verdict` of the ReLU cells with L >= 4.

    holds: all of them hold.  fails: at least half fail.  partly: otherwise.
    """
    rows = pd.DataFrame(rows[rows.index.get_level_values("L") >= JUDGED])
    verdicts = rows.verdict[_relu(rows)]
    if (verdicts == "holds").all():
        return "holds"
    return "fails" if (verdicts == "fails").mean() >= 0.5 else "partly"


def slope_in_depth(frame: pd.DataFrame, what: str, seed: int = 0) -> pd.DataFrame:
    """Theil-Sen slope in L of none - bn, one row a state and step size, bootstrapped over seeds.

    The median over seeds of each seed's median slope over pairs of depths.
    """
    wide = frame.pivot_table(
        index="seed", columns=["arm", "state", "size", "L"], values=what, sort=False
    )
    gain, found = pd.DataFrame(wide["none"] - wide["bn"]).sort_index(axis=1), {}
    for cell in gain.columns.droplevel("L").unique():
        line = gain[cell]
        pairs = [(a, b) for a, b in product(line, line) if a < b]
        found[cell] = np.median([(line[b] - line[a]) / (b - a) for a, b in pairs], axis=0)
    return statistics.column_medians(
        pd.DataFrame(found).rename_axis(columns=["state", "size"]), seed
    )


def sides(rows: pd.DataFrame) -> tuple[int, int, int]:
    """Numbers of cells below 0, above 0, and of all."""
    return int((rows.sign < 0).sum()), int((rows.sign > 0).sum()), len(rows)


def tally(rows: pd.DataFrame) -> str:
    """How many ReLU cells have which verdict, in words."""
    counts = rows.verdict[_relu(rows)].value_counts().reindex(["holds", "partly", "fails"])
    holds, partly, fails = (int(n) for n in counts.fillna(0))
    return (
        f"Of {holds + partly + fails} ReLU cells {holds} hold, {partly} hold partly, {fails} fail"
    )


def bands(rows: pd.DataFrame, names: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Lines and bands for a figure: rows of `medians` by name and then by the horizontal axis."""
    parts = {name: rows.xs(name).sort_index() for name in names}
    lines = {name: part.estimate.to_numpy() for name, part in parts.items()}
    return lines, {n: (part.low.to_numpy(), part.high.to_numpy()) for n, part in parts.items()}


def confounds(
    seeds: Sequence[int],
    settings: Mapping[str, Mapping[str, Any]],
    changes: Mapping[str, Mapping[str, Any]],
) -> pd.DataFrame:
    """BN - none and BN - frozen of int at r = 1/2, eight layers: one row a setting and change.

    settings, changes: name -> options of `survey`.  With small weights (`factor`) the network
    without norm has no signal left and is left out.
    """
    found = {}
    for (setting, at), (change, given) in product(settings.items(), changes.items()):
        others = ["frozen"] if "factor" in given else ["none", "frozen"]
        run = survey([*others, "bn"], seeds, r_values=[0.5], **{**at, **given})
        for other in others:
            found[setting, f"BN - {other}", change] = differences(run, "int", "bn", other).iloc[0]
    return pd.DataFrame(found).T.drop(columns="sign").astype(float)


def described(frame: pd.DataFrame, what: str, first: str = "bn", second: str = "none") -> Any:
    """Every cell for the eye: both medians, their paired difference, its interval, all seeds."""
    wide = frame.pivot_table(index="seed", columns=["arm", *CELL], values=what, sort=False)
    gap, rows = wide[first] - wide[second], differences(frame, what, first, second)
    return pd.DataFrame(
        {
            second: wide[second].median().map("{:.3f}".format),
            first: wide[first].median().map("{:.3f}".format),
            f"{first} - {second}": rows.estimate.map("{:+.3f}".format),
            "95 % interval": _pair(rows.low, rows.high),
            "all seeds": _pair(gap.min(), gap.max()),
            "reading": rows.sign.map({-1.0: "below 0", 0.0: "open", 1.0: "above 0"}),
        }
    ).droplevel("matched")


def _pair(low: Any, high: Any) -> pd.Series:
    return low.map("{:+.3f}".format) + " to " + high.map("{:+.3f}".format)
