"""Whether a framework computes the book's forward pass: ours and PyTorch's on the same inputs."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from bnlib import reference, rows, running

LAYOUTS = (
    ((12, 3), 1),
    ((4, 3, 5), 1),
    ((4, 3, 5, 2), 1),
    ((3, 3, 2, 2, 3), 1),
    ((4, 5, 2, 3), -1),
)
"""(shape, channel axis) of one small input per layout: 1-d to 3-d, and channels last."""


def compare(
    shape: tuple[int, ...], channel_axis: int, *, eps: float, dtype: str, rng: np.random.Generator
) -> dict[str, float]:
    """Largest differences on one random input, relative to the largest value compared.

        output  both modes, [BN.1] and [BN.4], against torch.nn.functional.batch_norm
        buffer  running mean and variance after one update [BN.5] of weight 0.1, against torch's
        layout  [BN.1] on rows, put back, against means over the axes of the layout itself

    x: normal with channel means up to 8 standard deviations from zero.  gamma takes both signs.
    """
    c = shape[channel_axis]
    x = rng.normal(size=shape) + _per(rng.uniform(-8, 8, c), shape, channel_axis)
    gamma, beta, mean, var = (*rng.normal(size=(3, c)), rng.uniform(0.5, 2, c))
    x, gamma, beta, mean, var = (a.astype(dtype) for a in (x, gamma, beta, mean, var))
    flat, restore = rows.to_rows(x, channel_axis)
    train = restore(reference.forward(flat, gamma, beta, eps=eps)[0])
    infer = restore(running.infer(flat, gamma, beta, mean, var, eps=eps))
    stored = running.update(
        running.Running(mean, var, 0), *reference.statistics(flat), len(flat), new_weight=0.1
    )
    theirs = _torch(np.moveaxis(x, channel_axis, 1), gamma, beta, mean, var, eps)
    outputs = (np.moveaxis(y, 1, channel_axis) for y in theirs[:2])
    direct = _direct(x, gamma, beta, channel_axis, eps)
    return {
        "output": max(map(_gap, (infer, train), outputs)),
        "buffer": max(map(_gap, (stored.mean, stored.var), theirs[2:])),
        "layout": _gap(train, direct),
    }


def _torch(
    x: np.ndarray,
    gamma: np.ndarray,
    beta: np.ndarray,
    mean: np.ndarray,
    var: np.ndarray,
    eps: float,
) -> list[np.ndarray]:
    """PyTorch's output in evaluation and in training mode, then its two buffers."""
    t, w, b, r_mean, r_var = (torch.tensor(a) for a in (x, gamma, beta, mean, var))
    outputs = [
        functional.batch_norm(t, r_mean, r_var, w, b, training, 0.1, eps)
        for training in (False, True)  # in this order: training updates the two buffers in place
    ]
    return [a.numpy() for a in (*outputs, r_mean, r_var)]


def _direct(
    x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, channel_axis: int, eps: float
) -> np.ndarray:
    """[BN.1] without any reshaping, and with NumPy's own variance."""
    axes = rows.reduced_axes(x.ndim, channel_axis)
    x_hat = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps)
    return _per(gamma, x.shape, channel_axis) * x_hat + _per(beta, x.shape, channel_axis)


def _per(v: np.ndarray, shape: tuple[int, ...], channel_axis: int) -> np.ndarray:
    return rows.per_channel(v, len(shape), channel_axis)


def _gap(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())
