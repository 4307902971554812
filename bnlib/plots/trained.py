"""Figures of trained networks: clouds of channels, predictions against what was measured."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from bnlib.plots.style import COLORS, looks

Values = Any  # what np.asarray takes


def cloud(ax: Axes, r: Values, s: Values) -> Axes:
    """Channels at (r, s): |r| on a logarithmic axis, s linear near 0; a star at the identity.

    r = 0 has no place on a logarithmic axis and is drawn at the left edge.
    """
    across = np.maximum(np.abs(np.asarray(r, dtype=float)), 1e-3)
    ax.plot(across, s, ".", ms=2, color=COLORS["measured"], alpha=0.4, rasterized=True)
    ax.plot(1, 0, "*", ms=15, color=COLORS["theory"], markeredgecolor="white")
    ax.set(xscale="log", xlim=(1e-3, 1e3))
    ax.set_yscale("symlog", linthresh=1)
    ax.set_ylim(-200, 200)
    return ax


def diagonal(ax: Axes, groups: Mapping[str, tuple[Values, Values]], *, dots: float = 3) -> Axes:
    """One dot per channel, predicted across and measured upwards, and the line where both agree."""
    for name, look in looks(groups).items():
        x, y = groups[name]
        ax.plot(
            x, y, look.marker, color=look.color, ms=dots, alpha=0.5, label=name, rasterized=True
        )
    ends = [
        f(np.concatenate([np.ravel(v) for g in groups.values() for v in g])) for f in (min, max)
    ]
    ax.plot(ends, ends, "-", color=COLORS["exact"], lw=1.0, zorder=3)
    ax.legend(markerscale=6 / dots)
    return ax


def by_depth(ax: Axes, groups: Mapping[str, tuple[Values, Values]]) -> Axes:
    """A positive quantity of layers against their relative depth, logarithmic upwards."""
    for name, look in looks(groups).items():
        depth, value = groups[name]
        ax.plot(depth, value, look.marker, color=look.color, label=name)
    ax.set(yscale="log", xlim=(0, 1))
    ax.legend()
    return ax
