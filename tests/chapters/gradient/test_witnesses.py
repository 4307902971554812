"""The witness that takes differences."""

import numpy as np
import pytest

from bnlib.chapters.gradient import derivatives, witnesses


def test_richardson_removes_the_quadratic_error():
    def cubic(p):
        return float(p[0] ** 3)

    point, along = np.array([2.0]), [np.array([1.0])]
    assert derivatives.directional(cubic, point, along, 0.1) == pytest.approx(12.01)
    assert witnesses.richardson(cubic, point, along, 0.1) == pytest.approx(12.0, abs=1e-12)
