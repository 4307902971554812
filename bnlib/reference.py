"""Batch normalization and its first two derivatives in NumPy: the equations of the book.

All functions take rows (m, c), or any layout (n, c, ...) whose axis 1 is the channel, which is the
same as its rows. Arrays keep the dtype of x; statistics of a channel are float64, so that a
channel of scale 1e30 in float32 still has a variance.

Accurate at any mean and scale: rows are shifted by one of their own values before their mean is
taken, and scaled before they are squared. A constant channel gives exactly beta. A channel that
holds NaN or Inf becomes NaN and leaves the others alone; no floating-point warning escapes.
With eps = 0 a constant channel has rstd = inf: y is still beta (the limit of small eps), but dx
is not finite, because the derivative does not exist.
"""

from typing import NamedTuple

import numpy as np

from bnlib.rows import (
    Grads,
    Moments,
    blocks,
    check_inputs,
    empty_lines,
    from_lines,
    lines,
    row_count,
)

_quiet = np.errstate(all="ignore")


class Tape(NamedTuple):
    """What a forward pass must remember for its reverse passes."""

    x_hat: np.ndarray  # shape of x, dimensionless
    rstd: np.ndarray  # (c,) float64, 1/[x]
    gamma: np.ndarray  # (c,), [y]
    rho: np.ndarray  # (c,) float64, var / (var + eps)


class Second(NamedTuple):
    """Gradients of <v, dx> + <u, dgamma> + <w, dbeta> with respect to the inputs of `backward`."""

    g_dy: np.ndarray  # shape of x
    g_x: np.ndarray  # shape of x
    g_gamma: np.ndarray  # (c,)


@_quiet
def statistics(x: np.ndarray) -> Moments:
    """Mean and biased variance of every channel, (c,) float64 each.

        mu = mean_m x        var = mean_m (x - mu)^2

    Zero rows give NaN, which `running.update` ignores; one row gives variance 0.
    """
    check_inputs(x, 0.0)
    c, m = x.shape[1], row_count(x)
    mu, var = np.full(c, np.nan), np.full(c, np.nan)
    for k, rows in blocks(x) if m else ():
        centered, total = _centered(rows)
        scale, mean_square = _scaled(centered, 0.0)
        mu[k], var[k] = total / m, mean_square * scale * scale
    return Moments(mu, var)


@_quiet
def forward(
    x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, *, eps: float
) -> tuple[np.ndarray, Tape]:
    """Normalize every channel over its rows, then scale and shift  [BN.1].

        x_hat = (x - mu) / sqrt(var + eps)        y = gamma * x_hat + beta

    x: (m, c), [x].  gamma, beta: (c,), [y].  eps: [x]^2.  y: shape of x.  var is biased.
    Raises ValueError for m < 2 (one row is its own mean: x_hat = 0 whatever x), for eps < 0 and
    for a wrong shape; TypeError for dtypes that are not floating or not equal.
    Consequences: mean_m y = beta; mean_m x_hat^2 = rho; |x_hat| <= sqrt((m - 1) rho).
    Source: ioffe2015.
    """
    check_inputs(x, eps, gamma=gamma, beta=beta)
    _check_rows(x)
    y, x_hat = np.empty(x.shape, x.dtype), empty_lines(lines(x))
    rstd, rho = np.empty(len(x_hat)), np.empty(len(x_hat))
    for (k, rows), (_, y_rows) in zip(blocks(x), blocks(y), strict=True):
        centered, _ = _centered(rows, out=x_hat[k])
        scale, mean_square = _scaled(centered, eps)
        tau = np.sqrt(mean_square + eps / scale / scale)  # in units of scale
        centered *= _column(np.where(tau == 0, 0, 1 / tau), x_hat)
        np.multiply(centered.reshape(rows.shape), _column(gamma[k], y_rows), out=y_rows)
        y_rows += _column(beta[k], y_rows)
        rstd[k], rho[k] = 1 / tau / scale, mean_square / np.where(tau == 0, 1, tau * tau)
    return y, Tape(from_lines(x_hat, x), rstd, gamma, rho)


@_quiet
def backward(dy: np.ndarray, tape: Tape) -> Grads:
    """Gradients of the loss with respect to x, gamma and beta  [BN.2].

        dx = gamma * rstd * (dy - mean_m dy - x_hat * mean_m(dy * x_hat))
        dgamma = sum_m dy * x_hat        dbeta = sum_m dy

    dy: shape of x, [L]/[y].
    Raises ValueError or TypeError when dy has not the shape and dtype of x_hat.
    Consequences: sum_m dx = 0 for every eps; sum_m dx * x_hat = gamma * eps * rstd^3 * dgamma,
    which is 0 only when eps = 0; two rows leave no gradient as eps -> 0.
    """
    check_inputs(tape.x_hat, 0.0, dy=dy, gamma=tape.gamma)
    m = _check_rows(dy)
    dx = np.empty(dy.shape, dy.dtype)
    dgamma, dbeta = np.empty_like(tape.gamma), np.empty_like(tape.gamma)
    together = zip(blocks(dy), blocks(tape.x_hat), blocks(dx), strict=True)
    for (k, dy_rows), (_, x_hat), (_, dx_rows) in together:
        p, dbeta[k] = _centered(dy_rows)
        x_hat = x_hat.reshape(p.shape)
        dgamma[k] = along = _dot(p, x_hat)  # as sum_m x_hat = 0, centering dy changes nothing
        p -= x_hat * _column(along / m, p)
        gain = _column(tape.gamma[k] * tape.rstd[k], dx_rows)
        np.multiply(p.reshape(dx_rows.shape), gain, out=dx_rows)
    return Grads(dx, dgamma, dbeta)


@_quiet
def double_backward(
    v: np.ndarray, u: np.ndarray, w: np.ndarray, dy: np.ndarray, tape: Tape
) -> Second:
    """Gradients of <v, dx> + <u, dgamma> + <w, dbeta>  [BN.3].

        B = mean_m(dy * x_hat)    W = mean_m(v * x_hat)    Q = mean_m(Pv * Pdy) - W * B
        g_dy    = gamma * Jv + u * x_hat + w
        g_x     = u * Jdy - gamma * rstd * (x_hat * Q * rstd + B * Jv + W * Jdy)
        g_gamma = m * Q * rstd

    with P a = a - mean_m a and J a = rstd * (P a - x_hat * mean_m(a * x_hat)), the derivative of
    x_hat along a. v: shape of x, cotangent of dx.  u, w: (c,), cotangents of dgamma and dbeta.
    Raises as `backward` does.
    Consequences: sum_m g_x = 0, because dx does not change when x is shifted; symmetric in v, dy.
    """
    gamma = tape.gamma
    check_inputs(tape.x_hat, 0.0, dy=dy, v=v, u=u, w=w, gamma=gamma)
    m = _check_rows(dy)
    p_v, p_dy = _centered(lines(v))[0], _centered(lines(dy))[0]
    x_hat, rstd = lines(tape.x_hat).reshape(p_v.shape), _column(tape.rstd, p_v)

    def mean(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return _column(_dot(a, b) / m, a)

    along_v, along_dy = mean(p_v, x_hat), mean(p_dy, x_hat)
    q = mean(p_v, p_dy) - along_v * along_dy
    j_v, j_dy = rstd * (p_v - x_hat * along_v), rstd * (p_dy - x_hat * along_dy)
    bend = x_hat * q * rstd + along_dy * j_v + along_v * j_dy
    g, u, w = gamma[:, None], u[:, None], w[:, None]
    g_dy, g_x = g * j_v + u * x_hat + w, u * j_dy - g * rstd * bend
    return Second(from_lines(g_dy, dy), from_lines(g_x, dy), (m * q * rstd)[:, 0])


def _check_rows(x: np.ndarray) -> int:
    """m, which must leave something to normalize."""
    m = row_count(x)
    if m < 2:
        raise ValueError(
            f"expected m >= 2 rows to normalize over, got {m} from x of {x.shape}: a single row is "
            "its own mean; use running statistics (running.infer) or a larger batch"
        )
    return m


def _column(v: np.ndarray, a: np.ndarray) -> np.ndarray:
    """v, one value a line, in the dtype of a and shaped to broadcast against its lines."""
    return v.astype(a.dtype).reshape(-1, *[1] * (a.ndim - 1))


def _runs(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lines (k, m) cut into short runs (k, r, run), and what is left over, (k, m - r * run).

    Sums over a run are taken in working precision and added up in float64, so that the rounding
    does not grow with m. Contiguous lines are summed by many accumulators: their runs are longer.
    """
    run = 1024 if a.flags.c_contiguous else 32
    whole = a.shape[1] // run * run
    return a[:, :whole].reshape(len(a), -1, run), a[:, whole:]


def _total(a: np.ndarray) -> np.ndarray:
    """Sum of each line, (k,) float64."""
    runs, rest = _runs(a)
    return runs.sum(axis=2).sum(axis=1, dtype=float) + rest.sum(axis=1, dtype=float)


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Sum over each line of a * b, (k,) float64; by BLAS where lines are contiguous."""
    if not (a.flags.c_contiguous and b.flags.c_contiguous):
        return _total(a * b)
    (a_runs, a_rest), (b_runs, b_rest) = _runs(a), _runs(b)
    return np.vecdot(a_runs, b_runs).sum(axis=1, dtype=float) + np.vecdot(a_rest, b_rest)


def _centered(x: np.ndarray, out: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """x (k, n, s) less the mean of each line, as (k, m); and the sum of each line, (k,) float64.

    The shift is one of the values of the line, the middle one of nine: the difference is exact
    when the mean is large, zero when the line is constant, and small beside one outlier. The mean
    of what is left has nothing large to lose digits to.
    """
    _, n, s = x.shape
    i, j = np.divmod(np.linspace(0, n * s - 1, 9).astype(int), s)
    shift = np.sort(x[:, i, j], axis=1)[:, 4]
    c = empty_lines(x) if out is None else out
    np.subtract(x, _column(shift, x), out=c.reshape(x.shape))
    rest = _total(c)
    c -= _column(rest / (n * s), c)
    return c, shift.astype(float) * (n * s) + rest


def _scaled(c: np.ndarray, eps: float) -> tuple[np.ndarray, np.ndarray]:
    """Divide c (k, m) in place by a scale (k,); return the scale and the mean square of the result.

    The scale is the power of two at max(max|c|, sqrt(eps)): dividing by it rounds nothing, and no
    square overflows or vanishes afterwards. It is 1 when the squares are far from both ends.
    """
    mean_square = _dot(c, c) / c.shape[1]
    if ((mean_square > 1e-20) & (mean_square < 1e20)).all():
        return np.ones(len(c)), mean_square
    size = np.maximum(c.max(axis=1), -c.min(axis=1)).astype(float)
    scale = np.ldexp(0.5, np.frexp(np.maximum(size, np.sqrt(eps)))[1])
    c /= _column(scale, c)
    return scale, _dot(c, c) / c.shape[1]
