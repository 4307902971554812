"""Residual blocks that start as the identity, because their last gamma starts at 0: why, how such a
block learns, what it gains, and whether it stays near the identity.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from bnlib import laws, parameters
from bnlib.chapters.residual import decide, figures, measure, trained
from bnlib.chapters.residual.cures import REGISTER as CURES
from bnlib.chapters.residual.stored import FOUR, FULL, HERE, REGISTER
from bnlib.chapters.residual.trained import Cell
from bnlib.networks import efficientnet
from bnlib.networks.residual import ARMS
from bnlib.parameters import ascending, grid, names, parameter
from bnlib.results import Section, recorded
from bnlib.statistics import Interval, mean_interval, paired_difference, rows_with, with_ends
from bnlib.stored import content
from bnlib.training import one_thread

DIGESTS = {
    REGISTER: "17108c77777fbd8c",
    "full.json": "d9824b609b63da53",
    CURES: "15ad83fb3406f147",
    "cures.json": "3ae38b30774c3fbf",
}
LITES = ("lite0", "lite1", "lite2")
LEAST_AGREEMENT = 0.9  # share of rates that must lie within one step of the stored table's
HERO = {
    decide.LAST: "opens",
    "one zero factor": "opens, as one",
    decide.UNDER: "jumps",
    decide.DEAD: "stays dead",
}


@dataclass(frozen=True)
class Settings(parameters.Settings):
    """What `notebooks/residual.ipynb` declares, with its ranges."""

    seeds: int = parameter(10, 2, 100)
    blocks: int = parameter(8, 2, 64)
    coin_seeds: int = parameter(200, 2, 2000)
    width: int = parameter(128, 8, 512)
    depths: list = parameter([4, 8, 16], 2, 64, rule=ascending)
    start_seeds: int = parameter(4, 2, 100)
    arms: list = parameter(
        ["one", "zero", "root", "skip-init"], rule=names(ARMS, among=["one", "zero"])
    )
    rates: list = parameter([*range(-7, 4)], -20, 10, rule=grid(3))
    rate_blocks: int = parameter(16, 2, 64)
    rate_seeds: int = parameter(2, 2, 100)
    steps: int = parameter(80, 2, 100_000)
    long_seeds: int = parameter(4, 2, 100)
    long_steps: int = parameter(150, 2, 100_000)
    decay: float = parameter(5e-4, 0.0, 1.0)
    nets: list = parameter(["lite0", "lite1", "lite2"], choices=LITES, rule=names(LITES))
    crops: int = parameter(8, 1, 100)


@one_thread()
def placements(given: Settings) -> Section:
    """Four ways to start as the identity, and three with other activations."""
    places = {name: measure.placement(name, range(given.seeds)) for name in measure.PLACES}
    logs = np.log(measure.RATES[1:])
    slopes = {
        name: float(np.polyfit(logs, np.log(np.maximum(place.opened[1:], 1e-300)), 1)[0])
        for name, place in places.items()
    }
    columns = [f"size after one step of {rate:g}" for rate in measure.RATES]
    rows = {name: [*place.opened, place.gradient] for name, place in places.items()}
    columns.append("largest gradient")
    table = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
    jump = places[decide.UNDER]
    sizes = {"jump-small": jump.opened[0], "jump-third": jump.path[1]}
    sizes["opened-third"] = places[decide.LAST].path[3]
    sizes["scalar-third"] = places["one zero factor"].path[3]
    return Section(
        values=places,
        records=recorded(sizes),
        claims=(decide.zero_anywhere(places, slopes),),
        tables={"places": table.map("{:.2g}".format)},
        figures={"steps": lambda: figures.first_steps(places, HERO)},
    )


@one_thread()
def identity(given: Settings) -> Section:
    """The identity forward and backward; contrast: a BN layer set to the identity of its batch."""
    gaps = measure.identity(range(given.seeds), given.blocks)
    change = mean_interval(100 * measure.inserted_layer(range(given.seeds)))
    percent = {"inserted-change": change, "kink": 100 * gaps.kink.max()}
    return Section(
        records=recorded(percent, "percent", ends=".0f"),
        claims=(decide.identity(gaps),),
        tables={"gaps": gaps},
    )


@one_thread()
def first_step(given: Settings) -> Section:
    """What gets a gradient in step one, and how much the loss falls."""
    seeds = range(given.seeds)
    steps = {form: measure.first_step(form, seeds, given.blocks) for form in ("stream", "v1")}
    moved = measure.moved_weights(seeds, given.blocks)
    ratios = {
        form: {rate: with_ends(mean_interval(ratio), ".4f") for rate, ratio in step.ratio.items()}
        for form, step in steps.items()
    }
    numbers: dict[str, Any] = {f"shift-{form}": step.shift for form, step in steps.items()}
    numbers["decrease-v1"] = mean_interval(steps["v1"].ratio[1e-4])
    return Section(
        records=recorded(numbers, ends=".2f"),
        claims=(decide.never_learns(steps["stream"], moved),),
        tables={"ratios": pd.DataFrame(ratios).rename_axis("rate")},
    )


@one_thread()
def waiting(given: Settings) -> Section:
    """When gamma moves, and when the weights."""
    seeds = range(given.seeds)
    runs = {name: measure.waiting(name, seeds, given.blocks) for name in ("SGD", "Adam")}
    return Section(
        records=recorded({"adam-jump": runs["Adam"].jump}),
        claims=(decide.weights_wait(runs),),
        figures={"ways": lambda: figures.waiting(runs, 1e-3)},
    )


@one_thread()
def channels(given: Settings) -> Section:
    """Do all channels of a closed block get the same gradient?  Sizes, and signs."""
    slopes = measure.channel_gradients(range(given.coin_seeds), min(given.blocks, 4))
    size = np.abs(slopes)
    spread = mean_interval((size.std(2) / size.mean(2)).mean(1))
    aligned = mean_interval((slopes.sum(2) ** 2 / (slopes**2).sum(2)).mean(1))
    negative = mean_interval(100 * (slopes < 0).mean((1, 2)))
    return Section(
        values=size[0, 0],
        records=recorded({"spread": spread, "aligned": aligned}, ends=".2f")
        + recorded({"negative-start": negative}, "percent"),
        claims=(decide.same_gradient(spread, aligned),),
    )


@one_thread()
def starts(given: Settings) -> Section:
    """Shares of the branches, growth of stream and gradient, and effective depth."""
    seeds, runs, lines = range(given.start_seeds), {}, {}
    for name, (_, _, known) in measure.STARTS.items():
        for depth in given.depths if known else given.depths[-1:]:
            run = runs[name] = measure.at_the_start(name, depth, seeds, given.width)
            if known is None:
                continue
            form, gain = known[0], depth**-0.5 if known[1] is None else known[1]
            line = {"depth": run.depth.mean(), "law": laws.effective_depth(form, depth, gain)}
            line["growth"] = float(np.exp(np.log(run.gradients[:, 0]).mean()))
            line["growth law"] = laws.gradient_growth(form, depth, gain)
            lines[name, depth] = line
    table = pd.DataFrame.from_dict(lines, orient="index").rename_axis(["form", "L"])
    blocks = np.arange(1, given.depths[-1] + 1)
    forms = ("stream", "v1", "v2")
    shares = {form: np.median(runs[form].shares, 0) for form in forms}
    law = {form: laws.branch_share(form, blocks) for form in forms}
    off = {form: float(np.abs(shares[form] * (blocks + 1) - 1).max()) for form in forms}
    gaps = {form: float(np.abs(shares[form] / law[form] - 1).max()) for form in forms}
    logs = np.log2(runs["no norm"].squares)
    slope = mean_interval(np.polyfit(np.arange(logs.shape[1]), logs.T, 1)[0])
    shown = pd.DataFrame({f: {n: shares[f][n - 1] for n in blocks} for f in forms}).rename_axis("l")
    tilt = max(float(np.abs(runs[form].correlations.mean(0)).max()) for form in forms)
    last = {f"depth-{key}": runs[name].depth.mean() for key, name in _KEYS.items()}
    return Section(
        records=recorded(last | {"largest-correlation": tilt, "share-last": shares["stream"][-1]}),
        claims=(decide.share(off, gaps), decide.doubles(slope), decide.shallow(table)),
        tables={"depths": table.round(2), "shares": shown.round(3)},
        figures={
            "shares": lambda: figures.shares(shares, law),
            "depths": lambda: figures.depths(runs, table),
        },
    )


_KEYS = {"stream": "stream", "root": "stream, γ = 1/√L", "none": "no norm", "v1": "v1"}


class Plan(NamedTuple):
    """What was registered, as text, and the stored table: rates and lives as frames."""

    text: str
    rates: pd.DataFrame
    lives: pd.DataFrame


def read(name: str) -> bytes:
    """A stored file of the chapter, if it is the one that the page was written about."""
    return content(HERE / name, DIGESTS[name])


def by_cell(rows: Any) -> pd.DataFrame:
    """Stored rows of rates, indexed by the name of their cell and by arm."""
    frame = pd.DataFrame(rows)
    place = frame[["dataset", "form", "blocks"]].astype(str)
    frame["cell"] = place.agg(", ".join, axis=1)
    return frame.set_index(["cell", "arm"])


def register(given: Settings) -> Section:
    """What was written down before anything was trained, and the stored table."""
    table = json.loads(read("full.json"))
    plan = Plan(read(REGISTER).decode(), by_cell(table["rates"]), pd.DataFrame(table["lives"]))
    return Section(values=plan)


@one_thread()
def rates(given: Settings, plan: Plan) -> Section:
    """What closed blocks do to the largest rate and to the best loss: stored, and this run's."""
    table, powers = plan.rates, [2.0**power for power in given.rates]
    every = list(table.index.get_level_values("cell").unique())
    deep = [name for name in every if name.endswith(f" {decide.DEEP}")]
    closed, bare = (decide.over_cells(table, (arm, "one"), every) for arm in ("zero", "no-blocks"))
    gain = decide.over_cells(table, ("zero", "one"), deep, "max_stable")
    runs = {}
    for form, arms in {"stream": given.arms, "v1": ["one", "zero"]}.items():
        cell = Cell("digits", form, given.rate_blocks, given.steps)
        for arm in arms:
            runs[form, arm] = trained.at_rates(cell, arm, range(given.rate_seeds), powers)
    this_run = pd.DataFrame({" ".join(key): _medians(run) for key, run in runs.items()}).T
    shown = pd.DataFrame({" ".join(key): _medians(table.loc[key]) for key in table.index}).T
    edge = np.concatenate([np.array(row, dtype=float) for row in table["edge"]])
    panels = {
        form: {arm: table.loc[(f"digits, {form}, {decide.DEEP}", arm), "curve"] for arm in FOUR}
        for form in ("stream", "v1", "v1-head")
    }
    stored_rates = 2.0 ** np.arange(FULL["powers"][0], FULL["powers"][1] + 1)
    numbers: dict[str, Any] = {"cells": len(every), "worse-cells": int((closed.low > 0).sum())}
    numbers["better-cells"] = int((closed.high < 0).sum())
    numbers |= {f"rate-{form}": gain.loc[f"digits, {form}, 16", "estimate"] for form in panels}
    percent = {"edge": 100 * edge.mean()} | _agreement(given, runs, table)
    return Section(
        records=recorded(numbers) + recorded(percent, "percent"),
        claims=(
            decide.raises_rate(gain),
            decide.improves_all(closed),
            decide.shallow_first(closed, bare),
            decide.zero_is_special(table, every),
            decide.like_rezero(table),
            decide.norm_free(table),
        ),
        tables={"run": this_run.round(2), "stored": shown.round(2), "closed": closed.round(2)},
        figures={
            "losses": lambda: figures.losses(panels, stored_rates),
            "cells": lambda: figures.cells(closed, bare),
        },
    )


def other_cures(given: Settings, plan: Plan) -> Section:
    """Other cures than gamma = 0, momentum, and twice the steps: what was predicted of them."""
    rows = pd.DataFrame(json.loads(read("cures.json"))["rows"])
    rows.loc[rows.how == "warm-up", "arm"] = "warm-up"
    parts = {how: by_cell(part) for how, part in rows.groupby("how", sort=False)}
    arms = pd.concat([plan.rates, parts["plain"], parts["warm-up"]])
    foretold = decide.foretold(arms, parts["momentum"], parts["twice"])
    hits: Any = foretold["as predicted"].groupby("prediction").all()
    lines = {
        (how, *place): _medians(part.loc[place])
        for how, part in parts.items()
        for place in part.index
    }
    shown = pd.DataFrame.from_dict(lines, orient="index").rename_axis(["how", "cell", "arm"])
    deep = decide.DEEP_STREAMS[0]
    numbers: dict[str, Any] = {"cures": len(hits), "cures-predicted": int(hits.sum())}
    for arm in ("fixed-root", "zero-weight", "warm-up"):
        numbers[f"cure-{arm}"] = np.exp(decide.pair(arms, deep, (arm, "one")).estimate)
    return Section(
        values=read(CURES).decode(),
        records=recorded(numbers),
        tables={"predictions": foretold, "cures": shown.round(2)},
    )


def _medians(row: Any) -> dict[str, float]:
    """Medians over seeds: losses, infinite where every rate diverged, and log2 of the rates."""

    def median(name: str) -> float:
        return float(np.median(np.nan_to_num(np.array(row[name], dtype=float), nan=np.inf)))

    losses = {f"{name} loss": float(np.exp(median(name))) for name in ("initial", "best")}
    return losses | {name: median(name) for name in ("max_stable", "max_trainable")}


def _agreement(
    given: Settings, runs: Mapping[tuple[str, str], Any], table: pd.DataFrame
) -> dict[str, float]:
    """Share of this run's largest rates within one grid step of the stored table's, same seeds.

    Nothing where the parameters are not those of the table.  Raises ValueError where the table is
    not of this library.
    """
    same = given.steps == FULL["cells"]["digits"]["steps"]
    if not same or given.rates != list(range(FULL["powers"][0], FULL["powers"][1] + 1)):
        return {}
    gaps = []
    for (form, arm), run in runs.items():
        place = f"digits, {form}, {given.rate_blocks}", arm
        if place in table.index:
            kept = np.array(table.loc[place, "max_stable"])[: given.rate_seeds]
            gaps += list(np.abs(kept - np.array(run["max_stable"])[: len(kept)]))
    if not gaps:
        return {}
    share = float((np.array(gaps) <= 1).mean())
    if share < LEAST_AGREEMENT:
        raise ValueError(
            f"expected {LEAST_AGREEMENT:.0%} of the run within one grid step of the stored table, "
            f"got {share:.0%}"
        )
    return {"agreeing": 100 * share}


@one_thread()
def lives(given: Settings, plan: Plan) -> Section:
    """Networks over time: does a block that started closed stay near the identity?"""
    frame = plan.lives

    def row(dataset: str, arm: str, decay: float = 0.0) -> Any:
        return rows_with(frame, dataset=dataset, arm=arm, decay=decay).iloc[0]

    def ratio(above: Any, below: Any) -> Interval:
        gap = paired_difference(np.log(above.nu), np.log(below.nu))
        return Interval(*np.exp(gap[:3]))

    wide = decide.WIDE
    nu = {d: mean_interval(row(d, "zero").nu) for d in wide}
    forgotten = {d: ratio(row(d, "zero"), row(d, "one")) for d in wide}
    ends = min(FULL["decays"]), max(FULL["decays"])
    decays = {k: {d: ratio(row(d, "zero", k), row(d, "zero")) for d in wide} for k in ends}
    coins = {
        arm: {d: decide.binomial(row(d, arm).negative, row(d, arm).channels, 0.99) for d in wide}
        for arm in ("zero", "one")
    }
    seeds = range(given.seeds)
    flips = {name: measure.flipped(name, seeds, given.blocks) for name in measure.OPTIMIZERS}
    cell = Cell("digits", "stream", given.blocks, given.long_steps)
    followed = {"one": ("one", 0.0), "zero": ("zero", 0.0), "decay": ("zero", given.decay)}
    runs = {
        name: trained.life(cell, arm, range(given.long_seeds), decay=decay)
        for name, (arm, decay) in followed.items()
    }
    drawn = {
        d: {arm: (row(d, arm).marks, row(d, arm).nu_by_block) for arm in ("one", "zero")}
        for d in wide
    }
    shown = {
        "loss": frame["loss"].map(np.median),
        "ν": frame["nu"].map(np.median),
        "γ < 0": frame["negative"] / frame["channels"],
        "branches passed": frame["depth"].map(np.median),
        "loss without one block, median": frame["removed"].map(np.median),
        "largest": frame["removed"].map(max),
    }
    table = pd.DataFrame(shown).set_index([frame[name] for name in ("dataset", "arm", "decay")])
    numbers: dict[str, Any] = {"blocks-followed": FULL["life"]["blocks"]}
    numbers |= {f"nu-{d}": interval for d, interval in nu.items()}
    numbers |= {f"nu-run-{name}": float(np.median(run.nu[-1])) for name, run in runs.items()}
    for arm in ("zero", "one"):
        numbers[f"removed-{arm}"] = float(np.median(row("digits", arm).removed))
        numbers[f"depth-trained-{arm}"] = float(np.median(row("digits", arm).depth))
    for name, decay in zip(("least", "most"), ends, strict=True):
        numbers[f"decay-{name}"] = decays[decay]["digits"]
    return Section(
        values=runs,
        records=recorded(numbers, ends=".2f"),
        claims=(
            decide.sign_coin(flips, coins["zero"], coins["one"]),
            decide.stays_near(nu),
            decide.start_forgotten(forgotten),
            decide.decay_closes(decays),
        ),
        tables={"lives": table.rename_axis(["data", "arm", "decay"]).round(3)},
        figures={"sizes": lambda: figures.sizes(drawn)},
    )


@one_thread()
def disturbing(given: Settings) -> Section:
    """Do closed blocks disturb each other less?  One step of all layers, split into its parts."""
    cells = [trained.split_steps(*cell, range(given.seeds)) for cell in trained.SPLIT]
    names, parts = ["arm", "L", "state", "r"], ["int", "per-layer", "n-eff"]
    steps: Any = pd.concat(cells).pivot_table(parts, "seed", names, sort=False)

    def minus_one(what: str, arm: str) -> Any:
        cells = steps[what, arm].columns
        gap = paired_difference(steps[what, arm], steps[what, "one"][list(cells)])
        return pd.DataFrame(gap._asdict(), index=cells)

    gaps = {what: minus_one(what, "zero") for what in parts[:2]}
    table = steps.mean().unstack(0)[parts].round(3)
    for what in gaps:
        spelled = {
            (arm, *cell): with_ends(gap, ".3f")
            for arm in ("zero", "root", "scalar", "skip-init")
            for cell, gap in minus_one(what, arm).iterrows()
        }
        table[f"{what} - one"] = pd.Series(spelled).reindex(table.index, fill_value="")
    deep = {arm: steps["int", arm, decide.DEEP, "start", 0.5].mean() for arm in ("one", "zero")}
    return Section(
        records=recorded({f"disturbing-{arm}": share for arm, share in deep.items()}),
        claims=(decide.less_interaction(gaps["int"], gaps["per-layer"]),),
        tables={"steps": table},
    )


@one_thread()
def shipped(given: Settings, followed: Mapping[str, trained.Life]) -> Section:
    """Published networks: the shares of their branches, and what the signs of gamma tell."""
    states = {name: efficientnet.shipped_state_dict(name) for name in given.nets}
    frames = {name: trained.shipped(state) for name, state in states.items()}
    skips = {name: rows_with(frame, k=[*range(1, 99)]) for name, frame in frames.items()}
    signs = {
        name: decide.binomial(int(f.negative.sum()), int(f.channels.sum()), 0.95)
        for name, f in skips.items()
    }
    first = given.nets[0]
    seen = trained.on_photographs(states[first], given.crops, 0).add_suffix(", crops")
    table = skips[first].set_index("norm").join(seen)
    near = (table["share"] / table["share, crops"] - 1).abs() <= 0.25
    gamma = np.concatenate([states[first][f"{norm}.weight"].numpy() for norm in table.index])
    ours = {"ours, from 0": "zero", "ours, from 1": "one"}
    samples = {name: followed[arm].gamma.ravel() for name, arm in ours.items()}
    samples[f"EfficientNet-{first.title()}"] = gamma
    shown = table[["stage", "k", "share", "nu", *seen]]
    percent = {"file-near-crops": near.mean(), "negative-shipped": signs[first].estimate}
    numbers = {"nu-shipped": table["nu"].median()}
    numbers["correlation-crops"] = seen["correlation, crops"].abs().max()
    return Section(
        records=recorded({key: 100 * share for key, share in percent.items()}, "percent")
        + recorded(numbers),
        claims=(decide.shipped_share(skips), decide.shipped_zero(signs)),
        tables={"blocks": shown.assign(law=1 / (shown.k + 1)).round(2)},
        figures={"gammas": lambda: figures.gammas(samples)},
    )


def run(given: Settings) -> dict[str, Section]:
    """All sections, in page order."""
    first = placements, first_step, waiting, identity, channels, starts, register
    sections = {section.__name__: section(given) for section in first}
    plan = sections["register"].values
    for section in (rates, other_cures, lives):
        sections[section.__name__] = section(given, plan)
    sections["disturbing"] = disturbing(given)
    return sections | {"shipped": shipped(given, sections["lives"].values)}
