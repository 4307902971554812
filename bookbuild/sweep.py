"""The coordinator of a sweep: what the store lacks goes to Dask, what comes back goes to the store.

A run whose worker dies is handed to another one by Dask, which gives up on a run that has outlived
several. At most a window of runs is with Dask at a time, so neither side holds a large plan.
"""

import logging
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import AbstractContextManager, contextmanager
from itertools import chain, islice
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any
from unittest.mock import patch
from uuid import uuid4

import nbformat
from tqdm import tqdm

from bookbuild import store, worker
from bookbuild.execute import Report, Run, describe
from bookbuild.grids import Plan
from bookbuild.remote import Task, perform
from bookbuild.sources import MismatchError
from bookbuild.worker import Outcome

WINDOW = 200  # runs; more than any cluster takes at once
HOST = "127.0.0.1"  # a cluster of our own is nobody else's business
PATIENCE = 60  # seconds until a scheduler must have answered


class SchedulerError(RuntimeError):
    """The cluster cannot be reached or started, or not any more."""


@contextmanager
def connect(scheduler: str | None, workers: int, *, patience: float = PATIENCE) -> Iterator[Any]:
    """A client of the scheduler at this address, else of `workers` processes here.

    scheduler: an address, or the file that `dask scheduler --scheduler-file` wrote. A cluster
    that was started here ends with the block; a scheduler that was there before stays.
    """
    from distributed import Client

    if scheduler is None:
        with _local_cluster(workers) as here, Client(here) as client:
            yield client
        return
    where: Any = {"scheduler_file" if Path(scheduler).is_file() else "address": scheduler}
    try:
        client = Client(**where, timeout=patience)
    except Exception as error:  # Dask has many kinds for a wrong address or file
        raise SchedulerError(f"no Dask scheduler answers at {scheduler}: {error}") from error
    with client:
        yield client


@contextmanager
def _local_cluster(workers: int) -> Iterator[Any]:
    """Workers of one run at a time, which inherit nothing of the user's set-up.

    One that is killed by its run takes no other along.
    """
    from dask import config
    from distributed import LocalCluster

    # The tracker of shared resources outlives a closed terminal, as the coordinator does.
    hang_up = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    resource_tracker.ensure_running()
    signal.signal(signal.SIGHUP, hang_up)
    with (
        worker.environment() as variables,
        patch.dict(os.environ, variables, clear=True),  # a worker that is replaced inherits it, too
        config.set({"distributed.scheduler.worker-saturation": 1.0}),
        LocalCluster(
            n_workers=workers, threads_per_worker=1, memory_limit=0, host=HOST,
            dashboard_address=f"{HOST}:0", silence_logs=logging.CRITICAL,
            preload="bookbuild.remote",
        ) as here,
    ):  # fmt: skip
        yield here


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
        threads = sum(client.nthreads().values())
        where = f"{client.scheduler.address}, dashboard {client.dashboard_link}"
        bar.write(f"dask   {where}, {threads} runs at a time", file=sys.stderr)
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
        if kept(run.folder, run.slug, run.key) is None:
            yield run
        else:
            bar.initial += 1
            bar.update()


def _performed(client: Any, plan: Plan, todo: Iterable[Run]) -> Iterator[tuple[Run, Outcome]]:
    """Each run with what became of it, as they end."""
    from distributed import as_completed

    text, runs = "" if plan.chapter else nbformat.writes(plan.source), iter(todo)
    flying: dict[Any, Run] = {}
    ended: Any = as_completed()

    def hand_over(count: int) -> None:
        for run in islice(runs, count):
            task = Task(run, plan.parameters(run), plan.chapter, text, plan.made_of.environment)
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
