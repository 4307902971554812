"""One picture of a sweep: a recorded value over a parameter, with intervals."""

import itertools
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

from bnlib.parameters import unknown
from bookbuild.grids import Plan
from bookbuild.table import parameter_columns

REPLICATE = "seed"  # runs that differ in nothing else are repetitions of one another
_LINES = 8  # more cannot be told apart
_MARKERS = "os^Dvp*X"


class Point(NamedTuple):
    """One mark: a value at x with its interval, as recorded, or over repetitions."""

    x: Any
    y: float
    low: float | None
    high: float | None


def check(plan: Plan, x: str, y: str) -> None:
    """Refuse a name for X that is no parameter; what Y may be is known after the runs only."""
    if x not in plan.declared:
        raise ValueError(unknown("parameter", x, {name: name for name in plan.declared}))


def draw(plan: Plan, parquet: Path, x: str, y: str) -> Path:
    """Write `<y>-over-<x>.svg` beside the table. A line a combination of the other parameters.

    Raises ValueError where no run recorded a number of that name.
    """
    import matplotlib

    lines = series(plan, parquet, x, y)
    repeated = any(len(point) > 1 for line in lines.values() for point in line.values())
    with matplotlib.rc_context({"svg.hashsalt": "bnlib"}):
        from matplotlib.figure import Figure

        figure = Figure(figsize=(6.4, 4.2), layout="constrained")
        ax = figure.subplots()
        for marker, (label, line) in zip(itertools.cycle(_MARKERS), lines.items()):
            _line(ax, [point(at, found) for at, found in line.items()], label, marker)
        what = "mean, 95 % t interval over runs" if repeated else "interval as recorded"
        ax.set(xlabel=x, ylabel=_with_unit(parquet, y), title=f"{plan.slug}: {y} over {x} ({what})")
        if len(lines) > 1:
            ax.legend()
        target = parquet.with_name(f"{y}-over-{x}.svg")
        figure.savefig(target, metadata={"Date": None})
    return target


def series(plan: Plan, parquet: Path, x: str, y: str) -> dict[str, dict[Any, list[Point]]]:
    """Points by x, by line; a line is named by the swept parameters other than X and seed."""
    from pyarrow.parquet import read_table

    columns = parameter_columns(plan)
    others = [columns[n] for n in _swept(plan) if n not in (x, REPLICATE)]
    wanted = [columns[x], *others, "name", "value", "low", "high"]
    table = read_table(parquet, columns=wanted, filters=[("kind", "==", "record")])
    lines: dict[str, dict[Any, list[Point]]] = defaultdict(lambda: defaultdict(list))
    names: dict[str, str] = {}
    for row in table.to_pylist():
        names[row["name"]] = row["name"]
        if row["name"] == y and row["value"] is not None:
            label = ", ".join(f"{name} {row[name]}" for name in others)
            at = row[columns[x]]
            lines[label][at].append(Point(at, row["value"], row["low"], row["high"]))
    if not lines:
        raise ValueError(unknown("recorded number", y, names))
    if len(lines) > _LINES:
        raise ValueError(f"expected at most {_LINES} lines, got {len(lines)}: {others} vary")
    return lines


def point(x: Any, found: list[Point]) -> Point:
    """One run's value as it is; of several their mean with its 95 % t interval."""
    if len(found) == 1:
        return found[0]
    import numpy as np
    from scipy.stats import t

    values = np.array([one.y for one in found])
    half = t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
    mean = float(values.mean())
    return Point(x, mean, mean - half, mean + half)


def _with_unit(parquet: Path, y: str) -> str:
    from pyarrow.parquet import read_table

    rows = [("kind", "==", "record"), ("name", "==", y)]
    found = read_table(parquet, columns=["unit"], filters=rows)["unit"].unique().to_pylist()
    units = " or ".join(sorted(unit for unit in found if unit))
    return f"{y} [{units}]" if units else y


def _line(ax: Any, points: list[Point], label: str, marker: str) -> None:
    number = all(isinstance(one.x, int | float) for one in points)
    points = sorted(points) if number else points
    xs = [one.x if number else str(one.x) for one in points]
    ys = [one.y for one in points]
    below = [0 if one.low is None else max(0, one.y - one.low) for one in points]
    above = [0 if one.high is None else max(0, one.high - one.y) for one in points]
    ax.errorbar(xs, ys, yerr=[below, above], label=label, marker=marker, capsize=3)


def _swept(plan: Plan) -> list[str]:
    """Parameters that take more than one value in the plan."""
    values = defaultdict(set)
    for grid in plan.grids:
        for name in plan.declared:
            found = grid.get(name, [plan.declared[name].default])
            values[name] |= set(map(repr, found))
    return [name for name, found in values.items() if len(found) > 1]
