"""The rules of the gamma chapter, on both sides of their edges."""

import pytest

from bnlib.chapters.gamma import decide
from bnlib.statistics import Interval


def start(low, high, equivalent=False):
    return decide.Start(Interval((low + high) / 2, low, high), equivalent)


@pytest.mark.parametrize(
    ("gap", "inner", "same", "expected"),
    [
        (1e-12, start(1e-9, 1), False, "fails"),
        (1e-12, start(-1, -1e-9), False, "fails"),
        (1.1e-12, start(1e-9, 1), False, "partly"),
        (1e-12, start(0.0, 1), False, "partly"),
        (1e-12, start(0.0, 1), True, "holds"),
        (1e-12, start(1e-9, 1), True, "fails"),
    ],
)
def test_a_start_is_a_rate_where_paths_agree_and_losses_differ(gap, inner, same, expected):
    starts = {
        decide.INNER: inner,
        decide.TENTH: start(0, 1, same),
        decide.NEAR: start(0, 1, True),
    }
    assert decide.start_is_rate({0.1: gap, 2.0: 0.0}, starts).verdict == expected


@pytest.mark.parametrize(
    ("relu", "tanh", "expected"),
    [
        (start(1e-9, 1), start(1e-9, 1), "fails"),
        (start(0.0, 1), start(1e-9, 1), "partly"),
        (start(0.0, 1, True), start(0.0, 1), "partly"),
        (start(0.01, 0.02, True), start(0.01, 0.02, True), "holds"),
    ],
)
def test_the_uniform_start_fails_where_it_is_worse_with_both(relu, tanh, expected):
    assert decide.uniform_start({"relu": relu, "tanh": tanh}).verdict == expected


@pytest.mark.parametrize(("gap", "expected"), [(1e-12, "fails"), (1.1e-12, "holds")])
def test_decay_that_is_a_rate_is_no_regularizer(gap, expected):
    assert decide.decay_regularizes(gap, 0.4).verdict == expected


def cell(exact, penalty):
    at = {True: 0.9, False: 0.8}
    return decide.Best(Interval(0.95, 0.9, 1.0), at[exact], at[penalty])


@pytest.mark.parametrize(
    ("cells", "control", "expected"),
    [
        ([(True, False), (True, False)], 0.7, "fails"),
        ([(True, False), (True, True)], 0.7, "partly"),
        ([(True, False), (False, False)], 0.7, "partly"),
        ([(False, True), (True, True)], 0.7, "holds"),
        ([(True, False), (True, False)], 0.69, "undecided"),
        ([(True, True), (True, True)], 0.69, "holds"),
    ],
)
def test_the_penalty_fails_where_only_the_exact_value_is_inside(cells, control, expected):
    found = {("Gaussian", m): cell(*inside) for m, inside in enumerate(cells)}
    other = {8: (Interval(0.75, 0.7, 0.8), control)}
    assert decide.noise_is_decay(found, other).verdict == expected
