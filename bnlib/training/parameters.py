"""The trained subset of a network's parameters, as one matrix that an optimizer can step."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from bnlib.networks.seed_batched import SeedBatchedMLP
from bnlib.parameters import one_of


def trained_names(net: SeedBatchedMLP, trainable: Sequence[str] | None) -> list[str]:
    """The parameters that `Recipe.trainable` names.  Raises ValueError for unknown ones or none."""
    if trainable is None:
        return list(net.params)
    kinds = {name: name.rstrip("0123456789") for name in net.params}
    for wanted in trainable:
        one_of("trainable", wanted, sorted({*kinds.values(), *net.params}))
    names = [name for name, kind in kinds.items() if name in trainable or kind in trainable]
    if not names:
        raise ValueError("trainable: expected at least one parameter, got none; None trains all")
    return names


class Trained:
    """The trained parameters as one matrix (S, P), seen through leaves that carry gradients."""

    def __init__(
        self,
        net: SeedBatchedMLP,
        names: Sequence[str],
        masks: Mapping[str, Tensor],
        weight_decay: float,
    ):
        self.names = names
        self.flat = torch.cat([net.params[name].flatten(1) for name in names], 1)
        self.mask = _flat_mask(net, names, masks) if masks else None
        rates = [weight_decay if name.startswith("W") else 0.0 for name in names]
        columns = [torch.full_like(net.params[n][:1], r) for n, r in zip(names, rates, strict=True)]
        self.decay = torch.cat([column.flatten(1) for column in columns], 1)
        self.decay = self.decay if self.mask is None else self.decay * self.mask
        parts = self.views(self.flat, net)
        self.leaves = [parts[name].detach().requires_grad_() for name in names]
        self.all = {**net.params, **dict(zip(names, self.leaves, strict=True))}

    def views(self, flat: Tensor, net: SeedBatchedMLP) -> dict[str, Tensor]:
        """The matrix cut into name -> (S, ...)."""
        parts = flat.split([net.params[name][0].numel() for name in self.names], 1)
        return {
            name: part.unflatten(1, net.params[name].shape[1:])
            for name, part in zip(self.names, parts, strict=True)
        }

    def decayed(self, grad: Tensor) -> Tensor:
        """The gradient plus weight_decay W, where a weight matrix is trained; a new matrix."""
        return torch.addcmul(grad, self.flat, self.decay)

    def gradient(self, losses: Tensor) -> Tensor:
        """Gradients of each seed's own loss, (S, P), zero where a mask forbids training."""
        grads = torch.autograd.grad(losses.sum(), self.leaves)
        flat = torch.cat([grad.flatten(1) for grad in grads], 1)
        # Not a product: 0 * NaN would reach a weight that is not trained.
        return flat if self.mask is None else flat.masked_fill_(~self.mask, 0.0)


def _flat_mask(net: SeedBatchedMLP, names: Sequence[str], masks: Mapping[str, Tensor]) -> Tensor:
    for name, mask in masks.items():
        one_of("masks", name, names)
        shape = net.params[name].shape
        if mask.shape != shape or mask.dtype != torch.bool:
            raise ValueError(
                f"masks[{name!r}]: expected bool of shape {tuple(shape)}, "
                f"got {mask.dtype} of shape {tuple(mask.shape)}"
            )
    full = [masks.get(n, torch.ones(net.params[n].shape, dtype=torch.bool)) for n in names]
    return torch.cat([mask.flatten(1) for mask in full], 1)
