"""What was executed, filed under what it was computed from.

`<folder>/<slug>/<key>.ipynb` is an executed notebook. `<key>.json` is what a chapter gave without
one: its records and claims, the same that the notebook of this key would have. Same key, same
outputs: the key covers code cells, parameters, the library files that the notebook runs, the lock
file, Python and the data packages. Prose is not in it. Nothing is ever changed in place, and each
file carries a digest of its text: what the store gives is a whole, successful execution. A damaged
file is renamed to `<key>.damaged`.
"""

import contextlib
import glob
import json
import logging
import os
import socket
import tempfile
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
import psutil

from bnlib.parameters import Parameter
from bnlib.results import read_outputs
from bookbuild import notebook as nb
from bookbuild import sources

FOLDER = "_build/executed"
STAMP = "bnlib"  # where a stored file's metadata keeps key, parameters and seconds
NOTEBOOK, DIRECT = ".ipynb", ".json"
INJECTED = "injected-parameters"
_NO_DIGEST = "0" * 64
_TAGS_THAT_MATTER = {"parameters", INJECTED, "raises-exception", "skip-execution"}


def key(notebook: Any, overrides: Mapping[str, Any], *, root: Path, package: str = "bnlib") -> str:
    """The content address of one execution, 32 hex digits.

    An override that repeats the declared default changes nothing and is not part of the key.
    """
    return keys(notebook, basis(notebook, root=root, package=package))(overrides)


def basis(notebook: Any, *, root: Path, package: str = "bnlib") -> dict[str, Any]:
    """What the key covers besides the parameters: the same for every run of a notebook."""
    return {
        "format": 2,  # raise it when what is stored changes
        "cells": code(notebook),
        "library": sources.library(package, nb.imports(notebook, package)),
        "environment": sources.environment(root),
    }


def code(notebook: Any) -> list[list[Any]]:
    """What the key takes from the notebook: source and tags that matter, by code cell."""
    return [
        [cell.source, sorted(_TAGS_THAT_MATTER & set(nb.tags(cell)))]
        for cell in nb.code_cells(notebook)
    ]


def keys(notebook: Any, parts: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], str]:
    """The function that takes overrides to their key. parts: the `basis` of this notebook.

    A plan has many runs of one notebook, so all but their parameters is hashed here, once.
    """
    declared = nb.parameters(notebook)
    # "parameters" sorts behind the other names: their text is a prefix of the whole.
    begun = sha256(f'{_text(parts)[:-1]},"parameters":'.encode())

    def of(overrides: Mapping[str, Any]) -> str:
        whole = begun.copy()
        whole.update(f"{_text(effective(declared, overrides))}}}".encode())
        return whole.hexdigest()[:32]

    return of


def effective(declared: Mapping[str, Parameter], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The overrides that differ from the declared defaults, ints made floats where declared so."""
    cast = {
        name: float(value) if declared[name].kind == "float" else value
        for name, value in overrides.items()
    }
    return {name: value for name, value in cast.items() if value != declared[name].default}


def outputs_sha(notebook: Any) -> str:
    """SHA-256 of all outputs of the code cells: what two runs must have in common."""
    return _sha([cell.outputs for cell in nb.code_cells(notebook)])


def path_of(folder: Path, slug: str, key: str, kind: str = NOTEBOOK) -> Path:
    """Where an execution lies, or will lie; kind: `NOTEBOOK` or `DIRECT`."""
    return folder / slug / f"{key}{kind}"


def get(folder: Path, slug: str, key: str) -> nbformat.NotebookNode | None:
    """The stored executed notebook, None where there is none; a damaged file is set aside."""
    text = _read(path_of(folder, slug, key), key)
    # It was valid when it was written, and is the same: no need to check it against the schema.
    return None if text is None else nbformat.v4.reads(text)


def holds(folder: Path, slug: str, key: str) -> bool:
    """Whether `get` would give a notebook, told without making one."""
    return _read(path_of(folder, slug, key), key) is not None


class Measured(NamedTuple):
    """What a run measured. records, claims: as `bnlib.results.collect` gives them."""

    records: dict[str, dict]
    claims: dict[str, dict]
    seconds: float | None


def measured(folder: Path, slug: str, key: str) -> Measured | None:
    """Of the executed notebook, else of a direct run; None where the store has neither."""
    if executed := get(folder, slug, key):
        return Measured(*read_outputs(executed), executed.metadata[STAMP].get("seconds"))
    text = _read(path_of(folder, slug, key, DIRECT), key)
    if text is None:
        return None
    content = json.loads(text)
    return Measured(content["records"], content["claims"], content["metadata"][STAMP]["seconds"])


def _read(path: Path, key: str) -> str | None:
    """The text of a stored file, if it is whole."""
    try:
        content = path.read_bytes()
    except OSError:  # nothing there, or not readable: then writing fails too, and says why
        return None
    if _whole(content, key):
        return content.decode()
    _set_aside(path, key)
    return None


def _whole(content: bytes, key: str) -> bool:
    """Whether every byte of what was put under this key is as it was written."""
    try:
        stamp = json.loads(content)["metadata"][STAMP]
        plain = content.replace(_entry(stamp["digest"]), _entry(_NO_DIGEST))
        return stamp["key"] == key and stamp["digest"] == sha256(plain).hexdigest()
    except (ValueError, LookupError, TypeError, AttributeError):  # damage looks like anything
        return False


def _entry(digest: str) -> bytes:
    return f'"digest": "{digest}"'.encode()  # as a string of an output it would have backslashes


def _set_aside(path: Path, key: str) -> None:
    aside = path.with_suffix(".damaged")
    with contextlib.suppress(FileNotFoundError):  # somebody else was faster
        path.replace(aside)
        if _whole(aside.read_bytes(), key):  # put in the moment between our look and our hand
            aside.replace(path)
        else:
            logging.getLogger(__name__).warning("%s was damaged; it is now %s", path, aside.name)


def text_of(key: str, notebook: Any, **facts: Any) -> str:
    """The file of an executed notebook; facts: parameters, seconds, ..."""
    stamp = {"key": key, "outputs": outputs_sha(notebook), **facts, "digest": _NO_DIGEST}
    notebook.metadata[STAMP] = stamp
    return _sealed(nbformat.writes(notebook))


def direct_text(key: str, records: dict, claims: dict, **facts: Any) -> str:
    """The file of a direct run."""
    stamp = {"key": key, **facts, "digest": _NO_DIGEST}
    content = {"metadata": {STAMP: stamp}, "records": records, "claims": claims}
    return _sealed(json.dumps(content, ensure_ascii=False, indent=1))


def _sealed(text: str) -> str:
    whole = f"{text}\n".encode()
    return whole.replace(_entry(_NO_DIGEST), _entry(sha256(whole).hexdigest())).decode()


def prepare(folder: Path) -> None:
    """Raise OSError unless results can be put there; remove what killed writers left half."""
    folder.mkdir(parents=True, exist_ok=True)
    handle, name = _temporary(folder)
    os.close(handle)
    os.unlink(name)
    for path in folder.glob(f".{glob.escape(socket.gethostname())}+*.tmp"):
        writer = path.name.split("+")[1]
        if not psutil.pid_exists(int(writer)):
            path.unlink(missing_ok=True)


def write_atomically(target: Path, text: str) -> None:
    """Write text so that a reader, or a crash, meets the old file or the new one, never a part."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = _temporary(target.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _temporary(folder: Path) -> tuple[int, str]:
    return tempfile.mkstemp(
        prefix=f".{socket.gethostname()}+{os.getpid()}+", suffix=".tmp", dir=folder
    )


def _sha(value: Any) -> str:
    return sha256(_text(value).encode()).hexdigest()


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
