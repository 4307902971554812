"""The rules of the forward chapter, on both sides of their edges."""

import pandas as pd
import pytest

from bnlib import laws
from bnlib.chapters.forward import decide
from bnlib.chapters.forward.measure import Noise
from bnlib.statistics import Interval


@pytest.mark.parametrize(
    ("claim", "expected"),
    [
        (decide.definition(1e-12, 1e-5, 3), "holds"),
        (decide.definition(1.1e-12, 1e-5, 3), "fails"),
        (decide.definition(1e-12, 1.1e-5, 3), "fails"),
        (decide.axes(1e-12), "holds"),
        (decide.axes(1.1e-12), "fails"),
        (decide.stored_variance(1.1e-12, 1e-12, 1e-9), "holds"),
        (decide.stored_variance(1e-12, 1e-12, 1e-9), "fails"),  # nothing told the two apart
        (decide.stored_variance(0.3, 1.1e-12, 1e-9), "fails"),
        (decide.stored_variance(0.3, 1e-12, 1.1e-9), "fails"),
        (decide.two_moments(1e-10), "holds"),
        (decide.two_moments(1.1e-10), "fails"),
        (decide.bound(1e-9, 1e-9), "holds"),
        (decide.bound(1.1e-9, 1e-9), "fails"),
        (decide.bound(1e-9, 1.1e-9), "fails"),
        (decide.standard_normal(0.89, 0.0, 1e-10, 7), "fails"),
        (decide.standard_normal(0.89, 0.0, 1.1e-10, 7), "partly"),
        (decide.standard_normal(0.9, 0.9, 0.0, 7), "partly"),  # normal before step 1 already
        (decide.standard_normal(0.9, 0.89, 1.0, 7), "holds"),
    ],
)
def test_a_rule_turns_at_its_edge(claim, expected):
    assert claim.verdict == expected


@pytest.mark.parametrize(
    ("low", "ks", "expected"),
    [(-2, 0.1, "holds"), (-2 + 2e-9, 0.1, "fails"), (-2, 0.2, "fails")],
)
def test_the_law_holds_below_the_critical_distance_and_inside_every_interval(low, ks, expected):
    columns = {"-6/(m+1)": [-2.0, -1.2], "low": [low, -1.3], "high": [-2, -1.1]}
    panel = pd.DataFrame(columns | {"KS to law": [0.05, ks], "critical": 0.2}, [2, 4])
    assert decide.beta_marginal(panel, 9).verdict == expected


def noise(missed=0, torch_missed=0):
    """The law inside every interval, but for the first so many."""

    def around(law, inside):
        return Interval(law, law, law + 1) if inside else Interval(law, law + 1e-9, law + 1)

    ours = {a: around(laws.ema_noise(a), k >= missed) for k, a in enumerate((0.9, 0.5, 0.1, 0.01))}
    theirs = {"new": laws.ema_noise(0.9), "old": laws.ema_noise(1 - 0.9)}
    return Noise(ours, {k: around(v, i >= torch_missed) for i, (k, v) in enumerate(theirs.items())})


@pytest.mark.parametrize(("missed", "expected"), [(0, "holds"), (1, "partly"), (2, "fails")])
def test_noise_may_miss_its_law_once_and_is_then_partly_right(missed, expected):
    assert decide.ema_noise(noise(missed), 9).verdict == expected


@pytest.mark.parametrize(("missed", "expected"), [(0, "holds"), (1, "fails")])
def test_both_readings_of_momentum_have_to_match(missed, expected):
    assert decide.momentum_convention(noise(torch_missed=missed)).verdict == expected
