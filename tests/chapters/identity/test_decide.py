"""The rules of the register, on both sides of their edges."""

import numpy as np
import pandas as pd
import pytest

from bnlib.chapters.identity import decide, measure
from bnlib.statistics import Interval

LAW = measure.gaussian_laws([2, 8, 64])
WIDER = measure.gaussian_laws([2, 64, 256])["std"]


def around(law, width=1e-3):
    return Interval(law, law - width, law + width)


def same_batch(error):
    return decide.same_batch({"center first": error, "folded": 1.0}, 5)


def needs_eps(at_eps, off, at_zero):
    law = {1e-3: np.array([at_eps]), 0.0: np.array([0.0])}
    return decide.needs_eps({1e-3: np.array([[at_eps + off]]), 0.0: np.array([[at_zero]])}, law)


def train_law(missed=(), name="inside", sound=True):
    """The law in every interval, but for the cells (population, size) that are missed."""
    found = {"inside": np.ones((6, 9), dtype=bool), "jointly": np.ones((6, 9), dtype=bool)}
    for cell in missed:
        found[name][cell] = False
    return decide.train_law(measure.Check(Interval(0, 0, 0), *found.values(), [3, 4], sound))


def leading(off):
    return decide.train_leading(1 + np.array(off)[:, None] * [1, 0.5] * (1 - 1e-9), 256)


def best(std=0.0, floor=0.0):
    limits = around(LAW["best"])._replace(high=LAW["best"] + np.array([1e-3, 1e-3, 1e-3 - floor]))
    return decide.best_gamma([2, 8, 64], around(LAW["std"] + std), limits)


def descent(law, *high):
    ends = around(law)._replace(high=np.array(high)) if high else around(law)
    return decide.sgd_fixed_point([2, 64, 256], ends, 0.0)


def absent(training, evaluation):
    return decide.as_if_absent(np.array([[0.0, training], [0.0, evaluation]]), 80.0, 60.0)


def redundant(exact, *apart):
    return decide.redundant(dict(zip("abcdefg", [*exact, *apart], strict=True)))


def positions(effect, fits):
    return decide.conv_effective_m(pd.DataFrame({"effect": effect, "fits": fits}))


def on_digits(*ends, control=(0.9, 1.1)):
    """ends: (low, high) of each cell of the digits."""
    kinds = {"digits": ends, "noise, first draw": [(2, 3)], "noise, second draw": [control]}
    tables = [pd.DataFrame(rows, columns=["low", "high"]) for rows in kinds.values()]
    effects = pd.concat(tables, keys=kinds).assign(estimate=2.0)
    return decide.conv_effective_m_digits(effects)


def by_mean(centred, shifted):
    """Verdict on two ratios (low, high)."""
    return decide.gradient_by_mean(*(Interval(0.0, *ends) for ends in (centred, shifted)), 67.0)


def students(many, by_rows, by_steps):
    rows = [["γ, β", 8, 0.5], ["γ, β", 64, many], ["scratch", 8, 9.0], ["γ, β", 64, 0.01]]
    table = pd.DataFrame(rows, columns=["trained", "m", "median d"])
    table["loss, last fifth"] = -0.25
    ratios = (Interval(0.5, 0.4, high) for high in (by_rows, by_steps))
    return decide.teacher_student(table, *ratios)


@pytest.mark.parametrize(
    ("claim", "verdict"),
    [
        (same_batch(1e-12), "holds"),
        (same_batch(1.1e-12), "fails"),
        (decide.eval_exact(1e-12), "holds"),
        (decide.eval_exact(1.1e-12), "fails"),
        (needs_eps(0.0, 0.0, 0.0), "holds"),  # exact for every eps
        (needs_eps(0.3, 0.9e-6, 1e-12), "partly"),
        (needs_eps(0.3, 1.1e-6, 0.0), "fails"),
        (needs_eps(0.3, 0.0, 2e-12), "fails"),  # not exact at eps = 0 either
        (train_law([(0, 3)]), "holds"),  # one Gaussian interval may be missed
        (train_law([(0, 3), (0, 4)]), "fails"),
        (train_law([(5, 8)], "jointly"), "fails"),
        (train_law(sound=False), "fails"),
        (leading([0.05] * 6), "holds"),
        (leading([0.0] * 5 + [-0.051]), "partly"),
        (leading([0.1] * 6), "fails"),
        (best(), "holds"),
        (best(floor=1e-3 + 1e-6), "fails"),  # at one size
        (best(std=0.01), "fails"),
        (descent(WIDER, 0.6, 0.99999, 1.1), "holds"),  # sigma inside at 256 alone
        (descent(WIDER, 0.6, 1.0, 1.1), "partly"),
        (descent(WIDER + 0.1), "fails"),
        (absent(1e-10, 1e-10), "holds"),
        (absent(2e-10, 1e-10), "partly"),
        (absent(1.0, 2e-10), "fails"),
        (redundant([1e-12] * 4, 1e-12, 1e-12, 1e-12), "holds"),
        (redundant([1e-12] * 4, 0.1, 0.1, 0.1), "partly"),
        (redundant([1e-12] * 3 + [2e-12], 0.1, 0.1, 0.1), "fails"),  # should agree, does not
        (redundant([1e-12] * 4, 1e-12, 0.1, 0.1), "fails"),  # should not, and does
        (by_mean((0.3, 0.49), (1.01, 1.5)), "holds"),
        (by_mean((0.3, 0.5), (1.01, 1.5)), "partly"),
        (by_mean((0.3, 0.5), (1.0, 1.5)), "undecided"),
        (by_mean((0.5, 0.6), (0.9, 1.1)), "undecided"),
        (by_mean((0.5, 0.6), (0.9, 1.0)), "fails"),
        (positions([3, 3, 3, 3], 0.51), "holds"),
        (positions([2, 2, 3, 3], 0.5), "partly"),
        (positions([2, 3, 3, 3], 0.5), "fails"),
        (on_digits((2.01, 3), (2.1, 3)), "holds"),
        (on_digits((2.01, 3), (2.0, 3)), "partly"),
        (on_digits((2.01, 3), (1, 1.9)), "partly"),
        (on_digits((1, 1.9), (1, 1.99)), "fails"),
        (on_digits((1, 1.9), (1, 2.0)), "undecided"),
        (on_digits((2.1, 3), (2.1, 3), control=(0.9, 1)), "holds"),
        (on_digits((2.1, 3), (2.1, 3), control=(0.9, 0.99)), "undecided"),
        (on_digits((2.1, 3), (2.1, 3), control=(1.01, 1.1)), "undecided"),
        (students(0.1, 1.2, 1.2), "holds"),
        (students(0.11, 0.94, 1.2), "partly"),
        (students(0.11, 1.2, 0.94), "partly"),
        (students(0.11, 0.95, 0.95), "fails"),
    ],
)
def test_a_rule_turns_at_its_edge(claim, verdict):
    assert claim.verdict == verdict


@pytest.mark.parametrize(("evaluation", "verdict"), [(1e-10, "holds"), (2e-10, "fails")])
def test_a_layer_is_absent_in_evaluation_by_itself(evaluation, verdict):
    assert decide.absent(np.array([[0.0, 1.0], [0.0, evaluation]]))[1] == verdict


def test_students_of_a_single_batch_size_are_compared_with_themselves():
    table = pd.DataFrame({"trained": ["γ, β"] * 2, "m": 8, "median d": [0.3, 0.2]})
    table["loss, last fifth"] = 0.0
    same = Interval(1.0, 1.0, 1.0)
    assert "0.30 at m = 8, 0.30 at m = 8" in decide.teacher_student(table, same, same).evidence
