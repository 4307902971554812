"""The rules of the register, on both sides of their edges."""

import numpy as np
import pandas as pd
import pytest

from bnlib.chapters.identity import decide, measure
from bnlib.statistics import Interval

LAW = measure.gaussian_laws([2, 8, 64])


def around(law, width=1e-3):
    return Interval(law, law - width, law + width)


@pytest.mark.parametrize(("error", "verdict"), [(1e-12, "holds"), (1.1e-12, "fails")])
def test_the_input_comes_back_within_1e_12(error, verdict):
    assert decide.same_batch({"center first": error, "folded": 1.0}, 5).verdict == verdict
    assert decide.eval_exact(error).verdict == verdict


@pytest.mark.parametrize(
    ("at_eps", "off", "at_zero", "verdict"),
    [
        (0.0, 0.0, 0.0, "holds"),  # exact for every eps
        (0.3, 0.9e-6, 1e-12, "partly"),
        (0.3, 1.1e-6, 0.0, "fails"),
        (0.3, 0.0, 2e-12, "fails"),  # not exact at eps = 0 either
    ],
)
def test_gamma_needs_eps_unless_exact_for_every_eps(at_eps, off, at_zero, verdict):
    law = {1e-3: np.array([at_eps]), 0.0: np.array([0.0])}
    rms = {1e-3: np.array([[at_eps + off]]), 0.0: np.array([[at_zero]])}
    assert decide.needs_eps(rms, law).verdict == verdict


def checked(**different):
    inside, point = np.ones((6, 9), dtype=bool), Interval(0, 0, 0)
    return measure.Check(point, inside, inside, [3, 4], True)._replace(**different)


def test_the_law_may_miss_one_gaussian_interval_and_no_simultaneous_one():
    one, two, joint = (np.ones((6, 9), dtype=bool) for _ in range(3))
    one[0, 3] = two[0, 3] = two[0, 4] = joint[5, 8] = False
    assert decide.train_law(checked(inside=one)).verdict == "holds"
    assert "inside 8 of 9 95 % intervals; six populations 53 of 54" in (
        decide.train_law(checked(inside=one)).evidence
    )
    for wrong in ({"inside": two}, {"jointly": joint}, {"sound": False}):
        assert decide.train_law(checked(**wrong)).verdict == "fails"


@pytest.mark.parametrize(
    ("off", "verdict"),
    [([0.05] * 6, "holds"), ([0.0] * 5 + [-0.051], "partly"), ([0.1] * 6, "fails")],
)
def test_the_leading_term_may_be_off_by_5_percent(off, verdict):
    ratios = 1 + np.array(off)[:, None] * [1, 0.5] * (1 - 1e-9)
    claim = decide.train_leading(ratios, 256)
    assert claim.verdict == verdict
    assert ("Student t5 (0.95 of it at m = 64, 0.97 at 256)" in claim.evidence) == (off[0] == 0)


def test_the_best_gamma_needs_minimizer_and_floor_at_every_size():
    gamma, floor = around(LAW["std"]), around(LAW["best"])
    missed = floor._replace(high=LAW["best"] - [0, 0, 1e-6])
    assert decide.best_gamma([2, 8, 64], gamma, floor).verdict == "holds"
    assert decide.best_gamma([2, 8, 64], gamma, missed).verdict == "fails"
    assert decide.best_gamma([2, 8, 64], around(LAW["std"] + 0.01), floor).verdict == "fails"


def test_the_descent_ends_at_the_law_and_excludes_sigma_up_to_64_rows():
    sizes, law = [2, 64, 256], measure.gaussian_laws([2, 64, 256])["std"]
    beyond = around(law)._replace(high=np.array([0.6, 0.99999, 1.1]))  # sigma inside at 256
    touching = beyond._replace(high=np.array([0.6, 1.0, 1.1]))
    assert decide.sgd_fixed_point(sizes, beyond, 0.0).verdict == "holds"
    assert decide.sgd_fixed_point(sizes, touching, 0.0).verdict == "partly"
    assert decide.sgd_fixed_point(sizes, around(law + 0.1), 0.0).verdict == "fails"


@pytest.mark.parametrize(
    ("training", "evaluation", "verdict"),
    [(1e-10, 1e-10, "holds"), (2e-10, 1e-10, "partly"), (1.0, 2e-10, "fails")],
)
def test_a_layer_is_absent_if_outputs_and_gradients_agree_in_both_modes(
    training, evaluation, verdict
):
    largest = np.array([[0.0, training], [0.0, evaluation]])
    assert decide.as_if_absent(largest, 80.0, 60.0).verdict == verdict
    assert decide.absent(largest)[1] == ("holds" if evaluation <= 1e-10 else "fails")


@pytest.mark.parametrize(
    ("gaps", "verdict"),
    [
        ([1e-12] * 7, "holds"),
        ([1e-12] * 4 + [0.1] * 3, "partly"),
        ([1e-12] * 3 + [2e-12] + [0.1] * 3, "fails"),  # one function that should agree does not
        ([1e-12] * 5 + [0.1] * 2, "fails"),  # and one that should not does
    ],
)
def test_gamma_is_redundant_where_the_list_says_so_and_nowhere_else(gaps, verdict):
    assert decide.redundant(dict(zip("abcdefg", gaps, strict=True))).verdict == verdict


@pytest.mark.parametrize(
    ("effect", "fits", "verdict"),
    [
        ([3, 3, 3, 3], 0.51, "holds"),
        ([2, 2, 3, 3], 0.5, "partly"),
        ([2, 3, 3, 3], 0.5, "fails"),
    ],
)
def test_positions_count_if_most_channels_fit_and_do_not_if_most_effects_exceed_2(
    effect, fits, verdict
):
    assert (
        decide.conv_effective_m(pd.DataFrame({"effect": effect, "fits": fits})).verdict == verdict
    )


@pytest.mark.parametrize(
    ("many", "by_rows", "by_steps", "verdict"),
    [
        (0.1, 1.2, 1.2, "holds"),
        (0.11, 0.94, 1.2, "partly"),
        (0.11, 1.2, 0.94, "partly"),
        (0.11, 0.95, 0.95, "fails"),
    ],
)
def test_students_reach_the_identity_or_come_nearer_or_neither(many, by_rows, by_steps, verdict):
    rows = [["γ, β", 8, 0.5], ["γ, β", 64, many], ["scratch", 8, 9.0], ["γ, β", 64, 0.01]]
    table = pd.DataFrame(rows, columns=["trained", "m", "median d"])
    table["loss, last fifth"] = -0.25
    ratios = (Interval(0.5, 0.4, high) for high in (by_rows, by_steps))
    claim = decide.teacher_student(table, *ratios)
    assert claim.verdict == verdict
    assert f"median d 0.50 at m = 8, {many:.2f} at m = 64" in claim.evidence
    assert "changes by -25%" in claim.evidence


def test_students_of_a_single_batch_size_are_compared_with_themselves():
    table = pd.DataFrame({"trained": ["γ, β"] * 2, "m": 8, "median d": [0.3, 0.2]})
    table["loss, last fifth"] = 0.0
    same = Interval(1.0, 1.0, 1.0)
    assert "0.30 at m = 8, 0.30 at m = 8" in decide.teacher_student(table, same, same).evidence
