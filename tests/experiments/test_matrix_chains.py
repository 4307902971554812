"""Steps of matrix chains: derivatives, exact polynomials, and which scale suffers."""

import numpy as np
import pytest

from bnlib.experiments import matrix_chains as trials


def test_matrix_gradients_agree_with_central_differences():
    weights, x, y = trials.matrix_chain(
        "gaussian", 1.1, 3, np.random.default_rng(4), width=4, rows=9
    )
    _, grads = trials.matrix_gradients(weights, x, y)
    rng, h = np.random.default_rng(5), 1e-5
    for i, g in enumerate(grads):
        v = rng.normal(size=g.shape)

        def loss(s, i=i, v=v):
            moved = [w + s * v if j == i else w for j, w in enumerate(weights)]
            return trials.matrix_gradients(moved, x, y)[0]

        # h^2 times a third derivative of order one
        assert (loss(h) - loss(-h)) / (2 * h) == pytest.approx((g * v).sum(), rel=1e-7, abs=1e-8)


def test_both_steps_are_what_they_say_and_the_polynomial_is_the_forward_pass():
    chain = trials.matrix_chain("orthogonal", 1.0, 4, np.random.default_rng(6), width=8, rows=64)
    fixed, matched = trials.measure_steps(*chain, step=0.01, r_loss=0.5)
    assert fixed.step == 0.01
    assert matched.predicted == pytest.approx(0.5, rel=1e-12)
    for found in (fixed, matched):
        assert found.residual < 1e-13
        assert found.net <= found.gross
    assert 0.5 < matched.useful < 1  # a flipped sign of the decrease would make it negative


def test_small_scales_lose_the_prediction_with_depth_and_large_ones_keep_it():
    table = trials.matrix_steps([0.8, 1.2], [2, 16], 3, 0, width=16, step=0.01, r_loss=0.5)
    assert len(table) == 2 * 2 * 2 * 3 * 2
    deep = table[(table.depth == 16) & (table.rule == "matched progress")]
    useful = deep.groupby("scale").useful.median()
    assert useful[0.8] < 0.5 < useful[1.2] < 1.5


def test_another_kind_of_matrices_is_refused():
    with pytest.raises(ValueError, match="'orthogonal' or 'gaussian', got 'uniform'"):
        trials.matrix_chain("uniform", 1.0, 2, np.random.default_rng(7), width=2, rows=2)
