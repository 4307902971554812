"""Reading a checkpoint without running what is in it, and without loading what is not needed."""

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

State = dict[str, torch.Tensor]

WRAPPERS = ("state_dict", "model_state_dict", "model", "ema", "state", "net")
PREFIXES = ("module.", "_orig_mod.")  # DataParallel, torch.compile
_ZIP = b"PK\x03\x04"
_DEEPEST = 8  # nested wrappers; a hostile file may nest without end


class UnreadableError(ValueError):
    """A file that is not a checkpoint we can read safely; the message says why, and what to do."""


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
    return _without_prefixes(_unwrap(read(path), path))


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
            f"{path}: want a checkpoint written by torch.save, got a file that torch cannot read "
            f"({type(error).__name__}); it may be truncated, or of another format"
        ) from error


def _refusal(message: str) -> str:
    """Why a pickle was refused, naming what it wanted to call where torch says so."""
    found = re.search(r"Unsupported (?:global|class|operand)[^\n]*?(?:GLOBAL )?([\w.]+)\b", message)
    found = re.search(r"GLOBAL ([\w.]+)", message) or found
    named = f" {found[1]!r}" if found else ""
    return (
        f"refused: the pickle asks for{named or ' something that is no tensor'}. Loading "
        "it would run code from the file, so it was not loaded. If it is a whole module of yours, "
        "save torch.save(model.state_dict(), path) where the class is known, and audit that"
    )


def _read_safetensors(path: Path) -> Any:
    try:
        from safetensors import safe_open  # optional
    except ModuleNotFoundError as error:
        raise UnreadableError(
            f"{path}: want the package safetensors for this format, got none; pip install it"
        ) from error
    try:
        with safe_open(path, framework="pt") as file:
            return {name: _small(file, name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except Exception as error:
        raise UnreadableError(
            f"{path}: want a safetensors file, got one that cannot be read ({error}); "
            "it may be truncated"
        ) from error


def _small(file: Any, name: str) -> torch.Tensor:
    """A vector as it is; of anything else its shape alone, since no normalization has it."""
    shape = file.get_slice(name).get_shape()
    return file.get_tensor(name) if len(shape) < 2 else torch.empty(shape, device="meta")


def _unwrap(found: Any, path: Path) -> State:
    for _ in range(_DEEPEST):
        if not isinstance(found, Mapping):
            break
        tensors = {k: v for k, v in found.items() if isinstance(v, torch.Tensor)}
        if any(isinstance(key, str) for key in tensors):
            return {str(key): value for key, value in tensors.items()}
        inner = next((found[k] for k in WRAPPERS if isinstance(found.get(k), Mapping)), None)
        if inner is None:
            break
        found = inner
    kind = type(found).__name__
    keys = f" with keys {list(map(str, found))[:5]}" if isinstance(found, Mapping) else ""
    raise UnreadableError(
        f"{path}: want a state dict (names and tensors, also under {', '.join(WRAPPERS)}), "
        f"got a {kind}{keys}"
    )


def _without_prefixes(state: State) -> State:
    for prefix in PREFIXES * 2:  # in either order
        if all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state
