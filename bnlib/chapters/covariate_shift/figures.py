"""Figures of covariate shift. What is drawn was computed before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter, NullLocator

from bnlib.chapters.covariate_shift.measure import SHIFTS, STATES, Theorem
from bnlib.plots import curves
from bnlib.plots.style import COLORS, looks
from bnlib.statistics import Interval

TICKS = (-1.0, -0.1, -0.01, 0.0, 0.01, 0.1, 1.0, 10.0)
DARK = 0.55  # share of the color range beyond which black writing is hard to read
TRUTHS = 2  # rows below the line in the picture of proxies


def misses(theorem: Theorem) -> Figure:
    """How far each rule of integration misses the interaction, against the step, with slope 3."""
    fig, axes = plt.subplots(1, 2, figsize=(8, 3.7), sharey=True)
    steps = theorem.steps
    for (name, missed), ax in zip(theorem.misses.items(), axes, strict=True):
        curves.error_lines(ax, steps, missed)
        guide = 40 * float(missed["left endpoint"][-1])
        curves.slope_guide(ax, (steps[-1], 4 * steps[-1]), guide, 3)
        ax.set(xlabel="step size η", title=name)
    axes[0].set(ylabel="|quadrature - INT|")
    axes[1].get_legend().remove()
    fig.suptitle("Covariate shift at the left end misses the interaction by η³")
    return fig


def one_quantity(way: pd.DataFrame, *, linear: float = 0.003) -> Figure:
    """Interaction against projected covariate shift, a panel an arm, a mark a rate and point.

    way: rows with arm, rule (the rate, written), "sum" and "int".  linear: where the symmetric
    logarithmic axes turn linear.
    """
    fig, axes = plt.subplots(1, 2, figsize=(8, 4), sharex=True, sharey=True)
    values = way[["int", "sum"]].to_numpy()
    low, high = min(float(values.min()), 0.0) - linear, 1.4 * float(values.max())
    places = [tick for tick in TICKS if low <= tick <= high]  # powers near 0 would overlap
    for name, ax in zip(("none", "bn"), axes, strict=True):
        ax.plot([low, high], [low, high], color=COLORS["neutral"], lw=1.0, label="equal")
        for eta, look in looks(way.rule.unique()).items():
            rows = way[(way.arm == name) & (way.rule == eta)]
            style: Any = {"color": look.color, "ms": 4, "label": f"η = {eta}"}
            ax.plot(rows["sum"], rows["int"], look.marker, **style)
        ax.set(title=name, xlabel=r"covariate shift, $-\sum s_i\rho_i$")
        ax.set_xscale("symlog", linthresh=linear)
        ax.set_yscale("symlog", linthresh=linear)
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_ticks(places, [f"{tick:g}" for tick in places])
        ax.set(xlim=(low, high), ylim=(low, high))
    axes[0].set(ylabel=r"interaction, INT$/(\eta|g|^2)$")
    axes[0].legend()
    fig.suptitle("One quantity: interaction against projected covariate shift")
    return fig


def by_rule(
    bands: Mapping[str, pd.DataFrame], names: Sequence[str], depths: Sequence, rules: Sequence[str]
) -> Figure:
    """Relative shift and cosine, of `shift_bands`: two rows a depth, a column a rule."""
    lines = list(product(depths, SHIFTS))
    size = (3.6 * len(rules), 2.3 * len(lines))
    fig, axes = plt.subplots(len(lines), len(rules), figsize=size, sharex=True, squeeze=False)
    for (depth, what), line in zip(lines, axes, strict=True):
        for rule, ax in zip(rules, line, strict=True):
            _bands(ax, {name: bands[what].loc[(depth, rule, name)] for name in names}, 0.15)
        line[0].set(ylabel=f"L = {depth}\n{SHIFTS[what]}")
    for rule, top, bottom in zip(rules, axes[0], axes[-1], strict=True):
        top.set(title=rule)
        bottom.set(xlabel="step")
    axes[0, -1].legend(fontsize="small")
    fig.suptitle("Who shifts less depends on the rule that makes steps comparable")
    return fig


def noise(lines: Mapping[str, Mapping[str, tuple]]) -> Figure:
    """Loss, shift of distributions and shift of gradients of the noisy arms.

    lines: of `noise_lines`.
    """
    fig, axes = plt.subplots(1, 3, figsize=(11, 3.8))
    titles = {
        "loss": "Loss of the training batches",
        "distribution": "Shift of distributions:\nthe noise raises it",
        "relative": "Shift of gradients:\nBN and noisy BN alike",
    }
    for (what, title), ax in zip(titles.items(), axes, strict=True):
        for name, look in looks(lines[what]).items():
            ax.plot(*lines[what][name], color=look.color, linestyle=look.linestyle, label=name)
        ax.set(xlabel="step", title=title)
    _plain_log(axes[0]).legend(loc="lower left")
    _plain_log(axes[1])
    axes[2].set_ylim(bottom=0)
    return fig


def doses(table: pd.DataFrame, gained: Mapping[str, Interval]) -> Figure:
    """What noisy BN gains over no norm against the strength of the noise, a panel a data set."""
    fig, axes = plt.subplots(1, len(gained), figsize=(8, 3.6))
    for (name, gain), ax in zip(gained.items(), axes, strict=True):
        part = table.loc[name].astype(float)
        bars = part.gain - part.low, part.high - part.gain
        ax.errorbar(part.index, part.gain, bars, marker="o", color=COLORS["measured"])
        for share, dashes in ((1.0, "-"), (0.8, "--"), (0.3, ":"), (0.0, "-")):
            ax.axhline(share * gain.estimate, color=COLORS["theory"], ls=dashes, lw=0.9)
            place = {"textcoords": "offset points", "xytext": (-2, 3), "fontsize": 8, "ha": "right"}
            ax.annotate(f"{share:.0%} of BN's", (part.index[-1], share * gain.estimate), **place)
        ax.set(xscale="log", xlabel="strength of the noise", title=name)
        ax.xaxis.set_minor_locator(NullLocator())
        ax.set_xticks([0.125, 0.5, 1, 2, 4], ["1/8", "1/2", "1", "2", "4"])
    axes[0].set_ylabel("gain in log loss over no norm")
    fig.suptitle("Weak noise leaves BN's gain, strong noise takes it")
    return fig


def smoothness(bands: Mapping[str, pd.DataFrame]) -> Figure:
    """Loss (above) and change of the gradient (below) along -g, a column a unit of steps.

    bands: of `envelopes`.
    """
    fig, axes = plt.subplots(2, 2, figsize=(9, 6.4), sharex=True)
    titles = {
        "raw": "Raw steps: BN looks far smoother",
        "matched": "Matched steps: calmer early, alike later",
    }
    for (unit, title), column in zip(titles.items(), axes.T, strict=True):
        units = ("", "") if unit == "raw" else (" / loss", " / |g|")
        labels = (f"loss along -g{units[0]}", f"change of the gradient{units[1]}")
        for line, label, ax in zip(("loss-line", "change-line"), labels, column, strict=True):
            _bands(ax, {name: bands[line].loc[(unit, name)] for name in ("none", "bn")}, 0.22)
            ax.legend()
            _plain_log(ax).set(ylabel=label)
        column[0].set(title=title)
        column[1].set(xlabel="training step")
    return fig


def blocks(maps: Mapping[tuple[str, str], np.ndarray], shares: pd.DataFrame) -> Figure:
    """Norms of the blocks of the Hessian, a row a state with one color scale, a column an arm.

    maps: by (arm, state), (L, L).  shares: "share" and "iid" by the same.
    """
    fig, axes = plt.subplots(2, 3, figsize=(11, 8.6), layout="constrained")
    names = ("none", "bn", "frozen")
    for state, line in zip(STATES, axes, strict=True):
        limit = float(max(maps[name, state].max() for name in names))
        for name, ax in zip(names, line, strict=True):
            share, iid = shares.loc[(name, state), ["share", "iid"]]
            _block_map(ax, maps[name, state], limit)
            ax.set_xlabel(f"off-diagonal share {share:.2f} (iid {iid:.2f})")
            ax.set(title=f"{name}, {'at the start' if state == 'start' else 'trained'}")
    fig.suptitle("On digits BN's share falls mostly because its diagonal grows")
    return fig


def growth(profiles: Mapping[str, np.ndarray], factor: float) -> Figure:
    """Squared gradients relative to the last hidden layer, against the layer; logarithmic.

    profiles: arm -> (S, layers), every seed drawn thin.  The line grows by `factor` a layer.
    """
    fig, ax = plt.subplots(figsize=(6.4, 4))
    last = next(iter(profiles.values())).shape[1]
    for name, (color, marker, dashes) in looks(profiles).items():
        style: Any = {"color": color, "marker": marker, "linestyle": dashes, "ms": 3, "lw": 0.9}
        for place, row in enumerate(profiles[name]):
            label = None if place else name
            ax.plot(np.arange(1, last + 1), row, alpha=0.8, label=label, **style)
    inner = np.arange(2, last + 1)
    line: Any = {"color": COLORS["exact"], "lw": 2.0, "label": "π/(π-1) per layer"}
    ax.plot(inner, factor ** (last - inner), "-", **line)
    ax.set_yscale("log")
    ax.legend()
    ax.set(xlabel="layer", ylabel="squared gradient / that of the last hidden layer")
    ax.set_title("At the start BN makes the gradient grow on its way down")
    return fig


def proxies(table: pd.DataFrame) -> Figure:
    """By what factor each proxy changes with what it should not see, and with the Hessian.

    table: of `proxy_table` without the row of covariate shift, the truths last.  A proxy of
    smoothness ought to stay at 1 in the hollow marks and to double in the filled one.
    """
    fig, ax = plt.subplots(figsize=(8, 4.2))
    labels = {
        "noise": "three times the noise",
        "rate": "four times the rate",
        "start": "twice as far away",
        "2 H": "twice the Hessian",
    }
    rows, names = np.arange(len(table)), [f"change {kind}" for kind in labels]
    for (kind, label), look in zip(labels.items(), looks(names).values(), strict=True):
        style: Any = {"ms": 10, "mfc": "none", "zorder": 3}
        if kind == "2 H":
            style = {"ms": 6, "zorder": 2}
        ax.plot(table[kind], rows, look.marker, color=look.color, label=label, **style)
    ax.axhline(len(table) - TRUTHS - 0.5, color=COLORS["neutral"], lw=0.8)
    for place in (1, 2):
        ax.axvline(place, color=COLORS["neutral"], lw=1.0, ls=":")
    ax.set_xscale("log", base=2)
    ax.set_xticks([0.5, 1, 2, 4], ["½", "1", "2", "4"])
    ax.set_yticks(rows, list(table.index))
    ax.invert_yaxis()
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    ax.set(xlabel="factor by which the measure changes")
    ax.set_title("Proxies move where the landscape does not; two true measures do not", loc="left")
    return fig


def _bands(ax: Axes, bands: Mapping[str, Any], alpha: float) -> None:
    """For each name a line in its band; low, middle and high are the columns, x the index."""
    for name, look in looks(bands).items():
        low, middle, high = bands[name].to_numpy().T
        x = bands[name].index.to_numpy()
        ax.plot(x, middle, color=look.color, linestyle=look.linestyle, label=name)
        ax.fill_between(x, low, high, color=look.color, alpha=alpha, linewidth=0)


def _plain_log(ax: Axes) -> Axes:
    """A logarithmic y axis whose ticks are written without powers of ten."""
    ax.set_yscale("log")
    ax.yaxis.set_major_formatter(LogFormatter())
    ax.yaxis.set_minor_formatter(LogFormatter(labelOnlyBase=False, minor_thresholds=(1.5, 0.5)))
    return ax


def _block_map(ax: Axes, norms: np.ndarray, limit: float) -> None:
    """Norms (L, L) of blocks, each written in its cell; full color at `limit`."""
    ax.imshow(norms, cmap="Blues", vmin=0.0, vmax=limit)
    for (row, column), value in np.ndenumerate(norms):
        color = "white" if value > DARK * limit else "black"
        ax.text(column, row, f"{value:.3g}", ha="center", va="center", fontsize=7, color=color)
    layers = [str(i + 1) for i in range(len(norms))]
    ax.set_xticks(range(len(norms)), layers)
    ax.set_yticks(range(len(norms)), layers)
    ax.tick_params(length=0)
    ax.grid(False)
