"""What a seed-batched network is fed: rows that fit it, and the seeded choices made among them."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from bnlib.networks.seed_batched import SeedBatchedMLP
from bnlib.networks.spec import BATCH_ORDER, seeded
from bnlib.parameters import one_of

LOSSES = ("cross-entropy", "mse")


class Rows(NamedTuple):
    """Data of S networks: x (S, n, d); y (S, n) class numbers or (S, n, k) targets.

    Rows that all networks share are held once and expanded.
    """

    x: Tensor
    y: Tensor

    def batches(self, order: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches (S, m, d), (S, m[, k]) that `order` (steps, S, m) names."""
        s, n = self.x.shape[:2]
        shared = self.x.stride(0) == 0 and self.y.stride(0) == 0
        x, y = (self.x[0], self.y[0]) if shared else (self.x.flatten(0, 1), self.y.flatten(0, 1))
        start = torch.zeros(s, 1, dtype=torch.int64) if shared else n * torch.arange(s)[:, None]
        for rows in order:
            chosen = (rows + start).flatten()
            batch_x, batch_y = (a.index_select(0, chosen).unflatten(0, rows.shape) for a in (x, y))
            yield batch_x, batch_y


def _inputs(net: SeedBatchedMLP, x: Any) -> Tensor:
    s, d = len(net.seeds), net.spec.sizes[0]
    rows = torch.as_tensor(x)
    fits = rows.ndim in (2, 3) and rows.shape[-1] == d and (rows.ndim == 2 or len(rows) == s)
    if not fits or rows.shape[-2] == 0:
        raise ValueError(
            f"x: expected rows (n, {d}) shared by all seeds or ({s}, n, {d}), one set for each of "
            f"{s} seeds, n >= 1, got shape {tuple(rows.shape)}; the last size is spec.sizes[0]"
        )
    rows = rows.to(net.dtype)
    if not bool(torch.isfinite(rows).all()):
        raise ValueError("x: expected finite numbers, got NaN or Inf; drop or replace those rows")
    return rows.expand(s, *rows.shape[-2:])


def _labels(y: Tensor, k: int) -> Tensor:
    if y.is_floating_point() or y.is_complex() or y.dtype == torch.bool:
        raise ValueError(f"y: expected class numbers as integers for cross-entropy, got {y.dtype}")
    low, high = int(y.min()), int(y.max())
    if low < 0 or high >= k:
        raise ValueError(
            f"y: expected classes 0..{k - 1} for {k} outputs, got {low}..{high}; "
            "relabel, or set the last of spec.sizes to the number of classes"
        )
    return y.long()


def fit_rows(net: SeedBatchedMLP, x: Any, y: Any, loss: str) -> Rows:
    """x and y as the tensors that `net` takes, or a ValueError that says what does not fit.

    x: (n, d) or (S, n, d).  y: classes (n,) or (S, n) for "cross-entropy", targets (n, k) or
    (S, n, k) for "mse"; arrays or tensors.
    """
    one_of("loss", loss, LOSSES)
    rows, target = _inputs(net, x), torch.as_tensor(y)
    s, n = rows.shape[:2]
    tail = () if loss == "cross-entropy" else (net.spec.sizes[-1],)
    if tuple(target.shape) not in ((n, *tail), (s, n, *tail)):
        raise ValueError(
            f"y: expected shape {(n, *tail)} or {(s, n, *tail)} for {n} rows and loss {loss!r}, "
            f"got {tuple(target.shape)}"
        )
    target = _labels(target, net.spec.sizes[-1]) if not tail else target.to(net.dtype)
    if not bool(torch.isfinite(target).all()):
        raise ValueError("y: expected finite targets, got NaN or Inf; drop or replace those rows")
    return Rows(rows, target.expand(s, n, *tail))


def batch_order(seeds: Sequence[int], n: int, *, batch: int, steps: int) -> Tensor:
    """Row numbers (steps, S, batch): each seed walks through its own permutations of 0..n-1.

    The rest of a permutation that fills no batch is left out, so no batch holds a row twice.
    Consequence: depends on (seed, n, batch) alone, so all arms of a seed see the same batches; a
    longer run starts with the batches of a shorter one.
    Raises ValueError: a batch outside 1..n cannot be filled.
    """
    if not 1 <= batch <= n:
        raise ValueError(
            f"batch: expected 1 to n = {n} rows, got {batch}; a row is used once a batch"
        )
    whole = n // batch
    rounds = -(-steps // whole)
    order = np.empty((len(seeds), rounds * whole, batch), dtype=np.int64)
    for i, seed in enumerate(seeds):
        rng = seeded(seed, BATCH_ORDER)
        walks = [rng.permutation(n)[: whole * batch] for _ in range(rounds)]
        order[i] = np.concatenate(walks).reshape(-1, batch)
    return torch.from_numpy(order[:, :steps].swapaxes(0, 1).copy())
