"""Executed notebooks put into a store by hand."""

from pathlib import Path
from typing import Any

from bookbuild import store


def put(folder: Path, slug: str, key: str, notebook: Any, **facts: Any) -> Path:
    """File a notebook as if it had been executed; facts: parameters, seconds, ..."""
    path = store.path_of(folder, slug, key)
    store.write_atomically(path, store.text_of(key, notebook, **facts))
    return path
