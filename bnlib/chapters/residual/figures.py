"""Figures of the chapter on residual blocks; everything that they draw was computed before."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from bnlib.chapters.residual.measure import Depths, Placement, Waiting
from bnlib.plots import curves
from bnlib.plots.distributions import panels
from bnlib.plots.style import COLORS, looks

FLOOR = 1e-3  # where a branch of size 0 is drawn


def first_steps(places: Mapping[str, Placement], words: Mapping[str, str]) -> Figure:
    """Size of the branch after 0 .. 3 steps; words: what happens, by place."""
    fig, axes = plt.subplots(1, len(words), figsize=(7.4, 2.7), sharey=True)
    for ax, (name, word) in zip(axes, words.items(), strict=True):
        path, steps = places[name].path, np.arange(4)
        shown, closed = np.maximum(path, FLOOR), path == 0
        ax.plot(steps, shown, "-", color=COLORS["measured"])
        for at, face in ((closed, "white"), (~closed, COLORS["measured"])):
            ax.plot(steps[at], shown[at], "o", color=COLORS["measured"], markerfacecolor=face)
        ax.set(yscale="log", ylim=(FLOOR / 2, 3), xticks=steps, xlabel="step")
        ax.set_title(f"{name}:\n{word}", fontsize=9)
    axes[0].set_yticks([FLOOR, 1e-2, 1e-1, 1], ["0", "0.01", "0.1", "1"])
    axes[0].set_ylabel("size of the branch")
    fig.suptitle(
        "Four zeros make the block the identity; they do not open alike", x=0.01, ha="left"
    )
    return fig


def waiting(runs: Mapping[str, Waiting], rate: float) -> Figure:
    """Way of gamma and of the weights against the step, log-log, a panel an optimizer."""
    fig, axes = plt.subplots(1, 2, figsize=(7.2, 3.0), sharey=True)
    for ax, (name, run) in zip(axes, runs.items(), strict=True):
        steps = np.arange(1, len(run.gamma) + 1)
        ax.plot(steps, run.gamma / rate, "o", color=COLORS["measured"], label=r"$\gamma$")
        ax.plot(steps[1:], run.weight[1:] / rate, "s", color=COLORS["gradient"], label="weights")
        if name == "SGD":
            laws = run.gamma[0] * steps, run.weight[1] * steps * (steps - 1) / 2
            for law, place in zip(laws, (slice(0, None), slice(1, None)), strict=True):
                ax.plot(steps[place], law[place] / rate, color=COLORS["theory"], lw=1)
        ax.set(xscale="log", yscale="log", xlabel="step", title=name)
        ax.set_xticks([1, 2, 4, 8, 16], ["1", "2", "4", "8", "16"])
        ax.legend()
    axes[0].set_ylabel("way / rate")
    title = r"$\gamma$ goes first, the weights follow; Adam moves them at once"
    fig.suptitle(title, x=0.01, ha="left")
    return fig


def shares(measured: Mapping[str, np.ndarray], laws: Mapping[str, np.ndarray]) -> Figure:
    """Median share of the branch by block: dots, and the law of each form."""
    fig, ax = plt.subplots()
    for name, look in looks(measured).items():
        blocks = np.arange(1, len(measured[name]) + 1)
        ax.plot(blocks, measured[name], look.marker, color=look.color, label=name)
        ax.plot(blocks, laws[name], color=look.color, linestyle=look.linestyle, lw=1.1)
    ax.set(xscale="log", yscale="log", xlabel="block $l$", ylabel="share of the variance")
    ax.set_xticks([1, 2, 4, 8, 16], ["1", "2", "4", "8", "16"])
    ax.set_yticks([0.05, 0.1, 0.2, 0.5], ["0.05", "0.1", "0.2", "0.5"])
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_minor_locator(NullLocator())
    ax.set_title("The share of a branch falls like $1/(l+1)$ in one form only")
    ax.legend()
    return fig


def depths(runs: Mapping[str, Depths], table: pd.DataFrame) -> Figure:
    """Squared gradient by block of the deepest networks, and branches passed against L."""
    fig, (ax, right) = plt.subplots(1, 2, figsize=(7.4, 3.2))
    for name, look in looks(runs).items():
        square = np.exp(np.log(runs[name].gradients).mean(0))
        ax.plot(np.arange(len(square)), square, color=look.color, ls=look.linestyle, label=name)
    ax.set(yscale="log", xlabel="block $l$", ylabel="|$dx_l$|² / |$dx_L$|²", title="Gradient")
    ax.legend(fontsize=7)
    names = list(dict.fromkeys(table.index.get_level_values(0)))
    for name, look in looks(names).items():
        rows = table.loc[name]
        right.plot(rows.index, rows.depth, look.marker, color=look.color)
        right.plot(rows.index, rows.law, color=look.color, ls=look.linestyle, label=name)
    right.set(xlabel="number of blocks $L$", ylabel="branches passed", title="Effective depth")
    right.legend(fontsize=7)
    fig.suptitle("With norm the gradient has passed few branches", x=0.01, ha="left")
    return fig


def losses(cells: Mapping[str, Mapping[str, Sequence[float]]], rates: Sequence[float]) -> Figure:
    """Median final loss against the rate, a panel a form."""
    fig, axes = panels(len(cells), 3, figsize=(7.4, 3.0), sharey=True)
    for ax, (form, arms) in zip(axes, cells.items(), strict=True):
        for name, look in looks(arms).items():
            loss = np.minimum(np.array(arms[name], dtype=float), 50)
            ax.plot(rates, loss, look.marker, color=look.color, ls=look.linestyle, label=name, ms=3)
        ax.set(xscale="log", yscale="log", xlabel="rate", title=form, ylim=(None, 20))
        ax.set_xscale("log", base=2)
        ax.legend(fontsize=7)
    axes[0].set_ylabel("final loss")
    title = r"Starting at $\gamma=0$ shifts the curve most where the head has no norm"
    fig.suptitle(title, x=0.01, ha="left")
    return fig


def cells(closed: pd.DataFrame, bare: pd.DataFrame) -> Figure:
    """Log ratio of the best loss to gamma = 1: zero gamma (dots), no blocks (diamonds)."""
    fig, ax = plt.subplots(figsize=(6.8, 4.6))
    curves.forest(ax, list(closed.index), closed.estimate, closed.low, closed.high)
    rows = np.arange(len(bare)) + 0.25
    ax.plot(bare.estimate, rows, "D", color=COLORS["theory"], mfc="white", label="no blocks")
    ax.plot([], [], "o", color=COLORS["measured"], label=r"$\gamma=0$")
    ax.set(xlabel=r"log of the best loss over that of $\gamma=1$ (left: better)")
    ax.set_title(r"$\gamma=0$ helps some networks and hurts others")
    ax.legend()
    return fig


def sizes(lives: Mapping[str, Mapping[str, tuple[Sequence[int], Any]]]) -> Figure:
    """nu over training: median over blocks, band from the least to the largest; panel a data set.

    lives: data set -> arm -> (marks, nu (marks, L)).
    """
    fig, axes = panels(len(lives), 2, figsize=(7.4, 3.2), sharey=True)
    for ax, (dataset, arms) in zip(axes, lives.items(), strict=True):
        for name, look in looks(arms).items():
            marks, nu = np.array(arms[name][0]), np.array(arms[name][1], dtype=float)
            place, nu = np.log2(marks + 1), np.maximum(nu, FLOOR)
            ax.plot(place, np.median(nu, 1), color=look.color, ls=look.linestyle, label=name)
            ax.fill_between(place, nu.min(1), nu.max(1), color=look.color, alpha=0.15, lw=0)
            ax.set_xticks(place, [str(mark) for mark in marks])
        ax.axhline(0.1, color=COLORS["neutral"], lw=1, ls=":")
        ax.set(yscale="log", xlabel="step", title=dataset)
        ax.legend(fontsize=7)
    axes[0].set_ylabel(r"size of the branch / its input, $\nu$")
    fig.suptitle(
        "Blocks that start closed open, and stay smaller than those that start open",
        x=0.01,
        ha="left",
    )
    return fig


def gammas(samples: Mapping[str, np.ndarray]) -> Figure:
    """Histogram of last gammas, a panel a network, each with its share below 0."""
    fig, axes = panels(len(samples), 3, figsize=(7.4, 2.8))
    for ax, (name, values) in zip(axes, samples.items(), strict=True):
        ax.hist(values, bins=60, color=COLORS["measured"])
        ax.axvline(0, color=COLORS["exact"], lw=1)
        ax.set(xlabel=r"$\gamma$", title=f"{name}\n{np.mean(values < 0):.0%} below 0")
        ax.title.set_fontsize(9)
    axes[0].set_ylabel("channels")
    fig.suptitle("The signs tell how γ was started", x=0.01, ha="left")
    return fig
