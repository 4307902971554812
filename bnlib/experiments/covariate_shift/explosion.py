"""Experiment F: how the gradient grows on its way down, at the start and after one large step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from bnlib import data, interactions, landscape
from bnlib.experiments.covariate_shift import bench
from bnlib.experiments.covariate_shift.bench import Conditions
from bnlib.networks import arms
from bnlib.networks.seed_batched import trace

INPUTS = 512  # columns of rows that lie in all directions alike


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
    the start, by (arm, width, batch).  inverse: `inverse_variance` at the same place.
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
                inverse = inverse_variance(here.arm, params, here.x).numpy()
                found = {"state": state, "factor": factor, "inverse": inverse}
                frames.append(pd.DataFrame({**where, **found}))
                if state == "start":
                    profiles[name, width, batch] = (norms[:, :-1] / norms[:, -2:-1]).numpy()
                    params = _stepped(here.loss, params, promise)
    return pd.concat(frames, ignore_index=True), profiles


def summary(found: Mapping[str, pd.DataFrame], names: Sequence[str]) -> pd.DataFrame:
    """Medians over seeds of `survey` by kind of rows: the factor of each arm, <1/sigma^2> of BN."""
    every = pd.concat(found, names=["rows"])
    keys = ["rows", "width", "batch", "state"]
    table = every.pivot_table(index=keys, columns="arm", values="factor", aggfunc="median")
    inverse = every[every.arm == "bn"].groupby(keys).inverse.median()
    return table[list(names)].assign(**{"⟨1/σ²⟩ of bn": inverse})


def inverse_variance(arm: arms.Arm, params: interactions.Params, x: Tensor) -> Tensor:
    """Mean of 1/(sigma^2 + eps) over units, geometric mean over l = 2 ... L - 2, (S,); 1 if plain.

    A backward layer of a wide ReLU network divides by sigma^2 unit by unit, so this replaces
    1/(1 - 1/pi) where the units' variances differ:  <1/sigma^2> >= 1/<sigma^2>.
    """
    stats = trace(arm.spec, params, x, stats=arm.stats).stats
    inner = [site for site in stats if 2 <= site <= len(arm.spec.sizes) - 3]
    if not inner:
        return torch.ones(len(x), dtype=x.dtype)
    means = [(1 / (stats[site].var + arm.spec.eps)).mean(1) for site in inner]
    return torch.stack(means, 1).log().mean(1).exp()


def independent(at: Conditions, count: int, seed: int = 0) -> Conditions:
    """The same conditions on `count` rows of independent normal numbers with random labels."""
    rng = np.random.default_rng(seed)
    x = torch.from_numpy(rng.standard_normal((count, INPUTS)))
    y = torch.from_numpy(rng.integers(at.rows.classes, size=count))
    return at._replace(rows=data.Split(x, y, x[:1], y[:1]))


def _stepped(
    loss_fn: interactions.Function, params: interactions.Params, promise: float
) -> dict[str, torch.Tensor]:
    loss, grads = interactions.gradient(loss_fn, params)
    size = promise * loss / interactions.layer_dots(grads, grads).sum(1)
    return interactions.stepped(params, grads, -size)
