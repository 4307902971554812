"""How gamma is trained: its start and its decay are learning rates, and batch noise is no decay."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from bnlib import laws, parameters
from bnlib.chapters.gamma import decide, figures, measure
from bnlib.networks.seed_batched import SeedBatchedMLP
from bnlib.parameters import ascending, parameter
from bnlib.results import Section, recorded
from bnlib.statistics import equivalent, paired_difference
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
    losses = {
        "γ from 0.1, rate η": measure.path(given.network(), given.steps, start=0.1),
        "γ from 1, rate 100 η for γ and β": measure.path(
            given.network(), given.steps, factor=lambda step: 100.0
        ),
        "γ from 1, rate η": measure.path(given.network(), given.steps),
    }
    powers = [2.0**power for power in given.rates]
    found, table = {}, {}
    for activation in ("relu", "tanh"):
        swept = {
            name: measure.best_losses(
                name, activation, range(given.seeds), given.width, given.steps, powers
            )
            for name in measure.STARTS
        }
        best = {name: np.log(loss.min(0)) for name, loss in swept.items()}
        for name, logs in best.items():
            table[activation, name] = {
                "best loss": np.exp(np.median(logs)),
                "best rate": 2.0 ** given.rates[int(np.median(swept[name].argmin(0)))],
            }
            if name == "1":
                continue
            log = paired_difference(logs, best["1"])
            same = equivalent(logs, best["1"], MARGIN)
            found[activation, name] = decide.Start(decide.Interval(*log[:3]), same)
            ends = zip(("ratio", "low", "high"), np.exp(log[:3]), strict=True)
            table[activation, name] |= dict(ends)
    relu = {name: start for (activation, name), start in found.items() if activation == "relu"}
    uniform = {act: found[act, decide.UNIFORM] for act in ("relu", "tanh")}
    frame = pd.DataFrame.from_dict(table, orient="index")
    frame.index = pd.MultiIndex.from_tuples(table, names=["activation", "start of γ"])
    keys = {"inner": decide.INNER, "tenth": decide.TENTH, "normal": decide.NEAR}
    ratios = {
        f"{key}-{activation}": decide.Interval(*np.exp(found[activation, name].log))
        for key, name in (keys | {"uniform": decide.UNIFORM}).items()
        for activation in ("relu", "tanh")
    }
    return Section(
        records=recorded(ratios, ends=".2f")
        + recorded({"gap-start": max(gaps.values())})
        + recorded({"gap-offset": 100 * offset, "gap-last": 100 * last}, "percent"),
        claims=(decide.start_is_rate(gaps, relu), decide.uniform_start(uniform)),
        tables={"starts": frame.round(3)},
        figures={"paths": lambda: figures.paths(losses)},
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
            own, others[name, m] = measure.best_gamma(law, m, generator, given.draws, level)
            cells[name, m] = decide.Best(own, *measure.theory(name, m).values())
    law_other = {m: laws.other_rows_gamma(m) for m in sizes}
    control = {m: (others["Gaussian", m], law_other[m]) for m in sizes}
    lines = {
        place: {
            "own rows": best.drawn.estimate,
            "exact": best.exact,
            "penalty": best.penalty,
            "other rows": others[place].estimate,
        }
        for place, best in cells.items()
    }
    table = pd.DataFrame.from_dict(lines, orient="index")
    table.index = pd.MultiIndex.from_tuples(lines, names=["rows", "m"])
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
