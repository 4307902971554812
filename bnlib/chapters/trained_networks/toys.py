"""Networks trained here: digits in the identity gauge, gamma frozen, and a linear bottleneck.

    stem    W (40 -> 16), norm                                     no activation
    block   W (16 -> 64), norm, ReLU, W (64 -> 16), norm, + skip   three of them
    head    W (16 -> 64), norm, ReLU, W (64 -> 10), bias

All S networks, one a seed, are one tensor program: rows are (S, m, c) as in `networks`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from bnlib import training
from bnlib.chapters.trained_networks.measure import coordinates, correlation, largest, log_slopes
from bnlib.data import digits_split, mnist1d_split
from bnlib.gauge import Norm
from bnlib.networks.regauged import Copy, identity_copy, norm_of
from bnlib.networks.seed_batched import SeedBatchedMLP, normalize
from bnlib.networks.spec import Spec
from bnlib.statistics import Interval, mean_interval

Params = Mapping[str, Tensor]

RECIPE: dict[str, Any] = {"lr": 0.05, "momentum": 0.9, "batch": 64}
DECAY = 5e-3
EPS, BLOCKS = 1e-5, 3
SHAPES = {"stem": (16, 40), "head": (64, 16), "out": (10, 64)}
SHAPES |= {f"expand{k}": (64, 16) for k in range(BLOCKS)}
SHAPES |= {f"project{k}": (16, 64) for k in range(BLOCKS)}


class Digits(NamedTuple):
    """Networks trained on the digits, and their identity copies."""

    net: SeedBatchedMLP
    rows: Tensor  # (S, 256, 64), on which logits are compared
    trained: Copy
    copy: Copy
    left: int  # units without a copy
    distances: tuple[dict[str, float], ...]  # of the trained networks and of their copies
    logits: float  # largest change relative to the largest logit, evaluation mode
    live: dict[str, float]  # largest change in training mode


class Course(NamedTuple):
    """gamma, row norm, sigma, and norm of the outgoing weights at T steps: (T, S, c) each."""

    at: tuple[int, ...]
    gamma: np.ndarray
    weight: np.ndarray
    sigma: np.ndarray
    outgoing: np.ndarray


class Arm(NamedTuple):
    """Slopes on log gamma at T steps, and what theory gives."""

    at: tuple[int, ...]
    sigma: list[Interval]  # of log sigma
    norm: Interval  # of log ||w||, at the end
    norms: np.ndarray  # (T,), means over seeds
    path: np.ndarray  # (T,), of u(t) with a gradient of constant size
    theory: float  # (1 + p)/2


def digits(seeds: int, *, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Training rows of one digits split a seed; a share `noise` of the labels is drawn again."""
    splits = [digits_split(seed) for seed in range(seeds)]
    x, y = np.stack([s.x_train for s in splits]), np.stack([s.y_train for s in splits])
    for seed, labels in enumerate(y):
        rng = np.random.default_rng([seed, 41])
        at = rng.random(len(labels)) < noise
        labels[at] = rng.integers(10, size=at.sum())
    return x, y


@torch.no_grad()
def digits_copies(seeds: int) -> Digits:
    """Networks trained for 300 steps against their identity copies, in both modes."""
    x, y = digits(seeds, noise=0.0)
    net, rows = SeedBatchedMLP(Spec((64, 64, 64, 10)), range(seeds)), torch.as_tensor(x[:, :256])
    with torch.enable_grad():
        training.train(net, x, y, steps=300, schedule="cosine", **RECIPE)
    trained = Copy(net.params, net.recalibrate(torch.as_tensor(x)))
    copy, left = identity_copy(net, trained.stats)
    logits, new = (net.forward(c.params, rows, stats=c.stats) for c in (trained, copy))
    live = {}
    for eps in (1e-3, 1e-5, 1e-7):
        other = SeedBatchedMLP(replace(net.spec, eps=eps), range(seeds))
        off = other.forward(trained.params, rows) - other.forward(copy.params, rows)
        live[f"training mode, ε = {eps:g}"] = float(off.abs().max())
    change = float((logits - new).abs().max() / logits.abs().max())
    far = tuple(distances(net, c) for c in (trained, copy))
    return Digits(net, rows, trained, copy, left, far, change, live)


def distances(net: SeedBatchedMLP, copy: Copy) -> dict[str, float]:
    """How far the furthest unit of all sites and networks is from the identity."""
    norms = []
    for site in copy.stats:
        gamma, beta, mean, var, eps = norm_of(net, copy.params, copy.stats, site)
        norms.append(Norm(gamma.numpy(), beta.numpy(), mean.numpy(), var.numpy(), eps))
    return largest(coordinates(norms)) | {"min var": float(min(n.var.min() for n in norms))}


def checkpoint(copy: Copy) -> dict[str, Tensor]:
    """The first normalization of the first network, as a checkpoint stores that of a layer "1"."""
    values = {"weight": copy.params["gamma1"], "bias": copy.params["beta1"]}
    values |= {"running_mean": copy.stats[1].mean, "running_var": copy.stats[1].var}
    return {f"1.{key}": value[0] for key, value in values.items()}


def follow(net: SeedBatchedMLP, *, at: Sequence[int], **recipe: Any) -> Course:
    """Train on digits with 0.3 of the labels random, and look at the first hidden layer.

    at: after how many steps, 0 among them; the last one ends the run.  sigma is that of the whole
    training set.  recipe: as for `training.train`, where it differs from `RECIPE`.
    """
    x, y = digits(len(net.seeds), noise=0.3)
    rows, seen = torch.as_tensor(x, dtype=net.dtype), {}

    @torch.no_grad()
    def look(number: int, params: Params) -> None:
        sigma = net.trace(params, rows).stats[1].var.sqrt()
        sizes = params["W1"].norm(dim=2), sigma, params["W2"].norm(dim=1)
        seen[number] = [v.double().numpy().copy() for v in (params["gamma1"], *sizes)]

    def watch(step: training.Step) -> None:
        if step.number in at:
            look(step.number, step.params)

    training.train(net, x, y, steps=max(at), on_step=watch, **(RECIPE | recipe))
    look(max(at), net.params)
    return Course(tuple(at), *(np.stack([seen[t][k] for t in at]) for k in range(4)))


def intervene(seeds: int, *, output: str, decay: float, at: Sequence[int], **recipe: Any) -> Course:
    """One hidden layer of 64 whose gamma is frozen, log-uniform in [1/4, 4] for each unit and seed.

    output: "frozen" or "trained", the weights after the layer.  decay: of weight matrices only.
    """
    net = SeedBatchedMLP(Spec((64, 64, 10)), range(seeds))
    draws = [np.random.default_rng([seed, 42]).uniform(-1, 1, 64) for seed in range(seeds)]
    net.params["gamma1"] = torch.from_numpy(4.0 ** np.stack(draws))
    names = ["W1", "beta", "b"] + ["W2"] * (output == "trained")
    return follow(net, at=at, trainable=names, weight_decay=decay, **recipe)


def slopes(gamma: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Slope of log size on log |gamma| over the units, (T, S, c) -> (T, S)."""
    pairs = zip(gamma, size, strict=True)
    return np.array([[log_slopes(*units).ols for units in zip(*p, strict=True)] for p in pairs])


def predicted_course(run: Course, *, p: float, rate: float) -> np.ndarray:
    """Slopes of log ||w|| on log gamma if u follows `laws.norm4`, from the start and end of a run.

        u* proportional to gamma^(2 (1 + p)),    u - u* falls as exp(-rate t)

    rate: 4 eta decay, with eta / (1 - momentum) for eta.  The size of u* is that of the end of the
    run; how it goes with gamma, and the time, are the theory's.  Returns (T, S).
    """
    start, drive = run.weight[0] ** 4, run.gamma[0] ** (2 * (1 + p))
    size = np.exp(np.log(run.weight[-1] ** 4 / drive).mean(axis=1, keepdims=True))
    left = np.exp(-rate * np.array(run.at))[:, None, None]
    return slopes(run.gamma, (size * drive + (start - size * drive) * left) ** 0.25)


def equilibrium(seeds: int, *, steps: int) -> dict[str, Arm]:
    """The intervention with the output weights frozen, where p = 0, and trained."""
    at, arms = tuple(round(steps * f) for f in (0, 0.1, 0.3, 0.6, 1)), {}
    for output in ("frozen", "trained"):
        run = intervene(seeds, output=output, decay=DECAY, at=at)
        sigma, weight = slopes(run.gamma, run.sigma), slopes(run.gamma, run.weight)
        p = mean_interval(slopes(run.gamma, run.outgoing)[-1]).estimate
        p = 0.0 if output == "frozen" else p  # frozen: any slope of the start is chance
        path = predicted_course(run, p=p, rate=4 * (0.05 / 0.1) * DECAY).mean(axis=1)
        means = [mean_interval(row) for row in sigma], mean_interval(weight[-1])
        arms[output] = Arm(at, *means, weight.mean(axis=1), path, (1 + p) / 2)
    return arms


def controls(seeds: int, *, steps: int) -> dict[str, dict[str, float]]:
    """Runs that differ from the intervention in one thing or more, two with a learned gamma.

    slope: of log sigma on log |gamma| at the end, corr: of gamma and sigma, each with its 95 %
    t-interval over seeds.  spread: mean over seeds of the standard deviation of log |gamma|.
    """

    def learned(decay: float) -> Course:
        net = SeedBatchedMLP(Spec((64, 64, 64, 10)), range(seeds))
        return follow(net, at=ends, weight_decay=decay)

    ends, short = (0, steps), (0, steps // 4)
    adam: dict[str, Any] = {"lr": 2e-3, "optimizer": "adam", "momentum": 0.0}
    cosine: dict[str, Any] = {"decay": DECAY, "at": short, "schedule": "cosine"}
    runs = {"no decay, output frozen": intervene(seeds, output="frozen", decay=0.0, at=ends)}
    runs["cosine, short"] = intervene(seeds, output="trained", **cosine)
    runs["Adam, no decay"] = intervene(seeds, output="trained", decay=0.0, at=ends, **adam)
    runs |= {"γ learned, decay": learned(DECAY), "γ learned, no decay": learned(0.0)}
    rows = {}
    for name, run in runs.items():
        pairs = zip(run.gamma[-1], run.sigma[-1], strict=True)
        slope = mean_interval(slopes(run.gamma, run.sigma)[-1])
        corr = mean_interval([correlation(*pair) for pair in pairs])
        row = {"steps": run.at[-1], "slope": slope.estimate, "low": slope.low, "high": slope.high}
        row |= {"corr": corr.estimate, "corr low": corr.low, "corr high": corr.high}
        rows[name] = row | {"spread": np.log(np.abs(run.gamma[-1])).std(axis=1).mean()}
    return rows


def initial_params(seeds: int) -> dict[str, Tensor]:
    """Weights N(0, 2 / fan_in) before a ReLU, N(0, 1 / fan_in) elsewhere; gamma 1, beta 0."""
    params, rngs = {}, [np.random.default_rng([seed, 43]) for seed in range(seeds)]
    for name, shape in SHAPES.items():
        gain = 2.0 if name.startswith(("expand", "head")) else 1.0
        draws = np.stack([rng.standard_normal(shape) for rng in rngs])
        params[f"{name}.W"] = torch.from_numpy(draws * np.sqrt(gain / shape[1]))
        params[f"{name}.beta"] = torch.zeros(seeds, shape[0], dtype=torch.float64)
        if name != "out":
            params[f"{name}.gamma"] = torch.ones(seeds, shape[0], dtype=torch.float64)
    return params


def forward(
    params: Params, x: Tensor, kept: Any = (1.0,) * BLOCKS
) -> tuple[Tensor, dict[str, Tensor]]:
    """Outputs (S, m, 10) of the bottleneck in training mode, and the mean (S, c) before each norm.

    kept: what drop-connect multiplies the branch of each block with, (3, S, m, 1).
    """
    means = {}

    def layer(name: str, a: Tensor) -> Tensor:
        z = torch.bmm(a, params[f"{name}.W"].transpose(1, 2))
        means[name] = z.detach().mean(1)
        gamma, beta = params[f"{name}.gamma"], params[f"{name}.beta"]
        return normalize("batch", z, gamma, beta, None, EPS)

    stream = layer("stem", x)
    for k in range(BLOCKS):
        branch = layer(f"project{k}", torch.relu(layer(f"expand{k}", stream)))
        stream = stream + branch * kept[k]
    features, weight = torch.relu(layer("head", stream)), params["out.W"].transpose(1, 2)
    return torch.baddbmm(params["out.beta"][:, None], features, weight), means


def _data(seeds: int, rows: int) -> tuple[Tensor, ...]:
    splits = [mnist1d_split(seed, n_train=rows) for seed in range(seeds)]
    return tuple(torch.from_numpy(np.stack(part)) for part in zip(*splits, strict=True))


def _gradients(
    params: Params, x: Tensor, y: Tensor, drop: float, rng: np.random.Generator
) -> dict[str, Tensor]:
    kept = torch.from_numpy((rng.random((BLOCKS, *y.shape, 1)) >= drop) / (1 - drop))
    leaves = {name: value.requires_grad_() for name, value in params.items()}
    output, _ = forward(leaves, x, kept)
    loss = training.seed_losses(output, y, "cross-entropy").sum()
    return dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))


def first_gradient(seeds: int, *, drop: float, rows: int = 256) -> np.ndarray:
    """Largest |dbeta| of a projection over the largest gradient in its layer, at the start: (S,).

    drop: with which probability a row's branch is multiplied by 0, and by 1/(1 - drop) otherwise.
    """
    x, y, *_ = _data(seeds, rows)
    grads = _gradients(initial_params(seeds), x, y, drop, np.random.default_rng(44))
    ratios = []
    for k in range(BLOCKS):
        parts = (grads[f"project{k}.{part}"] for part in ("beta", "W", "gamma"))
        sizes = [part.flatten(1).abs().amax(1) for part in parts]
        ratios.append(sizes[0] / torch.stack(sizes).amax(0))
    return torch.stack(ratios).amax(0).numpy()


def train(
    seeds: int, *, drop: float, steps: int, rows: int = 2000, lr: float = 0.05
) -> dict[str, np.ndarray]:
    """SGD with momentum 0.9, batches of 64, cosine rate, in float64; what is seen after it.

    By name (S,): the largest |beta| of a projection and of the stem, the largest mean before the
    norm of an expansion, accuracy; and of each expansion the correlation of beta and mean, (S, 3).
    """
    x, y, x_test, y_test = _data(seeds, rows)
    params, rng, which = initial_params(seeds), np.random.default_rng(45), torch.arange(seeds)
    velocity = {name: torch.zeros_like(value) for name, value in params.items()}
    for step, at in enumerate(training.batch_order(range(seeds), rows, batch=64, steps=steps)):
        grads = _gradients(params, x[which[:, None], at], y[which[:, None], at], drop, rng)
        rate = lr * (1 + np.cos(np.pi * step / steps)) / 2
        with torch.no_grad():
            for name, value in params.items():
                velocity[name].mul_(0.9).add_(grads[name])
                value.sub_(rate * velocity[name])
    params = {name: value.detach() for name, value in params.items()}
    right = forward(params, x_test)[0].argmax(2) == y_test
    return _seen(params, x) | {"accuracy": right.double().mean(1).numpy()}


def _seen(params: Params, x: Tensor) -> dict[str, np.ndarray]:
    _, means = forward(params, x)
    expand, project = ([f"{kind}{k}" for k in range(BLOCKS)] for kind in ("expand", "project"))
    sizes = {"max |β_proj|": [params[f"{name}.beta"] for name in project]}
    sizes |= {"max |β_stem|": [params["stem.beta"]], "max |μ_expand|": [means[n] for n in expand]}
    seen = {name: torch.cat(v, 1).abs().amax(1).numpy() for name, v in sizes.items()}
    pairs = [zip(params[f"{name}.beta"], means[name], strict=True) for name in expand]
    corr = [[np.corrcoef(*pair)[0, 1] for pair in each] for each in pairs]
    return seen | {"corr β μ": np.array(corr).T}
