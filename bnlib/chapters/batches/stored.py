"""The stored table of the chapter: what `register.toml` names, each part once.

    python -m bnlib.chapters.batches.stored results/batches-full.json

computes what is missing, some CPU minutes, and keeps finished parts if it is stopped.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

from bnlib import stored
from bnlib.chapters.batches import convolutional, encoders
from bnlib.chapters.batches import diagnosis as causes
from bnlib.training import one_thread

HERE = Path(__file__).parent
SEEDS = {"evaluation": 8, "encoders": 3, "diagnosis": 6}


def diagnosis() -> list[dict[str, Any]]:
    """The lines of all causes and sizes; what the tree says is decided by who reads them."""
    return causes.sized_patients(SEEDS["diagnosis"]).to_dict("records")


def encoded() -> list[dict[str, Any]]:
    """A line an arm and seed."""
    seeds = range(SEEDS["encoders"])
    return [encoders.trained(arm, seed) for arm in encoders.ARMS for seed in seeds]


def evaluation() -> list[dict[str, Any]]:
    """A line a weight and seed of the convolutional network."""
    return convolutional.table(range(SEEDS["evaluation"]))


@one_thread()
def redo(path: str | Path) -> None:
    """Run what is missing from the table at `path`, writing it after every part."""
    path = Path(path)
    digest = hashlib.sha256((HERE / "register.toml").read_bytes()).hexdigest()
    table = stored.started(path, {"register": digest, "versions": stored.versions()})
    for part in (evaluation, encoded, diagnosis):
        if part.__name__ not in table:
            table[part.__name__] = stored.short(part())
            stored.write(path, table)


if __name__ == "__main__":
    redo(sys.argv[1])
