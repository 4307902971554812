"""Orders of a simultaneous update, from the values of f on every subset of the layers.

f(S) is the output, or the loss, when the layers in S have moved and the others have not. Nothing
is assumed of f. Arrays and tensors alike; the first axis runs over the 2^L subsets, in the order
of `subset_masks`.
"""

import math
from typing import Any

import numpy as np

MAX_DEPTH = 16  # 65536 subsets; the next order term drowns in rounding anyway


def subset_masks(depth: int) -> np.ndarray:
    """All subsets of the layers, (2^L, L) of bool: row s moves layer i where bit i of s is set.

    Row 0 moves nothing, the last row moves everything.
    Raises ValueError for depth < 1 (no layer, no update) and beyond MAX_DEPTH, TypeError for
    anything that is not an integer.
    """
    depth = _checked(depth)
    return (np.arange(2**depth)[:, None] >> np.arange(depth) & 1).astype(bool)


def moebius(values: Any) -> Any:
    """The part of f that needs exactly the layers of T, for every subset T, (2^L, ...).

        I_T = sum_{S subset of T} (-1)^(|T| - |S|) f(S)        f(S) = sum_{T subset of S} I_T

    values: (2^L, ...), f of each row of `subset_masks`.
    Raises ValueError where the first axis is not 2^L with 1 <= L <= MAX_DEPTH, or a value is
    not finite: one diverged subset would spoil every term above it.
    Consequences: I_T = 0 for every T with a layer on which f does not depend; linear in f.
    """
    depth = _depth_of(values)
    terms = values.clone() if hasattr(values, "clone") else np.array(values, dtype=np.float64)
    for i in range(depth):
        pairs = terms.reshape(-1, 2, 2**i, *terms.shape[1:])  # axis 1: without and with layer i
        pairs[:, 1] -= pairs[:, 0]
    return terms


def order_sums(values: Any, depth: int) -> Any:
    """The part of f that needs exactly k layers, for k = 0 ... L, (L+1, ...).

        A_k = sum_{|T| = k} I_T        sum_k A_k = f(all layers moved)

    values: (2^L, ...), f of each row of `subset_masks(depth)`.
    Raises as `moebius`, and ValueError where depth is not that of values.
    Consequences: A_0 = f(nothing moved); A_k = 0 for k > 1 where f is additive over layers.
    Absolute error: see `noise_floor`.
    """
    depth = _checked(depth)
    if len(values) != 2**depth:
        raise ValueError(
            f"expected 2^{depth} = {2**depth} values, got {len(values)}; see subset_masks"
        )
    terms, sizes = moebius(values), subset_masks(depth).sum(axis=1)
    sums = terms[: depth + 1] * 0  # an array or a tensor, as values are
    for k in range(depth + 1):
        sums[k] = terms[np.flatnonzero(sizes == k)].sum(0)
    return sums


def noise_floor(depth: int, largest: float) -> np.ndarray:
    """Rounding error that the k-th order sum can carry, (L+1,), in the unit of f.

        2^-53 C(L, k) 2^k max |f|        since sum_j C(L, j) C(L-j, k-j) = C(L, k) 2^k

    largest: max |f| over the subsets.  2^-53: unit roundoff of float64.
    An order below its floor is not an effect.
    """
    orders = range(_checked(depth) + 1)
    unit = np.finfo(np.float64).eps / 2
    return np.array([unit * math.comb(depth, k) * 2.0**k * largest for k in orders])


def _checked(depth: int) -> int:
    """The number of layers, if all its subsets can be visited."""
    if isinstance(depth, bool) or not isinstance(depth, int | np.integer):
        raise TypeError(f"depth: expected an integer number of layers, got {depth!r}")
    if depth < 1:
        raise ValueError(f"depth: expected at least 1 layer to update, got {depth}")
    if depth > MAX_DEPTH:
        raise ValueError(
            f"depth: expected at most {MAX_DEPTH} layers, got {depth}: 2^{depth} subsets are too "
            "many; take the polynomial of a chain, or L + 2 evaluations for the total alone"
        )
    return int(depth)


def _depth_of(values: Any) -> int:
    count = len(values)
    if count < 2 or count & (count - 1):
        raise ValueError(f"expected the values of all 2^L subsets, L >= 1, got {count}")
    depth = _checked(count.bit_length() - 1)
    finite = (values == values) & (abs(values) != math.inf)
    bad = count - int(finite.reshape(count, -1).all(1).sum())
    if bad:
        raise ValueError(
            f"expected finite values, got {bad} of {count} subsets with others; the step diverges, "
            "take a smaller one"
        )
    return depth
