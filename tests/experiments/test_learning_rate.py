"""The chapter on learning rates: its bench, its registered analysis, its mechanism test."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from bnlib import interactions, statistics
from bnlib.experiments import learning_rate as bench
from bnlib.experiments import learning_rate_mechanism as mechanism
from bnlib.experiments import learning_rate_page as page
from bnlib.experiments import learning_rate_register as registered
from bnlib.experiments import learning_rate_table as table

DIGEST = "0462997df7395fe9"  # of the register as it was committed before the held-out run


def made(rng, cells=6, arms=8, *, cause=1.0, effect=1.0, own=0.5):
    """Architectures: log rate = effect * baseline + noise, k_off = -cause * baseline + noise."""
    z = rng.normal(size=(cells, arms)) + rng.normal(size=(cells, 1))
    noise = rng.normal(size=(3, cells, arms))
    frame = pd.DataFrame(
        {
            "activation": np.repeat([f"a{k}" for k in range(cells)], arms),
            "L": 4,
            "arm": np.tile([f"arm{k}" for k in range(arms)], cells),
            "baseline": z.ravel(),
            "max_trainable": (effect * z + own * noise[0]).ravel(),
            "k_off": (-cause * z + own * noise[1]).ravel(),
            "share": noise[2].ravel(),
        }
    )
    return frame.assign(k_total=frame.k_off, eps_up=-frame.k_off)


def test_the_register_is_the_committed_one_and_names_what_the_analysis_does():
    found = registered.register(DIGEST)
    signs = {k: v["direction"] for k, v in found["predictors"].items() if k != "state"}
    assert signs == registered.DIRECTIONS
    assert found["architectures"]["arms"] == list(table.ARMS)
    assert not {map(tuple, found["cells"]["exploration"])} & {
        map(tuple, found["cells"]["held_out"])
    }
    assert set(found["rules"]) >= {"share-predicts", "interaction-is-mechanism"}
    assert len(table.ARMS) >= found["architectures"]["least"]


def test_an_edited_register_is_refused(tmp_path, monkeypatch):
    content = (registered.FOLDER / registered.REGISTER).read_bytes()
    (tmp_path / registered.REGISTER).write_bytes(content.replace(b"0.3", b"0.2"))
    monkeypatch.setattr(registered, "FOLDER", tmp_path)
    with pytest.raises(ValueError, match="was changed"):
        registered.register(DIGEST)
    with pytest.raises(ValueError, match="was changed"):
        registered.register("")
    assert registered.stored("nothing.json", "") is None


def test_a_missing_register_stops_the_confirmatory_analysis(tmp_path, monkeypatch):
    monkeypatch.setattr(registered, "FOLDER", tmp_path)
    with pytest.raises(FileNotFoundError, match="want the register"):
        registered.register(DIGEST)


def test_second_differences_are_the_hessian_for_a_smooth_network():
    found = bench.predictors(bench.problem("none", "tanh", 4, range(3)))
    # relative error of a central difference at a promise of 1/100: about (1/100)^2 times a
    # fourth derivative in units of the second
    np.testing.assert_allclose(found["k_off"], found["hvp_off"], rtol=5e-3)
    np.testing.assert_allclose(found["k_total"], found["hvp_total"], rtol=5e-3)


def test_first_ascent_is_where_the_loss_of_the_batch_comes_back_to_its_start():
    at = bench.problem("none", "tanh", 4, range(3))
    rate = torch.tensor(bench.predictors(at)["eps_up"])
    start, grads = interactions.gradient(at.loss, at.arm.params)
    for factor, above in ((1 - 1e-6, False), (1 + 1e-6, True)):
        size = {n: (factor * rate)[(...,) + (None,) * (g.ndim - 1)] for n, g in grads.items()}
        moved = {n: v - size[n] * grads[n] for n, v in at.arm.params.items()}
        assert ((at.loss(moved) > start) == above).all()


def test_raw_predictors_contain_the_baseline_and_the_share_does_not():
    """Times c, the loss has c times the gradient: curvature grows by c, rates fall by c."""
    at = bench.problem("none", "tanh", 4, range(2))
    grads = interactions.gradient(at.loss, at.arm.params)[1]
    down = {n: -g for n, g in grads.items()}
    one = interactions.curvature_split(at.loss, at.arm.params, down)
    scaled = {n: 3 * d for n, d in down.items()}
    three = interactions.curvature_split(lambda p: 3 * at.loss(p), at.arm.params, scaled)
    torch.testing.assert_close(one.off, three.off, rtol=1e-10, atol=0)


def test_frozen_and_bn_start_as_the_same_function_of_the_checked_rows():
    rows = bench.rows_of()
    x = torch.from_numpy(rows.x_train[: bench.CHECKED]).expand(2, -1, -1)
    frozen, bn = (bench.start(n, "relu", 4, range(2), rows) for n in ("frozen", "bn"))
    torch.testing.assert_close(
        frozen.logits(frozen.params, x), bn.logits(bn.params, x), rtol=1e-9, atol=1e-9
    )


def test_without_affine_the_start_is_the_same_function():
    rows = bench.rows_of()
    x = torch.from_numpy(rows.x_train[:64]).expand(2, -1, -1)
    for name in ("bn", "std-only", "layer-norm"):
        both, bare = (bench.start(name, "relu", 4, range(2), rows, affine=a) for a in (True, False))
        assert not any(n.startswith(("gamma", "beta")) for n in bare.params)
        torch.testing.assert_close(both.logits(both.params, x), bare.logits(bare.params, x))


def test_a_small_last_layer_starts_near_chance_under_bn():
    at = bench.problem("bn-last-small", "relu", 4, range(3))
    assert float((at.loss(at.arm.params) - np.log(10)).abs().max()) < 0.1


def test_batches_of_a_seed_do_not_depend_on_the_other_seeds():
    a = bench.batches([0, 5], 100, steps=7)
    assert a.shape == (7, 2, 64)
    assert torch.equal(a[:, 1:], bench.batches([5], 100, steps=7))


def test_bn_at_the_last_hidden_layer_is_left_out_where_it_is_bn():
    frame, runs = bench.survey(
        ["bn", "bn-last-hidden"], [("relu", 2), ("relu", 3)], [0], [0.1], steps=2, predict=False
    )
    assert list(runs) == [("relu", 2, "bn"), ("relu", 3, "bn"), ("relu", 3, "bn-last-hidden")]
    assert len(frame) == 3


def test_predictor_that_acts_through_the_baseline_alone_has_no_partial_correlation():
    rho = registered.correlations(made(np.random.default_rng(1), cells=12), resamples=200)
    assert rho.low["k_off", "pooled"] > 0.3
    assert rho.low["k_off", "partial"] < 0 < rho.high["k_off", "partial"]
    assert rho.low["share", "pooled"] < 0 < rho.high["share", "pooled"]


def test_a_common_effect_of_the_cell_is_pooled_but_not_within():
    rng = np.random.default_rng(2)
    frame = made(rng, cells=8, effect=0.0)
    cell = np.repeat(np.arange(8.0), 8)
    frame = frame.assign(max_trainable=cell + rng.normal(size=64), k_off=-cell)
    rho = registered.correlations(frame.assign(k_off=frame.k_off + rng.normal(size=64)))
    assert rho.estimate["k_off", "pooled"] > 0.7
    assert abs(rho.estimate["k_off", "within"]) < 0.3


def test_direction_is_applied_so_that_positive_means_as_registered():
    frame = made(np.random.default_rng(3), own=0.1)
    rho = registered.correlations(frame, resamples=50).estimate
    assert rho["k_off", "pooled"] > 0.9
    assert rho["eps_up", "pooled"] == rho["k_off", "pooled"]
    assert ("baseline", "partial") not in rho.index


def test_two_predictors_are_compared_over_the_same_resampled_cells():
    frame = made(np.random.default_rng(4), cells=8)
    rho = registered.correlations(frame, resamples=200)
    gap = registered.difference(frame, "k_off", "k_total", resamples=200)
    assert list(gap) == pytest.approx(list(rho.loc[registered.BEYOND]), abs=1e-12)
    turned = registered.difference(frame, "k_total", "k_off", resamples=200)
    assert (turned.low, turned.high) == pytest.approx((-gap.high, -gap.low), abs=1e-12)


@pytest.mark.parametrize(
    ("low", "verdict"), [(0.31, "holds"), (0.3, "partly"), (0.01, "partly"), (0.0, "fails")]
)
def test_the_rule_for_predictors_has_its_edges_at_a_third_and_at_zero(low, verdict):
    assert registered.predicts(statistics.Interval(0.5, low, 0.9)) == verdict
    assert registered.above_zero(statistics.Interval(0.5, low, 0.9)) == (
        "holds" if low > 0 else "fails"
    )


def test_collinear_predictors_cannot_beat_each_other():
    found = registered.verdicts(made(np.random.default_rng(4)))
    assert found["interaction-beats-total"][0] == "fails"
    assert found["raw-interaction-predicts"][0] == "holds"
    assert found["share-predicts"][0] == "fails"


def rates_of(bn, none, depths=(4, 8)):
    rows = [
        {"activation": "relu", "L": depth, "arm": arm, "seed": s, "max_trainable": v}
        for depth, pair in zip(depths, zip(bn, none, strict=True), strict=True)
        for arm, values in zip(("bn", "none"), pair, strict=True)
        for s, v in enumerate(values)
    ]
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("bn", "verdict"),
    [
        ([(2, 2, 3), (1, 2, 2)], "holds"),
        ([(2, 2, 3), (0, -1, 0)], "partly"),
        ([(0, -1, 0)] * 2, "fails"),
    ],
)
def test_larger_rates_are_judged_pair_by_pair_at_every_depth(bn, verdict):
    assert registered.larger_rates(rates_of(bn, [(-1, 0, 0)] * 2))[0] == verdict


def test_agreement_compares_common_seeds_only():
    one = rates_of([(2, 2, 3)], [(0, 0, 0)], depths=(4,))
    two = one.assign(max_trainable=one.max_trainable + (one.seed == 1))
    gap = registered.agreement(one, two[two.seed < 2])
    assert sorted(gap) == [0, 0, 1, 1]


def steps_of(share, rate, reset=(0.0,) * 6):
    names = [*mechanism.LADDER, *(n + mechanism.RESET for n in mechanism.SCALE_FREE)]
    rows = [
        {"arm": arm, "seed": s, "max_trainable": rate[k] + s % 2, "share": share[k]}
        for k, arm in enumerate(names)
        for s in range(4)
    ]
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("share", "rate", "verdict"),
    [
        ((6, 5, 4, 3, 2, 1), (0, 1, 2, 3, 4, 5), "holds"),  # least: bn-no-affine
        ((6, 5, 4, 3, 1, 2), (0, 8, 7, 6, 4, 1), "partly"),  # no order, but bn is least
        ((3, 1, 4, 5, 6, 2), (0, 1, 4, 5, 9, 2), "fails"),  # least gains too little
    ],
)
def test_the_mechanism_needs_the_order_and_the_least_arm(share, rate, verdict):
    frame = steps_of((*share, *share[3:]), (*rate, 0, 0, 0))
    assert mechanism.by_interaction(frame).verdict == verdict


def test_share_explained_by_resetting_by_hand():
    # bn gains 4 over none, 1 is left after the reset: three quarters of it are explained
    frame = steps_of(range(9), (0, 0, 0, 0, 4, 0, 0, 1, 0))
    found = mechanism.explained(frame)
    assert found.estimate == pytest.approx(0.75)
    assert found.low == found.high == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("share", "verdict"), [(0.51, "holds"), (0.5, "partly"), (0.11, "partly"), (0.1, "fails")]
)
def test_self_tuning_has_its_edges_at_a_half_and_a_tenth(share, verdict):
    assert mechanism.self_tuning(share) == verdict


def test_the_effective_rate_never_exceeds_the_bound_of_the_step_before():
    # BN's eps = 1e-5 breaks the orthogonality by eps / (var + eps), here far below a percent.
    found = mechanism.tuning([0.25, 4.0], depth=4, steps=12, dtype=torch.float64)
    assert found.effective.shape == (12, 2)
    assert (found.effective[1:] <= 1.01 * found.bound[:-1]).all()
    assert (np.diff(found.effective, axis=0) <= 1e-12).all()


def test_ladder_has_the_same_interaction_with_and_without_reset():
    found = mechanism.ladder(3, [0, 1], [0.1, 0.2], steps=3)
    share = mechanism.wide(found.frame, "share")
    assert len(share.columns) == 9
    np.testing.assert_array_equal(share["bn"], share["bn" + mechanism.RESET])
    assert found.growth["bn"].shape == (2, 2)
    assert len(mechanism.ladder(3, [0], [0.1], steps=2, reset_norms=False).growth) == 6


def test_a_table_resumes_and_opens_the_held_out_cells_only_when_told(tmp_path, monkeypatch):
    small = {
        **table.FULL["digits"],
        "seeds": 2,
        "steps": 2,
        "cells": {"exploration": [["relu", 2]], "held_out": [["tanh", 3]]},
        "bad": [],
        "ladders": [[3, 2]],
    }
    monkeypatch.setitem(table.FULL, "digits", small)
    path = tmp_path / "table.json"
    first = table.redo(path, "digits")
    assert {r["half"] for r in first["rows"]} == {"exploration"}
    monkeypatch.setattr(table, "architecture", lambda *a, **k: pytest.fail("done twice"))
    again = path.read_bytes()
    table.redo(path, "digits")
    assert path.read_bytes() == again
    monkeypatch.undo()
    monkeypatch.setitem(table.FULL, "digits", small)
    both = table.redo(path, "digits", open_held_out=True)
    assert len(both["rows"]) == 7 + 8
    frame = table.frame_of(json.loads(path.read_text()))
    assert len(frame) == 30
    assert not frame.eps_up.isna().any()
    assert len(table.ladder_of(both, 3, 2)) == 18


def test_numbers_of_a_table_are_short_and_json_has_no_infinity():
    assert table._short([1.23456789, float("inf"), True, 3, "a"]) == [1.2346, None, True, 3, "a"]


def grid(**changed):
    """Arguments of `check_grid` that it accepts, some of them changed."""
    good = {
        "activations": ["relu"],
        "depths": [2],
        "arms": ["bn", "none"],
        "rates": [0.1, 0.2, 1.0],
    }
    return good | changed


def test_a_grid_that_the_page_can_judge_is_accepted():
    page.check_grid(**grid())


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"activations": ["tanh"]}, "want 'relu' among them"),
        ({"activations": ["relu", "rleu"]}, "did you mean 'relu'"),
        ({"arms": ["none"]}, "want 'bn' among them"),
        ({"arms": ["bn"]}, "want 'none' among them"),
        ({"arms": ["bn", "none", "layernorm"]}, "did you mean 'layer-norm'"),
        ({"depths": []}, "want whole numbers"),
        ({"depths": [1]}, "weight matrices >= 2"),
        ({"depths": [2.5]}, "weight matrices >= 2"),
        ({"rates": [0.1, 0.2]}, "at least 3"),
        ({"rates": [0.2, 0.1, 1.0]}, "ascending"),
        ({"rates": [0.0, 0.1, 1.0]}, "positive"),
        ({"rates": [0.1, 1.0, float("inf")]}, "at least 3, positive"),
    ],
)
def test_a_grid_that_the_page_cannot_judge_is_refused_with_the_reason(changed, why):
    with pytest.raises(ValueError, match=why):
        page.check_grid(**grid(**changed))


def test_a_run_without_stored_table_needs_two_exploration_cells_to_resample():
    register = registered.register(DIGEST)
    page.check_cells([("relu", 4), ("tanh", 4)], register)
    with pytest.raises(ValueError, match="at least 2 registered exploration cells"):
        page.check_cells([("relu", 4), ("relu", 3), ("tanh", 5)], register)


def test_a_stored_table_judges_only_runs_with_its_parameters():
    kept = {"dataset": "digits", "parameters": {"steps": 80, "threshold": 0.5}, "rows": [1]}
    run = {"dataset": "digits", "steps": 80, "threshold": 0.5, "width": 32, "affine": True}
    assert page.comparable(kept, rates=list(bench.RATES), **run)
    for name, other in {"steps": 81, "width": 33, "affine": False, "dataset": "mnist1d"}.items():
        assert not page.comparable(kept, **run | {name: other})
    assert not page.comparable(kept, rates=[0.1], **run)
    assert not page.comparable(kept | {"rows": []}, **run)


def test_halves_are_those_of_the_register_and_other_cells_have_none():
    frame = pd.DataFrame({"activation": ["relu", "relu", "tanh"], "L": [4, 3, 2]})
    found = page.with_halves(frame, registered.register(DIGEST)).half
    assert found.tolist() == ["exploration", "held_out", ""]


def test_one_value_in_ten_may_lie_further_than_a_grid_step_but_not_two():
    assert page.agrees(pd.Series([0.0] * 8 + [1.0, 2.0])) == 0.9
    with pytest.raises(ValueError, match="got 80%"):
        page.agrees(pd.Series([0.0] * 8 + [2.0, 2.0]))


def test_rates_by_depth_are_means_over_seeds_of_arms_that_have_every_depth():
    frame = rates_of([(2, 2, 5), (1, 1, 1)], [(0, 0, 0), (0, 0, 0)])
    frame = frame[(frame.arm == "bn") | (frame.L == 4)]
    depths, lines = page.by_depth(frame, ["bn", "none"])
    assert depths == [4, 8]
    assert list(lines) == ["bn"]
    np.testing.assert_allclose(lines["bn"][0], [3, 1])


def test_variants_measure_with_the_columns_they_name():
    frame = made(np.random.default_rng(5)).assign(half="held_out", seed=0)
    frame = frame.assign(
        best=-frame.max_trainable, max_stable=frame.max_trainable, hvp_off=-frame.k_off
    ).assign(hvp_total=frame.k_total, **{f"trained_{n}": frame[n] for n in registered.DIRECTIONS})
    found = {name: rho.estimate for name, rho in page.variants(frame).items()}
    whole = registered.correlations(registered.architectures(frame), resamples=2).estimate
    raw = whole["k_off", "pooled"]
    assert raw > 0.3
    assert found["best rate"]["k_off", "pooled"] == pytest.approx(-raw)
    assert found["max_stable"]["k_off", "pooled"] == pytest.approx(raw)
    assert found["Hessian products"]["k_off", "pooled"] == pytest.approx(-raw)
    assert found["after 20 steps"]["k_off", "pooled"] == pytest.approx(raw)


def test_orders_of_arms_by_hand():
    # rates fall with int but for bn-no-affine: 5 pairs of 15 turned, tau = (10 - 5)/15
    frame = steps_of((6, 5, 4, 3, 2, 1, 3, 2, 1), (1, 2, 3, 4, 5, 0, 4, 5, 6))
    found = page.orders(frame)
    assert found.tau.tolist() == pytest.approx([1 / 3, 1, 1])
    assert found.arms.tolist() == [6, 5, 6]
    bare = frame[~frame.arm.str.endswith(mechanism.RESET)]
    assert len(page.orders(bare)) == 2
    flat = page.orders(bare.assign(max_trainable=1.0))
    assert flat.tau.tolist() == [0, 0]
    assert flat["p over arms"].tolist() == [1, 1]


def test_distance_from_one_step_is_in_doublings_and_depths_are_in_order():
    rows = [("relu", 8, 1.0, 2.0), ("relu", 4, 3.0, 2.0), ("relu", 4, 3.0, np.inf)]
    frame = pd.DataFrame(rows, columns=["activation", "L", "max_trainable", "eps_up"])
    found = page.beyond_one_step(frame.assign(arm=["bn", "bn", "none"]))
    assert found.index.tolist() == [4, 8]
    assert found.bn.tolist() == [2, 0]
    assert found.none[4] == -np.inf
