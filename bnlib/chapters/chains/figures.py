"""Figures of the chains chapter; everything that they draw was computed before."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from bnlib.plots import curves
from bnlib.plots.style import COLORS
from bnlib.statistics import Interval

Curve = tuple[ArrayLike, ArrayLike]


def orders(chains: Mapping[tuple[int, float, float], np.ndarray]) -> Figure:
    """Orders (l+1,) of chains of equal factors, by (l, w, step)."""
    fig, axes = plt.subplots(1, 3, figsize=(7.4, 3.3))
    for ax, ((length, w, step), terms) in zip(axes, chains.items(), strict=True):
        stems(ax, terms, floor=1e-11 if w == 1 else 1e-2)
        ax.set_title(f"$l={length}$, $w={w}$, $\\eta={step}$", fontsize=10)
    axes[0].set_ylabel("size of the order $|T_k|$")
    handles, labels = axes[0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8)
    fig.suptitle("Orders fall off in one chain and tower in another", x=0.01, ha="left")
    return fig


def stems(ax: Axes, terms: np.ndarray, *, floor: float) -> None:
    """Stems of |T_1| ... |T_l| on a logarithmic axis; positive terms filled, negative hollow.

    terms: (l+1,), the order 0 first, drawn as a line.  Terms below the floor are left out.
    """
    ax.axhline(abs(terms[0]), color=COLORS["neutral"], ls="--", lw=1.0, label="output before")
    signs = (terms > 0, COLORS["measured"], "positive"), (terms < 0, "white", "negative")
    for chosen, face, name in signs:
        k = np.flatnonzero(chosen & (np.abs(terms) >= floor))
        k = k[k > 0]
        sizes = np.abs(terms[k])
        ax.vlines(k, floor, sizes, color=COLORS["measured"], lw=0.8)
        ax.plot(k, sizes, "o", color=COLORS["measured"], mfc=face, ms=4, label=name)
    ax.set(yscale="log", xlim=(0, len(terms)))
    ax.set_ylim(bottom=floor)
    ax.set_xlabel("order k")


def errors(panels: Mapping[tuple[float, int], Mapping[str, np.ndarray]]) -> Figure:
    """`errors_of_ways` by (step, length), a row each step."""
    fig, axes = plt.subplots(2, 3, figsize=(7.4, 5.4), sharex="col", sharey=True)
    for ax, ((step, length), ways) in zip(axes.flat, panels.items(), strict=True):
        error_lines(ax, ways)
        ax.set_title(f"$l={length}$, $\\eta={step}$", fontsize=9.5)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="lower center", ncols=3, bbox_to_anchor=(0.5, -0.12))
    fig.supxlabel("order k", size=10.5)
    fig.supylabel("relative error of the order", size=10.5)
    title = "Subsets and interpolation lose the small orders, as predicted"
    fig.suptitle(title, x=0.01, ha="left")
    return fig


def error_lines(ax: Axes, ways: Mapping[str, np.ndarray]) -> None:
    """Relative errors of the orders 1 ... l, a line a method; "NAME, bound" dashed in its color.

    ways: (l+1,) each, the order 0 first and left out. The thick line at 1 is where nothing is
    left. Values are cut to [1e-17, 1e6], as a logarithmic axis has no zero.
    """
    shown = {name: np.clip(v[1:], 1e-17, 1e6) for name, v in ways.items()}
    lines = {name: v for name, v in shown.items() if not name.endswith(", bound")}
    over = np.arange(1, 1 + len(next(iter(lines.values()))))
    curves.line_family(ax, over, lines, markers=True)
    colors = {line.get_label(): line.get_color() for line in ax.lines}
    for name in (name for name in shown if name not in lines):
        color = colors[name.removesuffix(", bound")]
        ax.plot(over, shown[name], "--", color=color, lw=0.9, label=name)
    ax.axhline(1.0, color=COLORS["neutral"], lw=0.8)
    ax.set(yscale="log", ylim=(1e-17, 1e4), xticks=range(0, len(over) + 1, 4))
    ax.legend().remove()


def over_depth(
    ax: Axes, depths: Sequence[int], medians: Mapping[str, Interval], runs: Sequence[np.ndarray]
) -> None:
    """Medians with bands over depth, and every single run thin and grey behind them.

    runs: (n, len(depths)) each; may be empty.
    """
    for rows in runs:
        ax.plot(depths, rows.T, "-", color=COLORS["neutral"], lw=0.4, alpha=0.5, zorder=0)
    bands = {name: (v.low, v.high) for name, v in medians.items()}
    lines = {name: v.estimate for name, v in medians.items()}
    curves.line_family(ax, depths, lines, bands=bands, markers=True)
    ax.set_xlabel("depth $l$ (factors)")


def shares(depths: Sequence[int], panels: Sequence[tuple], r: float, limit: float) -> Figure:
    """Shares of the orders from 2 on: (medians, runs) at the fixed step, then at the matched r."""
    fig, axes = plt.subplots(1, 2, figsize=(11.0, 4.4), sharey=True)
    for ax, panel in zip(axes, panels, strict=True):
        over_depth(ax, depths, *panel)
    axes[1].axhline(limit, color=COLORS["exact"], ls=":", label=r"limit $(e^r-1-r)/(e^r-1)$")
    axes[1].legend(loc="upper right")
    axes[0].set(ylabel="share of orders $\\geq 2$", ylim=(-0.02, 1.02))
    axes[0].set_title(r"Fixed step, $\eta=0.02$: nothing or everything")
    axes[1].set_title(f"Matched change, $r={r}$: bounded at every depth")
    title = "The exponential belongs to the step size, not to the depth"
    fig.suptitle(title, x=0.01, ha="left", size=14)
    return fig


def bound(clouds: Mapping[float, np.ndarray], curve: Curve) -> Figure:
    """Sums of the orders from 2 on by r, spread a little sideways, under the bound's curve."""
    fig, ax = plt.subplots()
    for r, sums in clouds.items():
        # A golden-ratio sequence spreads the points aside without a random generator.
        aside = 1.12 ** (2 * (np.arange(len(sums)) * 0.6180339887 % 1) - 1)
        look = {"color": COLORS["measured"], "alpha": 0.4, "rasterized": True}
        ax.plot(r * aside, sums, ".", ms=2, **look)
    ax.plot(*curve, color=COLORS["theory"], label="$e^r-1-r$")
    ax.set(xscale="log", yscale="log")
    ax.legend()
    ax.set(title="No chain, however uneven, exceeds the bound", ylim=(1e-5, None))
    ax.set(xlabel="first-order relative change $r$", ylabel=r"$\sum_{k\geq2}|T_k|\,/\,|\hat y|$")
    return fig


def matrices(depths: Sequence[int], bands: Mapping[tuple[str, str], Mapping]) -> Figure:
    """Medians over depth by (column, rule) and (kind, scale): a column each, a row each kind."""
    fig, axes = plt.subplots(2, 3, figsize=(7.8, 5.6), sharex=True)
    for j, ((what, rule), medians) in enumerate(bands.items()):
        for i, kind in enumerate(dict.fromkeys(kind for kind, _ in medians)):
            ax = axes[i, j]
            of_kind = {f"scale {s}": v for (k, s), v in medians.items() if k == kind}
            over_depth(ax, depths, of_kind, ())
            ax.set_yscale("symlog", linthresh=2) if what == "useful" else ax.set_yscale("log")
            name = "actual / predicted" if what == "useful" else "gross share"
            ax.set_title("" if i else f"{name},\n{rule}", fontsize=9.5)
            ax.set(xlabel="depth $l$" if i else "", ylabel="" if j else kind)
            ax.legend(fontsize=8) if (i, j) == (0, 0) else ax.legend().remove()
    for ax in axes[:, 2]:
        ax.axhspan(0.5, 1.5, color="#EDEDED", zorder=0)
    fig.suptitle("At matched progress the small scale suffers from depth", x=0.01, ha="left")
    return fig


def normalized(
    leaks: Curve, leak_law: Curve, widths: Sequence[int], errors: np.ndarray, law: tuple
) -> Figure:
    """Lower over top gradient against v / eps; errors of both arms at each width, every seed.

    errors: (seeds, len(widths), 2), frozen first.  law: (k, mean, low, high) of the frozen arm.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=(7.4, 3.5))
    left.plot(*leaks, ".", color=COLORS["measured"], label="measured", rasterized=True)
    label = r"$\lambda=\varepsilon/(v+\varepsilon)$"
    left.plot(*leak_law, color=COLORS["theory"], zorder=0, label=label)
    left.set(xscale="log", yscale="log", xlabel=r"$v\,/\,\varepsilon$")
    left.set_ylabel("lower gradient / top gradient")
    left.legend()
    left.set_title("A scalar chain: only the leak is left", fontsize=10.5)
    k, mean, low, high = law
    right.fill_between(k, low, high, color=COLORS["theory"], alpha=0.25, lw=0)
    right.plot(k, mean, color=COLORS["theory"], label="Beta law, frozen")
    arms = ("frozen", "o", "measured"), ("trained", "x", "gradient")
    for place, (name, marker, color) in enumerate(arms):
        at = np.broadcast_to(np.array(widths) * 1.08**place, errors.shape[:2])
        y = errors[..., place].ravel()
        right.plot(at.ravel(), y, marker, ms=3.5, color=COLORS[color], label=name)
    right.set(xscale="log", ylabel="normalized squared error")
    right.set_xticks(widths, [str(k) for k in widths])
    right.minorticks_off()
    right.legend(loc="upper right", fontsize=8)
    right.set_xlabel("hidden units $k$ (inputs $d=16$)")
    right.set_title("Vectors: the directions are worth learning", fontsize=10.5)
    return fig


def hardest(ratio: np.ndarray, formula: np.ndarray, measured: Mapping[float, float]) -> Figure:
    """Change of the output at matched decrease against output / target, and by formula."""
    fig, ax = plt.subplots(figsize=(5.6, 3.2))
    ax.plot(ratio, formula, ".", ms=3, color=COLORS["theory"], label="formula")
    for target, change in measured.items():
        ax.plot(target, change, "o", mfc="none", color=COLORS["measured"])
    ax.set(xscale="symlog", yscale="log", xlabel=r"$\hat y/y$", ylabel="$r$ at matched $r_L$")
    ax.set_title("The dead chain is the hard one")
    ax.legend()
    return fig
