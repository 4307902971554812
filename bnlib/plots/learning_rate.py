"""Figures of learning rates: losses over rates, predictors against rates, the ladder of arms.

Every function draws on the axes it is given and returns them; what is drawn was computed before.
Rates and targets come as log2; a logarithmic axis shows the rate itself.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import SymmetricalLogLocator
from numpy.typing import ArrayLike

from bnlib.plots import curves
from bnlib.plots.style import COLORS, MARKERS, looks

CEILING = 1e3  # losses above are drawn here


def losses(ax: Axes, rates: ArrayLike, found: Mapping[str, ArrayLike], *, threshold: float) -> Axes:
    """Final loss against the rate on double logarithmic axes, a line an arm, (R,) each.

    Losses that are not finite or above `CEILING` are drawn there, hollow.  The dashed line is the
    threshold under which a rate passes; a line that ends under it is censored and gets a ring.
    """
    x = np.asarray(rates, dtype=float)
    for name, look in looks(found).items():
        y = np.nan_to_num(np.asarray(found[name], dtype=float), nan=np.inf)
        shown, over = np.minimum(y, CEILING), y > CEILING
        style = {"color": look.color, "linestyle": look.linestyle, "lw": 1.4, "ms": 4}
        ax.plot(x, shown, marker=look.marker, label=name, **style)
        ax.plot(x[over], shown[over], look.marker, color=look.color, mfc="white", ms=4)
        if y[-1] < threshold:
            ax.plot(x[-1], y[-1], "o", ms=11, mfc="none", mec=look.color)
    ax.axhline(threshold, color=COLORS["neutral"], ls="--", lw=1.0)
    ax.set(xscale="log", yscale="log")
    ax.set_xscale("log", base=2)
    return ax


def over_depth(ax: Axes, depths: Sequence[int], found: Mapping[str, Any]) -> Axes:
    """Largest rate against depth: name -> (estimate, low, high), in log2, moved a little aside."""
    for place, (name, look) in enumerate(looks(found).items()):
        estimate, low, high = (2.0 ** np.asarray(v, dtype=float) for v in found[name])
        at = np.asarray(depths) + 0.12 * (place - (len(found) - 1) / 2)
        bars = np.stack([estimate - low, high - estimate])
        style = {"color": look.color, "linestyle": look.linestyle, "marker": look.marker}
        ax.errorbar(at, estimate, yerr=bars, ms=5, lw=1.3, elinewidth=1.0, label=name, **style)
    ax.set_yscale("log", base=2)
    ax.set_xticks(list(depths), [str(d) for d in depths])
    ax.minorticks_off()
    ax.legend(fontsize=8)
    return ax


def against_rate(
    ax: Axes, x: ArrayLike, rate: ArrayLike, cells: ArrayLike, held_out: ArrayLike, *, log: bool
) -> Axes:
    """One mark an architecture: predictor x against the rate (log2), a color and marker a cell.

    held_out: bool, drawn open.  log: a symmetric logarithmic axis for signed x.  Infinite x is
    drawn at the right edge.
    """
    x, cells = np.asarray(x, dtype=float), np.asarray(cells)
    y, hollow = 2.0 ** np.asarray(rate, dtype=float), np.asarray(held_out, dtype=bool)
    finite = x[np.isfinite(x)]
    x = np.where(np.isfinite(x), x, 2 * finite.max())
    names = list(dict.fromkeys(cells.tolist()))
    colors = _spread(len(names))
    for place, name in enumerate(names):
        at = cells == name
        mark, color = MARKERS[place % len(MARKERS)], colors[place]
        face = "white" if hollow[at].any() else color
        ax.plot(x[at], y[at], mark, color=color, mfc=face, ms=4.5, alpha=0.85, label=name)
    ax.set_yscale("log", base=2)
    if log:
        small = np.abs(finite[finite != 0])
        linear = float(np.quantile(small, 0.05))
        ax.set_xscale("symlog", linthresh=linear)
        if (finite < 0).any():  # ticks of powers between zero and here would overlap
            ax.xaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=max(linear, 1.0)))
    return ax


def correlations(ax: Axes, names: Sequence[str], halves: Mapping[str, Any]) -> Axes:
    """Correlations with intervals, one row a name, the halves below one another: filled, open.

    halves: name -> (estimate, low, high), (n,) each; NaN rows are left out.  Lines at 0 and 0.3.
    """
    rows = np.arange(len(names), dtype=float)
    shift = 0.18
    for place, (half, found) in enumerate(halves.items()):
        estimate, low, high = (np.asarray(v, dtype=float) for v in found)
        known = np.isfinite(estimate)
        at = rows + shift * (2 * place - (len(halves) - 1))
        bars = np.stack([estimate - low, high - estimate])[:, known]
        color = COLORS["measured"] if place else COLORS["neutral"]
        style: Any = {"color": color, "mfc": "white" if place else color, "fmt": MARKERS[place]}
        ax.errorbar(
            estimate[known], at[known], xerr=bars, ms=5, elinewidth=1.3, label=half, **style
        )
    for line, dash in ((0.0, "-"), (0.3, ":")):
        ax.axvline(line, color=COLORS["neutral"], lw=1.0, ls=dash, zorder=0)
    ax.set_yticks(rows, labels=list(names))
    ax.set(ylim=(len(names) - 0.5, -0.5), xlim=(-1.05, 1.05))
    ax.grid(False, axis="y")
    return ax


def ladder(ax: Axes, names: Sequence[str], plain: Any, reset: Mapping[str, Any]) -> Axes:
    """Largest rate (log2) of each arm, every seed a small dot, the mean a bar; reset ones beside.

    plain: (S, len(names)).  reset: name -> (S,), for the arms that have it.
    """
    plain = np.asarray(plain, dtype=float)
    for place, name in enumerate(names):
        both = [("norms free", plain[:, place], "measured", -0.16)]
        if name in reset:
            both.append(("norms reset", np.asarray(reset[name], dtype=float), "theory", 0.16))
        for label, values, color, aside in both:
            # A golden-ratio sequence spreads equal values without a random generator.
            spread = 0.16 * ((np.arange(len(values)) * 0.618) % 1 - 0.5)
            at = place + aside + spread
            ax.plot(at, 2.0**values, ".", color=COLORS[color], ms=4, alpha=0.6)
            mean = 2.0 ** values.mean()
            ax.plot([place + aside - 0.13, place + aside + 0.13], [mean, mean], "-", lw=2.6)
            ax.lines[-1].set(color=COLORS[color], label=label)
    _unique_legend(ax)
    ax.set_yscale("log", base=2)
    ax.set_xticks(range(len(names)), list(names), rotation=25, ha="right")
    return ax


def growth(ax: Axes, rates: ArrayLike, found: Mapping[str, ArrayLike]) -> Axes:
    """Final over initial weight norm against the rate; lines end where the models diverge."""
    curves.line_family(ax, rates, found, markers=True)
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    return ax


def effective(
    ax: Axes, rates: Sequence[float], found: ArrayLike, bound: ArrayLike, *, every: int = 1
) -> Axes:
    """Effective rate (T, R) of a unit in every step, and the bound (T, R) for the step after."""
    found, bound = np.asarray(found)[::every], np.asarray(bound)[::every]
    steps = every * np.arange(len(found))
    for place, (name, look) in enumerate(looks([f"rate {r:g}" for r in rates]).items()):
        style = {"marker": look.marker, "markevery": max(len(found) // 8, 1), "ms": 5}
        ax.plot(steps, found[:, place], "-", color=look.color, lw=2.0, label=name, **style)
        ax.plot(steps[1:], bound[:-1, place], ":", color=look.color, lw=0.8, alpha=0.7, zorder=1)
    ax.plot([], [], ":", color=COLORS["neutral"], label="bound")
    ax.set_yscale("log")
    ax.legend(fontsize=8, ncols=len(rates) + 1, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return ax


def labeled(ax: Axes, x: Mapping[str, float], y: Mapping[str, float]) -> Axes:
    """One labeled mark a name, y in log2."""
    for name, look in looks(x).items():
        ax.plot(x[name], 2.0 ** y[name], look.marker, color=look.color, ms=7)
        ax.annotate(name, (x[name], 2.0 ** y[name]), xytext=(6, 5), textcoords="offset points")
    ax.set_yscale("log", base=2)
    return ax


def _spread(n: int) -> list[Any]:
    """n colors that differ in lightness, dark ones first."""
    from matplotlib import colormaps

    return [colormaps["viridis"](v) for v in np.linspace(0.0, 0.85, max(n, 2))]


def _unique_legend(ax: Axes) -> None:
    handles = dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
    ax.legend(handles.values(), handles.keys(), fontsize=8)
