"""When gamma and beta give the identity back: the constants, the error laws, the descent, merging.

Errors are mean squares of y - x in units of the population variance of x. a = E[s_m] / sigma is
the expected batch standard deviation (`laws.expected_batch_std` of Gaussian rows).
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from bnlib.laws import expected_batch_std
from bnlib.parameters import one_of
from bnlib.rows import Moments

MODES = ("fixed", "best", "evaluation")


class Constants(NamedTuple):
    """A scale and a shift for each channel."""

    gamma: Any  # (c,), [y]; NumPy or torch, as the statistics given
    beta: Any  # (c,), [y]


class EvaluationErrors(NamedTuple):
    """E(z - f)^2 for what evaluation makes of a value, z being what training made of it."""

    stored: float  # f(x) = x, evaluation as it is
    line: float  # f(x) = a_m x, the best straight line
    weighed: float  # f = `weighed`
    best: float  # f = `conditional_map`, below which no map gets


class Path(NamedTuple):
    """A descent of gamma and beta, and the batches that it saw."""

    gamma: np.ndarray  # (steps + 1, c)
    beta: np.ndarray  # (steps + 1, c)
    batch_std: np.ndarray  # (steps, c)
    batch_mean: np.ndarray  # (steps, c)
    error: np.ndarray  # (steps, c), mean_m (y - x)^2 of the batch before its update, [x]^2


def restoring(mu: Any, var: Any, *, eps: float) -> Constants:
    """The constants with which normalizing by (mu, var) gives y = x.

        gamma = sqrt(var + eps)        beta = mu

    Consequences: exact in training mode if mu, var are those of the batch; in evaluation mode for
    every input if they are the stored ones. gamma is a standard deviation and contains eps.
    """
    return Constants((var + eps) ** 0.5, mu)


def reparameterized(gamma: Any, beta: Any, old: Moments, new: Moments, *, eps: float) -> Constants:
    """The constants that give, with the statistics `new`, the layer of gamma, beta with `old`.

        gamma' = gamma sqrt((var' + eps) / (var + eps))
        beta'  = beta + gamma (mu' - mu) / sqrt(var + eps)

    All of one shape, NumPy or torch.  A layer with constant statistics is a line A x + B a channel,
    A = gamma / sqrt(var + eps), B = beta - A mu; both pairs have the same line.
    Consequence: whatever a change of statistics corrects, gamma and beta can correct, and the other
    way round but for the sign of A.  Needs var + eps > 0.
    """
    slope = gamma / (old.var + eps) ** 0.5
    return Constants(slope * (new.var + eps) ** 0.5, beta + slope * (new.mean - old.mean))


def eps_error(var: np.ndarray, eps: float) -> np.ndarray:
    """Root mean square of (y - x) / sigma when gamma = sqrt(var) forgets eps.

        1 - (1 + eps / var)^(-1/2)

    Consequences: about eps / (2 var) for small eps; 0.2929 at var = eps; 0 only at eps = 0.
    """
    return 1 - (1 + eps / np.asarray(var)) ** -0.5


def batch_error(mu: np.ndarray, var: np.ndarray, constants: Constants, *, eps: float) -> np.ndarray:
    """mean_m (y - x)^2 of a batch with mean mu and biased variance var, [x]^2.

        (gamma / sqrt(var + eps) - 1)^2 var + (beta - mu)^2

    Exact for every batch: scale error and mean error, and no cross term because sum_m x_hat = 0.
    A constant channel (var = 0) leaves the mean error alone.
    """
    tau = np.sqrt(var + eps)
    slope = np.divide(constants.gamma, tau, out=np.ones_like(tau), where=tau > 0)
    return (slope - 1) ** 2 * var + (constants.beta - mu) ** 2


def error(a: Any, *, mode: str = "fixed", tied: Any = 0.0) -> Any:
    """E(y - x)^2 / sigma^2 in training mode with constants, eps = 0, any population.

        fixed        1 + P - 2 a             gamma = sigma, beta = mu;  P = 1 - tied = P(s_m > 0)
        best         1 - a^2 / P             gamma = a sigma / P: no constants do better
        evaluation   (1 - a / P)^2           that gamma with exact population statistics

    a, tied: numbers or arrays.  tied: P(s_m = 0); x_hat counts as 0 there.
    Raises ValueError for another mode.
    Consequence: without ties fixed = 2 (1 - a) = best + evaluation: what the best gamma gains in
    training is what it costs in evaluation.
    """
    present = 1 - tied
    if one_of("mode", mode, MODES) == "fixed":
        return 1 + present - 2 * a
    return 1 - a**2 / present if mode == "best" else (1 - a / present) ** 2


def gaussian_error(m: int, mode: str = "fixed") -> float:
    """`error` for m independent Gaussian rows, in closed form.

    Consequences: 0.8716 at m = 2, 0.1946 at 8, 0.0235 at 64; about 3 / (2 m).
    """
    return error(expected_batch_std(m), mode=mode)


def leading_error(m: int, kurtosis: Any = 3.0) -> Any:
    """First term of `error` in 1 / m: noise of the mean, and noise of the scale.

        (1 + (kurtosis - 1) / 4) / m

    kurtosis: a number, or one for each channel. It must be finite; how good the term is at a
    given m depends on higher moments.
    """
    return (1 + (kurtosis - 1) / 4) / m


def conditional_map(x: ArrayLike, m: int) -> np.ndarray:
    """E[x_hat | x] of a row among m independent Gaussian rows, eps = 0; x in deviations.

        h_m(x) = 2 c sqrt(m / pi) int_0^inf x k^(-3/2) exp(-c (u x)^2 / k) (1 + 2 u^2)^(1 - m/2) du

    c = (m - 1) / m, k = 1 + 2 u^2 / m: with 1 / sqrt(A) = 2 / sqrt(pi) int exp(-A u^2) du the
    averages over the other rows' mean and squares are closed.
    Raises ValueError for m < 2.  Consequences: h_2(x) = 2 Phi(x) - 1; E[x h_m] = a_m.
    """
    if m < 2:
        raise ValueError(f"expected m >= 2 rows, got {m}: one row is its own mean")
    c = (m - 1) / m
    nodes, weights = np.polynomial.legendre.leggauss(200)
    angle = (nodes + 1) * np.pi / 4  # u = tan(angle): nothing is cut off
    u, du = np.tan(angle), weights * np.pi / 4 / np.cos(angle) ** 2
    x, k = np.asarray(x, dtype=float)[..., None], 1 + 2 * u**2 / m
    integrand = x * k**-1.5 * np.exp(-c * (u * x) ** 2 / k) * (1 + 2 * u**2) ** (1 - m / 2)
    return 2 * c * np.sqrt(m / np.pi) * (integrand @ du)


def weighed(x: ArrayLike, alpha: float) -> np.ndarray:
    """x normalized by stored moments into which the row itself enters with weight alpha.

        (1 - alpha) x / sqrt((1 - alpha) (1 + alpha x^2))

    x in deviations from the stored mean.  Consequence: below sqrt((1 - alpha) / alpha), which at
    alpha = 1 / m is the bound sqrt(m - 1) of a row in training.  Source: summers2020.
    """
    x = np.asarray(x, dtype=float)
    return np.sqrt(1 - alpha) * x / np.sqrt(1 + alpha * x**2)


def evaluation_errors(m: int) -> EvaluationErrors:
    """How far evaluation is from what training taught the next layer; Gaussian rows, eps = 0.

    stored 2 (1 - a)    line 1 - a^2    weighed 1 - 2 E[h w] + E[w^2]    best 1 - E[h^2]
    """
    a = expected_batch_std(m)
    x, weights = np.polynomial.hermite_e.hermegauss(120)
    weights = weights / weights.sum()
    h, w = conditional_map(x, m), weighed(x, 1 / m)
    return EvaluationErrors(
        2 * (1 - a),
        1 - a**2,
        1 - 2 * float(weights @ (h * w)) + float(weights @ w**2),
        1 - float(weights @ h**2),
    )


def corrected(var: Any, m: int) -> Any:
    """The stored variance with which evaluation gives a_m x, the best straight line: var / a_m^2.

    var: of the population, as recomputed over all rows; (c,) or any shape.
    """
    return var / expected_batch_std(m) ** 2


def descend(
    sigma: np.ndarray,
    mu: np.ndarray,
    *,
    m: int,
    steps: int,
    lr: float,
    rng: np.random.Generator,
    optimizer: str = "sgd",
    schedule: str = "constant",
) -> Path:
    """Train gamma and beta of one layer towards y = x on fresh Gaussian batches, eps = 0.

        L = mean_m (y - x)^2 / 2        dgamma = mean_m (y - x) x_hat        dbeta = mean_m (y - x)

    sigma, mu: (c,), of each channel.  Starts at gamma = 1, beta = 0.  schedule: "constant", or
    "step": lr, lr / 10 from half and lr / 100 from three quarters of the steps on.
    optimizer: "sgd", or "adam" with old weights 0.9, 0.999 and offset 1e-8.
    Raises ValueError for another optimizer or schedule.
    Consequence: dgamma = gamma - s_m and dbeta = beta - mean_m x, so "sgd" with a constant lr is
    an exponential moving average of the batch statistics with weight lr.
    """
    one_of("optimizer", optimizer, ("sgd", "adam"))
    one_of("schedule", schedule, ("constant", "step"))
    point = np.stack([np.ones_like(sigma), np.zeros_like(sigma)])  # gamma, beta
    points, seen = [point], []
    first, second = np.zeros_like(point), np.zeros_like(point)
    for t in range(steps):
        x = mu + sigma * rng.standard_normal((m, len(sigma)))
        grad, statistics = _step(x, point)
        drop = (2 * t >= steps) + (4 * t >= 3 * steps) if schedule == "step" else 0
        if optimizer == "adam":
            first, second = 0.9 * first + 0.1 * grad, 0.999 * second + 0.001 * grad**2
            scale = np.sqrt(second / (1 - 0.999 ** (t + 1))) + 1e-8
            grad = first / (1 - 0.9 ** (t + 1)) / scale
        point = point - lr * 0.1**drop * grad
        points.append(point)
        seen.append(statistics)
    gamma_beta, of_batches = np.stack(points, axis=1), np.stack(seen, axis=1)
    return Path(*gamma_beta, *of_batches)


def _step(x: np.ndarray, point: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gradients (2, c) of gamma and beta, and (s_m, mean, error) of the batch, (3, c)."""
    mean = x.mean(axis=0)
    c = x - mean
    std = np.sqrt(np.einsum("ij,ij->j", c, c) / len(x))
    x_hat = c / std
    rest = point[0] * x_hat + point[1] - x
    grad = np.stack([np.einsum("ij,ij->j", rest, x_hat) / len(x), rest.mean(axis=0)])
    return grad, np.stack([std, mean, np.einsum("ij,ij->j", rest, rest) / len(x)])
