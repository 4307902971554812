"""Interactions between layers, measured: one step of many networks, and all orders of one step.

A cell is (activation, L, state, how steps are matched, size). A frame of steps is that of the
library's `survey`, one row a seed. Rows of cells have a median over seeds, the ends of its
interval and the sign of that interval, 0 where 0 lies inside.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import combinations, product
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bnlib import interactions as split
from bnlib import statistics, training
from bnlib.orders import order_sums

if TYPE_CHECKING:
    from bnlib.chapters.interactions import Settings

CELL = ["activation", "L", "state", "matched", "size"]
COMPARED = ("none", "frozen", "bn")  # arms of every cell
SITUATIONS = ("relu", "start"), ("relu", "trained"), ("tanh", "trained")
FAMILIES = ("none", "small", "big", "frozen", "bn", "bn-last-hidden", "layer-norm")
PARTS = ("loss", "logits")  # whose orders are measured
IDENTITIES = {
    "orders": "sum of all orders - total",
    "inter": "INT from L + 2 passes - sum of orders from 2 on",
    "shares": "act + own + int - 1",
    "two-parts": "curvature + network - INT",
    "rescaled": "M4 after random rescaling of a BN network's layers, ε = 0",
    "small-steps": "int / (r κ_off / 2) - 1 at r = 1e-4, tanh",
    "kinks": "the same at r = 1e-2, ReLU",
}
CHANGES: dict[str, dict[str, Any]] = {
    "as above": {},
    "M4": {"rule": "layer-normalized"},
    "batch 16": {"batch": 16},
    "batch 256": {"batch": 256},
    "width 16": {"width": 16},
    "width 64": {"width": 64},
    "width 128, batch 128": {"width": 128, "batch": 128},
    "ε = 0": {"eps": 0.0},
    "ε = 1e-2": {"eps": 1e-2},
    "hidden W × 0.01, ε = 1e-5": {"factor": 0.01},
    "hidden W × 0.01, ε = 1e-2": {"factor": 0.01, "eps": 1e-2},
}


@training.one_thread()
def survey(given: Settings, arms: Sequence[str], **grid: Any) -> pd.DataFrame:
    """The library's `survey` of these arms with the chapter's seeds and bench."""
    return split.survey(arms, range(given.seeds), **{**given.bench, **grid})


def every_cell(given: Settings) -> pd.DataFrame:
    """Steps of all arms that the claims compare, in all cells."""
    sizes = {"r_values": given.r_values, "c_values": given.c_values, "rule": given.direction}
    networks = {"activations": given.activations, "depths": given.depths, **given.both_states}
    return survey(given, [*COMPARED, *given.others], **networks, **sizes)


def situations(given: Settings) -> dict[tuple[str, str], pd.DataFrame]:
    """Steps of growing size with eight weight matrices, by activation and state."""
    sizes = np.sort(np.append(np.logspace(-2, 0.5, given.r_points), 0.5))
    grid = {"r_values": sizes, "steps": given.steps}
    cases = {case: {"activations": case[:1], "states": case[1:]} for case in SITUATIONS}
    return {case: survey(given, COMPARED, **where, **grid) for case, where in cases.items()}


def medians(steps: pd.DataFrame, what: str, by: Sequence[str]) -> pd.DataFrame:
    """Median over seeds with its interval, one row for each group of `by`."""
    wide = steps.pivot_table(index="seed", columns=list(by), values=what, sort=False)
    return statistics.column_medians(wide).drop(columns="sign")


def by_seed(steps: pd.DataFrame, what: str) -> Any:
    """One column: a row each seed, a column each arm and cell."""
    return steps.pivot_table(index="seed", columns=["arm", *CELL], values=what, sort=False)


def differences(
    steps: pd.DataFrame, what: str, first: str = "bn", second: str = "none"
) -> pd.DataFrame:
    """Median of first - second over common seeds with its interval and sign, one row a cell."""
    wide = by_seed(steps, what)
    return statistics.column_medians(wide[first] - wide[second])


def described(steps: pd.DataFrame, what: str) -> pd.DataFrame:
    """Every cell for the eye: both medians, BN - none, its interval, its range over all seeds."""
    wide, rows = by_seed(steps, what), differences(steps, what)
    gap = wide["bn"] - wide["none"]

    def pair(low: Any, high: Any) -> Any:
        return low.map("{:+.3f}".format) + " to " + high.map("{:+.3f}".format)

    table = {
        "none": wide["none"].median().map("{:.3f}".format),
        "bn": wide["bn"].median().map("{:.3f}".format),
        "bn - none": rows.estimate.map("{:+.3f}".format),
        "95 % interval": pair(rows.low, rows.high),
        "all seeds": pair(gap.min(), gap.max()),
        "reading": rows.sign.map({-1.0: "below 0", 0.0: "open", 1.0: "above 0"}),
    }
    return pd.DataFrame(table).droplevel("matched")


def frozen_share(steps: pd.DataFrame) -> pd.DataFrame:
    """BN - frozen of int, and what frozen statistics already give, one row a cell.

        phi = median(frozen - none) / median(bn - none)

    with its 95 % bootstrap interval over seeds, wide, or beyond 0 and 1, where bn - none is
    about 0.
    """
    rows, wide = differences(steps, "int", "bn", "frozen"), by_seed(steps, "int")
    part, whole = (np.asarray((wide[a] - wide["none"])[list(rows.index)]) for a in ("frozen", "bn"))
    picks = np.random.default_rng(0).integers(len(part), size=(2000, len(part)))
    with np.errstate(divide="ignore", invalid="ignore"):
        drawn = np.median(part[picks], axis=1) / np.median(whole[picks], axis=1)
        phi = np.median(part, axis=0) / np.median(whole, axis=0)
    low, high = np.quantile(drawn, (0.025, 0.975), axis=0)
    return rows.assign(**{"phi": phi, "phi low": low, "phi high": high})


def slope_in_depth(steps: pd.DataFrame) -> pd.DataFrame:
    """Theil-Sen slope in L of int, none - BN, one row a state and step size.

    The median over seeds of each seed's median slope over pairs of depths.
    """
    columns = ["arm", "state", "size", "L"]
    wide: Any = steps.pivot_table(index="seed", columns=columns, values="int", sort=False)
    gain, slopes = (wide["none"] - wide["bn"]).sort_index(axis=1), {}
    for cell in gain.columns.droplevel("L").unique():
        pairs = combinations(gain[cell].items(), 2)  # of ascending depths
        between = [(high - low) / (deep - shallow) for (shallow, low), (deep, high) in pairs]
        slopes[cell] = np.median(between, axis=0)
    return statistics.column_medians(pd.DataFrame(slopes).rename_axis(columns=["state", "size"]))


def at_start(steps: pd.DataFrame) -> Any:
    """int at the start, a row each seed, a column each arm."""
    start: Any = steps[steps.state == "start"]
    return start.pivot_table(index="seed", columns="arm", values="int")


def other_reasons(given: Settings) -> pd.DataFrame:
    """BN - none and BN - frozen of int at r = 1/2, eight layers: one row a setting and change.

    With small weights (`factor`) the network without norm has no signal left and is left out.
    """
    settings: dict[str, dict[str, Any]] = {
        "ReLU, start": {"activations": ["relu"], "states": ["start"]},
        "tanh, trained": {"activations": ["tanh"], "states": ["trained"], "steps": given.steps},
    }
    names = CHANGES if given.confounds else ("as above", "M4", "width 64")
    rows = {}
    for (setting, where), change in product(settings.items(), names):
        others = ["frozen"] if "factor" in CHANGES[change] else ["none", "frozen"]
        steps = survey(given, [*others, "bn"], r_values=[0.5], **{**where, **CHANGES[change]})
        for other in others:
            gap = differences(steps, "int", "bn", other).iloc[0]
            rows[setting, f"BN - {other}", change] = gap
    return pd.DataFrame(rows).T.drop(columns="sign").astype(float)


def orders(at: split.Problem, target: split.Aim) -> dict[str, np.ndarray]:
    """Sizes of the orders 0 ... L of one step, from all 2^L subsets of the layers, (S, L+1).

    loss: |A_k| at r = 1/2.  logits: ||A_k|| of centered logits at c = 1, in units of ||eta J d||.
    largest: max |loss| over the subsets, for the rounding floor, (S,).  gap, inter: how far the
    orders miss the total, and those from 2 on INT, (S,).
    """
    move = partial(split.all_subsets, params=target.params, direction=target.direction)
    size = split.match_loss(target.loss, target.slope, 0.5)
    losses, step = move(at.loss, step=size), split.match_output(target.derivative, 1.0)
    outputs = order_sums(split.centered(move(at.logits, step=step)), len(target.slopes[0]))
    moves = split.centered(target.derivative).flatten(1).norm(dim=1) * step
    sums = order_sums(losses, len(target.slopes[0]))
    few = split.corners(at.loss, target.params, target.direction, size)
    inter = split.step_split(few, size * target.slope).inter
    return {
        "loss": sums.abs().T.numpy(),
        "logits": (outputs.flatten(2).norm(dim=2) / moves).T.numpy(),
        "largest": losses.abs().amax(0).numpy(),
        "gap": (sums.sum(0) - losses[-1]).abs().numpy(),
        "inter": (sums[2:].sum(0) - inter).abs().numpy(),
    }


@training.one_thread()
def families(given: Settings) -> dict[tuple[str, str], dict[str, np.ndarray]]:
    """`orders` of the first step, by activation and arm."""
    sizes, depth, seeds = {}, given.order_depth, range(given.seeds)
    for activation, arm in product(given.activations, FAMILIES):
        at = split.problem(arm, depth, seeds, activation=activation)
        sizes[activation, arm] = orders(at, split.aim(at))
    return sizes


def high_share(sizes: np.ndarray) -> float:
    """Median share of the orders from 3 on in sum_{k >= 2} |A_k|; sizes (S, L+1)."""
    return float(np.median(sizes[:, 3:].sum(1) / sizes[:, 2:].sum(1)))


def high_shares(sizes: Mapping[Any, Mapping[str, np.ndarray]]) -> Any:
    """`high_share` of the loss and of the logits, a row each activation and arm."""
    shares = {family: {w: high_share(v[w]) for w in PARTS} for family, v in sizes.items()}
    return pd.DataFrame(shares).T


def typical_orders(sizes: Mapping[Any, Mapping[str, np.ndarray]]) -> dict[str, Any]:
    """Median sizes of the orders 1 ... L of four ReLU families, in the loss and in the logits."""
    shown = {arm: sizes["relu", arm] for arm in ("none", "small", "frozen", "bn")}
    return {w: {arm: np.median(v[w], 0)[1:] for arm, v in shown.items()} for w in PARTS}


@training.one_thread()
def identities(depth: int, seeds: Sequence[int], rng: np.random.Generator) -> dict[str, float]:
    """Largest deviation from each of `IDENTITIES` over arms, activations and seeds."""
    worst = {"small-steps": 0.0, "kinks": 0.0, "rescaled": rescaling_gap(depth, seeds, rng)}
    for arm, activation in product(COMPARED, ("tanh", "relu")):
        at = split.problem(arm, depth, seeds, activation=activation)
        target = split.aim(at)
        sums = orders(at, target)
        step = split.one_step(at, target, split.match_loss(target.loss, target.slope, 0.5))
        r, kind = (1e-4, "small-steps") if activation == "tanh" else (1e-2, "kinks")
        gaps = {
            "orders": sums["gap"],
            "inter": sums["inter"],
            "shares": step["act"] + step["own"] + step["int"] - 1,
            "two-parts": step["curvature"] + step["network"] - step["int"],
            kind: small_step_gap(at, target, r),
        }
        for key, gap in gaps.items():
            worst[key] = max(worst.get(key, 0.0), float(np.abs(gap).max()))
    return worst


def small_step_gap(at: split.Problem, target: split.Aim, r: float) -> np.ndarray:
    """int against its law for small steps, int / (r kappa_off / 2) - 1, (S,)."""
    step = split.match_loss(target.loss, target.slope, r)
    curved = split.curvature_split(at.loss, target.params, target.direction)
    return split.one_step(at, target, step)["int"] / (0.5 * r * curved.off.numpy()) - 1


def rescaling_gap(depth: int, seeds: Sequence[int], rng: np.random.Generator) -> float:
    """Largest change of the shares of the layer-normalized step of a BN network, eps = 0, when
    its hidden weights are multiplied by random numbers in [1/10, 10]."""
    at, steps = split.problem("bn", depth, seeds, activation="tanh", eps=0.0), []
    scales = {f"W{layer}": 10 ** rng.uniform(-1, 1) for layer in range(1, depth)}
    for factors in ({}, scales):
        params = {name: v * factors.get(name, 1.0) for name, v in at.arm.params.items()}
        target = split.aim(at, params, "layer-normalized")
        step = split.match_loss(target.loss, target.slope, 0.5)
        steps.append(split.one_step(at, target, step))
    before, after = steps
    return max(float(np.abs(before[k] - after[k]).max()) for k in ("act", "own", "int", "net"))
