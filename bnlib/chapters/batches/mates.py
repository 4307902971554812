"""The other rows of a batch: padding (E5), one class (E6), and one row under every owner."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from bnlib import training
from bnlib.chapters.batches.descent import (
    COSINE,
    DEEP,
    EPS,
    GOOD_RATE,
    SMALL,
    descend,
    fit,
    followed,
    ghosts,
    of_batch,
    scored,
    splits,
    started,
    stored,
)
from bnlib.networks.batches import Rows, batch_order
from bnlib.networks.seed_batched import SeedBatchedMLP
from bnlib.networks.spec import Spec
from bnlib.rows import Moments

if TYPE_CHECKING:
    from bnlib.chapters.batches import Settings


def owners(given: Settings) -> dict[str, np.ndarray]:
    """The normalized value of one row of digits, layer 1 at the start, by who owns its statistics.

    Up to 200 draws of the other rows each.
    """
    rows, net = splits(1, torch.float64), started(SMALL, [0], torch.float64)
    z = (rows.x_train[0] @ net.params["W1"][0, 0]).numpy()
    y, rng = rows.y_train[0].numpy(), np.random.default_rng([given.seed, 51])
    others, class_mates = np.arange(1, len(z)), np.flatnonzero(y == y[0])[1:]

    def drawn(m: int, among: np.ndarray, empty: int = 0) -> np.ndarray:
        mates = (z[rng.choice(among, m - 1, replace=False)] for _ in range(200))
        batches = [np.concatenate([mate, z[:1], np.zeros(empty)]) for mate in mates]
        return np.array([(z[0] - b.mean()) / b.std() for b in batches])

    return {
        "all training rows": np.array([(z[0] - z.mean()) / z.std()]),
        "a batch of 64": drawn(64, others),
        "two machines, 8 + 8": drawn(16, others),
        "a ghost of 8": drawn(8, others),
        "a batch of 4": drawn(4, others),
        "16 rows, 16 padding": drawn(16, others, 16),
        "16 of its class": drawn(16, class_mates),
    }


def layer_inputs(given: Settings) -> np.ndarray:
    """What the norm of layer 1 of a trained network reads: 90 rows, channels that vary."""
    rows = splits(2, torch.float64)
    net = started(SMALL, range(2), torch.float64)
    order = batch_order(net.seeds, rows.x_train.shape[1], batch=64, steps=given.steps)
    fit(net, of_batch, rows, order, lr=0.1)
    return (rows.x_train[0, :90] @ net.params["W1"][0].mT).numpy()


PADDED = {"masked": (0.0, 0.0), "changing share": (0.0, 0.8), "half": (0.5, 0.5)}


@dataclass
class Padded:
    """Batch statistics of m real rows and of padding; the last row stands for all padding rows.

    Equal rows stay equal, so one with a weight does for all, and every network has its own share.
    """

    kept: dict[int, Moments]  # running statistics, weight 0.1
    weight: Tensor  # of every row, (S, m + 1, 1), 1 for a real one

    def __call__(self, site: int, z: Tensor) -> Tensor:
        """x_hat by the weighted statistics, which the running ones follow."""
        n = self.weight.sum(1, keepdim=True)
        mean = (self.weight * z).sum(1, keepdim=True) / n
        var = (self.weight * (z - mean).square()).sum(1, keepdim=True) / n
        unbiased = (var * n / (n - 1)).detach()
        new = Moments(mean.detach().squeeze(1), unbiased.squeeze(1))
        self.kept[site] = followed(self.kept[site], new, 0.1)
        return (z - mean) * (var + EPS).rsqrt()


def padded_training(given: Settings) -> Any:
    """E5c: 64 real rows beside rows of zeros, loss on the real ones; evaluated without padding.

    A line an arm, kind of statistics and seed; twice the seeds of other experiments.
    """
    seeds, m, parts = range(2 * given.seeds), 64, []
    rows = splits(len(seeds))
    order = batch_order(seeds, rows.x_train.shape[1], batch=m, steps=given.steps)
    zero = torch.zeros(len(seeds), 1, rows.x_train.shape[2])
    start = Moments(torch.zeros(len(seeds), DEEP[1]), torch.ones(len(seeds), DEEP[1]))
    for arm, ends in PADDED.items():
        drawn = np.random.default_rng([given.seed, 61]).uniform(*ends, (given.steps, len(seeds)))
        empty = torch.from_numpy(np.rint(m * drawn / (1 - drawn))).float()
        norm = Padded(
            dict.fromkeys(range(1, len(DEEP) - 1), start), torch.ones(len(seeds), m + 1, 1)
        )

        def batches(norm: Padded = norm, empty: Tensor = empty) -> Iterator[tuple[Tensor, Tensor]]:
            for (x, y), count in zip(
                Rows(rows.x_train, rows.y_train).batches(order), empty, strict=True
            ):
                norm.weight[:, -1, 0] = count
                yield torch.cat([x, zero], 1), y

        net = started(DEEP, seeds)
        descend(net, norm, batches(), training.Recipe(given.steps, m, GOOD_RATE, **COSINE))
        kinds = {"running": norm.kept, "recomputed": net.recalibrate(rows.x_train)}
        for kind, stats in kinds.items():
            where = {"arm": arm, "statistics": kind}
            parts.append(scored(net.params, stored(stats), rows.x_test, rows.y_test, **where))
    return pd.concat(parts)


def pure_batches(given: Settings) -> Any:
    """E6: accuracy after 400 steps of 32 rows, with mixed batches and with one class a batch."""
    rows, steps, seeds, parts = splits(given.seeds), 400, range(given.seeds), []
    orders = {"mixed": batch_order(seeds, rows.x_train.shape[1], batch=32, steps=steps)}
    orders["pure"] = pure_order(rows.y_train, steps, 32)
    sixes = torch.cat([_of_class(rows.y_train, k, steps, 6) for k in range(10)], 2)
    recipe: dict[str, Any] = {"lr": GOOD_RATE, "schedule": "cosine"}
    arms = {"batch norm": "batch", "frozen": "frozen", "layer norm": "layer", "none": "none"}
    for (name, norm), (kind, order) in product(arms.items(), orders.items()):
        net = SeedBatchedMLP(Spec(SMALL, norm=norm), seeds, torch.float32)
        stats = net.recalibrate(rows.x_train) if norm == "frozen" else None
        how = {"order": order, "steps": steps, "batch": 32, "stats": stats} | recipe
        training.train(net, rows.x_train, rows.y_train, **how)
        stats = net.recalibrate(rows.x_train) if norm == "batch" else stats
        right = 100 * training.accuracy(net, rows.x_test, rows.y_test, stats=stats)
        parts.append(pd.DataFrame({"arm": name, "batches": kind, "seed": seeds, "accuracy": right}))
    net, where = started(SMALL, seeds), {"arm": "ten pure ghosts", "batches": "pure"}
    fit(net, ghosts(6), rows, sixes, **recipe)
    norm = stored(net.recalibrate(rows.x_train))
    return pd.concat([*parts, scored(net.params, norm, rows.x_test, rows.y_test, **where)])


def pure_order(y: Tensor, steps: int, m: int) -> Tensor:
    """Row numbers (steps, S, m): every batch has one class, drawn at random."""
    by_class = torch.stack([_of_class(y, k, steps, m) for k in range(10)])
    pick = np.random.default_rng(41).integers(10, size=(steps, len(y)))
    t, s = np.indices(pick.shape)
    return by_class[pick, t, s]


def _of_class(y: Tensor, k: int, steps: int, m: int) -> Tensor:
    """Rows of class k, (steps, S, m), without a row twice in a batch."""
    order = np.empty((steps, len(y), m), dtype=np.int64)
    for s, labels in enumerate(y.numpy()):
        rng, members = np.random.default_rng([42, s, k]), np.flatnonzero(labels == k)
        order[:, s] = members[np.argsort(rng.random((steps, len(members))), 1)[:, :m]]
    return torch.from_numpy(order)
