"""The coordinator of a sweep: what the store lacks goes to Dask, what comes back goes to the store.

At most a window of runs is with Dask at a time, so neither side holds a large plan. A run whose
worker, or whose scheduler, was lost is handed over again; one that another sweep has taken is
looked for in the store until it is there, or free.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol
from uuid import uuid4

import nbformat

from bookbuild import store
from bookbuild.cluster import Cluster
from bookbuild.execute import Report, Run
from bookbuild.grids import Plan
from bookbuild.leases import Leases
from bookbuild.remote import MismatchError, Outcome, Task, perform

LOSSES = 25  # workers that a run may outlive; more, and the run is what kills them
TRACEBACKS = 20  # failures whose traceback is kept
_LANDED = {"finished", "error", "cancelled"}  # "lost" is computed again by Dask
_TICK = 0.05  # seconds
_LOOK_AGAIN = 1.0  # seconds: at runs of another sweep, at the number of workers


class Watcher(Protocol):
    """Whoever is told how the sweep goes; state: "stored", "done" or "failed"."""

    def settled(self, state: str, report: Report | None) -> None:
        """One run is settled."""
        ...

    def waiting(self, why: str) -> None:
        """Nothing can go on at the moment; "" when it can again."""
        ...


class _Flight(NamedTuple):
    """A run that is with Dask, or has to go there again; losses: how often that was in vain."""

    run: Run
    losses: int = 0


class Sweep:
    """One sweep; `run` it once. cluster: opens one, and is called only if there is a run to do."""

    def __init__(
        self,
        plan: Plan,
        cluster: Callable[[], Cluster],
        watcher: Watcher,
        *,
        time_limit: float | None = None,
    ) -> None:
        self.plan, self.watcher, self.time_limit = plan, watcher, time_limit
        self.open: Callable[[], Cluster] = cluster
        self.cluster: Cluster | None = None
        self.text = nbformat.writes(plan.source)
        self.leases = Leases(plan.folder)
        self.todo: Iterator[Run] | None = plan.runs()
        self.again: deque[_Flight] = deque()
        self.elsewhere: deque[Run] = deque()
        self.flying: dict[Any, _Flight] = {}
        self.failed: dict[str, Report] = {}
        self.window, self.count, self.look = 1, 0.0, 0.0

    def run(self) -> dict[str, Report]:
        """Settle every run; the reports of those that failed, by key.

        Raises SchedulerError where the scheduler does not come back, MismatchError where a
        worker has other files than the key was made of, OSError where the store cannot be
        written. Whatever raises, what has come back by then is in the store.
        """
        try:
            while True:
                moved = self._hand_over()
                landed = self._land()
                if not (moved or landed):
                    if not (self.todo or self.flying or self.again or self.elsewhere):
                        return self.failed
                    time.sleep(_TICK)
        finally:
            self.leases.close()
            if self.cluster is not None and self.cluster.client.status == "running":
                self.cluster.client.cancel(list(self.flying), force=True)

    def _hand_over(self) -> bool:
        """Take one step with the next run: skip it, leave it to others, or submit it."""
        if self.cluster is not None and not self._ready():
            return False
        if self.again:
            self._submit(self.again.popleft())
            return True
        run = self._next()
        if run is None:
            return False
        if self._stored(run):
            return True
        if not self.leases.take(run.key):
            self.elsewhere.append(run)
        elif self._stored(run):  # another sweep finished it a moment ago
            self.leases.release(run.key)
        else:
            self._submit(_Flight(run))
        return True

    def _next(self) -> Run | None:
        """The next run of the plan; then those that another sweep had taken, once in a while."""
        if self.todo:
            if run := next(self.todo, None):
                return run
            self.todo = None
        if not self.elsewhere or time.monotonic() < self.look:
            return None
        run = self.elsewhere.popleft()
        self.look = time.monotonic() + _LOOK_AGAIN / (len(self.elsewhere) + 1)
        return run

    def _stored(self, run: Run) -> bool:
        found = store.get(run.folder, run.slug, run.key) is not None
        if found:
            self.watcher.settled("stored", None)
        return found

    def _ready(self) -> bool:
        """Whether the cluster takes one more run; a worker has its next one before it needs it."""
        assert self.cluster is not None
        if not self.cluster.tend():
            self.watcher.waiting("the scheduler is away")
            return False
        if time.monotonic() > self.count:
            count = self.cluster.threads()
            self.watcher.waiting("" if count else "there are no workers yet")
            self.window = max(2 * count, self.cluster.queue, 1)
            self.count = time.monotonic() + _LOOK_AGAIN
        return len(self.flying) < self.window

    def _submit(self, flight: _Flight) -> None:
        if self.cluster is None:
            self.cluster = self.open()
        task = Task(flight.run, self.text, self.plan.parts, self.time_limit)
        name = f"{flight.run.slug}-{flight.run.key[:12]}-{uuid4().hex[:8]}"
        self.flying[self.cluster.client.submit(perform, task, key=name, pure=False)] = flight

    def _land(self) -> bool:
        """Settle what Dask is done with, for good or ill."""
        ready = [future for future in self.flying if future.status in _LANDED]
        for future in ready:
            outcome = _result(future)
            if outcome is None:
                continue  # its worker died after the run and before we had the result
            flight = self.flying.pop(future)
            future.release()
            if isinstance(outcome, Outcome):
                self._settle(flight.run, outcome)
            else:
                self._lost(flight, outcome)
        return bool(ready)

    def _settle(self, run: Run, outcome: Outcome) -> None:
        if outcome.text is not None:
            store.write_atomically(run.path, outcome.text)
        elif len(self.failed) >= TRACEBACKS:
            outcome.facts.pop("traceback", None)
        report = Report(run, outcome.ok, fresh=True, facts=outcome.facts)
        if not outcome.ok:
            self.failed[run.key] = report
        self.leases.release(run.key)
        self.watcher.settled("done" if outcome.ok else "failed", report)

    def _lost(self, flight: _Flight, error: Exception) -> None:
        """No outcome: of a mismatch all runs would die; a lost worker or scheduler is replaced."""
        if isinstance(error, MismatchError):
            raise error
        if flight.losses < LOSSES and _is_loss(error):
            self.again.append(flight._replace(losses=flight.losses + 1))
            return
        facts = {"error": f"{type(error).__name__}: {error}"}
        self._settle(flight.run, Outcome(False, facts))


def _result(future: Any) -> Outcome | Exception | None:
    """What the future holds, or its error; None if the result went down with its worker."""
    try:
        return future.result(timeout=2)
    except TimeoutError:
        return None
    except Exception as error:
        return error


def _is_loss(error: Exception) -> bool:
    from concurrent.futures import CancelledError

    from distributed import KilledWorker

    return isinstance(error, KilledWorker | CancelledError | OSError)
