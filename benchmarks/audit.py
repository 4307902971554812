"""The audit of a checkpoint of 100 million parameters: seconds and memory; and folding a network.

Memory is the highest resident set of a child process that runs the command, and of one that only
imports what the command imports. Times depend on the machine. Linux only.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

LAYERS, WIDTH = 44, 512  # 44 convolutions of 512 x 512 x 3 x 3: 104 million parameters
LIMIT_SECONDS, LIMIT_MEMORY = 10.0, 1.5
_CHILD = "import re, sys, time; from pathlib import Path; from bnlib.__main__ import main\n"
_ONLY = "import bnlib.audit.report\n"
_RUN = "try:\n    main(sys.argv[1:], standalone_mode=False)\nexcept SystemExit:\n    pass\n"
# Not ru_maxrss: Linux hands the parent's maximum down to the child.
_TELL = (
    "status = Path('/proc/self/status').read_text()\n"
    "print(time.process_time(), re.search(r'VmHWM:\\s+(\\d+)', status)[1], file=sys.stderr)"
)


def write(path: Path) -> int:
    """A checkpoint with random weights; returns its number of parameters."""
    state = {}
    for k in range(LAYERS):
        state[f"{k}.conv.weight"] = torch.randn(WIDTH, WIDTH, 3, 3)
        for name in ("weight", "bias", "running_mean", "running_var"):
            state[f"{k}.norm.{name}"] = torch.rand(WIDTH) + 0.5
    torch.save(state, path)
    return sum(value.numel() for value in state.values())


def child(code: str, *arguments: str) -> tuple[float, float, float]:
    """Wall seconds, CPU seconds, and highest resident set in MB, of a Python process."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    *_, cpu, memory = done.stderr.split()
    return time.perf_counter() - start, float(cpu), int(memory) / 1024


def fold_times(rounds: int = 7) -> tuple[float, float]:
    """Median CPU seconds for one image, unfolded and folded, EfficientNet-Lite0."""
    from bnlib import data
    from bnlib.networks.efficientnet import EfficientNetLite, shipped_state_dict

    net, image = EfficientNetLite(shipped_state_dict()), data.photo_centers()[:1]
    nets, seconds = (net, net.fold()), ([], [])
    for _ in range(rounds):  # interleaved: a slow moment hits both
        for one, found in zip(nets, seconds, strict=True):
            start = time.process_time()
            one(image)
            found.append(time.process_time() - start)
    return statistics.median(seconds[0]), statistics.median(seconds[1])


def main() -> None:
    """Print both tables."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.pth"
        count = write(path)
        size = path.stat().st_size / 2**20
        *_, base = child(_CHILD + _ONLY + _TELL)
        page = str(Path(folder) / "audit.html")
        seconds, cpu, memory = child(_CHILD + _RUN + _TELL, "audit", str(path), "--html", page)
    print(f"audit of {count / 1e6:.0f} million parameters, {size:.0f} MB, in a fresh process:")
    print(f"  {seconds:.1f} s (want {LIMIT_SECONDS:g}), {cpu:.1f} s of CPU, imports included")
    print(f"  {memory:.0f} MB at most, {memory / size:.2f} of the file (want {LIMIT_MEMORY:g}); ")
    print(f"  imports alone take {base:.0f} MB")
    torch.set_num_threads(1)
    before, after = fold_times()
    print(f"EfficientNet-Lite0, one image: {before * 1e3:.0f} ms, folded {after * 1e3:.0f} ms")


if __name__ == "__main__":
    main()
