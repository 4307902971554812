"""From measured values to a verdict: the few shapes that decision rules have.

A rule stands in `book/claims.toml`, in words, before the run; a chapter's `decide` module says it
with these functions. An interval is anything with `low` and `high`, numbers or arrays of them; an
array counts as one statement, true where all its entries are.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np


def verdict(holds: Any, partly: Any = False, *, tested: Any = True) -> str:
    """The ladder: holds, else undecided where the control says that nothing was tested, else
    partly, else fails."""
    return "holds" if holds else "undecided" if not tested else "partly" if partly else "fails"


def count(
    right: Iterable[Any],
    *,
    holds: int | None = None,
    partly: int | None = 1,
    tested: Any = True,
) -> str:
    """Verdict on how many cells came out right: `holds` of them or more, `partly` or more.

    holds: all cells unless given.  partly: None leaves that rung out.  tested: of `verdict`.
    Raises ValueError without a cell, where all and none are the same.
    """
    cells = [bool(cell) for cell in right]
    if not cells:
        raise ValueError("expected cells to count, got none")
    number = sum(cells)
    enough = len(cells) if holds is None else holds
    return verdict(number >= enough, partly is not None and number >= partly, tested=tested)


def majority(right: Iterable[Any]) -> str:
    """holds: right in more than half of the cells.  partly: in some.  fails: in none."""
    cells = list(right)
    return count(cells, holds=len(cells) // 2 + 1)


def above(interval: Any, threshold: float, partly: float | None = None) -> str:
    """holds: the interval lies above the threshold.  partly: above the lower one.

    fails: it ends below the lowest.  undecided: the lowest lies inside.
    """
    low, high = np.asarray(interval.low), np.asarray(interval.high)
    lowest = threshold if partly is None else partly
    word = verdict((low > threshold).all(), partly is not None and (low > lowest).all())
    return "undecided" if word == "fails" and (high > lowest).all() else word


def inside(truth: Any, interval: Any) -> np.ndarray:
    """Where an interval has the value that a law gives, entry by entry; a closed interval."""
    return (np.asarray(interval.low) <= truth) & (truth <= np.asarray(interval.high))


def simultaneous(statements: int, level: float = 0.95) -> float:
    """The level of each of so many intervals that hold together at `level`, by Bonferroni."""
    return 1 - (1 - level) / statements
