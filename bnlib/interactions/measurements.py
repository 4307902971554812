"""Everything about one step of many networks, as arrays and as a table of one row a seed."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from bnlib.interactions.bench import Aim, Problem, aim, descend, problem
from bnlib.interactions.split import Params, centered, corners, output_split, step_split
from bnlib.interactions.steps import match_loss, match_output, participation


def one_step(at: Problem, target: Aim, step: float | Tensor) -> dict[str, np.ndarray]:
    """Everything about one step, an array (S,) each; shares are of the predicted decrease.

    act = 1 - own - int.  net: ||f_all - f_add|| / ||eta J d||.  int-loss, own-loss: in units of the
    loss, not as a share.  per-layer: int / (1 - sum s^2).
    """
    values = corners(at.logits, target.params, target.direction, step)
    losses = at.loss_of(values.flatten(0, 1)).unflatten(0, (len(values), -1))
    size = torch.as_tensor(step, dtype=torch.float64)
    parts = step_split(losses, size * target.slope)
    moves = size.expand(len(target.loss))[:, None, None] * target.derivative
    outputs = output_split(values, at.loss_of, moves)
    promise = -parts.lin
    shares, n_eff = participation(target.slopes)
    spread = 1 - shares.square().sum(1)
    values_of = {
        "act": -parts.total / promise,
        "own": parts.own / promise,
        "int": parts.inter / promise,
        "miss": (parts.own + parts.inter).abs() / promise,
        "own-loss": parts.own,
        "int-loss": parts.inter,
        "curvature": outputs.curvature / promise,
        "network": outputs.network / promise,
        "net": outputs.net_share,
        "step": size.expand(len(promise)),
        "loss": target.loss,
        "n-eff": n_eff,
        "per-layer": parts.inter / promise / spread if bool((spread > 0).all()) else 0 * spread,
    }
    return {name: value.numpy() for name, value in values_of.items()}


def constant_share(at: Problem, params: Params) -> np.ndarray:
    """Share of the centered logits that all rows have in common, (S,)."""
    with torch.no_grad():
        f = centered(at.logits(params))
    rest = (f - f.mean(1, keepdim=True)).square().flatten(1).mean(1)
    return (1 - rest / f.square().flatten(1).mean(1)).numpy()


def survey(
    names: Sequence[str],
    seeds: Sequence[int],
    *,
    activations: Sequence[str] = ("relu",),
    depths: Sequence[int] = (8,),
    states: Sequence[str] = ("start",),
    r_values: Sequence[float] = (),
    c_values: Sequence[float] = (),
    rule: str = "gradient",
    steps: int = 20,
    **bench: Any,
) -> pd.DataFrame:
    """`one_step` for every arm, state and step, one row a seed: columns of the cell and results.

    matched: "loss" for steps matched in predicted decrease (size r), "output" for steps matched in
    first-order change of the logits (size c).  states: "start" and "trained" (`descend`).
    bench: `problem`'s width, batch, eps, factor.
    """
    frames = []
    for activation, depth, name in product(activations, depths, names):
        at = problem(name, depth, seeds, activation=activation, **bench)
        for state in states:
            target = aim(at, descend(at, steps=steps) if state == "trained" else None, rule)
            cell = {"activation": activation, "L": depth, "state": state, "arm": name}
            constant = constant_share(at, target.params)
            for matched, size in (*product(["loss"], r_values), *product(["output"], c_values)):
                if matched == "loss":
                    step = match_loss(target.loss, target.slope, size)
                else:
                    step = match_output(target.derivative, size)
                results = one_step(at, target, step)
                where = {**cell, "matched": matched, "size": size, "seed": list(seeds)}
                frames.append(pd.DataFrame({**where, **results, "constant": constant}))
    return pd.concat(frames, ignore_index=True)
