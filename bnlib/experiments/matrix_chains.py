"""Matrix chains without normalization: what one gradient step does, order by order.

Gross and net shares are in units of the first order and can exceed 1.
"""

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
import pandas as pd

from bnlib.chains import chain_coefficients, loss_coefficients


class Step(NamedTuple):
    """One gradient step of a matrix chain, measured by its exact polynomial."""

    step: float  # eta
    predicted: float  # step |g|^2 / L_0
    useful: float  # actual / predicted decrease of the loss
    moved: float  # first-order change of the output, |C_1| step / |C_0|
    gross: float  # sum_{k >= 2} |C_k| step^k / (|C_1| step)
    net: float  # the norm of the sum instead of the sum of norms
    residual: float  # polynomial against forward pass, in units of the sum of its |terms|


def matrix_chain(
    kind: str, scale: float, depth: int, rng: np.random.Generator, *, width: int, rows: int
) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Weights, inputs (rows, width) and targets of a linear teacher with entries N(0, 1/width).

    kind: "orthogonal" for scale * Q, "gaussian" for scale * N(0, 1/width) entries.
    """
    x = rng.normal(size=(rows, width))
    teacher, *drawn = rng.normal(size=(depth + 1, width, width)) / np.sqrt(width)
    if kind == "orthogonal":
        drawn = [np.linalg.qr(w)[0] for w in drawn]
    elif kind != "gaussian":
        raise ValueError(f"kind: want 'orthogonal' or 'gaussian', got {kind!r}")
    return [scale * w for w in drawn], x, x @ teacher


def matrix_gradients(
    weights: list[np.ndarray], x: np.ndarray, y: np.ndarray
) -> tuple[float, list[np.ndarray]]:
    """The loss 1/2 mean_m |x prod W - y|^2 and its gradient with respect to each factor."""
    inputs = [x]
    for w in weights:
        inputs.append(inputs[-1] @ w)
    error = inputs.pop() - y
    back, grads = error / len(x), []
    for w, h in zip(reversed(weights), reversed(inputs), strict=True):
        grads.append(h.T @ back)
        back = back @ w.T
    return 0.5 * float((error**2).sum()) / len(x), grads[::-1]


def measure_steps(
    weights: list[np.ndarray], x: np.ndarray, y: np.ndarray, *, step: float, r_loss: float
) -> tuple[Step, Step]:
    """The step of a given size, and the step whose predicted relative decrease is r_loss."""
    loss, grads = matrix_gradients(weights, x, y)
    slope = sum(float((g**2).sum()) for g in grads)
    orders = chain_coefficients(weights, grads, x)
    polynomial = loss_coefficients(orders, y)

    def at(eta: float) -> Step:
        powers = eta ** np.arange(len(polynomial))
        decrease = -float((polynomial * powers)[1:].sum())
        terms = [c * p for c, p in zip(orders, powers, strict=False)]
        first, *above = (float(np.linalg.norm(t)) for t in terms[1:])
        together = float(np.linalg.norm(sum(terms[2:])))
        truth, _ = matrix_gradients(
            [w - eta * g for w, g in zip(weights, grads, strict=True)], x, y
        )
        gap = abs(loss - decrease - truth) / float(np.abs(polynomial * powers).sum())
        moved = first / float(np.linalg.norm(terms[0]))
        predicted = eta * slope
        shape = sum(above) / first, together / first
        return Step(eta, predicted / loss, decrease / predicted, moved, *shape, gap)

    return at(step), at(r_loss * loss / slope)


def matrix_steps(
    scales: Sequence[float],
    depths: Sequence[int],
    seeds: int,
    seed: int,
    *,
    width: int,
    step: float,
    r_loss: float,
) -> pd.DataFrame:
    """`measure_steps` for both kinds of matrices, every scale, depth and seed: a row each.

    Columns: kind, scale, depth, rule ("fixed step" or "matched progress") and those of `Step`.
    A seed has the same inputs and teacher, and the same matrices up to the scale, at every scale.
    """
    rows = []
    cases = product(("orthogonal", "gaussian"), scales, depths, range(seeds))
    for kind, scale, depth, k in cases:
        rng = np.random.default_rng([seed, depth, k])
        chain = matrix_chain(kind, scale, depth, rng, width=width, rows=256)
        both = measure_steps(*chain, step=step, r_loss=r_loss)
        for rule, found in zip(("fixed step", "matched progress"), both, strict=True):
            case = {"kind": kind, "scale": scale, "depth": depth, "rule": rule}
            rows.append(case | found._asdict())
    return pd.DataFrame(rows)
