"""Every rule on both sides of its edge."""

import numpy as np
import pytest

from bnlib.chapters.gradient import decide
from bnlib.chapters.gradient.measure import Growth, Pairs, Projections, Relations
from bnlib.chapters.gradient.witnesses import Disagreement
from bnlib.statistics import Interval


def closed_forms(autodiff, other, agree):
    witnesses = {"autodiff": Disagreement(*autodiff), "differences": Disagreement(*other)}
    return decide.closed_forms(witnesses, agree)


def kernels(folded, recentred, wide):
    slopes = {"folded": folded, "recentred": recentred, "float64 statistics": wide}
    return decide.kernel_offset(slopes)


def projection(without, leak, rho=0.5):
    """The leak without eps and with it."""
    both = np.array([without, leak])
    return decide.projection(
        Projections(np.array([0.0, 1.0]), np.array([1.0, rho]), np.zeros((2, 8)), both)
    )


def weights(at_zero, at_eps, miss):
    cosines = {0.0: at_zero, 0.1: at_eps}
    return decide.weight_relations({(e, 1.0): Relations(c, miss, 0) for e, c in cosines.items()})


def growth(size, law):
    one = Growth(np.reshape(size, (2, 1, 1)), np.full((1, 1, 1), law))
    return decide.norm_growth({0.0: one})


def typical_pair(median, mean):
    eps = np.array([1e-6, 1e-5, 1e-4, 1e-3])
    law = {"median": eps**median, "mean": np.full(4, mean * 2 / np.sqrt(np.pi))}
    law["mean square"] = eps**-0.5
    return decide.typical_pair(Pairs(eps, law, law, 0.0))


def dead_pairs(*ratios):
    of_eps = {eps: Interval(*ratio) for eps, ratio in zip((1e-5, 1e-3), ratios, strict=True)}
    return decide.dead_pairs(of_eps, 10)


def pairs_learn(short, long, *, control=0.1, equal=-0.1):
    """Lower and upper end of the gain after fewer and after more steps; others by their lower."""
    own = {300: Interval(0.0, *short), 1500: Interval(0.0, *long)}
    least = np.array([-1.0, equal])
    same = {steps: Interval(least + 0.5, least, least + 1) for steps in own}
    return decide.pairs_learn(own, {300: Interval(1, 1, 1), 1500: Interval(1, control, 1)}, same)


@pytest.mark.parametrize(
    ("claims", "verdicts"),
    [
        (closed_forms((1e-10, 1e-8), (1e-8, 1e-8), True), "holds holds"),
        (closed_forms((1.1e-10, 0), (0, 1.1e-8), True), "fails fails"),
        (closed_forms((0, 0), (1.1e-8, 0), False), "fails fails"),
        (decide.spectrum(1e-12), "holds"),
        (decide.spectrum(1.1e-12), "fails"),
        (decide.unbiased(1e-10), "holds"),
        (decide.unbiased(1.1e-10), "fails"),
        (decide.evaluation(0.0, 1e-14), "holds"),
        (decide.evaluation(1e-300, 0.0), "fails"),
        (decide.evaluation(0.0, 1.1e-14), "fails"),
        (decide.dead_bias(1e-12, 1.0, 1e-12), "holds"),
        (decide.dead_bias(1.1e-12, 0.0, 0.0), "fails"),
        (decide.dead_bias(0.0, 0.0, 1.1e-12), "fails"),
        (kernels(1.09, 0.1, 0), "holds"),
        (kernels(1, 0, -0.2), "partly"),
        (kernels(0.8, 0, 0), "fails"),
        (projection(0, 1e-12, rho=1.0), "holds"),  # at every eps
        (projection(1e-12, 0.25), "partly"),  # only without
        (projection(1e-12, 0.2), "fails"),
        (projection(0.1, 0.25), "fails"),
        (weights(1e-10, 1e-10, 1e-10), "holds holds"),  # the identity, and orthogonality
        (weights(1e-10, 0.5, 1e-10), "holds partly"),
        (weights(2e-10, 0.5, 0), "holds fails"),
        (weights(0, 0.5, 2e-10), "fails fails"),
        (growth([1, 2], 1), "holds"),
        (growth([1, 2], 1 + 2e-9), "fails"),
        (growth([1, 1 - 1e-11], -1e-11), "fails"),
        (typical_pair(1.04, 1.0), "holds"),
        (typical_pair(1.06, 1.0), "fails"),
        (typical_pair(1.0, 1.04), "holds"),
        (typical_pair(1.0, 1.06), "fails"),
        (dead_pairs((0.01, 0, 2), (0.01, 0, 2)), "holds"),  # a hundredth at most
        (dead_pairs((0.01, 0, 0.9), (0.02, 0, 0.9)), "partly"),  # or surely less
        (dead_pairs((0.01, 0, 0.9), (0.02, 0, 1.0)), "undecided"),
        (dead_pairs((0.01, 0, 0.9), (2.0, 1.01, 3.0)), "fails"),
        (pairs_learn((0.01, 1), (0.01, 1)), "holds"),
        (pairs_learn((0.01, 1), (0.0, 1)), "partly"),  # at one length
        (pairs_learn((-1, -0.1), (-1, -0.1), equal=0.01), "partly"),  # at an equal rate only
        (pairs_learn((-1, 0.0), (-1, -0.1), equal=0.0), "undecided"),
        (pairs_learn((-1, -0.01), (-1, -0.01)), "fails"),
        (pairs_learn((0.01, 1), (0.01, 1), control=0.0), "undecided"),  # four do not gain either
    ],
)
def test_a_rule_turns_at_its_edge(claims, verdicts):
    claims = claims if isinstance(claims, tuple) else (claims,)
    assert [claim.verdict for claim in claims] == verdicts.split()
