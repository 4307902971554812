"""From what the interactions chapter measured to its verdicts, by the rules of `book/claims.toml`.

Rows are a cell each, as in `measure`; only cells with at least `JUDGED` weight matrices count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bnlib.results import Claim
from bnlib.statistics import Interval, listed, sign
from bnlib.verdicts import count, verdict

SIDES = {-1: "less", 0: "open", 1: "more"}
JUDGED = 4  # weight matrices from which on a cell counts


def sides(rows: pd.DataFrame) -> tuple[int, int, int]:
    """Numbers of cells whose interval lies below 0, above 0, and of all cells."""
    return int((rows.sign < 0).sum()), int((rows.sign > 0).sum()), len(rows)


def lies(rows: pd.DataFrame) -> str:
    """`sides` in words."""
    below, above, cells = sides(rows)
    return f"lies below 0 in {below} of {cells} cells and above 0 in {above}"


def of_state(rows: pd.DataFrame, state: str) -> Any:
    """The cells of one state, "start" or "trained"."""
    return rows[rows.index.get_level_values("state") == state]


def relu_cells(rows: pd.DataFrame) -> np.ndarray:
    """Which cells are of ReLU.  Raises ValueError for none: a rule over no cell says nothing."""
    relu = np.asarray(rows.index.get_level_values("activation") == "relu")
    if not relu.any():
        raise ValueError(f"expected ReLU cells with L >= {JUDGED}, which the rule needs, got none")
    return relu


def reduced(rows: Any) -> str:
    """holds: BN - none below 0 in every ReLU cell and in some cell of another activation.
    partly: below 0 somewhere, above 0 nowhere.  fails: otherwise."""
    rows = rows[rows.index.get_level_values("L") >= JUDGED]
    relu, below, above = relu_cells(rows), rows.sign < 0, rows.sign > 0
    in_each = below[relu].all() and below[~relu].any()
    return verdict(in_each, below.any() and not above.any())


def by_reacting(rows: pd.DataFrame) -> list[str]:
    """holds: BN - frozen below 0 and phi < 1/2.  partly: below 0.  fails: otherwise."""
    below = rows.sign < 0
    return [verdict(b and phi < 0.5, b) for b, phi in zip(below, rows.phi, strict=True)]


def by_bn_alone(signs: pd.DataFrame) -> list[str]:
    """holds: BN below every other arm.  partly: below some.  signs: a column each other arm."""
    return [count(cell < 0) for cell in signs.to_numpy()]


def over_cells(rows: Any) -> str:
    """holds: every ReLU cell holds.  fails: at least half fail.  partly: otherwise."""
    rows = rows[rows.index.get_level_values("L") >= JUDGED]
    verdicts = rows.verdict[relu_cells(rows)]
    return verdict((verdicts == "holds").all(), (verdicts == "fails").mean() < 0.5)


def tally(rows: pd.DataFrame) -> str:
    """How many ReLU cells have which verdict, in words."""
    verdicts = list(rows.verdict[relu_cells(rows)])
    holds, partly, fails = (verdicts.count(word) for word in ("holds", "partly", "fails"))
    return f"Of {len(verdicts)} ReLU cells {holds} hold, {partly} hold partly, {fails} fail"


def loss_interaction_reduced(
    rows: pd.DataFrame, size: pd.DataFrame, amount: pd.DataFrame, steps: int
) -> Claim:
    """rows, size, amount: of BN - none, of int, |int|, and INT in units of the loss."""
    start, trained = (reduced(of_state(rows, state)) for state in ("start", "trained"))
    return Claim(
        "loss-interaction-reduced",
        reduced(rows),
        f"BN - none of int {lies(rows)}. At the start alone the rule says {start}, after {steps} "
        f"steps {trained}; for |int| {reduced(size)}, and for INT in units of the loss "
        f"{reduced(amount)}.",
    )


def step_more_predictable(rows: pd.DataFrame, steps: int) -> Claim:
    """rows: of BN - none, of |1 - act|."""
    start, trained = (sides(of_state(rows, state)) for state in ("start", "trained"))
    return Claim(
        "step-more-predictable",
        reduced(rows),
        f"BN - none of |1 - actual/promised|: at the start below 0 in {start[0]} and above 0 in "
        f"{start[1]} of {start[2]} cells, after {steps} steps below 0 in {trained[0]} and above 0 "
        f"in {trained[1]} of {trained[2]}.",
    )


def output_interaction_reduced(rows: pd.DataFrame) -> Claim:
    """rows: of BN - none, of the net share of the outputs."""
    evidence = f"BN - none of the output's net share {lies(rows)}."
    return Claim("output-interaction-reduced", reduced(rows), evidence)


def statistics_must_react(rows: pd.DataFrame, start: pd.Series) -> Claim:
    """rows: with the verdict of `by_reacting`.  start: phi of the ReLU cells at the start."""
    given = f"{start.min():.0%} to {start.max():.0%}"
    evidence = f"{tally(rows)}. At the start frozen statistics give {given} of the reduction."
    return Claim("statistics-must-react", over_cells(rows), evidence)


def special_to_bn(rows: pd.DataFrame, others: Sequence[str]) -> Claim:
    """rows: signs of BN - X, a column each other arm X, with the verdict of `by_bn_alone`."""
    relu: Any = rows[relu_cells(rows)]
    beaten = ", ".join(f"{x} in {(relu[x] < 0).sum()}" for x in others)
    evidence = f"{tally(rows)}. BN interacts less than {beaten}."
    return Claim("special-to-bn", over_cells(rows), evidence)


def grows_with_depth(slopes: pd.DataFrame) -> Claim:
    """slopes: of none - BN in L, ReLU, one row a state and step size."""
    below, above, cells = sides(slopes)
    return Claim(
        "grows-with-depth",
        verdict(above == cells, above and not below),
        f"The slope in L of int, none - BN, ReLU, lies above 0 in {above} and below 0 in {below} "
        f"of {cells} combinations of state and step.",
    )


def high_orders_matter(plain: pd.Series) -> Claim:
    """plain: share of the orders from 3 on in the loss without norm, by activation."""
    shares = ", ".join(f"{share:.0%} ({activation})" for activation, share in plain.items())
    return Claim(
        "high-orders-matter",
        verdict((plain >= 0.5).all(), (plain > 0.1).any()),
        f"Without norm the orders from 3 on are {shares} of all interaction in the loss.",
    )


def time_decides(signs: pd.DataFrame) -> str:
    """holds: half of each time's worlds or more decided and all alike, both directions over times.
    undecided: fewer than half of all cells decided.  partly: nine tenths of the decided cells have
    the commoner direction of their time, which is not the same at all times.  fails: otherwise.
    signs: a row a world, a column a time."""
    less, more = (signs < 0).sum(), (signs > 0).sum()
    alike = not ((less > 0) & (more > 0)).any() and less.any() and more.any()
    switches = (less > more).any() and (more > less).any()
    return verdict(
        alike and ((signs != 0).mean() >= 0.5).all(),
        switches and with_commoner(signs) >= 0.9 * decided(signs),
        tested=decided(signs) >= 0.5 * signs.size,
    )


def decided(signs: pd.DataFrame) -> int:
    """The number of cells that are less or more."""
    return int((signs != 0).to_numpy().sum())


def with_commoner(signs: pd.DataFrame, axis: int = 0) -> int:
    """Decided cells with the commoner direction of their time (axis 0), of their world (axis 1)."""
    less, more = ((signs * side > 0).sum(axis=axis) for side in (-1, 1))
    return int(np.maximum(less, more).sum())


def interaction_direction_is_time(signs: pd.DataFrame) -> Claim:
    """signs: of BN - none of int, -1, 0, 1, a row a world, a column a time."""
    counts = {time: f"{(cells < 0).sum()}/{(cells > 0).sum()}" for time, cells in signs.items()}
    shown = ", ".join(f"{time} {text}" for time, text in counts.items())
    apart = {kind: time_decides(part) for kind, part in signs.groupby("activation")}
    words = ", ".join(f"{kind} {word}" for kind, word in apart.items())
    return Claim(
        "interaction-direction-is-time",
        time_decides(signs),
        f"Worlds of {len(signs)} with less/more interaction: {shown}. Of {decided(signs)} decided "
        f"cells of {signs.size}, {with_commoner(signs)} have the commoner direction of their time, "
        f"{with_commoner(signs, 1)} that of their world. Alone: {words}.",
    )


def one_direction(signs: pd.Series, side: int, least: int) -> str:
    """holds: every cell has the side, -1 or 1.  undecided: fewer than `least` cells decided.
    partly: some have it and none the other.  fails: otherwise."""
    right, wrong = signs == side, signs == -side
    decided_cells = (signs != 0).sum()
    return verdict(right.all(), right.any() and not wrong.any(), tested=decided_cells >= least)


def interactions_beyond_perceptrons(signs: pd.Series) -> Claim:
    """signs: of BN - none of int, by network, activation and time; the ReLU cells decide."""
    relu = signs.xs("relu", level="activation")
    cells = zip(signs.index, signs, strict=True)
    shown = ", ".join(f"{' '.join(cell)} {SIDES[side]}" for cell, side in cells)
    return Claim(
        "interactions-beyond-perceptrons",
        one_direction(relu, -1, len(relu) // 2),
        f"BN against none: {shown}.",
    )


def larger_rates_beyond_perceptrons(gaps: Mapping[tuple[str, str], Interval]) -> Claim:
    """gaps: BN - none of log2 of the largest stable rate, by network and time."""
    signs = pd.Series({cell: sign(gap) for cell, gap in gaps.items()})
    shown = listed({" ".join(cell): gap for cell, gap in gaps.items()}, "+.1f")
    return Claim(
        "larger-rates-beyond-perceptrons",
        one_direction(signs, 1, 1),
        f"log2 of the ratio of the largest stable rates, BN to none: {shown}.",
    )
