"""Experiment D: noise after the norm that raises the shift of distributions on purpose.

Per unit and step  mu ~ U(-1/2, 1/2),  s ~ U(1, 5/4);  per row  n ~ N(0, 1),  q ~ U(-1, 1):

    y <- y (s + n/10) + (mu + q/10)

drawn from the seed and the number of the step, so that every arm and rate meets the same noise, and
G and G' of one step too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from bnlib import interactions, landscape
from bnlib.experiments.covariate_shift import bench
from bnlib.experiments.covariate_shift.bench import Conditions, Pace
from bnlib.networks import arms
from bnlib.networks.seed_batched import forward

NOISE = 7  # stream of a seed
Draws = dict[int, landscape.Noise]


class Shift(NamedTuple):
    """Both kinds of shift along the way of one arm, (T, S); loss (T, S) of the noisy batches."""

    distribution: np.ndarray
    relative: np.ndarray
    loss: np.ndarray


def draw(
    seeds: Sequence[int], step: int, sites: Sequence[int], m: int, c: int, scale: float
) -> Draws:
    """The noise of one step for every seed and hidden site, float32; scale multiplies it all."""
    rngs = [np.random.default_rng((seed, NOISE, step)) for seed in seeds]
    found = {}
    for site in sites:
        mu, s, n, q = (
            np.stack(part) for part in zip(*[_one(rng, m, c) for rng in rngs], strict=True)
        )
        shift, factor = scale * (mu + q / 10), 1 + scale * (s + n / 10)
        found[site] = landscape.Noise(*(torch.from_numpy(v).float() for v in (shift, factor)))
    return found


def _one(rng: np.random.Generator, m: int, c: int) -> tuple[np.ndarray, ...]:
    mu, s = rng.uniform(-0.5, 0.5, (1, c)), rng.uniform(0, 0.25, (1, c))
    return mu, s, rng.standard_normal((m, c)), rng.uniform(-1, 1, (m, c))


def noisy(
    arm: arms.Arm, noise: Draws, seen: dict[int, Tensor] | None = None
) -> Callable[..., Tensor]:
    """The logits of an arm under given noise: (params of K S networks, x (S, m, d)) -> (K S, m, k).

    seen: if given, receives what enters every activation.
    """

    def after(site: int, y: Tensor) -> Tensor:
        if site in noise:
            pair = (arms.tiled(v, len(y) // len(v)).to(y.dtype) for v in noise[site])
            y = landscape.noisy_normalization(y, landscape.Noise(*pair))
        if seen is not None:
            seen[site] = y
        return y

    def logits(params: interactions.Params, x: Tensor) -> Tensor:
        copies = len(params["W1"]) // len(x)
        return forward(arm.spec, params, arms.tiled(x, copies), after=after)

    return logits


class Case(NamedTuple):
    """An arm, its seeds, and whether it has noise, of which size."""

    at: Conditions
    arm: arms.Arm
    seeds: Sequence[int]
    scale: float

    def draws(self, step: int, times: int = 1) -> Draws:
        """The noise of a step, for `times` copies of the seeds; none at scale 0."""
        if self.scale == 0:
            return {}
        sites = range(1, len(self.arm.spec.sizes) - 1)
        one = draw(self.seeds, step, sites, self.at.batch, self.at.width, self.scale)
        return {
            k: landscape.Noise(*(arms.tiled(v, times) for v in pair)) for k, pair in one.items()
        }


def sweep(case: Case, rates: Sequence[float], steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Final clean loss and test accuracy of every rate, (R, S) each: noise off, batch statistics.

    The test rows get the statistics of the training rows.
    """
    at, many = case.at, len(rates)
    wide = case.arm.repeated(many)
    order = bench.stream(at, case.seeds, steps).repeat(1, many, 1)
    eta = torch.tensor(np.repeat(rates, len(case.seeds)))

    def logits(step: int, params: interactions.Params, x: Tensor) -> Tensor:
        return noisy(wide, case.draws(step, many))(params, x)

    pace = Pace(eta, torch.zeros_like(eta))
    params = bench.walk(at, wide, order, pace, logits=logits if case.scale else None)
    loss = bench.clean_loss(at, wide, params)
    with torch.no_grad():
        out = wide.evaluated(params, at.rows.x_train, at.rows.x_test)
    right = (out.argmax(-1) == at.rows.y_test) & torch.isfinite(out).all(-1)
    return loss.reshape(many, -1), right.double().mean(1).numpy().reshape(many, -1)


def shifts(case: Case, rate: float, steps: int, every: int) -> Shift:
    """Both kinds of shift at one rate.

    distribution: change of mean and of sd of every unit's input from one step to the next, root
    mean square over units, in units of the unit's sd.  relative: ||G'_i - G_i||/||G_i||, mean over
    layers i >= 2, the same noise in both, every `every` steps.
    """
    at, order = case.at, bench.stream(case.at, case.seeds, steps)
    moved, relative, losses, before = [], [], [], None

    def watch(step: int, params: bench.Params, chosen: Tensor, pace: Pace) -> None:
        nonlocal before
        here, seen, noise = bench.problem(at, case.arm, chosen), {}, case.draws(step)
        with torch.no_grad():
            losses.append(here.loss_of(noisy(case.arm, noise, seen)(params, here.x)).numpy())
        now = torch.stack([torch.stack([v.mean(1), v.std(1)]) for v in seen.values()])
        if before is not None:
            jump = (now - before) / now[:, 1:]
            moved.append(jump.square().sum(1).mean((0, 2)).sqrt().numpy())
        before = now
        if step and step % every == 0:
            compute = noisy(case.arm, noise)
            loss_fn = lambda p: here.loss_of(compute(p, here.x))  # noqa: E731
            _, grads = interactions.gradient(loss_fn, params)
            found = landscape.ics_change(loss_fn, params, grads, pace.rate)
            relative.append(found.relative[:, 1:].mean(1).numpy())

    def logits(step: int, params: interactions.Params, x: Tensor) -> Tensor:
        return noisy(case.arm, case.draws(step))(params, x)

    pace = Pace(*(torch.full((len(case.seeds),), v, dtype=torch.float64) for v in (rate, 0.0)))
    bench.walk(at, case.arm, order, pace, watch=watch, every=1, logits=logits)
    return Shift(*(np.stack(v) for v in (moved, relative, losses)))


def compare(
    at: Conditions,
    depth: int,
    seeds: Sequence[int],
    rates: Sequence[float],
    *,
    steps: int,
    every: int,
    scale: float,
) -> tuple[pd.DataFrame, dict[str, Shift]]:
    """The four arms, each at its own best rate: a row an arm and seed, and the shifts of each."""
    frames, found = [], {}
    for name, size in (("none", 0.0), ("noisy none", scale), ("bn", 0.0), ("noisy bn", scale)):
        case = Case(at, bench.build(at, name.split()[-1], depth, seeds), seeds, size)
        loss, accuracy = sweep(case, rates, steps)
        best = int(np.median(loss, axis=1).argmin())
        where = {"L": depth, "arm": name, "seed": list(seeds), "rate": rates[best]}
        edge = best in (0, len(rates) - 1)
        rest = {"loss": loss[best], "accuracy": accuracy[best], "edge": edge}
        frames.append(pd.DataFrame({**where, **rest}))
        found[name] = shifts(case, rates[best], steps, every)
    return pd.concat(frames, ignore_index=True), found


def summary(runs: Mapping[int, tuple[pd.DataFrame, dict[str, Shift]]]) -> pd.DataFrame:
    """Medians over seeds of what `compare` found, depth -> result: a row a depth and arm."""
    every = pd.concat(frame for frame, _ in runs.values())
    own = every.groupby(["L", "arm"], sort=False)[["rate", "loss", "accuracy", "edge"]].median()
    moved = {
        (depth, name): (np.nanmedian(shift.distribution), np.nanmedian(shift.relative))
        for depth, (_, shifts) in runs.items()
        for name, shift in shifts.items()
    }
    columns = ["distribution shift", "gradient shift"]
    shifts = pd.DataFrame(moved, index=columns).T.rename_axis(["L", "arm"])
    return own.astype({"edge": bool}).join(shifts)
