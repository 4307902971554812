"""How to train: the settings of a run, and the two optimizers."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bnlib.networks.batches import LOSSES
from bnlib.networks.spec import one_of

OPTIMIZERS = ("sgd", "adam")
SCHEDULES = ("constant", "cosine", "step")


@dataclass(frozen=True)
class Recipe:
    """How to train.

    steps, batch: whole numbers.  lr: a rate for all seeds, or one a seed.
    optimizer: "sgd" with momentum, v <- momentum v + g, p <- p - lr v; or "adam" with old weights
    0.9, 0.999 and offset 1e-8.
    schedule, of the rate at step t: "constant"; "cosine" lr (1 + cos(pi t/steps))/2; "step" lr,
    then lr/10 from the half and lr/100 from three quarters of the steps on.
    loss: mean over rows, and over outputs for "mse".
    weight_decay: added to the gradient of weight matrices W1, W2, ... as weight_decay W, and to no
    gamma, beta or bias; needs "sgd".
    trainable: parameter names ("W1") or kinds ("gamma": gamma1, gamma2, ...); None for all.
    """

    steps: int
    batch: int
    lr: float | Sequence[float] | Tensor
    optimizer: str = "sgd"
    momentum: float = 0.0
    schedule: str = "constant"
    loss: str = "cross-entropy"
    trainable: Sequence[str] | None = None
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        one_of("optimizer", self.optimizer, OPTIMIZERS)
        one_of("schedule", self.schedule, SCHEDULES)
        one_of("loss", self.loss, LOSSES)
        for name in ("steps", "batch"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name}: want a whole number >= 1, got {value!r}")
        if not 0 <= self.momentum < 1 or (self.momentum and self.optimizer == "adam"):
            raise ValueError(
                f"momentum: want 0 <= momentum < 1, and 0 with adam, got {self.momentum} "
                f"with {self.optimizer}; 1 never forgets, adam has its own"
            )
        if not 0 <= self.weight_decay < 1 or (self.weight_decay and self.optimizer == "adam"):
            raise ValueError(
                f"weight_decay: want 0 <= weight_decay < 1, and 0 with adam, got "
                f"{self.weight_decay} with {self.optimizer}; adam would rescale the decay"
            )

    def factor(self, step: int) -> float:
        """What the schedule multiplies the rate with at `step` = 0..steps-1."""
        if self.schedule == "cosine":
            return (1 + math.cos(math.pi * step / self.steps)) / 2
        if self.schedule == "step":
            return 0.1 ** ((2 * step >= self.steps) + (4 * step >= 3 * self.steps))
        return 1.0

    def rates(self, seeds: int, dtype: torch.dtype) -> Tensor:
        """The rate as (S, 1)."""
        lr = torch.as_tensor(self.lr, dtype=torch.float64)
        if lr.ndim > 1 or (lr.ndim == 1 and len(lr) != seeds):
            raise ValueError(f"lr: want one rate or {seeds}, got shape {tuple(lr.shape)}")
        if not bool((torch.isfinite(lr) & (lr > 0)).all()):
            raise ValueError(f"lr: want finite rates > 0, got {self.lr}")
        return lr.to(dtype).expand(seeds)[:, None]


def sgd(flat: Tensor, momentum: float) -> Callable[[Tensor, Tensor], None]:
    velocity = torch.zeros_like(flat)

    def update(grad: Tensor, rate: Tensor) -> None:
        torch.add(grad, velocity, alpha=momentum, out=velocity)
        flat.addcmul_(velocity, rate, value=-1)

    return update


def adam(flat: Tensor, b1: float = 0.9, b2: float = 0.999) -> Callable[[Tensor, Tensor], None]:
    first, second, decay = torch.zeros_like(flat), torch.zeros_like(flat), [1.0, 1.0]

    def update(grad: Tensor, rate: Tensor) -> None:
        decay[0], decay[1] = decay[0] * b1, decay[1] * b2
        first.lerp_(grad, 1 - b1)
        second.mul_(b2).addcmul_(grad, grad, value=1 - b2)
        root = second.sqrt().div_(math.sqrt(1 - decay[1])).add_(1e-8)
        flat.addcdiv_(first * (rate / (1 - decay[0])), root, value=-1)

    return update
