"""The second stored table of the chapter: other cures than gamma = 0, momentum, a longer run.

    python -m bnlib.chapters.residual.cures results/residual-cures.json

computes what is missing, some tens of CPU minutes, and keeps finished rows if it is stopped.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator, Mapping
from itertools import product
from pathlib import Path

from torch import Tensor

from bnlib import stored, sweep
from bnlib.chapters.residual import trained
from bnlib.chapters.residual.stored import FOUR, HERE
from bnlib.chapters.residual.trained import Cell
from bnlib.training import one_thread

REGISTER = "cures.toml"
SEEDS, STEPS, MOMENTUM = range(10), 80, 0.9
RATES = {"plain": (-7, 3), "warm-up": (-7, 3), "momentum": (-10, 1), "twice": (-7, 3)}  # of 2
FORMS, BLOCKS = ("stream", "v1", "v1-head"), (4, 16)


def runs() -> Iterator[tuple[str, Cell, str]]:
    """How it is trained, where, and which arm."""
    for blocks in BLOCKS:
        cell = Cell("digits", "stream", blocks, STEPS)
        for arm in ("fixed-root", "zero-weight", "skip-root", "none"):
            yield "plain", cell, arm
        yield "warm-up", cell, "one"
    for form, blocks, arm in product(FORMS, BLOCKS, FOUR):
        yield "momentum", Cell("digits", form, blocks, STEPS), arm
    for form, arm in product(FORMS[:2], FOUR):
        yield "twice", Cell("digits", form, BLOCKS[-1], 2 * STEPS), arm


def warm_up(steps: int) -> sweep.Watch:
    """Gradients scaled so that the rate rises linearly over the first `steps` steps."""

    def scale(step: int, params: Mapping[str, Tensor], grads: dict[str, Tensor]) -> None:
        if step + 1 < steps:
            grads.update({name: grad * ((step + 1) / steps) for name, grad in grads.items()})

    return scale


def momentum(decay: float) -> sweep.Watch:
    """Gradients replaced by their running sum, v <- decay v + gradient, as torch's SGD does."""
    velocity: dict[str, Tensor] = {}

    def accumulate(step: int, params: Mapping[str, Tensor], grads: dict[str, Tensor]) -> None:
        for name, grad in grads.items():
            velocity[name] = decay * velocity[name] + grad if step else grad
        grads.update(velocity)

    return accumulate


def _changes(how: str) -> sweep.Watch | None:
    made: dict[str, Callable[[], sweep.Watch]] = {
        "warm-up": lambda: warm_up(STEPS // 4),
        "momentum": lambda: momentum(MOMENTUM),
    }
    return made[how]() if how in made else None


@one_thread()
def redo(path: str | Path) -> None:
    """Run what is missing from the table at `path`, writing it after every row."""
    path, digest = Path(path), hashlib.sha256((HERE / REGISTER).read_bytes()).hexdigest()
    table = stored.started(path, {"register": digest, "versions": stored.versions()})
    rows = table.setdefault("rows", [])
    done = {(row["how"], *(row[name] for name in Cell._fields), row["arm"]) for row in rows}
    for how, cell, arm in runs():
        if (how, *cell, arm) not in done:
            low, high = RATES[how]
            rates = [2.0**power for power in range(low, high + 1)]
            run = trained.at_rates(cell, arm, SEEDS, rates, _changes(how))
            rows.append({"how": how} | cell._asdict() | {"arm": arm} | stored.short(run))
            stored.write(path, table)


if __name__ == "__main__":
    redo(sys.argv[1])
