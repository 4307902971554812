"""Figures of covariate shift: what is drawn is what was measured."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from bnlib.chapters.covariate_shift import figures, measure
from bnlib.plots.style import use_style


@pytest.fixture(autouse=True)
def _style():
    with mpl.rc_context():
        use_style()
        yield
    plt.close("all")


def test_the_guide_of_the_misses_has_slope_three():
    missed = {"left endpoint": np.array([8.0, 4.0, 2.0])}
    steps, names = np.array([0.4, 0.2, 0.1]), ("none", "bn")
    theorem = measure.Theorem({}, steps, dict.fromkeys(names, missed), {}, 0.0, 0.0)
    ax = figures.misses(theorem).axes[0]
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), [8, 4, 2])
    guide = ax.lines[-1]
    rise = np.diff(np.log(guide.get_ydata())) / np.diff(np.log(guide.get_xdata()))
    np.testing.assert_allclose(rise, 3)


def test_one_quantity_draws_the_points_of_an_arm_on_axes_that_hold_all():
    sums = [0.1, 0.2, -0.3, 5.0]
    way = pd.DataFrame({"arm": ["none"] * 2 + ["bn"] * 2, "rule": ["0.1", "1"] * 2, "sum": sums})
    axes = figures.one_quantity(way.assign(int=way["sum"] * 2)).axes
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
    bands = measure.shift_bands(pd.DataFrame(rows))
    fig = figures.by_rule(bands, ["none", "bn"], [6, 12], ["same rate", "equal promise"])
    axes = np.reshape(fig.axes, (4, 2))
    assert [ax.get_title(loc="left") for ax in axes[0]] == ["same rate", "equal promise"]
    assert [line[0].get_ylabel() for line in axes] == [
        "L = 6\nrelative shift", "L = 6\ncosine", "L = 12\nrelative shift", "L = 12\ncosine",
    ]  # fmt: skip
    np.testing.assert_array_equal(axes[2, 1].lines[0].get_ydata(), [13, 13])
    np.testing.assert_array_equal(axes[1, 0].lines[1].get_ydata(), [10, 20])


def test_noise_has_logarithmic_panels_for_loss_and_distributions_and_gradients_from_zero():
    line = {"bn": (np.arange(3), np.array([4.0, 2.0, 1.0]))}
    axes = figures.noise({"loss": line, "distribution": line, "relative": line}).axes
    np.testing.assert_array_equal(axes[0].lines[0].get_ydata(), [4, 2, 1])
    assert [ax.get_yscale() for ax in axes] == ["log", "log", "linear"]
    assert axes[2].get_ylim()[0] == 0


def test_smoothness_has_a_band_an_arm_and_a_column_a_unit_with_its_own_labels():
    lines = {"loss-line": [np.array([1.0, 3.0])] * 2, "change-line": [np.array([2.0, 4.0])] * 2}
    frames = [
        pd.DataFrame({"arm": arm, "unit": unit, "at": [0, 10], **lines})
        for arm in ("none", "bn")
        for unit in ("raw", "matched")
    ]
    axes = np.reshape(figures.smoothness(measure.envelopes(pd.concat(frames))).axes, (2, 2))
    assert axes[0, 0].get_title(loc="left").startswith("Raw")
    assert axes[0, 0].get_ylabel() == "loss along -g"
    assert axes[1, 1].get_ylabel() == "change of the gradient / |g|"
    assert [len(ax.collections) for ax in axes.flat] == [2, 2, 2, 2]
    np.testing.assert_array_equal(axes[1, 0].lines[0].get_ydata(), [3, 3])


def test_every_block_is_written_in_its_cell_with_one_scale_for_a_row_of_panels():
    maps = {
        (name, state): np.array([[size, 0.5], [0.5, 3.0]])
        for name, size in (("none", 12.34), ("bn", 20.0), ("frozen", 1.0))
        for state in measure.STATES
    }
    shares = pd.DataFrame({key: {"share": 0.1, "iid": 0.5} for key in maps}).T
    axes = figures.blocks(maps, shares).axes
    assert [t.get_text() for t in axes[0].texts] == ["12.3", "0.5", "0.5", "3"]
    assert [t.get_color() for t in axes[0].texts] == ["white", "black", "black", "black"]
    assert {ax.images[0].get_clim() for ax in axes} == {(0.0, 20.0)}
    assert axes[0].get_xlabel() == "off-diagonal share 0.10 (iid 0.50)"
    assert axes[4].get_title(loc="left") == "bn, trained"


def test_growth_draws_every_seed_and_the_line_from_layer_two_on():
    ax = figures.growth({"bn": np.array([[5.0, 4, 2, 1], [6, 4, 2, 1]])}, 2.0).axes[0]
    assert len(ax.lines) == 3
    np.testing.assert_allclose(ax.lines[-1].get_xdata(), [2, 3, 4])
    np.testing.assert_allclose(ax.lines[-1].get_ydata(), [4, 2, 1])
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["bn", "π/(π-1) per layer"]


def test_proxies_have_hollow_marks_but_for_the_hessian_and_the_truths_below_a_line():
    table = measure.proxy_table([0.1, 0.2], [0.1, 0.3], steps=5, seeds=1).head(-1)
    ax = figures.proxies(table).axes[0]
    marks = [line for line in ax.lines if len(line.get_xdata()) > 2]
    assert [m.get_markerfacecolor() == "none" for m in marks] == [True, True, True, False]
    labels = [t.get_text() for t in ax.get_yticklabels()]
    assert labels == list(table.index)
    assert labels[-2] == "largest eigenvalue"
    np.testing.assert_allclose(marks[3].get_xdata()[-2:], 2)
    assert ax.lines[4].get_ydata()[0] == 5.5
    assert ax.yaxis_inverted()
