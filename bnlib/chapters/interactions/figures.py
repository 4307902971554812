"""Figures of the interactions chapter; everything that they draw was computed before."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from bnlib.plots import curves
from bnlib.plots.style import COLORS, looks

HATCHES = ("", "///", "...", "xxx")
INTERACTION = "interaction, share of the promise"
PREDICTED = "share of the promised decrease"
BESIDE = ("none", "frozen", "bn")
TITLES = {
    ("relu", "start"): "ReLU, at the start:\nBN interacts less, frozen in between",
    ("relu", "trained"): "ReLU, trained:\nfrozen statistics do it too",
    ("tanh", "trained"): "tanh, trained:\nBN interacts more",
}


def arm_lines(ax: Axes, rows: pd.DataFrame, arms: Sequence[str], **look: Any) -> None:
    """Medians with their bands, a line an arm.  rows: by arm and then by the horizontal axis."""
    parts = {arm: rows.xs(arm).sort_index() for arm in arms}
    lines = {arm: part.estimate.to_numpy() for arm, part in parts.items()}
    bands = {arm: (part.low.to_numpy(), part.high.to_numpy()) for arm, part in parts.items()}
    curves.line_family(ax, parts[arms[0]].index, lines, bands=bands, **look)


def situations(
    medians: Mapping[tuple[str, str], Mapping[str, pd.DataFrame]], arms: Sequence[str]
) -> Figure:
    """int over act against r, by activation and state: medians by arm and r."""
    fig, axes = plt.subplots(2, 3, figsize=(11, 6.2), sharex=True)
    for (situation, rows), column in zip(medians.items(), axes.T, strict=True):
        for what, ax in zip(("int", "act"), column, strict=True):
            arm_lines(ax, rows[what], arms)
            if what == "act" or situation == ("relu", "trained"):
                ax.set_yscale("symlog", linthresh=1.0)
        column[0].set(xscale="log", title=TITLES[situation])
        column[1].set(xlabel="promised relative decrease r")
    axes[0, 0].set(ylabel=INTERACTION)
    axes[1, 0].set(ylabel="actual / promised decrease")
    return fig


def cells(loss: pd.DataFrame, output: pd.DataFrame) -> Figure:
    """BN - none with its interval, one row a cell: of int, and of the outputs' net share."""
    fig, axes = plt.subplots(1, 2, figsize=(11, 8.4))
    panels = (
        ("loss", loss, "r", "In the loss BN interacts less at the start"),
        ("output", output, "c", "In the output it interacts more"),
    )
    for (what, rows, letter, title), ax in zip(panels, axes, strict=True):
        labels = [f"{a} L={n} {s}, {letter}={size:g}" for a, n, s, _, size in rows.index]
        curves.forest(ax, labels, rows.estimate, rows.low, rows.high)
        ax.set_xscale("symlog", linthresh=0.1)
        ax.set(title=title, xlabel=f"BN - none of the {what} share")
        ax.tick_params(axis="y", labelsize=7.5)
    return fig


def stacked(ax: Axes, names: Sequence[str], parts: Mapping[str, ArrayLike]) -> None:
    """One horizontal bar a name: positive parts to the right of 0, negative ones to the left.

    parts: name -> (len(names),).  A diamond marks their sum.  The first name is the top bar.
    """
    places = np.arange(len(names))[::-1]
    ends = {1: np.zeros(len(names)), -1: np.zeros(len(names))}
    for (name, look), hatch in zip(looks(parts).items(), HATCHES * len(parts), strict=False):
        value = np.asarray(parts[name], dtype=float)
        left = np.where(value < 0, ends[-1], ends[1])
        style = {"color": look.color, "hatch": hatch, "edgecolor": "white", "linewidth": 0.5}
        ax.barh(places, value, left=left, height=0.7, label=name, **style)
        for sign in (1, -1):
            ends[sign] = ends[sign] + np.where(sign * value > 0, value, 0.0)
    ax.plot(ends[1] + ends[-1], places, "D", color=COLORS["exact"], ms=4, label="sum")
    ax.axvline(0.0, color=COLORS["exact"], lw=0.8)
    ax.set_yticks(places, names)
    ax.grid(axis="y", visible=False)
    ax.legend()


def bars(means: pd.DataFrame, arms: Sequence[str]) -> Figure:
    """What act, own and int add up to, at the start and trained: means by state and arm."""
    fig, axes = plt.subplots(1, 2, figsize=(11, 5.2), sharey=True)
    names = {"act": "actual decrease", "own": "own curvature", "int": "interaction"}
    for state, ax in zip(("start", "trained"), axes, strict=True):
        shown = means.loc[state].loc[arms]
        stacked(ax, arms, {name: shown[key] for key, name in names.items()})
        ax.set_xscale("symlog", linthresh=2)
        ax.set(xlabel=PREDICTED)
    axes[0].set(title="At the start: less interaction, more own curvature")
    axes[1].set(title="Trained, half the loss is too much to promise")
    axes[1].get_legend().remove()
    return fig


def parts(means: pd.DataFrame) -> Figure:
    """The interaction at the start in two parts: means by state and arm."""
    arms = ["none", "orthogonal", "layer-norm", "std-only", "mean-only", "frozen", "bn"]
    fig, ax = plt.subplots(figsize=(7, 3.4))
    shown = means.loc["start"].loc[arms]
    stacked(ax, arms, {"curvature of the loss": shown.curvature, "network": shown.network})
    ax.set(title="The loss's curvature shrinks, the network's part grows", xlabel=PREDICTED)
    return fig


def over_depth(medians: pd.DataFrame, arms: Sequence[str]) -> Figure:
    """int against depth: medians by state, arm and L."""
    fig, axes = plt.subplots(1, 2, figsize=(8, 3.6))
    for state, ax in zip(("start", "trained"), axes, strict=True):
        arm_lines(ax, medians.xs(state), arms, markers=True)
        ax.set(xlabel="weight matrices L", title="Trained" if axes[1] is ax else "At the start")
    axes[1].set_yscale("symlog", linthresh=0.1)
    axes[0].set(ylabel=INTERACTION)
    axes[1].get_legend().remove()
    fig.suptitle("Without norm interactions grow with depth; BN flattens them")
    return fig


def orders(sizes: Mapping[str, Mapping[str, np.ndarray]], floor: np.ndarray) -> Figure:
    """Orders 1 ... L of the loss, with their rounding floor, and of the logits, a line an arm."""
    fig, axes = plt.subplots(1, 2, figsize=(8, 3.6))
    k = np.arange(1, 1 + len(floor))
    for (what, lines), ax in zip(sizes.items(), axes, strict=True):
        curves.line_family(ax, k, lines, markers=True)
        ax.set(yscale="log", xlabel="order k", title=f"Orders of the {what}")
    axes[0].plot(k, floor, ":", color="#6F6F6F", label="rounding")
    axes[0].set(ylabel="|A_k|")
    axes[1].set(ylabel="norm of A_k / first order")
    axes[0].legend()
    fig.suptitle("Orders fall fast: pairs of layers dominate, unless the weights are small")
    return fig


def participation(steps: Mapping[str, pd.DataFrame]) -> Figure:
    """int against N_eff, one mark a seed, a panel each direction."""
    fig, axes = plt.subplots(1, 2, figsize=(8, 3.6), sharey=True)
    for (rule, rows), ax in zip(steps.items(), axes, strict=True):
        for (arm, of_arm), mark in zip(rows.groupby("arm", sort=False), "osD^", strict=True):
            ax.plot(of_arm["n-eff"], of_arm["int"], mark, ms=4, alpha=0.8, label=arm)
        ax.set(xlabel="layers that carry the step, N_eff", title=rule)
    axes[0].set(ylabel=INTERACTION)
    axes[0].legend()
    fig.suptitle("BN's step is carried by fewer layers")
    return fig


def world_map(signs: pd.DataFrame, medians: pd.DataFrame) -> Figure:
    """Worlds by times: the direction in color, the median of BN - none as a number."""
    fig, ax = plt.subplots(figsize=(8, 7))
    ax.imshow(signs, cmap="PuOr_r", vmin=-2.2, vmax=2.2, aspect="auto")
    for (row, column), gap in np.ndenumerate(medians.to_numpy()):
        decided = signs.iat[row, column] != 0
        look: Any = {"fontweight": "bold"} if decided else {"color": COLORS["neutral"]}
        text = "no pair" if np.isnan(gap) else f"{gap:+.2f}"
        ax.text(column, row, text, ha="center", va="center", fontsize=8, **look)
    ax.set_xticks(range(signs.shape[1]), signs.columns)
    ax.set_yticks(range(len(signs)), [f"{a} {d} {w}" for d, a, w in signs.index])
    ax.tick_params(labelsize=8)
    ax.grid(visible=False)
    ax.set_title(
        "At every time BN interacts less in more worlds than it interacts more\n"
        "int of BN minus int of none, median; violet less, orange more, white open",
        fontsize=10.5,
    )
    return fig


def by_network(int_of: pd.DataFrame, rate_of: pd.DataFrame) -> Figure:
    """int, and log2 of the largest stable rate, of three arms: a dot a seed, a line the median.

    int_of, rate_of: a row a seed, columns arm, network, activation and time.
    """
    fig, axes = plt.subplots(1, 2, figsize=(11, 4.6), width_ratios=(8, 5))
    for ax, values in zip(axes, (int_of, rate_of), strict=True):
        cells: Any = values["bn"].dropna(axis=1, how="all").columns
        for shift, (arm, look) in zip((-0.25, 0, 0.25), looks(BESIDE).items(), strict=True):
            for place, cell in enumerate(cells):
                seeds, at = values[(arm, *cell)], place + shift
                x, label = at + np.linspace(-0.07, 0.07, len(seeds)), None if place else arm
                ax.plot(x, seeds, look.marker, color=look.color, ms=3.5, alpha=0.6, label=label)
                ax.hlines(np.nanmedian(seeds), at - 0.11, at + 0.11, look.color, lw=2)
        ax.set_xticks(range(len(cells)), ["\n".join(cell) for cell in cells], fontsize=8)
        ax.grid(visible=False, axis="x")
    axes[0].set_yscale("symlog", linthresh=1.0)
    axes[0].set(ylabel=INTERACTION, title="With ReLU BN interacts less, after SGD by far")
    axes[1].set(ylabel="largest stable rate, log2", title="Only BN stands large rates")
    axes[0].legend()
    return fig
