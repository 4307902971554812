"""The rules of `book/claims.toml` for this chapter: what was measured -> verdict and evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from bnlib.chapters.identity import measure
from bnlib.chapters.identity.measure import POPULATIONS
from bnlib.results import UNDECIDED, Claim
from bnlib.statistics import Interval
from bnlib.verdicts import count, inside, verdict

EXACT = 1e-12  # in standard deviations, or of an output: rounding
FALLEN = 0.95  # a ratio of distances below it is a trend


def same_batch(reach: Mapping[str, float], seeds: int) -> Claim:
    """reach: largest |y - x| / sigma of each kernel for |mu| up to 1e6 sigma, float64."""
    return Claim(
        "identity-same-batch",
        verdict(reach["center first"] <= EXACT),
        f"float64, |mu|/sigma up to 1e6, {seeds} seeds, largest |y - x|/sigma: "
        + ", ".join(f"{kernel} {error:.0e}" for kernel, error in reach.items())
        + "; the bound is 1e-12.",
    )


def eval_exact(error: float) -> Claim:
    """error: largest |y - x| / sigma in evaluation."""
    return Claim(
        "identity-eval-exact",
        verdict(error <= EXACT),
        "Inputs up to 100 that share nothing with the stored statistics come back within "
        f"{error:.0e} standard deviations.",
    )


def needs_eps(rms: Mapping[float, np.ndarray], law: Mapping[float, np.ndarray]) -> Claim:
    """rms: eps -> relative errors without eps in gamma, (seeds, variances).  law: their formula."""
    gap = max(float(np.abs(rms[eps] - law[eps]).max()) for eps in rms)
    at_zero = rms[0.0].max()
    return Claim(
        "identity-needs-eps",
        verdict(rms[1e-3].max() <= EXACT, partly=gap <= 1e-6 and at_zero <= EXACT),
        f"gamma = sqrt(Var) is exact at eps = 0 (error {at_zero:.0e}) and only there; "
        f"otherwise the error follows 1 - (1 + eps/var)^(-1/2) to {gap:.0e}.",
    )


def train_law(check: measure.Check) -> Claim:
    (populations, sizes), hits = check.inside.shape, check.inside[0].sum()
    return Claim(
        "identity-train-law",
        verdict(hits >= sizes - 1 and check.jointly.all() and check.sound),
        f"Gaussian law inside {hits} of {sizes} 95 % intervals; six populations "
        f"{check.inside.sum()} of {populations * sizes}, simultaneous {check.jointly.sum()} of "
        f"{populations * sizes}. A Gaussian law off by -2 % or +2 % would be inside "
        f"{check.broken[0]} or {check.broken[1]}.",
    )


def train_leading(ratios: np.ndarray, largest: int) -> Claim:
    """ratios: exact law over its leading term, (populations, sizes from 64 rows to the largest)."""
    ratio = dict(zip(POPULATIONS, ratios, strict=True))
    near = {name: bool((np.abs(r - 1) <= 0.05).all()) for name, r in ratio.items()}
    far = [name for name in near if not near[name]]
    apart = [
        f"{name} ({r[0]:.2f} of it at m = 64, {r[-1]:.2f} at {largest})"
        for name, r in ratio.items()
        if name in far
    ]
    return Claim(
        "identity-train-leading",
        count(near.values()),
        "From m = 64 on, exact law within 5 % of the leading term for "
        + (", ".join(name for name in near if near[name]) or "no population")
        + (f"; not for {'; '.join(apart)}" if apart else "")
        + (", which has no sixth moment." if far == ["Student t5"] else "."),
    )


def best_gamma(sizes: Sequence[int], gamma: Interval, floor: Interval) -> Claim:
    """Simultaneous intervals of the minimizer, in sigma, and of the error that it leaves."""
    law = measure.gaussian_laws(sizes)
    hits, lowest = inside(law["std"], gamma), inside(law["best"], floor)
    balance = np.abs(law["fixed"] - law["best"] - law["evaluation"]).max()  # gain minus cost
    return Claim(
        "identity-best-gamma",
        verdict(hits.all() and lowest.all() and balance <= 1e-10),
        "Gaussian rows: E[s_m] is inside the simultaneous interval of the minimizer at "
        f"{hits.sum()} of {len(sizes)} batch sizes, 1 - a^2 inside that of the floor at "
        f"{lowest.sum()}; gain minus cost is {balance:.0e}.",
    )


def sgd_fixed_point(sizes: Sequence[int], gamma: Interval, gap: float) -> Claim:
    """gamma: gamma / sigma at each size, simultaneous.  gap: SGD to moving average, in sigma."""
    right = inside(measure.gaussian_laws(sizes)["std"], gamma)
    apart = gamma.high[np.array(sizes) <= 64] < 1
    return Claim(
        "identity-sgd-fixed-point",
        verdict(right.all() and apart.all(), partly=right.any() and apart.any()),
        f"E[s_m] is inside the simultaneous interval at {right.sum()} of {right.size} batch sizes "
        f"and sigma is excluded at {apart.sum()} of {apart.size} up to 64, for sigma from 0.03 to "
        f"32; SGD equals the moving average of s_m to {gap:.0e} sigma.",
    )


def absent(largest: np.ndarray) -> list[str]:
    """Verdicts for training and evaluation; of both, the change of an output and of a gradient."""
    return [verdict((changes <= 1e-10).all()) for changes in largest]


def as_if_absent(largest: np.ndarray, at_16: float, at_256: float) -> Claim:
    """largest: as `absent` takes it.  at_16, at_256: change of the gradient there, in percent."""
    training, evaluation = absent(largest)
    return Claim(
        "identity-as-if-absent",
        count([training == "holds", evaluation == "holds"]),
        f"Evaluation mode {evaluation}: outputs equal to {largest[1, 0]:.0e}, gradients to "
        f"{largest[1, 1]:.0e}. Training mode {training}: outputs equal to {largest[0, 0]:.0e}, but "
        f"the weight gradient below differs by {at_16:.0f} % at m = 16 and {at_256:.0f} % at "
        "m = 256.",
    )


def gradient_by_mean(centred: Interval, shifted: Interval, percent: float) -> Claim:
    """Change of the gradient in units of that with the data as they are, `percent`."""
    right = [centred.high < 1 / 2, shifted.low > 1]
    refuted = centred.low >= 1 / 2 and shifted.high <= 1
    return Claim(
        "identity-gradient-by-mean",
        count(right, tested=any(right) or refuted),
        f"m = 256, training mode: {percent:.0f} % with the digits as they are; "
        f"{measure.shown(centred, 2)} of it with centred digits, {measure.shown(shifted, 2)} with "
        "digits shifted by 1.",
    )


def redundant(gaps: Mapping[str, float]) -> Claim:
    """gaps: largest change of an output; functions that should agree, others, and a step."""
    equal = {name: gap for name, gap in gaps.items() if gap <= EXACT}
    others = {name: gap for name, gap in gaps.items() if name not in equal}
    return Claim(
        "identity-redundant",
        verdict(not others, partly=list(equal) == list(gaps)[:4]),
        f"As function: equal to {max(equal.values()):.0e} for {'; '.join(equal)}. "
        f"Not for {'; '.join(f'{name} ({gap:.2g})' for name, gap in others.items())}.",
    )


def conv_effective_m(effects: pd.DataFrame) -> Claim:
    """effects: of each layer and number of images, as `networks.design_effects` gives them."""
    typical, beyond = effects["effect"], (effects["effect"] > 2).sum()
    return Claim(
        "identity-conv-effective-m",
        verdict((effects["fits"] > 0.5).all(), partly=beyond <= len(effects) / 2),
        f"The design effect exceeds 2 in {beyond} of {len(effects)} cases (layer and N); its "
        f"medians over channels run from {typical.min():.1f} to {typical.max():.0f}.",
    )


def conv_effective_m_digits(effects: pd.DataFrame) -> Claim:
    """effects: of each kind of images, layer and number of images, from `positions.effects`."""
    digits, control = effects.loc["digits"], effects.loc["noise, second draw"]
    above, below, sound = digits.low > 2, digits.high < 2, inside(1, control)
    told = above.any() or below.all()
    return Claim(
        "identity-conv-effective-m-digits",
        count(above, tested=told) if sound.all() else UNDECIDED,
        f"Design effects of digits: {digits.estimate.min():.1f} to {digits.estimate.max():.0f}; "
        f"{above.sum()} of {len(digits)} intervals above 2, {below.sum()} below. The control's "
        f"interval has 1 in {sound.sum()} of {len(control)} cells, in the first draw in "
        f"{inside(1, effects.loc['noise, first draw']).sum()}; intervals reach up to "
        f"{100 * (control.high - control.estimate).max():.0f} % to each side.",
    )


def teacher_student(table: pd.DataFrame, by_rows: Interval, by_steps: Interval) -> Claim:
    """What `networks.comparison` gives: students by arm and batch size, and two ratios of d."""
    trained = table.loc[table["trained"] == "γ, β", ["m", "median d"]].to_numpy()
    (first, few), (last, many), (_, longer) = trained[[0, -2, -1]]
    return Claim(
        "identity-teacher-student",
        verdict(many <= 0.1, partly=by_rows.high < FALLEN or by_steps.high < FALLEN),
        f"Only gamma and beta trained: median d {few:.2f} at m = {first:.0f}, {many:.2f} at m = "
        f"{last:.0f} ({measure.shown(by_rows, 2)} of it, paired), {longer:.2f} with four times the "
        f"steps there ({measure.shown(by_steps, 2)} of that); the bound is 0.1. The loss still "
        f"changes by {table['loss, last fifth'].iloc[-1]:.0%} over the last fifth of the longest "
        "run.",
    )
