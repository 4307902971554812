"""What the chapter on transfer tunes, adapts and counts: small networks, all seeds at once.

A remedy is a choice of statistics, of what is trained, and of a rate. Rates are tried side by side,
as copies of the networks; the one that is best on the rows set aside is the arm's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from bnlib import training
from bnlib.chapters.transfer.domains import Target, Trained, copies, splits
from bnlib.networks.arms import tiled
from bnlib.networks.batches import Rows, batch_order
from bnlib.networks.seed_batched import SeedBatchedMLP, Statistics

WEIGHTS, AFFINE = ("W", "b"), ("gamma", "beta")
TRAINED = {"nothing": (), "γ, β": AFFINE, "weights": WEIGHTS, "all": (*WEIGHTS, *AFFINE)}
STATISTICS, UNTESTED = ("source", "target", "batch"), "target, other rows"
HEAD, HIDDEN = ("W3", "b3"), ("W1", "W2")
SUBSETS = {  # what is trained, and whether of W1 and W2 only random entries, as many as γ and β
    "γ, β": (AFFINE, False),
    "random weights": (HIDDEN, True),
    "head": (HEAD, False),
    "γ, β and head": ((*AFFINE, *HEAD), False),
    "random weights and head": ((*HIDDEN, *HEAD), True),
    "all": (TRAINED["all"], False),
}
SINGLE = {"γ": (("gamma",), False), "β": (("beta",), False)}
STEPS, BATCH, SUBSET_STEPS = 120, 32, 100
FIRST_STEPS, LOOKS = 150, 100  # after, and batches before, the first update
EARLY = 10  # steps that count as the first ones
REMEDIES = {  # statistics and what is trained
    "source statistics": ("source", ()),
    "target statistics": ("target", ()),
    "source statistics, γ, β tuned": ("source", AFFINE),
    "target statistics, γ, β tuned": ("target", AFFINE),
    "target statistics, weights tuned": ("target", WEIGHTS),
    "target statistics, γ of layer 1 negated": ("target", ()),
}


class Arm(NamedTuple):
    """One way of tuning at each of its rates, (K, S); accuracies in percent."""

    rates: tuple[float, ...]
    aside: np.ndarray  # accuracy on the rows that choose the rate
    test: np.ndarray
    stable: np.ndarray  # the loss on the labelled rows ended finite and below its start
    loss: np.ndarray  # (steps, K, S), of each batch before its update

    @property
    def best(self) -> int:
        """Place of the rate that is best on average on the rows set aside."""
        return int(self.aside.mean(1).argmax())

    @property
    def accuracy(self) -> np.ndarray:
        """Test accuracy of each seed at the chosen rate, (S,)."""
        return self.test[self.best]

    @property
    def rate(self) -> str:
        """The chosen rate, with a star where it stands at an end of its grid; "" without one."""
        ends = (0, len(self.rates) - 1)
        return f"{self.rates[self.best]:g}" + "*" * (self.best in ends) if self.rates else ""

    @property
    def largest_stable(self) -> np.ndarray:
        """Place in the grid of the largest stable rate, (S,); -1 where none is."""
        places = np.arange(len(self.rates))[:, None]
        return np.where(self.stable, places, -1).max(0)


def percent(net: SeedBatchedMLP, x: Tensor, y: Tensor, stats: Statistics | None) -> np.ndarray:
    """Accuracy of each network, (S,)."""
    return 100 * training.accuracy(net, x, y, stats=stats)


def with_statistics(source: Trained, rows: Tensor) -> Trained:
    """The same networks with the statistics of other rows (S, n, d), layer by layer."""
    return Trained(source.net, source.net.recalibrate(rows))


def untuned(start: Trained, rows: Target) -> Arm:
    """The networks as they are, in the form of an arm."""
    score = percent(start.net, rows.x_test, rows.y_test, start.stats)[None]
    return Arm((), score, score, score > np.inf, np.empty((0, *score.shape)))


def tune(
    start: Trained,
    rows: Target,
    rates: Sequence[float],
    trainable: Sequence[str],
    *,
    frozen: bool = True,
    random: int = 0,
    batch: int = BATCH,
    steps: int = STEPS,
) -> Arm:
    """Copies of the networks tuned on the labelled rows, one rate each; untuned where nothing is.

    random: if not 0, of W1 and W2 so many random entries only.
    frozen: `start.stats` stay as constants.  Otherwise every batch uses its own, and evaluation
    those of the labelled rows, computed anew: test rows may not help each other.
    """
    if not trainable:
        return untuned(start, rows)
    (net, stats), count = copies(start, len(rates)), len(rates)
    rows = Target(*(tiled(part, count) for part in rows))
    fixed = stats if frozen else None
    before = training.losses(net, rows.x, rows.y, stats=fixed)
    how = {"steps": steps, "batch": batch, "momentum": 0.9, "schedule": "cosine"}
    lr = np.repeat(rates, len(start.net.seeds)).tolist()
    masks = training.weight_mask(net, random, HIDDEN) if random else None
    history = training.train(
        net, rows.x, rows.y, stats=fixed, trainable=trainable, masks=masks, lr=lr, **how
    )
    used = fixed or net.recalibrate(rows.x)
    after = training.losses(net, rows.x, rows.y, stats=used)
    aside = percent(net, rows.x_aside, rows.y_aside, used)
    test = percent(net, rows.x_test, rows.y_test, used)
    parts = aside, test, np.isfinite(after) & (after < before), history.loss
    return Arm(tuple(rates), *(part.reshape(*part.shape[:-1], count, -1) for part in parts))


def remedies(
    source: Trained, rows: Target, *, affine_rates: Sequence[float], weight_rates: Sequence[float]
) -> dict[str, Arm]:
    """Each of `REMEDIES`, from the labelled rows of a shifted source."""
    target, arms = with_statistics(source, rows.x), {}
    for name, (statistics, trainable) in REMEDIES.items():
        start = source if statistics == "source" else target
        if name.endswith("negated"):
            start = with_statistics(negated(source), rows.x)
        rates = affine_rates if trainable == AFFINE else weight_rates
        arms[name] = tune(start, rows, rates, trainable)
    return arms


def negated(source: Trained) -> Trained:
    """The networks with the sign of gamma in the first layer turned."""
    net = copies(source, 1).net
    net.params["gamma1"] = -net.params["gamma1"]
    return Trained(net, source.stats)


def _all_rows(rows: Target) -> Tensor:
    return torch.cat([rows.x, rows.x_aside, rows.x_test], 1)


def table(source: Trained, rows: Target, rates: Sequence[float]) -> dict[tuple[str, str], Arm]:
    """The twelve cells (statistics, trained); target statistics are those of all target rows.

    A fourth row of cells has those of the rows that are not tested, so that no test row helps.
    """
    starts = {"source": source, "target": with_statistics(source, _all_rows(rows))}
    starts[UNTESTED] = with_statistics(source, torch.cat([rows.x, rows.x_aside], 1))
    starts["batch"] = with_statistics(source, rows.x)
    return {
        (of, name): tune(starts[of], rows, rates, trainable, frozen=of != "batch")
        for of, (name, trainable) in product(starts, TRAINED.items())
    }


def subsets(
    source: Trained,
    rows: Target,
    rates: Sequence[float],
    labels: Sequence[int],
    chosen: Mapping[str, tuple[Sequence[str], bool]] = SUBSETS,
) -> dict[tuple[str, int], Arm]:
    """What is tuned on so many labelled rows; statistics of all rows of the target."""
    start, arms = with_statistics(source, _all_rows(rows)), {}
    net = source.net
    numbers = sum(net.params[name][0].numel() for name in training.trained_names(net, AFFINE))
    for n, (name, (kinds, random)) in product(labels, chosen.items()):
        how: dict[str, Any] = {
            "random": numbers * random,
            "batch": min(BATCH, n),
            "steps": SUBSET_STEPS,
        }
        arms[name, n] = tune(start, rows.first(n), rates, kinds, **how)
    return arms


def adapted(source: Trained, rows: Target, ceiling: np.ndarray) -> dict[str, np.ndarray]:
    """Accuracy (S,) with statistics of the source, of so many target rows, and of all that are
    tested; the ceiling is a network of the target itself."""
    some = torch.cat([rows.x, rows.x_aside], 1)
    counted = {"20 other rows": some[:, :20], "200 other rows": some[:, :200]}
    counted["all tested rows"] = rows.x_test
    starts = {"source": source} | {n: with_statistics(source, x) for n, x in counted.items()}
    scores = {name: untuned(start, rows).accuracy for name, start in starts.items()}
    return scores | {"trained there": ceiling}


def at_home(trained: Trained, seeds: Sequence[int]) -> np.ndarray:
    """Accuracy (S,) of networks of the digits on the digits that they did not train on."""
    rows = splits("digits", seeds)
    x, y = np.stack([s.x_test for s in rows]), np.stack([s.y_test for s in rows])
    return percent(trained.net, torch.from_numpy(x), torch.from_numpy(y), trained.stats)


def sorted_order(y: Tensor, batch: int) -> Tensor:
    """Row numbers (steps, S, batch) of a stream sorted by class; what fills no batch is left."""
    ranked = torch.from_numpy(np.argsort(y.numpy(), axis=1, kind="stable"))
    steps = y.shape[1] // batch
    return ranked[:, : steps * batch].reshape(len(y), steps, batch).swapaxes(0, 1)


@torch.no_grad()
def companions(source: Trained, rows: Target, sizes: Sequence[int]) -> dict[str, np.ndarray]:
    """Accuracy (sizes, S) in training mode, in batches of random and of sorted rows."""
    net, (x, y) = source.net, (rows.x_test, rows.y_test)
    scores: dict[str, list[np.ndarray]] = {"random": [], "sorted": []}
    for m in sizes:
        orders = batch_order(net.seeds, x.shape[1], batch=m, steps=x.shape[1] // m)
        for name, order in {"random": orders, "sorted": sorted_order(y, m)}.items():
            right = [
                training.right_rows(net.forward(net.params, xb), yb).double().mean(1)
                for xb, yb in Rows(x, y).batches(order)
            ]
            scores[name].append(100 * torch.stack(right).mean(0).numpy())
    return {name: np.array(score) for name, score in scores.items()}


@torch.no_grad()
def first_losses(source: Trained, rows: Target, m: int) -> dict[str, np.ndarray]:
    """Loss (batches, S) of batches of m labelled rows before any update, by mode.

    "batch": training mode.  "source", "target": frozen at those statistics.
    """
    net, n = source.net, rows.x.shape[1]
    order = batch_order(net.seeds, n, batch=m, steps=LOOKS)
    modes = {"batch": None, "source": source.stats, "target": net.recalibrate(rows.x)}
    losses: dict[str, list[Tensor]] = {mode: [] for mode in modes}
    for x, y in Rows(rows.x, rows.y).batches(order):
        for mode, stats in modes.items():
            output = net.forward(net.params, x, stats=stats)
            losses[mode].append(training.seed_losses(output, y, "cross-entropy"))
    return {mode: torch.stack(seen).double().numpy() for mode, seen in losses.items()}


def first_steps(source: Trained, rows: Target, m: int, rates: Sequence[float]) -> dict[str, Arm]:
    """All numbers tuned in batches of m: with batch statistics, frozen at source or target."""
    target = with_statistics(source, rows.x)
    how: dict[str, Any] = {"trainable": TRAINED["all"], "batch": m, "steps": FIRST_STEPS}
    return {
        "batch": tune(target, rows, rates, frozen=False, **how),
        "source": tune(source, rows, rates, **how),
        "target": tune(target, rows, rates, **how),
    }


def early(loss: np.ndarray) -> np.ndarray:
    """Mean loss of the first steps by rate, (steps, K, S) -> (K, S); what is not finite is 1e9."""
    return np.nan_to_num(loss[:EARLY].mean(0), nan=1e9, posinf=1e9)


def worst(loss: np.ndarray) -> np.ndarray:
    """Largest mean loss of as many steps in a row, as `early`."""
    means = loss.reshape(-1, EARLY, *loss.shape[1:]).mean(1)
    return np.nan_to_num(means, nan=1e9, posinf=1e9).max(0)


class Stream(NamedTuple):
    """Accuracy in percent, mean entropy in nats, share of the largest predicted class in percent:
    (passes + 1, S) each, the first before any update."""

    accuracy: np.ndarray
    entropy: np.ndarray
    largest: np.ndarray


def entropy(logits: Tensor) -> Tensor:
    """Mean entropy of the predictions, in nats: (S, m, k) -> (S,).

    H = log sum exp z - E_p z
    """
    p = logits.softmax(-1)
    return (logits.logsumexp(-1) - (p * logits).sum(-1)).mean(1)


def minimize_entropy(
    source: Trained, x: Tensor, y: Tensor, order: Tensor, *, rate: float, every: int
) -> Stream:
    """Plain gradient steps on gamma and beta, batch statistics, along a stream without labels.

    order: row numbers (steps, S, m); after each `every` of them the networks are looked at, with
    statistics of all rows of the target.
    """
    net = copies(source, 1).net
    names = training.trained_names(net, AFFINE)
    looks = [_look(net, x, y)]
    for step, (rows, _) in enumerate(Rows(x, y).batches(order), start=1):
        leaves = {name: net.params[name].requires_grad_() for name in names}
        loss = entropy(net.forward(net.params | leaves, rows)).sum()
        grads = torch.autograd.grad(loss, list(leaves.values()))
        for (name, value), grad in zip(leaves.items(), grads, strict=True):
            net.params[name] = (value - rate * grad).detach()
        if step % every == 0:
            looks.append(_look(net, x, y))
    return Stream(*(np.array(part) for part in zip(*looks, strict=True)))


@torch.no_grad()
def _look(net: SeedBatchedMLP, x: Tensor, y: Tensor) -> tuple[np.ndarray, ...]:
    logits = net.forward(net.params, x, stats=net.recalibrate(x))
    votes = torch.nn.functional.one_hot(logits.argmax(-1), logits.shape[-1]).double().mean(1)
    right = training.right_rows(logits, y).double().mean(1)
    return (100 * right).numpy(), entropy(logits).numpy(), (100 * votes.amax(1)).numpy()


def streams(source: Trained, rows: Target, *, rate: float, passes: int) -> dict[str, Stream]:
    """Batches of 64 mixed, for all passes; and, one pass each, sorted by class or of 8 mixed."""
    x, y = rows.x_test, rows.y_test
    n, orders = x.shape[1], {"sorted": sorted_order(y, 64)}
    for name, m, times in (("mixed", 64, passes), ("batches of 8", 8, 1)):
        orders[name] = batch_order(source.net.seeds, n, batch=m, steps=times * (n // m))
    return {
        name: minimize_entropy(source, x, y, orders[name], rate=rate, every=n // m)
        for name, m in (("mixed", 64), ("batches of 8", 8), ("sorted", 64))
    }


@torch.no_grad()
def sharpened(source: Trained, rows: Target, factors: Sequence[float]) -> Mapping[float, tuple]:
    """Accuracy in percent and entropy, mean of all seeds, of logits times each factor."""
    net, (x, y) = source.net, (rows.x_test, rows.y_test)
    logits = net.forward(net.params, x, stats=net.recalibrate(x))
    right = [100 * float(training.right_rows(c * logits, y).double().mean()) for c in factors]
    return {c: (r, float(entropy(c * logits).mean())) for c, r in zip(factors, right, strict=True)}
