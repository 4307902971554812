"""Orders of matrix chains and the polynomial of their loss against forward passes."""

import numpy as np
import pytest

from bnlib.chapters.chains import measure


def matrices(rng, shapes=((3, 5), (5, 4), (4, 2)), rows=7):
    w = [rng.normal(size=s) for s in shapes]
    g = [rng.normal(size=s) for s in shapes]
    return w, g, rng.normal(size=(rows, shapes[0][0]))


@pytest.mark.parametrize("s", [-0.7, 0.0, 0.1, 1.3])
def test_matrix_orders_sum_to_the_output_of_the_moved_chain(s):
    w, g, x = matrices(np.random.default_rng(2))
    found = measure.chain_coefficients(w, g, x)
    assert [c.shape for c in found] == [(7, 2)] * 4
    out = x
    for a, b in zip(w, g, strict=True):
        out = out @ (a - s * b)
    assert sum(c * s**k for k, c in enumerate(found)) == pytest.approx(out, abs=1e-11)


@pytest.mark.parametrize("s", [0.0, 0.2, -1.1])
def test_the_loss_polynomial_is_the_loss_of_the_moved_chain(s):
    rng = np.random.default_rng(5)
    w, g, x = matrices(rng)
    y = rng.normal(size=(7, 2))
    found = measure.loss_coefficients(measure.chain_coefficients(w, g, x), y)
    assert found.shape == (7,)
    out = x
    for a, b in zip(w, g, strict=True):
        out = out @ (a - s * b)
    want = 0.5 * ((out - y) ** 2).sum(axis=1).mean()
    assert np.polyval(found[::-1], s) == pytest.approx(want, rel=1e-11)
