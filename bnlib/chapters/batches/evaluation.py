"""Statistics of evaluation: after small batches (E2b), and for averaged weights (E8)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from bnlib import identity
from bnlib.chapters.batches.descent import (
    COSINE,
    GOOD_RATE,
    SMALL,
    WIDE,
    Params,
    fit,
    followed,
    network,
    of_batch,
    scored,
    splits,
    started,
    stored,
)
from bnlib.data import Split
from bnlib.networks.arms import tiled
from bnlib.networks.batches import Rows, batch_order
from bnlib.networks.seed_batched import moments
from bnlib.rows import Moments

if TYPE_CHECKING:
    from bnlib.chapters.batches import Settings

AVERAGE_RATES = (0.05, 0.2, 1.0)


def small_batches(given: Settings) -> Any:
    """E2b: networks trained with m rows a batch, evaluated with four maps; points and loss."""
    rows, parts, grid = splits(given.seeds), [], np.linspace(-8, 8, 1601)
    for m in given.batch_sizes:
        net = started(WIDE, range(given.seeds))
        steps = 4 * given.steps if m < 8 else 3 * given.steps
        order = batch_order(net.seeds, rows.x_train.shape[1], batch=m, steps=steps + 60)
        fit(net, of_batch, rows, order[:steps], lr=0.02 if m < 8 else GOOD_RATE, **COSINE)
        stats = _of_training_mode(net.params, rows, order[steps:])
        table = identity.conditional_map(grid, m)
        a = identity.expected_batch_std(m)
        maps: dict[str, Callable] = {
            "as it is": lambda x: x,
            "a x": lambda x, a=a: a * x,
            "weighing 1/m": lambda x, m=m: np.sqrt(1 - 1 / m) * x * (1 + x * x / m).rsqrt(),
            "best map": lambda x, t=table: _interpolated(x, grid, t),
            "times 0.8 (control)": lambda x: 0.8 * x,
        }
        for name, change in maps.items():
            norm = stored(stats, change)
            parts.append(scored(net.params, norm, rows.x_test, rows.y_test, m=m, map=name))
    return pd.concat(parts)


def _interpolated(x: Tensor, grid: np.ndarray, table: np.ndarray) -> Tensor:
    return torch.from_numpy(np.interp(x.double().numpy(), grid, table)).to(x.dtype)


@torch.no_grad()
def _of_training_mode(params: Params, rows: Split, order: Tensor) -> dict[int, Moments]:
    """Moments of every site, pooled over batches in training mode."""
    seen: dict[int, list[Tensor]] = {}

    def norm(site: int, z: Tensor) -> Tensor:
        seen.setdefault(site, []).append(z)
        return of_batch(site, z)

    for x, _ in Rows(rows.x_train, rows.y_train).batches(order):
        network(params, x, norm)
    return {site: moments(torch.cat(parts, 1)) for site, parts in seen.items()}


def averaged_weights(given: Settings) -> tuple[Any, float]:
    """E8: two branches from one start, their mean evaluated with four kinds of statistics.

    A line a rate, kind and seed, with the excess delta of the averaged variance of each layer;
    and the largest relative error of its law, which is one of layer 1.
    """
    count, steps = len(AVERAGE_RATES), 2 * given.steps // 3
    rows = Split(*(tiled(part, count) for part in splits(given.seeds, torch.float64)))
    seeds, rates = list(range(given.seeds)) * count, np.repeat(AVERAGE_RATES, given.seeds)
    start, *branches = (started(SMALL, seeds, torch.float64) for _ in range(3))
    for k, net in enumerate(branches):
        others = [seed + 1000 * k for seed in seeds]
        order = batch_order(others, rows.x_train.shape[1], batch=64, steps=steps)
        fit(net, of_batch, rows, order, lr=rates.tolist(), **COSINE)
    first, second = (net.params for net in branches)
    mean = {name: (value + second[name]) / 2 for name, value in first.items()}
    one, other = (net.recalibrate(rows.x_train) for net in branches)
    kinds = {
        "of the start": start.recalibrate(rows.x_train),
        "averaged": {site: followed(one[site], other[site], 0.5) for site in one},
        "of one branch": one,
        "recomputed": start.recalibrate(rows.x_train, mean),
    }
    averaged, recomputed = (kinds[kind][1].var for kind in ("averaged", "recomputed"))
    law = moments(rows.x_train @ ((first["W1"] - second["W1"]) / 2).mT).var
    error = (averaged - recomputed - law).abs().max() / law.abs().max()
    columns = {"rate": rates, "seed": seeds} | excess(kinds["averaged"], kinds["recomputed"])
    lines = [
        scored(mean, stored(stats), rows.x_test, rows.y_test, statistics=kind, **columns)
        for kind, stats in kinds.items()
    ]
    return pd.concat(lines), float(error)


def excess(averaged: dict[int, Moments], recomputed: dict[int, Moments]) -> dict[str, Tensor]:
    """By what share (S,) the averaged variance of each site is too large: delta, a geometric mean.

    A law, and at least 0, in layer 1 alone: further layers read other inputs in every network.
    """
    return {
        f"delta {site}": (var / recomputed[site].var).log().mean(1).exp() - 1
        for site, (_, var) in averaged.items()
    }
