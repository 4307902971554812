"""What the processes of the tests of `bnlib.distributed` run."""

import os
import signal
import time

import torch
from torch import distributed as dist

from bnlib.distributed import statistics, summed, sync_batch_norm


def one_pass(x, dy, gamma, beta, splits, new_weight=0.1):
    """y, dx, dgamma, dbeta and running statistics on this rank's rows of one big batch."""
    rank = dist.get_rank()
    mine = slice(sum(splits[:rank]), sum(splits[: rank + 1]))
    rows = x[mine].clone().requires_grad_()
    weight, bias = (v.clone().requires_grad_() for v in (gamma, beta))
    mean, var = torch.zeros_like(gamma), torch.ones_like(gamma)
    y = sync_batch_norm(rows, mean, var, weight, bias, True, new_weight, 1e-5)
    (y * dy[mine]).sum().backward()
    grads = summed(weight.grad), summed(bias.grad)
    return [v.detach() for v in (y, rows.grad, *grads, mean, var)]


def passes(x, dy, gamma, beta, several):
    return [one_pass(x, dy, gamma, beta, splits) for splits in several]


def pooled(parts):
    return tuple(statistics(parts[dist.get_rank()]))


def killed(rank):
    """One rank is killed between two exchanges; the other has to notice."""
    statistics(torch.ones(2, 1))
    if dist.get_rank() == rank:
        os.kill(os.getpid(), signal.SIGKILL)
    statistics(torch.ones(2, 1))


def absent(seconds):
    """Rank 1 lives, but skips the exchange."""
    if dist.get_rank() == 1:
        time.sleep(seconds)
    else:
        statistics(torch.ones(2, 1))


def too_few():
    sync_batch_norm(torch.ones(1 - dist.get_rank(), 1), None, None, training=True)
