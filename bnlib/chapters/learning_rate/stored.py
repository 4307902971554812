"""The stored tables of the chapter: all registered cells, all seeds; `measure` reads them.

    python -m bnlib.chapters.learning_rate.stored results/learning-rate-full.json digits
    python -m bnlib.chapters.learning_rate.stored results/learning-rate-mnist1d.json mnist1d

compute what is missing, some CPU minutes each; `--open-held-out` adds the held-out cells, once.
"""

from __future__ import annotations

import hashlib
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bnlib import stored
from bnlib.chapters.learning_rate import measure
from bnlib.chapters.learning_rate.measure import Architecture, Bench
from bnlib.training import one_thread


@one_thread()
def redo(path: str | Path, dataset: str, *, open_held_out: bool = False) -> dict[str, Any]:
    """Run what is missing from the table at `path`, writing it after every architecture."""
    path, how, text = Path(path), measure.FULL[dataset], measure.read("register.toml")
    digest = hashlib.sha256(text.encode()).hexdigest()
    head = {"dataset": dataset, "register": digest, "parameters": how._asdict()}
    table = stored.started(path, head | {"versions": stored.versions()})
    table = {**table, "rows": table.get("rows", []), "ladders": table.get("ladders", [])}
    register = tomllib.loads(text)
    cells = register["cells"] if how.cells == "registered" else how.cells
    arms = register["architectures"]["arms"]
    parts = {"exploration": (cells["exploration"], arms), "bad": (how.bad, measure.BAD_STARTS)}
    if open_held_out:
        parts["held_out"] = cells["held_out"], arms
    for part, row in _missing(table, dataset, parts):
        table[part].append(row)
        stored.write(path, table)
    return table


def _missing(
    table: Mapping[str, Any], dataset: str, parts: Mapping[str, Any]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The architectures and ladders that a table still lacks."""
    how, where = measure.FULL[dataset], ("half", *measure.CELL, "arm")
    bench, seeds = Bench(dataset, how.steps, how.threshold), range(how.seeds)
    done = {tuple(row[name] for name in where) for row in table["rows"]}
    for half, (cells, arms) in parts.items():
        for place in measure.architectures(cells, arms):
            if (half, *place) not in done:
                key = dict(zip(where, (half, *place), strict=True))
                yield "rows", key | architecture(bench, place, seeds)
    done = {(row["L"], row["steps"]) for row in table["ladders"]}
    for depth, steps in how.ladders:
        if (depth, steps) not in done:
            longer = bench._replace(steps=steps)
            frame, _ = measure.ladder(longer, depth, seeds, measure.RATES[1:])
            groups = frame.drop(columns=["L", "arm"]).groupby(frame.arm, sort=False)
            lists = [{"arm": arm, **stored.short(part.to_dict("list"))} for arm, part in groups]
            yield "ladders", {"L": depth, "steps": steps, "arms": lists}


def architecture(bench: Bench, place: Architecture, seeds: Sequence[int]) -> dict[str, Any]:
    """Targets and predictors of every seed (trained_*: after 20 matched steps), and losses (R,)."""
    frame, runs = measure.survey(bench, [place], seeds, measure.RATES)
    later = measure.predictors(measure.problem(bench, place, seeds), descended=20)
    columns = frame.drop(columns=[*measure.CELL, "arm", "seed"]).to_dict("list")
    columns |= {f"trained_{name}": later[name] for name in measure.DIRECTIONS}
    return stored.short(columns | {"final": np.median(runs[place].final, 1).tolist()})


if __name__ == "__main__":
    options = [a for a in sys.argv[1:] if a.startswith("--")]
    redo(*[a for a in sys.argv[1:] if a not in options], open_held_out="--open-held-out" in options)
