"""What the chapter on capacity trains and counts, from one hidden layer to tables on real data.

Every function trains all seeds of one arm at once. The same seed has the same data, start and
batches in every arm, so arms are compared seed by seed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy.special import expit, ndtr

from bnlib import activations, data, laws, reference, statistics, training
from bnlib.networks.arms import AFFINE_ARMS, tiled
from bnlib.networks.batches import Rows, fit_rows
from bnlib.networks.seed_batched import SeedBatchedMLP
from bnlib.networks.spec import VALIDATION_ROWS, Spec, seeded
from bnlib.rows import Moments
from bnlib.training import trained_names, weight_mask
from bnlib.verdicts import simultaneous

FOUR = ("none", "gamma", "beta", "both")
ADAM: dict[str, Any] = {"optimizer": "adam", "schedule": "cosine"}
TARGET = 3.0, 5.0  # mean and standard deviation of what a normalized output has to meet


PHIS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "sigmoid": expit,
    "tanh": np.tanh,
    "SiLU": lambda u: u * expit(u),
    "ReLU": lambda u: np.maximum(u, 0),
    "GELU": lambda u: u * ndtr(u),
}
PARTS = 20  # the draws are cut into so many, for an interval

NORMS: dict[str, dict[str, Any]] = {
    "plain": {"norm": "none"},
    "BN": {"norm": "batch", "input_norm": "batch"},
    "LayerNorm": {"norm": "none", "input_norm": "layer"},
}
DESIGNS = ("batch", "sample")
CHANCE = {("BN", "batch"), ("LayerNorm", "batch"), ("LayerNorm", "sample")}
"""Where theory allows no better than chance, in training and in evaluation mode."""

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "relu-1": {"depth": 1},
    "relu-1, logits": {"depth": 1, "logits": True},
    "relu-3": {"depth": 3},
    "relu-3, post": {"depth": 3, "order": "post"},
    "tanh-3": {"depth": 3, "activation": "tanh"},
    "sigmoid-3": {"depth": 3, "activation": "sigmoid"},
}
"""Hidden layers and where the norm sits: before the activation, after it, or on logits too."""

HIDDEN = {"1 x 256": (256,), "3 x 128": (128, 128, 128)}
SUBSETS = ("all", "gamma, beta", "gamma", "beta", "random weights", "output layer")
Run = dict[str, Any]  # one row of a table, of plain values that JSON keeps


class Task(NamedTuple):
    """How a small task is trained: whose seeds, hidden units, steps."""

    seeds: Sequence[int]
    width: int
    steps: int


class Fit(NamedTuple):
    """A trained network of every seed, its data, and exact population statistics."""

    net: SeedBatchedMLP
    stats: dict[int, Moments]
    x: np.ndarray  # (S, n, d)
    y: np.ndarray  # (S, n) or (S, n, k)

    def predict(self, x: Any) -> np.ndarray:
        """Outputs (S, n, k) in evaluation mode, on rows (n, d) or (S, n, d)."""
        with torch.no_grad():
            rows = torch.as_tensor(x, dtype=self.net.dtype)
            return self.net.forward(self.net.params, rows, stats=self.stats).numpy()

    def error(self) -> np.ndarray:
        """Mean squared error on the training sample, evaluation mode, (S,)."""
        return ((self.predict(self.x) - self.y) ** 2).mean((1, 2))


class Arms(NamedTuple):
    """The four arms on one task: their networks, a score of each seed, and what bounds it."""

    fits: dict[str, Fit]
    score: dict[str, np.ndarray]  # (S,): mean squared error, or share right
    limit: np.ndarray  # (S,): floor or ceiling without beta

    def ratio(self, arm: str) -> np.ndarray:
        """The score of an arm in units of what bounds it, (S,)."""
        return self.score[arm] / self.limit


def train(spec: Spec, seeds: Sequence[int], x: np.ndarray, y: np.ndarray, **recipe: Any) -> Fit:
    """Train from the seeds' own starts in float32; then recalibrate on the training rows.

    What was trained is looked at in float64: its algebra is exact whatever the training rounded.
    """
    net = SeedBatchedMLP(spec, seeds, torch.float32)
    training.train(net, x, y, **recipe)
    net.dtype, net.params = torch.float64, {k: v.double() for k, v in net.params.items()}
    return Fit(net, net.recalibrate(torch.as_tensor(x)), x, y)


def fit_wave(arm: str, activation: str, task: Task, *, phase: float = 0.0, eps: float = 0.0) -> Fit:
    """Linear(1 -> width) - BN - activation - Linear on sin(3 x + phase), x uniform on (-2, 2).

    eps: 0 in theory; any other value gives units with small weights another slope.
    """
    draws = [np.random.default_rng([seed, 10]).uniform(-2, 2, (1024, 1)) for seed in task.seeds]
    x, spec = np.stack(draws), Spec((1, task.width, 1), activation, eps=eps, **AFFINE_ARMS[arm])
    recipe = ADAM | {"loss": "mse", "steps": task.steps, "batch": 128, "lr": 0.01}
    return train(spec, task.seeds, x, np.sin(3 * x + phase), **recipe)


def wave_arms(activation: str, task: Task) -> Arms:
    """`fit_wave` for the four arms; errors and floors on the training sample."""
    fits = {arm: fit_wave(arm, activation, task) for arm in FOUR}
    pairs = zip(fits["none"].x[..., 0], fits["none"].y[..., 0], strict=True)
    floor = np.array([laws.kink_floor(x, y, activation) for x, y in pairs])
    return Arms(fits, {arm: fit.error() for arm, fit in fits.items()}, floor)


def kinks(fit: Fit) -> np.ndarray:
    """Where each unit of a one-dimensional first layer has pre-activation 0, (S, width).

    gamma (w x - mu) / tau + beta = 0    at    x = (mu - beta tau / gamma) / w
    """
    p, (mu, var) = fit.net.params, fit.stats[1]
    tau = (var + fit.net.spec.eps).sqrt()
    shift = p.get("beta1", torch.zeros_like(mu)) / p.get("gamma1", torch.ones_like(mu))
    return ((mu - shift * tau) / p["W1"][..., 0]).numpy()


def homogeneity(fit: Fit, scales: Sequence[float] = (0.1, 3.0, 10.0)) -> float:
    """Largest |f(c + t (x - c)) - f(c) - t (f(x) - f(c))| / (t max |f(x) - f(c)|), c the mean of x.

    0 up to rounding for one hidden ReLU layer without beta, whatever gamma is.
    """
    center = fit.x.mean(1, keepdims=True)
    base = fit.predict(center)
    rise = fit.predict(fit.x) - base
    size = np.abs(rise).max()
    moved = (fit.predict(center + t * (fit.x - center)) - base - t * rise for t in scales)
    return max(float(np.abs(m).max()) / (t * size) for m, t in zip(moved, scales, strict=True))


def random_features(
    arm: str, activation: str, x: np.ndarray, units: int, rng: np.random.Generator
) -> np.ndarray:
    """activation(gamma x_hat + beta) of random units on x (n,), eps = 0; gamma, beta ~ N(0, 9).

    (n, units).  The arm says which of gamma and beta are random; the others are 1 and 0.
    """
    weight, gamma, beta = rng.normal(size=(3, units)) * np.array([[1.0], [3.0], [3.0]])
    gamma = gamma if AFFINE_ARMS[arm].get("scale", True) else np.ones(units)
    beta = beta if AFFINE_ARMS[arm].get("shift", True) else np.zeros(units)
    y, _ = reference.forward(x[:, None] * weight, gamma, beta, eps=0.0)
    return activations.FUNCTIONS[activation](y)


def random_layers(seed: int) -> dict[tuple[str, str], tuple[int, float]]:
    """(activation, arm) -> rank of 500 random units and 1, R^2 of sin 3 pi x on (-0.8, 1.2)."""
    x, layers = 0.2 + (np.arange(4000) + 0.5) / 2000 - 1, {}
    for activation, arm in product(("relu", "tanh"), FOUR):
        units = random_features(arm, activation, x, 500, np.random.default_rng([seed, 1]))
        explained = statistics.share_explained(units, np.sin(3 * np.pi * x))
        layers[activation, arm] = statistics.feature_rank(units), explained
    return layers


def curve(fit: Fit) -> dict[str, Any]:
    """What a figure shows of seed 0: x, target, fit, kinks, center (the mean of the data)."""
    x = np.linspace(-2, 2, 401)
    shown = {"x": x, "target": np.sin(3 * x), "fit": fit.predict(x[:, None])[0, :, 0]}
    return shown | {"kinks": kinks(fit)[0], "center": float(fit.x[0].mean())}


def band_ceiling(x: np.ndarray, label: np.ndarray, center: float) -> float:
    """Best share right on (x, label) for an output that is affine on both sides of `center`.

    Such an output changes its sign at most once a side, anywhere from the center outwards, so each
    side is scanned over all its thresholds.  label: 0 or 1.
    """
    right = 0
    for side in (x > center, x <= center):
        outward = label[side][np.argsort(np.abs(x[side] - center))]
        ones = np.concatenate([[0], np.cumsum(outward)])  # among the k innermost rows
        k = np.arange(len(outward) + 1)
        inner_zero = (k - ones) + (ones[-1] - ones)
        right += max(inner_zero.max(), (len(outward) - inner_zero).max())
    return right / len(x)


def band_rows(seeds: Sequence[int], n: int, stream: int) -> tuple[np.ndarray, np.ndarray]:
    """x (S, n, 1) uniform on (-3, 3), and label 1 where 1 < |x| < 2."""
    x = np.stack([np.random.default_rng([s, stream]).uniform(-3, 3, (n, 1)) for s in seeds])
    return x, ((np.abs(x) > 1) & (np.abs(x) < 2))[..., 0].astype(np.int64)


def band_arms(depth: int, task: Task) -> tuple[Arms, Arms]:
    """Linear(1 -> width) - BN - ReLU, `depth` times, and two logits, trained on 1200 rows.

    Shares right and ceilings of the four arms on training and on fresh rows.
    """
    recipe = ADAM | {"steps": task.steps, "batch": 100, "lr": 0.02}
    sizes, rows = (1, *(task.width,) * depth, 2), band_rows(task.seeds, 1200, 11)
    fits = {
        arm: train(Spec(sizes, **AFFINE_ARMS[arm]), task.seeds, *rows, **recipe) for arm in FOUR
    }
    center, samples = rows[0].mean((1, 2)), []
    for x, y in (rows, band_rows(task.seeds, 1200, 16)):
        right = {arm: (fit.predict(x).argmax(-1) == y).mean(1) for arm, fit in fits.items()}
        cases = zip(x[..., 0], y, center, strict=True)
        samples.append(Arms(fits, right, np.array([band_ceiling(*case) for case in cases])))
    return samples[0], samples[1]


def logit_gaps(arms: Arms, x: np.ndarray) -> dict[str, np.ndarray]:
    """Logit difference over x (n,) without and with beta, seed 0, in units of its largest size."""
    gaps = {a: np.diff(arms.fits[a].predict(x[:, None])[0])[:, 0] for a in ("none", "beta")}
    return {arm: gap / np.abs(gap).max() for arm, gap in gaps.items()}


def relu_share(t: float) -> float:
    """Nonlinear share of relu(gamma z + beta), z ~ N(0, 1), t = beta / gamma, gamma > 0.

        1 - Phi(t)^2 / ((t^2 + 1) Phi(t) + t phi(t) - (t Phi(t) + phi(t))^2)

    Phi, phi: normal distribution function and density.
    Consequences: gamma alone changes nothing; 0.2665 at t = 0; falls to 0 for large t, where no
    input is cut, and rises to 1 for very negative t.
    """
    below, density = ndtr(t), np.exp(-t * t / 2) / np.sqrt(2 * np.pi)
    mean = t * below + density
    variance = (t * t + 1) * below + t * density - mean * mean
    return float(1 - below * below / variance)


# At gamma = 1 and beta = 0; Var GELU = 1/3 + 1/(2 sqrt 3 pi) - 1/(4 pi).
CLOSED_FORMS = {
    "ReLU": relu_share(0.0),
    "GELU": float(1 - 0.25 / (1 / 3 + 1 / (2 * np.sqrt(3) * np.pi) - 1 / (4 * np.pi))),
}


def nonlinear_shares(draws: int, rng: np.random.Generator) -> pd.DataFrame:
    """The nonlinear share of each activation at gamma = 1, beta = 0, three ways.

    One row an activation: quadrature, formula (NaN where there is none), and low, high of
    simultaneous 95 % Monte Carlo intervals.
    """
    z = rng.standard_normal((PARTS, draws // PARTS))
    rows = {}
    for name, phi in PHIS.items():
        drawn = [1 - np.corrcoef(part, phi(part))[0, 1] ** 2 for part in z]
        _, low, high = statistics.mean_interval(drawn, simultaneous(len(PHIS)))
        rows[name] = activations.nonlinear_share(phi), CLOSED_FORMS.get(name, np.nan), low, high
    return pd.DataFrame(rows, index=["quadrature", "formula", "low", "high"]).T


def linear_share_by_depth(
    activation: str, gamma: float, seeds: Sequence[int], *, depth: int, width: int = 256
) -> np.ndarray:
    """R^2 of the best affine fit from 8 normal inputs to the outputs of each layer, (S, depth).

    Random layers, 2000 rows; the variance explained is summed over units.
    """
    shares = np.empty((len(seeds), depth))
    for place, seed in enumerate(seeds):
        rng = np.random.default_rng([seed, 12])
        start = a = rng.standard_normal((2000, 8))
        inputs, ones = start - start.mean(0), np.ones(width)
        for layer in range(depth):
            weight = rng.standard_normal((a.shape[1], width)) / np.sqrt(a.shape[1])
            x_hat, _ = reference.forward(a @ weight, gamma * ones, 0 * ones, eps=1e-5)
            a = PHIS[activation](x_hat)
            centered = a - a.mean(0)
            fit = inputs @ np.linalg.lstsq(inputs, centered, rcond=None)[0]
            shares[place, layer] = (fit**2).sum() / (centered**2).sum()
    return shares


def share_curves() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Nonlinear shares: one column an activation over gamma; of ReLU over beta / gamma.

    The second has columns exact and quadrature, this at every 16th row. Nothing is drawn.
    """
    share, gammas, shifts = (
        activations.nonlinear_share,
        np.geomspace(0.1, 8, 40),
        np.linspace(-4, 4, 161),
    )
    lines = {name: [share(phi, gamma) for gamma in gammas] for name, phi in PHIS.items()}
    relu = pd.DataFrame({"exact": [relu_share(t) for t in shifts]}, index=shifts)
    relu["quadrature"] = pd.Series({t: share(PHIS["ReLU"], 1.0, t) for t in shifts[::16]})
    return pd.DataFrame(lines, index=gammas), relu


def learned_scales(both: Fit, seeds: Sequence[int], *, steps: int, seed: int) -> pd.DataFrame:
    """One row a batch size: a_m, and the learned |gamma| / sigma, its mean and interval.

    both: the fit on batches of 64.  seed: of the cutting into batches.
    """
    rows = {}
    for m in (4, 8, 16, 64, 128):
        fit = both if m == 64 else fit_output("both", seeds, m=m, steps=steps)
        a = batch_std(fit.y, m, 20, np.random.default_rng([seed, 3])).mean()
        learned = fit.net.params["gamma2"][:, 0].abs().numpy() / TARGET[1]
        rows[m] = (a, *statistics.mean_interval(learned))
    return pd.DataFrame(rows, index=["a_m", "learned gamma / sigma", "low", "high"]).T


def fit_output(arm: str, seeds: Sequence[int], *, m: int, steps: int) -> Fit:
    """4 - 32 - 1 tanh network, BN on its output only, target 3 + 5 T on batches of m.

    T: tanh(x u) + x_1 / 2 on 2048 normal rows, standardized, so mean and spread are 3 and 5.
    """
    rngs = [np.random.default_rng([seed, 13]) for seed in seeds]
    x, u = (np.stack([rng.standard_normal(shape) for rng in rngs]) for shape in ((2048, 4), (4, 1)))
    t = np.tanh(x @ u) + x[..., :1] / 2
    y = 3 + 5 * (t - t.mean(1, keepdims=True)) / t.std(1, keepdims=True)
    norms: dict[str, Any] = {"norm": "none", "output_norm": "batch"}
    spec = Spec((4, 32, 1), activation="tanh", **norms, **AFFINE_ARMS[arm])
    return train(spec, seeds, x, y, steps=steps, batch=m, lr=0.02, optimizer="adam", loss="mse")


def output_floor(mean: float, std: float, arm: str, a: float = 1.0) -> float:
    """Least mean squared error of a normalized output against a target with this mean and std.

        none  mean^2 + (std - 1)^2     gamma  mean^2     beta  (std - 1)^2     both  std^2 (1 - a^2)

    a: E[s_m] / std in training mode on batches of m; 1 for population statistics.
    """
    return {
        "none": mean**2 + (std - 1) ** 2,
        "gamma": mean**2,
        "beta": (std - 1) ** 2,
        "both": std**2 * (1 - a**2),
    }[arm]


def batch_std(y: np.ndarray, m: int, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Mean of s_m over batches of m rows without repetition, in units of the std of y, (S,).

    y: (S, n, 1).  draws: permutations a seed, each cut into n // m batches.
    """
    rows = y[..., 0] / y.std(1)
    cut = y.shape[1] // m * m
    cuts = [rng.permuted(rows, axis=1)[:, :cut].reshape(len(y), -1, m) for _ in range(draws)]
    return np.mean([batches.std(2).mean(1) for batches in cuts], axis=0)


def scale_rows(
    design: str, seeds: Sequence[int], count: int, stream: int, *, m: int = 64
) -> tuple[np.ndarray, np.ndarray]:
    """x (S, count m, 32): 16 normal numbers times 1 or 3, with their sizes; y (S, count m).

    design "batch": one scale for each batch of m rows; "sample": one for each row.
    """
    rngs = [np.random.default_rng([seed, stream]) for seed in seeds]
    repeat = m if design == "batch" else 1
    y = np.stack([np.repeat(rng.integers(0, 2, count * m // repeat), repeat) for rng in rngs])
    x = np.stack([rng.standard_normal((count * m, 16)) for rng in rngs]) * (1 + 2 * y)[..., None]
    return np.concatenate([x, np.abs(x)], axis=2), y


def scale_accuracies(
    norm: str, design: str, seeds: Sequence[int], *, steps: int, m: int = 64, tests: int = 30
) -> dict[str, np.ndarray]:
    """Share right on `tests` fresh batches, in training ("t") and evaluation mode ("e"), (S,).

    64 hidden ReLU units, gamma and beta trained. Every step has a fresh batch. In training mode a
    test batch brings its own statistics; evaluation uses exact ones over all training rows.
    """
    net = SeedBatchedMLP(Spec((32, 64, 2), **NORMS[norm]), seeds, torch.float32)
    x, y = scale_rows(design, seeds, steps, 14, m=m)
    order = torch.arange(steps * m).view(steps, 1, m).expand(-1, len(seeds), -1)
    training.train(net, x, y, order=order, steps=steps, batch=m, lr=0.01, optimizer="adam")
    stats = net.recalibrate(torch.as_tensor(x))
    x, y = scale_rows(design, seeds, tests, 15, m=m)
    of_batches = np.split(x, tests, axis=1), np.split(y, tests, axis=1)
    live = [training.accuracy(net, *batch) for batch in zip(*of_batches, strict=True)]
    return {"t": np.mean(live, axis=0), "e": training.accuracy(net, x, y, stats=stats)}


def splits(name: str | Path, seeds: Sequence[int], *, batch: int) -> data.Split:
    """One split a seed, stacked: x (S, n, d), y (S, n).

    Raises what `data.load` raises, and ValueError where a fifth of the training rows cannot be
    held out of a batch: before anything is trained.
    """
    loaded = [data.load(name, seed) for seed in seeds]
    rows = len(loaded[0].y_train)
    kept = rows - held_out(loaded[0].y_train)
    if not 2 <= batch <= kept:
        raise ValueError(
            f"batch: expected 2 to {kept} rows, got {batch}; {name} has {rows} training rows, "
            "of which a fifth is held out to choose the learning rate"
        )
    return data.Split(*(np.stack(part) for part in zip(*loaded, strict=True)))


def held_out(y: np.ndarray) -> int:
    """Rows of the training set that choose the learning rate: a fifth."""
    return max(1, y.shape[-1] // 5)


def arm_spec(arm: str, architecture: str, rows: data.Split, width: int) -> Spec:
    """The network of an arm on these rows. Raises ValueError for a width below 1."""
    options: dict[str, Any] = {"norm": "batch"} | ARCHITECTURES[architecture] | AFFINE_ARMS[arm]
    depth, logits = options.pop("depth"), options.pop("logits", False)
    sizes = (rows.x_train.shape[-1], *(width,) * depth, rows.classes)
    return Spec(sizes, output_norm=options["norm"] if logits else "none", **options)


def most_frequent(y: np.ndarray) -> float:
    """Share of the most frequent class, mean over seeds.  y: (S, n)."""
    return float(np.mean([np.bincount(labels).max() / len(labels) for labels in y]))


def with_overlap(runs: Iterable[Run], rows: Mapping[str, data.Split]) -> list[Run]:
    """Each run with "overlap", test rows over training rows of its data, for the t tests."""
    shared = {
        Path(n).name: part.y_test.shape[-1] / part.y_train.shape[-1] for n, part in rows.items()
    }
    return [run | {"overlap": shared[run["data"]]} for run in runs]


def run_arm(
    row: tuple[str, str, str], rows: data.Split, seeds: Sequence[int], *, width: int, **how: Any
) -> Run:
    """A row (data, architecture, arm): its own rate, SGD with momentum, all training rows, a test.

    how: rates, steps, batch.  Returns plain values, one a seed where they are lists: accuracy on
    the test rows, cross-entropy on the training rows, both with recalibrated statistics.
    """
    name, architecture, arm = row
    net = SeedBatchedMLP(arm_spec(arm, architecture, rows, width), seeds, torch.float32)
    facts = _fit(net, rows, **how, choose=True, momentum=0.9, schedule="cosine")
    of_row = {"data": Path(name).name, "architecture": architecture, "arm": arm}
    return of_row | facts | training.scores(net, rows)


def run_subset(
    row: tuple[str, str, str], rows: data.Split, seeds: Sequence[int], **how: Any
) -> Run:
    """A row (data, hidden layers, subset) with Adam: what is trained, how the scales end up.

    how: rates, steps, batch; a single rate is taken as it is.
    """
    name, setting, subset = row
    spec = Spec((rows.x_train.shape[-1], *HIDDEN[setting], rows.classes))
    net = SeedBatchedMLP(spec, seeds, torch.float32)
    part = trained_part(subset, net)
    of_row = {"data": Path(name).name, "setting": setting, "subset": subset}
    names, masks = trained_names(net, part["trainable"]), part.get("masks", {})
    trained = (masks[k][0].sum() if k in masks else net.params[k][0].numel() for k in names)
    of_row |= {"trained": int(sum(trained))}
    facts = _fit(net, rows, **how, choose=len(how["rates"]) > 1, **ADAM, **part)
    facts |= {"chance": most_frequent(rows.y_test)}
    return of_row | facts | _shape_of_scales(net) | training.scores(net, rows)


def sweep_subset(
    row: tuple[str, str, str], rows: data.Split, seeds: Sequence[int], *, rates: Any, **how: Any
) -> Run:
    """`run_subset` at the best of the rates, and the mean score on held-out rows at every one.

    edge: it is the largest; smaller ones than the least are in another table.
    """
    spec = Spec((rows.x_train.shape[-1], *HIDDEN[row[1]], rows.classes))
    part = trained_part(row[2], SeedBatchedMLP(spec, seeds, torch.float32))
    where = {"held_out": held_out(rows.y_train), "dtype": torch.float32}
    picked = pick_rate(
        spec, seeds, rows.x_train, rows.y_train, rates=rates, **where, **how, **ADAM, **part
    )
    facts = {"edge": picked.rate == max(rates), "scores": picked.scores.mean(1).tolist()}
    return run_subset(row, rows, seeds, rates=[picked.rate], **how) | facts


def one_hot_loss(classes: int) -> float:
    """Cross-entropy of standardized one-hot logits with equally many rows in each class."""
    logits = (np.eye(classes) - 1 / classes) / np.sqrt((classes - 1) / classes**2)
    return float(np.mean(np.log(np.exp(logits).sum(axis=1)) - np.diag(logits)))


def over_logit_floor(runs: Sequence[Run], y: np.ndarray) -> dict[str, np.ndarray]:
    """Training cross-entropy of the arms with normalized logits, in units of the floor, (S,).

    y: (S, n), the training labels, whose class shares set each seed's floor.
    """
    floor = np.array([laws.logit_floor(np.bincount(labels) / len(labels)) for labels in y])
    rows = (r for r in runs if r["architecture"] == "relu-1, logits")
    return {r["arm"]: np.array(r["loss"]) / floor for r in rows}


def trained_part(subset: str, net: SeedBatchedMLP) -> dict[str, Any]:
    """The options of `train` that train this subset alone.

    "random weights": as many weights as there are gammas and betas, uniform over all matrices.
    """
    last = len(net.spec.sizes) - 1
    if subset == "random weights":
        masks = weight_mask(net, 2 * sum(net.spec.sizes[1:-1]))
        return {"trainable": list(masks), "masks": masks}
    special = {"all": None, "output layer": [f"W{last}", f"b{last}"]}
    return {"trainable": special.get(subset, subset.split(", "))}


def hold_out(rows: Rows, seeds: Sequence[int], count: int) -> tuple[Rows, Rows]:
    """Split each seed's rows at random into (kept, held out), `count` rows held out."""
    n = rows.x.shape[1]
    order = torch.from_numpy(np.stack([seeded(s, VALIDATION_ROWS).permutation(n) for s in seeds]))
    kept, held = (next(rows.batches(part[None])) for part in order.split([n - count, count], 1))
    return Rows(*kept), Rows(*held)


class Picked(NamedTuple):
    """rate: the chosen one.  rates (R,) ascending.  scores (R, S): validation accuracy.
    diverged (R, S).  at_edge: the best rate may lie outside the grid."""

    rate: float
    rates: np.ndarray
    scores: np.ndarray
    diverged: np.ndarray
    at_edge: bool


def pick_rate(
    spec: Spec,
    seeds: Sequence[int],
    x: Any,
    y: Any,
    *,
    rates: Sequence[float],
    held_out: int,
    dtype: torch.dtype = torch.float64,
    masks: Mapping[str, torch.Tensor] | None = None,
    **options: Any,
) -> Picked:
    """The rate with the best mean validation score over seeds; the smaller one of equals.

    Each seed holds out `held_out` rows of x at random, the same for every arm, trains on the others
    and is scored with statistics recalibrated on them. A diverged seed scores 0.
    masks: as for `training.train`, as are the options, but lr, stats, order and loss.
    All rates train in one program of R S networks, which `on_step` sees rate by rate.
    """
    grid, many = np.sort(np.asarray(rates, dtype=float)), len(rates)
    rows = fit_rows(SeedBatchedMLP(spec, seeds, dtype), x, y, "cross-entropy")
    fit, check = (
        Rows(*(tiled(value, many) for value in part)) for part in hold_out(rows, seeds, held_out)
    )
    net = SeedBatchedMLP(spec, list(seeds) * many, dtype)
    masks = {name: tiled(mask, many) for name, mask in (masks or {}).items()}
    lr = np.repeat(grid, len(seeds))
    diverged = training.train(net, *fit, lr=lr.tolist(), masks=masks, **options).diverged
    right = training.accuracy(net, *check, stats=net.recalibrate(fit.x))
    scores = np.where(diverged, 0.0, right)
    scores, diverged = scores.reshape(many, -1), diverged.reshape(many, -1)
    best = int(scores.mean(1).argmax())
    return Picked(float(grid[best]), grid, scores, diverged, best in (0, many - 1))


def _fit(
    net: SeedBatchedMLP, rows: data.Split, *, rates: Sequence[float], choose: bool, **recipe: Any
) -> Run:
    """Train on all training rows, at the rate that is best on held-out ones if it is to choose."""
    where, rate, edge = (rows.x_train, rows.y_train), rates[0], False
    if choose:
        held = {"held_out": held_out(rows.y_train), "dtype": net.dtype}
        picked = pick_rate(net.spec, net.seeds, *where, rates=rates, **held, **recipe)
        rate, edge = picked.rate, picked.at_edge
    history = training.train(net, *where, lr=rate, **recipe)
    return {"rate": rate, "edge": edge, "diverged": int(history.diverged.sum())}


def _shape_of_scales(net: SeedBatchedMLP) -> dict[str, float]:
    """Shares of units with |gamma| < 0.05, with gamma < 0, and gated to less than 1 %."""
    hidden = range(1, len(net.spec.sizes) - 1)
    gamma, beta = (
        np.concatenate([net.params[f"{kind}{layer}"].numpy() for layer in hidden], 1)
        for kind in ("gamma", "beta")
    )
    shares = (np.abs(gamma) < 0.05, gamma < 0, laws.gate_rate(gamma, beta) < 0.01)
    return {k: float(v.mean()) for k, v in zip(("small", "negative", "shut"), shares, strict=True)}
