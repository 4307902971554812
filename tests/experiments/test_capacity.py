"""Floors, ceilings and protocols of the capacity chapter."""

import json

import numpy as np
import pytest

from bnlib import absorption, floors, training
from bnlib.experiments import (
    ablation,
    capacity,
    linearity,
    scale_labels,
    subsets,
    tables,
)
from bnlib.networks.seed_batched import SeedBatchedMLP
from bnlib.networks.spec import Spec

SEEDS = range(3)


def test_features_without_beta_have_rank_three_for_relu_and_two_for_tanh():
    x = np.random.default_rng(0).normal(1.0, 2.0, 300)
    rank = {
        (kind, arm): floors.feature_rank(
            capacity.random_features(arm, kind, x, 50, np.random.default_rng(1))
        )
        for kind in ("relu", "tanh")
        for arm in capacity.FOUR
    }
    assert rank["relu", "none"] == rank["relu", "gamma"] == 3
    assert rank["tanh", "none"] == 2
    assert min(rank["relu", "beta"], rank["tanh", "gamma"], rank["tanh", "beta"]) > 3


def test_shares_explained_meet_the_exact_predictions():
    x = 0.2 + (np.arange(4000) + 0.5) / 2000 - 1
    y, rng = np.sin(3 * np.pi * x), np.random.default_rng(0)
    bend = capacity.random_features("gamma", "relu", x, 20, rng)
    odd = capacity.random_features("gamma", "tanh", x, 300, rng)
    c, s = np.cos(0.6 * np.pi), np.sin(0.6 * np.pi)
    want = 2 * (c**2 / (3 * np.pi**2) + 16 * s**2 / (27 * np.pi**4))
    assert floors.share_explained(bend, y) == pytest.approx(want, abs=1e-5)  # grid for integral
    assert floors.share_explained(odd, y) == pytest.approx(c**2, abs=1e-5)


def test_homogeneous_without_beta_only_and_kinks_at_the_mean_without_beta_only():
    fits = {a: capacity.fit_wave(a, "relu", SEEDS, width=16, steps=60) for a in capacity.FOUR}
    for arm in ("none", "gamma"):
        assert capacity.homogeneity(fits[arm]) < 1e-12
        assert np.ptp(capacity.kinks(fits[arm]), axis=1).max() < 1e-9
    for arm in ("beta", "both"):
        assert capacity.homogeneity(fits[arm]) > 1e-3
        assert np.ptp(capacity.kinks(fits[arm]), axis=1).min() > 0.1


def test_arms_of_a_task_share_data_and_stay_over_the_floor():
    arms = capacity.wave_arms("relu", SEEDS, width=8, steps=30)
    assert all(np.array_equal(fit.x, arms.fits["none"].x) for fit in arms.fits.values())
    assert (arms.score["none"] >= arms.limit * (1 - 1e-9)).all()
    assert (arms.score["gamma"] >= arms.limit * (1 - 1e-9)).all()
    for sample in capacity.band_arms(1, SEEDS, width=8, steps=30):
        assert (sample.score["none"] <= sample.limit + 1e-12).all()


def test_output_arm_none_cannot_leave_its_floor_and_batch_std_matches_two_rows_by_hand():
    fit = capacity.fit_output("none", SEEDS, m=16, steps=5)
    assert fit.y.mean((1, 2)) == pytest.approx(3.0)
    assert fit.y.std((1, 2)) == pytest.approx(5.0)
    assert (fit.error() > 25 - 1e-9).all()
    y = np.array([[0.0, 2.0]])[..., None]
    assert capacity.batch_std(y, 2, 3, np.random.default_rng(0)) == pytest.approx([1.0])


def test_quadrature_meets_the_closed_forms():
    found = linearity.nonlinear_shares(20000, np.random.default_rng(0))
    for name in ("ReLU", "GELU"):
        assert found[name]["quadrature"] == pytest.approx(found[name]["formula"], abs=1e-6)
    assert found["GELU"]["formula"] == pytest.approx(0.2767, abs=5e-5)
    assert found["sigmoid"]["quadrature"] < 0.05 < found["tanh"]["quadrature"]


def test_linear_share_falls_with_depth():
    share = linearity.linear_share_by_depth("tanh", 1.0, range(2), depth=3, width=32)
    assert share.shape == (2, 3)
    assert (np.diff(share, axis=1) < 0).all()
    assert (share < 1).all()


def test_absorption_is_exact_where_it_exists_and_leaves_a_rest_elsewhere():
    rng = np.random.default_rng(0)
    assert max(absorption.absorbed_errors(rng).values()) < 1e-12
    assert min(absorption.remaining_errors(rng).values()) > 1e-3


def test_scale_labels_share_the_scale_in_a_batch_or_not():
    for design, per_batch in (("batch", True), ("sample", False)):
        x, y = scale_labels.batches(design, SEEDS, 5, 1, m=8)
        assert x.shape == (3, 40, 32)
        assert np.array_equal(np.abs(x[..., :16]), x[..., 16:])
        constant = (np.diff(y.reshape(3, 5, 8), axis=2) == 0).all()
        assert constant == per_batch


def test_batch_norm_cannot_read_the_scale_of_a_batch_but_the_plain_network_can():
    live, _ = scale_labels.accuracies("plain", "batch", SEEDS, steps=150, tests=20)
    assert live.min() > 0.8
    live, _ = scale_labels.accuracies("BN", "batch", SEEDS, steps=80, tests=20)
    assert 0.2 < live.mean() < 0.8


def run(arm, accuracy, name="d", architecture="relu-1"):
    return {"data": name, "architecture": architecture, "arm": arm, "accuracy": accuracy}


def test_table_verdicts_need_holm_and_equivalence_needs_the_margin():
    noise = np.array([0.0, 0.001, -0.001, 0.002, -0.002, 0.0])
    runs = [
        run("none", (0.80 + noise).tolist()),
        run("beta", (0.90 - noise).tolist()),
        run("gamma", (0.90 + 30 * noise).tolist()),
        run("both", [0.9] * 6),
    ]
    found = {row["arm"]: row for row in ablation.compare(runs)}
    assert [found[a]["verdict"] for a in ("none", "beta", "gamma")] == [
        "worse",
        "equivalent",
        "undecided",
    ]
    assert found["none"]["delta"] == pytest.approx(-10)
    assert ablation.needed(ablation.compare(runs)) == "holds"
    assert ablation.tally(ablation.compare(runs), "none").startswith("1 worse")


def test_needed_is_partly_for_some_rows_and_fails_for_none():
    rows = [{"arm": "none", "verdict": v} for v in ("worse", "equivalent", "undecided")]
    assert ablation.needed(rows) == "partly"
    assert ablation.needed(rows[1:]) == "fails"


def test_affine_alone_fails_where_normalizing_wins_and_holds_where_all_is_equal():
    noise = np.array([0.0, 0.001, -0.001, 0.002, -0.002, 0.0])
    both, none = run("both", [0.9] * 6), run("none", (0.9 + noise).tolist())
    assert ablation.affine_alone([both, none, run("affine", (0.7 - noise).tolist())]) == "fails"
    assert ablation.affine_alone([both, none, run("affine", (0.9 + noise).tolist())]) == "holds"
    worse = [both, run("none", (0.5 + noise).tolist()), run("affine", (0.7 - noise).tolist())]
    assert ablation.affine_alone(worse) == "partly"


def test_a_run_that_contradicts_the_stored_table_takes_its_place():
    noise = np.array([0.0, 0.001, -0.001, 0.002, -0.002, 0.0])
    low, high = ([run("none", (a + noise).tolist()), run("both", [0.8] * 6)] for a in (0.7, 0.9))
    assert ablation.judge(low, low).source == "the stored table"
    assert ablation.judge(low, high).source == "this run"
    assert ablation.judge(low, high).against == ["d, relu-1, none"]
    assert ablation.judge(low, []).source == "this run"


def trained(subset, accuracy, chance=0.1):
    own = {"data": "d", "setting": "1 x 256", "subset": subset, "chance": chance}
    return own | {"accuracy": accuracy}


def test_subsets_must_beat_random_weights_and_chance():
    good, bad = [0.8, 0.81, 0.82], [0.7, 0.72, 0.71]
    win = [trained("gamma, beta", good), trained("random weights", bad)]
    lose = [trained("gamma, beta", bad), trained("random weights", good)]
    lucky = [trained("gamma, beta", good, 0.5), trained("random weights", bad)]
    assert subsets.beats_random_weights(win)[0] == "holds"
    assert subsets.beats_random_weights(lose)[0] == "fails"
    assert subsets.beats_random_weights(lucky)[0] == "fails"
    assert subsets.judge(win, win).source == "the stored table"
    assert subsets.judge(win, lose).source == "this run"
    assert subsets.judge(win, []).verdict == "holds"


def test_subsets_train_what_they_say_and_as_many_random_weights_as_scales_and_shifts():
    net = SeedBatchedMLP(Spec((5, 8, 8, 3)), SEEDS)
    counts = {name: subsets.count(name, net) for name in subsets.SUBSETS}
    assert counts["gamma, beta"] == counts["random weights"] == 32
    assert (counts["gamma"], counts["beta"], counts["output layer"]) == (16, 16, 27)
    assert counts["all"] == 5 * 8 + 8 * 8 + 8 * 3 + 3 + 32
    x, y = np.random.default_rng(0).normal(size=(20, 5)), np.arange(20) % 3
    start = {k: v.clone() for k, v in net.params.items()}
    training.train(net, x, y, steps=3, batch=10, lr=0.1, **subsets.choose("gamma, beta", net))
    moved = {k.rstrip("0123456789") for k, v in net.params.items() if not v.equal(start[k])}
    assert moved == {"gamma", "beta"}


def test_data_and_widths_that_do_not_fit_are_refused_before_training(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"expected an \.npz file with X and y"):
        ablation.splits(tmp_path / "no.npz", SEEDS, batch=8)
    np.savez(tmp_path / "keys.npz", A=np.zeros((4, 2)))
    with pytest.raises(KeyError, match="expected keys X and y"):
        ablation.splits(tmp_path / "keys.npz", SEEDS, batch=8)
    np.savez(tmp_path / "labels.npz", X=np.zeros((8, 2)), y=np.arange(8) * 2)
    with pytest.raises(ValueError, match="expected labels 0"):
        ablation.splits(tmp_path / "labels.npz", SEEDS, batch=2)
    np.savez(tmp_path / "small.npz", X=np.eye(8), y=np.arange(8) % 2)
    with pytest.raises(ValueError, match="batch: expected 2 to 5 rows, got 64"):
        ablation.splits(tmp_path / "small.npz", SEEDS, batch=64)
    rows = ablation.splits(tmp_path / "small.npz", SEEDS, batch=4)
    with pytest.raises(ValueError, match="a layer of width 0"):
        ablation.spec("both", "relu-1", rows, 0)


def test_arms_and_architectures_are_what_they_are_called(tmp_path):
    np.savez(tmp_path / "small.npz", X=np.eye(8), y=np.arange(8) % 2)
    rows = ablation.splits(tmp_path / "small.npz", SEEDS, batch=4)
    assert ablation.spec("both", "relu-1, logits", rows, 4).output_norm == "batch"
    assert ablation.spec("plain", "relu-1, logits", rows, 4).norms == ("none",) * 3
    assert ablation.spec("affine", "tanh-3", rows, 4).norms == ("none", *["affine"] * 3, "none")
    none = ablation.spec("none", "relu-3, post", rows, 4)
    assert (none.scale, none.shift, none.order) == (False, False, "post")
    one = ablation.run(
        "a/small.npz", "relu-1", "both", rows, SEEDS, width=4, rates=[0.1, 0.2], steps=3, batch=4
    )
    assert one["data"] == "small.npz"
    assert len(one["accuracy"]) == len(one["loss"]) == 3
    assert json.loads(json.dumps(one)) == one


def test_the_summary_marks_verdict_edge_and_divergence():
    own = {"rate": 0.2, "edge": True, "diverged": 1, "loss": [0.5, 0.7]}
    runs = [run("none", [0.5, 0.52]) | own, run("both", [0.5, 0.52]) | own | {"diverged": 0}]
    assert ablation.summary(runs) == {
        ("d", "relu-1"): {"none": "51.0 = | 0.2*! | 0.600", "both": "51.0 | 0.2* | 0.600"}
    }


def test_a_stored_table_with_another_digest_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "__file__", str(tmp_path / "bnlib" / "experiments" / "tables.py"))
    assert tables.load("t.json", "ab")["ablation"] == []
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "t.json").write_text('{"ablation": [1]}')
    with pytest.raises(ValueError, match=r"t\.json: want the table with SHA-256 ab\.\.\., got "):
        tables.load("t.json", "ab")


def test_a_stopped_table_is_continued_and_other_parameters_start_it_anew(tmp_path, monkeypatch):
    full = {"data": {"digits": 2}, "batch": 16}
    full |= {"ablation": {"seeds": 2, "width": 4, "rates": [0.1, 0.2]}}
    full |= {"subsets": {"seeds": 2, "rates": [0.1]}}
    monkeypatch.setattr(ablation, "ARCHITECTURES", {"relu-1": {"depth": 1}})
    monkeypatch.setattr(subsets, "SETTINGS", {"1 x 256": (4,)})
    path = tmp_path / "t.json"
    whole = tables.redo(path, full)
    assert (len(whole["ablation"]), len(whole["subsets"])) == (6, 6)
    path.write_text(json.dumps(whole | {"ablation": whole["ablation"][:4]}))
    assert tables.redo(path, full) == whole
    path.write_text(json.dumps(whole | {"parameters": {}, "ablation": [{}]}))
    assert tables.redo(path, full) == whole
