"""What neighboring layers can absorb: the weights that make gamma and beta superfluous.

A layer before batch normalization has weight (c, d) and one after it weight (n, c), bias (n,).
Into the layer before, in evaluation mode: `gauge.fold_bn`.
"""

from typing import NamedTuple

import numpy as np

from bnlib import reference
from bnlib.activations import FUNCTIONS

ROWS, UNITS = 2000, 16  # of the random networks


class Linear(NamedTuple):
    """An affine map of rows: x weight^T + bias."""

    weight: np.ndarray  # (n, c)
    bias: np.ndarray  # (n,)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return x @ self.weight.T + self.bias


class Absorbed(NamedTuple):
    """Through a ReLU: what is left of gamma and beta, and the next layer.

    sign: (c,), 1 or -1; multiply the rows of the layer before by it, and x_hat by it.
    beta: (c,); gamma is 1 now.
    """

    sign: np.ndarray
    beta: np.ndarray
    after: Linear


def into_next(gamma: np.ndarray, beta: np.ndarray, after: Linear) -> Linear:
    """The linear layer that takes x_hat itself where `after` took y = gamma * x_hat + beta.

        V (gamma * x_hat + beta) + c = (V diag gamma) x_hat + (c + V beta)

    Exact for every gamma and beta: directly before a linear layer both are redundant as function.
    """
    return Linear(after.weight * gamma, after.bias + after.weight @ beta)


def through_relu(gamma: np.ndarray, beta: np.ndarray, after: Linear) -> Absorbed:
    """gamma out of relu(gamma * x_hat + beta), into the next layer; a shift has to stay.

        gamma > 0    relu(gamma x_hat + beta) =  gamma  relu( x_hat + beta /  gamma)
        gamma < 0    relu(gamma x_hat + beta) = |gamma| relu(-x_hat + beta / |gamma|)
        gamma = 0    relu(beta), a constant: V relu(beta) joins the next bias

    -x_hat is the normalized value of the negated row before, so for gamma < 0 that row must flip:
    nothing after the ReLU can do it, because the ReLU has already thrown the other half away.
    """
    size = np.abs(gamma)
    dead = size == 0
    constant = np.where(dead, np.maximum(beta, 0), 0.0)
    shift = np.divide(beta, size, out=np.zeros_like(size), where=~dead)
    linear = Linear(after.weight * size, after.bias + after.weight @ constant)
    return Absorbed(np.where(gamma < 0, -1.0, 1.0), shift, linear)


def absorbed_errors(rng: np.random.Generator) -> dict[str, float]:
    """Relative error of random networks x W^T - BN - activation - linear once gamma is absorbed.

    Returns name -> (largest error / largest output) with the weights given here.
    """
    x, weight, after, gamma, beta = _network(rng)
    cases = {
        "linear, any gamma": ("linear", gamma),
        "relu, gamma > 0": ("relu", np.abs(gamma)),
        "leaky relu, gamma > 0": ("leaky relu", np.abs(gamma)),
        "relu, any gamma, rows flipped": ("relu", gamma),
        "leaky relu, any gamma, rows flipped": ("leaky relu", gamma),
        "relu, gamma = 0": ("relu", np.where(np.arange(UNITS) % 2, gamma, 0.0)),
    }
    errors = {}
    for name, (activation, scale) in cases.items():
        phi = FUNCTIONS[activation]
        want = after(phi(_normalized(x, weight, scale, beta)))
        if activation == "linear":
            got = into_next(scale, beta, after)(_normalized(x, weight, np.ones(UNITS), 0 * beta))
        else:
            left = through_relu(scale, beta, after)
            flipped = weight * left.sign[:, None]
            got = left.after(phi(_normalized(x, flipped, np.ones(UNITS), left.beta)))
        errors[name] = float(np.abs(got - want).max() / np.abs(want).max())
    return errors


def remaining_errors(rng: np.random.Generator) -> dict[str, float]:
    """Relative error that the best next layer leaves where gamma is 1 and nothing is flipped.

    Least squares finds that layer, a constant included, so no other does better.
    Returns name -> root mean square of the rest / of the output.
    """
    x, weight, after, gamma, beta = _network(rng)
    cases = {
        "relu, any gamma, nothing flipped": ("relu", gamma),
        "tanh": ("tanh", np.abs(gamma)),
        "sigmoid": ("sigmoid", np.abs(gamma)),
    }
    errors = {}
    for name, (activation, scale) in cases.items():
        phi = FUNCTIONS[activation]
        want = after(phi(_normalized(x, weight, scale, beta)))
        kept = phi(_normalized(x, weight, np.ones(UNITS), beta / scale))
        design = np.column_stack([np.ones(ROWS), kept])
        rest = want - design @ np.linalg.lstsq(design, want, rcond=None)[0]
        errors[name] = float(np.sqrt(np.mean(rest**2) / np.mean((want - want.mean(0)) ** 2)))
    return errors


def _network(
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, Linear, np.ndarray, np.ndarray]:
    """x, W, the layer after, gamma of both signs away from 0, beta."""
    x, weight = rng.normal(size=(ROWS, UNITS)), rng.normal(size=(UNITS, UNITS))
    after = Linear(rng.normal(size=(5, UNITS)), rng.normal(size=5))
    gamma = rng.uniform(0.5, 2.0, UNITS) * rng.permutation(np.resize([-1.0, 1.0], UNITS))
    return x, weight, after, gamma, rng.normal(size=UNITS)


def _normalized(
    x: np.ndarray, weight: np.ndarray, gamma: np.ndarray, beta: np.ndarray
) -> np.ndarray:
    return reference.forward(x @ weight.T, gamma, beta, eps=1e-5)[0]
