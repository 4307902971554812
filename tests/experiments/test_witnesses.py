"""The witnesses agree with the formulas and catch every error that was planted."""

import numpy as np
import pytest

from bnlib import derivatives, reference
from bnlib.experiments import flaws, witnesses


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def case(rng):
    return flaws.random_case(8, 3, eps=0.3, rng=rng)


@pytest.mark.parametrize("name", witnesses.WITNESSES)
@pytest.mark.parametrize("code", [flaws.library(), flaws.flawed(None)], ids=["library", "plain"])
def test_right_implementations_pass_every_witness(name, code, case, rng):
    # Extrapolated differences reach u^(2/3), about 4e-11, times derivatives of order 10.
    assert max(witnesses.WITNESSES[name](code, case, rng)) < 1e-8


@pytest.mark.parametrize("flaw", flaws.FLAWS)
def test_every_flaw_is_caught_without_automatic_differentiation(flaw, case, rng):
    found = witnesses.examine(flaws.flawed(flaw), [case], rng)
    assert any(max(found[name]) > 1e-4 for name in found if name != "autodiff")


def test_autodiff_does_not_see_a_wrong_forward_pass_and_the_others_do(case, rng):
    code = flaws.flawed("unbiased variance in the forward only")
    found = witnesses.examine(code, [case], rng)
    assert max(found.pop("autodiff")) < 1e-10
    assert all(max(d) > 1e-4 for d in found.values())


def test_the_hand_value_is_exact_in_fractions():
    """The collapse of the nine steps, with tau = 1 so that every number is a fraction."""
    from fractions import Fraction as F

    x_hat, dy, gamma = (F(-1), F(0), F(1)), (F(1), F(0), F(0)), F(2)
    mean = sum(dy) / 3
    along = sum(a * b for a, b in zip(dy, x_hat, strict=True)) / 3
    dx = tuple(gamma * (d - mean - h * along) for d, h in zip(dy, x_hat, strict=True))
    assert dx == witnesses.HAND["dx"]
    assert 3 * along == witnesses.HAND["dgamma"]
    q = sum((d - mean) ** 2 for d in dy) / 3 - along**2
    bend = [
        -gamma * (h * q + 2 * along * (d - mean - h * along))
        for d, h in zip(dy, x_hat, strict=True)
    ]
    assert tuple(bend) == witnesses.HAND["g_x"]


def test_richardson_removes_the_quadratic_error():
    def cubic(p):
        return float(p[0] ** 3)

    point, along = np.array([2.0]), [np.array([1.0])]
    assert derivatives.directional(cubic, point, along, 0.1) == pytest.approx(12.01)
    assert witnesses.richardson(cubic, point, along, 0.1) == pytest.approx(12.0, abs=1e-12)


@pytest.mark.parametrize("ddof", [0, 1])
def test_autodiff_jacobian_is_that_of_the_formula(ddof, rng):
    x, dy = rng.normal(size=(2, 6, 1))
    J = witnesses.autodiff_jacobian(x[:, 0], 1.7, eps=0.2, ddof=ddof)
    gamma = np.array([1.7])
    if ddof:
        want = derivatives.backward_unbiased(dy, x, gamma, eps=0.2).dx
    else:
        tape = reference.forward(x, gamma, gamma, eps=0.2)[1]
        want = reference.backward(dy, tape).dx
    assert J.T @ dy == pytest.approx(want, abs=1e-13)
