"""Each shape of a decision rule, on both sides of its edge."""

import numpy as np
import pytest

from bnlib import verdicts
from bnlib.statistics import Interval


def interval(low, high):
    return Interval(None, low, high)


def test_the_ladder_takes_the_first_rung_that_holds():
    assert verdicts.verdict(True, True) == "holds"
    assert verdicts.verdict(np.bool_(False), 1) == "partly"
    assert verdicts.verdict(False) == "fails"


@pytest.mark.parametrize(
    ("right", "options", "expected"),
    [
        ([1, 1], {}, "holds"),
        ([1, 0], {}, "partly"),
        ([0, 0], {}, "fails"),
        ([1, 1, 1, 0], {"holds": 3}, "holds"),
        ([1, 1, 0, 0], {"holds": 3, "partly": 3}, "fails"),
        ([1, 0], {"partly": None}, "fails"),
    ],
)
def test_cells_are_counted(right, options, expected):
    assert verdicts.count(right, **options) == expected


def test_without_a_cell_nothing_is_counted():
    with pytest.raises(ValueError, match="expected cells to count, got none"):
        verdicts.count([])


@pytest.mark.parametrize(
    ("right", "expected"), [([1, 1, 0], "holds"), ([1, 0], "partly"), ([0, 0, 0], "fails")]
)
def test_a_majority_is_more_than_half(right, expected):
    assert verdicts.majority(right) == expected


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.31, 1.0, "holds"),
        (0.3, 1.0, "partly"),
        (0.01, 1.0, "partly"),
        (0.0, 1.0, "undecided"),
        (-1.0, 0.01, "undecided"),
        (-1.0, 0.0, "fails"),
    ],
)
def test_an_interval_lies_above_a_threshold_or_not_or_holds_it(low, high, expected):
    assert verdicts.above(interval(low, high), 0.3, partly=0.0) == expected


def test_an_array_of_intervals_lies_above_where_all_do():
    high = np.array([3.0, 3.0])
    assert verdicts.above(interval(np.array([1.0, 2.0]), high), 0.5) == "holds"
    assert verdicts.above(interval(np.array([1.0, 0.4]), high), 0.5) == "undecided"
    assert verdicts.above(interval(np.array([1.0, 0.4]), np.array([3.0, 0.5])), 0.5) == "fails"


def test_an_interval_has_its_ends():
    ends = interval(np.array([0.0, 1.1, -1.0]), np.array([1.0, 2.0, 0.9]))
    assert verdicts.inside(1.0, ends).tolist() == [True, False, False]


def test_intervals_that_hold_together_are_wider():
    assert verdicts.simultaneous(4) == 1 - 0.05 / 4
    assert verdicts.simultaneous(2, level=0.9) == 1 - (1 - 0.9) / 2


def test_without_its_control_a_claim_that_does_not_hold_is_undecided():
    assert verdicts.verdict(False, True, tested=False) == "undecided"
    assert verdicts.count([1, 0], tested=False) == "undecided"
    assert verdicts.count([1, 1], tested=False) == "holds"
