"""Splits and crops: disjoint, repeatable, offline; files of readers refused with a reason."""

import random
import socket

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits, load_sample_images

from bnlib import data


@pytest.fixture
def npz(tmp_path):
    def write(**arrays):
        path = tmp_path / "own.npz"
        np.savez(path, **arrays)
        return path

    return write


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("digits", [(1347, 64), (450, 64)]),
        ("mnist1d", [(4000, 40), (1000, 40)]),
        ("mnist5k", [(3000, 784), (2000, 784)]),
    ],
)
def test_a_split_is_a_partition_of_labeled_rows_that_repeats_for_its_seed_alone(name, shapes):
    split, again, other = (data.load(name, seed) for seed in (1, 1, 2))
    assert [split.x_train.shape, split.x_test.shape] == shapes
    assert (split.x_train.dtype, split.y_train.dtype) == (np.float64, np.int64)
    assert set(split.y_train) == set(split.y_test) == set(range(10))
    assert all(np.array_equal(a, b) for a, b in zip(split, again, strict=True))
    assert not np.array_equal(split.y_train, other.y_train)

    def rows(split):
        both = np.vstack([np.column_stack(split[:2]), np.column_stack(split[2:])])
        return both[np.lexsort(both.T)]

    np.testing.assert_array_equal(rows(split), rows(other))


def test_digits_are_those_of_scikit_learn_over_sixteen():
    split = data.digits_split(0, n_train=1000)
    assert len(split.x_train) == 1000
    assert split.x_train.min() == 0.0
    assert split.x_train.max() == 1.0
    total = split.x_train.sum() + split.x_test.sum()
    assert total == load_digits(return_X_y=True)[0].sum() / 16  # sixteenths: exact in any order


def test_mnist1d_asks_no_network_writes_no_file_and_keeps_global_generators(
    no_network, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    data._mnist1d.cache_clear()
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002 - the global generators are what is tested
    wanted = random.random(), np.random.random()  # noqa: NPY002
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002
    split = data.mnist1d_split(0)
    assert (random.random(), np.random.random()) == wanted  # noqa: NPY002
    assert list(tmp_path.iterdir()) == []
    x = np.concatenate([split.x_train, split.x_test])
    np.testing.assert_allclose([x.mean(), x.std()], [0.0, 1.0], atol=1e-9)


def test_changing_a_split_does_not_change_the_next_one():
    before = data.mnist1d_split(0).x_train.copy()
    data.mnist1d_split(0).x_train[:] = 0
    np.testing.assert_array_equal(data.mnist1d_split(0).x_train, before)


@pytest.mark.parametrize("n_train", [0, 1797, -1])
def test_both_parts_of_a_split_exist(n_train):
    with pytest.raises(ValueError, match="expected 0 < n_train < 1797"):
        data.digits_split(0, n_train=n_train)


def test_unknown_name_is_refused_with_the_nearest_one():
    with pytest.raises(ValueError, match="did you mean 'digits'"):
        data.load("digit", 0)
    with pytest.raises(ValueError, match=r"path ending in \.npz\): expected one of"):
        data.load("cifar", 0)


def test_own_file_is_split_three_to_one(npz):
    x = np.arange(24, dtype=np.float32).reshape(12, 2)
    split = data.load(npz(X=x, y=np.arange(12) % 3), seed=0)
    assert (split.x_train.shape, split.x_test.shape) == ((9, 2), (3, 2))
    assert split.x_train.dtype == np.float64
    both = np.concatenate([split.x_train, split.x_test])
    labels = np.concatenate([split.y_train, split.y_test])
    np.testing.assert_array_equal(labels, (both[:, 0] / 2) % 3)  # row k holds 2k and label k % 3


X, Y = np.arange(8.0).reshape(4, 2), np.array([0, 1, 0, 1])
WITH_NAN = np.array([[1.0, 2.0], [3.0, np.nan], [1.0, 1.0], [np.inf, 0.0]])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": X, "y": Y}, r"expected keys X and y, got \['x', 'y'\]; write it with"),
        ({"X": X}, r"expected keys X and y, got \['X'\]"),
        ({"X": X, "y": Y[:3]}, r"y: expected one label a row, shape \(4,\), got \(3,\)"),
        ({"X": X[:, :, None], "y": Y}, r"got float64 \(4, 2, 1\); flatten"),
        ({"X": X + 1j, "y": Y}, "X: expected real numbers"),
        ({"X": WITH_NAN, "y": Y}, "in 2 of 4 rows, the first in row 1; drop"),
        (
            {"X": np.where(X == 4, 1e200, X), "y": Y},
            r"X: expected finite .* 1e\+15.* row 2; .*rescale",
        ),
        ({"X": 0 * X + 3, "y": Y}, "X: expected rows that differ, got 4 equal ones; add"),
        (
            {"X": X, "y": 0 * Y},
            r"y: expected labels .* two classes or more, .* got \[0\]; renumber",
        ),
        (
            {"X": X, "y": Y.astype(object)},
            r"y: expected an array of numbers, got Python objects; conv",
        ),
        ({"X": X, "y": Y * 1.0}, "expected integer labels, got float64"),
        ({"X": X, "y": Y + 1}, r"without gaps, got \[1, 2\]; renumber"),
        ({"X": X, "y": Y * 2}, r"got \[0, 2\]"),
        ({"X": X, "y": Y - 1}, r"got \[-1, 0\]"),
        ({"X": X[:2], "y": Y[:2]}, "expected 0 < n_train < 2"),
    ],
)
def test_own_file_is_refused_with_expected_got_and_repair(npz, arrays, message):
    with pytest.raises((KeyError, ValueError), match=message):
        data.load(npz(**arrays), seed=0)


def test_missing_and_foreign_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"got no file at 'nowhere\.npz'; a relative"):
        data.load("nowhere.npz", 0)
    path = tmp_path / "text.npz"
    path.write_text("X,y")
    with pytest.raises(ValueError, match=r"expected an \.npz archive, got another kind of file"):
        data.load(path, 0)


def test_crops_repeat_and_alternate_between_the_photographs():
    crops = data.photo_crops(6, size=32, seed=1)
    assert crops.shape == (6, 3, 32, 32)
    assert crops.dtype == torch.float32
    assert crops.min() >= 0
    assert crops.max() <= 255
    assert torch.equal(crops, data.photo_crops(6, size=32, seed=1))
    assert not torch.equal(crops, data.photo_crops(6, size=32, seed=2))
    assert torch.equal(crops[:4], data.photo_crops(4, size=32, seed=1))
    # china.jpg is a bright sky, flower.jpg a dark green: the means tell them apart
    means = crops.mean(dim=(1, 2, 3))
    assert means[0::2].min() > means[1::2].max()


def test_no_crops_are_an_empty_batch():
    assert data.photo_crops(0, size=8).shape == (0, 3, 8, 8)


def test_center_crop_at_full_size_is_the_photograph_itself():
    images = load_sample_images().images
    centers = data.photo_centers(size=427)  # the shorter edge: nothing to resize
    for crop, image in zip(centers, images, strict=True):
        np.testing.assert_array_equal(crop.permute(1, 2, 0).numpy(), image[:, 106:533])


def test_resizing_is_antialiased():
    checker = torch.zeros(3, 64, 64)
    checker[:, ::2, 1::2] = checker[:, 1::2, ::2] = 255.0
    inner = data._crop(checker, 0, 0, 64, 8)[:, 1:-1, 1:-1]
    assert (inner - 127.5).abs().max() < 1.0  # without antialiasing: 0 or 255
