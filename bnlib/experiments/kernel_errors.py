"""Errors of float32 forward passes, the framework's own among them, and inputs that break them."""

import numpy as np
import torch
from torch.nn import functional as F

from bnlib import kernels

METHODS = (*kernels.METHODS, "torch, rows", "torch, images")
CHANNELS = 16
GAMMA, BETA = np.full(CHANNELS, 1.7, np.float32), np.full(CHANNELS, 0.3, np.float32)


def forward_errors(x: np.ndarray, *, eps: float, digits: int) -> dict[str, float]:
    """Largest error of y a method, relative to the largest exact |y|, for float32 rows (m, 16).

    inf: y holds values that are not finite.  nan: the method refuses this eps.
    """
    truth = kernels.exact(x, GAMMA, BETA, eps=eps, digits=digits)
    errors = {}
    for method in METHODS:
        y = _by(method, x, eps)
        if y is None:
            errors[method] = np.nan
        else:
            errors[method] = kernels.relative_error(y, truth) if np.isfinite(y).all() else np.inf
    return errors


def hard_cases(noise: np.ndarray) -> dict[str, tuple[np.ndarray, float]]:
    """Name -> (float32 rows, eps), out of standard normal `noise` (m, 16).

    The exact output of the constant channel is beta, so that its error is relative to beta.
    """
    outlier = noise.copy()
    outlier[0] = 1e6
    one = np.ones((1, CHANNELS), np.float32)
    cases = {
        "constant channel, 12345.678": (np.full(noise.shape, 12345.678), 1e-5),
        "two rows, one ulp apart": (np.concatenate([one, np.nextafter(one, 2 * one)]), 1e-5),
        "one outlier of 1e6": (outlier, 1e-5),
        "values near 1e25": (1e25 * noise, 1e-5),
        "values near 1e-25, ε = 0": (1e-25 * noise, 0.0),
    }
    return {name: (x.astype(np.float32), eps) for name, (x, eps) in cases.items()}


def _by(method: str, x: np.ndarray, eps: float) -> np.ndarray | None:
    """y by one method; torch takes another kernel for images (n, c, positions) than for rows."""
    if not method.startswith("torch"):
        return kernels.forward_by(method, x, GAMMA, BETA, eps=eps)
    if eps == 0:  # torch refuses it in training mode
        return None
    images = method == "torch, images"
    rows, gamma, beta = (torch.from_numpy(np.ascontiguousarray(a)) for a in (x, GAMMA, BETA))
    layout = rows.T[None].contiguous() if images else rows
    y = F.batch_norm(layout, None, None, gamma, beta, training=True, eps=eps)
    return (y[0].T if images else y).numpy()
