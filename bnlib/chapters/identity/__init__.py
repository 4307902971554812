"""In which sense do gamma = standard deviation, beta = mean make batch norm the identity?"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from bnlib import identity, laws, parameters
from bnlib.chapters.identity import decide, figures, measure, networks, positions
from bnlib.chapters.identity.measure import POPULATIONS, shown
from bnlib.parameters import ascending, different, parameter
from bnlib.results import Record, Section, recorded
from bnlib.statistics import Interval, mean_interval, with_ends
from bnlib.verdicts import simultaneous


@dataclass(frozen=True)
class Settings(parameters.Settings):
    """What `notebooks/identity.ipynb` declares, with its ranges."""

    seed: int = parameter(0, 0, 1_000_000)
    seeds: int = parameter(20, 5, 200)
    draws: int = parameter(20_000, 1000, 10_000_000)
    batch_sizes: list = parameter(
        [2, 4, 8, 16, 32, 64, 128, 256, 1024], 2, 100_000, rule=different(1, some=64)
    )
    sgd_seeds: int = parameter(12, 3, 100)
    sgd_steps: int = parameter(1500, 400, 100_000)
    sgd_batches: list = parameter([2, 4, 8, 16, 32, 64, 256], 2, 4096)
    crops: int = parameter(32, 16, 256)
    skip_effnet: bool = parameter(False)
    ts_seeds: int = parameter(12, 3, 100)
    ts_steps: int = parameter(1500, 100, 100_000)
    ts_batches: list = parameter([8, 64], 2, 4096, rule=ascending)


def exactness(given: Settings) -> Section:
    """The condition in floating point: which kernels return x, in which mode."""
    worst, stored = measure.worst_errors(given.seed, given.seeds), measure.stored_error(given.seed)
    reach = worst.loc["float64"].loc[:, :1e6].max(axis=1)
    records = {"exact-seeds": given.seeds, "exact-eval": stored}
    records["exact-extra-digits"] = reach["mean to extra digits"]
    return Section(
        records=recorded(records),
        claims=(decide.same_batch(reach, given.seeds), decide.eval_exact(stored)),
        tables={"errors": worst.rename(columns="{:.0e}".format).map("{:.0e}".format)},
    )


def forgotten_eps(given: Settings) -> Section:
    """What gamma = sigma, without eps, does to a channel."""
    squares, offsets = 10.0 ** -np.arange(7), (1e-5, 1e-3, 0.0)
    of_eps = partial(measure.rms_without_eps, given.seed, given.seeds, squares)
    rms = {eps: of_eps(eps) for eps in offsets}
    law = {eps: identity.eps_error(squares, eps) for eps in offsets}
    figure = partial(figures.without_eps, squares, rms, law)
    return Section(claims=(decide.needs_eps(rms, law),), figures={"errors": figure})


def clouds(given: Settings) -> Section:
    """Batches as points, beside the constants that face them."""
    batches = measure.clouds(given.seed, (4, 64))
    center = measure.gaussian_laws(list(batches))["std"]
    return Section(figures={"clouds": partial(figures.clouds, batches, center)})


def error_law(given: Settings) -> Section:
    """The law of the error with the population's constants; `values` are the draws against it."""
    sizes = given.batch_sizes
    sums = measure.sample(given.seed, given.seeds, given.draws, sizes)
    exact, leading = measure.formulas(sizes)
    check = measure.check(sums, exact)
    ratios = (exact / leading)[:, np.array(sizes) >= 64]
    heavy = ratios[list(POPULATIONS).index("Student t5")]
    m = sorted({*sizes, *(2**k for k in range(1, 11))})
    curves = measure.gaussian_laws(m)
    records = {
        "law-inside": check.inside[0].sum(),
        "law-sizes": len(sizes),
        "law-all-inside": check.inside.sum(),
        "law-all": check.inside.size,
        "law-joint": check.jointly.sum(),
        "law-broken-low": check.broken[0],
        "law-broken-high": check.broken[1],
        "law-rms-8": identity.gaussian_error(8) ** 0.5,
        "leading-t5-64": heavy[0],
        "leading-t5-last": heavy[-1],
    }
    return Section(
        values=sums,
        records=recorded(records),
        claims=(decide.train_law(check), decide.train_leading(ratios, sizes[-1])),
        figures={
            "gaussian": partial(figures.error_by_size, sizes, check.point, m, curves),
            "populations": partial(figures.error_times_size, sizes, check.point, exact),
        },
    )


def best_constants(given: Settings, sums: measure.Sums) -> Section:
    """The best constants in training mode, from the draws of `error_law`."""
    sizes, best = given.batch_sizes, measure.best_constants(sums)
    table = measure.best_table(sizes, *best)
    return Section(claims=(decide.best_gamma(sizes, *best),), tables={"best": table})


def descent(given: Settings) -> Section:
    """Where descent towards y = x ends; `values` is the one with a constant step."""
    sizes, m = given.sgd_batches, range(2, max(given.sgd_batches) + 1)
    reached = measure.ends(given.seed, given.sgd_seeds, given.sgd_steps, sizes)
    levels = 0.95, simultaneous(len(sizes))
    learned, jointly = (mean_interval(reached.gamma, level) for level in levels)
    constant = measure.average(given.seed, given.sgd_seeds, given.sgd_steps)
    noise, a = mean_interval(constant.spread), measure.gaussian_laws(m)["std"]
    return Section(
        values=constant,
        records=(
            Record("sgd-same", constant.gap),
            *recorded({"sgd-noise": noise}, ends=".3f"),
            Record("sgd-noise-theory", laws.ema_noise(measure.RATE)),
        ),
        claims=(decide.sgd_fixed_point(sizes, jointly, constant.gap),),
        tables={"residues": measure.residues(reached, sizes)},
        figures={"learned": partial(figures.learned, sizes, learned, m, a)},
    )


def approach(given: Settings) -> Section:
    """How fast channels of each scale come near, under SGD and under Adam."""
    left = {name: measure.approach(given.seed, given.sgd_seeds, name) for name in ("sgd", "adam")}
    at, rate = measure.STEPS.index(60), (1 - measure.RATE) ** np.array(measure.STEPS)
    records = {f"paths-large-{name}": lines["σ > 3"][at] for name, lines in left.items()}
    figure = partial(figures.paths, measure.STEPS, left, rate)
    return Section(records=recorded(records), figures={"paths": figure})


def insertion(given: Settings) -> Section:
    """A restoring layer in networks, which are the `values`: what it changes in which mode."""
    plain, sizes = networks.on_digits(given.seeds), (4, 16, 64, 256)
    changed = np.stack([networks.changes(plain, m) for m in sizes])
    largest, training = changed[:, :, :2].max(axis=(0, 3)), changed[:, 0]
    _, gradient, cosine, removed = training.swapaxes(0, 1)
    middle, wide = (mean_interval(100 * gradient[k]) for k in (1, 3))
    modes = zip(("training", "evaluation"), decide.absent(largest), strict=True)
    cells = [[shown(mean_interval(v), 3) for v in parts[1:]] for parts in training]
    columns = ["gradient of W₁, change", "its cosine", "energy removed from dy"]
    shares, arriving = measure.shares(given.seed, given.seeds), measure.arriving(given.seed)
    network = sizes, mean_interval(removed.T)
    return Section(
        values=plain,
        records=(
            Record("absent-out", largest[:, 0].max()),
            Record("absent-grad-evaluation", largest[1, 1]),
            Record.interval("absent-grad-16", middle, "percent"),
            Record.interval("absent-grad-256", wide, "percent"),
            Record.interval("absent-cosine-256", mean_interval(cosine[3])),
            Record("absent-energy-256", 100 * removed[3].mean(), "percent"),
            *(Record(f"absent-{mode}-verdict", verdict) for mode, verdict in modes),
        ),
        claims=(decide.as_if_absent(largest, middle.estimate, wide.estimate),),
        tables={"changes": pd.DataFrame(cells, pd.Index(sizes, name="m"), columns)},
        figures={"projection": partial(figures.projection, arriving, shares, network)},
    )


def input_forms(given: Settings, plain: networks.Plain) -> Section:
    """What an inserted layer does to the gradient below, for data of several means and spreads."""
    changed = {form: networks.gradient_change(plain, form, (16, 256)) for form in networks.FORMS}
    usual = changed["as they are"]
    ratios = {form: mean_interval(each[1] / usual[1]) for form, each in changed.items()}
    rows = {
        form: [shown(mean_interval(100 * v), 1) for v in each] for form, each in changed.items()
    }
    columns = [f"change of the gradient of W₁, %, m = {m}" for m in (16, 256)]
    return Section(
        records=tuple(
            Record.interval(f"by-mean-{form}", ratios[form])
            for form in ("centred", "standardized", "whitened", "shifted")
        ),
        claims=(
            decide.gradient_by_mean(
                ratios["centred"], ratios["shifted"], 100 * usual[1].mean().item()
            ),
        ),
        tables={"forms": pd.DataFrame(rows, columns).T},
    )


def trajectories(given: Settings, plain: networks.Plain) -> Section:
    """Training with and without the inserted layer; `values` are the plain networks, trained."""
    parted, trained = networks.partings(plain)
    spread = {name: mean_interval(np.maximum(v, 1e-16)) for name, v in parted.items()}
    last = zip(("train", "frozen", "shift"), spread.values(), strict=True)
    return Section(
        values=trained,
        records=tuple(
            Record.interval(f"path-{key}", Interval(*(v[-1] for v in ends))) for key, ends in last
        ),
        figures={"paths": partial(figures.trajectories, spread)},
    )


def redundancy(given: Settings) -> Section:
    """What neighboring layers can take over from gamma and beta."""
    gaps = measure.redundancy_gaps(np.random.default_rng([given.seed, 9]), rate=0.001)
    table = pd.Series(gaps, name="largest difference").map("{:.1e}".format).to_frame()
    return Section(claims=(decide.redundant(gaps),), tables={"gaps": table})


def convolutions(given: Settings) -> Section:
    """The law with m = N H W against photographs."""
    effects = networks.photographs(given.crops, seed=given.seed, random=given.skip_effnet)
    digits: Any = {"m": 0, "error": 3, "effect": 1, "low": 1, "high": 1, "rows": 1, "fits": 2}
    worth = {"worth-low": effects["rows"].min(), "worth-high": effects["rows"].max()}
    return Section(
        records=recorded(worth),
        claims=(decide.conv_effective_m(effects),),
        tables={"effects": effects.round(digits)},
        figures={"effects": partial(figures.design, effects)},
    )


def digits(given: Settings) -> Section:
    """The same for digits, photographs and noise in one small network."""
    effects = positions.effects(given.seed)
    worth, first = effects.loc["digits"]["rows"], effects.loc["noise, first draw"]
    records = {"worth-digits-low": worth.min(), "worth-digits-high": worth.max()}
    records["control-below"] = 1 - first["high"].min()
    text = effects.apply(with_ends, axis=1, form=".2f")
    cells = {kind: text.loc[kind] for kind in positions.IMAGES}
    return Section(
        records=recorded(records),
        claims=(decide.conv_effective_m_digits(effects),),
        tables={"effects": pd.DataFrame(cells)},
        figures={"effects": partial(figures.design_of_images, effects)},
    )


def teacher_student(given: Settings) -> Section:
    """A task whose optimum is the identity, and whether descent finds it."""
    sizes, k = given.ts_batches, len(given.ts_batches)
    table, *ratios = networks.comparison(given.seed, given.ts_seeds, sizes, given.ts_steps)
    rows = {"few": 0, "many": k - 1, "longer": 3 * k, "weights": 2 * k - 1}
    rows |= {"scratch-few": 2 * k, "scratch-many": 3 * k - 1}
    return Section(
        records=recorded({f"ts-{key}": table["median d"][row] for key, row in rows.items()}),
        claims=(decide.teacher_student(table, *ratios),),
        tables={"students": table.round(4)},
    )


def trained_network(given: Settings, trained: networks.Plain) -> Section:
    """A restoring layer in the plain networks of `trajectories`: what the test loss does."""
    still, moved = networks.loss_changes(trained, (8, 32, 128))
    rows = {"evaluation": f"{np.abs(still).max():.0e} at most"}
    rows |= {f"training, m = {m}": shown(mean_interval(v)) for m, v in moved.items()}
    name = "change of the test loss, 95 % t-interval"
    return Section(tables={"losses": pd.Series(rows, name=name).to_frame()})


def run(given: Settings) -> dict[str, Section]:
    """All sections of the page, in its order."""
    law, inserted = error_law(given), insertion(given)
    paths = trajectories(given, inserted.values)
    return {
        "exactness": exactness(given),
        "forgotten_eps": forgotten_eps(given),
        "clouds": clouds(given),
        "error_law": law,
        "best_constants": best_constants(given, law.values),
        "descent": descent(given),
        "approach": approach(given),
        "insertion": inserted,
        "input_forms": input_forms(given, inserted.values),
        "trajectories": paths,
        "redundancy": redundancy(given),
        "convolutions": convolutions(given),
        "digits": digits(given),
        "teacher_student": teacher_student(given),
        "trained_network": trained_network(given, paths.values),
    }
