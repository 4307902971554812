"""What a checkpoint file holds: nothing of it runs, and nothing is unpacked that was not stored."""

import json
import pickle
import re
import tomllib
import warnings
import zipfile
from collections import OrderedDict
from importlib.resources import files
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import torch._utils as rebuilding

FORMATS = tomllib.loads(files("bnlib.audit").joinpath("formats.toml").read_text())["format"]
_ZIP, _HEAD = b"PK\x03\x04", 512
_MAGIC = pickle.dumps(torch.serialization.MAGIC_NUMBER, 2)[2:]  # of torch's older format
# Who asks a pickle for one of these wants to run something.
_TOOLS = re.compile(
    r"(os|posix|nt|sys|subprocess|pty|shutil|runpy|importlib|ctypes|socket|code|webbrowser|marshal"
    r"|commands|timeit|pdb|pip|asyncio|multiprocessing)\..*|(builtins|__builtin__)\.(eval|exec"
    r"|execfile|compile|getattr|setattr|delattr|__import__|open|file|input|breakpoint|apply)"
)
SAVE = (
    "If it is a whole module of yours, save torch.save(model.state_dict(), path) where the class "
    "is known, and audit that"
)


class UnreadableError(ValueError):
    """A file that is not a checkpoint we can read safely; the message says why, and what to do."""


class _Inert(type):
    """A class that a pickle cannot change."""

    def __setattr__(cls, *_: Any) -> None:
        """Nothing of the pickle is kept."""


class Stub(dict, metaclass=_Inert):
    """Stands for an object of a class that is not loaded; keeps items, as a dict does, only."""

    def __hash__(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return id(self)  # it may be a key

    def __new__(cls, *_: Any, **__: Any) -> "Stub":
        return super().__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        """Ignore what the class was called with, and below what it would be built from."""

    def __setstate__(self, _: Any) -> None: ...

    def append(self, _: Any) -> None: ...

    def extend(self, _: Any) -> None: ...

    def add(self, _: Any) -> None: ...


class _Unpickler(pickle.Unpickler):
    """Knows how to rebuild tensors; any other class or function is a stub, so nothing runs."""

    def find_class(self, module: str, name: str) -> Any:
        if module == "collections" and name == "OrderedDict":
            return OrderedDict
        if module == "torch._utils" and name in ("_rebuild_tensor_v2", "_rebuild_parameter"):
            rebuild = getattr(rebuilding, name)
            return lambda *given: rebuild(*given)  # of its own: a pickle may set attributes
        if _TOOLS.fullmatch(f"{module}.{name}"):
            raise pickle.UnpicklingError(f"GLOBAL {module}.{name}")
        return _Inert(name, (Stub,), {"__module__": module})


_pickles = ModuleType("inert")  # torch.load wants a module
_pickles.__dict__.update(Unpickler=_Unpickler, load=lambda file, **_: _Unpickler(file).load())


def read(path: Path) -> Any:
    """What torch.save, safetensors, or the index of a sharded checkpoint hold.

    Tensors of torch's zip format and of safetensors are memory-mapped. Objects of unknown classes
    are stubs.  Raises UnreadableError for a file that is something else, that asks to run code,
    that would unpack to more than its size, or that is truncated.
    """
    try:
        if path.exists() and not path.is_file():
            raise OSError(0, "expected a file, got a folder or a device")
        with path.open("rb") as file:
            head = file.read(_HEAD)
        size = path.stat().st_size
    except (OSError, ValueError) as error:  # a name may hold what no file system allows
        reason = getattr(error, "strerror", None) or error
        raise UnreadableError(f"{path}: cannot be opened: {reason}") from error
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= size - 8:
        return _read_safetensors(path)
    if path.suffix == ".json" and b"{" in head and (shards := _shards(path)):
        return {name: value for shard in shards for name, value in read(shard).items()}
    zipped = head.startswith(_ZIP)
    holds = _members(path, size) if zipped else ""
    if (zipped and "/data.pkl\n" in holds and "/constants.pkl\n" not in holds) or (
        _MAGIC in head[:32]
    ):
        return _read_torch(path, mmap=zipped)
    raise UnreadableError(f"{path}: expected a checkpoint, got {_format(path, head, holds)}")


def _format(path: Path, head: bytes, holds: str) -> str:
    """What a file is that is no checkpoint, and what to do."""
    start = head.decode("latin-1")
    for kind in FORMATS:
        if (
            re.match(kind.get("start", "(?!)"), start, re.DOTALL)
            or re.search(kind.get("holds", "(?!)"), holds, re.MULTILINE)
            or re.search(kind.get("name", "(?!)"), path.name)
        ):
            return f"{kind['what']}; {kind['then']}"
    return (
        "a file that neither torch.save nor safetensors wrote; it may be truncated: fetch it "
        "again, or give a state dict"
    )


def _members(path: Path, size: int) -> str:
    """The names in a zip archive, one a line, if reading them all takes no more than its size."""
    try:
        with zipfile.ZipFile(path) as archive:
            parts = archive.infolist()
    except Exception as error:  # a damaged or hostile file can raise anything
        raise UnreadableError(
            f"{path}: expected a checkpoint written by torch.save, got an archive that cannot be "
            f"read ({error}); it may be truncated"
        ) from error
    names = "".join(f"{part.filename}\n" for part in parts)
    unpacked = sum(part.file_size for part in parts)
    stored = "/data.pkl\n" in names and "/constants.pkl\n" not in names  # else it is not read
    if stored and (unpacked > size or any(p.compress_type for p in parts)):
        raise UnreadableError(
            f"{path}: refused: expected an archive as torch.save writes it, not compressed, got "
            f"{unpacked} bytes packed into {size}; if it is yours, unpack it and zip it without "
            "compression"
        )
    return names


def _read_torch(path: Path, *, mmap: bool) -> Any:
    """By torch's own safe reader; where it refuses a class, again with stubs."""
    how: dict[str, Any] = {"map_location": "cpu", "mmap": mmap}
    try:
        with warnings.catch_warnings(action="ignore"):
            try:
                return torch.load(path, weights_only=True, **how)
            except pickle.UnpicklingError:
                return torch.load(path, weights_only=False, pickle_module=_pickles, **how)
    except pickle.UnpicklingError as error:
        asked = re.search(r"GLOBAL (\S+)", str(error))
        raise UnreadableError(
            f"{path}: refused: the pickle asks for "
            f"{repr(asked[1]) if asked else 'something that is no tensor'}. Loading it would run "
            f"code from the file, so it was not loaded. {SAVE}"
        ) from error
    except Exception as error:
        raise UnreadableError(
            f"{path}: expected a checkpoint written by torch.save, got a file that torch cannot "
            f"read ({type(error).__name__}); it may be truncated, or of another format"
        ) from error


def _read_safetensors(path: Path) -> Any:
    from safetensors import safe_open  # only who reads this format pays for it

    try:
        with safe_open(path, framework="pt") as file:
            names = sorted(file.keys(), key=_naturally)
            return {name: _small(file, name) for name in names}
    except Exception as error:
        raise UnreadableError(
            f"{path}: expected a safetensors file, got one that cannot be read ({error}); "
            "it may be truncated"
        ) from error


def _naturally(name: str) -> list[str]:
    """Sorts layer2 before layer10: safetensors keeps no order."""
    return [part.zfill(20) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def _small(file: Any, name: str) -> torch.Tensor:
    """A vector as it is; of anything else its shape alone, since no normalization has it."""
    shape = file.get_slice(name).get_shape()
    few = sum(n > 1 for n in shape) < 2
    return file.get_tensor(name) if few else torch.empty(shape, device="meta")


def _shards(index: Path) -> list[Path]:
    """The files that an index names, beside it; none if it is no index."""
    try:
        names = set(json.loads(index.read_bytes()).get("weight_map", {}).values())
        if any(Path(name).name != name for name in names):
            raise UnreadableError(f"{index}: refused: expected files beside the index, got others")
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        if isinstance(error, UnreadableError):
            raise
        return []
    return [index.with_name(name) for name in sorted(names)]
