"""The coordinator of a sweep: what the store lacks goes to Dask, what comes back goes to the store.

A run whose worker dies is handed to another one by Dask, which gives up on a run that has outlived
several. At most a window of runs is with Dask at a time, so neither side holds a large plan.
"""

import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import AbstractContextManager
from itertools import chain, islice
from typing import Any
from uuid import uuid4

import nbformat
from tqdm import tqdm

from bookbuild import store
from bookbuild.cluster import SchedulerError
from bookbuild.execute import Report, Run, describe
from bookbuild.grids import Plan
from bookbuild.remote import MismatchError, Task, perform
from bookbuild.worker import Outcome

WINDOW = 200  # runs; more than any cluster takes at once


def settle(
    plan: Plan, connect: Callable[[], AbstractContextManager[Any]], bar: tqdm
) -> dict[str, Report]:
    """Settle every run; the reports of those that failed, by key.

    connect: opens a Dask client, and is called only if there is a run to do.

    Raises SchedulerError where the scheduler is lost, MismatchError where a worker has other files
    than the key was made of, OSError where the store cannot be written. Whatever raises, what has
    come back by then is in the store.
    """
    todo = _missing(plan, bar)
    first = next(todo, None)
    if first is None:
        return {}
    failed: dict[str, Report] = {}
    shown_errors: set[str] = set()
    with connect() as client:
        for run, (facts, text) in _performed(client, plan, chain([first], todo)):
            if text is not None:
                kind = store.DIRECT if plan.chapter else store.NOTEBOOK
                store.write_atomically(store.path_of(run.folder, run.slug, run.key, kind), text)
            else:
                known = {"traceback": []} if facts["error"] in shown_errors else {}
                shown_errors.add(facts["error"])
                failed[run.key] = Report(run, ok=False, fresh=True, facts=facts | known)
                bar.write(describe(failed[run.key]), file=sys.stderr)
            bar.set_postfix(failed=len(failed), refresh=False)
            bar.update()
    return failed


def _missing(plan: Plan, bar: tqdm) -> Iterator[Run]:
    """The runs that the store lacks; the others are counted, and take no time."""
    # An executed notebook has what a call of its chapter would give.
    kept = store.measured if plan.chapter else store.get
    for run in plan.runs():
        if kept(run.folder, run.slug, run.key) is not None:
            bar.initial += 1
            bar.update()
        else:
            yield run


def _performed(client: Any, plan: Plan, todo: Iterable[Run]) -> Iterator[tuple[Run, Outcome]]:
    """Each run with what became of it, as they end."""
    from distributed import as_completed

    text, runs = "" if plan.chapter else nbformat.writes(plan.source), iter(todo)
    flying: dict[Any, Run] = {}
    ended: Any = as_completed()

    def hand_over(count: int) -> None:
        for run in islice(runs, count):
            task = Task(
                run, plan.parameters(run), plan.chapter, text,
                plan.package, plan.parts["library"], plan.parts["environment"],
            )  # fmt: skip
            name = f"{run.slug}-{run.key}-{uuid4().hex[:8]}"
            future = client.submit(perform, task, key=name, pure=False)
            flying[future] = run
            ended.add(future)

    hand_over(WINDOW)
    for future in ended:
        yield flying.pop(future), _outcome(future)
        future.release()
        hand_over(1)


def _outcome(future: Any) -> Outcome:
    try:
        return future.result()
    except CancelledError as error:
        raise SchedulerError("the Dask scheduler was lost") from error
    except MismatchError:
        raise
    except Exception as error:  # of Dask: nothing that a run raises comes this way
        return Outcome({"error": f"{type(error).__name__}: {error}"})
