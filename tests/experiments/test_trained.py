"""Shipped networks in other gauges, the intervention on gamma, and the shift without a gradient."""

import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt

from bnlib import training
from bnlib.experiments import bottleneck, equilibrium, regauged_mlp, trained, trained_tables
from bnlib.networks import regauged
from bnlib.networks.efficientnet import EfficientNetLite, layout, shipped_state_dict
from bnlib.networks.seed_batched import SeedBatchedMLP
from bnlib.networks.spec import Spec
from bnlib.plots import trained as plots


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
    roles = list(trained.roles(shipped_state_dict(name)).values())
    assert roles.count("project, no skip") == 7


def test_copies_have_the_same_logits_and_the_identity_copy_no_distance(state, images):
    rng = np.random.default_rng(0)
    table, coordinates, left = trained_tables.gauges(state, images, rng=rng)
    assert table["logits"].max() < 1e-13  # 100 layers, some EPS each
    assert table["max d"][["identity, ε", "identity, ε'"]].max() < 1e-12
    assert table["median d"][["as shipped", "random gauge"]].min() > 1
    assert table["left"].tolist() == [0, sum(left.values()), 0, 0]
    assert coordinates["as shipped"].shape == (2, 21008)


def test_a_wrong_gauge_is_seen_in_the_logits(state, images):
    """What fails if the bias is forgotten: the check above can fail."""
    copy, _ = trained.identity_copy(state, new_eps=1e-5)
    copy["_bn0.running_mean"] = copy["_bn0.running_mean"] + 0.1
    truth = EfficientNetLite(state, dtype=torch.float64)(images)
    wrong = EfficientNetLite(copy, eps=1e-5)(images)
    assert (wrong - truth).abs().max() > 1e-3 * truth.abs().max()


def test_a_folded_network_has_no_normalization_and_the_same_logits(state, images):
    row, errors, same = trained_tables.folding(state, images)
    assert row["folded, float64"] < 1e-12
    assert row["folded, float32"] < 1e-5
    assert same
    assert row["numbers"] - row["numbers, folded"] == 3 * 21008  # four numbers become a bias
    calls = []
    EfficientNetLite(state).fold()(images, lambda *a: calls.append(a))
    assert not calls
    assert errors["folded, float32"].shape == (2000,)


def test_gates_are_counted_over_all_places_and_images(state, images):
    seen = {}
    net = EfficientNetLite(state)
    net(images, lambda name, y, when: seen.update({name: y}) if when == "post" else None)
    found = trained.gates(net, images, batch=1)
    part = found[found["layer"] == "_blocks.3._bn1"]
    wanted = (seen["_blocks.3._bn1"] > 0).double().mean((0, 2, 3)).numpy()
    np.testing.assert_allclose(part["open"], wanted)
    assert set(found["role"]) == {"stem", "expand", "depthwise", "head"}
    table = trained_tables.gate_table(found.assign(net="lite0"), rng=np.random.default_rng(0))
    assert (table["low"] <= table["corr"]).all()


def test_stored_means_follow_from_the_weights_and_not_from_other_ones(state):
    streams = trained.stream_means(state).assign(net="lite0")
    errors = trained_tables.stream_errors(streams)
    assert len(errors) == 16
    assert errors.drop(("lite0", "_bn1")).max() < 0.01
    moved = dict(state) | {"_blocks.5._bn2.bias": state["_blocks.5._bn2.bias"] + 0.1}
    assert trained_tables.stream_errors(trained.stream_means(moved).assign(net="x")).max() > 0.01


def test_associations_have_a_line_a_layer_and_means_by_role(state):
    rng = np.random.default_rng(0)
    layers = trained.associations_by_layer(state, shuffles=20, rng=rng).assign(net="lite0")
    table = trained_tables.association_table(layers, seed=0)
    assert len(layers) == 49
    assert table["pearson"]["lite0", "all"] == pytest.approx(layers["pearson"].mean())
    assert np.isnan(table["low"]["lite0", "stem"])
    shifts = trained_tables.projection_shifts({"lite0": state})
    assert len(shifts) == 16


def test_an_mlp_has_an_identity_copy_with_the_same_outputs_also_in_training_up_to_eps():
    x, y = equilibrium.digits(2, noise=0.0)
    net = SeedBatchedMLP(Spec((64, 16, 12, 10)), range(2))
    training.train(net, x, y, steps=40, batch=64, lr=0.05)
    stats = net.recalibrate(x)
    copy, left = regauged.identity_copy(net, stats)
    rows = torch.as_tensor(x)
    evaluated = net.forward(copy.params, rows, stats=copy.stats)
    torch.testing.assert_close(
        evaluated, net.forward(net.params, rows, stats=stats), atol=1e-12, rtol=0
    )
    assert left == 0
    assert regauged_mlp.largest_distance(net, copy.params, copy.stats)["max d"] < 1e-12
    assert regauged_mlp.largest_distance(net, net.params, stats)["max d"] > 0.1
    live = [net.forward(p, rows) for p in (net.params, copy.params)]
    assert 1e-9 < (live[0] - live[1]).abs().max() < 1e-2  # of order eps / var


def test_decay_shrinks_trained_weight_matrices_and_nothing_else():
    """One step by hand: W <- W - lr (g + decay W)."""
    x, y = equilibrium.digits(2, noise=0.0)
    runs = {}
    for decay in (0.0, 0.1):
        net = SeedBatchedMLP(Spec((64, 8, 10)), range(2))
        start = {name: value.clone() for name, value in net.params.items()}
        recipe = {"steps": 1, "batch": 32, "lr": 0.5, "weight_decay": decay}
        training.train(net, x, y, trainable=["W1", "gamma", "beta", "b"], **recipe)
        runs[decay] = net.params
    for name, value in start.items():
        shrunk = (0.5 * 0.1 if name == "W1" else 0.0) * value
        torch.testing.assert_close(runs[0.1][name], runs[0.0][name] - shrunk)
    for wrong in ({"weight_decay": -1.0}, {"weight_decay": 0.1, "optimizer": "adam"}):
        with pytest.raises(ValueError, match="weight_decay: expected"):
            training.Recipe(steps=1, batch=2, lr=0.1, **wrong)


def test_masked_weights_do_not_decay():
    x, y = equilibrium.digits(1, noise=0.0)
    net = SeedBatchedMLP(Spec((64, 8, 10)), [0])
    start, mask = net.params["W1"].clone(), torch.rand(1, 8, 64) > 0.5
    training.train(net, x, y, steps=3, batch=32, lr=0.1, weight_decay=0.5, masks={"W1": mask})
    assert torch.equal(net.params["W1"][~mask], start[~mask])
    assert not torch.equal(net.params["W1"][mask], start[mask])


def test_frozen_gamma_stays_and_the_slope_starts_at_memory():
    run = equilibrium.intervene(2, output="frozen", decay=5e-3, at=(0, 30))
    np.testing.assert_array_equal(run.gamma[0], run.gamma[1])
    np.testing.assert_array_equal(run.outgoing[0], run.outgoing[1])
    assert not np.array_equal(run.weight[0], run.weight[1])
    assert np.abs(equilibrium.slopes(run, "weight")[0]).max() < 0.1
    course = equilibrium.predicted_course(run, p=0.0, rate=1e3)
    np.testing.assert_allclose(course[1], 0.5)
    np.testing.assert_allclose(course[0], equilibrium.slopes(run, "weight")[0])


def test_the_shift_of_a_bottleneck_gets_a_gradient_only_through_drop_connect():
    assert bottleneck.first_gradient(2, drop=0.0).max() < 1e-12
    assert bottleneck.first_gradient(2, drop=0.2).min() > 1e-6
    plain, dropped = (bottleneck.train(2, drop=p, steps=15, rows=200) for p in (0.0, 0.2))
    assert plain.shift.max() < 1e-12 < 1e-3 < dropped.shift.min()
    assert dropped.stem_shift.max() < 1e-12
    assert plain.mean.max() < 1e-10


def test_plots_draw_what_they_are_given():
    fig, axes = plt.subplots(1, 3)
    plots.cloud(axes[0], [0.0, 1.0, -10.0], [0.0, 1.0, -5.0])
    np.testing.assert_array_equal(axes[0].lines[0].get_xdata(), [1e-3, 1.0, 10.0])
    plots.diagonal(axes[1], {"a": ([0, 1], [0, 2]), "b": ([-1], [0])})
    np.testing.assert_array_equal(axes[1].lines[-1].get_xdata(), [-1, 2])
    plots.by_depth(axes[2], {"a": ([0.1], [3.0])})
    assert axes[2].get_yscale() == "log"
    plt.close(fig)
