"""What the gamma chapter measures: two theorems step by step, four starts, and the best gamma."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from scipy.special import erf, log_ndtr

from bnlib import laws, training
from bnlib.data import bench_split
from bnlib.networks.seed_batched import SeedBatchedMLP
from bnlib.networks.spec import Spec
from bnlib.statistics import Interval, mean_interval

if TYPE_CHECKING:
    from bnlib.chapters.gamma import Settings

BATCH, CHECK = 64, 512  # rows of a batch; first training rows, whose loss is compared
INNER, LAST = (1, 2), (3,)  # norms that another norm follows; the one before the head
FACTORS = (0.1, 0.5, 2.0)  # k
RATE, DECAY = 0.25, 0.02  # eta and lambda of the two theorems

Draw = Callable[[np.random.Generator, Any], np.ndarray]


def network(seeds: Sequence[int], width: int, activation: str, eps: float) -> SeedBatchedMLP:
    """Four weight matrices for digits, with a batch norm before each of the three activations."""
    spec = Spec((64, width, width, width, 10), activation, eps=eps)
    return SeedBatchedMLP(spec, seeds)


def path(
    net: SeedBatchedMLP,
    steps: int,
    *,
    sites: Sequence[int] = INNER,
    start: float = 1.0,
    factor: Callable[[int], float] = lambda step: 1.0,
    decay: float = 0.0,
    momentum: float = 0.0,
) -> np.ndarray:
    """The loss of each batch, (steps, S), of SGD with the rate RATE.

    sites: batch norms whose gamma and beta are started at `start` times their values, trained with
    RATE factor(step), and decayed by `decay`.
    """
    pair = [f"{kind}{site}" for site in sites for kind in ("gamma", "beta")]
    net.params = {n: v * start if n in pair else v for n, v in net.params.items()}

    def change(step: training.Step) -> None:
        with torch.no_grad():
            for name in pair:
                step.grads[name].add_(step.params[name], alpha=decay).mul_(factor(step.number))

    rows = bench_split("digits")
    how = {"steps": steps, "batch": BATCH, "lr": RATE, "momentum": momentum}
    return training.train(net, rows.x_train, rows.y_train, on_step=change, **how).loss


def apart(losses: np.ndarray, reference: np.ndarray) -> float:
    """Largest relative difference of two paths."""
    return float(np.abs(losses / reference - 1).max())


def start_gap(new: Callable[[], SeedBatchedMLP], steps: int, k: float, **more: Any) -> float:
    """Start k with the rate k^2 eta, against start 1 with eta."""
    scaled = path(new(), steps, start=k, factor=lambda step: k**2, **more)
    more.pop("sites", None)
    return apart(scaled, path(new(), steps, **more))


def decay_gap(new: Callable[[], SeedBatchedMLP], steps: int, sites: Sequence[int]) -> float:
    """Decay of gamma and beta, against no decay with a rate that grows."""
    shrink = 1 - RATE * DECAY

    def grown(step: int) -> float:
        return shrink ** -(2 * step + 1)  # 1 / (kappa_t kappa_{t+1})

    decayed = path(new(), steps, sites=sites, decay=DECAY)
    return apart(decayed, path(new(), steps, sites=sites, factor=grown))


STARTS: dict[str, tuple[Sequence[int], Draw]] = {  # norms, and the first values of their gamma
    "1": (INNER + LAST, lambda rng, width: np.ones(width)),
    "0.1, inner norms only": (INNER, lambda rng, width: np.full(width, 0.1)),
    "0.1": (INNER + LAST, lambda rng, width: np.full(width, 0.1)),
    "uniform on (0, 1)": (INNER + LAST, lambda rng, width: rng.uniform(0, 1, width)),
    "normal(1, 0.02)": (INNER + LAST, lambda rng, width: rng.normal(1, 0.02, width)),
}


def best_losses(start: str, activation: str, given: Settings) -> np.ndarray:
    """Loss of the first CHECK training rows after training, by rate and seed, (R, S); inf if lost.

    start: a name among STARTS.
    """
    (sites, draw), count = STARTS[start], len(given.rates)
    net = network(list(range(given.seeds)) * count, given.width, activation, 1e-5)
    for site in sites:
        rngs = (np.random.default_rng([seed, site, 17]) for seed in net.seeds)
        net.params[f"gamma{site}"] = torch.tensor(np.array([draw(g, given.width) for g in rngs]))
    rows, rates = bench_split("digits"), [2.0**power for power in given.rates]
    how = {"steps": given.steps, "batch": BATCH, "lr": np.repeat(rates, given.seeds).tolist()}
    training.train(net, rows.x_train, rows.y_train, **how)
    loss = training.losses(net, rows.x_train[:CHECK], rows.y_train[:CHECK])
    return np.where(np.isfinite(loss), loss, np.inf).reshape(count, given.seeds)


class Law(NamedTuple):
    """Rows of mean 0 and variance 1: kurtosis, draws, and E exp(-b (x - w)^2) as near(b, w)."""

    kurtosis: float
    draw: Draw
    near: Callable[[float, np.ndarray], np.ndarray]


def _uniform_near(b: float, w: np.ndarray) -> np.ndarray:
    high, low = (erf(np.sqrt(b) * (w + end)) for end in (np.sqrt(3), -np.sqrt(3)))
    return np.sqrt(np.pi / b) * (high - low) / (4 * np.sqrt(3))


def _laplace_near(b: float, w: np.ndarray) -> np.ndarray:
    scale = np.sqrt(2)  # the density is exp(-sqrt(2) |x|) / sqrt(2)
    halves = 0
    for s in (1, -1):
        tail = log_ndtr(s * w * np.sqrt(2 * b) - scale / np.sqrt(2 * b))
        halves += np.exp(scale**2 / (4 * b) - s * scale * w + tail)
    return scale / 2 * np.sqrt(np.pi / b) * halves


def _gaussian_near(b: float, w: np.ndarray) -> np.ndarray:
    return np.exp(-b * w**2 / (1 + 2 * b)) / np.sqrt(1 + 2 * b)


LAWS = {
    "Gaussian": Law(3.0, lambda rng, shape: rng.standard_normal(shape), _gaussian_near),
    "uniform": Law(1.8, lambda rng, shape: rng.uniform(-(3**0.5), 3**0.5, shape), _uniform_near),
    "Laplace": Law(6.0, lambda rng, shape: rng.laplace(0, 0.5**0.5, shape), _laplace_near),
}


def expected_std(law: Law, m: int, ends: tuple[float, float] = (1e-4, 1e4)) -> float:
    """E[s_m], by quadrature over t and w, to about 1e-6.

        E s = integral (1 - E exp(-t s^2)) t^(-3/2) dt / (2 sqrt(pi))
        E exp(-t s^2) = sqrt(t / pi) integral near(t / m, w)^m dw

    Below and above the ends of t the integrand is t^(-1/2) E s^2 and t^(-3/2).
    """
    low, high = ends
    logs = np.linspace(np.log(low), np.log(high), 300)
    inner = []
    for t in np.exp(logs):
        width = 8 * np.sqrt(1 / m + 0.5 / t) + 1e-9  # of w: a row mean and a normal of 1 / (2 t)
        w = np.linspace(-width, width, 801)
        inner.append(np.sqrt(t / np.pi) * np.trapezoid(law.near(t / m, w) ** m, w))
    middle = np.trapezoid((1 - np.array(inner)) * np.exp(-logs / 2), logs)
    tails = 2 * np.sqrt(low) * (1 - 1 / m) + 2 / np.sqrt(high)
    return float((middle + tails) / (2 * np.sqrt(np.pi)))


def best_gamma(
    law: Law, m: int, generator: np.random.Generator, draws: int, level: float
) -> tuple[Interval, Interval]:
    """Least-squares gamma of target x and input z, over sigma; 20 repeats of `draws` batches.

    First with z of the row's own batch, then with the statistics of m other rows.
    """
    kept: list[list[float]] = [[], []]
    for _ in range(20):
        x, fresh = law.draw(generator, (draws, m)), law.draw(generator, (draws, m))
        mean, std = x.mean(1, keepdims=True), x.std(1, keepdims=True)
        for gammas, target in zip(kept, (x, fresh), strict=True):
            z = (target - mean) / std
            gammas.append(float((target * z).mean() / (z * z).mean()))
    same_rows, other_rows = (mean_interval(gammas, level) for gammas in kept)
    return same_rows, other_rows


def theory(name: str, m: int) -> tuple[float, float]:
    """What the draws are compared with: the mean batch standard deviation, the penalty's value."""
    law = LAWS[name]
    exact = laws.expected_batch_std(m) if name == "Gaussian" else expected_std(law, m)
    return exact, laws.penalty_gamma(m, law.kurtosis)
