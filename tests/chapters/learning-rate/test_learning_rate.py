"""The chapter on learning rates: its bench, its registered analysis, its mechanism, its rules."""

import json
import tomllib
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch

from bnlib import data, statistics
from bnlib.chapters import learning_rate as chapter
from bnlib.chapters.learning_rate import decide, measure, stored
from bnlib.chapters.learning_rate.measure import Bench

DIGITS = Bench()
REGISTER = tomllib.loads(measure.read("register.toml"))


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch):
    few = partial(statistics.cluster_bootstrap, resamples=200)
    monkeypatch.setattr(statistics, "cluster_bootstrap", few)


def made(rng, cells=6, arms=8, *, cause=1.0, effect=1.0, own=0.5):
    """Architectures: log rate = effect * baseline + noise, k_off = -cause * baseline + noise."""
    z = rng.normal(size=(cells, arms)) + rng.normal(size=(cells, 1))
    noise = rng.normal(size=(3, cells, arms))
    frame = pd.DataFrame(
        {
            "activation": np.repeat([f"a{k}" for k in range(cells)], arms),
            "L": 4,
            "cell": np.repeat([f"a{k} 4" for k in range(cells)], arms),
            "arm": np.tile([f"arm{k}" for k in range(arms)], cells),
            "baseline": z.ravel(),
            "max_trainable": (effect * z + own * noise[0]).ravel(),
            "k_off": (-cause * z + own * noise[1]).ravel(),
            "share": noise[2].ravel(),
        }
    )
    return frame.assign(k_total=frame.k_off, eps_up=-frame.k_off)


def test_the_register_names_what_the_analysis_does():
    signs = {k: v["direction"] for k, v in REGISTER["predictors"].items() if k != "state"}
    assert signs == measure.DIRECTIONS
    cells = REGISTER["cells"]
    assert not {map(tuple, cells["exploration"])} & {map(tuple, cells["held_out"])}
    assert set(REGISTER["rules"]) >= {*decide.PREDICTIONS, "interaction-is-mechanism"}
    assert len(REGISTER["architectures"]["arms"]) >= REGISTER["architectures"]["least"]


def test_an_edited_register_is_refused_and_a_missing_one_stops_the_analysis(monkeypatch):
    monkeypatch.setitem(measure.DIGESTS, "register.toml", "0462997df7395fe8")
    with pytest.raises(ValueError, match="expected the file with SHA-256 0462997df7395fe8"):
        measure.read("register.toml")
    monkeypatch.setitem(measure.DIGESTS, "nothing.toml", "0462997df7395fe8")
    with pytest.raises(FileNotFoundError, match=r"expected the stored nothing\.toml at"):
        measure.read("nothing.toml")


def test_second_differences_are_the_hessian_for_a_smooth_network():
    found = measure.predictors(measure.problem(DIGITS, ("tanh", 4, "none"), range(3)))
    # relative error of a central difference at a promise of 1/100: about (1/100)^2 times a
    # fourth derivative in units of the second
    np.testing.assert_allclose(found["k_off"], found["hvp_off"], rtol=5e-3)
    np.testing.assert_allclose(found["k_total"], found["hvp_total"], rtol=5e-3)


def test_without_affine_the_start_is_the_same_function():
    rows = data.bench_split("digits")
    x = torch.from_numpy(rows.x_train[:64]).expand(2, -1, -1)
    for name in ("bn", "std-only", "layer-norm"):
        place = "relu", 4, name
        both, bare = (measure.start(Bench(affine=a), place, range(2)) for a in (True, False))
        assert not any(n.startswith(("gamma", "beta")) for n in bare.params)
        torch.testing.assert_close(both.logits(both.params, x), bare.logits(bare.params, x))


def test_the_batches_of_a_seed_do_not_depend_on_the_other_seeds():
    place, short = ("relu", 2, "bn"), Bench(steps=3)
    both, alone = (measure.swept(short, place, seeds, [0.5])[0] for seeds in ([0, 5], [5]))
    np.testing.assert_array_equal(both.loss[:, :, 1:], alone.loss)


def test_bn_at_the_last_hidden_layer_is_left_out_where_it_is_bn():
    found = measure.architectures([("relu", 2), ["relu", 3]], ["bn", "bn-last-hidden"])
    assert found == [("relu", 2, "bn"), ("relu", 3, "bn"), ("relu", 3, "bn-last-hidden")]


def test_predictor_that_acts_through_the_baseline_alone_has_no_partial_correlation():
    rho = measure.correlations(made(np.random.default_rng(1), cells=12))
    assert rho.low["k_off", "pooled"] > 0.3
    assert rho.low["k_off", "partial"] < 0 < rho.high["k_off", "partial"]
    assert rho.low["share", "pooled"] < 0 < rho.high["share", "pooled"]


def test_a_common_effect_of_the_cell_is_pooled_but_not_within():
    rng = np.random.default_rng(2)
    frame = made(rng, cells=8, effect=0.0)
    cell = np.repeat(np.arange(8.0), 8)
    frame = frame.assign(max_trainable=cell + rng.normal(size=64))
    rho = measure.correlations(frame.assign(k_off=rng.normal(size=64) - cell))
    assert rho.estimate["k_off", "pooled"] > 0.7
    assert abs(rho.estimate["k_off", "within"]) < 0.3


def test_direction_is_applied_so_that_positive_means_as_registered():
    frame = made(np.random.default_rng(3), own=0.1)
    rho = measure.correlations(frame).estimate
    assert rho["k_off", "pooled"] > 0.9
    assert rho["eps_up", "pooled"] == rho["k_off", "pooled"]
    assert ("baseline", "partial") not in rho.index


def test_two_predictors_are_compared_over_the_same_resampled_cells():
    frame = made(np.random.default_rng(4), cells=8)
    rho = measure.correlations(frame)
    swapped = measure.correlations(frame.assign(k_total=frame.share, share=frame.k_total))
    for name in (measure.BEYOND, measure.APART):
        first, second = (("k_off", "k_total"), ("k_total", "share"))[name == measure.APART]
        gap = rho.estimate[first, "pooled"] - rho.estimate[second, "pooled"]
        assert rho.estimate[name] == pytest.approx(gap, abs=1e-12)
    ends = rho.loc[measure.APART, ["high", "low"]]
    assert swapped.loc[measure.APART, ["low", "high"]].tolist() == pytest.approx((-ends).tolist())


@pytest.mark.parametrize("name", decide.PREDICTIONS)
@pytest.mark.parametrize(
    ("low", "strong"), [(0.31, "holds"), (0.3, "partly"), (0.01, "partly"), (0.0, "undecided")]
)
def test_the_rules_for_predictors_have_their_edges_at_a_third_and_at_zero(name, low, strong):
    row = decide.PREDICTIONS[name][0]
    rho = pd.DataFrame([[0.5, low, 0.9]], pd.MultiIndex.from_tuples([row]))
    word, interval = decide.prediction(name, rho)
    assert interval == (0.5, low, 0.9)
    weak = "holds" if low > 0 else "undecided"
    assert word == (strong if name.endswith("predicts") else weak)


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
    ratio = measure.bn_gains(rates_of(bn, [(-1, 0, 0)] * 2))
    assert decide.larger_rates(ratio, ratio, "a test").verdict == verdict


@pytest.mark.parametrize(
    ("ends", "verdict"),
    [
        ([(-0.99, 0.5), (-0.9, 0.0)], "holds"),
        ([(-0.99, 0.5), (-1.0, 0.0)], "partly"),
        ([(-2.0, -1.01), (-1.5, -1.1)], "fails"),
        ([(-2.0, -1.0), (-1.5, -1.1)], "undecided"),
        ([], "undecided"),  # no network that is deep enough
    ],
)
def test_fresh_constants_are_level_above_half_the_rate(ends, verdict):
    rows = pd.DataFrame(ends, columns=["low", "high"]).assign(estimate=-1.0)
    assert decide.fresh_constants(rows, trained=True).verdict == verdict
    assert decide.fresh_constants(rows, trained=False).verdict == "undecided"


def test_agreement_compares_common_seeds_only():
    one = rates_of([(2, 2, 3)], [(0, 0, 0)], depths=(4,))
    two = one.assign(max_trainable=one.max_trainable + (one.seed == 1))
    gap = measure.agreement(one, two[two.seed < 2])
    assert sorted(gap) == [0, 0, 1, 1]


def steps_of(share, rate):
    names = [*measure.LADDER, *(n + measure.RESET for n in measure.SCALE_FREE)]
    rows = [
        {"arm": arm, "seed": s, "max_trainable": rate[k] + s % 2, "share": share[k]}
        for k, arm in enumerate(names)
        for s in range(4)
    ]
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("low", "gain", "verdict"),
    [(0.1, 2.0, "holds"), (0.0, 2.0, "partly"), (0.1, 1.9, "partly"), (0.0, 1.9, "fails")],
)
def test_the_least_arm_needs_half_of_bns_gain_and_tau_an_interval_above_zero(low, gain, verdict):
    order = measure.Order(statistics.Interval(0.5, low, 0.9), "frozen", gain, 4.0)
    assert decide.by_interaction(order) == verdict


def test_share_explained_by_resetting_by_hand():
    # bn gains 4 over none, 1 is left after the reset: three quarters of it are explained
    frame = steps_of(range(9), (0, 0, 0, 0, 4, 0, 0, 1, 0))
    found = measure.explained(frame)
    assert found.estimate == pytest.approx(0.75)
    assert found.low == found.high == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("share", "verdict"), [(0.51, "holds"), (0.5, "partly"), (0.11, "partly"), (0.1, "fails")]
)
def test_self_tuning_has_its_edges_at_a_half_and_a_tenth(share, verdict):
    assert decide.self_tuning(share) == verdict


def test_the_effective_rate_never_exceeds_the_bound_of_the_step_before():
    # BN's eps = 1e-5 breaks the orthogonality by eps / (var + eps), here far below a percent.
    effective, bound = measure.tuning(Bench(steps=12), [0.25, 4.0], dtype=torch.float64)
    assert effective.shape == (12, 2)
    assert (effective[1:] <= 1.01 * bound[:-1]).all()
    assert (np.diff(effective, axis=0) <= 1e-12).all()


def test_ladder_has_the_same_interaction_with_and_without_reset():
    frame, growth = measure.ladder(Bench(steps=3), 3, [0, 1], [0.1, 0.2])
    share = measure.wide(frame, "share")
    assert len(share.columns) == 9
    np.testing.assert_array_equal(share["bn"], share["bn" + measure.RESET])
    assert growth["bn"].shape == (2,)
    np.testing.assert_allclose(growth["bn" + measure.RESET], 1, rtol=1e-5)
    assert len(measure.ladder(Bench(steps=2), 3, [0], [0.1], reset_norms=False)[1]) == 6


def test_a_table_resumes_and_opens_the_held_out_cells_only_when_told(tmp_path, monkeypatch):
    cells = {"exploration": [["relu", 2]], "held_out": [["tanh", 3]]}
    small = measure.Full(2, 2, 0.5, cells, [["relu", 3]], [[2, 2]])
    monkeypatch.setitem(measure.FULL, "digits", small)
    path = tmp_path / "table.json"
    first = stored.redo(path, "digits")
    assert [r["half"] for r in first["rows"]] == ["exploration"] * 7 + ["bad"] * 4
    with monkeypatch.context() as patch:
        patch.setattr(stored, "architecture", lambda *a, **k: pytest.fail("done twice"))
        again = path.read_bytes()
        stored.redo(path, "digits")
        assert path.read_bytes() == again
    both = stored.redo(path, "digits", open_held_out=True)
    assert len(both["rows"]) == 7 + 4 + 8
    frame = measure.frame_of(json.loads(path.read_text()))
    assert len(frame) == 38
    assert not frame.eps_up.isna().any()
    assert len(measure.ladders_of(both)[2, 2]) == 18


def test_a_row_of_the_published_table_comes_out_again():
    table = measure.load("digits")
    row = table["rows"][0]
    place, seeds = (row["activation"], row["L"], row["arm"]), range(table["parameters"]["seeds"])
    again = stored.architecture(DIGITS, place, seeds)
    assert list(row) == ["half", "activation", "L", "arm", *again]
    np.testing.assert_allclose(again["k_off"], row["k_off"], rtol=1e-3)
    assert np.abs(np.subtract(again["max_trainable"], row["max_trainable"])).max() <= 1


def test_a_run_without_stored_table_needs_two_exploration_cells_to_resample():
    other = {"width": 16, "activations": ["relu"]}
    plan = chapter.register(chapter.Settings(**other, depths=[2, 4])).values
    assert plan.kept is None
    with pytest.raises(ValueError, match="expected the parameters of the stored table, or at"):
        chapter.register(chapter.Settings(**other, depths=[3, 4]))


def test_a_stored_table_judges_only_runs_with_its_parameters():
    assert measure.comparable(DIGITS, measure.RATES) == measure.load("digits")
    assert measure.comparable(Bench("mnist1d", 400, 0.75), [*measure.RATES]) is not None
    for other in ({"steps": 81}, {"width": 33}, {"affine": False}, {"dataset": "mnist1d"}):
        assert measure.comparable(DIGITS._replace(**other), measure.RATES) is None
    assert measure.comparable(DIGITS, [0.1]) is None


def test_the_plan_of_the_defaults_is_that_of_the_stored_table():
    plan = chapter.register(chapter.Settings()).values
    assert plan.bench == DIGITS
    assert tuple(plan.rates) == measure.RATES
    assert len(plan.places) == 2 * 4 * 6
    held_out = chapter.register(chapter.Settings(cells="registered", open_held_out=False)).values
    assert {n for activation, n, _ in held_out.places if activation == "relu"} == {2, 4, 8, 12}


def test_one_value_in_ten_may_lie_further_than_a_grid_step_but_not_two():
    assert decide.agreeing(pd.Series([0.0] * 8 + [1.0, 2.0])) == 0.9
    with pytest.raises(ValueError, match="got 80%"):
        decide.agreeing(pd.Series([0.0] * 8 + [2.0, 2.0]))
