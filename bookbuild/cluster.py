"""The Dask workers of a sweep: processes on this machine, or whatever a running scheduler has."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bookbuild.worker import ENVIRONMENT

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
    from dask import config
    from distributed import Client, LocalCluster

    if scheduler is None:
        options = {
            "distributed.nanny.pre-spawn-environ": ENVIRONMENT,
            # A worker has one run at a time: one that kills it takes no other along.
            "distributed.scheduler.worker-saturation": 1.0,
        }
        with (
            config.set(options),
            LocalCluster(
                n_workers=workers, threads_per_worker=1, memory_limit=0, host=HOST,
                dashboard_address=f"{HOST}:0", silence_logs=logging.CRITICAL,
                preload="bookbuild.remote",
            ) as here,
            Client(here) as client,
        ):  # fmt: skip
            yield client
        return
    where: Any = {"scheduler_file" if Path(scheduler).is_file() else "address": scheduler}
    try:
        client = Client(**where, timeout=patience)
    except Exception as error:  # Dask has many kinds for a wrong address or file
        raise SchedulerError(f"no Dask scheduler answers at {scheduler}: {error}") from error
    with client:
        yield client
