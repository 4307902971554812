"""Four witnesses of the gradient.

A witness takes an implementation and a case and says how far the two disagree, at first order
(dx, dgamma, dbeta) and at second order (double backward). The four share no code with each other:
automatic differentiation of the definition, differences of the implementation's own forward pass,
identities between its own outputs, and one value worked out by hand.
"""

from collections.abc import Sequence
from fractions import Fraction as F
from typing import Any, NamedTuple

import numpy as np
import torch

from bnlib.derivatives import directional
from bnlib.experiments.flaws import Case, Implementation

Array = np.ndarray


class Disagreement(NamedTuple):
    """Largest relative difference at first and at second order."""

    first: float
    second: float


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


def richardson(f: Any, point: Array, directions: list[Array], h: float) -> float:
    """A central difference without its h^2 error: (4 D_h - D_2h) / 3."""
    near, far = (directional(f, point, directions, step) for step in (h, 2 * h))
    return (4 * near - far) / 3


def difference_errors(
    code: Implementation,
    case: Case,
    h: tuple[float, float],
    rng: np.random.Generator,
    operator: Any,
) -> Disagreement:
    """Error of `operator` (`directional` or `richardson`) at the steps h of first and second order.

    It differentiates sum(dy * forward) along random unit directions in (x, gamma, beta, dy)
    jointly, and uses values of the implementation's own forward pass only.
    """
    shapes = [np.shape(a) for a in case[:4]]
    point = np.concatenate([np.ravel(a) for a in case[:4]])
    d, e = (a / np.linalg.norm(a) for a in rng.normal(size=(2, point.size)))

    def loss(p: Array) -> float:
        x, gamma, beta, dy = _unpack(p, shapes)
        return float((dy * code.forward(case._replace(x=x, gamma=gamma, beta=beta))).sum())

    slope = _slope(code, case, _unpack(d, shapes))
    bend = _bend(code, case, _unpack(d, shapes), _unpack(e, shapes))
    once, twice = operator(loss, point, [d], h[0]), operator(loss, point, [d, e], h[1])
    return Disagreement(*(abs(g - t) / max(abs(t), 1.0) for g, t in ((once, slope), (twice, bend))))


def differences(code: Implementation, case: Case, rng: np.random.Generator) -> Disagreement:
    """Directional differences, extrapolated, along eight random directions.

    The steps u^(1/5) and u^(1/6) balance truncation h^4 against rounding u/h and u/h^2.
    """
    u = np.finfo(float).eps
    steps = u ** (1 / 5), u ** (1 / 6)
    found = [difference_errors(code, case, steps, rng, richardson) for _ in range(8)]
    return Disagreement(max(d.first for d in found), max(d.second for d in found))


def identities(code: Implementation, case: Case, rng: np.random.Generator) -> Disagreement:
    """What must hold between the outputs, whatever they are; see `identity_residuals`."""
    found = identity_residuals(code, case, rng)
    second = {"sum of g_x", "gamma g_gamma"}
    return Disagreement(
        max(value for name, value in found.items() if name not in second),
        max(value for name, value in found.items() if name in second),
    )


def identity_residuals(code: Implementation, k: Case, rng: np.random.Generator) -> dict[str, float]:
    """Residual of each identity, relative to the largest dx (or g_x).

    sum dx = 0                    sum x_hat dx = gamma eps / tau^3 dgamma
    dx is linear in dy            <a, J b> = <b, J a>
    dx(x + a) = dx(x)             dx(2x; 4 eps) = dx(x; eps) / 2
    sum g_x = 0                   gamma g_gamma = sum v dx
    """
    dx, dgamma, _ = code.backward(k)
    x_hat = code.forward(k._replace(gamma=np.ones_like(k.gamma), beta=np.zeros_like(k.beta)))
    rate = k.gamma * k.eps * (k.x.var(0) + k.eps) ** -1.5
    other, scale = rng.normal(size=k.dy.shape), np.abs(dx).max()

    def input_gradient(**changes: Any) -> Array:
        return code.backward(k._replace(**changes))[0]

    both = input_gradient(dy=k.dy + 3 * other)
    _, g_x, g_gamma = code.double(k)
    return {
        "sum of dx": np.abs(dx.sum(0)).max() / scale,
        "sum of x_hat dx": np.abs((x_hat * dx).sum(0) - rate * dgamma).max() / scale,
        "linear": np.abs(both - dx - 3 * input_gradient(dy=other)).max() / scale,
        "symmetric": np.abs((other * dx - k.dy * input_gradient(dy=other)).sum(0)).max() / scale,
        "shift": np.abs(input_gradient(x=k.x + 1.0) - dx).max() / scale,
        "scale": np.abs(2 * input_gradient(x=2 * k.x, eps=4 * k.eps) - dx).max() / scale,
        "sum of g_x": np.abs(g_x.sum(0)).max() / np.abs(g_x).max(),
        "gamma g_gamma": np.abs(k.gamma * g_gamma - (k.v * dx).sum(0)).max() / scale,
    }


HAND = {
    "y": (F(-1), F(1), F(3)),
    "dx": (F(2, 3), F(-2, 3), F(0)),
    "dgamma": F(-1),
    "dbeta": F(1),
    "g_dy": (F(2, 3), F(-2, 3), F(0)),
    "g_x": (F(2, 3), F(-4, 9), F(-2, 9)),
    "g_gamma": F(1, 3),
}
"""By hand: x = (1, 2, 3), eps = 1/3, gamma = 2, beta = 1, dy = v = (1, 0, 0), u = w = 0."""


def hand_value(code: Implementation, case: Case, rng: np.random.Generator) -> Disagreement:
    """Compare with `HAND`, which has its own case: the one given is not used, nor is `rng`."""
    one = np.array([[1.0], [0.0], [0.0]])
    two, zero = np.array([2.0]), np.zeros(1)
    k = Case(np.array([[1.0], [2.0], [3.0]]), two, two / 2, one, one, zero, zero, 1 / 3)
    want = [np.array(value, dtype=float).reshape(-1, 1) for value in HAND.values()]
    got = [code.forward(k), *code.backward(k), *code.double(k)]
    return Disagreement(_worst(got[:4], want[:4]), _worst(got[4:], want[4:]))


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
    found = {name: [w(code, case, rng) for case in cases] for name, w in WITNESSES.items()}
    return {
        name: Disagreement(max(d.first for d in all_), max(d.second for d in all_))
        for name, all_ in found.items()
    }


def autodiff_jacobian(x: Array, gamma: float, *, eps: float, ddof: int = 0) -> Array:
    """dy / dx of one channel x (m,) by automatic differentiation of the definition.

    ddof: 0 for the biased variance, 1 for the unbiased one.
    """

    def define(t: torch.Tensor) -> torch.Tensor:
        return gamma * (t - t.mean()) / (t.var(correction=ddof) + eps).sqrt()

    return torch.func.jacrev(define)(torch.as_tensor(x)).numpy()


def _worst(got: Any, want: Any) -> float:
    """Largest difference of paired arrays, each relative to its largest exact entry."""
    pairs = [(np.reshape(g, np.shape(t)), np.asarray(t)) for g, t in zip(got, want, strict=True)]
    return max(float(np.abs(g - t).max() / np.abs(t).max()) for g, t in pairs)


def _unpack(flat: Array, shapes: list[tuple[int, ...]]) -> list[Array]:
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])
    return [a.reshape(s) for a, s in zip(np.split(flat, ends[:-1]), shapes, strict=True)]


def _slope(code: Implementation, k: Case, d: list[Array]) -> float:
    """<gradient of sum(dy y), d> over (x, gamma, beta, dy)."""
    gradients = (*code.backward(k), code.forward(k))
    return float(sum((g * part).sum() for g, part in zip(gradients, d, strict=True)))


def _bend(code: Implementation, k: Case, d: list[Array], e: list[Array]) -> float:
    """Second derivative along d and e: the double backward of d, then what d moves through dy."""
    g_dy, g_x, g_gamma = code.double(k._replace(v=d[0], u=d[1], w=d[2]))
    through = code.backward(k._replace(dy=d[3]))
    total = (g_dy * e[3]).sum() + (g_x * e[0]).sum() + (g_gamma * e[1]).sum()
    return float(total + sum((g * part).sum() for g, part in zip(through, e[:3], strict=True)))
