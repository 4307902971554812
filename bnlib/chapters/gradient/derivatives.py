"""The backward pass taken apart: as a matrix, and by differences."""

from collections.abc import Callable, Sequence

import numpy as np

from bnlib.reference import forward


def jacobian(x: np.ndarray, gamma: float, *, eps: float) -> np.ndarray:
    """J = dy / dx of one channel, (m, m): dx = J dy.

        J = gamma rstd (I - 1 1^T / m - x_hat x_hat^T / m)

    x: (m,).  gamma: a number.
    Consequences: symmetric; rows sum to 0; a projection (times gamma rstd) only when eps = 0.
    """
    x_hat, rstd, _ = _channel(x, eps)
    m = len(x_hat)
    return gamma * rstd * (np.eye(m) - 1 / m - np.outer(x_hat, x_hat) / m)


def spectrum(x: np.ndarray, gamma: float, *, eps: float) -> np.ndarray:
    """Eigenvalues of `jacobian`, exact, ascending, (m,).

        0 on the constants        gamma eps rstd^3 on x_hat        gamma rstd on all the rest

    Consequences: two rows have only the first two; a constant channel, whose x_hat is 0, has
    gamma / sqrt(eps) on everything but the constants.
    """
    x_hat, rstd, rho = _channel(x, eps)
    along = eps * rstd**2 if rho else 1.0  # 1 - rho without the cancellation
    rest = np.ones(len(x_hat) - 2)
    return np.sort(gamma * rstd * np.array([0.0, along, *rest]))


def directional(
    f: Callable[[np.ndarray], float],
    point: np.ndarray,
    directions: Sequence[np.ndarray],
    h: float,
) -> float:
    """Derivative of f along each direction in turn, by nested central differences.

        D[f; d](p) = (f(p + h d) - f(p - h d)) / (2 h)        D[f; d, e] = D[D[f; d]; e]

    point, directions: flat arrays.  The order is len(directions); none gives f itself.
    Uses values of f only. Truncation grows as h^2, rounding as u / h^order: the best h is near
    u^(1/3) for order 1 and u^(1/4) for order 2, with u the unit roundoff.
    """
    if not directions:
        return f(point)
    *inner, last = directions
    up = directional(f, point + h * last, inner, h)
    down = directional(f, point - h * last, inner, h)
    return (up - down) / (2 * h)


def _channel(x: np.ndarray, eps: float) -> tuple[np.ndarray, float, float]:
    """x_hat (m,), rstd and rho of one channel."""
    if x.ndim != 1:
        raise ValueError(f"expected one channel, x of shape (m,), got {x.shape}")
    one = np.ones(1, x.dtype)
    _, tape = forward(x[:, None], one, one, eps=eps)
    return tape.x_hat[:, 0], float(tape.rstd[0]), float(tape.rho[0])
