"""A book of one chapter with as much of our library as it takes, and the command on it."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from pyarrow import parquet

import bnlib

PARAMETERS = "n: int = 2  # a number [0, 99]\nwait: float = 0.0  # seconds [0, 99]"
# Each run leaves a line, so that a test can count them.
CHAPTER = """\
from __future__ import annotations
import os, time
from dataclasses import dataclass
from bnlib import parameters
from bnlib.results import Claim, Record, Section

@dataclass(frozen=True)
class Settings(parameters.Settings):
    n: int = parameters.parameter(2, 0, 99)
    wait: float = parameters.parameter(0.0, 0, 99)

def run(given):
    assert "LEAK" not in os.environ
    with open("ran", "a") as file:
        file.write(f"{given.n}\\n")
    time.sleep(given.wait)
    if given.n == 13:
        raise ValueError("no thirteens")
    if given.n == 66:
        os._exit(6)
    square = Record("square", given.n**2, low=given.n**2 - 1, high=given.n**2 + 1)
    large = Claim("large", "holds" if given.n > 3 else "fails", "A number.")
    return {"all": Section(records=(square,), claims=(large,))}
"""
PAGE = """\
from bnlib.chapters import toy as chapter
for section in chapter.run(chapter.Settings.read(globals())).values():
    section.publish()
"""


class Book:
    """A folder with a chapter and its page; commands run in it."""

    def __init__(self, root: Path) -> None:
        self.root, self.chapter = root, root / "bnlib" / "chapters" / "toy" / "__init__.py"
        self.chapter.parent.mkdir(parents=True)
        for name in ("__init__", "__main__", "results", "parameters"):
            shutil.copy(Path(bnlib.__path__[0], f"{name}.py"), root / "bnlib")
        (root / "bnlib" / "chapters" / "__init__.py").touch()
        self.chapter.write_text(CHAPTER)

    @property
    def environment(self) -> dict[str, str]:
        """With the library of this book before ours."""
        paths = [str(self.root), *filter(None, [os.environ.get("PYTHONPATH")])]
        return os.environ | {"PYTHONPATH": os.pathsep.join(paths)}

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start `bnlib ...`, in a session of its own as a terminal would."""
        return subprocess.Popen(
            [sys.executable, "-m", "bnlib", *words],
            cwd=self.root,
            env=self.environment | {"LEAK": "the user's set-up"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *words: str, status: int = 0) -> str:
        """Run it to its end; what it printed."""
        process = self.start(*words)
        output, _ = process.communicate(timeout=180)
        assert process.returncode == status, output
        return output

    def ran(self) -> list[int]:
        """The n of every run that began, in order."""
        path = self.root / "notebooks" / "ran"
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    def stored(self, kind: str = ".json") -> dict[int, Path]:
        """The files of the store by their n."""
        paths = (self.root / "_build/executed/toy").glob(f"*{kind}")
        stamps = {p: json.loads(p.read_text())["metadata"]["bnlib"]["parameters"] for p in paths}
        return {given.get("n", 2): path for path, given in stamps.items()}

    def table(self, folder: str) -> list[dict]:
        """The rows of the recorded values, and of failures, without how long a run took."""
        table = parquet.read_table(self.root / folder / "table.parquet")
        rows = table.drop_columns(["duration"]).to_pylist()
        return [row for row in rows if row["kind"] != "claim"]


@pytest.fixture
def book(tmp_path, write_notebook) -> Book:
    """A book whose chapter toy records the square of n."""
    made = Book(tmp_path / "book")
    write_notebook(made.root / "notebooks/toy.ipynb", ("parameters", PARAMETERS), PAGE)
    return made


class Cluster:
    """`dask scheduler` and `dask worker` as commands of their own, on one port of loopback."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder, self.environment, self.processes = folder, environment, []
        self.file = folder / "scheduler.json"
        folder.mkdir()

    def scheduler(self) -> subprocess.Popen[bytes]:
        """Start a scheduler, and wait until it has written its file."""
        process = self._start(
            "scheduler", "--host=127.0.0.1", "--port=0", "--no-dashboard", "--no-show",
            f"--scheduler-file={self.file}",
        )  # fmt: skip
        wait_until(lambda: self.file.exists() and '"address"' in self.file.read_text())
        return process

    def worker(self) -> subprocess.Popen[bytes]:
        """Start a worker of one thread, whose working folder knows nothing of the book."""
        return self._start(
            "worker", f"--scheduler-file={self.file}", "--nthreads=1", "--no-nanny",
            "--no-dashboard", f"--local-directory={self.folder}",
        )  # fmt: skip

    def _start(self, *words: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{words[0]}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "dask", *words],
                cwd=self.folder, env=self.environment, stdout=log, stderr=log,
            )  # fmt: skip
        self.processes.append(process)
        return process


@pytest.fixture
def cluster(tmp_path, book) -> Iterator[Cluster]:
    """A cluster without processes yet."""
    made = Cluster(tmp_path / "cluster", book.environment)
    yield made
    for process in made.processes:
        process.kill()
        process.wait()


def wait_until(condition: Callable[[], object], seconds: float = 60) -> None:
    """Poll until it holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


@pytest.fixture
def wait_for() -> Callable[..., None]:
    """A function (condition) that polls until the condition holds."""
    return wait_until


@pytest.fixture
def family() -> Callable[..., list[psutil.Process]]:
    """A function (process) to all processes that a command has started."""
    return lambda process: psutil.Process(process.pid).children(recursive=True)
