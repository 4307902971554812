"""How the four numbers of a channel go together, one layer at a time."""

from typing import NamedTuple

import numpy as np
from scipy import stats


class Slopes(NamedTuple):
    """Slopes of log b on log a: least squares, and major axis; how many channels were left out."""

    ols: float
    major: float
    masked: int


def correlation(a: np.ndarray, b: np.ndarray, *, rank: bool = False) -> float:
    """Pearson's correlation, or Spearman's; NaN where one of them does not vary."""
    if rank:
        a, b = stats.rankdata(a), stats.rankdata(b)
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return np.nan
    return float(np.corrcoef(a, b)[0, 1])


def permutation_p(
    a: np.ndarray, b: np.ndarray, *, shuffles: int = 300, rng: np.random.Generator
) -> float:
    """Two-sided p of Pearson's correlation when b is permuted within the layer.

        (1 + number of shuffles with |correlation| at least as large) / (1 + shuffles)

    Treats the channels of a layer as exchangeable, which they are only roughly.
    """
    z, other = (a - a.mean()) / a.std(), (b - b.mean()) / b.std()
    permuted = rng.permuted(np.tile(other, (shuffles, 1)), axis=1)
    beyond = np.abs(permuted @ z) >= abs(z @ other) * (1 - 1e-12)
    return float((1 + beyond.sum()) / (1 + shuffles))


def partial_correlation(a: np.ndarray, b: np.ndarray, given: np.ndarray) -> float:
    """Correlation of a and b after the straight line in `given` is taken from both."""
    ab, ag, bg = correlation(a, b), correlation(a, given), correlation(b, given)
    return (ab - ag * bg) / np.sqrt((1 - ag**2) * (1 - bg**2))


def log_slopes(a: np.ndarray, b: np.ndarray) -> Slopes:
    """Slopes of log b on log |a|; channels with |a| < 0.01 or b <= 0 are left out and counted.

        ols = S_ab / S_aa,    major = (S_bb - S_aa + sqrt((S_bb - S_aa)^2 + 4 S_ab^2)) / (2 S_ab)

    Consequence: noise in b alone leaves ols in place; with noise in both the major axis is less
    biased, and it is steep or undefined where the correlation is weak.
    """
    keep = (np.abs(a) >= 1e-2) & (b > 0)
    ols = major = np.nan
    if keep.sum() >= 3:
        (aa, ab), (_, bb) = np.cov(np.log(np.abs(a[keep])), np.log(b[keep]))
        if aa != 0 and ab != 0:
            ols = float(ab / aa)
            major = float((bb - aa + np.sqrt((bb - aa) ** 2 + 4 * ab**2)) / (2 * ab))
    return Slopes(ols, major, int((~keep).sum()))
