"""The stored tables of the chapter on capacity: more settings, rates, seeds than a page can run.

    python -m bnlib.chapters.capacity.stored results/capacity-full.json
    python -m bnlib.chapters.capacity.stored results/capacity-rates.json rates

trains everything again, tens of CPU minutes, and keeps finished rows if it is stopped. The second
has the runs of `results/capacity-register.toml`.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tomllib
from itertools import product
from pathlib import Path
from typing import Any

from bnlib import stored
from bnlib.chapters.capacity import measure
from bnlib.networks.arms import AFFINE_ARMS

FULL: dict[str, Any] = {
    "data": {"digits": 500, "mnist1d": 800},  # steps
    "batch": 64,
    "ablation": {"seeds": 12, "width": 64, "rates": [0.0125, 0.05, 0.2, 0.8]},
    "subsets": {"seeds": 10, "rates": [0.003, 0.01, 0.03, 0.1]},
}


PARTS = {
    "ablation": (measure.run_arm, ("architecture", "arm"), measure.ARCHITECTURES, AFFINE_ARMS),
    "subsets": (measure.run_subset, ("setting", "subset"), measure.HIDDEN, measure.SUBSETS),
}


def redo(path: str | Path, full: dict[str, Any] = FULL) -> dict[str, Any]:
    """Run what is missing from the table at `path`, writing it after every run."""
    path = Path(path)
    table = stored.started(path, {"parameters": full, "versions": stored.versions()})
    table |= {part: table.get(part, []) for part in PARTS}
    for (name, steps), part in product(full["data"].items(), PARTS):
        run, keys, outer, inner = PARTS[part]
        how = {"steps": steps, "batch": full["batch"]} | full[part]
        seeds = range(how.pop("seeds"))
        done = {(r["data"], *(r[key] for key in keys)) for r in table[part]}
        rows = measure.splits(name, seeds, batch=full["batch"])
        for row in product([name], outer, inner):
            if row not in done:
                table[part].append(run(row, rows, seeds, **how))
                path.write_text(json.dumps(table, indent=1) + "\n")
    return table


def redo_rates(path: str | Path) -> None:
    """Run what is missing from the registered table at `path`, writing it after every run."""
    path, register = Path(path), Path(__file__).with_name("register.toml").read_bytes()
    head = {"register": hashlib.sha256(register).hexdigest(), "versions": stored.versions()}
    runs, table = tomllib.loads(register.decode())["runs"], stored.started(path, head)
    kept: list[measure.Run] = table.setdefault("rows", [])
    done = {(row["data"], row["setting"], row["subset"]) for row in kept}
    for name in runs["data"]:
        rows = measure.splits(name, range(runs["seeds"]), batch=runs["batch"])
        how = {"rates": runs["rates"], "steps": runs["steps"][name], "batch": runs["batch"]}
        for row in product([name], runs["setting"], runs["subset"]):
            if row not in done:
                kept.append(
                    stored.short(measure.sweep_subset(row, rows, range(runs["seeds"]), **how))
                )
                stored.write(path, table)


if __name__ == "__main__":
    (redo_rates if sys.argv[2:] == ["rates"] else redo)(sys.argv[1])
