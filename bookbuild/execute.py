"""Run what is not in the store, several notebooks at once, each in a kernel of its own.

A run is a value: `plan` says what would run, `execute` runs it and returns one report a run. A
failing notebook does not stop the others, and leaves no trace in the store.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from bnlib.parameters import check
from bookbuild import notebook as nb
from bookbuild import sources, store, worker

CELL_TIMEOUT = 600  # seconds


class Run(NamedTuple):
    """One execution to be: a notebook with checked parameters, and its address in the store.

    files: digests by path of what its key covers, as `sources.unchanged` takes them.
    """

    notebook: Path
    parameters: dict[str, Any]
    key: str
    folder: Path
    files: dict[str, str | None]
    package: str

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
    """Check the overrides and compute the key. folder: the store, by default below root.

    Raises ValueError, naming the notebook, for whatever is wrong with it or with an override.
    """
    path, source = notebook.resolve(), nb.read(notebook)
    with nb.named(notebook):
        declared = nb.parameters(source)
        check(declared, overrides or {})
        parameters = store.effective(declared, overrides or {})
        made_of = store.basis(path, source, root=root, package=package)
        key, files = store.keys(path.parent, declared, made_of)(parameters)
    return Run(path, parameters, key, folder or root / store.FOLDER, files, package)


def execute(
    runs: Iterable[Run],
    *,
    jobs: int | None = None,
    timeout: int = CELL_TIMEOUT,
    extra: Mapping[str, str] | None = None,
) -> list[Report]:
    """Execute the runs that the store lacks, at most jobs at a time; the reports in their order.

    timeout: seconds a cell may take. extra: variables for every kernel. On KeyboardInterrupt every
    kernel started here is ended, and the store holds what had finished.
    """
    runs = list(runs)
    wanted = {(run.folder, run.slug, run.key): run for run in runs}
    missing = [run for at, run in wanted.items() if not store.holds(*at)]
    made = _all(missing, jobs or cores(), timeout=timeout, extra=extra)
    fresh = {report.run.path: report for report in made}
    return [fresh.get(run.path, Report(run, ok=True, fresh=False, facts={})) for run in runs]


def describe(report: Report) -> str:
    """A failed run in words: notebook, cell, line, source line, error, end of the traceback."""
    facts, path = report.facts, report.run.notebook
    shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    where = [f"{name} {facts[name]}" for name in ("cell", "line") if facts.get(name)]
    head = f"FAILED {', '.join([str(shown), *where])}"
    source = [f"    {facts['source']}"] if facts.get("source") else []
    given = [f"    parameters: {report.run.parameters}"] if report.run.parameters else []
    excerpt = [f"  | {line}" for line in facts.get("traceback", [])]
    return "\n".join([head, *given, *source, f"  {facts['error']}", *excerpt])


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def ending_on_signals(hint: str) -> Iterator[None]:
    """A walltime, `docker stop` or a closed terminal ends the block as Ctrl-C does.

    That is with `hint`, and with the exit status of a shell for the signal: 130 for Ctrl-C.
    """

    def end(number: int, _frame: Any) -> None:
        for other in before:
            signal.signal(other, signal.SIG_IGN)  # once is enough: what follows cleans up
        raise KeyboardInterrupt(number)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    except KeyboardInterrupt as error:
        with suppress(OSError):  # the terminal may be gone
            print(f"interrupted. {hint}", file=sys.stderr, flush=True)
        raise SystemExit(128 + (error.args or (signal.SIGINT,))[0]) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _all(runs: list[Run], jobs: int, **options: Any) -> Iterator[Report]:
    """A report for each run, told as it ends. A kernel is a process, which a thread waits for."""
    stop = threading.Event()
    with ThreadPoolExecutor(min(jobs, len(runs)) or 1) as pool:
        futures = [pool.submit(_file, run, stop=stop, **options) for run in runs]
        try:
            for future in as_completed(futures):
                report = future.result()
                took = f"{report.facts['seconds']:.1f} s" if report.ok else "FAILED"
                print(f"executed {report.run.slug}: {took}", file=sys.stderr, flush=True)
                yield report
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            for process in psutil.Process().children():
                if "ipykernel_launcher" in process.cmdline():
                    process.kill()
            raise


def _file(run: Run, **options: Any) -> Report:
    """Execute a run and put it into the store."""
    try:
        store.prepare(run.path.parent)
        facts, text = worker.execute(
            nb.read(run.notebook), run.parameters, run.key,
            cwd=run.notebook.parent, package=run.package, **options,
        )  # fmt: skip
        if text is not None:
            sources.unchanged(run.package, run.files)
            store.write_atomically(run.path, text)
    except (OSError, ValueError, sources.MismatchError) as error:
        facts = {"error": f"the result could not be stored: {error}"}
    return Report(run, ok="error" not in facts, fresh=True, facts=facts)
