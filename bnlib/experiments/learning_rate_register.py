"""The registered analysis of the chapter `learning-rate`: correlations, intervals, verdicts.

What is tested, with which direction, in which cells and by which rule stands in
`results/learning-rate-register.toml`, which was written before any correlation was computed.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bnlib import statistics

FOLDER = Path(__file__).parents[2] / "results"
REGISTER = "learning-rate-register.toml"
DIRECTIONS = {"k_off": -1, "k_total": -1, "eps_up": 1, "baseline": 1, "share": -1}
STRONG = 0.3  # an interval above this: the predictor is more than a trace
CELL = ["activation", "L"]
BEYOND = ("k_off", "beyond")


def stored(name: str, digest: str) -> bytes | None:
    """The file results/`name` of this checkout, or None where there is none.

    The page names the SHA-256 of the file that it was written about, so that no edit slips in.
    Raises ValueError where the digest does not start with `digest`.
    """
    path = FOLDER / name
    if not path.is_file():
        return None
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if not digest or not found.startswith(digest):
        raise ValueError(
            f"{name}: want the file with SHA-256 {digest}..., got {found[:16]}...; it was changed "
            "after the chapter was written"
        )
    return content


def register(digest: str) -> dict[str, Any]:
    """The pre-registration, if it is the one with this digest.

    Raises FileNotFoundError where there is none: without it nothing is confirmatory.
    """
    content = stored(REGISTER, digest)
    if content is None:
        raise FileNotFoundError(f"want the register at {FOLDER / REGISTER}, found none")
    return tomllib.loads(content.decode())


def architectures(frame: pd.DataFrame) -> pd.DataFrame:
    """Medians over seeds, one row an architecture; directions are not applied."""
    numbers = frame.drop(columns=["seed", "half"], errors="ignore")
    return numbers.groupby([*CELL, "arm"], sort=False).median().reset_index()


def cells_of(table: pd.DataFrame) -> np.ndarray:
    """The cell of every row, as a label."""
    return (table.activation + " " + table.L.astype(str)).to_numpy()


def correlations(
    table: pd.DataFrame, target: str = "max_trainable", *, resamples: int = 2000
) -> pd.DataFrame:
    """Rank correlation of every registered predictor with the target, whole cells resampled.

    Rows: (predictor, kind); kind: pooled, within (mean over cells of the correlation inside a
    cell), partial (given the baseline), and for k_off "beyond" (its pooled one minus that of
    k_total).  Columns: estimate, low, high; positive is as registered.
    table: one row an architecture.
    """
    rows, clusters = _signed(table, target), cells_of(table)
    whole = _interval(rows, clusters, _statistics, resamples)
    kinds = [(name, kind) for kind in ("pooled", "partial") for name in DIRECTIONS]
    found = pd.DataFrame(whole._asdict(), index=pd.MultiIndex.from_tuples([*kinds, BEYOND]))
    for name, x in zip(DIRECTIONS, rows.T, strict=False):
        inside = statistics.within_group(x, rows[:, -1], clusters)
        inside = inside[np.isfinite(inside)]
        mean = _interval(inside, np.arange(len(inside)), np.mean, resamples)
        found.loc[(name, "within"), :] = list(mean)
    return found.drop(index=("baseline", "partial"))


def difference(
    table: pd.DataFrame,
    first: str,
    second: str,
    target: str = "max_trainable",
    *,
    resamples: int = 2000,
) -> statistics.Interval:
    """Pooled correlation of one predictor minus that of another, whole cells resampled."""
    names = list(DIRECTIONS)
    i, j = names.index(first), names.index(second)

    def apart(rows: np.ndarray) -> np.ndarray:
        pooled = statistics.rank_correlations(rows)[:-1, -1]
        return pooled[i] - pooled[j]

    return _interval(_signed(table, target), cells_of(table), apart, resamples)


def _signed(table: pd.DataFrame, target: str) -> np.ndarray:
    """Predictors times their directions, then the target: (architectures, 6)."""
    columns = [sign * table[name].to_numpy(dtype=float) for name, sign in DIRECTIONS.items()]
    return np.column_stack([*columns, table[target].to_numpy(dtype=float)])


def _statistics(rows: np.ndarray) -> np.ndarray:
    """Pooled and partial correlations of all predictors, and k_off's minus k_total's."""
    r, names = statistics.rank_correlations(rows), list(DIRECTIONS)
    z, pooled = names.index("baseline"), r[:-1, -1]
    partial = statistics.partial_from(pooled, r[:-1, z], pooled[z])
    gap = pooled[names.index("k_off")] - pooled[names.index("k_total")]
    return np.concatenate([pooled, partial, [gap]])


def predicts(found: Any) -> str:
    """holds: the interval lies above 0.3.  partly: above 0.  fails: otherwise."""
    return "holds" if found.low > STRONG else "partly" if found.low > 0 else "fails"


def above_zero(found: Any) -> str:
    """holds: the interval lies above 0.  fails: otherwise."""
    return "holds" if found.low > 0 else "fails"


def verdicts(table: pd.DataFrame, rows: pd.DataFrame | None = None) -> dict[str, tuple[str, Any]]:
    """The four predictor claims on the architectures of one half: claim -> (verdict, interval).

    rows: `correlations(table)`, where they are at hand.
    """
    rho = correlations(table) if rows is None else rows
    keys = ("share", "pooled"), ("k_off", "pooled"), ("k_off", "partial"), BEYOND
    share, raw, given, gap = (statistics.Interval(*rho.loc[key]) for key in keys)
    return {
        "share-predicts": (predicts(share), share),
        "raw-interaction-predicts": (predicts(raw), raw),
        "interaction-beats-total": (above_zero(gap), gap),
        "beyond-loss-over-gradient": (above_zero(given), given),
    }


def larger_rates(frame: pd.DataFrame, activation: str = "relu") -> tuple[str, pd.DataFrame]:
    """log2 of BN's largest rate over that of the plain network, paired by seed, a row a depth.

    holds: the 95 % t-interval lies above 0 at every depth.  partly: at some.  fails: otherwise.
    """
    own, rows = frame[frame.activation == activation], {}
    for depth, part in own.groupby("L"):
        wide = part.pivot_table(index="seed", columns="arm", values="max_trainable")
        rows[depth] = statistics.paired_difference(wide["bn"], wide["none"])._asdict()
    found = pd.DataFrame(rows).T.rename_axis("L")
    above = found.low > 0
    return ("holds" if above.all() else "partly" if above.any() else "fails"), found


def agreement(run: pd.DataFrame, kept: pd.DataFrame, what: str = "max_trainable") -> pd.Series:
    """Where a run and the stored table have the same architecture and seed: |difference| of both.

    Index: architecture and seed.  In grid steps for a target.
    """
    key = [*CELL, "arm", "seed"]
    both = run.set_index(key)[what].to_frame("run").join(kept.set_index(key)[what], how="inner")
    return pd.Series(both["run"] - both[what]).abs()


def shown(rows: pd.DataFrame | Mapping[Any, Any]) -> pd.Series:
    """Estimates with their intervals as text."""
    frame = pd.DataFrame(rows)
    columns = (frame[name] for name in ("estimate", "low", "high"))
    text = [f"{e:.2f} [{low:.2f}, {high:.2f}]" for e, low, high in zip(*columns, strict=True)]
    return pd.Series(text, index=frame.index)


def _interval(rows: Any, clusters: Any, statistic: Any, resamples: int) -> statistics.Interval:
    rng = np.random.default_rng(0)
    return statistics.cluster_bootstrap(rows, clusters, statistic, resamples=resamples, rng=rng)
