"""Which rows own the statistics of a BN layer, and what does each choice cost?"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bnlib import identity, parameters
from bnlib.chapters.batches import (
    decide,
    diagnosis,
    encoders,
    evaluation,
    exact,
    figures,
    machines,
    mates,
    micro_batches,
    moving,
    stored,
)
from bnlib.parameters import ascending, expect, grid, parameter
from bnlib.results import Record, Section, recorded
from bnlib.statistics import mean_interval, rows_with
from bnlib.stored import table
from bnlib.training import one_thread
from bnlib.verdicts import simultaneous

DIGEST = "522f1c305a52b3f2"  # of the stored table
AGREEMENT = 0.05  # by which the accuracy of a stored encoder may come out otherwise


def _dividing(whole: int) -> parameters.Rule:
    """Different numbers that divide `whole` without a rest."""

    def rule(name: str, values: list[Any]) -> None:
        expect(all(whole % v == 0 for v in values), name, f"divisors of {whole}", values)
        expect(len(set(values)) == len(values), name, "each number once", values)

    return rule


@dataclass(frozen=True)
class Settings(parameters.Settings):
    """What `notebooks/batches.ipynb` declares, with its ranges."""

    seed: int = parameter(0, 0, 1_000_000)
    seeds: int = parameter(6, 4, 50)
    steps: int = parameter(300, 30, 3000)
    rates: list = parameter([0.05, 0.3, 1.0], 1e-4, 10, rule=ascending)
    doses: list = parameter([0.0, 0.001, 0.01, 0.1, 1.0], 0, 1, rule=grid(3, first=0))
    law_sizes: list = parameter([2, 4, 8, 16], 2, 256, rule=ascending)
    draws: int = parameter(20000, 1000, 1_000_000)
    batch_sizes: list = parameter([4, 8, 16, 64], 4, 64, rule=ascending)
    parts: list = parameter([2, 4, 8, 16], 2, 16, rule=_dividing(64))
    ghosts: list = parameter([64, 16, 8, 4], 4, 128, rule=_dividing(256))
    splits: list = parameter([8, 5, 15, 16], 0, 16, rule=parameters.different(1))
    processes: bool = parameter(True)
    shares: list = parameter([0.1, 0.5, 0.9], 0.05, 0.9, rule=ascending)
    group_sizes: list = parameter([2, 4, 8, 16], 2, 64, rule=grid(first=2))
    queue_sizes: list = parameter([2, 4, 8], 2, 64, rule=ascending)
    rounds: int = parameter(60, 10, 1000)


LAWS = {  # what the law of a cause is about, in the table of causes
    "too few steps": "(1 - a)^t",
    "momentum swapped": "noise of a batch mean",
    "batches of 4": "D(4)",
    "dropout before BN": "variance, times",
}


def owners(given: Settings) -> Section:
    """One row under seven owners of its statistics."""
    values = mates.owners(given)
    spread = {name: float(seen.std()) for name, seen in values.items()}
    return Section(
        values=spread,
        records=(Record("owner-spread-4", spread["a batch of 4"]),),
        figures={"owners": lambda: figures.owners(values)},
    )


def moving_toys(given: Settings) -> Section:
    """The laws of moving constants against recursions and automatic differentiation."""
    toy, late, table = exact.toy_errors(4000)
    return Section(
        values=table,
        claims=(decide.drift_law(toy, late, *exact.radial(given.seeds)),),
        tables={"toy": table.round(4)},
    )


@one_thread()
def moving_averages(given: Settings) -> Section:
    """Moving averages in training against renormalization and batch statistics."""
    lines, courses, first = moving.moving_averages(given)
    if not first <= 1e-9:
        raise AssertionError(f"expected equal outputs of ema and renorm at the start, got {first}")
    summary = lines.groupby(["kind", "rate", "a", "affine"], sort=False)
    table = summary[["log loss", "largest", "growth", "radial", "accuracy"]].mean()
    rules = decide.moving_average, decide.moving_dose, decide.affine_absorbs
    return Section(
        values=lines,
        records=(Record("moving-same-start", first),),
        claims=tuple(rule(lines) for rule in rules),
        tables={"arms": table.round(3)},
        figures={"moving": lambda: figures.moving(courses, lines)},
    )


def evaluation_law(given: Settings) -> Section:
    """How far evaluation is from what training taught, for four maps."""
    maps, means = exact.evaluation_maps(given), exact.conditional_means(given)
    wide = maps.pivot(index="m", columns="map", values=["law", "estimate"])
    order = list(identity.EvaluationErrors._fields)
    return Section(
        values=maps,
        tables={"maps": wide.reindex(columns=order, level=1).round(4)},
        figures={"maps": lambda: figures.maps(means)},
    )


@one_thread()
def small_batches(given: Settings, maps: Any) -> Section:
    """Networks trained on small batches, evaluated with four maps and two controls.

    Beside them the distances in their first layers, where the law of the maps is judged, too, and
    the stored convolutional network, trained on two images a batch.  maps: of `evaluation_law`.
    """
    lines, layers = evaluation.small_batches(given)
    images = pd.DataFrame(_stored()["evaluation"])
    weighed: Any = images.groupby(["kind", "weight"], dropna=False)[["accuracy", "loss"]].mean()
    table = lines.groupby(["m", "map"], sort=False)[["accuracy", "loss"]].mean()
    m = given.batch_sizes[0]
    plain = rows_with(lines, m=m, map="as it is").loss.to_numpy()
    best = rows_with(lines, m=m, map="best map").loss.to_numpy()
    gap = mean_interval(best - plain)
    return Section(
        values=lines,
        records=recorded({"best-map-loss": gap}, ends="+.3f"),
        claims=(decide.eval_law(maps, layers), decide.eval_helps(images, lines)),
        tables={
            "maps": table.round(3),
            "layers": layers.groupby("m")[["stored", "line", "best"]].mean().round(4),
            "images": weighed.round(3),
        },
    )


@one_thread()
def accumulation(given: Settings) -> Section:
    """Gradients of k parts against those of one batch."""
    lines, errors, points = micro_batches.accumulation(given)
    return Section(
        values=lines,
        claims=(decide.accumulation(lines, errors),),
        tables={"gradients": lines.round(3)},
        figures={"gradients": lambda: figures.accumulation(lines, points)},
    )


@one_thread()
def ghosts(given: Settings) -> Section:
    """Whether small ghosts generalize better."""
    lines = micro_batches.ghost_training(given)
    table = lines.groupby("g", sort=False)[["accuracy", "loss"]].mean()
    return Section(values=lines, claims=(decide.ghosts(lines),), tables={"ghosts": table.round(3)})


def two_processes(given: Settings) -> Section:
    """One batch on two processes, and what naive sums lose."""
    gaps = machines.two_processes(given.splits) if given.processes else None
    table = gaps["table"].set_index(["rows", "precision"]) if gaps else pd.DataFrame()
    naive = machines.naive_sums().set_index("mu / sigma")
    return Section(
        values=gaps,
        records=(Record("naive-sums-1e4", float(naive.sums.iloc[-1])),),
        claims=(decide.sync_exact(gaps),),
        tables={"splits": table, "sums": naive},
        figures={"exchange": lambda: figures.exchange(table)},
    )


@one_thread()
def padding(given: Settings) -> Section:
    """Padding rows in the statistics of a trained layer."""
    z = mates.layer_inputs(given)
    padded = exact.padding(z[:, z.std(0) > 1e-6], given.shares)
    return Section(
        values=padded,
        claims=(decide.padding_law(padded),),
        figures={"padding": lambda: figures.padding(padded.lines, exact.padded_moments)},
    )


@one_thread()
def padded_training(given: Settings) -> Section:
    """What padding in the statistics of training costs."""
    lines = mates.padded_training(given)
    table = lines.groupby(["arm", "statistics"], sort=False)[["accuracy", "loss"]].mean()
    half = {kind: table.accuracy["half", kind] for kind in ("running", "recomputed")}
    return Section(
        values=lines,
        records=recorded({f"padded-half-{kind}": value for kind, value in half.items()}, "percent"),
        claims=(decide.padding_harms(lines),),
        tables={"padded": table.round(3)},
    )


@one_thread()
def pure_batches(given: Settings) -> Section:
    """One class a batch, and fakes in a batch of their own."""
    lines = mates.pure_batches(given)
    table = lines.groupby(["arm", "batches"], sort=False).accuracy.mean().unstack()
    blind = decide.separate_blind(exact.generator_gradients(20))
    return Section(
        values=lines, claims=(decide.pure(lines), blind), tables={"pure": table.round(1)}
    )


def leak(given: Settings) -> Section:
    """What normalization tells of a row that is independent noise."""
    lines, chance = exact.leak(given), 1 / exact.GROUPS
    signs = exact.sign_match_accuracy(exact.CHANNELS, exact.GROUPS)
    return Section(
        values=lines,
        records=(Record("leak-signs", signs), Record("leak-chance", chance)),
        claims=(decide.leak_law(lines, signs), decide.leak_cured(lines, chance)),
        tables={"leak": lines.loc[:, :"correlation"].round(4)},
        figures={"leak": lambda: figures.leak(lines, chance)},
    )


@one_thread()
def trained_encoders(given: Settings) -> Section:
    """Stored encoders that were trained on the task of the leak; one arm runs again."""
    lines: Any = pd.DataFrame(_stored()["encoded"])
    level = simultaneous(len(encoders.ARMS), exact.LAW_LEVEL)
    intervals, bits = {}, {}
    for arm, part in lines.groupby("arm", sort=False):
        intervals[arm] = mean_interval(np.concatenate(part.accuracy.tolist()), level)._asdict()
        bits[arm] = np.mean(part.bits.tolist())
    table: Any = pd.DataFrame.from_dict(intervals, orient="index")
    again = encoders.trained("batch norm", 0)["accuracy"]
    kept = rows_with(lines, arm="batch norm", seed=0).accuracy.iloc[0]
    gap = abs(np.mean(again) - np.mean(kept))
    if not gap <= AGREEMENT:
        raise AssertionError(f"expected the stored accuracy {np.mean(kept)}, got {np.mean(again)}")
    return Section(
        records=(Record("encoder-finds", 100 * table.estimate["batch norm"], "percent"),),
        claims=(decide.leak_trained(table, 1 / exact.GROUPS),),
        tables={"encoders": table.assign(bits=pd.Series(bits)).round(4)},
    )


@one_thread()
def averaged_weights(given: Settings) -> Section:
    """Which statistics belong to averaged weights."""
    lines, law = evaluation.averaged_weights(given)
    table = lines.groupby(["rate", "statistics"], sort=False)
    return Section(
        values=lines,
        claims=(decide.averaged_weights(lines, law),),
        tables={"averages": table[["accuracy", "loss", "delta 1", "delta 2"]].mean().round(3)},
    )


@one_thread()
def decision(given: Settings) -> Section:
    """Evaluation is much worse than training: causes, sizes, cures and the tree."""
    examined, sizes = diagnosis.patients(given)
    patients = decide.with_names(examined)
    laws = {
        cause: f"{LAWS[cause]} {law:.2f}, measured {size:.2f}"
        for cause, (law, size) in sizes.items()
    }
    lines = {}
    for cause, part in patients.groupby("cause", sort=False):
        named = part.named.mode().iloc[0]
        line = {"points lost": (part.healthy - part["E test"]).mean(), "loss": part.loss.mean()}
        line["after the cure"] = (part.healthy - part.cured).mean()
        share = (part.named == part.right).mean()
        lines[cause] = line | {"law": laws.get(str(cause), ""), "tree says": named, "right": share}
    table: Any = pd.DataFrame.from_dict(lines, orient="index")
    keys = [re.sub(r"[^a-z0-9]+", "-", f"lost-{cause}".lower()) for cause in table.index]
    return Section(
        values=patients,
        records=recorded(dict(zip(keys, table["points lost"], strict=True)), "points"),
        claims=(decide.tree_names(patients),),
        tables={"causes": table.round(2)},
        figures={"causes": lambda: figures.decision(table)},
    )


def causes_by_size(given: Settings) -> Section:
    """The stored table of causes, each at several sizes."""
    patients = decide.with_names(pd.DataFrame(_stored()["diagnosis"]))
    lines: dict[Any, dict[str, float]] = {}
    for case, part in patients.groupby(["cause", "size"], sort=False):
        line = {"points lost": (part.healthy - part["E test"]).mean(), "loss": part.loss.mean()}
        line["after the cure"] = (part.healthy - part.cured).mean()
        line["right"] = (part.named == part.right).mean()
        lines[case] = line
    table: Any = pd.DataFrame.from_dict(lines, orient="index")
    ill = patients[(patients.cause != "healthy") & (patients.gain >= 3)]
    right = 100 * float((ill.named == ill.right).mean())
    return Section(
        records=(Record("tree-right-sizes", right, "percent"),),
        tables={"sizes": table.round(2)},
        figures={"sizes": lambda: figures.causes_by_size(table.iloc[1:])},  # without the healthy
    )


def _stored() -> dict[str, Any]:
    return table(stored.HERE / "full.json", DIGEST)


def run(given: Settings) -> dict[str, Section]:
    """All sections, in page order."""
    sections = (
        owners, moving_toys, moving_averages, evaluation_law, small_batches, accumulation, ghosts,
        two_processes, padding, padded_training, pure_batches, leak, trained_encoders,
        averaged_weights, decision, causes_by_size,
    )  # fmt: skip
    done: dict[str, Section] = {}
    for section in sections:
        more = (done["evaluation_law"].values,) if section is small_batches else ()
        done[section.__name__] = section(given, *more)
    return done
