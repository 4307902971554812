"""Shipped networks in other gauges, the intervention on gamma, and the shift without a gradient."""

import numpy as np
import pytest
import torch

from bnlib import training
from bnlib.chapters.trained_networks import measure, toys
from bnlib.networks.efficientnet import EfficientNetLite, layout, shipped_state_dict
from bnlib.networks.regauged import Copy, identity_copy
from bnlib.networks.seed_batched import SeedBatchedMLP
from bnlib.networks.spec import Spec


@pytest.fixture(scope="module")
def state():
    return shipped_state_dict()


@pytest.fixture(scope="module")
def images():
    return 255 * torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("name", "skips"), [("lite0", 9), ("lite1", 14), ("lite2", 14)])
def test_seven_stages_begin_without_a_skip_and_four_of_them_with_a_stride(name, skips):
    layers = layout(shipped_state_dict(name))
    assert sum(layer.skip for layer in layers) == skips
    assert [layer.stride for layer in layers if layer.conv.endswith("depthwise_conv")].count(2) == 4
    assert list(map(measure.role_of, layers)).count("project, no skip") == 7


def test_copies_have_the_same_logits_and_the_identity_copy_no_distance(state, images):
    table, clouds = measure.gauges({"lite0": state}, images, seed=0)
    table = table.loc["lite0"]
    assert table["logits"].max() < 1e-13  # 100 layers, some EPS each
    assert table["max d"][["identity, ε", "identity, ε'"]].max() < 1e-12
    assert table["median d"][["as shipped", "random gauge"]].min() > 1
    weak = measure.without_copy(measure.records_of(state))
    assert table["left"].tolist() == [0, sum(weak.values()), 0, 0]
    assert clouds["lite0", "as shipped"].shape == (3, 21008)


def test_a_folded_network_has_no_normalization_and_the_same_logits(state, images):
    table, same, densities = measure.folding({"lite0": state}, images)
    row = table.loc["lite0"]
    assert row["folded, float64"] < 1e-12
    assert row["folded, float32"] < 1e-5
    assert same
    assert row["numbers"] - row["numbers, folded"] == 3 * 21008  # four numbers become a bias
    calls = []
    EfficientNetLite(state).fold()(images, lambda *a: calls.append(a))
    assert not calls
    density, edges = densities["folded, float32"]
    assert np.sum(density * np.diff(edges)) == pytest.approx(1)


def test_gates_are_counted_over_all_places_and_images(state, images):
    seen = {}
    net = EfficientNetLite(state)
    net(images, lambda name, y, when: seen.update({name: y}) if when == "post" else None)
    channels = measure.gates(state, images, batch=1)
    part = channels[channels["layer"] == "_blocks.3._bn1"]
    wanted = (seen["_blocks.3._bn1"] > 0).double().mean((0, 2, 3)).numpy()
    np.testing.assert_allclose(part["open"], wanted)
    assert set(channels["role"]) == {"stem", "expand", "depthwise", "head"}
    table = measure.gate_table(channels.assign(net="lite0"), seed=0)
    assert (table["low"] <= table["corr"]).all()


def test_log_slopes_recover_an_exponent_and_count_what_they_leave_out():
    rng = np.random.default_rng(0)
    a = np.exp(rng.normal(size=500))
    slopes = measure.log_slopes(np.append(-a, [1e-3, 1]), np.append(a**0.5, [1, 0]))
    assert slopes == pytest.approx((0.5, 0.5, 2))
    noisy = measure.log_slopes(a, a**0.5 * np.exp(0.3 * rng.normal(size=500)))
    assert noisy.ols == pytest.approx(0.5, abs=0.05)
    assert np.isnan(measure.log_slopes(np.ones(5), a[:5]).ols)


def test_permutation_and_partial_correlation():
    rng = np.random.default_rng(0)
    z, other, noise = rng.normal(size=(3, 400))
    a, b = z + 0.1 * noise, z + 0.1 * rng.normal(size=400)
    assert measure.permutation_p(a, b, shuffles=99, rng=rng) == 0.01
    assert measure.permutation_p(a, other, shuffles=99, rng=rng) > 0.01
    assert abs(measure.partial_correlation(a, b, z)) < 0.2 < measure.correlation(a, b)


def test_associations_have_a_line_a_layer_and_means_by_role(state):
    layers = measure.associations({"lite0": state}, shuffles=20, seed=0)
    table = measure.association_table(layers, seed=0)
    assert len(layers) == 49
    assert table["pearson"]["lite0", "all"] == pytest.approx(layers["pearson"].mean())
    assert np.isnan(table["low"]["lite0", "stem"])
    # The first expansion, of block 1, comes after block 0, which begins a stage.
    assert layers[layers["role"] == "expand"].iloc[0]["after"] == "project, no skip"
    assert len(measure.projection_shifts({"lite0": state})) == 16


def test_an_mlp_has_an_identity_copy_with_the_same_outputs_also_in_training_up_to_eps():
    x, y = toys.digits(2, noise=0.0)
    net = SeedBatchedMLP(Spec((64, 16, 12, 10)), range(2))
    training.train(net, x, y, steps=40, batch=64, lr=0.05)
    stats = net.recalibrate(x)
    copy, left = identity_copy(net, stats)
    rows = torch.as_tensor(x)
    evaluated = net.forward(copy.params, rows, stats=copy.stats)
    torch.testing.assert_close(
        evaluated, net.forward(net.params, rows, stats=stats), atol=1e-12, rtol=0
    )
    assert left == 0
    assert toys.distances(net, copy)["max d"] < 1e-12
    assert toys.distances(net, Copy(net.params, stats))["max d"] > 0.1
    live = [net.forward(p, rows) for p in (net.params, copy.params)]
    assert 1e-9 < (live[0] - live[1]).abs().max() < 1e-2  # of order eps / var
    stored = toys.checkpoint(copy)
    torch.testing.assert_close(stored["1.weight"] ** 2, stored["1.running_var"] + 1e-5)


def test_frozen_gamma_stays_and_the_slope_starts_at_memory():
    run = toys.intervene(2, output="frozen", decay=5e-3, at=(0, 30))
    np.testing.assert_array_equal(run.gamma[0], run.gamma[1])
    np.testing.assert_array_equal(run.outgoing[0], run.outgoing[1])
    assert not np.array_equal(run.weight[0], run.weight[1])
    memory = toys.slopes(run.gamma, run.weight)[0]
    assert np.abs(memory).max() < 0.1
    course = toys.predicted_course(run, p=0.0, rate=1e3)
    np.testing.assert_allclose(course[1], 0.5)
    np.testing.assert_allclose(course[0], memory)


def test_the_shift_of_a_bottleneck_gets_a_gradient_only_through_drop_connect():
    assert toys.first_gradient(2, drop=0.0).max() < 1e-12
    assert toys.first_gradient(2, drop=0.2).min() > 1e-6
    plain, dropped = (toys.train(2, drop=p, steps=15, rows=200) for p in (0.0, 0.2))
    assert plain["max |β_proj|"].max() < 1e-12 < 1e-3 < dropped["max |β_proj|"].min()
    assert dropped["max |β_stem|"].max() < 1e-12
    assert plain["max |μ_expand|"].max() < 1e-10
    assert plain["corr β μ"].shape == (2, 3)
