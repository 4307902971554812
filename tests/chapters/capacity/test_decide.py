"""The rules of the capacity chapter on both sides of their edges."""

import numpy as np
import pandas as pd
import pytest

from bnlib.chapters.capacity import decide
from bnlib.chapters.capacity.measure import CHANCE, DESIGNS, NORMS, Arms
from bnlib.results import Claim
from bnlib.statistics import Interval

NOISE = np.array([0.0, 0.001, -0.001, 0.002, -0.002, 0.0])


def kink(ranks=(3, 3, 2), lowest=0.99, gamma=1e-10):
    return decide.kink({"none": 1e-13, "gamma": gamma, "beta": 2.0}, list(ranks), lowest)


def scores(limit=0.5, **score):
    usual = {"none": [0.5] * 3, "gamma": [0.5] * 3, "beta": [0.5] * 3, "both": [0.9] * 3}
    filled = {arm: np.array(values) for arm, values in (usual | score).items()}
    return Arms({}, filled, np.full(3, limit))


DEEP, OVER = scores(none=[0.6, 0.6, 0.51]), scores(gamma=[0.5, 0.5, 0.501])
WAVE, LOST = (scores(beta=[0.1, last, 0.1], both=[0.1] * 3) for last in (0.12, 0.9))
BAND, UNDER = scores(beta=[0.9, 0.92, 0.9]), scores(0.95, beta=[0.9, 0.92, 0.9], both=[0.96] * 3)


def linear(*quadrature):
    shares = pd.DataFrame({"quadrature": quadrature, "formula": quadrature, "low": 0, "high": 1})
    return decide.linear_regime(shares.set_axis(["a", "b"]))


def floor(*errors, both=0.5):
    found = {"gamma": np.array(errors), "both": np.array([both, both])}
    return decide.output_floor(found, {"gamma": 9.0, "both": 0.0})


def scale(**at):
    """Chance in the blind cells, learning in the others, but for those that are given."""
    chance, learned = Interval(0.5, 0.4, 0.6), Interval(0.9, 0.71, 1.0)
    keys = [(norm, design, mode) for norm in NORMS for design in DESIGNS for mode in "te"]
    given = {(name, "batch", "t" if name == "BN" else "e"): Interval(*v) for name, v in at.items()}
    return decide.batch_scale({k: chance if k[:2] in CHANCE else learned for k in keys} | given)


def information(error, restored, low, control=0.71):
    kinks = Claim("capacity-beta-restores", restored, "Evidence.")
    cells = {("BN", "batch", "t"): low, ("plain", "batch", "e"): control}
    ends = {key: Interval(end, end, end) for key, end in cells.items()}
    return decide.any_information(error, kinks, ends)


def logits(gap, stays, goes, plain=0.5):
    over = dict.fromkeys(("none", "beta"), np.array([stays, 2.0]))
    over |= dict.fromkeys(("gamma", "both"), np.array([goes, goes]))
    return decide.logit_floor(gap, over | {"plain": np.array([plain])})


def needed(*verdicts, tested=True):
    rows = [decide.Compared("d", str(i), "none", 0, 0, 0, 1, v) for i, v in enumerate(verdicts)]
    return decide.ablation(decide.Judged("this run", [], rows, 0, tested))


@pytest.mark.parametrize(
    ("claim", "verdict"),
    [
        (kink(), "holds"),
        (kink(gamma=1.1e-10), "fails"),
        (kink(ranks=(3, 3, 3)), "fails"),
        (kink(lowest=0.989), "fails"),
        (decide.band_ceiling([scores(), scores()], DEEP), "holds"),
        (decide.band_ceiling([scores(), OVER], DEEP), "fails"),  # one seed over it at depth one
        (decide.band_ceiling([scores()], scores(none=[0.6, 0.6, 0.5])), "fails"),  # or not at two
        (decide.band_ceiling([scores()], scores(both=[0.6, 0.6, 0.5])), "undecided"),
        (decide.band_ceiling([OVER], scores(both=[0.6, 0.6, 0.5])), "fails"),
        (decide.beta_restores(WAVE, BAND), "holds"),
        (decide.beta_restores(LOST._replace(limit=np.full(3, 0.1)), BAND), "undecided"),
        (decide.beta_restores(LOST, scores(0.9, both=[0.9] * 3)), "undecided"),
        (decide.beta_restores(WAVE, UNDER), "partly"),
        (decide.beta_restores(LOST, BAND), "partly"),
        (decide.beta_restores(LOST, UNDER), "fails"),
        (linear(0.01, 0.049), "holds"),
        (linear(0.01, 0.05), "partly"),
        (linear(0.05, 0.3), "fails"),
        (floor(9.5, 9.5), "holds"),  # 0.5 is 2 % of 25
        (floor(9.51, 9.51), "partly"),
        (floor(9.0 - 1e-8, 9.0), "fails"),
        (floor(9.0 - 1e-8, 9.0, both=0.51), "fails"),
        (floor(9.0, 9.0, both=0.51), "undecided"),
        (scale(), "holds"),
        (scale(BN=(0.5, 0.5, 0.6)), "holds"),
        (scale(BN=(0.56, 0.51, 0.6)), "fails"),
        (scale(plain=(0.8, 0.7, 0.9)), "undecided"),
        (information(0.019, "holds", 0.51), "holds"),
        (information(0.019, "holds", 0.5), "partly"),
        (information(0.02, "holds", 0.51), "undecided"),
        (information(0.019, "holds", 0.5, control=0.7), "undecided"),
        (information(0.019, "undecided", 0.5), "undecided"),
        (information(0.019, "partly", 0.5), "fails"),
        (decide.absorption({"a": 1e-12}, {"b": 0.0011}), "holds"),
        (decide.absorption({"a": 1.1e-12}, {"b": 0.0011}), "fails"),
        (decide.absorption({"a": 1e-12}, {"b": 0.001}), "fails"),
        (logits(1e-10, 0.98, 0.99), "holds"),
        (logits(2e-10, 0.98, 0.99), "fails"),
        (logits(1e-10, 0.979, 0.99), "fails"),
        (logits(1e-10, 0.98, 1.0), "fails"),
        (logits(1e-10, 0.98, 1.0, plain=1.0), "undecided"),
        (logits(2e-10, 0.98, 1.0, plain=1.0), "fails"),
        (needed("worse", "worse", "equivalent"), "holds"),
        (needed("worse", "equivalent"), "partly"),
        (needed("equivalent", "undecided"), "fails"),
        (needed("equivalent", "undecided", tested=False), "undecided"),
    ],
)
def test_a_rule_turns_at_its_edge(claim, verdict):
    assert claim.verdict == verdict


def run(arm, accuracy, architecture="relu-1", overlap=0.0):
    row = {"data": "d", "architecture": architecture, "arm": arm, "accuracy": accuracy}
    return row | {"overlap": overlap}


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


def test_splits_that_share_rows_decide_less_and_equivalence_needs_holm_too():
    arms = {"none": (0.80 + 20 * NOISE).tolist(), "beta": (0.90 - 2.5 * NOISE).tolist()}

    def verdicts(overlap, others=()):
        runs = [run(arm, accuracy, overlap=overlap) for arm, accuracy in arms.items()]
        runs += [run(arm, [0.5, 0.6, 0.9, 0.9, 1.0, 1.0]) for arm in others]
        rows = decide.compare([*runs, run("both", [0.9] * 6)])
        return [row.verdict for row in rows if row.arm in arms]

    assert verdicts(0.0) == ["worse", "equivalent"]
    assert verdicts(2.0) == ["undecided", "undecided"]
    assert verdicts(0.0, others=map(str, range(40))) == ["worse", "undecided"]


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
    untrained = decide.judge(low, high, learned=False)
    assert (untrained.source, untrained.tested) == ("the stored table", True)
    assert not decide.judge(low, [], learned=False).tested


def trained(subset, accuracy, chance=0.1):
    row = {"data": "d", "setting": "1 x 256", "subset": subset, "chance": chance}
    return row | {"accuracy": accuracy, "overlap": 0.0}


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
    shared = [row | {"overlap": 200.0} for row in win]
    assert decide.train_only_affine(shared, []).verdict == "fails"
    other = [row | {"setting": "3 x 128"} for row in lose]
    assert decide.train_only_affine(win, win + other).verdict == "partly"


@pytest.mark.parametrize(
    ("gains", "edges", "verdict"),
    [
        ((1, 1), (False, False), "holds"),
        ((1, 1), (False, True), "partly"),  # one not tested: its best rate is the largest
        ((1, 0), (False, False), "partly"),
        ((0, 0), (False, False), "undecided"),
        ((-1, 0), (False, False), "undecided"),
        ((-1, 0), (False, True), "fails"),
        ((1, 1), (True, True), "undecided"),
    ],
)
def test_affine_is_compared_at_rates_inside_the_grid(gains, edges, verdict):
    runs = []
    for setting, gain, edge in zip(("1 x 256", "3 x 128"), gains, edges, strict=True):
        row = {"setting": setting, "edge": edge}
        wide = 0.0 if gain else 5.0
        moved = [0.5 + (gain + wide * way) / 100 for way in (-1, 0, 1)]
        runs += [trained("gamma, beta", moved) | row, trained("random weights", [0.5] * 3) | row]
    gained = decide.own_rate_gains([run | {"overlap": 0.3} for run in runs])
    assert decide.affine_against_random(gained).verdict == verdict
    assert [inside for _, inside in gained.values()] == [not edge for edge in edges]


def test_what_did_not_learn_is_undecided_and_what_is_said_follows_the_number():
    flat = [trained(subset, [0.3] * 3) for subset in ("gamma, beta", "random weights", "all")]
    assert decide.train_only_affine(flat, []).verdict == "undecided"
    assert decide.train_only_affine([*flat[:2], trained("all", [0.4] * 3)], []).verdict == "fails"
    assert "do not come back (output error 101.70%" in information(1.017, "fails", 0.5).evidence
    assert "by the batch does (accuracy" in information(0.019, "holds", 0.51).evidence


def test_the_summary_marks_verdict_edge_and_divergence():
    more = {"rate": 0.2, "edge": True, "diverged": 1, "loss": [0.5, 0.7]}
    runs = [run("none", [0.5, 0.52]) | more, run("both", [0.5, 0.52]) | more | {"diverged": 0}]
    assert decide.summary(runs) == {
        ("d", "relu-1"): {"none": "51.0 = | 0.2*! | 0.600", "both": "51.0 | 0.2* | 0.600"}
    }
    assert decide.summary([]) == {}
