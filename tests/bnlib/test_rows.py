"""Layouts and rows are the same numbers; wrong inputs are refused with what was wanted."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bnlib import rows
from bnlib.chapters.forward.measure import to_rows

RNG = np.random.default_rng(11)


@settings(deadline=None, derandomize=True)
@given(
    hnp.arrays(
        np.float64,
        hnp.array_shapes(min_dims=2, max_dims=5, min_side=0, max_side=4),
        elements=st.integers(-9, 9).map(float),
    ),
    st.data(),
)
def test_rows_taken_apart_come_back_in_the_same_layout(x, data):
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    flat, restore = to_rows(x, axis)
    assert flat.shape[1] == x.shape[axis]
    np.testing.assert_array_equal(restore(flat), x)


@pytest.mark.parametrize(
    ("shape", "axis"), [((5, 3), 1), ((4, 3, 2), 1), ((2, 3, 4, 5), 1), ((2, 4, 5, 3), -1)]
)
def test_one_column_of_the_rows_is_one_channel_in_both_libraries(shape, axis):
    x = RNG.normal(size=shape)
    flat, _ = to_rows(x, axis)
    np.testing.assert_array_equal(np.sort(flat[:, 2]), np.sort(x.take(2, axis), axis=None))
    theirs, restore = to_rows(torch.from_numpy(x), axis)
    np.testing.assert_array_equal(theirs.numpy(), flat)
    np.testing.assert_array_equal(restore(theirs).numpy(), x)


@pytest.mark.parametrize(("ndim", "axis", "message"), [(1, 0, "at least 2 axes"), (3, 3, "got 3")])
def test_a_layout_without_rows_or_without_that_axis_is_refused(ndim, axis, message):
    with pytest.raises(ValueError, match=message):
        rows.reduced_axes(ndim, axis)


def test_rows_of_another_shape_are_not_given_back():
    _, restore = to_rows(np.zeros((4, 3, 2)))
    with pytest.raises(ValueError, match=r"expected rows of shape \(8, 3\).*got \(3, 8\)"):
        restore(np.zeros((3, 8)))


@pytest.mark.parametrize(
    ("x", "gamma", "eps", "error", "message"),
    [
        (
            np.ones((4, 3), int),
            np.ones(3),
            0.1,
            TypeError,
            "x: expected float32 or float64, got int",
        ),
        (np.ones((4, 3), "f2"), np.ones(3), 0.1, TypeError, "got float16"),
        (np.ones((4, 3), "f4"), np.ones(3), 0.1, TypeError, "gamma: expected float32.*got float64"),
        (np.ones((4, 3)), np.ones(4), 0.1, ValueError, r"gamma: expected shape \(3,\).*got \(4,\)"),
        (np.ones((4, 3)), np.ones(3), -1e-9, ValueError, "expected eps >= 0, got -1e-09"),
        (np.ones((4, 3)), np.ones(3), np.nan, ValueError, "expected eps >= 0, got nan"),
        (np.ones(4), np.ones(1), 0.1, ValueError, "at least 2 axes"),
    ],
)
def test_wrong_inputs_are_refused_with_what_was_wanted_and_got(x, gamma, eps, error, message):
    with pytest.raises(error, match=message):
        rows.check_inputs(x, eps, gamma=gamma)


@pytest.mark.parametrize("shape", [(5, 3), (5, 40), (4, 3, 2), (2, 40, 3, 2), (0, 3)])
def test_lines_are_the_channels_of_a_layout_and_go_back(shape):
    x = RNG.normal(size=shape)
    view = rows.lines(x)
    work = rows.empty_lines(view)
    work[...] = view.reshape(work.shape)
    np.testing.assert_array_equal(to_rows(x)[0].T, work)
    if x.size:
        np.testing.assert_array_equal(rows.from_lines(work, x), x)


def test_blocks_cover_every_channel_once():
    x = RNG.normal(size=(2, 5, 200, 200))
    seen = [channel for k, _ in rows.blocks(x) for channel in range(5)[k]]
    assert seen == list(range(5))
    np.testing.assert_array_equal(np.concatenate([b for _, b in rows.blocks(x)]), rows.lines(x))
