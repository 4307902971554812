"""Figures of distributions: silhouettes, a channel before and after, laws, distances, spreads."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from bnlib.plots.style import COLORS

Curve = tuple[ArrayLike, ArrayLike]


def silhouette(ax: Axes, values: ArrayLike, quantity: str) -> Axes:
    """Histogram of counts that fills its axes from the smallest to the largest value.

    quantity: a name of `style.COLORS`. With the same number of bins an increasing affine image of
    a sample has the same counts, so several of these can share one vertical axis.
    """
    sample = np.asarray(values, dtype=np.float64)
    ends = float(sample.min()), float(sample.max())
    ax.hist(sample, bins=80, range=ends, color=COLORS[quantity])
    ax.set_xlim(*ends)
    ax.grid(False)
    return ax


def before_after(ax: Axes, before: ArrayLike, after: ArrayLike, bell: Curve) -> Axes:
    """One channel on two pairs of axes: x filled (bottom, left), x_hat outlined (top, right).

    Both are densities, so their vertical scales differ by the inverse of the factor between the
    horizontal ones. bell: (t, density) of the normal law with the two moments of `after`, dashed.
    Raises ValueError for a constant channel, which has no density.
    """
    x, x_hat = np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64)
    if np.ptp(x) == 0 or np.ptp(x_hat) == 0:
        raise ValueError("expected a channel with two different values, got a constant one")
    top = ax.twiny()
    right = top.twinx()
    height, edges = np.histogram(x, bins=60, density=True)
    height_hat, edges_hat = np.histogram(x_hat, bins=60, density=True)
    ax.stairs(height, edges, fill=True, color=COLORS["input"], alpha=0.35)
    right.stairs(height_hat, edges_hat, color=COLORS["normalized"], lw=1.1)
    t, density = (np.asarray(part) for part in bell)
    right.plot(t, density, color=COLORS["exact"], ls="--", lw=1.1)
    stretch = (edges_hat[-1] - edges_hat[0]) / (edges[-1] - edges[0])
    ceiling = 1.05 * max(float(height_hat.max()), float(density.max()))
    ax.set(xlim=(edges[0], edges[-1]), ylim=(0, ceiling * stretch))
    right.set(xlim=(edges_hat[0], edges_hat[-1]), ylim=(0, ceiling))
    for axes, color in ((ax, "input"), (top, "normalized"), (right, "normalized")):
        axes.grid(False)
        axes.spines[["top", "right"]].set_visible(True)
        axes.tick_params(labelsize=8, labelcolor=COLORS[color])
        axes.locator_params(nbins=4)
    return ax


def law_of_rows(ax: Axes, sample: ArrayLike, law: Curve, bell: Curve, *, bins: int = 48) -> Axes:
    """Monte Carlo bars of x_hat, its exact law, and the standard normal density (dashed).

    law: (t, density). Two points only mean two atoms, as a batch of two has them: the heights are
    then probabilities, drawn as spikes beside the shares of negative and positive values.
    """
    values = np.asarray(sample)
    t, height = (np.asarray(part, dtype=np.float64) for part in law)
    bars = {"color": COLORS["batch"], "alpha": 0.55}
    if t.size == 2:
        share = float(np.mean(values > 0))
        ax.bar(t, (1 - share, share), width=0.25, **bars)
        ax.vlines(t, 0, height, color=COLORS["theory"])
        ax.plot(t, height, "o", color=COLORS["theory"])
    else:
        ends = float(t.min()), float(t.max())
        ax.hist(values, bins=bins, range=ends, density=True, **bars)
        ax.plot(t, height, color=COLORS["theory"])
    ax.plot(*bell, color=COLORS["exact"], ls="--", lw=1.1)
    return ax


def distances(ax: Axes, groups: Mapping[str, ArrayLike], floor: tuple[float, float]) -> Axes:
    """One box per group of channels: median, quartiles, whiskers from 5 to 95 %.

    Boxes use all values; at most 300 of them, evenly chosen in sorted order, appear as points.
    floor: the grey band (low, high) of what a perfect sample gives. Counts stand under the names.
    """
    values = [np.sort(np.asarray(group, dtype=np.float64)) for group in groups.values()]
    ax.axhspan(*floor, color=COLORS["neutral"], alpha=0.35, lw=0)
    for at, v in enumerate(values, start=1):
        shown = v[np.linspace(0, v.size - 1, min(300, v.size)).astype(int)]
        # A golden-ratio sequence spreads the points aside without a random generator.
        aside = np.arange(shown.size) * 0.6180339887 % 1.0 - 0.5
        ax.plot(at + 0.6 * aside, shown, ".", ms=2, color=COLORS["batch"], rasterized=True)
    line = {"color": COLORS["measured"], "lw": 1.2}
    lines: dict[str, Any] = dict.fromkeys(("boxprops", "whiskerprops", "capprops"), line)
    lines["medianprops"] = {"color": COLORS["theory"], "lw": 2.5}
    ax.boxplot(values, whis=(5, 95), showfliers=False, widths=0.7, **lines)
    names = [f"{name}\n{v.size}" for name, v in zip(groups, values, strict=True)]
    ax.set_xticks(range(1, len(names) + 1), names)
    ax.grid(False, axis="x")
    return ax


def wander(
    ax: Axes, paths: ArrayLike, center: ArrayLike, half: ArrayLike, truth: ArrayLike
) -> Axes:
    """Runs of a running statistic (steps, chains) in the band center ± half that theory gives.

    center, half, truth: one number or one per step. truth (solid) is what the statistic follows.
    """
    runs = np.asarray(paths, dtype=np.float64)
    steps = np.arange(1, len(runs) + 1)
    middle, target = np.broadcast_to(center, steps.shape), np.broadcast_to(truth, steps.shape)
    ax.fill_between(steps, middle - half, middle + half, color=COLORS["theory"], alpha=0.3, lw=0)
    ax.plot(steps, runs, color=COLORS["running"], lw=0.5, ls="-", alpha=0.7, rasterized=True)
    ax.plot(steps, middle, color=COLORS["theory"], ls="--")
    ax.plot(steps, target, color=COLORS["exact"], ls="-", lw=1.2)
    ax.set_xlim(1, len(runs))
    return ax


def panels(count: int, columns: int, **kwargs: Any) -> tuple[Figure, list[Axes]]:
    """A figure with exactly `count` axes in rows of `columns`; the places left over stay empty."""
    fig, axes = plt.subplots(-(-count // columns), columns, squeeze=False, **kwargs)
    for unused in axes.flat[count:]:
        unused.remove()
    return fig, list(axes.flat[:count])
