"""What a small survey finds, and how its tables and slopes are made of it."""

import numpy as np
import pandas as pd
import pytest

from bnlib.chapters import interactions as chapter
from bnlib.chapters.interactions import decide, measure

GIVEN = chapter.Settings(
    seeds=8,
    activations=["relu", "tanh"],
    others=["bn-last-hidden"],
    depths=[8],
    r_values=[0.5],
    c_values=[0.3],
)


@pytest.fixture(scope="module")
def steps():
    """Eight layers, ReLU and tanh, both states."""
    return measure.every_cell(GIVEN)


@pytest.fixture(scope="module")
def loss(steps):
    return steps[steps.matched == "loss"]


def test_bn_lowers_the_loss_interaction_at_the_start_and_raises_it_in_a_trained_tanh_net(loss):
    rows = measure.differences(loss, "int")
    assert rows.sign["relu", 8, "start", "loss", 0.5] == -1
    assert rows.sign["relu", 8, "trained", "loss", 0.5] == -1
    assert rows.sign["tanh", 8, "trained", "loss", 0.5] == 1
    assert decide.reduced(decide.of_state(rows, "start")) == "holds"


def test_bn_raises_the_output_interaction_of_trained_nets_though_not_the_losses(steps):
    rows = measure.differences(steps[steps.matched == "output"], "net")
    assert (rows.xs("trained", level="state").sign == 1).all()
    assert decide.reduced(rows) == "fails"
    assert (steps["net"] > 0.01).all()
    assert (steps["net"] < 2).all()


def test_the_share_of_frozen_statistics_is_a_ratio_of_medians_of_the_same_seeds():
    cell = {"activation": "relu", "L": 8, "state": "start", "matched": "loss", "size": 0.5}
    arms = {"none": 0.0, "frozen": -0.3, "bn": -0.4}
    frame = pd.DataFrame(
        {**cell, "seed": seed, "arm": arm, "int": seed + value * (1 + seed % 2)}
        for seed in range(6)
        for arm, value in arms.items()
    )
    row = measure.frozen_share(frame).iloc[0]
    # Frozen gives three quarters of the gain in every seed, however large that is.
    assert (row["phi low"], row.phi, row["phi high"]) == pytest.approx((0.75, 0.75, 0.75))


def test_the_slope_is_the_median_over_pairs_of_depths_and_then_over_seeds():
    gains = {2: [0.0, 0.0, 0.0], 4: [2.0, 4.0, 6.0], 8: [100.0, 4.0, 6.0]}
    frame = pd.DataFrame(
        {"state": "start", "size": 0.5, "L": depth, "seed": seed, "arm": arm, "int": value * sign}
        for depth, values in gains.items()
        for seed, value in enumerate(values)
        for arm, sign in {"none": 1.0, "bn": 0.0}.items()
    )
    # slopes 1, 24.5, 16.7 -> 16.7;  2, 0, 0.67 -> 0.67;  3, 0, 1 -> 1
    assert measure.slope_in_depth(frame).estimate["start", 0.5] == pytest.approx(1.0)


def test_the_identities_of_the_split_hold_for_every_arm():
    worst = measure.identities(4, range(2), np.random.default_rng(0))
    assert max(worst[k] for k in ("orders", "inter", "shares", "two-parts")) <= 1e-12
    assert worst["rescaled"] <= 1e-9
    assert worst["small-steps"] <= 0.02


def test_tables_and_medians_are_those_of_the_paired_seeds(loss):
    row = measure.described(loss, "int").loc[("tanh", 8, "trained", 0.5)]
    assert row["reading"] == "above 0"
    wide = loss.pivot_table(index="seed", columns=["arm", *measure.CELL], values="int")
    gap = (wide["bn"] - wide["none"])["tanh", 8, "trained", "loss", 0.5]
    assert row["bn - none"] == f"{gap.median():+.3f}"
    rows = measure.medians(loss, "int", ["arm", "activation", "state"])
    median = wide["bn"]["tanh", 8, "trained", "loss", 0.5].median()
    assert rows.estimate["bn", "tanh", "trained"] == median


def test_other_reasons_leave_out_the_plain_net_where_its_signal_is_gone(monkeypatch):
    changes = {"as above": {}, "small": {"factor": 0.1, "batch": 16}}
    monkeypatch.setattr(measure, "CHANGES", changes)
    rows = measure.other_reasons(chapter.Settings(seeds=4, steps=1))
    pairs = [("BN - none", "as above"), ("BN - frozen", "as above"), ("BN - frozen", "small")]
    expected = {(s, *pair) for s in ("ReLU, start", "tanh, trained") for pair in pairs}
    assert set(rows.index) == expected
