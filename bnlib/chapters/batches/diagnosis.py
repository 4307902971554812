"""Networks whose evaluation is worse than training: causes, and what the tree reads (E9)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from bnlib import training
from bnlib.chapters.batches.descent import (
    COSINE,
    DEEP,
    GOOD_RATE,
    descend,
    followed,
    ghosts,
    network,
    of_batch,
    scored,
    splits,
    started,
    stored,
)
from bnlib.chapters.batches.evaluation import missed
from bnlib.chapters.batches.exact import dropout_variance
from bnlib.data import Split
from bnlib.identity import evaluation_errors
from bnlib.laws import ema_noise
from bnlib.networks.batches import Rows, batch_order
from bnlib.networks.seed_batched import SeedBatchedMLP, moments
from bnlib.rows import Moments

if TYPE_CHECKING:
    from bnlib.chapters.batches import Settings


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


Trained = dict[str, tuple[Any, dict[int, Moments]]]  # cause: its networks, what they stored


def patients(given: Settings) -> tuple[Any, dict[str, tuple[float, float]]]:
    """E9: a line a cause and seed, with the numbers that the tree reads, accuracies in percent.

    T, E: on training rows, in training and in evaluation mode; E test: on test rows; R: after
    recomputing on training rows; X: after recomputing on test rows.  companions: whether what the
    user calls evaluation changes with the order of the rows.  left: (1 - a)^t of the start.
    Beside them `sizes_by_law`.
    """
    cases, rows = [(cause, "", ill) for cause, ill in CAUSES.items()], splits(given.seeds)
    frame, trained = _examined(rows, cases, FORGOTTEN)
    return frame, sizes_by_law(rows.x_train, trained)


def sizes_by_law(x: Tensor, trained: Trained) -> dict[str, tuple[float, float]]:
    """What a law predicts for four causes and what the networks have, means over the seeds.

    too few steps           share of the start in the stored means of layer 1
    momentum swapped        error of these means, in deviations of a batch mean
    batches of 4            mean square of x_hat between training and evaluation, layer 1
    dropout before BN       stored variance over that without dropout, layer 2
    """
    sizes, stats = {}, {cause: net.recalibrate(x) for cause, (net, _) in trained.items()}
    cause = "too few steps"
    mean, kept, ill = stats[cause][1].mean, trained[cause][1][1].mean, CAUSES[cause]
    left = 1 - (kept * mean).sum(1) / mean.square().sum(1)
    sizes[cause] = (1 - ill.a) ** ill.steps, float(left.mean())
    cause = "momentum swapped"
    (mean, var), kept, ill = stats[cause][1], trained[cause][1][1].mean, CAUSES[cause]
    noise = ((kept - mean).square() * ill.m / var).mean().sqrt()
    sizes[cause] = ema_noise(ill.a), float(noise)
    cause = "batches of 4"
    apart = missed(x @ trained[cause][0].params["W1"].mT, CAUSES[cause].m).stored
    sizes[cause] = evaluation_errors(CAUSES[cause].m).stored, float(apart.mean())
    cause = "dropout before BN"
    (net, kept), clean = trained[cause], stats[cause][2].var
    gamma, beta = (net.params[name].unsqueeze(1) for name in ("gamma1", "beta1"))
    h = (stored(stats[cause])(1, x @ net.params["W1"].mT) * gamma + beta).relu()
    more = dropout_variance(net.params["W2"], h.square().mean(1), CAUSES[cause].keep)
    sizes[cause] = float((1 + more / clean).mean()), float((kept[2].var / clean).mean())
    return sizes


def sized_patients(seeds: int) -> Any:
    """The same with every cause at several sizes; column `size`."""
    cases = [("healthy", "", Ill())]
    for cause, sizes in SIZES.items():
        names = [", ".join(f"{k} {v:g}" for k, v in size.items()) for size in sizes]
        cases += [(cause, name, Ill(**size)) for name, size in zip(names, sizes, strict=True)]
    return _examined(splits(seeds), cases, FORGOTTEN_SIZES)[0]


def _examined(
    rows: Split, cases: list[tuple[str, str, Ill]], forgotten: list[tuple[str, str, int]]
) -> tuple[pd.DataFrame, Trained]:
    parts: list[pd.DataFrame] = []
    trained: Trained = {}
    for cause, size, ill in cases:
        net, kept, seen = _patient(rows, ill, len(rows.x_train))
        trained[cause] = net, kept
        more = {"cause": cause, "size": size, "a": ill.a, "left": (1 - ill.a) ** ill.steps}
        parts.append(seen.assign(**more))
        if cause == "healthy":
            for name, way, m in forgotten:
                lost = _forgotten(net, rows, m, "sorted" in name + way)
                parts.append(parts[0].assign(cause=name, size=way, **lost))
    frame = pd.concat(parts, ignore_index=True)
    healthy = frame[frame.cause == "healthy"].set_index("seed")["E test"]
    return frame.assign(healthy=frame.seed.map(healthy)), trained


def _patient(
    rows: Split, ill: Ill, seeds: int
) -> tuple[SeedBatchedMLP, dict[int, Moments], pd.DataFrame]:
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
    return net, kept, pd.DataFrame(columns).assign(companions=False)


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
