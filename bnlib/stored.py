"""Tables that take longer than a page may: kept beside the chapter, checked, computed again.

A chapter's `stored` module is a program, `python -m bnlib.chapters.<slug>.stored PATH ...`, that
computes its table; the published one lies in the chapter's folder, and in `results/`.
"""

import hashlib
import json
import math
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGES = ("numpy", "scipy", "torch", "scikit-learn", "mnist1d", "mlxtend")


def content(path: Path, digest: str) -> bytes:
    """The bytes of a stored file: without it a page would decide on something else.

    digest: how the SHA-256 starts of the file that the page was written about, so that no other
    slips in.  Raises FileNotFoundError, and ValueError for another file or an empty digest.
    """
    if not path.is_file():
        raise FileNotFoundError(f"expected the stored {path.name} at {path}, got no file")
    stored = path.read_bytes()
    sha = hashlib.sha256(stored).hexdigest()
    if not digest or not sha.startswith(digest):
        raise ValueError(
            f"{path.name}: expected the file with SHA-256 {digest}..., got {sha[:16]}...; after "
            "redoing the table give its digest, and read the chapter again"
        )
    return stored


def table(path: Path, digest: str) -> dict[str, Any]:
    """A stored JSON table, as `content` finds it."""
    return json.loads(content(path, digest))


def write(path: Path, table: Mapping[str, Any]) -> None:
    """Write a table with one line a row: a change of one row is a change of one line.

    A value of `table` that is a list of rows (dicts) takes a line for each; the rest one line each.
    """
    parts = []
    for name, value in table.items():
        rows = isinstance(value, list) and all(isinstance(row, dict) for row in value)
        lines = ",\n".join(map(json.dumps, value)) if rows else ""
        parts.append(f'"{name}": ' + (f"[\n{lines}\n]" if rows else json.dumps(value)))
    path.write_text("{\n" + ",\n".join(parts) + "\n}\n")


def short(value: Any, digits: int = 5) -> Any:
    """A value with all its floats rounded to so many significant digits.

    Floats that are not finite become None: JSON does not have them.
    """
    if isinstance(value, Mapping):
        return {str(name): short(each, digits) for name, each in value.items()}
    if isinstance(value, list):
        return [short(each, digits) for each in value]
    if isinstance(value, float):
        return float(f"{value:.{digits}g}") if math.isfinite(value) else None
    return value


def versions() -> dict[str, str]:
    """What a table is computed with."""
    return {name: version(name) for name in PACKAGES} | {"python": platform.python_version()}


def started(path: Path, head: dict[str, Any]) -> dict[str, Any]:
    """The unfinished table at `path` if it has this head (parameters, versions), else a new one."""
    kept = json.loads(path.read_text()) if path.is_file() else {}
    return kept if {key: kept.get(key) for key in head} == head else dict(head)
