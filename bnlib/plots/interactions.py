"""Parts of one whole, which may be negative, as bars."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from bnlib.plots.style import COLORS, looks

HATCHES = ("", "///", "...", "xxx")


def stacked(ax: Axes, names: Sequence[str], parts: Mapping[str, ArrayLike]) -> Axes:
    """One horizontal bar a name: positive parts to the right of 0, negative ones to the left.

    parts: name -> (len(names),).  A diamond marks their sum.  The first name is the top bar.
    Raises ValueError where a part has not one value a name, or a value is not finite.
    """
    places = np.arange(len(names))[::-1]
    ends = {1: np.zeros(len(names)), -1: np.zeros(len(names))}
    for (name, look), hatch in zip(looks(parts).items(), HATCHES * len(parts), strict=False):
        value = np.asarray(parts[name], dtype=float)
        if value.shape != places.shape or not np.isfinite(value).all():
            raise ValueError(f"{name}: want {len(names)} finite values, got {value}")
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
    return ax
