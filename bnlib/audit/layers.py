"""The batch normalizations of a state dict, and what each channel of them says."""

import re
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch

from bnlib.gauge import Norm

# How the four tensors of a normalization are called: in PyTorch, and in Keras.
NAMES = {
    "gamma": ("weight", "gamma"),
    "beta": ("bias", "beta"),
    "mean": ("running_mean", "moving_mean"),
    "var": ("running_var", "moving_variance"),
}
_PART = {name: part for part, names in NAMES.items() for name in names}


class Record(NamedTuple):
    """A batch normalization as stored, in float64."""

    name: str
    norm: Norm
    dtype: str  # as stored, of the running variance
    assumed: tuple[str, ...]  # what is not stored: gamma = 1, beta = 0


class Skipped(NamedTuple):
    """What looks like a batch normalization but cannot be read as one."""

    name: str
    reason: str


class Coordinates(NamedTuple):
    """Where gamma and beta stand, seen from the stored statistics; (c,) each."""

    r: np.ndarray
    s: np.ndarray
    d: np.ndarray


def find_layers(
    state: Mapping[str, torch.Tensor], *, eps: float, pattern: str = ""
) -> tuple[list[Record], list[Skipped]]:
    """All batch normalizations, in the order of the state dict, whatever their prefixes.

    A layer is a prefix with a stored mean and variance (`NAMES`), 1-D and of one length. Missing
    gamma means 1, missing beta 0; the record says so.
    eps: not stored in a state dict, so it must be given.  pattern: a regular expression that a
    prefix must contain.
    """
    groups: dict[str, dict[str, torch.Tensor]] = {}
    for key, value in state.items():
        prefix, _, leaf = key.replace("/", ".").rpartition(".")
        if leaf in _PART:
            groups.setdefault(prefix, {})[_PART[leaf]] = value
    groups = {name: g for name, g in groups.items() if "mean" in g or "var" in g}
    records, skipped = [], []
    for name, parts in groups.items():
        if not re.search(pattern, name):
            continue
        reason = _defect(parts)
        if reason:
            skipped.append(Skipped(name, reason))
        else:
            records.append(_record(name, parts, eps))
    return records, skipped


def _defect(parts: Mapping[str, torch.Tensor]) -> str:
    """Why these tensors are not a normalization; empty if they are."""
    for part in ("mean", "var"):
        if part not in parts:
            return f"the running {part} is missing"
    for part, tensor in parts.items():
        if not tensor.is_floating_point() or tensor.layout != torch.strided:
            return f"{part} has dtype {tensor.dtype}, layout {tensor.layout}; want real numbers"
    shapes = {part: tuple(tensor.shape) for part, tensor in parts.items()}
    first = shapes["mean"]
    if len(first) != 1 or first[0] == 0 or len(set(shapes.values())) > 1:
        told = ", ".join(f"{part} {shape}" for part, shape in shapes.items())
        return f"want one vector shape for all, got {told}"
    if any(tensor.is_meta for tensor in parts.values()):
        return "a tensor has no data"
    return ""


def _record(name: str, parts: Mapping[str, torch.Tensor], eps: float) -> Record:
    like = parts["mean"]
    default = {"gamma": torch.ones_like(like), "beta": torch.zeros_like(like)}
    found = {k: value.detach().double().numpy() for k, value in {**default, **parts}.items()}
    assumed = tuple(part for part in default if part not in parts)
    dtype = str(parts["var"].dtype).removeprefix("torch.")
    return Record(name, Norm(**found, eps=eps), dtype, assumed)


def identity_coords(norm: Norm) -> Coordinates:
    """How far gamma and beta are from those that undo the normalization by stored statistics.

        r = gamma / tau,   s = (beta - mean) / tau,   d = sqrt((r - 1)^2 + s^2),
        tau = sqrt(var + eps)

    The identity is r = 1, s = 0, d = 0. d is the root mean square of y - x in units of tau, for x
    with exactly the stored moments and eps << var.
    Consequence: all three depend on the gauge (`gauge.gauge`), so not on the function alone.
    """
    tau = np.sqrt(norm.var + norm.eps)
    r, s = norm.gamma / tau, (norm.beta - norm.mean) / tau
    return Coordinates(r, s, np.hypot(r - 1, s))
