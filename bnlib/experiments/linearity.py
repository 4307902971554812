"""How linear activations are on normalized inputs: by quadrature, by drawing, and over depth."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.special import expit, ndtr

from bnlib import reference, statistics
from bnlib.activations import nonlinear_share, relu_share

PHIS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "sigmoid": expit,
    "tanh": np.tanh,
    "SiLU": lambda u: u * expit(u),
    "ReLU": lambda u: np.maximum(u, 0),
    "GELU": lambda u: u * ndtr(u),
}
# At gamma = 1 and beta = 0; Var GELU = 1/3 + 1/(2 sqrt 3 pi) - 1/(4 pi).
CLOSED_FORMS = {
    "ReLU": relu_share(0.0),
    "GELU": float(1 - 0.25 / (1 / 3 + 1 / (2 * np.sqrt(3) * np.pi) - 1 / (4 * np.pi))),
}
PARTS = 20  # the draws are cut into so many, for an interval


def nonlinear_shares(draws: int, rng: np.random.Generator) -> dict[str, dict[str, float]]:
    """The nonlinear share of each activation at gamma = 1, beta = 0, three ways.

    Returns name -> quadrature, formula (NaN where there is none), and low, high of simultaneous
    95 % Monte Carlo intervals.
    """
    z = rng.standard_normal((PARTS, draws // PARTS))
    found = {}
    for name, phi in PHIS.items():
        drawn = [1 - np.corrcoef(part, phi(part))[0, 1] ** 2 for part in z]
        _, low, high = statistics.mean_interval(drawn, 1 - 0.05 / len(PHIS))
        own = {"quadrature": nonlinear_share(phi), "formula": CLOSED_FORMS.get(name, np.nan)}
        found[name] = own | {"low": low, "high": high}
    return found


def linear_share_by_depth(
    activation: str, gamma: float, seeds: Sequence[int], *, depth: int, width: int = 256
) -> np.ndarray:
    """R^2 of the best affine fit from 8 normal inputs to the outputs of each layer, (S, depth).

    Random layers, 2000 rows; the variance explained is summed over units.
    """
    found = []
    for seed in seeds:
        rng = np.random.default_rng([seed, 12])
        start = a = rng.standard_normal((2000, 8))
        row = []
        for _ in range(depth):
            weight = rng.standard_normal((a.shape[1], width)) / np.sqrt(a.shape[1])
            ones = np.ones(width)
            x_hat, _ = reference.forward(a @ weight, gamma * ones, 0 * ones, eps=1e-5)
            a = PHIS[activation](x_hat)
            centered, inputs = a - a.mean(0), start - start.mean(0)
            fit = inputs @ np.linalg.lstsq(inputs, centered, rcond=None)[0]
            row.append((fit**2).sum() / (centered**2).sum())
        found.append(row)
    return np.array(found)
