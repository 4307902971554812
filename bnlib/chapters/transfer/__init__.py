"""A trained network meets other data: which of its numbers should move, and which can help?"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain, product
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from bnlib import parameters
from bnlib.chapters.transfer import decide, domains, exact, figures, measure, mixtures, stored
from bnlib.chapters.transfer.domains import Target, Trained
from bnlib.identity import gaussian_error
from bnlib.parameters import ascending, grid, names, parameter
from bnlib.results import Record, Section, recorded
from bnlib.statistics import mean_interval, paired_difference, with_ends
from bnlib.stored import table
from bnlib.training import one_thread

NETWORKS = ["lite0", "lite1", "lite2"]
DIGEST = "7f2a98bc852f33a9"  # of the stored table
AGREEMENT = 1.0  # points by which a part of it may come out otherwise
SHIFTS = ["noise", "small rotation", "blur", "contrast"]


@dataclass(frozen=True)
class Settings(parameters.Settings):
    """What `notebooks/transfer.ipynb` declares, with its ranges."""

    seed: int = parameter(0, 0, 1_000_000)
    seeds: int = parameter(6, 4, 50)
    steps: int = parameter(500, 50, 10_000)
    rates: list = parameter([0.003, 0.01, 0.03, 0.1, 0.3], 1e-6, 10.0, rule=grid(2))
    affine_rates: list = parameter([0.1, 0.3, 1.0], 1e-6, 10.0, rule=ascending)
    weight_rates: list = parameter([0.01, 0.03, 0.1], 1e-6, 10.0, rule=ascending)
    batch_sizes: list = parameter([2, 4, 8, 32], 2, 200, rule=grid(2))
    first_rates: list = parameter([0.001, 0.01, 0.05], 1e-6, 10.0, rule=grid(3))
    labels: list = parameter([20, 200], 2, 200, rule=grid(2))
    subset_rates: list = parameter([0.01, 0.03, 0.1, 0.3, 1.0, 3.0], 1e-6, 10.0, rule=ascending)
    test_sizes: list = parameter([4, 16, 64, 256], 2, 1024, rule=grid(2, among=decide.BESIDE))
    shifts: list = parameter(SHIFTS, rule=names(tuple(domains.SHIFTS)))
    passes: int = parameter(8, 2, 100)
    entropy_rates: list = parameter([0.1, 0.5, 2.0], 1e-6, 100.0, rule=ascending)
    nets: list = parameter(["lite0", "lite1"], choices=NETWORKS, rule=names(NETWORKS))
    crops: int = parameter(24, 4, 200)
    pixels: int = parameter(128, 64, 512)
    skip_effnet: bool = parameter(False)

    @property
    def all_seeds(self) -> range:
        """The seeds of splits, starts and batches."""
        return range(self.seed, self.seed + self.seeds)


class Start(NamedTuple):
    """Networks of both domains, and the rows of both as targets."""

    mnist: Trained
    digits: Trained
    to_digits: Target
    to_mnist: Target
    clean: Target  # the rows of the source that no network trained on


def start(given: Settings) -> Section:
    """Networks of both domains, trained; their accuracy at home and on the other's rows."""
    seeds = given.all_seeds
    values = Start(
        mnist=domains.source("mnist", seeds, steps=given.steps),
        digits=domains.source("digits", seeds, steps=given.steps),
        to_digits=domains.target("digits", seeds),
        to_mnist=domains.target("mnist", seeds),
        clean=domains.shifted("none", seeds),
    )
    home = measure.untuned(values.mnist, values.clean).accuracy
    away = measure.untuned(values.mnist, values.to_digits).accuracy
    scores = {"home": mean_interval(home), "away": mean_interval(away)}
    return Section(
        values=values,
        records=(Record("seeds", given.seeds), *recorded(scores, "percent", ends=".1f")),
        figures={"numbers": figures.numbers},
    )


def first_steps(given: Settings, at: Start) -> Section:
    """Loss before and after the first steps, and where freezing pays."""
    sizes, middle = given.batch_sizes, len(given.first_rates) // 2
    arms = {m: measure.first_steps(at.mnist, at.to_digits, m, given.first_rates) for m in sizes}
    looks = {
        name: {m: measure.first_losses(at.mnist, rows, m) for m in sizes}
        for name, rows in (("target", at.to_digits), ("source", at.clean))
    }
    means = {
        name: {m: {mode: v.mean() for mode, v in looked.items()} for m, looked in by_size.items()}
        for name, by_size in looks.items()
    }
    gaps = {
        kind: {m: paired_difference(a[kind].accuracy, a["batch"].accuracy) for m, a in arms.items()}
        for kind in ("source", "target")
    }
    excess, before, rows, ends = {}, {}, [], {}
    for m, arm in arms.items():
        seen = {k: v[: measure.EARLY].mean(0) for k, v in looks["target"][m].items()}
        first = {k: measure.early(a.loss) for k, a in arm.items()}
        excess[m] = paired_difference(first["batch"][middle], seen["source"])
        before[m] = float((seen["batch"] - seen["source"]).mean())
        for place, rate in enumerate(given.first_rates):
            after = {k: with_ends(mean_interval(a.test[place]), ".1f") for k, a in arm.items()}
            ends[m, rate] = after
            row = {"m": m, "rate": rate, "untouched": seen["source"].mean()}
            row |= {"batch, no step": seen["batch"].mean()}
            row |= {f"{k}, first steps": v[place].mean() for k, v in first.items()}
            row |= {f"{k}, worst": measure.worst(a.loss)[place].mean() for k, a in arm.items()}
            rows.append(row)
    records = {}
    for name, m in (("few", sizes[0]), ("many", sizes[-1])):
        records |= {f"rows-{name}": m, f"frozen-gain-{name}": gaps["source"][m]}
    for name, modes in means.items():
        records |= {f"loss-{name}-{mode}": float(v) for mode, v in modes[sizes[0]].items()}
    noise = {m: gaussian_error(m) for m in sizes}
    return Section(
        values=arms,
        records=recorded(records, ends="+.1f"),
        claims=(decide.freeze_rule(gaps["source"]), decide.explodes(excess, before)),
        tables={
            "losses": pd.DataFrame(rows).set_index(["m", "rate"]).round(2),
            "accuracy": pd.DataFrame(ends).T.rename_axis(["m", "rate"]),
        },
        figures={
            "freeze": lambda: figures.freeze(gaps),
            "losses": lambda: figures.first_losses(means, noise),
        },
    )


def theorems(given: Settings, at: Start) -> Section:
    """The same function twice, a contrast undone, a frozen start: in float64."""
    contrast = exact.contrast(at.mnist, at.clean.x_test)
    random = exact.frozen_at_random(given.all_seeds, at.to_digits)
    same = exact.same_function(at.mnist, at.to_digits.x)
    records = {
        "contrast-exact": contrast.exact,
        "contrast-eps": contrast.stored_eps,
        "contrast-source": contrast.source,
        "contrast-law": contrast.eps_law,
        "contrast-dead": contrast.dead,
    }
    return Section(
        values=contrast,
        records=recorded(records),
        claims=(decide.same_function(same), decide.frozen_random(random)),
        figures={"line": lambda: figures.one_line(exact.repairs())},
    )


def remedies(given: Settings, at: Start) -> Section:
    """Four shifts of the source's own rows, and what each remedy recovers."""
    clean = measure.untuned(at.mnist, at.clean).accuracy
    scores: dict[tuple[str, str], np.ndarray] = {}
    shares, gain, rows = {}, {}, []
    for shift in ("contrast", "negative", *decide.MIXING):
        target = domains.shifted(shift, given.all_seeds)
        arms = measure.remedies(
            at.mnist, target, affine_rates=given.affine_rates, weight_rates=given.weight_rates
        )
        left = arms["source statistics"].accuracy
        for name, arm in arms.items():
            scores[shift, name] = arm.accuracy
            shares[shift, name] = mean_interval((arm.accuracy - left) / (clean - left).mean())
            score = with_ends(mean_interval(arm.accuracy), ".1f")
            rows.append({"shift": shift, "remedy": name, "accuracy": score, "rate": arm.rate})
        weights, affine = (f"target statistics, {kind} tuned" for kind in ("weights", "γ, β"))
        gain[shift] = paired_difference(scores[shift, weights], scores[shift, affine])
    by_gradient = scores["contrast", "source statistics, γ, β tuned"]
    counted = paired_difference(scores["contrast", "target statistics"], by_gradient)
    estimates = {key: share.estimate for key, share in shares.items()}
    table = pd.DataFrame(rows).pivot(index="remedy", columns="shift", values=["accuracy", "rate"])
    return Section(
        values=shares,
        records=recorded({"counted-gain": counted}, "points", ends=".1f"),
        claims=(decide.mixing(estimates, gain), decide.count_or_gradient(counted)),
        tables={"remedies": table.loc[list(measure.REMEDIES)]},
        figures={"recovered": lambda: figures.recovered(shares)},
    )


def cells(given: Settings, at: Start, first: dict[int, dict[str, measure.Arm]]) -> Section:
    """The table of statistics by what is tuned; the largest rates that are stable.

    first: of `first_steps`, whose batch sizes count for the stable rates, too.
    """
    arms = measure.table(at.mnist, at.to_digits, given.rates)
    tuned = [name for name, kinds in measure.TRAINED.items() if kinds]
    stable = {name: (arms["source", name], arms["batch", name]) for name in tuned}
    stable |= {f"m = {m}": (a["source"], a["batch"]) for m, a in first.items()}
    steps = {
        name: float(np.median(frozen.largest_stable - batch.largest_stable))
        for name, (frozen, batch) in stable.items()
    }
    rows = []
    for (statistics, name), arm in arms.items():
        row = {"statistics": statistics, "tuned": name, "rate": arm.rate}
        row["accuracy"] = with_ends(mean_interval(arm.accuracy), ".1f")
        if arm.rates:
            highest = int(np.median(arm.largest_stable))
            row["largest stable"] = f"{arm.rates[highest]:g}" if highest >= 0 else "none"
        rows.append(row)
    records = {
        f"table-{s}-all": mean_interval(arms[s, "all"].accuracy) for s in ("source", "batch")
    }
    return Section(
        values=arms,
        records=recorded(records, "percent", ends=".1f"),
        claims=(decide.frozen_rate(steps, "all"),),
        tables={"cells": pd.DataFrame(rows).fillna("").set_index(["statistics", "tuned"])},
        figures={"table": lambda: figures.table(arms)},
    )


def both_ways(given: Settings, at: Start) -> Section:
    """Target statistics alone, from one domain to the other and back."""
    at_digits = measure.at_home(at.digits, given.all_seeds)
    home = measure.untuned(at.mnist, at.clean).accuracy
    ways = {
        "MNIST to digits": measure.adapted(at.mnist, at.to_digits, at_digits),
        "digits to MNIST": measure.adapted(at.digits, at.to_mnist, home),
    }
    gains, closed, rows = {}, {}, {}
    for way, scores in ways.items():
        gains[way] = paired_difference(scores["all tested rows"], scores["source"])
        closed[way] = gains[way].estimate / (scores["trained there"] - scores["source"]).mean()
        rows[way] = {name: with_ends(mean_interval(v), ".1f") for name, v in scores.items()}
    return Section(
        claims=(decide.adabn(gains, closed),),
        tables={"ways": pd.DataFrame(rows)},
        records=recorded({"adabn-there": gains["MNIST to digits"].estimate}, "points"),
    )


def subsets(given: Settings, at: Start) -> Section:
    """What is tuned, on few labels and on more."""
    arms = measure.subsets(at.mnist, at.to_digits, given.subset_rates, given.labels)
    scores = {key: mean_interval(arm.accuracy) for key, arm in arms.items()}
    rows = [
        {"tuned": name, "labels": n, "accuracy": with_ends(scores[name, n], ".1f"), "rate": a.rate}
        for (name, n), a in arms.items()
    ]
    table = pd.DataFrame(rows).pivot(index="tuned", columns="labels", values=["accuracy", "rate"])
    return Section(
        claims=(decide.affine_enough(arms), decide.affine_beats_random(arms)),
        tables={"subsets": table.loc[list(measure.SUBSETS)]},
        figures={"subsets": lambda: figures.subsets(scores)},
    )


def companions(given: Settings, at: Start) -> Section:
    """Batch statistics at test time, in random and in sorted batches."""
    scores = measure.companions(at.mnist, at.to_digits, given.test_sizes)
    rows = {
        name: [with_ends(interval, ".1f") for interval in map(mean_interval, values)]
        for name, values in scores.items()
    }
    return Section(
        claims=(decide.companions(scores, given.test_sizes),),
        tables={"companions": pd.DataFrame(rows, index=pd.Index(given.test_sizes, name="m"))},
    )


def entropy(given: Settings, at: Start) -> Section:
    """Entropy minimization on gamma and beta, and entropy that falls for free."""
    targets = {name: domains.shifted(name, given.all_seeds) for name in given.shifts}
    targets["digits"] = at.to_digits
    runs = {
        (rate, name): measure.streams(at.mnist, rows, rate=rate, passes=given.passes)
        for rate, (name, rows) in product(given.entropy_rates, targets.items())
    }
    middle = given.entropy_rates[len(given.entropy_rates) // 2]
    judged = {name: runs[middle, name] for name in targets}
    drawn = {key: streams for key, streams in runs.items() if key[0] >= middle}
    mixed, ordered = ({n: s[kind] for n, s in judged.items()} for kind in ("mixed", "sorted"))
    rows = []
    for (rate, name), streams in runs.items():
        for kind, stream in streams.items():
            row = {"rate": rate, "target": name, "stream": kind}
            for what, values in stream._asdict().items():
                row |= {f"{what}, start": values[0].mean(), f"{what}, end": values[-1].mean()}
            rows.append(row | {"accuracy, peak": stream.accuracy.mean(1).max()})
    free = measure.sharpened(at.mnist, at.to_digits, (1.0, 2.0, 4.0))
    sharp = pd.DataFrame(free, index=["accuracy", "entropy"]).T.rename_axis("logits times")
    return Section(
        values=runs,
        records=(Record("entropy-free-1", free[1.0][1]), Record("entropy-free-4", free[4.0][1])),
        claims=(decide.tent_helps(mixed), decide.tent_destroys(mixed, ordered)),
        tables={
            "streams": pd.DataFrame(rows).set_index(["rate", "target", "stream"]).round(2),
            "sharpened": sharp.round(3),
        },
        figures={"entropy": lambda: figures.entropy(drawn)},
    )


def photographs(given: Settings, contrast: exact.Contrast) -> Section:
    """Shipped networks on corrupted crops of two photographs.  contrast: of `theorems`."""
    nets = [] if given.skip_effnet else given.nets
    how: dict[str, Any] = {"pixels": given.pixels, "seed": given.seed}
    few = max(2, given.crops // 4)  # float64 is slow, and exactness does not need many
    kinds = {0.0: "stored", 1.0: "target"}  # by the weight of target statistics
    tables = (mixtures.table(n, given.crops, weights=tuple(kinds), **how) for n in nets)
    columns = ["network", "corruption", "weight", "agreement", "cosine"]
    cosines = pd.DataFrame(list(chain(*tables)), columns=columns)
    cosines["statistics"] = [kinds[weight] for weight in cosines["weight"]]
    borders = pd.DataFrame({name: exact.borders(name, few, **how) for name in nets}).T
    table = cosines.pivot(
        index="corruption", columns=["network", "statistics"], values=["agreement", "cosine"]
    )
    drawn = {"photographs": lambda: figures.photographs(cosines, borders)} if nets else {}
    return Section(
        values=cosines,
        claims=(
            decide.shift_exact(contrast, cosines, borders),
            decide.border(borders),
            decide.few_images(cosines),
        ),
        tables={"photographs": table.reindex(list(exact.CORRUPTIONS)).astype(float).round(3)},
        figures=drawn,
    )


@one_thread()
def more_labels(given: Settings) -> Section:
    """The stored table of subsets, both ways; a part runs again."""
    arms = stored.arms(_stored()["subsets"])
    scores = {key: mean_interval(arm.accuracy) for key, arm in arms.items()}
    first = next(iter(stored.WAYS))
    ((again),) = stored.arms(stored.subsets(first, "without", range(3), (20,))).values()
    kept = arms[first, "without", "head", 20]
    gap = float(np.abs(again.test - kept.test[:, :3]).mean())
    if not gap <= AGREEMENT:
        raise AssertionError(f"expected the stored accuracies to {AGREEMENT} points, got {gap}")
    rows: dict[tuple[str, str], dict[int, str]] = {}
    for (way, source, name, n), arm in arms.items():
        tuned = name if source == "with" else f"{name}, source without γ, β"
        cell = f"{with_ends(scores[way, source, name, n], '.1f')} at {arm.rate}"
        rows.setdefault((way, tuned), {})[n] = cell
    pairs = {
        "scale-or-shift": ("γ", "β", 1000),
        "affine-or-random": ("γ, β", "random weights", 1000),
        "all-or-affine-few": ("all", "γ, β", 20),
    }
    gaps = {}
    for way, end in zip(stored.WAYS, ("", "-back"), strict=True):
        for name, (one, other, n) in pairs.items():
            a, b = (arms[way, "with", tuned, n].accuracy for tuned in (one, other))
            gaps[name + end] = paired_difference(a, b)
    with_affine = arms[first, "with", "head", 20].accuracy
    return Section(
        values=arms,
        records=recorded(gaps, "points", ends="+.1f"),
        claims=(decide.affine_harms(kept.accuracy, with_affine),),
        tables={"labels": pd.DataFrame.from_dict(rows, orient="index")},
        figures={"labels": lambda: figures.more_labels(scores)},
    )


def mixed_statistics(given: Settings) -> Section:
    """The stored table of mixtures of stored and target statistics in shipped networks."""
    lines: Any = pd.DataFrame(_stored()["mixtures"])
    wide = lines.pivot(
        index=["network", "corruption"], columns="weight", values=["agreement", "cosine"]
    )
    order = pd.MultiIndex.from_product([mixtures.NETWORKS, exact.CORRUPTIONS])
    seen = wide["agreement"].drop(index="clean", level=1)
    gain = seen[[0.03, 0.1, 0.25]].max(axis=1) - seen[0.0]
    extra = wide.loc[("mobilenet-v2", "contrast")]["cosine", 1.0]
    return Section(
        values=lines,
        records=(
            *recorded({"mixture-gain": gain.mean(), "mixture-gain-most": gain.max()}, "points"),
            Record("mobilenet-contrast", extra),
        ),
        tables={"mixtures": wide.reindex(order).round(3)},
        figures={"mixtures": lambda: figures.mixtures(lines)},
    )


def _stored() -> dict[str, Any]:
    return table(stored.HERE / "full.json", DIGEST)


def run(given: Settings) -> dict[str, Section]:
    """All sections, in page order."""
    begun = start(given)
    at = begun.values
    sections = {"start": begun, "first_steps": first_steps(given, at)}
    sections["theorems"] = theorems(given, at)
    sections["remedies"] = remedies(given, at)
    sections["photographs"] = photographs(given, sections["theorems"].values)
    sections["mixed_statistics"] = mixed_statistics(given)
    sections["cells"] = cells(given, at, sections["first_steps"].values)
    sections["both_ways"], sections["subsets"] = both_ways(given, at), subsets(given, at)
    sections["more_labels"] = more_labels(given)
    sections["companions"], sections["entropy"] = companions(given, at), entropy(given, at)
    return sections
