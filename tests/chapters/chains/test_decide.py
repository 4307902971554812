"""The rules of the chains chapter, on both sides of their edges."""

import numpy as np
import pandas as pd
import pytest

from bnlib.chapters.chains import decide
from bnlib.chapters.chains.measure import Family
from bnlib.statistics import Interval


@pytest.mark.parametrize(
    ("gap", "least", "expected"),
    [(1e-12, 1e-300, "holds"), (1.1e-12, 1e-300, "fails"), (0.0, 0.0, "fails")],
)
def test_ways_agree_to_rounding_and_no_order_is_zero(gap, least, expected):
    assert decide.orders_up_to_depth(gap, least, 3).verdict == expected


def family(mean, slope, equal=None, residual=1e-9):
    slope = Interval(*slope)
    equal = slope.estimate if equal is None else equal
    return Family(mean, np.zeros(0), np.zeros(0), slope, (equal, residual))


UP, DOWN = family(1.1, (0.2, 0.1, 0.3)), family(0.9, (-0.2, -0.3, -0.1))


@pytest.mark.parametrize(
    ("growing", "expected"),
    [
        (UP, "holds"),
        (family(1.1, (0.2, -0.01, 0.3)), "partly"),  # the interval has both signs
        (family(1.1, (0.2, 0.1, 0.3), equal=-0.2), "partly"),
        (family(1.1, (0.2, 0.1, 0.3), residual=2e-9), "partly"),
    ],
)
def test_a_slope_counts_with_its_whole_interval_and_only_where_equal_weights_are_straight(
    growing, expected
):
    assert decide.exponential_at_fixed_step([growing, DOWN]).verdict == expected


def test_slopes_of_the_wrong_sign_fail_in_both_cases():
    wrong = [UP._replace(mean=0.9), DOWN._replace(mean=1.1)]
    claim = decide.exponential_at_fixed_step(wrong)
    assert claim.verdict == "fails"
    assert claim.evidence.endswith(
        "0.200 [0.100, 0.300] at mean 0.9 and -0.200 [-0.300, -0.100] "
        "at mean 1.1: the sign of log w in 0 of 2 cases."
    )


@pytest.mark.parametrize(("used", "expected"), [(1 + 1e-12, "holds"), (1 + 2e-12, "fails")])
def test_a_single_chain_above_the_bound_fails(used, expected):
    sums = {0.1: np.array([0.2, 0.3]), 2.0: np.array([0.9, used])}
    assert decide.bounded_at_matched_step(sums, 2).verdict == expected


@pytest.mark.parametrize(
    ("useful", "expected"),
    [([0.5, 1.5], "fails"), ([0.49, 1.5], "partly"), ([0.49, 1.51], "holds")],
)
def test_a_cell_is_defeated_outside_a_half_to_three_halves(useful, expected):
    cells = pd.MultiIndex.from_product([["gaussian"], [0.8, 1.2]])
    assert decide.depth_defeats_prediction(pd.Series(useful, cells), 0.5, 8).verdict == expected


@pytest.mark.parametrize(
    ("inert", "leak_gap", "expected"),
    [(1e-12, 1e-12, "holds"), (2e-12, 0.0, "fails"), (0.0, 2e-12, "fails")],
)
def test_lower_factors_are_inert_up_to_rounding_and_the_leak(inert, leak_gap, expected):
    assert decide.lower_layers_inert(inert, leak_gap, 0.1, 4).verdict == expected


@pytest.mark.parametrize(
    ("gradients", "expected"),
    [([1e-12, 0.0], "holds"), ([2e-12, 0.0], "partly"), ([2e-12, 1.0], "fails")],
)
def test_vectors_are_inert_where_no_seed_has_a_gradient(gradients, expected):
    claim = decide.lower_layers_inert_vectors(np.array(gradients), 1e-15)
    assert claim.verdict == expected


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        ([0, 0], [1e-6, 1e-6], "holds"),
        ([2e-6, 0], [1, 1e-6], "partly"),  # a gain below full width, none there
        ([1e-6, 0], [1, 1e-6], "fails"),  # undecided below full width
        ([2e-6, 2e-6], [1, 1], "fails"),
        ([0, 2e-6], [1e-6, 1], "fails"),  # a gain at full width only
    ],
)
def test_lower_layers_gain_nothing_or_nothing_at_full_width(low, high, expected):
    gain = Interval(np.array([0.5, 0.0]), np.array(low), np.array(high))
    assert decide.two_moments_only(gain, [4, 16], 4).verdict == expected


def orders(taylor):
    along = {"1": [0.0], "z": [0.0], "random": [0.0]}
    moments = [(0.0, 0.0), (0.0, 1.0), (0.1, 1.0)]
    return {"interaction": [1.0, 1.0], "taylor": taylor, "along": along, "moments": moments}


def test_one_pair_of_meanings_apart_is_enough():
    assert decide.orders_are_one_thing(orders([1.0, 1.0])).verdict == "holds"
    assert decide.orders_are_one_thing(orders([0.8, 0.8])).verdict == "fails"
