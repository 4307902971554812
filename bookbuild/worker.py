"""One execution in a process of its own: `python -m bookbuild.worker`, a job in, lines out.

The first line of standard input is the job, the lines of standard output are events, all JSON.
Standard input stays open as long as whoever started this process lives: when it closes, the
process ends and takes its kernel with it. The process never writes but into the store.
"""

import json
import logging
import os
import re
import resource
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil

from bookbuild import kernels, store
from bookbuild import notebook as nb

START_TIMEOUT = 120  # seconds; importing torch takes some of them on a busy machine
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_LINE = re.compile(r"(?:Cell )?In\[(\d+)\], line (\d+)")
_EXCERPT = 30  # lines of a traceback


class KernelStartError(RuntimeError):
    """The kernel ended, or did not answer, before the first cell."""


def execute(job: dict[str, Any], tell: Any = print) -> dict[str, Any]:
    """Run one job with papermill and store the result; the report is {"ok", "seconds", ...}.

    A kernel that fails to start is started once more: kernels that start together can choose the
    same port. Any other failure is reported and stores nothing.
    """
    progress = _Progress(job, tell)
    try:
        try:
            done, seconds, cpu = _run(job, progress)
        except KernelStartError:
            done, seconds, cpu = _run(job, progress)
    except Exception as error:  # whatever it is, it belongs into the report of this notebook
        return {"ok": False, "died": _died(error), **_failure(error, progress)}
    tidy(done)
    facts = {"parameters": job["parameters"], "seconds": seconds, "cpu_seconds": cpu}
    try:
        store.put(Path(job["folder"]), job["slug"], job["key"], done, **facts)
    except OSError as error:
        return {"ok": False, "error": f"the result could not be stored: {error}"}
    return {"ok": True, **facts}


class _Progress:
    """Counts code cells as they finish and remembers the one that runs."""

    def __init__(self, job: dict[str, Any], tell: Any) -> None:
        self.source = nb.read(Path(job["notebook"]))
        self.total = len(nb.code_cells(self.source))
        self.tell, self.done = tell, 0
        self.current: Any = None

    def start(self, cell: Any, cell_index: int) -> None:
        if cell.cell_type == "code":
            self.current = cell
            self.tell({"at": self.place()})

    def finish(self, cell: Any, cell_index: int, **_: Any) -> None:
        self.done += 1
        self.tell({"cell": min(self.done, self.total), "of": self.total})

    def place(self) -> int | None:
        """Position of the running cell among all cells of the source notebook, from 1."""
        ids = [cell.get("id") for cell in self.source.cells]
        running = self.current.get("id") if self.current is not None else None
        return ids.index(running) + 1 if running in ids else None


def _run(job: dict[str, Any], progress: _Progress) -> tuple[Any, float, float]:
    from papermill import execute_notebook

    before, start = _children_seconds(), time.monotonic()
    progress.current, progress.done = None, 0
    try:
        done = execute_notebook(
            job["notebook"],
            None,
            parameters=job["parameters"],
            kernel_name="python3",
            cwd=str(Path(job["notebook"]).parent),
            progress_bar=False,
            start_timeout=START_TIMEOUT,
            execution_timeout=job["timeout"],
            on_cell_start=progress.start,
            on_cell_executed=progress.finish,
            **kernels.options(),
        )
    except Exception as error:
        if progress.current is None and not hasattr(error, "ename"):
            raise KernelStartError(f"{type(error).__name__}: {error}") from error
        raise
    seconds, cpu = time.monotonic() - start, _children_seconds() - before
    return done, round(seconds, 2), round(cpu, 2)


def _children_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _failure(error: Exception, progress: _Progress) -> dict[str, Any]:
    """Where and why, for a person: cell, line, source line, error, end of the traceback."""
    trace = [_ANSI.sub("", str(part)) for part in getattr(error, "traceback", [])]
    lines = "\n".join(trace).splitlines()
    name, message = getattr(error, "ename", type(error).__name__), getattr(error, "evalue", None)
    number, source = _failing_line("\n".join(lines), progress.current)
    return {
        "cell": progress.place(),
        "line": number,
        "source": source,
        "error": f"{name}: {message if message is not None else error}",
        "traceback": lines[-_EXCERPT:],
    }


def _died(error: Exception) -> bool:
    return isinstance(error, KernelStartError) or type(error).__name__ == "DeadKernelError"


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


def _end_with_parent() -> None:
    """Wait until standard input closes, then end this process and everything below it."""
    sys.stdin.read()
    for child in psutil.Process().children(recursive=True):
        child.kill()
    os._exit(1)


def main() -> None:
    """Read a job, run it, print events; the last line is the report."""
    # The channel of events is a copy: nothing that prints by accident can break a line of it.
    events = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    logging.getLogger("papermill").setLevel(logging.ERROR)
    job = json.loads(sys.stdin.readline())
    # Papermill imports it for HDFS paths alone, at a tenth of a second a run.
    sys.modules.setdefault("pyarrow", None)  # type: ignore[arg-type]
    threading.Thread(target=_end_with_parent, daemon=True).start()

    def tell(event: dict[str, Any]) -> None:
        print(json.dumps(event), file=events, flush=True)

    tell(execute(job, tell))
    events.flush()
    os._exit(0)  # the thread above holds standard input


if __name__ == "__main__":
    main()
