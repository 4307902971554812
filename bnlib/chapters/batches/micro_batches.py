"""Parts of a batch: gradients added up, and statistics by ghosts (E3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional

from bnlib.chapters.batches.descent import (
    COSINE,
    EPS,
    SMALL,
    Norm,
    Params,
    fit,
    ghosts,
    gradients,
    of_batch,
    scored,
    splits,
    started,
    stored,
)
from bnlib.chapters.batches.exact import accumulated_error
from bnlib.networks.batches import batch_order
from bnlib.statistics import relative_gap

if TYPE_CHECKING:
    from bnlib.chapters.batches import Settings


def accumulation(given: Settings) -> tuple[Any, dict[str, float], list[np.ndarray]]:
    """E3: relative difference of the gradients of k parts from those of one batch of 64.

    A line a number of parts, layer and time; the largest errors of the three identities; and the
    points of the first, arrays (2, n): law and measured.
    """
    rows = splits(given.seeds, torch.float64)
    net = started(SMALL, range(given.seeds), torch.float64)
    order = batch_order(net.seeds, rows.x_train.shape[1], batch=64, steps=given.steps)
    x, y = rows.x_train[:, :64], rows.y_train[:, :64]
    lines, points, errors = [], [], {"forward": 0.0, "ghosts": 0.0, "controls": 0.0}

    def keep(name: str, error: float) -> None:
        errors[name] = max(errors[name], error)

    for time in ("at the start", "after training"):
        if time == "after training":
            fit(net, of_batch, rows, order, lr=0.1)
        big = gradients(net.params, x, y, of_batch)[1]
        for k in given.parts:
            parts = _accumulated(net.params, x, y, of_batch, k)
            for name in ("W1", "W2", "W3"):
                got, expected = parts[name].flatten(1), big[name].flatten(1)
                gap = (got - expected).norm(dim=1) / expected.norm(dim=1)
                cosine = functional.cosine_similarity(got, expected)
                line = {"when": time, "k": k, "layer": name, "difference": float(gap.mean())}
                lines.append(line | {"least": float(gap.min()), "cosine": float(cosine.mean())})
            keep("ghosts", _apart(parts, gradients(net.params, x, y, ghosts(64 // k))[1]))
            points.append(_forward_identity(x @ net.params["W1"].mT, k))
            keep("forward", float(np.abs(np.subtract(*points[-1])).max()))
            for control in CONTROLS:
                whole = gradients(net.params, x, y, control)[1]
                keep("controls", _apart(_accumulated(net.params, x, y, control, k), whole))
    return pd.DataFrame(lines), errors, points


CONTROLS: tuple[Norm, ...] = (  # layer normalization, and none
    lambda site, z: functional.layer_norm(z, z.shape[-1:], eps=EPS),
    lambda site, z: z,
)


def _apart(first: Params, second: Params) -> float:
    return max(relative_gap(first[name], second[name]) for name in second)


def _accumulated(params: Params, x: Tensor, y: Tensor, norm: Norm, k: int) -> Params:
    """Gradients of k parts, one after the other, averaged."""
    total = {name: torch.zeros_like(value) for name, value in params.items()}
    for part, labels in zip(x.chunk(k, 1), y.chunk(k, 1), strict=True):
        for name, gradient in gradients(params, part, labels, norm)[1].items():
            total[name] += gradient / k
    return total


def _forward_identity(z: Tensor, k: int) -> np.ndarray:
    """2 (1 - mean s_j / s) and what it is the law of, networks and channels, eps = 0, layer 1."""
    parts = z.unflatten(1, (k, -1))
    s_j, s = parts.std(2, correction=0), z.std(1, correction=0)
    whole = ((z - z.mean(1, keepdim=True)) / s.unsqueeze(1)).unflatten(1, (k, -1))
    accumulated = (parts - parts.mean(2, keepdim=True)) / s_j.unsqueeze(2)
    measured = (accumulated - whole).square().mean((1, 2))
    law = accumulated_error(s_j.movedim(1, 0), s)
    return torch.stack([law, measured]).flatten(1).numpy()


def ghost_training(given: Settings) -> Any:
    """E3: batches of 256, statistics by groups of g rows; exact population statistics after it.

    Two more seeds than in other experiments.
    """
    seeds, parts, steps = range(given.seeds + 2), [], given.steps // 2
    rows = splits(len(seeds))
    order = batch_order(seeds, rows.x_train.shape[1], batch=256, steps=steps)
    for group in (256, *given.ghosts):
        net = started(SMALL, seeds)
        fit(net, ghosts(group), rows, order, lr=0.1, **COSINE)
        norm = stored(net.recalibrate(rows.x_train))
        parts.append(scored(net.params, norm, rows.x_test, rows.y_test, g=group))
    return pd.concat(parts)
