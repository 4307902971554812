"""What is lost if we only normalize: what a network cannot do without gamma and beta, and where."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from bnlib import absorption as absorbing
from bnlib import data, laws, parameters
from bnlib.chapters.capacity import decide, figures, measure
from bnlib.networks.arms import AFFINE_ARMS
from bnlib.parameters import parameter
from bnlib.results import Record, Section, recorded
from bnlib.statistics import mean_interval
from bnlib.stored import content
from bnlib.stored import table as stored_table
from bnlib.verdicts import simultaneous

HERE = Path(__file__).parent
FULL = HERE / "full.json"
DIGEST = "fe0c3a6317a083a9"  # of the table that the page was written about
DIGESTS = {"register.toml": "88393ce4a25823a6", "rates.json": "f88250ef3d2ea1b2"}
LONGEST = 100_000  # steps


@dataclass(frozen=True)
class Settings(parameters.Settings):
    """What `notebooks/capacity.ipynb` declares, with its ranges."""

    seed: int = parameter(0, 0, 1_000_000)
    seeds: int = parameter(12, 3, 100)
    width: int = parameter(64, 1, 1024)
    wave_steps: int = parameter(800, 1, LONGEST)
    band_steps: int = parameter(500, 1, LONGEST)
    output_steps: int = parameter(700, 1, LONGEST)
    scale_steps: int = parameter(300, 1, LONGEST)
    dataset: str = parameter("digits")
    table_seeds: int = parameter(6, 3, 100)
    table_steps: int = parameter(300, 1, LONGEST)
    rates: list = parameter([0.05, 0.2, 0.8], 1e-6, 999.0)
    draws: int = parameter(400_000, 2000, 100_000_000)


def real_data(given: Settings) -> dict[str, data.Split]:
    """The data set of the parameters and a second one, by name; what does not fit stops here."""
    names = (given.dataset, "mnist1d" if given.dataset != "mnist1d" else "digits")
    return {name: measure.splits(name, range(given.table_seeds), batch=64) for name in names}


def kinks(given: Settings) -> Section:
    """Without beta every kink of a hidden layer sits at the mean of its data."""
    task = measure.Task(range(given.seeds), given.width, given.wave_steps)
    arms = {activation: measure.wave_arms(activation, task) for activation in ("relu", "tanh")}
    relu, layers = arms["relu"].fits, measure.random_layers(given.seed)
    ratio = {(activation, arm): arms[activation].ratio(arm) for activation, arm in layers}
    names = ["rank of 500 units and 1", "R² of sin 3πx", "trained error / floor"]
    rows = {key: (*layer, ratio[key].mean()) for key, layer in layers.items()}
    free = [("relu", "none"), ("relu", "gamma"), ("tanh", "none")]
    residual = {arm: measure.homogeneity(fit) for arm, fit in relu.items()}
    ranks, lowest = [layers[key][0] for key in free], min(ratio[key].min() for key in free)
    leaks = {
        name: measure.fit_wave("none", "tanh", task, eps=eps).error() / arms["tanh"].limit
        for name, eps in (("default", 1e-5), ("large", 1e-3))
    }
    curves = {arm: measure.curve(fit) for arm, fit in relu.items()}
    return Section(
        values=arms,
        records=tuple(Record.interval(f"leak-{k}", mean_interval(v)) for k, v in leaks.items()),
        claims=(decide.kink(residual, ranks, lowest),),
        tables={"arms": pd.DataFrame(rows, index=names).T.round(4)},
        figures={"kinks": lambda: figures.kinks(curves)},
    )


def bands(given: Settings, waves: Section) -> Section:
    """One layer and two on two bands; what beta gives back, and for tanh on which target."""
    task = measure.Task(range(given.seeds), given.width, given.band_steps)
    both = {depth: measure.band_arms(depth, task) for depth in (1, 2)}
    fresh, x = {depth: arms for depth, (_, arms) in both.items()}, np.linspace(-3, 3, 601)
    logits = {depth: measure.logit_gaps(arms, x) for depth, arms in fresh.items()}
    wave, records = measure.Task(range(given.seeds), given.width, given.wave_steps), []
    for arm in ("gamma", "beta"):
        shifted = measure.fit_wave(arm, "tanh", wave, phase=1.0).error()
        for target, errors in (("odd", waves.values["tanh"].score[arm]), ("shifted", shifted)):
            mean, key = mean_interval(errors), f"tanh-{target}-{arm}"
            records += recorded({key: mean}, ends=".3f")
    # The part of sin(3x + 1) that is even, which no odd function reaches.
    even = np.sin(1.0) * np.cos(3 * np.linspace(-2, 2, 100001))
    records += [Record("tanh-shifted-floor", float(even.var()))]
    return Section(
        values=both,
        records=(*records, Record("depth-two-none", fresh[2].score["none"].mean())),
        claims=(
            decide.band_ceiling(both[1], fresh[2]),
            decide.beta_restores(waves.values["relu"], fresh[1]),
        ),
        figures={"bands": lambda: figures.bands(fresh, x, logits)},
    )


def linear_regime(given: Settings) -> Section:
    """Whether normalized inputs make an activation nearly linear."""
    shares = measure.nonlinear_shares(given.draws, np.random.default_rng([given.seed, 2]))
    few, depth = range(min(given.seeds, 10)), 6
    by_depth = {
        (name, gamma): measure.linear_share_by_depth(name, gamma, few, depth=depth).mean(0)
        for name, gamma in product(("ReLU", "tanh"), (1.0, 4.0))
    }
    lines = measure.share_curves()
    return Section(
        records=tuple(Record(f"share-{k}", shares.quadrature[k]) for k in ("sigmoid", "tanh")),
        claims=(decide.linear_regime(shares),),
        tables={"depth": pd.DataFrame(by_depth, index=range(1, depth + 1)).loc[[1, 3, 6]].round(3)},
        figures={"shares": lambda: figures.linear_regime(*lines)},
    )


def outputs(given: Settings) -> Section:
    """Batch norm as the last layer: each arm's floor, and the scale that gamma learns."""
    ids, steps = range(given.seeds), given.output_steps
    fits = {arm: measure.fit_output(arm, ids, m=64, steps=steps) for arm in measure.FOUR}
    floor = {arm: measure.output_floor(*measure.TARGET, arm) for arm in fits}
    errors = {arm: fit.error() for arm, fit in fits.items()}
    scale = measure.learned_scales(fits["both"], ids, steps=steps, seed=given.seed)
    return Section(
        values=errors,
        claims=(decide.output_floor(errors, floor),),
        tables={"scale": scale.round(4)},
        figures={"outputs": lambda: figures.outputs(errors, floor, scale)},
    )


def batch_scale(given: Settings, kinks: Section, outputs: Section) -> Section:
    """A scale that a whole batch shares against one of each row; what constants bring back.

    kinks: the section of the bands, which says what beta restores.
    """
    accuracy = {}
    for design, norm in product(measure.DESIGNS, measure.NORMS):
        modes = measure.scale_accuracies(norm, design, range(given.seeds), steps=given.scale_steps)
        accuracy |= {(norm, design, mode): right for mode, right in modes.items()}
    level = simultaneous(2 * len(measure.CHANCE))
    interval = {key: mean_interval(right, level) for key, right in accuracy.items()}
    error, (*_, restores) = outputs.values["both"].mean() / measure.TARGET[1] ** 2, kinks.claims
    return Section(
        claims=(
            decide.batch_scale(interval),
            decide.any_information(error, restores, interval),
        ),
        figures={"scales": lambda: figures.scales(accuracy, interval)},
    )


def absorption(given: Settings) -> Section:
    """What the next layer takes over, and what no next layer can."""
    exact = absorbing.absorbed_errors(np.random.default_rng([given.seed, 4]))
    rest = absorbing.remaining_errors(np.random.default_rng([given.seed, 5]))
    errors = pd.Series(exact | rest, name="relative error").map("{:.1e}".format).to_frame()
    return Section(claims=(decide.absorption(exact, rest),), tables={"errors": errors})


def ablation(given: Settings, rows: dict[str, data.Split]) -> Section:
    """What gamma and beta are worth on real data, each arm at its own learning rate."""
    how = {"width": given.width, "rates": given.rates, "steps": given.table_steps, "batch": 64}
    first, second = rows
    cases = [(first, "relu-1"), (second, "relu-1"), (first, "relu-1, logits")]
    runs = [
        measure.run_arm((*case, arm), rows[case[0]], range(given.table_seeds), **how)
        for case, arm in product(cases, AFFINE_ARMS)
    ]
    runs, kept = measure.with_overlap(runs, rows), _kept("ablation", rows)
    chance = {Path(name).name: measure.most_frequent(split.y_test) for name, split in rows.items()}
    both = [run for run in runs if run["arm"] == "both"]
    learned = all(decide.beats(run, chance[run["data"]]) for run in both)
    judged, ours = decide.judge(runs, kept, learned=learned), decide.compare(runs)
    over = measure.over_logit_floor(runs, rows[first].y_train)
    classes = 1 + int(rows[first].y_train.max())
    gap = abs(measure.one_hot_loss(classes) - laws.logit_floor(np.full(classes, 1 / classes)))
    gaps = {arm: [row.delta for row in judged.table if row.arm == arm] for arm in AFFINE_ARMS}
    fell = decide.fell(judged.table, "none")
    text = {"stored": decide.summary(kept), "this run": decide.summary(runs)}
    cells = {(source, *row): v for source, part in text.items() for row, v in part.items()}
    return Section(
        records=(
            *(Record(f"rows-{name}", number) for name, number in fell.items()),
            Record("table-rows", len(gaps["none"])),
            Record("logit-over-none", over["none"].mean()),
            Record("largest-loss-none", -min(gaps["none"])),
            Record("largest-loss-gamma", -min(gaps["gamma"])),
            Record("best-affine", max(gaps["affine"])),
        ),
        claims=(
            decide.ablation(judged),
            decide.affine_alone(judged),
            decide.logit_floor(gap, over),
        ),
        tables={"summary": pd.DataFrame(cells).T},
        figures={"forest": lambda: figures.forest(judged.table, ours)},
    )


def subsets(given: Settings, rows: dict[str, data.Split]) -> Section:
    """Training gamma and beta alone, and as many random weights."""
    name, kept = given.dataset, _kept("subsets", rows)
    how = {"rates": [0.1], "steps": given.table_steps, "batch": 64}
    runs = [
        measure.run_subset((name, "1 x 256", subset), rows[name], range(given.table_seeds), **how)
        for subset in measure.SUBSETS
    ]
    runs = measure.with_overlap(runs, rows)
    table = pd.DataFrame(kept + runs).set_index(["data", "setting", "subset"])
    table = table.drop(columns=["loss", "diverged", "overlap"])
    return Section(
        claims=(decide.train_only_affine(runs, kept),),
        tables={"subsets": table.assign(accuracy=table.accuracy.map(np.mean)).round(3)},
        figures={"subsets": lambda: figures.subsets(kept or runs)},
    )


def wide_rates() -> Section:
    """Training gamma and beta alone, and as many random weights, at rates up to 3; stored."""
    runs = tomllib.loads(content(HERE / "register.toml", DIGESTS["register.toml"]).decode())["runs"]
    rows = stored_table(HERE / "rates.json", DIGESTS["rates.json"])["rows"]
    rows = measure.with_overlap(rows, {name: data.load(name, 0) for name in runs["data"]})
    gained, old = decide.own_rate_gains(rows), decide.gains(rows)
    records = []
    for (name, setting), (gain, _) in gained.items():
        records += recorded({f"own-rate-{name}-{setting[0]}": gain}, "points", ends="+.1f")
    ahead = sum(bool(inside and gain.low > 0) for gain, inside in gained.values())
    records += [Record("settings-ahead", ahead), Record("settings-swept", len(gained))]
    records.append(Record("old-rule-counts", sum(counts for _, counts in old.values())))
    shown = pd.DataFrame(rows).assign(accuracy=[np.mean(row["accuracy"]) for row in rows])
    columns = ["data", "setting", "subset", "rate", "edge", "accuracy", "chance", "diverged"]
    return Section(
        records=tuple(records),
        claims=(decide.affine_against_random(gained),),
        tables={"rates": pd.DataFrame(shown[columns]).round(3)},
        figures={"scores": lambda: figures.scores(rows, runs["rates"])},
    )


def run(given: Settings) -> dict[str, Section]:
    """All sections in page order."""
    rows = real_data(given)
    waves, ends = kinks(given), outputs(given)
    both = bands(given, waves)
    return {
        "kinks": waves,
        "bands": both,
        "linear regime": linear_regime(given),
        "outputs": ends,
        "batch scale": batch_scale(given, both, ends),
        "absorption": absorption(given),
        "ablation": ablation(given, rows),
        "subsets": subsets(given, rows),
        "wide rates": wide_rates(),
    }


def _kept(part: str, rows: dict[str, data.Split]) -> list[measure.Run]:
    """The rows of one part of the stored table; none beside data that it does not know."""
    stored = stored_table(FULL, DIGEST)[part]
    if next(iter(rows)) not in {row["data"] for row in stored}:
        return []
    return measure.with_overlap(stored, rows)
