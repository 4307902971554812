"""Figures of the batches chapter; everything that they draw was computed before."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from bnlib.identity import weighed
from bnlib.laws import expected_batch_std
from bnlib.plots.style import COLORS, MARKERS, looks

DASHES = ("-", "--", ":", "-.")
WHENCE = {"batch": "of the same batch", "queue": "from a queue"}


def owners(values: Mapping[str, np.ndarray]) -> Figure:
    """The normalized values of one row, a line of dots an owner of its statistics."""
    fig, ax = plt.subplots(figsize=(7.0, 3.6))
    for place, seen in enumerate(values.values()):
        aside = np.arange(len(seen)) * 0.6180339887 % 1.0 - 0.5
        ax.plot(seen, place + 0.5 * aside, ".", ms=3, color=COLORS["batch"], rasterized=True)
        ax.plot(seen.mean(), place, "D", color=COLORS["measured"])
    ax.axvline(float(next(iter(values.values()))[0]), color=COLORS["running"], lw=1.2)
    ax.set_yticks(range(len(values)), list(values))
    ax.invert_yaxis()
    ax.grid(False, axis="y")
    ax.set(xlabel=r"normalized value $\hat x$ of the same row")
    ax.set_title("One row, seven owners of its statistics: seven different inputs")
    return fig


def moving(courses: Mapping[tuple, Any], lines: Any) -> Figure:
    """Loss and norm of W1 by step, ema and renorm at the middle and largest rate; doses."""
    fig, (left, middle, right) = plt.subplots(1, 3, figsize=(7.6, 3.0))
    rates = sorted({key[1] for key in courses})[-2:]
    for kind, color in (("ema", COLORS["running"]), ("renorm", COLORS["batch"])):
        for rate, dashes in zip(rates, DASHES, strict=False):
            loss, norm = courses[kind, rate, 0.1, True]
            label = f"{'moving' if kind == 'ema' else 'renorm'}, η = {rate:g}"
            with np.errstate(all="ignore"):
                center, size = np.nanmedian(loss, 1), np.nanmedian(norm / norm[0], 1)
            left.plot(np.minimum(center, 1e3), color=color, ls=dashes, lw=1.2, label=label)
            middle.plot(np.minimum(size, 1e3), color=color, ls=dashes, lw=1.2)
    left.set(yscale="log", xlabel="step", ylabel="loss")
    middle.set(yscale="log", xlabel="step", ylabel=r"$\|W_1\|$ / start")
    left.legend(fontsize=7)
    rate = sorted(set(lines.rate))[lines.rate.nunique() // 2]
    ema = lines[(lines.kind == "ema") & (lines.rate == rate) & lines.affine]
    doses = ema.groupby("a")["log loss"].mean()
    right.plot(range(len(doses)), doses, "o-", color=COLORS["measured"])
    right.set_xticks(range(len(doses)), [f"{a:g}" for a in doses.index])
    right.set(xlabel="weight $a$ of the new batch", ylabel=r"$\log_{10}$ final loss")
    title = "Same values forward, another gradient: moving constants train worse"
    fig.suptitle(title, x=0.01, ha="left")
    return fig


def maps(means_by_size: Mapping[int, tuple[np.ndarray, ...]]) -> Figure:
    """E[x_hat | x], a panel a batch size: law and dots measured, the maps that stand in for it."""
    fig, axes = plt.subplots(1, len(means_by_size), figsize=(7.6, 3.2), sharey=True, squeeze=False)
    for ax, (m, (grid, law, centers, means)) in zip(axes[0], means_by_size.items(), strict=True):
        ax.plot(grid, grid, color=COLORS["neutral"], lw=1, label="as it is")
        ax.plot(grid, expected_batch_std(m) * grid, "--", color=COLORS["running"], label="line")
        ax.plot(grid, weighed(grid, 1 / m), ":", color=COLORS["batch"], label="weighing")
        ax.plot(grid, law, "-", color=COLORS["theory"], label="$h_m$, law")
        ax.plot(centers, means, "o", ms=4, color=COLORS["measured"], label="measured")
        ax.set(xlabel="value of the row", title=f"$m={m}$")
    axes[0, 0].set_ylabel(r"mean of $\hat x$ in training")
    axes[0, 0].legend(fontsize=7)
    title = "Small batches pull large values in; evaluation as it is does not"
    fig.suptitle(title, x=0.01, ha="left")
    return fig


def accumulation(lines: Any, points: list[np.ndarray]) -> Figure:
    """Relative difference of the gradient of each layer by parts; change of x_hat on its law."""
    fig, (*axes, last) = plt.subplots(1, 3, figsize=(7.6, 3.0))
    for ax, (when, part) in zip(axes, lines.groupby("when", sort=False), strict=True):
        groups = {str(n): g for n, g in part.groupby("layer")}
        for name, look in looks(groups).items():
            style: Any = {"color": look.color, "ls": look.linestyle, "label": name}
            ax.plot(groups[name].k, groups[name]["difference"], look.marker, **style)
        ax.set(xscale="log", yscale="log", xlabel="parts $k$ of 64 rows", title=str(when))
        ax.set_xticks(sorted(set(part.k)), [str(k) for k in sorted(set(part.k))])
        ax.minorticks_off()
        ax.set_yticks([0.1, 0.2, 0.5, 1, 2, 5], ["0.1", "0.2", "0.5", "1", "2", "5"])
        ax.set_ylim(0.8 * lines["difference"].min(), 1.2 * lines["difference"].max())
    law, measured = np.concatenate(points, 1)[:, ::7]
    last.plot(law, measured, ".", ms=3, color=COLORS["measured"], rasterized=True)
    last.plot([0, law.max()], [0, law.max()], color=COLORS["theory"], lw=1)
    last.set(xlabel=r"law, $2(1-\overline{s_j}/s)$", ylabel="measured", title=r"change of $\hat x$")
    axes[0].set_ylabel("relative difference of the gradient")
    axes[0].legend()
    title = "With batch norm, accumulated gradients are not those of the big batch"
    fig.suptitle(title, x=0.01, ha="left")
    return fig


def exchange(table: Any) -> Figure:
    """What two machines send each other, and how far they are from one, in units of rounding.

    table: a row a split and precision, a column a result; empty where no process was started.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=(7.6, 3.0), width_ratios=(1, 1.3))
    for place in (0.0, 1.0):
        box = {"boxstyle": "round,pad=0.5", "fc": "white", "ec": COLORS["neutral"]}
        left.text(place, 0.5, f"machine {place:.0f}\nits rows", ha="center", va="center", bbox=box)
    forward = "forward\ncount, means, squares\n$2c+1$ numbers"
    backward = "backward\n$\\sum dy$, $\\sum dy\\,\\hat x$\n$2c$ numbers"
    for height, words, name in ((0.85, forward, "batch"), (0.15, backward, "gradient")):
        arrow = {"arrowstyle": "<->", "color": COLORS[name]}
        left.annotate("", (0.95, height), (0.05, height), arrowprops=arrow)
        aside = {"va": "bottom" if height > 0.5 else "top", "ha": "center", "fontsize": 8}
        left.text(0.5, height + (0.03 if height > 0.5 else -0.03), words, **aside)
    left.set(xlim=(-0.4, 1.4), ylim=(-0.4, 1.5))
    left.axis("off")
    for k, (precision, part) in enumerate(table.groupby(level="precision") if len(table) else []):
        unit = np.finfo(precision).eps / 2
        places = np.arange(part.shape[1])
        style: Any = {"ls": "none", "marker": MARKERS[k], "ms": 4, "label": precision}
        for row in part.to_numpy():
            right.plot(row / unit, places + 0.2 * (k - 0.5), color=COLORS["measured"], **style)
            style["label"] = None
        right.set_yticks(places, list(part.columns))
        right.legend(fontsize=8)
    right.invert_yaxis()
    right.set_xlabel("difference from one process, in units of rounding")
    title = "A few numbers a channel travel; two machines then differ from one by rounding"
    fig.suptitle(title, x=0.01, ha="left")
    return fig


def padding(lines: np.ndarray, law: Any) -> Figure:
    """Mean and deviation of the real rows by delta, for each share; law and channels."""
    fig, axes = plt.subplots(1, 2, figsize=(7.2, 3.0))
    delta = np.linspace(lines[:, 1].min(), lines[:, 1].max(), 200)
    for k, p in enumerate(sorted(set(lines[:, 0]))):
        channels = lines[lines[:, 0] == p][::3]
        for ax, column, theory in zip(axes, (2, 3), law(p, delta), strict=True):
            ax.plot(delta, theory, DASHES[k % 4], color=COLORS["theory"])
            dots: Any = {"ms": 4, "color": COLORS["measured"], "label": f"{p:.0%} padding"}
            ax.plot(channels[:, 1], channels[:, column], MARKERS[k % 6], **dots)
    axes[0].set(xlabel=r"$\delta=(\mu-c)/\sigma$", ylabel="mean of the real rows")
    axes[1].set(xlabel=r"$\delta=(\mu-c)/\sigma$", ylabel="their standard deviation")
    axes[0].legend(fontsize=8)
    title = "Padding moves and stretches the real rows, by a law without noise"
    fig.suptitle(title, x=0.01, ha="left")
    return fig


def leak(lines: Any, chance: float) -> Figure:
    """By N, local norms and cures, and with a queue: accuracy of finding the row, and below it
    the correlation of its two views with its law."""
    fig, axes = plt.subplots(2, 2, figsize=(7.2, 5.6), sharey="row")
    for (top, bottom), (negatives, part) in zip(
        axes.T, lines.groupby("negatives", sort=False), strict=True
    ):
        groups = {str(n): g for n, g in part.groupby("arm", sort=False)}
        for name, look in looks(groups).items():
            style: Any = {"color": look.color, "ls": look.linestyle, "label": name}
            group = groups[name]
            top.plot(group["rows"], group.accuracy, look.marker, **style)
            bottom.plot(group["rows"], group.correlation, look.marker, color=look.color, ls="none")
            if group.law.notna().any():  # no law is derived for shared statistics of one batch
                bottom.plot(group["rows"], group.law, "-", color=COLORS["theory"], lw=1)
        top.axhline(chance, color=COLORS["neutral"], lw=1)
        place = {"xycoords": ("axes fraction", "data"), "va": "bottom", "fontsize": 8}
        top.annotate("chance", (0.02, chance), **place)
        top.set(yscale="log", title=f"negatives {WHENCE[str(negatives)]}")
        top.legend(fontsize=7)
        for ax in (top, bottom):
            ax.set_xscale("log")
            ax.set_xticks(sorted(set(part["rows"])), [str(n) for n in sorted(set(part["rows"]))])
            ax.minorticks_off()
        bottom.set_xlabel("rows that share statistics")
    axes[0, 0].set_ylabel("independent row found")
    axes[1, 0].set_ylabel("correlation of its views")
    axes[1, 0].legend([axes[1, 0].lines[1]], ["law"], fontsize=8)
    title = "Local statistics sign their rows; with a queue so do shared ones"
    fig.suptitle(title, x=0.01, ha="left")
    return fig


def decision(table: Any) -> Figure:
    """Points of test accuracy lost by each cause, and left after its cure."""
    fig, ax = plt.subplots(figsize=(7.2, 4.4))
    places = np.arange(len(table))
    ax.barh(places - 0.2, table["points lost"], 0.38, color=COLORS["gradient"], label="lost")
    cured: Any = {"color": COLORS["batch"], "label": "left after the cure"}
    ax.barh(places + 0.2, table["after the cure"], 0.38, **cured)
    ax.set_yticks(places, list(table.index))
    ax.invert_yaxis()
    ax.grid(False, axis="y")
    ax.set(xlabel="points of test accuracy")
    ax.set_title("Some popular suspects cost nothing; some cost everything")
    ax.legend()
    return fig


def causes_by_size(table: Any) -> Figure:
    """Points lost and left after the cure, a panel a cause, a pair of bars a size."""
    groups = list(table.groupby(level=0, sort=False))
    fig, axes = plt.subplots(3, 3, figsize=(7.6, 7.6), sharex=True)
    for ax, (cause, part) in zip(axes.flat, groups, strict=True):
        places, sizes = np.arange(len(part)), part.index.get_level_values(1)
        ax.barh(places - 0.2, part["points lost"], 0.38, color=COLORS["gradient"], label="lost")
        cured: Any = {"color": COLORS["batch"], "label": "left after the cure"}
        ax.barh(places + 0.2, part["after the cure"], 0.38, **cured)
        ax.set_yticks(places, list(sizes), fontsize=7)
        ax.invert_yaxis()
        ax.grid(False, axis="y")
        ax.set_title(str(cause), fontsize=9)
    axes[2, 0].legend(fontsize=7)
    fig.supxlabel("points of test accuracy", size=10.5)
    title = "Few rows, few steps and a forgotten eval() cost most; padding costs little"
    fig.suptitle(title, x=0.01, ha="left")
    return fig
