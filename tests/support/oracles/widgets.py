"""What the book's widgets show, computed by the library.

The widgets are scripts in a page and compute for themselves. This is their witness: the same
settings, the same names, by the functions that the chapters use.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bnlib import chains, identity, reference
from bnlib.chapters.chains import measure
from bnlib.orders import noise_floor, order_sums, subset_masks

MU, SIGMA = 1.0, 1.0  # of the population that the identity widget draws from
LARGEST = 1024  # rows of a batch
SHOWN = 32  # batches
CHAIN_EPS = 1e-5  # under the root of the chain's normalization
BEND_X = 6 * (np.arange(49) / 48) ** 1.4  # inputs of the layer that bends a curve
BEND_CURVES = {
    "wave": np.sin(2.2 * BEND_X),
    "bands": np.where(((BEND_X > 1) & (BEND_X < 2)) | ((BEND_X > 4) & (BEND_X < 5)), 1.0, -1.0),
    "hill": 2 * np.exp(-(((BEND_X - 4.2) / 0.8) ** 2)) - 1,
}
BEND_PENALTY = 1e-8  # on its squared output weights
X = (-1.6, 0.56, -0.16, 1.58, -1.05, 1.11, -0.67, 0.22)  # rows of the gradient widget


def batch(m: int, number: int) -> np.ndarray:
    """Rows of one batch of the population, (m,): mulberry32's hash, then Box and Muller."""
    place = LARGEST * number + np.arange(m)
    radius = np.sqrt(-2 * np.log(_uniform(2 * place)))
    return MU + SIGMA * radius * np.cos(2 * np.pi * _uniform(2 * place + 1))


def _uniform(place: np.ndarray) -> np.ndarray:
    seed = place.astype(np.uint32) * np.uint32(0x6D2B79F5)
    t = (seed ^ (seed >> 15)) * (seed | np.uint32(1))
    t = (t + (t ^ (t >> 7)) * (t | np.uint32(61))) ^ t
    return ((t ^ (t >> 14)) + 0.5) / 2**32


def identity_numbers(
    m: int, first: int, gamma: float, beta: float, *, stored: bool, batches: int
) -> dict[str, Any]:
    """Means and deviations of the batches from `first` on, y against x in each, and the law.

    stored: the layer normalizes with the population's statistics. Errors are mean squares of
    y - x in units of sigma^2.
    """
    pairs = [reference.statistics(batch(m, first + k)[:, None]) for k in range(batches)]
    means = np.array([MU if stored else float(pair.mean[0]) for pair in pairs])
    variances = np.array([SIGMA**2 if stored else float(pair.var[0]) for pair in pairs])
    constants = identity.Constants(np.array([gamma]), np.array([beta]))
    errors = identity.batch_error(means, variances, constants, eps=0.0) / SIGMA**2
    deviation = SIGMA * (1.0 if stored else float(identity.expected_batch_std(m)))
    return {
        "means": means,
        "deviations": np.sqrt(variances),
        "errors": errors,
        "mean-error": float(np.mean(errors)),
        "law": (gamma**2 - 2 * gamma * deviation + SIGMA**2 + (beta - MU) ** 2) / SIGMA**2,
        "stopped": 0 if stored else 2,
    }


def chain_weights(depth: int, mean: float, spread: float) -> np.ndarray:
    """w_i = mean (1 + spread t_i), t_i spread evenly over (-1, 1) by the golden ratio, (depth,)."""
    return mean * (1 + spread * (2 * (np.arange(1, depth + 1) * 0.618034 % 1) - 1))


def chain_numbers(
    w: np.ndarray, *, normalized: bool, step: float | None = None, promise: float | None = None
) -> dict[str, Any]:
    """Orders of one gradient step of all factors, in units of the output before it.

    The batch is x = -1, 1 (mean 0, variance 1), the target 0, the loss 1/2 mean y^2.
    step: eta, or None for the one of predicted relative decrease of the loss `promise`.
    rounding: what each order may carry with normalization, where it is a sum over subsets.
    """
    x, eps = np.array([-1.0, 1.0]), CHAIN_EPS if normalized else None
    pull = measure.scalar_pull(w, x, np.zeros(2), eps=eps)
    square = float((measure.gradient_moves(w, pull, 1.0) ** 2).sum())  # (L / |g|)^2
    if step is None:
        assert promise is not None
        step = promise * square / pull.loss
    promise = step * pull.loss / square
    moves = measure.gradient_moves(w, pull, promise)
    losses = measure.subset_losses(w, moves, x, np.zeros(2), eps=eps)
    output = np.sqrt(2 * pull.loss) * np.sign(w.prod())
    rounding = np.zeros(len(w) + 1)
    if normalized:
        values = _outputs(w, moves) / output
        orders = order_sums(values, len(w))
        rounding = noise_floor(len(w), float(np.abs(values).max()))
    else:
        orders = chains.chain_orders(w, -moves, 1.0, step=1.0) / output
    first, above = abs(orders[1]), float(np.abs(orders[2:]).sum())
    return {
        "step": step,
        "promise": promise,
        "orders": orders,
        "rounding": rounding,
        "first": float(first),
        "above": above,
        "bound": chains.maclaurin_bound(float(first), len(w)),
        "leak": pull.leak,
        "actual": float(1 - losses[-1] / pull.loss),
        "output": float(output),
    }


def gradient_numbers(
    m: int, dy: np.ndarray, *, gamma: float, eps: float, x: tuple[float, ...] = X
) -> dict[str, Any]:
    """dy in three parts (its mean, its part along x_hat, the rest) and what reaches x, (m,) each.

    passed: mean square of the rest over that of dy, 0 where dy is 0.
    """
    rows, ups = np.array(x[:m])[:, None], np.asarray(dy, dtype=float)[:, None]
    _, tape = reference.forward(rows, np.array([gamma]), np.zeros(1), eps=eps)
    grads = reference.backward(ups, tape)
    along = float(grads.dgamma[0]) / m
    part = along * tape.x_hat[:, 0]
    mean = float(grads.dbeta[0]) / m
    rest = ups[:, 0] - mean - part
    energy = float((ups**2).sum())
    return {
        "x-hat": tape.x_hat[:, 0],
        "gain": gamma * float(tape.rstd[0]),
        "mean": mean,
        "along": along,
        "part": part,
        "dx": grads.dx[:, 0],
        "dgamma": float(grads.dgamma[0]),
        "dbeta": float(grads.dbeta[0]),
        "passed": float((rest**2).sum()) / energy if energy else 0.0,
    }


def bend_numbers(
    curve: str, width: int, *, reach: float, gamma: str, activation: str
) -> dict[str, Any]:
    """The best fit of a curve by a hidden layer after batch norm, by least squares.

    reach: the largest |beta|; gamma: "one" or "varied". left: the share of the curve's variance
    that the fit misses; kinks: where the units bend, (width,).
    """
    number = np.arange(width)
    sign = np.where(number % 2, -1.0, 1.0)
    gains = 2.0 ** (number // 2 % 3 - 1) if gamma == "varied" else np.ones(width)
    beta = -sign * reach * np.linspace(-1, 1, width)
    y, _ = reference.forward(BEND_X[:, None] * sign, gains, beta, eps=0.0)
    units = np.maximum(y, 0) if activation == "relu" else np.tanh(y)
    target = BEND_CURVES[curve]
    span = np.column_stack([np.ones(len(y)), units])
    # The penalty as further rows, as the squared one would lose half of the digits.
    rows = np.vstack([span, np.sqrt(BEND_PENALTY) * np.eye(width + 1)])
    weights = np.linalg.lstsq(rows, np.append(target, np.zeros(width + 1)))[0]
    fit = span @ weights
    return {
        "fit": fit,
        "left": float(np.mean((fit - target) ** 2) / target.var()),
        "kinks": BEND_X.mean() - sign * beta * BEND_X.std() / gains,
    }


def _outputs(w: np.ndarray, moves: np.ndarray) -> np.ndarray:
    """The normalized chain's output at x = 1 with the factors of each subset moved, (2^l,)."""
    moved = np.where(subset_masks(len(w)), w + moves, w)
    h = np.array([[-1.0], [1.0]]) * moved[:, :-1].prod(axis=1)
    out, _ = reference.forward(h, moved[:, -1], np.zeros(len(moved)), eps=CHAIN_EPS)
    return out[1]
