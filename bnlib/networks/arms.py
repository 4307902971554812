"""The arms of a fair comparison: one network a name, all with the same weights a seed.

Arms that share an initialization start from the same numbers; what differs is the norm.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from bnlib.networks.seed_batched import (
    Params,
    SeedBatchedMLP,
    Statistics,
    forward,
    initial_params,
    trace,
)
from bnlib.networks.spec import GAINS, Spec
from bnlib.parameters import one_of
from bnlib.rows import Moments

PLAIN = {"none": 1.0, "small": 0.7, "big": 1.5}  # factor on every weight matrix
LAST = 0.1  # factor on the last weight matrix of "last-small": initial loss near log k
NORMED = {
    "bn": "batch",
    "bn-no-affine": "batch",
    "bn-last-hidden": "batch",
    "mean-only": "mean-only",
    "std-only": "std-only",
    "layer-norm": "layer",
    "frozen": "frozen",
    "frozen-affine": "frozen",
    "renewed": "renewed",
}
ARMS = (*PLAIN, "last-small", "orthogonal", "weight-norm", *NORMED)
AFFINE_ARMS: dict[str, dict[str, Any]] = {
    "plain": {"norm": "none"},
    "affine": {"norm": "affine"},
    "none": {"scale": False, "shift": False},
    "gamma": {"shift": False},
    "beta": {"scale": False},
    "both": {},
}
"""What each arm sets in `Spec`: no norm and a bias, y = gamma x + beta, then normalization."""


@dataclass(frozen=True)
class Arm:
    """A network as a plain function: what it computes, its initial numbers, its constants."""

    spec: Spec
    params: dict[str, Tensor]
    stats: Statistics | None = None

    def logits(self, params: Params, x: Tensor) -> Tensor:
        """Outputs (K S, m, k) of K copies of the S networks, x (S, m, d); any K.

        Copy k of network s is row k S + s of every parameter.
        """
        copies = len(params["W1"]) // len(x)
        stats = self._constants(lambda value: tiled(value, copies))
        return forward(self.spec, _weights(params), tiled(x, copies), stats=stats)

    def evaluated(self, params: Params, fit: Tensor, x: Tensor) -> Tensor:
        """Outputs (K, m, k) of K networks on x (m, d), constants of `fit` (n, d) as statistics."""
        weights, copies = _weights(params), len(params["W1"]) // len(self.params["W1"])
        stats = self._constants(lambda value: tiled(value, copies))
        stats = stats or trace(self.spec, weights, fit).stats
        return forward(self.spec, weights, x, stats=stats)

    def each(self, change: Callable[[Tensor], Tensor]) -> Arm:
        """The same change of every initial number and every constant: a cast, a choice, copies."""
        params = {name: change(value) for name, value in self.params.items()}
        return replace(self, params=params, stats=self._constants(change))

    def repeated(self, copies: int) -> Arm:
        """The S networks `copies` times over, copy k of network s in row k S + s."""
        return self.each(lambda value: tiled(value, copies))

    def _constants(self, change: Callable[[Tensor], Tensor]) -> Statistics | None:
        return self.stats and {
            site: Moments(change(mean), change(var)) for site, (mean, var) in self.stats.items()
        }


def tiled(value: Tensor, copies: int) -> Tensor:
    """(S, ...) -> (copies S, ...), copy k of row s in row k S + s."""
    return value.repeat(copies, *[1] * (value.ndim - 1))


def build(
    name: str,
    sizes: Sequence[int],
    seeds: Sequence[int],
    x: Tensor,
    *,
    activation: str = "relu",
    eps: float = 1e-5,
    factor: float = 1.0,
) -> Arm:
    """The arm of a name, one network a seed.

        none               He initialization: N(0, k^2/fan-in), k^2 = 2 before a ReLU, else 1
        small, big         every W times 0.7, 1.5;   last-small: the last W times 0.1
        orthogonal         nearest orthonormal rows or columns of the same draws, times k
        weight-norm        W = g v/||v|| for each unit, v the same draws, g = ||v||
        bn                 batch normalization before the activation, gamma = 1, beta = 0
        bn-no-affine       without gamma and beta;   bn-last-hidden: at the last hidden layer only
        mean-only, std-only   only x - mu, only x/sqrt(var + eps), with gamma and beta
        layer-norm         statistics of one row over its units
        frozen             (W x + b - mu)/sqrt(var + eps), mu, var those of x at the start, constant
        frozen-affine      the same constants, with gamma and beta in place of b
        renewed            as bn, but no gradient passes through mu and var of the batch

    x: (S, m, d), the batch whose statistics are frozen.  factor: on the hidden weights, before
    anything is frozen.  Source: salimans2016 (weight-norm), ba2016 (layer-norm).
    Consequence: "frozen" and "bn" are the same function at the start.
    Raises ValueError for an unknown name, with the nearest known one.
    """
    kind = NORMED.get(one_of("arm", name, ARMS), "none")
    norm = ("none",) * (len(sizes) - 3) + (kind,) if name == "bn-last-hidden" else kind
    affine = name not in ("bn-no-affine", "frozen")
    spec = Spec(tuple(sizes), activation, norm, affine, affine, eps=eps)
    params, last = initial_params(spec, seeds), len(sizes) - 1
    for layer in range(1, last + 1):
        weight = params[f"W{layer}"]
        scale = PLAIN.get(name, 1.0) * (factor if layer < last else 1.0)
        if name == "last-small" and layer == last:
            scale = LAST
        weight = _orthonormal(weight, spec, layer) if name == "orthogonal" else weight
        params[f"W{layer}"] = weight * scale
        if name == "weight-norm":
            params[f"g{layer}"] = params[f"W{layer}"].norm(dim=2)
        if name == "frozen" and layer < last:
            params[f"b{layer}"] = torch.zeros_like(weight[:, :, 0])
    if kind != "frozen":
        return Arm(spec, params)
    live = SeedBatchedMLP(replace(spec, norm="batch"), seeds)
    return Arm(spec, params, live.recalibrate(x, params))


def _orthonormal(weight: Tensor, spec: Spec, layer: int) -> Tensor:
    """QR factor of the draws, scaled to the Frobenius norm that He initialization expects."""
    rows, columns = weight.shape[1:]
    q, r = torch.linalg.qr(weight.mT if rows < columns else weight)
    q = q * r.diagonal(dim1=1, dim2=2).sign()[:, None]  # unique: positive diagonal of R
    gain = GAINS.get(spec.activation, 1.0) if layer < len(spec.sizes) - 1 else 1.0
    return (q.mT if rows < columns else q) * (gain * rows / min(rows, columns)) ** 0.5


def _weights(params: Params) -> Params:
    """Parameters with W = g v / ||v|| put in place of v where there is a g."""
    effective = dict(params)
    for name in params:
        if name.startswith("g") and name[1:].isdigit():
            v = params[f"W{name[1:]}"]
            effective[f"W{name[1:]}"] = v * (params[name] / v.norm(dim=2))[:, :, None]
    return effective
