"""All orders of one step, from every subset of the layers, and the identities they satisfy."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import product

import numpy as np
import pandas as pd

from bnlib import interactions
from bnlib.interactions import Aim, Problem, aim, one_step, problem
from bnlib.orders import order_sums

CHECKS = {
    "orders": "sum of all orders - total",
    "inter": "INT from L + 2 passes - sum of orders from 2 on",
    "shares": "act + own + int - 1",
    "two-parts": "curvature + network - INT",
    "rescaled": "M4 after random rescaling of a BN network's layers, ε = 0",
    "small-steps": "int / (r κ_off / 2) - 1 at r = 1e-4, tanh",
    "kinks": "the same at r = 1e-2, ReLU",
}
"""What `checks` measures, in words."""


def orders(
    name: str, depth: int, seeds: Sequence[int], *, r: float, c: float, activation: str = "relu"
) -> dict[str, np.ndarray]:
    """Sizes of the orders 0 ... L of one step, from all 2^L subsets of the layers, (S, L+1).

    loss: |A_k| at the share r.  logits: ||A_k|| of centered logits at the change c, in units of
    ||eta J d||.  largest: max |loss| over the subsets, for the rounding floor.
    """
    at = problem(name, depth, seeds, activation=activation)
    target = aim(at)
    move = partial(interactions.all_subsets, params=target.params, direction=target.direction)
    size = interactions.match_loss(target.loss, target.slope, r)
    losses, step = move(at.loss, step=size), interactions.match_output(target.derivative, c)
    outputs = order_sums(interactions.centered(move(at.logits, step=step)), depth)
    moves = interactions.centered(target.derivative).flatten(1).norm(dim=1) * step
    sums = order_sums(losses, depth)
    few = interactions.corners(at.loss, target.params, target.direction, size)
    inter = interactions.step_split(few, size * target.slope).inter
    return {
        "loss": sums.abs().T.numpy(),
        "logits": (outputs.flatten(2).norm(dim=2) / moves).T.numpy(),
        "largest": losses.abs().amax(0).numpy(),
        "gap": (sums.sum(0) - losses[-1]).abs().numpy(),
        "inter": (sums[2:].sum(0) - inter).abs().numpy(),
    }


def high_share(sizes: np.ndarray) -> np.ndarray:
    """Share of the orders from 3 on in sum_{k >= 2} |A_k|, (S,); sizes (S, L+1)."""
    return sizes[:, 3:].sum(1) / sizes[:, 2:].sum(1)


def families(
    names: Sequence[str], activations: Sequence[str], depth: int, seeds: Sequence[int]
) -> tuple[dict[tuple[str, str], dict[str, np.ndarray]], pd.DataFrame]:
    """`orders` at r = 1/2 and c = 1 of every activation and arm, and medians of `high_share`."""
    found = {
        (activation, name): orders(name, depth, seeds, r=0.5, c=1.0, activation=activation)
        for activation, name in product(activations, names)
    }
    shares = {
        key: {what: np.median(high_share(sizes[what])) for what in ("loss", "logits")}
        for key, sizes in found.items()
    }
    return found, pd.DataFrame(shares).T


def checks(depth: int, seeds: Sequence[int], rng: np.random.Generator) -> dict[str, float]:
    """Largest deviation of every identity of `CHECKS` over arms, activations and seeds."""
    found = {"small-steps": 0.0, "kinks": 0.0, "rescaled": rescaling_gap(depth, seeds, rng)}
    for name, activation in product(("none", "frozen", "bn"), ("tanh", "relu")):
        every = orders(name, depth, seeds, r=0.5, c=1.0, activation=activation)
        at = problem(name, depth, seeds, activation=activation)
        target = aim(at)
        one = one_step(at, target, interactions.match_loss(target.loss, target.slope, 0.5))
        r, kind = (1e-4, "small-steps") if activation == "tanh" else (1e-2, "kinks")
        gaps = {
            "orders": every["gap"],
            "inter": every["inter"],
            "shares": one["act"] + one["own"] + one["int"] - 1,
            "two-parts": one["curvature"] + one["network"] - one["int"],
            kind: small_step_gap(at, target, r),
        }
        for key, gap in gaps.items():
            found[key] = max(found.get(key, 0.0), float(np.abs(gap).max()))
    return found


def small_step_gap(at: Problem, target: Aim, r: float) -> np.ndarray:
    """int against its law for small steps, int / (r kappa_off / 2) - 1, (S,)."""
    step = interactions.match_loss(target.loss, target.slope, r)
    curved = interactions.curvature_split(at.loss, target.params, target.direction)
    return one_step(at, target, step)["int"] / (0.5 * r * curved.off.numpy()) - 1


def rescaling_gap(depth: int, seeds: Sequence[int], rng: np.random.Generator) -> float:
    """Change of all shares of the layer-normalized step when hidden weights of a BN net (eps = 0)
    are multiplied by random numbers in [1/10, 10]."""
    at, found = problem("bn", depth, seeds, activation="tanh", eps=0.0), []
    scales = {f"W{layer}": 10 ** rng.uniform(-1, 1) for layer in range(1, depth)}
    for factors in ({}, scales):
        params = {name: v * factors.get(name, 1.0) for name, v in at.arm.params.items()}
        target = aim(at, params, "layer-normalized")
        step = interactions.match_loss(target.loss, target.slope, 0.5)
        found.append(one_step(at, target, step))
    return max(float(np.abs(found[0][k] - found[1][k]).max()) for k in ("act", "own", "int", "net"))
