"""The chapter's rules, as they stand in `book/claims.toml`: measured values -> claims."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bnlib.chapters.gradient.measure import Growth, Pairs, Projections, Relations
from bnlib.chapters.gradient.witnesses import Disagreement
from bnlib.results import Claim
from bnlib.statistics import Interval, with_ends
from bnlib.verdicts import verdict


def closed_forms(witnesses: Mapping[str, Disagreement], agree: bool) -> tuple[Claim, Claim]:
    """First order: autodiff to 1e-10, every witness to 1e-8; second: 1e-8 and gradgradcheck."""
    autodiff = witnesses["autodiff"].first
    first, second = (max(sizes) for sizes in zip(*witnesses.values(), strict=True))
    once = f"relative difference from autodiff {autodiff:.0e}, "
    once += f"from the worst of four witnesses {first:.0e} (m = 3, 8, 64)"
    twice = f"relative difference from the worst of four witnesses {second:.0e}; "
    twice += f"torch's gradgradcheck of our layer {'passes' if agree else 'fails'}"
    return (
        Claim("grad-closed-form", verdict(autodiff <= 1e-10 and first <= 1e-8), once),
        Claim("grad-double-backward", verdict(second <= 1e-8 and agree), twice),
    )


def spectrum(miss: float) -> Claim:
    """Eigenvalues to 1e-12 of gamma / tau."""
    evidence = (
        f"eigenvalues of the autodiff Jacobian, and its symmetry, are off by at most {miss:.0e}"
    )
    evidence += " of γ/τ (m = 2, 3, 8, 64; three ε)"
    return Claim("grad-spectrum", verdict(miss <= 1e-12), evidence)


def projection(p: Projections) -> Claim:
    """holds: no leak at any eps.  partly: none at eps = 0, and rho (1 - rho) at every other."""
    miss = np.abs(p.leak - p.rho * (1 - p.rho)).max()
    holds, partly = p.leak.max() <= 1e-12, p.leak[0] <= 1e-12 and miss <= 1e-12
    evidence = f"‖P² − P‖ is {p.leak[0]:.0e} at ε = 0, up to {p.leak.max():.2f} for ε > 0, "
    evidence += f"and equals ρ(1 − ρ) to {miss:.0e}"
    return Claim("grad-is-projection", verdict(holds, partly), evidence)


def unbiased(miss: float) -> Claim:
    """Autodiff to 1e-10."""
    evidence = f"the formula with m/(m − 1) equals autodiff to {miss:.0e} (m = 3, 8, 64)"
    return Claim("grad-bessel", verdict(miss <= 1e-10), evidence)


def evaluation(apart: float, miss: float) -> Claim:
    """Nothing at all off the diagonal, and the diagonal to 1e-14."""
    evidence = f"largest entry off the diagonal: {apart:g}; "
    evidence += f"the diagonal is γ/√(v_r + ε) to {miss:.0e}"
    return Claim("grad-eval-mode", verdict(apart == 0 and miss <= 1e-14), evidence)


def dead_bias(double: float, single: float, convolution: float) -> Claim:
    """1e-12 of the weights' gradient in float64, dense and convolution."""
    evidence = f"largest bias gradient over largest weight gradient: {double:.0e} in float64, "
    evidence += f"{single:.0e} in float32, "
    evidence += f"{convolution:.0e} for a convolution with zero padding in float64"
    return Claim("grad-bias-dead", verdict(max(double, convolution) <= 1e-12), evidence)


def weight_relations(relations: Mapping[tuple[float, float], Relations]) -> tuple[Claim, Claim]:
    """Identities to 1e-10 in every cell (eps, scale); the cosine too, or (partly) at eps = 0."""
    _, identity, scaling = (max(sizes) for sizes in zip(*relations.values(), strict=True))
    zero, tiny, every = (
        max(cell.cosine for (eps, _), cell in relations.items() if eps <= top)
        for top in (0, 1e-5, 1)
    )
    exact = f"w·dw = (ε/τ²)γ dγ to {identity:.0e} of ‖w‖‖dw‖ and dw(cw; ε) = dw(w; ε/c²)/c to "
    exact += f"{scaling:.0e}, for three ε and three c"
    angle = f"largest |cos| between w and dw: {zero:.0e} at ε = 0, {tiny:.0e} up to ε = 1e-5, "
    angle += f"{every:.2f} up to ε = 0.1 with weights scaled by 0.1 to 10"
    holds, partly = max(every, scaling) <= 1e-10, max(zero, identity, scaling) <= 1e-10
    return (
        Claim("grad-weight-identity", verdict(max(identity, scaling) <= 1e-10), exact),
        Claim("grad-weight-orthogonal", verdict(holds, partly), angle),
    )


def norm_growth(growth: Mapping[float, Growth]) -> Claim:
    """At eps = 0 no step shrinks a weight vector, and Pythagoras holds to 1e-9."""
    size, law = growth[0.0]
    miss = np.abs(np.diff(size, axis=0) - law).max() / size.min()
    shrinks = ", ".join(f"{g.shrinking:.1%} at ε = {eps:g}" for eps, g in growth.items())
    evidence = f"increments equal η²‖dw‖² to {miss:.0e} of ‖w‖² at ε = 0; "
    evidence += f"steps that shrink a weight vector: {shrinks}"
    return Claim("grad-norm-growth", verdict(growth[0.0].shrinking == 0 and miss <= 1e-9), evidence)


def typical_pair(pairs: Pairs) -> Claim:
    """Slopes in eps 1, 0 and -1/2, and the mean gain 2 p(0), each within 0.05."""
    ideal, limit = {"median": 1, "mean": 0, "mean square": -0.5}, 2 / np.sqrt(np.pi)
    slopes, mean = pairs.slopes, pairs.law["mean"][0]
    close = all(abs(s - ideal[name]) <= 0.05 for name in ideal for s in slopes[name])
    evidence = "slopes in ε by quadrature and by random pairs: "
    evidence += "; ".join(f"{name} {a:.3f}, {b:.3f}" for name, (a, b) in slopes.items())
    evidence += f". Mean gain {mean:.3f} at ε = 1e-6, 2p(0) = {limit:.3f}"
    rule = verdict(close and abs(mean / limit - 1) <= 0.05)
    return Claim("grad-batch-two-typical", rule, evidence)


def dead_pairs(ratios: Mapping[float, Interval], seeds: int) -> Claim:
    """Movement at m = 2 over m = 3, at every eps.  holds: at most 1 %.  partly: surely below 1.

    Undecided where no interval lies above 1, but one holds it.
    """
    hundredth = all(ratio.estimate <= 0.01 for ratio in ratios.values())
    less = all(ratio.high < 1 for ratio in ratios.values())
    more = any(ratio.low > 1 for ratio in ratios.values())
    shown = [f"{with_ends(ratio, '.2f')} at ε = {eps:g}" for eps, ratio in ratios.items()]
    evidence = "movement at m = 2 over movement at m = 3: " + "; ".join(shown)
    evidence += f" ({seeds} seeds, 95 % interval)"
    return Claim("grad-batch-two-dead", verdict(hundredth, less, tested=less or more), evidence)


def pairs_learn(
    own: Mapping[int, Interval], control: Mapping[int, Interval], same: Mapping[int, Interval]
) -> Claim:
    """Gains of the first layer, steps -> interval.  holds: with own rates at every length.

    partly: at one, or at some equal rate.  fails: it loses at every length.  Otherwise undecided,
    and where the control does not gain.  same: intervals of all rates, arrays (R,).
    """
    equal = [gain.low > 0 for gain in same.values()]
    gained, lost = ([at(gain) for gain in own.values()] for at in (_above, _below))
    some, tested = any(gained) or np.any(equal), all(map(_above, control.values()))
    word = verdict(all(gained), some, tested=some or all(lost)) if tested else "undecided"
    evidence = "what training the layer takes off the test loss, each arm at its own rate: "
    evidence += "; ".join(
        f"after {steps:,} steps {with_ends(gain, '.3f')} with one pair a step, "
        f"{with_ends(control[steps], '.3f')} with batches of four"
        for steps, gain in own.items()
    )
    evidence += f". At equal rates one pair gains in {np.sum(equal)} of {np.size(equal)} cells"
    return Claim("grad-batch-two-learns", word, evidence)


def _above(gain: Interval) -> bool:
    return gain.low > 0


def _below(gain: Interval) -> bool:
    return gain.high < 0


def kernel_offset(slopes: Mapping[str, float]) -> Claim:
    """Log-log slopes within 0.1: folded of 1, and (else partly) of 0 for the recentred ones."""
    folds = abs(slopes["folded"] - 1) <= 0.1
    flat = max(abs(slopes[name]) for name in ("recentred", "float64 statistics")) <= 0.1
    evidence = "slope of log error in log |μ|/σ, 1e2 to 1e6: "
    evidence += ", ".join(f"{name} {slope:.2f}" for name, slope in slopes.items())
    return Claim("grad-kernel-offset", verdict(folds and flat, folds), evidence)
