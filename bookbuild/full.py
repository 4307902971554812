"""Stored tables that take longer than a page may, computed again: `bnlib reproduce --full`.

`results/full.toml` names for each table the chapter and the module that computes it. The module
is a program, `python -m module PATH argument ...`: nothing here knows what it computes. It keeps
finished rows when it is stopped, so the new table lies under `FOLDER`, below the digest of what
the module runs, and the same command goes on from there.
"""

import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from bnlib.parameters import unknown
from bookbuild import sources, worker
from bookbuild.reproduce import FOLDER as RESULTS
from bookbuild.reproduce import Moved, distance

FOLDER = "_build/full"
REGISTER = "full.toml"


class Table(NamedTuple):
    """One entry of the register. path: of the published table; command: module and arguments."""

    name: str
    chapter: str
    path: Path
    command: tuple[str, ...]


def tables(root: Path, names: Sequence[str]) -> list[Table]:
    """The registered tables of these names or chapters, all without. Raises ValueError."""
    folder = root / RESULTS
    path = folder / REGISTER
    try:
        known = [
            Table(name, row["chapter"], folder / f"{name}.json", (row["module"], *row["arguments"]))
            for name, row in tomllib.loads(path.read_text(encoding="utf-8")).items()
        ]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ValueError(f"{path}: expected a register of tables, got {error!r}") from error
    words = {word: word for table in known for word in (table.name, table.chapter)}
    for name in names:
        if name not in words:
            raise ValueError(unknown("full table or chapter with one", name, words))
    return [t for t in known if not names or {t.name, t.chapter} & set(names)]


def redo(root: Path, table: Table, package: str = "bnlib") -> Path:
    """Compute a table from scratch, or go on where a stopped call was; where it lies.

    Raises ValueError where the program fails; what it prints goes to the terminal.
    """
    module, *arguments = table.command
    parts = [
        table.command,
        sources.library(package, [f"import {module}"]),
        sources.environment(root),
    ]
    digest = sha256(json.dumps(parts).encode()).hexdigest()[:16]
    path = root.resolve() / FOLDER / digest / f"{table.name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", module, str(path), *arguments]
    with worker.environment(package) as variables:
        status = subprocess.run(command, cwd=root, env=variables).returncode
    if status or not path.is_file():
        raise ValueError(f"{table.name}: `python -m {module}` ended with status {status}")
    return path


def read(path: Path) -> dict[str, Any]:
    """A table. Raises ValueError where it is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8")) | {}
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(f"{path}: expected a table, got {error!r}") from error


def compare(before: Any, now: Any, name: str = "") -> Iterator[Moved]:
    """Every value of a table that is another one; versions are not values."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in (k for k in {**before, **now} if (name, k) != ("", "versions")):
            yield from compare(before.get(key), now.get(key), f"{name} {key}".strip())
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for number, pair in enumerate(zip(before, now, strict=True)):
            yield from compare(*pair, f"{name}[{number}]")
    elif (by := distance(before, now)) != 0:
        yield Moved(f"'{name}'", before, now, by)
