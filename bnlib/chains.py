"""Chains of factors, all updated at once: every order of the change, exactly and five ways.

A chain is y = x w_1 ... w_l. Moving every factor by -step * gradient makes the output a polynomial
of degree l in the step; its coefficients are the orders. The fifth way, inclusion and
exclusion over subsets, is `orders.order_sums`.
"""

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy.special import gammainc

from bnlib.orders import subset_masks

MAX_ORDER = 12  # nested forward mode costs about 2^k evaluations of f


def elementary_symmetric(u: np.ndarray) -> np.ndarray:
    """e_0 ... e_l: the sums of all products of k of the u_i, (..., l+1).

        prod_i (1 + u_i t) = sum_k e_k(u) t^k

    u: (..., l), any unit; e_k has its k-th power.  Raises ValueError for l = 0 or u not finite.
    Consequences: e_1 = sum u, (e_1)^2 = sum u^2 + 2 e_2; full relative precision where all u_i
    share a sign; a zero among the u_i changes nothing.
    """
    u = np.asarray(u, dtype=np.float64)
    return _product(np.ones_like(u), u)


def chain_orders(w: np.ndarray, grads: np.ndarray, x: float, *, step: float) -> np.ndarray:
    """T_0 ... T_l, the signed orders of a scalar chain after one step, (..., l+1).

        x prod_i (w_i - s step g_i) = sum_k T_k s^k        T_k = (-1)^k y e_k(step g_i / w_i)

    w, grads: (..., l), the factors and dL/dw_i.  x: number or (...).  T_k: [y].
    Raises ValueError for no factor, shapes that differ and numbers that are not finite.
    Consequences: T_0 = y and the T_k add up to the output after the step, but the sum of
    alternating orders loses digits; see `maclaurin_bound` for how large orders can be.
    Source: goodfellow2016.
    """
    w, moves = _moves(w, grads, step)
    return np.asarray(x)[..., None] * _product(w, -moves)


def direct_orders(w: np.ndarray, grads: np.ndarray, x: float, *, step: float) -> np.ndarray:
    """The orders of one scalar chain term by term: 2^l products, (l+1,).

        T_k = x sum_{|S| = k} prod_{i in S} (-step g_i) prod_{i not in S} w_i

    w, grads: (l,).  Raises as `chain_orders`, and beyond orders.MAX_DEPTH factors.
    Consequence: along a gradient all products of one order share a sign: nothing cancels.
    """
    w, moves = _moves(w, grads, step)
    masks = subset_masks(len(w))
    products = x * np.where(masks, -moves, w).prod(axis=1)
    return np.bincount(masks.sum(axis=1), weights=products)


def maclaurin_bound(r: float, depth: int | None = None) -> float:
    """Most that the orders from 2 on can add up to, in units of the output.

        sum_{k >= 2} |T_k| / |y| <= (1 + r/l)^l - 1 - r <= e^r - 1 - r

    r: the first-order relative change |T_1| / |y|.  depth: l, or None for every depth at once.
    Raises ValueError for r < 0, or not finite, or depth < 1.
    Consequences: equal |w_i| attain it at their depth; it grows with depth; about r^2 / 2 for
    small r.  Summed from positive terms, so that nothing cancels.
    """
    if not 0 <= r < math.inf:
        raise ValueError(f"r: expected a finite relative change >= 0, got {r}")
    if depth is None:
        return float(np.exp(r) * gammainc(2, r))
    if depth < 1:
        raise ValueError(f"depth: expected at least 1 factor, got {depth}")
    return float(elementary_symmetric(np.full(depth, r / depth))[2:].sum())


def interpolated_orders(f: Callable[[float], Any], degree: int) -> np.ndarray:
    """Coefficients of a polynomial s -> f(s) from degree + 1 values, (degree+1, ...).

    f: number to number or array, evaluated at the Chebyshev nodes of [-1, 1].
    Raises ValueError for degree < 0.
    Absolute error about 2^-53 (1 + sqrt 2)^degree max |f|: what is smaller is noise. Exact, apart
    from rounding, for polynomials of this degree or less.
    """
    if degree < 0:
        raise ValueError(f"degree: expected at least 0, got {degree}")
    nodes = np.cos(np.pi * (np.arange(degree + 1) + 0.5) / (degree + 1))
    values = np.stack([np.asarray(f(s), dtype=np.float64) for s in nodes])
    powers = np.vander(nodes, increasing=True)
    return np.linalg.solve(powers, values.reshape(degree + 1, -1)).reshape(values.shape)


def jvp_orders(f: Callable[[torch.Tensor], torch.Tensor], order: int) -> torch.Tensor:
    """Taylor coefficients f^(k)(0) / k!, k = 0 ... order, by nested forward mode, (order+1, ...).

    f: a scalar float64 tensor to a tensor, out of differentiable operations.
    Raises ValueError for order < 0 and beyond MAX_ORDER: the cost doubles with every order.
    """
    if not 0 <= order <= MAX_ORDER:
        raise ValueError(f"order: expected 0 to {MAX_ORDER}, got {order}: the cost is 2^order")

    def differentiate(inner: Callable[[torch.Tensor], Any]) -> Callable[[torch.Tensor], Any]:
        def both(s: torch.Tensor) -> tuple[torch.Tensor, ...]:
            values, slopes, *_ = torch.func.jvp(inner, (s,), (torch.ones_like(s),))
            return *values, slopes[-1]

        return both

    nested: Callable[[torch.Tensor], Any] = lambda s: (f(s),)  # noqa: E731
    for _ in range(order):
        nested = differentiate(nested)
    with warnings.catch_warnings():
        # torch compiles its own forward-mode rules on first use, with an interface it deprecates
        warnings.filterwarnings("ignore", ".*torch.jit.script", DeprecationWarning)
        derivatives = nested(torch.zeros((), dtype=torch.float64))
    return torch.stack([d / math.factorial(k) for k, d in enumerate(derivatives)])


def _product(constant: np.ndarray, linear: np.ndarray) -> np.ndarray:
    """Coefficients of prod_i (constant_i + linear_i s), one factor at a time, (..., l+1)."""
    if linear.ndim == 0 or linear.shape[-1] == 0:
        raise ValueError(f"expected at least 1 factor, got shape {linear.shape}")
    _finite("factors", linear)
    out = np.zeros((*linear.shape[:-1], linear.shape[-1] + 1))
    out[..., 0] = 1.0
    for i in range(linear.shape[-1]):
        a, b = constant[..., i, None], linear[..., i, None]
        out[..., 1:] = out[..., 1:] * a + out[..., :-1] * b
        out[..., :1] *= a
    return out


def _moves(w: np.ndarray, grads: np.ndarray, step: float) -> tuple[np.ndarray, np.ndarray]:
    w, grads = _finite("w", w), _finite("grads", grads)
    if w.shape != grads.shape:
        raise ValueError(f"expected a gradient per factor, got shapes {w.shape} and {grads.shape}")
    if not math.isfinite(step):
        raise ValueError(f"step: expected a finite step size, got {step}: no order would be finite")
    return w, float(step) * grads


def _finite(name: str, a: Any) -> np.ndarray:
    a = np.asarray(a, dtype=np.float64)
    if not np.isfinite(a).all():
        raise ValueError(
            f"{name}: expected finite numbers, got {int((~np.isfinite(a)).sum())} others"
        )
    return a
