"""How far a direction descends: the first step size at which the loss is above its start."""

import torch
from torch import Tensor

from bnlib.interactions import Function, Params, stepped

HALVINGS = 30


def first_ascent(loss: Function, params: Params, direction: Params, steps: Tensor) -> Tensor:
    """Smallest step with  L(theta + step d) > L(theta),  (S,); infinite where no step has it.

    steps: (P, S), ascending, the step sizes looked at; between the first one that rises and its
    neighbor (0 for the first) the place is found by bisection. A loss that is not finite counts
    as risen.  loss: takes K S networks, copy k of network s in row k S + s.
    Consequence: for a quadratic loss and d = -g this is 2 |g|^2 / g.Hg.
    Raises ValueError for steps that are not positive and ascending: the first one would be missed.
    """
    if steps.ndim != 2 or not bool((steps.diff(dim=0, prepend=0 * steps[:1]) > 0).all()):
        raise ValueError(
            f"steps: expected (P, S), positive and ascending, got {tuple(steps.shape)}"
        )
    start = _along(loss, params, direction, 0 * steps[:1])[0]
    risen = ~(_along(loss, params, direction, steps) <= start)
    first = risen.to(torch.uint8).argmax(0)
    ends = torch.cat([0 * steps[:1], steps])
    low, high = (ends.gather(0, (first + k)[None])[0] for k in (0, 1))
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        up = ~(_along(loss, params, direction, middle[None])[0] <= start)
        low, high = torch.where(up, low, middle), torch.where(up, middle, high)
    return torch.where(risen.any(0), high, torch.full_like(high, float("inf")))


@torch.no_grad()
def _along(loss: Function, params: Params, direction: Params, steps: Tensor) -> Tensor:
    """The loss at every step size, (P, S), as one program of P S networks."""
    steps = steps.to(next(iter(params.values())).dtype)
    copies = {k: v.flatten(0, 1) for k, v in stepped(params, direction, steps).items()}
    return loss(copies).unflatten(0, steps.shape)
