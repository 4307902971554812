"""Chains without normalization: known answers."""

import numpy as np
import pytest

from bnlib.chapters.chains import measure


def test_the_exact_change_of_a_chain_is_the_sum_of_its_orders_where_that_sum_is_well_conditioned():
    orders, change = measure.equal_chain(10, 1.0, 0.1)
    assert change == pytest.approx(-0.6513215599, rel=1e-10)  # 0.9^10 - 1
    assert orders[1:].sum() == pytest.approx(change, rel=1e-14)
    assert orders[:3] == pytest.approx([1, -1, 0.45])


def test_shares_of_equal_chains_by_hand():
    # w = 1: u = step, T_1 = 3 u, T_2 = 3 u^2, T_3 = u^3 for three factors
    share, r, ratio = measure.shares(np.ones((2, 3)), np.array([0.1, 0.2]))
    assert r == pytest.approx([0.3, 0.6])
    assert ratio == pytest.approx([0.1, 0.2])
    assert share == pytest.approx([0.031 / 0.331, 0.128 / 0.728])


@pytest.mark.parametrize("w", [1.1, 0.9, 1.5])
def test_equal_weights_give_a_straight_line_of_slope_two_log_w(w):
    depths = [2, 5, 9, 20]
    ratios = measure.over_depths(np.full((1, 20), w), depths)[:, 2]
    slope, bent = measure.depth_slopes(ratios, depths)
    assert slope[0] == pytest.approx(2 * np.log(w), rel=1e-9)
    assert bent[0] <= 1e-9
    # with the sign of log(l - 1) flipped the line would bend
    _, bent = measure.depth_slopes(ratios * (np.array(depths) - 1.0) ** 2, depths)
    assert bent[0] > 0.1


def test_matrix_gradients_agree_with_central_differences():
    weights, x, y = measure.matrix_chain(
        "gaussian", 1.1, 3, np.random.default_rng(4), width=4, rows=9
    )
    _, grads = measure.matrix_gradients(weights, x, y)
    rng, h = np.random.default_rng(5), 1e-5
    for i, g in enumerate(grads):
        v = rng.normal(size=g.shape)

        def loss(s, i=i, v=v):
            moved = [w + s * v if j == i else w for j, w in enumerate(weights)]
            return measure.matrix_gradients(moved, x, y)[0]

        # h^2 times a third derivative of order one
        assert (loss(h) - loss(-h)) / (2 * h) == pytest.approx((g * v).sum(), rel=1e-7, abs=1e-8)
