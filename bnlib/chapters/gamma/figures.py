"""Figures of the gamma chapter; everything that they draw was computed before."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from bnlib.chapters.gamma.decide import Best
from bnlib.plots.style import COLORS
from bnlib.statistics import Interval


def paths(losses: Mapping[str, np.ndarray]) -> Figure:
    """Loss of each batch, mean over seeds, by run; the first two are one by the theorem."""
    fig, ax = plt.subplots(figsize=(6.4, 3.4))
    (one, first), (two, second), (three, third) = losses.items()
    steps = np.arange(1, len(first) + 1)
    ax.plot(steps, first.mean(1), color=COLORS["theory"], lw=4, alpha=0.5, label=one)
    ax.plot(steps, second.mean(1), "k--", lw=1.2, label=two)
    ax.plot(steps, third.mean(1), color=COLORS["gradient"], ls=":", lw=1.6, label=three)
    ax.set(yscale="log", xlabel="step", ylabel="loss of the batch")
    ax.set_title("A smaller start is a larger rate, step for step")
    ax.legend()
    return fig


def fixed_points(
    cells: Mapping[tuple[str, int], Best],
    others: Mapping[tuple[str, int], Interval],
    law: Mapping[int, float],
) -> Figure:
    """Best gamma against m, a panel a law of the rows: own rows, penalty, other rows."""
    names: Sequence[str] = list(dict.fromkeys(name for name, _ in cells))
    sizes = sorted({m for _, m in cells})
    fig, axes = plt.subplots(1, len(names), figsize=(7.4, 3.2), sharey=True)
    for ax, name in zip(axes, names, strict=True):
        best = [cells[name, m] for m in sizes]
        ax.plot(sizes, [b.drawn.estimate for b in best], "o", color=COLORS["measured"])
        ax.plot(sizes, [b.exact for b in best], color=COLORS["theory"], label="own rows")
        ax.plot(sizes, [b.penalty for b in best], "--", color=COLORS["gradient"], label="penalty")
        rest = [others[name, m].estimate for m in sizes]
        ax.plot(sizes, rest, "s", color=COLORS["neutral"], label="other rows")
        if name == "Gaussian":
            ax.plot(sizes, [law[m] for m in sizes], ":", color=COLORS["neutral"])
        ax.set(xscale="log", xlabel="rows m", title=name)
        ax.set_xticks(sizes, [str(m) for m in sizes])
        ax.minorticks_off()
    axes[0].set_ylabel(r"best $\gamma$ / $\sigma$")
    axes[0].legend()
    fig.suptitle("The penalty shrinks γ twice as much as the batch does", x=0.01, ha="left")
    return fig
