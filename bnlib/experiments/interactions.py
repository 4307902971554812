"""One-step measurements of the chapter `interactions`: networks on digits, paired by seed."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from bnlib import data, interactions
from bnlib.networks import arms
from bnlib.networks.spec import BATCH_ORDER, seeded

LONGEST = 50.0  # largest step of the descent
DIRECTIONS = ("gradient", "layer-normalized", "adam")


class Problem(NamedTuple):
    """An arm with the one batch that gradient, step and evaluation share."""

    arm: arms.Arm
    x: Tensor  # (S, m, d)
    y: Tensor  # (S, m)

    def logits(self, params: interactions.Params) -> Tensor:
        """(K S, m, k)."""
        return self.arm.logits(params, self.x)

    def loss_of(self, logits: Tensor) -> Tensor:
        """Mean cross-entropy of each network, (K S,)."""
        labels = self.y.repeat(len(logits) // len(self.y), 1)
        loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
        return loss.unflatten(0, labels.shape).mean(1)

    def loss(self, params: interactions.Params) -> Tensor:
        """(K S,)."""
        return self.loss_of(self.logits(params))


def problem(
    name: str,
    depth: int,
    seeds: Sequence[int],
    *,
    activation: str = "relu",
    width: int = 32,
    batch: int = 64,
    eps: float = 1e-5,
    factor: float = 1.0,
) -> Problem:
    """An arm with `depth` weight matrices and a batch for every seed, drawn with the seed.

    Raises ValueError for depth < 1 and for a batch that the data cannot fill.
    """
    if depth < 1:
        raise ValueError(f"depth: want at least 1 weight matrix, got {depth}")
    rows = data.digits_split(0)
    x = data.standardized(np.concatenate([rows.x_train, rows.x_test]))
    y = np.concatenate([rows.y_train, rows.y_test])
    if not 2 <= batch <= len(x):
        raise ValueError(f"batch: want 2 to {len(x)} rows, got {batch}")
    chosen = np.stack([seeded(s, BATCH_ORDER).permutation(len(x))[:batch] for s in seeds])
    sizes = (x.shape[1], *(width,) * (depth - 1), int(y.max()) + 1)
    inputs, labels = torch.from_numpy(x[chosen]), torch.from_numpy(y[chosen])
    arm = arms.build(name, sizes, seeds, inputs, activation=activation, eps=eps, factor=factor)
    return Problem(arm, inputs, labels)


def direction_of(
    rule: str, params: interactions.Params, grads: interactions.Params
) -> dict[str, Tensor]:
    """-g; -||W|| g/||g|| a layer; or the first step of Adam, -g/(|g| + 1e-8)."""
    if rule == "layer-normalized":
        return interactions.layer_normalized(params, grads)
    if rule == "adam":
        return {name: -grad / (grad.abs() + 1e-8) for name, grad in grads.items()}
    if rule != "gradient":
        raise ValueError(f"direction: want one of {DIRECTIONS}, got {rule!r}")
    return {name: -grad for name, grad in grads.items()}


class Aim(NamedTuple):
    """A descent direction at a point: what every step along it needs."""

    params: interactions.Params
    direction: dict[str, Tensor]
    loss: Tensor  # (S,)
    slopes: Tensor  # g_l.d_l, (S, L)
    derivative: Tensor  # J d, (S, m, k)

    @property
    def slope(self) -> Tensor:
        """g.d, (S,)."""
        return self.slopes.sum(1)


def aim(at: Problem, params: interactions.Params | None = None, rule: str = "gradient") -> Aim:
    """The direction of a rule at the given parameters, or at the initial ones."""
    params = at.arm.params if params is None else params
    loss, grads = interactions.gradient(at.loss, params)
    direction = direction_of(rule, params, grads)
    slopes = interactions.layer_dots(grads, direction)
    return Aim(
        params, direction, loss, slopes, interactions.first_order(at.logits, params, direction)
    )


def descend(at: Problem, *, steps: int = 20, share: float = 0.1) -> dict[str, Tensor]:
    """Parameters after full-batch gradient steps, each promising `share` of the current loss."""
    params: dict[str, Tensor] = dict(at.arm.params)
    for _ in range(steps):
        loss, grads = interactions.gradient(at.loss, params)
        size = share * loss / interactions.layer_dots(grads, grads).sum(1)
        size = size.clamp(max=LONGEST)
        params = {
            name: value - size[(...,) + (None,) * (value.ndim - 1)] * grads[name]
            for name, value in params.items()
        }
    return params


def one_step(at: Problem, target: Aim, step: float | Tensor) -> dict[str, np.ndarray]:
    """Everything about one step, an array (S,) each; shares are of the predicted decrease.

    act = 1 - own - int.  net: ||f_all - f_add|| / ||eta J d||.  int-loss, own-loss: in units of the
    loss, not as a share.  per-layer: int / (1 - sum s^2).
    """
    values = interactions.corners(at.logits, target.params, target.direction, step)
    losses = at.loss_of(values.flatten(0, 1)).unflatten(0, (len(values), -1))
    size = torch.as_tensor(step, dtype=torch.float64)
    parts = interactions.step_split(losses, size * target.slope)
    moves = size.expand(len(target.loss))[:, None, None] * target.derivative
    outputs = interactions.output_split(values, at.loss_of, moves)
    promise = -parts.lin
    shares, n_eff = interactions.participation(target.slopes)
    spread = 1 - shares.square().sum(1)
    found = {
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
    return {name: value.numpy() for name, value in found.items()}


def constant_share(at: Problem, params: interactions.Params) -> np.ndarray:
    """Share of the centered logits that all rows have in common, (S,)."""
    with torch.no_grad():
        f = interactions.centered(at.logits(params))
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
                    step = interactions.match_loss(target.loss, target.slope, size)
                else:
                    step = interactions.match_output(target.derivative, size)
                found = one_step(at, target, step)
                where = {**cell, "matched": matched, "size": size, "seed": list(seeds)}
                frames.append(pd.DataFrame({**where, **found, "constant": constant}))
    return pd.concat(frames, ignore_index=True)
