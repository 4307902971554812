"""What the page of the chapter `learning-rate` chooses and tabulates: nothing here trains.

A verdict is taken over the stored table only where that table was computed with the parameters of
the run; otherwise over the run itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from bnlib import statistics
from bnlib.experiments.learning_rate import RATES
from bnlib.experiments.learning_rate_mechanism import LADDER, RESET, SCALE_FREE, wide
from bnlib.experiments.learning_rate_register import DIRECTIONS, architectures, correlations
from bnlib.networks.arms import ARMS
from bnlib.networks.spec import ACTIVATIONS
from bnlib.parameters import one_of

STORED = {"width": 32, "affine": True, "rates": list(RATES)}  # of every stored table
LEAST_AGREEMENT = 0.9  # share of values that must lie within one step of the grid


def check_grid(
    activations: Sequence[str], depths: Sequence[int], arms: Sequence[str], rates: Sequence[float]
) -> None:
    """Refuse what the page cannot judge, before anything is trained.

    Raises ValueError for an unknown activation or arm, for a run without ReLU, `bn` or `none`,
    which its claims compare, for depths without a hidden layer, and for rates that are not an
    ascending grid: the largest passing rate of an unordered one would be another number.
    """
    for name in activations:
        one_of("activation", name, tuple(ACTIVATIONS))
    for name in arms:
        one_of("arm", name, (*ARMS, "bn-last-small"))
    for what, given, needed in (("activations", activations, "relu"), ("arms", arms, "bn")):
        if needed not in given:
            raise ValueError(f"{what}: want {needed!r} among them, got {list(given)}")
    if "none" not in arms:
        raise ValueError(f"arms: want 'none' among them, the plain network, got {list(arms)}")
    if not depths or any(int(d) != d or d < 2 for d in depths):
        raise ValueError(f"depths: want whole numbers of weight matrices >= 2, got {list(depths)}")
    grid = np.asarray(rates, dtype=float)
    if len(grid) < 3 or not (np.isfinite(grid).all() and (np.diff(grid, prepend=0) > 0).all()):
        raise ValueError(f"rates: want at least 3, positive and ascending, got {list(rates)}")


def check_cells(grid: Sequence[tuple[str, int]], register: Mapping[str, Any]) -> None:
    """Refuse a run that its own networks must judge and that holds too few cells to resample.

    Raises ValueError for fewer than two registered exploration cells.
    """
    own = [cell for cell in map(list, grid) if cell in register["cells"]["exploration"]]
    if len(own) < 2:
        raise ValueError(
            "want the parameters of the stored table, or at least 2 registered exploration cells "
            f"(activation, L) to resample, got {own}; known: {register['cells']['exploration']}"
        )


def comparable(table: Mapping[str, Any], **run: Any) -> bool:
    """Whether a stored table was computed with the parameters of a run, its seeds aside."""
    if not table["rows"]:
        return False
    own = {**STORED, "dataset": table["dataset"], **table["parameters"]}
    return all(own[name] == value for name, value in run.items())


def with_halves(frame: pd.DataFrame, register: Mapping[str, Any]) -> pd.DataFrame:
    """The frame with the column `half`: exploration or held_out for registered cells, else ""."""
    half = {
        (a, n): name for name in ("exploration", "held_out") for a, n in register["cells"][name]
    }
    found = [half.get((a, int(n)), "") for a, n in zip(frame.activation, frame.L, strict=True)]
    return frame.assign(half=found)


def agrees(gaps: pd.Series) -> float:
    """Share of the values of run and stored table that lie within one step of the grid.

    Raises ValueError where fewer than `LEAST_AGREEMENT` do: the table is not of this library.
    """
    share = float((gaps <= 1).mean())
    if share < LEAST_AGREEMENT:
        worst = gaps.sort_values(ascending=False).head(3).to_dict()
        raise ValueError(
            f"want {LEAST_AGREEMENT:.0%} of the run within one grid step of the stored table, "
            f"got {share:.0%}; furthest: {worst}"
        )
    return share


def by_depth(frame: pd.DataFrame, arms: Sequence[str]) -> tuple[list[int], dict[str, Any]]:
    """Mean log2 of the largest rate over seeds with its interval: depths, arm -> (3, depths)."""
    own = frame[(frame.activation == "relu") & frame.arm.isin(arms)]
    depths = sorted(set(own.L.tolist()))
    table = own.groupby(["arm", "L"]).max_trainable.agg(list)
    lines = {}
    for arm in arms:
        if all((arm, depth) in table.index for depth in depths):
            found = [statistics.mean_interval(table[arm, depth]) for depth in depths]
            lines[arm] = np.array(found).T
    return depths, lines


def variants(half: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Other analyses of one half, none of them registered: name -> `correlations`."""
    table = architectures(half)
    rest = pd.DataFrame(table[table.arm != "bn-no-affine"])
    found = {
        "best rate": correlations(table, "best"),
        "max_stable": correlations(table, "max_stable"),
        "without bn-no-affine": correlations(rest),
    }
    if "hvp_off" in half:
        hessian = table.assign(k_off=table.hvp_off, k_total=table.hvp_total)
        found["Hessian products"] = correlations(hessian)
    if "trained_k_off" in half:
        later = table.assign(**{name: table[f"trained_{name}"] for name in DIRECTIONS})
        found["after 20 steps"] = correlations(later)
    return found


def orders(frame: pd.DataFrame) -> pd.DataFrame:
    """Kendall's tau of -int and the largest rate over several sets of arms, medians over seeds.

    p: of the hypothesis that the arms' order is random; resampling seeds cannot know how
    different another choice of arms would be.  Arms that all have one rate order nothing: 0 and 1.
    """
    rate, share = wide(frame).median(), wide(frame, "share").median()
    reset = [name + RESET * (name in SCALE_FREE) for name in LADDER]
    sets = {"the six arms, as registered": list(LADDER), "without bn-no-affine": list(LADDER[:-1])}
    if set(reset) <= set(rate.index):
        sets["scale-free arms with norms reset"] = reset
    rows = {}
    for name, arms in sets.items():
        found: Any = stats.kendalltau(-share[arms], rate[arms])
        tau, p = (found.statistic, found.pvalue) if len(set(rate[arms])) > 1 else (0.0, 1.0)
        rows[name] = {"arms": len(arms), "tau": tau, "p over arms": p}
    return pd.DataFrame(rows).T


def beyond_one_step(frame: pd.DataFrame, activation: str = "relu") -> pd.DataFrame:
    """log2(max_trainable / eps_up), median over seeds: a row a depth, a column an arm.

    Minus infinite where most seeds have no ascent on the grid of steps.
    """
    own = frame[frame.activation == activation]
    gap = own.max_trainable - np.log2(own.eps_up)
    medians = own.assign(gap=gap).groupby(["L", "arm"], sort=False).gap.median()
    return medians.unstack().sort_index()
