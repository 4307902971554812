"""Batch normalization over the rows of several processes: what one big batch would give.

Every rank holds m_r rows, also 1 or 0. Forward they gather (m_r, mean_r, M2_r), 2c + 1 numbers, and
merge them [BN.6]; backward they add up sum dy and sum dy x_hat, 2c numbers, over all rows. Numbers
are merged in the order of the ranks, on every rank alike, so that all get the same bits. Every rank
has to enter every exchange, without rows too; one that does not ends the others with an error.
"""

import os
import pickle
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch import distributed as dist
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from bnlib.rows import per_channel, reduced_axes
from bnlib.running import Pooled, merge, pooled

STEP = 0.05  # seconds between two looks at the processes
LINGER = 1.0  # seconds that a failed rank stays: whoever hangs up early breaks its peers' reading
GRACE = 60.0  # seconds that an interpreter may take to start, over the time limit


def statistics(x: Tensor, group: Any = None) -> Pooled:
    """Count, mean and M2 over the rows of all ranks, the same bits on each  [BN.6].

    x: (m_r, c) or (n, c, ...), any m_r >= 0.  Raises RuntimeError as `gathered` does.
    """
    c, mine = x.shape[1], pooled(x.detach().numpy())
    parts = gathered(torch.from_numpy(np.concatenate([[mine.count], mine.mean, mine.m2])), group)
    ranks = (part.numpy() for part in parts)
    return reduce(merge, (Pooled(int(n[0]), n[1 : c + 1], n[c + 1 :]) for n in ranks))


def gathered(vector: Tensor, group: Any = None) -> list[Tensor]:
    """The vectors of all ranks, in the order of the ranks.

    Raises RuntimeError without a process group, where nothing would be synchronized, and when a
    peer is gone or does not come within the group's time limit.
    """
    if not dist.is_initialized():
        raise RuntimeError(
            "expected an initialized process group, got none; call "
            "torch.distributed.init_process_group, or use bnlib.layer.batch_norm in one process"
        )
    ranks = dist.get_world_size(group)
    parts = [torch.empty_like(vector) for _ in range(ranks)]
    try:
        dist.all_gather(parts, vector.contiguous(), group=group)
    except RuntimeError as error:
        reason = str(error).partition(". This is")[0].partition("] ")[2] or error
        raise RuntimeError(
            f"rank {dist.get_rank(group)}: expected numbers from all {ranks} ranks, got none from "
            f"a peer: it ended, or did not come within the time limit ({reason})"
        ) from error
    return parts


def summed(vector: Tensor, group: Any = None) -> Tensor:
    """The sum over all ranks, the same bits on each: sums of `backward`, gradients of a step."""
    parts = gathered(vector, group)
    total = torch.zeros_like(vector)
    for part in parts:
        total = total + part
    return total


def sync_batch_norm(
    input: Tensor,  # noqa: A002  the name in torch.nn.functional.batch_norm
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    group: Any = None,
) -> Tensor:
    """`bnlib.layer.batch_norm` with the statistics of the rows of all ranks.

        forward   (M, mu, var) of all rows: gather (m_r, mean_r, M2_r), merge      [BN.1], [BN.6]
        backward  dx = gamma rstd (dy - S1 / M - x_hat S2 / M),  S1 = sum dy, S2 = sum dy x_hat
                  over the rows of all ranks                                              [BN.2]

    input: (m_r, c) or (n, c, ...) of this rank, any m_r >= 0; float32 or float64.  The running
    tensors change in place, to the same bits on every rank.  Raises ValueError, on all ranks alike,
    for fewer than 2 rows in all, and for eps < 0; TypeError for another dtype.
    Consequences: the gradients of weight and bias are this rank's own parts, for the optimizer's
    reduction to add; the loss has to be a sum over rows divided by M, not a mean a rank.
    """
    if not eps >= 0:
        raise ValueError(f"expected eps >= 0, got {eps}: the root of var + eps must exist")
    if input.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"input: expected float32 or float64, got {input.dtype}")
    if not training:
        return torch.nn.functional.batch_norm(
            input, running_mean, running_var, weight, bias, False, momentum, eps
        )
    total = statistics(input, group)
    if total.count < 2:
        raise ValueError(f"expected 2 rows or more over all ranks, got {total.count}")
    mean, m2 = torch.from_numpy(total.mean), torch.from_numpy(total.m2)
    gamma = input.new_ones(input.shape[1]) if weight is None else weight
    beta = input.new_zeros(input.shape[1]) if bias is None else bias
    if running_mean is not None and running_var is not None:
        _track(running_mean, mean, momentum)
        _track(running_var, m2 / (total.count - 1), momentum)
    rstd = (m2 / total.count + eps).rsqrt()
    rstd = torch.where(torch.isinf(rstd), 0.0, rstd)  # a constant channel gives beta
    return _Normalize.apply(input, gamma, beta, mean, rstd, total.count, group)


class _Normalize(Function):
    """y of x, gamma, beta; in float64 inside, rounded once."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        x, gamma, beta, mean, rstd, ctx.count, ctx.group = inputs
        ctx.save_for_backward(x, gamma, mean, rstd)
        x_hat = _standardized(x, mean, rstd)
        y = x_hat * per_channel(gamma.double(), x.ndim) + per_channel(beta.double(), x.ndim)
        return y.to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> Any:  # pyright: ignore
        x, gamma, mean, rstd = ctx.saved_tensors
        dy, x_hat = grad_outputs[0].double(), _standardized(x, mean, rstd)
        axes, ndim = reduced_axes(x.ndim), x.ndim
        own = torch.stack([dy.sum(axes), (dy * x_hat).sum(axes)])
        s1, s2 = summed(own, ctx.group) / ctx.count
        rest = dy - per_channel(s1, ndim) - x_hat * per_channel(s2, ndim)
        dx = per_channel(gamma.double() * rstd, ndim) * rest
        return dx.to(x.dtype), own[1].to(x.dtype), own[0].to(x.dtype), None, None, None, None


def run(function: Callable[..., Any], ranks: int, *arguments: Any, seconds: float = 60.0) -> list:
    """What `function(*arguments)` returns on each of so many new processes, gloo on loopback.

    function: importable by its name; arguments and results can be pickled.  seconds: the time limit
    of every exchange.  Works in a notebook, and where processes may have no children of
    `multiprocessing`.
    Raises RuntimeError with the last words of each rank where one fails, is killed or hangs; no
    process is left behind.
    """
    with tempfile.TemporaryDirectory() as folder:
        call = function.__module__, function.__qualname__, arguments
        Path(folder, "call").write_bytes(pickle.dumps(call))
        paths = os.pathsep.join(path for path in sys.path if path)
        one = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        environment = os.environ | one | {"PYTHONPATH": paths, "GLOO_SOCKET_IFNAME": _loopback()}
        code = "from bnlib.distributed import enter; enter()"
        processes = []
        try:
            for rank in range(ranks):
                command = [sys.executable, "-c", code, folder, str(rank), str(ranks), str(seconds)]
                with Path(folder, f"words-{rank}").open("wb") as words:
                    processes.append(
                        subprocess.Popen(command, env=environment, stdout=words, stderr=words)
                    )
            codes = _wait(processes, seconds)
        finally:
            for process in processes:
                process.kill()
                process.wait()
        if any(codes):
            raise RuntimeError(_last_words(Path(folder), codes, seconds))
        results = (Path(folder, f"result-{rank}").read_bytes() for rank in range(ranks))
        return [pickle.loads(result) for result in results]


def enter() -> None:
    """What a process of `run` does: join the others, call, leave the result in the folder.

    It stays until all have finished: a peer may still be reading what this one has sent.  Then it
    ends at once, without gloo's destructors: they can abort while a peer hangs up.
    """
    folder, rank, ranks, seconds = sys.argv[1:]
    module, name, arguments = pickle.loads(Path(folder, "call").read_bytes())
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/store",
        rank=int(rank),
        world_size=int(ranks),
        timeout=timedelta(seconds=float(seconds)),
    )
    target: Any = __import__(module, fromlist=["_"])
    for part in name.split("."):
        target = getattr(target, part)
    try:
        result = target(*arguments)
    except Exception:
        time.sleep(LINGER)
        raise
    Path(folder, f"result-{rank}").write_bytes(pickle.dumps(result))
    end = time.monotonic() + float(seconds)
    while len(list(Path(folder).glob("result-*"))) < int(ranks) and time.monotonic() < end:
        time.sleep(STEP)
    os._exit(0)


@torch.no_grad()
def _track(running: Tensor, new: Tensor, new_weight: float) -> None:
    running.copy_((1 - new_weight) * running.double() + new_weight * new)


def _standardized(x: Tensor, mean: Tensor, rstd: Tensor) -> Tensor:
    return (x.double() - per_channel(mean, x.ndim)) * per_channel(rstd, x.ndim)


def _loopback() -> str:
    names = [name for _, name in socket.if_nameindex() if name.startswith("lo")]
    if not names:
        raise RuntimeError("expected a loopback interface for processes to talk over, got none")
    return names[0]


def _wait(processes: list[subprocess.Popen], seconds: float) -> list[int | None]:
    """Exit codes, None for a process that did not end.

    Once one has failed, the others have the time limit to notice it.
    """
    end = time.monotonic() + seconds + GRACE
    failed = False
    while any(process.poll() is None for process in processes) and time.monotonic() < end:
        if not failed and any(process.poll() for process in processes):
            failed, end = True, time.monotonic() + seconds
        time.sleep(STEP)
    return [process.poll() for process in processes]


def _last_words(folder: Path, codes: list[int | None], seconds: float) -> str:
    said = []
    for rank, code in enumerate(codes):
        lines = Path(folder, f"words-{rank}").read_text().strip().splitlines()
        if code is None:
            words = f"no end within the time limit of {seconds:g} s"
        elif code < 0:
            words = f"killed by signal {-code}" + (f" ({lines[-1]})" if lines else "")
        elif code > 0:
            words = lines[-1].removeprefix(f"[rank{rank}]: ") if lines else f"exit code {code}"
        else:
            words = "ended well"
        said.append(f"rank {rank}: {words}")
    return f"expected a result of every rank, got {'; '.join(said)}"
