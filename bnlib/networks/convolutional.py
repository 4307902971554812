"""Convolutional networks on sequences, plain and residual: the same layers, without and with skips.

Rows are positions, as in `residual`, and a convolution is a linear map of rows beside their
neighbors. So this is the network of `seed_batched`, layer by layer, with l = 1..L and

    z_1 = W_1 windows(x),   z_l = W_l beside(a_{l-1}),   a_l = phi(norm(z_l))
    with skips              a_l = phi(norm(z_l) + a_{l-2})  at  l = 3, 5, ... < L
    output                  mean over the positions of  W_L a_{L-1} + b_L

Windows at the end of a sequence are filled with phi(0), which is 0 but for the sigmoid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bnlib.networks.arms import Arm, tiled
from bnlib.networks.residual import KERNEL, STEM_KERNEL, beside, draws, windows
from bnlib.networks.seed_batched import Params, Statistics, forward, initial_params, moments
from bnlib.networks.spec import ACTIVATIONS, GAINS, Spec
from bnlib.parameters import one_of

NORMS = {"none": "none", "frozen": "frozen", "bn": "batch"}


@dataclass(frozen=True)
class ConvolutionalArm(Arm):
    """S networks on sequences x (S, m, length); `spec.sizes` are channels.  skips: residual."""

    skips: bool = False

    def logits(self, params: Params, x: Tensor) -> Tensor:
        """Outputs (K S, m, k) of K copies of the S networks, x (S, m, length); any K."""
        copies = len(params["W1"]) // len(x)
        return self._outputs(
            params, tiled(x, copies), self._constants(lambda value: tiled(value, copies))
        )

    def evaluated(self, params: Params, fit: Tensor, x: Tensor) -> Tensor:
        """Outputs (K, m, k) of K networks on x (m, length), constants of `fit` as statistics."""
        copies = len(params["W1"])
        stats = self._constants(lambda value: tiled(value, copies // len(value)))
        stats = stats or self.statistics(params, fit.expand(copies, -1, -1))
        return self._outputs(params, x.expand(copies, -1, -1), stats)

    def statistics(self, params: Params, x: Tensor) -> Statistics:
        """Moments (S, c) of every hidden layer before its norm, over rows and positions of x."""
        seen: dict[int, Tensor] = {}
        self._outputs(params, x, None, seen)
        return {site: moments(seen[site].detach()) for site in range(1, len(self.spec.sizes) - 1)}

    def _outputs(
        self,
        params: Params,
        x: Tensor,
        stats: Statistics | None,
        seen: dict[int, Tensor] | None = None,
    ) -> Tensor:
        sequences, phi, carried = x.shape[1], ACTIVATIONS[self.spec.activation], torch.zeros(())

        def after(site: int, z: Tensor) -> Tensor:
            nonlocal carried
            if self.skips and site % 2:
                z = z + carried
                carried = phi(z)
            # phi follows: it acts on each number alone, so neighbors may be put together before
            return beside(z, sequences) if site < len(self.spec.sizes) - 2 else z

        out = forward(self.spec, params, windows(x), stats=stats, pre=seen, after=after)
        return out.unflatten(1, (sequences, -1)).mean(2)


def build(
    name: str,
    depth: int,
    seeds: Sequence[int],
    x: Tensor,
    *,
    classes: int,
    skips: bool = False,
    width: int = 16,
    activation: str = "relu",
) -> ConvolutionalArm:
    """A network of `depth` weight matrices a seed: a stem, convolutions, a last layer.

        none     no norm, biases
        frozen   batch norm whose mu, var are those of x at the start, constant; gamma and beta
        bn       batch norm before every activation

    x: (m, length).  W ~ N(0, k^2/fan-in), k^2 as in `seed_batched`.
    Consequence: the arms, with and without skips, have the same weights; "frozen" and "bn" are the
    same function of x at the start.
    Raises ValueError for an unknown name, with the nearest known one.
    """
    norm, hidden = NORMS[one_of("arm", name, tuple(NORMS))], (width,) * (depth - 1)
    spec = Spec((STEM_KERNEL, *hidden, classes), activation, norm)
    params, gain = initial_params(spec, seeds), GAINS.get(activation, 1.0)
    for layer in range(1, depth + 1):
        out, fan = spec.sizes[layer], spec.sizes[layer - 1] * (KERNEL if 1 < layer < depth else 1)
        shape = (out, fan, gain if layer < depth else 1.0)
        params[f"W{layer}"] = draws(seeds, layer, [shape])[0]
    arm = ConvolutionalArm(spec, params, skips=skips)
    if name != "frozen":
        return arm
    live = replace(arm, spec=replace(spec, norm="batch"))
    return replace(arm, stats=live.statistics(params, x.expand(len(seeds), -1, -1)))
