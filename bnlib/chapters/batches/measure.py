"""What the batches chapter trains: every seed, and every arm of one kind, at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional

from bnlib import data, identity, training
from bnlib.chapters.batches.exact import accumulated_error, normalized, relative_gap
from bnlib.data import Split
from bnlib.networks.batches import batch_order
from bnlib.networks.seed_batched import SeedBatchedMLP, moments
from bnlib.networks.spec import Spec
from bnlib.rows import Moments

if TYPE_CHECKING:
    from bnlib.chapters.batches import Settings

Params = dict[str, Tensor]
Norm = Callable[[int, Tensor], Tensor]
WIDE, SMALL, DEEP = (64, 128, 128, 10), (64, 64, 64, 10), (64, 64, 64, 64, 64, 10)
EPS, OLD = 1e-5, 0.9  # OLD: momentum of the optimizer, the weight of the old velocity
GOOD_RATE = 0.05


def splits(seeds: int, dtype: torch.dtype = torch.float32) -> Split:
    """The digits, one split a seed."""
    several = [data.load("digits", seed) for seed in range(seeds)]
    stacked = (torch.from_numpy(np.stack(part)) for part in zip(*several, strict=True))
    x, y, x_test, y_test = stacked
    return Split(x.to(dtype), y, x_test.to(dtype), y_test)


def chosen(rows: Tensor, order: Tensor) -> Tensor:
    """Rows (S, m, ...) of (S, n, ...) by number (S, m)."""
    return rows[torch.arange(len(rows))[:, None], order]


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


def descend(
    params: Params,
    norm: Norm,
    batches: Callable[[int], tuple[Tensor, Tensor]],
    steps: int,
    rate: Any,
    *,
    momentum: float = 0.0,
    cosine: bool = False,
    watch: Callable[[int, Params, Params], None] | None = None,
    frozen: Tensor | None = None,
    keep: float = 1.0,
) -> np.ndarray:
    """Train by SGD in place; the loss (steps, S) of each batch.

    rate: one, or (S,).  watch: sees (step, params, gradients) before the update.  frozen: (S,),
    which networks keep gamma and beta.
    """
    rate = torch.as_tensor(rate, dtype=params["W1"].dtype).expand(len(params["W1"]))
    velocity = {name: torch.zeros_like(value) for name, value in params.items()}
    losses = np.empty((steps, len(rate)))
    for t in range(steps):
        x, y = batches(t)
        leaves = {name: value.requires_grad_() for name, value in params.items()}
        output = network(leaves, x, norm, keep)[:, : y.shape[1]]  # rows without a label: padding
        loss = training.seed_losses(output, y, "cross-entropy")
        grads = dict(
            zip(leaves, torch.autograd.grad(loss.sum(), list(leaves.values())), strict=True)
        )
        losses[t] = loss.detach()
        factor = (1 + np.cos(np.pi * t / steps)) / 2 if cosine else 1.0
        with torch.no_grad():
            for value in params.values():
                value.requires_grad_(False)
            if watch:
                watch(t, params, grads)
            for name, value in params.items():
                if frozen is not None and name[:2] in ("ga", "be"):
                    grads[name][frozen] = 0
                velocity[name].mul_(momentum).add_(grads[name])
                step = (rate * factor).view(-1, *[1] * (value.ndim - 1))
                value.sub_(step * velocity[name])
    return losses


def in_order(rows: Split, order: Tensor) -> Callable[[int], tuple[Tensor, Tensor]]:
    """The batches that `order` (steps, S, m) names."""
    return lambda t: (chosen(rows.x_train, order[t]), chosen(rows.y_train, order[t]))


def started(sizes: Sequence[int], seeds: Sequence[int], dtype: torch.dtype = torch.float32) -> Any:
    """A seed-batched network with batch norm."""
    return SeedBatchedMLP(Spec(tuple(sizes), eps=EPS), seeds, dtype)


@torch.no_grad()
def scored(params: Params, norm: Norm, x: Tensor, y: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Accuracy in percent and cross-entropy of each network."""
    output = network(params, x, norm)
    right = training.right_rows(output, y).double().mean(1).numpy()
    return 100 * right, training.seed_losses(output.double(), y, "cross-entropy").numpy()


@dataclass
class Moving:
    """Statistics that follow the batches with weight a (S,), and are updated before use."""

    kind: str
    a: Tensor
    stats: dict[int, Moments]

    def __call__(self, site: int, z: Tensor) -> Tensor:
        """x_hat by the moving statistics, constants in the gradient or renormalized."""
        new = moments(z.detach())
        a = self.a[:, None]
        pairs = zip(self.stats[site], new, strict=True)
        self.stats[site] = Moments(*((1 - a) * old + a * value for old, value in pairs))
        mean, var = (v.unsqueeze(1) for v in self.stats[site])
        return normalized(self.kind, z, mean, var, EPS)


def moving_averages(given: Settings) -> tuple[Any, dict[tuple, np.ndarray], float]:
    """E1: one line a network; courses (steps, S) of loss and of the norm of W1; and the largest
    difference of the outputs of ema and renorm at the start."""
    rows, seeds = splits(given.seeds), range(given.seeds)
    rate = sorted(given.rates)[len(given.rates) // 2]
    cells = [("batch", r, 0.1, True) for r in given.rates]
    cells += [("renorm", r, 0.1, True) for r in given.rates] + [("renorm", rate, 0.1, False)]
    cells += [("ema", r, 0.1, True) for r in given.rates] + [("ema", rate, 0.1, False)]
    cells += [("ema", rate, a, True) for a in given.doses if a != 0.1]
    lines, courses = [], {}
    for kind in ("batch", "renorm", "ema"):
        mine = [cell for cell in cells if cell[0] == kind]
        lines += _trained_moving(given, kind, mine, rows, courses)
    nets = [started(WIDE, seeds, torch.float64) for _ in range(2)]
    x = rows.x_train[:, :64].double()
    first = [
        network(
            net.params,
            x,
            Moving(kind, torch.full((len(seeds),), 0.1).double(), _population(net, rows)),
        )
        for kind, net in zip(("ema", "renorm"), nets, strict=True)
    ]
    return pd.DataFrame(lines), courses, float((first[0] - first[1]).abs().max())


def _population(net: SeedBatchedMLP, rows: Split) -> dict[int, Moments]:
    return net.recalibrate(rows.x_train.to(net.dtype))


def _trained_moving(given: Settings, kind: str, cells: list, rows: Split, courses: dict) -> list:
    """All networks of one kind at once, cell after cell."""
    s, count = given.seeds, len(cells)
    net = started(WIDE, list(range(s)) * count)
    stats = _population(net, Split(*(part.repeat(count, *[1] * (part.ndim - 1)) for part in rows)))
    rates, a = (torch.tensor([c[k] for c in cells]).repeat_interleave(s) for k in (1, 2))
    norm: Norm = of_batch if kind == "batch" else Moving(kind, a, stats)
    order = batch_order(range(s), rows.x_train.shape[1], batch=64, steps=given.steps)
    sizes, shares = [], []

    def watch(t: int, params: Params, grads: Params) -> None:
        w, g = params["W1"], grads["W1"]
        sizes.append(w.norm(dim=(1, 2)).double().numpy())
        w, g = w.double(), g.double()
        along = (w * g).sum(2).abs() / (w.norm(dim=2) * g.norm(dim=2)).clamp_min(1e-300)
        shares.append(along.mean(1).double().numpy())

    def batches(t: int) -> tuple[Tensor, Tensor]:
        x, y = chosen(rows.x_train, order[t]), chosen(rows.y_train, order[t])
        return x.repeat(count, 1, 1), y.repeat(count, 1)

    frozen = torch.tensor([not c[3] for c in cells]).repeat_interleave(s)
    losses = descend(net.params, norm, batches, given.steps, rates, watch=watch, frozen=frozen)
    size, share = np.array(sizes), np.array(shares)
    lines = []
    for k, (_, rate, weight, affine) in enumerate(cells):
        for seed in range(s):
            loss, norms = losses[:, k * s + seed], size[:, k * s + seed]
            finite = np.isfinite(loss)
            largest = float(loss[finite].max())
            final = float(loss[-20:].mean()) if finite.all() else max(largest, np.log(10))
            growth = float(norms[np.isfinite(norms)][-1] / norms[0])
            line = {"kind": kind, "rate": rate, "a": weight, "affine": affine, "seed": seed}
            line |= {"log loss": np.log10(final), "largest": largest, "growth": growth}
            lines.append(line | {"radial": float(np.nanmean(share[:, k * s + seed]))})
        courses[kind, rate, weight, affine] = (
            losses[:, k * s : (k + 1) * s],
            size[:, k * s : (k + 1) * s],
        )
    return lines


def small_batches(given: Settings) -> Any:
    """E2b: networks trained with m rows a batch, evaluated with four maps; points and loss."""
    rows, lines, grid = splits(given.seeds), [], np.linspace(-8, 8, 1601)
    for m in given.batch_sizes:
        net = started(WIDE, range(given.seeds))
        steps = 4 * given.steps if m < 8 else 3 * given.steps
        order = batch_order(net.seeds, rows.x_train.shape[1], batch=m, steps=steps + 60)
        rate = 0.02 if m < 8 else GOOD_RATE
        descend(net.params, of_batch, in_order(rows, order), steps, rate, momentum=OLD, cosine=True)
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
            right, loss = scored(net.params, stored(stats, change), rows.x_test, rows.y_test)
            lines += [
                {"m": m, "map": name, "seed": k, "accuracy": r, "loss": v}
                for k, (r, v) in enumerate(zip(right, loss, strict=True))
            ]
    return pd.DataFrame(lines)


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

    for batch in order:
        network(params, chosen(rows.x_train, batch), norm)
    return {site: moments(torch.cat(parts, 1)) for site, parts in seen.items()}


def accumulation(given: Settings) -> tuple[Any, dict[str, float]]:
    """E3: relative difference of the gradients of k parts from those of one batch of 64.

    A line a number of parts, layer and time; and the largest errors of the three identities.
    """
    rows = splits(given.seeds, torch.float64)
    net = started(SMALL, range(given.seeds), torch.float64)
    x, y = rows.x_train[:, :64], rows.y_train[:, :64]
    lines, errors = [], {"forward": 0.0, "ghosts": 0.0, "controls": 0.0}
    controls: dict[str, Norm] = {
        "layer": lambda site, z: functional.layer_norm(z, z.shape[-1:], eps=EPS),
        "none": lambda site, z: z,
    }
    for time in ("at the start", "after training"):
        if time == "after training":
            order = batch_order(net.seeds, rows.x_train.shape[1], batch=64, steps=given.steps)
            descend(net.params, of_batch, in_order(rows, order), given.steps, 0.1)
        big = _gradients(net.params, x, y, of_batch)
        for k in given.parts:
            parts = _accumulated(net.params, x, y, of_batch, k)
            ghost = _gradients(net.params, x, y, ghosts(64 // k))
            errors["ghosts"] = max(
                errors["ghosts"], *(relative_gap(parts[n], ghost[n]) for n in big)
            )
            for name in ("W1", "W2", "W3"):
                gap = (parts[name] - big[name]).flatten(1).norm(dim=1) / big[name].flatten(1).norm(
                    dim=1
                )
                cosine = functional.cosine_similarity(parts[name].flatten(1), big[name].flatten(1))
                line = {"when": time, "k": k, "layer": name, "difference": float(gap.mean())}
                lines.append(line | {"least": float(gap.min()), "cosine": float(cosine.mean())})
            errors["forward"] = max(
                errors["forward"], _forward_identity(x @ net.params["W1"].mT, k)
            )
            for control in controls.values():
                one = _gradients(net.params, x, y, control)
                several = _accumulated(net.params, x, y, control, k)
                errors["controls"] = max(
                    errors["controls"], *(relative_gap(several[n], one[n]) for n in one)
                )
    return pd.DataFrame(lines), errors


def _gradients(params: Params, x: Tensor, y: Tensor, norm: Norm) -> Params:
    leaves = {name: value.detach().clone().requires_grad_() for name, value in params.items()}
    loss = training.seed_losses(network(leaves, x, norm), y, "cross-entropy").sum()
    return dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))


def _accumulated(params: Params, x: Tensor, y: Tensor, norm: Norm, k: int) -> Params:
    """Gradients of k parts, one after the other, averaged."""
    total = {name: torch.zeros_like(value) for name, value in params.items()}
    for xs, ys in zip(x.chunk(k, 1), y.chunk(k, 1), strict=True):
        for name, gradient in _gradients(params, xs, ys, norm).items():
            total[name] += gradient / k
    return total


def _forward_identity(z: Tensor, k: int) -> float:
    """Largest error of 2 (1 - mean s_j / s) over networks and channels, eps = 0, layer 1."""
    parts = z.unflatten(1, (k, -1))
    s_j, s = parts.std(2, correction=0), z.std(1, correction=0)
    x_hat = ((z - z.mean(1, keepdim=True)) / s.unsqueeze(1)).unflatten(1, (k, -1))
    own = (parts - parts.mean(2, keepdim=True)) / s_j.unsqueeze(2)
    measured = (own - x_hat).square().mean((1, 2))
    return float((measured - accumulated_error(s_j.movedim(1, 0), s)).abs().max())


def ghost_training(given: Settings) -> Any:
    """E3: batches of 256, statistics by groups of g rows; exact population statistics after it."""
    rows, lines = splits(given.seeds), []
    order = batch_order(
        range(given.seeds), rows.x_train.shape[1], batch=256, steps=given.steps // 2
    )
    for group in (256, *given.ghosts):
        net = started(SMALL, range(given.seeds))
        batches = in_order(rows, order)
        descend(net.params, ghosts(group), batches, len(order), 0.1, momentum=OLD, cosine=True)
        right, loss = scored(net.params, stored(_population(net, rows)), rows.x_test, rows.y_test)
        lines += [
            {"g": group, "seed": seed, "accuracy": right[seed], "loss": loss[seed]}
            for seed in range(given.seeds)
        ]
    return pd.DataFrame(lines)


def layer_inputs(given: Settings) -> np.ndarray:
    """What the norm of layer 1 of a trained network reads: 90 rows, channels that vary."""
    rows = splits(2, torch.float64)
    net = started(SMALL, range(2), torch.float64)
    order = batch_order(net.seeds, rows.x_train.shape[1], batch=64, steps=given.steps)
    descend(net.params, of_batch, in_order(rows, order), given.steps, 0.1)
    return (rows.x_train[0, :90] @ net.params["W1"][0].mT).numpy()


def pure_batches(given: Settings) -> Any:
    """E6: accuracy after 400 steps of 32 rows, with mixed batches and with one class a batch."""
    rows, steps, lines = splits(given.seeds), 400, []
    mixed = batch_order(range(given.seeds), rows.x_train.shape[1], batch=32, steps=steps)
    pure = pure_order(rows.y_train, steps, 32)
    sixes = torch.cat([_of_class(rows.y_train, k, steps, 6) for k in range(10)], 2)
    recipe: dict[str, Any] = {"steps": steps, "lr": GOOD_RATE, "schedule": "cosine"}
    arms = {"batch norm": "batch", "frozen": "frozen", "layer norm": "layer", "none": "none"}
    cells = [
        (name, norm, kind, o)
        for name, norm in arms.items()
        for kind, o in (("mixed", mixed), ("pure", pure))
    ]
    for name, norm, kind, order in cells:
        net = SeedBatchedMLP(Spec(SMALL, norm=norm), range(given.seeds), torch.float32)
        stats = net.recalibrate(rows.x_train) if norm == "frozen" else None
        training.train(
            net, rows.x_train, rows.y_train, order=order, batch=32, stats=stats, **recipe
        )
        if norm == "batch":
            stats = net.recalibrate(rows.x_train)
        right = 100 * training.accuracy(net, rows.x_test, rows.y_test, stats=stats)
        lines += [
            {"arm": name, "batches": kind, "seed": k, "accuracy": r} for k, r in enumerate(right)
        ]
    net = started(SMALL, range(given.seeds))
    descend(net.params, ghosts(6), in_order(rows, sixes), steps, GOOD_RATE, cosine=True)
    right, _ = scored(net.params, stored(_population(net, rows)), rows.x_test, rows.y_test)
    lines += [
        {"arm": "ten pure ghosts", "batches": "pure", "seed": k, "accuracy": r}
        for k, r in enumerate(right)
    ]
    return pd.DataFrame(lines)


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


AVERAGE_RATES = (0.05, 0.2, 1.0)


def averaged_weights(given: Settings) -> tuple[Any, float]:
    """E8: two branches from one start, their mean evaluated with four kinds of statistics.

    A line a rate, kind and seed, with the excess delta of the averaged variance of layer 1; and
    the largest relative error of its law.
    """
    rows, s, count = splits(given.seeds, torch.float64), given.seeds, len(AVERAGE_RATES)
    repeated = Split(*(part.repeat(count, *[1] * (part.ndim - 1)) for part in rows))
    seeds, rates = list(range(s)) * count, np.repeat(AVERAGE_RATES, s)
    start = started(SMALL, seeds, torch.float64)
    branches = [started(SMALL, seeds, torch.float64) for _ in range(2)]
    steps = 2 * given.steps // 3
    for k, net in enumerate(branches):
        order = batch_order(
            [seed + 1000 * k for seed in seeds], rows.x_train.shape[1], batch=64, steps=steps
        )
        descend(
            net.params, of_batch, in_order(repeated, order), steps, rates, momentum=OLD, cosine=True
        )
    both = [_population(net, repeated) for net in branches]
    mean = {
        name: (value + branches[1].params[name]) / 2 for name, value in branches[0].params.items()
    }
    averaged = {
        site: Moments(*((a + b) / 2 for a, b in zip(both[0][site], both[1][site], strict=True)))
        for site in both[0]
    }
    recomputed = start.recalibrate(repeated.x_train, mean)
    apart = (branches[0].params["W1"] - branches[1].params["W1"]) / 2
    law = moments(repeated.x_train @ apart.mT).var
    excess = averaged[1].var - recomputed[1].var
    delta = [(averaged[k].var / recomputed[k].var).log().mean(1).exp() - 1 for k in (1, 2)]
    lines = []
    kinds = {
        "of the start": _population(start, repeated),
        "averaged": averaged,
        "of one branch": both[0],
        "recomputed": recomputed,
    }
    for kind, stats in kinds.items():
        right, loss = scored(mean, stored(stats), repeated.x_test, repeated.y_test)
        lines += [
            {
                "rate": rates[i],
                "statistics": kind,
                "seed": seeds[i],
                "accuracy": right[i],
                "loss": loss[i],
                "delta 1": float(delta[0][i]),
                "delta 2": float(delta[1][i]),
            }
            for i in range(len(seeds))
        ]
    return pd.DataFrame(lines), float((excess - law).abs().max() / law.abs().max())


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
FORGOTTEN = {"eval() forgotten, 2 rows": 2, "eval() forgotten, 4 rows": 4}
FORGOTTEN |= {"eval() forgotten, 16 rows": 16, "eval() forgotten, sorted": 64}


def patients(given: Settings) -> Any:
    """E9: a line a cause and seed, with the numbers that the tree reads, accuracies in percent.

    T, E: on training rows, in training and in evaluation mode; E test: on test rows; R: after
    recomputing on training rows; X: after recomputing on test rows.  companions: whether what the
    user calls evaluation changes with the order of the rows.  left: (1 - a)^t of the start.
    """
    rows, lines = splits(given.seeds), []
    for cause, ill in CAUSES.items():
        net, numbers = _patient(rows, ill, given.seeds)
        lines += _lines(cause, ill, numbers)
        if cause == "healthy":
            for name, m in FORGOTTEN.items():
                lines += _lines(name, ill, numbers | _forgotten(net, rows, m, "sorted" in name))
    frame = pd.DataFrame(lines)
    healthy = frame[frame.cause == "healthy"].set_index("seed")["E test"]
    return frame.assign(healthy=frame.seed.map(healthy))


def _lines(cause: str, ill: Ill, numbers: dict[str, np.ndarray]) -> list[dict]:
    whole = {"cause": cause, "a": ill.a, "left": (1 - ill.a) ** ill.steps}
    count = len(numbers["T"])
    return [whole | {"seed": k} | {n: v[k] for n, v in numbers.items()} for k in range(count)]


def _patient(rows: Split, ill: Ill, seeds: int) -> tuple[SeedBatchedMLP, dict[str, np.ndarray]]:
    n = ill.train_rows or rows.x_train.shape[1]
    rows = rows._replace(x_train=rows.x_train[:, :n], y_train=rows.y_train[:, :n])
    rows = rows._replace(x_test=ill.scale * rows.x_test + ill.shift)
    net = started(DEEP, range(seeds))
    order = batch_order(range(seeds), n, batch=ill.m, steps=ill.steps)
    empty = round(ill.m * ill.padding / (1 - ill.padding))
    nothing = torch.zeros(seeds, empty, rows.x_train.shape[2])
    kept = {site: Moments(torch.zeros(seeds, 64), torch.ones(seeds, 64)) for site in range(1, 5)}

    def batches(t: int) -> tuple[Tensor, Tensor]:
        at = order[t][:, : ill.last] if ill.last and t % 21 == 20 else order[t]
        return torch.cat([chosen(rows.x_train, at), nothing], 1), chosen(rows.y_train, at)

    def norm(site: int, z: Tensor) -> Tensor:
        mean, var = moments(z.detach())
        new = Moments(mean, var * z.shape[1] / (z.shape[1] - 1))
        pairs = zip(kept[site], new, strict=True)
        kept[site] = Moments(*((1 - ill.a) * old + ill.a * value for old, value in pairs))
        return of_batch(site, z)

    torch.manual_seed(0)  # dropout draws from torch's own generator
    descend(
        net.params, norm, batches, ill.steps, GOOD_RATE, momentum=OLD, cosine=True, keep=ill.keep
    )
    with torch.no_grad():
        right = []
        for t in range(min(20, ill.steps)):
            x, y = batches(t)
            output = network(net.params, x, of_batch, ill.keep)[:, : y.shape[1]]
            right.append(training.right_rows(output, y).double().mean(1).numpy())
    numbers = {"T": 100 * np.mean(right, 0)}
    statistics = {"": kept, " R": _population(net, rows), " X": net.recalibrate(rows.x_test)}
    for name, stats in statistics.items():
        numbers[f"E{name}"] = scored(net.params, stored(stats), rows.x_train, rows.y_train)[0]
        test, loss = scored(net.params, stored(stats), rows.x_test, rows.y_test)
        numbers |= {f"E test{name}": test, f"loss{name}": loss}
    return net, numbers | {"companions": np.zeros(seeds, dtype=bool)}


def _forgotten(net: SeedBatchedMLP, rows: Split, m: int, by_class: bool) -> dict[str, np.ndarray]:
    """Test accuracy in batches of m rows that are their own statistics, in two orders."""
    n = rows.x_test.shape[1] // m * m
    y = rows.y_test[:, :n]
    order = torch.argsort(y, dim=1, stable=True) if by_class else torch.arange(n).expand(len(y), n)
    found, labels = [], []
    for permuted in (order, order.flip(1).roll(1, 1)):
        x = chosen(rows.x_test, permuted)
        found.append(scored(net.params, ghosts(m), x, chosen(rows.y_test, permuted)))
        labels.append(
            network(net.params, x, ghosts(m)).argmax(-1).gather(1, torch.argsort(permuted, 1))
        )
    changed = (labels[0] != labels[1]).any(1).numpy()
    return {"E test": found[0][0], "loss": found[0][1], "companions": changed}


def owners(given: Settings) -> dict[str, np.ndarray]:
    """The normalized value of one row of digits, layer 1 at the start, by who owns its statistics.

    Up to 200 draws of the other rows each.
    """
    rows = splits(1, torch.float64)
    net = started(SMALL, [0], torch.float64)
    z = (rows.x_train[0] @ net.params["W1"][0, 0]).numpy()
    y, own, rng = rows.y_train[0].numpy(), 0, np.random.default_rng([given.seed, 51])
    others, class_mates = np.arange(1, len(z)), np.flatnonzero(y == y[own])[1:]

    def drawn(m: int, among: np.ndarray, empty: int = 0) -> np.ndarray:
        batches = [
            np.append(z[rng.choice(among, m - 1, replace=False)], z[own]) for _ in range(200)
        ]
        padded = [np.append(batch, np.zeros(empty)) for batch in batches]
        return np.array([(z[own] - b.mean()) / b.std() for b in padded])

    return {
        "all training rows": np.array([(z[own] - z.mean()) / z.std()]),
        "a batch of 64": drawn(64, others),
        "two machines, 8 + 8": drawn(16, others),
        "a ghost of 8": drawn(8, others),
        "a batch of 4": drawn(4, others),
        "16 rows, 16 padding": drawn(16, others, 16),
        "16 of its class": drawn(16, class_mates),
    }
