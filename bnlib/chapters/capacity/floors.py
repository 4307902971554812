"""Errors below which no layer without gamma or beta gets."""

from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import entr

from bnlib.parameters import one_of
from bnlib.statistics import share_explained


def kink_floor(x: np.ndarray, y: np.ndarray, activation: str) -> float:
    """Least mean squared error on (x, y), both (n,), of one hidden layer without beta.

    "relu": span {1, relu(x_hat), relu(-x_hat)}, with or without gamma; "tanh": {1, tanh(x_hat)},
    without gamma. Raises ValueError for another activation, whose span is not derived here.
    """
    x_hat = (x - x.mean()) / x.std()
    if one_of("activation", activation, ("relu", "tanh")) == "relu":
        span = np.column_stack([np.maximum(x_hat, 0), np.maximum(-x_hat, 0)])
    else:
        span = np.tanh(x_hat)[:, None]
    return float((1 - share_explained(span, y)) * y.var())


def logit_floor(shares: np.ndarray) -> float:
    """Floor of the cross-entropy where every logit has variance at most 1, whatever the means.

        max_s  sum_y p_y H(q_y) - s sum_j sqrt(p_j (1 - p_j)),    q_y = (1 - s) e_y + s p

    shares: (k,), p, the class shares.  H: entropy.
    Consequence: for k equal shares log(1 + (k - 1) exp(-k / sqrt(k - 1))), which standardized
    one-hot logits attain: 0.278 at k = 10.
    """
    p = np.asarray(shares, dtype=float)
    spread = np.sqrt(p * (1 - p)).sum()

    def minus(s: float) -> float:
        q = (1 - s) * np.eye(len(p)) + s * p
        return s * spread - p @ entr(q).sum(axis=1)

    best: Any = minimize_scalar(minus, bounds=(0, 1), method="bounded", options={"xatol": 1e-12})
    return float(-best.fun)
