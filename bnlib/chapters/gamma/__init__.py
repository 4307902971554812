"""How gamma is trained: its start and its decay are learning rates, and batch noise is no decay."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from bnlib import laws, parameters
from bnlib.chapters.gamma import decide, figures, measure
from bnlib.networks.seed_batched import SeedBatchedMLP
from bnlib.parameters import ascending, parameter
from bnlib.results import Section, recorded
from bnlib.statistics import Interval, equivalent, paired_difference
from bnlib.training import one_thread
from bnlib.verdicts import simultaneous

MARGIN = float(np.log(1.1))  # within which best losses count as equal


@dataclass(frozen=True)
class Settings(parameters.Settings):
    """What `notebooks/gamma.ipynb` declares, with its ranges."""

    seeds: int = parameter(6, 2, 100)
    width: int = parameter(32, 8, 512)
    steps: int = parameter(60, 2, 10_000)
    rates: list = parameter([-5, -4, -3, -2, -1, 0, 1, 2], -20, 10, rule=ascending)
    draws: int = parameter(20000, 100, 1_000_000)
    batch_sizes: list = parameter([8, 16, 32, 64], 8, 1024, rule=ascending)

    def network(self, eps: float = 0.0) -> SeedBatchedMLP:
        """The networks of the two theorems."""
        return measure.network(range(self.seeds), self.width, "relu", eps)


@one_thread()
def starts(given: Settings) -> Section:
    """The start as a rate, step for step; and what starts do to the best loss."""
    gaps = {k: measure.start_gap(given.network, given.steps, k) for k in measure.FACTORS}
    offset = measure.start_gap(lambda: given.network(1e-5), given.steps, 0.5)
    last = measure.start_gap(given.network, given.steps, 0.5, sites=measure.LAST)
    ways: dict[str, dict[str, Any]] = {
        "γ from 0.1, rate η": {"start": 0.1},
        "γ from 1, rate 100 η for γ and β": {"factor": lambda step: 100.0},
        "γ from 1, rate η": {},
    }
    paths = {n: measure.path(given.network(), given.steps, **how) for n, how in ways.items()}
    begun, lines, best = {}, {}, {}
    for place in product(("relu", "tanh"), measure.STARTS):
        loss = measure.best_losses(place[1], place[0], given)
        best[place] = logs = np.log(loss.min(0))
        rate = 2.0 ** given.rates[int(np.median(loss.argmin(0)))]
        lines[place] = {"best loss": np.exp(np.median(logs)), "best rate": rate}
        if place[1] != "1":
            usual = best[place[0], "1"]
            log = Interval(*paired_difference(logs, usual)[:3])
            begun[place] = decide.Start(log, equivalent(logs, usual, MARGIN))
            lines[place] |= dict(zip(("ratio", "low", "high"), np.exp(log), strict=True))
    relu = {name: start for (activation, name), start in begun.items() if activation == "relu"}
    uniform = {activation: begun[activation, decide.UNIFORM] for activation in ("relu", "tanh")}
    keys = {decide.INNER: "inner", decide.TENTH: "tenth", decide.NEAR: "normal"}
    keys[decide.UNIFORM] = "uniform"
    ratios = {
        f"{keys[name]}-{activation}": Interval(*np.exp(start.log))
        for (activation, name), start in begun.items()
    }
    table = pd.DataFrame.from_dict(lines, orient="index").round(3)
    return Section(
        records=recorded(ratios, ends=".2f")
        + recorded({"gap-start": max(gaps.values())})
        + recorded({"gap-offset": 100 * offset, "gap-last": 100 * last}, "percent"),
        claims=(decide.start_is_rate(gaps, relu), decide.uniform_start(uniform)),
        tables={"starts": table.rename_axis(["activation", "start of γ"])},
        figures={"paths": lambda: figures.paths(paths)},
    )


@one_thread()
def decay(given: Settings) -> Section:
    """Decay of gamma and beta against a rate that grows."""
    inner, last = (
        measure.decay_gap(given.network, given.steps, sites)
        for sites in (measure.INNER, measure.LAST)
    )
    grown = (1 - measure.RATE * measure.DECAY) ** -(2 * given.steps - 1)
    return Section(
        records=recorded({"gap-decay": inner, "rate-grown": grown})
        + recorded({"gap-decay-last": 100 * last}, "percent"),
        claims=(decide.decay_regularizes(inner, last),),
    )


def noise(given: Settings) -> Section:
    """The best gamma of one noisy channel, three laws of its rows, against m."""
    sizes, cells, others = given.batch_sizes, {}, {}
    level = simultaneous((len(measure.LAWS) + 1) * len(sizes))
    for place, (name, law) in enumerate(measure.LAWS.items()):
        for m in sizes:
            generator = np.random.default_rng([18, place, m])
            drawn, others[name, m] = measure.best_gamma(law, m, generator, given.draws, level)
            cells[name, m] = decide.Best(drawn, *measure.theory(name, m))
    law_other = {m: laws.other_rows_gamma(m) for m in sizes}
    control = {m: (others["Gaussian", m], law_other[m]) for m in sizes}
    lines = {}
    for place, best in cells.items():
        line = {"own rows": best.drawn.estimate, "exact": best.exact, "penalty": best.penalty}
        lines[place] = line | {"other rows": others[place].estimate}
    table = pd.DataFrame.from_dict(lines, orient="index").rename_axis(["rows", "m"])
    least = cells["Gaussian", sizes[0]]
    numbers = {"own": least.exact, "penalty": least.penalty, "other": law_other[sizes[0]]}
    return Section(
        values=cells,
        records=recorded({"fewest": sizes[0]} | numbers),
        claims=(decide.noise_is_decay(cells, control),),
        tables={"best": table.round(4)},
        figures={"fixed": lambda: figures.fixed_points(cells, others, law_other)},
    )


def run(given: Settings) -> dict[str, Section]:
    """All sections, in page order."""
    return {"starts": starts(given), "decay": decay(given), "noise": noise(given)}
