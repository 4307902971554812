"""What the next layer can take over from gamma and beta, and what no next layer can."""

from __future__ import annotations

import numpy as np

from bnlib import reference
from bnlib.absorption import Linear, into_next, through_relu
from bnlib.activations import FUNCTIONS


def absorbed_errors(rng: np.random.Generator, *, rows: int = 2000, units: int = 16) -> dict:
    """Relative error of random networks x W^T - BN - activation - linear once gamma is absorbed.

    Returns name -> (largest error / largest output) with the weights that `absorption` gives.
    """
    x, weight, after, gamma, beta = _network(rng, rows, units)
    cases = {
        "linear, any gamma": ("linear", gamma),
        "relu, gamma > 0": ("relu", np.abs(gamma)),
        "leaky relu, gamma > 0": ("leaky relu", np.abs(gamma)),
        "relu, any gamma, rows flipped": ("relu", gamma),
        "leaky relu, any gamma, rows flipped": ("leaky relu", gamma),
        "relu, gamma = 0": ("relu", np.where(np.arange(units) % 2, gamma, 0.0)),
    }
    found = {}
    for name, (activation, scale) in cases.items():
        phi = FUNCTIONS[activation]
        want = after(phi(_normalized(x, weight, scale, beta)))
        if activation == "linear":
            got = into_next(scale, beta, after)(_normalized(x, weight, np.ones(units), 0 * beta))
        else:
            left = through_relu(scale, beta, after)
            flipped = weight * left.sign[:, None]
            got = left.after(phi(_normalized(x, flipped, np.ones(units), left.beta)))
        found[name] = float(np.abs(got - want).max() / np.abs(want).max())
    return found


def remaining_errors(rng: np.random.Generator, *, rows: int = 2000, units: int = 16) -> dict:
    """Relative error that the best next layer leaves where gamma is 1 and nothing is flipped.

    Least squares finds that layer, a constant included, so no other does better.
    Returns name -> root mean square of the rest / of the output.
    """
    x, weight, after, gamma, beta = _network(rng, rows, units)
    cases = {
        "relu, any gamma, nothing flipped": ("relu", gamma),
        "tanh": ("tanh", np.abs(gamma)),
        "sigmoid": ("sigmoid", np.abs(gamma)),
    }
    found = {}
    for name, (activation, scale) in cases.items():
        phi = FUNCTIONS[activation]
        want = after(phi(_normalized(x, weight, scale, beta)))
        kept = phi(_normalized(x, weight, np.ones(units), beta / scale))
        design = np.column_stack([np.ones(rows), kept])
        rest = want - design @ np.linalg.lstsq(design, want, rcond=None)[0]
        found[name] = float(np.sqrt(np.mean(rest**2) / np.mean((want - want.mean(0)) ** 2)))
    return found


def _network(
    rng: np.random.Generator, rows: int, units: int
) -> tuple[np.ndarray, np.ndarray, Linear, np.ndarray, np.ndarray]:
    """x, W, the layer after, gamma of both signs away from 0, beta."""
    x, weight = rng.normal(size=(rows, units)), rng.normal(size=(units, units))
    after = Linear(rng.normal(size=(5, units)), rng.normal(size=5))
    gamma = rng.uniform(0.5, 2.0, units) * rng.permutation(np.resize([-1.0, 1.0], units))
    return x, weight, after, gamma, rng.normal(size=units)


def _normalized(
    x: np.ndarray, weight: np.ndarray, gamma: np.ndarray, beta: np.ndarray
) -> np.ndarray:
    return reference.forward(x @ weight.T, gamma, beta, eps=1e-5)[0]
