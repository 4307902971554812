"""From what the chains chapter measured to its verdicts, by the rules of `book/claims.toml`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bnlib import meanings
from bnlib.chapters.chains.measure import Family
from bnlib.results import NOT_POSED, Claim
from bnlib.statistics import Interval
from bnlib.verdicts import count, verdict

ROUNDING = 1e-12  # what may be left of a zero, relative to its scale
DEEP = 8  # factors from which on a chain says something about depth


def orders_up_to_depth(gap: float, least: float, draws: int) -> Claim:
    """gap: largest difference between two ways.  least: smallest order from 1 on."""
    return Claim(
        "orders-up-to-depth",
        verdict(gap <= ROUNDING and least > 0),
        f"Five ways, chains of 2, 3, 5 and 8 factors, {draws} draws each: the coefficients agree "
        f"to {gap:.1e} of the largest, and none of the orders 1 to l is zero (smallest "
        f"{least:.1e}).",
    )


def slope_has_the_sign(family: Family) -> bool | None:
    """Straight for equal weights, and every slope, with its interval, has the sign of log w.

    None where the interval of the random ones has both signs.
    """
    slope, residual = family.equal
    up, signs = np.log(family.mean) > 0, {s > 0 for s in family.slope}
    if residual > 1e-9 or (slope > 0) != up:
        return False
    return None if len(signs) > 1 else signs == {up}


def exponential_at_fixed_step(families: Sequence[Family]) -> Claim:
    """families: of growing and of shrinking chains."""
    right = [slope_has_the_sign(family) for family in families]
    slopes = (f"{f.slope[0]:.3f} [{f.slope[1]:.3f}, {f.slope[2]:.3f}]" for f in families)
    at = [f"{slope} at mean {f.mean:.1f}" for slope, f in zip(slopes, families, strict=True)]
    return Claim(
        "exponential-at-fixed-step",
        count(right, tested=right != [None, None]),
        f"log(e2/e1) - log(l-1) over l is straight for equal weights; for random ones its slope "
        f"is {' and '.join(at)}: the sign of log w in {sum(map(bool, right))} of 2 cases.",
    )


def bounded_at_matched_step(used: Mapping[float, np.ndarray], draws: int) -> Claim:
    """used: sums of high orders in units of Maclaurin's bound, by r."""
    broken = sum(int((sums > 1 + ROUNDING).sum()) for sums in used.values())
    return Claim(
        "bounded-at-matched-step",
        verdict(broken == 0),
        f"{draws} random chains for each r in {list(used)}: {broken} above Maclaurin's bound; the "
        f"largest sum of high orders is {max(map(np.max, used.values())):.6f} of it.",
    )


def depth_defeats_prediction(useful: Any, r_loss: float, depth: int) -> Claim:
    """useful: a series, median of actual / predicted decrease by kind and scale, at that depth.

    Undecided below `DEEP` factors unless it has left them everywhere.
    """
    left = (useful < 0.5) | (useful > 1.5)
    scales, kept = sorted({scale for _, scale in useful.index[left]}), useful[~left]
    rest = f"; in the others it is {kept.min():.2f} to {kept.max():.2f}" if len(kept) else ""
    return Claim(
        "depth-defeats-prediction",
        count(left, tested=depth >= DEEP),
        f"At predicted decrease {r_loss} and depth {depth} the median of actual/predicted has "
        f"left [1/2, 3/2] in {left.sum()} of {len(left)} cells (scales {scales}){rest}.",
    )


def lower_layers_inert(inert: float, leak_gap: float, without: float, seeds: int) -> Claim:
    """inert: largest relative gradient and term at eps = 0.  leak_gap: to the law at eps > 0."""
    return Claim(
        "lower-layers-inert",
        verdict(max(inert, leak_gap) <= ROUNDING),
        f"Scalar chains of 6 factors, {seeds} seeds: at eps = 0 every lower gradient and every "
        f"term of the 64 subsets with a lower factor is at most {inert:.1e} (without BN up to "
        f"{without:.2f} of the loss); at eps > 0 a lower gradient is eps/(v+eps) of the top one, "
        f"to {leak_gap:.0e}.",
    )


def lower_layers_inert_vectors(gradients: np.ndarray, unnoticed: float) -> Claim:
    """gradients: |P| |dL/dP| at eps = 0, of each seed."""
    return Claim(
        "lower-layers-inert-vectors",
        count(gradients <= ROUNDING),
        f"Vector chains at eps = 0, {len(gradients)} seeds: the relative lower gradient |P| "
        f"|dL/dP| is at least {gradients.min():.2f}, while the invariances and Euler identities "
        f"hold to {unnoticed:.0e}.",
    )


def two_moments_only(gain: Interval, widths: Sequence[int], seeds: int) -> Claim:
    """gain: frozen minus trained error at each width, of 16 inputs.

    Undecided without the full width and a smaller one.
    """
    told = 16 in widths and min(widths) < 16
    gains, none, full = gain.low > 1e-6, gain.high <= 1e-6, np.array(widths) == 16
    only_full = none.any() and (none == full).all() and (gains != full).all()
    return Claim(
        "two-moments-only",
        verdict(told and none.all(), only_full, tested=told),
        f"16 inputs, {seeds} seeds: at k = {widths[0]} training the lower layers lowers the "
        f"normalized error by {gain.estimate[0]:.2f} [{gain.low[0]:.2f}, {gain.high[0]:.2f}]; "
        f"there is a gain at {gains.sum()} of {len(widths)} widths and none at k = "
        f"{np.array(widths)[none]}.",
    )


def orders_are_one_thing(orders: dict[str, Any]) -> Claim:
    """orders: of `meanings.three_orders`."""
    apart = meanings.told_apart(orders).values()
    return Claim(
        "orders-are-one-thing",
        NOT_POSED if any(apart) else "holds",
        f"One network tells {sum(apart)} of 3 pairs apart: interaction order 1 is "
        f"{orders['interaction'][0]:.3f} but the first power of the step "
        f"{orders['taylor'][0]:.3f}; the moments after BN stay while A_2 = "
        f"{orders['interaction'][1]:.3f}; along 1 and z the Taylor orders vanish.",
    )
