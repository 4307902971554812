"""Why BN tolerates large rates: the ladder of arms, with and without weight norms that grow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy import stats

from bnlib import statistics
from bnlib.experiments import learning_rate

LADDER = ("none", "frozen", "mean-only", "std-only", "bn", "bn-no-affine")
SCALE_FREE = ("std-only", "bn", "bn-no-affine")
RESET = ", reset"  # suffix of an arm whose hidden weight norms are reset after every step
RATES = learning_rate.RATES[1:]


class Ladder(NamedTuple):
    """frame: one row an arm and seed, with targets and `share` (int at a promised halving).
    growth: arm -> (R, S), median over hidden units of the final over the initial norm."""

    frame: pd.DataFrame
    growth: dict[str, np.ndarray]


def ladder(
    depth: int,
    seeds: Sequence[int],
    rates: Sequence[float] = RATES,
    *,
    reset_norms: bool = True,
    dataset: str = "digits",
    threshold: float = 0.5,
    **options: Any,
) -> Ladder:
    """The six arms, ReLU, and the scale-free ones again with their weight norms reset."""
    again = SCALE_FREE if reset_norms else ()
    frames, growth, share = [], {}, {}
    classes = learning_rate.rows_of(dataset).classes
    own = {k: v for k, v in options.items() if k in ("width", "affine")}
    for name, reset in [(n, False) for n in LADDER] + [(n, True) for n in again]:
        run = learning_rate.swept(
            name, "relu", depth, seeds, rates, dataset=dataset, reset_norms=reset, **options
        )
        if not reset:
            at = learning_rate.problem(name, "relu", depth, seeds, dataset=dataset, **own)
            share[name] = learning_rate.predictors(at)["share"]
        label = name + RESET * reset
        growth[label] = run.growth
        found = learning_rate.targets(run, rates, classes, threshold) | {"share": share[name]}
        frames.append(pd.DataFrame({"L": depth, "arm": label, "seed": list(seeds), **found}))
    return Ladder(pd.concat(frames, ignore_index=True), growth)


def wide(frame: pd.DataFrame, what: str = "max_trainable") -> pd.DataFrame:
    """One row a seed, one column an arm."""
    return frame.pivot_table(index="seed", columns="arm", values=what, sort=False)


class Verdict(NamedTuple):
    """verdict, and what it rests on: tau with its interval, the least arm, its gain and BN's."""

    verdict: str
    tau: statistics.Interval
    least: str
    gain: float
    bn_gain: float


def by_interaction(frame: pd.DataFrame) -> Verdict:
    """Do arms with less interaction tolerate larger steps?  Kendall's tau over the six arms.

    holds: the interval of tau(-int, log2 rate), medians over resampled seeds, lies above 0, and
    the arm with the least interaction gains at least half of BN's mean log2 gain over none.
    partly: one of the two.  fails: otherwise.
    """
    rate, share = (wide(frame, what)[list(LADDER)] for what in ("max_trainable", "share"))

    def tau(seeds: np.ndarray) -> float:
        return _tau(share.to_numpy()[seeds], rate.to_numpy()[seeds])

    every = np.arange(len(rate))
    found = statistics.cluster_bootstrap(every, every, tau, rng=np.random.default_rng(0))
    gain = {str(arm): float(v) for arm, v in rate.sub(rate["none"], axis=0).mean().items()}
    least = str(share.median().idxmin())
    met = int(found.low > 0) + int(gain[least] >= gain["bn"] / 2)
    verdict = ("fails", "partly", "holds")[met]
    return Verdict(verdict, found, least, gain[least], gain["bn"])


def _tau(share: np.ndarray, rate: np.ndarray) -> float:
    """tau-b of the medians; 0 where all arms have one rate, which orders nothing."""
    found: Any = stats.kendalltau(-np.median(share, 0), np.median(rate, 0))
    return 0.0 if np.isnan(found.statistic) else float(found.statistic)


def explained(frame: pd.DataFrame, arm: str = "bn") -> statistics.Interval:
    """Share of an arm's gain that resetting the weight norms takes away, seeds resampled.

    1 - mean log2(reset / none) / mean log2(arm / none)
    """
    rate = wide(frame)
    pairs = np.stack([rate[arm + RESET] - rate["none"], rate[arm] - rate["none"]], 1)
    return statistics.cluster_bootstrap(
        pairs, np.arange(len(pairs)), _lost, rng=np.random.default_rng(0)
    )


def _lost(pairs: np.ndarray) -> float:
    reset, whole = pairs.mean(0)
    return float(1 - reset / whole) if whole else 0.0


def self_tuning(share: float) -> str:
    """holds: above 1/2.  partly: above 1/10.  fails: otherwise."""
    return "holds" if share > 0.5 else "partly" if share > 0.1 else "fails"


def summary(frames: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Both tests of the mechanism on several ladders, as text, one row a ladder."""
    lines = {}
    for name, frame in frames.items():
        found, gain = by_interaction(frame), wide(frame).sub(wide(frame)["none"], axis=0).mean()
        tau = f"{found.tau.estimate:.2f} ({found.tau.low:.2f} to {found.tau.high:.2f})"
        line = {"tau": tau, "least int": found.least, "by interaction": found.verdict}
        line |= {f"gain {arm}": f"{gain[arm]:.1f}" for arm in LADDER[1:]}
        for arm in SCALE_FREE if frame.arm.str.endswith(RESET).any() else ():
            line[f"reset takes, {arm}"] = f"{explained(frame, arm).estimate:.0%}"
        lines[name] = line
    return pd.DataFrame(lines)


class Tuning(NamedTuple):
    """Of one hidden unit, (T, R): rate / ||w||^2, and the bound 1/(2 ||w|| ||g||) for the next."""

    effective: np.ndarray
    bound: np.ndarray


def tuning(
    rates: Sequence[float], *, depth: int = 8, steps: int = 80, layer: int = 1, **options: Any
) -> Tuning:
    """The effective rate of one unit of the arm bn-no-affine in every step, seed 0.

    The unit with the median gradient norm in the first step.
    """
    norms, slopes = [], []

    def watch(_: int, params: dict[str, torch.Tensor], grads: dict[str, torch.Tensor]) -> None:
        norms.append(params[f"W{layer}"].norm(dim=2).clone())
        slopes.append(grads[f"W{layer}"].norm(dim=2).clone())

    how = {"steps": steps, "watch": watch, **options}
    learning_rate.swept("bn-no-affine", "relu", depth, [0], rates, **how)
    w, g = (torch.stack(v).double().numpy() for v in (norms, slopes))
    unit = int(np.argsort(g[0, 0])[g.shape[2] // 2])
    w, g = w[:, :, unit], g[:, :, unit]
    return Tuning(np.asarray(rates) / w**2, 1 / (2 * w * g))


def growth_at(run: Ladder, arm: str) -> np.ndarray:
    """Median over seeds of the growth at every rate, (R,); not finite where models diverged."""
    return np.median(run.growth[arm], 1)
