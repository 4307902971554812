"""The decision rules of the chapter, on frames made by hand, on both sides of each edge."""

import numpy as np
import pandas as pd
import pytest

from bnlib.chapters.covariate_shift import decide, measure
from bnlib.results import Claim
from bnlib.statistics import Interval

SEEDS = 8
CELL = {"activation": "relu", "L": 6, "rule": "same rate"}


def made(bn, none, *, what="relative", seeds=SEEDS, **cell):
    """Walks of two places on which the arms differ by bn - none, with a little noise a seed."""
    rows = [
        {**CELL, **cell, "arm": arm, "seed": s, "at": place, what: value + 0.001 * s + 0.01 * place}
        for arm, value in (("bn", bn), ("none", none))
        for s in range(seeds)
        for place in (10, 20)
    ]
    return pd.DataFrame(rows)


def cell(relative, cosine, **where):
    """One cell in which BN changes relative shift and cosine by so much."""
    return made(relative, 0.0, **where).merge(made(cosine, 0.0, what="cosine", **where))


def test_differences_are_bn_minus_none_on_the_same_seed():
    rows = decide.differences(made(0.2, 0.5), "relative", decide.CELL)
    assert rows.estimate.iloc[0] == pytest.approx(-0.3)
    assert rows.sign.iloc[0] == -1
    assert rows.seeds.iloc[0] == SEEDS


def test_a_seed_that_diverged_in_one_arm_leaves_the_pair_and_a_lost_cell_is_refused():
    frame = made(0.2, 0.5)
    frame.loc[(frame.arm == "bn") & (frame.seed == 3), "relative"] = np.nan
    rows = decide.differences(frame, "relative", decide.CELL)
    assert rows.seeds.iloc[0] == SEEDS - 1
    frame.loc[(frame.arm == "none") & (frame.seed != 3), "relative"] = np.inf
    with pytest.raises(ValueError, match="expected 2 seeds that stay finite, got 0"):
        decide.differences(frame, "relative", decide.CELL)


@pytest.mark.parametrize(
    ("relative", "cosine", "reading"),
    [
        (-0.3, 0.3, "reduced"),
        (0.3, -0.3, "raised"),
        (-0.3, -0.3, "open"),
        (-0.3, 0.0, "open"),
        (0.0, 0.3, "open"),
    ],
)
def test_a_cell_is_reduced_if_the_shift_falls_and_the_cosine_rises(relative, cosine, reading):
    frame = cell(relative, cosine)
    if 0.0 in (relative, cosine):  # seeds on both sides of zero
        column = "relative" if relative == 0.0 else "cosine"
        frame[column] += np.where(frame.arm == "bn", 0.1 * (-1.0) ** frame.seed, 0.0)
    assert decide.shift_cells(frame).reading.tolist() == [reading]


@pytest.mark.parametrize(
    ("readings", "reduces", "opposite"),
    [
        (["reduced", "reduced"], "holds", "fails"),
        (["reduced", "raised"], "partly", "partly"),
        (["reduced", "open"], "partly", "partly"),
        (["raised", "open"], "fails", "holds"),
        (["raised", "raised"], "fails", "holds"),
        (["open", "open"], "fails", "holds"),
    ],
)
def test_the_two_claims_about_shift_are_opposites(readings, reduces, opposite):
    claim, other = decide.reduces(pd.DataFrame({"reading": readings}))
    assert (claim.id, claim.verdict) == ("bn-reduces-ics", reduces)
    assert (other.id, other.verdict) == ("ics-not-reduced", opposite)
    assert claim.evidence == other.evidence


def one_object(error, **slopes):
    return decide.is_interaction(measure.Theorem({}, np.array([]), {}, slopes, error, 0.0), 5)


def kept(low, share):
    gain = decide.Gain(Interval(1.0, low, 2.0), Interval(share, share, share))
    return decide.noise_harmless(gain, 12)


def signed(index, *signs):
    return pd.DataFrame({"sign": signs, "estimate": 0.0, "low": 0.0, "high": 0.0}, index=index)


def smoother(*signs):
    return decide.smoother("raw", signed(pd.Index(measure.MEASURES), *signs))


def uncoupled(*signs):
    """Of the off-diagonal and of its share, each at the start and trained."""
    names = ["off", "share"], ["start", "trained"]
    index = pd.MultiIndex.from_product(names, names=["measure", "state"])
    return decide.uncoupled(signed(index, *signs), 20)


def cures(low, high):
    factors = {"bn": Interval((low + high) / 2, low, high), "none": Interval(1.0, 1.0, 1.0)}
    return decide.cures(factors, 256, 256)


@pytest.mark.parametrize(
    ("claim", "verdict"),
    [
        (one_object(1e-8, none=2.7, bn=3.3), "holds"),  # the identity, and third order
        (one_object(1.01e-8, none=3.0, bn=3.0), "fails"),
        (one_object(1e-9, none=3.0, bn=2.69), "fails"),
        (one_object(1e-9, none=3.31, bn=3.0), "fails"),
        (kept(0.1, 0.8), "holds"),
        (kept(0.1, 0.799), "partly"),
        (kept(0.1, 0.3), "partly"),
        (kept(0.1, 0.299), "fails"),
        (kept(0.0, 0.9), "undecided"),  # no gain, nothing to keep
        (kept(0.0, 0.1), "undecided"),
        (smoother(-1, -1, -1), "holds"),
        (smoother(-1, 0, 1), "partly"),
        (smoother(0, 1, 0), "fails"),
        (smoother(1, 1, 1), "fails"),
        (uncoupled(-1, -1, -1, -1), "holds"),
        (uncoupled(0, 1, -1, -1), "partly"),
        (uncoupled(-1, 0, -1, 0), "partly"),
        (uncoupled(0, 1, 0, 0), "fails"),
        (uncoupled(1, 1, 1, 1), "fails"),
        (cures(1.001, 1.6), "fails"),
        (cures(1.0, 1.6), "partly"),
        (cures(0.8, 1.001), "partly"),
        (cures(0.8, 1.0), "holds"),
    ],
)
def test_a_rule_turns_at_its_edge(claim, verdict):
    assert claim.verdict == verdict


def test_without_a_gain_the_evidence_says_that_noise_is_not_testable():
    assert "not testable" in kept(0.0, 0.9).evidence
    assert "not testable" not in kept(0.1, 0.9).evidence


def losses(none, bn, noisy, spread=0.02):
    rows = {"none": none, "bn": bn, "noisy bn": noisy, "noisy none": 9.0}
    wiggle = np.linspace(-spread, spread, SEEDS)
    frames = [
        pd.DataFrame({"arm": arm, "seed": range(SEEDS), "loss": np.exp(np.log(v) + wiggle)})
        for arm, v in rows.items()
    ]
    return pd.concat(frames, ignore_index=True)


def varied(frame, arm, spread):
    """The losses of one arm times e^{spread} and e^{-spread} in turn."""
    signs = (-1.0) ** frame.seed
    return frame.assign(loss=frame.loss * np.where(frame.arm == arm, np.exp(spread * signs), 1.0))


@pytest.mark.parametrize(
    ("noisy", "verdict", "kept"),
    [(0.12, "holds", 0.92), (0.3, "partly", 0.52), (0.9, "fails", 0.046), (2.0, "fails", -0.3)],
)
def test_noise_is_harmless_if_most_of_the_gain_stays(noisy, verdict, kept):
    gain = decide.gains(losses(1.0, 0.1, noisy))
    assert gain.gain.estimate == pytest.approx(np.log(10))
    assert gain.kept.estimate == pytest.approx(kept, abs=0.01)
    assert decide.noise_harmless(gain, 12).verdict == verdict


@pytest.mark.parametrize("none", [0.1, 0.05])
def test_where_bn_gains_nothing_or_loses_there_is_nothing_to_keep(none):
    frame = varied(losses(none, 0.1, 0.1), "bn", 0.3 if none == 0.1 else 0.0)
    gain = decide.gains(frame)
    assert gain.gain.low <= 0
    assert decide.noise_harmless(gain, 12).verdict == "undecided"


def test_a_seed_that_diverged_does_not_count_in_the_gain():
    frame = losses(1.0, 0.1, 0.12)
    frame.loc[(frame.arm == "none") & (frame.seed < SEEDS - 2), "loss"] = np.inf
    assert decide.gains(frame).gain.estimate == pytest.approx(np.log(10))
    frame.loc[frame.seed == SEEDS - 1, "loss"] = np.inf
    assert decide.noise_harmless(decide.gains(frame), 12).verdict == "undecided"


def test_verdicts_stand_beside_those_of_a_stored_run():
    stored = {"noise-harmless": {"verdict": "partly", "evidence": "One sentence."}}
    table = {"parameters": {"dataset": "mnist1d"}, "claims": stored}
    claims = [Claim("noise-harmless", "holds", "Another.")]
    rows = decide.beside(claims, "digits", table)
    assert rows.loc["noise-harmless"].tolist() == ["holds", "partly", "One sentence."]
    assert list(rows) == ["this run (digits)", "stored (mnist1d)", "evidence on mnist1d"]


def dosed(kept, drift=20.0, gain=1.0, data=("digits",)):
    """Stored runs of six seeds: strength -> share of a gain that noisy BN keeps; drift over BN."""
    seeds, runs = np.linspace(-0.01, 0.01, 6), []
    shares = {("none", 0.0): 0.0, ("bn", 0.0): 1.0}
    shares |= {("noisy bn", size): share for size, share in kept.items()}
    for name in data:
        for (arm, size), share in shares.items():
            loss, moves = np.exp(seeds - gain * share), 1.0 if arm == "bn" else drift
            run = {"data": name, "arm": arm, "strength": size, "rate": 0.1, "edge": False}
            lists = {"loss": loss.tolist(), "distribution": [moves] * 6, "relative": [0.5] * 6}
            runs.append(run | lists)
    return runs


def dose_claim(runs):
    return decide.noise_is_dose(*decide.doses(runs)).verdict


def test_a_dose_leaves_most_of_the_gain_where_distributions_move_and_takes_it_with_more():
    both, half = {"data": ("digits", "mnist1d")}, {0.5: 0.9, 1.0: 0.5}
    mild, strong = {0.5: 0.81, 4.0: 0.29}, {0.5: 0.79, 4.0: 0.29}
    assert dose_claim(dosed(mild, **both)) == "holds"
    assert dose_claim(dosed(mild, drift=9.9, **both)) == "undecided"  # distributions hardly move
    assert dose_claim(dosed({0.5: 0.29, 4.0: 0.81}, **both)) == "undecided"  # less with more only
    assert dose_claim(dosed(strong)) == dose_claim(dosed(half)) == "undecided"
    assert dose_claim(dosed(mild) + dosed(strong, data=("mnist1d",))) == "partly"
    assert dose_claim(dosed({0.5: 0.9, 4.0: 0.9}, **both)) == "fails"
    assert dose_claim(dosed({0.5: 0.1, 4.0: 0.1}, **both)) == "fails"
    assert dose_claim(dosed(mild, gain=0.0, **both)) == "undecided"


def test_the_table_of_doses_pairs_by_seed_and_leaves_out_what_diverged():
    runs = dosed({1.0: 0.5})
    runs[-1]["loss"][0] = None
    table, gained = decide.doses(runs)
    row = table.loc["digits", 1.0]
    assert (row.kept, gained["digits"].estimate, row.drift) == pytest.approx((0.5, 1.0, 20.0))
    assert (row["drift/none"], row.turned) == (1.0, 1.0)
