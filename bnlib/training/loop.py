"""The training loop."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from bnlib.networks.batches import batch_order, fit_rows
from bnlib.networks.seed_batched import SeedBatchedMLP, Statistics, Trace
from bnlib.networks.spec import ROW_STATISTICS
from bnlib.training.parameters import Trained, trained_names
from bnlib.training.recipe import Recipe, adam, sgd


class Step(NamedTuple):
    """What `on_step` gets, before the update. Clone what is kept: params change in place.

    number: 0..steps-1.  loss: (S,) of this batch.  params: all parameters.  grads: of the trained
    ones, masks applied.  x, y: the batch.  trace: its forward pass.
    """

    number: int
    loss: Tensor
    params: dict[str, Tensor]
    grads: dict[str, Tensor]
    x: Tensor
    y: Tensor
    trace: Trace


class History(NamedTuple):
    """loss: (steps, S), of each batch before its update.  diverged_at: (S,), step of the first loss
    that is not finite; `steps` if only the final parameters are not; -1 for a sound run."""

    loss: np.ndarray
    diverged_at: np.ndarray

    @property
    def diverged(self) -> np.ndarray:
        """Which seeds left the finite numbers: (S,) bool."""
        return self.diverged_at >= 0


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread for torch: sums in one order, and small tensors that are not shared out.

    Also decorates a function.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def seed_losses(output: Tensor, y: Tensor, loss: str) -> Tensor:
    """The loss of each network (S,) from outputs (S, m, k): mean over its rows (and outputs)."""
    if loss == "mse":
        return (output - y).square().mean((1, 2))
    return F.cross_entropy(output.transpose(1, 2), y, reduction="none").mean(1)


def _check_statistics(net: SeedBatchedMLP, batch: int, stats: Statistics | None) -> None:
    for site, kind in enumerate(net.spec.norms):
        if kind not in ROW_STATISTICS or site in (stats or {}):
            continue
        if kind == "frozen":
            raise ValueError("norm 'frozen': want stats, got none; pass stats=net.recalibrate(x)")
        if batch < 2:
            raise ValueError(f"batch: norm {kind!r} needs m >= 2 rows to normalize over, got 1")


def _order(net: SeedBatchedMLP, n: int, how: Recipe, order: Tensor | None) -> Tensor:
    own = batch_order(net.seeds, n, batch=how.batch, steps=how.steps) if order is None else order
    want = (how.steps, len(net.seeds), how.batch)
    if tuple(own.shape) != want or int(own.min()) < 0 or int(own.max()) >= n:
        raise ValueError(
            f"order: want row numbers 0..{n - 1} of shape (steps, seeds, batch) = {want}, got "
            f"{int(own.min())}..{int(own.max())} of shape {tuple(own.shape)}"
        )
    return own


def _diverged_at(loss: np.ndarray, flat: Tensor) -> np.ndarray:
    bad = ~np.isfinite(loss)
    first = np.where(bad.any(0), bad.argmax(0), -1)
    final = ~torch.isfinite(flat).all(1).numpy()
    return np.where((first < 0) & final, len(loss), first)


def train(
    net: SeedBatchedMLP,
    x: Any,
    y: Any,
    *,
    order: Tensor | None = None,
    stats: Statistics | None = None,
    masks: Mapping[str, Tensor] | None = None,
    on_step: Callable[[Step], None] | None = None,
    **recipe: Any,
) -> History:
    """Train all networks of `net` for `steps` steps and put the result into `net.params`.

    x: (n, d) or (S, n, d).  y: classes (n,) or (S, n), or targets (n, k) or (S, n, k) for "mse".
    recipe: the fields of `Recipe`.  order: row numbers (steps, S, batch) in place of the seeds' own
    `batch_order`.  stats: constants used in place of batch statistics.  masks: name -> bool
    (S, ...), only these entries are trained.  on_step: called before each update.
    Raises ValueError before the first step: whatever is unknown, empty, not finite or of a wrong
    shape. A seed that diverges is reported in the History and leaves the others as they are.
    """
    how = Recipe(**recipe)
    rows = fit_rows(net, x, y, how.loss)
    _check_statistics(net, how.batch, stats)
    rate = how.rates(len(net.seeds), net.dtype)
    p = Trained(net, trained_names(net, how.trainable), masks or {}, how.weight_decay)
    order = _order(net, rows.x.shape[1], how, order)
    update = adam(p.flat) if how.optimizer == "adam" else sgd(p.flat, how.momentum)
    losses = torch.empty(how.steps, len(net.seeds), dtype=net.dtype)
    for t, (xb, yb) in enumerate(rows.batches(order)):
        seen = net.trace(p.all, xb, stats=stats) if on_step else None
        output = seen.output if seen else net.forward(p.all, xb, stats=stats)
        loss = seed_losses(output, yb, how.loss)
        grad = p.gradient(loss)
        losses[t] = loss.detach()
        if on_step and seen:
            on_step(Step(t, losses[t], p.all, p.views(grad, net), xb, yb, seen))
        grad = p.decayed(grad) if how.weight_decay else grad
        update(grad, rate * how.factor(t))
    net.params = {name: value.detach().clone() for name, value in p.all.items()}
    history = losses.double().numpy()
    return History(history, _diverged_at(history, p.flat))
