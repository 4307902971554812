"""Learning rates: does the interaction of layers in one update predict how large a rate a network
tolerates, and does it explain why batch normalization tolerates larger ones?
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from bnlib import data, parameters, statistics
from bnlib.chapters.learning_rate import decide, figures, measure, periods
from bnlib.chapters.learning_rate.measure import LADDER, RESET, SCALE_FREE, Bench
from bnlib.networks.arms import ARMS
from bnlib.networks.spec import ACTIVATIONS
from bnlib.parameters import expect, grid, names, parameter
from bnlib.results import Record, Section, recorded
from bnlib.statistics import Interval, rows_with

SHOWN = ("none", "orthogonal", "layer-norm", "frozen", "bn", "bn-no-affine")
WATCHED = (0.25, 1.0, 4.0, 16.0)  # rates at which one unit is followed


@dataclass(frozen=True)
class Settings(parameters.Settings):
    """What `notebooks/learning-rate.ipynb` declares, with its ranges."""

    dataset: str = parameter("digits")
    activations: list = parameter(["relu", "tanh"], rule=names(list(ACTIVATIONS), among=["relu"]))
    depths: list = parameter([2, 4, 8, 12], 2, 64)
    arms: list = parameter([*SHOWN], rule=names([*ARMS, "bn-last-small"], among=["none", "bn"]))
    rates: list = parameter([*range(-7, 7)], -40, 40, rule=grid(3))
    seeds: int = parameter(5, 3, 100)
    steps: int = parameter(0, 0, 100_000)
    threshold: float = parameter(0.0, 0.0, 1.0)
    width: int = parameter(32, 2, 512)
    affine: bool = parameter(True)
    reset_norms: bool = parameter(True)
    small_rate: int = parameter(-5, -40, 40)
    cells: str = parameter("page", choices=("page", "registered"))
    open_held_out: bool = parameter(True)


class Plan(NamedTuple):
    """What is run, and what is judged.  text: the register as written.
    kept: the stored table where it has the run's parameters, else None."""

    text: str
    register: dict[str, Any]
    halves: list[str]
    bench: Bench
    places: list[measure.Architecture]
    rates: list[float]
    kept: dict[str, Any] | None


class Networks(NamedTuple):
    """What was trained, and what is judged (`source` in words): the stored table where comparable.

    frame, judged, bad (starts): a row an architecture and seed.  climbed: the mechanism test.
    """

    plan: Plan
    frame: pd.DataFrame
    runs: measure.Runs
    ladder: pd.DataFrame
    growth: dict[str, np.ndarray]
    judged: pd.DataFrame
    bad: pd.DataFrame
    climbed: pd.DataFrame
    source: str


def register(given: Settings) -> Section:
    """What was written down before any correlation was computed, and what this run does with it.

    Raises ValueError for a run that only its own networks can judge and that holds too few cells.
    """
    text = measure.read("register.toml")
    written, usual = tomllib.loads(text), measure.FULL.get(given.dataset, measure.FULL["digits"])
    steps, threshold = given.steps or usual.steps, given.threshold or usual.threshold
    bench = Bench(given.dataset, steps, threshold, given.width, given.affine)
    data.bench_split(bench.dataset)  # an unknown data set is refused before anything is trained
    rates = [2.0**power for power in given.rates]
    kept = measure.comparable(bench, rates)
    halves = ["exploration", "held_out"] if given.open_held_out else ["exploration"]
    cells, arms = [[a, n] for a in given.activations for n in given.depths], given.arms
    if given.cells == "registered":
        cells = [cell for half in halves for cell in written["cells"][half]]
        arms = written["architectures"]["arms"]
    known = written["cells"]["exploration"]
    needed = f"the parameters of the stored table, or at least 2 of {known} to resample"
    expect(kept is not None or sum(cell in known for cell in cells) > 1, "depths", needed, cells)
    places = measure.architectures(cells, arms)
    return Section(values=Plan(text, written, halves, bench, places, rates, kept))


def networks(given: Settings, plan: Plan) -> Section:
    """The networks of this run, trained at every rate, beside those of the stored table."""
    bench, rates, seeds = plan.bench, plan.rates, range(given.seeds)
    frame, runs = measure.survey(bench, plan.places, seeds, rates)
    frame = measure.with_halves(frame, plan.register)
    ladder, growth = measure.ladder(bench, 8, seeds, rates[1:], given.reset_norms)
    judged, climbed, source, records = frame, ladder, "this run", ()
    if plan.kept is not None:
        table = measure.frame_of(plan.kept)
        gaps = measure.agreement(frame, table)
        shares = {"agreeing": decide.agreeing(gaps), "equal-values": float((gaps == 0).mean())}
        percent = {name: 100 * share for name, share in shares.items()}
        records = recorded({"common-values": len(gaps)}) + recorded(percent, "percent")
        if given.cells == "page":
            judged, climbed = table, measure.ladders_of(plan.kept)[8, bench.steps]
            source = f"the stored table ({plan.kept['parameters']['seeds']} seeds)"
    usual = rows_with(judged, half=[*plan.halves, ""], arm=plan.register["architectures"]["arms"])
    bad = rows_with(judged, half="bad")
    level = bench.threshold * np.log(data.bench_split(bench.dataset).classes)
    lines: dict[int, dict[str, np.ndarray]] = {}
    for (activation, depth, arm), run in runs.items():
        if activation == "relu" and arm in SHOWN:
            lines.setdefault(depth, {})[arm] = np.median(run.final, 1)
    panels, relu = dict(list(lines.items())[:4]), rows_with(frame, activation="relu")
    return Section(
        values=Networks(plan, frame, runs, ladder, growth, usual, bad, climbed, source),
        records=records,
        tables={"targets": measure.overview(relu, ["L", "arm"], rates)},
        figures={"losses": lambda: figures.losses(panels, rates, level)},
    )


def larger_rates(trained: Networks) -> Section:
    """Does BN allow larger rates?"""
    judged, source = trained.judged, trained.source
    ratio, run = measure.bn_gains(judged), measure.bn_gains(trained.frame)
    least, most = (int(depth) for depth in (ratio.index[0], ratio.index[-1]))
    ends = {"shallow": least, "eight": 8 if 8 in ratio.index else most, "deep": most}
    factors = {f"factor-{name}": _scaled(ratio.loc[n], lambda v: 2**v) for name, n in ends.items()}
    columns = {source: decide.shown(ratio), "this run": decide.shown(run)}
    if "tanh" in set(judged.activation):
        columns[f"tanh, {source}"] = decide.shown(measure.bn_gains(judged, "tanh"))
    depths, lines = measure.by_depth(judged, SHOWN)
    return Section(
        records=recorded({**factors, "depth-shallow": least, "depth-deep": most}),
        claims=(decide.larger_rates(ratio, run, source, trained=measure.told(judged)),),
        tables={"ratios": pd.DataFrame(columns).fillna("")},
        figures={"depth": lambda: figures.over_depth(depths, lines, trained.plan.rates[-1])},
    )


def prediction(trained: Networks) -> Section:
    """The registered analysis: do interactions predict the rate?"""
    judged = trained.judged
    parts = {half: measure.medians(rows_with(judged, half=half)) for half in trained.plan.halves}
    parts = {half: rows for half, rows in parts.items() if rows.cell.nunique() > 1}
    rho = {half: measure.correlations(rows) for half, rows in parts.items()}
    claims = decide.predictions(rho, len(parts.get("held_out", ())), trained.source)
    decisive = list(rho.values())[-1]
    apart = Interval(*decisive.loc[measure.APART])
    numbers = {claim.id: decide.prediction(claim.id, decisive)[1] for claim in claims}
    for name in ("k_off", "k_total", "share", "baseline"):
        numbers[f"rho-{name}".replace("_", "-")] = decisive.estimate[name, "pooled"]
    numbers |= {
        "within-k-off": decisive.estimate["k_off", "within"],
        "total-minus-share": apart,
        "total-minus-share-interval": f"{apart.low:.2f} to {apart.high:.2f}",
    }
    censored = {
        f"censored-{half}".replace("_", "-"): 100 * rows_with(judged, half=half).censored.mean()
        for half in parts
    }
    points = measure.medians(judged)
    explored = [f"{a} {n}" for a, n in trained.plan.register["cells"]["exploration"]]
    points = points.assign(held_out=~points.cell.isin(explored))
    rows = {half: measure.in_rows(table) for half, table in rho.items()}
    text = {half: decide.shown(table).unstack() for half, table in rho.items()}
    text = pd.concat(text, names=["half", "predictor"])[measure.KINDS].fillna("")
    table = pd.DataFrame(text).reindex(list(measure.DIRECTIONS), level=1)
    return Section(
        values=rho,
        records=_told(numbers) + recorded(censored, "percent"),
        claims=tuple(claims),
        tables={"correlations": table},
        figures={
            "scatter": lambda: figures.scatter(points),
            "forest": lambda: figures.forest(rows),
        },
    )


def variants(trained: Networks, rho: Mapping[str, pd.DataFrame]) -> Section:
    """Exploratory: other targets, other arms, another way to measure, another state.

    rho: by half, as `prediction` measured; the last one decided.
    """
    tried = measure.variants(rows_with(trained.judged, half=list(rho)[-1]))
    rows = [("k_off", "pooled"), ("k_total", "pooled"), ("share", "pooled"), ("k_off", "partial")]
    numbers = {"rho-best-share": tried["best rate"].estimate["share", "pooled"]}
    if "after 20 steps" in tried:
        later = tried["after 20 steps"].estimate
        numbers |= {
            f"later-{n}": later["k_off", k] for n, k in (("k-off", "pooled"), ("partial",) * 2)
        }
    text = pd.DataFrame({name: decide.shown(table.loc[rows]) for name, table in tried.items()}).T
    columns = pd.MultiIndex.from_tuples(rows)
    return Section(records=_told(numbers), tables={"variants": text.reindex(columns=columns)})


def mechanism(trained: Networks) -> Section:
    """Is it the mechanism?  The ladder of arms, with and without weight norms that grow."""
    plan, climbed, run, source = trained.plan, trained.climbed, trained.ladder, trained.source
    rate, shares = measure.wide(climbed), measure.wide(climbed, "share")
    share, gain = shares.median().to_dict(), measure.gains(climbed)
    orders = measure.orders(climbed)
    order, again = (measure.order_of_arms(frame) for frame in (climbed, run))
    claims = [decide.interaction_is_mechanism(order, again, source)]
    numbers: dict[str, Any] = {"rungs": len(LADDER)}
    resets = [name for name in SCALE_FREE if name + RESET in set(run.arm)]
    if resets:
        lost, bare = (measure.explained(climbed, arm) for arm in ("bn", "bn-no-affine"))
        claims.append(decide.rate_is_mechanism(lost, measure.explained(run), source))
        for name, interval in (("reset-takes", lost), ("reset-takes-bare", bare)):
            numbers[name] = _scaled(interval, lambda v: 100 * v)
    for name in ("frozen", "std-only"):
        gap = (shares[name] - shares["none"]).dropna().to_numpy()
        _, low, high = statistics.median_interval(gap)
        numbers[f"int-gap-{name}"] = f"{low:+.2f} to {high:+.2f}"
    for name in ("none", "frozen", "mean-only", "std-only", "bn"):
        numbers |= {f"int-{name}": share[name], f"gain-{name}": gain[name]}
    numbers["p-arms"] = orders["p over arms"].iloc[0]
    ladders = {"this run": run}
    if plan.kept is not None:
        kept = measure.ladders_of(plan.kept)
        ladders = {f"L = {n}, {steps} steps": frame for (n, steps), frame in kept.items()}
    columns = {name: decide.on_ladder(frame) for name, frame in ladders.items()}
    growth = {name: trained.growth[name] for name in ("none", "std-only", "bn", "bn-no-affine")}
    free = rate.reindex(columns=list(LADDER))
    reset = {name: rate[name + RESET].to_numpy() for name in resets}
    marks = {name: (share[name], middle) for name, middle in free.mean().to_dict().items()}
    return Section(
        records=_told(numbers),
        claims=tuple(claims),
        tables={
            "arms": measure.overview(climbed, ["arm"], plan.rates).drop(columns="never"),
            "orders": orders.astype({"arms": int}).round(2),
            "ladders": pd.DataFrame(columns),
        },
        figures={
            "ladder": lambda: figures.ladder(free, reset, plan.rates[1:], growth),
            "arms": lambda: figures.arms(marks),
        },
    )


def fresh_constants(given: Settings, trained: Networks) -> Section:
    """Do the statistics have to react in the gradient, or only to be up to date?"""
    plan, frame = trained.plan, trained.frame
    largest = measure.renewed(plan.bench, frame, range(given.seeds), plan.rates)
    others = [arm for arm in ("none", "frozen", "bn") if arm in largest]
    gaps = {arm: measure.gaps(largest, "renewed", arm) for arm in others}
    text = {f"renewed over {arm}, log2": decide.shown(table) for arm, table in gaps.items()}
    deep = gaps["bn"].loc[gaps["bn"].index >= 4]
    numbers = {f"renewed-over-{arm}": 2 ** table.estimate.iloc[-1] for arm, table in gaps.items()}
    return Section(
        records=_told(numbers),
        claims=(decide.fresh_constants(deep, trained=measure.told(frame)),),
        tables={"renewed": pd.DataFrame(text)},
    )


def seldom_renewed() -> Section:
    """Constants renewed every k steps, from the stored table; a part of one cell runs again."""
    frame: Any = periods.frame_of(json.loads(measure.read("periods.json"))["rows"])
    again, kept = periods.cell(4, 8, range(3)), frame.xs((4, 8), level=("L", "period"))
    apart = [pd.Series(again[end] - kept[end].to_numpy()[:3]).abs() for end in periods.FINALS]
    decide.agreeing(pd.concat(apart) * 2)  # steps of half a doubling
    margins, rate = periods.margins(frame), frame["held"].unstack("period")
    over = {name: frame[name] - frame["held"].xs("none", level="period") for name in periods.FINALS}
    middle: Any = frame.assign(**over).groupby(["L", "period"], sort=False).mean()
    shares = {k: middle.held[8, k] / middle.held[8, "bn"] for k in (1, 2, 8)}
    numbers = {f"renewed-keeps-{k}": 100 * share for k, share in shares.items()}
    numbers["renewed-keeps-retaken"] = 100 * middle.retaken[8, 1] / middle.held[8, "bn"]
    for depth, fate in periods.fates(margins).items():
        kept_to, lost_from = periods.reach(fate)
        numbers |= {f"kept-to-{depth}": kept_to, f"lost-from-{depth}": lost_from}
    return Section(
        values=measure.read("periods-register.toml"),
        records=recorded(numbers),
        claims=(decide.seldom_renewed(margins, measure.gaps(rate, "bn", "none")),),
        tables={
            "margins": pd.DataFrame(decide.shown(margins).unstack(["final", "L"])),
            "means": middle.round(2).unstack("L"),
        },
        figures={"curve": lambda: figures.renewal(frame)},
    )


def self_tuning(given: Settings) -> Section:
    """The effective rate of one unit, step by step, against its bound."""
    effective, bound = measure.tuning(Bench(given.dataset, width=given.width), WATCHED)
    ratio = float(np.nanmax(effective[1:] / bound[:-1]))
    drawn = {"effective": lambda: figures.effective(WATCHED, effective, bound)}
    return Section(records=recorded({"bound-ratio": ratio}), figures=drawn)


def beyond_one_step(trained: Networks) -> Section:
    """The first step's range against what many steps tolerate."""
    judged = trained.judged
    ratio = (judged.eps_up * judged.k_total / 2).replace(np.inf, np.nan)
    numbers = {"quadratic-ratio": float(ratio[judged.k_total > 0].median())}
    table = measure.beyond_one_step(rows_with(judged, arm=list(SHOWN))).round(1)
    return Section(records=recorded(numbers), tables={"beyond": table})


def small_rate(given: Settings, trained: Networks) -> Section:
    """Is there an advantage at the same small rate?"""
    rates, runs = trained.plan.rates, trained.runs
    place = int(np.abs(np.log2(rates) - given.small_rate).argmin())
    deep = max(n for activation, n, _ in runs if activation == "relu")
    records = recorded({"small-rate": rates[place]})
    for arm in ("none", "bn"):
        loss, right = (np.median(v[place]) for v in runs["relu", deep, arm][2:4])
        records += recorded({f"small-loss-{arm}": loss})
        records += recorded({f"small-accuracy-{arm}": 100 * right}, "percent")
    return Section(records=records, tables={"losses": measure.equal_rate(runs, place)})


def bad_starts(trained: Networks) -> Section:
    """Initializations that would dominate every rank, kept out of the registered analysis."""
    if trained.bad.empty:
        return Section(tables={"starts": pd.DataFrame(index=["none in this run"])})
    table = measure.overview(trained.bad, ["L", "arm"], trained.plan.rates)
    columns = ["max_trainable", "best", "passing", "share", "eps_up", "never"]
    return Section(tables={"starts": pd.DataFrame(table[columns])})


def other_data(given: Settings) -> Section:
    """Every claim on the stored tables of two data sets."""
    text = {}
    for name, how in measure.FULL.items():
        table = measure.load(name)
        ladder = measure.ladders_of(table)[8, how.steps]
        text[name] = decide.on_table(measure.frame_of(table), ladder, given.open_held_out)
    table = pd.DataFrame(text)
    word = table.map(lambda sentence: sentence.split(":")[0])
    numbers = {f"{data}-{name}": word[data][name] for name in word.index for data in word}
    numbers["verdicts-differ"] = int((word.digits != word.mnist1d).sum())
    numbers["verdicts-compared"] = len(word)
    return Section(records=recorded(numbers), tables={"verdicts": table})


def run(given: Settings) -> dict[str, Section]:
    """All sections in page order."""
    plan = register(given)
    trained = networks(given, plan.values)
    predicted = prediction(trained.values)
    return {
        "register": plan,
        "networks": trained,
        "larger_rates": larger_rates(trained.values),
        "prediction": predicted,
        "variants": variants(trained.values, predicted.values),
        "mechanism": mechanism(trained.values),
        "fresh_constants": fresh_constants(given, trained.values),
        "seldom_renewed": seldom_renewed(),
        "self_tuning": self_tuning(given),
        "beyond_one_step": beyond_one_step(trained.values),
        "small_rate": small_rate(given, trained.values),
        "bad_starts": bad_starts(trained.values),
        "other_data": other_data(given),
    }


def _told(numbers: Mapping[str, Any]) -> tuple[Record, ...]:
    """Records of what could be measured: data that nothing learns order no rates."""
    ends = {k: getattr(v, "low", v) for k, v in numbers.items()}
    return recorded({k: v for k, v in numbers.items() if ends[k] == ends[k]})


def _scaled(interval: Any, scale: Callable[[Any], Any]) -> Interval:
    return Interval(*(scale(v) for v in (interval.estimate, interval.low, interval.high)))
