"""The chapter on other data, and noise at many strengths, stored with the book.

python -m bnlib.chapters.covariate_shift.stored PATH [DATASET]
python -m bnlib.chapters.covariate_shift.stored results/covariate-shift-noise.json noise

The second has the runs of `results/covariate-shift-register.toml` and keeps finished rows if it is
stopped.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np

from bnlib import stored, training
from bnlib.chapters import covariate_shift as chapter
from bnlib.chapters.covariate_shift import measure
from bnlib.results import collect


def keep(path: str | Path, given: chapter.Settings) -> dict[str, Any]:
    """Run the chapter and write its table to `path`, one line a claim and a record."""
    records, claims = collect(chapter.run(given).values())
    heads = {"parameters": vars(given), "versions": stored.versions()}
    rows = {
        "claims": {
            k: {"verdict": c["verdict"], "evidence": c["evidence"]} for k, c in claims.items()
        },
        "records": {k: stored.short(record["value"]) for k, record in records.items()},
    }
    parts = [f'"{name}": {json.dumps(value)}' for name, value in heads.items()]
    for name, values in rows.items():
        lines = ",\n".join(f" {json.dumps(k)}: {json.dumps(v)}" for k, v in values.items())
        parts.append(f'"{name}": {{\n{lines}\n}}')
    Path(path).write_text("{\n" + ",\n".join(parts) + "\n}\n")
    return heads | rows


@training.one_thread()
def redo_noise(path: str | Path) -> None:
    """Run what is missing from the registered table at `path`, writing it after every run."""
    path, register = Path(path), Path(__file__).with_name("register.toml").read_bytes()
    head = {"register": hashlib.sha256(register).hexdigest(), "versions": stored.versions()}
    runs, table = tomllib.loads(register.decode())["runs"], stored.started(path, head)
    rows: list[dict[str, Any]] = table.setdefault("rows", [])
    done = {(row["data"], row["arm"], row["strength"]) for row in rows}
    cells = [("none", 0.0), ("bn", 0.0), *(("noisy bn", size) for size in runs["strengths"])]
    for name in runs["data"]:
        bench = measure.load(name, range(runs["seeds"]), 32, 64, 1e-5, runs["steps"])
        for arm, strength in cells:
            if (name, arm, strength) not in done:
                run = measure.noise_run(bench, runs["depth"], arm, runs["rates"], strength)
                rows.append({"data": name, "strength": strength, **_row(*run)})
                stored.write(path, table)


def _row(frame: Any, walk: dict[str, np.ndarray]) -> dict[str, Any]:
    """What a table keeps of `measure.noise_run`: one value a seed where it is a list."""
    shifts = {name: np.nanmedian(walk[name], 0) for name in ("distribution", "relative")}
    lists = {"loss": frame.loss, "accuracy": frame.accuracy, **shifts}
    facts = {"arm": frame.arm[0], "rate": float(frame.rate[0]), "edge": bool(frame.edge[0])}
    return stored.short(facts | {name: values.tolist() for name, values in lists.items()})


if __name__ == "__main__":
    if sys.argv[2:] == ["noise"]:
        redo_noise(sys.argv[1])
    else:
        keep(sys.argv[1], chapter.Settings(dataset=(*sys.argv[2:], "mnist1d")[0]))
