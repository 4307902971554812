"""Experiment F: how the gradient grows on its way down, at the start and after one large step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from bnlib import interactions, landscape
from bnlib.experiments.covariate_shift import bench
from bnlib.experiments.covariate_shift.bench import Conditions


def survey(
    at: Conditions,
    names: Sequence[str],
    seeds: Sequence[int],
    *,
    depth: int,
    sizes: Sequence[tuple[int, int]],
    activation: str = "relu",
    promise: float = 1.0,
) -> tuple[pd.DataFrame, dict[tuple[str, int, int], np.ndarray]]:
    """Growth factor of the squared gradient per layer: a row an arm, size, state and seed.

    sizes: (width, batch).  state: "start", or "one step": after the step that promises the share
    `promise` of the loss.  Also ||dL/dz_l||^2 relative to the last hidden layer, (S, depth - 1), at
    the start, by (arm, width, batch).
    """
    frames, profiles = [], {}
    for width, batch in sizes:
        own = at._replace(width=width, batch=batch)
        chosen = bench.stream(own, seeds, 1)[0]
        for name in names:
            here = bench.problem(own, bench.build(own, name, depth, seeds, activation), chosen)
            where = {"arm": name, "width": width, "batch": batch, "seed": list(seeds)}
            params = dict(here.arm.params)
            for state in ("start", "one step"):
                norms = landscape.layer_gradient_norms(
                    params, here.x, here.y, here.arm.spec, stats=here.arm.stats
                )
                factor = landscape.mean_factor(norms).numpy()
                frames.append(pd.DataFrame({**where, "state": state, "factor": factor}))
                if state == "start":
                    profiles[name, width, batch] = (norms[:, :-1] / norms[:, -2:-1]).numpy()
                    params = _stepped(here.loss, params, promise)
    return pd.concat(frames, ignore_index=True), profiles


def _stepped(
    loss_fn: interactions.Function, params: interactions.Params, promise: float
) -> dict[str, torch.Tensor]:
    loss, grads = interactions.gradient(loss_fn, params)
    size = promise * loss / interactions.layer_dots(grads, grads).sum(1)
    return {k: v - size[(...,) + (None,) * (v.ndim - 1)] * grads[k] for k, v in params.items()}
