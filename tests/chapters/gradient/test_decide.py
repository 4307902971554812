"""Every rule on both sides of its edge."""

import numpy as np
import pytest

from bnlib.chapters.gradient import decide
from bnlib.chapters.gradient.measure import Growth, Pairs, Projections, Relations
from bnlib.chapters.gradient.witnesses import Disagreement
from bnlib.statistics import Interval


@pytest.mark.parametrize(
    ("autodiff", "other", "agree", "verdicts"),
    [
        ((1e-10, 1e-8), (1e-8, 1e-8), True, ["holds", "holds"]),
        ((1.1e-10, 0), (0, 1.1e-8), True, ["fails", "fails"]),
        ((0, 0), (1.1e-8, 0), False, ["fails", "fails"]),
    ],
)
def test_closed_forms_need_every_witness(autodiff, other, agree, verdicts):
    disagreements = {"autodiff": Disagreement(*autodiff), "differences": Disagreement(*other)}
    assert [c.verdict for c in decide.closed_forms(disagreements, agree)] == verdicts


@pytest.mark.parametrize(
    ("rule", "values", "verdict"),
    [
        (decide.spectrum, (1e-12,), "holds"),
        (decide.spectrum, (1.1e-12,), "fails"),
        (decide.unbiased, (1e-10,), "holds"),
        (decide.unbiased, (1.1e-10,), "fails"),
        (decide.evaluation, (0.0, 1e-14), "holds"),
        (decide.evaluation, (1e-300, 0.0), "fails"),
        (decide.evaluation, (0.0, 1.1e-14), "fails"),
        (decide.dead_bias, (1e-12, 1.0, 1e-12), "holds"),
        (decide.dead_bias, (1.1e-12, 0.0, 0.0), "fails"),
        (decide.dead_bias, (0.0, 0.0, 1.1e-12), "fails"),
        (
            decide.kernel_offset,
            ({"folded": 1.09, "recentred": 0.1, "float64 statistics": 0},),
            "holds",
        ),
        (
            decide.kernel_offset,
            ({"folded": 1, "recentred": 0, "float64 statistics": -0.2},),
            "partly",
        ),
        (
            decide.kernel_offset,
            ({"folded": 0.8, "recentred": 0, "float64 statistics": 0},),
            "fails",
        ),
    ],
)
def test_thresholds(rule, values, verdict):
    assert rule(*values).verdict == verdict


@pytest.mark.parametrize(
    ("leak", "verdict"),
    [
        ([0, 1e-12], "holds"),
        ([1e-12, 0.25], "partly"),
        ([1e-12, 0.2], "fails"),
        ([0.1, 0.25], "fails"),
    ],
)
def test_a_projection_at_every_eps_or_only_without(leak, verdict):
    rho = np.array([1.0, 1.0 if leak[1] < 0.1 else 0.5])
    values = Projections(np.array([0.0, 1.0]), rho, np.zeros((2, 8)), np.array(leak))
    assert decide.projection(values).verdict == verdict


@pytest.mark.parametrize(
    ("cosines", "miss", "verdicts"),
    [
        ((1e-10, 1e-10), 1e-10, ["holds", "holds"]),
        ((1e-10, 0.5), 1e-10, ["holds", "partly"]),
        ((2e-10, 0.5), 0, ["holds", "fails"]),
        ((0, 0.5), 2e-10, ["fails", "fails"]),
    ],
)
def test_weights_are_orthogonal_at_every_eps_or_only_at_zero(cosines, miss, verdicts):
    cells = {(eps, 1.0): Relations(c, miss, 0) for eps, c in zip((0.0, 0.1), cosines, strict=True)}
    assert [c.verdict for c in decide.weight_relations(cells)] == verdicts


@pytest.mark.parametrize(
    ("size", "law", "verdict"),
    [([1, 2], 1, "holds"), ([1, 2], 1 + 2e-9, "fails"), ([1, 1 - 1e-11], -1e-11, "fails")],
)
def test_norms_grow_by_pythagoras(size, law, verdict):
    growth = Growth(np.reshape(size, (2, 1, 1)), np.full((1, 1, 1), law))
    assert decide.norm_growth({0.0: growth}).verdict == verdict


@pytest.mark.parametrize(
    ("median", "mean", "holds"),
    [(1.04, 1.0, True), (1.06, 1.0, False), (1.0, 1.04, True), (1.0, 1.06, False)],
)
def test_a_typical_pair_has_the_slopes_and_the_mean_of_the_limit(median, mean, holds):
    eps = np.array([1e-6, 1e-5, 1e-4, 1e-3])
    law = {"median": eps**median, "mean": np.full(4, mean * 2 / np.sqrt(np.pi))}
    law["mean square"] = eps**-0.5
    assert decide.typical_pair(Pairs(eps, law, law, 0.0)).verdict == ("holds" if holds else "fails")


@pytest.mark.parametrize(
    ("ratios", "verdict"),
    [
        ([(0.01, 0, 2), (0.01, 0, 2)], "holds"),
        ([(0.01, 0, 0.9), (0.02, 0, 0.9)], "partly"),
        ([(0.01, 0, 0.9), (0.02, 0, 1.0)], "fails"),
    ],
)
def test_dead_pairs_move_a_hundredth_or_surely_less(ratios, verdict):
    ratios = {eps: Interval(*r) for eps, r in zip((1e-5, 1e-3), ratios, strict=True)}
    assert decide.dead_pairs(ratios, 10).verdict == verdict
