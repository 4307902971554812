"""Figures of the chapter: what was measured -> a figure.

Rates and targets come as log2; a logarithmic axis shows the rate itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import SymmetricalLogLocator

from bnlib.plots import curves
from bnlib.plots.style import COLORS, MARKERS, looks

CEILING = 1e3  # losses above are drawn here
HIGHEST = 1e4  # growth above is not drawn
RATE = "largest trainable rate"
PREDICTORS = {
    "k_off": "raw interaction $k_{off}$ (1/rate)",
    "k_total": "total curvature $k_{total}$ (1/rate)",
    "eps_up": r"first rate at which the loss rises, $\eta_{up}$",
    "baseline": r"baseline $\mathcal{L}_0/|g|^2$",
    "share": "share int at a promised halving",
}


def losses(
    panels: Mapping[int, Mapping[str, np.ndarray]], rates: Sequence[float], threshold: float
) -> Figure:
    """Final loss against the rate, a panel a depth, a line an arm, (R,) each.

    Losses that are not finite or above `CEILING` are drawn there, hollow.  The dashed line is the
    threshold under which a rate passes; a line that ends under it is censored and gets a ring.
    """
    fig, axes = plt.subplots(-(-len(panels) // 2), 2, figsize=(7.6, 6), sharey=True, squeeze=False)
    for (depth, lines), ax in zip(panels.items(), axes.flat, strict=False):
        for name, look in looks(lines).items():
            y = np.nan_to_num(lines[name], nan=np.inf)
            shown, over = np.minimum(y, CEILING), y > CEILING
            ax.plot(rates, shown, label=name, lw=1.4, ms=4, **look._asdict())
            hollow = {"color": look.color, "mfc": "white", "ms": 4}
            ax.plot(np.asarray(rates)[over], shown[over], look.marker, **hollow)
            if y[-1] < threshold:
                ax.plot(rates[-1], y[-1], "o", ms=11, mfc="none", mec=look.color)
        ax.axhline(threshold, color=COLORS["neutral"], ls="--", lw=1.0)
        ax.set_xscale("log", base=2)
        ax.set_yscale("log")
        ax.set_title(f"{depth} weight matrices", fontsize=10.5)
    axes[0, 0].legend(fontsize=8)
    fig.supxlabel("learning rate η", size=10.5)
    fig.supylabel("final training loss", size=10.5)
    fig.suptitle("Deeper networks break earlier without BN; BN's edge hardly moves")
    return fig


def over_depth(depths: Sequence[int], lines: Mapping[str, np.ndarray], edge: float) -> Figure:
    """Largest rate against depth: name -> (estimate, low, high), moved a little aside."""
    fig, ax = plt.subplots(figsize=(7, 4))
    for place, (name, look) in enumerate(looks(lines).items()):
        estimate, low, high = 2.0 ** lines[name]
        at = np.asarray(depths) + 0.12 * (place - (len(lines) - 1) / 2)
        bars = np.stack([estimate - low, high - estimate])
        style = {"ms": 5, "lw": 1.3, "elinewidth": 1.0, **look._asdict()}
        ax.errorbar(at, estimate, yerr=bars, label=name, **style)
    ax.set_yscale("log", base=2)
    ax.set_xticks(list(depths), [str(d) for d in depths])
    ax.minorticks_off()
    ax.legend(fontsize=8)
    ax.axhline(edge, color=COLORS["neutral"], ls=":", lw=1.0)
    text = {"textcoords": "offset points", "fontsize": 8, "color": "#4A4A4A"}
    ax.annotate("edge of the grid", (depths[-1], edge), xytext=(0, -12), ha="right", **text)
    ax.set(xlabel="weight matrices L", ylabel=RATE)
    ax.set_title("Without BN the largest rate collapses with depth")
    return fig


def scatter(points: pd.DataFrame) -> Figure:
    """Every predictor against the largest rate, one mark an architecture, a look a cell.

    points: `medians`, with a column `held_out`: drawn open.
    """
    fig, axes = plt.subplots(3, 2, figsize=(7.6, 9), sharey=True)
    for (name, label), ax in zip(PREDICTORS.items(), axes.flat, strict=False):
        against_rate(ax, points, name, log=name != "share")
        ax.set(xlabel=label)
        ax.margins(x=0.06)
    for ax in axes[:, 0]:
        ax.set(ylabel=RATE)
    axes[2, 1].legend(*axes[0, 0].get_legend_handles_labels(), fontsize=8, ncols=2, loc="center")
    axes[2, 1].set_axis_off()
    fig.suptitle("Curvature orders the networks by their largest rate, the share loosely")
    return fig


def against_rate(ax: Axes, points: pd.DataFrame, name: str, *, log: bool) -> None:
    """One predictor, an infinite one at the right edge; log: a signed logarithmic axis."""
    x, y = points[name].to_numpy(dtype=float), 2.0 ** points.max_trainable.to_numpy(dtype=float)
    finite = x[np.isfinite(x)]
    x = np.where(np.isfinite(x), x, 2 * finite.max())
    cells = list(dict.fromkeys(points.cell))
    colors = colormaps["viridis"](np.linspace(0.0, 0.85, max(len(cells), 2)))  # dark ones first
    for place, cell in enumerate(cells):
        at = points.cell.to_numpy() == cell
        face = "white" if points.held_out.to_numpy()[at].any() else colors[place]
        style = {"color": colors[place], "mfc": face, "ms": 4.5, "alpha": 0.85}
        ax.plot(x[at], y[at], MARKERS[place % len(MARKERS)], label=cell, **style)
    ax.set_yscale("log", base=2)
    if log:
        linear = float(np.quantile(np.abs(finite[finite != 0]), 0.05))
        ax.set_xscale("symlog", linthresh=linear)
        if (finite < 0).any():  # ticks of powers between zero and here would overlap
            ax.xaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=max(linear, 1.0)))


def forest(rows: Mapping[str, pd.DataFrame]) -> Figure:
    """Correlations with intervals, the halves below one another: filled, open."""
    fig, ax = plt.subplots(figsize=(7, 5.6))
    for place, (half, table) in enumerate(rows.items()):
        estimate, low, high = table[["estimate", "low", "high"]].to_numpy().T
        at = np.arange(len(table)) + 0.18 * (2 * place - (len(rows) - 1))
        color = COLORS["measured"] if place else COLORS["neutral"]
        style: Any = {"color": color, "mfc": "white" if place else color, "fmt": MARKERS[place]}
        style |= {"ms": 5, "elinewidth": 1.3, "label": half.replace("_", "-")}
        ax.errorbar(estimate, at, xerr=np.stack([estimate - low, high - estimate]), **style)
    for line, dash in ((0.0, "-"), (0.3, ":")):
        ax.axvline(line, color=COLORS["neutral"], lw=1.0, ls=dash, zorder=0)
    names = next(iter(rows.values())).index
    ax.set_yticks(range(len(names)), labels=list(names))
    ax.set(ylim=(len(names) - 0.5, -0.5), xlim=(-1.05, 1.05))
    ax.grid(False, axis="y")
    ax.legend(loc="lower left", fontsize=8)
    ax.set(xlabel="rank correlation with the largest trainable rate, registered direction")
    ax.set_title(
        "Interaction predicts beyond the baseline;\nbetter than all curvature is not shown"
    )
    return fig


def ladder(
    free: pd.DataFrame, reset: Mapping[str, Any], rates: Sequence[float], growth: Mapping[str, Any]
) -> Figure:
    """Largest rate of each arm, a dot a seed and a bar their mean; growth of norms with the rate.

    free: a row a seed, a column an arm.  reset: arm -> (S,).  growth: arm -> (R,); a line ends
    where its models diverge.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=(7.8, 4), width_ratios=(1.4, 1))
    for place, name in enumerate(free):
        _rung(left, place - 0.16, free[name].to_numpy(), COLORS["measured"], "norms free")
        if name in reset:
            _rung(left, place + 0.16, reset[name], COLORS["theory"], "norms reset")
    handles = dict(zip(*reversed(left.get_legend_handles_labels()), strict=True))
    left.legend(handles.values(), handles.keys(), fontsize=8)
    left.set_yscale("log", base=2)
    left.set_xticks(range(len(free.columns)), list(free), rotation=25, ha="right")
    left.set(ylabel=RATE)
    left.set_title("Reset norms cost a part of BN's gain", fontsize=10.5)
    ends = {n: np.where(np.isfinite(v) & (v < HIGHEST), v, np.nan) for n, v in growth.items()}
    curves.line_family(right, rates, ends, markers=True)
    right.set_xscale("log", base=2)
    right.set_yscale("log")
    right.set(xlabel="learning rate η", ylabel="final / initial weight norm")
    right.set_title("Large rates make weights grow", fontsize=10.5)
    return fig


def _rung(ax: Axes, place: float, values: np.ndarray, color: str, label: str) -> None:
    # A golden-ratio sequence spreads equal values without a random generator.
    spread = 0.16 * ((np.arange(len(values)) * 0.618) % 1 - 0.5)
    ax.plot(place + spread, 2.0**values, ".", color=color, ms=4, alpha=0.6)
    mean = 2.0 ** values.mean()
    ax.plot([place - 0.13, place + 0.13], [mean, mean], "-", lw=2.6, color=color, label=label)


def arms(marks: Mapping[str, tuple[float, float]]) -> Figure:
    """Interaction against the largest rate, one labeled mark an arm."""
    fig, ax = plt.subplots(figsize=(7, 4))
    for name, look in looks(marks).items():
        at = marks[name][0], 2.0 ** marks[name][1]
        ax.plot(*at, look.marker, color=look.color, ms=7)
        ax.annotate(name, at, xytext=(6, 5), textcoords="offset points")
    ax.set_yscale("log", base=2)
    ax.set(xlabel="int(½) at the start, median over seeds", ylabel=RATE)
    ax.margins(x=0.18, y=0.15)
    ax.set_title("Six arms: interaction at the start does not fix the rate")
    return fig


def effective(rates: Sequence[float], rate: np.ndarray, bound: np.ndarray) -> Figure:
    """Effective rate of a unit before each step, and the bound that the step before allows."""
    fig, ax = plt.subplots(figsize=(7, 4))
    steps = np.arange(len(rate))
    for place, (name, look) in enumerate(looks([f"rate {r:g}" for r in rates]).items()):
        style = {"marker": look.marker, "markevery": max(len(steps) // 8, 1), "ms": 5}
        ax.plot(steps, rate[:, place], "-", color=look.color, lw=2.0, label=name, **style)
        thin = {"color": look.color, "lw": 0.8, "alpha": 0.7, "zorder": 1}
        ax.plot(steps[1:], bound[:-1, place], ":", **thin)
    ax.plot([], [], ":", color=COLORS["neutral"], label="bound")
    ax.set_yscale("log")
    ax.legend(fontsize=8, ncols=len(rates) + 1, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    ax.set(xlabel="step", ylabel=r"effective rate $\eta/\|w\|^2$")
    ax.set_title("A rate that is too large is paid for once, in norm", pad=26)
    return fig


def renewal(frame: pd.DataFrame) -> Figure:
    """Largest rate, a panel a depth, and int against the period; means over seeds.

    frame: as `periods.frame_of` gives it.  Horizontal lines: BN, half of its gain, and no norm.
    """
    depths = list(frame.index.unique("L"))
    fig, axes = plt.subplots(1, len(depths) + 1, figsize=(9.6, 3.4))
    middle: Any = frame.groupby(["L", "period"], sort=False).mean()
    periods = [period for period in frame.index.unique("period") if not isinstance(period, str)]
    for ax, depth in zip(axes, depths, strict=False):
        means = middle.loc[depth]
        for name, look in looks(("held", "retaken")).items():
            ax.plot(periods, 2.0 ** means[name][periods], label=name, **look._asdict())
        none, bn = (means.held[arm] for arm in ("none", "bn"))
        for level, text in ((bn, "BN"), ((bn + none) / 2, "half of its gain"), (none, "none")):
            ax.axhline(2.0**level, color=COLORS["neutral"], ls=":", lw=1)
            ax.text(periods[-1], 2.0**level, text, fontsize=7, va="bottom", ha="right")
        ax.set_yscale("log", base=2)
        ax.set(title=f"{depth} weight matrices", ylabel=RATE)
    for depth, look in zip(depths, looks([f"L = {n}" for n in depths]).items(), strict=True):
        values = middle.loc[depth, "int"]
        axes[-1].plot(periods, values[periods], label=look[0], **look[1]._asdict())
        for arm, ls in (("bn", "-"), ("none", ":")):
            axes[-1].axhline(values[arm], color=look[1].color, ls=ls, lw=0.8)
    axes[-1].set(title="interaction", ylabel="int after 80 slow steps")
    for ax in axes:
        ax.set_xscale("log", base=2)
        ax.set_xlabel("steps between renewals")
    axes[0].legend(fontsize=8)
    axes[-1].legend(fontsize=8)
    fig.suptitle(
        "Renewed every second step, constants lose most of BN's larger rate", x=0.01, ha="left"
    )
    return fig
