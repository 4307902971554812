"""The bench of the chapter, its experiments, and the finding behind every claim."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from bnlib import interactions, landscape
from bnlib.experiments.covariate_shift import (
    along,
    bench,
    explosion,
    hessians,
    identity,
    noise,
    proxies,
    smoothness,
    verdicts,
)
from bnlib.interactions import LONGEST, descend

AT = bench.Conditions(bench.load("digits"))
SMALL = AT._replace(width=6, batch=16)
SEEDS = range(3)
MANY = range(8)


def problem(name, depth, at=SMALL, seeds=SEEDS, activation="relu"):
    arm = bench.build(at, name, depth, seeds, activation)
    return bench.problem(at, arm, bench.stream(at, seeds, 1)[0])


# The bench


def test_rows_are_standardized_and_an_unknown_name_is_refused():
    assert AT.rows.x_train.abs().max() <= 4
    assert AT.rows.classes == 10
    with pytest.raises(ValueError, match="did you mean 'digits'"):
        bench.load("digit")


def test_frozen_statistics_are_those_of_the_first_batch_so_frozen_starts_as_bn():
    losses = [problem(n, 4).loss(problem(n, 4).arm.params) for n in ("bn", "frozen", "none")]
    torch.testing.assert_close(losses[0], losses[1])
    assert not torch.allclose(losses[0], losses[2])


def test_one_matrix_has_nothing_below_it():
    with pytest.raises(ValueError, match="depth: want at least 2 weight matrices"):
        bench.build(SMALL, "none", 1, SEEDS)


def test_a_pace_is_a_rate_or_a_promised_share_of_the_loss_and_not_without_end():
    pace = bench.Pace(torch.tensor([0.3, 0.3, 0.3]), torch.tensor([0.0, 0.1, 0.1]))
    steps = pace.steps(torch.tensor([2.0, 2.0, 2.0]), torch.tensor([4.0, 4.0, 1e-9]))
    torch.testing.assert_close(steps, torch.tensor([0.3, 0.05, float(LONGEST)]))


def test_a_walk_of_one_step_goes_down_the_gradient_of_its_batch():
    here, order = problem("bn", 3), bench.stream(SMALL, SEEDS, 1)
    end = bench.walk(SMALL, here.arm, order, along.constant(SEEDS, rate=0.2))
    _, grads = interactions.gradient(here.loss, here.arm.params)
    for name, value in here.arm.params.items():
        torch.testing.assert_close(end[name], value - 0.2 * grads[name], atol=1e-6, rtol=1e-5)


def test_a_network_that_diverges_leaves_its_neighbors_alone_and_has_an_infinite_loss():
    arm, order = bench.build(SMALL, "none", 3, SEEDS), bench.stream(SMALL, SEEDS, 30)
    rates = torch.tensor([0.1, 1e6, 0.1])
    mixed = bench.walk(SMALL, arm, order, bench.Pace(rates, torch.zeros(3)))
    calm = bench.walk(SMALL, arm, order, along.constant(SEEDS, rate=0.1))
    torch.testing.assert_close(mixed["W1"][[0, 2]], calm["W1"][[0, 2]])
    losses = bench.clean_loss(SMALL, arm, mixed)
    assert np.isfinite(losses).tolist() == [True, False, True]


def test_copies_of_an_arm_are_copies_of_every_network_with_its_constants():
    here = problem("frozen", 3)
    wide = here.arm.repeated(2)
    x = here.x.repeat(2, 1, 1)
    one, two = here.arm.logits(here.arm.params, here.x), wide.logits(wide.params, x)
    torch.testing.assert_close(two, one.repeat(2, 1, 1))


# A: one object


def test_the_shift_of_a_step_sums_to_the_interaction_counted_by_hand():
    here = problem("bn", 4, activation="tanh")
    chosen = bench.stream(SMALL, SEEDS, 1)[0]
    params, eta = here.arm.params, 0.001
    found = along.shift_at(SMALL, here.arm, params, chosen, along.constant(SEEDS, rate=eta))
    loss, grads = interactions.gradient(here.loss, params)
    moved = {k: v - eta * grads[k] for k, v in params.items()}
    alone = sum(
        here.loss({k: moved[k] if interactions.layer_of(k) == n else v for k, v in params.items()})
        - loss
        for n in interactions.layers(params)
    )
    inter = (here.loss(moved) - loss - alone) / (eta * torch.from_numpy(found["gradient"]) ** 2)
    np.testing.assert_allclose(found["int"], inter, rtol=1e-6)
    np.testing.assert_allclose(found["sum"], -(found["share"] * found["rho"]).sum(1), rtol=1e-10)
    np.testing.assert_allclose(found["sum"], found["int"], rtol=0.05)


def test_a_promised_step_promises_its_share():
    here = problem("none", 3)
    found = along.shift_at(
        SMALL,
        here.arm,
        here.arm.params,
        bench.stream(SMALL, SEEDS, 1)[0],
        along.constant(SEEDS, share=0.1),
    )
    np.testing.assert_allclose(found["step"] * found["gradient"] ** 2, 0.1 * found["loss"])


@pytest.mark.parametrize("name", ["none", "bn"])
def test_the_identity_is_exact_and_the_left_endpoint_of_third_order(name):
    (point,) = identity.points(AT, [name], 4, SEEDS, "tanh").values()
    assert identity.theorem_errors({name: point}, 0.5, {"nodes": 12})[name] < 1e-10
    etas = 2.0 ** -np.arange(5, 10)
    missed = identity.residuals(point, etas)
    assert 2.7 < identity.slope(etas, missed["left endpoint"]) < 3.3
    assert identity.slope(etas, missed["midpoint"]) > 3.7
    assert (missed["12 nodes"] < 1e-12).all()


def test_more_panels_serve_the_kinks_of_relu():
    points = identity.points(AT, ["none"], 4, SEEDS, "relu")
    few, many = (
        identity.theorem_errors(points, 0.5, {"nodes": 4, "panels": n})["none"] for n in (1, 64)
    )
    assert many < 0.2 * few


def test_a_slope_is_that_of_the_smallest_decade():
    etas = 2.0 ** -np.arange(8)
    bent = np.where(etas > 10 * etas.min(), 7.0, etas**3)[:, None] * np.ones(4)
    assert identity.slope(etas, bent) == pytest.approx(3)


def test_points_on_the_way_lie_on_the_line_of_equality():
    way = identity.on_the_way(AT, ["bn"], 4, SEEDS, [0.03], steps=21, every=10)
    assert sorted(way["at"].unique()) == [10, 20]
    np.testing.assert_allclose(way["int"], way["sum"], rtol=0.3)
    assert np.corrcoef(way["int"], way["sum"])[0, 1] > 0.99


# B: who shifts less


def test_bn_shifts_less_at_the_same_rate_and_more_at_equal_promise():
    rules = ["same rate", "equal promise"]
    frame = along.survey(
        AT,
        ["none", "bn"],
        MANY,
        depths=[6],
        activations=["relu"],
        rules=rules,
        rates=[0.1],
        rate=0.1,
        steps=61,
        every=20,
    )
    reading = verdicts.shift_cells(frame).reading
    assert reading["relu", 6, "same rate"] == "reduced"
    assert reading["relu", 6, "equal promise"] == "raised"
    assert verdicts.reduces(verdicts.shift_cells(frame)) == "partly"
    assert frame["at"].min() == 20, "the start is dropped"


def test_outside_relu_only_the_plain_network_and_bn_are_followed():
    frame = along.survey(
        SMALL,
        ["none", "frozen", "bn"],
        SEEDS,
        depths=[2],
        activations=["relu", "linear"],
        rules=["own best rate"],
        rates=[0.001, 0.1],
        rate=0.1,
        steps=11,
        every=5,
    )
    arms = frame.groupby("activation").arm.unique().map(sorted)
    assert arms["linear"] == ["bn", "none"]
    assert arms["relu"] == ["bn", "frozen", "none"]
    assert (frame.step == 0.1).all(), "the rate that ends lowest"


def test_the_best_rate_is_the_one_that_ends_lowest():
    best = along.best_rate(SMALL, "bn", 3, SEEDS, [1e-4, 0.1, 1e5], 30)
    assert (best.rate, best.at_edge) == (0.1, False)
    assert np.median(best.losses, axis=1).argmin() == 1
    assert along.best_rate(SMALL, "bn", 3, SEEDS, [1e-4, 0.1], 30).at_edge


# C: smoothness


def bowl(h=3.0, theta=2.0):
    """L = h theta^2 / 2 in one number, its raw steps a and matched steps r by hand."""
    params = {"W1": torch.full((1, 1, 1), theta, dtype=torch.float64)}
    return lambda p: h * p["W1"].flatten(1).square().sum(1) / 2, params


def test_measures_of_a_quadratic_by_hand():
    h, theta = 3.0, 2.0
    loss_fn, params = bowl(h, theta)
    raw = smoothness.measured(loss_fn, params, "raw", [0.1, 0.2])
    start = h * theta**2 / 2
    at = [start * (1 - a * h) ** 2 for a in (0.1, 0.2)]
    assert float(raw["range"]) == pytest.approx(at[0] - at[1])
    assert float(raw["change"]) == pytest.approx(0.2 * h * h * theta)
    assert float(raw["smoothness"]) == pytest.approx(h)
    matched = smoothness.measured(loss_fn, params, "matched", [0.5, 1.0])
    assert float(matched["smoothness"]) == pytest.approx(0.5)
    assert float(matched["change"]) == pytest.approx(0.5)
    assert float(matched["range"]) == pytest.approx(0.75**2 - 0.5**2)
    assert float(matched["kept"]) == pytest.approx(0.75)


@pytest.mark.parametrize("scale", [10.0, 0.1])
def test_a_scale_that_bn_does_not_see_moves_raw_smoothness_only(scale):
    here = problem("bn", 4, AT._replace(eps=1e-14))
    params = dict(here.arm.params)
    scaled = params | {k: scale * params[k] for k in ("W1", "W2", "W3")}
    before, after = (
        {u: smoothness.measured(here.loss, p, u, [0.1])["smoothness"] for u in smoothness.UNITS}
        for p in (params, scaled)
    )
    torch.testing.assert_close(
        before["layer-normalized"], after["layer-normalized"], rtol=1e-6, atol=0
    )
    assert ((after["raw"] < before["raw"]) == (scale > 1)).all()
    assert ((after["matched"] / before["matched"]).log().abs() > 0.05).all()
    with pytest.raises(ValueError, match="unit: want one of"):
        smoothness.measured(here.loss, params, "cooked", [0.1])


def test_bn_turns_the_gradient_less_in_every_unit_and_is_smoother_in_raw_units_only():
    frame = smoothness.survey(
        AT,
        ["none", "bn"],
        MANY,
        depth=6,
        rate=0.1,
        steps=60,
        every=10,
        raw=[0.05, 0.4],
        matched=[0.1, 1.0],
    )
    signs = {
        u: verdicts.log_ratios(frame[frame.unit == u], smoothness.MEASURES, ["unit"]).sign
        for u in smoothness.UNITS
    }
    assert all((s.xs("change", level="measure") == -1).all() for s in signs.values())
    assert signs["raw"]["smoothness", "raw"] == -1
    assert signs["matched"]["smoothness", "matched"] == 1
    near = smoothness.equal_loss(frame, 1.2)
    assert len(near) == 3 * 2 * len(MANY)
    assert (near.loss - 1.2).abs().median() < (frame.loss - 1.2).abs().median()
    places, low, middle, high = smoothness.envelope(frame[frame.unit == "raw"], "loss-line")
    assert places.tolist() == [0, 10, 20, 30, 40, 50]
    assert (low <= middle).all()
    assert (middle <= high).all()


# D: noise


def test_every_arm_and_both_gradients_of_a_step_meet_the_same_noise_and_steps_differ():
    one, again, later = (noise.draw(SEEDS, step, [1, 2], 16, 6, 1.0) for step in (3, 3, 4))
    torch.testing.assert_close(one[1].shift, again[1].shift)
    assert not torch.equal(one[1].shift, later[1].shift)
    assert not torch.equal(one[1].shift, one[2].shift)
    mean = one[1].shift.mean(1)
    assert mean.abs().max() < 0.6
    assert mean.std() > 0.1, "a new mean for each unit"
    assert 0.9 < one[1].scale.mean(1).min() < one[1].scale.mean(1).max() < 1.35


def test_no_noise_is_the_arm_itself_and_noise_enters_every_hidden_layer():
    here, seen = problem("bn", 3), {}
    case = noise.Case(SMALL, here.arm, SEEDS, 0.0)
    clean = here.arm.logits(here.arm.params, here.x)
    torch.testing.assert_close(
        noise.noisy(here.arm, case.draws(0), seen)(here.arm.params, here.x), clean
    )
    assert sorted(seen) == [1, 2]
    loud = noise.noisy(here.arm, case._replace(scale=1.0).draws(0))(here.arm.params, here.x)
    assert not torch.allclose(loud, clean)


def test_noise_moves_distributions_many_times_more_and_gradients_hardly():
    shifts = {}
    for name, scale in (("bn", 0.0), ("noisy bn", 1.0)):
        case = noise.Case(AT, bench.build(AT, "bn", 6, SEEDS), SEEDS, scale)
        shifts[name] = noise.shifts(case, 0.3, 41, 10)
    calm, loud = (shifts[n] for n in ("bn", "noisy bn"))
    assert np.median(loud.distribution) > 8 * np.median(calm.distribution)
    assert 0.7 < np.median(loud.relative) / np.median(calm.relative) < 1.4
    assert calm.loss.shape == (41, len(SEEDS))
    assert calm.relative.shape == (4, len(SEEDS))


def test_deep_networks_gain_by_bn_and_noisy_bn_keeps_a_good_part_of_it():
    frame, _ = noise.compare(AT, 10, range(4), [0.1, 1.0], steps=60, every=30, scale=1.0)
    found = verdicts.noise_harmless(frame)
    assert found.testable
    assert found.kept.estimate > 0.3
    assert set(frame.arm) == {"none", "noisy none", "bn", "noisy bn"}


# E: blocks


def test_without_structure_the_share_is_that_of_the_counts():
    params = {"W1": torch.ones(2, 3, 2), "W2": torch.ones(2, 1, 3), "b2": torch.ones(2, 1)}
    assert hessians.iid_share(params) == pytest.approx(1 - (6**2 + 4**2) / 10**2)
    torch.testing.assert_close(
        hessians.weight_norms(params)[0], torch.tensor([math.sqrt(6), math.sqrt(3)])
    )


def test_the_share_falls_after_training_because_the_diagonal_grows_and_not_the_rest():
    frame, maps = hessians.survey(AT, ["none", "bn"], MANY, depth=6, steps=20, probes=4)
    np.testing.assert_allclose(frame.share, frame.off**2 / (frame.off**2 + frame["diag"] ** 2))
    rows = verdicts.log_ratios(frame, ["off", "share", "diag"], ["state"])
    assert rows.sign["share", "trained"] == -1
    assert rows.sign["diag", "trained"] == 1
    assert rows.sign["off", "trained"] == 0
    assert verdicts.uncoupled(rows.loc[["off", "share"]]) == "partly"
    assert maps["bn", "start"].shape == (6, 6)
    trained, start = (frame[frame.state == s].loss.median() for s in ("trained", "start"))
    assert trained < 0.6 * start


def test_both_ends_of_the_spectrum_are_those_of_the_whole_hessian():
    at = AT._replace(width=2, batch=8)
    ends = hessians.spectrum_ends(at, ["bn"], range(2), depth=2, steps=2)
    here = problem("bn", 2, at, range(2))
    for place, params in enumerate((here.arm.params, descend(here, steps=2))):
        one, own = hessians.alone(here, params, 1)
        sizes = [v.numel() for v in own.values()]
        columns = []
        for row in torch.eye(sum(sizes), dtype=torch.float64):
            parts = zip(own.items(), row.split(sizes), strict=True)
            vector = {k: part.view_as(v) for (k, v), part in parts}
            product = landscape.hvp(one.loss, own, vector)
            columns.append(torch.cat([product[k].flatten() for k in own]))
        exact = torch.linalg.eigvalsh(torch.stack(columns))
        found = ends[(ends.seed == 1) & (ends.state == hessians.STATES[place])].iloc[0]
        assert found.lowest == pytest.approx(float(exact[0]), rel=1e-2, abs=1e-3)
        assert found.highest == pytest.approx(float(exact[-1]), rel=1e-2)


# F: explosion


def test_bn_and_frozen_statistics_explode_at_the_start_and_no_norm_does_not():
    at = AT._replace(rows=explosion.independent(AT, 512).rows)
    frame, profiles = explosion.survey(
        at, ["none", "frozen", "bn"], SEEDS, depth=8, sizes=[(128, 256)]
    )
    start = frame[frame.state == "start"].groupby("arm")[["factor", "inverse"]].median()
    assert start.factor["bn"] == pytest.approx(landscape.RELU_FACTOR, rel=0.05)
    assert start.factor["frozen"] == pytest.approx(start.inverse["frozen"], rel=0.05)
    assert start.factor["none"] == pytest.approx(1, rel=0.1)
    assert start.inverse["none"] == 1
    assert start.inverse["bn"] > landscape.RELU_FACTOR
    bn = frame[(frame.state == "start") & (frame.arm == "bn")]
    assert verdicts.cures(verdicts.middle(bn.factor)) == "fails"
    assert (profiles["bn", 128, 256][:, 1] > 3).all()
    np.testing.assert_allclose(profiles["bn", 128, 256][:, -1], 1)


def test_rows_in_few_directions_explode_faster_and_the_mean_of_one_over_variance_says_so():
    found = {}
    for name, at in (("digits", AT), ("independent", explosion.independent(AT, 512))):
        frame, _ = explosion.survey(at, ["bn"], SEEDS, depth=8, sizes=[(64, 256)])
        found[name] = frame[frame.state == "start"][["factor", "inverse"]].median()
    assert found["digits"].factor > found["independent"].factor
    assert found["digits"].inverse > found["independent"].inverse + 0.03


def test_the_measured_step_goes_down():
    here = problem("bn", 4, AT)
    before = here.loss(here.arm.params)
    after = here.loss(explosion._stepped(here.loss, dict(here.arm.params), 0.1))
    assert (after < before).all()


# G: proxies


@pytest.mark.parametrize("factor", [1.0, 2.0])
def test_the_bowl_has_its_curvature_and_descent_without_noise_ends_at_its_bottom(
    factor,
):
    at = proxies.bowl(np.random.default_rng(0), factor=factor)
    values = np.linalg.eigvalsh(at.hessian)
    np.testing.assert_allclose(values[[0, -1]], [0.05 * factor, factor])
    points, seen = proxies.descend(at, 0.5, 0.0, 400, 0)
    assert at.loss(points[-1]) < 1e-6 * at.loss(at.start)
    np.testing.assert_allclose(seen[0], at.hessian @ at.start)


def test_every_proxy_fails_where_the_truth_stands_still_or_misses_what_doubles():
    table = proxies.table([0.1, 0.4], [0.1, 0.3])
    truths = table.loc[["largest", "along"]]
    np.testing.assert_allclose(truths[["noise", "rate", "start"]], 1)
    np.testing.assert_allclose(truths["2 H"], 2)
    assert table.uncoupled["shift"] == 0
    wrong = {
        "consecutive": "noise",
        "band": "start",
        "gradient": "rate",
        "undivided": "rate",
        "drift": "start",
        "all moved": "rate",
    }
    assert set(wrong) == set(proxies.PROXIES)
    for name, column in wrong.items():
        assert abs(math.log(table.loc[name, column])) > 0.3, name
    assert table["2 H"]["drift"] == pytest.approx(1), "drift does not see the Hessian"
    assert table.uncoupled["all moved"] > 0.8, "it stays although nothing below matters"


def test_the_strict_lower_triangle_is_that_of_the_layers_below():
    lower = proxies._strict_lower(np.ones((proxies.LAYERS * proxies.UNITS,) * 2))
    blocks = lower[:: proxies.UNITS, :: proxies.UNITS]
    assert pd.DataFrame(blocks).equals(pd.DataFrame(np.tril(np.ones((proxies.LAYERS,) * 2), -1)))


# --- tables of the page ---


def test_layers_of_a_walk_are_medians_of_its_rho_and_an_absent_arm_has_no_row():
    rho = [[0.0, 1.0, 5.0], [0.0, 3.0, 7.0], [0.0, 2.0, math.nan], [9.0, 9.0, 9.0]]
    rules = ["same rate"] * 3 + ["equal promise"]
    frame = pd.DataFrame({"arm": "bn", "rule": rules, "L": 3, "rho": list(map(np.array, rho))})
    found = along.by_layer(frame, "same rate", ["none", "bn"])
    assert found.index.to_list() == [(3, "bn")]
    assert found.columns.to_list() == [1, 2, 3]
    np.testing.assert_array_equal(found, [[0, 2, 6]])


def test_the_summary_of_noise_joins_ends_and_both_shifts_by_depth_and_arm():
    ends = {"rate": 0.1, "loss": [1.0, 3.0], "accuracy": 0.5, "edge": False}
    frame = pd.DataFrame({"L": 6, "arm": "bn", "seed": [0, 1], **ends})
    shifts = noise.Shift(np.array([[1.0, 3.0]]), np.array([[0.5, np.nan]]), np.zeros((1, 2)))
    found = noise.summary({6: (frame, {"bn": shifts})})
    assert found.index.to_list() == [(6, "bn")]
    row = found.iloc[0]
    assert (row.loss, row["distribution shift"], row["gradient shift"]) == (2.0, 2.0, 0.5)
    assert found.edge.dtype == bool


def test_the_summary_of_factors_has_an_arm_a_column_and_the_inverse_of_bn_alone():
    where = {"width": 8, "batch": 16, "state": "start"}
    rows = [("none", 1.0, 9.0), ("bn", 2.0, 3.0), ("bn", 4.0, 5.0)]
    frame = pd.DataFrame([{**where, "arm": a, "factor": f, "inverse": i} for a, f, i in rows])
    found = explosion.summary({"digits": frame}, ["none", "bn"])
    assert found.index.to_list() == [("digits", 8, 16, "start")]
    assert found.iloc[0].to_list() == [1.0, 3.0, 4.0]
