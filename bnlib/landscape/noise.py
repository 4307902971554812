"""Noise after a normalization, which raises the shift of distributions on purpose.

Source: santurkar2018.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Noise(NamedTuple):
    """What is added to and what multiplies each entry; the shape of the output, (S, m, c)."""

    shift: Tensor
    scale: Tensor


def noisy_normalization(y: Tensor, noise: Noise) -> Tensor:
    """The output of a norm under noise that the caller has drawn:  y scale + shift.

    y: (S, m, c), after gamma and beta and before the activation.
    Consequences: scale 1 and shift 0 change nothing; noise kept fixed is a fixed layer, so that
    two gradients can be compared under it.
    Raises ValueError for noise of another shape, which would be shared between rows or networks
    unseen, and for noise that is not finite.
    """
    for name, value in noise._asdict().items():
        if value.shape != y.shape:
            raise ValueError(
                f"{name}: want the shape of y, {tuple(y.shape)}, got {tuple(value.shape)}"
            )
        if not bool(torch.isfinite(value).all()):
            raise ValueError(f"{name}: want finite noise, got NaN or Inf")
    return torch.addcmul(noise.shift, y, noise.scale)
