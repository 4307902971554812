"""The batch normalizations of a checkpoint: read safely, found, and what each channel says."""

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from bnlib.gauge import Norm

State = dict[str, torch.Tensor]

WRAPPERS = ("state_dict", "model_state_dict", "model", "ema", "state", "net")
PREFIXES = ("module.", "_orig_mod.")  # DataParallel, torch.compile
# How the four tensors of a normalization are called: in PyTorch, and in Keras.
NAMES = {
    "gamma": ("weight", "gamma"),
    "beta": ("bias", "beta"),
    "mean": ("running_mean", "moving_mean"),
    "var": ("running_var", "moving_variance"),
}
_PART = {name: part for part, names in NAMES.items() for name in names}
_ZIP = b"PK\x03\x04"
_DEEPEST = 8  # nested wrappers; a hostile file may nest without end


class UnreadableError(ValueError):
    """A file that is not a checkpoint we can read safely; the message says why, and what to do."""


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


def load_checkpoint(path: str | Path) -> State:
    """The tensors of a `.pt`/`.pth` state dict or a `.safetensors` file, by name.

    Nothing of the file is executed, and it is not changed. Files in torch's zip format and
    `.safetensors` are memory-mapped, so that only the tensors that are used are read. Unwraps
    nesting under `WRAPPERS` and takes off `PREFIXES` that all names share.

    Raises UnreadableError for a pickle that holds anything but tensors and plain containers (a
    whole module, or code), for a truncated file, and for one without named tensors.
    """
    path = Path(path)
    read = _read_safetensors if path.suffix == ".safetensors" else _read_torch
    state = _unwrap(read(path), path)
    for prefix in PREFIXES * 2:  # in either order
        if all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


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
    records, skipped = [], []
    for name, parts in groups.items():
        if not {"mean", "var"} & set(parts) or not re.search(pattern, name):
            continue
        reason = _defect(parts)
        if reason:
            skipped.append(Skipped(name, reason))
        else:
            records.append(_record(name, parts, eps))
    return records, skipped


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


def _read_torch(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            mapped = file.read(4) == _ZIP  # torch cannot map its older format
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except OSError as error:
        raise UnreadableError(f"{path}: cannot be opened: {error.strerror}") from error
    except pickle.UnpicklingError as error:
        raise UnreadableError(f"{path}: {_refusal(str(error))}") from error
    except Exception as error:  # a damaged or hostile file can raise anything
        raise UnreadableError(
            f"{path}: expected a checkpoint written by torch.save, got a file that torch cannot "
            f"read ({type(error).__name__}); it may be truncated, or of another format"
        ) from error


def _refusal(message: str) -> str:
    """Why a pickle was refused, naming what it asked to call where torch says so."""
    asked = re.search(r"GLOBAL ([\w.]+)", message) or re.search(
        r"Unsupported (?:global|class|operand)[^\n]*?([\w.]+)\b", message
    )
    return (
        f"refused: the pickle asks for {repr(asked[1]) if asked else 'something that is no tensor'}"
        ". Loading it would run code from the file, so it was not loaded. If it is a whole module "
        "of yours, save torch.save(model.state_dict(), path) where the class is known, and audit "
        "that"
    )


def _read_safetensors(path: Path) -> Any:
    from safetensors import safe_open  # only who reads this format pays for it

    try:
        with safe_open(path, framework="pt") as file:
            return {name: _small(file, name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except Exception as error:
        raise UnreadableError(
            f"{path}: expected a safetensors file, got one that cannot be read ({error}); "
            "it may be truncated"
        ) from error


def _small(file: Any, name: str) -> torch.Tensor:
    """A vector as it is; of anything else its shape alone, since no normalization has it."""
    shape = file.get_slice(name).get_shape()
    return file.get_tensor(name) if len(shape) < 2 else torch.empty(shape, device="meta")


def _unwrap(content: Any, path: Path) -> State:
    for _ in range(_DEEPEST):
        if not isinstance(content, Mapping):
            break
        tensors = {k: v for k, v in content.items() if isinstance(v, torch.Tensor)}
        if any(isinstance(key, str) for key in tensors):
            return {str(key): value for key, value in tensors.items()}
        inner = next((content[k] for k in WRAPPERS if isinstance(content.get(k), Mapping)), None)
        if inner is None:
            break
        content = inner
    kind = type(content).__name__
    keys = f" with keys {list(map(str, content))[:5]}" if isinstance(content, Mapping) else ""
    raise UnreadableError(
        f"{path}: expected a state dict (names and tensors, also under {', '.join(WRAPPERS)}), "
        f"got a {kind}{keys}"
    )


def _defect(parts: Mapping[str, torch.Tensor]) -> str:
    """Why these tensors are not a normalization; empty if they are."""
    for part in ("mean", "var"):
        if part not in parts:
            return f"the running {part} is missing"
    for part, tensor in parts.items():
        if not tensor.is_floating_point() or tensor.layout != torch.strided:
            return f"{part}: expected real numbers, got {tensor.dtype}, layout {tensor.layout}"
    shapes = {part: tuple(tensor.shape) for part, tensor in parts.items()}
    first = shapes["mean"]
    if len(first) != 1 or first[0] == 0 or len(set(shapes.values())) > 1:
        got = ", ".join(f"{part} {shape}" for part, shape in shapes.items())
        return f"expected one vector shape for all, got {got}"
    if any(tensor.is_meta for tensor in parts.values()):
        return "a tensor has no data"
    return ""


def _record(name: str, parts: Mapping[str, torch.Tensor], eps: float) -> Record:
    like = parts["mean"]
    default = {"gamma": torch.ones_like(like), "beta": torch.zeros_like(like)}
    arrays = {k: value.detach().double().numpy() for k, value in {**default, **parts}.items()}
    assumed = tuple(part for part in default if part not in parts)
    dtype = str(parts["var"].dtype).removeprefix("torch.")
    return Record(name, Norm(**arrays, eps=eps), dtype, assumed)
