"""When all factors of a chain move at once: how large is each order, and what does BN do to it?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bnlib import meanings, parameters
from bnlib.chains import maclaurin_bound
from bnlib.chapters.chains import decide, figures, measure
from bnlib.parameters import different, parameter
from bnlib.results import Record, Section
from bnlib.statistics import median_interval


@dataclass(frozen=True)
class Settings(parameters.Settings):
    """What `notebooks/chains.ipynb` declares, with its ranges."""

    seed: int = parameter(0, 0, 1_000_000)
    seeds: int = parameter(20, 4, 1000)
    draws: int = parameter(10, 2, 1000)
    weight_mean: float = parameter(1.1, 1.02, 1.5)
    scalar_depths: list = parameter([2, 4, 6, 8, 10, 15, 20, 30], 2, 60, rule=different(2))
    r_values: list = parameter([0.1, 0.5, 1.0, 2.0], 0.001, 20.0)
    bound_draws: int = parameter(2000, 100, 1_000_000)
    r_matched: float = parameter(0.5, 0.01, 2.0)
    depths: list = parameter([2, 4, 6, 8, 12, 16], 2, 30)
    scales: list = parameter([0.8, 1.0, 1.2], 0.1, 3.0)
    width: int = parameter(32, 2, 256)
    widths: list = parameter([1, 2, 4, 8, 16], 1, 16)


def three_chains() -> Section:
    """Three chains of equal factors: orders that fall off, and orders that tower."""
    cases = (10, 1.0, 0.1), (10, 1.3, 0.1), (50, 1.1, 0.01)  # factors, their weight, the step
    chains = {case: measure.equal_chain(*case) for case in cases}
    orders, change = chains[cases[-1]]
    return Section(
        values=chains,
        records=(
            Record("change-exact", change),
            Record("change-from-orders", orders[1:].sum()),
            Record("condition", np.abs(orders[1:]).sum() / abs(change)),
        ),
        figures={"orders": lambda: figures.orders({case: v for case, (v, _) in chains.items()})},
    )


def five_ways(given: Settings) -> Section:
    """Five ways to the orders, how far they agree, and what each loses order by order."""
    rng = np.random.default_rng([given.seed, 1])
    table, least = measure.agreement((2, 3, 5, 8), given.draws, rng, step=0.1)
    gap = float(table.max(axis=None))
    errors = {}
    for step, length in ((step, length) for step in (1e-1, 1e-3) for length in (8, 12, 16)):
        w = np.random.default_rng([given.seed, 2, length]).normal(1.0, 0.3, length)
        errors[step, length] = measure.errors_of_ways(w, step=step)
    return Section(
        values=errors,
        records=(Record("ways-gap", gap),),
        claims=(decide.orders_up_to_depth(gap, least, given.draws),),
        tables={"ways": table.map("{:.0e}".format)},
        figures={"errors": lambda: figures.errors(errors)},
    )


def over_depth(given: Settings) -> Section:
    """The same random chains over depth, at a fixed step and at a matched one."""
    means = {"growing": given.weight_mean, "shrinking": 2 - given.weight_mean}
    families = {name: measure.family(mean, given) for name, mean in means.items()}
    limit = maclaurin_bound(given.r_matched) / np.expm1(given.r_matched)
    runs = [[getattr(f, rule)[:, 0] for f in families.values()] for rule in ("fixed", "matched")]
    labels = [f"{name}, mean weight {mean:.1f}" for name, mean in means.items()]
    medians = [[median_interval(v) for v in rule] for rule in runs]
    panels = [(dict(zip(labels, v, strict=True)), r) for v, r in zip(medians, runs, strict=True)]
    records = []
    for name, (mean, _, _, slope, _) in families.items():
        records += [
            Record(f"mean-{name}", mean),
            Record.interval(f"slope-{name}", slope),
            Record(f"slope-theory-{name}", 2 * np.log(mean)),
        ]
    for name, family in families.items():
        share, r, _ = family.fixed[..., -1].T
        records.append(Record.interval(f"share-fixed-{name}", median_interval(share)))
        records.append(Record(f"r-fixed-{name}", np.median(r)))
    records.append(Record("share-matched-largest", max(v.max() for v in runs[1])))
    drawn = given.scalar_depths, panels, given.r_matched, limit
    return Section(
        values=families,
        records=(*records, Record("share-limit", limit)),
        claims=(decide.exponential_at_fixed_step(list(families.values())),),
        figures={"shares": lambda: figures.shares(*drawn)},
    )


def random_chains(given: Settings) -> Section:
    """Whether a chain, however uneven, exceeds Maclaurin's bound."""
    rng = np.random.default_rng([given.seed, 4])
    sums = {r: measure.against_the_bound(given.bound_draws, r, rng) for r in given.r_values}
    used = {r: of_bound for r, (_, of_bound) in sums.items()}
    fine = np.geomspace(min(given.r_values) / 1.3, max(given.r_values) * 1.3, 100)
    curve = fine, [maclaurin_bound(r) for r in fine]
    return Section(
        values=sums,
        records=(Record("bound-used", max(v.max() for v in used.values())),),
        claims=(decide.bounded_at_matched_step(used, given.bound_draws),),
        figures={"bound": lambda: figures.bound({r: v for r, (v, _) in sums.items()}, curve)},
    )


def matrix_chains(given: Settings) -> Section:
    """Matrices: a step of one size, and steps of one predicted decrease of the loss."""
    steps = measure.matrix_steps(given)
    matched = steps[steps.rule == "matched progress"]
    columns = ["step", "moved", "gross", "net", "useful"]
    medians = matched.groupby(["depth", "kind", "scale"], sort=False)[columns].median()
    table, shallow = medians.loc[max(given.depths)], medians.loc[min(given.depths)]
    scales = sorted(given.scales)
    ends = {"small": scales[0], "unit": scales[len(scales) // 2], "large": scales[-1]}
    records = [Record("polynomial-residual", steps.residual.max())]
    for name, scale in ends.items():
        records.append(Record(f"useful-{name}", table.useful["orthogonal", scale]))
        records.append(Record(f"moved-{name}", table.moved["orthogonal", scale]))
    at_unit = table.useful.xs(ends["unit"], level="scale")
    records.append(Record("useful-unit-least", at_unit.min()))
    records.append(Record("useful-large-shallow", shallow.useful["orthogonal", scales[-1]]))
    views = ("gross", "fixed step"), ("gross", "matched progress"), ("useful", "matched progress")
    bands = {view: measure.matrix_bands(steps, *view, given) for view in views}
    return Section(
        values=steps,
        records=tuple(records),
        claims=(decide.depth_defeats_prediction(table.useful, given.r_matched, max(given.depths)),),
        tables={"steps": table.map("{:.3g}".format)},
        figures={"steps": lambda: figures.matrices(given.depths, bands)},
    )


def normalized_numbers(given: Settings) -> Section:
    """BN before the last factor of a scalar chain: what still pulls at the lower factors."""
    streams = (np.random.default_rng([given.seed, 6, k]) for k in range(given.seeds))
    pulls: Any = pd.concat([measure.scalar_arms(rng, r_loss=given.r_matched) for rng in streams])
    leaky, columns = pulls[pulls.v_eps > 0], ["gradient", "leak", "own", "any"]
    worst = pulls[pulls.power == 0].groupby("arm", sort=False)[columns].max()
    inert = float(worst.loc["BN, 0", ["gradient", "own", "any"]].max())
    gap, without = float((leaky.gradient - leaky.leak).abs().max()), worst.own["no BN"]
    return Section(
        values=leaky,
        records=(Record("inert-worst", inert),),
        claims=(decide.lower_layers_inert(inert, gap, without, given.seeds),),
        tables={"pulls": worst.map("{:.1e}".format)},
    )


def normalized_vectors(given: Settings) -> Section:
    """The same of a vector chain: what it does not notice, and what is left to learn."""
    streams = (np.random.default_rng([given.seed, 7, k]) for k in range(given.seeds))
    seen: Any = pd.DataFrame([measure.invariances(rng) for rng in streams])
    noticed = [name for name in seen if name.startswith("not ")]
    worst = seen.max()
    unnoticed = float(worst.drop(noticed).max())
    assert unnoticed <= decide.ROUNDING, "the page says that these are identities"
    worst[noticed] = seen[noticed].min()
    gradients = seen["not a gradient of zero"]
    shown = worst.rename("deviation (worst seed)").map("{:.1e}".format)
    return Section(
        values=seen,
        records=(
            Record("invariance-worst", unnoticed),
            Record("vector-gradient-median", gradients.median()),
        ),
        claims=(decide.lower_layers_inert_vectors(gradients, unnoticed),),
        tables={"deviations": shown.to_frame()},
    )


def trained_lower_layers(given: Settings, leaky: pd.DataFrame) -> Section:
    """What training the lower layers gains; drawn beside the leak of `normalized_numbers`."""
    errors = measure.bottlenecks(given)
    gain = median_interval(errors[..., 0] - errors[..., 1])
    k, at = np.geomspace(min(given.widths), 15.99, 60), np.sort(leaky.v_eps.to_numpy())
    law, leaks = (k, *measure.beta_law(k, 16)), (leaky.v_eps, leaky.gradient)
    drawn = leaks, (at, 1 / (1 + at)), given.widths, errors, law
    return Section(
        values=errors,
        records=(
            Record("gain-narrowest", gain.estimate[0], low=gain.low[0], high=gain.high[0]),
            Record("trained-worst", errors[..., 1].max()),
        ),
        claims=(decide.two_moments_only(gain, given.widths, given.seeds),),
        figures={"normalized": lambda: figures.normalized(*drawn)},
    )


def three_meanings(given: Settings) -> Section:
    """Three things called "order", on one network."""
    orders = meanings.three_orders(np.random.default_rng([given.seed, 9]))
    apart = meanings.told_apart(orders)
    assert all(apart.values()), "one pair would do for the verdict; the page says three"
    return Section(
        values=orders,
        records=(
            Record("meanings-apart", sum(apart.values())),
            Record("interaction-one", orders["interaction"][0]),
            Record("taylor-one", orders["taylor"][0]),
        ),
        claims=(decide.orders_are_one_thing(orders),),
        tables={"orders": meanings.as_table(orders)},
    )


def run(given: Settings) -> dict[str, Section]:
    """All sections, in page order."""
    numbers = normalized_numbers(given)
    return {
        "three_chains": three_chains(),
        "five_ways": five_ways(given),
        "over_depth": over_depth(given),
        "random_chains": random_chains(given),
        "matrix_chains": matrix_chains(given),
        "normalized_numbers": numbers,
        "normalized_vectors": normalized_vectors(given),
        "trained_lower_layers": trained_lower_layers(given, numbers.values),
        "three_meanings": three_meanings(given),
    }
