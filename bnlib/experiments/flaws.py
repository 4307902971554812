"""Implementations of the three passes to be examined: the library's, and ones with a known error.

A check that has never caught an error is not yet a check. Each flaw here is of a kind that real
code has had; the witnesses of `bnlib.witnesses` must catch it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from bnlib import reference

Array = np.ndarray


class Case(NamedTuple):
    """One point and its cotangents: x, dy, v are (m, c), gamma, beta, u, w are (c,)."""

    x: Array
    gamma: Array
    beta: Array
    dy: Array
    v: Array
    u: Array
    w: Array
    eps: float


class Implementation(NamedTuple):
    """Three passes as functions of a `Case`: y, (dx, dgamma, dbeta), (g_dy, g_x, g_gamma)."""

    forward: Callable[[Case], Any]
    backward: Callable[[Case], tuple]
    double: Callable[[Case], tuple]


def random_case(m: int, c: int, *, eps: float, rng: np.random.Generator) -> Case:
    """A case in general position: no value is special, so that no zero or one hides an error."""
    x = rng.normal(0.7, 1.3, (m, c))
    gamma = rng.uniform(0.5, 2.0, c) * rng.choice([-1.0, 1.0], c)
    rows = [rng.normal(size=(m, c)) for _ in range(2)]
    beta, u, w = (rng.normal(size=c) for _ in range(3))
    return Case(x, gamma, beta, rows[0], rows[1], u, w, eps)


def library() -> Implementation:
    """`bnlib.reference` as an implementation."""

    def tape(k: Case) -> Any:
        return reference.forward(k.x, k.gamma, k.beta, eps=k.eps)[1]

    return Implementation(
        lambda k: reference.forward(k.x, k.gamma, k.beta, eps=k.eps)[0],
        lambda k: tuple(reference.backward(k.dy, tape(k))),
        lambda k: tuple(reference.double_backward(k.v, k.u, k.w, k.dy, tape(k))),
    )


@dataclass(frozen=True)
class _Flaw:
    """Where a pass departs from the formula; the defaults depart nowhere."""

    eps_outside: bool = False
    ddof: int = 0  # of the variance in the forward pass
    mean_term: float = 1.0
    x_hat_term: float = 1.0
    bessel: bool = False  # factor (m - 1)/m on the x_hat term
    dgamma: float = 1.0
    product: float = 1.0  # of the term W B in Q


FLAWS = {
    "eps outside the root": _Flaw(eps_outside=True),
    "no x_hat term": _Flaw(x_hat_term=0.0),
    "no mean term": _Flaw(mean_term=0.0),
    "(m − 1)/m on the x_hat term": _Flaw(bessel=True),
    "dgamma off by 0.1 %": _Flaw(dgamma=1.001),
    "unbiased variance in the forward only": _Flaw(ddof=1),
    "Q without the term W B": _Flaw(product=0.0),
}


def flawed(name: str | None) -> Implementation:
    """The plain formulas of [BN.1], [BN.2], [BN.3] with one error of `FLAWS`, or None for none."""
    flaw = _Flaw() if name is None else FLAWS[name]

    def normalized(k: Case, ddof: int = 0) -> tuple[Any, Any]:
        var = k.x.var(0, ddof=ddof)
        tau = np.sqrt(var) + k.eps if flaw.eps_outside else np.sqrt(var + k.eps)
        return (k.x - k.x.mean(0)) / tau, tau

    def project(a: Array, x_hat: Array) -> Any:
        share = flaw.x_hat_term * ((len(a) - 1) / len(a) if flaw.bessel else 1.0)
        return a - flaw.mean_term * a.mean(0) - share * x_hat * (a * x_hat).mean(0)

    def forward(k: Case) -> Any:
        return k.gamma * normalized(k, flaw.ddof)[0] + k.beta

    def backward(k: Case) -> tuple:
        x_hat, tau = normalized(k)
        dgamma = flaw.dgamma * (k.dy * x_hat).sum(0)
        return k.gamma / tau * project(k.dy, x_hat), dgamma, k.dy.sum(0)

    def double(k: Case) -> tuple:
        x_hat, tau = normalized(k)
        jv, jdy = project(k.v, x_hat) / tau, project(k.dy, x_hat) / tau
        b, w = (k.dy * x_hat).mean(0), (k.v * x_hat).mean(0)
        q = ((k.v - k.v.mean(0)) * (k.dy - k.dy.mean(0))).mean(0) - flaw.product * w * b
        g_x = -k.gamma / tau * (x_hat * q / tau + b * jv + w * jdy) + k.u * jdy
        return k.gamma * jv + k.u * x_hat + k.w, g_x, len(k.x) * q / tau

    return Implementation(forward, backward, double)
