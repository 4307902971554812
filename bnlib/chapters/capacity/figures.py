"""The figures of the chapter on capacity: fits over their kinks, and dots of every seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from bnlib.chapters.capacity.decide import MARGIN, Compared
from bnlib.chapters.capacity.measure import CHANCE, DESIGNS, Arms, Run
from bnlib.networks.arms import AFFINE_ARMS
from bnlib.plots import curves
from bnlib.plots.style import COLORS, looks
from bnlib.statistics import mean_interval

Values = Any  # what np.asarray takes
GREY = "#6F6F6F"


def kinks(shown: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Target and fit of each arm; one tick under the curve for each kink within the range of x.

    shown: arm -> x, target, fit, kinks, center (mean of the data, a dotted vertical line).
    """
    fig, axes = plt.subplots(2, 2, figsize=(7.4, 4.8), sharex=True, sharey=True)
    for ax, (arm, seen) in zip(axes.flat, shown.items(), strict=True):
        x, bends, grey = seen["x"], seen["kinks"], COLORS["neutral"]
        ax.plot(x, seen["target"], color=grey, linestyle="--", linewidth=1.2, label="target")
        ax.plot(x, seen["fit"], color=COLORS["measured"], linewidth=2, label="fit")
        ax.axvline(seen["center"], color=grey, linestyle=":", linewidth=1.2)
        inside = bends[(bends >= x[0]) & (bends <= x[-1])]
        strip = ax.get_xaxis_transform()  # heights in shares of the panel, whatever its limits are
        ax.vlines(inside, 0.03, 0.11, color=COLORS["theory"], linewidth=1, transform=strip)
        ax.margins(y=0.22)
        ax.set_xlim(x[0], x[-1])
        ax.set_title({"none": "normalize only"}.get(arm, f"with {arm}"), fontsize=10.5)
    axes[0, 1].legend(loc="upper right")
    fig.supxlabel("$x$", size=10.5)
    fig.supylabel("output", size=10.5)
    return _titled(fig, "Without β every kink of the layer sits at the data mean")


def bands(fresh: Mapping[int, Arms], x: Values, logits: Mapping[int, Any]) -> Figure:
    """Logit differences at depths 1 and 2, and the accuracy of every arm on fresh rows."""
    fig, axes = plt.subplots(1, 3, figsize=(7.4, 3.4), width_ratios=(1, 1, 1.7))
    short, groups = {"gamma": "γ", "beta": "β"}, {}
    for ax, (depth, arms) in zip(axes, fresh.items(), strict=False):
        for low in (-2, 1):
            ax.axvspan(low, low + 1, color="#EDEDED", zorder=0)
        curves.line_family(ax, x, logits[depth])
        ax.axhline(0, color=GREY, linewidth=0.8)
        ax.set(title=f"depth {depth}", xlabel="$x$")
        groups |= {f"{short.get(arm, arm)}\n{depth}": score for arm, score in arms.score.items()}
    axes[0].set_ylabel("logit difference / largest")
    ceilings = [fresh[1].limit.mean()] * 4 + [np.nan] * 4
    strips(axes[2], groups, bounds=ceilings, label="ceiling").legend(loc="lower right")
    axes[1].legend().remove()
    axes[2].set(ylabel="accuracy (share)", xlabel="arm, depth")
    axes[2].tick_params(axis="x", labelsize=8)
    return _titled(fig, "One layer without β stays under its ceiling; two layers do not")


def linear_regime(by_gamma: pd.DataFrame, relu: pd.DataFrame) -> Figure:
    """Nonlinear shares over gamma, and of ReLU over beta / gamma."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(7.4, 3.5))
    curves.line_family(left, by_gamma.index, {name: by_gamma[name] for name in by_gamma})
    left.set(xscale="log", xlabel=r"$\gamma$ (at $\beta=0$)", ylabel="nonlinear share")
    for limit in (0.2665, 1 - 2 / np.pi):
        left.axhline(limit, color=GREY, linestyle=":", linewidth=1)
    dots = relu.quadrature.dropna()
    curves.measured_on_theory(
        right, dots.index, dots, dots, dots, relu.index, relu.exact, label="quadrature"
    )
    right.set(xlabel=r"$\beta/\gamma$, ReLU")
    return _titled(fig, "γ bends saturating activations, β bends the ReLU")


def outputs(errors: Mapping[str, Values], floor: Mapping, scale: pd.DataFrame) -> Figure:
    """Errors on their floors, and the learned scale on a_m."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(7.4, 3.4))
    means = [mean_interval(values) for values in errors.values()]
    floors = [floor[arm] or np.nan for arm in errors]
    strips(left, errors, means=means, bounds=floors, label="floor").legend(loc="lower left")
    left.set(yscale="log", ylabel=r"squared error (units of $T^2$)")
    (a, learned, low, high), m = scale.to_numpy().T, list(scale.index)
    curves.measured_on_theory(right, m, learned, low, high, m, a, theory_label="$a_m$")
    right.set(xscale="log", xlabel="batch size $m$ (rows)", ylabel=r"learned $\gamma$ / $\sigma_T$")
    return _titled(fig, "At the output each arm stops at its floor")


def scales(accuracy: Mapping[tuple[str, str, str], Values], interval: Mapping) -> Figure:
    """One panel a design, one strip a norm and mode."""
    fig, axes = plt.subplots(1, 2, figsize=(7.4, 3.4), sharey=True)
    for ax, design in zip(axes, DESIGNS, strict=True):
        keys = [key for key in accuracy if key[1] == design]
        shown = {f"{n.replace('LayerNorm', 'LN')}\n{m}": accuracy[n, d, m] for n, d, m in keys}
        lines = [0.5 if key[:2] in CHANCE else np.nan for key in keys]
        strips(ax, shown, means=[interval[key] for key in keys], bounds=lines, label="chance")
        ax.set_title(f"one scale a {design}", fontsize=10.5)
    axes[0].set_ylabel("accuracy (share)")
    axes[1].legend(loc="center left")
    return _titled(fig, "Batch norm erases a scale that a whole batch shares")


def forest(table: Sequence[Compared], ours: Sequence[Compared]) -> Figure:
    """One forest an arm, one line for each data set and architecture.

    ours: a second, smaller table, drawn as diamonds just below the lines of the first.
    """
    arms = [arm for arm in AFFINE_ARMS if arm != "both"]
    fig, axes = plt.subplots(1, len(arms), figsize=(7.6, 4.8), sharey=True)
    rows = list(dict.fromkeys(row[:2] for row in (*table, *ours)))
    names = [", ".join(row) for row in rows]
    for ax, arm in zip(axes, arms, strict=True):
        ends = {row[:2]: row[3:6] for row in table if row.arm == arm}
        values = np.array([ends.get(row, (np.nan,) * 3) for row in rows]).T
        curves.forest(ax, names, *values, margin=MARGIN)
        below = [row for row in ours if row.arm == arm]
        middle, low, high = np.array([row[3:6] for row in below]).T
        at, bars = [rows.index(row[:2]) + 0.3 for row in below], [middle - low, high - middle]
        ax.errorbar(middle, at, xerr=bars, fmt="D", ms=3.5, color=COLORS["theory"], elinewidth=1)
        ax.set_title(arm, fontsize=10.5)
    fig.supxlabel("test accuracy minus that of both (points)", size=10.5)
    return _titled(fig, "Normalizing only loses in few settings; leaving out BN costs more, mostly")


def subsets(runs: Sequence[Run]) -> Figure:
    """One panel a setting, one strip a trained subset."""
    settings = list(dict.fromkeys((r["data"], r["setting"]) for r in runs))
    shape = -(-len(settings) // 2), 2
    fig, axes = plt.subplots(*shape, figsize=(7.6, 6), sharey=True, squeeze=False)
    for ax, setting in zip(axes.flat, settings, strict=False):
        part = [r for r in runs if (r["data"], r["setting"]) == setting]
        names = [f"{r['subset'].replace(' ', chr(10))}\n({r['trained']})" for r in part]
        groups = {name: r["accuracy"] for name, r in zip(names, part, strict=True)}
        means = [mean_interval(values) for values in groups.values()]
        strips(ax, groups, means=means, bounds=[r["chance"] for r in part], label="chance")
        ax.set_title(", ".join(setting), fontsize=10.5)
        ax.tick_params(axis="x", labelsize=7.5)
    for ax in axes.flat[len(settings) :]:
        ax.set_axis_off()
    fig.supylabel("test accuracy (share)", size=10.5)
    return _titled(fig, "γ and β alone do more than as many random weights, less than all")


def scores(runs: Sequence[Run], rates: Sequence[float]) -> Figure:
    """One panel a setting: accuracy on held-out training rows at every rate, a line a subset."""
    settings = list(dict.fromkeys((r["data"], r["setting"]) for r in runs))
    fig, axes = plt.subplots(2, -(-len(settings) // 2), figsize=(7.6, 5), sharex=True)
    for ax, setting in zip(axes.flat, settings, strict=True):
        lines = {r["subset"]: r["scores"] for r in runs if (r["data"], r["setting"]) == setting}
        for name, look in looks(lines).items():
            style: dict[str, Any] = {"marker": look.marker, "linestyle": look.linestyle}
            ax.plot(rates, lines[name], color=look.color, label=name, **style)
        ax.set_xscale("log")
        ax.set_title(", ".join(setting), fontsize=10.5)
    axes.flat[0].legend(fontsize=8)
    fig.supxlabel("learning rate of Adam", size=10.5)
    fig.supylabel("accuracy on held-out training rows", size=10.5)
    return _titled(fig, "At rates beyond the old grid, too, γ and β lead random weights")


def strips(
    ax: Axes,
    groups: Mapping[str, Values],
    *,
    bounds: Values,
    means: Values | None = None,
    label: str = "predicted",
) -> Axes:
    """One strip of dots per group, one dot a seed, side by side in the order given.

    means: (estimate, low, high) a group, drawn as a dash with an arm.  bounds: one short line a
    group, NaN for none: a floor, a ceiling, a chance level.
    """
    for place, values in enumerate(groups.values()):
        values = np.sort(np.asarray(values, dtype=float))
        spread = np.linspace(-0.16, 0.16, len(values)) if len(values) > 1 else np.zeros(1)
        ax.plot(place + spread, values, "o", color=COLORS["measured"], ms=3.5, alpha=0.75)
    at = np.arange(len(groups))
    if means is not None:
        middle, low, high = np.asarray(means, dtype=float).T
        bars, color = np.stack([middle - low, high - middle]), COLORS["exact"]
        ax.errorbar(at + 0.27, middle, yerr=bars, fmt="_", color=color, elinewidth=1.3)
    ax.hlines(bounds, at - 0.38, at + 0.38, color=COLORS["theory"], linewidth=2, label=label)
    ax.set_xticks(range(len(groups)), labels=list(groups))
    ax.set_xlim(-0.6, len(groups) - 0.4)
    ax.xaxis.set_minor_locator(NullLocator())
    ax.grid(False, axis="x")
    return ax


def _titled(fig: Figure, finding: str) -> Figure:
    fig.suptitle(finding, x=0.01, ha="left")
    return fig
