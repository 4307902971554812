"""Run what is not in the store, several notebooks at once, each in a process of its own.

A run is a value: `plan` says what would run, `execute` runs it and returns one report a run. A
failing notebook does not stop the others, and leaves no trace in the store.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path
from typing import IO, Any, NamedTuple

import psutil

from bnlib.publish import notebook as nb
from bnlib.publish import store
from bnlib.publish.progress import Bar

# One thread a worker: sums are then added in one order, and kernels do not fight for cores.
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
    "JUPYTER_PREFER_ENV_PATH": "1",  # a user's kernel called python3 must not shadow ours
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",
}
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
        nb.check(declared, overrides or {})
    except (ValueError, SyntaxError) as error:
        raise ValueError(f"{notebook.name}: {error}") from error
    parameters = store.effective(declared, overrides or {})
    address = store.key(source, parameters, root=root, package=package)
    return Run(notebook.resolve(), parameters, address, folder or root / store.FOLDER)


def execute(
    runs: Iterable[Run], *, jobs: int | None = None, timeout: int = CELL_TIMEOUT
) -> list[Report]:
    """Execute the runs that the store lacks, at most jobs at a time, in the order given.

    timeout: seconds a cell may take. On KeyboardInterrupt every process started here is ended,
    with its kernel, and the store holds what had finished.
    """
    runs = list(runs)
    missing = [run for run in runs if store.get(run.folder, run.slug, run.key) is None]
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
    if not runs:
        return []
    started: list[subprocess.Popen[str]] = []
    pool = ThreadPoolExecutor(min(jobs, len(runs)))
    with Bar([run.slug for run in runs]) as bar:
        futures = [
            pool.submit(_one, run, timeout, started.append, bar.cells(number))
            for number, run in enumerate(runs)
        ]
        try:
            pending = set(futures)
            while pending:
                done, pending = wait(pending, timeout=0.5, return_when=FIRST_COMPLETED)
                for future in done:
                    report = future.result()
                    bar.finished(report.run.slug, report.ok, report.facts)
            return [future.result() for future in futures]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in started:
                _kill(process)
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _one(
    run: Run,
    timeout: int,
    started: Callable[[subprocess.Popen[str]], None],
    progress: Callable[[int, int], None],
) -> Report:
    """Start a worker, hand it the job, follow its events up to the report."""
    job = {
        "notebook": str(run.notebook),
        "parameters": run.parameters,
        "key": run.key,
        "slug": run.slug,
        "folder": str(run.folder),
        "timeout": timeout,
    }
    with tempfile.TemporaryFile("w+", encoding="utf-8") as errors:
        process = _start(errors)
        started(process)
        facts = _follow(process, job, progress)
        if facts is None:
            errors.seek(0)
            tail = errors.read().splitlines()[-20:]
            reason = f"the worker ended with status {process.wait()} before its report"
            facts = {"ok": False, "error": reason, "traceback": tail}
    return Report(run, ok=facts.pop("ok"), fresh=True, facts=facts)


def _start(errors: IO[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "bnlib.publish.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        env=os.environ | _ENVIRONMENT,
        start_new_session=True,  # Ctrl-C goes to us alone; we end the workers
    )


def _follow(
    process: subprocess.Popen[str], job: dict[str, Any], progress: Callable[[int, int], None]
) -> dict[str, Any] | None:
    assert process.stdin
    assert process.stdout
    facts = None
    try:
        with process.stdin, process.stdout:
            print(json.dumps(job), file=process.stdin, flush=True)
            for event in map(json.loads, process.stdout):
                if "ok" in event:
                    facts = event
                else:
                    progress(event["cell"], event["of"])
    except (BrokenPipeError, json.JSONDecodeError):
        pass  # it died; the caller says so
    process.wait()
    return facts


def _kill(process: subprocess.Popen[str]) -> None:
    try:
        family = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        family = []
    process.kill()
    for child in family:
        try:
            child.kill()
        except psutil.NoSuchProcess:
            continue
