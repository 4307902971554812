"""Orders of matrix chains and the polynomial of their loss against forward passes."""

import numpy as np
import pytest

from bnlib import chains
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


def test_matrix_orders_of_one_by_one_matrices_are_those_of_the_scalar_chain():
    rng = np.random.default_rng(3)
    w, g = rng.normal(size=(2, 5))
    split = [[a.reshape(1, 1) for a in v] for v in (w, g)]
    found = np.ravel(measure.chain_coefficients(*split, np.array([[2.0]])))
    assert found == pytest.approx(chains.chain_orders(w, g, 2.0, step=1.0), abs=1e-13)


def test_matrix_orders_obey_the_bound_by_norms():
    for seed in range(50):
        w, g, x = matrices(np.random.default_rng([4, seed]))
        norm = [np.linalg.norm(a, 2) for a in w]
        ratio = np.array([np.linalg.norm(b, 2) for b in g]) / norm
        bound = np.linalg.norm(x) * np.prod(norm) * chains.elementary_symmetric(ratio)
        found = [np.linalg.norm(c) for c in measure.chain_coefficients(w, g, x)]
        assert (found <= bound * (1 + 1e-12)).all()


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
