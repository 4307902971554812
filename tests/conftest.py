"""Fixtures for the tests of publishing: notebooks as small as a test needs."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from nbformat import v4

# Before torch is imported: threads of two test processes would fight for the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell has what it starts in the background ignore Ctrl-C, and so would all that the tests start.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

Cell = str | tuple[str, str]


@pytest.fixture(scope="session")
def write_notebook() -> Callable[..., Path]:
    """A function (path, cells) that writes a notebook and returns its path.

    A cell is code; with "# ..." as its first characters it is prose; (tag, code) has a tag.
    """

    def write(path: Path, *cells: Cell) -> Path:
        spec = {"name": "python3", "display_name": "Python 3", "language": "python"}
        book = v4.new_notebook(metadata={"kernelspec": spec})
        for number, cell in enumerate(cells, start=1):
            tag, source = cell if isinstance(cell, tuple) else ("", cell)
            new = v4.new_markdown_cell if source.startswith("# ") else v4.new_code_cell
            book.cells.append(new(source, id=f"cell-{number}"))
            book.cells[-1].metadata.update({"tags": [tag]} if tag else {})
        path.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(book, path)
        return path

    return write


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let each of two processes begin with half of what takes long.

    Each gets half of the list and works from its front; begun last, a long test leaves the other
    process idle.
    """
    long = [item for item in items if item.path.parent.name in ("notebooks", "sweep")]
    rest = [item for item in items if item not in long]
    halves = long[::2], long[1::2]
    cut = len(items) // 2 - len(halves[0])
    items[:] = [*halves[0], *rest[:cut], *halves[1], *rest[cut:]]
