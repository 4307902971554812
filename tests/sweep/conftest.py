"""Small books to sweep over, and the command as a person starts it."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

NUMBER = ("parameters", "n: int = 2  # a number [0, 99]\nwait: float = 0.0  # seconds [0, 99]")
# Each execution leaves a line, so that a test can count them.
SQUARE = """\
import os, time
from bnlib.results import record
with open("ran", "a") as file:
    file.write(f"{n}\\n")
time.sleep(wait)
record("square", n**2, low=n**2 - 1, high=n**2 + 1)
"""


def _wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Poll until it holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


def _workers(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The Dask workers that a command has started on this machine."""
    try:
        children = psutil.Process(process.pid).children()
        return [child for child in children if "distributed.cli.dask_worker" in child.cmdline()]
    except psutil.Error:
        return []


class Book:
    """A folder with one notebook; commands run in it."""

    def __init__(self, root: Path, environment: dict[str, str]) -> None:
        self.root, self.environment = root, environment

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start `bnlib sweep toy ...`, in a session of its own as a terminal would."""
        return subprocess.Popen(
            [sys.executable, "-m", "bnlib", "sweep", "toy", *words],
            cwd=self.root,
            env=os.environ | self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def sweep(self, *words: str, status: int = 0) -> str:
        """Run it to its end; what it printed."""
        process = self.start(*words)
        output, _ = process.communicate(timeout=120)
        assert process.returncode == status, output
        return output

    def ran(self) -> list[int]:
        """The n of every execution that began, in order."""
        path = self.root / "notebooks" / "ran"
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    def stored(self) -> set[str]:
        """The files of the store."""
        return {path.name for path in (self.root / "_build/executed/toy").glob("*.ipynb")}

    def table(self, folder: str) -> list[dict]:
        """The rows of a table, without how long a run took."""
        from pyarrow import parquet

        table = parquet.read_table(self.root / folder / "table.parquet")
        return table.drop_columns(["duration"]).to_pylist()


@pytest.fixture
def book(tmp_path, write_notebook) -> Callable[..., Book]:
    """A function (further cells) to a book whose notebook toy records the square of n."""

    def make(*cells: str, name: str = "book") -> Book:
        root = tmp_path / name
        write_notebook(root / "notebooks" / "toy.ipynb", NUMBER, SQUARE, *cells)
        return Book(root, {})

    return make


class Cluster:
    """`dask scheduler` and `dask worker` as commands of their own, on one port of loopback."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port, self.processes = folder, 0, []
        self.file = folder / "scheduler.json"
        folder.mkdir()

    @property
    def address(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    def scheduler(self) -> subprocess.Popen[bytes]:
        """Start a scheduler, the second time at the address of the first."""
        file = self.file
        file.unlink(missing_ok=True)
        process = self._start(
            "scheduler", f"--host=127.0.0.1:{self.port}", "--no-dashboard", "--no-show",
            f"--scheduler-file={file}",
        )  # fmt: skip
        _wait_for(lambda: file.exists() and '"address"' in file.read_text())
        text = file.read_text().partition("tcp://127.0.0.1:")[2]
        self.port = int(text.partition('"')[0])
        return process

    def worker(self) -> subprocess.Popen[bytes]:
        """Start a worker of one thread, whose working folder knows nothing of the book."""
        return self._start(
            "worker", self.address, "--nthreads=1", "--no-nanny", "--no-dashboard",
            f"--local-directory={self.folder}",
        )  # fmt: skip

    def _start(self, *words: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{words[0]}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "dask", *words], cwd=self.folder, stdout=log, stderr=log
            )
        self.processes.append(process)
        return process

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


@pytest.fixture
def cluster(tmp_path) -> Iterator[Cluster]:
    """A cluster without processes yet."""
    made = Cluster(tmp_path / "cluster")
    yield made
    made.close()


@pytest.fixture
def wait_for() -> Callable[..., None]:
    """A function (condition) that polls until the condition holds."""
    return _wait_for


@pytest.fixture
def workers() -> Callable[..., list[psutil.Process]]:
    """A function (process) to the Dask workers that a command has started on this machine."""
    return _workers
