"""All subsets of the layers of a network as one tensor program: time and memory, one thread.

Width 32, 64 rows of digits, batch normalization, float64. The three-way split needs L + 2
evaluations instead of 2^L.
"""

import resource
import time

import torch

from bnlib import data, interactions
from bnlib.networks import arms
from bnlib.orders import order_sums


def measure(depth: int, rounds: int = 3) -> tuple[float, float, float]:
    """Least seconds for 2^L subsets and for L + 2; gap between the sum of orders and the total."""
    rows = data.digits_split(0)
    x = torch.from_numpy(rows.x_train[None, :64])
    labels = torch.from_numpy(rows.y_train[:64])
    arm = arms.build("bn", (64, *(32,) * (depth - 1), 10), [0], x)

    def loss(params: interactions.Params) -> torch.Tensor:
        logp = arm.logits(params, x).log_softmax(-1)
        return -logp[:, torch.arange(64), labels].mean(1)

    value, grads = interactions.gradient(loss, arm.params)
    direction = {name: -grad for name, grad in grads.items()}
    slope = interactions.layer_dots(grads, direction).sum(1)
    step, best = interactions.match_loss(value, slope, 0.5), [float("inf")] * 2
    values = torch.empty(0)
    for _ in range(rounds):
        for i, evaluate in enumerate((interactions.corners, interactions.all_subsets)):
            start = time.perf_counter()
            values = evaluate(loss, arm.params, direction, step)
            best[i] = min(best[i], time.perf_counter() - start)
    gap = (order_sums(values, depth).sum(0) - values[-1]).abs().max()
    return best[1], best[0], float(gap)


def main() -> None:
    """Print one line a depth."""
    torch.set_num_threads(1)
    print("subsets of layers in one call, width 32, 64 rows, float64, one thread")
    for depth in (6, 8, 10):
        every, few, gap = measure(depth)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(
            f"L = {depth:2d}  {2**depth:4d} subsets {every:6.3f} s  {depth + 2:2d} for the split "
            f"{few:6.4f} s  sum of orders - total {gap:.0e}  peak {peak:.2f} GB",
            flush=True,
        )


if __name__ == "__main__":
    main()
