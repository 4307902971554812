"""Forward and backward pass of batch normalization, ours against torch's.

Time is CPU time of one thread, the minimum of interleaved rounds: a slow moment of the machine hits
all kernels, and no kernel is warmer than another. The allocator keeps what is freed: whether a pass
of 25 MB arrays takes none or 6,000 page faults is luck, and changed ratios by half. Memory is how
far one forward and backward pass raises the resident set, results included, in a child process
whose allocator returns every large array to the system (`tracemalloc` sees NumPy only). Linux only.
"""

import ctypes
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from bnlib import reference
from bnlib.layer import batch_norm

SIZES = ((64, 256), (4096, 512), (32, 64, 56, 56), (128, 128, 28, 28))
ROUNDS = 9
EPS = 1e-5
NATIVE = "torch native"
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h
Pass = Callable[[], object]


def composed(
    x: torch.Tensor,
    _mean: None,
    _var: None,
    gamma: torch.Tensor,
    beta: torch.Tensor,
    _training: bool,
) -> torch.Tensor:
    """Batch normalization as tutorials write it, differentiated by autograd."""
    axes, shape = (0, *range(2, x.ndim)), (1, -1) + (1,) * (x.ndim - 2)
    mu = x.mean(axes, keepdim=True)
    var = (x - mu).square().mean(axes, keepdim=True)
    x_hat = (x - mu) / torch.sqrt(var + EPS)
    return gamma.reshape(shape) * x_hat + beta.reshape(shape)


def passes(size: tuple[int, ...]) -> dict[str, Pass]:
    """A forward and backward pass by each kernel, on the same float32 values."""
    rng = np.random.default_rng(0)
    shapes = (size, size, (size[1],), (size[1],))
    x, dy, gamma, beta = (rng.normal(size=s).astype(np.float32) for s in shapes)

    def by_numpy() -> object:
        _, tape = reference.forward(x, gamma, beta, eps=EPS)
        return reference.backward(dy, tape)

    leaves = [torch.from_numpy(a).requires_grad_() for a in (x, gamma, beta)]
    upstream = torch.from_numpy(dy)

    def by_torch(function: Callable[..., torch.Tensor]) -> Pass:
        def run() -> object:
            y = function(leaves[0], None, None, *leaves[1:], True)
            return torch.autograd.grad(y, leaves, upstream)

        return run

    return {
        NATIVE: by_torch(torch.nn.functional.batch_norm),
        "ours, NumPy": by_numpy,
        "ours, eager": by_torch(batch_norm),
        "ours, compiled": by_torch(torch.compile(batch_norm, fullgraph=True, dynamic=False)),
        "composed autograd": by_torch(composed),
    }


def cpu_seconds(size: tuple[int, ...]) -> dict[str, float]:
    """Minimum over rounds, per pass."""
    kernels, repeats = passes(size), max(1, 2_000_000 // int(np.prod(size)))
    best = dict.fromkeys(kernels, float("inf"))
    for run in kernels.values():
        run()
    for _ in range(ROUNDS):
        for name, run in kernels.items():
            start = time.process_time()
            for _ in range(repeats):
                run()
            best[name] = min(best[name], (time.process_time() - start) / repeats)
    return best


def _keep_freed_memory() -> None:
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
        mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)
        mallopt(M_MMAP_MAX, 0)


def peaks(size: tuple[int, ...]) -> dict[str, float]:
    """Megabytes by which one pass raises the resident set; call it in a child process."""
    rises = {}
    for name, run in passes(size).items():
        run()
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
        before = _status("VmRSS")
        run()
        rises[name] = (_status("VmHWM") - before) / 1024
    return rises


def _status(field: str) -> int:
    """A field of /proc/self/status, in kilobytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field + ":"))


def _peaks_of_a_child(size: tuple[int, ...]) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.kernels", json.dumps(size)]
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(1 << 16)}
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def _table(title: str, rows: dict[tuple[int, ...], list[str]], heads: list[str]) -> None:
    print(title)
    print(f"{'':16}" + "".join(f"{head:>19}" for head in heads))
    for size, cells in rows.items():
        print(f"{' x '.join(map(str, size)):16}" + "".join(f"{cell:>19}" for cell in cells))


def main() -> None:
    """Print two tables: CPU time and memory."""
    torch.set_num_threads(1)
    _keep_freed_memory()
    with threadpool_limits(1):
        seconds = {size: cpu_seconds(size) for size in SIZES}
    heads = list(seconds[SIZES[0]])
    rows = {
        size: [f"{1e3 * t[NATIVE]:.3g} ms", *(f"{t[k] / t[NATIVE]:.2f}" for k in heads[1:])]
        for size, t in seconds.items()
    }
    title = (
        f"Batch normalization forward + backward, float32, one thread, best of {ROUNDS}: CPU time"
    )
    _table(f"{title} as a multiple of torch's own kernel", rows, heads)
    if not Path("/proc/self/clear_refs").exists():
        print("Memory: needs Linux")
        return
    memory = {size: _peaks_of_a_child(size) for size in SIZES}
    rows = {size: [f"{p[k]:.1f} MB" for k in heads] for size, p in memory.items()}
    _table("Rise of the resident set in one pass", rows, heads)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        torch.set_num_threads(1)
        print(json.dumps(peaks(tuple(json.loads(sys.argv[1])))))
    else:
        main()
