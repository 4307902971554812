"""How long many short runs take: `bnlib sweep` against a shell loop of `papermill`.

Two notebooks. The cells of the first take papermill about one second: import torch, draw, record.
The second computes for one second of CPU time besides. Both sides execute them with the same
seeds, on the same two cores, two runs at a time, with one thread for linear algebra. The loop is
`seq ... | xargs -P 2 papermill`: a plain `for` would keep one core idle. Ours starts from nothing:
the local cluster, its two workers and the table are in its time. BENCH_RUNS sets another number
of runs.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbformat import v4

from bnlib.publish.processes import ENVIRONMENT

RUNS = int(os.environ.get("BENCH_RUNS", "100"))
CORES = 2
PARAMETERS = "seed: int = 0  # of the one random number [0, 99999]"
WORK = """\
import time
import torch
from bnlib.results import record
end = time.process_time() + {seconds}
while time.process_time() < end:
    torch.linalg.qr(torch.ones(64, 64))
record("draw", torch.randn(1, generator=torch.Generator().manual_seed(seed)).item())
"""
NOTEBOOKS = {"one second with its imports": 0, "one second besides its imports": 1}


def main() -> None:
    """Print the table."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[:CORES])
    try:
        print(f"{RUNS} runs, two at a time on two cores: seconds of wall clock (a run)")
        print(f"{'':34}{'papermill':>16}{'sweep':>16}{'papermill/sweep':>18}", flush=True)
        for name, seconds in NOTEBOOKS.items():
            with tempfile.TemporaryDirectory() as folder:
                _row(name, *_measured(Path(folder), seconds))
    finally:
        os.sched_setaffinity(0, cores)


def _measured(folder: Path, seconds: int) -> tuple[float, float]:
    """Wall clock of the loop and of the sweep."""
    cells = [v4.new_code_cell(PARAMETERS), v4.new_code_cell(WORK.format(seconds=seconds))]
    cells[0].metadata["tags"] = ["parameters"]
    spec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    book = v4.new_notebook(cells=cells, metadata={"kernelspec": spec})
    (folder / "notebooks").mkdir()
    nbformat.write(book, folder / "notebooks" / "short.ipynb")
    return (
        _seconds(folder, _loop(), "loop/*.ipynb"),
        _seconds(folder, _sweep(), "_build/executed/short/*.ipynb"),
    )


def _loop() -> list[str]:
    papermill = Path(sys.executable).with_name("papermill")
    one = f"{papermill} --no-progress-bar notebooks/short.ipynb loop/{{}}.ipynb -p seed {{}}"
    numbers = f"seq 0 {RUNS - 1}"
    return ["sh", "-c", f"mkdir loop && {numbers} | xargs -P {CORES} -I {{}} {one}"]


def _sweep() -> list[str]:
    words = ["sweep", "short", "--grid", f"seed=0:{RUNS}", "--workers", str(CORES)]
    return [sys.executable, "-m", "bnlib", *words]


def _seconds(folder: Path, command: list[str], results: str) -> float:
    """Wall clock of a command that leaves `RUNS` results."""
    start = time.perf_counter()
    done = subprocess.run(
        command, cwd=folder, env=os.environ | ENVIRONMENT, capture_output=True, text=True
    )
    seconds, got = time.perf_counter() - start, len(list(folder.glob(results)))
    if done.returncode or got != RUNS:
        raise RuntimeError(f"want {RUNS} results, got {got}:\n{done.stderr[-3000:]}")
    return seconds


def _row(name: str, loop: float, sweep: float) -> None:
    texts = [f"{seconds:.1f} ({seconds / RUNS:.2f})" for seconds in (loop, sweep)]
    print(f"{name:34}{texts[0]:>16}{texts[1]:>16}{loop / sweep:>17.1f}x", flush=True)


if __name__ == "__main__":
    main()
