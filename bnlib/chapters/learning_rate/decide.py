"""The rules of the chapter: what was measured -> a verdict, and the evidence in one sentence.

They were registered in `register.toml` before any correlation was computed.
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from bnlib.chapters.learning_rate import measure, periods
from bnlib.results import UNDECIDED, Claim
from bnlib.statistics import Interval, rows_with
from bnlib.verdicts import above, count, verdict

BRACKETS, RANGE = "{:.2f} [{:.2f}, {:.2f}]", "{:.2f} ({:.2f} to {:.2f})"
HALF = -1.0  # a rate half as large, in log2
LEAST_AGREEMENT = 0.9  # share of values that must lie within one step of the grid
OFF, PARTIAL = ("k_off", "pooled"), ("k_off", "partial")
PREDICTIONS = {
    "share-predicts": (("share", "pooled"), (0.3, 0.0), "rho of the share"),
    "raw-interaction-predicts": (OFF, (0.3, 0.0), "rho of k_off"),
    "interaction-beats-total": (measure.BEYOND, (0.0,), "rho of k_off minus rho of k_total"),
    "beyond-loss-over-gradient": (PARTIAL, (0.0,), "partial rho of k_off given the baseline"),
}
"""Claim -> its row of `correlations`; what its interval is above: holds, partly; in words."""


def agreeing(gaps: pd.Series) -> float:
    """Share of the values of run and stored table that lie within one step of the grid.

    Raises ValueError where fewer than `LEAST_AGREEMENT` do: the table is not of this library.
    """
    share = float((gaps <= 1).mean())
    if share < LEAST_AGREEMENT:
        worst = gaps.sort_values(ascending=False).head(3).to_dict()
        raise ValueError(
            f"expected {LEAST_AGREEMENT:.0%} of the run within one grid step of the stored table, "
            f"got {share:.0%}; furthest: {worst}"
        )
    return share


def shown(rows: pd.DataFrame) -> pd.Series:
    """Estimates with their intervals as text."""
    intervals = rows[["estimate", "low", "high"]].to_numpy()
    return pd.Series([BRACKETS.format(*interval) for interval in intervals], index=rows.index)


def fresh_constants(gaps: pd.DataFrame, *, trained: bool) -> Claim:
    """gaps: log2 of renewed over bn with its interval, a row a depth, four matrices and more.

    trained: some rate reached the threshold in some network, and not all did.
    """
    level, behind = gaps.low > HALF, gaps.high < HALF
    told = trained and bool(level.any() or behind.all())
    return Claim(
        "fresh-constants-suffice",
        count(level, tested=told) if trained and len(gaps) else UNDECIDED,
        "log2(largest rate of renewed / of BN), this run: "
        + ", ".join(f"{text} (L = {n})" for n, text in shown(gaps).items())
        + "; behind is below -1.",
    )


def seldom_renewed(margins: pd.DataFrame, gain: pd.DataFrame) -> Claim:
    """margins: as `periods.margins` gives them.  gain: of BN over none, a row a depth."""
    fate = periods.fates(margins)
    eighth = fate.loc[8]
    told = bool((eighth > 0).any() or (eighth < 0).all())
    words = {1: "kept", 0: "open", -1: "lost"}
    parts = [
        f"L = {depth}: " + ", ".join(f"{period} {words[int(v)]}" for period, v in column.items())
        for depth, column in fate.items()
    ]
    return Claim(
        "seldom-renewed-constants",
        count(eighth > 0, tested=told) if (gain.low > 0).all() else UNDECIDED,
        "Most of BN's gain, by period: " + "; ".join(parts) + ".",
    )


def larger_rates(
    ratio: pd.DataFrame, run: pd.DataFrame, source: str, *, trained: bool = True
) -> Claim:
    """holds: BN's paired gain has an interval above 0 at every depth.  partly: at some.

    Undecided unless `trained`: some rate reached the threshold in some network.
    ratio: a row a depth, of the judged networks; run: of this run's.
    """
    rows = ratio[["estimate", "low", "high"]].itertuples()
    gains = ", ".join(f"{v:.1f} [{a:.1f}, {b:.1f}] (L = {n})" for n, v, a, b in rows)
    evidence = (
        f"ReLU, over {source}: log2 of the ratio is {gains}; "
        f"above 0 at {(run.low > 0).sum()} of {len(run)} depths of this run."
    )
    return Claim("larger-rates-with-bn", count(ratio.low > 0, tested=trained), evidence)


def prediction(name: str, rho: pd.DataFrame) -> tuple[str, Interval]:
    """The verdict on one of `PREDICTIONS`, and the interval that decides.

    rho: `correlations` of the architectures of one half.
    """
    row, edges, _ = PREDICTIONS[name]
    interval = Interval(*rho.loc[row])
    return above(interval, *edges), interval


def predictions(rho: Mapping[str, pd.DataFrame], architectures: int, source: str) -> list[Claim]:
    """The four claims on so many held-out architectures; none where these were not opened."""
    claims = []
    for name, (_, _, words) in PREDICTIONS.items() if "held_out" in rho else ():
        word, interval = prediction(name, rho["held_out"])
        first = prediction(name, rho["exploration"])[1]
        evidence = (
            f"{architectures} architectures of held-out cells, {source}: {words} "
            f"{BRACKETS.format(*interval)}; exploration {BRACKETS.format(*first)}."
        )
        claims.append(Claim(name, word, evidence))
    return claims


def by_interaction(order: measure.Order) -> str:
    """Do arms with less interaction tolerate larger steps?

    holds: the interval of tau lies above 0, and the arm with the least interaction gains at least
    half of what BN gains.  partly: one of the two.  fails: otherwise.  Undecided where BN gains
    nothing.
    """
    if order.bn_gain <= 0:
        return UNDECIDED
    return count([order.tau.low > 0, order.gain >= order.bn_gain / 2])


def interaction_is_mechanism(order: measure.Order, run: measure.Order, source: str) -> Claim:
    evidence = (
        f"Over {source}: Kendall's tau {BRACKETS.format(*order.tau)}; least interaction: "
        f"{order.least}, which gains {order.gain:.1f} doublings where bn gains "
        f"{order.bn_gain:.1f}. In this run tau is {run.tau.estimate:.2f}."
    )
    return Claim("interaction-is-mechanism", by_interaction(order), evidence)


def self_tuning(share: float) -> str:
    """holds: resetting norms takes more than 1/2 of BN's gain.  partly: more than 1/10.

    Undecided where BN gains nothing: then the share is NaN.
    """
    return UNDECIDED if share != share else verdict(share > 0.5, share > 0.1)


def rate_is_mechanism(lost: Interval, run: Interval, source: str) -> Claim:
    evidence = (
        f"Over {source}: resetting norms takes {lost.estimate:.0%} of BN's gain "
        f"[{lost.low:.0%}, {lost.high:.0%}]; in this run {run.estimate:.0%}."
    )
    return Claim("effective-rate-is-mechanism", self_tuning(lost.estimate), evidence)


def on_ladder(frame: pd.DataFrame) -> dict[str, str]:
    """Both tests of the mechanism on one ladder, as text."""
    order, gain = measure.order_of_arms(frame), measure.gains(frame)
    cells = {"tau": RANGE.format(*order.tau), "least int": order.least}
    cells["by interaction"] = by_interaction(order)
    cells |= {f"gain {arm}": f"{gain[arm]:.1f}" for arm in measure.LADDER[1:]}
    for arm in measure.SCALE_FREE if frame.arm.str.endswith(measure.RESET).any() else ():
        cells[f"reset takes, {arm}"] = f"{measure.explained(frame, arm).estimate:.0%}"
    return cells


def on_table(frame: pd.DataFrame, ladder: pd.DataFrame, held_out: bool) -> dict[str, str]:
    """Every claim of the chapter judged on a stored table alone, with its number."""
    words = {"larger-rates-with-bn": count(measure.bn_gains(frame).low > 0)}
    if held_out:
        rho = measure.correlations(measure.medians(rows_with(frame, half="held_out")))
        for name in PREDICTIONS:
            word, interval = prediction(name, rho)
            words[name] = f"{word}: {RANGE.format(*interval)}"
    order, lost = measure.order_of_arms(ladder), measure.explained(ladder)
    tau = f"tau {RANGE.format(*order.tau)}, least {order.least}"
    words["interaction-is-mechanism"] = f"{by_interaction(order)}: {tau}"
    text = f"{self_tuning(lost.estimate)}: {RANGE.format(*lost)}"
    return {**words, "effective-rate-is-mechanism": text}
