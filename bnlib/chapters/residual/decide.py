"""From what the chapter measured to its verdicts, by the rules of `book/claims.toml`.

`table`: the stored rows of rates as a frame, one line a cell and arm, lists over seeds; a cell is
named "digits, stream, 16". What a rule says stands in the register, `register.toml`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from bnlib import statistics
from bnlib.chapters.residual.measure import WAITED, FirstStep, Placement, Waiting
from bnlib.results import Claim
from bnlib.statistics import Interval, Paired, listed, with_ends
from bnlib.verdicts import count, inside, verdict

MARGIN = float(np.log(1.25))
DEEP, WIDE = 16, ("digits", "mnist1d")
DEEP_STREAMS = [f"{name}, stream, {DEEP}" for name in WIDE]

Gaps = dict[tuple[str, str], tuple[Paired, float]]
"""(arm, cell) -> log of the best loss against another arm, and octaves of the largest rate."""


def identity(gaps: pd.DataFrame) -> Claim:
    """gaps: of `measure.identity`."""
    ahead, back = gaps.forward.max(), gaps.backward.max()
    return Claim(
        "residual-identity-both-ways",
        verdict(ahead == 0 and back == 0),
        f"Closed blocks, {len(gaps)} cases (two forms, float32 and float64, training and "
        f"evaluation): largest |x_l - x_0| {ahead:g}, largest |dx_l - dx_L| {back:g}; in v1 where "
        f"x > 0, all but {gaps.kink.max():.0%} of the entries.",
    )


def never_learns(step: FirstStep, moved: float) -> Claim:
    """step: form stream.  moved: least distance that a W_out has come in 50 steps."""
    ratio = step.ratio[1e-3]
    off = float(np.abs(ratio - 1).max())
    learns = step.waiting == 0 and step.open_share >= 0.99 and off <= 0.02 and moved > 0
    word = "fails" if learns else verdict(step.open_share == 0, True)
    return Claim(
        "residual-never-learns",
        word,
        f"In step one the largest gradient of a weight in a branch is {step.waiting:g}, and "
        f"{step.open_share:.1%} of the d gamma are not 0; the loss falls as predicted from them to "
        f"{off:.1%} at rate 0.001. After 50 steps every W_out has moved, by {moved:.3f} or more.",
    )


def weights_wait(runs: Mapping[str, Waiting]) -> Claim:
    """runs: by optimizer; T(T - 1)/2 at every T of `WAITED`, in every seed."""
    law = np.array([t * (t - 1) / 2 for t in WAITED])
    off = {name: float(np.abs(run.ratio / law - 1).max()) for name, run in runs.items()}
    right = {name: gap <= 0.05 for name, gap in off.items()}
    jump = runs["Adam"].jump
    expected = np.sqrt(1.999) / 1.9
    jumps = abs(jump / expected - 1) <= 0.02
    return Claim(
        "residual-weights-wait",
        verdict(all(right.values()), right["SGD"] and jumps),
        f"Way of the weights after T steps over that after 2, T up to {max(WAITED)}: within "
        f"{off['SGD']:.1%} of T(T-1)/2 with SGD, not within {off['Adam']:.0%} with Adam, whose "
        f"second step moves a weight by {jump:.3f} of the rate at once (law {expected:.3f}).",
    )


def same_gradient(spread: Interval, aligned: Interval) -> Claim:
    """spread: coefficient of variation of |d gamma_c| in a block.  aligned: c cos^2(d gamma, 1)."""
    confirmed = inside(1, aligned) and (aligned.high - aligned.low) / 2 <= 0.15
    return Claim(
        "residual-same-gradient",
        "fails" if spread.low > 0.25 else verdict(spread.high < 0.01, True),
        f"Coefficient of variation of |d gamma_c| in a block {with_ends(spread, '.2f')}. "
        f"c cos^2 of d gamma and (1, .., 1): {with_ends(aligned, '.2f')}; coins give 1 "
        f"({'confirmed' if confirmed else 'not confirmed'}).",
    )


def binomial(negative: int, channels: int, level: float) -> Interval:
    """Share of negative gamma with its exact interval."""
    ends = stats.binomtest(negative, channels).proportion_ci(level)
    return Interval(negative / channels, float(ends.low), float(ends.high))


def sign_coin(
    flips: Mapping[str, float], zero: Mapping[str, Interval], one: Mapping[str, Interval]
) -> Claim:
    """flips: difference by optimizer.  zero, one: share of negative gamma by data set, 99 %."""
    exact = max(flips.values()) == 0
    fair = all(inside(0.5, share) for share in zero.values())
    tested = not any(inside(0.5, share) for share in one.values())
    shares = "; ".join(
        f"{name} {with_ends(zero[name], '.3f')}, started at 1 {one[name].estimate:.3f}"
        for name in zero
    )
    return Claim(
        "residual-sign-coin",
        verdict(exact and fair and tested, exact and fair, tested=tested),
        f"Rows flipped: largest other difference after 20 steps of {', '.join(flips)} "
        f"{max(flips.values()):g}. Share of negative gamma after training, 99 %: {shares}.",
    )


def zero_anywhere(places: Mapping[str, Placement], slopes: Mapping[str, float]) -> Claim:
    """places: among them `LAST`, `UNDER` and `DEAD`; slopes: of log rms in log rate."""
    last, under, dead = (places[n] for n in (LAST, UNDER, DEAD))
    closed = max(p.start for p in (last, under, dead)) == 0
    opens = {n: abs(slopes[n] - 1) <= 0.1 and places[n].gradient > 0 for n in (LAST, UNDER, DEAD)}
    law = float(np.abs(under.opened / under.law - 1).max())
    return Claim(
        "residual-zero-anywhere",
        verdict(closed and all(opens.values())),
        f"All three are the identity at the start. After one step of rate 0.001 the branch has "
        f"size {last.opened[1]:.1e} (gamma last), {under.opened[1]:.2f} (W under a norm; law of "
        f"the jump met to {law:.1e}) and {dead.opened[1]:g} (gamma before a ReLU: largest gradient "
        f"in 50 steps {dead.gradient:g}).",
    )


LAST, UNDER, DEAD = "zero γ, last", "zero W under a norm", "zero γ before a ReLU"


def share(off: Mapping[str, float], laws: Mapping[str, float]) -> Claim:
    """Largest relative gap of the median share to 1/(l + 1), and to the form's own law, by form."""
    words = "; ".join(f"{name} {off[name]:.0%}, its own law {laws[name]:.0%}" for name in off)
    theory = "met" if max(laws.values()) <= 0.1 else "NOT met"
    return Claim(
        "residual-share",
        count(gap <= 0.05 for gap in off.values()),
        f"Largest distance of the share to 1/(l+1): {words}. Own laws {theory} within 10 %.",
    )


def doubles(slope: Interval) -> Claim:
    """slope: of log2 of the mean square of x_l in l, without norm."""
    return Claim(
        "residual-doubles",
        verdict(0.9 <= slope.estimate <= 1.05),
        f"Slope of log2 of the mean square in l, without norm: {with_ends(slope, '.2f')}.",
    )


def shallow(table: pd.DataFrame) -> Claim:
    """table: columns depth, law, growth, growth law; indexed by name and L."""
    close = (table.depth / table.law - 1).abs().max()
    factor = float(np.exp(np.abs(np.log(table.growth / table["growth law"])).max()))
    deepest = table.xs(table.index.get_level_values("L").max(), level="L")
    ordered = (deepest.depth.rank() == deepest.law.rank()).all()
    listed = ", ".join(f"{n} {row.depth:.2f} ({row.law:.2f})" for n, row in deepest.iterrows())
    return Claim(
        "residual-shallow",
        verdict(close <= 0.15 and factor <= 1.5, ordered),
        f"Branches passed at the largest L, law in brackets: {listed}. Over all L within "
        f"{close:.0%}; growth of the squared gradient within a factor {factor:.2f}.",
    )


def pair(table: pd.DataFrame, cell: str, arms: tuple[str, str], target: str = "best") -> Any:
    """Paired difference of two arms in a cell, over seeds."""
    first, second = (np.array(table.loc[(cell, arm), target]) for arm in arms)
    return statistics.paired_difference(first, second)


def over_cells(
    table: pd.DataFrame, arms: tuple[str, str], cells: Sequence[str], target: str = "best"
) -> pd.DataFrame:
    """`pair` in each cell: estimate, low, high, p."""
    rows = {cell: pair(table, cell, arms, target)._asdict() for cell in cells}
    return pd.DataFrame.from_dict(rows, orient="index")


def raises_rate(gain: pd.DataFrame) -> Claim:
    """gain: zero - one of max_stable in the fully connected cells with L = 16."""
    return Claim(
        "residual-raises-rate",
        verdict((gain.low > 0).all(), (gain.low > 0).any() and not (gain.high < 0).any()),
        f"log2 of the largest stable rate, zero - one: {listed(dict(gain.iterrows()), '.1f')}.",
    )


def improves_all(gap: pd.DataFrame) -> Claim:
    """gap: zero - one of log best loss, every cell."""
    better, worse = gap.high < 0, gap.low > 0
    word = "fails" if worse.any() else verdict(better.all(), better.any())
    return Claim(
        "residual-improves-all",
        word,
        f"log of the best loss, zero over one: better in {better.sum()} of {len(gap)} cells, worse "
        f"in {worse.sum()}; from {with_ends(gap.loc[gap.estimate.idxmin()], '.2f')} "
        f"({gap.estimate.idxmin()}) to {with_ends(gap.loc[gap.estimate.idxmax()], '.2f')} "
        f"({gap.estimate.idxmax()}).",
    )


def shallow_first(a: pd.DataFrame, b: pd.DataFrame) -> Claim:
    """a: zero - one, b: no-blocks - one, of log best loss in every cell."""
    closed, bare = statistics.sign(a), statistics.sign(b)
    clear = (closed != 0) & (bare != 0)
    same = closed[clear] == bare[clear]
    both_ways = same.all() and closed[clear].nunique() == 2
    return Claim(
        "residual-shallow-first",
        verdict(both_ways, same.all(), tested=clear.any()),
        f"Zero gamma and no blocks, both against one: signs agree in {same.sum()} of {clear.sum()} "
        f"cells where both intervals exclude 0 ({len(a)} cells in all); no blocks are worse in "
        f"{(bare > 0).sum()} of the {len(b)}, better in {(bare < 0).sum()}.",
    )


def zero_is_special(table: pd.DataFrame, cells: Sequence[str]) -> Claim:
    """Zero against root in every cell."""
    gap = over_cells(table, ("zero", "root"), cells)
    better, worse = gap.high < 0, gap.low > 0
    alike = [_alike(table, cell, "zero", "root") for cell in cells]
    nowhere = all(x or y for x, y in zip(alike, worse, strict=True))
    return Claim(
        "residual-zero-is-special",
        verdict(better.sum() > len(cells) / 2, not nowhere),
        f"log of the best loss, gamma = 0 over 1/sqrt(L): better in {better.sum()} of {len(cells)} "
        f"cells, worse in {worse.sum()}, equivalent within a factor of 1.25 in {sum(alike)}.",
    )


def like_rezero(table: pd.DataFrame) -> Claim:
    """Scalar and skip-init against zero, stream, L = 16, both data sets."""
    arms = ("scalar", "skip-init")
    gaps = _against("zero", table, product(arms, DEEP_STREAMS))
    alike: dict[str, bool] = dict.fromkeys(arms, True)
    for (arm, cell), (_, octaves) in gaps.items():
        alike[arm] &= _alike(table, cell, arm, "zero") and abs(octaves) <= 1
    return Claim(
        "residual-like-rezero",
        verdict(all(alike.values()), alike["scalar"]),
        f"Against zero gamma, log of the best loss and octaves of the rate: {_spelled(gaps)}.",
    )


def norm_free(table: pd.DataFrame) -> Claim:
    """Fixup and skip-init against one, stream, L = 16, both data sets."""
    arms = ("fixup", "skip-init")
    gaps = _against("one", table, ((arm, cell) for cell in DEEP_STREAMS for arm in arms))
    loss = {place: gap.low <= 0 for place, (gap, _) in gaps.items()}
    both = {place: loss[place] and octaves >= -1 for place, (_, octaves) in gaps.items()}
    sets = [all(both[arm, cell] for arm in arms) for cell in DEEP_STREAMS]
    return Claim(
        "residual-norm-free",
        verdict(all(sets), all(loss.values()) or any(sets)),
        f"Against gamma = 1, log of the best loss and octaves of the rate: {_spelled(gaps)}.",
    )


def _against(base: str, table: pd.DataFrame, places: Iterable[tuple[str, str]]) -> Gaps:
    gaps = {}
    for arm, cell in places:
        octaves = pair(table, cell, (arm, base), "max_stable").estimate
        gaps[arm, cell] = pair(table, cell, (arm, base)), octaves
    return gaps


def _spelled(gaps: Gaps) -> str:
    return "; ".join(
        f"{arm}, {cell}: loss {with_ends(loss, '.2f')}, rate {octaves:+.1f}"
        for (arm, cell), (loss, octaves) in gaps.items()
    )


def _alike(table: pd.DataFrame, cell: str, first: str, second: str) -> bool:
    a, b = (np.array(table.loc[(cell, arm), "best"]) for arm in (first, second))
    return statistics.equivalent(a, b, MARGIN)


def foretold(arms: pd.DataFrame, momentum: pd.DataFrame, longer: pd.DataFrame) -> pd.DataFrame:
    """The five predictions of `cures.toml`, a line a cell: what was measured, and as predicted?

    arms: without momentum, all arms.  momentum, longer: the four arms, by cell as it was registered
    (of the longer runs too).
    """
    lines = []
    for name, pair_of in _EQUIVALENT.items():
        cell = DEEP_STREAMS[0]
        gap = with_ends(pair(arms, cell, pair_of), ".2f")
        lines.append((name, cell, " / ".join(pair_of), gap, _alike(arms, cell, *pair_of)))
    for name, table in {"momentum": momentum, "twice": longer}.items():
        cells = list(table.index.get_level_values("cell").unique())
        now, before = (over_cells(each, ("zero", "one"), cells) for each in (table, arms))
        same = statistics.sign(now) == statistics.sign(before)
        for (cell, gap), kept in zip(now.iterrows(), same, strict=True):
            lines.append((name, cell, "zero / one", with_ends(gap, ".2f"), bool(kept)))
    columns = ["prediction", "cell", "arms", "log of the ratio of best losses", "as predicted"]
    return pd.DataFrame(lines, columns=columns).set_index(columns[:3])


_EQUIVALENT = {
    "start": ("fixed-root", "root"),
    "weights": ("zero-weight", "one"),
    "warm-up": ("warm-up", "zero"),
}


def stays_near(nu: Mapping[str, Interval]) -> Claim:
    """nu: of the trained arm zero by data set."""
    high = max(v.high for v in nu.values())
    return Claim(
        "residual-stays-near",
        verdict(high < 0.1, high < 0.5),
        f"Size of a branch over that of its input after training, median of the blocks: "
        f"{listed(nu, '.2f')}.",
    )


def start_forgotten(ratio: Mapping[str, Interval]) -> Claim:
    """ratio: nu of zero over that of one after training, by data set."""
    apart = all(v.high < 0.8 for v in ratio.values())
    alike = all(v.low >= 0.8 and v.high <= 1.25 for v in ratio.values())
    return Claim(
        "residual-start-forgotten",
        verdict(alike, not apart),
        f"Size of the branches after training, started at 0 over started at 1: "
        f"{listed(ratio, '.2f')}.",
    )


def decay_closes(ratio: Mapping[float, Mapping[str, Interval]]) -> Claim:
    """ratio: decay -> data set -> nu with over without, arm zero; the least decay and the most."""
    closes = {decay: all(v.high < 0.5 for v in by.values()) for decay, by in ratio.items()}
    words = "; ".join(f"{decay:g}: {listed(by, '.2f')}" for decay, by in ratio.items())
    return Claim(
        "residual-decay-closes",
        verdict(closes[min(closes)], closes[max(closes)]),
        f"Size of the branches with decay of the last gamma over that without, by decay: {words}.",
    )


def less_interaction(raw: pd.DataFrame, corrected: pd.DataFrame) -> Claim:
    """zero - one of the interaction's share in a step, in every cell, as it is (raw) and
    corrected, divided by 1 - sum s^2, s the shares of the layers in the predicted decrease.
    """
    less = {"as it is": raw.high < 0, "over 1 - sum s^2": corrected.high < 0}
    words = "; ".join(
        f"{name} below 0 in {less[name].sum()} of {len(gap)} cells, from "
        f"{with_ends(gap.loc[gap.estimate.idxmin()], '.3f')} to "
        f"{with_ends(gap.loc[gap.estimate.idxmax()], '.3f')}"
        for name, gap in zip(less, (raw, corrected), strict=True)
    )
    return Claim(
        "residual-less-interaction",
        verdict(all(below.all() for below in less.values()), less["as it is"].all()),
        f"Interaction as a share of the predicted decrease, zero - one: {words}.",
    )


def shipped_share(frames: Mapping[str, pd.DataFrame]) -> Claim:
    """frames: blocks with a skip of each network."""
    scaled = {name: f.share * (f.k + 1) for name, f in frames.items()}
    near = {name: float(v.between(0.5, 2).mean()) for name, v in scaled.items()}
    large = sum(int((f.nu > 0.5).sum()) for f in frames.values())
    total = sum(map(len, frames.values()))
    words = ", ".join(f"{name} {v:.0%}" for name, v in near.items())
    return Claim(
        "residual-shipped-share",
        verdict(min(near.values()) >= 0.8, min(near.values()) >= 0.5),
        f"Share times (k + 1) within a factor of two of 1: {words} of the blocks with a skip. "
        f"nu above 0.5 in {large} of {total}.",
    )


def shipped_zero(shares: Mapping[str, Interval]) -> Claim:
    """shares: of negative gamma in the projections with a skip, 95 %."""
    coins = all(inside(0.5, v) for v in shares.values())
    few = all(v.estimate < 0.05 for v in shares.values())
    return Claim(
        "residual-shipped-zero",
        verdict(coins, not few),
        f"Share of negative gamma in projections with a skip: {listed(shares, '.3f')}; coins give "
        "0.5.",
    )
