"""Trials of the identity: kernels, random batches, redundant constants, an inserted layer.

Each function makes one measurement of the identity chapter; intervals and verdicts are the page's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from bnlib import absorption, identity, kernels, reference, running, training
from bnlib.networks.seed_batched import Moments, SeedBatchedMLP
from bnlib.populations import Population

KERNELS = {
    "center first": "two-pass",
    "folded": "folded",
    "mean to extra digits": "recentred",
    "PyTorch": "torch",
}


class Sums(NamedTuple):
    """Means over many batches at gamma = 1, beta = 0, in units of the population's variance."""

    error: float  # (y - x)^2
    std: float  # s_m, computed as x_hat x
    present: float  # x_hat^2: share of batches whose rows are not all equal
    energy: float  # x^2


class Change(NamedTuple):
    """What an inserted layer does to a network, one number a seed: (S,)."""

    output: np.ndarray  # largest change of an output
    gradient: np.ndarray  # relative change of the gradient of W1
    cosine: np.ndarray  # between the two gradients of W1
    removed: np.ndarray  # share of the energy of the gradient at the inserted layer


def restoring_error(x: np.ndarray, kernel: str, *, eps: float) -> np.ndarray:
    """max_m |y - x| of each channel, with the constants that restore this batch.

    kernel: one of KERNELS. The constants are made from the mean and variance that this kernel
    itself computes, rounded to the dtype of x: what a layer could store.
    """
    method, mu = KERNELS[kernel], x.mean(axis=0)
    var = np.square(x - mu).mean(axis=0)
    if method == "folded":  # its statistics are float64
        wide = x.astype(np.float64)
        mu = wide.mean(axis=0)
        var = np.square(wide - mu).mean(axis=0)
    elif method == "recentred":
        mu, var, _ = reference.statistics(x)
    gamma, beta = (v.astype(x.dtype) for v in identity.restoring(mu, var, eps=eps))
    if method == "torch":
        args = (torch.tensor(v) for v in (x, beta, gamma, gamma, beta))
        y = torch.nn.functional.batch_norm(*args, training=True, eps=eps).numpy()
    else:
        y = kernels.forward_by(method, x, gamma, beta, eps=eps)
    return np.abs(y - x).max(axis=0)


def sample_errors(population: Population, m: int, rows: int, rng: np.random.Generator) -> Sums:
    """Monte Carlo of `identity.error` with the real forward pass, eps = 0.

    rows: how many to draw, in batches of m; at least 40 batches are drawn.
    """
    x = population.draw(rng, (m, max(40, rows // m)))
    ones = np.ones(x.shape[1])
    y, tape = reference.forward(x, ones, 0 * ones, eps=0.0)
    means = (np.square(y - x), tape.x_hat * x, np.square(tape.x_hat), np.square(x))
    return Sums(*(float(v.mean()) for v in means))


def removed_share(m: int, b: float, rng: np.random.Generator, *, channels: int = 400) -> float:
    """Share of the energy of dy that does not pass a layer with y = x.

    Independent Gaussian x, and dy with mean b and variance 1; theory: (b^2 + 2/m) / (1 + b^2).
    """
    x, dy = rng.normal(size=(m, channels)), b + rng.normal(size=(m, channels))
    constants = identity.restoring(x.mean(axis=0), x.var(axis=0), eps=0.0)
    _, tape = reference.forward(x, *constants, eps=0.0)
    dx = reference.backward(dy, tape).dx
    return float(np.square(dy - dx).mean() / (1 + b * b))


def redundancy_gaps(rng: np.random.Generator, *, rate: float) -> dict[str, float]:
    """Largest change of the outputs when gamma (and beta) are moved into a neighboring layer.

    A random network of 8 inputs, 16 normalized units and 3 outputs, 64 rows, eps = 1e-5; one gamma
    is 0 and the others have both signs. The last entry compares outputs after one gradient step.
    """
    x, eps = rng.normal(size=(64, 8)), 1e-5
    before = absorption.Linear(rng.normal(size=(16, 8)), np.zeros(16))
    after = absorption.Linear(rng.normal(size=(3, 16)), rng.normal(size=3))
    gamma, beta = np.append(0.0, rng.normal(size=15)), rng.normal(size=16)
    ones, zeros, size = np.ones(16), np.zeros(16), np.abs(gamma)
    moved, kept = (absorption.through_relu(g, beta, after) for g in (gamma, size))
    flipped = absorption.Linear(before.weight * moved.sign[:, None], before.bias)

    def bn(first: absorption.Linear, scale: np.ndarray, shift: np.ndarray) -> np.ndarray:
        return reference.forward(first(x), scale, shift, eps=eps)[0]

    def relu(y: np.ndarray) -> np.ndarray:
        return np.maximum(y, 0)

    x_hat, z, goal = bn(before, ones, zeros), before(x), rng.normal(size=(64, 3))
    stored = (gamma, beta, z.mean(axis=0) + 1, 2 * z.var(axis=0))
    plain, signed, lifted = (bn(before, g, beta) for g in (gamma, gamma, size))
    own = _stepped(x_hat, size, beta, after, goal, rate)
    pairs = {
        "linear": (after(plain), absorption.into_next(gamma, beta, after)(x_hat)),
        "ReLU, γ > 0": (after(relu(lifted)), kept.after(relu(x_hat + kept.beta))),
        "ReLU, any γ, rows flipped": (
            after(relu(signed)),
            moved.after(relu(bn(flipped, ones, moved.beta))),
        ),
        "folded in evaluation": (
            running.infer(z, *stored, eps=eps),
            absorption.into_previous(*stored, before, eps=eps)(x),
        ),
        "ReLU, γ < 0, no flip": (after(relu(signed)), moved.after(relu(x_hat + moved.beta))),
        "tanh": (after(np.tanh(lifted)), kept.after(np.tanh(x_hat + kept.beta))),
        "ReLU, γ > 0, after one step": (
            own,
            _stepped(x_hat, ones, kept.beta, kept.after, goal, rate),
        ),
    }
    return {name: float(np.abs(a - b).max()) for name, (a, b) in pairs.items()}


def _stepped(
    x_hat: np.ndarray,
    gamma: np.ndarray,
    beta: np.ndarray,
    after: absorption.Linear,
    goal: np.ndarray,
    rate: float,
) -> np.ndarray:
    """Outputs of after(relu(gamma x_hat + beta)) after one step on the squared error to goal."""
    params = [torch.tensor(v, requires_grad=True) for v in (gamma, beta, *after)]

    def outputs(p: Sequence[Tensor]) -> Tensor:
        return torch.relu(p[0] * torch.tensor(x_hat) + p[1]) @ p[2].T + p[3]

    loss = (outputs(params) - torch.tensor(goal)).square().mean()
    grads = torch.autograd.grad(loss, params)
    return outputs([p - rate * g for p, g in zip(params, grads, strict=True)]).detach().numpy()


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
