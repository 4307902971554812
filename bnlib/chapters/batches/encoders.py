"""Encoders that are trained on the task of the leak (E7b): does a network learn to use it?"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from bnlib.chapters.batches.exact import CHANNELS, GROUPS

ROWS, HIDDEN, TEMPERATURE, RATE, STEPS, ROUNDS = 4, 128, 0.1, 0.003, 300, 60
ARMS = ("batch norm", "synchronized", "shuffled", "layer norm", "none")


def views(rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Two views (K, N, C): row 0 is independent noise in each, its companions are the same."""
    mates = rng.standard_normal((GROUPS, ROWS - 1, CHANNELS), dtype=np.float32)
    probes = rng.standard_normal((2, GROUPS, 1, CHANNELS), dtype=np.float32)
    first, second = (torch.from_numpy(np.concatenate([probe, mates], 1)) for probe in probes)
    return first, second


def normalized(arm: str, z: Tensor, order: Tensor) -> Tensor:
    """z (K, N, c) by the statistics of the arm.  order: how the rows are dealt for "shuffled"."""
    if arm == "none":
        return z
    if arm == "shuffled":
        mixed = z.flatten(0, 1)[order].view_as(z)
        return normalized("batch norm", mixed, order).flatten(0, 1)[order.argsort()].view_as(z)
    axes = {"batch norm": (1,), "synchronized": (0, 1), "layer norm": (2,)}[arm]
    var, mean = torch.var_mean(z, axes, correction=0, keepdim=True)
    return (z - mean) * (var + 1e-5).rsqrt()


def similarities(arm: str, params: list[Tensor], rng: np.random.Generator) -> Tensor:
    """Logits (K, K): how alike probe i of the first view and probe j of the second are."""
    codes = []
    for k, view in enumerate(views(rng)):
        order = torch.from_numpy(rng.permutation(GROUPS * ROWS))
        kind = "batch norm" if arm == "shuffled" and k == 0 else arm
        hidden = functional.linear(view, params[0], params[1])
        h = functional.relu(params[4] * normalized(kind, hidden, order) + params[5])
        codes.append(functional.normalize(functional.linear(h[:, 0], params[2], params[3]), dim=1))
    return codes[0] @ codes[1].T / TEMPERATURE


def trained(arm: str, seed: int, steps: int = STEPS, rounds: int = ROUNDS) -> dict[str, Any]:
    """Accuracy and bits of every fresh round after training an encoder."""
    rng, own = np.random.default_rng([seed, 81]), torch.Generator().manual_seed(seed)
    layers = [torch.nn.Linear(CHANNELS, HIDDEN), torch.nn.Linear(HIDDEN, CHANNELS)]
    params = [value.detach() for layer in layers for value in layer.parameters()]
    for value in params:
        bound = (value.shape[-1] if value.ndim > 1 else HIDDEN) ** -0.5
        value.uniform_(-bound, bound, generator=own)
    params = [*params, torch.ones(HIDDEN), torch.zeros(HIDDEN)]
    optimizer = torch.optim.Adam([value.requires_grad_() for value in params], RATE)
    target = torch.arange(GROUPS)
    for _ in range(steps):
        optimizer.zero_grad()
        functional.cross_entropy(similarities(arm, params, rng), target).backward()
        optimizer.step()
    right, bits = [], []
    with torch.no_grad():
        for _ in range(rounds):
            logits = similarities(arm, params, rng).double()
            right.append(float((logits.argmax(1) == target).double().mean()))
            loss = float(functional.cross_entropy(logits, target))
            bits.append(math.log2(GROUPS) - loss / math.log(2))
    return {"arm": arm, "seed": seed, "accuracy": right, "bits": bits}
