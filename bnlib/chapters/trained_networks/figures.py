"""Figures of the chapter: clouds of channels, predictions against what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bnlib.audit.summary import Share
from bnlib.chapters.trained_networks.toys import Arm
from bnlib.plots import curves
from bnlib.plots.style import COLORS, looks

Values = Any  # what np.asarray takes


def _titled(fig: Figure, title: str, *, across: str = "", up: str = "") -> Figure:
    """A title at the left, and labels that the panels share."""
    if up:
        fig.axes[0].set_ylabel(up)
    if across:
        fig.supxlabel(across, size=10.5)
    fig.suptitle(title, x=0.01, ha="left")
    return fig


def share(shares: Mapping[str, Sequence[Share]]) -> Figure:
    """Shares of channels near the identity, beside those by chance."""
    fig, ax = plt.subplots(figsize=(6.4, 2.6))
    for shift, key, label in ((-0.12, "share", "as shipped"), (0.12, "null", "dealt anew")):
        center, low, high = 100 * np.array([getattr(near, key) for near, _ in shares.values()]).T
        face = COLORS["measured"] if key == "share" else "white"
        y, bars = np.arange(len(shares)) + shift, [center - low, high - center]
        ax.errorbar(center, y, xerr=bars, fmt="o", color=COLORS["measured"], mfc=face, label=label)
    ax.set_yticks(range(len(shares)), list(shares))
    ax.set(xlabel="channels with $d<0.1$ (%)", ylim=(len(shares) - 0.5, -0.5))
    ax.set_title("Hardly any channel undoes its normalization, nearly as by chance")
    ax.legend()
    return fig


def clouds(rsd: Mapping[str, np.ndarray]) -> Figure:
    """All channels at (r, s) in three gauges, |r| from 1e-3 on; a star at the identity."""
    fig, axes = plt.subplots(1, 3, figsize=(7.6, 3.0), sharey=True)
    for ax, title in zip(axes, ("as shipped", "random gauge", "identity, ε'"), strict=True):
        r, s, _ = rsd[title]
        across = np.maximum(np.abs(r), 1e-3)  # a logarithmic axis has no place for r = 0
        ax.plot(across, s, ".", ms=2, color=COLORS["measured"], alpha=0.4, rasterized=True)
        ax.plot(1, 0, "*", ms=15, color=COLORS["theory"], markeredgecolor="white")
        ax.set(xscale="log", xlim=(1e-3, 1e3))
        ax.set_yscale("symlog", linthresh=1)
        ax.set_ylim(-200, 200)
        ax.set_title(title, fontsize=10.5)
    title = "One function, three clouds: the distance to the identity is a gauge"
    return _titled(fig, title, across=r"$|r|=|\gamma|/\tau$", up=r"$s=(\beta-\mu)/\tau$")


def _diagonal(ax: Axes, name: str, predicted: Values, measured: Values, *, dots: float) -> None:
    """One dot per channel, predicted across and measured upwards, and the line where both agree."""
    color, marker, _ = looks([name])[name]
    style = {"color": color, "ms": dots, "alpha": 0.5, "rasterized": True}
    ax.plot(predicted, measured, marker, label=name, **style)
    both = np.concatenate([predicted, measured])
    ends = [both.min(), both.max()]
    ax.plot(ends, ends, "-", color=COLORS["exact"], lw=1.0, zorder=3)


def gates(channels: pd.DataFrame) -> Figure:
    """Measured against predicted gate rates, a panel for each role."""
    fig, axes = plt.subplots(1, 4, figsize=(7.8, 2.5), sharex=True, sharey=True)
    for ax, role in zip(axes, ("stem", "expand", "depthwise", "head"), strict=True):
        part = channels[channels.role == role]
        _diagonal(ax, "measured", part.predicted_open, part.open, dots=1.5)
        ax.set_title(role, fontsize=10.5)
    title = r"$\gamma$ and $\beta$ alone tell how often most gates open"
    across = r"predicted, $\Phi(\beta/|\gamma|)$"
    return _titled(fig, title, across=across, up="measured, share of places")


def forest(table: pd.DataFrame) -> Figure:
    """Correlation of gamma and sigma by role, a panel for each network."""
    names = table.index.unique("net")
    fig, axes = plt.subplots(1, len(names), figsize=(7.8, 2.9), sharey=True, squeeze=False)
    for ax, name in zip(axes[0], names, strict=True):
        rows = table.loc[name]
        low, high = rows.low.fillna(rows.pearson), rows.high.fillna(rows.pearson)
        curves.forest(ax, rows.index, rows.pearson, low, high)
        ax.set_title(name, fontsize=10.5)
        ax.set_xlim(-0.3, 1.05)
    title = r"Large $\gamma$ go with large $\sigma$, except in the stem"
    return _titled(fig, title, across=r"correlation of $\gamma$ and $\sigma$ within a layer")


def equilibrium(arms: Mapping[str, Arm]) -> Figure:
    """Slopes over training with gamma frozen, and the three predictions."""
    fig, axes = plt.subplots(1, 2, figsize=(7.2, 3.0), sharey=True)
    for ax, (output, arm) in zip(axes, arms.items(), strict=True):
        for other in (0, 1):
            ax.axhline(other, color=COLORS["neutral"], lw=1)
        estimate, low, high = np.array(arm.sigma).T
        ends, theory = (0, arm.at[-1]), (arm.theory, arm.theory)
        curves.measured_on_theory(ax, arm.at, estimate, low, high, ends, theory)
        ax.set_title(f"output weights {output}", fontsize=10.5)
    title = r"$\sigma$ follows a frozen $\gamma$ with a slope near the theory's"
    return _titled(fig, title, across="training steps", up=r"slope of $\log\sigma$ on $\log\gamma$")


def shifts(projections: pd.DataFrame, toys: Mapping[float, Values], means: np.ndarray) -> Figure:
    """Largest shifts of projections, shipped and in the toy, and the stream means they predict.

    toys: the shift of each seed by drop-connect.  means: predicted and stored, (2, channels).
    """
    fig, (left, toy, right) = plt.subplots(1, 3, figsize=(8.0, 3.1), width_ratios=(3, 2, 3))
    for name, look in looks(("with skip", "without skip")).items():
        role = "project, skip" if name == "with skip" else "project, no skip"
        part = projections[projections.role == role]
        left.plot(part["depth"], part["shift"], look.marker, color=look.color, label=name)
    left.set(yscale="log", xlim=(0, 1), xlabel="relative depth")
    left.set_ylabel(r"largest $|\beta_\mathrm{proj}|$")
    left.legend()
    for place, shift in enumerate(toys.values()):
        toy.plot(np.full(len(shift), place), shift, "o", color=COLORS["measured"], alpha=0.6)
    toy.set(yscale="log", xlabel="drop-connect (toy)", xlim=(-0.6, 1.6), ylim=(1e-17, 10))
    toy.set_xticks(range(2), list(toys))
    _diagonal(right, "channel", *means, dots=2)
    right.legend(markerscale=3)
    right.set(xlabel=r"$W\sum\beta_\mathrm{proj}$", ylabel=r"stored $\mu_\mathrm{expand}$")
    return _titled(fig, "Shifts move where drop-connect lets a gradient through")


def folding(densities: Mapping[str, tuple[Values, Values]]) -> Figure:
    """Densities and edges of the errors of logits, in 1e-7 of the largest one."""
    fig, ax = plt.subplots(figsize=(6.4, 2.8))
    filled = {"fill": True, "alpha": 0.4, "color": COLORS["measured"]}
    ax.stairs(*densities["folded, float32"], label="folded, float32", **filled)
    line = {"lw": 1.6, "color": COLORS["theory"]}
    ax.stairs(*densities["unfolded, float32"], label="unfolded, float32", **line)
    ax.set(xlabel="error of a logit / largest logit ($10^{-7}$)", ylabel="density")
    ax.set_title("Folding errs by about as much as the network's own rounding")
    ax.legend()
    return fig
