"""Kinds of figures of the capacity chapter: a fit over its kinks, and dots of every seed."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from bnlib.plots.curves import forest
from bnlib.plots.style import COLORS

Values = Any  # what np.asarray takes


def fit_over_kinks(
    ax: Axes, x: Values, target: Values, fit: Values, kinks: Values, center: float
) -> Axes:
    """Target and fit over x, with one tick under the curve for each kink within the range of x.

    center: mean of the data, a dotted vertical line.
    """
    ax.plot(x, target, color=COLORS["neutral"], linestyle="--", linewidth=1.2, label="target")
    ax.plot(x, fit, color=COLORS["measured"], linewidth=2, label="fit")
    ax.axvline(center, color=COLORS["neutral"], linestyle=":", linewidth=1.2)
    low, high = float(np.min(x)), float(np.max(x))
    inside = np.asarray(kinks)[(np.asarray(kinks) >= low) & (np.asarray(kinks) <= high)]
    strip = ax.get_xaxis_transform()  # heights in shares of the panel, whatever its limits become
    ax.vlines(inside, 0.03, 0.11, color=COLORS["theory"], linewidth=1, transform=strip)
    ax.margins(y=0.22)
    ax.set_xlim(low, high)
    return ax


def strips(
    ax: Axes,
    groups: Mapping[str, Values],
    *,
    means: Values | None = None,
    bounds: Values | None = None,
    label: str = "predicted",
) -> Axes:
    """One strip of dots per group, one dot a seed, side by side in the order given.

    means: (estimate, low, high) a group, drawn as a dash with an arm.  bounds: one short line a
    group, NaN for none: a floor, a ceiling, a chance level.
    """
    for place, values in enumerate(groups.values()):
        values = np.sort(np.asarray(values, dtype=float))
        spread = np.linspace(-0.16, 0.16, len(values)) if len(values) > 1 else np.zeros(1)
        ax.plot(place + spread, values, "o", color=COLORS["measured"], ms=3.5, alpha=0.75)
    if means is not None:
        middle, low, high = np.asarray(means, dtype=float).T
        arms = np.stack([middle - low, high - middle])
        at = np.arange(len(groups)) + 0.27
        ax.errorbar(at, middle, yerr=arms, fmt="_", color=COLORS["exact"], elinewidth=1.3)
    if bounds is not None:
        at = np.arange(len(groups))
        ax.hlines(bounds, at - 0.38, at + 0.38, color=COLORS["theory"], linewidth=2, label=label)
    ax.set_xticks(range(len(groups)), labels=list(groups))
    ax.set_xlim(-0.6, len(groups) - 0.4)
    ax.xaxis.set_minor_locator(NullLocator())
    ax.grid(False, axis="x")
    return ax


def difference_forests(
    axes: Sequence[Axes],
    arms: Sequence[str],
    table: Sequence[Mapping[str, Any]],
    own: Sequence[Mapping[str, Any]],
    *,
    margin: float,
) -> Sequence[Axes]:
    """One forest an arm, one line for each data set and architecture: delta, low and high.

    own: a second, smaller table, drawn as diamonds just below the lines of the first.
    """
    rows = list(dict.fromkeys((r["data"], r["architecture"]) for r in (*table, *own)))
    for ax, arm in zip(axes, arms, strict=True):
        found = {(r["data"], r["architecture"]): r for r in table if r["arm"] == arm}
        values = [[found.get(row, {}).get(k, np.nan) for row in rows] for k in _ENDS]
        forest(ax, [", ".join(row) for row in rows], *values, margin=margin)
        mine = [r for r in own if r["arm"] == arm]
        at = [rows.index((r["data"], r["architecture"])) + 0.3 for r in mine]
        middle, low, high = (np.array([r[k] for r in mine]) for k in _ENDS)
        arms_of = [middle - low, high - middle]
        color = COLORS["theory"]
        ax.errorbar(middle, at, xerr=arms_of, fmt="D", ms=3.5, color=color, elinewidth=1)
        ax.set_title(arm, fontsize=10.5)
    return axes


_ENDS = ("delta", "low", "high")
