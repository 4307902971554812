"""The backward pass in many digits."""

import mpmath
import numpy as np

from bnlib import kernels


def backward(dy, x, gamma, *, eps, digits=60):
    """dx of [BN.2] in `digits`-digit arithmetic: an object array of mpmath numbers."""
    with mpmath.workdps(digits):
        x_hat = kernels.exact(x, np.ones_like(gamma), np.zeros_like(gamma), eps=eps, digits=digits)
        rows, dy, gamma = (np.frompyfunc(mpmath.mpf, 1, 1)(a) for a in (x, dy, gamma))
        c = rows - rows.sum(axis=0) / len(x)
        var = (c * c).sum(axis=0) / len(x)
        tau = np.array([mpmath.sqrt(v + mpmath.mpf(eps)) for v in var], dtype=object)
        along = (dy * x_hat).sum(axis=0) / len(x)
        return gamma / tau * (dy - dy.sum(axis=0) / len(x) - x_hat * along)
