"""What do people say about gamma, beta and batch norm, what is true, and which lines show it?

What trains or steps networks is a section; every other entry of the page calls `measure` itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from bnlib import interactions, parameters
from bnlib.chapters.misconceptions import measure
from bnlib.networks.arms import AFFINE_ARMS
from bnlib.parameters import parameter
from bnlib.results import Record, Section
from bnlib.statistics import paired_difference
from bnlib.training import one_thread


@dataclass(frozen=True)
class Settings(parameters.Settings):
    """What `notebooks/misconceptions.ipynb` declares, with its ranges."""

    seed: int = parameter(0, 0, 1_000_000)
    seeds: int = parameter(20, 8, 100)
    steps: int = parameter(300, 100, 10_000)
    draws: int = parameter(20_000, 2000, 1_000_000)

    def normal(self, entry: int, *shape: int) -> torch.Tensor:
        """Standard normal numbers that depend on the seed and on the entry, float64."""
        return torch.from_numpy(np.random.default_rng([self.seed, entry]).normal(size=shape))


@one_thread()
def accuracy(given: Settings) -> Section:
    """Entry 8: what gamma and beta gain on digits and on a band; values: the gain by task."""
    tasks = {"digits": measure.digits(given.seeds), "band": measure.band_splits(given.seeds)}
    points = {
        task: measure.accuracies(rows, AFFINE_ARMS, (32,), steps=given.steps)
        for task, rows in tasks.items()
    }
    gains = {task: paired_difference(p["both"], p["none"]) for task, p in points.items()}
    records = (Record.interval(f"gain-{task}", gain, "points") for task, gain in gains.items())
    means = {task: {arm: a.mean() for arm, a in p.items()} for task, p in points.items()}
    table = pd.DataFrame(means).round(1)
    return Section(values=gains, records=tuple(records), tables={"accuracy": table})


def once_set(given: Settings) -> Section:
    """Entry 10: population constants in training mode; values: two deviations (`population_gap`).

    In training mode the largest one from the law, in standard errors; in evaluation mode |y - x|.
    """
    rng = np.random.default_rng([given.seed, 10])
    gaps = {m: measure.population_gap(m, given.draws, rng) for m in (4, 16, 64, 256)}
    errors = {m: error for m, (error, _, _) in gaps.items()}
    table = pd.DataFrame(errors, index=["measured", "exact law", "root of 1.5/m"]).T
    return Section(
        values=(max(off for _, off, _ in gaps.values()), gaps[256][-1]),
        records=(Record("error-64", errors[64][0]),),
        tables={"errors": table.rename_axis("m").round(3)},
    )


@one_thread()
def gradient_turn(given: Settings) -> Section:
    """Entry 14: how far a layer's gradient turns when the layers below it step; values: a table."""
    turn = {}
    for case in measure.CASES:
        plain, normed = (measure.gradient_turn(a, *case, range(given.seeds)) for a in measure.ARMS)
        estimate, low, high, *_ = paired_difference(normed, plain)
        means = {"none, degrees": plain.mean(), "bn, degrees": normed.mean()}
        turn[case] = means | {"difference": estimate, "low": low, "high": high}
    table = pd.DataFrame(turn).T
    return Section(values=table, tables={"turn": table.round(0).astype(int)})


@one_thread()
def gradient_growth(given: Settings) -> Section:
    """Entry 15: growth of the gradient downwards; values: one of each arm, (depths, S)."""
    depths = 4, 8, 16
    growth = {
        arm: np.array([measure.gradient_growth(arm, d, range(given.seeds)) for d in depths])
        for arm in measure.ARMS
    }
    means = {arm: values.mean(axis=1) for arm, values in growth.items()}
    table = pd.DataFrame(means, index=pd.Index(depths, name="weight layers"))
    record = Record("growth-bn-16", means["bn"][-1])
    return Section(values=growth, records=(record,), tables={"growth": table.round(2)})


@one_thread()
def interacting_part(given: Settings) -> Section:
    """Entry 18: the interacting part of a step; values: batch norm minus none, by case."""
    design = {"activations": ("relu", "tanh"), "states": ("start", "trained"), "r_values": (0.5,)}
    steps = interactions.survey(measure.ARMS, range(given.seeds), **design)
    case = ["activation", "state"]
    part = steps.pivot_table(index=case, columns="arm", values="int", aggfunc="median")
    cells = steps.set_index([*case, "arm"])["int"]
    change = {c: paired_difference(cells[(*c, "bn")], cells[(*c, "none")]) for c in part.index}
    return Section(values=change, tables={"part": part.round(2)})


@one_thread()
def order_of_layers(given: Settings) -> Section:
    """Entry 27: batch norm before or after the ReLU; values: points a seed, and their interval."""
    arms = {"before": {"order": "pre"}, "after": {"order": "post"}}
    points = measure.accuracies(measure.digits(given.seeds), arms, (32, 32), steps=given.steps)
    before, after = points["before"], points["after"]
    return Section(values=(before - after, paired_difference(before, after)))


def run(given: Settings) -> dict[str, Section]:
    """All sections, in page order."""
    trained = gradient_turn, gradient_growth, interacting_part, order_of_layers
    return {section.__name__: section(given) for section in (accuracy, once_set, *trained)}
