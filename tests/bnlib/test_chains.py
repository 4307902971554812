"""Orders of chains: exact fractions, five ways, the bound, refusals."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bnlib import chains, orders

EPS = np.finfo(float).eps
weights = st.lists(st.floats(0.05, 20.0), min_size=1, max_size=30)


@settings(deadline=None)
@given(weights, st.floats(0.001, 0.5))
def test_three_ways_agree_with_exact_fractions_in_every_order(w, step):
    w = np.array(w[:10])
    moves = step * w.prod() ** 2 / w
    truth = [Fraction(1)]
    for a, b in zip(w, moves, strict=True):
        kept, moved = [t * Fraction(a) for t in truth], [t * Fraction(b) for t in truth]
        truth = [p - q for p, q in zip([*kept, 0], [0, *moved], strict=True)]
    want = np.array([float(t) for t in truth])
    # 10 factors, two roundings each, then up to 2^10 terms of one sign summed
    tolerance = {"rel": 2**10 * EPS, "abs": 1e-280}
    assert chains.chain_orders(w, moves, 1.0, step=1.0) == pytest.approx(want, **tolerance)
    assert chains.direct_orders(w, moves, 1.0, step=1.0) == pytest.approx(want, **tolerance)
    symmetric = w.prod() * chains.elementary_symmetric(-moves / w)
    assert symmetric == pytest.approx(want, **tolerance)


def test_elementary_symmetric_by_hand_and_with_a_zero():
    assert chains.elementary_symmetric(np.array([1.0, 2.0, 3.0])).tolist() == [1, 6, 11, 6]
    assert chains.elementary_symmetric(np.array([2.0, 0.0, 3.0])).tolist() == [1, 5, 6, 0]
    both = chains.elementary_symmetric(np.array([[1.0, 2.0], [3.0, 4.0]]))
    assert both.tolist() == [[1, 3, 2], [1, 7, 12]]


@settings(deadline=None)
@given(weights, st.floats(0.01, 3.0), st.integers(0, 2**30))
def test_no_order_exceeds_maclaurins_bound(w, r, signs):
    w = np.array(w) * np.where([signs >> i & 1 for i in range(len(w))], 1, -1)
    grads = 1 / w
    step = r / (1 / w**2).sum()
    found = np.abs(chains.chain_orders(w, grads, 1.0, step=step)) / abs(w.prod())
    n, k = len(w), np.arange(len(w) + 1)
    bound = np.array([math.comb(n, j) * (r / n) ** j for j in k])
    assert (found <= bound * (1 + 1e-12)).all()
    assert found[2:].sum() <= chains.maclaurin_bound(r, n) * (1 + 1e-12)
    assert chains.maclaurin_bound(r, n) <= chains.maclaurin_bound(r) * (1 + 1e-12)


@pytest.mark.parametrize("r", [1e-9, 1e-3, 0.5, 2.0, 30.0])
def test_the_bound_has_its_closed_form_its_limit_and_no_cancellation(r):
    series = sum(r**k / math.factorial(k) for k in range(2, 150))
    assert chains.maclaurin_bound(r) == pytest.approx(series, rel=1e-13)
    if r >= 0.5:
        assert chains.maclaurin_bound(r, 7) == pytest.approx((1 + r / 7) ** 7 - 1 - r, rel=1e-13)
    assert chains.maclaurin_bound(r, 1) == 0
    assert chains.maclaurin_bound(0.0) == 0


def five(w, moves):
    """The five ways for one chain, with x = 1."""
    values = np.where(orders.subset_masks(len(w)), w - moves, w).prod(axis=1)
    a, b = torch.tensor(w), torch.tensor(moves)
    return (
        chains.chain_orders(w, moves, 1.0, step=1.0),
        chains.direct_orders(w, moves, 1.0, step=1.0),
        orders.order_sums(values, len(w)),
        chains.interpolated_orders(lambda s: (w - s * moves).prod(), len(w)),
        chains.jvp_orders(lambda s: (a - s * b).prod(), len(w)).numpy(),
    )


@pytest.mark.parametrize("length", [1, 2, 3, 6])
def test_five_ways_agree_on_arbitrary_moves_of_both_signs(length):
    rng = np.random.default_rng(length)
    w, moves = rng.normal(1.0, 0.3, length), 0.3 * rng.normal(size=length)
    first, *others = five(w, moves)
    for other in others:
        assert np.abs(other - first).max() <= 1e-12 * np.abs(first).max()


@pytest.mark.parametrize("degree", [0, 1, 5, 12])
def test_interpolation_finds_the_coefficients_within_its_stated_error(degree):
    want = np.random.default_rng(degree).normal(size=(degree + 1, 2))
    found = chains.interpolated_orders(lambda s: s ** np.arange(degree + 1) @ want, degree)
    largest = np.abs(want).sum(axis=0).max()
    assert np.abs(found - want).max() <= EPS * (1 + np.sqrt(2)) ** degree * largest


def test_nested_forward_mode_gives_taylor_coefficients():
    found = chains.jvp_orders(torch.exp, 6)
    assert found.numpy() == pytest.approx([1 / math.factorial(k) for k in range(7)], rel=1e-14)
    assert chains.jvp_orders(torch.exp, 0).tolist() == [1]


def test_equal_factors_attain_the_bound():
    equal = chains.elementary_symmetric(np.full(12, 1 / 12))[2:].sum()
    assert equal == pytest.approx(chains.maclaurin_bound(1.0, 12), rel=1e-14)


TWO, BAD = np.array([1.0, 2.0]), np.array([1.0, np.nan])
CHAINS = [
    (np.zeros(0), np.zeros(0), 0.1, "at least 1 "),
    (BAD, TWO, 0.1, "w: expected finite numbers, got 1 others"),
    (TWO, BAD, 0.1, "grads: expected finite"),
    (TWO, np.ones(3), 0.1, "a gradient per factor"),
    (TWO, TWO, np.nan, "finite step size, got nan"),
    (TWO, TWO, np.inf, "finite step size, got inf"),
]


@pytest.mark.parametrize("way", [chains.chain_orders, chains.direct_orders])
@pytest.mark.parametrize(("w", "grads", "step", "message"), CHAINS)
def test_a_chain_without_orders_is_refused(way, w, grads, step, message):
    with pytest.raises(ValueError, match=message):
        way(w, grads, 1.0, step=step)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: chains.direct_orders(*np.ones((2, 17)), 1.0, step=0.1), "at most 16 layers"),
        (lambda: chains.elementary_symmetric(np.zeros(0)), "at least 1 factor"),
        (lambda: chains.maclaurin_bound(-1), "finite relative change >= 0, got -1"),
        (lambda: chains.maclaurin_bound(math.nan), "finite relative change >= 0, got nan"),
        (lambda: chains.maclaurin_bound(1.0, 0), "at least 1 factor, got 0"),
        (lambda: chains.interpolated_orders(abs, -1), "at least 0, got -1"),
        (lambda: chains.jvp_orders(torch.exp, 13), "0 to 12, got 13"),
    ],
)
def test_the_other_boundaries_say_what_they_want(call, message):
    with pytest.raises(ValueError, match=message):
        call()
