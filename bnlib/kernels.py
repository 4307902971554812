"""One forward pass, five orders of operations: how rounding tells them apart.

All are the same formula on paper [BN.1]; `exact` evaluates it with as many digits as wanted.
"""

import mpmath
import numpy as np

from bnlib.parameters import one_of
from bnlib.reference import forward

METHODS = ("one-pass", "two-pass", "folded", "recentred", "float64 statistics")


@np.errstate(all="ignore")
def forward_by(
    method: str, x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, *, eps: float
) -> np.ndarray:
    """y of rows x (m, c), in the dtype of x, by one of METHODS.

        one-pass             var = mean_m x^2 - mu^2             loses (mu / sigma)^2 ulps of var
        two-pass             var = mean_m (x - mu)^2             error ~ u |mu| / sigma, from mu
        folded               y = a x + (beta - a mu)             error ~ u |mu| / sigma, from both
                             mu and var in float64               products, which cancel
        recentred            c = x - mean_m x, c -= mean_m c     error ~ u at any mean
        float64 statistics   mu, var and x - mu in float64       error ~ u, for float32 x only

    with a = gamma rstd, u the unit roundoff, errors relative to gamma.
    Raises ValueError for an unknown method. A negative one-pass variance gives NaN, silently.
    """
    one_of("method", method, METHODS)
    if method == "recentred":
        return forward(x, gamma, beta, eps=eps)[0]
    wide = x.astype(np.float64) if method in ("folded", "float64 statistics") else x
    mu = wide.mean(axis=0)
    if method == "one-pass":
        var = np.square(x).mean(axis=0) - mu * mu
    else:
        var = np.square(wide - mu).mean(axis=0)
    a = (gamma / np.sqrt(var + var.dtype.type(eps))).astype(x.dtype)
    if method == "folded":
        return a * x + (beta - a * mu.astype(x.dtype))
    return a * (wide - mu).astype(x.dtype) + beta


def exact(
    x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, *, eps: float, digits: int = 60
) -> np.ndarray:
    """y of rows x (m, c) in `digits`-digit arithmetic: an object array of mpmath numbers."""
    with mpmath.workdps(digits):
        c = _mp(x)
        c = c - c.sum(axis=0) / len(x)
        var = (c * c).sum(axis=0) / len(x)
        rstd = np.array([1 / mpmath.sqrt(v + mpmath.mpf(eps)) for v in var], dtype=object)
        return _mp(gamma) * (c * rstd) + _mp(beta)


def relative_error(got: np.ndarray, exact: np.ndarray) -> float:
    """max |got - exact| / max |exact|, the subtraction in the arithmetic of `exact`."""
    with mpmath.workdps(60):
        return float(abs(_mp(got) - exact).max() / abs(exact).max())


def _mp(a: np.ndarray) -> np.ndarray:
    """Object array of mpmath numbers, each exactly the float it came from."""
    return np.array([mpmath.mpf(float(v)) for v in a.flat], dtype=object).reshape(a.shape)
