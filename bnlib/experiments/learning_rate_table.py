"""The stored tables of the chapter `learning-rate`: all registered cells, all seeds.

    python -m bnlib.experiments.learning_rate_table results/learning-rate-full.json digits
    python -m bnlib.experiments.learning_rate_table results/learning-rate-mnist1d.json mnist1d

compute what is missing, some CPU minutes each; `--open-held-out` adds the held-out cells, once.
"""

from __future__ import annotations

import hashlib
import json
import math
import platform
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bnlib.experiments import learning_rate, learning_rate_mechanism
from bnlib.experiments.learning_rate_mechanism import explained, self_tuning
from bnlib.experiments.learning_rate_register import (
    FOLDER,
    REGISTER,
    architectures,
    larger_rates,
    register,
    stored,
    verdicts,
)

ARMS = (
    "none",
    "orthogonal",
    "weight-norm",
    "layer-norm",
    "frozen",
    "bn",
    "bn-no-affine",
    "bn-last-hidden",
)
SMALL = {
    "exploration": [["relu", 4], ["relu", 8], ["tanh", 4], ["linear", 4]],
    "held_out": [["relu", 6], ["tanh", 6], ["gelu", 4], ["softplus", 4]],
}
FULL: dict[str, dict[str, Any]] = {
    "digits": {
        "seeds": 10,
        "steps": 80,
        "threshold": 0.5,
        "cells": "registered",
        "bad": [["relu", 4], ["relu", 8]],
        "ladders": [[4, 80], [8, 80], [8, 320]],  # L, steps
    },
    "mnist1d": {
        "seeds": 3,
        "steps": 400,
        "threshold": 0.75,
        "cells": SMALL,
        "bad": [],
        "ladders": [[8, 400]],
    },
}
PACKAGES = ("numpy", "scipy", "torch", "scikit-learn", "mnist1d")
DIGITS = 5  # significant ones kept
TRAINED = ("k_off", "k_total", "eps_up", "baseline", "share")  # also after 20 matched steps


def redo(path: str | Path, dataset: str, *, open_held_out: bool = False) -> dict[str, Any]:
    """Run what is missing from the table at `path`, writing it after every architecture."""
    path, how = Path(path), FULL[dataset]
    versions = {name: version(name) for name in PACKAGES} | {"python": platform.python_version()}
    digest = hashlib.sha256((FOLDER / REGISTER).read_bytes()).hexdigest()
    head = {"dataset": dataset, "register": digest, "parameters": how, "versions": versions}
    table = json.loads(path.read_text()) if path.is_file() else {}
    if {k: table.get(k) for k in head} != head:
        table = {**head, "rows": [], "ladders": []}
    cells = register(digest)["cells"] if how["cells"] == "registered" else how["cells"]
    halves = ["exploration", "bad"] + ["held_out"] * open_held_out
    for part, row in _missing(table, dataset, halves, {**cells, "bad": how["bad"]}):
        table[part].append(row)
        _write(path, table)
    return table


def _missing(
    table: dict[str, Any], dataset: str, halves: Sequence[str], cells: dict[str, Any]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The architectures and ladders that a table still lacks."""
    how, seeds = table["parameters"], range(table["parameters"]["seeds"])
    done = {(r["half"], r["activation"], r["L"], r["arm"]) for r in table["rows"]}
    for half in halves:
        names = learning_rate.BAD_STARTS if half == "bad" else ARMS
        for activation, depth in cells[half]:
            for name in names:
                key = half, activation, depth, name
                if key not in done and not (name == "bn-last-hidden" and depth == 2):
                    yield "rows", architecture(*key, seeds, dataset=dataset, **_run(how))
    run = {(r["L"], r["steps"]) for r in table["ladders"]}
    for depth, steps in how["ladders"]:
        if (depth, steps) not in run:
            options = {**_run(how), "steps": steps, "dataset": dataset}
            found = learning_rate_mechanism.ladder(depth, seeds, **options).frame
            arms = [
                {"arm": arm, **{k: _short(v) for k, v in part.to_dict("list").items()}}
                for arm, part in found.drop(columns=["L", "arm"]).groupby(found.arm, sort=False)
            ]
            yield "ladders", {"L": depth, "steps": steps, "arms": arms}


def _run(how: dict[str, Any]) -> dict[str, Any]:
    return {"steps": how["steps"], "threshold": how["threshold"]}


def architecture(
    half: str, activation: str, depth: int, name: str, seeds: Sequence[int], **options: Any
) -> dict[str, Any]:
    """One row of the table: targets and predictors of every seed, median losses at every rate."""
    frame, runs = learning_rate.survey([name], [(activation, depth)], seeds, **options)
    dataset = options.get("dataset", "digits")
    later = learning_rate.predictors(
        learning_rate.problem(name, activation, depth, seeds, dataset=dataset), descended=20
    )
    columns = frame.drop(columns=["activation", "L", "arm", "seed"]).to_dict("list")
    columns |= {f"trained_{key}": later[key] for key in TRAINED}
    final = np.median(runs[activation, depth, name].final, 1)
    where = {"half": half, "activation": activation, "L": depth, "arm": name}
    lists = {str(key): _short(value) for key, value in columns.items()}
    return {**where, **lists, "final": _short(final.tolist())}


def load(name: str, digest: str) -> dict[str, Any]:
    """The stored table with this digest; an empty one where there is none."""
    content = stored(name, digest)
    return {"rows": [], "ladders": []} if content is None else json.loads(content)


def frame_of(table: dict[str, Any]) -> pd.DataFrame:
    """One row an architecture and seed; no first ascent on the grid is infinite."""
    frames = []
    for row in table["rows"]:
        columns = {k: v for k, v in row.items() if k != "final"}
        seeds = range(len(row["max_trainable"]))
        frames.append(pd.DataFrame({**columns, "seed": seeds}))
    frame = pd.concat(frames, ignore_index=True)
    rising = ["eps_up", "trained_eps_up"]
    return frame.assign(**{c: frame[c].astype(float).fillna(np.inf) for c in rising})


def ladder_of(table: dict[str, Any], depth: int, steps: int) -> pd.DataFrame:
    """The stored mechanism test with so many weight matrices and steps, one row an arm and seed."""
    (found,) = (r for r in table["ladders"] if (r["L"], r["steps"]) == (depth, steps))
    frames = [pd.DataFrame({**row, "L": depth}) for row in found["arms"]]
    return pd.concat(frames, ignore_index=True)


def verdicts_of(table: dict[str, Any], *, open_held_out: bool) -> dict[str, str]:
    """Every claim of the chapter judged on a stored table alone, with its number."""
    frame, (ladder, *_) = frame_of(table), [r for r in table["ladders"] if r["L"] == 8]
    steps = ladder_of(table, 8, ladder["steps"])
    found = {"larger-rates-with-bn": larger_rates(frame)[0]}
    if open_held_out:
        rows = architectures(pd.DataFrame(frame[frame.half == "held_out"]))
        for name, (verdict, at) in verdicts(rows).items():
            found[name] = f"{verdict}: {at.estimate:.2f} ({at.low:.2f} to {at.high:.2f})"
    arms, lost = learning_rate_mechanism.by_interaction(steps), explained(steps)
    tau = f"{arms.tau.estimate:.2f} ({arms.tau.low:.2f} to {arms.tau.high:.2f})"
    found["interaction-is-mechanism"] = f"{arms.verdict}: tau {tau}, least {arms.least}"
    text = f"{lost.estimate:.2f} ({lost.low:.2f} to {lost.high:.2f})"
    return {**found, "effective-rate-is-mechanism": f"{self_tuning(lost.estimate)}: {text}"}


def _short(values: Sequence[Any]) -> list[Any]:
    """Numbers with few digits; None for those that are not finite, which JSON does not have."""
    return [_rounded(v) for v in values]


def _rounded(value: Any) -> Any:
    if isinstance(value, bool | int | str):
        return value
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None


def _write(path: Path, table: dict[str, Any]) -> None:
    """One line a row: a change of one architecture is a change of one line."""
    parts = [f'"{k}": {json.dumps(v)}' for k, v in table.items() if k not in ("rows", "ladders")]
    for name in ("rows", "ladders"):
        rows = ",\n".join(json.dumps(row) for row in table[name])
        parts.append(f'"{name}": [\n{rows}\n]')
    path.write_text("{\n" + ",\n".join(parts) + "\n}\n")


if __name__ == "__main__":
    options = [a for a in sys.argv[1:] if a.startswith("--")]
    redo(*[a for a in sys.argv[1:] if a not in options], open_held_out="--open-held-out" in options)
