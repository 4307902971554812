"""The stored table of the chapter: all registered cells and lives, all seeds.

    python -m bnlib.chapters.residual.stored results/residual-full.json

computes what is missing, some tens of CPU minutes, and keeps finished rows if it is stopped.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bnlib import stored
from bnlib.chapters.residual import trained
from bnlib.chapters.residual.trained import CONVOLUTION, Cell
from bnlib.training import one_thread

HERE = Path(__file__).parent
REGISTER = "register.toml"
FOUR, MORE = ("one", "zero", "root", "no-blocks"), ("scalar", "skip-init", "fixup")
FULL: dict[str, Any] = {
    "seeds": 10,
    "convolution_seeds": 5,
    "powers": [-7, 3],
    "cells": {
        "digits": {"steps": 80, "forms": ["stream", "v1", "v1-head"], "blocks": [4, 16]},
        "mnist1d": {"steps": 160, "forms": ["stream", "v1"], "blocks": [4, 16]},
        CONVOLUTION: {"steps": 100, "forms": ["stream", "v1"], "blocks": [6]},
    },
    "life": {"blocks": 8, "steps": 400, "arms": ["one", "zero", "root", "skip-init"]},
    "decays": [5e-4, 5e-3, 5e-2],
}


def cells(full: Mapping[str, Any] = FULL) -> Iterator[tuple[Cell, str]]:
    """Every cell with every arm of it."""
    for dataset, how in full["cells"].items():
        for form in how["forms"]:
            for blocks in how["blocks"]:
                more = MORE if form == "stream" and dataset != CONVOLUTION else ()
                for arm in (*FOUR, *more):
                    yield Cell(dataset, form, blocks, how["steps"]), arm


def lives(full: Mapping[str, Any] = FULL) -> Iterator[tuple[Cell, str, float]]:
    """Every network that is followed: where, arm, decay of the last gamma."""
    how = full["life"]
    for dataset in ("digits", "mnist1d"):
        cell = Cell(dataset, "stream", how["blocks"], how["steps"])
        yield from ((cell, arm, 0.0) for arm in how["arms"])
        yield from ((cell, "zero", decay) for decay in full["decays"])


@one_thread()
def redo(path: str | Path, full: Mapping[str, Any] = FULL) -> dict[str, Any]:
    """Run what is missing from the table at `path`, writing it after every row."""
    path = Path(path)
    digest = hashlib.sha256((HERE / REGISTER).read_bytes()).hexdigest()
    head = {"register": digest, "parameters": dict(full), "versions": stored.versions()}
    table = stored.started(path, head)
    table |= {part: table.get(part, []) for part in ("rates", "lives")}
    for part, row in _missing(table, full):
        table[part].append(row)
        stored.write(path, table)
    return table


def _missing(table: Mapping[str, Any], full: Mapping[str, Any]) -> Iterator[tuple[str, dict]]:
    low, high = full["powers"]
    rates = [2.0**power for power in range(low, high + 1)]
    done = {(*(row[k] for k in Cell._fields), row["arm"]) for row in table["rates"]}
    for cell, arm in cells(full):
        if (*cell, arm) not in done:
            count = full["convolution_seeds" if cell.dataset == CONVOLUTION else "seeds"]
            run = trained.at_rates(cell, arm, range(count), rates)
            yield "rates", cell._asdict() | {"arm": arm} | stored.short(run)
    done = {(*(row[k] for k in Cell._fields), row["arm"], row["decay"]) for row in table["lives"]}
    for cell, arm, decay in lives(full):
        if (*cell, arm, decay) not in done:
            run = trained.life(cell, arm, range(full["seeds"]), decay=decay)
            yield (
                "lives",
                cell._asdict() | {"arm": arm, "decay": decay} | stored.short(summary(run)),
            )


def summary(run: trained.Life) -> dict[str, Any]:
    """What a table keeps of a life: nu of each seed at the end (median over blocks), and others."""
    return {
        "marks": run.marks,
        "nu": np.median(run.nu[-1], 1).tolist(),
        "nu_by_block": np.median(run.nu, 1).tolist(),
        "share_by_block": np.median(run.share, 0).tolist(),
        "negative": int((run.gamma < 0).sum()),
        "channels": int(run.gamma.size),
        "loss": run.loss.tolist(),
        "removed": np.median(run.removed, 1).tolist(),
        "depth": run.depth.tolist(),
    }


if __name__ == "__main__":
    redo(sys.argv[1])
