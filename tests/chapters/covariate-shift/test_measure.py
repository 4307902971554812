"""The bench of the chapter and its experiments; their findings are the verdicts of a small run."""

import json
import math
import tomllib

import numpy as np
import pytest
import torch
from oracles.small_networks import SEEDS, X, inter, network, step_of

from bnlib import interactions, landscape
from bnlib.chapters import covariate_shift as chapter
from bnlib.chapters.covariate_shift import measure
from bnlib.interactions import LONGEST
from bnlib.networks import arms

BENCH = measure.load("digits", range(8))
SMALL = BENCH._replace(seeds=range(3), width=6, batch=16)


def rates(*values):
    return [(rate, 0.0) for rate in values]


# The bench


def test_one_matrix_has_nothing_below_it():
    with pytest.raises(ValueError, match="'depth': expected at least 2 weight matrices"):
        SMALL.start("none", 1)


def test_a_pace_is_a_rate_or_a_predicted_share_of_the_loss_and_not_without_end():
    paces = [(0.3, 0.0), (0.3, 0.1), (0.3, 0.1)]
    steps = measure.step_sizes(paces, torch.full((3,), 2.0), torch.tensor([4.0, 4.0, 1e-9]))
    torch.testing.assert_close(steps, torch.tensor([0.3, 0.05, float(LONGEST)]))


def test_paces_belong_to_copies_of_all_seeds():
    steps = measure.step_sizes(rates(0.1, 0.2), torch.ones(6), torch.ones(6))
    torch.testing.assert_close(steps, torch.tensor([0.1, 0.1, 0.1, 0.2, 0.2, 0.2]))


def test_a_walk_of_one_step_goes_down_the_gradient_of_its_batch():
    at = SMALL.start("bn", 3)
    _, (step, end) = SMALL._replace(steps=1).walk(at.arm, rates(0.2))
    _, grads = interactions.gradient(at.loss, at.arm.params)
    assert step == 1
    for name, value in at.arm.params.items():
        moved = value - 0.2 * grads[name]
        torch.testing.assert_close(end.arm.params[name], moved, atol=1e-6, rtol=1e-5)


def test_a_network_that_diverges_leaves_its_neighbors_alone_and_has_an_infinite_loss():
    bench, arm = SMALL._replace(steps=30), SMALL.start("none", 3).arm
    best, mixed, ends = bench.sweep(arm, [0.1, 1e6, 0.1])
    _, calm, calm_ends = bench.sweep(arm, [0.1])
    assert best == 0
    torch.testing.assert_close(ends.params["W1"][[0, 1, 2]], calm_ends.params["W1"])
    np.testing.assert_allclose(mixed[[0, 2]], np.repeat(calm, 2, axis=0))
    assert np.isinf(mixed[1]).all()


# One object


@pytest.mark.parametrize("name", ["none", "bn", "frozen", "layer-norm"])
def test_the_integral_is_the_interaction_for_a_smooth_network(name):
    params, loss = network(name, depth=4)
    value, grads, squares = step_of(params, loss)
    step = 0.1 * value / squares
    exact = inter(params, loss, grads, step)
    found = measure.ics_integral(loss, params, grads, step, nodes=12)
    assert (exact.abs() > 1e-4).all()
    torch.testing.assert_close(found, exact, rtol=1e-8, atol=0)


@pytest.mark.parametrize(("option", "value"), [("nodes", 0), ("panels", 0), ("nodes", 1.5)])
def test_quadrature_without_places_is_refused(option, value):
    params, loss = network()
    _, grads = interactions.gradient(loss, params)
    with pytest.raises(ValueError, match=f"{option}: expected a whole number >= 1"):
        measure.ics_integral(loss, params, grads, 0.1, **{option: value})


def test_the_shift_of_a_step_sums_to_the_interaction_counted_by_hand():
    at, eta = SMALL.start("bn", 4, "tanh"), 0.001
    params, point = at.arm.params, measure.Point(at)
    shifts = measure.shift_at(point, torch.full((3,), eta))
    loss, grads = interactions.gradient(at.loss, params)
    moved = {k: v - eta * grads[k] for k, v in params.items()}
    alone = sum(
        at.loss({k: moved[k] if interactions.layer_of(k) == n else v for k, v in params.items()})
        - loss
        for n in interactions.layers(params)
    )
    inter = (at.loss(moved) - loss - alone) / (eta * point.square)
    np.testing.assert_allclose(shifts["int"], inter, rtol=1e-6)
    shares = (point.squares / point.square[:, None]).numpy()
    np.testing.assert_allclose(shifts["sum"], -(shares * shifts["rho"]).sum(1), rtol=1e-10)
    np.testing.assert_allclose(shifts["sum"], shifts["int"], rtol=0.05)


def test_a_slope_is_that_of_the_smallest_decade():
    steps = 2.0 ** -np.arange(8)
    assert measure.slope(steps, np.where(steps > 10 * steps.min(), 7.0, steps**3)) == pytest.approx(
        3
    )


# Who shifts less


def test_outside_relu_only_the_plain_network_and_bn_are_followed():
    cells = ["relu", "linear"], [2], ["own best rate"]
    bench = SMALL._replace(steps=11, every=5)
    frame = measure.survey_shift(bench, ["none", "frozen", "bn"], cells, 0.1, [0.001, 0.1])
    arms = frame.groupby("activation").arm.unique().map(sorted)
    assert arms["linear"] == ["bn", "none"]
    assert arms["relu"] == ["bn", "frozen", "none"]
    assert (frame.step == 0.1).all(), "the rate that ends lowest"


# Noise


def test_every_arm_and_both_gradients_of_a_step_meet_the_same_noise_and_steps_differ():
    first, again, later = (measure.draw(SMALL, 3, 1.0, step) for step in (3, 3, 4))
    assert sorted(first) == [1, 2]
    torch.testing.assert_close(first[1].shift, again[1].shift)
    assert not torch.equal(first[1].shift, later[1].shift)
    assert not torch.equal(first[1].shift, first[2].shift)
    mean = first[1].shift.mean(1)
    assert mean.abs().max() < 0.6
    assert mean.std() > 0.1, "a new mean for each unit"
    assert 0.9 < first[1].scale.mean(1).min() < first[1].scale.mean(1).max() < 1.35


def test_no_noise_is_the_arm_itself_and_noise_enters_every_hidden_layer():
    at, seen = SMALL.start("bn", 3), {}
    clean = at.arm.logits(at.arm.params, at.x)
    quiet, loud = (measure.noisy(SMALL, at.arm, scale) for scale in (0.0, 1.0))
    torch.testing.assert_close(quiet(0, at.arm.params, at.x, seen), clean)
    assert sorted(seen) == [1, 2]
    assert not torch.allclose(loud(0, at.arm.params, at.x), clean)
    twice = at.arm.repeated(2).params
    torch.testing.assert_close(
        loud(0, twice, at.x), loud(0, at.arm.params, at.x).repeat(2, 1, 1), msg="the same noise"
    )


def test_noise_multiplies_and_shifts_and_stands_between_norm_and_activation(monkeypatch):
    at, clean, seen = SMALL.start("bn", 2), {}, {}
    measure.noisy(SMALL, at.arm, 0.0)(0, at.arm.params, at.x, clean)
    full = torch.ones(3, SMALL.batch, SMALL.width).double()
    monkeypatch.setattr(measure, "draw", lambda *a: {1: measure.Noise(full / 2, -2 * full)})
    found = measure.noisy(SMALL, at.arm, 1.0)(0, at.arm.params, at.x, seen)
    torch.testing.assert_close(seen[1], 0.5 - 2 * clean[1])
    want = torch.relu(seen[1]) @ at.arm.params["W2"].mT + at.arm.params["b2"][:, None]
    torch.testing.assert_close(found, want)


# Explosion


@pytest.mark.parametrize(("name", "factor"), [("none", 1.0), ("bn", measure.RELU_FACTOR)])
def test_wide_relu_networks_with_bn_explode_by_the_derived_factor(name, factor):
    x = torch.from_numpy(np.random.default_rng(6).normal(size=(2, 256, 64)))
    y = torch.from_numpy(np.random.default_rng(7).integers(0, 10, (2, 256)))
    arm = arms.build(name, (64, *(256,) * 8, 10), SEEDS, x)
    found = measure.mean_factor(landscape.layer_gradient_norms(arm.params, x, y, arm.spec))
    # finite width: (1/256)^(1/2) a layer; finite batch raises BN's factor a little
    np.testing.assert_allclose(found, factor, rtol=0.08)


def test_the_derived_factor_is_pi_over_pi_minus_one():
    z = np.random.default_rng(8).standard_normal(1_000_000)
    # Var relu(z) = (1 - 1/pi) / 2, standard error 1e-3
    assert 1 / (2 * np.maximum(z, 0).var()) == pytest.approx(measure.RELU_FACTOR, rel=5e-3)
    assert pytest.approx(math.pi / (math.pi - 1)) == measure.RELU_FACTOR


def test_mean_factor_leaves_the_first_and_the_last_layer_out():
    norms = torch.tensor([[99.0, 8.0, 4.0, 2.0, 77.0]])
    assert float(measure.mean_factor(norms)) == pytest.approx(2.0)


def test_the_mean_of_one_over_the_variance_is_one_without_statistics_and_leaves_out_both_ends():
    for name, depth, same in (("none", 5, True), ("bn", 3, True), ("bn", 5, False)):
        arm = arms.build(name, (4, *(3,) * (depth - 1), 3), SEEDS, X)
        inverse = measure.inverse_variance(arm.params, X, arm.spec, stats=arm.stats)
        assert bool((inverse == 1).all()) == same


def test_a_mean_factor_needs_layers_between_the_ends():
    with pytest.raises(ValueError, match="at least 4 layers, got 3"):
        measure.mean_factor(torch.ones(2, 3))


# Proxies


@pytest.mark.parametrize("factor", [1.0, 2.0])
def test_the_bowl_has_its_curvature_and_descent_without_noise_ends_at_its_bottom(factor):
    at = measure.bowl(0, factor=factor)
    values = np.linalg.eigvalsh(at.hessian)
    np.testing.assert_allclose(values[[0, -1]], [0.05 * factor, factor])
    points, seen = measure.descent(at, 0.5, 0.0, 400, 0)
    start, end = (theta @ at.hessian @ theta for theta in (at.start, points[-1]))
    assert end < 1e-6 * start
    np.testing.assert_allclose(seen[0], at.hessian @ at.start)


def test_the_table_of_noise_has_the_registered_runs():
    table = json.loads((chapter.HERE / "noise.json").read_text())
    runs = tomllib.loads((chapter.HERE / "register.toml").read_text())["runs"]
    cells = [("none", 0.0), ("bn", 0.0), *(("noisy bn", size) for size in runs["strengths"])]
    rows = [(row["data"], row["arm"], row["strength"]) for row in table["rows"]]
    assert rows == [(name, *cell) for name in runs["data"] for cell in cells]
    assert {len(row["loss"]) for row in table["rows"]} == {runs["seeds"]}
