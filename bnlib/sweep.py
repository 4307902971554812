"""Sweeps: every rate and every seed of one arm, trained as one tensor program.

Model r S + s is seed s at rate r. No operation reduces over models, so that one that diverges
leaves the others as they are. Plain SGD, without momentum and without decay.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from bnlib.interactions import gradient
from bnlib.networks.arms import Arm, tiled
from bnlib.networks.residual import ResidualArm
from bnlib.training import right_rows, seed_losses

Watch = Callable[[int, dict[str, Tensor], dict[str, Tensor]], None]


class Sweep(NamedTuple):
    """What every rate made of every seed; a loss may be infinite or NaN.

    loss: (T, R, S), of each batch before its update.  initial: (S,), final: (R, S), of the checked
    rows.  accuracy: (R, S), of the test rows with the statistics of the checked rows.
    growth: (R, S), median over hidden units of ||w|| at the end / at the start.
    """

    loss: np.ndarray
    initial: np.ndarray
    final: np.ndarray
    accuracy: np.ndarray
    growth: np.ndarray


class Targets(NamedTuple):
    """The largest rates, (S,) each, in log2; a seed with no passing rate gets half the least one.

    passing: number of rates that reach the threshold.  censored: max_trainable is the largest rate
    of the grid, hence a lower bound.
    """

    max_trainable: np.ndarray
    max_stable: np.ndarray
    best: np.ndarray
    passing: np.ndarray
    censored: np.ndarray


def reset_columns(params: dict[str, Tensor], norms: dict[str, Tensor]) -> dict[str, Tensor]:
    """Every hidden unit's weights w rescaled to the norm given: W (S, out, in), norms (S, out, 1).

    Other parameters stay. Consequence: where the function ignores these norms, it stays too.
    """
    rescaled = {n: params[n] * (size / _unit_norms(params[n])) for n, size in norms.items()}
    return {**params, **rescaled}


def train_sweep(
    arm: Arm | ResidualArm,
    x: Any,
    y: Any,
    rates: Sequence[float],
    *,
    order: Tensor,
    check: int = 512,
    test: tuple[Any, Any] | None = None,
    reset_norms: bool = False,
    watch: Watch | None = None,
    dtype: torch.dtype = torch.float32,
) -> Sweep:
    """Train the S networks of an arm at R rates: R S models, one backward pass a step.

    x: (n, d), y: (n,), shared by all.  order: row numbers (T, S, batch), the same at every rate.
    check: so many first rows give the initial and the final loss, in training mode.
    reset_norms: after each step every hidden unit's weights get their initial norm back.
    watch: called with the step's number, the parameters and the gradients before each update; it
    may replace the gradients in their dict, which changes the rule of the update.
    Raises ValueError for rates that are not finite and positive, and an order of other seeds.
    """
    x, y = torch.as_tensor(x, dtype=dtype), torch.as_tensor(y)
    step = torch.as_tensor(np.asarray(rates, dtype=float))
    seeds = len(next(iter(arm.params.values())))
    if step.ndim != 1 or not len(step) or not bool((torch.isfinite(step) & (step > 0)).all()):
        raise ValueError(f"rates: expected finite rates > 0, got {rates}")
    if order.ndim != 3 or order.shape[1] != seeds:
        raise ValueError(f"order: expected (steps, {seeds}, batch), got {tuple(order.shape)}")
    step, net = step.to(dtype), arm.each(lambda value: value.to(dtype))
    params = net.repeated(len(step)).params
    hidden = [name for name in params if name.startswith("W")][:-1]
    start = {name: _unit_norms(params[name]) for name in hidden}
    lr, losses = step.repeat_interleave(seeds), []
    for t, rows in enumerate(order):
        loss, grads = gradient(_loss_of(net, x[rows], y[rows]), params)
        losses.append(loss)
        if watch:
            watch(t, params, grads)
        for name, value in params.items():
            value.addcmul_(grads[name], lr[(...,) + (None,) * (value.ndim - 1)], value=-1)
        params = reset_columns(params, start) if reset_norms else params
    shape, loss = (len(step), seeds), torch.stack(losses).double().numpy()
    checked = _loss_of(net, x[:check].expand(seeds, -1, -1), y[:check].expand(seeds, -1))
    with torch.no_grad():
        first, last = checked(net.params), checked(params)
    right = _accuracy(net, params, x[:check], test, dtype)
    grown = torch.cat([(_unit_norms(params[n]) / size)[..., 0] for n, size in start.items()], 1)
    ends = (v.double().numpy().reshape(shape) for v in (last, right, grown.median(1).values))
    return Sweep(loss.reshape(len(order), *shape), first.double().numpy(), *ends)


def rate_targets(
    sweep: Sweep, rates: Sequence[float], *, classes: int, threshold: float = 0.5
) -> Targets:
    """The three largest or best rates of every seed, in log2.

        max_trainable   the largest rate with  final < threshold log k
        max_stable      the largest with  final < min(initial, log k)  and all losses finite and
                        at most 2 max(initial, log k)
        best            the lowest final loss

    rates: as swept, ascending. A passing rate need not be preceded by passing ones.
    """
    chance = np.log(classes)
    with np.errstate(invalid="ignore"):
        final = np.where(np.isfinite(sweep.final), sweep.final, np.inf)
        calm = (sweep.loss <= 2 * np.maximum(sweep.initial, chance)).all(0)
        trainable = final < threshold * chance
        stable = calm & (final < np.minimum(sweep.initial, chance))
    grid = np.log2(np.asarray(rates, dtype=float))
    best = np.where(np.isfinite(final).any(0), grid[final.argmin(0)], grid[0] - 1)
    largest, calmest = (
        np.where(at, grid[:, None], grid[0] - 1).max(0) for at in (trainable, stable)
    )
    return Targets(largest, calmest, best, trainable.sum(0), trainable[-1])


def _unit_norms(weight: Tensor) -> Tensor:
    return weight.norm(dim=2, keepdim=True)


def _loss_of(arm: Arm | ResidualArm, x: Tensor, y: Tensor) -> Callable[[Any], Tensor]:
    """parameters -> loss (R S,) of each model on its batch x (S, m, d), y (S, m)."""

    def loss(params: Any) -> Tensor:
        output = arm.logits(params, x)
        return seed_losses(output, tiled(y, len(output) // len(y)), "cross-entropy")

    return loss


@torch.no_grad()
def _accuracy(
    arm: Arm | ResidualArm,
    params: dict[str, Tensor],
    x: Tensor,
    test: tuple[Any, Any] | None,
    dtype: torch.dtype,
) -> Tensor:
    """Share of right test rows, statistics of the rows x as constants; NaN: no test."""
    if test is None:
        return torch.full((len(next(iter(params.values()))),), float("nan"), dtype=dtype)
    rows, labels = torch.as_tensor(test[0], dtype=dtype), torch.as_tensor(test[1])
    return right_rows(arm.evaluated(params, x, rows), labels).to(dtype).mean(1)
