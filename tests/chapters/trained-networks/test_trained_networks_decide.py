"""The rules of the chapter on trained networks, on both sides of their edges."""

import numpy as np
import pandas as pd
import pytest

from bnlib.audit.summary import Share
from bnlib.chapters.trained_networks import decide, toys
from bnlib.statistics import Interval


def far(*networks):
    """Of each network the upper end of its share of near channels, and that of chance."""
    near = [Share(0.1, Interval(0.04, 0.0, a), Interval(0.01, 0.0, b)) for a, b in networks]
    return decide.not_identity(
        {name: [one, one._replace(bound=0.5)] for name, one in zip("ab", near, strict=True)}
    )


def gates(low, error):
    table = {"corr": 0.95, "low": low, "high": 0.99, "error": error}
    return decide.gate_rate(pd.DataFrame(table, ["head", "all"]), 24)


def together(overall, expand):
    low = {(net, "all"): value for net, value in zip("ab", overall, strict=True)}
    low |= {("a", "expand"): expand, ("a", "stem"): np.nan, ("b", "stem"): np.nan}
    table = pd.DataFrame({"pearson": 0.5, "low": pd.Series(low), "high": 0.9})
    return decide.gamma_sigma(table.rename_axis(index=["net", "role"]))


def slope(low, high):
    def arm(*ends):
        found = Interval(sum(ends) / 2, *ends)
        return toys.Arm((0, 9), [found, found], found, np.zeros(2), np.zeros(2), 0.5)

    return decide.equilibrium({"frozen": arm(0.4, 0.6), "trained": arm(low, high)}, 10)


def shift(without, dropped, *skip):
    first = {0.0: np.array([0.0, without]), 0.2: np.array([1.0, dropped])}
    return decide.beta_proj_zero(first, pd.Series([0.0, 1.0]), pd.Series(skip))


def means(worst):
    return decide.mu_expand(np.array([0.001, worst]))


def folding(exact, single, same=True):
    row = {"folded, float64": exact, "folded, float32": single, "unfolded, float32": 1e-7}
    return decide.fold_exact(pd.DataFrame([row], ["lite0"]), same)


@pytest.mark.parametrize(
    ("claim", "verdict"),
    [
        (far((0.0499, 0.04), (0.0499, 0.05)), "holds"),  # at chance is not above it
        (far((0.0499, 0.04), (0.05, 0.04)), "partly"),
        (far((0.0499, 0.0399), (0.0499, 0.04)), "partly"),
        (far((0.05, 0.04), (0.0499, 0.0399)), "fails"),
        (gates([0.81, 0.9], [0.1, 0.1]), "holds"),  # correlation and error in every role
        (gates([0.8, 0.9], [0.1, 0.1]), "partly"),
        (gates([0.81, 0.8], [0.11, 0.1]), "partly"),
        (gates([0.8, 0.9], [0.11, 0.1]), "fails"),
        (together((0.1, 0.01), 0.0), "holds"),
        (together((0.1, 0.0), 0.0), "partly"),
        (together((0.0, 0.0), 0.01), "partly"),
        (together((0.0, 0.0), 0.0), "fails"),
        (slope(0.40, 0.4501), "holds"),  # within a twentieth of the theory's half
        (slope(0.40, 0.4499), "partly"),
        (slope(0.5499, 0.9), "holds"),
        (slope(0.5501, 0.9), "partly"),
        (slope(0.0, 0.9), "fails"),
        (slope(0.1, 1.0), "fails"),
        (shift(1e-12, 1.1e-6, 10.0, 20.0), "holds"),  # no gradient, and a tenfold gap
        (shift(1.1e-12, 1.1e-6, 10.0, 20.0), "fails"),
        (shift(1e-12, 1e-6, 10.0, 20.0), "fails"),
        (shift(1e-12, 1.1e-6, 9.9, 20.0), "partly"),
        (shift(1e-12, 1.1e-6, 1.0, 8.9), "fails"),  # medians 4.95 and 0.5
        (means(0.01), "holds"),
        (means(0.011), "partly"),
        (means(0.1), "partly"),
        (means(0.11), "fails"),
        (folding(1e-12, 2e-7), "holds"),  # within twice the rounding
        (folding(1.1e-12, 2e-7), "fails"),
        (folding(1e-12, 2.1e-7), "fails"),
        (folding(1e-12, 2e-7, same=False), "fails"),
    ],
)
def test_a_rule_turns_at_its_edge(claim, verdict):
    assert claim.verdict == verdict


@pytest.mark.parametrize(
    ("d", "logits", "verdict"), [(1e-10, 1e-10, "holds"), (1.1e-10, 0, "fails"), (0, 1e-9, "fails")]
)
def test_the_gauge_holds_to_1e_10_and_then_d_is_no_reason(d, logits, verdict):
    titles = ["as shipped", "identity, ε", "identity, ε'", "random gauge"]
    index = pd.MultiIndex.from_product([["lite0"], titles], names=["net", "gauge"])
    columns = {"max d": [9, d, d, 9], "median d": [2, 0, 0, 3], "left": [0, 2, 0, 0]}
    ends = {"max d": 0.0}
    for own, shipped in ((0.0, logits), (logits, 0.0)):  # either kind of network decides
        table = pd.DataFrame(columns | {"logits": [0, shipped, 0, 1]}, index)
        digits = toys.Digits(None, np.zeros(3), None, None, 0, (ends, ends), own, {})
        claims = decide.gauge(table, digits)
        assert claims[0].verdict == verdict
        assert claims[1].verdict == {"holds": "not well posed", "fails": "undecided"}[verdict]
    assert "of 3 digits networks" in claims[0].evidence
