"""What the page of misconceptions trains and steps, so that its cells stay short."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from bnlib import data, interactions, training
from bnlib.experiments import ablation
from bnlib.experiments.interactions import aim, descend, problem
from bnlib.landscape import ics_change, layer_gradient_norms
from bnlib.networks.seed_batched import SeedBatchedMLP
from bnlib.networks.spec import Spec

BAND = (0.3, 0.7)  # both thresholds on one side of the mean of the inputs, which is 0
BAND_STREAM = 8  # apart from the streams that networks draw from


def band_splits(seeds: Sequence[int], *, rows: int = 512) -> data.Split:
    """Is a number in the band? x uniform on (-1, 1); as many test rows as training rows.

    Returns x (S, rows, 1) and classes (S, rows). Raises ValueError for fewer than 2 rows.
    """
    if rows < 2:
        raise ValueError(f"rows: want at least 2 to normalize over, got {rows}")
    drawn = np.stack(
        [np.random.default_rng([s, BAND_STREAM]).uniform(-1, 1, (2 * rows, 1)) for s in seeds]
    )
    inside = ((drawn > BAND[0]) & (drawn < BAND[1]))[..., 0].astype(int)
    return data.Split(drawn[:, :rows], inside[:, :rows], drawn[:, rows:], inside[:, rows:])


def accuracies(
    rows: data.Split, arms: Mapping[str, Mapping[str, Any]], hidden: Sequence[int], *, steps: int
) -> dict[str, np.ndarray]:
    """Test accuracy of each arm in percent, (S,), one learning rate for all of them.

    arms: name -> what it sets in `Spec`.  Seeds 0..S-1 are paired: a seed has the same split,
    start and batches in every arm.
    """
    seeds, found = range(len(rows.x_train)), {}
    sizes = (rows.x_train.shape[2], *hidden, 1 + int(rows.y_train.max()))
    for name, options in arms.items():
        net = SeedBatchedMLP(Spec(sizes, **options), seeds, torch.float32)
        recipe = {"batch": 64, "lr": 0.1, "momentum": 0.9, "schedule": "cosine"}
        training.train(net, rows.x_train, rows.y_train, steps=steps, **recipe)
        found[name] = 100 * np.array(ablation.scores(net, rows)["accuracy"])
    return found


def gradient_turn(
    arm: str, activation: str, state: str, seeds: Sequence[int], *, layer: int = 5, depth: int = 8
) -> np.ndarray:
    """Degrees by which a layer's gradient turns when the layers below it step, (S,).

    The step of all promises to halve the loss.  state: "start", or "trained" for twenty gradient
    steps before it (`interactions.descend`).
    """
    at = problem(arm, depth, seeds, activation=activation)
    params = descend(at) if state == "trained" else at.arm.params
    loss, grads = interactions.gradient(at.loss, params)
    step = interactions.match_loss(loss, aim(at, params).slope, 0.5)
    cosine = ics_change(at.loss, params, grads, step).cosine[:, layer - 1]
    return torch.rad2deg(torch.arccos(cosine)).numpy()


def gradient_growth(arm: str, depth: int, seeds: Sequence[int]) -> np.ndarray:
    """log10 of ||dL/dz_1|| / ||dL/dz_h|| at the start, h the last hidden layer, ReLU, (S,)."""
    at = problem(arm, depth, seeds, width=64)
    norms = layer_gradient_norms(at.arm.params, at.x, at.y, at.arm.spec)
    return (norms[:, 0] / norms[:, -2]).log10().numpy() / 2
