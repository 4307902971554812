"""Channels at the right places, shapes of distributions, laws at values known by hand."""

import numpy as np
import pytest
import torch

from bnlib.chapters.forward import Settings, measure


def net(images, hook):
    """A stand-in with two layers; channel k of the stem holds k + the place's number."""
    places = torch.arange(16.0).reshape(1, 1, 4, 4) + 100 * torch.arange(3.0).reshape(1, 3, 1, 1)
    hook("_bn0", images.mean() * 0 + places.expand(len(images), -1, -1, -1), "pre")
    hook("_bn0", torch.full((len(images), 3, 4, 4), -1.0), "post")
    hook("_blocks.0._bn1", images[:, :2, :4, :4], "pre")


def test_rows_hold_distinct_places_and_the_same_ones_for_all_channels():
    inputs = measure.collect(net, torch.zeros(5, 3, 4, 4), positions=16, seed=0, batch=2)
    stem = inputs["stem", "_bn0"]
    assert stem.shape == (80, 3)
    assert set(inputs) == {("stem", "_bn0"), ("depthwise", "_blocks.0._bn1")}
    np.testing.assert_array_equal(stem[:, 1] - stem[:, 0], 100.0)
    np.testing.assert_array_equal(stem[:16, 0].sort().values, np.arange(16.0))


def test_too_few_places_are_refused():
    with pytest.raises(ValueError, match="expected 17 positions, got only 16"):
        measure.collect(net, torch.zeros(2, 3, 4, 4), positions=17, seed=0)


@pytest.fixture
def shapes():
    rng = np.random.default_rng(0)
    normal, spiky = rng.normal(size=(500, 4)), rng.exponential(size=(500, 4)) ** 4
    spiky[:, 1] = 3.0
    inputs = {
        ("wide", "a"): torch.tensor(normal[:, :2]),
        ("wide", "b"): torch.tensor(normal[:, 2:]),
        ("narrow", "c"): torch.tensor(1e-2 * spiky),
    }
    return measure.channel_shapes(inputs, {500: 0.04}, eps=1e-3)


def test_a_constant_channel_is_left_out_and_the_others_keep_their_numbers(shapes):
    assert shapes[shapes.group == "narrow"].channel.tolist() == [0, 2, 3]


def test_shapes_do_not_change_and_only_normal_channels_count_as_normal(shapes):
    assert shapes.change.max() <= 1e-10
    assert shapes.normal.tolist() == [True] * 4 + [False] * 3
    assert (shapes.normal == shapes.normal_before).all()


def test_rho_is_the_share_of_variance_that_eps_leaves(shapes):
    assert (shapes.rho[shapes.group == "wide"] > 0.99).all()
    assert shapes.rho.between(0, 1).all()


def test_the_summary_has_intervals_only_where_layers_can_be_resampled(shapes):
    table = measure.summarize(shapes, np.random.default_rng(1))
    assert table.loc["wide", "low"] <= table.KS["wide"] <= table.loc["wide", "high"]
    assert np.isnan(table.loc["narrow", "low"])
    assert table.channels.tolist() == [4, 3]
    assert table.layers.tolist() == [2, 1]


def test_the_silhouette_has_the_same_order_at_every_stage():
    stages = measure.pipeline(np.random.default_rng(3))
    assert [color for color, _ in stages] == ["input", "input", "normalized", "output"]
    orders = [np.argsort(values) for _, values in stages]
    assert all((order == orders[0]).all() for order in orders)


def test_families_keep_their_shape_in_every_repeat():
    shapes = measure.family_shapes(Settings(draws=1000, repeats=3))
    assert list(shapes) == list(measure.FAMILIES)
    for before, after in shapes.values():
        assert np.shape(after) == (4, 3)
        assert np.abs(np.subtract(after, before)).max() <= 1e-10
    assert shapes["uniform"][1].excess_kurtosis.mean() == pytest.approx(-1.2, abs=0.05)


def test_typical_is_the_channel_in_the_middle(shapes):
    rng = np.random.default_rng(4)
    inputs = {("narrow", "c"): torch.tensor(rng.exponential(size=(500, 4)))}
    ks, _, x_hat, _ = measure.typical("narrow", inputs, shapes)
    assert ks == shapes.ks[shapes.group == "narrow"].median()
    assert x_hat.std() == pytest.approx(1, rel=1e-2)


def test_blocks_are_read_from_the_names_and_left_empty_without_the_network(shapes):
    assert measure.over_blocks(shapes) == {}
    named = shapes.assign(group="depthwise", layer="_blocks.3._bn1")
    others = [named.assign(group=group) for group in ("expand", "project")]
    medians = measure.over_blocks(type(shapes)(np.vstack([named, *others]), columns=shapes.columns))
    assert medians["depthwise"][3] == shapes.ks.median()
    assert np.isnan(np.delete(medians["depthwise"].astype(float), 3)).all()


def test_what_a_depthwise_channel_reads_is_the_normalized_expansion(shapes):
    parts = dict(zip(("weight", "bias", "running_mean", "running_var"), (2, 1, 3, 4), strict=True))
    before = "_blocks.3._bn0"
    weights = {f"{before}.{part}": torch.full((2,), float(v)) for part, v in parts.items()}
    crops = measure.Photographs({("expand", before): torch.ones(5, 2) * 3}, weights, 5, "")
    channel = shapes.assign(group="depthwise", layer="_blocks.3._bn1", channel=1).iloc[0]
    assert measure.before_relu6(crops, channel) == pytest.approx(np.ones(5))  # x is its mean
    assert len(measure.before_relu6(crops, shapes.iloc[0])) == 0


@pytest.mark.parametrize(("m", "distance"), [(2, 0.3413), (4, 0.0572)])
def test_normal_rows_follow_their_law_and_not_the_bell(m, distance):
    given = Settings(draws=4000, batch_sizes=[m])
    sample, row = measure.normal_rows(m, given)
    assert row["low"] - 1e-9 <= row["-6/(m+1)"] <= row["high"] + 1e-9
    assert row["KS to law"] < 0.03 < row["law to normal"] == pytest.approx(distance, abs=1e-3)
    assert row["gap low"] <= 2 * (1 - row["E s_m"]) <= row["gap high"]
    assert len(sample) == 4000


def test_a_small_weight_lags_by_the_formula_and_stays_in_its_band():
    drift = measure.drift(0.1, seed=0)
    assert drift.lag.low <= 0.27 <= drift.lag.high
    for paths, center, half, _ in (drift.constant, drift.drifting):
        assert paths.shape == (400, 4)
        assert np.mean(np.abs(paths.T - center) <= half) > 0.9


def test_an_average_of_variances_misses_what_is_between_batches():
    stored, pooled = measure.variances_of_batches(np.random.default_rng(6))
    assert stored == pytest.approx(1, abs=0.1)
    assert pooled == pytest.approx(2, abs=0.3)
