"""What a Dask worker does for a sweep: one run, whose result is sent back.

A worker needs this library, the same files of it as the coordinator has, and nothing else: no
shared disk. A chapter is a function, imported once a worker. A notebook comes with its task, and
the executed notebook goes back.
"""

import importlib
import signal
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
from threadpoolctl import threadpool_limits

from bnlib.results import collect
from bookbuild import sources, store
from bookbuild.execute import Run
from bookbuild.worker import EXCERPT, Outcome, execute


class Task(NamedTuple):
    """One run as it travels.

    given: every parameter. chapter: the module to call, else `text` is the notebook to execute.
    library, environment: what the key was made of (`store.basis`); library: files of `package`.
    """

    run: Run
    given: dict[str, Any]
    chapter: str | None
    text: str
    package: str
    library: dict[str, str]
    environment: dict[str, str | None]


class MismatchError(RuntimeError):
    """The worker's library, Python or data packages are not those that the key was made of."""


_met: dict[Path, str] = {}
_alone = threading.Lock()  # the working folder and the number of threads are the process's


def dask_setup(_worker: Any) -> None:
    """Called by Dask in a local worker that starts: Ctrl-C is for the coordinator."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def perform(task: Task) -> Outcome:
    """Do one run, as Dask calls it on a worker.

    Raises MismatchError where the result would be filed under a key that it does not deserve:
    the library is compared before the run and after it.
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
    except Exception as error:  # whatever it is, it belongs into the report of this run
        lines = traceback.format_exc().splitlines()[-EXCERPT:]
        return Outcome({"error": f"{type(error).__name__}: {error}", "traceback": lines})
    facts = {"parameters": task.run.parameters, "seconds": seconds}
    return Outcome(facts, store.direct_text(task.run.key, records, claims, **facts))


def _executed(task: Task) -> Outcome:
    """What becomes of the notebook."""
    book, run = nbformat.reads(task.text, as_version=4), task.run
    with _beside(run) as folder:
        return execute(book, run.parameters, run.key, cwd=folder)


@contextmanager
def _beside(run: Run) -> Iterator[Path]:
    """The notebook's folder, where a run may find other files; another where there is none."""
    with tempfile.TemporaryDirectory(prefix="bnlib-run-") as elsewhere:
        yield run.notebook.parent if run.notebook.is_file() else Path(elsewhere)


def _compare(task: Task) -> None:
    folder = sources.folder_of(task.package) or Path()
    for path, digest in ((folder / name, digest) for name, digest in task.library.items()):
        if _digest(path) != digest:
            raise MismatchError(f"{path} differs from the file that the key was made of")
        if task.chapter and _met.setdefault(path, digest) != digest:
            raise MismatchError(f"{path} was edited since a worker imported it; start it anew")
    here = sources.environment(Path())
    for name, want in task.environment.items():
        if name != "lock" and here[name] != want:
            got = here[name]
            raise MismatchError(f"{name}: expected {want}, which the key was made of, got {got}")


def _digest(path: Path) -> str | None:
    try:
        return sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None
