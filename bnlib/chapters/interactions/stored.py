"""The stored table of the section on times: all registered worlds, all seeds.

    python -m bnlib.chapters.interactions.stored results/interactions-times.json

computes what is missing, some tens of CPU minutes, and keeps finished rows if it is stopped.
"""

from __future__ import annotations

import hashlib
import sys
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from bnlib import stored
from bnlib.chapters.interactions import times

HERE = Path(__file__).parent
REGISTER = "register.toml"
SEEDS, AT_ONCE = 16, 4  # more at once leave the processor cache
WIDTHS, ACTIVATIONS = (32, 128, 256), ("relu", "tanh")


def redo(path: str | Path) -> None:
    """Run what is missing from the table at `path`, writing it after every world and arm."""
    path, digest = Path(path), hashlib.sha256((HERE / REGISTER).read_bytes()).hexdigest()
    table = stored.started(path, {"register": digest, "versions": stored.versions()})
    rows: list[dict[str, Any]] = table.setdefault("rows", [])
    done = {(row["width"], row["data"], row["activation"], row["arm"]) for row in rows}
    for place in product(WIDTHS, times.LEVELS, ACTIVATIONS, times.COMPARED):
        if place not in done:
            width, data, activation, arm = place
            world = times.World(data, activation, width)
            rows += _rows(world, arm)
            stored.write(path, table)


def _rows(world: times.World, arm: str) -> list[dict[str, Any]]:
    starts = range(0, SEEDS, AT_ONCE)
    runs = [dict(times.at_times(world, arm, range(n, n + AT_ONCE))) for n in starts]
    rows = []
    for time in times.TIMES:
        values = {key: np.concatenate([run[time][key] for run in runs]) for key in runs[0][time]}
        key = world._asdict() | {"time": time, "arm": arm}
        rows.append(key | stored.short({name: value.tolist() for name, value in values.items()}))
    return rows


if __name__ == "__main__":
    redo(sys.argv[1])
