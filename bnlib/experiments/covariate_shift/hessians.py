"""Experiment E: the Hessian's blocks and the ends of its spectrum, at the start and after steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from bnlib import interactions, landscape
from bnlib.experiments.covariate_shift import bench
from bnlib.experiments.covariate_shift.bench import Conditions
from bnlib.interactions import Problem, descend

STATES = ("start", "trained")


def states(
    at: Conditions, name: str, depth: int, seeds: Sequence[int], steps: int
) -> Iterator[tuple[str, Problem, dict[str, Tensor]]]:
    """An arm with one batch a seed: at its start, and after full-batch steps on that batch."""
    chosen = bench.stream(at, seeds, 1)[0]
    here = bench.problem(at, bench.build(at, name, depth, seeds), chosen)
    yield "start", here, dict(here.arm.params)
    yield "trained", here, descend(here, steps=steps)


def iid_share(params: interactions.Params) -> float:
    """Off-diagonal share of a matrix of independent equal entries with these blocks."""
    numbers = interactions.layers(params)
    counts = np.zeros(len(numbers))
    for name, value in params.items():
        counts[numbers.index(interactions.layer_of(name))] += value[0].numel()
    return float(1 - (counts**2).sum() / counts.sum() ** 2)


def weight_norms(params: interactions.Params) -> Tensor:
    """||W_l|| of every layer, (S, L)."""
    numbers = interactions.layers(params)
    return torch.stack([params[f"W{n}"].flatten(1).norm(dim=1) for n in numbers], 1)


def survey(
    at: Conditions,
    names: Sequence[str],
    seeds: Sequence[int],
    *,
    depth: int,
    steps: int,
    probes: int,
    seed: int = 0,
) -> tuple[pd.DataFrame, dict[tuple[str, str], np.ndarray]]:
    """One row an arm, state and seed; and the median over seeds of the block norms, (L, L).

    diag, off: norms of the block-diagonal part and of the rest.  share: off^2 / (diag^2 + off^2),
    "iid" its value without structure.  coupling: of pairs of layers, the mean.
    scaled: the off-diagonal norm with ||W_i|| ||H_ij|| ||W_j|| in place of ||H_ij||.
    """
    frames, maps = [], {}
    for name in names:
        for state, here, params in states(at, name, depth, seeds, steps):
            rng = np.random.default_rng(seed)
            squares = landscape.block_norms(here.loss, params, probes=probes, rng=rng)
            pairs = landscape.coupling(squares)
            weight = weight_norms(params).square()
            scaled = squares * weight[:, :, None] * weight[:, None, :]
            with torch.no_grad():
                loss = here.loss(params)
            own, apart = (_off(v) for v in (squares, scaled))
            found = {
                "loss": loss,
                "diag": (squares.sum((1, 2)) - own).sqrt(),
                "off": own.sqrt(),
                "share": 1 - landscape.diagonal_share(squares),
                "coupling": _off(pairs) / (pairs.shape[1] * (pairs.shape[1] - 1)),
                "scaled": apart.sqrt(),
            }
            where = {"arm": name, "state": state, "seed": list(seeds), "iid": iid_share(params)}
            frames.append(pd.DataFrame({**where, **{k: v.numpy() for k, v in found.items()}}))
            maps[name, state] = squares.sqrt().median(0).values.numpy()
    return pd.concat(frames, ignore_index=True), maps


def _off(blocks: Tensor) -> Tensor:
    return blocks.sum((1, 2)) - blocks.diagonal(dim1=1, dim2=2).sum(1)


def spectrum_ends(
    at: Conditions, names: Sequence[str], seeds: Sequence[int], *, depth: int, steps: int
) -> pd.DataFrame:
    """Lowest and highest eigenvalue of the Hessian: one row an arm, state and seed."""
    rows = []
    for name in names:
        for state, here, params in states(at, name, depth, seeds, steps):
            for place, seed in enumerate(seeds):
                one, own = alone(here, params, place)
                low, high = landscape.extreme_eigenvalues(one.loss, own, tol=1e-4)
                where = {"arm": name, "state": state, "seed": seed}
                rows.append({**where, "lowest": low[0], "highest": high[0]})
    return pd.DataFrame(rows)


def alone(
    here: Problem, params: interactions.Params, place: int
) -> tuple[Problem, dict[str, Tensor]]:
    """Network number `place` of a problem, on its own."""
    pick = slice(place, place + 1)
    arm = replace(here.arm, params=dict(params)).each(lambda value: value[pick])
    return Problem(arm, here.x[pick], here.y[pick]), arm.params
