"""One notebook through nbclient, in a kernel that nothing of the user's set-up reaches."""

import asyncio
import copy
import os
import re
import site
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell

from bookbuild import notebook as nb
from bookbuild import sources, store

# One thread a worker: sums are then added in one order, and kernels do not fight for cores.
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    "LC_ALL": "C.UTF-8",
    "TZ": "UTC",
}
# What it takes to start a process; any other variable may change what a run prints.
_INHERITED = ("PATH", "LD_LIBRARY_PATH", "TMPDIR", "USER", "LOGNAME")
_START_TIMEOUT = 120  # seconds; importing torch takes some of them on a busy machine
EXCERPT = 30  # lines of a traceback
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_LINE = re.compile(r"(?:Cell )?In\[(\d+)\], line (\d+)")


NEVER = threading.Event()


class Outcome(NamedTuple):
    """What became of a run. facts: its parameters and seconds, or where and why it failed.

    text: the file that belongs into the store; None after a failure.
    """

    facts: dict[str, Any]
    text: str | None = None


@contextmanager
def environment(package: str = "bnlib") -> Iterator[dict[str, str]]:
    """The variables of a process that computes with `package`; its home is an empty folder.

    So it has no IPython profile, no matplotlibrc, no kernel and no packages of the user. The list
    of fonts is kept, since making it takes a second, but apart for each Python: Matplotlib's own
    can name the files of an environment that is gone.
    """
    python = sha256(sys.prefix.encode()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"), "bnlib", python)
    folders = [sources.folder_of(name) for name in dict.fromkeys((package, "bnlib"))]
    paths, base = [str(folder.parent) for folder in folders if folder], site.getuserbase()
    with tempfile.TemporaryDirectory(prefix="bnlib-home-", ignore_cleanup_errors=True) as empty:
        yield {
            **{name: os.environ[name] for name in _INHERITED if name in os.environ},
            "HOME": empty,
            "XDG_CACHE_HOME": str(cache),
            "PYTHONPATH": os.pathsep.join(p for p in paths if not p.endswith("-packages")),
            # Packages of the user, only where this library is one of them.
            **(
                {"PYTHONUSERBASE": base} if paths[0].startswith(base) else {"PYTHONNOUSERSITE": "1"}
            ),
            **ENVIRONMENT,
        }


def execute(book: Any, parameters: Mapping[str, Any], key: str, **options: Any) -> Outcome:
    """Execute a notebook; whatever becomes of it is in the outcome. options: as `_run` has them.

    A kernel that fails to start is started once more: kernels that start together can choose the
    same port.
    """
    for last in (False, True):
        begun: list[tuple[Any, dict[str, Any]]] = []
        try:
            done, facts = _run(_parametrized(book, parameters), begun, **options)
            facts = {"parameters": dict(parameters), **facts}
            return Outcome(facts, store.text_of(key, done, **facts))
        except Exception as error:  # whatever it is, it belongs into the report of this notebook
            if begun or last:
                return Outcome(_failure(error, book, *(begun[-1] if begun else (None, {}))))
    raise AssertionError


def _run(
    book: Any,
    begun: list[tuple[Any, dict[str, Any]]],
    *,
    cwd: Path,
    timeout: int | None = None,
    package: str = "bnlib",
    extra: Mapping[str, str] | None = None,
    stop: threading.Event = NEVER,
) -> tuple[Any, dict[str, float]]:
    """Execute a notebook in place; it, and the seconds it took.

    begun: gets each cell that starts, with the kernel's reply. timeout: seconds that a cell may
    take. extra: variables for the kernel. stop: ends the run before its next cell.
    """

    def begin(cell: Any, cell_index: int) -> None:
        begun.append((cell, {}))
        if stop.is_set():
            raise RuntimeError("expected to run to the end, got stopped")

    def end(cell: Any, cell_index: int, execute_reply: Any) -> None:
        begun[-1][1].update(execute_reply["content"])
        if any(payload["source"] == "ask_exit" for payload in begun[-1][1].get("payload", [])):
            raise RuntimeError("expected a cell that runs to its end, got one that exits")
        spent["cpu_seconds"] = round(sum(psutil.Process(km.provisioner.pid).cpu_times()[:4]), 2)

    spent, start = {"cpu_seconds": 0.0}, time.monotonic()
    # Not the user's kernel of that name: the one of this Python.
    specs = KernelSpecManager(kernel_dirs=[])
    km: Any = AsyncKernelManager(kernel_name="python3", kernel_spec_manager=specs)
    client = NotebookClient(
        book,
        km=km,
        timeout=timeout,
        startup_timeout=_START_TIMEOUT,
        extra_arguments=["--log-level=CRITICAL"],
        on_cell_execute=begin,
        on_cell_executed=end,
    )
    with environment(package) as variables:
        start_with = {"env": {**variables, **(extra or {})}, "cwd": str(cwd), "cleanup_kc": True}
        done = asyncio.run(client.async_execute(**start_with))
    tidy(done)
    return done, {"seconds": round(time.monotonic() - start, 2), **spent}


def _parametrized(book: Any, parameters: Mapping[str, Any]) -> Any:
    """A copy of the notebook with these parameters below their cell, as papermill spells them."""
    from papermill.translators import PythonTranslator

    book = copy.deepcopy(book)
    book.cells = [cell for cell in book.cells if store.INJECTED not in nb.tags(cell)]
    if parameters:
        place = next((n for n, c in enumerate(book.cells, 1) if "parameters" in nb.tags(c)), 0)
        source = PythonTranslator.codify(parameters, "Parameters")
        injected = new_code_cell(source, metadata={"tags": [store.INJECTED]}, id=store.INJECTED)
        book.cells.insert(place, injected)
    return book


def _failure(error: Exception, book: Any, cell: Any, reply: Mapping[str, Any]) -> dict[str, Any]:
    """Where and why, for a person: cell, line, source line, error, end of the traceback."""
    lines = _ANSI.sub("", "\n".join(reply.get("traceback", []))).splitlines()
    name, message = reply.get("ename", type(error).__name__), reply.get("evalue", error)
    ids = [other.get("id") for other in book.cells]
    running = cell.get("id") if cell is not None else None
    number, source = _failing_line("\n".join(lines), cell)
    return {
        "cell": ids.index(running) + 1 if running in ids else None,
        "line": number,
        "source": source,
        "error": f"{name}: {message}",
        "traceback": lines[-EXCERPT:],
    }


def _failing_line(trace: str, cell: Any) -> tuple[int | None, str]:
    """The innermost frame of a traceback that is in this cell: number and text of its line."""
    source = cell.source.splitlines() if cell is not None else []
    count = str(cell.get("execution_count")) if cell is not None else ""
    numbers = [int(number) for run, number in _LINE.findall(trace) if run == count]
    if not numbers or numbers[-1] > len(source):
        return None, ""
    return numbers[-1], source[numbers[-1] - 1].strip()


def tidy(done: Any) -> None:
    """Drop what differs between two runs of the same code: times, paths, random ids, packets."""
    done.metadata.pop("papermill", None)
    for count, cell in enumerate(nb.code_cells(done), start=1):
        if store.INJECTED in nb.tags(cell):
            cell["id"] = store.INJECTED
        cell.execution_count, cell.outputs = count, _merged(cell.outputs)
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = count
    for cell in done.cells:
        for name in ("papermill", "execution"):
            cell.metadata.pop(name, None)
        if not nb.tags(cell):
            cell.metadata.pop("tags", None)


def _merged(outputs: list[Any]) -> list[Any]:
    """Text that was printed in a row as one output; a busy machine sends it in several packets."""
    merged: list[Any] = []
    for output in outputs:
        last = merged[-1] if merged else {}
        if output.output_type == "stream" and last.get("name") == output.name:
            last["text"] += output.text
        else:
            merged.append(output)
    return merged
