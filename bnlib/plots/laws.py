"""Figures of the identity chapter: clouds of batches, families of laws, effects by group."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from bnlib.plots import curves
from bnlib.plots.style import COLORS, MARKERS

ROWS = "rows $m$ in the batch"
Bounds = tuple[ArrayLike, ArrayLike, ArrayLike]  # estimate, low, high


def cloud(ax: Axes, std: ArrayLike, mean: ArrayLike, center: float) -> Axes:
    """Batches as points (std, mean) in units of sigma, with (1, 0) and the center of the cloud."""
    ax.plot(std, mean, ".", ms=2, alpha=0.5, color=COLORS["batch"], rasterized=True)
    cross = {"ms": 9, "mew": 2.5, "color": COLORS["running"]}
    ring = {"ms": 9, "mew": 2, "mfc": "none", "color": COLORS["theory"]}
    ax.plot(1, 0, "x", label=r"$(\sigma,\mu)$", **cross)
    ax.plot(center, 0, "o", label=r"$(\mathrm{E}\,s_m,\mu)$", **ring)
    ax.set_xlabel(r"batch standard deviation $s_m/\sigma$")
    return ax


def lines(ax: Axes, x: ArrayLike, named: Mapping[str, tuple[ArrayLike, str, str]]) -> Axes:
    """Laws over the same x: name in the legend -> (values, a name of COLORS, dashes)."""
    for name, (values, quantity, dashes) in named.items():
        ax.plot(x, values, dashes, color=COLORS[quantity], label=name)
    ax.legend()
    return ax


def passed_on(ax: Axes, dy: ArrayLike, dx: ArrayLike) -> Axes:
    """Gradients after a layer against those before it, with the line of a layer that is absent."""
    before, after = np.ravel(dy), np.ravel(dx)
    ends = [float(before.min()), float(before.max())]
    ax.plot(before, after, ".", ms=4, color=COLORS["gradient"], alpha=0.6, label="training")
    ax.plot(ends, ends, "-", color=COLORS["running"], lw=1.5, label="evaluation")
    ax.set(xlabel="$dy$, arriving", ylabel="$dx$, passed on")
    ax.legend()
    return ax


def by_group(ax: Axes, groups: Sequence[str], series: Mapping[str, Bounds]) -> Axes:
    """Estimates with intervals side by side in each group: name -> (estimate, low, high)."""
    place = np.arange(len(groups))
    shifts = np.linspace(-0.12, 0.12, len(series))
    colors = (COLORS["measured"], COLORS["batch"], COLORS["running"])
    for k, (name, bounds) in enumerate(series.items()):
        estimate, low, high = (np.asarray(v, dtype=float) for v in bounds)
        ax.errorbar(
            place + shifts[k],
            estimate,
            [estimate - low, high - estimate],
            fmt=MARKERS[k],
            color=colors[k % 3],
            label=name,
        )
    ax.set_xticks(place, [name.replace(", ", "\n") for name in groups])
    ax.grid(False, axis="x")
    ax.legend()
    return ax


def error_by_size(
    ax: Axes,
    sizes: Sequence[int],
    measured: Bounds,
    m: Sequence[int],
    laws: Mapping[str, ArrayLike],
) -> Axes:
    """The error of the identity against the batch size, double logarithmic, with its slopes.

    measured: (estimate, low, high) at `sizes`.  laws: over m, by "fixed", "best", "evaluation" and
    "leading".
    """
    exact = r"exact, $2(1-a_m)$"
    curves.measured_on_theory(ax, sizes, *measured, m, laws["fixed"], theory_label=exact)
    named: dict[str, tuple[ArrayLike, str, str]] = {
        r"leading term, $3/(2m)$": (laws["leading"], "neutral", "--"),
        r"best constants, $1-a_m^2$": (laws["best"], "batch", ":"),
        r"their price in evaluation, $(1-a_m)^2$": (laws["evaluation"], "running", "-."),
    }
    lines(ax, m, named)
    curves.slope_guide(ax, (128, 1024), 0.03, -1)
    curves.slope_guide(ax, (64, 512), 0.0008, -2)
    ax.set(xscale="log", yscale="log", xlabel=ROWS, ylabel=r"$\mathrm{E}(y-x)^2/\sigma^2$")
    ax.legend(loc="lower left")
    return ax


def error_times_size(
    ax: Axes, m: ArrayLike, measured: Bounds, exact: ArrayLike, limit: float
) -> Axes:
    """Error times batch size, (estimate, low, high) and exact, with the limit of large m."""
    m = np.asarray(m)
    mid, low, high = (m * np.asarray(v) for v in measured)
    curves.measured_on_theory(ax, m, mid, low, high, m, m * np.asarray(exact)).legend().remove()
    ax.axhline(limit, color=COLORS["neutral"], lw=1)
    ax.set(xscale="log", ylim=(0, 1.2 * max(high.max(), limit)))
    return ax


def eps_ladder(
    ax: Axes, squares: np.ndarray, rms: Mapping[float, ArrayLike], law: Mapping[float, ArrayLike]
) -> Axes:
    """Relative error of a scale without eps against the batch variance in eps, one series an eps.

    rms: eps -> one value a variance, seeds agreeing to rounding.  The first series names the law.
    """
    for place, (eps, values) in enumerate(rms.items()):
        curves.measured_on_theory(
            ax,
            squares / eps,
            *(values, values, values),
            squares / eps,
            law[eps],
            series=place,
            label=f"ε = {eps:.0e}",
            theory_label="formula" if place == 0 else "_",
        )
    ax.axvline(1, color=COLORS["neutral"], lw=0.8)
    ax.set(xscale="log", yscale="log", xlabel=r"batch variance $\sigma^2/\varepsilon$")
    ax.set_ylabel("relative RMS error")
    return ax


def removed(
    ax: Axes,
    m: Sequence[int],
    shares: Mapping[float, Bounds],
    theory: Mapping[float, ArrayLike],
    network: tuple[Sequence[int], Bounds],
) -> Axes:
    """Share of the energy of dy that a layer with y = x removes, against the batch size.

    shares: mean b of dy -> (estimate, low, high) at m, with its theory.  network: the same of a
    real network, its sizes first.
    """
    for place, (b, bounds) in enumerate(shares.items()):
        label = f"independent, $b={b:g}$"
        curves.measured_on_theory(ax, m, *bounds, m, theory[b], label=label, series=place)
    sizes, (mid, low, high) = network[0], map(np.asarray, network[1])
    bars, color = [mid - low, high - mid], COLORS["gradient"]
    ax.errorbar(sizes, mid, bars, fmt="D", color=color, label="digits network")
    ax.set(xscale="log", yscale="log", xlabel="rows $m$", ylabel="removed share")
    ax.legend(loc="lower left", fontsize=8)
    return ax
