"""The small tasks, the scale labels and the rows of the tables of the capacity chapter."""

import json

import numpy as np
import pytest

from bnlib import data, laws
from bnlib.chapters.capacity import measure

SEEDS = range(3)


def test_shares_explained_meet_the_exact_predictions():
    explained = {key: share for key, (_, share) in measure.random_layers(0).items()}
    c, s = np.cos(0.6 * np.pi), np.sin(0.6 * np.pi)
    expected = 2 * (c**2 / (3 * np.pi**2) + 16 * s**2 / (27 * np.pi**4))
    assert explained["relu", "gamma"] == pytest.approx(expected, abs=1e-5)  # grid for integral
    assert explained["tanh", "gamma"] == pytest.approx(c**2, abs=1e-5)


def test_the_deviation_of_batches_of_two_rows_by_hand():
    y = np.array([[0.0, 2.0]])[..., None]
    assert measure.batch_std(y, 2, 3, np.random.default_rng(0)) == pytest.approx([1.0])


@pytest.mark.parametrize(
    ("subset", "numbers"),
    [
        ("all", 5 * 8 + 8 * 8 + 8 * 3 + 3 + 32),
        ("gamma, beta", 32),
        ("gamma", 16),
        ("beta", 16),
        ("random weights", 32),  # as many as gammas and betas
        ("output layer", 27),
    ],
)
def test_a_subset_has_as_many_trained_numbers_as_it_says(subset, numbers, monkeypatch):
    monkeypatch.setitem(measure.HIDDEN, "3 x 128", (8, 8))
    x, y = np.random.default_rng(0).normal(size=(3, 20, 5)), np.tile(np.arange(20) % 3, (3, 1))
    how = {"rates": [0.1], "steps": 2, "batch": 10}
    row = measure.run_subset(("d", "3 x 128", subset), data.Split(x, y, x, y), SEEDS, **how)
    assert row["trained"] == numbers
    assert (row["rate"], row["edge"]) == (0.1, False)  # the only rate is no choice
    assert row["chance"] == pytest.approx(7 / 20)
    assert json.loads(json.dumps(row)) == row


def small(tmp_path, name="small.npz"):
    np.savez(tmp_path / name, X=np.eye(8), y=np.arange(8) % 2)
    return tmp_path / name


def test_data_and_widths_that_do_not_fit_are_refused_before_training(tmp_path):
    with pytest.raises(FileNotFoundError, match="X and y"):
        measure.splits(tmp_path / "no.npz", SEEDS, batch=8)
    path = small(tmp_path)
    with pytest.raises(ValueError, match="batch: expected 2 to 5 rows, got 64"):
        measure.splits(path, SEEDS, batch=64)
    rows = measure.splits(path, SEEDS, batch=4)
    with pytest.raises(ValueError, match="a layer of width 0"):
        measure.arm_spec("both", "relu-1", rows, 0)


def test_arms_and_architectures_are_what_they_are_called(tmp_path):
    path = small(tmp_path)
    rows = measure.splits(path, SEEDS, batch=4)
    spec = {
        (arm, architecture): measure.arm_spec(arm, architecture, rows, 4)
        for arm in ("both", "plain", "affine", "none")
        for architecture in measure.ARCHITECTURES
    }
    assert spec["both", "relu-1, logits"].output_norm == "batch"
    assert spec["plain", "relu-1, logits"].norms == ("none",) * 3
    assert spec["affine", "tanh-3"].norms == ("none", *["affine"] * 3, "none")
    none = spec["none", "relu-3, post"]
    assert (none.scale, none.shift, none.order) == (False, False, "post")
    how = {"rates": [0.1, 0.2], "steps": 3, "batch": 4}
    row = measure.run_arm((str(path), "relu-1", "both"), rows, SEEDS, width=4, **how)
    assert row["data"] == "small.npz"
    assert len(row["accuracy"]) == len(row["loss"]) == 3
    assert json.loads(json.dumps(row)) == row


def test_none_and_beta_with_normalized_logits_are_measured_in_units_of_their_seed_s_floor():
    y = np.array([[0, 0, 1, 1], [0, 0, 0, 1]])
    floor = [laws.logit_floor(np.array(shares)) for shares in ((0.5, 0.5), (0.75, 0.25))]
    runs = [
        {"architecture": "relu-1, logits", "arm": "none", "loss": [2 * f for f in floor]},
        {"architecture": "relu-1", "arm": "none", "loss": [0.0, 0.0]},
    ]
    assert measure.over_logit_floor(runs, y)["none"] == pytest.approx([2, 2])
