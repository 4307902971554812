"""Every input is a matrix of rows (m, c): m numbers for each of c channels.

The reshaping of the library, the checks at its boundary, and the records that passes return
and statistics fill. It computes no statistics.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

BLOCK = 1 << 17  # numbers handled at a time: a block and its scratch stay in a 1 MB cache
WIDE = 32  # channels from which rows (m, c) are worked on as they lie


class Grads(NamedTuple):
    """Gradients of the loss with respect to the three inputs of a normalization."""

    dx: np.ndarray  # shape of x, [L]/[x]
    dgamma: np.ndarray  # (c,), [L]
    dbeta: np.ndarray  # (c,), [L]/[y]


class Moments(NamedTuple):
    """Mean and biased variance of every channel; arrays or tensors of one shape, ending in c."""

    mean: Any  # [x]
    var: Any  # [x]^2


def reduced_axes(ndim: int, channel_axis: int = 1) -> tuple[int, ...]:
    """All axes but the channel axis: the ones that statistics reduce over.

    Raises ValueError for ndim < 2 (no rows to reduce over) and for an axis that x does not have.
    """
    if ndim < 2:
        raise ValueError(f"expected an input of at least 2 axes (rows, channels), got {ndim}")
    if not -ndim <= channel_axis < ndim:
        raise ValueError(f"channel_axis: expected {-ndim} to {ndim - 1}, got {channel_axis}")
    return tuple(axis for axis in range(ndim) if axis != channel_axis % ndim)


def per_channel(v: Any, ndim: int, channel_axis: int = 1) -> Any:
    """v of shape (c,), reshaped so that it broadcasts against an input of ndim axes."""
    shape = [1] * ndim
    shape[channel_axis % ndim] = -1
    return v.reshape(shape)


def row_count(x: np.ndarray) -> int:
    """m of an input whose channel axis is 1."""
    return x.size // max(x.shape[1], 1)


def lines(x: np.ndarray) -> np.ndarray:
    """View (c, n, s), one line a channel, of a layout (n, c, ...); s = 1 for rows (m, c)."""
    n, c = x.shape[:2]
    return x.reshape(n, c, x.size // max(n * c, 1)).swapaxes(0, 1)


def from_lines(a: np.ndarray, x: np.ndarray) -> np.ndarray:
    """View of lines (c, m) in the layout of x."""
    n, c = x.shape[:2]
    return a.reshape(c, n, a.shape[1] // n).swapaxes(0, 1).reshape(x.shape)


def empty_lines(view: np.ndarray) -> np.ndarray:
    """Work space (c, m) for lines (c, n, s), stored so that neither has to be transposed."""
    c, n, s = view.shape
    return np.empty((c, n * s), view.dtype, order="F" if _lie_across(view) else "C")


def blocks(x: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """The lines of x, a few at a time, with their slice: whole arrays would not stay in cache."""
    view = lines(x)
    step = len(view) if _lie_across(view) else max(1, BLOCK // max(row_count(x), 1))
    for start in range(0, len(view), max(step, 1)):
        yield slice(start, start + step), view[start : start + step]


def _lie_across(view: np.ndarray) -> bool:
    """Whether neighbors in memory are channels, enough of them to work along that axis."""
    return view.shape[2] == 1 and len(view) >= WIDE


def check_inputs(x: np.ndarray, eps: float, **others: np.ndarray) -> None:
    """Refuse what would otherwise be computed silently wrong.

    others: arrays that go with x, by the name to use in the message; those called dy or v must
    have the shape of x, all others hold one value a channel, (c,).

    Raises ValueError for a wrong shape and for eps < 0 (the root of a negative number when the
    variance is small), TypeError for a dtype that is not float32 or float64 (integers would lose
    the fractions) or that differs from that of x (the promotion would hide the precision).
    """
    reduced_axes(x.ndim)
    if not eps >= 0:
        raise ValueError(f"expected eps >= 0, got {eps}: the root of var + eps must exist")
    if x.dtype not in (np.float32, np.float64):
        raise TypeError(f"x: expected float32 or float64, got {x.dtype}; convert it by x.astype")
    for name, array in others.items():
        want = x.shape if name in ("dy", "v") else (x.shape[1],)
        if array.shape != want:
            raise ValueError(f"{name}: expected shape {want} for x of {x.shape}, got {array.shape}")
        if array.dtype != x.dtype:
            raise TypeError(
                f"{name}: expected {x.dtype}, the dtype of x, got {array.dtype}; cast one"
            )
