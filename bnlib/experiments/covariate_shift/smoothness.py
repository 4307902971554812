"""Experiment C: smoothness along the gradient, in raw, matched and layer-normalized units."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from bnlib import interactions, landscape
from bnlib.experiments.covariate_shift import bench
from bnlib.experiments.covariate_shift.along import constant
from bnlib.experiments.covariate_shift.bench import Conditions

MEASURES = ("range", "change", "smoothness")
UNITS = ("raw", "matched", "layer-normalized")


def measured(
    loss_fn: interactions.Function,
    params: interactions.Params,
    unit: str,
    sizes: Sequence[float],
) -> dict[str, Tensor]:
    """Loss range, gradient change and effective smoothness along one direction, (S,) each.

    raw: steps a = `sizes` along -g; everything in its own unit.
    matched: a = r L/|g|^2 for r in `sizes`; range / L, change / |g|, smoothness L / |g|^2.
    layer-normalized: the same with every matrix in units of its norm, along -g_l/||g_l||, where
    |slope| takes the place of |g|: blind to scales that the function does not see.
    Further (K, S), a row a step: "loss-line", "change-line"; and (S,): "cosine" at the longest
    step, "kept" = actual / promised decrease there.
    Raises ValueError for an unknown unit.
    """
    if unit not in UNITS:
        raise ValueError(f"unit: want one of {UNITS}, got {unit!r}")
    if unit == "layer-normalized":
        loss_fn, params = landscape.unit_scaled(loss_fn, params)
    loss, grads = interactions.gradient(loss_fn, params)
    way = {name: -g for name, g in grads.items()}
    if unit == "layer-normalized":
        way = interactions.layer_normalized(params, grads)
    promise = -interactions.layer_dots(grads, way).sum(1)  # decrease per step size
    size, length = (interactions.layer_dots(v, v).sum(1).sqrt() for v in (grads, way))
    sizes_of = torch.tensor([float(v) for v in sizes], dtype=torch.float64)[:, None]
    steps = sizes_of.expand(-1, len(loss)) * (1.0 if unit == "raw" else loss / promise)
    path = landscape.gradient_path(loss_fn, params, grads, steps, direction=way)
    one = torch.ones_like(loss)
    by = (one, one, one) if unit == "raw" else (loss, size, (promise / length) ** 2 / loss)
    return {
        "range": (path.loss.amax(0) - path.loss.amin(0)) / by[0],
        "change": path.change.amax(0) / by[1],
        "smoothness": path.smoothness.amax(0) / by[2],
        "cosine": path.cosine[-1],
        "kept": (loss - path.loss[-1]) / (steps[-1] * promise),
        "loss-line": path.loss / by[0],
        "change-line": path.change / by[1],
    }


def survey(
    at: Conditions,
    names: Sequence[str],
    seeds: Sequence[int],
    *,
    depth: int,
    rate: float,
    steps: int,
    every: int,
    raw: Sequence[float],
    matched: Sequence[float],
) -> pd.DataFrame:
    """Experiment C: one row an arm, unit, seed and place on the way, kappa with the raw rows."""
    frames: list[pd.DataFrame] = []
    for name in names:
        arm, order = bench.build(at, name, depth, seeds), bench.stream(at, seeds, steps)

        def watch(
            step: int, params: bench.Params, chosen: Tensor, _: Any, name: str = name
        ) -> None:
            here = bench.problem(at, arm, chosen)  # noqa: B023 - called within this turn
            loss, grads = interactions.gradient(here.loss, params)
            down = {key: -g for key, g in grads.items()}
            size = interactions.layer_dots(grads, grads).sum(1).sqrt()
            kappa = interactions.curvature_split(here.loss, params, down).kappa
            where = {"arm": name, "at": step, "seed": list(seeds), "loss": loss, "gradient": size}
            for unit in UNITS:
                sizes = raw if unit == "raw" else matched
                found = measured(here.loss, params, unit, sizes)
                lines = {k: list(found.pop(k).T.numpy()) for k in ("loss-line", "change-line")}
                flat = {k: v.numpy() for k, v in found.items()}
                whole = {**where, "unit": unit, "kappa": kappa, **flat, **lines}
                frames.append(pd.DataFrame(whole))

        bench.walk(at, arm, order, constant(seeds, rate=rate), watch=watch, every=every)
    return pd.concat(frames, ignore_index=True)


def envelope(frame: pd.DataFrame, line: str) -> tuple[np.ndarray, ...]:
    """Least, middle and largest value along the steps, each the median over seeds, at every place.

    line: "loss-line" or "change-line".  Returns the places and the three, (P,) each.
    """
    values = np.stack(frame[line].to_list())
    three = {"low": values.min(1), "middle": np.median(values, axis=1), "high": values.max(1)}
    found = frame[["at"]].assign(**three).groupby("at").median()
    return found.index.to_numpy(), *(found[name].to_numpy() for name in three)


def equal_loss(frame: pd.DataFrame, level: float) -> pd.DataFrame:
    """The rows of each arm and seed at the place where its loss is nearest to `level`."""
    gap = np.abs(np.log(frame.loss / level))
    nearest = gap.groupby([frame.arm, frame.seed]).transform("min")
    return pd.DataFrame(frame[gap == nearest])
