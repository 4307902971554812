"""The rules of the chapter on trained networks, on both sides of their edges."""

import numpy as np
import pandas as pd
import pytest

from bnlib.audit.summary import Share
from bnlib.chapters.trained_networks import decide, toys
from bnlib.statistics import Interval


def shares(high, chance, share=0.04):
    near = Share(0.1, Interval(share, 0.0, high), Interval(0.01, 0.0, chance))
    return [near, near._replace(bound=0.5)]


@pytest.mark.parametrize(
    ("networks", "verdict"),
    [
        ([shares(0.0499, 0.04), shares(0.0499, 0.05)], "holds"),  # at chance is not above it
        ([shares(0.0499, 0.04), shares(0.05, 0.04)], "partly"),
        ([shares(0.0499, 0.0399), shares(0.0499, 0.04)], "partly"),
        ([shares(0.05, 0.04), shares(0.0499, 0.0399)], "fails"),
    ],
)
def test_no_network_is_near_the_identity_or_above_chance(networks, verdict):
    claim = decide.not_identity(dict(zip("ab", networks, strict=True)))
    assert claim.verdict == verdict


@pytest.mark.parametrize(
    ("d", "logits", "verdict"), [(1e-10, 1e-10, "holds"), (1.1e-10, 0, "fails"), (0, 1e-9, "fails")]
)
def test_the_gauge_holds_to_1e_10_and_then_d_is_no_reason(d, logits, verdict):
    titles = ["as shipped", "identity, ε", "identity, ε'", "random gauge"]
    index = pd.MultiIndex.from_product([["lite0"], titles], names=["net", "gauge"])
    columns = {"max d": [9, d, d, 9], "median d": [2, 0, 0, 3], "logits": [0, logits, 0, 1]}
    table = pd.DataFrame(columns | {"left": [0, 2, 0, 0]}, index)
    far = {"max d": 0.0}
    for own, shipped in ((0.0, logits), (logits, 0.0)):  # either kind of network decides
        digits = toys.Digits(None, np.zeros(3), None, None, 0, (far, far), own, {})
        claims = decide.gauge(table.assign(logits=[0, shipped, 0, 1]), digits)
        assert claims[0].verdict == verdict
        assert claims[1].verdict == {"holds": "fails", "fails": "holds"}[verdict]
    assert "of 3 digits networks" in claims[0].evidence


@pytest.mark.parametrize(
    ("low", "error", "verdict"),
    [
        ([0.81, 0.9], [0.1, 0.1], "holds"),
        ([0.8, 0.9], [0.1, 0.1], "partly"),
        ([0.81, 0.8], [0.11, 0.1], "partly"),
        ([0.8, 0.9], [0.11, 0.1], "fails"),
    ],
)
def test_gates_need_correlation_and_error_in_every_role(low, error, verdict):
    table = pd.DataFrame({"corr": 0.95, "low": low, "high": 0.99, "error": error}, ["head", "all"])
    assert decide.gate_rate(table, 24).verdict == verdict


@pytest.mark.parametrize(
    ("overall", "expand", "verdict"),
    [
        ((0.1, 0.01), 0.0, "holds"),
        ((0.1, 0.0), 0.0, "partly"),
        ((0.0, 0.0), 0.01, "partly"),
        ((0.0, 0.0), 0.0, "fails"),
    ],
)
def test_gamma_and_sigma_go_together_in_every_network_or_somewhere(overall, expand, verdict):
    low = {(net, "all"): value for net, value in zip("ab", overall, strict=True)}
    low |= {("a", "expand"): expand, ("a", "stem"): np.nan, ("b", "stem"): np.nan}
    table = pd.DataFrame({"pearson": 0.5, "low": pd.Series(low), "high": 0.9})
    assert decide.gamma_sigma(table.rename_axis(index=["net", "role"])).verdict == verdict


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.40, 0.4501, "holds"),
        (0.40, 0.4499, "partly"),
        (0.5499, 0.9, "holds"),
        (0.5501, 0.9, "partly"),
        (0.0, 0.9, "fails"),
        (0.1, 1.0, "fails"),
    ],
)
def test_the_slope_is_the_theorys_within_a_twentieth_and_neither_0_nor_1(low, high, verdict):
    def arm(*ends):
        slope = Interval(sum(ends) / 2, *ends)
        return toys.Arm((0, 9), [slope, slope], slope, np.zeros(2), np.zeros(2), 0.5)

    arms = {"frozen": arm(0.4, 0.6), "trained": arm(low, high)}
    assert decide.equilibrium(arms, 10).verdict == verdict


@pytest.mark.parametrize(
    ("without", "dropped", "skip", "verdict"),
    [
        (1e-12, 1.1e-6, [10.0, 20.0], "holds"),
        (1.1e-12, 1.1e-6, [10.0, 20.0], "fails"),
        (1e-12, 1e-6, [10.0, 20.0], "fails"),
        (1e-12, 1.1e-6, [9.9, 20.0], "partly"),
        (1e-12, 1.1e-6, [1.0, 8.9], "fails"),  # medians 4.95 and 0.5
    ],
)
def test_the_shift_needs_no_gradient_and_a_tenfold_gap(without, dropped, skip, verdict):
    first = {0.0: np.array([0.0, without]), 0.2: np.array([1.0, dropped])}
    claim = decide.beta_proj_zero(first, pd.Series([0.0, 1.0]), pd.Series(skip))
    assert claim.verdict == verdict


@pytest.mark.parametrize(
    ("worst", "verdict"), [(0.01, "holds"), (0.011, "partly"), (0.1, "partly"), (0.11, "fails")]
)
def test_predicted_means_are_off_by_a_hundredth_or_a_tenth(worst, verdict):
    assert decide.mu_expand(np.array([0.001, worst])).verdict == verdict


@pytest.mark.parametrize(
    ("exact", "single", "same", "verdict"),
    [
        (1e-12, 2e-7, True, "holds"),
        (1.1e-12, 2e-7, True, "fails"),
        (1e-12, 2.1e-7, True, "fails"),
        (1e-12, 2e-7, False, "fails"),
    ],
)
def test_folding_is_exact_within_twice_the_rounding_and_keeps_the_classes(
    exact, single, same, verdict
):
    row = {"folded, float64": exact, "folded, float32": single, "unfolded, float32": 1e-7}
    assert decide.fold_exact(pd.DataFrame([row], ["lite0"]), same).verdict == verdict
