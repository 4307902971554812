"""Run what is not in the store, several notebooks at once, each in a process of its own.

A run is a value: `plan` says what would run, `execute` runs it and returns one report a run. A
failing notebook does not stop the others, and leaves no trace in the store.
"""

import multiprocessing
import os
import sys
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import as_completed
from pathlib import Path
from typing import Any, NamedTuple

from pebble import ProcessExpired, ProcessPool
from tqdm import tqdm

from bnlib.parameters import check
from bookbuild import notebook as nb
from bookbuild import store, worker

CELL_TIMEOUT = 600  # seconds


class Run(NamedTuple):
    """One execution to be: a notebook with checked parameters, and its address in the store."""

    notebook: Path
    parameters: dict[str, Any]
    key: str
    folder: Path

    @property
    def slug(self) -> str:
        """The bare name of the notebook."""
        return self.notebook.stem

    @property
    def path(self) -> Path:
        """Where the executed notebook lies after a success."""
        return store.path_of(self.folder, self.slug, self.key)


class Report(NamedTuple):
    """What became of a run. facts: seconds, or where and why it failed; fresh: it ran just now."""

    run: Run
    ok: bool
    fresh: bool
    facts: dict[str, Any]


def plan(
    notebook: Path,
    overrides: Mapping[str, Any] | None = None,
    *,
    root: Path,
    package: str = "bnlib",
    folder: Path | None = None,
) -> Run:
    """Check the overrides and compute the key. folder: the store, by default below root."""
    source = nb.read(notebook)
    try:
        declared = nb.parameters(source)
        check(declared, overrides or {})
    except (ValueError, SyntaxError) as error:
        raise ValueError(f"{notebook.name}: {error}") from error
    parameters = store.effective(declared, overrides or {})
    address = store.key(source, parameters, root=root, package=package)
    return Run(notebook.resolve(), parameters, address, folder or root / store.FOLDER)


def execute(
    runs: Iterable[Run], *, jobs: int | None = None, timeout: int = CELL_TIMEOUT
) -> list[Report]:
    """Execute the runs that the store lacks, at most jobs at a time; the reports in their order.

    timeout: seconds a cell may take. On KeyboardInterrupt every process started here is ended,
    with its kernel, and the store holds what had finished.
    """
    runs = list(runs)
    missing = [run for run in runs if not store.holds(run.folder, run.slug, run.key)]
    fresh = {(r.run.notebook, r.run.key): r for r in _all(missing, jobs or cores(), timeout)}
    stored = [Report(run, ok=True, fresh=False, facts={}) for run in runs]
    return [fresh.get((r.run.notebook, r.run.key), r) for r in stored]


def describe(report: Report) -> str:
    """A failed run in words: notebook, cell, line, source line, error, end of the traceback."""
    facts = report.facts
    where = [f"cell {facts['cell']}"] if facts.get("cell") else []
    where += [f"line {facts['line']}"] if facts.get("line") else []
    head = f"FAILED {', '.join([_shown(report.run.notebook), *where])}"
    source = [f"    {facts['source']}"] if facts.get("source") else []
    given = [f"    parameters: {report.run.parameters}"] if report.run.parameters else []
    excerpt = [f"  | {line}" for line in facts.get("traceback", [])]
    return "\n".join([head, *given, *source, f"  {facts['error']}", *excerpt])


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _shown(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def _all(runs: list[Run], jobs: int, timeout: int) -> list[Report]:
    """A report for each run, as they end."""
    if not runs:
        return []
    # A fresh Python for each run: what one leaves behind does not reach the next.
    fresh = multiprocessing.get_context("spawn")
    pool = ProcessPool(min(jobs, len(runs)), max_tasks=1, context=fresh)
    try:
        futures: dict[Any, Run] = {
            pool.schedule(_file, (run, timeout, line)): run for line, run in enumerate(runs, 1)
        }
        reports = []
        # A log has no use for a bar that redraws itself.
        with tqdm(total=len(runs), unit="notebook", disable=not sys.stderr.isatty()) as bar:
            for future in as_completed(futures):
                reports.append(_report(futures[future], future))
                bar.update()
                if bar.disable:
                    print(f"executed {_in_short(reports[-1])}", file=sys.stderr, flush=True)
        pool.close()
        return reports
    except BaseException:
        pool.stop()
        raise
    finally:
        pool.join()


def _in_short(report: Report) -> str:
    return f"{report.run.slug}: " + (f"{report.facts['seconds']:.1f} s" if report.ok else "FAILED")


def _report(run: Run, future: Any) -> Report:
    try:
        facts = future.result()
    except ProcessExpired as error:
        facts = {"error": f"the worker ended with status {error.exitcode} before its report"}
    except Exception as error:
        facts = {"error": f"{type(error).__name__}: {error}"}
    return Report(run, ok="error" not in facts, fresh=True, facts=facts)


def _file(run: Run, timeout: int, line: int) -> dict[str, Any]:
    """In a process of the pool: execute a run and put it into the store; the facts of its report.

    line: of the terminal, below the bar over all notebooks, for the bar over the cells.
    """
    threading.Thread(target=_end_with_parent, daemon=True).start()
    bar = {"desc": run.slug, "position": line, "leave": False} if sys.stderr.isatty() else False
    try:
        store.prepare(run.path.parent)
        facts, text = worker.execute(
            nb.read(run.notebook), run.parameters, run.key,
            cwd=run.notebook.parent, timeout=timeout, progress=bar,
        )  # fmt: skip
        if text is not None:
            store.write_atomically(run.path, text)
        return facts
    except OSError as error:
        return {"error": f"the result could not be stored: {error}"}


def _end_with_parent() -> None:
    """A kernel ends with the process that started it, and that one here with who started it."""
    parent = multiprocessing.parent_process()
    if parent:
        parent.join()
        os._exit(1)
