"""Figures of chains: orders as stems, errors of methods, shares over depth, the leak, the law.

Every function draws on the axes it is given and returns them; what is drawn was computed before.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from bnlib.plots import curves
from bnlib.plots.style import COLORS

Band = tuple[ArrayLike, ArrayLike, ArrayLike]  # estimate, low, high


def orders(ax: Axes, terms: ArrayLike, *, floor: float) -> Axes:
    """Stems of |T_1| ... |T_l| on a logarithmic axis; positive terms filled, negative hollow.

    terms: (l+1,), the order 0 first; it is drawn as a horizontal line, for comparison.
    floor: the lower end of the axis; smaller terms are left out, as the axis has no zero.
    Raises ValueError for a floor that is not positive.
    """
    if not floor > 0:
        raise ValueError(f"want floor > 0 on a logarithmic axis, got {floor}")
    values = np.asarray(terms, dtype=np.float64)
    ax.axhline(abs(values[0]), color=COLORS["neutral"], ls="--", lw=1.0, label="output before")
    signs = (values > 0, COLORS["measured"], "positive"), (values < 0, "white", "negative")
    for chosen, face, name in signs:
        k = np.flatnonzero(chosen & (np.abs(values) >= floor))
        k = k[k > 0]
        sizes = np.abs(values[k])
        ax.vlines(k, floor, sizes, color=COLORS["measured"], lw=0.8)
        ax.plot(k, sizes, "o", color=COLORS["measured"], mfc=face, ms=4, label=name)
    ax.set(yscale="log", xlim=(0, len(values)))
    ax.set_ylim(bottom=floor)
    ax.set_xlabel("order k")
    return ax


def errors(ax: Axes, found: Mapping[str, ArrayLike]) -> Axes:
    """Relative errors of the orders 1 ... l, a line a method; "NAME, bound" dashed in its color.

    found: (l+1,) each, the order 0 first and left out. The thick line at 1 is where nothing is
    left. Values are cut to [1e-17, 1e6], as a logarithmic axis has no zero. No legend is drawn.
    """
    shown = {k: np.clip(np.asarray(v)[1:], 1e-17, 1e6) for k, v in found.items()}
    lines = {name: v for name, v in shown.items() if not name.endswith(", bound")}
    over = np.arange(1, 1 + len(next(iter(lines.values()))))
    curves.line_family(ax, over, lines, markers=True)
    colors = {line.get_label(): line.get_color() for line in ax.lines}
    for name in (name for name in shown if name not in lines):
        color = colors[name.removesuffix(", bound")]
        ax.plot(over, shown[name], "--", color=color, lw=0.9, label=name)
    ax.axhline(1.0, color=COLORS["neutral"], lw=0.8)
    ax.set(yscale="log", ylim=(1e-17, 1e4), xticks=range(0, len(over) + 1, 4))
    _drop_legend(ax)
    return ax


def over_depth(
    ax: Axes, depths: Sequence[int], found: Mapping[str, Band], runs: Mapping[str, ArrayLike]
) -> Axes:
    """Medians with bands over depth, and every single run thin and grey behind them.

    runs: (n, len(depths)) under any names; may be empty.
    """
    for rows in runs.values():
        y = np.asarray(rows).T
        ax.plot(depths, y, "-", color=COLORS["neutral"], lw=0.4, alpha=0.5, zorder=0)
    lines, bands = {k: v[0] for k, v in found.items()}, {k: v[1:] for k, v in found.items()}
    curves.line_family(ax, depths, lines, bands=bands, markers=True)
    ax.set_xlabel("depth $l$ (factors)")
    return ax


def under_bound(ax: Axes, clouds: Mapping[float, ArrayLike], bound: tuple) -> Axes:
    """Dots at each r, spread a little sideways, under the curve bound = (r, height)."""
    for r, heights in clouds.items():
        y = np.asarray(heights)
        # A golden-ratio sequence spreads the points aside without a random generator.
        aside = 1.12 ** (2 * (np.arange(len(y)) * 0.6180339887 % 1) - 1)
        look = {"color": COLORS["measured"], "alpha": 0.4, "rasterized": True}
        ax.plot(r * aside, y, ".", ms=2, **look)
    ax.plot(*bound, color=COLORS["theory"], label="$e^r-1-r$")
    ax.set(xscale="log", yscale="log")
    ax.legend()
    return ax


def leak(ax: Axes, ratio: ArrayLike, measured: ArrayLike) -> Axes:
    """Lower over top gradient against v / eps, on the curve 1 / (1 + v / eps)."""
    at = np.sort(np.asarray(ratio, dtype=np.float64))
    ax.plot(ratio, measured, ".", color=COLORS["measured"], label="measured", rasterized=True)
    law = r"$\lambda=\varepsilon/(v+\varepsilon)$"
    ax.plot(at, 1 / (1 + at), color=COLORS["theory"], zorder=0, label=law)
    ax.set(xscale="log", yscale="log", xlabel=r"$v\,/\,\varepsilon$")
    ax.set_ylabel("lower gradient / top gradient")
    ax.legend()
    return ax


def frozen_and_trained(
    ax: Axes, widths: Sequence[int], errors: ArrayLike, law_at: ArrayLike, law: Band
) -> Axes:
    """Errors of both arms at each width, every seed a dot, and the band of the frozen arm's law.

    errors: (seeds, len(widths), 2), frozen first.  law: (mean, low, high) at the widths law_at.
    """
    mean, low, high = law
    ax.fill_between(law_at, low, high, color=COLORS["theory"], alpha=0.25, lw=0)
    ax.plot(law_at, mean, color=COLORS["theory"], label="Beta law, frozen")
    arms = ("frozen", "o", "measured"), ("trained", "x", "gradient")
    for place, (name, marker, color) in enumerate(arms):
        at = np.broadcast_to(np.array(widths) * 1.08**place, np.shape(errors)[:2])
        y = np.asarray(errors)[..., place]
        ax.plot(at.ravel(), y.ravel(), marker, ms=3.5, color=COLORS[color], label=name)
    ax.set(xscale="log", ylabel="normalized squared error")
    ax.set_xticks(widths, [str(k) for k in widths])
    ax.minorticks_off()
    ax.legend(loc="upper right", fontsize=8)
    return ax


def _drop_legend(ax: Axes) -> None:
    legend = ax.get_legend()
    if legend is not None:
        legend.remove()
