"""How nonlinear an activation is on normalized inputs, under a scale and a shift."""

from collections.abc import Callable

import numpy as np

FUNCTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "linear": lambda u: u,
    "relu": lambda u: np.maximum(u, 0),
    "leaky relu": lambda u: np.maximum(u, 0.1 * u),
    "tanh": np.tanh,
    "sigmoid": lambda u: 1 / (1 + np.exp(-u)),
}
"""On NumPy arrays; those of networks are `networks.spec.ACTIVATIONS`."""


def nonlinear_share(
    activation: Callable[[np.ndarray], np.ndarray],
    gamma: float = 1.0,
    beta: float = 0.0,
    *,
    nodes: int = 36001,
) -> float:
    """Share of the variance of activation(gamma z + beta), z ~ N(0, 1), that no line explains.

        1 - (E z f)^2 / Var f,    f = activation(gamma z + beta)

    the 1 - R^2 of the best affine fit; by the trapezoid rule on -12 .. 12, beyond which the normal
    weight is below 1e-31, dense enough for kinks.
    Raises ValueError where f is constant (gamma = 0, or a unit that never fires): 0 / 0.
    Consequence: the same for k f + l; tanh at (gamma, beta) is sigmoid at (2 gamma, 2 beta).
    """
    z = np.linspace(-12.0, 12.0, nodes)
    weight = np.exp(-z * z / 2)
    weight /= weight.sum()
    f = np.asarray(activation(gamma * z + beta), dtype=np.float64)
    f = f - weight @ f
    variance = weight @ (f * f)
    if not variance > 0:
        raise ValueError(f"expected an activation that varies, got a constant: {gamma=}, {beta=}")
    return float(1 - (weight @ (z * f)) ** 2 / variance)
