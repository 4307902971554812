"""Pictures of the landscape: block norms as heat maps, growth over layers."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from bnlib.plots.style import COLORS, looks

Values = Any  # what np.asarray takes
_DARK = 0.55  # share of the color range beyond which black writing is hard to read


def block_map(ax: Axes, norms: Values, *, limit: float, text: str = "") -> Axes:
    """Norms of the blocks of a Hessian, every one written in its cell; text below the panel.

    norms: (L, L), not negative.  limit: the value of full color; panels can be compared only if all
    get the same one.
    Raises ValueError for negative norms and a limit that is not positive.
    """
    entries = np.asarray(norms, dtype=float)
    if limit <= 0 or not (entries >= 0).all():
        raise ValueError(f"want norms >= 0 and limit > 0, got least {entries.min()}, limit {limit}")
    ax.imshow(entries, cmap="Blues", vmin=0.0, vmax=limit)
    for (row, column), value in np.ndenumerate(entries):
        color = "white" if value > _DARK * limit else "black"
        ax.text(column, row, f"{value:.3g}", ha="center", va="center", fontsize=7, color=color)
    layers = [str(i + 1) for i in range(len(entries))]
    ax.set_xticks(range(len(entries)), layers)
    ax.set_yticks(range(len(entries)), layers)
    ax.tick_params(length=0)
    ax.grid(False)
    ax.set_xlabel(text or "layer")
    return ax


def growth(ax: Axes, profiles: Mapping[str, Values], factor: float, label: str) -> Axes:
    """Squared gradient norms relative to the last hidden layer, against the layer; logarithmic.

    profiles: name -> (S, layers), every seed drawn thin.  The line grows by `factor` per layer
    downwards, as theory says.
    """
    last = np.atleast_2d(next(iter(profiles.values()))).shape[1]
    layer = np.arange(1, last + 1)
    for name, look in looks(profiles).items():
        rows = np.atleast_2d(np.asarray(profiles[name], dtype=float))
        for place, row in enumerate(rows):
            text = name if place == 0 else None
            style = {"color": look.color, "linestyle": look.linestyle, "marker": look.marker}
            ax.plot(layer, row, ms=3, lw=0.9, alpha=0.8, label=text, **style)
    inner = np.arange(2, last + 1)
    ax.plot(inner, factor ** (last - inner), "-", color=COLORS["exact"], lw=2.0, label=label)
    ax.set_yscale("log")
    ax.legend()
    return ax


def bands(ax: Axes, x: Values, ranges: Mapping[str, tuple[Values, Values, Values]]) -> Axes:
    """For each name a line (middle) in its band (low, high) over x."""
    for name, look in looks(ranges).items():
        low, middle, high = (np.asarray(v, dtype=float) for v in ranges[name])
        ax.plot(x, middle, color=look.color, linestyle=look.linestyle, label=name)
        ax.fill_between(x, low, high, color=look.color, alpha=0.22, linewidth=0)
    ax.legend()
    return ax
