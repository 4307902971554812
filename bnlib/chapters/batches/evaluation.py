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
    EPS,
    GOOD_RATE,
    SMALL,
    WIDE,
    Params,
    fit,
    followed,
    ghosts,
    network,
    of_batch,
    scored,
    scores,
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

AVERAGE_RATES, FEW = (0.05, 0.2, 1.0), 8


def small_batches(given: Settings) -> tuple[Any, Any]:
    """E2b: networks trained with m rows a batch, evaluated with four maps; points and loss.

    Beside them the distances of `missed` in layer 1 of each network of at most `FEW` rows.
    """
    rows, parts, grid = splits(given.seeds), [], np.linspace(-8, 8, 1601)
    distances: list[pd.DataFrame] = []
    for m in given.batch_sizes:
        net = started(WIDE, range(given.seeds))
        steps = (4 if m < 8 else 3 if m <= FEW else 2) * given.steps
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
            "times 1.25 (control)": lambda x: 1.25 * x,
        }
        for name, change in maps.items():
            norm = stored(stats, change)
            parts.append(scored(net.params, norm, rows.x_test, rows.y_test, m=m, map=name))
        some = slice(None, None, 1 if m <= 16 else 3)  # beside 63 mates a row costs 64
        few = rows._replace(x_test=rows.x_test[:, some], y_test=rows.y_test[:, some])
        beside = among_mates(net.params, few, m).log()
        parts.append(scores(beside, few.y_test, m=m, map="companions"))
        if m <= FEW:
            distances.append(missed(rows.x_train @ net.params["W1"].mT, m).assign(m=m))
    return pd.concat(parts), pd.concat(distances) if distances else pd.DataFrame()


@torch.no_grad()
def among_mates(params: Params, rows: Split, m: int, draws: int = 8) -> Tensor:
    """Mean probability (S, n, k) of each test row in training mode, beside drawn training rows."""
    (count, n), rng = rows.y_test.shape, np.random.default_rng([71, m])
    network_of, total = torch.arange(count)[:, None], 0
    for _ in range(draws):
        picks = torch.from_numpy(rng.integers(rows.x_train.shape[1], size=(count, n * (m - 1))))
        mates = rows.x_train[network_of, picks].unflatten(1, (n, m - 1))
        x = torch.cat([rows.x_test.unsqueeze(2), mates], 2).flatten(1, 2)
        total = total + network(params, x, ghosts(m))[:, ::m].double().softmax(-1) / draws
    return torch.as_tensor(total)


def missed(z: Tensor, m: int, rounds: int = 20) -> pd.DataFrame:
    """E(x_hat - f)^2 of evaluation as it is, the best line and the best map; a line a network.

    z: inputs (S, n, c) of a norm, dealt into batches of m rows again and again.  Means over
    channels.  E h^2 of h = E[x_hat | row] comes from products of two draws, free of their noise.
    """
    z = z[:, : z.shape[1] // m * m].double()
    mean, var = moments(z)
    x = (z - mean.unsqueeze(1)) * (var.unsqueeze(1) + EPS).rsqrt()
    total, squares = torch.zeros_like(z), torch.zeros_like(z)
    for k in range(rounds):
        order = torch.from_numpy(np.random.default_rng([72, m, k]).permutation(z.shape[1]))
        x_hat = ghosts(m)(1, z[:, order])[:, order.argsort()]
        total, squares = total + x_hat, squares + x_hat.square()
    power, a = (squares / rounds).mean(1), (total / rounds * x).mean(1)
    mapped = ((total.square() - squares) / (rounds * (rounds - 1))).mean(1)
    own = x.square().mean(1)
    errors = {"stored": power - 2 * a + own, "line": power - a**2 / own, "best": power - mapped}
    columns = {name: error.mean(1).numpy() for name, error in errors.items()}
    return pd.DataFrame({"seed": range(len(z)), **columns})


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
