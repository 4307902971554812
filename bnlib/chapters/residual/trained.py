"""Residual networks that were trained: at every rate, over time, one step of all their layers split
into parts, and as others ship them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from bnlib import data, interactions, sweep
from bnlib.chapters.residual.measure import Start, passed, row_share, shares, start
from bnlib.networks import efficientnet
from bnlib.networks.residual import ResidualArm, Seen, build, forward
from bnlib.networks.spec import BATCH_ORDER, seeded

BATCH, CHECKED = 64, 512
CONVOLUTION = "mnist1d-convolution"
EPS = 1e-3  # with which the shipped networks were trained
DECREASES = 0.1, 0.5  # predicted, of the steps that are split
SPLIT = *product(("one", "zero", "root"), (4, 16)), ("scalar", 4), ("skip-init", 4)  # arms, L
CLOSED = ("gamma", "beta", "alpha")  # what removes a block when it is 0


class Cell(NamedTuple):
    """Where arms are compared: a data set, a form, a number of blocks, and how long."""

    dataset: str
    form: str
    blocks: int
    steps: int


def begin(cell: Cell, arm: str, seeds: Sequence[int]) -> tuple[ResidualArm, data.Split, Tensor]:
    """The arm at its start, the rows, and the order of batches (steps, S, 64), with replacement."""
    convolution = cell.dataset == CONVOLUTION
    rows = data.bench_split("mnist1d" if convolution else cell.dataset)
    sizes = rows.x_train.shape[1], rows.classes
    how: dict[str, Any] = {"width": 16, "convolution": True} if convolution else {}
    net = build(arm, cell.form, cell.blocks, seeds, sizes, **how)
    shape = (cell.steps, BATCH)
    order = [seeded(seed, BATCH_ORDER).integers(len(rows.x_train), size=shape) for seed in seeds]
    return net, rows, torch.from_numpy(np.stack(order, 1))


def at_rates(
    cell: Cell,
    arm: str,
    seeds: Sequence[int],
    rates: Sequence[float],
    watch: sweep.Watch | None = None,
) -> dict[str, list[float]]:
    """One arm trained at every rate: a value for each seed, and one for each rate (curve).

    watch: as `sweep.train_sweep`; it may change the gradients.

    best: log of the lowest final loss; max_stable, max_trainable: log2, as `sweep.rate_targets`;
    initial: log of the loss at the start; edge: max_stable is the largest rate; curve: median
    final loss, infinite where most seeds diverged.
    """
    net, rows, order = begin(cell, arm, seeds)
    how: dict[str, Any] = {"order": order, "check": CHECKED, "watch": watch}
    run = sweep.train_sweep(net, rows.x_train, rows.y_train, rates, **how)
    targets = sweep.rate_targets(run, rates, classes=rows.classes)
    final = np.where(np.isfinite(run.final), run.final, np.inf)
    values = {
        "best": np.log(final.min(0)),
        "max_stable": targets.max_stable,
        "max_trainable": targets.max_trainable,
        "initial": np.log(run.initial),
        "edge": targets.max_stable >= math.log2(rates[-1]),
        "curve": np.median(final, 1),
    }
    return {name: value.astype(float).tolist() for name, value in values.items()}


class Life(NamedTuple):
    """A network over time.  nu: (marks, S, L) after `marks` steps; gamma: (S, L, c) at the end,
    empty without; removed: (S, L), loss without this block minus loss; the others (S,)."""

    marks: list[int]
    nu: np.ndarray
    share: np.ndarray
    gamma: np.ndarray
    loss: np.ndarray
    removed: np.ndarray
    depth: np.ndarray


def life(
    cell: Cell,
    arm: str,
    seeds: Sequence[int],
    *,
    rate: float = 0.5,
    decay: float = 0.0,
    marks: Iterable[int] = (0, 2, 10, 40, 100),
) -> Life:
    """Train with a cosine schedule; `decay` acts on the last gamma of each block, nothing else.

    nu, shares and losses are those of the first 512 training rows, in training mode.
    """
    net, rows, order = begin(cell, arm, seeds)
    x, y = torch.as_tensor(rows.x_train).float(), torch.as_tensor(rows.y_train)
    x_check, y_check = (v[:CHECKED].expand(len(seeds), *v[:CHECKED].shape) for v in (x, y))
    net = net.each(lambda value: value.float())
    params, marks = dict(net.params), [*(t for t in marks if t < cell.steps), cell.steps]
    last = {f"gamma{n}" for n in range(1, cell.blocks + 1)}
    sizes, share = [], np.empty(0)
    for t in range(cell.steps + 1):
        if t in marks:
            seen = Seen()
            with torch.no_grad():
                forward(net, params, x_check, seen=seen)
                share, nu, _ = shares(seen)
            sizes.append(nu)
        if t == cell.steps:
            break
        grads = interactions.gradient(Start(net, x[order[t]], y[order[t]]).loss, params)[1]
        step = rate * (1 + math.cos(math.pi * t / cell.steps)) / 2
        for name, value in params.items():
            pull = decay * value if name in last else 0.0
            params[name] = value - step * (grads[name] + pull)
    end = Start(replace(net, params=params).each(lambda v: v.double()), x_check.double(), y_check)
    gamma = [end.arm.params[n] for n in sorted(last, key=lambda n: int(n[5:])) if n in params]
    with torch.no_grad():
        final = end.loss(end.arm.params)
        without = [end.loss(_without(end.arm.params, n)) for n in range(1, cell.blocks + 1)]
    return Life(
        marks,
        np.stack(sizes),
        share,
        torch.stack(gamma, 1).numpy() if gamma else np.empty(0),
        final.numpy(),
        (torch.stack(without, 1) - final[:, None]).numpy(),
        passed(end),
    )


def _without(params: Mapping[str, Tensor], block: int) -> dict[str, Tensor]:
    names = {f"{kind}{block}" for kind in CLOSED}
    return {k: torch.zeros_like(v) if k in names else v for k, v in params.items()}


def split_steps(arm: str, blocks: int, seeds: Sequence[int]) -> pd.DataFrame:
    """One full-batch step of stem, blocks and head, each as one layer, at the start and trained.

    One line a state, r and seed.  r: predicted relative decrease of the loss.  20 steps: after so
    many of `interactions.descend`.  int: INT as a share of the predicted decrease; per-layer:
    int / (1 - sum s^2); n-eff: 1 / sum s^2.
    """
    built, *rows = start(arm, "stream", blocks, seeds)
    # A residual arm has what is asked of it here: parameters, and logits of copies.
    at, frames = interactions.Problem(cast(Any, built), *rows), []
    for state, params in {"start": at.arm.params, "20 steps": interactions.descend(at)}.items():
        loss, grads = interactions.gradient(at.loss, params)
        down = interactions.direction_of("gradient", params, grads)
        slopes = interactions.layer_dots(grads, down)
        slope, n_eff = slopes.sum(1), interactions.participation(slopes)[1].numpy()
        for r in DECREASES:
            step = interactions.match_loss(loss, slope, r)
            values = interactions.corners(at.loss, params, down, step)
            parts = interactions.step_split(values, step * slope)
            share = (parts.inter / -parts.lin).numpy()
            cell = {"arm": arm, "L": blocks, "state": state, "r": r, "seed": list(seeds)}
            sizes = {"int": share, "per-layer": share / (1 - 1 / n_eff), "n-eff": n_eff}
            frames.append(pd.DataFrame({**cell, **sizes}))
    return pd.concat(frames, ignore_index=True)


def shipped(state: Mapping[str, Tensor]) -> pd.DataFrame:
    """One line a projection of an EfficientNet-Lite: what its file says of its size in the stream.

    stage; k: number in the stage, 0 without a skip; norm: its name; q = sum over channels of
    gamma^2 v/(v + eps); share: q over its sum from k = 0 on; nu: root of q over the sum before;
    negative: number of gamma below 0, of so many channels.
    """
    lines: list[dict[str, Any]] = []
    stage, k, before = -1, 0, 0.0
    for layer in efficientnet.layout(state):
        if efficientnet.layer_role(layer.norm) != "project":
            continue
        stage, k, before = (stage, k + 1, before) if layer.skip else (stage + 1, 0, 0.0)
        gamma, _, _, var, eps = efficientnet.stored_norm(state, layer.norm, eps=EPS)
        q = float((gamma.double().square() * var / (var + eps)).sum())
        line = {"stage": stage, "k": k, "norm": layer.norm, "q": q, "share": q / (before + q)}
        line["nu"] = math.sqrt(q / before) if before else math.nan
        lines.append(line | {"negative": int((gamma < 0).sum()), "channels": len(gamma)})
        before += q
    return pd.DataFrame(lines)


@torch.no_grad()
def on_photographs(state: Mapping[str, Tensor], crops: int, seed: int) -> pd.DataFrame:
    """True share, nu and correlation of each branch with a skip, on so many crops of photographs.

    Rows are crops and places.  Indexed by the name of the projection's norm.
    """
    net, rows_of = efficientnet.EfficientNetLite(state), {}
    skips, stream = {layer.norm: layer.skip for layer in net.layers}, [torch.empty(0)]

    def look(name: str, value: Tensor, when: str) -> None:
        if when != "post" or efficientnet.layer_role(name) != "project":
            return
        rows = value.double().transpose(0, 1).flatten(1).T[None]
        if skips[name]:
            rows_of[name] = [float(v) for v in row_share(stream[0], rows)]
            rows = stream[0] + rows
        stream[0] = rows

    net(data.photo_crops(crops, seed=seed), look)
    return pd.DataFrame.from_dict(rows_of, orient="index", columns=["share", "nu", "correlation"])
