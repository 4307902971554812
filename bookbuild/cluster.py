"""The Dask workers of a sweep: processes on this machine, or whatever a running scheduler has."""

import json
import logging
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"  # a cluster of our own is nobody else's business
PATIENCE = 60.0  # seconds that a scheduler may be away, to be started anew
_STARTS = 3  # of a worker that ends by itself at once; more would not help


class SchedulerError(RuntimeError):
    """The cluster cannot be reached or started, or not any more."""


class Cluster:
    """A scheduler and its workers. queue: runs to hand over even while there are no workers."""

    queue = 8  # an adaptive cluster starts workers for a queue

    def __init__(self, client: Any) -> None:
        self.client = client

    def tend(self) -> bool:
        """Whether the scheduler is there; where the workers are ours, start dead ones anew.

        Raises SchedulerError where it did not come back, or workers do not start.
        """
        if self.client.status in ("closing", "closed"):
            raise SchedulerError("the Dask scheduler was lost and did not come back")
        return self.client.status == "running"

    def threads(self) -> int:
        """Runs that the workers can take at once; 0 where the scheduler does not answer."""
        try:
            return sum(self.client.nthreads().values())
        except (OSError, TimeoutError):
            return 0

    def __str__(self) -> str:
        """Its address, and where to watch it."""
        hint = "" if find_spec("bokeh") else " (its graphs need the package bokeh)"
        return f"{self.client.scheduler.address}, dashboard {self.client.dashboard_link}{hint}"


@contextmanager
def connect(
    scheduler: str | None, workers: int, *, patience: float = PATIENCE
) -> Iterator[Cluster]:
    """The cluster of the scheduler at this address, else one of `workers` processes here.

    scheduler: an address, or the file that `dask scheduler --scheduler-file` wrote. A cluster
    that was started here ends with the block; a scheduler that was there before stays.
    """
    from distributed import Client, LocalCluster

    if scheduler is None:
        options = {"host": HOST, "dashboard_address": f"{HOST}:0", "silence_logs": logging.CRITICAL}
        with (
            tempfile.TemporaryDirectory(
                prefix="bnlib-sweep-", ignore_cleanup_errors=True
            ) as folder,
            LocalCluster(n_workers=0, processes=True, **options) as here,
            Client(here, timeout=patience) as client,
            _Local(client, workers, Path(folder)) as cluster,
        ):
            yield cluster
        return
    address = _address(scheduler)
    try:
        client = Client(address, timeout=patience)
    except (OSError, ValueError) as error:
        raise SchedulerError(f"no Dask scheduler answers at {address}: {error}") from error
    with client:
        yield Cluster(client)


class _Local(Cluster):
    """Workers that are our own processes.

    Dask's nannies would do, but a worker that dies while its nanny starts it stays dead, and they
    take seconds to end. A worker here is killed at the end; its run ends with it.
    """

    queue = 0

    def __init__(self, client: Any, workers: int, folder: Path) -> None:
        super().__init__(client)
        self.folder, self.failures = folder, 0
        self.processes = [self._start() for _ in range(workers)]

    def __enter__(self) -> "_Local":
        return self

    def __exit__(self, *_: Any) -> None:
        for process in self.processes:
            process.kill()
            process.wait()

    def tend(self) -> bool:
        for number, process in enumerate(self.processes):
            if (status := process.poll()) is not None:
                # Killed from outside is no fault of its own, and can happen any number of times.
                self.failures += status > 0
                if self.failures > _STARTS:
                    raise SchedulerError(f"local workers do not start: {self._last_words()}")
                self.processes[number] = self._start()
        return super().tend()

    def _start(self) -> subprocess.Popen[bytes]:
        command = [
            sys.executable, "-m", "distributed.cli.dask_worker", self.client.scheduler.address,
            "--no-nanny", "--no-dashboard", "--nthreads=1",
            "--memory-limit=0",  # the memory of a run is in processes that Dask does not see
            f"--local-directory={self.folder}",
        ]  # fmt: skip
        with self._log.open("ab") as log:
            # A session of its own: Ctrl-C is for the coordinator, which then ends the workers.
            return subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    @property
    def _log(self) -> Path:
        return self.folder / "workers.log"

    def _last_words(self) -> str:
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        return lines[-1] if lines else "they said nothing"


def _address(scheduler: str) -> str:
    path = Path(scheduler)
    if not path.is_file():
        return scheduler
    try:
        return json.loads(path.read_text(encoding="utf-8"))["address"]
    except (OSError, ValueError, KeyError) as error:
        raise SchedulerError(f"{path}: expected a Dask scheduler file, got {error!r}") from error
