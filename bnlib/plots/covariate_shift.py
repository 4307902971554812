"""Figures of covariate shift: the theorem, arms compared under several rules, noise, proxies.

Every function draws on the axes it is given and returns them; what is drawn was computed before.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import LogFormatter

from bnlib.experiments.covariate_shift import proxies, smoothness, verdicts
from bnlib.plots import curves, landscape
from bnlib.plots.style import COLORS, looks

PROXY_CHANGES = {
    "noise": "three times the noise",
    "rate": "four times the rate",
    "start": "twice as far away",
    "2 H": "twice the Hessian",
}
_MEASURED_ON_RUNS = {"relative": "relative shift", "cosine": "cosine"}
_TICKS = (-1.0, -0.1, -0.01, 0.0, 0.01, 0.1, 1.0, 10.0)
_OVER = 10  # batches in the running mean of a loss


def plain_log(ax: Axes) -> Axes:
    """A logarithmic y axis whose ticks are written without powers of ten."""
    ax.set_yscale("log")
    ax.yaxis.set_major_formatter(LogFormatter())
    ax.yaxis.set_minor_formatter(LogFormatter(labelOnlyBase=False, minor_thresholds=(1.5, 0.5)))
    return ax


def misses(ax: Axes, steps: np.ndarray, found: Mapping[str, np.ndarray]) -> Axes:
    """How far each rule of integration misses the interaction, against the step, with slope 3.

    found: rule -> (K, S) for K descending steps, "left endpoint" among them; medians are drawn.
    """
    curves.error_lines(ax, steps, {rule: np.median(v, axis=1) for rule, v in found.items()})
    smallest = float(np.median(found["left endpoint"], axis=1)[-1])
    curves.slope_guide(ax, (steps[-1], 4 * steps[-1]), 40 * smallest, 3)
    return ax


def one_quantity(
    axes: Sequence[Axes], way: pd.DataFrame, names: Sequence[str], *, linear: float = 0.003
) -> Sequence[Axes]:
    """Interaction against projected covariate shift, a panel an arm, a mark a rate and point.

    way: rows with arm, rule (the rate, written), "sum" and "int".  linear: where the symmetric
    logarithmic axes turn linear.
    """
    values = way[["int", "sum"]].to_numpy()
    low, high = min(float(values.min()), 0.0) - linear, 1.4 * float(values.max())
    for name, ax in zip(names, axes, strict=True):
        ax.plot([low, high], [low, high], color=COLORS["neutral"], lw=1.0, label="equal")
        for eta, look in looks(list(way.rule.unique())).items():
            rows = way[(way.arm == name) & (way.rule == eta)]
            style = {"color": look.color, "ms": 4, "label": f"η = {eta}"}
            ax.plot(rows["sum"], rows["int"], look.marker, **style)
        ax.set(title=name, xlabel=r"covariate shift, $-\sum s_i\rho_i$")
        ax.set_xscale("symlog", linthresh=linear)
        ax.set_yscale("symlog", linthresh=linear)
        places = [tick for tick in _TICKS if low <= tick <= high]  # powers near 0 would overlap
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_ticks(places, [f"{tick:g}" for tick in places])
        ax.set(xlim=(low, high), ylim=(low, high))
    axes[0].set(ylabel=r"interaction, INT$/(\eta|g|^2)$")
    axes[0].legend()
    return axes


def by_rule(
    axes: np.ndarray, survey: pd.DataFrame, names: Sequence[str], depths: Sequence[int]
) -> np.ndarray:
    """Relative shift and cosine along training: quartiles over seeds, a line an arm.

    axes: (2 len(depths), rules), two rows a depth.  survey: rows with L, rule, arm, at, relative,
    cosine; a column a rule, in the order of the survey.
    """
    rules = list(survey.rule.unique())
    lines = [(depth, what) for depth in depths for what in _MEASURED_ON_RUNS]
    for (depth, what), line in zip(lines, axes, strict=True):
        for rule, ax in zip(rules, line, strict=True):
            part = survey[(survey["L"] == depth) & (survey.rule == rule)]
            for name, look in looks(names).items():
                x, low, middle, high = verdicts.quartiles(
                    pd.DataFrame(part[part.arm == name]), what
                )
                ax.plot(x, middle, color=look.color, linestyle=look.linestyle, label=name)
                ax.fill_between(x, low, high, color=look.color, alpha=0.15, linewidth=0)
        line[0].set(ylabel=f"L = {depth}\n{_MEASURED_ON_RUNS[what]}")
    for rule, top, bottom in zip(rules, axes[0], axes[-1], strict=True):
        top.set(title=rule)
        bottom.set(xlabel="step")
    axes[0, -1].legend(fontsize="small")
    return axes


def noise(axes: Sequence[Axes], shifts: Mapping[str, Any], steps: int) -> Sequence[Axes]:
    """Loss, shift of distributions and shift of gradients of the noisy arms, medians over seeds.

    shifts: arm -> `experiments.covariate_shift.noise.Shift` of a run of `steps` steps.
    """
    titles = {
        "loss": "Loss of the training batches",
        "distribution": "Shift of distributions:\nthe noise raises it",
        "relative": "Shift of gradients:\nBN and noisy BN alike",
    }
    for (what, title), ax in zip(titles.items(), axes, strict=True):
        for name, look in looks(shifts).items():
            middle = np.nanmedian(np.asarray(getattr(shifts[name], what)), axis=1)
            x = np.linspace(0, steps, len(middle)) if what == "relative" else np.arange(len(middle))
            if what == "loss":  # batches differ from step to step
                middle = np.convolve(middle, np.ones(_OVER) / _OVER, "valid")
                x = x[_OVER - 1 :]
            ax.plot(x, middle, color=look.color, linestyle=look.linestyle, label=name)
        ax.set(xlabel="step", title=title)
    plain_log(axes[0]).legend(loc="lower left")
    plain_log(axes[1])
    axes[2].set_ylim(bottom=0)
    return axes


def smooth(
    axes: np.ndarray, walked: pd.DataFrame, names: Sequence[str], titles: Mapping[str, str]
) -> np.ndarray:
    """Loss (above) and change of the gradient (below) along -g, a column a unit of steps.

    axes: (2, units).  walked: from `smoothness.survey`.  titles: unit -> title of its column.
    """
    for (unit, title), column in zip(titles.items(), axes.T, strict=True):
        own = walked[walked.unit == unit]
        words = ("", "") if unit == "raw" else (" / loss", " / |g|")
        labels = (f"loss along -g{words[0]}", f"change of the gradient{words[1]}")
        for line, label, ax in zip(("loss-line", "change-line"), labels, column, strict=True):
            found = {
                name: smoothness.envelope(pd.DataFrame(own[own.arm == name]), line)
                for name in names
            }
            places = next(iter(found.values()))[0]
            landscape.bands(ax, places, {name: (v[1], v[2], v[3]) for name, v in found.items()})
            plain_log(ax).set(ylabel=label)
        column[0].set(title=title)
        column[1].set(xlabel="training step")
    return axes


def proxy_changes(ax: Axes, table: pd.DataFrame) -> Axes:
    """By what factor each proxy changes with what it should not see, and with the Hessian.

    table: from `proxies.table`.  A proxy of smoothness ought to stay at 1 in the hollow marks and
    to double in the filled one; the two truths are below the line.
    """
    shown = [*proxies.PROXIES, "largest", "along"]
    rows = np.arange(len(shown))
    names = looks([f"change {kind}" for kind in PROXY_CHANGES]).values()
    for (kind, label), look in zip(PROXY_CHANGES.items(), names, strict=True):
        style: Any = {"ms": 10, "mfc": "none", "zorder": 3}
        if kind == "2 H":
            style = {"ms": 6, "zorder": 2}
        style |= {"color": look.color, "label": label}
        ax.plot(table.loc[shown, kind], rows, look.marker, **style)
    ax.axhline(len(proxies.PROXIES) - 0.5, color=COLORS["neutral"], lw=0.8)
    for place in (1, 2):
        ax.axvline(place, color=COLORS["neutral"], lw=1.0, ls=":")
    ax.set_xscale("log", base=2)
    ax.set_xticks([0.5, 1, 2, 4], ["½", "1", "2", "4"])
    words = proxies.PROXIES | proxies.TRUTHS
    ax.set_yticks(rows, [words[key] for key in shown])
    ax.invert_yaxis()
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return ax
