"""The witnesses agree with the formulas and catch every error that was planted."""

import numpy as np
import pytest

from bnlib.chapters.gradient import derivatives, witnesses


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


def test_richardson_removes_the_quadratic_error():
    def cubic(p):
        return float(p[0] ** 3)

    point, along = np.array([2.0]), [np.array([1.0])]
    assert derivatives.directional(cubic, point, along, 0.1) == pytest.approx(12.01)
    assert witnesses.richardson(cubic, point, along, 0.1) == pytest.approx(12.0, abs=1e-12)
