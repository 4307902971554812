"""The stored table of the chapter: what `register.toml` names, part by part.

    python -m bnlib.chapters.transfer.stored results/transfer-full.json

computes what is missing, some tens of CPU minutes, and keeps finished parts if it is stopped.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bnlib import stored
from bnlib.chapters.transfer import domains, measure, mixtures
from bnlib.training import one_thread

HERE = Path(__file__).parent
SEEDS, STEPS, LABELS = range(12), 500, (20, 50, 200, 1000)
RATES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
WAYS = {"MNIST to digits": ("mnist", "digits"), "digits to MNIST": ("digits", "mnist")}
SOURCES = {"with": None, "without": ("W", "b")}  # what of a source is trained
HEAD = {"head": measure.SUBSETS["head"]}
FULL = measure.SUBSETS | measure.SINGLE


def subsets(
    way: str, source: str, seeds: Sequence[int] = SEEDS, labels: Sequence[int] = LABELS
) -> list[dict[str, Any]]:
    """A line a subset and number of labels; a source without gamma and beta gets a head alone."""
    start, target = WAYS[way]
    trained = domains.source(start, seeds, steps=STEPS, trainable=SOURCES[source])
    rows = domains.target(target, seeds)
    chosen = FULL if source == "with" else HEAD
    arms = measure.subsets(trained, rows, RATES, labels, chosen)
    key = {"way": way, "source": source}
    return [
        {**key, "tuned": name, "labels": n, "aside": arm.aside.tolist(), "test": arm.test.tolist()}
        for (name, n), arm in arms.items()
    ]


def arms(rows: Sequence[dict[str, Any]]) -> dict[tuple[str, str, str, int], measure.Arm]:
    """Rows of `subsets` as arms, by way, source, what is tuned and number of labels."""
    made = {}
    for row in rows:
        aside, test = (np.array(row[name]) for name in ("aside", "test"))
        key = row["way"], row["source"], row["tuned"], row["labels"]
        made[key] = measure.Arm(RATES, aside, test, aside > np.inf, np.empty((0, *test.shape)))
    return made


@one_thread()
def redo(path: str | Path) -> None:
    """Run what is missing from the table at `path`, writing it after every part."""
    path = Path(path)
    digest = hashlib.sha256((HERE / "register.toml").read_bytes()).hexdigest()
    table = stored.started(path, {"register": digest, "versions": stored.versions()})
    parts: dict[str, list[dict[str, Any]]] = {name: table.setdefault(name, []) for name in PARTS}
    done = {(row["way"], row["source"]) for row in parts["subsets"]}
    for way in WAYS:
        for source in SOURCES:
            if (way, source) not in done:
                parts["subsets"] += stored.short(subsets(way, source))
                stored.write(path, table)
    for name in mixtures.NETWORKS:
        if name not in {row["network"] for row in parts["mixtures"]}:
            parts["mixtures"] += stored.short(mixtures.table(name))
            stored.write(path, table)


PARTS = "subsets", "mixtures"

if __name__ == "__main__":
    redo(sys.argv[1])
