"""Fully connected networks, one per seed, run together as one tensor program.

Axes, in this order everywhere: S networks (one a seed), m rows of a batch, c units. A layer of
all S networks is one `torch.bmm`. No operation reduces over S, so the networks never influence
each other, not even through NaN.

Layer l = 1..L of a network with widths `sizes = (d, h1, ..., k)`:

    order "pre"    z_l = W_l a_{l-1} (+ b_l),  a_l = phi(norm(z_l))
    order "post"   z_l = phi(W_l a_{l-1} + b_l),  a_l = norm(z_l)
    output         z_L = W_L a_{L-1} (+ b_L),  a_L = norm(z_L) if there is an output norm

and site 0 is the norm of the inputs, if there is one. A linear map directly before a norm has no
bias: batch statistics would cancel it, and beta takes its place in the others.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from bnlib.networks.spec import ACTIVATIONS, GAINS, INITIAL_WEIGHTS, ROW_STATISTICS, Spec, seeded
from bnlib.rows import Moments

Params = Mapping[str, Tensor]
Statistics = Mapping[int, Moments]  # of every site, (S, c) each


class Trace(NamedTuple):
    """One forward pass with what it saw. Sites are numbered 0 (inputs), 1..L (layers).

    output: (S, m, k).  pre: site -> input of its norm (S, m, c), also where the norm is "none";
    part of the graph, so gradients with respect to it can be taken.  stats: site -> moments over
    the rows that it used, for the kinds that use any.
    """

    output: Tensor
    pre: dict[int, Tensor]
    stats: dict[int, Moments]


def initial_params(spec: Spec, seeds: Sequence[int]) -> dict[str, Tensor]:
    """Parameters of one network a seed, float64: W1 (S, out, in), b1, gamma1, beta1 (S, out), ...

        W_l ~ N(0, k^2 / fan_in),  k^2 = GAINS: 2 before a ReLU or GELU, 4 before the softplus,
                                1 otherwise and for the last layer
        b = 0, gamma = 1, beta = 0

    Consequence: arms that share sizes and activation give a seed the same weights.
    """
    last, params = len(spec.sizes) - 1, {}
    rngs = [seeded(seed, INITIAL_WEIGHTS) for seed in seeds]
    for layer in range(last + 1):
        width = spec.sizes[layer]
        if layer > 0:
            shape = (width, spec.sizes[layer - 1])
            gain = GAINS.get(spec.activation, 1.0) if layer < last else 1.0
            draws = np.stack([rng.standard_normal(shape) for rng in rngs])
            params[f"W{layer}"] = torch.from_numpy(draws * np.sqrt(gain / shape[1]))
            if spec.has_bias(layer):
                params[f"b{layer}"] = torch.zeros(len(seeds), width, dtype=torch.float64)
        if spec.norms[layer] != "none" and spec.scale:
            params[f"gamma{layer}"] = torch.ones(len(seeds), width, dtype=torch.float64)
        if spec.norms[layer] != "none" and spec.shift:
            params[f"beta{layer}"] = torch.zeros(len(seeds), width, dtype=torch.float64)
    return params


def moments(x: Tensor) -> Moments:
    """Mean and biased variance over the m rows of each network: (S, m, c) -> (S, c) each."""
    mean = x.mean(1)
    return Moments(mean, (x - mean.unsqueeze(1)).square().mean(1))


def _batch(x: Tensor, gamma: Tensor | None, beta: Tensor | None, eps: float) -> Tensor:
    """[BN.1] with the statistics of the rows: all S c channels in one call of torch's kernel.

    The kernel saves half the time of a step against composed operations. Its error grows with
    |mu|/sigma, which is near 1 here: inputs are scaled data or activations. Needs eps > 0.
    """
    s, m, c = x.shape
    rows = x.transpose(1, 2).reshape(1, s * c, m)
    weight, bias = (None if p is None else p.flatten() for p in (gamma, beta))
    y = F.batch_norm(rows, None, None, weight, bias, training=True, eps=eps)
    return y.view(s, c, m).transpose(1, 2)


def _standardize(
    kind: str, x: Tensor, gamma: Tensor | None, given: Moments, eps: float
) -> tuple[Tensor, Tensor | None]:
    """x without the given mean, and gamma / sqrt(given var + eps), as far as `kind` has them."""
    centered = x if kind == "std-only" else x - given.mean.unsqueeze(1)
    if kind == "mean-only":
        return centered, gamma
    rstd = torch.rsqrt(given.var + eps)
    return centered, rstd if gamma is None else gamma * rstd


def normalize(
    kind: str,
    x: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    given: Moments | None,
    eps: float,
) -> Tensor:
    """The norm `kind` of x (S, m, c); formulas in `Spec`.

    gamma, beta: (S, c) or None.  given: statistics used as constants; "batch" is then [BN.4].
    Raises ValueError: one row has no spread to divide by; "frozen" has no statistics of its own.
    """
    if kind in ROW_STATISTICS and given is None:
        if kind == "frozen":
            raise ValueError("norm 'frozen': expected stats=net.recalibrate(x), got none")
        if x.shape[1] < 2:
            raise ValueError(f"expected m >= 2 rows to normalize over, got {x.shape[1]}; or stats")
        if kind == "batch" and eps > 0:  # torch's kernel refuses eps = 0
            return _batch(x, gamma, beta, eps)
        given = moments(x.detach() if kind == "renewed" else x)
    if kind in ROW_STATISTICS and given is not None:
        x, gamma = _standardize(kind, x, gamma, given, eps)
    elif kind == "layer":
        x = F.layer_norm(x, x.shape[-1:], eps=eps)
    if gamma is None or beta is None:
        y = x if gamma is None else x * gamma.unsqueeze(1)
        return y if beta is None else y + beta.unsqueeze(1)
    return torch.addcmul(beta.unsqueeze(1), x, gamma.unsqueeze(1))


def _linear(params: Params, layer: int, x: Tensor) -> Tensor:
    """W x (+ b) for all networks in one batched product: (S, m, in) -> (S, m, out).

    The result lies in memory unit by unit, rows of a unit together: sums over rows and the
    softmax then read it in order, which is twice as fast.
    """
    weight, bias, columns = params[f"W{layer}"], params.get(f"b{layer}"), x.transpose(1, 2)
    if bias is None:
        return torch.bmm(weight, columns).transpose(1, 2)
    return torch.baddbmm(bias.unsqueeze(2), weight, columns).transpose(1, 2)


def forward(
    spec: Spec,
    params: Params,
    x: Tensor,
    *,
    stats: Statistics | None = None,
    pre: dict[int, Tensor] | None = None,
    after: Callable[[int, Tensor], Tensor] | None = None,
) -> Tensor:
    """Outputs (S, m, k) of all networks on x (S, m, d), or (m, d) for the same rows in each.

    A function of its tensor arguments alone, so torch.func (grad, jvp, vmap) applies to it.
    stats: site -> moments used as constants (evaluation mode); other sites use the batch.
    pre: if given, receives the input of the norm at each site.
    after: if given, what it makes of the norm's output at a hidden site goes on in its place.
    """
    last, phi = len(spec.sizes) - 1, ACTIVATIONS[spec.activation]
    a = x.expand(params["W1"].shape[0], *x.shape) if x.ndim == 2 else x
    for site, kind in enumerate(spec.norms):
        hidden = 0 < site < last
        z = a if site == 0 else _linear(params, site, a)
        z = phi(z) if hidden and spec.order == "post" else z
        if pre is not None:
            pre[site] = z
        gamma, beta = params.get(f"gamma{site}"), params.get(f"beta{site}")
        a = normalize(kind, z, gamma, beta, (stats or {}).get(site), spec.eps)
        a = after(site, a) if after is not None and hidden else a
        a = phi(a) if hidden and spec.order == "pre" else a
    return a


def trace(spec: Spec, params: Params, x: Tensor, *, stats: Statistics | None = None) -> Trace:
    """`forward`, with the input of every norm and the statistics that it used."""
    pre: dict[int, Tensor] = {}
    output = forward(spec, params, x, stats=stats, pre=pre)
    sites = (site for site, kind in enumerate(spec.norms) if kind in ROW_STATISTICS)
    return Trace(output, pre, {i: (stats or {}).get(i) or moments(pre[i]) for i in sites})


class SeedBatchedMLP:
    """S networks of one `Spec`, one a seed, and their `params`: name -> (S, ...).

    `params` is a plain dict, which training replaces; no method changes it.  seeds: whole numbers
    >= 0; a seed has the same weights in every arm.
    """

    def __init__(self, spec: Spec, seeds: Sequence[int], dtype: torch.dtype = torch.float64):
        self.spec, self.seeds, self.dtype = spec, tuple(int(seed) for seed in seeds), dtype
        if not self.seeds or min(self.seeds) < 0:
            raise ValueError(f"seeds: expected at least one whole number >= 0, got {tuple(seeds)}")
        # Drawn in float64 and rounded once: both precisions start from the same network.
        self.params = {k: v.to(dtype) for k, v in initial_params(spec, self.seeds).items()}

    def forward(self, params: Params, x: Tensor, *, stats: Statistics | None = None) -> Tensor:
        """Outputs (S, m, k) on x (S, m, d) or (m, d); batch statistics unless `stats` are given."""
        return forward(self.spec, params, x, stats=stats)

    def trace(self, params: Params, x: Tensor, *, stats: Statistics | None = None) -> Trace:
        """`forward` with the input of every norm and the statistics used."""
        return trace(self.spec, params, x, stats=stats)

    @torch.no_grad()
    def recalibrate(self, x: Tensor, params: Params | None = None) -> dict[int, Moments]:
        """Exact population statistics of every site over all rows of x, layer by layer.

        x: (S, n, d) or (n, d), tensor or array.  One pass with x as a single batch: every layer
        then sees inputs normalized by exactly the statistics returned for the layers below.
        Consequence: `forward(params, x, stats=recalibrate(x))` equals training mode on x.
        """
        first, *hidden, last = ("batch" if n == "frozen" else n for n in self.spec.norms)
        live = replace(self.spec, norm=tuple(hidden), input_norm=first, output_norm=last)
        rows = torch.as_tensor(x, dtype=self.dtype)
        return trace(live, self.params if params is None else params, rows).stats
