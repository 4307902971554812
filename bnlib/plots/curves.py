"""Kinds of curves that several chapters share.

The caller makes the axes, sets scales, titles and units, and brings every number computed.
Series are given as mappings from the name in the legend to values; a name of `style.COLORS`
keeps its color.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from bnlib.plots.style import COLORS, MARKERS, looks

Values = Any  # what np.asarray takes
FLOOR = 1e-17  # least error that `error_lines` draws in its place


def measured_on_theory(
    ax: Axes,
    x: Values,
    estimate: Values,
    low: Values,
    high: Values,
    theory_x: Values,
    theory_y: Values,
    *,
    label: str = "measured",
    theory_label: str = "theory",
    series: int = 0,
) -> Axes:
    """Dots with intervals on the line that a formula predicts, on linear or logarithmic axes.

    Call again with series=1, 2, ... for further pairs: they get other markers and other dashes.
    """
    dashes = ("-", "--", "-.", ":")[series % 4]
    ax.plot(theory_x, theory_y, dashes, color=COLORS["theory"], label=theory_label, zorder=2)
    dots: dict[str, Any] = {"fmt": MARKERS[series % len(MARKERS)], "color": COLORS["measured"]}
    dots |= {"markerfacecolor": COLORS["measured"] if series == 0 else "white"}
    bars = _arms(estimate, low, high)
    ax.errorbar(x, estimate, yerr=bars, **dots, elinewidth=1.1, label=label, zorder=3)
    ax.legend()
    return ax


def error_lines(ax: Axes, x: Values, errors: Mapping[str, Values]) -> Axes:
    """Errors on double logarithmic axes, one line per method.

    A logarithmic axis has no zero: errors below `FLOOR` are drawn there, with a hollow marker.
    """
    x = np.asarray(x, dtype=float)
    for name, look in looks(errors).items():
        error = np.asarray(errors[name], dtype=float)
        shown = np.maximum(error, FLOOR)
        ax.plot(x, shown, look.marker, color=look.color, linestyle=look.linestyle, label=name)
        at = error < FLOOR
        ax.plot(x[at], shown[at], look.marker, color=look.color, markerfacecolor="white")
    ax.set(xscale="log", yscale="log")
    ax.legend()
    return ax


def slope_guide(ax: Axes, x: tuple[float, float], y: float, slope: float) -> Axes:
    """A thin line through (x[0], y) of a given slope on double logarithmic axes, named there."""
    end = y * (x[1] / x[0]) ** slope
    ax.plot(x, (y, end), color=COLORS["neutral"], linewidth=1.0, linestyle="-", zorder=1)
    beside: dict[str, Any] = {"textcoords": "offset points", "xytext": (4, 0), "va": "center"}
    ax.annotate(f"slope {slope:g}", (x[1], end), **beside, color="#4A4A4A", fontsize="small")
    return ax


def forest(
    ax: Axes,
    names: Sequence[str],
    estimate: Values,
    low: Values,
    high: Values,
    *,
    zero: float = 0.0,
    margin: float | None = None,
) -> Axes:
    """One row per comparison: its estimate and interval against the line of no difference.

    margin: half width of the band around `zero` in which a difference counts as none.
    The first name is the top row; an interval that leaves `zero` out has a filled marker.
    """
    estimate, low, high = (np.asarray(v, dtype=float) for v in (estimate, low, high))
    rows = np.arange(len(names))
    if margin is not None:
        ax.axvspan(zero - margin, zero + margin, color="#EDEDED", zorder=0, label="equivalent")
    ax.axvline(zero, color=COLORS["neutral"], linewidth=1.0, zorder=1)
    dots: dict[str, Any] = {"fmt": "o", "color": COLORS["measured"], "elinewidth": 1.4}
    for apart, face in ((True, COLORS["measured"]), (False, "white")):
        at = ((low > zero) | (high < zero)) == apart
        bars = _arms(estimate[at], low[at], high[at])
        ax.errorbar(estimate[at], rows[at], xerr=bars, **dots, markerfacecolor=face)
    ax.set_yticks(rows, labels=list(names))
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.yaxis.set_minor_locator(NullLocator())
    ax.grid(False, axis="y")
    return ax


def line_family(
    ax: Axes,
    x: Values,
    lines: Mapping[str, Values],
    *,
    bands: Mapping[str, tuple[Values, Values]] | None = None,
    markers: bool = False,
) -> Axes:
    """Several lines over the same x, each with its band (low, high) where `bands` has its name.

    An array of shape (s, len(x)) draws all its rows thin, one per seed.
    """
    for name, look in looks(lines).items():
        y = np.atleast_2d(np.asarray(lines[name], dtype=float))
        style: dict[str, Any] = {"linewidth": 0.7, "alpha": 0.6}
        if len(y) == 1:
            style = {"linewidth": 1.7, "alpha": 1.0, "marker": look.marker if markers else None}
        for place, row in enumerate(y):
            label = name if place == 0 else None
            ax.plot(x, row, color=look.color, linestyle=look.linestyle, label=label, **style)
        if bands and name in bands:
            low, high = bands[name]
            ax.fill_between(x, low, high, color=look.color, alpha=0.16, linewidth=0)
    ax.legend()
    return ax


def _arms(estimate: Values, low: Values, high: Values) -> np.ndarray:
    """Lengths of the two arms; an estimate outside its interval is refused, not drawn wrong."""
    estimate, low, high = (np.asarray(v, dtype=float) for v in (estimate, low, high))
    if (low > estimate).any() or (high < estimate).any():
        worst = int(np.argmax(np.maximum(low - estimate, estimate - high)))
        raise ValueError(
            f"expected low <= estimate <= high, got {low.flat[worst]}, {estimate.flat[worst]}, "
            f"{high.flat[worst]} at position {worst}"
        )
    return np.stack([estimate - low, high - estimate])
