"""The rules of the chains chapter, on both sides of their edges."""

import numpy as np
import pandas as pd
import pytest

from bnlib.chapters.chains import decide
from bnlib.chapters.chains.measure import Family
from bnlib.statistics import Interval


def family(mean, slope, equal=None, residual=1e-9):
    slope = Interval(*slope)
    equal = slope.estimate if equal is None else equal
    return Family(mean, np.zeros(0), np.zeros(0), slope, (equal, residual))


UP, DOWN = family(1.1, (0.2, 0.1, 0.3)), family(0.9, (-0.2, -0.3, -0.1))
WRONG = decide.exponential_at_fixed_step([UP._replace(mean=0.9), DOWN._replace(mean=1.1)])


def growing(slope=(0.2, 0.1, 0.3), **options):
    return decide.exponential_at_fixed_step([family(1.1, slope, **options), DOWN])


def bounded(used):
    return decide.bounded_at_matched_step(
        {0.1: np.array([0.2, 0.3]), 2.0: np.array([0.9, used])}, 2
    )


def defeated(*useful, depth=8):
    cells = pd.MultiIndex.from_product([["gaussian"], [0.8, 1.2]])
    return decide.depth_defeats_prediction(pd.Series(useful, cells), 0.5, depth)


def vectors(*gradients):
    return decide.lower_layers_inert_vectors(np.array(gradients), 1e-15)


def gain(low, high, widths=(4, 16)):
    ends = Interval(np.array([0.5, 0.0]), np.array(low), np.array(high))
    return decide.two_moments_only(ends, list(widths), 4)


def orders(*taylor):
    along = {"1": [0.0], "z": [0.0], "random": [0.0]}
    moments = [(0.0, 0.0), (0.0, 1.0), (0.1, 1.0)]
    found = {"interaction": [1.0, 1.0], "taylor": taylor, "along": along, "moments": moments}
    return decide.orders_are_one_thing(found)


@pytest.mark.parametrize(
    ("claim", "expected"),
    [
        (decide.orders_up_to_depth(1e-12, 1e-300, 3), "holds"),
        (decide.orders_up_to_depth(1.1e-12, 1e-300, 3), "fails"),
        (decide.orders_up_to_depth(0.0, 0.0, 3), "fails"),  # an order is zero
        (growing(), "holds"),
        (growing((0.2, -0.01, 0.3)), "partly"),  # the interval has both signs
        (growing(equal=-0.2), "partly"),
        (growing(residual=2e-9), "partly"),
        (WRONG, "fails"),
        (decide.exponential_at_fixed_step([family(1.1, (0.2, -0.1, 0.3))] * 2), "undecided"),
        (bounded(1 + 1e-12), "holds"),
        (bounded(1 + 2e-12), "fails"),
        (defeated(0.5, 1.5), "fails"),
        (defeated(0.49, 1.5), "partly"),
        (defeated(0.49, 1.51), "holds"),
        (defeated(0.5, 1.5, depth=7), "undecided"),
        (decide.lower_layers_inert(1e-12, 1e-12, 0.1, 4), "holds"),
        (decide.lower_layers_inert(2e-12, 0.0, 0.1, 4), "fails"),
        (decide.lower_layers_inert(0.0, 2e-12, 0.1, 4), "fails"),
        (vectors(1e-12, 0.0), "holds"),
        (vectors(2e-12, 0.0), "partly"),
        (vectors(2e-12, 1.0), "fails"),
        (gain([0, 0], [1e-6, 1e-6]), "holds"),
        (gain([2e-6, 0], [1, 1e-6]), "partly"),  # a gain below full width, none there
        (gain([1e-6, 0], [1, 1e-6]), "fails"),  # undecided below full width
        (gain([2e-6, 2e-6], [1, 1]), "fails"),
        (gain([2e-6, 2e-6], [1, 1], widths=(4, 8)), "undecided"),
        (gain([0, 2e-6], [1e-6, 1]), "fails"),  # a gain at full width only
        (orders(1.0, 1.0), "holds"),
        (orders(0.8, 0.8), "not well posed"),  # one pair of meanings apart is enough
    ],
)
def test_a_rule_turns_at_its_edge(claim, expected):
    assert claim.verdict == expected


def test_slopes_of_the_wrong_sign_count_in_no_case():
    assert WRONG.evidence.endswith(
        "0.200 [0.100, 0.300] at mean 0.9 and -0.200 [-0.300, -0.100] "
        "at mean 1.1: the sign of log w in 0 of 2 cases."
    )
