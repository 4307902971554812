"""What the chapter measures on single layers: exactness, the error law, the descent, redundancy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy.integrate import simpson
from scipy.signal import lfilter
from scipy.special import erfc, erfcx

from bnlib import absorption, identity, kernels, laws, reference, running, training
from bnlib.gauge import Norm, fold_bn
from bnlib.statistics import Interval, mean_interval
from bnlib.verdicts import inside, simultaneous

KERNELS = {
    "center first": "two-pass",
    "folded": "folded",
    "mean to extra digits": "recentred",
    "PyTorch, one thread": "torch",  # more would add up in another order
}
OFFSETS = (0, 1, 1e2, 1e4, 1e6, 1e7)  # |mu| / sigma
CHANNELS, RATE = 16, 0.1  # of the descent: channels a seed, learning rate
STEPS = (0, 3, 10, 20, 30, 45, 60, 80, 100, 150, 200, 300)  # where `approach` looks

Near = Callable[[np.ndarray, np.ndarray], np.ndarray]


def shown(interval: Sequence[Any], digits: int = 4) -> str:
    """An estimate with its interval, (estimate, low, high, ...), as text."""
    return "{:.{d}f} [{:.{d}f}, {:.{d}f}]".format(*interval[:3], d=digits)


def restoring_error(x: np.ndarray, kernel: str, *, eps: float) -> np.ndarray:
    """max_m |y - x| of each channel, (c,), with the constants that restore this batch.

    kernel: one of KERNELS. The constants are made from the mean and variance that this kernel
    itself computes, rounded to the dtype of x: what a layer could store.
    """
    method = KERNELS[kernel]
    seen = x.astype(np.float64) if method == "folded" else x  # its statistics are float64
    mu = seen.mean(axis=0)
    var = np.square(seen - mu).mean(axis=0)
    if method == "recentred":
        mu, var = reference.statistics(x)
    gamma, beta = (v.astype(x.dtype) for v in identity.restoring(mu, var, eps=eps))
    if method == "torch":
        args = (torch.tensor(v) for v in (x, beta, gamma, gamma, beta))
        y = torch.nn.functional.batch_norm(*args, training=True, eps=eps).numpy()
    else:
        y = kernels.forward_by(method, x, gamma, beta, eps=eps)
    return np.abs(y - x).max(axis=0)


@training.one_thread()
@training.one_thread()
def worst_errors(seed: int, seeds: int, offsets: Sequence[float] = OFFSETS) -> pd.DataFrame:
    """Largest `restoring_error` in sigma over seeds: a row a (dtype, kernel), a column an offset.

    256 rows of 8 channels with scales over a factor of a hundred.
    """
    worst: dict[tuple[str, str], list[float]] = {}
    for kind, kernel, offset in product(("float64", "float32"), KERNELS, offsets):
        errors = []
        for k in range(seeds):
            rng = np.random.default_rng([seed, 1, k])
            sigma = 10 ** rng.uniform(-1, 1, 8)
            x = (sigma * (offset + rng.normal(size=(256, 8)))).astype(kind)
            errors.append((restoring_error(x, kernel, eps=1e-5) / sigma).max())
        worst.setdefault((kind, kernel), []).append(max(errors))
    return pd.DataFrame(worst, index=list(offsets)).T.rename_axis(columns="|μ|/σ")


def stored_error(seed: int) -> float:
    """max |y - x| / sigma in evaluation for inputs up to 100 that the statistics never saw."""
    rng = np.random.default_rng([seed, 2])
    mean, var = rng.normal(size=8), rng.uniform(0.1, 4, 8)
    heavy, flat = rng.standard_cauchy((500, 8)).clip(-100, 100), rng.uniform(-100, 100, (500, 8))
    x = np.concatenate([heavy, flat])
    y = running.infer(x, *identity.restoring(mean, var, eps=1e-5), mean, var, eps=1e-5)
    return float((np.abs(y - x) / np.sqrt(var)).max())


def rms_without_eps(seed: int, seeds: int, squares: np.ndarray, eps: float) -> np.ndarray:
    """Root mean square of (y - x) / sigma with gamma = sigma, beta = mu: (seeds, squares).

    squares: the batch variances, which 256 rows about 3 have exactly.
    """
    x = np.random.default_rng([seed, 3]).normal(size=(256, len(squares) * seeds))
    x = 3 + (x - x.mean(axis=0)) / x.std(axis=0) * np.tile(np.sqrt(squares), seeds)
    y = kernels.forward_by("two-pass", x, x.std(axis=0), x.mean(axis=0), eps=eps)
    rms = np.sqrt(np.square(y - x).mean(axis=0)) / x.std(axis=0)
    return rms.reshape(seeds, len(squares))


def clouds(seed: int, sizes: Sequence[int]) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Batch size -> (standard deviation, mean) of 1500 Gaussian batches, in sigma."""
    batches = {m: np.random.default_rng([seed, 4, m]).normal(size=(m, 1500)) for m in sizes}
    return {m: (x.std(axis=0), x.mean(axis=0)) for m, x in batches.items()}


class Sums(NamedTuple):
    """Means over batches at gamma = 1, beta = 0, population variance 1; or arrays of such means."""

    error: Any  # (y - x)^2
    std: Any  # s_m, computed as x_hat x
    present: Any  # x_hat^2: share of batches whose rows are not all equal
    energy: Any  # x^2


class Population(NamedTuple):
    """One law of a row x with mean 0 and variance 1, and its expected batch standard deviation.

    The latter is computed by quadrature and not by drawing, so that drawing can be held against it.
    kurtosis: E[x^4].  draw(rng, shape) gives independent rows.  near(u, a) = E[exp(-u (x - a)^2)].
    atoms: probabilities of single values.  center, width, high: the quadrature takes steps of
    about 0.03 (|a - center| + width) and stops at u = high, where batches are equal or far apart.
    """

    kurtosis: float
    draw: Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]
    near: Near
    atoms: tuple[float, ...] = ()
    center: float = 0.0
    width: float = 1.0
    high: float = 1e10

    def tied(self, m: int) -> float:
        """P(s_m = 0): all m rows are equal, which only atoms allow."""
        return sum(p**m for p in self.atoms)

    def expected_std(self, m: int) -> float:
        """E[s_m] for m independent rows, in units of the standard deviation of a row.

            exp(-u m s^2) = sqrt(m u / pi) int exp(-u sum_i (x_i - a)^2) da
            sqrt(q) = 1 / (2 sqrt(pi)) int_0^inf (1 - exp(-u q)) u^(-3/2) du,    q = m s^2

        Taking expectations turns the first right side into sqrt(m u / pi) int near(u, a)^m da,
        because the rows are independent; nothing else about the population is needed.
        Accurate to 2e-6 where an atom borders on a density, else better.
        Raises ValueError for m < 2.
        """
        if m < 2:
            raise ValueError(f"expected m >= 2 rows for a spread, got {m}")
        low = 1e-5 / m  # below it one Taylor term is enough
        w = np.linspace(np.log(low), np.log(self.high), 161)
        edge = np.arcsinh(1e4 / self.width)
        t = np.linspace(-edge, edge, 1201)
        a = self.center + self.width * np.sinh(t)
        inner = self.near(np.exp(w)[:, None], a[None]) ** m * np.cosh(t)
        phi = np.exp(w / 2) * inner.sum(axis=1) * self.width * (t[1] - t[0]) * np.sqrt(m / np.pi)
        body = simpson((1 - phi) * np.exp(-w / 2), x=w)
        # Beyond `high`, phi falls to P(s = 0) at most as slowly as u^(-1/2), the case m = 2.
        beyond = (2 * (1 - self.tied(m)) - (phi[-1] - self.tied(m))) / np.sqrt(self.high)
        return float((body + 2 * (m - 1) * np.sqrt(low) + beyond) / (2 * np.sqrt(np.pi * m)))


def _normal_near(u: np.ndarray, a: np.ndarray) -> np.ndarray:
    return np.exp(-u * a**2 / (1 + 2 * u)) / np.sqrt(1 + 2 * u)


def _uniform_near(u: np.ndarray, a: np.ndarray) -> np.ndarray:
    """Between -sqrt(3) and sqrt(3); even in a, so only the side without cancellation is used."""
    root, a = np.sqrt(u), np.abs(a)
    mass = erfc(root * (a - np.sqrt(3))) - erfc(root * (a + np.sqrt(3)))
    return np.sqrt(np.pi / u) * mass / (4 * np.sqrt(3))


def _tail_near(u: np.ndarray, a: np.ndarray, rate: float | np.ndarray) -> np.ndarray:
    """int_0^inf exp(-rate x - u (x - a)^2) dx without overflow at either end."""
    root = np.sqrt(u)
    z = rate / (2 * root) - root * a
    inside = np.exp(-u * a**2) * erfcx(np.maximum(z, 0))
    beyond = np.exp(np.minimum(rate * (rate / (4 * u) - a), 0)) * erfc(np.minimum(z, 0))
    return np.sqrt(np.pi / u) / 2 * np.where(z >= 0, inside, beyond)


def _laplace_near(u: np.ndarray, a: np.ndarray) -> np.ndarray:
    rate = np.sqrt(2)
    return (_tail_near(u, a, rate) + _tail_near(u, -a, rate)) * rate / 2


def _two_point_near(u: np.ndarray, a: np.ndarray) -> np.ndarray:
    return (np.exp(-u * (a - 1) ** 2) + np.exp(-u * (a + 1) ** 2)) / 2


# max(z, 0) of a standard normal z: E r = 1/sqrt(2 pi), E r^2 = 1/2, E r^3 = 2 E r, E r^4 = 3/2.
_RELU_MEAN = 1 / np.sqrt(2 * np.pi)
_RELU_STD = np.sqrt(0.5 - _RELU_MEAN**2)
_RELU_FOURTH = 1.5 - 8 * _RELU_MEAN**2 + 3 * _RELU_MEAN**2 - 3 * _RELU_MEAN**4


def _relu_near(u: np.ndarray, a: np.ndarray) -> np.ndarray:
    """The atom at zero, and the upper half of a normal: a Gaussian integral over z > 0."""
    v, b = u / _RELU_STD**2, a * _RELU_STD + _RELU_MEAN  # in units of r
    width = np.sqrt(1 + 2 * v)
    half = np.exp(-v * b**2 / (1 + 2 * v)) * erfc(-np.sqrt(2) * v * b / width) / (2 * width)
    return np.exp(-v * b**2) / 2 + half


def _student_near(u: np.ndarray, a: np.ndarray) -> np.ndarray:
    """t with 5 degrees of freedom: a normal of random variance 3 / chi^2_5, summed in log chi^2."""
    log_chi = np.linspace(-8, 4.5, 41)
    weight = np.exp(2.5 * log_chi - np.exp(log_chi) / 2)
    weight /= weight.sum()
    total = np.zeros(np.broadcast_shapes(u.shape, a.shape))
    for p, variance in zip(weight, 3 * np.exp(-log_chi), strict=True):
        spread = 1 + 2 * u * variance
        total += p / np.sqrt(spread) * np.exp(-u * a**2 / spread)
    return total


POPULATIONS = {
    "Gaussian": Population(3.0, lambda rng, shape: rng.standard_normal(shape), _normal_near),
    "uniform": Population(
        1.8, lambda rng, shape: rng.uniform(-np.sqrt(3), np.sqrt(3), shape), _uniform_near
    ),
    "Laplace": Population(
        6.0, lambda rng, shape: rng.laplace(0, np.sqrt(0.5), shape), _laplace_near
    ),
    "ReLU(Gaussian)": Population(
        float(_RELU_FOURTH / _RELU_STD**4),
        lambda rng, shape: (np.maximum(rng.standard_normal(shape), 0) - _RELU_MEAN) / _RELU_STD,
        _relu_near,
        atoms=(0.5,),
        center=float(-_RELU_MEAN / _RELU_STD),
        width=1e-3,
    ),
    "two-point": Population(
        1.0,
        lambda rng, shape: rng.integers(0, 2, shape) * 2.0 - 1,
        _two_point_near,
        atoms=(0.5, 0.5),
        high=100.0,
    ),
    "Student t5": Population(
        9.0, lambda rng, shape: rng.standard_t(5, shape) * np.sqrt(0.6), _student_near
    ),
}


def sample_errors(population: Population, m: int, rows: int, rng: np.random.Generator) -> Sums:
    """Monte Carlo of `identity.error` with the real forward pass, eps = 0, on about `rows` rows."""
    x = population.draw(rng, (m, max(40, rows // m)))
    ones = np.ones(x.shape[1])
    y, tape = reference.forward(x, ones, 0 * ones, eps=0.0)
    means = (np.square(y - x), tape.x_hat * x, np.square(tape.x_hat), np.square(x))
    return Sums(*(float(v.mean()) for v in means))


def sample(seed: int, seeds: int, rows: int, sizes: Sequence[int]) -> Sums:
    """`sample_errors` for every seed, population and batch size: (seeds, populations, sizes)."""
    grid = product(range(seeds), enumerate(POPULATIONS.values()), sizes)
    sums = [
        sample_errors(population, m, rows, np.random.default_rng([seed, 5, place, m, k]))
        for k, (place, population), m in grid
    ]
    return Sums(*np.array(sums).T.reshape(4, seeds, len(POPULATIONS), -1))


def formulas(sizes: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """The exact law, by quadrature, and its leading term, each (populations, sizes)."""
    of = POPULATIONS.values()
    exact = [[identity.error(p.expected_std(m), tied=p.tied(m)) for m in sizes] for p in of]
    exact[0] = [identity.gaussian_error(m) for m in sizes]  # which has a closed form
    leading = [[identity.leading_error(m, p.kurtosis) for m in sizes] for p in of]
    return np.array(exact), np.array(leading)


class Check(NamedTuple):
    """The law of each population (rows) and batch size (columns) against the draws."""

    point: Interval  # of the measured error, 95 %, over seeds
    inside: np.ndarray  # whether the law lies in `point`
    jointly: np.ndarray  # whether it lies in the simultaneous interval of all of them
    broken: list[int]  # batch sizes where a Gaussian law off by -2 %, by +2 % would lie inside
    sound: bool  # the law with the measured E[s_m] leaves sampling noise and rounding alone


def check(sums: Sums, exact: np.ndarray) -> Check:
    """The intervals of the draws, and which of them contain the law."""
    joint = simultaneous(exact.size)
    point, wide = (mean_interval(sums.error, level) for level in (0.95, joint))
    broken = [int(inside(factor * exact, point)[0].sum()) for factor in (0.98, 1.02)]
    residue = sums.present - 2 * sums.std
    rest = mean_interval(sums.error - (1 + residue), joint)  # sampling: <x²> - 1
    rounding = float(np.abs(sums.error - (sums.energy + residue)).max())
    sound = ((rest.low <= 1e-12) & (rest.high >= -1e-12)).all() and rounding <= 1e-10
    return Check(point, inside(exact, point), inside(exact, wide), broken, bool(sound))


def gaussian_laws(sizes: Sequence[int]) -> dict[str, np.ndarray]:
    """Gaussian rows: modes of `identity.error`, the leading term, and "std", E[s_m] / sigma."""
    of = {mode: [identity.gaussian_error(m, mode) for m in sizes] for mode in identity.MODES}
    of["leading"] = [identity.leading_error(m) for m in sizes]
    of["std"] = [laws.expected_batch_std(m) for m in sizes]
    return {name: np.array(values) for name, values in of.items()}


def best_constants(sums: Sums) -> tuple[Interval, Interval]:
    """Vertex and floor of the measured parabola in gamma of Gaussian rows, simultaneous."""
    vertex, floor = sums.std / sums.present, sums.energy - sums.std**2 / sums.present
    level = simultaneous(2 * vertex.shape[-1])
    return mean_interval(vertex[:, 0], level), mean_interval(floor[:, 0], level)


def best_table(sizes: Sequence[int], gamma: Interval, floor: Interval) -> pd.DataFrame:
    """What `best_constants` gives beside its laws."""
    gammas, floors = ([shown(v) for v in zip(*part, strict=True)] for part in (gamma, floor))
    law = gaussian_laws(sizes)
    columns = {"best γ/σ": gammas, "a": law["std"], "floor": floors, "1 − a²": law["best"]}
    return pd.DataFrame(columns, index=pd.Index(sizes, name="m")).round(4)


def channels(seed: int, seeds: int, stream: int) -> tuple:
    """sigma over a factor of a thousand, mu twice as large, (16 seeds,), and their generator."""
    rng = np.random.default_rng([seed, 6, stream])
    sigma = 10 ** rng.uniform(-1.5, 1.5, CHANNELS * seeds)
    return sigma, 2 * sigma * rng.standard_normal(CHANNELS * seeds), rng


class Ends(NamedTuple):
    """Where the descent ended, means over the 16 channels of a seed: (seeds, sizes)."""

    gamma: np.ndarray  # gamma / sigma after the last step
    training: np.ndarray  # error in training mode over the last tenth of the steps
    evaluation: np.ndarray  # error with exact population statistics after the last step


def ends(seed: int, seeds: int, steps: int, sizes: Sequence[int]) -> Ends:
    """Descend with batches of each size; the rate falls by 10 at half and at three quarters."""
    reached = []
    for m in sizes:
        sigma, mu, rng = channels(seed, seeds, m)
        path = identity.descend(sigma, mu, m=m, steps=steps, lr=RATE, rng=rng, schedule="step")
        gamma, off = path.gamma[-1] / sigma, (path.beta[-1] - mu) / sigma
        tail = (path.error[-steps // 10 :] / sigma**2).mean(axis=0)
        reached.append([_by_seed(v) for v in (gamma, tail, (gamma - 1) ** 2 + off**2)])
    return Ends(*np.moveaxis(np.array(reached), 0, -1))


def residues(reached: Ends, sizes: Sequence[int]) -> pd.DataFrame:
    """The errors that the descent leaves, with 95 % intervals, beside the laws."""
    law = gaussian_laws(sizes)
    columns = {
        "training residue": [shown(mean_interval(v)) for v in reached.training.T],
        "1 − a²": law["best"],
        "evaluation residue": [shown(mean_interval(v), 5) for v in reached.evaluation.T],
        "(1 − a)²": law["evaluation"],
    }
    return pd.DataFrame(columns, index=pd.Index(sizes, name="m")).round(5)


class Average(NamedTuple):
    """A descent with a constant step beside the moving average of the batches that it saw."""

    path: identity.Path  # batches of 16
    sigma: np.ndarray  # (16 seeds,)
    mu: np.ndarray  # (16 seeds,)
    gap: float  # largest distance between the two, in sigma
    spread: np.ndarray  # (seeds,) standard deviation of gamma over that of s_m, after 200 steps


def average(seed: int, seeds: int, steps: int) -> Average:
    """SGD with a constant rate, and s_m averaged with the rate as weight from the same start."""
    sigma, mu, rng = channels(seed, seeds, 1)
    path = identity.descend(sigma, mu, m=16, steps=steps, lr=RATE, rng=rng)
    start = np.full((1, sigma.size), 1 - RATE)
    moved = lfilter([RATE], [1, RATE - 1], path.batch_std, axis=0, zi=start)[0]
    gap = float((np.abs(path.gamma[1:] - moved) / sigma).max())
    moving, still = (_by_seed((v[200:] / sigma).var(axis=0)) for v in (path.gamma, path.batch_std))
    return Average(path, sigma, mu, gap, np.sqrt(moving / still))


def _by_seed(values: np.ndarray) -> np.ndarray:
    return values.reshape(-1, CHANNELS).mean(axis=1)


def approach(seed: int, seeds: int, optimizer: str) -> dict[str, np.ndarray]:
    """Distance to (sigma, mu) at STEPS over that at the start: medians over channels by sigma."""
    sigma, mu, rng = channels(seed, seeds, 2)
    path = identity.descend(sigma, mu, m=64, steps=STEPS[-1], lr=RATE, rng=rng, optimizer=optimizer)
    d = np.hypot(path.gamma / sigma - 1, (path.beta - mu) / sigma)[list(STEPS)]
    middle = (sigma >= 0.3) & (sigma <= 3)
    groups = {"σ < 0.3": sigma < 0.3, "0.3 to 3": middle, "σ > 3": sigma > 3}
    return {name: np.median((d / d[0])[:, group], axis=1) for name, group in groups.items()}


def passed_on(x: np.ndarray, dy: np.ndarray) -> np.ndarray:
    """dx behind a layer with y = x in training mode, eps = 0.  x, dy, dx: (m, c)."""
    constants = identity.restoring(x.mean(axis=0), x.var(axis=0), eps=0.0)
    _, tape = reference.forward(x, *constants, eps=0.0)
    return reference.backward(dy, tape).dx


def removed_shares(seed: int, seeds: int, sizes: Sequence[int], b: float) -> np.ndarray:
    """Share of the energy of dy that does not pass a layer with y = x: (seeds, sizes).

    400 channels of independent Gaussian x, and dy with mean b and variance 1.
    Theory: (b^2 + 2/m) / (1 + b^2).
    """

    def share(m: int, k: int) -> float:
        rng = np.random.default_rng([seed, 7, m, k])
        x, dy = rng.normal(size=(m, 400)), b + rng.normal(size=(m, 400))
        return float(np.square(dy - passed_on(x, dy)).mean() / (1 + b * b))

    return np.array([[share(m, k) for m in sizes] for k in range(seeds)])


def shares(seed: int, seeds: int) -> tuple[list[int], dict, dict]:
    """Batch sizes, and by the mean b of dy the `removed_shares` there with their theory."""
    m = [2, 4, 8, 16, 32, 64, 128, 256]
    measured = {b: mean_interval(removed_shares(seed, seeds, m, b)) for b in (0.0, 0.5)}
    return m, measured, {b: (b * b + 2 / np.array(m)) / (1 + b * b) for b in measured}


def arriving(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """dy with mean 0.5 at 60 channels of 8 rows, and the dx that a layer with y = x passes on."""
    rng = np.random.default_rng([seed, 8])
    x, dy = rng.normal(size=(8, 60)), 0.5 + rng.normal(size=(8, 60))
    return dy, passed_on(x, dy)


@training.one_thread()
def redundancy_gaps(rng: np.random.Generator, *, rate: float) -> dict[str, float]:
    """Largest change of the outputs when gamma (and beta) are moved into a neighboring layer.

    A random network of 8 inputs, 16 normalized units and 3 outputs, 64 rows, eps = 1e-5; one gamma
    is 0 and the others have both signs. The last entry compares outputs after one gradient step.
    """
    x, eps = rng.normal(size=(64, 8)), 1e-5
    before = absorption.Linear(rng.normal(size=(16, 8)), np.zeros(16))
    after = absorption.Linear(rng.normal(size=(3, 16)), rng.normal(size=3))
    gamma, beta = np.append(0.0, rng.normal(size=15)), rng.normal(size=16)
    z, goal, ones, size = before(x), rng.normal(size=(64, 3)), np.ones(16), np.abs(gamma)
    moved, kept = (absorption.through_relu(g, beta, after) for g in (gamma, size))
    flipped = absorption.Linear(before.weight * moved.sign[:, None], before.bias)
    stored = (gamma, beta, z.mean(axis=0) + 1, 2 * z.var(axis=0))
    folded = absorption.Linear(*fold_bn(*before, Norm(*stored, eps)))

    def bn(rows: np.ndarray, scale: np.ndarray, shift: np.ndarray) -> np.ndarray:
        return reference.forward(rows, scale, shift, eps=eps)[0]

    def relu(y: np.ndarray) -> np.ndarray:
        return np.maximum(y, 0)

    x_hat, signed, lifted = bn(z, ones, 0 * ones), bn(z, gamma, beta), bn(z, size, beta)
    steps = (size, beta, after), (ones, kept.beta, kept.after)
    absorbed = relu(bn(flipped(x), ones, moved.beta))
    pairs = {
        "linear": (after(signed), absorption.into_next(gamma, beta, after)(x_hat)),
        "ReLU, γ > 0": (after(relu(lifted)), kept.after(relu(x_hat + kept.beta))),
        "ReLU, any γ, rows flipped": (after(relu(signed)), moved.after(absorbed)),
        "folded in evaluation": (running.infer(z, *stored, eps=eps), folded(x)),
        "ReLU, γ < 0, no flip": (after(relu(signed)), moved.after(relu(x_hat + moved.beta))),
        "tanh": (after(np.tanh(lifted)), kept.after(np.tanh(x_hat + kept.beta))),
        "ReLU, γ > 0, after one step": [_stepped(x_hat, point, goal, rate) for point in steps],
    }
    return {name: float(np.abs(a - b).max()) for name, (a, b) in pairs.items()}


def _stepped(x_hat: np.ndarray, point: Sequence, goal: np.ndarray, rate: float) -> np.ndarray:
    """Outputs of after(relu(gamma x_hat + beta)) after one step on the squared error to goal.

    point: gamma, beta, and the layer after.
    """
    gamma, beta, after = point
    params = [torch.tensor(v, requires_grad=True) for v in (gamma, beta, *after)]

    def outputs(p: Sequence[torch.Tensor]) -> torch.Tensor:
        return torch.relu(p[0] * torch.tensor(x_hat) + p[1]) @ p[2].T + p[3]

    loss = (outputs(params) - torch.tensor(goal)).square().mean()
    grads = torch.autograd.grad(loss, params)
    return outputs([p - rate * g for p, g in zip(params, grads, strict=True)]).detach().numpy()
