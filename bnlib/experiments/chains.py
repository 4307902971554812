"""Scalar chains without normalization: five ways to the orders, and their size over depth.

All chains have x = 1, target 0 and the squared loss, so that dL/dw_i = c / w_i with c = y^2.
Shares are of all orders from 1 on, so that they lie in [0, 1].
"""

import functools
import operator
from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np
import pandas as pd
import torch

from bnlib.chains import (
    chain_orders,
    direct_orders,
    interpolated_orders,
    jvp_orders,
    maclaurin_bound,
)
from bnlib.orders import noise_floor, order_sums, subset_masks

WAYS = ("product", "term by term", "subsets", "interpolation", "forward mode")


def gradients(w: np.ndarray) -> np.ndarray:
    """dL/dw_i of scalar chains with x = 1, target 0, squared loss; w: (..., l)."""
    return w.prod(axis=-1, keepdims=True) ** 2 / w


def five_ways(w: np.ndarray, grads: np.ndarray, *, step: float) -> dict[str, np.ndarray]:
    """The orders of n chains of one depth by each of `WAYS`, (n, l+1) each.

    w, grads: (n, l), x = 1.  The last three see the chain only as a function to call.
    """
    depth, moves = w.shape[1], step * grads
    masks = subset_masks(depth)[:, None, :]
    values = np.where(masks, w - moves, w).prod(axis=-1)
    factors, slopes = torch.tensor(w), torch.tensor(moves)

    def chain(s: torch.Tensor) -> torch.Tensor:
        return functools.reduce(operator.mul, (factors - s * slopes).unbind(-1))

    found = (
        chain_orders(w, grads, 1.0, step=step),
        np.stack([direct_orders(*pair, 1.0, step=step) for pair in zip(w, grads, strict=True)]),
        order_sums(values, depth).T,
        interpolated_orders(lambda s: (w - s * moves).prod(axis=-1), depth).T,
        jvp_orders(chain, depth).numpy().T,
    )
    return dict(zip(WAYS, found, strict=True))


def agreement(
    lengths: Sequence[int], draws: int, rng: np.random.Generator, *, step: float
) -> tuple[pd.DataFrame, float]:
    """Differences to "term by term", a row each length, a column each way; smallest |T_k|.

    Differences in units of the largest coefficient of the chain, worst of `draws` chains with
    weights N(1, 0.3^2). The smallest is over all orders from 1 on, chains and lengths.
    """
    rows, least = {}, np.inf
    for length in lengths:
        w = rng.normal(1.0, 0.3, (draws, length))
        found = five_ways(w, gradients(w), step=step)
        direct = found["term by term"]
        largest = np.abs(direct).max(axis=1, keepdims=True)
        rows[length] = {way: (np.abs(v - direct) / largest).max() for way, v in found.items()}
        least = min(least, float(np.abs(direct[:, 1:]).min()))
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("factors"), least


def errors_of_ways(w: np.ndarray, *, step: float) -> dict[str, np.ndarray]:
    """Relative error of four ways for one chain, order by order, and two predictions, (l+1,) each.

    w: (l,).  The truth is the same product in exact fractions. Forward mode is left out: at 16
    factors it would not end. Keys: the ways, and "subsets, bound", "interpolation, bound".
    """
    depth, moves = len(w), step * gradients(w)
    truth = [Fraction(1)]
    for a, b in zip(w, moves, strict=True):
        kept, moved = [t * Fraction(a) for t in truth], [t * Fraction(b) for t in truth]
        zero = [Fraction(0)]
        truth = [p - q for p, q in zip(kept + zero, zero + moved, strict=True)]
    values = np.where(subset_masks(depth), w - moves, w).prod(axis=1)
    found = {
        "product": chain_orders(w, moves, 1.0, step=1.0),
        "term by term": direct_orders(w, moves, 1.0, step=1.0),
        "subsets": order_sums(values, depth),
        "interpolation": interpolated_orders(lambda s: (w - s * moves).prod(), depth),
    }
    errors = {k: _relative(v, truth) for k, v in found.items()}
    size = np.array([abs(float(t)) for t in truth])
    largest = float(np.abs(values).max())
    unit = np.finfo(float).eps / 2
    errors["subsets, bound"] = noise_floor(depth, largest) / size
    edge = max(abs((w + moves).prod()), abs((w - moves).prod()), abs(w.prod()))
    errors["interpolation, bound"] = unit * (1 + np.sqrt(2)) ** depth * edge / size
    return errors


def matched_step(w: np.ndarray, r: float) -> np.ndarray:
    """The step at which the first-order relative change of the output is r, w.shape[:-1]."""
    return r / (w.prod(axis=-1) ** 2 * (1 / w**2).sum(axis=-1))


def shares(w: np.ndarray, step: np.ndarray | float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(share of the orders from 2 on, r, |T_2| / |T_1|) of n chains, (n,) each.

    w: (n, l).  step: one for all or one each.
    """
    grads = gradients(w) * np.broadcast_to(step, w.shape[:1])[:, None]
    sizes = np.abs(chain_orders(w, grads, 1.0, step=1.0))
    above = sizes[:, 2:].sum(axis=1)
    return above / (above + sizes[:, 1]), sizes[:, 1] / sizes[:, 0], sizes[:, 2] / sizes[:, 1]


def over_depths(
    w: np.ndarray, depths: Sequence[int], step: Callable[[np.ndarray], np.ndarray | float]
) -> np.ndarray:
    """`shares` of the first l factors of n chains, (n, 3, len(depths)).

    w: (n, deepest).  step: from the cut chains (n, l) to one step for all or one each.
    """
    cut = [w[:, :length] for length in depths]
    return np.array([shares(v, step(v)) for v in cut]).T


def depth_slopes(ratios: np.ndarray, depths: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """(slope, largest residual) of the line through log(e_2/e_1) - log(l - 1) over l, per row.

    ratios: (n, len(depths)), e_2/e_1 at each depth >= 2.  Equal weights w give the slope
    2 log|w| for a squared loss with target 0 and no residual.
    """
    over = np.asarray(depths, dtype=float)
    heights = np.log(ratios) - np.log(over - 1)
    slope, offset = np.polyfit(over, heights.T, 1)
    residual = heights - np.outer(slope, over) - offset[:, None]
    return slope, np.abs(residual).max(axis=1)


def against_the_bound(
    draws: int, r: float, rng: np.random.Generator, *, deepest: int = 30
) -> tuple[np.ndarray, np.ndarray]:
    """(sum_{k>=2} |T_k| / |y|, the same in units of the Maclaurin bound) of random chains.

    Depth uniform on 2 ... deepest, |w| log-normal with standard deviation 1 of the logarithm,
    random signs, the step matched to the first-order relative change r.
    """
    depth = rng.integers(2, deepest + 1, draws)
    used = np.arange(deepest) < depth[:, None]
    w = np.exp(rng.normal(size=used.shape)) * rng.choice([-1.0, 1.0], used.shape)
    w = np.where(used, w, 1.0)
    pull = np.where(used, gradients(w), 0.0)  # a factor that does not move adds nothing
    step = r / np.abs(pull / w).sum(axis=1, keepdims=True)
    sizes = np.abs(chain_orders(w, pull * step, 1.0, step=1.0))
    found = sizes[:, 2:].sum(axis=1) / sizes[:, 0]
    bounds = {length: maclaurin_bound(r, int(length)) for length in np.unique(depth)}
    return found, found / np.array([bounds[length] for length in depth])


def _relative(found: np.ndarray, truth: list[Fraction]) -> np.ndarray:
    return np.array([float(abs((Fraction(f) - t) / t)) for f, t in zip(found, truth, strict=True)])
