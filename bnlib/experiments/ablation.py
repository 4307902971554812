"""What gamma and beta are worth on real data: six arms, each at its own best learning rate.

An arm is trained with all seeds at once. A seed has the same split, start and batch order in every
arm, so arms are compared seed by seed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from bnlib import data, floors, statistics, training
from bnlib.networks.arms import AFFINE_ARMS
from bnlib.networks.seed_batched import SeedBatchedMLP
from bnlib.networks.spec import Spec

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "relu-1": {"depth": 1},
    "relu-1, logits": {"depth": 1, "logits": True},
    "relu-3": {"depth": 3},
    "relu-3, post": {"depth": 3, "order": "post"},
    "tanh-3": {"depth": 3, "activation": "tanh"},
    "sigmoid-3": {"depth": 3, "activation": "sigmoid"},
}
"""Hidden layers and where the norm sits: before the activation, after it, or on logits too."""

MARGIN = 0.5  # points of accuracy; fixed before the run
Run = dict[str, Any]
Settings = dict[str, Any]


def splits(name: str | Path, seeds: Sequence[int], *, batch: int) -> data.Split:
    """One split a seed, stacked: x (S, n, d), y (S, n).

    Raises what `data.load` raises, and ValueError where a fifth of the training rows cannot be
    held out of a batch: before anything is trained.
    """
    loaded = [data.load(name, seed) for seed in seeds]
    kept = len(loaded[0].y_train) - held_out(loaded[0].y_train)
    if not 2 <= batch <= kept:
        raise ValueError(
            f"batch: want 2 to {kept} rows, got {batch}; {name} has {len(loaded[0].y_train)} "
            "training rows, of which a fifth is held out to choose the learning rate"
        )
    return data.Split(*(np.stack(part) for part in zip(*loaded, strict=True)))


def held_out(y: np.ndarray) -> int:
    """Rows of the training set that choose the learning rate: a fifth."""
    return max(1, y.shape[-1] // 5)


def spec(arm: str, architecture: str, rows: data.Split, width: int) -> Spec:
    """The network of an arm on these rows. Raises ValueError for a width below 1."""
    options: Settings = {"norm": "batch"} | ARCHITECTURES[architecture] | AFFINE_ARMS[arm]
    depth, logits = options.pop("depth"), options.pop("logits", False)
    sizes = (rows.x_train.shape[-1], *(width,) * depth, rows.classes)
    return Spec(sizes, output_norm=options["norm"] if logits else "none", **options)


def run(
    name: str,
    architecture: str,
    arm: str,
    rows: data.Split,
    seeds: Sequence[int],
    *,
    width: int,
    rates: Sequence[float],
    steps: int,
    batch: int,
) -> Run:
    """Choose the rate on held-out training rows, train on all of them, test once.

    Returns plain values, one a seed where they are lists: accuracy on the test rows and
    cross-entropy on the training rows, both with recalibrated statistics.
    """
    what, where = spec(arm, architecture, rows, width), (rows.x_train, rows.y_train)
    recipe: Settings = {"steps": steps, "batch": batch, "momentum": 0.9, "schedule": "cosine"}
    recipe |= {"dtype": torch.float32}
    picked = training.pick_rate(
        what, seeds, *where, rates=rates, held_out=held_out(rows.y_train), **recipe
    )
    net = SeedBatchedMLP(what, seeds, recipe.pop("dtype"))
    history = training.train(net, *where, lr=picked.rate, **recipe)
    return {
        "data": Path(name).name,
        "architecture": architecture,
        "arm": arm,
        "rate": picked.rate,
        "edge": picked.at_edge,
        "diverged": int(history.diverged.sum()),
        **training.scores(net, rows),
    }


def compare(runs: Iterable[Run], against: str = "both") -> list[dict[str, Any]]:
    """Each arm minus `against` in its row of the table, in points of test accuracy.

    delta, low, high: paired mean and 95 % t-interval.  p: Holm's, over all comparisons given.
    verdict of the arm: "worse" or "better" (p < 0.05), "equivalent" (the 90 % interval lies within
    half a point), else "undecided".
    """
    table = {(r["data"], r["architecture"], r["arm"]): r for r in runs}
    found = []
    for (name, architecture, arm), r in table.items():
        if arm == against or (name, architecture, against) not in table:
            continue
        own = 100 * np.array(r["accuracy"])
        other = 100 * np.array(table[name, architecture, against]["accuracy"])
        pair = statistics.paired_difference(own, other)
        alike = statistics.equivalent(own, other, MARGIN)
        found.append(
            {"data": name, "architecture": architecture, "arm": arm, "alike": alike}
            | {"delta": pair.estimate, "low": pair.low, "high": pair.high, "p": pair.p}
        )
    for row, p in zip(found, statistics.holm([row["p"] for row in found]), strict=True):
        row["p"] = float(p)
        side = "worse" if row["delta"] < 0 else "better"
        row["verdict"] = side if p < 0.05 else "equivalent" if row.pop("alike") else "undecided"
        row.pop("alike", None)
    return found


def needed(table: Sequence[dict[str, Any]]) -> str:
    """Verdict on "gamma and beta are needed": holds in most rows, partly in some, fails in none.

    table: as from `compare` against "both"; its rows of arm "none" count.
    """
    worse = [row["verdict"] == "worse" for row in table if row["arm"] == "none"]
    return "holds" if 2 * sum(worse) > len(worse) else "partly" if any(worse) else "fails"


def affine_alone(runs: Sequence[Run]) -> str:
    """Verdict on "y = gamma x + beta without normalizing would do as well".

    holds: affine equivalent to both in every row.  fails: `none` significantly better than affine
    in most rows (Holm).  Otherwise partly.
    """
    to_both = [r["verdict"] for r in compare(runs) if r["arm"] == "affine"]
    beaten = [r["verdict"] == "better" for r in compare(runs, "affine") if r["arm"] == "none"]
    if all(verdict == "equivalent" for verdict in to_both):
        return "holds"
    return "fails" if 2 * sum(beaten) > len(beaten) else "partly"


def contradictions(table: Sequence[dict[str, Any]], other: Sequence[dict[str, Any]]) -> list[str]:
    """Comparisons that two tables both make and decide in opposite directions."""
    key = ("data", "architecture", "arm")
    decided = {tuple(row[k] for k in key): row["verdict"] for row in other}
    return [
        ", ".join(row[k] for k in key)
        for row in table
        if {row["verdict"], decided.get(tuple(row[k] for k in key))} == {"worse", "better"}
    ]


class Judged(NamedTuple):
    """A table that verdicts are taken over.

    source: whose it is.  table: of `compare` to both.  runs: behind it.  against: comparisons in
    which this run contradicts the stored one.
    """

    source: str
    table: list[dict[str, Any]]
    runs: Sequence[Run]
    against: list[str]


def judge(runs: Sequence[Run], stored: Sequence[Run]) -> Judged:
    """The stored table, unless there is none or these runs contradict it; then these runs."""
    own, full = compare(runs), compare(stored) if stored else []
    against = contradictions(own, full)
    if stored and not against:
        return Judged("the stored table", full, stored, against)
    return Judged("this run", own, runs, against)


def tally(table: Sequence[dict[str, Any]], arm: str) -> str:
    """How often each verdict fell on an arm, in words."""
    fell = [row["verdict"] for row in table if row["arm"] == arm]
    kinds = ("worse", "better", "equivalent", "undecided")
    return ", ".join(f"{fell.count(kind)} {kind}" for kind in kinds)


def over_logit_floor(runs: Sequence[Run], y: np.ndarray) -> dict[str, np.ndarray]:
    """Training cross-entropy of the arms with normalized logits, in units of the floor, (S,).

    y: (S, n), the training labels, whose class shares set each seed's floor.
    """
    floor = np.array([floors.logit_floor(np.bincount(labels) / len(labels)) for labels in y])
    rows = (r for r in runs if r["architecture"] == "relu-1, logits")
    return {r["arm"]: np.array(r["loss"]) / floor for r in rows}


SIGNS = {"worse": "−", "better": "+", "equivalent": "=", "undecided": "?"}


def summary(runs: Sequence[Run]) -> dict[tuple[str, str], dict[str, str]]:
    """Mean accuracy in percent, verdict against both, chosen rate, mean training cross-entropy.

    Returns (data, architecture) -> arm -> for example "97.8 = | 0.2* | 0.004"; a star marks a rate
    at the edge of its grid, an exclamation mark a run in which a seed diverged.
    """
    key = ("data", "architecture", "arm")
    fell = {tuple(row[k] for k in key): SIGNS[row["verdict"]] for row in compare(runs)}
    table: dict[tuple[str, str], dict[str, str]] = {}
    for r in runs:
        name, architecture, arm = (r[k] for k in key)
        marks = "*" * r["edge"] + "!" * bool(r["diverged"])
        cell = f"{100 * np.mean(r['accuracy']):.1f} {fell.get((name, architecture, arm), '')}"
        cell = f"{cell.strip()} | {r['rate']:g}{marks} | {np.mean(r['loss']):.3f}"
        table.setdefault((name, architecture), {})[arm] = cell
    return table
