"""From what the transfer chapter measured to its verdicts, by the rules of `book/claims.toml`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from bnlib.chapters.transfer.exact import Contrast, Random
from bnlib.chapters.transfer.measure import EARLY, Arm, Stream
from bnlib.results import UNDECIDED, Claim
from bnlib.statistics import (
    Paired,
    equivalent,
    holm,
    listed,
    paired_difference,
    rows_with,
    with_ends,
)
from bnlib.verdicts import above, count, verdict

MIXING = ("rotation", "permutation")
TARGET, NEGATED = "target statistics", "target statistics, γ of layer 1 negated"
MARGIN = 0.5  # points within which freezing costs nothing
BESIDE = 64  # rows of the batches whose companions are compared


def same_function(gaps: Mapping[str, float]) -> Claim:
    """gaps: relative, of trained and of random networks."""
    return Claim(
        "transfer-same-function",
        verdict(max(gaps.values()) <= 1e-12),
        f"Other statistics with the constants that go with them: outputs differ by "
        f"{gaps['trained']:.1e} of the largest in trained networks, {gaps['random']:.1e} in "
        "random ones.",
    )


def shift_exact(contrast: Contrast, photographs: pd.DataFrame, borders: pd.DataFrame) -> Claim:
    """Small networks in float64; and shipped networks, one a row of `borders`."""
    small, tested = contrast.exact <= 1e-9, len(borders) > 0
    evidence = f"Small networks: logits off by {contrast.exact:.1e} of their spread at eps = 0. "
    if not tested:
        word = UNDECIDED if small else "fails"
        return Claim("transfer-shift-exact", word, evidence + "No shipped network was run.")
    chosen = rows_with(photographs, corruption="contrast", statistics="target")
    stored, tiny = chosen["cosine"].min(), borders["contrast"].min()
    return Claim(
        "transfer-shift-exact",
        verdict(small and stored >= 0.99 and tiny >= 0.9999, small),
        f"{evidence}Shipped networks: smallest cosine of centred logits {stored:.4f} with the "
        f"stored eps and 1 - {1 - tiny:.0e} at eps = 1e-9.",
    )


def border(borders: pd.DataFrame) -> Claim:
    """Cosines at eps = 1e-9 with the padding changed and with the usual one, a row a network."""
    if not len(borders):
        return Claim("transfer-border", UNDECIDED, "No shipped network was run.")
    matched, usual = borders["dark, border too"], borders["dark"]
    return Claim(
        "transfer-border",
        verdict((matched >= 0.9999).all() and (usual < matched).all()),
        f"Darker crops, smallest cosine with the padding darkened too 1 - {1 - matched.min():.0e}; "
        f"with the usual padding {usual.min():.2f} to {usual.max():.2f}.",
    )


def mixing(recovered: Mapping[tuple[str, str], float], gain: Mapping[str, Paired]) -> Claim:
    """recovered: share of the lost accuracy by (shift, remedy).  gain: of weights over gamma and
    beta, in points, by shift."""
    diagonal = recovered["contrast", TARGET]
    others = {shift: recovered[shift, TARGET] for shift in (*MIXING, "negative")}
    turned = recovered["negative", NEGATED]
    statistics = diagonal >= 0.95 and max(others.values()) <= 0.5 and turned >= 0.95
    shares = ", ".join(f"{shift} {share:.2f}" for shift, share in others.items())
    gains = listed({shift: gain[shift] for shift in MIXING}, "+.1f")
    return Claim(
        "transfer-mixing",
        verdict(statistics and all(gain[s].low > 0 for s in MIXING), statistics),
        f"Target statistics recover {diagonal:.3f} of contrast, of {shares}; a negated gamma "
        f"{turned:.3f} of negative; weights minus gamma and beta, points: {gains}.",
    )


def count_or_gradient(gain: Paired) -> Claim:
    """gain: of counting over tuned gamma and beta, in points."""
    return Claim(
        "transfer-count-or-gradient",
        above(gain, 0),
        f"Contrast, target statistics minus tuned gamma and beta: {with_ends(gain, '+.1f')} "
        "points.",
    )


def adabn(gains: Mapping[str, Paired], closed: Mapping[str, float]) -> Claim:
    """gains: in points, each way.  closed: share of the way to a network of the target."""
    ways = (
        f"{way} {with_ends(gain, '+.1f')} points, {closed[way]:.0%} of the gap"
        for way, gain in gains.items()
    )
    return Claim(
        "transfer-adabn",
        _above_zero(gains),
        f"Target statistics minus source statistics: {'; '.join(ways)}.",
    )


def explodes(excess: Mapping[int, Paired], before: Mapping[int, float]) -> Claim:
    """excess: of the first losses over the untouched network, by m.  before: without a step."""
    cells = (
        f"m = {m}: {with_ends(gap, '+.2f')} (without any step {before[m]:+.2f})"
        for m, gap in excess.items()
    )
    return Claim(
        "transfer-explodes",
        _above_zero(excess),
        f"Loss of the first {EARLY} steps over that of the untouched network: {'; '.join(cells)}.",
    )


def frozen_rate(steps: Mapping[str, float], judged: str) -> Claim:
    """steps: of the grid, largest stable rate frozen minus batch, paired median, by cell.

    judged: the cell that can make it fail.
    """
    cells = ", ".join(f"{name} {gap:+g}" for name, gap in steps.items())
    safe, worse = min(steps.values()) >= 0, steps[judged] <= -1
    return Claim(
        "transfer-frozen-rate",
        verdict(safe, not worse),
        f"Largest stable rate, frozen minus batch, in steps of the grid: {cells}.",
    )


def freeze_rule(gaps: Mapping[int, Paired]) -> Claim:
    """gaps: accuracy of frozen minus batch, in points, by m."""
    always = not any(gap.high < -MARGIN for gap in gaps.values())
    never = not any(gap.low > MARGIN for gap in gaps.values())
    cells = "; ".join(f"m = {m}: {with_ends(gap, '+.1f')}" for m, gap in gaps.items())
    return Claim(
        "transfer-freeze-rule",
        verdict(always != never, tested=not (always and never)),
        f"Accuracy, frozen minus batch, points: {cells}; 'always' "
        f"{'stands' if always else 'falls'}, 'never' {'stands' if never else 'falls'}.",
    )


def frozen_random(gaps: Random) -> Claim:
    """Relative gaps of the function and of the trained weights."""
    return Claim(
        "transfer-frozen-random",
        verdict(gaps.function <= 1e-12 and gaps.path <= 1e-10),
        f"Outputs against the plain network's, scaled: {gaps.function:.1e}; weights after "
        f"training: {gaps.path:.1e} with gamma and beta fixed, {gaps.tuned:.1e} with them trained.",
    )


def companions(scores: Mapping[str, np.ndarray], sizes: list[int]) -> Claim:
    """scores: accuracy (sizes, S) of random and of sorted batches."""
    at = sizes.index(BESIDE)
    gap = paired_difference(scores["random"][at], scores["sorted"][at])
    mean = dict(zip(sizes, scores["random"].mean(1), strict=True))
    rises = all(np.diff([score for m, score in mean.items() if m <= BESIDE]) > 0)
    row = ", ".join(f"m = {m}: {score:.1f}" for m, score in mean.items())
    return Claim(
        "transfer-companions",
        count([gap.low > 20, rises]),
        f"Random minus sorted batches of {BESIDE}: {with_ends(gap, '+.1f')} points; random "
        f"batches, accuracy {row}.",
    )


def tent_helps(mixed: Mapping[str, Stream]) -> Claim:
    """By shift; the first entry of a stream is target statistics alone, the second one pass."""
    gains = {n: paired_difference(s.accuracy[1], s.accuracy[0]) for n, s in mixed.items()}
    adjusted = holm([gain.p for gain in gains.values()])
    right = [g.estimate > 0 and p < 0.05 for g, p in zip(gains.values(), adjusted, strict=True)]
    return Claim(
        "transfer-tent-helps",
        count(right, holds=-(-len(right) // 2)),
        f"One pass, points gained: {listed(gains, '+.1f')}; {sum(right)} of {len(right)} after "
        "Holm.",
    )


def tent_destroys(mixed: Mapping[str, Stream], ordered: Mapping[str, Stream]) -> Claim:
    """mixed: all passes over mixed batches.  ordered: one pass over a sorted stream."""
    half = -(-len(mixed) // 2)
    ended = {n: paired_difference(s.accuracy[-1], s.accuracy[0]) for n, s in ordered.items()}
    fell = {  # from the pass that is best on average to the last
        n: paired_difference(s.accuracy[-1], s.accuracy[s.accuracy.mean(1).argmax()])
        for n, s in mixed.items()
    }
    entropy = all((s.entropy[-1] < s.entropy[0]).all() for s in mixed.values())
    at_once = sum(gap.high < 0 for gap in ended.values()) >= half
    later = sum(gap.high < 0 for gap in fell.values()) >= half and entropy
    cells = (
        f"{name} {with_ends(ended[name], '+.1f')} and {with_ends(fell[name], '+.1f')}"
        for name in mixed
    )
    return Claim(
        "transfer-tent-destroys",
        count([at_once, later]),
        f"Points, sorted pass minus start and last pass minus peak: {'; '.join(cells)}; entropy "
        f"{'fell on all' if entropy else 'did not fall on all'}.",
    )


def few_images(photographs: pd.DataFrame) -> Claim:
    """Clean crops, statistics of other clean crops, against stored ones; a row a network."""
    if not len(photographs):
        return Claim("transfer-few-images", UNDECIDED, "No shipped network was run.")
    clean = rows_with(photographs, corruption="clean", statistics="target")
    agreement = clean.set_index("network")["agreement"]
    cells = ", ".join(f"{name} {value:.0f} %" for name, value in agreement.items())
    few, enough = bool((agreement < 50).all()), bool((agreement >= 90).all())
    return Claim(
        "transfer-few-images",
        verdict(enough, not few),
        f"Same first class as with stored statistics, clean crops of two photographs: {cells}.",
    )


def affine_enough(arms: Mapping[tuple[str, int], Arm]) -> Claim:
    """All numbers against gamma and beta, by numbers of labels."""
    labels = sorted({n for _, n in arms})
    pairs = {n: (arms["all", n].accuracy, arms["γ, β", n].accuracy) for n in labels}
    wide = {n: paired_difference(*pair) for n, pair in pairs.items()}
    narrow = [paired_difference(*pair, level=0.9) for pair in pairs.values()]
    same = all(gap.low > -1 and gap.high < 1 for gap in narrow)
    return Claim(
        "transfer-affine-enough",
        verdict(same, not wide[labels[-1]].low > 1),
        f"All minus gamma and beta, points: {_by_labels(wide)}.",
    )


def affine_beats_random(arms: Mapping[tuple[str, int], Arm]) -> Claim:
    """Gamma and beta against as many random weights, by numbers of labels."""
    gaps = {
        n: paired_difference(arm.accuracy, arms["random weights", n].accuracy)
        for (name, n), arm in arms.items()
        if name == "γ, β"
    }
    return Claim(
        "transfer-affine-beats-random",
        _above_zero(gaps),
        f"Gamma and beta minus as many random weights, points: {_by_labels(gaps)}.",
    )


def affine_harms(without: np.ndarray, trained: np.ndarray) -> Claim:
    """Accuracy of a tuned head, 20 labels, from sources without gamma and beta and with them."""
    gap, same = paired_difference(without, trained), equivalent(without, trained, 1.0)
    return Claim(
        "transfer-affine-harms",
        verdict(gap.low > 0, tested=same or gap.high < 0),
        f"Source without gamma and beta minus with them, head tuned on 20 labels, {len(without)} "
        f"seeds: {with_ends(gap, '+.2f')} points.",
    )


def _above_zero(gaps: Mapping[Any, Paired]) -> str:
    """holds: every interval lies above 0.  partly: some.  fails: all end below.  Else undecided."""
    right = [gap.low > 0 for gap in gaps.values()]
    refuted = all(gap.high < 0 for gap in gaps.values())
    return count(right, tested=any(right) or refuted)


def _by_labels(gaps: Mapping[int, Paired]) -> str:
    return "; ".join(f"{n} labels {with_ends(gap, '+.1f')}" for n, gap in gaps.items())
