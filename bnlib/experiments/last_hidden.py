"""Normalization at the last hidden unit of a linear chain: what is left of the lower factors.

Scalar chains y = w_l BN(x w_1 ... w_{l-1}) and vector chains y = BN(X W_1 W_2 ...) a, with the
squared loss 1/2 mean_m (y - target)^2.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

from bnlib import reference
from bnlib.orders import moebius, subset_masks


class ScalarPull(NamedTuple):
    """How a loss pulls at the factors of a scalar chain, in relative units w_i dL/dw_i."""

    loss: float
    lower: float  # the same for every lower factor
    top: float  # w_l dL/dw_l = <dL/dx_hat, x_hat> summed over rows
    leak: float  # eps / (v + eps) with v the variance before normalization


def scalar_pull(w: np.ndarray, x: np.ndarray, y: np.ndarray, *, eps: float | None) -> ScalarPull:
    """Pulls of one chain; eps = None leaves the normalization out.

    w: (l,).  x, y: (m,).  Without normalization every factor is pulled alike, and leak is 1.
    """
    h = w[:-1].prod() * x
    if eps is None:
        error = w[-1] * h - y
        pull = float((error * w[-1] * h).mean())
        return ScalarPull(0.5 * float((error**2).mean()), pull, pull, 1.0)
    out, tape = reference.forward(h[:, None], w[-1:], np.zeros(1), eps=eps)
    error = out[:, 0] - y
    grads = reference.backward(error[:, None] / len(x), tape)
    lower = float((grads.dx[:, 0] * h).sum())
    top = float(w[-1] * grads.dgamma[0])
    leak = float(eps / (h.var() + eps))
    return ScalarPull(0.5 * float((error**2).mean()), lower, top, leak)


def subset_losses(
    w: np.ndarray, moves: np.ndarray, x: np.ndarray, y: np.ndarray, *, eps: float | None
) -> np.ndarray:
    """The loss with the factors of each subset moved, w_i + moves_i, (2^l,)."""
    moved = np.where(subset_masks(len(w)), w + moves, w)
    h = x[:, None] * moved[:, :-1].prod(axis=1)
    top = moved[:, -1]
    if eps is None:
        out = h * top
    else:
        out, _ = reference.forward(h, top, np.zeros(len(top)), eps=eps)
    return 0.5 * ((out - y[:, None]) ** 2).mean(axis=0)


def gradient_moves(w: np.ndarray, pull: ScalarPull, r_loss: float) -> np.ndarray:
    """-step * gradient, with the step of predicted relative decrease r_loss."""
    grads = np.array([*[pull.lower] * (len(w) - 1), pull.top]) / w
    return -r_loss * pull.loss / (grads**2).sum() * grads


def lower_terms(losses: np.ndarray) -> float:
    """Largest |I_T| of the subsets T with a lower factor in them."""
    masks = subset_masks(len(losses).bit_length() - 1)
    return float(np.abs(moebius(losses))[masks[:, :-1].any(axis=1)].max())


ARMS = {"no BN": None, "BN, 0": 0.0, "BN, 1e-5": 1e-5, "BN, 1e-3": 1e-3}


def scalar_arms(rng: np.random.Generator, *, r_loss: float, depth: int = 6) -> pd.DataFrame:
    """One random scalar chain in every arm and at seven scales of its first weight.

    Columns: arm, power (w_1 is multiplied by 10^power), gradient (lower / top pull), leak, v_eps
    (v / eps, 0 without BN), own and any: the largest |I_T| with a lower factor, in units of the
    loss, for the arm's own gradient step (`gradient_moves`) and for a random move of up to half
    of each weight, which keeps every sign.
    """
    w, x = 1 + 0.3 * rng.normal(size=depth), 0.5 + rng.normal(size=256)
    y, anywhere = 2 * x + rng.normal(size=256), w * rng.uniform(-0.5, 0.5, depth)
    rows = []
    for arm, power in ((arm, power) for arm in ARMS for power in range(-4, 3)):
        eps, stretch = ARMS[arm], np.append(10.0**power, np.ones(depth - 1))
        pull = scalar_pull(w * stretch, x, y, eps=eps)
        moves = gradient_moves(w * stretch, pull, r_loss), anywhere * stretch
        losses = [subset_losses(w * stretch, d, x, y, eps=eps) for d in moves]
        terms = [lower_terms(v) / pull.loss for v in losses]
        ratio = 1 / pull.leak - 1 if pull.leak else 0.0
        rows.append((arm, power, abs(pull.lower / pull.top), pull.leak, ratio, *terms))
    columns = ["arm", "power", "gradient", "leak", "v_eps", "own", "any"]
    return pd.DataFrame(rows, columns=columns)


def vector_gradients(
    x: np.ndarray, weights: list[np.ndarray], top: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
    """H = BN(X W_1 W_2 ...) at eps = 0, the gradient of each W, and that of their product P.

    x: (m, d).  weights: matrices.  top: (k,).  y: (m,).
    """
    product = np.linalg.multi_dot([*weights, np.eye(len(top))])
    h, tape = reference.forward(x @ product, np.ones(len(top)), np.zeros(len(top)), eps=0.0)
    error = h @ top - y
    dx = reference.backward(np.outer(error / len(x), top), tape).dx
    d_product = x.T @ dx
    grads, before = [], np.eye(len(product))
    for i, w in enumerate(weights):
        after = np.linalg.multi_dot([*weights[i + 1 :], np.eye(len(top)), np.eye(len(top))])
        grads.append(before.T @ d_product @ after.T)
        before = before @ w
    return h, grads, d_product


def invariances(rng: np.random.Generator, *, rows: int = 256, d: int = 8, k: int = 5) -> dict:
    """What a vector chain with normalization does not notice (to rounding), and what it does.

    Deviations relative to the size of what is compared. Keys that start with "not" are expected
    to be large.
    """
    x, y = rng.normal(size=(rows, d)), rng.normal(size=rows)
    weights, top = [rng.normal(size=(d, d)), rng.normal(size=(d, k))], rng.normal(size=k)
    first, last = weights
    positive, inner = np.exp(rng.normal(size=k)), np.exp(rng.normal(size=d))
    h, grads, slope = vector_gradients(x, weights, top, y)
    _, _, slope_scaled = vector_gradients(x, [3.0 * first, last], top, y)
    moved = {
        "an offset of the inputs": (x + 5.0 * rng.normal(size=d), weights),
        "a scale per unit, last factor": (x, [first, last * positive]),
        "a scale of the whole product": (x, [7.0 * first, last]),
        "not a scale per unit, inner factor": (x, [first * inner, last]),
    }
    found = {
        name: np.abs(vector_gradients(x_new, w_new, top, y)[0] - h).max()
        for name, (x_new, w_new) in moved.items()
    }
    size = [np.linalg.norm(g) * np.linalg.norm(w) for g, w in zip(grads, weights, strict=True)]
    product = first @ last
    along = np.abs((product * slope).sum(axis=0)).max()
    found["Euler: each column of the product"] = along / np.abs(product * slope).sum()
    for i, (g, w) in enumerate(zip(grads, weights, strict=True), start=1):
        found[f"Euler: factor {i} as a whole"] = abs((g * w).sum()) / size[i - 1]
    found["not Euler: columns of factor 1"] = np.abs((grads[0] * first).sum(0)).max() / size[0]
    gap = np.linalg.norm(3.0 * slope_scaled - slope)
    found["gradient at 3 P is a third"] = gap / np.linalg.norm(slope)
    found["not a gradient of zero"] = np.linalg.norm(slope) * np.linalg.norm(product)
    return {name: float(value) for name, value in found.items()}


def bottleneck(
    rng: np.random.Generator, *, k: int, d: int, rows: int, steps: int, rate: float
) -> tuple[float, float]:
    """Normalized mean squared error with frozen and with trained lower factors.

    y = x t, centered; x W_1 W_2 of k units, BN with eps = 0, the top solved by least squares. The
    trained arm moves W_1 and W_2 by gradient, with the top solved again at every step and held
    constant in the gradient.
    """
    x, t = rng.normal(size=(rows, d)), rng.normal(size=d)
    y = x @ t
    y -= y.mean()
    weights = [rng.normal(size=(d, d)) / np.sqrt(d), rng.normal(size=(d, k)) / np.sqrt(d)]
    errors = []
    for _ in range(steps + 1):
        h, _ = reference.forward(x @ weights[0] @ weights[1], np.ones(k), np.zeros(k), eps=0.0)
        top = np.linalg.lstsq(h, y, rcond=None)[0]
        errors.append(float(((h @ top - y) ** 2).sum() / (y**2).sum()))
        _, grads, _ = vector_gradients(x, weights, top, y)
        weights = [w - rate * g for w, g in zip(weights, grads, strict=True)]
    return errors[0], errors[-1]
