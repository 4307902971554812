"""What neighboring layers can absorb: the weights that make gamma and beta superfluous.

A layer before batch normalization has weight (c, d) and one after it weight (n, c), bias (n,).
Into the layer before, in evaluation mode: `gauge.fold_bn`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


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
