"""How often constants must be renewed to keep most of BN's rate: measured, and the stored table.

    python -m bnlib.chapters.learning_rate.periods results/learning-rate-periods.json

computes what is missing, some CPU minutes, and keeps finished rows if it is stopped.
Periods, depths, rates and the rule are those of `results/learning-rate-periods-register.toml`.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from bnlib import data, stored
from bnlib.chapters.learning_rate import measure
from bnlib.interactions import Problem, gradient, stepped
from bnlib.networks.arms import Arm, tiled
from bnlib.networks.seed_batched import trace
from bnlib.statistics import paired_difference
from bnlib.training import one_thread
from bnlib.verdicts import simultaneous

PERIODS, DEPTHS, SEEDS = (1, 2, 4, 8, 16, 40, 80), (4, 8), 20
RATES = tuple(2.0 ** (k / 2) for k in range(-10, 9))
SLOW = 2.0**-4  # at which interaction is measured after the run
FINALS = ("held", "retaken")  # constants of the last renewal, statistics of the checked rows
STATEMENTS = len(PERIODS) * len(DEPTHS) * len(FINALS)
REGISTER = Path(__file__).with_name("periods-register.toml")


def trained(
    arm: Arm, rows: data.Split, rates: Sequence[float], order: torch.Tensor, period: int
) -> Arm:
    """The R S networks of an arm after SGD, network s at rate r in row r S + s, float32.

    period: the statistics of every so many-th batch are taken as constants; 0 for the arm as it is.
    order: row numbers (steps, S, batch).
    """
    net = arm.each(torch.Tensor.float).repeated(len(rates))
    x, params = torch.from_numpy(rows.x_train).float(), net.params
    steps = -torch.tensor(rates, dtype=torch.float32).repeat_interleave(order.shape[1])
    for t, picks in enumerate(order):
        batch = tiled(x[picks], len(rates))
        if period and t % period == 0:
            net = replace(net, stats=trace(net.spec, params, batch).stats)
        labels = tiled(torch.from_numpy(rows.y_train)[picks], len(rates))
        params = stepped(params, gradient(Problem(net, batch, labels).loss, params)[1], steps)
    return replace(net, params=params)


@one_thread()
def cell(depth: int, period: int | str, seeds: Sequence[int]) -> dict[str, np.ndarray]:
    """Of one depth and a period, or "none" or "bn": log2 of the largest rates, and int, (S,) each.

    held, retaken: by the final loss of `FINALS`.  int: of the next step after the slow run.
    """
    bench, name = measure.Bench(), period if isinstance(period, str) else "renewed"
    every = 0 if isinstance(period, str) else period
    rows, place = data.bench_split(bench.dataset), ("relu", depth, name)
    at, order = measure.problem(bench, place, seeds), measure.drawn(bench, seeds)
    net = trained(at.arm, rows, RATES, order, every)
    x = torch.from_numpy(rows.x_train[: measure.CHECKED]).float()
    y = torch.from_numpy(rows.y_train[: measure.CHECKED])
    ends = {"held": net, "retaken": replace(net, stats=None)}
    values = {end: _largest(_loss(arm, x, y), rows.classes) for end, arm in ends.items()}
    slow = trained(at.arm, rows, [SLOW], order, every).each(torch.Tensor.double)
    return values | {"int": np.array(measure.predictors(at._replace(arm=slow))["share"])}


@torch.no_grad()
def _loss(net: Arm, x: torch.Tensor, y: torch.Tensor) -> np.ndarray:
    """Of every network on the same rows, at each rate and seed (R, S)."""
    networks = len(net.params["W1"])
    at = Problem(net, x.expand(networks, -1, -1), y.expand(networks, -1))
    return at.loss(net.params).double().numpy().reshape(len(RATES), -1)


def _largest(final: np.ndarray, classes: int) -> np.ndarray:
    """log2 of the largest rate of each seed that passes; half the smallest where none does."""
    rates = np.log2(RATES)[:, None]
    passing = np.nan_to_num(final, nan=np.inf) < measure.Bench().threshold * np.log(classes)
    return np.where(passing, rates, rates[0] - 1).max(axis=0)


def frame_of(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """A row a depth L, period (or arm) and seed; columns held, retaken and int."""
    parts = [pd.DataFrame(row).assign(seed=range(len(row["int"]))) for row in rows]
    return pd.concat(parts).set_index(["L", "period", "seed"])


def margins(frame: pd.DataFrame) -> pd.DataFrame:
    """gain(k) - gain(bn)/2 with intervals that hold together, a row a depth, period and final."""
    rows = {}
    for depth, period, final in product(frame.index.unique("L"), PERIODS, FINALS):
        rate = frame[final].loc[depth].unstack("period")
        half = (rate["none"] + rate["bn"]) / 2
        level = simultaneous(STATEMENTS)
        rows[depth, period, final] = paired_difference(rate[period], half, level)._asdict()
    return pd.DataFrame(rows).T.rename_axis(["L", "period", "final"])


def fates(margin: pd.DataFrame) -> pd.DataFrame:
    """1 kept, -1 lost, 0 open: a row a period, a column a depth."""
    sides: Any = pd.DataFrame({"kept": margin.low > 0, "lost": margin.high < 0})
    both = sides.groupby(["period", "L"]).all().astype(int)
    return (both["kept"] - both["lost"]).unstack("L")


def reach(fate: Any) -> tuple[int, int]:
    """The longest period up to which all are kept, and the first from which on all are lost; or 0.

    fate: a series, 1, 0 or -1 of each period, ascending.
    """
    kept, lost = (fate > 0).cummin(), (fate < 0)[::-1].cummin()
    return max(fate.index[kept], default=0), min(fate.index[lost[::-1]], default=0)


def redo(path: str | Path) -> None:
    """Run what is missing from the table at `path`, writing it after every cell."""
    path, digest = Path(path), hashlib.sha256(REGISTER.read_bytes()).hexdigest()
    table = stored.started(path, {"register": digest, "versions": stored.versions()})
    rows: list[dict[str, Any]] = table.setdefault("rows", [])
    done = {(row["L"], row["period"]) for row in rows}
    for depth, period in product(DEPTHS, ("none", "bn", *PERIODS)):
        if (depth, period) not in done:
            values = {k: v.tolist() for k, v in cell(depth, period, range(SEEDS)).items()}
            rows.append({"L": depth, "period": period} | stored.short(values))
            stored.write(path, table)


if __name__ == "__main__":
    redo(sys.argv[1])
