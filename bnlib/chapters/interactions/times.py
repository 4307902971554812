"""When, how, or which network: a step in worlds of data, activation and width, at several times.

Worlds, times, levels and arms are those of `results/interactions-register.toml`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy.stats import binom
from torch import Tensor

from bnlib import data, training
from bnlib import interactions as split
from bnlib.networks import arms
from bnlib.networks.seed_batched import SeedBatchedMLP, trace
from bnlib.networks.spec import BATCH_ORDER, VALIDATION_ROWS, seeded
from bnlib.statistics import holm

DEPTH, BATCH, LOOK, PROMISE = 8, 64, 256, 0.5
COMPARED = ("none", "frozen", "renewed", "bn")
FULL_BATCH = ("start", "full", "full-fresh")
RATES = {"sgd": 0.1, "adam": 0.001}
TIMES = (*FULL_BATCH, *(f"{how}-{when}" for how in RATES for when in ("early", "late")))
LEVELS = {"digits": (0.5, 0.25), "mnist5k": (0.5, 0.25), "mnist1d": (0.75, 0.6)}  # times log 10
LONGEST = 300  # steps of SGD and Adam
PLACE = ["data", "activation", "width", "time"]

Params = dict[str, Tensor]


class World(NamedTuple):
    """Which network, on which data."""

    data: str
    activation: str
    width: int


class Reached(Exception):
    """Every seed is at its last level: what is left of a run would be thrown away."""


class Snapshots:
    """Parameters of each seed when the loss of the first rows is at most each level, for `train`.

    steps: (levels, S), of each level; -1 where a seed is not there yet.
    """

    def __init__(self, arm: arms.Arm, levels: Sequence[float], x: Tensor, y: Tensor):
        seeds = len(arm.params["W1"])
        self.arm, self.levels, self.x, self.y = arm, levels, x, y.expand(seeds, -1)
        self.params = [{k: v.clone() for k, v in arm.params.items()} for _ in levels]
        self.steps = np.full((len(levels), seeds), -1)

    def __call__(self, step: training.Step) -> None:
        """`look`, for `training.train`."""
        self.look(step.number, step.params)

    def look(self, number: int, params: Params) -> None:
        """Look at every step up to 20, then at every fifth.  Raises `Reached` after the last."""
        if number > 20 and number % 5:
            return
        with torch.no_grad():
            now = {name: value.detach() for name, value in params.items()}
            output = self.arm.logits(now, self.x.expand(len(self.y), -1, -1))
            loss = training.seed_losses(output, self.y, "cross-entropy").numpy()
        for level, kept, steps in zip(self.levels, self.params, self.steps, strict=True):
            new = (loss <= level) & (steps < 0)
            steps[new] = number
            rows = torch.from_numpy(new)
            for name, value in now.items():
                kept[name][rows] = value[rows]
        if (self.steps >= 0).all():
            raise Reached


def batches(rows: data.Split, seeds: Sequence[int]) -> tuple[tuple[Tensor, Tensor], ...]:
    """The first training batch of every seed, and as many test rows: x (S, m, d), y (S, m) each."""

    def drawn(x: Any, y: Any, stream: int) -> tuple[Tensor, Tensor]:
        picks = np.stack([seeded(seed, stream).permutation(len(x))[:BATCH] for seed in seeds])
        return torch.from_numpy(x[picks]), torch.from_numpy(y[picks])

    return (
        drawn(rows.x_train, rows.y_train, BATCH_ORDER),
        drawn(rows.x_test, rows.y_test, VALIDATION_ROWS),
    )


def parts(arm: arms.Arm, params: Params, batch: tuple[Tensor, Tensor]) -> dict[str, np.ndarray]:
    """int, own and the loss before the step, (S,) each; `renewed` holds the batch's statistics."""
    if arm.spec.norms[1] == "renewed":
        arm = replace(arm, stats=trace(arm.spec, params, batch[0]).stats)
    at = split.Problem(arm, *batch)
    loss, grads = split.gradient(at.loss, params)
    direction = split.direction_of("gradient", params, grads)
    slope = split.layer_dots(grads, direction).sum(1)
    step = split.match_loss(loss, slope, PROMISE)
    made = split.step_split(split.corners(at.loss, params, direction, step), step * slope)
    shares = {"int": made.inter / -made.lin, "own": made.own / -made.lin, "loss": loss}
    return {name: value.numpy() for name, value in shares.items()}


@training.one_thread()
def at_times(
    world: World, name: str, seeds: Sequence[int]
) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """`parts` of an arm at each of `TIMES`, with the step, NaN where a level is not reached."""
    rows = data.bench_split(world.data)
    x, y = torch.from_numpy(rows.x_train), torch.from_numpy(rows.y_train)
    sizes = (x.shape[1], *(world.width,) * (DEPTH - 1), rows.classes)
    seen, fresh = batches(rows, seeds)
    arm = arms.build(name, sizes, seeds, seen[0], activation=world.activation)
    after = split.descend(split.Problem(arm, *seen))
    for time, params, batch in zip(
        FULL_BATCH, (arm.params, after, after), (seen, seen, fresh), strict=True
    ):
        yield time, parts(arm, params, batch)
    arm = arms.build(name, sizes, seeds, x[:512], activation=world.activation)
    levels = [share * math.log(10) for share in LEVELS[world.data]]
    for optimizer, rate in RATES.items():
        net = SeedBatchedMLP(arm.spec, seeds)
        net.params = arm.params
        looks = Snapshots(arm, levels, x[:LOOK], y[:LOOK])
        how: Mapping[str, Any] = {"optimizer": optimizer, "lr": rate, "batch": BATCH}
        with suppress(Reached):
            training.train(net, x, y, stats=arm.stats, on_step=looks, steps=LONGEST, **how)
        for when, params, steps in zip(("early", "late"), looks.params, looks.steps, strict=True):
            values = parts(arm, params, fresh)
            missed = steps < 0
            kept = {key: np.where(missed, np.nan, value) for key, value in values.items()}
            yield f"{optimizer}-{when}", kept | {"steps": np.where(missed, np.nan, steps)}


def by_seed(
    rows: Sequence[Mapping[str, Any]], place: Sequence[str] = PLACE, more: Sequence[str] = ()
) -> pd.DataFrame:
    """A row a seed, a column each number, arm, world and time; NaN where a level is not reached.

    place: what tells cells apart.  more: numbers beside int, own, act and loss.
    """
    numbers = ["int", "own", "loss", *more]
    frame: Any = pd.DataFrame(rows)
    long = frame[[*place, "arm", *numbers]].explode(numbers)
    long = long.astype(dict.fromkeys(numbers, float))
    long["act"] = 1 - long["int"] - long["own"]
    long["seed"] = long.groupby([*place, "arm"]).cumcount()
    wide = long.pivot(index="seed", columns=["arm", *place], values=[*numbers, "act"])
    return wide.sort_index(axis=1)


def sign_tests(gaps: pd.DataFrame) -> Any:
    """-1 less, 1 more, 0 open of every cell.

    gaps: BN minus another arm, a row a seed, a column a cell; a NaN is left out.
    Exact two-sided sign tests, Holm's correction over all cells at 5 %.
    """
    above: Any = (gaps > 0).sum()
    below: Any = (gaps < 0).sum()
    p = binom.cdf(np.minimum(above, below), above + below, 0.5)
    decided = holm(np.minimum(1.0, 2 * p)) < 0.05
    return np.sign(above - below) * decided


def directions(gaps: pd.DataFrame) -> pd.DataFrame:
    """`sign_tests` as a table, a row a world, a column a time."""
    return over_times(sign_tests(gaps))


def over_times(cells: pd.Series) -> Any:
    """Cells as a table, a row a world, a column a time."""
    table: Any = cells.unstack("time").sort_index(level=["activation", "data", "width"])
    return table[[time for time in TIMES if time in table]]


def counts(signs: pd.DataFrame) -> pd.Series:
    """Worlds with less, more, and open, as "less / more / open", of each time."""
    sides = [(signs == side).sum().astype(str) for side in (-1, 1, 0)]
    return sides[0] + " / " + sides[1] + " / " + sides[2]


def agreement(wide: pd.DataFrame, world: World, seeds: Sequence[int]) -> float:
    """Share of values of int, none and BN, that come out within 1 % when they are run again."""
    close = []
    for arm in ("none", "bn"):
        for time, values in at_times(world, arm, seeds):
            kept = np.asarray(wide["int", arm][(*world, time)])[list(seeds)]
            close.append(np.isclose(values["int"], kept, rtol=0.01, atol=1e-3, equal_nan=True))
    return float(np.mean(close))
