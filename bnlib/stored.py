"""Tables that take longer than a page may: kept beside the chapter, checked, computed again.

A chapter's `stored` module is a program, `python -m bnlib.chapters.<slug>.stored PATH ...`, that
computes its table; the published one lies in the chapter's folder, and in `results/`.
"""

import hashlib
import json
import platform
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


def versions() -> dict[str, str]:
    """What a table is computed with."""
    return {name: version(name) for name in PACKAGES} | {"python": platform.python_version()}


def started(path: Path, head: dict[str, Any]) -> dict[str, Any]:
    """The unfinished table at `path` if it has this head (parameters, versions), else a new one."""
    kept = json.loads(path.read_text()) if path.is_file() else {}
    return kept if {key: kept.get(key) for key in head} == head else dict(head)
