"""What the batches chapter trains: every seed, and every arm of one kind, at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, product
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional

from bnlib import data, identity, training
from bnlib.chapters.batches.exact import accumulated_error, normalized
from bnlib.data import Split
from bnlib.networks.arms import tiled
from bnlib.networks.batches import Rows, batch_order
from bnlib.networks.seed_batched import SeedBatchedMLP, moments
from bnlib.networks.spec import Spec
from bnlib.rows import Moments
from bnlib.statistics import relative_gap

if TYPE_CHECKING:
    from bnlib.chapters.batches import Settings

Params = dict[str, Tensor]
Norm = Callable[[int, Tensor], Tensor]
WIDE, SMALL, DEEP = (64, 128, 128, 10), (64, 64, 64, 10), (64, 64, 64, 64, 64, 10)
EPS, GOOD_RATE, AVERAGE_RATES = 1e-5, 0.05, (0.05, 0.2, 1.0)
COSINE: dict[str, Any] = {"momentum": 0.9, "schedule": "cosine"}


def splits(seeds: int, dtype: torch.dtype = torch.float32) -> Split:
    """The digits, one split a seed."""
    several = [data.load("digits", seed) for seed in range(seeds)]
    stacked = (torch.from_numpy(np.stack(part)) for part in zip(*several, strict=True))
    x, y, x_test, y_test = stacked
    return Split(x.to(dtype), y, x_test.to(dtype), y_test)


def started(sizes: Sequence[int], seeds: Sequence[int], dtype: torch.dtype = torch.float32) -> Any:
    """A seed-batched network with batch norm."""
    return SeedBatchedMLP(Spec(tuple(sizes), eps=EPS), seeds, dtype)


def network(params: Params, x: Tensor, norm: Norm, keep: float = 1.0) -> Tensor:
    """Outputs (S, m, k); norm(site, z) gives x_hat at every hidden site, ReLU after it.

    keep: below 1, dropout keeps so many of a hidden layer's values, divided by it.
    """
    last = max(int(name[1:]) for name in params if name[0] == "W")
    for site in range(1, last):
        x_hat = norm(site, x @ params[f"W{site}"].mT)
        gamma, beta = params[f"gamma{site}"], params[f"beta{site}"]
        x = functional.relu(x_hat * gamma.unsqueeze(1) + beta.unsqueeze(1))
        x = functional.dropout(x, 1 - keep, training=keep < 1)
    return x @ params[f"W{last}"].mT + params[f"b{last}"].unsqueeze(1)


def of_batch(site: int, z: Tensor) -> Tensor:
    """Statistics of all rows."""
    return normalized("batch", z, 0, 0, EPS)


def ghosts(rows: int) -> Norm:
    """Statistics of groups of so many rows, one after the other."""

    def norm(site: int, z: Tensor) -> Tensor:
        return normalized("batch", z.unflatten(1, (-1, rows)), 0, 0, EPS).flatten(1, 2)

    return norm


def stored(stats: dict[int, Moments], change: Callable = lambda x: x) -> Norm:
    """Given statistics; `change` is what evaluation makes of the normalized value."""

    def norm(site: int, z: Tensor) -> Tensor:
        mean, var = stats[site]
        return change((z - mean.unsqueeze(1)) * (var.unsqueeze(1) + EPS).rsqrt())

    return norm


def followed(old: Moments, new: Moments, a: Any) -> Moments:
    """Moving statistics after a batch: the new ones weigh a."""
    return Moments(*((1 - a) * was + a * now for was, now in zip(old, new, strict=True)))


def gradients(params: Params, x: Tensor, y: Tensor, norm: Norm, keep: float = 1.0) -> Any:
    """The loss (S,) of each network, and the gradients.  Rows of x beyond those of y: padding."""
    leaves = {name: value.detach().requires_grad_() for name, value in params.items()}
    output = network(leaves, x, norm, keep)[:, : y.shape[1]]
    loss = training.seed_losses(output, y, "cross-entropy")
    grads = torch.autograd.grad(loss.sum(), list(leaves.values()))
    return loss.detach(), dict(zip(leaves, grads, strict=True))


def descend(
    net: SeedBatchedMLP,
    norm: Norm,
    batches: Iterable[tuple[Tensor, Tensor]],
    how: training.Recipe,
    keep: float = 1.0,
) -> None:
    """SGD as in `training.train`, in place, with any norm and on batches of any length."""
    rate = how.rates(len(net.seeds), net.dtype)
    velocity = {name: torch.zeros_like(value) for name, value in net.params.items()}
    for t, (x, y) in enumerate(batches):
        _, grads = gradients(net.params, x, y, norm, keep)
        for name, value in net.params.items():
            velocity[name].mul_(how.momentum).add_(grads[name])
            value.flatten(1).sub_(rate * how.factor(t) * velocity[name].flatten(1))


def fit(net: SeedBatchedMLP, norm: Norm, rows: Split, order: Tensor, **recipe: Any) -> None:
    """Train on the batches that `order` (steps, S, m) names."""
    how = training.Recipe(steps=len(order), batch=order.shape[2], **recipe)
    descend(net, norm, Rows(rows.x_train, rows.y_train).batches(order), how)


@torch.no_grad()
def scored(params: Params, norm: Norm, x: Tensor, y: Tensor, **columns: Any) -> pd.DataFrame:
    """A line a network: accuracy in percent and cross-entropy, beside the given columns."""
    output = network(params, x, norm)
    right = 100 * training.right_rows(output, y).double().mean(1).numpy()
    loss = training.seed_losses(output.double(), y, "cross-entropy").numpy()
    return pd.DataFrame({"seed": range(len(y)), **columns, "accuracy": right, "loss": loss})


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
        losses, sizes, shares = _trained_moving(given, kind, cells, rows)
        for k, cell in enumerate(cells):
            of = slice(k * given.seeds, (k + 1) * given.seeds)
            courses[cell] = losses[:, of], sizes[:, of]
            parts = (part[:, of].T for part in (losses, sizes, shares))
            for seed, course in enumerate(zip(*parts, strict=True)):
                lines.append(cell._asdict() | {"seed": seed} | _in_short(*course))
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
    along its rows, at each step, (steps, cells S) each."""
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
    return (torch.stack(part).numpy() for part in zip(*seen, strict=True))


def small_batches(given: Settings) -> Any:
    """E2b: networks trained with m rows a batch, evaluated with four maps; points and loss."""
    rows, parts, grid = splits(given.seeds), [], np.linspace(-8, 8, 1601)
    for m in given.batch_sizes:
        net = started(WIDE, range(given.seeds))
        steps = 4 * given.steps if m < 8 else 3 * given.steps
        order = batch_order(net.seeds, rows.x_train.shape[1], batch=m, steps=steps + 60)
        fit(net, of_batch, rows, order[:steps], lr=0.02 if m < 8 else GOOD_RATE, **COSINE)
        stats = _of_training_mode(net.params, rows, order[steps:])
        table = torch.from_numpy(identity.conditional_map(grid, m))
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


def _interpolated(x: Tensor, grid: np.ndarray, table: Tensor) -> Tensor:
    step = grid[1] - grid[0]
    at = ((x.double() - grid[0]) / step).clamp(0, len(grid) - 1.001)
    low = at.long()
    return torch.lerp(table[low], table[low + 1], at - low).to(x.dtype)


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


def accumulation(given: Settings) -> tuple[Any, dict[str, float]]:
    """E3: relative difference of the gradients of k parts from those of one batch of 64.

    A line a number of parts, layer and time; and the largest errors of the three identities.
    """
    rows = splits(given.seeds, torch.float64)
    net = started(SMALL, range(given.seeds), torch.float64)
    order = batch_order(net.seeds, rows.x_train.shape[1], batch=64, steps=given.steps)
    x, y = rows.x_train[:, :64], rows.y_train[:, :64]
    lines, errors = [], {"forward": 0.0, "ghosts": 0.0, "controls": 0.0}

    def keep(name: str, error: float) -> None:
        errors[name] = max(errors[name], error)

    for time in ("at the start", "after training"):
        if time == "after training":
            fit(net, of_batch, rows, order, lr=0.1)
        big = gradients(net.params, x, y, of_batch)[1]
        for k in given.parts:
            parts = _accumulated(net.params, x, y, of_batch, k)
            for name in ("W1", "W2", "W3"):
                got, expected = parts[name].flatten(1), big[name].flatten(1)
                gap = (got - expected).norm(dim=1) / expected.norm(dim=1)
                cosine = functional.cosine_similarity(got, expected)
                line = {"when": time, "k": k, "layer": name, "difference": float(gap.mean())}
                lines.append(line | {"least": float(gap.min()), "cosine": float(cosine.mean())})
            keep("ghosts", _apart(parts, gradients(net.params, x, y, ghosts(64 // k))[1]))
            keep("forward", _forward_identity(x @ net.params["W1"].mT, k))
            for control in CONTROLS:
                whole = gradients(net.params, x, y, control)[1]
                keep("controls", _apart(_accumulated(net.params, x, y, control, k), whole))
    return pd.DataFrame(lines), errors


CONTROLS: tuple[Norm, ...] = (  # layer normalization, and none
    lambda site, z: functional.layer_norm(z, z.shape[-1:], eps=EPS),
    lambda site, z: z,
)


def _apart(first: Params, second: Params) -> float:
    return max(relative_gap(first[name], second[name]) for name in second)


def _accumulated(params: Params, x: Tensor, y: Tensor, norm: Norm, k: int) -> Params:
    """Gradients of k parts, one after the other, averaged."""
    total = {name: torch.zeros_like(value) for name, value in params.items()}
    for part, labels in zip(x.chunk(k, 1), y.chunk(k, 1), strict=True):
        for name, gradient in gradients(params, part, labels, norm)[1].items():
            total[name] += gradient / k
    return total


def _forward_identity(z: Tensor, k: int) -> float:
    """Largest error of 2 (1 - mean s_j / s) over networks and channels, eps = 0, layer 1."""
    parts = z.unflatten(1, (k, -1))
    s_j, s = parts.std(2, correction=0), z.std(1, correction=0)
    whole = ((z - z.mean(1, keepdim=True)) / s.unsqueeze(1)).unflatten(1, (k, -1))
    accumulated = (parts - parts.mean(2, keepdim=True)) / s_j.unsqueeze(2)
    measured = (accumulated - whole).square().mean((1, 2))
    return float((measured - accumulated_error(s_j.movedim(1, 0), s)).abs().max())


def ghost_training(given: Settings) -> Any:
    """E3: batches of 256, statistics by groups of g rows; exact population statistics after it."""
    rows, parts, steps = splits(given.seeds), [], given.steps // 2
    order = batch_order(range(given.seeds), rows.x_train.shape[1], batch=256, steps=steps)
    for group in (256, *given.ghosts):
        net = started(SMALL, range(given.seeds))
        fit(net, ghosts(group), rows, order, lr=0.1, **COSINE)
        norm = stored(net.recalibrate(rows.x_train))
        parts.append(scored(net.params, norm, rows.x_test, rows.y_test, g=group))
    return pd.concat(parts)


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


def averaged_weights(given: Settings) -> tuple[Any, float]:
    """E8: two branches from one start, their mean evaluated with four kinds of statistics.

    A line a rate, kind and seed, with the excess delta of the averaged variance of layer 1; and
    the largest relative error of its law.
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
        "averaged": {
            site: Moments(*((a + b) / 2 for a, b in zip(one[site], other[site], strict=True)))
            for site in one
        },
        "of one branch": one,
        "recomputed": start.recalibrate(rows.x_train, mean),
    }
    averaged, recomputed = (kinds[kind][1].var for kind in ("averaged", "recomputed"))
    law = moments(rows.x_train @ ((first["W1"] - second["W1"]) / 2).mT).var
    error = (averaged - recomputed - law).abs().max() / law.abs().max()
    delta = (averaged / recomputed).log().mean(1).exp() - 1
    columns = {"rate": rates, "seed": seeds, "delta 1": delta}
    lines = [
        scored(mean, stored(stats), rows.x_test, rows.y_test, statistics=kind, **columns)
        for kind, stats in kinds.items()
    ]
    return pd.concat(lines), float(error)


class Ill(NamedTuple):
    """How a network came to be worse in evaluation: what differs from the healthy recipe."""

    m: int = 64
    a: float = 0.1
    steps: int = 294  # 14 epochs of 21 batches
    keep: float = 1.0
    last: int = 0  # rows of every 21st batch, 0 for as many as the others
    padding: float = 0.0
    train_rows: int = 0  # 0: all
    scale: float = 1.0  # test input: scale x + shift
    shift: float = 0.0


CAUSES = {
    "healthy": Ill(),
    "too few steps": Ill(a=0.01, steps=60),
    "momentum swapped": Ill(m=16, a=0.99),
    "batches of 4": Ill(m=4),
    "dropout before BN": Ill(keep=0.5),
    "last batch has 2 rows": Ill(last=2),
    "half is padding": Ill(padding=0.5),
    "test input shifted": Ill(scale=0.5, shift=0.3),
    "60 training rows": Ill(m=16, train_rows=60),
}
FORGOTTEN = [(f"eval() forgotten, {m} rows", "", m) for m in (2, 4, 16)]  # cause, size, rows
FORGOTTEN += [("eval() forgotten, sorted", "", 64)]
Size = dict[str, Any]
SIZES: dict[str, list[Size]] = {  # of `results/batches-register.toml`: each cause at several sizes
    "too few steps": [{"a": 0.01, "steps": t} for t in (15, 30, 60, 120, 294)],
    "momentum swapped": [{"a": a, "m": m} for m in (4, 16, 64) for a in (0.5, 0.9, 0.99)],
    "batches of 4": [{"m": m} for m in (2, 3, 4, 8, 16, 32)],
    "dropout before BN": [{"keep": keep} for keep in (0.9, 0.7, 0.5, 0.3)],
    "last batch has 2 rows": [{"last": last} for last in (2, 4, 8, 32)],
    "half is padding": [{"padding": share} for share in (0.1, 0.25, 0.5, 0.8)],
    "test input shifted": [
        {"scale": scale, "shift": shift}
        for scale, shift in ((0.9, 0.05), (0.8, 0.1), (0.5, 0.3), (1.0, 0.3))
    ],
    "60 training rows": [{"train_rows": n, "m": 16} for n in (30, 60, 120, 240, 480)],
}
FORGOTTEN_SIZES = [("eval() forgotten", f"{m} rows", m) for m in (2, 4, 8, 16, 64)]
FORGOTTEN_SIZES += [("eval() forgotten", f"sorted, {m} rows", m) for m in (16, 64)]


def patients(given: Settings) -> Any:
    """E9: a line a cause and seed, with the numbers that the tree reads, accuracies in percent.

    T, E: on training rows, in training and in evaluation mode; E test: on test rows; R: after
    recomputing on training rows; X: after recomputing on test rows.  companions: whether what the
    user calls evaluation changes with the order of the rows.  left: (1 - a)^t of the start.
    """
    cases = [(cause, "", ill) for cause, ill in CAUSES.items()]
    return _examined(splits(given.seeds), cases, FORGOTTEN)


def sized_patients(seeds: int) -> Any:
    """The same with every cause at several sizes; column `size`."""
    cases = [("healthy", "", Ill())]
    for cause, sizes in SIZES.items():
        names = [", ".join(f"{k} {v:g}" for k, v in size.items()) for size in sizes]
        cases += [(cause, name, Ill(**size)) for name, size in zip(names, sizes, strict=True)]
    return _examined(splits(seeds), cases, FORGOTTEN_SIZES)


def _examined(
    rows: Split, cases: list[tuple[str, str, Ill]], forgotten: list[tuple[str, str, int]]
) -> pd.DataFrame:
    parts: list[pd.DataFrame] = []
    for cause, size, ill in cases:
        net, seen = _patient(rows, ill, len(rows.x_train))
        more = {"cause": cause, "size": size, "a": ill.a, "left": (1 - ill.a) ** ill.steps}
        parts.append(seen.assign(**more))
        if cause == "healthy":
            for name, way, m in forgotten:
                lost = _forgotten(net, rows, m, "sorted" in name + way)
                parts.append(parts[0].assign(cause=name, size=way, **lost))
    frame = pd.concat(parts, ignore_index=True)
    healthy = frame[frame.cause == "healthy"].set_index("seed")["E test"]
    return frame.assign(healthy=frame.seed.map(healthy))


def _patient(rows: Split, ill: Ill, seeds: int) -> tuple[SeedBatchedMLP, pd.DataFrame]:
    n = ill.train_rows or rows.x_train.shape[1]
    x, y, x_test = rows.x_train[:, :n], rows.y_train[:, :n], ill.scale * rows.x_test + ill.shift
    net = started(DEEP, range(seeds))
    order = batch_order(range(seeds), n, batch=ill.m, steps=ill.steps)
    padding = torch.zeros(seeds, round(ill.m * ill.padding / (1 - ill.padding)), x.shape[2])
    kept = {site: Moments(torch.zeros(seeds, 64), torch.ones(seeds, 64)) for site in range(1, 5)}

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        for t, (some, labels) in enumerate(Rows(x, y).batches(order)):
            m = ill.last if ill.last and t % 21 == 20 else ill.m
            yield torch.cat([some[:, :m], padding], 1), labels[:, :m]

    def norm(site: int, z: Tensor) -> Tensor:
        mean, var = moments(z.detach())
        unbiased = var * z.shape[1] / (z.shape[1] - 1)
        kept[site] = followed(kept[site], Moments(mean, unbiased), ill.a)
        return of_batch(site, z)

    torch.manual_seed(0)  # dropout draws from torch's own generator
    how = training.Recipe(steps=ill.steps, batch=ill.m, lr=GOOD_RATE, **COSINE)
    descend(net, norm, batches(), how, ill.keep)
    right = []
    with torch.no_grad():
        for some, labels in islice(batches(), 20):
            output = network(net.params, some, of_batch, ill.keep)[:, : labels.shape[1]]
            right.append(training.right_rows(output, labels).double().mean(1).numpy())
    columns: dict[str, Any] = {"seed": range(seeds), "T": 100 * np.mean(right, 0)}
    statistics = {"": kept, " R": net.recalibrate(x), " X": net.recalibrate(x_test)}
    for name, stats in statistics.items():
        columns[f"E{name}"] = scored(net.params, stored(stats), x, y).accuracy
        test = scored(net.params, stored(stats), x_test, rows.y_test)
        columns |= {f"E test{name}": test.accuracy, f"loss{name}": test.loss}
    return net, pd.DataFrame(columns).assign(companions=False)


def _forgotten(net: SeedBatchedMLP, rows: Split, m: int, by_class: bool) -> dict[str, Any]:
    """Test accuracy in batches of m rows that are their own statistics, in two orders."""
    n = rows.x_test.shape[1] // m * m
    y = rows.y_test[:, :n]
    order = torch.argsort(y, dim=1, stable=True) if by_class else torch.arange(n).expand(len(y), n)
    scores, classes = [], []
    for permuted in (order, order.flip(1).roll(1, 1)):
        ((x, labels),) = Rows(rows.x_test, rows.y_test).batches(permuted[None])
        scores.append(scored(net.params, ghosts(m), x, labels))
        output = network(net.params, x, ghosts(m))
        classes.append(output.argmax(-1).gather(1, torch.argsort(permuted, 1)))
    changed = (classes[0] != classes[1]).any(1).numpy()
    return {"E test": scores[0].accuracy, "loss": scores[0].loss, "companions": changed}


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
