"""Run what is not in the store, several notebooks at once, each in a process of its own.

A run is a value: `plan` says what would run, `execute` runs it and returns one report a run. A
failing notebook does not stop the others, and leaves no trace in the store.
"""

import os
from collections.abc import Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, NamedTuple

from bnlib.parameters import check
from bookbuild import forkserver, processes, sources, store
from bookbuild import notebook as nb
from bookbuild.progress import Bar

CELL_TIMEOUT = 600  # seconds
_swept: set[tuple[Path, str]] = set()


class Run(NamedTuple):
    """One execution to be: a notebook with checked parameters, and its address in the store.

    heavy: its code, or the library that it imports, computes with NumPy, torch and the like.
    """

    notebook: Path
    parameters: dict[str, Any]
    key: str
    folder: Path
    heavy: bool = True

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
    cells = [cell.source for cell in nb.code_cells(source)]
    code = [*cells, *sources.texts(package, nb.imports(source, package))]
    heavy = sources.mentions(forkserver.NUMERIC_PACKAGES, code)
    return Run(notebook.resolve(), parameters, address, folder or root / store.FOLDER, heavy)


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


def run_one(
    run: Run,
    *,
    timeout: int = CELL_TIMEOUT,
    time_limit: float | None = None,
    attempts: int = 1,
    **watch: Any,
) -> Report:
    """Execute one run in a process of its own, unless the store has it, and report.

    timeout: seconds a cell may take. time_limit: seconds the run may take in all, after which
    process and kernel are ended. attempts: how often to start a run whose process or kernel dies;
    a cell that fails or takes too long is not tried again. Whatever happens to the run is in the
    report. watch: as `processes.run` takes it.
    """
    if store.get(run.folder, run.slug, run.key) is not None:
        return Report(run, ok=True, fresh=False, facts={})
    try:
        _ready(run.folder, run.slug)
    except OSError as error:
        facts = {"error": f"the result could not be stored: {error}"}
        return Report(run, ok=False, fresh=True, facts=facts)
    job = {
        "notebook": str(run.notebook),
        "parameters": run.parameters,
        "key": run.key,
        "slug": run.slug,
        "folder": str(run.folder),
        "timeout": timeout,
        "heavy": run.heavy,
    }
    facts = processes.run(job, time_limit=time_limit, **watch)
    for _ in range(attempts - 1):
        if facts.get("died"):
            facts = processes.run(job, time_limit=time_limit, **watch)
    return Report(run, ok=facts.pop("ok"), fresh=True, facts=facts)


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


def _ready(folder: Path, slug: str) -> None:
    """See that the store takes results; once a process, sweep up what a killed writer left."""
    store.check_writable(folder, slug)
    if (folder, slug) not in _swept:
        _swept.add((folder, slug))
        store.remove_leftovers(folder, slug)


def _shown(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def _all(runs: list[Run], jobs: int, timeout: int) -> list[Report]:
    if not runs:
        return []
    started: list[Any] = []
    pool = ThreadPoolExecutor(min(jobs, len(runs)))
    with Bar([run.slug for run in runs]) as bar:
        futures = [
            pool.submit(
                run_one, run, timeout=timeout, started=started.append, progress=bar.cells(number)
            )
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
                processes.end(process)
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
