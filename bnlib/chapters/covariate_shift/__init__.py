"""Does BN work by reducing internal covariate shift, and is that interaction under another name?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from bnlib import parameters, training
from bnlib import stored as tables
from bnlib.chapters.covariate_shift import decide, figures, hessian, measure
from bnlib.landscape import UNITS
from bnlib.networks import spec
from bnlib.networks.arms import ARMS
from bnlib.parameters import ascending, different, expect, names, pairs, parameter
from bnlib.results import Record, Section
from bnlib.statistics import median_interval, rows_with

PLAIN_AND_BN = ("none", "bn")
COMPARED = ("none", "frozen", "bn")
STRENGTHS = {0.5: "half", 1.0: "one", 2.0: "two"}  # of noise, that the prose tells of
JUDGED_DEPTH = 10  # weight matrices from which on the claim about noise is judged
HERE = Path(__file__).parent
STORED, DIGEST = HERE / "mnist1d.json", "4c723286664ecd91"
DIGESTS = {"register.toml": "89615b20650958c8", "noise.json": "cc688adf7900d919"}


def _two(name: str, values: list[float]) -> None:
    """Ascending, and at least two: a single step has no range."""
    ascending(name, values)
    different(2)(name, values)


@dataclass(frozen=True)
class Settings(parameters.Settings):
    """What `notebooks/covariate-shift.ipynb` declares, with its ranges."""

    dataset: str = parameter("digits")
    seeds: int = parameter(10, 4, 200)
    noise_seeds: int = parameter(20, 4, 200)
    arms: list = parameter(
        ["none", "frozen", "bn", "layer-norm"], rule=names(ARMS, among=PLAIN_AND_BN)
    )
    depths: list = parameter([6, 12], 2, 64)
    activations: list = parameter(["relu", "linear"], rule=names(tuple(spec.ACTIVATIONS)))
    rate_rules: list = parameter(list(measure.STEP_RULES), rule=names(measure.STEP_RULES))
    rate: float = parameter(0.1, 0.0001, 10.0)
    rates: list = parameter([0.03, 0.1, 0.3, 1.0, 3.0], 1e-6, 100.0, rule=ascending)
    steps: int = parameter(120, 11, 2000)
    every: int = parameter(10, 1, 500)
    width: int = parameter(32, 8, 512)
    batch: int = parameter(64, 4, 1024)
    bn_eps: float = parameter(1e-5, 1e-12, 1.0)
    identity_depth: int = parameter(5, 2, 12)
    noise_depths: list = parameter([6, 12], 2, 64, rule=different(1, some=JUDGED_DEPTH))
    noise_scale: float = parameter(1.0, 0.1, 4.0)
    landscape_depth: int = parameter(6, 2, 16)
    landscape_steps: int = parameter(60, 11, 2000)
    raw_steps: list = parameter([0.05, 0.1, 0.2, 0.4], 1e-6, 100.0, rule=_two)
    matched_steps: list = parameter([0.1, 0.25, 0.5, 1.0], 1e-6, 100.0, rule=_two)
    block_depth: int = parameter(6, 3, 10)
    block_steps: int = parameter(20, 1, 200)
    probes: int = parameter(6, 1, 100)
    spectra: int = parameter(2, 1, 50)
    explosion_depth: int = parameter(10, 4, 64)
    sizes: list = parameter(
        [[256, 256], [32, 16], [32, 64], [32, 256]], 8, 4096, rule=pairs("[width, batch]")
    )

    def __post_init__(self) -> None:
        """Raises ValueError also for a walk that is never measured after its start."""
        super().__post_init__()
        enough = f"more than the {self.every} between measurements"
        for name in ("steps", "landscape_steps"):
            expect(getattr(self, name) > self.every, name, enough, getattr(self, name))

    def bench(self, seeds: int, steps: int = 0) -> measure.Bench:
        """The bench with so many seeds, and walks of so many steps."""
        sizes = self.width, self.batch, self.bn_eps, steps or self.steps, self.every
        return measure.load(self.dataset, range(seeds), *sizes)

    @property
    def looked_along(self) -> dict[str, list[float]]:
        """The steps along which the landscape is looked at, by unit."""
        return dict(zip(UNITS, (self.raw_steps, *[self.matched_steps] * 2), strict=True))


@training.one_thread()
def theorem(given: Settings) -> Section:
    """The interaction of a step as an integral of covariate shift, and its left endpoint."""
    theorem = measure.theorem(given.bench(4), given.identity_depth)
    return Section(
        values=theorem,
        records=(
            Record("identity-error", theorem.error),
            Record("identity-relu", theorem.relu_error),
            *(Record(f"slope-{name}", slope) for name, slope in theorem.slopes.items()),
        ),
        claims=(decide.is_interaction(theorem, given.identity_depth),),
        figures={"misses": lambda: figures.misses(theorem)},
    )


@training.one_thread()
def on_the_way(given: Settings) -> Section:
    """Both quantities along training, at step sizes that people use."""
    rates = given.rates[:4]
    way = measure.on_the_way(given.bench(4, steps=60), given.identity_depth, rates)
    gap = 100 * ((way["int"] - way["sum"]).abs() / way["int"].abs()).groupby(way.rule).median()
    ends = {"least": gap[f"{rates[0]:g}"], "largest": gap[f"{rates[-1]:g}"]}
    return Section(
        values=way,
        records=tuple(Record(f"gap-{name}", value, "percent") for name, value in ends.items()),
        figures={"one quantity": lambda: figures.one_quantity(way)},
    )


@training.one_thread()
def who_shifts(given: Settings) -> Section:
    """Covariate shift of the arms along training, under each rule for the step."""
    rules = given.rate_rules
    choices = (given.activations, given.depths, rules), given.rate, given.rates
    survey = measure.survey_shift(given.bench(given.seeds), given.arms, *choices)
    cells, relu = decide.shift_cells(survey), rows_with(survey, activation="relu")
    plain = relu[relu.arm.isin(PLAIN_AND_BN)].groupby(["L", "rule", "arm"])
    shown, panels = ["loss", "step", "norm", *measure.SHIFTS], (given.arms, given.depths, rules)
    layers = measure.by_layer(relu, rules[0], PLAIN_AND_BN).round(2)
    return Section(
        values=cells,
        records=(
            *(Record(f"cells-{name}", count) for name, count in decide.tally(cells).items()),
            Record("cells-all", len(cells)),
            Record("walk-steps", given.steps),
        ),
        claims=decide.reduces(cells),
        tables={
            "cells": cells.round(3),
            "arms": pd.DataFrame(plain[shown].median().round(3)),
            "layers": layers.astype(object).where(layers.notna(), ""),
        },
        figures={"by rule": lambda: figures.by_rule(measure.shift_bands(relu), *panels)},
    )


@training.one_thread()
def noise(given: Settings) -> Section:
    """Noise after the norm that raises the shift of distributions on purpose."""
    bench = given.bench(given.noise_seeds)
    choices = given.rates, given.noise_scale
    runs = {depth: measure.survey_noise(bench, depth, *choices) for depth in given.noise_depths}
    deep, shallow = max(runs), min(runs)
    gains = {depth: decide.gains(runs[depth][0]) for depth in runs}
    (gain, kept), flat = gains[deep], gains[shallow].gain
    walks, table = runs[deep][1], measure.noise_table(runs)
    drift, turned = (table[f"{of} shift"][deep] for of in ("distribution", "gradient"))
    return Section(
        values=runs,
        records=(
            Record.interval("gain", gain),
            Record("kept", 100 * kept.estimate, "percent"),
            Record("kept-low", 100 * kept.low, "percent"),
            Record("kept-high", 100 * kept.high, "percent"),
            Record.interval("gain-shallow", flat),
            Record("gain-shallow-low", flat.low),
            Record("gain-shallow-high", flat.high),
            Record("noise-depth", deep),
            Record("noise-shallow", shallow),
            Record("drift-ratio", drift["noisy bn"] / drift["bn"]),
            Record("drift-against-none", drift["noisy bn"] / drift["none"]),
            Record("turned-ratio", turned["noisy bn"] / turned["bn"]),
        ),
        claims=(decide.noise_harmless(gains[deep], deep),),
        tables={"arms": table.round(3)},
        figures={"noise": lambda: figures.noise(measure.noise_lines(walks, given.steps))},
    )


@training.one_thread()
def smoothness(given: Settings) -> Section:
    """Loss and gradient along the gradient, in raw, matched and layer-normalized steps."""
    bench, looked = given.bench(given.seeds, given.landscape_steps), given.looked_along
    walked = measure.survey_smoothness(bench, given.arms, given.landscape_depth, given.rate, looked)
    level = float(walked[walked.arm == "bn"].groupby("at").loss.median().iloc[-1])
    ratios = decide.by_unit(walked, level)
    words = {-1: "smoother with BN", 0: "open", 1: "rougher with BN"}
    shown = ["loss", "gradient", "kappa", *measure.MEASURES, "cosine", "kept"]
    arms, measured = walked.groupby(["unit", "arm"], sort=False), product(UNITS, measure.MEASURES)
    below = {unit: int((ratios[f"{unit}, equal loss"].sign < 0).sum()) for unit in decide.JUDGED}
    return Section(
        values=walked,
        records=(
            *(Record(f"{u}-{m}", np.exp(ratios[u].estimate[m])) for u, m in measured),
            Record("equal-level", level),
            *(Record(f"equal-{unit}-below", number) for unit, number in below.items()),
        ),
        claims=tuple(decide.smoother(unit, ratios[unit]) for unit in decide.JUDGED),
        tables={
            "signs": pd.DataFrame({k: r.sign.astype(int).map(words) for k, r in ratios.items()}),
            "arms": pd.DataFrame(arms[shown].median().round(3)),
        },
        figures={"bands": lambda: figures.smoothness(measure.envelopes(walked))},
    )


@training.one_thread()
def coupling(given: Settings) -> Section:
    """Blocks of the Hessian at the start and after steps on one batch."""
    size = given.block_depth, given.block_steps, given.probes
    blocks, maps = hessian.survey_blocks(given.bench(given.seeds), COMPARED, *size)
    gaps = decide.log_ratios(blocks, ["off", "share", "diag", "coupling", "scaled"], ["state"])
    records = [Record("block-steps", given.block_steps)]
    for name, state in product(("off", "share", "diag"), measure.STATES):
        estimate, low, high = np.exp(gaps.loc[(name, state), ["estimate", "low", "high"]])
        records.append(Record(f"{name}-{state}", estimate))
        records.append(Record(f"{name}-{state}-interval", f"{low:.2f} to {high:.2f}"))
    medians = blocks.groupby(["state", "arm"], sort=False).median(numeric_only=True)
    shares = pd.DataFrame(blocks.groupby(["arm", "state"])[["share", "iid"]].median())
    return Section(
        values=blocks,
        records=tuple(records),
        claims=(decide.uncoupled(gaps, given.block_steps),),
        tables={"blocks": medians.drop(columns="seed").round(3)},
        figures={"blocks": lambda: figures.blocks(maps, shares)},
    )


@training.one_thread()
def spectrum(given: Settings) -> Section:
    """Both ends of the spectrum of the Hessian, in the same states."""
    size = given.block_depth, given.block_steps
    ends = hessian.spectrum_ends(given.bench(given.spectra), COMPARED, *size)
    medians = ends.groupby(["state", "arm"], sort=False)[["lowest", "highest"]].median()
    highest = {name: medians.highest["trained", name] for name in PLAIN_AND_BN}
    return Section(
        values=ends,
        records=tuple(Record(f"highest-trained-{k}", value) for k, value in highest.items()),
        tables={"ends": pd.DataFrame(medians.round(2))},
    )


@training.one_thread()
def explosion(given: Settings) -> Section:
    """How the squared gradient grows from layer to layer on its way down."""
    bench, depth, (width, batch) = given.bench(4), given.explosion_depth, given.sizes[0]
    growth, profiles = measure.survey_growth(bench, COMPARED, depth, given.sizes)
    spread, _ = measure.survey_growth(bench.independent(1024), COMPARED, depth, [(256, 1024)])
    first = rows_with(growth, state="start", width=width, batch=batch)
    factors = {name: median_interval(rows_with(first, arm=name).factor) for name in PLAIN_AND_BN}
    start, far = (rows_with(rows, state="start", arm="bn") for rows in (first, spread))
    stepped = rows_with(growth, state="one step", arm="bn", width=width)
    shown = {name: profiles[name, width, batch] for name in COMPARED}
    rows = {given.dataset: growth, "independent rows": spread}
    return Section(
        values=growth,
        records=(
            Record.interval("factor-bn", factors["bn"]),
            Record.interval("factor-none", factors["none"]),
            Record("factor-theory", measure.RELU_FACTOR),
            Record("inverse-bn", start.inverse.median()),
            Record("factor-independent", far.factor.median()),
            Record("inverse-independent", far.inverse.median()),
            Record("factor-stepped", stepped.factor.median()),
        ),
        claims=(decide.cures(factors, width, batch),),
        tables={"factors": measure.growth_table(rows, COMPARED).round(3)},
        figures={"growth": lambda: figures.growth(shown, measure.RELU_FACTOR)},
    )


def proxies(given: Settings) -> Section:
    """What the usual proxies say about a quadratic, where the truth is known."""
    table = measure.proxy_table([0.1, 0.2, 0.4], [0.1, 0.3])
    return Section(
        values=table,
        records=(
            Record("proxy-noise", table.noise[measure.CONSECUTIVE]),
            Record("proxy-rate", table.rate[measure.GRADIENT]),
        ),
        tables={"proxies": table.round(2)},
        figures={"proxies": lambda: figures.proxies(table.head(-1))},
    )


def doses() -> Section:
    """The register, and the gain that noise leaves over its strength; stored."""
    register = tables.content(HERE / "register.toml", DIGESTS["register.toml"]).decode()
    rows = tables.table(HERE / "noise.json", DIGESTS["noise.json"])["rows"]
    table, gained = decide.doses(rows)
    shown = {"kept": "kept", "drift": "drift/none"}
    return Section(
        values=register,
        records=tuple(
            Record(f"{key}-{name}-{word}", table[column][name, size])
            for key, column in shown.items()
            for name, (size, word) in product(gained, STRENGTHS.items())
        ),
        claims=(decide.noise_is_dose(table, gained),),
        tables={"doses": table.map(lambda cell: cell if isinstance(cell, bool) else f"{cell:.2f}")},
        figures={"doses": lambda: figures.doses(table, gained)},
    )


def other_data(given: Settings, sections: Sequence[Section]) -> Section:
    """The verdicts of these sections beside those stored for MNIST-1D."""
    claims = [claim for section in sections for claim in section.claims]
    table = tables.table(STORED, DIGEST)
    return Section(tables={"verdicts": decide.beside(claims, given.dataset, table)})


def run(given: Settings) -> dict[str, Section]:
    """All sections in page order, by name."""
    measured = (
        theorem, on_the_way, who_shifts, noise, smoothness, coupling, spectrum, explosion, proxies,
    )  # fmt: skip
    sections = {section.__name__: section(given) for section in measured}
    other = other_data(given, list(sections.values()))
    return sections | {"doses": doses(), "other_data": other}
