"""Running statistics, the map they give in evaluation, and merging statistics of many batches."""

# Records here have a field `count`, which hides tuple.count; nobody counts values in them.
# pyright: reportIncompatibleMethodOverride=false

from typing import NamedTuple

import numpy as np

from bnlib.rows import Grads, check_inputs, per_channel, reduced_axes

_quiet = np.errstate(all="ignore")


class Running(NamedTuple):
    """Estimates of the mean and the variance of a channel, kept from batch to batch."""

    mean: np.ndarray  # (c,), [x]
    var: np.ndarray  # (c,), unbiased, [x]^2
    count: int  # batches seen


class Pooled(NamedTuple):
    """What a set of rows contributes to pooled statistics; var = m2 / count."""

    count: int  # rows
    mean: np.ndarray  # (c,) float64, [x]
    m2: np.ndarray  # (c,) float64, sum of squared deviations from the mean, [x]^2


def fresh(c: int) -> Running:
    """Before the first batch: mean 0, variance 1, no batch seen."""
    return Running(np.zeros(c), np.ones(c), 0)


@_quiet
def update(
    running: Running, mu: np.ndarray, var: np.ndarray, m: int, *, new_weight: float | None
) -> Running:
    """Move running statistics towards those of a batch of m rows  [BN.5].

        r_mean = (1 - a) r_mean + a mu        r_var = (1 - a) r_var + a var m / (m - 1)

    mu, var: (c,), var biased, as `reference.statistics` gives it.  a = new_weight, in [0, 1], is
    the weight of the *new* batch (PyTorch's momentum; Keras and flax call 1 - a momentum).
    new_weight = None takes a = 1 / (batches seen): the plain average over batches.
    Raises ValueError for m = 1 (its unbiased variance is 0 / 0), a weight outside [0, 1], and a
    wrong channel count.
    Consequences: m = 0 changes nothing, not even the count; a NaN stays in its channel.
    """
    if m == 0:
        return running
    if m < 2:
        raise ValueError(f"expected m >= 2 rows for an unbiased variance, got {m}: m / (m - 1)")
    for name, value in (("mu", mu), ("var", var)):
        if value.shape != running.mean.shape:
            shape = running.mean.shape
            raise ValueError(f"{name}: expected shape {shape}, as it runs, got {value.shape}")
    count = running.count + 1
    a = 1 / count if new_weight is None else new_weight
    if not 0 <= a <= 1:
        raise ValueError(f"new_weight: expected a share in [0, 1], got {a}")
    mean = (1 - a) * running.mean + a * mu
    return Running(mean, (1 - a) * running.var + a * (var * (m / (m - 1))), count)


@_quiet
def infer(
    x: np.ndarray,
    gamma: np.ndarray,
    beta: np.ndarray,
    mean: np.ndarray,
    var: np.ndarray,
    *,
    eps: float,
) -> np.ndarray:
    """Normalize with given statistics: in evaluation, one fixed affine map a channel  [BN.4].

        y = gamma * (x - mean) / sqrt(var + eps) + beta

    x: (m, c) or (n, c, ...), any m.  mean, var: (c,), float64 whatever x is, or the dtype of x.
    Raises ValueError and TypeError for the inputs that `reference.forward` refuses, except m < 2.
    Consequences: no row depends on another, so dx is diagonal (`infer_backward`); where var and eps
    are both 0 y is beta, as for a constant channel in training, and dx is 0.
    """
    check_inputs(x, eps, gamma=gamma, beta=beta)
    x_hat, _ = _standardized(x, mean, var, eps)
    return per_channel(gamma, x.ndim) * x_hat + per_channel(beta, x.ndim)


@_quiet
def infer_backward(
    dy: np.ndarray,
    x: np.ndarray,
    gamma: np.ndarray,
    mean: np.ndarray,
    var: np.ndarray,
    *,
    eps: float,
) -> Grads:
    """Gradients of the loss through `infer`, statistics held constant.

        dx = gamma * dy / sqrt(var + eps)
        dgamma = sum_m dy * (x - mean) / sqrt(var + eps)        dbeta = sum_m dy

    Raises as `infer` does.  Consequence: nothing is projected out, so sum_m dx is not 0 here.
    """
    check_inputs(x, eps, dy=dy, gamma=gamma)
    x_hat, rstd = _standardized(x, mean, var, eps)
    axes = reduced_axes(x.ndim)
    gain = per_channel((gamma * rstd).astype(x.dtype), x.ndim)
    return Grads(gain * dy, (dy * x_hat).sum(axes), dy.sum(axes))


def _standardized(
    x: np.ndarray, mean: np.ndarray, var: np.ndarray, eps: float
) -> tuple[np.ndarray, np.ndarray]:
    """x_hat in the dtype of x, and rstd (c,)."""
    for name, value in (("mean", mean), ("var", var)):
        if value.shape != (x.shape[1],):
            raise ValueError(f"{name}: expected shape {(x.shape[1],)}, got {value.shape}")
    total = var.astype(np.float64) + eps
    rstd = np.where(total == 0, 0.0, 1 / np.sqrt(total))
    # The mean may have more digits than x: taken off in two parts, none of them is lost.
    high = mean.astype(x.dtype)
    low = (mean - high).astype(x.dtype)
    c = (x - per_channel(high, x.ndim)) - per_channel(low, x.ndim)
    return c * per_channel(rstd.astype(x.dtype), x.ndim), rstd


@_quiet
def pooled(x: np.ndarray) -> Pooled:
    """Count, mean and sum of squared deviations of the rows of x, in float64; zero rows give 0."""
    check_inputs(x, 0.0)
    axes, c = reduced_axes(x.ndim), x.shape[1]
    m = x.size // max(c, 1)
    if m == 0:
        return Pooled(0, np.zeros(c), np.zeros(c))
    # Shifted by a row first: exact at any offset, and a constant channel has m2 = 0.
    shift = np.moveaxis(x, 1, -1).reshape(m, c)[m // 2].astype(np.float64)
    centered = x - per_channel(shift, x.ndim)
    rest = centered.mean(axes)
    centered -= per_channel(rest, x.ndim)
    return Pooled(m, shift + rest, np.square(centered).sum(axes))


@_quiet
def merge(a: Pooled, b: Pooled) -> Pooled:
    """Statistics of two sets of rows as if they had been one  [BN.6].

        m = m_a + m_b        mean = mean_a + d m_b / m        d = mean_b - mean_a
        m2 = m2_a + m2_b + d^2 m_a m_b / m

    Raises ValueError when the channel counts differ.
    Consequences: associative and commutative up to rounding; merging with zero rows changes
    nothing; the last term is the variance between batches, which an average of batch variances
    leaves out. Source: chan1983.
    """
    if a.mean.shape != b.mean.shape:
        raise ValueError(f"expected the same channels, got {a.mean.shape} and {b.mean.shape}")
    if not (a.count and b.count):
        return a if a.count else b
    m, d = a.count + b.count, b.mean - a.mean
    return Pooled(m, a.mean + d * (b.count / m), a.m2 + b.m2 + d * d * (a.count * b.count / m))
