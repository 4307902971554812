"""Learning rates of small networks: the sweeps, and what the first step's expansion says of them.

A cell is an activation and a number L of weight matrices; an architecture is an arm in a cell.
Every frame has one row a seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import torch

from bnlib import data, interactions, statistics
from bnlib.interactions import Problem, descend
from bnlib.landscape.ascent import first_ascent
from bnlib.networks import arms
from bnlib.networks.spec import BATCH_ORDER, seeded
from bnlib.training import sweep

RATES = tuple(2.0**k for k in range(-7, 7))
SMALL_STEP = 1e-2  # promised decrease at which second differences are taken
R_GRID = np.logspace(-2, 1.5, 36)  # promised decreases among which the loss first rises
CHECKED = 512  # first training rows: final loss, frozen statistics
BAD_STARTS = ("small", "big", "last-small", "bn-last-small")


@cache
def rows_of(dataset: str = "digits") -> data.Split:
    """A data set in one fixed permutation (digits: 1400 training rows), standardized.

    Mean and deviation of each column are those of the training rows; clipped as in the chapter
    `interactions`.  dataset: as for `data.load`.
    """
    given = data.digits_split(0, 1400) if dataset == "digits" else data.load(dataset, 0)
    x, x_test = (data.standardized(v, given.x_train) for v in (given.x_train, given.x_test))
    return given._replace(x_train=x, x_test=x_test)


def start(
    name: str,
    activation: str,
    depth: int,
    seeds: Sequence[int],
    rows: data.Split,
    *,
    width: int = 32,
    affine: bool = True,
) -> arms.Arm:
    """The arm of a name as in `arms.build`, and "bn-last-small": BN, the last W times 0.1.

    affine: whether normalized arms have gamma and beta.  Frozen statistics: of the checked rows.
    """
    sizes = (rows.x_train.shape[1], *(width,) * (depth - 1), rows.classes)
    shared = torch.from_numpy(rows.x_train[:CHECKED]).expand(len(seeds), -1, -1)
    base = "bn" if name == "bn-last-small" else name
    arm = arms.build(base, sizes, seeds, shared, activation=activation)
    params = dict(arm.params)
    if base != name:
        params[f"W{depth}"] = params[f"W{depth}"] * arms.LAST
    if not affine:
        params = {n: v for n, v in params.items() if not n.startswith(("gamma", "beta"))}
        arm = replace(arm, spec=replace(arm.spec, scale=False, shift=False))
    return replace(arm, params=params)


def batches(seeds: Sequence[int], n: int, *, steps: int, batch: int = 64) -> torch.Tensor:
    """Row numbers (steps, S, batch), drawn with replacement from each seed's own stream."""
    drawn = [seeded(s, BATCH_ORDER).integers(n, size=(steps, batch)) for s in seeds]
    return torch.from_numpy(np.stack(drawn, 1))


def swept(
    name: str,
    activation: str,
    depth: int,
    seeds: Sequence[int],
    rates: Sequence[float] = RATES,
    *,
    dataset: str = "digits",
    steps: int = 80,
    width: int = 32,
    affine: bool = True,
    **options: Any,
) -> sweep.Sweep:
    """One architecture trained at every rate.  options: of `sweep.train_sweep`."""
    rows = rows_of(dataset)
    arm = start(name, activation, depth, seeds, rows, width=width, affine=affine)
    order, test = batches(seeds, len(rows.x_train), steps=steps), (rows.x_test, rows.y_test)
    return sweep.train_sweep(
        arm, rows.x_train, rows.y_train, rates, order=order, check=CHECKED, test=test, **options
    )


def targets(
    run: sweep.Sweep, rates: Sequence[float], classes: int, threshold: float = 0.5
) -> dict[str, list[float]]:
    """`sweep.rate_targets` of every seed as plain lists, for a frame or a stored table."""
    found = sweep.rate_targets(run, rates, classes=classes, threshold=threshold)
    return {name: np.asarray(value).tolist() for name, value in found._asdict().items()}


def problem(
    name: str,
    activation: str,
    depth: int,
    seeds: Sequence[int],
    *,
    dataset: str = "digits",
    batch: int = 64,
    **options: Any,
) -> Problem:
    """The start of an architecture with a batch of training rows for every seed, float64."""
    rows = rows_of(dataset)
    arm = start(name, activation, depth, seeds, rows, **options)
    n = len(rows.x_train)
    chosen = np.stack([seeded(s, BATCH_ORDER).permutation(n)[:batch] for s in seeds])
    x, y = (torch.from_numpy(part[chosen]) for part in (rows.x_train, rows.y_train))
    return Problem(arm, x, y)


def predictors(at: Problem, *, descended: int = 0) -> dict[str, list[float]]:
    """What the expansion of one gradient step says about rates, a list of S each.

        k_off, k_total    [INT(t) + INT(-t)] / (t^2 |g|^2),  the same of the whole change, at the
                          step t that promises 1/100 of the loss: signed, unit 1/rate
        eps_up            first rate at which the loss of the batch rises
        baseline          L_0 / |g|^2
        share             INT at a promised halving, as a share of the promise
        hvp_off, hvp_total   as k_off, k_total, by Hessian-vector products, blind to kinks

    descended: so many matched steps from the start first.
    """
    params = descend(at, steps=descended) if descended else dict(at.arm.params)
    loss, grads = interactions.gradient(at.loss, params)
    square = interactions.layer_dots(grads, grads).sum(1)
    down = {name: -grad for name, grad in grads.items()}

    def split(step: torch.Tensor) -> interactions.StepSplit:
        values = interactions.corners(at.loss, params, down, step)
        return interactions.step_split(values, -step * square)

    small, half = (interactions.match_loss(loss, -square, r) for r in (SMALL_STEP, 0.5))
    ahead, back, long = split(small), split(-small), split(half)
    scale = small.square() * square
    grid = torch.from_numpy(R_GRID)[:, None] * loss / square
    bent = interactions.curvature_split(at.loss, params, down)
    found = {
        "k_off": (ahead.inter + back.inter) / scale,
        "k_total": (ahead.total + back.total) / scale,
        "eps_up": first_ascent(at.loss, params, down, grid),
        "baseline": loss / square,
        "share": -long.inter / long.lin,
        "hvp_off": bent.off * square / loss,
        "hvp_total": bent.kappa * square / loss,
    }
    return {name: value.detach().tolist() for name, value in found.items()}


def survey(
    names: Sequence[str],
    cells: Sequence[tuple[str, int]],
    seeds: Sequence[int],
    rates: Sequence[float] = RATES,
    *,
    dataset: str = "digits",
    predict: bool = True,
    threshold: float = 0.5,
    **options: Any,
) -> tuple[pd.DataFrame, dict[tuple[str, int, str], sweep.Sweep]]:
    """Targets and predictors of every arm in every cell, and the sweeps by (activation, L, arm).

    `bn-last-hidden` with two weight matrices is `bn` and left out.
    """
    frames, runs = [], {}
    for (activation, depth), name in product(cells, names):
        if name == "bn-last-hidden" and depth == 2:
            continue
        key = activation, depth, name
        runs[key] = swept(*_place(key), seeds, rates, dataset=dataset, **options)
        found = targets(runs[key], rates, rows_of(dataset).classes, threshold)
        if predict:
            own = {k: v for k, v in options.items() if k in ("width", "affine")}
            found |= predictors(problem(*_place(key), seeds, dataset=dataset, **own))
        where = dict(zip(("activation", "L", "arm"), key, strict=True))
        frames.append(pd.DataFrame({**where, "seed": list(seeds), **found}))
    return pd.concat(frames, ignore_index=True), runs


def overview(frame: pd.DataFrame, by: Sequence[str], rates: Sequence[float]) -> pd.DataFrame:
    """Every target for the eye: median over seeds and range, in log2; >= at the grid's edge."""
    grid, groups = np.log2(rates), frame.groupby(list(by), sort=False)
    found = {
        name: groups[name].agg(lambda v: _spread(v, grid[-1]))
        for name in ("max_trainable", "max_stable", "best")
    }
    found["passing"] = groups["passing"].agg(lambda v: _spread(v, np.inf))
    for name in ("share", "eps_up"):
        if name in frame:
            found[name] = groups[name].median().map("{:.2f}".format)
    found["censored"] = groups["censored"].agg(lambda v: int(v.sum()))
    found["never"] = groups["passing"].agg(lambda v: int((v == 0).sum()))
    return pd.DataFrame(found)


def _spread(values: pd.Series, edge: float) -> str:
    low, middle, high = values.min(), values.median(), values.max()
    return f"{'≥ ' * bool(middle >= edge)}{middle:g} ({low:g} to {high:g})"


def equal_rate(
    runs: Mapping[tuple[str, int, str], sweep.Sweep],
    place: int,
    against: tuple[str, str] = ("bn", "none"),
) -> pd.DataFrame:
    """Median final loss of every arm at rate number `place`, one row a cell, and one paired gap."""
    lines: dict[tuple[str, int], dict[str, str]] = {}
    for (activation, depth, arm), one in runs.items():
        final = one.final[place]
        lines.setdefault((activation, depth), {})[arm] = f"{np.median(final):.2f}"
    for cell, line in lines.items():
        first, second = (runs[*cell, arm].final[place] for arm in against)
        gap = statistics.paired_difference(first, second)
        text = f"{gap.estimate:+.2f} ({gap.low:+.2f} to {gap.high:+.2f})"
        line[" - ".join(against)] = text
    return pd.DataFrame(lines).T.rename_axis(["activation", "L"])


def _place(key: tuple[str, int, str]) -> tuple[str, str, int]:
    activation, depth, name = key
    return name, activation, depth
