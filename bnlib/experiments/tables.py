"""The stored table of the capacity chapter: more settings, rates and seeds than a page can run.

    python -m bnlib.experiments.tables results/capacity-full.json

trains everything again, tens of CPU minutes, and keeps finished rows if it is stopped.
"""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from collections.abc import Iterator
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

from bnlib.experiments import ablation, subsets
from bnlib.networks.arms import AFFINE_ARMS

FULL: dict[str, Any] = {
    "data": {"digits": 500, "mnist1d": 800},  # steps
    "batch": 64,
    "ablation": {"seeds": 12, "width": 64, "rates": [0.0125, 0.05, 0.2, 0.8]},
    "subsets": {"seeds": 10, "rates": [0.003, 0.01, 0.03, 0.1]},
}
PACKAGES = ("numpy", "scipy", "torch", "scikit-learn", "mnist1d")


def load(name: str, digest: str) -> dict[str, Any]:
    """The stored table results/`name` of this checkout; an empty one where there is none.

    The page names the SHA-256 of the table that it was written about, so that no other slips in.
    Raises ValueError where the digest does not start with `digest`.
    """
    path = Path(__file__).parents[2] / "results" / name
    if not path.is_file():
        return {"parameters": {}, "versions": {}, "ablation": [], "subsets": []}
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if not digest or not found.startswith(digest):
        raise ValueError(
            f"{name}: want the table with SHA-256 {digest}..., got {found[:12]}...; "
            "after redoing the table give its digest, and read the chapter again"
        )
    return json.loads(path.read_text())


def redo(path: str | Path, full: dict[str, Any] = FULL) -> dict[str, Any]:
    """Run what is missing from the table at `path`, writing it after every run."""
    path = Path(path)
    versions = {name: version(name) for name in PACKAGES} | {"python": platform.python_version()}
    head = {"parameters": full, "versions": versions}
    table = json.loads(path.read_text()) if path.is_file() else {}
    if {k: table.get(k) for k in head} != head:
        table = {**head, "ablation": [], "subsets": []}
    for name, steps in full["data"].items():
        for part in ("ablation", "subsets"):
            for done in _missing(table, part, name, steps, full):
                table[part].append(done)
                path.write_text(json.dumps(table, indent=1) + "\n")
    return table


def _missing(
    table: dict[str, Any], part: str, name: str, steps: int, full: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """The runs that one part of the table still lacks for one data set."""
    own = {"steps": steps, "batch": full["batch"]} | full[part]
    seeds = range(own.pop("seeds"))
    outer, inner, keys, one = {
        "ablation": (ablation.ARCHITECTURES, AFFINE_ARMS, ("architecture", "arm"), ablation.run),
        "subsets": (subsets.SETTINGS, subsets.SUBSETS, ("setting", "subset"), subsets.run),
    }[part]
    done = {(r["data"], *(r[key] for key in keys)) for r in table[part]}
    rows = ablation.splits(name, seeds, batch=full["batch"])
    for where, what in product(outer, inner):
        if (name, where, what) not in done:
            yield one(name, where, what, rows, seeds, **own)


if __name__ == "__main__":
    redo(sys.argv[1])
