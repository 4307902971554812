"""Figures of the chapter on transfer; everything that they draw was computed before."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from bnlib.chapters.transfer.decide import MARGIN, NEGATED
from bnlib.chapters.transfer.exact import Line
from bnlib.chapters.transfer.measure import STATISTICS, TRAINED, Arm, Stream
from bnlib.plots.style import COLORS, MARKERS, looks
from bnlib.statistics import Interval, Paired


def _bars(intervals: Iterable[Any]) -> tuple[np.ndarray, np.ndarray]:
    """Estimates (n,), and the lengths (2, n) of their bars downwards and upwards."""
    estimate, low, high = np.array([interval[:3] for interval in intervals]).T
    return estimate, np.array([estimate - low, high - estimate])


def freeze(gaps: Mapping[str, Mapping[int, Paired]]) -> Figure:
    """Accuracy of frozen minus batch by m, for statistics frozen at the source and the target."""
    fig, ax = plt.subplots()
    ax.axhspan(-MARGIN, MARGIN, color="#EDEDED", zorder=0)
    ax.axhline(0, color=COLORS["neutral"], lw=1)
    colors = {"source": COLORS["running"], "target": COLORS["theory"]}
    for place, (name, cells) in enumerate(gaps.items()):
        sizes = np.array(list(cells)) * 1.06 ** (place - 0.5)
        middle, ends = _bars(cells.values())
        look: Any = {"marker": MARKERS[place], "color": colors[name], "capsize": 2}
        ax.errorbar(sizes, middle, ends, label=f"frozen at {name} statistics", **look)
    sizes = list(next(iter(gaps.values())))
    ax.set(xscale="log", yscale="symlog", xlabel="rows in a batch, $m$")
    ax.set_yscale("symlog", linthresh=2)
    ax.set_yticks([-10, -2, -1, 0, 1, 2, 10, 30], ["−10", "−2", "−1", "0", "1", "2", "10", "30"])
    ax.set_xticks(sizes, [str(m) for m in sizes])
    ax.minorticks_off()
    ax.set_ylabel("accuracy, frozen minus batch\nstatistics (points)")
    ax.set_title("Small batches: freeze. Larger ones: do not")
    ax.legend()
    return fig


FLOW = {  # by name: column and row, what it reads
    "counting": (0, 0, "counting rows,\nno labels"),
    "gradient": (0, 1.5, "a gradient,\nlabels or entropy"),
    "statistics": (1, 0, "statistics\n$\\mu$, $v$"),
    "affine": (1, 1, "$\\gamma$, $\\beta$"),
    "weights": (1, 2, "weights"),
    "diagonal": (2, 0, "stretch, offset\n(diagonal)"),
    "sign": (2, 1, "turned sign"),
    "mixing": (2, 2, "mixed inputs"),
}
MOVES = {  # who moves what, and what that can correct
    "counting": ("statistics",),
    "gradient": ("affine", "weights"),
    "statistics": ("diagonal",),
    "affine": ("diagonal", "sign"),
    "weights": ("diagonal", "sign", "mixing"),
}


def numbers() -> Figure:
    """The three kinds of numbers: who moves them, and what they can correct."""
    fig, ax = plt.subplots(figsize=(5.2, 3.2))
    colors = {"statistics": "running", "affine": "theory", "weights": "measured"}
    boxes: dict[str, Any] = {}
    for name, (column, row, words) in FLOW.items():
        box = {"boxstyle": "round,pad=0.4", "fc": "white", "lw": 1.2}
        box["ec"] = COLORS[colors.get(name, "neutral")]
        text = ax.text(column, row, words, ha="center", va="center", fontsize=9, bbox=box)
        boxes[name] = text.get_bbox_patch()
    for start, end in ((start, end) for start, ends in MOVES.items() for end in ends):
        kind = start if start in colors else end
        arrow: Any = {"arrowstyle": "-|>", "color": COLORS[colors[kind]], "lw": 1.2}
        arrow |= {"patchA": boxes[start], "patchB": boxes[end]}
        ax.annotate("", FLOW[end][:2], FLOW[start][:2], arrowprops=arrow)
    for column, words in enumerate(("moved by", "numbers", "can correct")):
        ax.text(column, -0.62, words, ha="center", fontsize=9, color=COLORS["neutral"])
    ax.set(xlim=(-0.5, 2.5), ylim=(2.35, -0.8))
    ax.axis("off")
    ax.set_title("Counting undoes a stretch; a sign needs γ,\na mixture the weights")
    return fig


def one_line(lines: Mapping[str, Line]) -> Figure:
    """One channel's line: stored, counted anew, and on the way of the gradient."""
    fig, ax = plt.subplots(figsize=(5.2, 3.6))
    x = np.array([-1.0, 12.0])
    kinds = {"stored": ("running", 2.0), "counted": ("theory", 5.0)}
    dashes = iter([":", "-.", "--"])
    for name, (slope, offset) in lines.items():
        color, width = kinds.get(name, ("measured", 1.5))
        style: Any = "-" if name in kinds else next(dashes)
        ax.plot(x, slope * x + offset, color=COLORS[color], lw=width, ls=style, label=name)
    for seen, line, marker in (((0, 4), "stored", "o"), ((3, 11), "counted", "s")):
        slope, offset = lines[line]
        ax.plot(seen, [slope * v + offset for v in seen], marker, color=COLORS["exact"], zorder=4)
    stored = lines["stored"]
    wrong = [stored.slope * v + stored.offset for v in (3, 11)]
    ax.plot((3, 11), wrong, "s", mfc="white", mec=COLORS["exact"], zorder=4)
    ax.set(xlabel="input of the channel, $x$", ylabel="output, $Ax+B$")
    ax.set_title("Counting and a gradient find the same line")
    ax.legend()
    return fig


def recovered(shares: Mapping[tuple[str, str], Interval]) -> Figure:
    """Share of the lost accuracy that each remedy recovers, a panel a shift."""
    shifts = list(dict.fromkeys(shift for shift, _ in shares))
    names = list(dict.fromkeys(remedy for _, remedy in shares))
    fig, axes = plt.subplots(1, len(shifts), figsize=(7.4, 3.0), sharey=True)
    for ax, shift in zip(np.atleast_1d(axes), shifts, strict=True):
        for row, name in enumerate(names):
            theorem = name.startswith("target statistics")
            color = COLORS["theory"] if theorem else COLORS["measured"]
            middle, ends = _bars([shares[shift, name]])
            ax.errorbar(middle, row, xerr=ends, marker="os"[theorem], color=color)
        ax.axvline(0, color=COLORS["neutral"], lw=1)
        ax.axvline(1, color=COLORS["neutral"], lw=1, ls="--")
        exact = {"contrast": "target statistics", "negative": NEGATED}.get(shift)
        place = names.index(exact or "target statistics")
        text = "theorem\nsays 1" if exact else "no\ntheorem"
        ax.text(0.88, place, text, ha="right", va="center", fontsize=8)
        ax.set(title=shift, xlim=(-0.35, 1.15))
        ax.title.set_fontsize(10)
        ax.grid(False, axis="y")
    first = np.atleast_1d(axes)[0]
    first.set_yticks(range(len(names)), names)
    first.set_ylim(len(names) - 0.5, -0.5)
    fig.supxlabel("share of the lost accuracy that is recovered", size=10.5)
    fig.suptitle("Statistics undo a contrast; a mixture needs weights", x=0.01, ha="left")
    return fig


def table(cells: Mapping[tuple[str, str], Arm]) -> Figure:
    """Accuracy of the twelve cells as a heat map, with the chosen rates."""
    names = list(TRAINED)
    values = np.array([[cells[s, t].accuracy.mean() for t in names] for s in STATISTICS])
    fig, ax = plt.subplots(figsize=(6.4, 2.8))
    ax.imshow(values, cmap="cividis", aspect="auto")
    middle = (values.min() + values.max()) / 2
    for (row, column), value in np.ndenumerate(values):
        rate = cells[STATISTICS[row], names[column]].rate
        words = f"{value:.1f} %" + (f"\nrate {rate}" if rate else "")
        ink = "white" if value < middle else "black"
        ax.text(column, row, words, ha="center", va="center", color=ink, size=9)
    ax.set_xticks(range(len(names)), names)
    ax.set_yticks(range(len(STATISTICS)), STATISTICS)
    ax.set(xlabel="what is tuned on the labelled rows", ylabel="statistics")
    ax.grid(False)
    ax.set_title("What is tuned decides; whose statistics hardly matters at 32 rows")
    return fig


def first_losses(
    looks_at: Mapping[str, Mapping[int, Mapping[str, float]]], distances: Mapping[int, float]
) -> Figure:
    """Loss before any update by m, a panel for target and for source rows; D(m) on the right."""
    fig, axes = plt.subplots(1, 2, figsize=(7.4, 3.1), sharey=True)
    for ax, (rows, by_size) in zip(axes, looks_at.items(), strict=True):
        sizes = list(by_size)
        modes = {"training mode": "batch", "frozen, source": "source", "frozen, target": "target"}
        for name, look in looks(modes).items():
            losses = [by_size[m][modes[name]] for m in sizes]
            ax.plot(sizes, losses, look.marker, ls=look.linestyle, color=look.color, label=name)
        right = ax.twinx()
        right.plot(sizes, [distances[m] for m in sizes], color=COLORS["neutral"], ls=":")
        right.set_ylim(0, 1)
        right.tick_params(labelright=ax is axes[1])
        right.grid(False)
        ax.set(xscale="log", title=f"{rows} rows", xlabel="rows in a batch, $m$")
        ax.set_xticks(sizes, [str(m) for m in sizes])
        ax.minorticks_off()
        if ax is axes[1]:
            right.set_ylabel("noise $D(m)$ (dotted)")
    axes[0].set_ylabel("loss before any step")
    axes[0].legend()
    title = "Training mode alone raises the loss, as the noise of the batch does"
    fig.suptitle(title, x=0.01, ha="left")
    return fig


def subsets(scores: Mapping[tuple[str, int], Interval]) -> Figure:
    """Accuracy by what is tuned, one kind of dots for each number of labels."""
    names = list(dict.fromkeys(name for name, _ in scores))
    labels = list(dict.fromkeys(n for _, n in scores))
    fig, ax = plt.subplots(figsize=(6.4, 3.0))
    for place, n in enumerate(labels):
        middle, ends = _bars(scores[name, n] for name in names)
        color = (COLORS["measured"], COLORS["theory"], COLORS["running"])[place % 3]
        rows = np.arange(len(names)) + 0.14 * place
        dots: Any = {"marker": MARKERS[place % 6], "ls": "none", "color": color}
        ax.errorbar(middle, rows, xerr=ends, label=f"{n} labels", **dots)
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.grid(False, axis="y")
    ax.set(xlabel="accuracy on the target (percent)")
    ax.set_title("With more labels γ and β alone fall behind")
    ax.legend()
    return fig


def entropy(runs: Mapping[tuple[float, str], Mapping[str, Stream]]) -> Figure:
    """Change of accuracy by pass, a panel a rate, after one sorted pass as dots; and entropy."""
    rates = list(dict.fromkeys(rate for rate, _ in runs))
    look = looks(dict.fromkeys(name for _, name in runs))
    fig, axes = plt.subplots(1, len(rates) + 1, figsize=(7.4, 3.4))
    for (rate, name), streams in runs.items():
        ax, mixed, style = axes[rates.index(rate)], streams["mixed"], look[name]
        change = {kind: (v.accuracy - v.accuracy[0]).mean(1) for kind, v in streams.items()}
        passes = np.arange(len(mixed.accuracy))
        line: Any = {"ls": style.linestyle, "label": name}
        ax.plot(passes, change["mixed"], color=style.color, **line)
        ax.plot([1], change["sorted"][-1:], style.marker, color=style.color)
        if rate == rates[0]:
            axes[-1].plot(passes, mixed.entropy.mean(1), color=style.color, **line)
        ax.set_title(f"rate {rate:g}", fontsize=10)
    for ax in axes[:-1]:
        ax.axhline(0, color=COLORS["neutral"], lw=1)
        ax.set_yscale("symlog", linthresh=2)
        ticks = [-20, -10, -5, -2, -1, 0, 1, 2]
        ax.set_yticks(ticks, [f"{tick}".replace("-", "−") for tick in ticks])
        ax.minorticks_off()
    axes[0].set_ylabel("accuracy against the start (points)")
    axes[-1].set_title(f"entropy (nats), rate {rates[0]:g}", fontsize=10)
    axes[-1].set_ylim(0, None)
    axes[-1].legend(fontsize=8)
    fig.supxlabel("passes over the target", size=10.5)
    title = "Entropy falls all the way; accuracy does not follow (dots: one sorted pass)"
    fig.suptitle(title, x=0.01, ha="left")
    return fig


def photographs(cosines: pd.DataFrame, borders: pd.DataFrame) -> Figure:
    """Cosine to the clean crop, stored and target statistics; and with the padding changed."""
    fig, ax = plt.subplots(figsize=(6.8, 3.2))
    names = [name for name in dict.fromkeys(cosines["corruption"]) if name != "clean"]
    rows = [*names, "dark, tiny ε", "dark, tiny ε,\nborder too"]
    kinds = {"stored": COLORS["running"], "target": COLORS["theory"]}
    for place, network in enumerate(dict.fromkeys(cosines["network"])):
        for kind, color in kinds.items():
            of = cosines[(cosines["network"] == network) & (cosines["statistics"] == kind)]
            values = list(of.set_index("corruption")["cosine"][names])
            if kind == "target":
                values += list(borders.loc[network, ["dark", "dark, border too"]])
            label, at = f"{network}, {kind}", np.arange(len(values)) + 0.16 * place
            ax.plot(values, at, MARKERS[place], color=color, label=label)
    ax.set_yticks(range(len(rows)), rows)
    ax.set(ylim=(len(rows) - 0.4, -0.5), xlabel="cosine to the clean crop, same kind of statistics")
    ax.grid(False, axis="y")
    ax.set_title("Exact for contrast about the padding value, lost elsewhere")
    ax.legend()
    return fig


LABELLED = ("γ, β", "γ", "β", "random weights", "head", "all")


def more_labels(scores: Mapping[tuple[str, str, str, int], Interval]) -> Figure:
    """Accuracy by the number of labels, a line for what is tuned, a panel for each way."""
    ways = list(dict.fromkeys(way for way, *_ in scores))
    fig, axes = plt.subplots(1, len(ways), figsize=(7.4, 3.6), squeeze=False)
    axes = axes[0]
    for ax, way in zip(axes, ways, strict=True):
        for name, look in looks(dict.fromkeys(LABELLED)).items():
            line = {n: v for (w, s, t, n), v in scores.items() if (w, s, t) == (way, "with", name)}
            middle, ends = _bars(line.values())
            style: Any = {"color": look.color, "ls": look.linestyle, "marker": look.marker[0]}
            ax.errorbar(list(line), middle, ends, label=name, **style)
        labels = sorted({n for *_, n in scores})
        ax.set(xscale="log", title=way, xlabel="labelled rows")
        ax.set_xticks(labels, [str(n) for n in labels])
        ax.minorticks_off()
    axes[0].set_ylabel("accuracy on the target (percent)")
    axes[0].legend(fontsize=8)
    fig.suptitle(
        "Labels favour the head and all numbers; γ alone does what γ and β do", x=0.01, ha="left"
    )
    return fig


def mixtures(lines: Any) -> Figure:
    """Agreement with the clean crop by the weight of target statistics, a panel a network."""
    count = lines.network.nunique()
    fig, axes = plt.subplots(1, count, figsize=(7.6, 3.9), sharey=True, squeeze=False)
    axes = axes[0]
    for ax, (network, part) in zip(axes, lines.groupby("network", sort=False), strict=True):
        groups = {str(name): rows for name, rows in part.groupby("corruption", sort=False)}
        ax.plot(
            groups.pop("clean").agreement.to_list(), color=COLORS["neutral"], lw=2.5, label="clean"
        )
        for name, look in looks(groups).items():
            style: Any = {"color": look.color, "ls": look.linestyle, "label": name}
            ax.plot(groups[name].agreement.to_list(), look.marker, **style)
        weights = [f"{weight:g}" for weight in dict.fromkeys(part.weight)]
        ax.set_xticks(range(len(weights)), weights, fontsize=7)
        ax.set_title(str(network), fontsize=10)
        ax.set_xlabel("weight λ")
    axes[0].set_ylabel("same first class as the clean crop (%)")
    fig.legend(
        *axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=8
    )
    title = "A little of the target's statistics hardly helps; all of them destroy"
    fig.suptitle(title, x=0.01, ha="left")
    return fig
