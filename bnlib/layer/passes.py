"""The two passes over memory, forward and backward, on plain tensors; no derivatives here.

Sums run over the m rows of a channel, that is over every axis of x but axis 1; <a> is their mean.
"""

from collections.abc import Callable, Iterable
from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor

from bnlib.rows import per_channel

BLOCK = 1 << 17  # values; a float32 block and its intermediate fit in a core's second-level cache
RUN = 32  # rows that compiled code adds before it goes on in float64


class Statistics(NamedTuple):
    """What a batch says about its channels; each (c,). The mean is pilot + shift."""

    pilot: Tensor
    shift: Tensor
    var: Tensor


def _blocks(x: Tensor) -> list[tuple[slice, Tensor | None]]:
    """Parts of axis 0 that stay in cache, each with room for one intermediate result.

    A compiler fuses by itself: it gets one part and no room.
    """
    whole: list[tuple[slice, Tensor | None]] = [(slice(None), None)]
    if torch.compiler.is_compiling():
        return whole
    n = x.shape[0]
    step = max(1, BLOCK * n // x.numel())
    if step >= n:
        return whole
    room = torch.empty_like(x[:step])
    return [(slice(i, i + step), room[: n - i]) for i in range(0, n, step)]


def _map(f: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
    """f(out, room, *tensors) for an elementwise f, part by part; a single part is the result."""
    parts = _blocks(tensors[0])
    if len(parts) == 1:
        return f(None, None, *tensors)
    out = torch.empty_like(tensors[0])
    for part, room in parts:
        f(out[part], room, *(t[part] for t in tensors))
    return out


def _sum(a: Tensor) -> Tensor:
    """Sum over rows, (c,), in float64, so that sums of parts add up without further rounding.

    torch adds in a tree, and compiled code in a cascade along the last axes; along the first it
    adds one value after the other, where rounding would grow with the length of the chain.
    """
    if a.ndim > 2:
        a = a.sum(tuple(range(2, a.ndim)))
    if not torch.compiler.is_compiling():
        return a.sum(0).double()
    if _divides(RUN, a.shape[0]):
        a = a.unflatten(0, (-1, RUN)).sum(1)  # rows one after the other, in short chains
    return a.double().sum(0)


def _divides(run: int, n: int) -> bool:
    """Whether a compiler knows it, also of a size that it keeps free."""
    from torch.fx.experimental.symbolic_shapes import statically_known_true  # who compiles pays

    return statically_known_true(n % run == 0)


def _spread(parts: tuple[Tensor, ...], x: Tensor) -> list[Tensor]:
    """Values a channel, in the dtype of x, ready to broadcast against it."""
    values = [v.to(x.dtype) for v in parts]
    if torch.compiler.is_compiling():  # stacked they are computed once, not again for every row
        values = list(torch.stack(values))
    return values if x.ndim == 2 else [per_channel(v, x.ndim) for v in values]


def _add_up(parts: Iterable[tuple[Tensor, Tensor]]) -> list[Tensor]:
    """Two sums over parts of the rows, added up."""
    return [reduce(torch.add, sums) for sums in zip(*parts, strict=True)]


def rows(x: Tensor) -> int:
    """The number m of rows."""
    return x.numel() // x.shape[1]


def statistics(x: Tensor) -> Statistics:
    """Mean and biased variance in two readings of x.

    The first mean, the pilot, is off by a rounding of |mu|, which may exceed sigma. x - pilot is
    exact wherever that matters, so its own mean, the shift, completes the mean to full precision.
    A constant channel differs from its pilot by a few units in the last place; sums of these are
    exact, so that pilot + shift is the constant and var is 0.
    """
    m = rows(x)
    pilot = (_sum(x) / m).to(x.dtype)
    (near,) = _spread((pilot,), x)

    def sums(part: slice, room: Tensor | None) -> tuple[Tensor, Tensor]:
        c = torch.sub(x[part], near, out=room)
        return _sum(c), _sum(c.square_())

    shift, square = (total / m for total in _add_up(sums(*block) for block in _blocks(x)))
    var = square.sub_(shift.square()).clamp_min_(0)
    return Statistics(pilot, shift.to(x.dtype), var)


def inverse_root(var: Tensor, eps: float) -> Tensor:
    """(var + eps) ** -0.5; 0 where both are 0, so that a constant channel has x_hat = 0."""
    total = var + eps
    if eps > 0:
        return total.rsqrt()
    zero = total == 0
    # The inner choice keeps 0 * inf out of the derivative.
    return torch.where(zero, 0.0, torch.where(zero, 1.0, total).rsqrt())


def forward(x: Tensor, gamma: Tensor, beta: Tensor, eps: float, known: Statistics) -> Tensor:
    """y = gamma * rstd * (x - pilot - shift) + beta  [BN.1]. Centre, then scale: never folded."""
    pilot, shift, rstd = known.pilot, known.shift, inverse_root(known.var, eps)
    pilot, shift, scale, beta = _spread((pilot, shift, gamma * rstd, beta), x)

    def f(out: Tensor | None, room: Tensor | None, x: Tensor) -> Tensor:
        return torch.sub(x, pilot, out=out).sub_(shift).mul_(scale).add_(beta)

    return _map(f, x)


def backward(
    dy: Tensor, x: Tensor, gamma: Tensor, eps: float, known: Statistics
) -> tuple[Tensor, ...]:
    """dx = gamma * rstd * (dy - <dy> - x_hat * <dy * x_hat>), dgamma, dbeta  [BN.2]."""
    m = rows(x)
    pilot, shift, rstd = known.pilot, known.shift, inverse_root(known.var, eps)
    (near,) = _spread((pilot,), x)

    def sums(part: slice, room: Tensor | None) -> tuple[Tensor, Tensor]:
        c = torch.sub(x[part], near, out=room)
        return _sum(dy[part]), _sum(torch.mul(c, dy[part], out=room))

    dbeta, dot = _add_up(sums(*block) for block in _blocks(x))
    # The shift is below sigma: unlike the pilot it may be taken out of the sums over rows.
    dgamma = (dot - shift * dbeta) * rstd
    slope = dgamma * rstd / m
    parts = (dbeta / m - shift * slope, slope, gamma * rstd)
    mean, slope, scale = _spread(parts, x)

    def f(out: Tensor | None, room: Tensor | None, x: Tensor, dy: Tensor) -> Tensor:
        along = torch.mul(torch.sub(x, near, out=room), slope, out=room)
        return torch.sub(dy, mean, out=out).sub_(along).mul_(scale)

    return _map(f, x, dy), dgamma.to(x.dtype), dbeta.to(x.dtype)
