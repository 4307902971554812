"""The witnesses agree with the formulas and catch every error that was planted."""

import numpy as np
import pytest

from bnlib import derivatives
from bnlib.chapters.gradient import witnesses


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def case(rng):
    return witnesses.random_case(8, 3, eps=0.3, rng=rng)


@pytest.mark.parametrize("name", witnesses.WITNESSES)
@pytest.mark.parametrize("code", [witnesses.LIBRARY, witnesses.plain()], ids=["library", "plain"])
def test_right_implementations_pass_every_witness(name, code, case, rng):
    # Extrapolated differences reach u^(2/3), about 4e-11, times derivatives of order 10.
    assert max(witnesses.WITNESSES[name](code, case, rng)) < 1e-8


@pytest.mark.parametrize("flaw", witnesses.FLAWS)
def test_every_flaw_is_caught_without_automatic_differentiation(flaw, case, rng):
    disagreements = witnesses.examine(witnesses.plain(flaw), [case], rng)
    assert any(max(sizes) > 1e-4 for name, sizes in disagreements.items() if name != "autodiff")


def test_autodiff_does_not_see_a_wrong_forward_pass_and_the_others_do(case, rng):
    code = witnesses.plain("unbiased variance in the forward only")
    disagreements = witnesses.examine(code, [case], rng)
    assert max(disagreements.pop("autodiff")) < 1e-10
    assert all(max(d) > 1e-4 for d in disagreements.values())


def test_richardson_removes_the_quadratic_error():
    def cubic(p):
        return float(p[0] ** 3)

    point, along = np.array([2.0]), [np.array([1.0])]
    assert derivatives.directional(cubic, point, along, 0.1) == pytest.approx(12.01)
    assert witnesses.richardson(cubic, point, along, 0.1) == pytest.approx(12.0, abs=1e-12)
