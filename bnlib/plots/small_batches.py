"""Pictures of what reaches the layers below batch normalization when batches are small."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from bnlib.plots.style import COLORS, MARKERS

Values = Any  # what np.asarray takes


def moments_of_gain(
    ax: Axes, eps: Values, law: Mapping[str, Values], drawn: Mapping[str, Values]
) -> Axes:
    """Named statistics of the gain against eps: lines by theory, dots by random pairs."""
    for dashes, (name, values) in zip(("-", "--", ":", "-."), law.items(), strict=False):
        ax.loglog(eps, values, dashes, color=COLORS["theory"])
        ax.loglog(eps, drawn[name], "o", color=COLORS["measured"])
        ax.annotate(
            name, (eps[1], values[1]), textcoords="offset points", xytext=(-4, 10), fontsize=9
        )
    return ax


def norm_quantiles(ax: Axes, sizes: Sequence[int], norms: Sequence[Values], floor: float) -> Axes:
    """Per batch size: a bar from the 5 % to the 95 % quantile, the median, the mean, the largest.

    norms: one array of any shape a batch size.  Bars are cut off at `floor`, for the log axis.
    """
    flat = [np.ravel(values) for values in norms]
    low, middle, high = np.array([np.quantile(v, (0.05, 0.5, 0.95)) for v in flat]).T
    place = np.arange(len(flat))
    ax.vlines(place, np.maximum(low, floor), high, color="#C4C4C4", lw=6)
    marks = {
        "median": (middle, "_", COLORS["measured"]),
        "mean": ([v.mean() for v in flat], "D", COLORS["gradient"]),
        "largest": ([v.max() for v in flat], "^", COLORS["exact"]),
    }
    for name, (values, marker, color) in marks.items():
        width = 2.5 if marker == "_" else 1.0
        size = 15 if marker == "_" else 5
        ax.plot(
            place, values, marker, color=color, label=name, markersize=size, markeredgewidth=width
        )
    ax.set_yscale("log")
    ax.set_xticks(place, [str(size) for size in sizes])
    ax.legend(ncols=3, fontsize=8, loc="upper center", handletextpad=0.1, columnspacing=0.8)
    return ax


def dots_by_size(ax: Axes, sizes: Sequence[int], series: Mapping[str, Sequence[Values]]) -> Axes:
    """One dot a seed at every batch size; series of different names stand side by side."""
    shifts = np.linspace(-0.12, 0.12, len(series)) if len(series) > 1 else [0.0]
    for shift, marker, (name, groups) in zip(shifts, MARKERS, series.items(), strict=False):
        x = np.concatenate([np.full(len(v), k + shift) for k, v in enumerate(groups)])
        face = COLORS["measured"] if marker == MARKERS[0] else "white"
        y = np.concatenate([np.asarray(v) for v in groups])
        ax.plot(x, y, marker, color=COLORS["measured"], mfc=face, ms=4, label=name)
    ax.set_xticks(range(len(sizes)), [str(size) for size in sizes])
    ax.legend()
    return ax
