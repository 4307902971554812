"""The description of a small fully connected network: sizes, norms, activation."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from bnlib.parameters import one_of

NORMS = ("none", "batch", "affine", "layer", "mean-only", "std-only", "frozen", "renewed")
ACTIVATIONS = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "linear": torch.positive,
    "gelu": functional.gelu,
    "softplus": lambda x: functional.softplus(x) - math.log(2),  # 0 at 0, as the others
}
GAINS = {"relu": 2.0, "gelu": 2.0, "softplus": 4.0}  # k^2 of the initial weights; else 1
ORDERS = ("pre", "post")
# These kinds read statistics over the rows, and take given ones as constants in their place.
ROW_STATISTICS = ("batch", "mean-only", "std-only", "frozen", "renewed")
INITIAL_WEIGHTS, BATCH_ORDER, VALIDATION_ROWS, WEIGHT_MASK = range(4)


def seeded(seed: int, stream: int) -> np.random.Generator:
    """The generator of one purpose (`stream`) of one seed.

    Separate streams keep arms paired: drawing more for one purpose moves no other draw of the seed.
    """
    return np.random.default_rng((seed, stream))


@dataclass(frozen=True)
class Spec:
    """What a network computes, without its numbers.

    sizes: widths (inputs, hidden..., outputs).  norm: one of `NORMS` for every hidden layer, or
    a tuple with one name a hidden layer.  scale, shift: whether sites with a norm have gamma,
    beta.  order: norm "pre" (before) or "post" (after) the activation.  input_norm, output_norm:
    norm of the inputs and of the outputs.  eps: under the root.

        "none"       x                                  plain; the linear map has a bias
        "affine"     gamma x + beta                     no normalization
        "batch"      gamma (x - mu)/sqrt(var + eps) + beta   mu, var over the m rows
        "mean-only"  gamma (x - mu) + beta
        "std-only"   gamma x/sqrt(var + eps) + beta     var is about the mean all the same
        "layer"      as "batch"                         mu, var over the c units of one row
        "frozen"     as "batch"                         mu, var are constants given by the caller
        "renewed"    as "batch"                         mu, var over the m rows; no gradient in them

    With eps = 0 a constant channel is 0/0 and becomes NaN in its own network.
    Raises ValueError: fewer than two sizes or a width below 1 leaves nothing to compute; a name is
    unknown; there is not one norm a hidden layer; eps < 0 makes the root complex.
    """

    sizes: tuple[int, ...]
    activation: str = "relu"
    norm: str | tuple[str, ...] = "batch"
    scale: bool = True
    shift: bool = True
    order: str = "pre"
    input_norm: str = "none"
    output_norm: str = "none"
    eps: float = 1e-5

    def __post_init__(self) -> None:
        object.__setattr__(self, "sizes", tuple(self.sizes))
        if len(self.sizes) < 2 or any(not isinstance(n, int) or n < 1 for n in self.sizes):
            raise ValueError(
                f"sizes: expected (inputs, ..., outputs), whole numbers >= 1, got {self.sizes}; "
                "a layer of width 0 has nothing to compute with"
            )
        one_of("activation", self.activation, tuple(ACTIVATIONS))
        one_of("order", self.order, ORDERS)
        for name in self.norms:
            one_of("norm", name, NORMS)
        if len(self.norms) != len(self.sizes):
            hidden = len(self.sizes) - 2
            raise ValueError(f"norm: expected a name for each of {hidden} layers, got {self.norm}")
        if not 0 <= self.eps < float("inf"):
            raise ValueError(f"eps: expected a finite number >= 0 under the root, got {self.eps}")

    @property
    def norms(self) -> tuple[str, ...]:
        """The norm of every site 0..L: the inputs, each hidden layer, the outputs."""
        hidden = (self.norm,) * (len(self.sizes) - 2) if isinstance(self.norm, str) else self.norm
        return (self.input_norm, *hidden, self.output_norm)

    def has_bias(self, layer: int) -> bool:
        """Whether linear map `layer` (1..L) carries a bias: unless what follows has its own.

        Layer norm removes one number of each row, which is no bias; all others remove, or add, one
        number of each unit.
        """
        hidden_post = self.order == "post" and layer < len(self.sizes) - 1
        return hidden_post or self.norms[layer] in ("none", "layer")
