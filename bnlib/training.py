"""Training of seed-batched networks: every seed of an arm at once, and none touches another.

Every operation of a step keeps the leading seed axis: the loss is summed over seeds, so that the
gradient of each seed is its own; optimizers work elementwise on one (S, P) matrix. The same seeds,
data and recipe give the same bytes.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from bnlib.data import Split
from bnlib.networks.batches import LOSSES, batch_order, fit_rows
from bnlib.networks.seed_batched import SeedBatchedMLP, Statistics, Trace
from bnlib.networks.spec import ROW_STATISTICS, WEIGHT_MASK, seeded
from bnlib.parameters import one_of

OPTIMIZERS = ("sgd", "adam")
SCHEDULES = ("constant", "cosine")


@dataclass(frozen=True)
class Recipe:
    """How to train.

    steps, batch: whole numbers.  lr: a rate for all seeds, or one a seed.
    optimizer: "sgd" with momentum, v <- momentum v + g, p <- p - lr v; or "adam" with old weights
    0.9, 0.999 and offset 1e-8.
    schedule, of the rate at step t: "constant"; "cosine" lr (1 + cos(pi t/steps))/2.
    loss: mean over rows, and over outputs for "mse".
    weight_decay: added to the gradient of weight matrices W1, W2, ... as weight_decay W, and to no
    gamma, beta or bias; needs "sgd".
    trainable: parameter names ("W1") or kinds ("gamma": gamma1, gamma2, ...); None for all.
    """

    steps: int
    batch: int
    lr: float | Sequence[float] | Tensor
    optimizer: str = "sgd"
    momentum: float = 0.0
    schedule: str = "constant"
    loss: str = "cross-entropy"
    trainable: Sequence[str] | None = None
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        one_of("optimizer", self.optimizer, OPTIMIZERS)
        one_of("schedule", self.schedule, SCHEDULES)
        one_of("loss", self.loss, LOSSES)
        for name in ("steps", "batch"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name}: expected a whole number >= 1, got {value!r}")
        for name, why in {
            "momentum": "1 never forgets, adam has its own",
            "weight_decay": "adam would rescale the decay",
        }.items():
            value = getattr(self, name)
            if not 0 <= value < 1 or (value and self.optimizer == "adam"):
                raise ValueError(
                    f"{name}: expected 0 <= {name} < 1, and 0 with adam, got {value} with "
                    f"{self.optimizer}; {why}"
                )

    def factor(self, step: int) -> float:
        """What the schedule multiplies the rate with at `step` = 0..steps-1."""
        if self.schedule == "cosine":
            return (1 + math.cos(math.pi * step / self.steps)) / 2
        return 1.0

    def rates(self, seeds: int, dtype: torch.dtype) -> Tensor:
        """The rate as (S, 1)."""
        lr = torch.as_tensor(self.lr, dtype=torch.float64)
        if lr.ndim > 1 or (lr.ndim == 1 and len(lr) != seeds):
            raise ValueError(f"lr: expected one rate or {seeds}, got shape {tuple(lr.shape)}")
        if not bool((torch.isfinite(lr) & (lr > 0)).all()):
            raise ValueError(f"lr: expected finite rates > 0, got {self.lr}")
        return lr.to(dtype).expand(seeds)[:, None]


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
    trained = _Trained(net, trained_names(net, how.trainable), masks or {}, how.weight_decay)
    order = _order(net, rows.x.shape[1], how, order)
    update = _adam(trained.flat) if how.optimizer == "adam" else _sgd(trained.flat, how.momentum)
    losses = torch.empty(how.steps, len(net.seeds), dtype=net.dtype)
    for t, (xb, yb) in enumerate(rows.batches(order)):
        seen = net.trace(trained.all, xb, stats=stats) if on_step else None
        output = seen.output if seen else net.forward(trained.all, xb, stats=stats)
        loss = seed_losses(output, yb, how.loss)
        grad = trained.gradient(loss)
        losses[t] = loss.detach()
        if on_step and seen:
            on_step(Step(t, losses[t], trained.all, trained.views(grad, net), xb, yb, seen))
        grad = trained.decayed(grad) if how.weight_decay else grad
        update(grad, rate * how.factor(t))
    net.params = {name: value.detach().clone() for name, value in trained.all.items()}
    history = losses.double().numpy()
    return History(history, _diverged_at(history, trained.flat))


def trained_names(net: SeedBatchedMLP, trainable: Sequence[str] | None) -> list[str]:
    """The parameters that `Recipe.trainable` names.  Raises ValueError for unknown ones or none."""
    if trainable is None:
        return list(net.params)
    kinds = {name: name.rstrip("0123456789") for name in net.params}
    for wanted in trainable:
        one_of("trainable", wanted, sorted({*kinds.values(), *net.params}))
    names = [name for name, kind in kinds.items() if name in trainable or kind in trainable]
    if not names:
        raise ValueError("trainable: expected at least one parameter, got none; None trains all")
    return names


def weight_mask(
    net: SeedBatchedMLP, count: int, among: Sequence[str] | None = None
) -> dict[str, Tensor]:
    """Masks of exactly `count` weights a network, drawn uniformly over all weight matrices.

    among: names of some of them instead.  A seed has the same mask wherever it stands.
    Returns name -> (S, out, in) bool, for `train(..., masks=...)`.
    Raises ValueError: there are not that many weights.
    """
    names = among or [name for name in net.params if name.startswith("W")]
    sizes = [net.params[name][0].numel() for name in names]
    if not 1 <= count <= sum(sizes):
        raise ValueError(f"count: expected 1 to {sum(sizes)} weights, got {count}")
    flat = torch.zeros(len(net.seeds), sum(sizes), dtype=torch.bool)
    for row, seed in zip(flat, net.seeds, strict=True):
        row[torch.from_numpy(seeded(seed, WEIGHT_MASK).permutation(sum(sizes))[:count])] = True
    parts = zip(names, flat.split(sizes, 1), strict=True)
    return {name: part.reshape(net.params[name].shape) for name, part in parts}


def seed_losses(output: Tensor, y: Tensor, loss: str) -> Tensor:
    """The loss of each network (S,) from outputs (S, m, k): mean over its rows (and outputs)."""
    if loss == "mse":
        return (output - y).square().mean((1, 2))
    return F.cross_entropy(output.transpose(1, 2), y, reduction="none").mean(1)


def right_rows(output: Tensor, y: Tensor) -> Tensor:
    """Where the largest output (S, m, k) is at the class; no row that is not all finite, (S, m)."""
    return (output.argmax(-1) == y) & torch.isfinite(output).all(-1)


@torch.no_grad()
def losses(
    net: SeedBatchedMLP,
    x: Any,
    y: Any,
    *,
    loss: str = "cross-entropy",
    stats: Statistics | None = None,
) -> np.ndarray:
    """Loss of each network on all rows at once, (S,).

    stats: as from `net.recalibrate(x_train)`, for evaluation mode; without them all rows of x are
    one batch in training mode.
    """
    rows = fit_rows(net, x, y, loss)
    output = net.forward(net.params, rows.x, stats=stats)
    return seed_losses(output, rows.y, loss).double().numpy()


@torch.no_grad()
def accuracy(net: SeedBatchedMLP, x: Any, y: Any, *, stats: Statistics | None = None) -> np.ndarray:
    """Share of `right_rows`, (S,); arguments as in `losses`."""
    rows = fit_rows(net, x, y, "cross-entropy")
    output = net.forward(net.params, rows.x, stats=stats)
    return right_rows(output, rows.y).double().mean(1).numpy()


def scores(net: SeedBatchedMLP, rows: Split) -> dict[str, list[float]]:
    """Test accuracy and training cross-entropy of each seed, statistics of the training rows."""
    stats = net.recalibrate(torch.as_tensor(rows.x_train))
    loss = losses(net, rows.x_train, rows.y_train, stats=stats)
    right = accuracy(net, rows.x_test, rows.y_test, stats=stats)
    finite = np.nan_to_num(loss, nan=1e9, posinf=1e9)  # a diverged seed must stay readable as JSON
    return {"accuracy": right.round(6).tolist(), "loss": finite.round(6).tolist()}


class _Trained:
    """The trained parameters as one matrix (S, P), seen through leaves that carry gradients."""

    def __init__(
        self,
        net: SeedBatchedMLP,
        names: Sequence[str],
        masks: Mapping[str, Tensor],
        weight_decay: float,
    ):
        self.names = names
        self.flat = torch.cat([net.params[name].flatten(1) for name in names], 1)
        self.mask = _flat_mask(net, names, masks) if masks else None
        rates = [weight_decay if name.startswith("W") else 0.0 for name in names]
        columns = [torch.full_like(net.params[n][:1], r) for n, r in zip(names, rates, strict=True)]
        self.decay = torch.cat([column.flatten(1) for column in columns], 1)
        self.decay = self.decay if self.mask is None else self.decay * self.mask
        parts = self.views(self.flat, net)
        self.leaves = [parts[name].detach().requires_grad_() for name in names]
        self.all = {**net.params, **dict(zip(names, self.leaves, strict=True))}

    def views(self, flat: Tensor, net: SeedBatchedMLP) -> dict[str, Tensor]:
        """The matrix cut into name -> (S, ...)."""
        parts = flat.split([net.params[name][0].numel() for name in self.names], 1)
        return {
            name: part.unflatten(1, net.params[name].shape[1:])
            for name, part in zip(self.names, parts, strict=True)
        }

    def decayed(self, grad: Tensor) -> Tensor:
        """The gradient plus weight_decay W, where a weight matrix is trained; a new matrix."""
        return torch.addcmul(grad, self.flat, self.decay)

    def gradient(self, losses: Tensor) -> Tensor:
        """Gradients of each seed's own loss, (S, P), zero where a mask forbids training."""
        grads = torch.autograd.grad(losses.sum(), self.leaves)
        flat = torch.cat([grad.flatten(1) for grad in grads], 1)
        # Not a product: 0 * NaN would reach a weight that is not trained.
        return flat if self.mask is None else flat.masked_fill_(~self.mask, 0.0)


def _flat_mask(net: SeedBatchedMLP, names: Sequence[str], masks: Mapping[str, Tensor]) -> Tensor:
    for name, mask in masks.items():
        one_of("masks", name, names)
        shape = net.params[name].shape
        if mask.shape != shape or mask.dtype != torch.bool:
            raise ValueError(
                f"masks[{name!r}]: expected bool of shape {tuple(shape)}, "
                f"got {mask.dtype} of shape {tuple(mask.shape)}"
            )
    full = [masks.get(n, torch.ones(net.params[n].shape, dtype=torch.bool)) for n in names]
    return torch.cat([mask.flatten(1) for mask in full], 1)


def _check_statistics(net: SeedBatchedMLP, batch: int, stats: Statistics | None) -> None:
    for site, kind in enumerate(net.spec.norms):
        if kind not in ROW_STATISTICS or site in (stats or {}):
            continue
        if kind == "frozen":
            raise ValueError("norm 'frozen': expected stats=net.recalibrate(x), got none")
        if batch < 2:
            raise ValueError(f"batch: expected m >= 2 rows for norm {kind!r} to go over, got 1")


def _order(net: SeedBatchedMLP, n: int, how: Recipe, order: Tensor | None) -> Tensor:
    if order is None:
        order = batch_order(net.seeds, n, batch=how.batch, steps=how.steps)
    shape = (how.steps, len(net.seeds), how.batch)
    if tuple(order.shape) != shape or int(order.min()) < 0 or int(order.max()) >= n:
        raise ValueError(
            f"order: expected row numbers 0..{n - 1} of shape (steps, seeds, batch) = {shape}, got "
            f"{int(order.min())}..{int(order.max())} of shape {tuple(order.shape)}"
        )
    return order


def _diverged_at(loss: np.ndarray, flat: Tensor) -> np.ndarray:
    bad = ~np.isfinite(loss)
    first = np.where(bad.any(0), bad.argmax(0), -1)
    final = ~torch.isfinite(flat).all(1).numpy()
    return np.where((first < 0) & final, len(loss), first)


def _sgd(flat: Tensor, momentum: float) -> Callable[[Tensor, Tensor], None]:
    velocity = torch.zeros_like(flat)

    def update(grad: Tensor, rate: Tensor) -> None:
        torch.add(grad, velocity, alpha=momentum, out=velocity)
        flat.addcmul_(velocity, rate, value=-1)

    return update


def _adam(flat: Tensor) -> Callable[[Tensor, Tensor], None]:
    first, second, decay = torch.zeros_like(flat), torch.zeros_like(flat), [1.0, 1.0]

    def update(grad: Tensor, rate: Tensor) -> None:
        decay[0], decay[1] = decay[0] * 0.9, decay[1] * 0.999
        first.lerp_(grad, 1 - 0.9)
        second.mul_(0.999).addcmul_(grad, grad, value=1 - 0.999)
        root = second.sqrt().div_(math.sqrt(1 - decay[1])).add_(1e-8)
        flat.addcdiv_(first * (rate / (1 - decay[0])), root, value=-1)

    return update
