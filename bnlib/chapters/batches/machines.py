"""One batch on two processes: what each of them computes, and how far it is from one process."""

from __future__ import annotations

from typing import Any

import pandas as pd
import torch
from torch import Tensor
from torch import distributed as dist
from torch.nn import functional

from bnlib import layer
from bnlib.distributed import run, summed, sync_batch_norm
from bnlib.running import Pooled, merge
from bnlib.statistics import relative_gap

ROWS, CHANNELS, EPS = 16, 8, 1e-5
PARTS = "output", "dx", "dgamma", "dbeta", "running mean", "running variance"
TRAINED, STEP = 60, 0.1


def batch(dtype: torch.dtype) -> list[Tensor]:
    """x, dy (16, 8) and gamma, beta (8,): one big batch, the same wherever it is drawn."""
    generator = torch.Generator().manual_seed(5)
    shapes = (ROWS, CHANNELS), (ROWS, CHANNELS), (CHANNELS,), (CHANNELS,)
    x, *rest = (torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes)
    return [t.to(dtype) for t in (2 * x + 3, *rest)]


def one_pass(norm: Any, dtype: torch.dtype, mine: slice = slice(None)) -> list[Tensor]:
    """The `PARTS` of these rows; dgamma and dbeta are theirs alone."""
    x, dy, gamma, beta = batch(dtype)
    rows, weight, bias = (v.clone().requires_grad_() for v in (x[mine], gamma, beta))
    mean, var = torch.zeros_like(gamma), torch.ones_like(gamma)
    y = norm(rows, mean, var, weight, bias, True, 0.1, EPS)
    grads = torch.autograd.grad((y * dy[mine]).sum(), (rows, weight, bias))
    return [v.detach() for v in (y, *grads, mean, var)]


def train(norm: Any, mine: slice = slice(None), total: Any = lambda gradient: gradient) -> list:
    """Weights after 60 steps of a network with one BN layer; the loss is a sum over rows / 16."""
    x, dy, gamma, beta = batch(torch.float64)
    generator = torch.Generator().manual_seed(6)
    first = torch.randn(CHANNELS, CHANNELS, generator=generator, dtype=torch.float64)
    params = [v.clone().requires_grad_() for v in (first, gamma, beta)]
    for _ in range(TRAINED):
        hidden = norm(x[mine] @ params[0], None, None, params[1], params[2], True, 0.1, EPS)
        loss = (functional.relu(hidden) - dy[mine]).square().sum() / ROWS
        grads = torch.autograd.grad(loss, params)
        with torch.no_grad():
            for param, gradient in zip(params, grads, strict=True):
                param -= STEP * total(gradient)
    return [param.detach() for param in params]


def on_each(splits: list[int]) -> dict[str, Any]:
    """What this rank computes: `splits` rows of the batch belong to rank 0, the rest to rank 1."""
    passes, rank = {}, dist.get_rank()
    for split in splits:
        mine = slice(split) if rank == 0 else slice(split, None)
        for dtype in (torch.float64, torch.float32):
            y, dx, dgamma, dbeta, *running = one_pass(sync_batch_norm, dtype, mine)
            passes[split, dtype] = [y, dx, summed(dgamma), summed(dbeta), *running]
    half = slice(ROWS // 2) if rank == 0 else slice(ROWS // 2, None)
    return {
        "passes": passes,
        "trained": train(sync_batch_norm, half, summed),
        "apart": one_pass(layer.batch_norm, torch.float64, half),
    }


def two_processes(splits: list[int]) -> dict[str, Any]:
    """Relative differences to one process: a table by split and precision, and single numbers."""
    ranks = run(on_each, 2, splits)
    lines, equal = [], True
    for key in ranks[0]["passes"]:
        first, second = (rank["passes"][key] for rank in ranks)
        joined = [torch.cat(pair) for pair in zip(first[:2], second[:2], strict=True)]
        equal &= all(torch.equal(a, b) for a, b in zip(first[2:], second[2:], strict=True))
        want = one_pass(layer.batch_norm, key[1])
        gaps = map(relative_gap, [*joined, *first[2:]], want)
        line = {"rows": f"{key[0]} + {ROWS - key[0]}", "precision": str(key[1])[6:]}
        lines.append(line | dict(zip(PARTS, gaps, strict=True)))
    apart = torch.cat([rank["apart"][0] for rank in ranks])
    trained = zip(ranks[0]["trained"], train(layer.batch_norm), strict=True)
    return {
        "table": pd.DataFrame(lines),
        "equal": equal,
        "trained": max(relative_gap(a, b) for a, b in trained),
        "apart": relative_gap(apart, one_pass(layer.batch_norm, torch.float64)[0]),
    }


def naive_sums() -> pd.DataFrame:
    """Relative error of the variance in float32 from (count, sum x, sum x^2), and from merging."""
    lines = []
    for ratio in (10.0, 1e3, 1e4):
        generator = torch.Generator().manual_seed(8)
        x = (torch.randn(4096, generator=generator, dtype=torch.float64) + ratio).float()
        expected = x.double().var(correction=0)
        parts: Any = [(len(p), p.mean(), (p - p.mean()).square().sum()) for p in x.split(2048)]
        merged = merge(*(Pooled(*part) for part in parts)).m2 / len(x)
        line = {"mu / sigma": ratio, "u (mu / sigma)^2": 2.0**-24 * ratio**2}
        for name, got in (("sums", x.square().mean() - x.mean() ** 2), ("merged", merged)):
            line[name] = float(abs(got - expected) / expected)
        lines.append(line)
    return pd.DataFrame(lines)
