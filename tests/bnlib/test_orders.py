"""Möbius terms and order sums against their definitions, and what they must refuse."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bnlib import orders

depths = st.integers(1, 8)


def drawn(depth, seed=0, tail=()):
    return np.random.default_rng([depth, seed]).normal(size=(2**depth, *tail))


def test_masks_list_every_subset_once_from_none_to_all():
    masks = orders.subset_masks(3)
    assert masks.tolist()[:3] == [[False] * 3, [True, False, False], [False, True, False]]
    assert len({tuple(row) for row in masks.tolist()}) == 8
    assert masks[-1].all()


def test_two_layers_by_hand():
    # f = 5, +1 for layer 0 alone, +2 for layer 1 alone, and 10 more if both move
    assert orders.moebius(np.array([5.0, 6.0, 7.0, 18.0])).tolist() == [5, 1, 2, 10]
    assert orders.order_sums(np.array([5.0, 6.0, 7.0, 18.0]), 2).tolist() == [5, 3, 10]


@settings(deadline=None)
@given(depths, st.integers(0, 2**32 - 1))
def test_the_moebius_terms_of_all_subsets_give_the_values_back(depth, seed):
    values, masks = drawn(depth, seed), orders.subset_masks(depth)
    terms = orders.moebius(values)
    inside = (masks[None] <= masks[:, None]).all(axis=2)
    assert inside @ terms == pytest.approx(values, abs=1e-11)


def test_an_additive_f_has_first_order_only_and_a_single_interaction_shows_in_its_subset():
    masks = orders.subset_masks(5)
    values = 2.0 + masks @ np.arange(1.0, 6.0)
    assert orders.order_sums(values, 5).tolist() == [2, 15, 0, 0, 0, 0]
    values += 7.0 * masks[:, 1] * masks[:, 4]
    assert orders.order_sums(values, 5).tolist() == [2, 15, 7, 0, 0, 0]


def test_values_may_have_trailing_axes_and_are_not_changed():
    values = drawn(4, tail=(3, 2))
    kept = values.copy()
    sums = orders.order_sums(values, 4)
    assert sums.shape == (5, 3, 2)
    assert sums[:, 1, 1] == pytest.approx(orders.order_sums(values[:, 1, 1], 4), abs=1e-13)
    assert (values == kept).all()


def test_tensors_and_arrays_agree_and_tensors_keep_their_graph():
    values = drawn(4, tail=(2,))
    tensor = torch.tensor(values, requires_grad=True)
    sums = orders.order_sums(tensor, 4)
    assert isinstance(sums, torch.Tensor)
    assert sums.detach().numpy() == pytest.approx(orders.order_sums(values, 4), abs=1e-13)
    sums[4].sum().backward()
    assert tensor.grad[-1].tolist() == [1, 1]


def test_the_noise_floor_covers_the_error_of_rounded_values():
    exact = (1 + 0.01 * orders.subset_masks(10)).prod(axis=1)
    error = np.abs(orders.order_sums(exact, 10) - [math.comb(10, k) * 0.01**k for k in range(11)])
    # each value carries up to 10 roundings of its own product
    assert (error <= 10 * orders.noise_floor(10, exact.max())).all()
    assert orders.noise_floor(2, 1.0).tolist() == [2.0**-53, 4 * 2.0**-53, 4 * 2.0**-53]


@pytest.mark.parametrize(
    ("depth", "message"),
    [(0, "at least 1 layer"), (-1, "at least 1 layer"), (17, r"at most 16 layers, got 17: 2\^17")],
)
def test_depths_without_subsets_or_with_too_many_are_refused(depth, message):
    with pytest.raises(ValueError, match=message):
        orders.subset_masks(depth)


@pytest.mark.parametrize("depth", [2.0, True, "3"])
def test_a_depth_that_is_no_integer_is_refused(depth):
    with pytest.raises(TypeError, match="integer number of layers"):
        orders.subset_masks(depth)


@pytest.mark.parametrize("count", [0, 1, 3, 6])
def test_values_that_are_not_of_all_subsets_are_refused(count):
    with pytest.raises(ValueError, match=rf"all 2\^L subsets, L >= 1, got {count}"):
        orders.moebius(np.zeros(count))


def test_values_of_another_depth_and_too_many_are_refused():
    with pytest.raises(ValueError, match=r"expected 2\^3 = 8 values, got 4"):
        orders.order_sums(np.zeros(4), 3)
    with pytest.raises(ValueError, match="at most 16 layers"):
        orders.moebius(np.zeros(2**17))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("make", [np.array, torch.tensor])
def test_a_diverged_subset_is_refused_and_counted(bad, make):
    with pytest.raises(ValueError, match="1 of 4 subsets with others"):
        orders.moebius(make([[1.0, 1.0], [1.0, bad], [1.0, 1.0], [1.0, 1.0]]))
