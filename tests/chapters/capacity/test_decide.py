"""The rules of the capacity chapter on both sides of their edges."""

import numpy as np
import pandas as pd
import pytest

from bnlib.chapters.capacity import decide
from bnlib.chapters.capacity.measure import CHANCE, DESIGNS, NORMS, Arms
from bnlib.results import Claim
from bnlib.statistics import Interval

NOISE = np.array([0.0, 0.001, -0.001, 0.002, -0.002, 0.0])
SOUND = {"none": 1e-13, "gamma": 1e-10, "beta": 2.0}


@pytest.mark.parametrize(
    ("residual", "ranks", "lowest", "verdict"),
    [
        (SOUND, [3, 3, 2], 0.99, "holds"),
        (SOUND | {"gamma": 1.1e-10}, [3, 3, 2], 0.99, "fails"),
        (SOUND, [3, 3, 3], 0.99, "fails"),
        (SOUND, [3, 3, 2], 0.989, "fails"),
    ],
)
def test_kinks_need_residual_ranks_and_floor(residual, ranks, lowest, verdict):
    assert decide.kink(residual, ranks, lowest).verdict == verdict


def scores(limit=0.5, **score):
    filled = {arm: np.array(score.get(arm, [0.5, 0.5, 0.5])) for arm in ("none", "gamma", "beta")}
    return Arms({}, filled, np.full(3, limit))


def test_one_seed_over_the_ceiling_at_depth_one_or_not_over_it_at_depth_two_decides():
    deep = scores(none=[0.6, 0.6, 0.51])
    assert decide.band_ceiling([scores(), scores()], deep).verdict == "holds"
    over = scores(gamma=[0.5, 0.5, 0.501])
    assert decide.band_ceiling([scores(), over], deep).verdict == "fails"
    assert decide.band_ceiling([scores()], scores(none=[0.6, 0.6, 0.5])).verdict == "fails"


def test_beta_restores_what_it_wins_against_gamma_and_the_limit():
    wave, lost = scores(beta=[0.1, 0.12, 0.1]), scores(beta=[0.1, 0.9, 0.1])
    band, under = scores(beta=[0.9, 0.92, 0.9]), scores(0.95, beta=[0.9, 0.92, 0.9])
    assert decide.beta_restores(wave, band).verdict == "holds"
    assert decide.beta_restores(wave, under).verdict == "partly"
    assert decide.beta_restores(lost, band).verdict == "partly"
    assert decide.beta_restores(lost, under).verdict == "fails"


@pytest.mark.parametrize(
    ("quadrature", "verdict"),
    [([0.01, 0.049], "holds"), ([0.01, 0.05], "partly"), ([0.05, 0.3], "fails")],
)
def test_nearly_linear_is_below_five_percent(quadrature, verdict):
    shares = pd.DataFrame({"quadrature": quadrature, "formula": quadrature, "low": 0, "high": 1})
    assert decide.linear_regime(shares.set_axis(["a", "b"])).verdict == verdict


@pytest.mark.parametrize(
    ("errors", "verdict"),
    [
        ([9.5, 9.5], "holds"),  # 0.5 is 2 % of 25
        ([9.51, 9.51], "partly"),
        ([9.0 - 1e-8, 9.0], "fails"),
    ],
)
def test_no_seed_is_below_its_floor_and_the_mean_not_far_above_it(errors, verdict):
    assert decide.output_floor({"gamma": np.array(errors)}, {"gamma": 9.0}).verdict == verdict


def cells(**changed):
    chance, learned = Interval(0.5, 0.4, 0.6), Interval(0.9, 0.71, 1.0)
    keys = [(norm, design, mode) for norm in NORMS for design in DESIGNS for mode in "te"]
    return {key: chance if key[:2] in CHANCE else learned for key in keys} | changed.get("at", {})


def test_chance_must_lie_in_the_blind_cells_and_the_others_must_learn():
    assert decide.batch_scale(cells()).verdict == "holds"
    assert (
        decide.batch_scale(cells(at={("BN", "batch", "t"): Interval(0.5, 0.5, 0.6)})).verdict
        == "holds"
    )
    off = Interval(0.56, 0.51, 0.6)
    assert decide.batch_scale(cells(at={("BN", "batch", "t"): off})).verdict == "fails"
    weak = Interval(0.8, 0.7, 0.9)
    assert decide.batch_scale(cells(at={("plain", "batch", "e"): weak})).verdict == "fails"


@pytest.mark.parametrize(
    ("error", "restored", "low", "verdict"),
    [
        (0.019, "holds", 0.51, "holds"),
        (0.019, "holds", 0.5, "partly"),
        (0.02, "holds", 0.51, "partly"),
        (0.019, "partly", 0.5, "fails"),
    ],
)
def test_information_comes_back_fixed_or_with_the_batch(error, restored, low, verdict):
    kinks = Claim("capacity-beta-restores", restored, "Evidence.")
    claim = decide.any_information(error, kinks, Interval(low, low, low))
    assert claim.verdict == verdict
    assert f"{['fails', 'partly', 'holds'].index(restored)} of 2 tasks" in claim.evidence


def test_absorption_is_to_rounding_and_impossible_is_more_than_a_thousandth():
    assert decide.absorption({"a": 1e-12}, {"b": 0.0011}).verdict == "holds"
    assert decide.absorption({"a": 1.1e-12}, {"b": 0.0011}).verdict == "fails"
    assert decide.absorption({"a": 1e-12}, {"b": 0.001}).verdict == "fails"


@pytest.mark.parametrize(
    ("gap", "stays", "goes", "verdict"),
    [
        (1e-10, 0.98, 0.99, "holds"),
        (2e-10, 0.98, 0.99, "fails"),
        (1e-10, 0.979, 0.99, "fails"),
        (1e-10, 0.98, 1.0, "fails"),
    ],
)
def test_the_logit_floor_binds_none_and_beta_alone(gap, stays, goes, verdict):
    least, mean = np.array([stays, 2.0]), np.array([goes, goes])
    over = {"none": least, "beta": least, "gamma": mean, "both": mean}
    assert decide.logit_floor(gap, over).verdict == verdict


def run(arm, accuracy, architecture="relu-1"):
    return {"data": "d", "architecture": architecture, "arm": arm, "accuracy": accuracy}


def test_table_verdicts_need_holm_and_equivalence_needs_the_margin():
    runs = [
        run("none", (0.80 + NOISE).tolist()),
        run("beta", (0.90 - NOISE).tolist()),
        run("gamma", (0.85 + 30 * NOISE).tolist()),  # p = 0.03 alone, not among three
        run("both", [0.9] * 6),
    ]
    table = {row.arm: row for row in decide.compare(runs)}
    verdicts = {arm: row.verdict for arm, row in table.items()}
    assert verdicts == {"none": "worse", "beta": "equivalent", "gamma": "undecided"}
    assert table["none"].delta == pytest.approx(-10)
    claim = decide.ablation(decide.judge(runs, []))
    assert claim.verdict == "holds"
    assert "1 worse, 0 better, 0 equivalent, 0 undecided; 3 comparisons" in claim.evidence


@pytest.mark.parametrize(
    ("verdicts", "verdict"),
    [
        (["worse", "worse", "equivalent"], "holds"),
        (["worse", "equivalent"], "partly"),
        (["equivalent", "undecided"], "fails"),
    ],
)
def test_needed_in_most_rows_in_some_or_in_none(verdicts, verdict):
    rows = [decide.Compared("d", str(i), "none", 0, 0, 0, 1, v) for i, v in enumerate(verdicts)]
    assert decide.ablation(decide.Judged("this run", [], rows, 0)).verdict == verdict


def test_affine_alone_fails_where_normalizing_wins_and_holds_where_all_is_equal():
    both, none = run("both", [0.9] * 6), run("none", (0.9 + NOISE).tolist())

    def verdict(*runs):
        return decide.affine_alone(decide.judge(runs, [])).verdict

    assert verdict(both, none, run("affine", (0.7 - NOISE).tolist())) == "fails"
    assert verdict(both, none, run("affine", (0.9 + NOISE).tolist())) == "holds"
    weak = run("none", (0.5 + NOISE).tolist())
    assert verdict(both, weak, run("affine", (0.7 - NOISE).tolist())) == "partly"


def test_a_run_that_contradicts_the_stored_table_takes_its_place():
    low, high = ([run("none", (a + NOISE).tolist()), run("both", [0.8] * 6)] for a in (0.7, 0.9))
    assert decide.judge(low, low)[::3] == ("the stored table", 0)
    assert decide.judge(low, high)[::3] == ("this run", 1)
    assert decide.judge(low, high).runs is low
    assert decide.judge(low, []).source == "this run"


def trained(subset, accuracy, chance=0.1):
    row = {"data": "d", "setting": "1 x 256", "subset": subset, "chance": chance}
    return row | {"accuracy": accuracy}


def test_subsets_must_beat_random_weights_and_chance():
    good, bad = [0.8, 0.81, 0.82], [0.7, 0.72, 0.71]
    win = [trained("gamma, beta", good), trained("random weights", bad)]
    lose = [trained("gamma, beta", bad), trained("random weights", good)]
    edge = [trained("gamma, beta", good, 0.27), trained("random weights", bad)]  # 3 * 0.27 = 0.81
    assert decide.train_only_affine(win, []).verdict == "holds"
    assert decide.train_only_affine(lose, []).verdict == "fails"
    assert decide.train_only_affine(edge, []).verdict == "fails"
    assert "settings of the stored table" in decide.train_only_affine(win, win).evidence
    assert "settings of this run" in decide.train_only_affine(win, lose).evidence
    other = [row | {"setting": "3 x 128"} for row in lose]
    assert decide.train_only_affine(win, win + other).verdict == "partly"


def test_the_summary_marks_verdict_edge_and_divergence():
    more = {"rate": 0.2, "edge": True, "diverged": 1, "loss": [0.5, 0.7]}
    runs = [run("none", [0.5, 0.52]) | more, run("both", [0.5, 0.52]) | more | {"diverged": 0}]
    assert decide.summary(runs) == {
        ("d", "relu-1"): {"none": "51.0 = | 0.2*! | 0.600", "both": "51.0 | 0.2* | 0.600"}
    }
    assert decide.summary([]) == {}
