"""What a Dask worker does for a sweep: one run, whose result is sent back.

A worker needs this library, the same files of it as the coordinator has, and the files that the
parameters name; no other shared disk. A chapter is a function, imported once a worker. A notebook
comes with its task, and the executed notebook goes back.
"""

import importlib
import signal
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
from threadpoolctl import threadpool_limits

from bnlib.results import collect
from bookbuild import sources, store
from bookbuild.execute import Run
from bookbuild.sources import MismatchError
from bookbuild.worker import EXCERPT, Outcome, execute


class Task(NamedTuple):
    """One run as it travels.

    given: every parameter. chapter: the module to call, else `text` is the notebook to execute.
    environment: as the key was made of.
    """

    run: Run
    given: dict[str, Any]
    chapter: str | None
    text: str
    environment: dict[str, str | None]


_met: dict[str, str | None] = {}
_alone = threading.Lock()  # the working folder and the number of threads are the process's


def dask_setup(_worker: Any) -> None:
    """Called by Dask in a local worker that starts: Ctrl-C and a closed terminal are not for it."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def perform(task: Task) -> Outcome:
    """Do one run, as Dask calls it on a worker.

    Raises MismatchError where the result would be filed under a key that it does not deserve:
    all files are compared before the run and after it.
    """
    _compare(task)
    outcome = _called(task) if task.chapter else _executed(task)
    _compare(task)
    return outcome


def _called(task: Task) -> Outcome:
    """What the chapter measures with these parameters."""
    try:
        chapter = importlib.import_module(str(task.chapter))
        start = time.monotonic()
        with _alone, _beside(task.run) as folder, chdir(folder), threadpool_limits(1):
            sections = chapter.run(chapter.Settings(**task.given))
        records, claims = collect(sections.values())
        seconds = round(time.monotonic() - start, 2)
        facts = {"parameters": task.run.parameters, "seconds": seconds}
        return Outcome(facts, store.direct_text(task.run.key, records, claims, **facts))
    except (Exception, SystemExit) as error:  # whatever it is, it belongs into the run's report
        lines = traceback.format_exc().splitlines()[-EXCERPT:]
        return Outcome({"error": f"{type(error).__name__}: {error}", "traceback": lines})


def _executed(task: Task) -> Outcome:
    """What becomes of the notebook."""
    book, run = nbformat.reads(task.text, as_version=4), task.run
    with _beside(run) as folder:
        return execute(book, run.parameters, run.key, cwd=folder, package=run.package)


@contextmanager
def _beside(run: Run) -> Iterator[Path]:
    """The notebook's folder, where a run may find other files; another where there is none."""
    with tempfile.TemporaryDirectory(prefix="bnlib-run-") as elsewhere:
        yield run.notebook.parent if run.notebook.is_file() else Path(elsewhere)


def _compare(task: Task) -> None:
    sources.unchanged(task.run.package, task.run.files)
    for path, digest in task.run.files.items() if task.chapter else ():
        if path.startswith(f"{task.run.package}/") and _met.setdefault(path, digest) != digest:
            raise MismatchError(f"{path} was edited since a worker imported it; start it anew")
    here = sources.environment(Path())
    for name, want in task.environment.items():
        if name != "lock" and here[name] != want:
            got = here[name]
            raise MismatchError(f"{name}: expected {want}, which the key was made of, got {got}")
