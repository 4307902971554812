"""One notebook through papermill, in this process: of a pool, or a Dask worker."""

import logging
import os
import re
import resource
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from bookbuild import notebook as nb
from bookbuild import store

# One thread a worker: sums are then added in one order, and kernels do not fight for cores.
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
    "JUPYTER_PREFER_ENV_PATH": "1",  # a user's kernel called python3 must not shadow ours
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",
}
EXCERPT = 30  # lines of a traceback
_START_TIMEOUT = 120  # seconds; importing torch takes some of them on a busy machine
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_LINE = re.compile(r"(?:Cell )?In\[(\d+)\], line (\d+)")


class Outcome(NamedTuple):
    """What became of a run. facts: its parameters and seconds, or where and why it failed.

    text: the file that belongs into the store; None after a failure.
    """

    facts: dict[str, Any]
    text: str | None = None


def execute(
    book: Any,
    parameters: Mapping[str, Any],
    key: str,
    *,
    cwd: Path,
    timeout: int | None = None,
    progress: Any = False,
) -> Outcome:
    """Execute a notebook; whatever becomes of it is in the outcome.

    timeout: seconds that a cell may take. progress: as papermill's `progress_bar`. A kernel that
    fails to start is started once more: kernels that start together can choose the same port.
    """
    os.environ.update(ENVIRONMENT)
    logging.getLogger("papermill").setLevel(logging.ERROR)
    options = {"cwd": str(cwd), "execution_timeout": timeout, "progress_bar": progress}
    for last in (False, True):
        begun: list[Any] = []
        try:
            done, facts = _run(book, parameters, begun, options)
        except Exception as error:  # whatever it is, it belongs into the report of this notebook
            if begun or last:
                return Outcome(_failure(error, book, begun[-1] if begun else None))
        else:
            tidy(done)
            facts = {"parameters": dict(parameters), **facts}
            return Outcome(facts, store.text_of(key, done, **facts))
    raise AssertionError


def _run(
    book: Any, parameters: Mapping[str, Any], begun: list[Any], options: dict[str, Any]
) -> tuple[Any, dict[str, float]]:
    from papermill import execute_notebook

    def note(cell: Any, cell_index: int) -> None:
        begun.extend([cell] if cell.cell_type == "code" else [])

    cpu, start = _children_seconds(), time.monotonic()
    done = execute_notebook(
        book, None, parameters, kernel_name="python3", start_timeout=_START_TIMEOUT,
        on_cell_start=note, extra_arguments=["--log-level=CRITICAL"], **options,
    )  # fmt: skip
    seconds, cpu = time.monotonic() - start, _children_seconds() - cpu
    return done, {"seconds": round(seconds, 2), "cpu_seconds": round(cpu, 2)}


def _children_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _failure(error: Exception, book: Any, cell: Any) -> dict[str, Any]:
    """Where and why, for a person: cell, line, source line, error, end of the traceback."""
    trace = [_ANSI.sub("", str(part)) for part in getattr(error, "traceback", [])]
    lines = "\n".join(trace).splitlines()
    name, message = getattr(error, "ename", type(error).__name__), getattr(error, "evalue", None)
    number, source = _failing_line("\n".join(lines), cell)
    ids = [cell.get("id") for cell in book.cells]
    running = cell.get("id") if cell is not None else None
    return {
        "cell": ids.index(running) + 1 if running in ids else None,
        "line": number,
        "source": source,
        "error": f"{name}: {message if message is not None else error}",
        "traceback": lines[-EXCERPT:],
    }


def _failing_line(trace: str, cell: Any) -> tuple[int | None, str]:
    source = cell.source.splitlines() if cell is not None else []
    count = str(cell.get("execution_count")) if cell is not None else ""
    numbers = [int(n) for run, n in _LINE.findall(trace) if run == count]
    number = numbers[-1] if numbers else None  # the innermost frame in this cell
    known = number is not None and number <= len(source)
    return number, source[number - 1].strip() if known and number else ""


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
