"""The bench, the measurements, and the findings behind every claim of the chapter."""

import numpy as np
import pandas as pd
import pytest
import torch

from bnlib import data, interactions
from bnlib.experiments import interaction_cells as cells
from bnlib.experiments import interaction_orders

SEEDS = range(8)


@pytest.fixture(scope="module")
def survey():
    """A small survey: eight layers, ReLU and tanh, both states."""
    return interactions.survey(
        ["none", "frozen", "bn", "bn-last-hidden"],
        SEEDS,
        activations=["relu", "tanh"],
        states=["start", "trained"],
        r_values=[0.5],
        c_values=[0.3],
    )


def matched(survey, kind, **cell):
    rows = survey[survey.matched == kind]
    for name, value in cell.items():
        rows = rows[rows[name] == value]
    return rows


# One test a claim: each turns red where a term of the split changes its sign.


def test_bn_lowers_the_loss_interaction_at_the_start_and_raises_it_in_a_trained_tanh_net(survey):
    loss = matched(survey, "loss")
    rows = cells.differences(loss, "int", "bn", "none")
    assert rows.sign["relu", 8, "start", "loss", 0.5] == -1
    assert rows.sign["relu", 8, "trained", "loss", 0.5] == -1
    assert rows.sign["tanh", 8, "trained", "loss", 0.5] == 1
    start = rows[rows.index.get_level_values("state") == "start"]
    assert cells.reduced(start) == "holds"


def test_bn_raises_the_output_interaction_of_trained_nets_though_not_the_losses(survey):
    rows = cells.differences(matched(survey, "output"), "net", "bn", "none")
    assert (rows.xs("trained", level="state").sign == 1).all()
    assert cells.reduced(rows) == "fails"
    assert (survey["net"] > 0.01).all()
    assert (survey["net"] < 2).all()


def test_what_bn_lowers_at_the_start_is_the_curvature_part(survey):
    start = matched(survey, "loss", state="start", activation="relu")
    assert (cells.differences(start, "curvature", "bn", "none").sign == -1).all()
    np.testing.assert_allclose(survey["curvature"] + survey["network"], survey["int"], atol=1e-12)


def test_frozen_statistics_give_most_but_not_all_of_the_reduction_at_the_start(survey):
    rows = cells.explained(matched(survey, "loss"), "int").loc[("relu", 8, "start", "loss", 0.5)]
    assert rows.high < 0
    assert 0.5 < rows.phi < 0.9
    assert 0.3 < rows["phi low"] <= rows.phi <= rows["phi high"] < 1.1
    assert rows.verdict == "partly"


def test_the_share_of_frozen_statistics_is_a_ratio_of_medians_of_the_same_seeds():
    cell = {"activation": "relu", "L": 8, "state": "start", "matched": "loss", "size": 0.5}
    arms = {"none": 0.0, "frozen": -0.3, "bn": -0.4}
    frame = pd.DataFrame(
        {**cell, "seed": seed, "arm": arm, "int": seed + value * (1 + seed % 2)}
        for seed in range(6)
        for arm, value in arms.items()
    )
    row = cells.explained(frame, "int").iloc[0]
    # Frozen gives three quarters of the gain in every seed, however large that is.
    assert row.phi == pytest.approx(0.75)
    assert (row["phi low"], row["phi high"]) == pytest.approx((0.75, 0.75))
    assert row.verdict == "partly"


def test_a_trained_step_misses_its_promise_by_more_with_bn_in_tanh_nets(survey):
    loss = matched(survey, "loss")
    rows = cells.differences(loss, "miss", "bn", "none")
    assert rows.sign["tanh", 8, "trained", "loss", 0.5] == 1
    assert rows.sign["tanh", 8, "start", "loss", 0.5] == -1
    np.testing.assert_allclose(loss.act, 1 - loss.own - loss["int"], atol=1e-12)
    np.testing.assert_allclose(loss.miss, (1 - loss.act).abs(), atol=1e-12)


def test_bn_everywhere_interacts_less_than_bn_at_the_last_hidden_layer(survey):
    rows = cells.against_others(matched(survey, "loss"), "int", ["bn-last-hidden"])
    assert rows.verdict["relu", 8, "start", "loss", 0.5] == "holds"


def test_the_advantage_grows_with_depth_at_the_start():
    run = interactions.survey(["none", "bn"], SEEDS, depths=[2, 4, 8], r_values=[0.5])
    rows = cells.slope_in_depth(run, "int")
    assert rows.index.tolist() == [("start", 0.5)]
    assert (rows.sign == 1).all()
    assert 0.01 < rows.estimate.iloc[0] < 0.05


def test_orders_above_two_are_minor_but_not_nothing():
    found = interaction_orders.orders("none", 6, SEEDS, r=0.5, c=1.0)
    assert 0.1 < np.median(interaction_orders.high_share(found["loss"])) < 0.4
    assert found["gap"].max() <= 1e-12
    assert found["inter"].max() <= 1e-12


def test_the_identities_of_the_split_hold_for_every_arm():
    found = interaction_orders.checks(4, range(2), np.random.default_rng(0))
    assert max(found[k] for k in ("orders", "inter", "shares", "two-parts")) <= 1e-12
    assert found["rescaled"] <= 1e-9
    assert found["small-steps"] <= 0.02


def test_bn_and_frozen_start_at_one_loss_and_one_function(survey):
    start = matched(survey, "loss", state="start").pivot_table(
        index="seed", columns=["activation", "arm"], values="loss"
    )
    for activation in ("relu", "tanh"):
        gap = start[activation, "bn"] - start[activation, "frozen"]
        np.testing.assert_allclose(gap, 0, atol=1e-12)


def test_descent_lowers_the_loss_and_leaves_the_initial_parameters_alone():
    at = interactions.problem("frozen", 4, range(3))
    before = {name: value.clone() for name, value in at.arm.params.items()}
    after = at.loss(interactions.descend(at))
    assert (after < 0.6 * at.loss(at.arm.params)).all()
    assert all(torch.equal(before[name], at.arm.params[name]) for name in before)


def test_inputs_are_standardized_once_for_all_seeds_and_quiet_pixels_stay_quiet():
    x = np.array([[0.0, 0.5, 0.001], [0.5, 0.5, 0.0], [1.0, 0.5, 0.0]])
    z = data.standardized(x)
    np.testing.assert_allclose(z.mean(0), 0, atol=1e-15)
    np.testing.assert_allclose(z.std(0)[0], 1)
    assert z.std(0)[1] == 0
    assert z.std(0)[2] < 0.1
    one, two = (interactions.problem("none", 2, seeds) for seeds in ([5], [3, 5]))
    assert torch.equal(one.x[0], two.x[1])
    assert float(one.x.abs().max()) <= data.LIMIT


@pytest.mark.parametrize("rule", interactions.DIRECTIONS)
def test_every_direction_descends(rule):
    at = interactions.problem("bn", 3, range(2))
    target = interactions.aim(at, rule=rule)
    assert (target.slope < 0).all()
    found = interactions.one_step(
        at, target, interactions.match_loss(target.loss, target.slope, 1e-3)
    )
    np.testing.assert_allclose(found["act"], 1, atol=0.05)


def test_directions_batches_and_depths_that_make_no_sense_are_refused():
    at = interactions.problem("bn", 2, [0])
    with pytest.raises(ValueError, match="direction: expected one of"):
        interactions.aim(at, rule="newton")
    with pytest.raises(ValueError, match="depth: expected at least 1 weight matrix, got 0"):
        interactions.problem("bn", 0, [0])
    with pytest.raises(ValueError, match="batch: expected 2 to 1797 rows, got 1"):
        interactions.problem("bn", 2, [0], batch=1)


def signs(*rows):
    index = pd.MultiIndex.from_tuples([row[:2] for row in rows], names=["activation", "L"])
    return pd.DataFrame({"sign": [row[2] for row in rows]}, index=index)


@pytest.mark.parametrize(
    ("rows", "verdict"),
    [
        ([("relu", 4, -1), ("relu", 8, -1), ("tanh", 4, -1)], "holds"),
        ([("relu", 4, -1), ("relu", 8, -1), ("tanh", 4, 0)], "partly"),
        ([("relu", 4, -1), ("relu", 8, 0), ("tanh", 4, -1)], "partly"),
        ([("relu", 4, -1), ("relu", 8, -1), ("relu", 2, 0), ("tanh", 4, -1)], "holds"),
        ([("relu", 4, -1), ("relu", 8, 0), ("tanh", 4, 1)], "fails"),
        ([("relu", 4, 0), ("relu", 8, 0), ("tanh", 4, 0)], "fails"),
    ],
)
def test_the_decision_rule_is_that_of_the_page(rows, verdict):
    assert cells.reduced(signs(*rows)) == verdict


@pytest.mark.parametrize(
    ("given", "verdict"),
    [
        (["holds", "holds"], "holds"),
        (["holds", "fails"], "fails"),
        (["holds", "partly", "fails"], "partly"),
    ],
)
def test_verdicts_of_cells_add_up(given, verdict):
    rows = signs(*[("relu", 4 + i, 0) for i in range(len(given))]).assign(verdict=given)
    assert cells.over_cells(rows) == verdict
    assert f"{given.count('fails')} fail" in cells.tally(rows)


def test_without_relu_cells_there_is_no_verdict():
    with pytest.raises(ValueError, match="want ReLU cells"):
        cells.reduced(signs(("tanh", 8, -1)))


def test_tables_and_bands_are_those_of_the_paired_seeds(survey):
    loss = matched(survey, "loss")
    table = cells.described(loss, "int")
    row = table.loc[("tanh", 8, "trained", 0.5)]
    assert row["reading"] == "above 0"
    wide = loss.pivot_table(index="seed", columns=["arm", *cells.CELL], values="int")
    gap = (wide["bn"] - wide["none"])["tanh", 8, "trained", "loss", 0.5]
    assert row["bn - none"] == f"{gap.median():+.3f}"
    assert cells.sides(cells.differences(loss, "int", "bn", "none"))[2] == len(table)
    rows = cells.medians(loss, "int", ["arm", "activation"])
    lines, bands = cells.bands(rows, ["bn"])
    assert (bands["bn"][0] <= lines["bn"]).all()
    assert (lines["bn"] <= bands["bn"][1]).all()


def test_confounds_leave_out_the_plain_net_where_its_signal_is_gone():
    settings = {"s": {"batch": 16}}
    found = cells.confounds(range(3), settings, {"base": {}, "small": {"factor": 0.1}})
    assert set(found.index) == {
        ("s", "BN - none", "base"),
        ("s", "BN - frozen", "base"),
        ("s", "BN - frozen", "small"),
    }
