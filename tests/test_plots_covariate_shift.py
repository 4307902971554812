"""Figures of covariate shift: what is drawn is what was measured."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from bnlib.experiments.covariate_shift import noise, proxies
from bnlib.plots import covariate_shift as pictures
from bnlib.plots.style import use_style


@pytest.fixture(autouse=True)
def _style():
    with mpl.rc_context():
        use_style()
        yield


def test_misses_are_medians_and_the_guide_has_slope_three():
    steps = np.array([0.4, 0.2, 0.1])
    found = {"left endpoint": np.array([[1.0, 8.0, 9.0], [1, 4, 5], [1, 2, 3]])}
    ax = pictures.misses(Figure().add_subplot(), steps, found)
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), [8, 4, 2])
    guide = ax.lines[-1]
    rise = np.diff(np.log(guide.get_ydata())) / np.diff(np.log(guide.get_xdata()))
    np.testing.assert_allclose(rise, 3)


def test_one_quantity_draws_the_points_of_an_arm_on_axes_that_hold_all():
    sums = [0.1, 0.2, -0.3, 5.0]
    way = pd.DataFrame({"arm": ["none"] * 2 + ["bn"] * 2, "rule": ["0.1", "1"] * 2, "sum": sums})
    axes = Figure().subplots(1, 2)
    pictures.one_quantity(axes, way.assign(int=way["sum"] * 2), ["none", "bn"])
    assert [line.get_ydata().tolist() for line in axes[0].lines[1:]] == [[0.2], [0.4]]
    low, high = axes[1].get_xlim()
    assert low < -0.6
    assert high > 10
    assert axes[1].get_xscale() == "symlog"
    ticks = [t.get_text() for t in axes[0].get_xticklabels()]
    assert ticks == ["-0.1", "-0.01", "0", "0.01", "0.1", "1", "10"]


def test_rules_stand_in_columns_and_depths_in_pairs_of_rows():
    rows = [
        {"L": depth, "rule": rule, "arm": arm, "at": at, "relative": depth + seed, "cosine": at}
        for depth in (6, 12)
        for rule in ("same rate", "equal promise")
        for arm in ("none", "bn")
        for at in (10, 20)
        for seed in (0, 1, 2)
    ]
    axes = Figure().subplots(4, 2)
    pictures.by_rule(axes, pd.DataFrame(rows), ["none", "bn"], [6, 12])
    assert [ax.get_title(loc="left") for ax in axes[0]] == ["same rate", "equal promise"]
    assert [line[0].get_ylabel() for line in axes] == [
        "L = 6\nrelative shift", "L = 6\ncosine", "L = 12\nrelative shift", "L = 12\ncosine",
    ]  # fmt: skip
    np.testing.assert_array_equal(axes[2, 1].lines[0].get_ydata(), [13, 13])
    np.testing.assert_array_equal(axes[1, 0].lines[1].get_ydata(), [10, 20])


def test_noise_shows_a_running_mean_of_the_loss_and_places_gradients_over_the_run():
    loss = np.repeat(np.arange(20.0)[:, None], 3, axis=1) + np.array([0.0, 1.0, 5.0])
    shift = noise.Shift(np.full((19, 3), 2.0), np.full((3, 3), 4.0), loss)
    axes = Figure().subplots(1, 3)
    pictures.noise(axes, {"bn": shift}, steps=60)
    line = axes[0].lines[0]
    assert line.get_xdata()[0] == 9
    np.testing.assert_allclose(line.get_ydata()[0], np.arange(1, 11).mean())
    np.testing.assert_array_equal(axes[2].lines[0].get_xdata(), [0, 30, 60])
    assert [ax.get_yscale() for ax in axes] == ["log", "log", "linear"]
    assert axes[2].get_ylim()[0] == 0


def test_smoothness_has_a_band_an_arm_and_a_column_a_unit_with_its_own_labels():
    lines = {"loss-line": [np.array([1.0, 3.0])] * 2, "change-line": [np.array([2.0, 4.0])] * 2}
    frames = [
        pd.DataFrame({"arm": arm, "unit": unit, "at": [0, 10], **lines})
        for arm in ("none", "bn")
        for unit in ("raw", "matched")
    ]
    axes = Figure().subplots(2, 2)
    titles = {"raw": "Raw", "matched": "Matched"}
    pictures.smooth(axes, pd.concat(frames), ["none", "bn"], titles)
    assert [ax.get_title(loc="left") for ax in axes[0]] == ["Raw", "Matched"]
    assert axes[0, 0].get_ylabel() == "loss along -g"
    assert axes[1, 1].get_ylabel() == "change of the gradient / |g|"
    assert [len(ax.collections) for ax in axes.flat] == [2, 2, 2, 2]
    np.testing.assert_array_equal(axes[1, 0].lines[0].get_ydata(), [3, 3])


def test_proxies_have_hollow_marks_but_for_the_hessian_and_the_truths_below_a_line():
    table = proxies.table([0.1, 0.2], [0.1, 0.3], steps=5, seeds=1)
    ax = pictures.proxy_changes(Figure().add_subplot(), table)
    marks = [line for line in ax.lines if len(line.get_xdata()) > 2]
    assert [m.get_markerfacecolor() == "none" for m in marks] == [True, True, True, False]
    labels = [t.get_text() for t in ax.get_yticklabels()]
    assert labels[-2:] == [proxies.TRUTHS["largest"], proxies.TRUTHS["along"]]
    np.testing.assert_allclose(marks[3].get_xdata()[-2:], 2)
    assert ax.yaxis_inverted()
