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
SEEDS, CACHE = 16, 1024  # units of a layer, all seeds together, that stay in the processor cache
WIDTHS = {32: tuple(times.LEVELS), 128: ("digits", "mnist5k"), 256: ("digits",)}
ARMS = {32: times.COMPARED, 128: ("none", "bn"), 256: ("none", "bn")}


def redo(path: str | Path) -> None:
    """Run what is missing from the table at `path`, writing it after every world and arm."""
    path, digest = Path(path), hashlib.sha256((HERE / REGISTER).read_bytes()).hexdigest()
    table = stored.started(path, {"register": digest, "versions": stored.versions()})
    rows: list[dict[str, Any]] = table.setdefault("rows", [])
    done = {(*(row[name] for name in times.World._fields), row["arm"]) for row in rows}
    for width, names in WIDTHS.items():
        for data, activation, arm in product(names, ("relu", "tanh"), ARMS[width]):
            world = times.World(data, activation, width)
            if (*world, arm) not in done:
                rows += _rows(world, arm)
                stored.write(path, table)


def _rows(world: times.World, arm: str) -> list[dict[str, Any]]:
    at_once = min(SEEDS, CACHE // world.width)
    parts = [range(n, n + at_once) for n in range(0, SEEDS, at_once)]
    runs = [dict(times.at_times(world, arm, seeds)) for seeds in parts]
    rows = []
    for time in times.TIMES:
        values = {key: np.concatenate([run[time][key] for run in runs]) for key in runs[0][time]}
        key = world._asdict() | {"time": time, "arm": arm}
        rows.append(key | stored.short({name: value.tolist() for name, value in values.items()}))
    return rows


if __name__ == "__main__":
    redo(sys.argv[1])
