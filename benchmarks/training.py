"""Seed-batched training against loops over single seeds: CPU time ratios, one thread.

12 seeds, width 64, batch 64, digits; one hidden layer with batch normalization, and three. The
loops train the same seeds one after another: by our own engine with S = 1, and by torch.nn and
torch.optim. Rounds are interleaved and the least CPU time of each contestant counts.
"""

import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import nn

from bnlib import training
from bnlib.data import digits_split
from bnlib.networks.seed_batched import SeedBatchedMLP
from bnlib.networks.spec import Spec

SEEDS, BATCH, RATE, MOMENTUM = range(12), 64, 0.05, 0.9


def _ours(spec: Spec, seeds: range, x: np.ndarray, y: np.ndarray, steps: int, dtype) -> None:
    net = SeedBatchedMLP(spec, seeds, dtype)
    training.train(net, x, y, steps=steps, batch=BATCH, lr=RATE, momentum=MOMENTUM)


def _modules(spec: Spec) -> nn.Sequential:
    layers: list[nn.Module] = []
    for fan_in, fan_out in zip(spec.sizes[:-2], spec.sizes[1:-1], strict=True):
        layers += [nn.Linear(fan_in, fan_out, bias=False), nn.BatchNorm1d(fan_out), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(*spec.sizes[-2:]))


def _torch(spec: Spec, seed: int, x: np.ndarray, y: np.ndarray, steps: int, dtype) -> None:
    """What one writes without this library: a module, an optimizer, a loop."""
    net = _modules(spec).to(dtype)
    optimizer = torch.optim.SGD(net.parameters(), RATE, MOMENTUM)
    rows, labels = torch.from_numpy(x).to(dtype), torch.from_numpy(y)
    for chosen in training.batch_order([seed], len(x), batch=BATCH, steps=steps)[:, 0]:
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(rows[chosen]), labels[chosen]).backward()
        optimizer.step()


def contestants(spec: Spec, steps: int, dtype: torch.dtype) -> dict[str, Callable[[], object]]:
    """Name -> one run of all seeds for `steps` steps."""
    splits = [digits_split(seed) for seed in SEEDS]
    xs, ys = np.stack([s.x_train for s in splits]), np.stack([s.y_train for s in splits])
    return {
        "at once": lambda: _ours(spec, SEEDS, xs, ys, steps, dtype),
        "loop, S = 1": lambda: [
            _ours(spec, range(s, s + 1), xs[s], ys[s], steps, dtype) for s in SEEDS
        ],
        "loop, torch.nn": lambda: [_torch(spec, s, xs[s], ys[s], steps, dtype) for s in SEEDS],
    }


def cpu_seconds(runs: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Least CPU time of each run over interleaved rounds."""
    best = dict.fromkeys(runs, float("inf"))
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.process_time()
            run()
            best[name] = min(best[name], time.process_time() - start)
    return best


def table(rounds: int = 9, steps: int = 100) -> Iterator[str]:
    """One line a network and precision."""
    for depth in (1, 3):
        for dtype in (torch.float32, torch.float64):
            spec = Spec((64, *(64,) * depth, 10))
            best = cpu_seconds(contestants(spec, steps, dtype), rounds)
            base = best["at once"]
            ratios = "  ".join(f"{name} {best[name] / base:5.2f}x" for name in list(best)[1:])
            step = f"{1e3 * base / steps:5.2f} ms/step"
            yield f"{depth} hidden  {str(dtype)[6:]}  at once {step}  {ratios}"


def main() -> None:
    """Print the ratios."""
    torch.set_num_threads(1)
    print(
        f"training {len(SEEDS)} seeds at once, width 64, batch {BATCH}; CPU time of loops over it"
    )
    for line in table():
        print(line, flush=True)


if __name__ == "__main__":
    main()
