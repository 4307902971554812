"""The figures of the chapter: what was measured, drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bnlib import identity
from bnlib.chapters.identity import positions
from bnlib.chapters.identity.measure import POPULATIONS
from bnlib.plots import curves, distributions
from bnlib.plots.style import COLORS, MARKERS
from bnlib.statistics import Interval

ROWS = "rows $m$ in the batch"
GREY = {"color": COLORS["neutral"], "lw": 1}


def without_eps(squares: np.ndarray, rms: Mapping[float, np.ndarray], law: Mapping) -> Figure:
    """Relative error without eps in gamma, (seeds, squares), against the batch variance in eps."""
    fig, ax = plt.subplots(figsize=(6.6, 3.2))
    for series, eps in enumerate((1e-5, 1e-3)):
        x, values = squares / eps, rms[eps].mean(axis=0)
        bounds, name = (values, values, values), "formula" if series == 0 else "_"
        curves.measured_on_theory(
            ax, x, *bounds, x, law[eps], series=series, label=f"ε = {eps:.0e}", theory_label=name
        )
    ax.axvline(1, color=COLORS["neutral"], lw=0.8)
    ax.set(xscale="log", yscale="log", xlabel=r"batch variance $\sigma^2/\varepsilon$")
    ax.set_ylabel("relative RMS error")
    ax.set_title(r"Without ε in γ, a channel with $\sigma^2=\varepsilon$ shrinks by 29 %")
    return fig


def clouds(batches: Mapping[int, tuple[np.ndarray, np.ndarray]], center: np.ndarray) -> Figure:
    """Batches as points (std, mean) in sigma, a panel a size, with (1, 0) and their center."""
    fig, axes = plt.subplots(1, 2, figsize=(7.2, 3.1), sharex=True, sharey=True)
    cross = {"ms": 9, "mew": 2.5, "color": COLORS["running"], "label": r"$(\sigma,\mu)$"}
    ring = {"ms": 9, "mew": 2, "mfc": "none", "color": COLORS["theory"]}
    for ax, (m, points), middle in zip(axes, batches.items(), center, strict=True):
        ax.plot(*points, ".", ms=2, alpha=0.5, color=COLORS["batch"], rasterized=True)
        ax.plot(1, 0, "x", **cross)
        ax.plot(middle, 0, "o", label=r"$(\mathrm{E}\,s_m,\mu)$", **ring)
        ax.set_xlabel(r"batch standard deviation $s_m/\sigma$")
        ax.set_title(f"$m={m}$ rows")
    axes[0].set_ylabel(r"batch mean $(\bar x-\mu)/\sigma$")
    axes[1].legend()
    fig.suptitle("One pair of constants faces a cloud of batches", x=0.01, ha="left")
    return fig


def error_by_size(sizes: Sequence[int], point: Interval, m: Any, laws: Mapping) -> Figure:
    """The error of Gaussian rows, first of `point`, against the batch size, with its slopes."""
    fig, ax = plt.subplots(figsize=(6.6, 4.2))
    mid, low, high = (v[0] for v in point)
    exact = r"exact, $2(1-a_m)$"
    curves.measured_on_theory(ax, sizes, mid, low, high, m, laws["fixed"], theory_label=exact)
    for law, look, name in (
        ("leading", ("neutral", "--"), r"leading term, $3/(2m)$"),
        ("best", ("batch", ":"), r"best constants, $1-a_m^2$"),
        ("evaluation", ("running", "-."), r"their price in evaluation, $(1-a_m)^2$"),
    ):
        ax.plot(m, laws[law], look[1], color=COLORS[look[0]], label=name)
    curves.slope_guide(ax, (128, 1024), 0.03, -1)
    curves.slope_guide(ax, (64, 512), 0.0008, -2)
    ax.set(xscale="log", yscale="log", xlabel=ROWS, ylabel=r"$\mathrm{E}(y-x)^2/\sigma^2$")
    ax.legend(loc="lower left")
    ax.set_title(r"With the true σ and μ, training mode misses the identity by $2(1-a_m)$")
    return fig


def error_times_size(sizes: Sequence[int], point: Interval, exact: np.ndarray) -> Figure:
    """Error times batch size of each population, with the limit of large batches in grey."""
    fig, axes = distributions.panels(len(POPULATIONS), 3, figsize=(7.4, 4.6), sharex=True)
    m = np.asarray(sizes)
    for place, (ax, (name, population)) in enumerate(zip(axes, POPULATIONS.items(), strict=True)):
        mid, low, high = (m * v[place] for v in point)
        limit = identity.leading_error(1, population.kurtosis)
        curves.measured_on_theory(ax, m, mid, low, high, m, m * exact[place]).legend().remove()
        ax.axhline(limit, **GREY)
        ax.set(xscale="log", ylim=(0, 1.2 * max(high.max(), limit)))
        ax.set_title(f"{name}, κ = {population.kurtosis:.3g}", fontsize=10)
    fig.supylabel("$m\\,D(m)$", fontsize=10)
    fig.supxlabel(ROWS, fontsize=10)
    fig.suptitle("All six follow the exact law; five settle on the leading term", x=0.01, ha="left")
    return fig


def learned(sizes: Sequence[int], gamma: Interval, m: Sequence[int], a: np.ndarray) -> Figure:
    """gamma / sigma where the descent ends against the batch size, on E[s_m] / sigma over m."""
    fig, ax = plt.subplots(figsize=(6.6, 3.4))
    name = r"$a_m=\mathrm{E}\,s_m/\sigma$"
    curves.measured_on_theory(ax, sizes, *gamma, m, a, label="learned γ/σ", theory_label=name)
    ax.axhline(1, **GREY)
    ax.set(xscale="log", xlabel=ROWS, ylabel="γ/σ")
    ax.set_title("Descent ends at the expected batch standard deviation, below σ")
    return fig


def paths(steps: Sequence[int], left: Mapping[str, Mapping], rate: np.ndarray) -> Figure:
    """Distance left by optimizer and group of channels against the step; rate: (1 - lr)^step."""
    fig, axes = plt.subplots(1, 2, figsize=(7.4, 3.3), sharey=True)
    for ax, lines in zip(axes, left.values(), strict=True):
        curves.line_family(ax, steps, lines, markers=True)
        ax.plot(steps, rate, ":", color=COLORS["neutral"])
        ax.set(yscale="log", ylim=(3e-4, 3), xlabel="step")
    axes[0].set(title="SGD: one rate for all σ", ylabel="distance / distance at the start")
    axes[1].set_title("Adam: far channels arrive late")
    return fig


def projection(
    arriving: tuple, shares: tuple[Any, Mapping[float, Interval], Mapping], network: tuple
) -> Figure:
    """Gradients passed on against those that arrive, and the removed share by batch size.

    arriving, shares: as `measure` gives them.  network: batch sizes, and an interval at each.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=(7.4, 3.5))
    dy, dx = (v.ravel() for v in arriving)
    left.plot(dy, dx, ".", ms=4, color=COLORS["gradient"], alpha=0.6, label="training")
    ends = [dy.min(), dy.max()]
    left.plot(ends, ends, "-", color=COLORS["running"], lw=1.5, label="evaluation")
    left.set(xlabel="$dy$, arriving", ylabel="$dx$, passed on", title="Same $y=x$, other gradient")
    left.legend()
    m, measured, theory = shares
    for k, (b, bounds) in enumerate(measured.items()):
        label = f"independent, $b={b:g}$"
        curves.measured_on_theory(right, m, *bounds, m, theory[b], label=label, series=k)
    _errorbar(right, *network, fmt="D", color=COLORS["gradient"], label="digits network")
    right.set(xscale="log", yscale="log", xlabel="rows $m$", ylabel="removed share")
    right.legend(loc="lower left", fontsize=8)
    right.set_title("The mean of dy stays removed")
    return fig


def trajectories(parted: Mapping[str, Interval]) -> Figure:
    """Distance between the weights with and without the inserted layer against the step."""
    fig, ax = plt.subplots(figsize=(6.6, 3.4))
    middles = {name: v.estimate for name, v in parted.items()}
    bands = {name: (v.low, v.high) for name, v in parted.items()}
    curves.line_family(ax, range(1, 101), middles, bands=bands)
    ax.set(yscale="log", ylim=(3e-17, 3), xlabel="step", ylabel="distance / distance moved")
    ax.set_title("Absent only with frozen statistics and a γ that does not learn")
    return fig


def design(effects: pd.DataFrame) -> Figure:
    """Design effect by layer, for batches of two and of eight images."""
    fig, ax = plt.subplots(figsize=(6.8, 3.5))
    layers = list(effects.index.unique("layer"))
    for k, (n, shift) in enumerate(((2, -0.12), (8, 0.12))):
        bounds = effects.xs(n, level="N")[["effect", "low", "high"]].to_numpy().T
        look = {"fmt": MARKERS[k], "color": COLORS[("measured", "batch")[k]]}
        _errorbar(ax, np.arange(len(layers)) + shift, bounds, label=f"$N={n}$ images", **look)
    ax.set_xticks(np.arange(len(layers)), [name.replace(", ", "\n") for name in layers])
    ax.grid(False, axis="x")
    ax.legend()
    ax.axhline(1, **GREY)
    ax.set(yscale="log", ylabel=r"design effect $m/n_\mathrm{eff}$")
    ax.set_title("A position is worth far less than a row")
    return fig


def design_of_images(effects: pd.DataFrame) -> Figure:
    """Design effect by layer for each kind of images, batches of two and of eight images apart."""
    fig, axes = plt.subplots(1, 2, figsize=(7.4, 3.6), sharey=True)
    layers = list(effects.index.unique("layer"))
    colors = [COLORS[name] for name in ("batch", "measured", "neutral", "neutral")]
    for ax, n in zip(axes, positions.SIZES, strict=True):
        for k, kind in enumerate(positions.IMAGES):
            part = effects.loc[kind].xs(n, level="N").loc[layers]
            look = {"fmt": MARKERS[k], "color": colors[k], "ms": 4, "label": kind}
            bounds = part[["estimate", "low", "high"]].to_numpy().T
            _errorbar(ax, np.arange(len(layers)) + 0.12 * (k - 1.5), bounds, **look)
        ax.set_xticks(np.arange(len(layers)), [name.replace(", ", "\n") for name in layers])
        ax.tick_params(axis="x", labelsize=8)
        ax.grid(False, axis="x")
        ax.axhline(1, **GREY)
        ax.set(yscale="log", ylim=(0.6, 6000), title=f"$N={n}$ images")
    axes[0].set_ylabel(r"design effect $m/n_\mathrm{eff}$")
    axes[1].legend(fontsize=8, ncols=2, loc="upper right")
    fig.suptitle("The images decide what a position is worth", x=0.01, ha="left")
    return fig


def _errorbar(ax: Axes, x: Any, bounds: Any, **look: Any) -> None:
    mid, low, high = bounds
    ax.errorbar(x, mid, [mid - low, high - mid], **look)
