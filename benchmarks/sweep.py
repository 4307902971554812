"""How long many short runs take: `bnlib sweep` against a shell loop of `papermill`.

Two notebooks. The cells of the first take papermill about one second: import torch, draw, record.
The second computes for one second of CPU time besides. All sides execute them with the same seeds,
on the same two cores, with one thread for linear algebra: `for` in a shell, which mostly uses one
of them; `seq ... | xargs -P 2`, the loop of who thought of that; and ours, which starts from
nothing, so that the local cluster, its two workers and the table are in its time. A loop goes on
where a run of papermill fails, as one in three hundred did here while two kernels started at the
same time; their number is printed, and what they said. BENCH_RUNS sets another number of runs.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbformat import v4

from bnlib.results import RECORD_MIME
from bookbuild.processes import ENVIRONMENT

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
_NUMBERS = f"seq 0 {RUNS - 1}"
NOTEBOOKS = {"one second with its imports": 0, "one second besides its imports": 1}


def main() -> None:
    """Print the table."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[:CORES])
    try:
        print(f"{RUNS} runs on two cores: seconds of wall clock (a run), and over the sweep's")
        print(f"{'':34}{'for':>22}{'xargs -P 2':>22}{'sweep':>16}", flush=True)
        for name, seconds in NOTEBOOKS.items():
            with tempfile.TemporaryDirectory() as folder:
                _row(name, *_measured(Path(folder), seconds))
    finally:
        os.sched_setaffinity(0, cores)


def _measured(folder: Path, seconds: int) -> tuple[float, float, float]:
    """Wall clock of both loops and of the sweep."""
    cells = [v4.new_code_cell(PARAMETERS), v4.new_code_cell(WORK.format(seconds=seconds))]
    cells[0].metadata["tags"] = ["parameters"]
    spec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    book = v4.new_notebook(cells=cells, metadata={"kernelspec": spec})
    (folder / "notebooks").mkdir()
    nbformat.write(book, folder / "notebooks" / "short.ipynb")
    return (
        _seconds(folder, _one_by_one(), "for/*.ipynb"),
        _seconds(folder, _two_at_a_time(), "xargs/*.ipynb"),
        _seconds(folder, _sweep(), "_build/executed/short/*.ipynb"),
    )


def _one_by_one() -> list[str]:
    return ["sh", "-c", f"mkdir for; for k in $({_NUMBERS}); do {_call('for', '$k')}; done"]


def _two_at_a_time() -> list[str]:
    one = _call("xargs", "{}")
    return ["sh", "-c", f"mkdir xargs; {_NUMBERS} | xargs -P {CORES} -I {{}} {one}"]


def _call(folder: str, seed: str) -> str:
    papermill = Path(sys.executable).with_name("papermill")
    files = f"notebooks/short.ipynb {folder}/{seed}.ipynb"
    return f"{papermill} --no-progress-bar {files} -p seed {seed}"


def _sweep() -> list[str]:
    words = ["sweep", "short", "--grid", f"seed=0:{RUNS}", "--workers", str(CORES)]
    return [sys.executable, "-m", "bnlib", *words]


def _seconds(folder: Path, command: list[str], results: str) -> float:
    """Wall clock of a command that leaves `RUNS` results; of a loop some may be missing."""
    start = time.perf_counter()
    done = subprocess.run(
        command, cwd=folder, env=os.environ | ENVIRONMENT, capture_output=True, text=True
    )
    seconds = time.perf_counter() - start
    found = [path.read_text(encoding="utf-8") for path in folder.glob(results)]
    whole = sum(RECORD_MIME in text for text in found)
    if whole < RUNS:
        lines = [line for line in done.stderr.splitlines() if "Error" in line]
        print(f"{results}: {RUNS - whole} of {RUNS} runs failed: {lines[-9:]}", file=sys.stderr)
    if whole < 0.9 * RUNS or (whole < RUNS and command[0] != "sh"):
        raise RuntimeError(f"want {RUNS} results, got {whole}:\n{done.stderr[-3000:]}")
    return seconds


def _row(name: str, *seconds: float) -> None:
    texts = [f"{s:.1f} ({s / RUNS:.2f})" for s in seconds]
    ratios = [f"{s / seconds[-1]:5.1f}x" for s in seconds[:-1]]
    cells = [f"{t}{r}" for t, r in zip(texts, [*ratios, ""], strict=True)]
    print(f"{name:34}{cells[0]:>22}{cells[1]:>22}{cells[2]:>16}", flush=True)


if __name__ == "__main__":
    main()
