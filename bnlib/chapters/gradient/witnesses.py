"""Four witnesses of the gradient, and planted errors that they have to catch.

A witness takes an implementation and a case and says how far the two disagree, at first order
(dx, dgamma, dbeta) and at second order (double backward). The four share no code with each other.
A check that has never caught an error is not yet a check: each flaw is one that real code has had.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction as F
from typing import Any, NamedTuple

import numpy as np
import torch

from bnlib import reference
from bnlib.chapters.gradient.derivatives import directional

Array = np.ndarray


class Case(NamedTuple):
    """One point and its cotangents: x, dy, v are rows (m, c); gamma, beta, u, w are (c,)."""

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


class Disagreement(NamedTuple):
    """Largest relative difference at first and at second order."""

    first: float
    second: float


def random_case(m: int, c: int, *, eps: float, rng: np.random.Generator) -> Case:
    """A case in general position: no value is special, so that no zero or one hides an error."""
    x = rng.normal(0.7, 1.3, (m, c))
    gamma = rng.uniform(0.5, 2.0, c) * rng.choice([-1.0, 1.0], c)
    dy, v = (rng.normal(size=(m, c)) for _ in range(2))
    beta, u, w = (rng.normal(size=c) for _ in range(3))
    return Case(x, gamma, beta, dy, v, u, w, eps)


def _tape(k: Case) -> reference.Tape:
    return reference.forward(k.x, k.gamma, k.beta, eps=k.eps)[1]


LIBRARY = Implementation(
    lambda k: reference.forward(k.x, k.gamma, k.beta, eps=k.eps)[0],
    lambda k: tuple(reference.backward(k.dy, _tape(k))),
    lambda k: tuple(reference.double_backward(k.v, k.u, k.w, k.dy, _tape(k))),
)
"""`bnlib.reference`."""

FLAWS = (
    "eps outside the root",
    "no x_hat term",
    "no mean term",
    "(m − 1)/m on the x_hat term",
    "dgamma off by 0.1 %",
    "unbiased variance in the forward only",
    "Q without the term W B",
)


def plain(flaw: str | None = None) -> Implementation:
    """The plain formulas of [BN.1], [BN.2], [BN.3] with one error of `FLAWS`, or none."""

    def normalized(k: Case, ddof: int = 0) -> tuple[Array, Array]:
        var = k.x.var(0, ddof=ddof)
        tau = np.sqrt(var) + k.eps if flaw == "eps outside the root" else np.sqrt(var + k.eps)
        return (k.x - k.x.mean(0)) / tau, tau

    def project(a: Array, x_hat: Array) -> Array:
        shares = {"no x_hat term": 0.0, "(m − 1)/m on the x_hat term": (len(a) - 1) / len(a)}
        mean = 0.0 if flaw == "no mean term" else a.mean(0)
        return a - mean - shares.get(flaw or "", 1.0) * x_hat * (a * x_hat).mean(0)

    def forward(k: Case) -> Array:
        ddof = 1 if flaw == "unbiased variance in the forward only" else 0
        return k.gamma * normalized(k, ddof)[0] + k.beta

    def backward(k: Case) -> tuple:
        x_hat, tau = normalized(k)
        dgamma = (1.001 if flaw == "dgamma off by 0.1 %" else 1.0) * (k.dy * x_hat).sum(0)
        return k.gamma / tau * project(k.dy, x_hat), dgamma, k.dy.sum(0)

    def double(k: Case) -> tuple:
        x_hat, tau = normalized(k)
        jv, jdy = project(k.v, x_hat) / tau, project(k.dy, x_hat) / tau
        b, w = (k.dy * x_hat).mean(0), (k.v * x_hat).mean(0)
        q = ((k.v - k.v.mean(0)) * (k.dy - k.dy.mean(0))).mean(0)
        q -= 0.0 if flaw == "Q without the term W B" else w * b
        g_x = -k.gamma / tau * (x_hat * q / tau + b * jv + w * jdy) + k.u * jdy
        return k.gamma * jv + k.u * x_hat + k.w, g_x, len(k.x) * q / tau

    return Implementation(forward, backward, double)


def automatic(code: Implementation, case: Case, rng: np.random.Generator) -> Disagreement:
    """Automatic differentiation, once and twice, of the definition written in three lines.

    It compares gradients, so a wrong forward pass beside a right backward pass is not its business.
    """
    x, gamma, beta, dy, v, u, w = (torch.tensor(a, requires_grad=True) for a in case[:7])
    centered = x - x.mean(0)
    y = gamma * centered / (centered.square().mean(0) + case.eps).sqrt() + beta
    first = torch.autograd.grad(y, (x, gamma, beta), dy, create_graph=True)
    second = torch.autograd.grad(first, (dy, x, gamma), (v, u, w))
    return Disagreement(
        _worst(code.backward(case), [t.detach().numpy() for t in first]),
        _worst(code.double(case), [t.detach().numpy() for t in second]),
    )


def richardson(f: Any, point: Array, directions: Sequence[Array], h: float) -> float:
    """A central difference without its h^2 error: (4 D_h - D_2h) / 3."""
    near, far = (directional(f, point, directions, step) for step in (h, 2 * h))
    return (4 * near - far) / 3


def difference_errors(
    code: Implementation,
    case: Case,
    h: tuple[float, float],
    rng: np.random.Generator,
    operator: Callable = richardson,
) -> Disagreement:
    """Error of `operator` (`directional` or `richardson`) at the steps h of first and second order.

    It differentiates sum(dy * forward) along random unit directions in (x, gamma, beta, dy)
    jointly, and uses values of the implementation's own forward pass only.
    """
    ends = np.cumsum([np.size(a) for a in case[:3]])
    point = np.concatenate([np.ravel(a) for a in case[:4]])
    d, e = (a / np.linalg.norm(a) for a in rng.normal(size=(2, point.size)))

    def parts(p: Array) -> list[Array]:
        return [a.reshape(np.shape(s)) for a, s in zip(np.split(p, ends), case[:4], strict=True)]

    def loss(p: Array) -> float:
        x, gamma, beta, dy = parts(p)
        return float((dy * code.forward(case._replace(x=x, gamma=gamma, beta=beta))).sum())

    slope = _along((*code.backward(case), code.forward(case)), parts(d))
    x, gamma, beta, dy = parts(d)
    # The double backward of d, then what d moves through dy.
    g_dy, g_x, g_gamma = code.double(case._replace(v=x, u=gamma, w=beta))
    e_x, e_gamma, e_beta, e_dy = parts(e)
    bend = _along((g_dy, g_x, g_gamma), (e_dy, e_x, e_gamma))
    bend += _along(code.backward(case._replace(dy=dy)), (e_x, e_gamma, e_beta))
    once, twice = operator(loss, point, [d], h[0]), operator(loss, point, [d, e], h[1])
    return Disagreement(*(abs(g - t) / max(abs(t), 1.0) for g, t in ((once, slope), (twice, bend))))


def differences(code: Implementation, case: Case, rng: np.random.Generator) -> Disagreement:
    """Directional differences, extrapolated, along eight random directions.

    The steps u^(1/5) and u^(1/6) balance truncation h^4 against rounding u/h and u/h^2.
    """
    u = np.finfo(float).eps
    steps = u ** (1 / 5), u ** (1 / 6)
    return _largest([difference_errors(code, case, steps, rng) for _ in range(8)])


def identities(code: Implementation, k: Case, rng: np.random.Generator) -> Disagreement:
    """Largest residual of what must hold between the outputs, relative to the largest dx (or g_x).

    sum dx = 0                    sum x_hat dx = gamma eps / tau^3 dgamma
    dx is linear in dy            <a, J b> = <b, J a>
    dx(x + a) = dx(x)             dx(2x; 4 eps) = dx(x; eps) / 2
    sum g_x = 0                   gamma g_gamma = sum v dx
    """
    dx, dgamma, _ = code.backward(k)
    x_hat = code.forward(k._replace(gamma=np.ones_like(k.gamma), beta=np.zeros_like(k.beta)))
    rate = k.gamma * k.eps * (k.x.var(0) + k.eps) ** -1.5
    other, size = rng.normal(size=k.dy.shape), np.abs(dx).max()

    def input_gradient(**changes: Any) -> Array:
        return code.backward(k._replace(**changes))[0]

    through = input_gradient(dy=other)
    first = (
        dx.sum(0),
        (x_hat * dx).sum(0) - rate * dgamma,
        input_gradient(dy=k.dy + 3 * other) - dx - 3 * through,
        (other * dx - k.dy * through).sum(0),
        input_gradient(x=k.x + 1.0) - dx,
        2 * input_gradient(x=2 * k.x, eps=4 * k.eps) - dx,
    )
    _, g_x, g_gamma = code.double(k)
    bend = np.abs(g_x.sum(0)).max() / np.abs(g_x).max()
    pull = np.abs(k.gamma * g_gamma - (k.v * dx).sum(0)).max() / size
    return Disagreement(max(np.abs(miss).max() / size for miss in first), max(bend, pull))


X, FIRST = np.array([[1.0], [2.0], [3.0]]), np.array([[1.0], [0.0], [0.0]])
HAND_CASE = Case(
    X, np.array([2.0]), np.array([1.0]), FIRST, FIRST, np.zeros(1), np.zeros(1), eps=1 / 3
)
HAND = {
    "y": (F(-1), F(1), F(3)),
    "dx": (F(2, 3), F(-2, 3), F(0)),
    "dgamma": F(-1),
    "dbeta": F(1),
    "g_dy": (F(2, 3), F(-2, 3), F(0)),
    "g_x": (F(2, 3), F(-4, 9), F(-2, 9)),
    "g_gamma": F(1, 3),
}
"""What the passes give at `HAND_CASE`, worked out by hand."""


def hand_value(code: Implementation, case: Case, rng: np.random.Generator) -> Disagreement:
    """Compare with `HAND` at `HAND_CASE`; neither the case given nor `rng` is used."""
    expected = [np.array(value, dtype=float).reshape(-1, 1) for value in HAND.values()]
    got = [code.forward(HAND_CASE), *code.backward(HAND_CASE), *code.double(HAND_CASE)]
    return Disagreement(_worst(got[:4], expected[:4]), _worst(got[4:], expected[4:]))


WITNESSES = {
    "autodiff": automatic,
    "differences": differences,
    "identities": identities,
    "hand value": hand_value,
}


def examine(
    code: Implementation, cases: Sequence[Case], rng: np.random.Generator
) -> dict[str, Disagreement]:
    """The largest disagreement of every witness over the cases."""
    return {
        name: _largest([witness(code, case, rng) for case in cases])
        for name, witness in WITNESSES.items()
    }


def _largest(disagreements: Sequence[Disagreement]) -> Disagreement:
    return Disagreement(*(max(sizes) for sizes in zip(*disagreements, strict=True)))


def _worst(got: Any, expected: Any) -> float:
    """Largest difference of paired arrays, each relative to its largest exact entry."""
    pairs = [(np.reshape(g, np.shape(e)), e) for g, e in zip(got, expected, strict=True)]
    return max(float(np.abs(g - e).max() / np.abs(e).max()) for g, e in pairs)


def _along(gradients: Any, directions: Any) -> float:
    """The sum of <gradient, direction>."""
    return float(sum((g * d).sum() for g, d in zip(gradients, directions, strict=True)))
