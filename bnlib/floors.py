"""What no network of an arm can beat, on the sample at hand: floors, ceilings, ranks.

Arms: "none" (gamma = 1, beta = 0), "gamma", "beta", "both".
"""

from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import entr

from bnlib.parameters import one_of


def share_explained(features: np.ndarray, y: np.ndarray) -> float:
    """R^2 of the least-squares fit of y (n,) by the columns of features (n, k) and a constant."""
    design = np.column_stack([np.ones(len(y)), features])
    fit = design @ np.linalg.lstsq(design, y, rcond=1e-12)[0]
    return float(1 - np.mean((y - fit) ** 2) / y.var())


def feature_rank(features: np.ndarray) -> int:
    """Rank of the columns of features (n, k) together with a constant.

    Singular values below 1e-10 of the largest count as zero.
    """
    design = np.column_stack([np.ones(len(features)), features])
    values = np.linalg.svd(design, compute_uv=False)
    return int((values > 1e-10 * values[0]).sum())


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


def one_hot_loss(classes: int) -> float:
    """Cross-entropy of standardized one-hot logits with equally many rows in each class."""
    logits = (np.eye(classes) - 1 / classes) / np.sqrt((classes - 1) / classes**2)
    return float(np.mean(np.log(np.exp(logits).sum(axis=1)) - np.diag(logits)))
