"""The protocols of the chains chapter: known answers, and a flipped sign must be noticed."""

import numpy as np
import pytest

from bnlib.experiments import chains as trials


def test_five_ways_agree_and_a_flipped_order_does_not(monkeypatch):
    w = np.random.default_rng(0).normal(1.0, 0.3, (4, 5))

    def gap():
        found = trials.five_ways(w, trials.gradients(w), step=0.1)
        assert tuple(found) == trials.WAYS
        first = found["product"]
        return max(np.abs(v - first).max() for v in found.values()) / np.abs(first).max()

    assert gap() <= 1e-12
    right = trials.chain_orders
    signs = np.array([1, 1, -1, 1, 1, 1])
    monkeypatch.setattr(trials, "chain_orders", lambda *a, **k: signs * right(*a, **k))
    assert gap() > 1e-3


@pytest.mark.parametrize("step", [1e-1, 1e-3])
def test_errors_of_the_exact_ways_stay_at_rounding_and_the_others_below_their_bounds(step):
    errors = trials.errors_of_ways(np.random.default_rng(1).normal(1.0, 0.1, 10), step=step)
    for way in ("product", "term by term"):
        assert errors[way].max() < 2**10 * np.finfo(float).eps  # 2^10 positive terms at most
    for way in ("subsets", "interpolation"):
        # the values themselves carry ten roundings more than the bound counts
        assert (errors[way] <= 10 * errors[f"{way}, bound"]).all()
        assert errors[way][-1] > 1e-10  # the last order has drowned


def test_agreement_covers_every_length_and_no_order_is_zero():
    table, least = trials.agreement((2, 4), 3, np.random.default_rng(8), step=0.1)
    assert table.index.tolist() == [2, 4]
    assert tuple(table.columns) == trials.WAYS
    assert table.to_numpy().max() <= 1e-12
    assert least > 0


def test_shares_of_equal_chains_by_hand():
    # w = 1: u = step, T_1 = 3 u, T_2 = 3 u^2, T_3 = u^3 for three factors
    share, r, ratio = trials.shares(np.ones((2, 3)), np.array([0.1, 0.2]))
    assert r == pytest.approx([0.3, 0.6])
    assert ratio == pytest.approx([0.1, 0.2])
    assert share == pytest.approx([0.031 / 0.331, 0.128 / 0.728])


def test_the_matched_step_matches_the_first_order_change():
    w = np.random.default_rng(2).normal(1.1, 0.1, (5, 12))
    found = trials.over_depths(w, [2, 7, 12], lambda v: trials.matched_step(v, 0.7))
    assert found.shape == (5, 3, 3)
    assert found[:, 1] == pytest.approx(np.full((5, 3), 0.7), rel=1e-12)


@pytest.mark.parametrize("w", [1.1, 0.9, 1.5])
def test_equal_weights_give_a_straight_line_of_slope_two_log_w(w):
    depths = [2, 5, 9, 20]
    found = trials.over_depths(np.full((1, 20), w), depths, lambda v: 1e-3)
    slope, bent = trials.depth_slopes(found[:, 2], depths)
    assert slope[0] == pytest.approx(2 * np.log(w), rel=1e-9)
    assert bent[0] <= 1e-9
    # with the sign of log(l - 1) flipped the line would bend
    _, bent = trials.depth_slopes(found[:, 2] * (np.array(depths) - 1.0) ** 2, depths)
    assert bent[0] > 0.1


@pytest.mark.parametrize("r", [0.1, 2.0])
def test_thousands_of_random_chains_use_most_of_the_bound_and_never_more(r):
    found, used = trials.against_the_bound(3000, r, np.random.default_rng(3))
    assert used.max() <= 1 + 1e-12
    assert used.max() > 0.95
    assert found.max() <= np.expm1(r) - r
