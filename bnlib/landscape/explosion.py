"""Size of the gradient, layer by layer, on its way down.

Source: yang2019.
"""

import math

import torch
from torch import Tensor

from bnlib.interactions.split import Params
from bnlib.networks.seed_batched import Statistics, forward, trace
from bnlib.networks.spec import Spec

RELU_FACTOR = math.pi / (math.pi - 1)
"""Growth of the squared gradient per layer: wide ReLU network with BN, gamma = 1, beta = 0, at the
start. Var relu(N(0, 1)) = 1/2 - 1/(2 pi); He weights double it, and the backward pass divides by
it:  2 (1/2) / (1 - 1/pi)."""


def layer_gradient_norms(
    params: Params, x: Tensor, y: Tensor, spec: Spec, *, stats: Statistics | None = None
) -> Tensor:
    """||dL/dz_l||^2 of the pre-activations z_l = W_l a_{l-1} (+ b_l) of every layer, (S, L).

    x: (S, m, d).  y: (S, m) classes.  L: mean cross-entropy.  stats: constants for a frozen norm.
    z_l is the input of the norm, where there is one.
    Raises ValueError for spec.order "post", whose norm sees activations, not z.
    """
    if spec.order != "pre":
        raise ValueError(f"spec.order: want 'pre', got {spec.order!r}: the norm sees no z there")
    pre: dict[int, Tensor] = {}
    point = {name: value.detach().requires_grad_() for name, value in params.items()}
    output = forward(spec, point, x, stats=stats, pre=pre)
    sites = [pre[layer] for layer in range(1, len(spec.sizes))]
    loss = torch.nn.functional.cross_entropy(output.flatten(0, 1), y.flatten(), reduction="none")
    grads = torch.autograd.grad(loss.unflatten(0, y.shape).mean(1).sum(), sites)
    return torch.stack([g.square().sum((1, 2)) for g in grads], 1)


def mean_factor(norms: Tensor) -> Tensor:
    """Geometric mean of  ||dL/dz_l||^2 / ||dL/dz_{l+1}||^2  over l = 2 ... L - 2, (S,).

    norms: (S, L).  Layer 1 is left out, whose norm divides by the spread of the inputs, and the
    output layer, which no activation follows.
    Raises ValueError for fewer than four layers, where nothing is left.
    """
    last = norms.shape[1] - 1
    if last < 3:
        raise ValueError(f"norms: want at least 4 layers, got {last + 1}: no pair inside is left")
    return (norms[:, 1] / norms[:, last - 1]) ** (1 / (last - 2))


def inverse_variance(
    params: Params, x: Tensor, spec: Spec, *, stats: Statistics | None = None
) -> Tensor:
    """Mean of 1/(sigma^2 + eps) over units, geometric mean over l = 2 ... L - 2, (S,); 1 if plain.

    A backward layer of a wide ReLU network divides by sigma^2 unit by unit, so this replaces
    1/(1 - 1/pi) where the units' variances differ:  <1/sigma^2> >= 1/<sigma^2>.
    """
    used = trace(spec, params, x, stats=stats).stats
    inner = [used[site].var + spec.eps for site in used if 2 <= site <= len(spec.sizes) - 3]
    means = [(1 / var).mean(1) for var in inner] or [torch.ones(len(x), dtype=x.dtype)]
    return torch.stack(means, 1).log().mean(1).exp()
