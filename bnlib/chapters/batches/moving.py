"""Moving averages in training, against renormalization and the statistics of the batch (E1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from bnlib.chapters.batches.descent import (
    EPS,
    WIDE,
    followed,
    gradients,
    network,
    of_batch,
    scored,
    splits,
    started,
    stored,
)
from bnlib.chapters.batches.exact import normalized
from bnlib.data import Split
from bnlib.networks.arms import tiled
from bnlib.networks.batches import Rows, batch_order
from bnlib.networks.seed_batched import moments
from bnlib.rows import Moments

if TYPE_CHECKING:
    from bnlib.chapters.batches import Settings


@dataclass
class Moving:
    """Statistics that follow the batches with weight a (S, 1), and are updated before use."""

    kind: str
    a: Tensor
    stats: dict[int, Moments]

    def __call__(self, site: int, z: Tensor) -> Tensor:
        """x_hat by the moving statistics, constants in the gradient or renormalized."""
        self.stats[site] = followed(self.stats[site], moments(z.detach()), self.a)
        mean, var = (v.unsqueeze(1) for v in self.stats[site])
        return normalized(self.kind, z, mean, var, EPS)


class Cell(NamedTuple):
    """A way to train with moving averages: what moves, rate, weight of a batch, gamma and beta."""

    kind: str
    rate: float
    a: float = 0.1
    affine: bool = True


def moving_averages(given: Settings) -> tuple[Any, dict[tuple, np.ndarray], float]:
    """E1: one line a network; courses (steps, S) of loss and of the norm of W1; and the largest
    difference of the outputs of ema and renorm at the start."""
    rows, rate = splits(given.seeds), sorted(given.rates)[len(given.rates) // 2]
    lines, courses = [], {}
    for kind in ("batch", "renorm", "ema"):
        cells = [Cell(kind, r) for r in given.rates]
        cells += [] if kind == "batch" else [Cell(kind, rate, affine=False)]
        cells += [Cell(kind, rate, a) for a in given.doses if a != 0.1 and kind == "ema"]
        losses, sizes, shares, right = _trained_moving(given, kind, cells, rows)
        for k, cell in enumerate(cells):
            of = slice(k * given.seeds, (k + 1) * given.seeds)
            courses[cell] = losses[:, of], sizes[:, of]
            parts = (part[:, of].T for part in (losses, sizes, shares))
            for seed, course in enumerate(zip(*parts, strict=True)):
                line = cell._asdict() | {"seed": seed} | _in_short(*course)
                lines.append(line | {"accuracy": right[of][seed]})
    net, x = started(WIDE, range(given.seeds), torch.float64), rows.x_train[:, :64].double()
    first = [
        network(
            net.params, x, Moving(kind, torch.tensor(0.1).double(), net.recalibrate(rows.x_train))
        )
        for kind in ("ema", "renorm")
    ]
    return pd.DataFrame(lines), courses, float((first[0] - first[1]).abs().max())


def _in_short(loss: np.ndarray, norms: np.ndarray, shares: np.ndarray) -> dict[str, float]:
    """One network: final loss, largest loss, growth of W1, share of the gradient along W1."""
    finite, largest = np.isfinite(loss), float(loss[np.isfinite(loss)].max())
    final = float(loss[-20:].mean()) if finite.all() else max(largest, np.log(10))
    growth = float(norms[np.isfinite(norms)][-1] / norms[0])
    radial = float(np.nanmean(shares))
    return {"log loss": np.log10(final), "largest": largest, "growth": growth, "radial": radial}


def _trained_moving(given: Settings, kind: str, cells: list[Cell], rows: Split) -> Any:
    """All networks of one kind at once, cell after cell: loss, norm of W1 and share of its gradient
    along its rows, at each step, (steps, cells S) each; and accuracy in evaluation, (cells S,)."""
    count, (_, *columns) = len(cells), zip(*cells, strict=True)
    rate, a, affine = (torch.tensor(v).repeat_interleave(given.seeds)[:, None] for v in columns)
    rows = Split(*(tiled(part, count) for part in rows))
    net = started(WIDE, list(range(given.seeds)) * count)
    norm = of_batch if kind == "batch" else Moving(kind, a, net.recalibrate(rows.x_train))
    order = batch_order(net.seeds, rows.x_train.shape[1], batch=64, steps=given.steps)
    seen = []
    for x, y in Rows(rows.x_train, rows.y_train).batches(order):
        loss, grads = gradients(net.params, x, y, norm)
        w, g = net.params["W1"].double(), grads["W1"].double()
        along = (w * g).sum(2).abs() / (w.norm(dim=2) * g.norm(dim=2)).clamp_min(1e-300)
        seen.append((loss.double(), net.params["W1"].norm(dim=(1, 2)).double(), along.mean(1)))
        for name, value in net.params.items():
            step = rate * grads[name].flatten(1)
            if name.startswith(("gamma", "beta")):
                step[~affine[:, 0]] = 0
            value.flatten(1).sub_(step)
    stats = norm.stats if isinstance(norm, Moving) else net.recalibrate(rows.x_train)
    right = scored(net.params, stored(stats), rows.x_test, rows.y_test).accuracy.to_numpy()
    return *(torch.stack(part).numpy() for part in zip(*seen, strict=True)), right
