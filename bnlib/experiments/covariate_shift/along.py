"""Covariate shift along training: experiments A (points on the way) and B (arms compared)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from bnlib import interactions, landscape
from bnlib.experiments.covariate_shift import bench
from bnlib.experiments.covariate_shift.bench import Conditions, Pace
from bnlib.networks import arms

RULES = ("same rate", "own best rate", "equal promise")
PROMISE = 0.1  # of the loss, under the rule "equal promise"


class Best(NamedTuple):
    """Final clean losses of every rate, (R, S), and the rate with the least median."""

    rate: float
    losses: np.ndarray
    at_edge: bool


def shift_at(
    at: Conditions, arm: arms.Arm, params: bench.Params, chosen: Tensor, pace: Pace
) -> dict[str, np.ndarray]:
    """Everything about one step on one batch, an array (S,) each; "rho" and "share" are (S, L).

    norm, relative, cosine: means over the layers i >= 2.  int: INT / (eta |g|^2).
    sum: -sum s_i rho_i with s_i = |g_i|^2/|g|^2 and rho_i = g_i.(G'_i - G_i)/|g_i|^2.
    """
    here = bench.problem(at, arm, chosen)
    loss, grads = interactions.gradient(here.loss, params)
    squares = interactions.layer_dots(grads, grads)
    total = squares.sum(1)
    step = pace.steps(loss, total)
    ics = landscape.ics_change(here.loss, params, grads, step)
    down = {name: -g for name, g in grads.items()}
    values = interactions.corners(here.loss, params, down, step)
    split = interactions.step_split(values, -step * total)
    found = {
        "loss": loss,
        "gradient": total.sqrt(),
        "step": step,
        "norm": ics.norm[:, 1:].mean(1),
        "relative": ics.relative[:, 1:].mean(1),
        "cosine": ics.cosine[:, 1:].mean(1),
        "int": split.inter / (step * total),
        "sum": -ics.projection.sum(1) / total,
        "rho": ics.projection / squares,
        "share": squares / total[:, None],
    }
    return {name: value.numpy() for name, value in found.items()}


def best_rate(
    at: Conditions,
    name: str,
    depth: int,
    seeds: Sequence[int],
    rates: Sequence[float],
    steps: int,
    activation: str = "relu",
) -> Best:
    """The rate of the least median final loss on clean rows; all rates in one program."""
    many, arm = len(rates), bench.build(at, name, depth, seeds, activation)
    order = bench.stream(at, seeds, steps).repeat(1, many, 1)
    eta = torch.tensor(np.repeat(rates, len(seeds)))
    wide = arm.repeated(many)
    params = bench.walk(at, wide, order, Pace(eta, torch.zeros_like(eta)))
    losses = bench.clean_loss(at, wide, params).reshape(many, -1)
    place = int(np.median(losses, axis=1).argmin())
    return Best(float(rates[place]), losses, place in (0, many - 1))


def follow(
    at: Conditions,
    arm: arms.Arm,
    seeds: Sequence[int],
    paces: dict[str, Pace],
    steps: int,
    every: int,
) -> pd.DataFrame:
    """`shift_at` along walks, one row a pace, step and seed; the first measurement is dropped."""
    many = len(paces)
    wide, order = arm.repeated(many), bench.stream(at, seeds, steps).repeat(1, many, 1)
    pace = Pace(*(torch.cat(column) for column in zip(*paces.values(), strict=True)))
    rules, frames = np.repeat(list(paces), len(seeds)), []

    def watch(step: int, params: bench.Params, chosen: Tensor, pace: Pace) -> None:
        if step == 0:
            return
        found = shift_at(at, wide, params, chosen, pace)
        rho, share = (found.pop(key) for key in ("rho", "share"))
        layered = {"rho": list(rho), "share": list(share)}
        ids = {"rule": rules, "seed": list(seeds) * many, "at": step}
        frames.append(pd.DataFrame({**ids, **found, **layered}))

    bench.walk(at, wide, order, pace, watch=watch, every=every)
    return pd.concat(frames, ignore_index=True)


def constant(seeds: Sequence[int], *, rate: float = 0.0, share: float = 0.0) -> Pace:
    """The same pace for every seed."""
    return Pace(*(torch.full((len(seeds),), v, dtype=torch.float64) for v in (rate, share)))


def survey(
    at: Conditions,
    names: Sequence[str],
    seeds: Sequence[int],
    *,
    depths: Sequence[int],
    activations: Sequence[str],
    rules: Sequence[str],
    rates: Sequence[float],
    rate: float,
    steps: int,
    every: int,
    few: int = 4,
) -> pd.DataFrame:
    """Experiment B: one row a cell (activation, L, rule), arm, seed and step.

    few: seeds that choose each arm's own best rate out of `rates`.  Outside ReLU only none and bn.
    """
    frames = []
    for activation, depth in product(activations, depths):
        for name in names if activation == "relu" else [n for n in names if n in ("none", "bn")]:
            paces = {}
            for rule in rules:
                own = rate
                if rule == "own best rate":
                    own = best_rate(at, name, depth, seeds[:few], rates, steps, activation).rate
                share = PROMISE if rule == "equal promise" else 0.0
                paces[rule] = constant(seeds, rate=own, share=share)
            arm = bench.build(at, name, depth, seeds, activation)
            found = follow(at, arm, seeds, paces, steps, every)
            cell = {"activation": activation, "L": depth, "arm": name}
            frames.append(found.assign(**cell))
    return pd.concat(frames, ignore_index=True)


def by_layer(survey: pd.DataFrame, rule: str, names: Sequence[str]) -> pd.DataFrame:
    """Median of rho over the walks of one rule: a row a depth and arm, a column a layer from 1."""
    own, found = pd.DataFrame(survey[survey.rule == rule]), {}
    for depth, name in product(own["L"].unique(), names):
        rows = own.rho[(own["L"] == depth) & (own.arm == name)].to_list()
        if rows:
            found[depth, name] = pd.Series(np.nanmedian(np.stack(rows), axis=0))
    layers = pd.DataFrame(found).T.rename(columns=lambda i: i + 1)
    return layers.rename_axis(["L", "arm"]).rename_axis("layer", axis=1)
