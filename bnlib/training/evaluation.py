"""What a trained network is worth, and the choice of a learning rate without the test rows."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from bnlib import running
from bnlib.data import Split
from bnlib.networks.arms import tiled
from bnlib.networks.batches import Rows, fit_rows, hold_out
from bnlib.networks.seed_batched import Params, SeedBatchedMLP, Statistics
from bnlib.networks.spec import Spec
from bnlib.rows import Moments
from bnlib.training.loop import Step, seed_losses, train


@torch.no_grad()
def losses(
    net: SeedBatchedMLP,
    x: Any,
    y: Any,
    *,
    loss: str = "cross-entropy",
    stats: Statistics | None = None,
    params: Params | None = None,
) -> np.ndarray:
    """Loss of each network on all rows at once, (S,).

    stats: as from `net.recalibrate(x_train)`, for evaluation mode; without them all rows of x are
    one batch in training mode.  params: `net.params` unless given.
    """
    rows = fit_rows(net, x, y, loss)
    output = net.forward(net.params if params is None else params, rows.x, stats=stats)
    return seed_losses(output, rows.y, loss).double().numpy()


@torch.no_grad()
def accuracy(
    net: SeedBatchedMLP,
    x: Any,
    y: Any,
    *,
    stats: Statistics | None = None,
    params: Params | None = None,
) -> np.ndarray:
    """Share of rows whose largest output is at their class, (S,); arguments as in `losses`.

    A row whose outputs are not all finite counts as wrong.
    """
    rows = fit_rows(net, x, y, "cross-entropy")
    output = net.forward(net.params if params is None else params, rows.x, stats=stats)
    right = (output.argmax(-1) == rows.y) & torch.isfinite(output).all(-1)
    return right.double().mean(1).numpy()


def scores(net: SeedBatchedMLP, rows: Split) -> dict[str, list[float]]:
    """Test accuracy and training cross-entropy of each seed, statistics of the training rows."""
    stats = net.recalibrate(torch.as_tensor(rows.x_train))
    loss = losses(net, rows.x_train, rows.y_train, stats=stats)
    right = accuracy(net, rows.x_test, rows.y_test, stats=stats)
    finite = np.nan_to_num(loss, nan=1e9, posinf=1e9)  # a diverged seed must stay readable as JSON
    return {"accuracy": right.round(6).tolist(), "loss": finite.round(6).tolist()}


class RunningTracker:
    """Running statistics of every site during training, for evaluation as a layer would do it.

        tracker = RunningTracker(new_weight=0.1)
        train(net, ..., on_step=tracker)
        accuracy(net, x, y, stats=tracker.stats())

    Each batch moves them by [BN.5] (`running.update`, where new_weight is explained).
    """

    def __init__(self, *, new_weight: float | None):
        self.new_weight = new_weight
        self.sites: dict[int, running.Running] = {}

    def __call__(self, step: Step) -> None:
        for site, (mu, var) in step.trace.stats.items():
            mean, spread = mu.detach().double().numpy(), var.detach().double().numpy()
            old = self.sites.get(site)
            if old is None:
                old = running.Running(np.zeros_like(mean), np.ones_like(mean), 0)
            self.sites[site] = running.update(
                old, mean, spread, step.x.shape[1], new_weight=self.new_weight
            )

    def stats(self, dtype: torch.dtype = torch.float64) -> dict[int, Moments]:
        """The statistics now, for `forward(..., stats=...)`; the variance is unbiased."""
        return {
            site: Moments(torch.tensor(r.mean, dtype=dtype), torch.tensor(r.var, dtype=dtype))
            for site, r in self.sites.items()
        }


class Picked(NamedTuple):
    """rate: the chosen one.  rates (R,) ascending.  scores (R, S): validation accuracy, or minus
    the squared error.  diverged (R, S).  at_edge: the best rate may lie outside the grid."""

    rate: float
    rates: np.ndarray
    scores: np.ndarray
    diverged: np.ndarray
    at_edge: bool


def pick_rate(
    spec: Spec,
    seeds: Sequence[int],
    x: Any,
    y: Any,
    *,
    rates: Sequence[float],
    held_out: int,
    dtype: torch.dtype = torch.float64,
    masks: Mapping[str, Tensor] | None = None,
    **options: Any,
) -> Picked:
    """The rate with the best mean validation score over seeds; the smaller one of equals.

    Each seed holds out `held_out` rows of x at random, the same for every arm, trains on the others
    and is scored with statistics recalibrated on them. A diverged seed scores 0, or minus infinity
    for "mse".  masks: as for `train`.  options: as for `train`, but lr, stats and order.
    All rates train in one program of R S networks, which `on_step` sees rate by rate.
    """
    grid, loss = np.sort(np.asarray(rates, dtype=float)), options.get("loss", "cross-entropy")
    many = len(grid)
    rows = fit_rows(SeedBatchedMLP(spec, seeds, dtype), x, y, loss)
    fit, check = (
        Rows(*(tiled(value, many) for value in part)) for part in hold_out(rows, seeds, held_out)
    )
    net = SeedBatchedMLP(spec, list(seeds) * many, dtype)
    masks = {name: tiled(mask, many) for name, mask in (masks or {}).items()}
    lr = np.repeat(grid, len(seeds))
    diverged = train(net, *fit, lr=lr.tolist(), masks=masks, **options).diverged
    stats = net.recalibrate(fit.x)
    if loss == "mse":
        scores = np.where(diverged, -np.inf, -losses(net, *check, loss=loss, stats=stats))
    else:
        scores = np.where(diverged, 0.0, accuracy(net, *check, stats=stats))
    scores, diverged = scores.reshape(many, -1), diverged.reshape(many, -1)
    best = int(scores.mean(1).argmax())
    return Picked(float(grid[best]), grid, scores, diverged, best in (0, many - 1))
