"""How long many short runs take: `bnlib sweep` against a shell loop of `papermill`.

A run is a chapter's `run` that computes for one second of CPU time and imports what chapters do.
All sides use the same seeds, the same two cores and one thread for linear algebra: `for` in a
shell, which mostly uses one of them; `seq ... | xargs -P 2`, the loop of who thought of that; and
ours, which calls the function, and starts from nothing, so that the local cluster, its two workers
and the table are in its time. A loop does not get faster with its length, so it has `LOOPED` runs
only; ours has `RUNS`. Shown is the median of interleaved rounds. A loop goes on where a run of
papermill fails, as one in three hundred did here while two kernels started at the same time.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbformat import v4

import bnlib
from bnlib.results import RECORD_MIME
from bookbuild.worker import ENVIRONMENT

RUNS = int(os.environ.get("BENCH_RUNS", "100"))
LOOPED = min(RUNS, 10)
ROUNDS = 3
CORES = 2
PARAMETERS = "seed: int = 0  # of the one random number [0, 99999]"
CHAPTER = """\
from __future__ import annotations
import time
from dataclasses import dataclass
import numpy, pandas, torch
from matplotlib import pyplot
from scipy import optimize, stats
from bnlib import parameters
from bnlib.results import Record, Section

@dataclass(frozen=True)
class Settings(parameters.Settings):
    seed: int = parameters.parameter(0, 0, 99999)

def run(given):
    end = time.process_time() + 1
    while time.process_time() < end:
        torch.linalg.qr(torch.ones(64, 64))
    draw = torch.randn(1, generator=torch.Generator().manual_seed(given.seed)).item()
    return {"all": Section(records=(Record("draw", draw),))}
"""
PAGE = """\
from bnlib.chapters import short as chapter
for section in chapter.run(chapter.Settings.read(globals())).values():
    section.publish()
"""


def main() -> None:
    """Print the table."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[:CORES])
    try:
        rounds = [_round() for _ in range(ROUNDS)]
    finally:
        os.sched_setaffinity(0, cores)
    print(f"Runs of one second on two cores, median of {ROUNDS} rounds")
    print(f"{'':30}{'runs':>6}{'seconds a run':>16}{'over the sweep':>16}")
    medians = {name: statistics.median(r[name][1] for r in rounds) for name in rounds[0]}
    for name, seconds in medians.items():
        ratio = f"{seconds / medians['bnlib sweep']:.1f}x"
        print(f"{name:30}{rounds[0][name][0]:>6}{seconds:>16.2f}{ratio:>16}", flush=True)


def _round() -> dict[str, tuple[int, float]]:
    """Of each side its runs and the wall clock seconds that one takes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write(folder)
        sides = {
            "for ...; do papermill": (LOOPED, _one_by_one(), "for/*.ipynb"),
            f"xargs -P {CORES} papermill": (2 * LOOPED, _at_a_time(), "xargs/*.ipynb"),
            "bnlib sweep": (RUNS, _sweep(), "_build/executed/short/*.json"),
        }
        return {
            side: (runs, _seconds(folder, command, results, runs) / runs)
            for side, (runs, command, results) in sides.items()
        }


def _write(folder: Path) -> None:
    """A book of one chapter, whose library is as much of ours as it takes."""
    package = folder / "bnlib"
    for name in ("__init__", "__main__", "results", "parameters"):
        (package / "chapters" / "short").mkdir(parents=True, exist_ok=True)
        shutil.copy(Path(bnlib.__path__[0], f"{name}.py"), package)
    (package / "chapters" / "__init__.py").touch()
    (package / "chapters" / "short" / "__init__.py").write_text(CHAPTER)
    cells = [v4.new_code_cell(PARAMETERS), v4.new_code_cell(PAGE)]
    cells[0].metadata["tags"] = ["parameters"]
    spec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    book = v4.new_notebook(cells=cells, metadata={"kernelspec": spec})
    (folder / "notebooks").mkdir()
    nbformat.write(book, folder / "notebooks" / "short.ipynb")


def _one_by_one() -> list[str]:
    loop = f"for k in $(seq {LOOPED}); do {_call('for', '$k')}; done"
    return ["sh", "-c", f"mkdir for; {loop}"]


def _at_a_time() -> list[str]:
    loop = f"seq {2 * LOOPED} | xargs -P {CORES} -I {{}} {_call('xargs', '{}')}"
    return ["sh", "-c", f"mkdir xargs; {loop}"]


def _call(folder: str, seed: str) -> str:
    papermill = Path(sys.executable).with_name("papermill")
    files = f"notebooks/short.ipynb {folder}/{seed}.ipynb"
    return f"{papermill} --no-progress-bar {files} -p seed {seed}"


def _sweep() -> list[str]:
    words = ["sweep", "short", "--grid", f"seed=0:{RUNS}", "--workers", str(CORES)]
    return [sys.executable, "-m", "bnlib", *words]


def _seconds(folder: Path, command: list[str], results: str, runs: int) -> float:
    """Wall clock of a command that leaves so many results; of a loop some may be missing."""
    paths = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | ENVIRONMENT | {"PYTHONPATH": os.pathsep.join(paths)}
    start = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    texts = [path.read_text(encoding="utf-8") for path in folder.glob(results)]
    whole = sum(RECORD_MIME in text or '"draw"' in text for text in texts)
    if whole < 0.9 * runs or (whole < runs and command[0] != "sh"):
        raise RuntimeError(f"expected {runs} results, got {whole}:\n{done.stderr[-3000:]}")
    return seconds


if __name__ == "__main__":
    main()
