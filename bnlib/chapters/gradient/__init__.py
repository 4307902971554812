"""How does the gradient flow back through batch normalization, and what follows from it?

One random generator runs through the page. A section that draws from it takes it as the section
before left it, works on a copy, and hands on the copy as its `values`: `four_witnesses` starts it,
then follow `planted_errors`, `geometry`, `relatives` and `controls`. Run twice, a section draws the
same. The other sections have generators of their own, from the seed.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from bnlib import laws, parameters, statistics, training
from bnlib.chapters.gradient import decide, figures, measure, witnesses
from bnlib.parameters import parameter
from bnlib.results import Record, Section, recorded
from bnlib.verdicts import simultaneous

Array = np.ndarray
Rng = np.random.Generator
SIZES, OFFSETS = (2, 3, 4, 8), (1e-5, 1e-3)  # rows and eps of small batches


@dataclass(frozen=True)
class Settings(parameters.Settings):
    """What `notebooks/gradient.ipynb` declares, with its ranges."""

    seeds: int = parameter(10, 3, 100)
    steps: int = parameter(300, 50, 5000)
    lr: float = parameter(0.1, 0.001, 0.2)
    pairs: int = parameter(64, 2, 512)
    draws: int = parameter(4_000_000, 100_000, 50_000_000)
    digits: int = parameter(60, 30, 200)
    seed: int = parameter(0, 0, 1_000_000)


def nine_steps(dy: Array, x: Array, gamma: Array, beta: Array, *, eps: float) -> Section:
    """One channel, x and dy (m, 1), through the nine steps and back; values: the gradients."""
    grads, adjoints = measure.backward_graph(dy, x, gamma, beta, eps=eps)
    adjoints |= {"x": grads.dx, "gamma": grads.dgamma, "beta": grads.dbeta}
    c, v = x - x.mean(), x.var()
    tau, values = np.sqrt(v + eps), {"x": x, "gamma": gamma, "beta": beta}
    values |= {"mu": x.mean(), "c": c, "q": c**2, "v": v, "tau": tau, "i": 1 / tau}
    values |= {"x_hat": c / tau, "z": gamma * c / tau, "y": gamma * c / tau + beta}
    graph = {"graph": lambda: figures.computational_graph(values, adjoints)}
    return Section(values=grads, figures=graph)


def four_witnesses(given: Settings) -> Section:
    """The library's first and second derivative before four witnesses."""
    rng = np.random.default_rng(given.seed)
    disagreements, agree = measure.library_examined(rng)
    table = pd.DataFrame(disagreements, index=["first order", "second order"]).T
    return Section(
        values=rng,
        claims=decide.closed_forms(disagreements, agree),
        tables={"disagreement": table.map("{:.0e}".format)},
    )


def planted_errors(given: Settings, rng: Rng) -> Section:
    """Can the witnesses say no? And the best step of the one that has a knob."""
    rng = deepcopy(rng)
    case = witnesses.random_case(8, 3, eps=0.3, rng=rng)
    caught = measure.protests(case, rng)
    errors, (steps, lines) = caught.iloc[1:], measure.step_errors(case, given.seed)
    by_others = errors.drop(columns="autodiff").any(axis=1)
    idle = errors.columns[~errors.any().astype(bool)]
    missed = errors.index[~errors.autodiff.astype(bool)]
    return Section(
        values=rng,
        records=(
            Record("errors-tried", len(errors)),
            Record("errors-caught", int(by_others.sum())),
            Record("false-alarms", int(caught.iloc[0].sum())),
            Record("idle-witnesses", ", ".join(idle) or "none"),
            Record("autodiff-misses", ", ".join(missed) or "nothing"),
        ),
        tables={"caught": caught.replace({True: "caught", False: "–"})},
        figures={"differences": lambda: figures.difference_errors(steps, lines)},
    )


def geometry(rng: Rng) -> Section:
    """The Jacobian in parts, its spectrum, and how much of a random gradient it lets pass."""
    rng, sizes = deepcopy(rng), np.array([2, 3, 4, 8, 32, 128])
    terms, miss = measure.jacobian_terms(rng.normal(size=8)), measure.spectrum_miss(rng)
    projections = measure.projections(rng.normal(size=8))
    kept = {rho: measure.energy_kept(sizes, rho, rng) for rho in (1.0, 0.5)}
    energy = {
        rho: (statistics.mean_interval(shares), [laws.energy_kept(m, rho) for m in sizes])
        for rho, shares in kept.items()
    }
    return Section(
        values=rng,
        records=(
            Record("energy-two-rows", kept[1.0][:, 0].max()),
            Record("energy-eight-rows", kept[1.0][:, 3].mean()),
        ),
        claims=(decide.spectrum(miss), decide.projection(projections)),
        figures={
            "parts": lambda: figures.jacobian_terms(terms),
            "spectrum": lambda: figures.spectrum(projections, sizes, energy),
        },
    )


def relatives(rng: Rng) -> Section:
    """The gradient with the unbiased variance, and that of evaluation mode."""
    rng = deepcopy(rng)
    unbiased = decide.unbiased(measure.unbiased_miss(rng))
    evaluation = decide.evaluation(*measure.evaluation_misses(rng))
    return Section(values=rng, claims=(unbiased, evaluation))


@training.one_thread()
def dead_bias(given: Settings) -> Section:
    """The gradient of a bias before BN, next to that of the weights."""
    _, x, y = measure.digits(given.seeds)
    nets = [measure.network(given.seeds, eps=1e-5, dtype=d) for d in measure.PRECISIONS]
    shares = [measure.bias_share(net, x, y) for net in nets]
    images = x[0].view(-1, 1, 8, 8)
    shares.append(measure.convolution_bias_share(images, y[0], given.seed))
    return Section(claims=(decide.dead_bias(*shares),))


@training.one_thread()
def weights(given: Settings) -> Section:
    """How weights before BN relate to their gradients, and how they grow."""
    (_, x, y), offsets = measure.digits(given.seeds), (0.0, 1e-5, 0.1)
    relations = {
        (eps, scale): measure.weight_relations(given.seeds, x, y, eps=eps, scale=scale)
        for eps in offsets
        for scale in (0.1, 1.0, 10.0)
    }
    growth = {
        eps: measure.norm_growth(given.seeds, x, y, eps=eps, steps=200, lr=1.0) for eps in offsets
    }
    return Section(
        records=(
            Record("cosine-tiny-eps", relations[1e-5, 1.0].cosine),
            Record("growth", growth[0.0].layer[0][-1].mean()),
            Record("shrinking-steps", growth[0.1].shrinking),
        ),
        claims=(*decide.weight_relations(relations), decide.norm_growth(growth)),
        figures={"growth": lambda: figures.norm_growth(growth[0.0])},
    )


def random_pairs(given: Settings) -> Section:
    """The gain of two random rows: median, mean and mean square; values: `measure.Pairs`."""
    pairs = measure.random_pairs(given.seed, given.draws)
    return Section(
        values=pairs,
        records=(
            Record("pairs-drawn", given.draws),
            Record("mean-gain", pairs.drawn["mean"][1]),
            Record("median-gain", pairs.drawn["median"][1]),
            Record("near-ties", pairs.near_ties),
        ),
        claims=(decide.typical_pair(pairs),),
    )


@training.one_thread()
def small_batches(given: Settings, pairs: measure.Pairs) -> Section:
    """The same training with two, three, four and eight rows; values: its arms by (m, eps)."""
    arms = {(m, eps): measure.train_arm(given, m, eps=eps) for eps in OFFSETS for m in SIZES}
    ratios = {eps: measure.movement_ratio(arms[2, eps], arms[3, eps]) for eps in OFFSETS}
    norms = {cell: measure.norm_summary(arm.norms) for cell, arm in arms.items()}
    records = [Record.interval(f"movement-ratio-{e:.0e}", ratio) for e, ratio in ratios.items()]
    for m in (2, 3):
        keys = [f"norm-{name}-{m}" for name in ("median", "mean", "largest", "top")]
        records += map(Record, keys, norms[m, 1e-5].values())
    growth = np.median(arms[2, 1e-3].norms) / np.median(arms[2, 1e-5].norms)
    rows = {f"m = {m}, ε = {eps:g}": norms[m, eps] | arm.means() for (m, eps), arm in arms.items()}
    gains, spreads = measure.spikes(), [measure.norm_spread(arms[m, 1e-5].norms) for m in SIZES]
    moved = {eps: [arms[m, eps].moved for m in SIZES] for eps in OFFSETS}
    return Section(
        values=arms,
        records=(*records, Record("median-growth", growth)),
        claims=(decide.dead_pairs(ratios, given.seeds),),
        tables={"arms": pd.DataFrame(rows).T.map("{:.3g}".format)},
        figures={"pairs": lambda: figures.batch_two(pairs, gains, spreads, moved, SIZES)},
    )


@training.one_thread()
def controls(given: Settings, arms: dict[tuple[int, float], measure.Arm], rng: Rng) -> Section:
    """Two rows against three when one thing about the training changes."""
    rng, rows, records = deepcopy(rng), {}, []
    compared = {"random pairs": [arms[2, 1e-5], arms[3, 1e-5]]} | measure.controls(given)
    for name, (two, three) in compared.items():
        layer = np.median(two.moved), np.median(three.moved)
        unit = np.median(two.unit), np.median(three.unit)
        rows[name] = {"layer, m = 2": layer[0], "layer, m = 3": layer[1]}
        rows[name] |= {"unit, m = 2": unit[0], "unit, m = 3": unit[1]}
        key = name[0].lower()
        records += [Record(f"unit-moved-{key}", unit[0]), Record(f"unit-moved-{key}-3", unit[1])]
        records.append(Record(f"layer-moved-{key}", layer[0]))
    batch = measure.digits(given.seeds)[1][0]
    kept = measure.length_kept_by_two(batch, measure.network(1, eps=1e-5), rng)
    records += [Record(f"length-kept-two-{name}", share) for name, share in kept.items()]
    table = pd.DataFrame(rows).T.map("{:.2g}".format)
    return Section(values=rng, records=tuple(records), tables={"controls": table})


@training.one_thread()
def averaging(given: Settings) -> Section:
    """Does averaging rescue the mean gradient? One pair a step, many pairs, one large batch."""
    records, rows = [], {}
    for key, name, pairs in (("one", "one pair", 1), ("many", f"{given.pairs} pairs", given.pairs)):
        trained, fixed, gain = measure.first_layer_gain(given, pairs)
        records += recorded({f"gain-{key}": gain}, "points", ends="+.1f")
        rows[f"{name} a step"] = trained.means()
        rows[f"{name} a step, first layer fixed"] = fixed.means()
    whole = measure.train_arm(given, 2 * given.pairs)
    rows[f"one batch of {2 * given.pairs} a step"] = whole.means()
    table = pd.DataFrame(rows, index=["loss", "accuracy", "movement"]).T
    return Section(
        records=(*records, Record("pairs-averaged", given.pairs)),
        tables={"averaging": table.map("{:.3f}".format)},
    )


@training.one_thread()
def rates(given: Settings) -> Section:
    """Does training the first layer lower the loss of test rows, at a rate that suits it?"""
    swept = {m: measure.sweep_rates(given, m) for m in (2, 4)}
    split, lr = measure.digits(given.seeds)[0][0], given.lr * measure.FACTORS
    interval = partial(statistics.mean_interval, overlap=len(split.x_test) / len(split.x_train))
    own = {m: {n: interval(s.own_gain) for n, s in ends.items()} for m, ends in swept.items()}
    level = simultaneous(len(lr) * len(swept[2]))
    same = {n: interval(s.gains.T, level=level) for n, s in swept[2].items()}
    records, losses = [], {}
    for m, ends in swept.items():
        for length, (steps, sweep) in zip(("short", "long"), ends.items(), strict=True):
            records += recorded({f"own-gain-{m}-{length}": own[m][steps]}, "nats", ends="+.2f")
            best = dict(zip(("trained", "fixed"), lr[[*sweep.best]], strict=True))
            records += [Record(f"own-rate-{m}-{length}-{arm}", at) for arm, at in best.items()]
            for arm, (_, test) in sweep._asdict().items():
                losses[f"m = {m}", f"{steps} steps", arm] = test.mean(1)
    pairs = {n: interval(s.gains.T) for n, s in swept[2].items()}
    return Section(
        values=swept,
        records=(*records, Record("sweep-steps", max(swept[2]))),
        claims=(decide.pairs_learn(own[2], own[4], same),),
        tables={"losses": pd.DataFrame(losses, [f"{rate:.2g}" for rate in lr]).round(2)},
        figures={"gains": lambda: figures.gains_by_rate(lr, pairs)},
    )


@training.one_thread()
def rounding(given: Settings) -> Section:
    """Float32 kernels far from zero, and on inputs that break them."""
    rng, far = np.random.default_rng(given.seed), 10.0 ** np.arange(2, 6.5, 0.5)
    noise = rng.normal(size=(128, measure.CHANNELS))
    errors = measure.errors_by_mean(far, noise, given.digits)
    finite = {name: e for name, e in errors.items() if np.isfinite(e).all()}
    slopes = {name: measure.log_slope(far, e) for name, e in finite.items()}
    hard = {
        name: measure.kernel_errors(x, eps=eps, digits=given.digits)
        for name, (x, eps) in measure.hard_cases(noise).items()
    }
    table = pd.DataFrame(hard).T.map("{:.0e}".format)
    table = table.replace({"inf": "not finite", "nan": "refused"})
    records = [
        Record(f"{name}-error-{key}", errors[kernel][place])
        for key, place in (("1e4", 4), ("1e6", -1))
        for name, kernel in (("torch", "torch, rows"), ("recentred", "recentred"))
    ]
    return Section(
        records=tuple(records),
        claims=(decide.kernel_offset(slopes),),
        tables={"hard": table},
        figures={"kernels": lambda: figures.kernel_errors(far, errors)},
    )


def run(given: Settings) -> dict[str, Section]:
    """All sections, in page order."""
    hand = witnesses.HAND_CASE
    examined = four_witnesses(given)
    planted = planted_errors(given, rng=examined.values)
    shape = geometry(rng=planted.values)
    others = relatives(rng=shape.values)
    pairs = random_pairs(given)
    batches = small_batches(given, pairs.values)
    return {
        "nine_steps": nine_steps(hand.dy, hand.x, hand.gamma, hand.beta, eps=hand.eps),
        "four_witnesses": examined,
        "planted_errors": planted,
        "geometry": shape,
        "relatives": others,
        "dead_bias": dead_bias(given),
        "weights": weights(given),
        "random_pairs": pairs,
        "small_batches": batches,
        "controls": controls(given, batches.values, rng=others.values),
        "averaging": averaging(given),
        "rates": rates(given),
        "rounding": rounding(given),
    }
