"""Convolutional networks, plain and residual: the split of a step and the largest rate, twice.

Networks, arms, times and targets are those of `results/interactions-networks-register.toml`.

    python -m bnlib.chapters.interactions.networks results/interactions-networks.json

computes what is missing from the table, about twelve CPU minutes.
"""

from __future__ import annotations

import hashlib
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from bnlib import data, stored, sweep
from bnlib.chapters.interactions import times
from bnlib.chapters.interactions.times import BATCH, LONGEST, LOOK
from bnlib.networks.convolutional import ConvolutionalArm, build
from bnlib.networks.spec import BATCH_ORDER, seeded
from bnlib.statistics import Interval, mean_interval
from bnlib.training import one_thread
from bnlib.verdicts import simultaneous

REGISTER = Path(__file__).parent / "networks-register.toml"
NETWORKS, ACTIVATIONS, ARMS = ("plain", "residual"), ("relu", "tanh"), ("none", "frozen", "bn")
SEEDS, DEPTH, STEPS, CHECKED, SGD_RATE = 12, 8, 80, 512, 0.1
RATES = [2.0**power for power in range(-7, 4)]
LEVELS = {"relu": 0.65, "tanh": 0.85}  # times log 10
THRESHOLDS = {"start": 0.75, "sgd": 0.5}  # of max_trainable
PLACE, TARGETS = ["network", "activation", "time"], ["max_stable", "max_trainable"]
LEAST_PAIRS = 6
Measured = dict[str, np.ndarray]


@one_thread()
def at_times(
    network: str, activation: str, name: str, seeds: Sequence[int], rates: Sequence[float] = ()
) -> Iterator[tuple[str, Measured]]:
    """int, own, loss, and the largest rates if any are given, (S,) each, at the start and after
    SGD; there also steps. NaN where the level is not reached."""
    rows = data.bench_split("mnist1d")
    x, y = torch.from_numpy(rows.x_train), torch.from_numpy(rows.y_train)
    how: dict[str, Any] = {"skips": network == "residual", "activation": activation}
    arm = build(name, DEPTH, seeds, x[:CHECKED], classes=rows.classes, **how)
    shape = (LONGEST + STEPS, BATCH)
    drawn = [seeded(seed, BATCH_ORDER).integers(len(x), size=shape) for seed in seeds]
    order, (seen, fresh) = torch.from_numpy(np.stack(drawn, 1)), times.batches(rows, seeds)

    def largest(time: str, at: ConvolutionalArm, batches: Tensor) -> Measured:
        if not rates:
            return {}
        run = sweep.train_sweep(at, x, y, rates, order=batches, check=CHECKED)
        targets = sweep.rate_targets(run, rates, classes=rows.classes, threshold=THRESHOLDS[time])
        return {name: getattr(targets, name) for name in TARGETS}

    yield "start", times.parts(arm, arm.params, seen) | largest("start", arm, order[:STEPS])
    params, steps = after_sgd(arm, x, y, order[:LONGEST])
    values = times.parts(arm, params, fresh) | {"steps": steps.astype(float)}
    values |= largest("sgd", replace(arm, params=params), order[LONGEST:])
    yield "sgd", {key: np.where(steps < 0, np.nan, value) for key, value in values.items()}


def after_sgd(
    arm: ConvolutionalArm, x: Tensor, y: Tensor, order: Tensor
) -> tuple[dict[str, Tensor], np.ndarray]:
    """Parameters of each seed when its loss is at the level, and after how many steps; -1: never,
    with the initial parameters."""
    level = LEVELS[arm.spec.activation] * math.log(10)
    looks = times.Snapshots(arm.each(Tensor.float), [level], x[:LOOK].float(), y[:LOOK])
    with suppress(times.Reached):
        sweep.train_sweep(
            arm, x, y, [SGD_RATE], order=order, watch=lambda t, params, _: looks.look(t, params)
        )
    return {name: value.double() for name, value in looks.params[0].items()}, looks.steps[0]


def redo(path: str | Path) -> None:
    """Run what is missing from the table at `path`, writing it after every network and arm."""
    path, digest = Path(path), hashlib.sha256(REGISTER.read_bytes()).hexdigest()
    table = stored.started(path, {"register": digest, "versions": stored.versions()})
    rows: list[dict[str, Any]] = table.setdefault("rows", [])
    done = {(row["network"], row["activation"], row["arm"]) for row in rows}
    for network, activation, arm in product(NETWORKS, ACTIVATIONS, ARMS):
        if (network, activation, arm) in done:
            continue
        rates = RATES if activation == "relu" else ()
        for time, values in at_times(network, activation, arm, range(SEEDS), rates):
            key = {"network": network, "activation": activation, "time": time, "arm": arm}
            rows.append(key | stored.short({name: v.tolist() for name, v in values.items()}))
        stored.write(path, table)


def by_seed(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """A row a seed, a column each number, arm, network, activation and time."""
    none = dict.fromkeys(TARGETS, [math.nan] * SEEDS)
    wide = times.by_seed([none | row for row in rows], PLACE, TARGETS)
    return wide.sort_index(axis=1, ascending=[True] * 4 + [False])  # the start before SGD


def signs(wide: Any) -> dict[str, pd.Series]:
    """-1 less, 1 more, 0 open of BN against another arm, by network, activation and time."""
    compared = ("int", "none"), ("int", "frozen"), ("own", "none"), ("act", "none")
    return {
        f"{part}, BN - {other}": times.sign_tests(wide[part, "bn"] - wide[part, other])
        for part, other in compared
    }


def rate_gaps(relu: pd.DataFrame) -> dict[str, dict[Any, Interval]]:
    """BN minus none and minus frozen of max_stable, by network and time.  relu: of `by_seed`."""
    stable: Any = relu["max_stable"]
    return {
        other: {cell: rate_gap(pairs) for cell, pairs in (stable["bn"] - stable[other]).items()}
        for other in ("none", "frozen")
    }


def rate_gap(gaps: pd.Series) -> Interval:
    """Mean of the pairs that there are, one of four intervals that hold together at 95 %.

    With fewer than six pairs it is the whole line: nothing is decided.
    """
    pairs = gaps.dropna().to_numpy()
    if len(pairs) < LEAST_PAIRS:
        return Interval(float(gaps.mean()), -math.inf, math.inf)
    return mean_interval(pairs, simultaneous(len(NETWORKS) * len(THRESHOLDS)))


def agreement(wide: pd.DataFrame, seeds: Sequence[int]) -> float:
    """Share of values of int at the start, ReLU, that come out within 1 % when measured again.

    After SGD they would tell processors apart: float32 steps of networks without norm do.
    """
    close = []
    for network, arm in product(NETWORKS, ARMS):
        time, values = next(at_times(network, "relu", arm, seeds))
        kept = np.asarray(wide["int", arm][network, "relu", time])[list(seeds)]
        close.append(np.isclose(values["int"], kept, rtol=0.01, atol=1e-3))
    return float(np.mean(close))


if __name__ == "__main__":
    redo(sys.argv[1])
