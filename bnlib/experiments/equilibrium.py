"""What sets the length of a row of weights under a normalization: gamma frozen at random values."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from bnlib import training
from bnlib.audit.associations import correlation, log_slopes
from bnlib.data import digits_split
from bnlib.networks.seed_batched import SeedBatchedMLP
from bnlib.networks.spec import Spec
from bnlib.statistics import mean_interval


class Course(NamedTuple):
    """Seen at `at` steps: (T, S, c) of the row norm, of sigma, and of the outgoing weights."""

    at: tuple[int, ...]
    gamma: np.ndarray  # (T, S, c)
    weight: np.ndarray
    sigma: np.ndarray
    outgoing: np.ndarray
    loss: np.ndarray  # (steps, S)


def digits(seeds: int, *, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Training rows of one digits split a seed; a share `noise` of the labels is drawn anew."""
    splits = [digits_split(seed) for seed in range(seeds)]
    x, y = np.stack([s.x_train for s in splits]), np.stack([s.y_train for s in splits])
    for seed, labels in enumerate(y):
        rng = np.random.default_rng([seed, 41])
        at = rng.random(len(labels)) < noise
        labels[at] = rng.integers(10, size=at.sum())
    return x, y


def frozen_gamma(seeds: int, width: int, *, factor: float = 4.0) -> np.ndarray:
    """Log-uniform in [1/factor, factor], another draw for each unit and seed: (S, c)."""
    draws = [np.random.default_rng([seed, 42]).uniform(-1, 1, width) for seed in range(seeds)]
    return factor ** np.stack(draws)


def follow(
    net: SeedBatchedMLP, x: np.ndarray, y: np.ndarray, *, at: Sequence[int], **recipe: Any
) -> Course:
    """Train, and look at the first hidden layer after the given numbers of steps, 0 among them.

    sigma is that of the whole training set.  recipe: as for `training.train`; steps is max(at).
    """
    rows, seen = torch.as_tensor(x, dtype=net.dtype), {}

    @torch.no_grad()
    def look(number: int, params: Any) -> None:
        sigma = net.trace(params, rows).stats[1].var.sqrt()
        w, v = params["W1"].norm(dim=2), params["W2"].norm(dim=1)
        seen[number] = [p.double().numpy().copy() for p in (params["gamma1"], w, sigma, v)]

    def watch(step: training.Step) -> None:
        if step.number in at:
            look(step.number, step.params)

    history = training.train(net, x, y, steps=max(at), on_step=watch, **recipe)
    look(max(at), net.params)
    gamma, weight, sigma, outgoing = (np.stack([seen[t][k] for t in at]) for k in range(4))
    return Course(tuple(at), gamma, weight, sigma, outgoing, history.loss)


def intervene(
    seeds: int, *, output: str, decay: float, at: Sequence[int], noise: float = 0.3, **recipe: Any
) -> Course:
    """One hidden layer of 64 whose gamma is frozen at random values; beta and weights train.

    output: "frozen" or "trained", the weights after the layer.
    """
    net = SeedBatchedMLP(Spec((64, 64, 10)), range(seeds))
    net.params["gamma1"] = torch.from_numpy(frozen_gamma(seeds, 64))
    names = ["W1", "beta", "b"] + ["W2"] * (output == "trained")
    how = {"lr": 0.05, "momentum": 0.9, "batch": 64} | recipe
    how |= {} if decay == 0 else {"weight_decay": decay}
    return follow(net, *digits(seeds, noise=noise), at=at, trainable=names, **how)


def learned(
    seeds: int, *, decay: float, at: Sequence[int], noise: float = 0.3, **recipe: Any
) -> Course:
    """Two hidden layers of 64 with gamma learned from 1: the first one followed."""
    net = SeedBatchedMLP(Spec((64, 64, 64, 10)), range(seeds))
    how = {"lr": 0.05, "momentum": 0.9, "batch": 64, "weight_decay": decay} | recipe
    return follow(net, *digits(seeds, noise=noise), at=at, **how)


def predicted_course(course: Course, *, p: float, rate: float) -> np.ndarray:
    """Slopes of log ||w|| on log gamma if u follows `laws.norm4`, from the start and end of a run.

        u* proportional to gamma^(2 (1 + p)),    u - u* falls as exp(-rate t)

    rate: 4 eta decay, with eta / (1 - momentum) for eta.  The size of u* is that of the end of the
    run; how it goes with gamma, and the time, are the theory's.  Returns (T, S).
    """
    gamma, start = course.gamma[0], course.weight[0] ** 4
    drive = gamma ** (2 * (1 + p))
    size = np.exp(np.log(course.weight[-1] ** 4 / drive).mean(axis=1, keepdims=True))
    left = np.exp(-rate * np.array(course.at))[:, None, None]
    u = size * drive + (start - size * drive) * left
    return slopes(course._replace(weight=u**0.25), "weight")


def slopes(course: Course, quantity: str) -> np.ndarray:
    """Slope of the log of a quantity on log |gamma| over the units of each network: (T, S)."""
    values = getattr(course, quantity)
    return np.array(
        [
            [log_slopes(g, v).ols for g, v in zip(*pair, strict=True)]
            for pair in zip(course.gamma, values, strict=True)
        ]
    )


def controls(seeds: int, *, steps: int) -> dict[str, dict[str, float]]:
    """Runs that differ from the intervention in one thing each, and two with a learned gamma.

    slope: of log sigma on log |gamma| at the end, corr: of gamma and sigma, each with its 95 %
    t-interval over seeds.  spread: mean over seeds of the standard deviation of log |gamma|.
    """
    adam = {"lr": 2e-3, "optimizer": "adam", "momentum": 0.0}
    ends, short = (0, steps), (0, steps // 4)
    runs = {
        "no decay, output frozen": intervene(seeds, output="frozen", decay=0.0, at=ends),
        "cosine, short": intervene(
            seeds, output="trained", decay=5e-3, at=short, schedule="cosine"
        ),
        "Adam, no decay": intervene(seeds, output="trained", decay=0.0, at=ends, **adam),
        "γ learned, decay": learned(seeds, decay=5e-3, at=ends),
        "γ learned, no decay": learned(seeds, decay=0.0, at=ends),
    }
    return {name: _control_row(run) for name, run in runs.items()}


def _control_row(run: Course) -> dict[str, float]:
    pairs = zip(run.gamma[-1], run.sigma[-1], strict=True)
    slope = mean_interval(slopes(run, "sigma")[-1])
    corr = mean_interval([correlation(*pair) for pair in pairs])
    row = {"steps": run.at[-1], "slope": slope.estimate, "low": slope.low, "high": slope.high}
    row |= {"corr": corr.estimate, "corr low": corr.low, "corr high": corr.high}
    return row | {"spread": float(np.log(np.abs(run.gamma[-1])).std(axis=1).mean())}
