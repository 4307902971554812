"""The rules of the chapter on transfer, on both sides of their edges."""

import numpy as np
import pandas as pd
import pytest

from bnlib.chapters.transfer import decide
from bnlib.chapters.transfer.exact import Contrast, Random
from bnlib.chapters.transfer.measure import Arm, Stream
from bnlib.statistics import Paired

NOTHING = pd.DataFrame()


def gap(low, high):
    return Paired((low + high) / 2, low, high, 0.5)


def contrast(error):
    return Contrast(error, 0.1, 4.0, 1e-15, 0)


def crops(contrast=1.0, clean=100.0):
    columns = ["network", "corruption", "statistics", "agreement", "cosine"]
    rows = [("a", "contrast", "target", 0.0, contrast), ("a", "clean", "target", clean, 1.0)]
    return pd.DataFrame([*rows, ("b", "clean", "target", 100.0, 1.0)], columns=columns)


def borders(contrast=1.0, dark=0.5, matched=1.0):
    return pd.DataFrame({"contrast": [contrast], "dark": dark, "dark, border too": matched}, ["a"])


def recovered(contrast=0.95, other=0.5, turned=0.95):
    shares = {(shift, decide.TARGET): other for shift in (*decide.MIXING, "negative")}
    shares[decide.MIXING[0], decide.TARGET] = 0.0
    return shares | {
        ("contrast", decide.TARGET): contrast,
        ("negative", decide.NEGATED): turned,
    }


def gains(rotation=0.1, permutation=0.1):
    lows = {"rotation": rotation, "permutation": permutation}
    return {shift: gap(low, 9) for shift, low in lows.items()}


@pytest.mark.parametrize(
    ("claim", "expected"),
    [
        (decide.same_function({"trained": 1e-12, "random": 0}), "holds"),
        (decide.same_function({"trained": 0, "random": 1.1e-12}), "fails"),
        (decide.shift_exact(contrast(1e-9), crops(0.99), borders(0.9999)), "holds"),
        (decide.shift_exact(contrast(1e-9), crops(0.98), borders(0.9999)), "partly"),
        (decide.shift_exact(contrast(1e-9), crops(0.99), borders(0.9998)), "partly"),
        (decide.shift_exact(contrast(1.1e-9), crops(0.99), borders()), "fails"),
        (decide.shift_exact(contrast(1e-9), NOTHING, NOTHING), "undecided"),
        (decide.shift_exact(contrast(1.1e-9), NOTHING, NOTHING), "fails"),
        (decide.border(borders(dark=0.9998, matched=0.9999)), "holds"),
        (decide.border(borders(dark=0.5, matched=0.9998)), "fails"),
        (decide.border(borders(dark=1.0, matched=1.0)), "fails"),
        (decide.border(NOTHING), "undecided"),
        (decide.mixing(recovered(), gains()), "holds"),
        (decide.mixing(recovered(), gains(permutation=0.0)), "partly"),
        (decide.mixing(recovered(contrast=0.94), gains()), "fails"),
        (decide.mixing(recovered(other=0.51), gains()), "fails"),
        (decide.mixing(recovered(turned=0.94), gains()), "fails"),
        (decide.count_or_gradient(gap(0.1, 2)), "holds"),
        (decide.count_or_gradient(gap(0.0, 2)), "undecided"),
        (decide.count_or_gradient(gap(-2, -0.1)), "fails"),
        (decide.adabn({"a": gap(0.1, 1), "b": gap(0.1, 1)}, {"a": 0.1, "b": 0.1}), "holds"),
        (decide.adabn({"a": gap(0.1, 1), "b": gap(0.0, 1)}, {"a": 0.1, "b": 0.1}), "partly"),
        (decide.adabn({"a": gap(-1, 0.0), "b": gap(-2, -1)}, {"a": 0.1, "b": 0.1}), "undecided"),
        (decide.adabn({"a": gap(-1, -0.1), "b": gap(-2, -1)}, {"a": 0.1, "b": 0.1}), "fails"),
        (decide.explodes({2: gap(0.1, 1), 8: gap(0.1, 1)}, {2: 0.1, 8: 0.1}), "holds"),
        (decide.explodes({2: gap(0.1, 1), 8: gap(0.0, 1)}, {2: 0.1, 8: 0.1}), "partly"),
        (decide.explodes({2: gap(0.0, 1), 8: gap(-1, 1)}, {2: 0.1, 8: 0.1}), "undecided"),
        (decide.explodes({2: gap(-2, -1), 8: gap(-1, -0.1)}, {2: 0.1, 8: 0.1}), "fails"),
        (decide.frozen_rate({"all": 0.0, "m = 2": 1.0}, "all"), "holds"),
        (decide.frozen_rate({"all": 0.0, "m = 2": -1.0}, "all"), "partly"),
        (decide.frozen_rate({"all": -0.5, "m = 2": 0.0}, "all"), "partly"),
        (decide.frozen_rate({"all": -1.0, "m = 2": 0.0}, "all"), "fails"),
        (decide.freeze_rule({2: gap(0.6, 9), 32: gap(-1, -0.5)}), "holds"),
        (decide.freeze_rule({2: gap(0.5, 9), 32: gap(-1, -0.6)}), "holds"),
        (decide.freeze_rule({2: gap(0.6, 9), 32: gap(-1, -0.6)}), "fails"),
        (decide.freeze_rule({2: gap(0.5, 9), 32: gap(-1, -0.5)}), "undecided"),
        (decide.frozen_random(Random(1e-12, 1e-10, 1.0)), "holds"),
        (decide.frozen_random(Random(1.1e-12, 1e-10, 1.0)), "fails"),
        (decide.frozen_random(Random(1e-12, 1.1e-10, 1.0)), "fails"),
        (decide.few_images(crops(clean=90.0)), "holds"),
        (decide.few_images(crops(clean=10.0)), "partly"),  # the other network agrees
        (decide.few_images(crops(clean=10.0)[:2]), "fails"),
        (decide.few_images(crops(clean=50.0)[:2]), "partly"),
        (decide.few_images(NOTHING), "undecided"),
    ],
)
def test_a_rule_turns_at_its_edge(claim, expected):
    assert claim.verdict == expected


def seeds(mean, spread=0.1):
    """Four seeds of this mean."""
    return mean + spread * np.array([-1.0, 1.0, -1.0, 1.0])


@pytest.mark.parametrize(
    ("random", "ordered", "expected"),
    [
        ([40, 50, 60, 10], 30, "holds"),  # what comes after 64 rows does not count
        ([40, 50, 45, 60], 20, "partly"),
        ([40, 50, 60, 70], 40, "partly"),
        ([40, 50, 45, 70], 30, "fails"),
    ],
)
def test_companions_need_the_gap_and_the_rise(random, ordered, expected):
    scores = {"random": np.array([seeds(v, 0.0) for v in random])}
    scores["sorted"] = np.array([seeds(ordered)] * 4)
    assert decide.companions(scores, [4, 16, 64, 256]).verdict == expected


def stream(*accuracy, entropy=(1.0, 0.5)):
    """Seeds that agree, but for a little."""
    values = np.array([seeds(v, 0.01 * k) for k, v in enumerate(accuracy, start=1)])
    return Stream(values, np.array([seeds(v, 0.0) for v in entropy]), values)


@pytest.mark.parametrize(
    ("helped", "expected"),
    [(["a", "b", "c"], "holds"), (["a", "b"], "holds"), (["a"], "partly"), ([], "fails")],
)
def test_entropy_helps_where_half_of_the_shifts_gain(helped, expected):
    mixed = {name: stream(50, 52 if name in helped else 48) for name in "abc"}
    assert decide.tent_helps(mixed).verdict == expected


def test_a_gain_within_its_noise_does_not_count():
    noisy = stream(50, 50.5)._replace(accuracy=np.array([seeds(50, 0.0), seeds(50.5, 1.0)]))
    assert decide.tent_helps({"a": noisy}).verdict == "fails"


@pytest.mark.parametrize(
    ("ends", "sorted_end", "entropy", "expected"),
    [
        ((52, 51), 49, (1.0, 0.5), "holds"),
        ((51, 52), 49, (1.0, 0.5), "partly"),
        ((52, 51), 51, (1.0, 0.5), "partly"),
        ((52, 51), 51, (1.0, 1.0), "fails"),  # without a fall of entropy nothing was tested
        ((51, 52), 51, (1.0, 0.5), "fails"),
    ],
)
def test_entropy_destroys_by_passes_and_by_order(ends, sorted_end, entropy, expected):
    mixed = {name: stream(50, *ends, entropy=entropy) for name in "ab"}
    ordered = {"a": stream(50, sorted_end), "b": stream(50, 51)}
    assert decide.tent_destroys(mixed, ordered).verdict == expected


def arm(accuracy):
    score = np.asarray(accuracy)[None]
    return Arm((0.1,), score, score, score > 0, np.zeros((0, *score.shape)))


@pytest.mark.parametrize(
    ("few", "many", "expected"),
    [(0, 0, "holds"), (5, 0, "partly"), (0, -5, "partly"), (0, 5, "fails")],
)
def test_gamma_and_beta_are_enough_within_a_point_at_both_numbers_of_labels(few, many, expected):
    arms = {("γ, β", n): arm(seeds(80)) for n in (20, 200)}
    arms |= {("all", 20): arm(seeds(80 + few, 0.2)), ("all", 200): arm(seeds(80 + many, 0.2))}
    assert decide.affine_enough(arms).verdict == expected


@pytest.mark.parametrize(
    ("few", "many", "expected"),
    [(1, 1, "holds"), (1, 0, "partly"), (-1, 0, "undecided"), (-1, -1, "fails")],
)
def test_gamma_and_beta_beat_random_weights_by_the_number_of_labels(few, many, expected):
    arms = {("random weights", n): arm(seeds(80)) for n in (20, 200)}
    arms |= {("γ, β", 20): arm(seeds(80 + few, 0.2)), ("γ, β", 200): arm(seeds(80 + many, 0.2))}
    assert decide.affine_beats_random(arms).verdict == expected


@pytest.mark.parametrize(
    ("gap", "spread", "expected"),
    [
        (0.5, 0.1, "holds"),
        (-0.5, 0.1, "fails"),
        (-3.0, 0.1, "fails"),
        (0.1, 0.5, "fails"),
        (0.5, 3.0, "undecided"),
    ],
)
def test_trained_gamma_and_beta_harm_where_a_head_does_better_without(gap, spread, expected):
    with_them = np.array([80.0, 82.0, 81.0, 83.0])
    without = with_them + gap + spread * np.array([-1, 0, 1, 0])
    assert decide.affine_harms(without, with_them).verdict == expected
