"""How long the book takes to build: our extension against stock, serial jupyter-book.

Both build a copy of this tree. Stock means `execute_notebooks: cache` without our extension. Stock
does not notice an edit of the library and would publish old numbers, so for that row it gets
`force`, which is what a careful author would have to do.
"""

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import yaml

from bookbuild import notebook as nb
from bookbuild import sources

ROOT = Path(__file__).parents[1]
FILES = ("_config.yml", "_toc.yml", "references.bib", "requirements.lock")
FOLDERS = ("book", "notebooks", "results", "bnlib")
OURS = {"bookbuild.sphinx_ext", "bookbuild.docstrings"}


class Cost(NamedTuple):
    """Seconds of wall clock and of CPU, kernels included."""

    wall: float
    cpu: float


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        ours, stock = (_copy(Path(folder) / name) for name in ("ours", "stock"))
        _make_stock(stock, "cache")
        count = len(list((ours / "notebooks").glob("*.ipynb")))
        print(f"Building the book ({count} notebooks), seconds of wall clock (CPU)")
        print(f"{'':30}{'ours':>16}{'stock':>16}{'stock/ours':>12}")
        _row("cold build", _build(ours), _build(stock))
        _row("no change", _build(ours), _build(stock))
        module = _edited_module()
        for tree in (ours, stock):
            _append(tree / "bnlib" / module, "\n# edited\n")
        _make_stock(stock, "force")
        _row(f"edit of bnlib/{module}", _build(ours), _build(stock, "--all"))


def _copy(target: Path) -> Path:
    """A tree to build, with a library of its own."""
    target.mkdir()
    skip = shutil.ignore_patterns("__pycache__", "_build", ".*")
    for name in (*FILES, *FOLDERS):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=skip)
        elif source.is_file():
            shutil.copy(source, target / name)
    return target


def _make_stock(tree: Path, mode: str) -> None:
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    extensions = config["sphinx"]["extra_extensions"]
    config["sphinx"]["extra_extensions"] = [name for name in extensions if name not in OURS]
    config["execute"]["execute_notebooks"] = mode
    (tree / "_config.yml").write_text(yaml.safe_dump(config))


def _edited_module() -> str:
    """A module that as few notebooks as possible, but one, import."""
    uses = Counter(
        name
        for path in sorted((ROOT / "notebooks").glob("*.ipynb"))
        for name in sources.library("bnlib", nb.imports(nb.read(path), "bnlib"))
        if name.endswith(".py")
    )
    return min(uses, key=lambda name: (uses[name], name))


def _append(path: Path, text: str) -> None:
    path.write_text(path.read_text() + text)


def _build(tree: Path, *options: str) -> Cost:
    command = [Path(sys.executable).with_name("jupyter-book"), "build", ".", *options]
    before, start = _cpu(), time.perf_counter()
    done = subprocess.run(
        command,
        cwd=tree,
        env=os.environ | {"PYTHONPATH": str(tree)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"want a build of {tree.name}, got:\n{done.stdout[-3000:]}")
    return Cost(time.perf_counter() - start, _cpu() - before)


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _row(name: str, ours: Cost, stock: Cost) -> None:
    texts = [f"{cost.wall:.1f} ({cost.cpu:.1f})" for cost in (ours, stock)]
    print(f"{name:30}{texts[0]:>16}{texts[1]:>16}{stock.wall / ours.wall:>11.1f}x", flush=True)


if __name__ == "__main__":
    main()
