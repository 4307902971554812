"""Convolutional networks in the chapter: the rules at their edges, and what is measured."""

import json
import math

import numpy as np
import pandas as pd
import pytest
import torch

from bnlib import data, interactions
from bnlib.chapters.interactions import decide, networks, times
from bnlib.networks.convolutional import build
from bnlib.statistics import Interval

CELLS = [("plain", "start"), ("plain", "sgd"), ("residual", "start"), ("residual", "sgd")]


def signs(relu, tanh="...."):
    """A cell a character: - less, + more, . open."""
    cells = {
        (network, activation, time): "-.+".index(character) - 1
        for activation, text in (("relu", relu), ("tanh", tanh))
        for (network, time), character in zip(CELLS, text, strict=True)
    }
    return pd.Series(cells).rename_axis(networks.PLACE)


@pytest.mark.parametrize(
    ("relu", "expected"),
    [
        ("----", "holds"),
        ("---.", "partly"),
        ("--..", "partly"),
        ("-...", "undecided"),  # one decided cell is not enough
        ("....", "undecided"),
        ("+...", "undecided"),
        ("---+", "fails"),
        ("++..", "fails"),
    ],
)
@pytest.mark.parametrize("tanh", ["....", "++++"])
def test_less_interaction_is_asked_of_the_relu_cells_alone(relu, tanh, expected):
    claim = decide.interactions_beyond_perceptrons(signs(relu, tanh))
    assert claim.verdict == expected
    assert ("plain tanh start more" in claim.evidence) == (tanh == "++++")


OPEN, ABOVE, BELOW = Interval(0.5, -0.1, 1.1), Interval(2, 1, 3), Interval(-1, -2, -0.1)


@pytest.mark.parametrize(
    ("gaps", "expected"),
    [
        ([ABOVE] * 4, "holds"),
        ([ABOVE, OPEN, OPEN, OPEN], "partly"),
        ([ABOVE, ABOVE, ABOVE, Interval(2, -math.inf, math.inf)], "partly"),
        ([OPEN] * 4, "undecided"),
        ([ABOVE, ABOVE, ABOVE, BELOW], "fails"),
        ([OPEN, OPEN, OPEN, BELOW], "fails"),
    ],
)
def test_larger_rates_are_asked_of_all_cells(gaps, expected):
    claim = decide.larger_rates_beyond_perceptrons(dict(zip(CELLS, gaps, strict=True)))
    assert claim.verdict == expected
    assert "residual sgd" in claim.evidence


def test_a_gap_of_rates_needs_six_pairs_and_leaves_out_those_that_are_none():
    gaps = pd.Series([1.0, 2.0, 1.0, 2.0, 1.0, math.nan])
    assert decide.sign(networks.rate_gap(gaps)) == 0, "five pairs decide nothing"
    six = networks.rate_gap(gaps.fillna(2.0))
    assert decide.sign(six) == 1
    # t(5) at 1 - .0125/2 is 3.8100 by the tables; the deviation is .5477, its error .2236
    assert six.low == pytest.approx(1.5 - 3.81 * 0.2236, abs=1e-3)


def test_the_registered_numbers_are_those_of_the_program():
    register = networks.REGISTER.read_text()
    assert "relu = 0.65, tanh = 0.85" in register
    assert networks.LEVELS == {"relu": 0.65, "tanh": 0.85}
    assert (networks.SEEDS, networks.STEPS, networks.DEPTH) == (12, 80, 8)
    assert [math.log2(rate) for rate in networks.RATES] == [*range(-7, 4)]


def test_sgd_stops_each_seed_at_its_level_and_one_that_does_not_get_there_has_no_value(
    monkeypatch,
):
    monkeypatch.setattr(networks, "LONGEST", 12)
    rows = data.bench_split("mnist1d")
    x, y = torch.from_numpy(rows.x_train), torch.from_numpy(rows.y_train)
    arm = build("bn", 8, range(3), x[:64], classes=rows.classes)
    order = torch.arange(12 * 3 * 64).reshape(12, 3, 64)
    at = interactions.Problem(arm, x[:256].expand(3, -1, -1), y[:256].expand(3, -1))
    start = at.loss(arm.params)
    levels = {"relu": float(start.median()) / math.log(10), "tanh": 0.0}
    monkeypatch.setattr(networks, "LEVELS", levels)
    params, steps = networks.after_sgd(arm, x, y, order)
    assert sorted(steps)[0] == 0
    assert (steps >= 0).all()
    assert bool((at.loss(params) <= start.median() + 1e-5).all())
    again = dict(networks.at_times("plain", "tanh", "bn", range(3)))
    assert np.isfinite(again["start"]["int"]).all()
    assert np.isnan(again["sgd"]["int"]).all()


def test_the_table_has_both_times_of_every_network_and_rates_of_relu(tmp_path, monkeypatch):
    for name, value in {"SEEDS": 2, "LONGEST": 3, "STEPS": 2, "RATES": [0.1, 1e6]}.items():
        monkeypatch.setattr(networks, name, value)
    monkeypatch.setattr(networks, "LEVELS", {"relu": 9.0, "tanh": 9.0})
    monkeypatch.setattr(networks, "NETWORKS", ("residual",))
    monkeypatch.setattr(networks, "ARMS", ("none", "bn"))
    path = tmp_path / "table.json"
    networks.redo(path)
    rows = json.loads(path.read_text())["rows"]
    wide = networks.by_seed(rows)
    assert wide["int", "bn"].shape == (2, 4)
    assert wide["max_stable", "none"]["residual", "tanh"].isna().to_numpy().all()
    assert (wide["max_stable", "none"]["residual", "relu"] <= math.log2(0.1)).to_numpy().all()
    assert networks.agreement(wide, range(2)) == 1.0
    written = path.read_text()
    networks.redo(path)
    assert path.read_text() == written, "what is finished is not run again"


def test_signs_of_cells_and_their_table_are_the_same():
    places = [("digits", "relu", 8, "start"), ("digits", "tanh", 8, "start")]
    columns = pd.MultiIndex.from_tuples(places, names=times.PLACE)
    gaps = pd.DataFrame([[-1.0, 1.0]] * 12, columns=columns)
    assert times.sign_tests(gaps).tolist() == [-1, 1]
    assert times.directions(gaps)["start"].tolist() == [-1, 1]
