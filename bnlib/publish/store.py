"""Executed notebooks, filed under what they were computed from: `<folder>/<slug>/<key>.ipynb`.

Same key, same outputs: the key covers code cells, parameters, the library files that the notebook
runs, the lock file, Python and the data packages. Prose is not in it. Nothing is ever changed in
place, so whatever stands in the store is a whole, successful execution.
"""

import json
import os
import tempfile
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import nbformat

from bnlib.publish import notebook as nb
from bnlib.publish import sources

FOLDER = "_build/executed"
STAMP = "bnlib"  # where an executed notebook's metadata keeps key, parameters and seconds
INJECTED = "injected-parameters"
_TAGS_THAT_MATTER = {"parameters", INJECTED, "raises-exception", "skip-execution"}


def key(notebook: Any, overrides: Mapping[str, Any], *, root: Path, package: str = "bnlib") -> str:
    """The content address of one execution, 32 hex digits.

    An override that repeats the declared default changes nothing and is not part of the key.
    """
    declared = nb.parameters(notebook)
    parts = {
        "format": 2,  # raise it when what is stored changes
        "cells": [
            [cell.source, sorted(_TAGS_THAT_MATTER & set(nb.tags(cell)))]
            for cell in nb.code_cells(notebook)
        ],
        "parameters": effective(declared, overrides),
        "library": sources.library(package, nb.imports(notebook, package)),
        "environment": sources.environment(root),
    }
    return _sha(parts)[:32]


def effective(declared: Mapping[str, nb.Parameter], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The overrides that differ from the declared defaults, ints made floats where declared so."""
    cast = {
        name: float(value) if declared[name].kind == "float" else value
        for name, value in overrides.items()
    }
    return {name: value for name, value in cast.items() if value != declared[name].default}


def outputs_sha(notebook: Any) -> str:
    """SHA-256 of all outputs of the code cells: what two runs must have in common."""
    return _sha([cell.outputs for cell in nb.code_cells(notebook)])


def path_of(folder: Path, slug: str, key: str) -> Path:
    """Where an execution lies, or will lie."""
    return folder / slug / f"{key}.ipynb"


def get(folder: Path, slug: str, key: str) -> nbformat.NotebookNode | None:
    """The stored execution, or None where there is none or its file is damaged."""
    try:
        found = nbformat.read(path_of(folder, slug, key), as_version=4)
        stamp = found.metadata[STAMP]
        whole = stamp["key"] == key and stamp["outputs"] == outputs_sha(found)
    except Exception:  # damage can look like anything; an execution repairs it
        return None
    return found if whole else None


def put(folder: Path, slug: str, key: str, notebook: Any, **facts: Any) -> Path:
    """File an execution under its key, by one atomic rename; facts: parameters, seconds, ..."""
    notebook.metadata[STAMP] = {"key": key, "outputs": outputs_sha(notebook), **facts}
    target = path_of(folder, slug, key)
    write_atomically(target, nbformat.writes(notebook) + "\n")
    return target


def write_atomically(target: Path, text: str) -> None:
    """Write text so that a reader, or a crash, meets the old file or the new one, never a part."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=target.parent)
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


def _sha(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return sha256(text.encode()).hexdigest()
