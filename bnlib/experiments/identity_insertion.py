"""A normalization inserted into a network so that it changes no output: what it does change."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from bnlib import data, identity, training
from bnlib.networks.seed_batched import SeedBatchedMLP
from bnlib.networks.spec import Spec
from bnlib.rows import Moments


class Setting(NamedTuple):
    """A network without norm for each seed, and its own split of the digits."""

    plain: SeedBatchedMLP
    x: Tensor  # (S, n, 64)
    y: Tensor  # (S, n)
    x_test: Tensor
    y_test: Tensor


class Change(NamedTuple):
    """What an inserted layer does to a network, one number a seed: (S,)."""

    output: np.ndarray  # largest change of an output
    gradient: np.ndarray  # relative change of the gradient of W1
    cosine: np.ndarray  # between the two gradients of W1
    removed: np.ndarray  # share of the energy of the gradient at the inserted layer


def on_digits(seeds: int) -> Setting:
    """Two-layer tanh networks of 32 units at their initialization, one a seed."""
    splits = zip(*(data.digits_split(k) for k in range(seeds)), strict=True)
    plain = SeedBatchedMLP(Spec((64, 32, 10), "tanh", norm="none"), range(seeds))
    return Setting(plain, *(torch.as_tensor(np.stack(part)) for part in splits))


def first_moments(plain: SeedBatchedMLP, x: Tensor) -> Moments:
    """Mean and biased variance of the first layer of a network without norm, over the rows of x."""
    z = plain.trace(plain.params, x).pre[1].detach()
    return Moments(z.mean(dim=1), z.var(dim=1, correction=0))


def insert(plain: SeedBatchedMLP, norm: str, stats: Moments) -> SeedBatchedMLP:
    """`plain` with a norm after its first linear map, gamma and beta restoring at `stats`.

    norm: "batch", or "frozen" for given statistics.  The bias of that map is dropped, as a norm
    cancels it: stats contain it, so beta does; frozen statistics must not (`without_bias`).
    """
    net = SeedBatchedMLP(replace(plain.spec, norm=norm), plain.seeds, plain.dtype)
    gamma, beta = identity.restoring(stats.mean, stats.var, eps=plain.spec.eps)
    same = {name: value.clone() for name, value in plain.params.items() if name in net.params}
    net.params |= same | {"gamma1": gamma, "beta1": beta}
    return net


def without_bias(plain: SeedBatchedMLP, stats: Moments) -> dict[int, Moments]:
    """`stats` of the first layer as the inserted norm sees it, for `forward(..., stats=...)`."""
    return {1: Moments(stats.mean - plain.params["b1"], stats.var)}


def change(
    plain: SeedBatchedMLP, net: SeedBatchedMLP, x: Tensor, y: Tensor, stats: Any = None
) -> Change:
    """Outputs and gradients of `net` against those of `plain` on one batch, cross-entropy."""
    (out, dw, dz), (out0, dw0, dz0) = (
        _backprop(net, x, y, stats),
        _backprop(plain, x, y, None),
    )
    dw, dw0 = dw.flatten(1), dw0.flatten(1)
    parts = (
        (out - out0).abs().amax((1, 2)),
        (dw - dw0).norm(dim=1) / dw0.norm(dim=1),
        torch.cosine_similarity(dw, dw0),
        (dz - dz0).square().mean((1, 2)) / dz0.square().mean((1, 2)),
    )
    return Change(*(v.numpy() for v in parts))


def _backprop(net: SeedBatchedMLP, x: Tensor, y: Tensor, stats: Any) -> tuple[Tensor, ...]:
    params = {name: v.clone().requires_grad_() for name, v in net.params.items()}
    seen = net.trace(params, x, stats=stats)
    loss = training.seed_losses(seen.output, y, "cross-entropy").sum()  # seeds do not mix
    return seen.output.detach(), *torch.autograd.grad(loss, [params["W1"], seen.pre[1]])


def trajectory(net: SeedBatchedMLP, x: Tensor, y: Tensor, **recipe: Any) -> Tensor:
    """The first weights at every step of training, (steps + 1, S, weights); trains `net`."""
    kept: list[Tensor] = []
    training.train(net, x, y, on_step=lambda step: kept.append(step.params["W1"].clone()), **recipe)
    return torch.stack([*kept, net.params["W1"]]).flatten(2).detach()


def changes(on: Setting, m: int) -> dict[str, Change]:
    """`change` for the first m rows of each split, by mode.

    "training": constants that restore these rows.  "evaluation": constants and stored statistics
    of all training rows.
    """
    x, y, population = on.x[:, :m], on.y[:, :m], first_moments(on.plain, on.x)
    batch = insert(on.plain, "batch", first_moments(on.plain, x))
    frozen = insert(on.plain, "frozen", population)
    stats = without_bias(on.plain, population)
    return {
        "training": change(on.plain, batch, x, y),
        "evaluation": change(on.plain, frozen, x, y, stats),
    }


def partings(on: Setting, *, steps: int = 100) -> dict[str, np.ndarray]:
    """Distance of W1 with and without the inserted layer over how far the plain W1 has moved.

    One array (S, steps) for each way to train the inserted layer. Trains `on.plain`.
    """
    population = first_moments(on.plain, on.x)
    given = {"stats": without_bias(on.plain, population)}
    arms: dict[str, tuple[str, dict[str, Any]]] = {
        "training mode": ("batch", {}),
        "frozen statistics": ("frozen", given),
        "frozen statistics, γ not trained": ("frozen", given | {"trainable": ["W", "beta", "b"]}),
    }
    how = {"x": on.x, "y": on.y, "steps": steps, "batch": 64, "lr": 0.1}
    runs = {
        name: trajectory(insert(on.plain, norm, population), **how, **options)
        for name, (norm, options) in arms.items()
    }
    own = trajectory(on.plain, **how)  # last: it trains the network that the others copy
    moved = (own - own[0]).norm(dim=2)[1:]
    return {name: ((run - own).norm(dim=2)[1:] / moved).numpy().T for name, run in runs.items()}


def loss_changes(on: Setting, sizes: tuple[int, ...]) -> tuple[np.ndarray, dict[int, np.ndarray]]:
    """Change of the test loss by a layer that restores the population of the training rows, (S,).

    First in evaluation with the statistics of that population, then in training mode with test
    batches of each size.
    """
    population = first_moments(on.plain, on.x)
    frozen, batch = (insert(on.plain, norm, population) for norm in ("frozen", "batch"))
    stats = without_bias(on.plain, population)
    still = _test_loss(on, frozen, 32, stats) - _test_loss(on, on.plain, 32)
    return still, {m: _test_loss(on, batch, m) - _test_loss(on, on.plain, m) for m in sizes}


def _test_loss(on: Setting, net: SeedBatchedMLP, m: int, stats: Any = None) -> np.ndarray:
    """Mean over whole batches of m test rows, (S,)."""
    parts = [
        training.seed_losses(net.forward(net.params, x, stats=stats), y, "cross-entropy")
        for x, y in zip(on.x_test.split(m, dim=1), on.y_test.split(m, dim=1), strict=True)
        if x.shape[1] == m
    ]
    return torch.stack(parts).mean(dim=0).numpy()
