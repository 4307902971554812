"""Figures of the forward chapter; everything that they draw was computed before."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from bnlib.chapters.forward.measure import Drift
from bnlib.plots import curves
from bnlib.plots.distributions import panels
from bnlib.plots.style import COLORS

Curve = tuple[ArrayLike, ArrayLike]


def moments(ratio: np.ndarray, spread: Mapping[int, np.ndarray], law: Curve) -> Figure:
    """Standard deviation of y / |gamma| over batch variance / eps, every third dot a batch size."""
    fig, ax = plt.subplots()
    for k, (m, sd) in enumerate(spread.items()):
        ax.plot(ratio[k::3], sd[k::3], "os^"[k], color=COLORS["measured"], label=f"$m={m}$")
    ax.plot(*law, color=COLORS["theory"], zorder=0, label=r"$\sqrt{\rho}$")
    title = r"After step 2 the standard deviation is $|\gamma|\sqrt{\rho}$, not $\gamma$"
    ax.set(xscale="log", title=title, xlabel=r"batch variance / $\varepsilon$")
    ax.set(ylabel=r"standard deviation of $y$ / $|\gamma|$")
    ax.legend()
    return fig


def pipeline(stages: Sequence[tuple[str, np.ndarray]]) -> Figure:
    """Counts of one channel at the four stages of a layer, on one vertical axis.

    With the same number of bins from the smallest to the largest value, an increasing affine
    image of a sample has the same counts.
    """
    fig, axes = plt.subplots(1, 4, figsize=(7.2, 2.6), sharey=True)
    names = ("x", r"x-\mu", r"\hat x", r"y=\gamma\hat x+\beta")
    for ax, name, (color, values) in zip(axes, names, stages, strict=True):
        ends = float(values.min()), float(values.max())
        ax.hist(values, bins=80, range=ends, color=COLORS[color])
        ax.set(xlim=ends, xlabel=f"${name}$")
        ax.grid(False)
    axes[0].set_ylabel("rows in the bin")
    fig.suptitle("Four stages, four scales, one silhouette", x=0.01, ha="left")
    return fig


def channels(picks: Mapping[str, tuple]) -> Figure:
    """The channel (ks, x, x_hat, bell) of each group, x and x_hat over each other."""
    fig, axes = panels(len(picks), 3, figsize=(7.4, 5.2))
    for ax, (group, (ks, *channel)) in zip(axes, picks.items(), strict=True):
        before_after(ax, *channel)
        ax.set_title(f"{group}, KS {ks:.3f}", fontsize=10)
    title = r"Before ($x$) and after ($\hat x$): one silhouette, near a bell or far from one"
    fig.suptitle(title, x=0.01, ha="left")
    return fig


def before_after(
    ax: Axes, x: np.ndarray, x_hat: np.ndarray, bell: Curve, *, bins: int = 60
) -> None:
    """One channel on two pairs of axes: x filled (bottom, left), x_hat outlined (top, right).

    Both are densities, so their vertical scales differ by the inverse of the factor between the
    horizontal ones. bell: (t, density) of the normal law with the two moments of x_hat, dashed.
    Raises ValueError for a constant channel, which has no density.
    """
    if np.ptp(x) == 0 or np.ptp(x_hat) == 0:
        raise ValueError("expected a channel with two different values, got a constant one")
    top = ax.twiny()
    right = top.twinx()
    height, edges = np.histogram(x, bins=bins, density=True)
    height_hat, edges_hat = np.histogram(x_hat, bins=bins, density=True)
    ax.stairs(height, edges, fill=True, color=COLORS["input"], alpha=0.35)
    right.stairs(height_hat, edges_hat, color=COLORS["normalized"], lw=1.1)
    right.plot(*bell, color=COLORS["exact"], ls="--", lw=1.1)
    stretch = (edges_hat[-1] - edges_hat[0]) / (edges[-1] - edges[0])
    ceiling = 1.05 * max(float(height_hat.max()), float(np.max(bell[1])))
    ax.set(xlim=(edges[0], edges[-1]), ylim=(0, ceiling * stretch))
    right.set(xlim=(edges_hat[0], edges_hat[-1]), ylim=(0, ceiling))
    for axes, color in ((ax, "input"), (top, "normalized"), (right, "normalized")):
        axes.grid(False)
        axes.spines[["top", "right"]].set_visible(True)
        axes.tick_params(labelsize=8, labelcolor=COLORS[color])
        axes.locator_params(nbins=4)


def distances(
    groups: Mapping[str, ArrayLike], floor: tuple[float, float], blocks: Mapping[str, np.ndarray]
) -> Figure:
    """KS distances of all channels by group, and their medians over the blocks of the network."""
    fig, (ax, below) = plt.subplots(2, 1, figsize=(6.8, 6.4), height_ratios=(3, 2))
    boxes(ax, groups, floor)
    ax.set(ylim=(0, 0.6), ylabel="KS distance to the fitted normal")
    ax.set_title("The distance to the bell belongs to the channel, and few lie in the grey band")
    if not blocks:
        below.remove()
        return fig
    curves.line_family(below, np.arange(16), blocks, markers=True)
    below.set(ylim=(0, None), xlabel="block", ylabel="median KS distance")
    below.set_title("Deeper in the network: wide sums near the bell, depthwise sums far from it")
    return fig


def boxes(
    ax: Axes, groups: Mapping[str, ArrayLike], floor: tuple[float, float], *, dots: int = 300
) -> None:
    """One box per group of channels: median, quartiles, whiskers from 5 to 95 %.

    Boxes use all values; at most `dots` of them, evenly chosen in sorted order, appear as points.
    floor: the grey band (low, high) of what a perfect sample gives. Counts stand under the names.
    """
    values = [np.sort(np.asarray(group, dtype=np.float64)) for group in groups.values()]
    ax.axhspan(*floor, color=COLORS["neutral"], alpha=0.35, lw=0)
    for at, v in enumerate(values, start=1):
        shown = v[np.linspace(0, v.size - 1, min(dots, v.size)).astype(int)]
        # A golden-ratio sequence spreads the points aside without a random generator.
        aside = np.arange(shown.size) * 0.6180339887 % 1.0 - 0.5
        ax.plot(at + 0.6 * aside, shown, ".", ms=2, color=COLORS["batch"], rasterized=True)
    line = {"color": COLORS["measured"], "lw": 1.2}
    lines = dict.fromkeys(("boxprops", "whiskerprops", "capprops"), line)
    median = {"color": COLORS["theory"], "lw": 2.5}
    ax.boxplot(values, whis=(5, 95), showfliers=False, widths=0.7, medianprops=median, **lines)
    names = [f"{name}\n{v.size}" for name, v in zip(groups, values, strict=True)]
    ax.set_xticks(range(1, len(names) + 1), names)
    ax.grid(False, axis="x")


def laws(samples: Mapping[int, np.ndarray], densities: Mapping[int, Curve], bell: Curve) -> Figure:
    """Bars of one x_hat a batch for each batch size, on its law and the standard normal."""
    fig, axes = panels(len(samples), 4, figsize=(7.4, 4.6), sharey=True)
    for ax, (m, sample) in zip(axes, samples.items(), strict=True):
        law_of_rows(ax, sample, densities[m], bell)
        ax.set(title=f"$m={m}$", xlim=(-3.5, 3.5), ylim=(0, 0.8))
    fig.supxlabel(r"$\hat x$", size=10.5)
    fig.supylabel("density ($m=2$: probability)", size=10.5)
    title = "Normal rows go in; atoms, an arcsine, a flat law, then bells come out"
    fig.suptitle(title, x=0.01, ha="left")
    return fig


def law_of_rows(ax: Axes, sample: np.ndarray, law: Curve, bell: Curve, *, bins: int = 30) -> None:
    """Monte Carlo bars of x_hat, its exact law, and the standard normal density (dashed).

    law: (t, density). Two points only mean two atoms, as a batch of two has them: the heights are
    then probabilities, drawn as spikes beside the shares of negative and positive values.
    """
    t, height = (np.asarray(part, dtype=np.float64) for part in law)
    bars = {"color": COLORS["batch"], "alpha": 0.55}
    if t.size == 2:
        share = float(np.mean(sample > 0))
        ax.bar(t, (1 - share, share), width=0.25, **bars)
        ax.vlines(t, 0, height, color=COLORS["theory"])
        ax.plot(t, height, "o", color=COLORS["theory"])
    else:
        ends = float(t.min()), float(t.max())
        ax.hist(sample, bins=bins, range=ends, density=True, **bars)
        ax.plot(t, height, color=COLORS["theory"])
    ax.plot(*bell, color=COLORS["exact"], ls="--", lw=1.1)


def running(drifts: Mapping[float, Drift]) -> Figure:
    """Running means by weight, a column each: above after a constant mean, below after a drift.

    Every chain, in the band that theory gives, and the mean that it follows (solid).
    """
    fig, axes = plt.subplots(2, 3, figsize=(7.4, 4.8), sharex=True, sharey="row")
    for column, (a, drift) in zip(axes.T, drifts.items(), strict=True):
        for ax, (paths, middle, half, truth) in zip(column, drift[:2], strict=True):
            steps, band = np.arange(1, len(paths) + 1), (middle - half, middle + half)
            ax.fill_between(steps, *band, color=COLORS["theory"], alpha=0.3, lw=0)
            look = {"lw": 0.5, "ls": "-", "alpha": 0.7, "rasterized": True}
            ax.plot(steps, paths, color=COLORS["running"], **look)
            ax.plot(steps, middle, color=COLORS["theory"], ls="--")
            ax.plot(steps, truth, color=COLORS["exact"], ls="-", lw=1.2)
            ax.set_xlim(1, len(paths))
        column[0].set_title(f"$a={a}$", fontsize=10.5)
    axes[0, 0].set_ylabel("constant mean")
    axes[1, 0].set_ylabel("drifting mean")
    fig.supxlabel("training steps", size=10.5)
    title = "A small weight is quiet but late; a large one prompt but noisy"
    fig.suptitle(title, x=0.01, ha="left")
    return fig
