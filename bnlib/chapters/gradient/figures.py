"""The chapter's figures: measured values -> Figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bnlib.chapters.gradient.measure import Growth, Pairs, Projections
from bnlib.plots import curves
from bnlib.plots.style import COLORS, MARKERS
from bnlib.statistics import Interval

# Where each node stands (column, row) and what it computes.
NODES = {
    "x": (0.0, 1.0, r"$x$"),
    "mu": (0.95, 0.0, r"$\mu=\langle x\rangle$"),
    "c": (1.9, 1.0, r"$c=x-\mu$"),
    "q": (2.6, 0.0, r"$q=c^2$"),
    "v": (3.95, 0.0, r"$v=\langle q\rangle$"),
    "tau": (5.55, 0.0, r"$\tau=\sqrt{v+\varepsilon}$"),
    "i": (7.1, 0.0, r"$i=1/\tau$"),
    "x_hat": (7.1, 1.0, r"$\hat x=c\,i$"),
    "z": (8.6, 1.0, r"$z=\gamma\hat x$"),
    "y": (10.1, 1.0, r"$y=z+\beta$"),
    "gamma": (8.6, 0.0, r"$\gamma$"),
    "beta": (10.1, 0.0, r"$\beta$"),
}

# (from, to, local derivative, share of the way at which it is written)
EDGES = (
    ("x", "c", r"$1$", 0.42),
    ("x", "mu", r"$1/m$", 0.5),
    ("mu", "c", r"$-1$", 0.5),
    ("c", "q", r"$2c$", 0.5),
    ("c", "x_hat", r"$i$", 0.5),
    ("q", "v", r"$1/m$", 0.44),
    ("v", "tau", r"$\frac{1}{2\tau}$", 0.43),
    ("tau", "i", r"$-\frac{1}{\tau^2}$", 0.52),
    ("i", "x_hat", r"$c$", 0.5),
    ("x_hat", "z", r"$\gamma$", 0.47),
    ("gamma", "z", r"$\hat x$", 0.5),
    ("z", "y", r"$1$", 0.45),
    ("beta", "y", r"$1$", 0.5),
)


def computational_graph(values: Mapping[str, Any], adjoints: Mapping[str, Any]) -> Figure:
    """The nine steps, with the local derivative on every arrow.

    values: node -> its number or numbers, in black beside it, as fractions with denominators
    below 100.  adjoints: the gradients with respect to them, in red beyond.
    """
    fig, ax = plt.subplots(figsize=(8.2, 3.0))
    box = {"boxstyle": "round,pad=0.3", "facecolor": "white", "edgecolor": "black", "lw": 0.8}
    look: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 8.5, "zorder": 4}
    boxes = {}
    for name, (column, row, symbol) in NODES.items():
        text = ax.text(column, row, symbol, ha="center", va="center", fontsize=10, bbox=box)
        boxes[name] = text.get_bbox_patch()
        # Numbers stand outside the two rows, where no arrow crosses them.
        away = 1 if row else -1
        black, red = _fractions(values.get(name, ())), _fractions(adjoints.get(name, ()))
        ax.text(column, row + 0.24 * away, black, **look, color=COLORS["exact"])
        ax.text(column, row + 0.41 * away, red, **look, color=COLORS["gradient"])
    for edge in EDGES:
        _arrow(ax, *edge, boxes)
    ax.set(xlim=(-0.7, 10.8), ylim=(-0.55, 1.55))
    ax.axis("off")
    return fig


def _fractions(numbers: Any) -> str:
    """(2/3, −2/3, 0) for several numbers, 2/3 for one, nothing for none."""
    parts = [str(Fraction(float(v)).limit_denominator(99)) for v in np.ravel(numbers)]
    text = ", ".join(parts).replace("-", "−")
    return f"({text})" if len(parts) > 1 else text


def _arrow(
    ax: Axes, start: str, end: str, label: str, share: float, boxes: Mapping[str, Any]
) -> None:
    """One arrow from box to box, with the local derivative of that step."""
    (x0, y0, _), (x1, y1, _) = NODES[start], NODES[end]
    style = {"arrowstyle": "-|>", "color": "0.45", "lw": 0.9, "shrinkA": 1, "shrinkB": 1}
    style |= {"patchA": boxes[start], "patchB": boxes[end]}
    # Above the boxes in drawing order: a box knows its size only once it is drawn.
    ax.annotate("", (x1, y1), (x0, y0), arrowprops=style, zorder=4)
    place = x0 + share * (x1 - x0), y0 + share * (y1 - y0)
    patch = {"boxstyle": "round,pad=0.08", "facecolor": "white", "edgecolor": "none"}
    ax.text(*place, label, ha="center", va="center", fontsize=9, color="0.25", bbox=patch, zorder=5)


def difference_errors(steps: np.ndarray, errors: Mapping[str, np.ndarray]) -> Figure:
    """Error of directional differences against the step."""
    fig, ax = plt.subplots()
    curves.error_lines(ax, steps, errors)
    ax.set(title="Every difference has a best step", xlabel="step $h$", ylabel="relative error")
    return fig


def jacobian_terms(terms: Sequence[np.ndarray]) -> Figure:
    """The Jacobian and its three terms with the signs between them, in one color range."""
    fig, axes = plt.subplots(2, 2, figsize=(6.6, 6.8))
    titles = [r"$J\,\tau/\gamma$", "$I$: pass everything", r"$11^\top/m$: the mean"]
    titles.append(r"$\hat x\hat x^\top/m$: along $\hat x$")
    for ax, term, title, sign in zip(axes.flat, terms, titles, ("", "=", "−", "−"), strict=True):
        _heatmap(ax, term)
        ax.set_title(title, fontsize=9)
        ax.text(-0.12, 0.5, sign, transform=ax.transAxes, ha="right", va="center", fontsize=14)
    return fig


def _heatmap(ax: Axes, matrix: np.ndarray) -> None:
    """Entries from -1 to 1 in color and in writing, so that nothing is told by color alone."""
    ax.imshow(matrix, cmap="RdBu_r", vmin=-1, vmax=1)
    for (row, column), value in np.ndenumerate(matrix):
        color = "white" if abs(value) > 0.6 else "black"  # black is hard to read on dark
        ax.text(column, row, _short(value), ha="center", va="center", fontsize=6.5, color=color)
    for count, set_ticks in zip(matrix.shape[::-1], (ax.set_xticks, ax.set_yticks), strict=True):
        set_ticks(range(count), [str(k + 1) for k in range(count)])
    ax.tick_params(length=0, labelsize=7)
    ax.grid(False)


def _short(value: float) -> str:
    """A number without its leading zero, and a rounded zero as 0."""
    text = f"{value:.2f}".replace("-", "−")
    if round(value, 2) == 0:
        return "0"
    return text.replace("0.", ".", 1) if abs(value) < 1 else text


def spectrum(
    p: Projections, sizes: np.ndarray, energy: Mapping[float, tuple[Interval, Sequence[float]]]
) -> Figure:
    """Left: eigenvalues against eps.  Right: energy that passes so many rows, with its law."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(7.0, 3.6))
    for line, dots in ((0 * p.rho, 0), (1 - p.rho, 1), (0 * p.rho + 1, 4)):
        left.plot(p.ratios[1:], line[1:], "-", color=COLORS["theory"])
        measured = p.ratios[1::2], p.eigenvalues[1::2, dots]
        left.plot(*measured, "o", color=COLORS["measured"], markersize=4)
    left.text(1e-6, 0.05, "the mean: 0", fontsize=9)
    left.text(1e-6, 0.45, r"along $\hat x$: $1-\rho$", fontsize=9)
    left.text(1e-6, 0.93, "the rest: 1", fontsize=9)
    left.set(xscale="log", title="ε moves the eigenvalue of x̂ only")
    left.set(xlabel=r"$\varepsilon/\sigma^2$", ylabel=r"eigenvalue of $J\tau/\gamma$")
    for series, (rho, (interval, law)) in enumerate(energy.items()):
        names: dict[str, Any] = {"label": f"ρ = {rho:g}", "theory_label": "_", "series": series}
        curves.measured_on_theory(right, sizes, *interval, sizes, law, **names)
    right.set(xscale="log", xticks=sizes, xticklabels=sizes, ylim=(-0.04, 1.04))
    right.set(title="Without ε two rows keep nothing")
    right.set(xlabel="rows $m$", ylabel="share of energy kept")
    return fig


def norm_growth(growth: Growth) -> Figure:
    """Squared norms over their start, a line a seed, and the sum of the squared steps."""
    total, predicted = growth.layer
    fig, ax = plt.subplots(figsize=(6.6, 3.2))
    curves.line_family(ax, range(len(total)), {"measured": total.T})
    steps, sums = range(1, len(total)), predicted.mean(1)
    ax.plot(steps, sums, ":", color=COLORS["theory"], label="Pythagoras")
    ax.set(title="At ε = 0 weights before BN only grow", xlabel="step")
    ax.set_ylabel(r"$\|W\|^2$ over its start")
    ax.legend()
    return fig


def batch_two(
    pairs: Pairs,
    gains: tuple[np.ndarray, Mapping[float, np.ndarray]],
    spreads: Sequence[tuple[float, ...]],
    moved: Mapping[float, Sequence[np.ndarray]],
    sizes: Sequence[int],
) -> Figure:
    """Top: the gain of random pairs.  Bottom: networks trained with batches of so many rows.

    gains, and spreads at each size: see `measure.spikes` and `measure.norm_spread`.  moved: eps ->
    movement (S,) at each size.
    """
    fig, ((spike, moments), (norms, movement)) = plt.subplots(2, 2, figsize=(7.2, 6.6))
    curves.line_family(spike, gains[0], {f"ε = {eps:g}": gain for eps, gain in gains[1].items()})
    spike.set(yscale="log", ylim=(1e-3, 1e4), xlabel=r"half-gap $\delta$", title="Spikes of area 2")
    spike.set_ylabel(r"gain $G(\delta)$, $\gamma=1$")
    _moments_of_gain(moments, pairs)
    moments.set(xlabel="ε", ylabel="over random pairs", title="The median dies, the mean stays")
    _norm_spreads(norms, spreads)
    norms.set(ylim=(5e-10, 1e5), ylabel=r"$\|dw\|$ of a unit in a step")
    norms.set_title("Typical and mean part at two")
    _dots(movement, moved)
    movement.set(ylim=(0, None), ylabel=r"$\|W_1-W_1^0\|/\|W_1^0\|$")
    movement.set_title("Two rows move the weights most")
    for ax in (norms, movement):
        ax.set_xticks(range(len(sizes)), [str(size) for size in sizes])
        ax.set_xlabel("rows $m$")
    return fig


def _moments_of_gain(ax: Axes, pairs: Pairs) -> None:
    """Statistics of the gain against eps: lines by theory, dots by random pairs."""
    eps = pairs.offsets
    for dashes, (name, law) in zip(("-", "--", ":"), pairs.law.items(), strict=True):
        ax.loglog(eps, law, dashes, color=COLORS["theory"])
        ax.loglog(eps, pairs.drawn[name], "o", color=COLORS["measured"])
        place = {"textcoords": "offset points", "xytext": (-4, 10)}
        ax.annotate(name, (eps[1], law[1]), **place, fontsize=9)


def _norm_spreads(ax: Axes, spreads: Sequence[tuple[float, ...]]) -> None:
    """A bar from the 5 % to the 95 % quantile, the median, the mean and the largest."""
    low, middle, high, mean, largest = np.transpose(spreads)
    place = np.arange(len(spreads))
    ax.vlines(place, np.maximum(low, 1e-9), high, color="#C4C4C4", lw=6)  # the axis has no zero
    look: dict[str, Any] = {"color": COLORS["measured"], "markersize": 15, "markeredgewidth": 2.5}
    ax.plot(place, middle, "_", label="median", **look)
    look = {"markersize": 5, "markeredgewidth": 1.0}
    ax.plot(place, mean, "D", color=COLORS["gradient"], label="mean", **look)
    ax.plot(place, largest, "^", color=COLORS["exact"], label="largest", **look)
    ax.set_yscale("log")
    ax.legend(ncols=3, fontsize=8, loc="upper center", handletextpad=0.1, columnspacing=0.8)


def _dots(ax: Axes, series: Mapping[float, Sequence[np.ndarray]]) -> None:
    """One dot a seed in every group; the two series stand side by side."""
    looks = zip((-0.12, 0.12), MARKERS, (COLORS["measured"], "white"), strict=False)
    for (shift, marker, face), (eps, groups) in zip(looks, series.items(), strict=True):
        x = np.concatenate([np.full(len(v), k + shift) for k, v in enumerate(groups)])
        look: dict[str, Any] = {"color": COLORS["measured"], "mfc": face, "ms": 4}
        ax.plot(x, np.concatenate(groups), marker, label=f"ε = {eps:g}", **look)
    ax.legend()


def gains_by_rate(rates: np.ndarray, gains: Mapping[int, Interval]) -> Figure:
    """What training the first layer takes off the test loss at the same rate; steps -> (R,)."""
    fig, ax = plt.subplots(figsize=(6.6, 3.4))
    for steps, (mean, low, high), dashes, marker in zip(
        gains, gains.values(), ("-", "--"), MARKERS, strict=False
    ):
        look: dict[str, Any] = {"color": COLORS["measured"], "linestyle": dashes, "marker": marker}
        ax.errorbar(rates, mean, (mean - low, high - mean), label=f"{steps:,} steps", **look)
    ax.axhline(0, color=COLORS["theory"], lw=0.8)
    ax.set(xscale="log", xlabel="learning rate η", ylabel="gain in test loss, nats")
    ax.set_title("One pair a step: training the layer gains at small rates only")
    ax.legend()
    return fig


def kernel_errors(far: np.ndarray, errors: Mapping[str, np.ndarray]) -> Figure:
    """Errors of y against |mu| / sigma; float64 statistics would lie on the recentred line."""
    shown = {name: e for name, e in errors.items() if name != "float64 statistics"}
    fig, ax = plt.subplots(figsize=(6.8, 4.2))
    curves.error_lines(ax, far, {n: np.where(np.isfinite(e), e, np.nan) for n, e in shown.items()})
    curves.slope_guide(ax, (1e4, 1e6), 3e-6, 1.0)
    ax.set(title="Centered on a row, then on the mean: every digit stays", xlabel=r"$|\mu|/\sigma$")
    ax.set(ylabel="relative error of $y$", ylim=(3e-8, 3e1), xlim=(7e1, 4e6))
    return fig
