"""What a BN layer computes in training and in evaluation: is it made standard normal by step 1?"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from bnlib import parameters
from bnlib.chapters.forward import decide, figures, measure
from bnlib.parameters import parameter
from bnlib.results import Record, Section, recorded
from bnlib.statistics import mean_interval


@dataclass(frozen=True)
class Settings(parameters.Settings):
    """What `notebooks/forward.ipynb` declares, with its ranges."""

    seed: int = parameter(0, 0, 1_000_000)
    seeds: int = parameter(5, 2, 100)
    repeats: int = parameter(10, 2, 100)
    draws: int = parameter(20000, 1000, 1_000_000)
    batch_sizes: list = parameter([2, 3, 4, 5, 8, 16, 64], 2, 1024)
    n_crops: int = parameter(64, 4, 1000)
    skip_effnet: bool = parameter(False)

    def stream(self, number: int) -> np.random.Generator:
        """The random numbers of one experiment."""
        return np.random.default_rng([self.seed, number])


def definition(given: Settings) -> Section:
    """The displays of the page against PyTorch, over layouts, eps and precisions."""
    rng = given.stream(1)
    cases = product(measure.LAYOUTS, (1e-5, 1e-3, 0.3), ("float64", "float32"))
    gaps = pd.DataFrame(
        measure.compare(*layout, eps=eps, dtype=dtype, rng=rng) | {"dtype": dtype}
        for layout, eps, dtype in cases
    )
    worst: Any = gaps.groupby("dtype").max()
    double, single = worst[["output", "buffer"]].max(axis=1)[["float64", "float32"]]
    claim = decide.definition(double, single, len(gaps))
    return Section(
        values=gaps,
        records=(Record("definition-float64", double), Record("definition-float32", single)),
        claims=(claim, decide.axes(worst.layout["float64"])),
        tables={"gaps": worst},
    )


def stored_variance(given: Settings) -> Section:
    """Which variance PyTorch keeps, and which one it uses."""
    (biased, unbiased), used = measure.stored_variance(given.stream(2))
    return Section(claims=(decide.stored_variance(biased, unbiased, used),))


def two_moments(given: Settings) -> Section:
    """Mean and standard deviation of y, from quiet channels to loud ones."""
    ratio, spread, error = measure.two_moments(given.stream(3))
    fine = np.logspace(-2, 6, 200)
    law = fine, np.sqrt(fine / (fine + 1))
    return Section(
        values=spread,
        records=(Record("moments-error", error),),
        claims=(decide.two_moments(error),),
        figures={"moments": lambda: figures.moments(ratio, spread, law)},
    )


def bound(given: Settings) -> Section:
    """How far a normalized value can go."""
    return Section(claims=(decide.bound(*measure.beyond_the_bound(given.stream(4))),))


def pipeline(given: Settings) -> Section:
    """One channel at the four stages of a layer."""
    stages = measure.pipeline(given.stream(5))
    return Section(values=stages, figures={"stages": lambda: figures.pipeline(stages)})


def families(given: Settings) -> Section:
    """Six synthetic families before and after step 1; values: the largest change of a statistic."""
    shapes = measure.family_shapes(given)
    change = max(np.abs(np.subtract(after, before)).max() for before, after in shapes.values())
    cells = {
        name: ["{:.3f} [{:.3f}, {:.3f}]".format(*mean_interval(s)) for s in after]
        for name, (_, after) in shapes.items()
    }
    columns = ["KS distance", "skewness", "excess kurtosis", "within one sd"]
    return Section(
        values=change,
        records=(
            Record("family-rows", 5 * given.draws),
            Record("family-repeats", given.repeats),
            Record("change-synthetic", change),
        ),
        tables={"shapes": pd.DataFrame.from_dict(cells, orient="index", columns=columns)},
    )


def digits(given: Settings) -> Section:
    """Small networks on digits; values: the inputs of their normalizations."""
    inputs, score = measure.digits_networks(given)
    return Section(
        values=inputs,
        records=(
            Record("digits-seeds", given.seeds),
            *recorded({"digits-accuracy": score}, "percent", ends=".1f"),
        ),
    )


def photographs(given: Settings) -> Section:
    """EfficientNet-Lite0 on crops of two photographs."""
    crops = measure.photographs(given)
    return Section(values=crops, records=(Record("effnet-values", crops.values),))


def real_channels(
    given: Settings, digits: measure.Inputs, photographs: measure.Photographs
) -> Section:
    """Shapes of all channels of both kinds of networks; values: of each channel, a line."""
    inputs, rng = photographs.inputs | digits, given.stream(7)
    floors = {n: measure.floor(n, rng) for n in sorted(set(map(len, inputs.values())))}
    highest = {n: high for n, (_, high) in floors.items()}
    shapes: Any = measure.channel_shapes(inputs, highest, eps=1e-3)
    summary = measure.summarize(shapes, rng)
    records = []
    for name, (ks, low, high) in summary[["KS", "low", "high"]].iterrows():
        ends = {} if np.isnan(low) else {"low": low, "high": high}
        records.append(Record(f"ks-{str(name).replace(' ', '-')}", ks, **ends))
    photographed = shapes[~shapes.group.str.startswith("digits")]
    counts = {
        "channels": len(shapes),
        "dropped": sum(x.shape[1] for x in inputs.values()) - len(shapes),
        "photographed": len(photographed),
        "quiet": int((photographed.rho < 0.5).sum()),
        "floor": highest[max(floors)],
        "change-real": shapes.change.max(),
    }
    order = ["stem", "expand", "depthwise", "project", "head", "digits 1", "digits 2"]
    groups = {name: shapes.ks[shapes.group == name] for name in order if name in summary.index}
    picks = {name: measure.typical(name, inputs, shapes) for name in list(groups)[:6]}
    band = floors[max(floors)][0], highest[min(floors)]  # from the lowest to the highest
    blocks = measure.over_blocks(shapes)
    return Section(
        values=shapes,
        records=(*records, *(Record(name, value) for name, value in counts.items())),
        tables={"summary": summary.round(3)},
        figures={
            "channels": lambda: figures.channels(picks),
            "distances": lambda: figures.distances(groups, band, blocks),
        },
    )


def standard_normal(shapes: Any, change: float) -> Section:
    """Whether step 1 makes normals.  shapes, change: of `real_channels` and of `families`."""
    real = shapes[~shapes.group.str.endswith("new")]
    under, before = real.normal.mean(), real.normal_before.mean()
    gate = real.open.quantile([0.05, 0.95])
    percent = {"under-floor": under, "open-low": gate[0.05], "open-high": gate[0.95]}
    for site in (1, 2):
        share = shapes.normal[shapes.group == f"digits {site}"].mean()
        percent[f"under-floor-digits-{site}"] = share
    largest = max(change, shapes.change.max())
    return Section(
        records=tuple(Record(name, 100 * v, unit="percent") for name, v in percent.items()),
        claims=(decide.standard_normal(under, before, largest, len(real)),),
    )


def normal_rows(given: Settings) -> Section:
    """The law of x_hat for normal rows, one batch size after the other."""
    measured = {m: measure.normal_rows(m, given) for m in given.batch_sizes}
    rows = {m: row for m, (_, row) in measured.items()}
    panel = pd.DataFrame.from_dict(rows, orient="index").rename_axis("m")
    samples = {m: sample for m, (sample, _) in measured.items()}
    densities, t = {m: measure.density(m) for m in samples}, np.linspace(-3.5, 3.5, 201)
    bell = t, stats.norm.pdf(t)
    return Section(
        values=panel,
        records=tuple(Record(f"law-to-normal-{m}", v) for m, v in panel["law to normal"].items()),
        claims=(decide.beta_marginal(panel, 5 * given.draws),),
        tables={"panel": panel.assign(**{"2(1 - E s_m)": 2 * (1 - panel["E s_m"])}).round(4)},
        figures={"laws": lambda: figures.laws(samples, densities, bell)},
    )


def running_means(given: Settings) -> Section:
    """Noise of running means, ours and PyTorch's, and their lag behind a mean that moves."""
    noise = measure.running_noise(given.draws, given.stream(10))
    drifts = {a: measure.drift(a, given.seed) for a in (0.9, 0.1, 0.01)}
    records = []
    for a, drift in drifts.items():
        records += recorded({f"lag-{a}".replace(".", "-"): drift.lag}, ends=".2f")
    return Section(
        values=noise,
        records=tuple(records),
        claims=(decide.ema_noise(noise, given.draws), decide.momentum_convention(noise)),
        figures={"lags": lambda: figures.running(drifts)},
    )


def pooled_variance(given: Settings) -> Section:
    """The fourth exercise: what PyTorch stores of batches that differ, and what all rows have."""
    stored, pooled = measure.variances_of_batches(given.stream(14))
    records = Record("average-variance", stored), Record("pooled-variance", pooled)
    return Section(values=(stored, pooled), records=records)


def run(given: Settings) -> dict[str, Section]:
    """All sections, in page order."""
    synthetic, networks, crops = families(given), digits(given), photographs(given)
    real = real_channels(given, networks.values, crops.values)
    return {
        "definition": definition(given),
        "stored_variance": stored_variance(given),
        "two_moments": two_moments(given),
        "bound": bound(given),
        "pipeline": pipeline(given),
        "families": synthetic,
        "digits": networks,
        "photographs": crops,
        "real_channels": real,
        "standard_normal": standard_normal(real.values, synthetic.values),
        "normal_rows": normal_rows(given),
        "running_means": running_means(given),
        "pooled_variance": pooled_variance(given),
    }
