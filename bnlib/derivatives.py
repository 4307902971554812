"""The backward pass taken apart: node by node, as a matrix, and by differences."""

from collections.abc import Callable, Sequence

import numpy as np

from bnlib.reference import forward
from bnlib.rows import Grads, check_inputs


def backward_graph(
    dy: np.ndarray, x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, *, eps: float
) -> tuple[Grads, dict[str, np.ndarray]]:
    """Gradients by the chain rule through nine nodes, and the adjoint of each node.

        mu = mean_m x   c = x - mu   q = c^2   v = mean_m q   tau = sqrt(v + eps)   i = 1 / tau
        x_hat = c i     z = gamma x_hat        y = z + beta

    x, dy: rows (m, c).  The adjoints, by node name: (m, c) for c, q, x_hat, z, y and (c,) for
    mu, v, tau, i.  The plain formula: no recentring, no scaling.
    Consequence: equal to `reference.backward`, which is what the nine steps collapse to.
    """
    check_inputs(x, eps, dy=dy, gamma=gamma, beta=beta)
    m = len(x)
    c = x - x.mean(axis=0)
    tau = np.sqrt((c**2).mean(axis=0) + eps)
    i = 1 / tau
    x_hat = c * i

    d = {"y": dy, "z": dy}
    d["x_hat"] = gamma * d["z"]
    d["i"] = (d["x_hat"] * c).sum(axis=0)
    d["tau"] = -d["i"] / tau**2
    d["v"] = d["tau"] / (2 * tau)  # eps appears in tau and nowhere else
    d["q"] = np.broadcast_to(d["v"] / m, x.shape)
    d["c"] = d["x_hat"] * i + 2 * c * d["q"]  # two routes: x_hat = c i, and q = c^2
    d["mu"] = -d["c"].sum(axis=0)
    dx = d["c"] + d["mu"] / m  # two routes again: x itself, and mu
    return Grads(dx, (d["z"] * x_hat).sum(axis=0), dy.sum(axis=0)), d


def backward_unbiased(dy: np.ndarray, x: np.ndarray, gamma: np.ndarray, *, eps: float) -> Grads:
    """Gradients when x is normalized with the *unbiased* variance v_u = m / (m - 1) var.

        dx = gamma / tau_u (dy - mean_m dy - m / (m - 1) x_hat mean_m(dy x_hat))

    with tau_u = sqrt(v_u + eps) and x_hat = (x - mu) / tau_u.  x, dy: rows (m, c).
    Consequence: eigenvalue gamma eps / tau_u^3 along x_hat, as in the biased case with v_u for
    var. The gradient of another function, not a correction of [BN.2].
    """
    check_inputs(x, eps, dy=dy, gamma=gamma)
    m = len(x)
    c = x - x.mean(axis=0)
    rstd = 1 / np.sqrt((c**2).sum(axis=0) / (m - 1) + eps)
    x_hat = c * rstd
    along = (dy * x_hat).mean(axis=0)
    dx = gamma * rstd * (dy - dy.mean(axis=0) - m / (m - 1) * x_hat * along)
    return Grads(dx, m * along, dy.sum(axis=0))


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
