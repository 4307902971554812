"""Constants renewed every k steps: what is trained, and what counts as kept or lost."""

import numpy as np
import pandas as pd
import pytest

from bnlib.chapters.learning_rate import decide, measure, periods
from bnlib.data import bench_split
from bnlib.networks.seed_batched import trace


@pytest.mark.parametrize(("period", "name"), [(1, "renewed"), ("bn", "bn"), ("none", "none")])
def test_a_period_of_one_is_renewed_and_arms_without_constants_are_the_chapters(
    monkeypatch, period, name
):
    monkeypatch.setattr(periods, "RATES", (0.5, 2.0, 8.0))
    cell = periods.cell(4, period, range(2))
    _, largest = measure.swept(measure.Bench(), ("relu", 4, name), range(2), periods.RATES)
    assert cell["retaken"].tolist() == largest["max_trainable"]
    if period != 1:
        assert cell["held"].tolist() == cell["retaken"].tolist()


def test_constants_are_those_of_the_batch_of_the_last_renewal():
    bench, seeds, rates = measure.Bench(steps=4), range(2), [0.1, 0.3]
    arm, rows = measure.start(bench, ("relu", 3, "renewed"), seeds), bench_split("digits")
    order = measure.drawn(bench, seeds)
    before, after = (periods.trained(arm, rows, rates, order[:n], 2) for n in (2, 4))
    x = np.tile(rows.x_train[order[2]], (2, 1, 1))  # two copies of every seed's third batch
    x = before.params["W1"].new_tensor(x)
    expected = trace(before.spec, before.params, x).stats
    for site, moments in after.stats.items():
        np.testing.assert_allclose(moments.mean, expected[site].mean, atol=1e-5)
        np.testing.assert_allclose(moments.var, expected[site].var, rtol=1e-4)
    assert not np.allclose(before.stats[2].mean, after.stats[2].mean, atol=1e-3)


def test_the_largest_rate_passes_and_losses_that_are_not_finite_do_not(monkeypatch):
    monkeypatch.setattr(periods, "RATES", (1.0, 2.0, 4.0))
    final = np.array([[1.0, 2.0, 1.0], [2.0, 2.0, 1.1], [1.0, 2.0, np.nan]])
    assert periods._largest(final, 10).tolist() == [2, -1, 1]


def margin_of(ends):
    """ends: {(depth, period): ((low, high) held, (low, high) retaken)}."""
    rows = {
        (*place, final): {"low": low, "high": high}
        for place, both in ends.items()
        for final, (low, high) in zip(periods.FINALS, both, strict=True)
    }
    return pd.DataFrame(rows).T.rename_axis(["L", "period", "final"])


UP, DOWN, OPEN = (0.1, 1), (-1, -0.1), (0.0, 1)


@pytest.mark.parametrize(
    ("four", "eight", "verdict"),
    [
        ((UP, UP), (UP, UP), "holds"),
        ((UP, UP), (UP, OPEN), "partly"),
        ((UP, UP), (DOWN, DOWN), "partly"),
        ((DOWN, DOWN), (DOWN, DOWN), "fails"),
        ((DOWN, DOWN), (DOWN, (-1, 0.0)), "undecided"),
        ((UP, DOWN), (DOWN, DOWN), "undecided"),
    ],
)
def test_a_period_keeps_or_loses_the_gain_by_both_final_losses(four, eight, verdict):
    margins = margin_of({(4, 8): four, (8, 8): eight})
    gain = pd.DataFrame({"low": [0.1, 0.1]})
    assert decide.seldom_renewed(margins, gain).verdict == verdict
    nothing = pd.DataFrame({"low": [0.1, 0.0]})
    assert decide.seldom_renewed(margins, nothing).verdict == "undecided"


@pytest.mark.parametrize(
    ("fate", "expected"),
    [
        ([1, 1, 0, -1, -1], (2, 8)),
        ([1, -1, 1, -1, 0], (1, 0)),
        ([0, 1, 1, -1, -1], (0, 8)),
        ([1, 1, 1, 1, 1], (16, 0)),
        ([-1, -1, -1, -1, -1], (0, 1)),
    ],
)
def test_a_curve_is_kept_up_to_a_period_and_lost_from_one_on(fate, expected):
    assert periods.reach(pd.Series(fate, [1, 2, 4, 8, 16])) == expected


def test_margins_are_against_half_of_the_gain_of_batch_norm():
    rows = [
        {"L": 4, "period": period, **dict.fromkeys(("held", "retaken", "int"), values)}
        for period, values in [("none", [-2.0, -1.0]), ("bn", [2.0, 2.0])]
        + [(period, [1.0, 1.5]) for period in periods.PERIODS]
    ]
    margin = periods.margins(periods.frame_of(rows))
    assert margin.loc[4, 8, "held"].estimate == 1.0
    assert set(margin.index) == {(4, k, f) for k in periods.PERIODS for f in periods.FINALS}
