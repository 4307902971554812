"""Figures of the identity chapter: clouds of batches, families of laws, effects by group."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from bnlib.plots.style import COLORS, MARKERS


def cloud(ax: Axes, std: ArrayLike, mean: ArrayLike, center: float) -> Axes:
    """Batches as points (std, mean) in units of sigma, with (1, 0) and the center of the cloud."""
    ax.plot(std, mean, ".", ms=2, alpha=0.5, color=COLORS["batch"], rasterized=True)
    cross = {"ms": 9, "mew": 2.5, "color": COLORS["running"]}
    ring = {"ms": 9, "mew": 2, "mfc": "none", "color": COLORS["theory"]}
    ax.plot(1, 0, "x", label=r"$(\sigma,\mu)$", **cross)
    ax.plot(center, 0, "o", label=r"$(\mathrm{E}\,s_m,\mu)$", **ring)
    ax.set_xlabel(r"batch standard deviation $s_m/\sigma$")
    return ax


def lines(ax: Axes, x: ArrayLike, named: Mapping[str, tuple[ArrayLike, str, str]]) -> Axes:
    """Laws over the same x: name in the legend -> (values, a name of COLORS, dashes)."""
    for name, (values, quantity, dashes) in named.items():
        ax.plot(x, values, dashes, color=COLORS[quantity], label=name)
    ax.legend()
    return ax


def passed_on(ax: Axes, dy: ArrayLike, dx: ArrayLike) -> Axes:
    """Gradients after a layer against those before it, with the line of a layer that is absent."""
    before, after = np.ravel(dy), np.ravel(dx)
    ends = [float(before.min()), float(before.max())]
    ax.plot(before, after, ".", ms=4, color=COLORS["gradient"], alpha=0.6, label="training")
    ax.plot(ends, ends, "-", color=COLORS["running"], lw=1.5, label="evaluation")
    ax.set(xlabel="$dy$, arriving", ylabel="$dx$, passed on")
    ax.legend()
    return ax


def by_group(
    ax: Axes, groups: Sequence[str], series: Mapping[str, tuple[ArrayLike, ArrayLike, ArrayLike]]
) -> Axes:
    """Estimates with intervals side by side in each group: name -> (estimate, low, high)."""
    place = np.arange(len(groups))
    shifts = np.linspace(-0.12, 0.12, len(series))
    colors = (COLORS["measured"], COLORS["batch"], COLORS["running"])
    for k, (name, bounds) in enumerate(series.items()):
        estimate, low, high = (np.asarray(v, dtype=float) for v in bounds)
        ax.errorbar(
            place + shifts[k],
            estimate,
            [estimate - low, high - estimate],
            fmt=MARKERS[k],
            color=colors[k % 3],
            label=name,
        )
    ax.set_xticks(place, [name.replace(", ", "\n") for name in groups])
    ax.grid(False, axis="x")
    ax.legend()
    return ax
