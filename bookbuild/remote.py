"""What a Dask worker does for a sweep: one run in a process of its own, its result sent back.

A worker needs this library, the same files of it as the coordinator has, and nothing else: no
shared disk. The notebook comes with the task, the executed notebook goes back as text.
"""

import tempfile
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from bookbuild import notebook as nb
from bookbuild import sources, store
from bookbuild.execute import CELL_TIMEOUT, Report, Run, run_one


class Task(NamedTuple):
    """One run as it travels. text: the notebook; parts: what its key covers (`store.basis`)."""

    run: Run
    text: str
    parts: dict[str, Any]
    time_limit: float | None = None
    package: str = "bnlib"


class Outcome(NamedTuple):
    """What comes back. text: the executed notebook, None after a failure."""

    ok: bool
    facts: dict[str, Any]
    text: str | None = None


class MismatchError(RuntimeError):
    """The worker's library, Python or data packages are not those that the key was made of."""


def perform(task: Task) -> Outcome:
    """Execute one task, as Dask calls it on a worker.

    Raises MismatchError where the result would be filed under a key that it does not deserve:
    the library is compared before the run and after it.
    """
    _compare(task)
    # Dask removes this folder when it starts a killed worker anew.
    with tempfile.TemporaryDirectory(dir=_scratch(), prefix="bnlib-run-") as folder:
        report = _execute(task, Path(folder))
        text = report.run.path.read_text(encoding="utf-8") if report.ok else None
    if report.ok:
        _compare(task)
    return Outcome(report.ok, report.facts, text)


def _execute(task: Task, folder: Path) -> Report:
    """Run the notebook where it lies, so that paths relative to it hold, else a copy of it."""
    limits = {"timeout": task.time_limit or CELL_TIMEOUT, "time_limit": task.time_limit}
    run = task.run._replace(folder=folder)
    if _holds(run.notebook, task.parts["cells"]):
        report = run_one(run, **limits)
        if _holds(
            run.notebook, task.parts["cells"]
        ):  # else it was edited meanwhile: which one ran?
            return report
    copy = folder / run.notebook.name
    copy.write_text(task.text, encoding="utf-8")
    return run_one(run._replace(notebook=copy), **limits)


def _holds(path: Path, code: list[Any]) -> bool:
    try:
        return store.code(nb.read(path)) == code
    except (OSError, ValueError):
        return False


def _compare(task: Task) -> None:
    spec = find_spec(task.package) if task.parts["library"] else None
    folder = Path(spec.origin).parent if spec and spec.origin else Path()
    for name, digest in task.parts["library"].items():
        if _digest(folder / name) != digest:
            raise MismatchError(f"{folder / name} differs from the file that the key was made of")
    here = sources.environment(Path())
    for name, want in task.parts["environment"].items():
        if name != "lock" and here[name] != want:
            got = here[name]
            raise MismatchError(f"{name}: expected {want}, which the key was made of, got {got}")


def _digest(path: Path) -> str | None:
    try:
        return sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None


def _scratch() -> str | None:
    from distributed import get_worker

    try:
        return get_worker().local_directory
    except ValueError:
        return None  # called by hand
