"""What the experiments share: the network with any norm, its descent, and its scores."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional

from bnlib import data, training
from bnlib.chapters.batches.exact import normalized
from bnlib.data import Split
from bnlib.networks.batches import Rows
from bnlib.networks.seed_batched import SeedBatchedMLP
from bnlib.networks.spec import Spec
from bnlib.rows import Moments

Params = dict[str, Tensor]
Norm = Callable[[int, Tensor], Tensor]
WIDE, SMALL, DEEP = (64, 128, 128, 10), (64, 64, 64, 10), (64, 64, 64, 64, 64, 10)
EPS, GOOD_RATE = 1e-5, 0.05
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
    """`scores` of the networks on these rows."""
    return scores(network(params, x, norm), y, **columns)


def scores(output: Tensor, y: Tensor, **columns: Any) -> pd.DataFrame:
    """A line a network: accuracy in percent and cross-entropy, beside the given columns."""
    right = 100 * training.right_rows(output, y).double().mean(1).numpy()
    loss = training.seed_losses(output.double(), y, "cross-entropy").numpy()
    return pd.DataFrame({"seed": range(len(y)), **columns, "accuracy": right, "loss": loss})
