"""From what the batches chapter measured to its verdicts, by the rules of `book/claims.toml`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from bnlib.chapters.batches.evaluation import FEW
from bnlib.chapters.batches.exact import Padding
from bnlib.results import Claim
from bnlib.statistics import (
    Interval,
    equivalent,
    holm,
    paired_difference,
    rows_with,
    with_ends,
)
from bnlib.verdicts import count, inside, verdict

STATISTICS = "the statistics: recompute them"
NAMES = {
    "healthy": "healthy",
    "too few steps": "too few steps for the running statistics",
    "momentum swapped": "momentum read the other way",
    "batches of 4": STATISTICS,
    "dropout before BN": STATISTICS,
    "last batch has 2 rows": STATISTICS,
    "half is padding": STATISTICS,
    "test input shifted": "the test inputs are shifted",
    "60 training rows": "overfitting, not batch norm",
    "eval() forgotten": "evaluation runs in training mode",
}
"""The right name of each cause."""


def tree(numbers: Any) -> str:
    """The cause that the numbers of one network name; columns as in `diagnosis.patients`."""
    n = numbers
    if n["companions"]:
        return NAMES["eval() forgotten"]
    if n["E"] < n["T"] - 2:
        if n["E R"] < n["T"] - 2:
            return "not batch norm"
        if n["left"] > 0.05:
            return NAMES["too few steps"]
        return NAMES["momentum swapped"] if n["a"] > 0.5 else STATISTICS
    if n["E test"] < n["E"] - 5:
        shifted = n["E test X"] > n["E test"] + 2
        return NAMES["test input shifted" if shifted else "60 training rows"]
    return NAMES["healthy"]


def with_names(patients: Any) -> pd.DataFrame:
    """Each network with the name that the tree gives, the right one, and what its cure gains."""
    right = patients.cause.str.partition(",")[0].map(NAMES)
    cured = patients["E test R"].copy()
    shifted = patients.cause == "test input shifted"
    cured[shifted] = patients["E test X"][shifted]
    # padding masked in training, more rows, eval(): what the healthy network has
    other = patients.cause.isin(["half is padding", "60 training rows"]) | patients.companions
    cured[other] = patients.healthy[other]
    named = patients.apply(tree, axis=1)
    gain = cured - patients["E test"]
    return patients.assign(named=named, right=right, cured=cured, gain=gain)


def tree_names(patients: Any) -> Claim:
    """patients: of `with_names`."""
    healthy = patients[patients.cause == "healthy"]
    ill = patients[(patients.cause != "healthy") & (patients.gain >= 3)]
    share = float((ill.named == ill.right).mean()) if len(ill) else np.nan
    sick = int((healthy.named != NAMES["healthy"]).sum())
    missed = sorted(set(ill.cause[ill.named != ill.right]))
    return Claim(
        "batches-tree",
        verdict(share >= 0.9 and sick == 0, share >= 0.7),
        f"{share:.0%} of {len(ill)} networks whose cure gains 3 points or more get the right name"
        f"{'; missed: ' + ', '.join(missed) if missed else ''}; {sick} of {len(healthy)} healthy "
        "networks are called sick.",
    )


def moving_average(lines: Any) -> Claim:
    """lines: of `moving.moving_averages`; ema against renorm, a = 0.1, at every rate."""
    gaps = {}
    for rate in sorted(set(lines.rate)):
        ema, renorm = (_log_loss(lines, kind, rate) for kind in ("ema", "renorm"))
        gaps[rate] = paired_difference(ema, renorm)
    worse = sum(gap.low > 0 for gap in gaps.values())
    words = "; ".join(f"η = {rate:g}: {with_ends(gap, '.2f')}" for rate, gap in gaps.items())
    return Claim(
        "batches-moving-average",
        verdict(worse == 0, worse < len(gaps)),
        "Same forward pass, log10 of the final loss, moving averages minus renormalization, "
        f"{lines.seed.nunique()} seeds: {words}.",
    )


def moving_dose(lines: Any) -> Claim:
    """lines: as above; the middle rate, every weight a."""
    rate = sorted(set(lines.rate))[lines.rate.nunique() // 2]
    ema = rows_with(lines, kind="ema", rate=rate, affine=True)
    doses = sorted(set(ema.a))
    means = [ema["log loss"][ema.a == a].mean() for a in doses]
    most, none = (_log_loss(lines, "ema", rate, a) for a in (doses[-1], doses[0]))
    apart = paired_difference(most, none)
    still = paired_difference(none, _log_loss(lines, "batch", rate))
    right = [*(np.diff(means) > 0), apart.low > 0, still.low <= 0]
    words = ", ".join(f"{mean:.2f} at a = {a:g}" for a, mean in zip(doses, means, strict=True))
    return Claim(
        "batches-moving-dose",
        count(right, partly=len(right) - 1),
        f"Mean log10 of the final loss at η = {rate:g}: {words}; largest a minus smallest "
        f"{with_ends(apart, '.2f')}; smallest minus batch statistics {with_ends(still, '.2f')}.",
    )


def _log_loss(lines: Any, kind: str, rate: float, a: float = 0.1) -> np.ndarray:
    return _column(rows_with(lines, kind=kind, rate=rate, a=a, affine=True), "log loss")


def _paired(first: Any, second: Any, name: str) -> Any:
    return paired_difference(_column(first, name), _column(second, name))


def _column(frame: Any, name: str) -> np.ndarray:
    return frame.sort_values("seed")[name].to_numpy()


def drift_law(toy: float, late: float, identity: float, zeros: float) -> Claim:
    """Largest errors of the toy, of the vanishing time, of the radial identity and of the zeros."""
    return Claim(
        "batches-drift-law",
        verdict(identity <= 1e-12 and zeros <= 1e-12 and toy <= 1e-9 and late <= 0.05),
        f"Radial identity {identity:.1e}, radial zeros {zeros:.1e}, drift and fixed point "
        f"{toy:.1e}, time of vanishing within {late:.1%}.",
    )


def affine_absorbs(lines: Any) -> Claim:
    """Growth of W1 under moving averages at the middle rate, with gamma and beta and without."""
    plain = rows_with(lines, kind="ema", affine=False)
    rate = plain.rate.iloc[0]
    affine = rows_with(lines, kind="ema", rate=rate, a=0.1, affine=True)
    both = [_column(frame, "growth") - 1 for frame in (affine, plain)]
    gap, share = paired_difference(both[0], both[1]), both[0].mean() / both[1].mean()
    return Claim(
        "batches-affine-absorbs",
        verdict(share <= 0.1, gap.high < 0),
        f"The norm of W1 grows by {both[0].mean():.1%} with γ and β and by {both[1].mean():.1%} "
        f"without, {share:.0%} of it; difference {with_ends(gap, '.3f')}.",
    )


def eval_law(maps: Any, layers: Any) -> Claim:
    """maps: of `exact.evaluation_maps`; layers: of `evaluation.missed`, by m."""
    right = inside(maps.law, maps)
    ordered, means = np.ones(0, dtype=bool), []
    if len(layers):
        ordered = ((layers.stored > layers.line) & (layers.line > layers.best)).to_numpy()
        for m, part in layers.groupby("m"):
            means.append(f"m = {m}: {part.stored.mean():.3f}, {part.line.mean():.3f}, ")
            means[-1] += f"{part.best.mean():.3f}"
    return Claim(
        "batches-eval-law",
        verdict(right.all() and ordered.all()),
        f"{right.sum()} of {len(maps)} laws lie in their simultaneous intervals, "
        f"{', '.join(map(str, sorted(set(maps.m))))} rows. Layer 1 of {len(layers)} trained "
        f"networks, evaluation as it is, line, best map: in this order in {ordered.sum()}"
        f"{''.join('; ' + words for words in means)}.",
    )


def eval_helps(images: Any, rows: Any) -> Claim:
    """images: lines of `convolutional.table`.  rows: of `evaluation.small_batches`."""
    plain, weighed = (rows_with(images, weight=weight) for weight in (0.0, 1.0))
    gaps = {name: _paired(weighed, plain, name) for name in ("accuracy", "loss")}
    p = holm([gap.p for gap in gaps.values()])
    better = (p < 0.05) & [gaps["accuracy"].estimate > 0, gaps["loss"].estimate < 0]
    worse, words = [], []
    for m, part in rows[rows.m <= FEW].groupby("m"):  # of the rule; more rows are shown only
        new, old = (rows_with(part, map=kind) for kind in ("weighing 1/m", "as it is"))
        points, loss = (_paired(new, old, name) for name in gaps)
        worse += [points.high < 0, loss.low > 0]
        words += [f"m = {m}: {_both(points, loss)}"]
    return Claim(
        "batches-eval-helps",
        verdict(better.all() and not any(worse), better.any()),
        f"Example weighing minus statistics as they are. Convolutions, two images: "
        f"{_both(gaps['accuracy'], gaps['loss'])}. Fully connected: {'; '.join(words)}.",
    )


def _both(points: Any, loss: Any) -> str:
    return f"{with_ends(points, '+.2f')} points, loss {with_ends(loss, '+.4f')}"


def accumulation(lines: Any, errors: dict[str, float]) -> Claim:
    """lines, errors: of `micro_batches.accumulation`; it fails where its opposite is exact."""
    first = rows_with(lines, layer="W1")
    exact = max(errors.values()) <= 1e-12
    return Claim(
        "batches-accumulation",
        verdict(first["difference"].max() <= 1e-12, not (exact and first.least.min() > 0.01)),
        f"Forward identity {errors['forward']:.1e}, accumulated against ghost batches "
        f"{errors['ghosts']:.1e}, controls {errors['controls']:.1e}; with batch norm the gradient "
        f"of W1 differs by {first.least.min():.0%} or more, {first.difference.max():.0%} at most "
        "on average.",
    )


def ghosts(lines: Any) -> Claim:
    """lines: of `micro_batches.ghost_training`."""
    whole, better, gaps = rows_with(lines, g=lines.g.max()), [], {}
    sizes = sorted(set(lines.g) - set(whole.g))
    for name, sign in (("accuracy", 1), ("loss", -1)):
        gaps[name] = [_paired(rows_with(lines, g=g), whole, name) for g in sizes]
        p = holm([gap.p for gap in gaps[name]])
        gains = [sign * gap.estimate > 0 for gap in gaps[name]]
        better.append(np.array(gains) & (p < 0.05))
    words = "; ".join(
        f"g = {g}: {with_ends(points, '+.2f')} points, loss {with_ends(loss, '+.3f')}"
        for g, points, loss in zip(sizes, gaps["accuracy"], gaps["loss"], strict=True)
    )
    rule = verdict((better[0] & better[1]).any(), np.any(better))
    return Claim("batches-ghosts", rule, f"Against the whole batch, {words}.")


def sync_exact(gaps: dict[str, Any] | None) -> Claim:
    """gaps: of `machines.two_processes`; None where no processes were started."""
    if gaps is None:
        words = "No processes were started in this run (processes = False)."
        return Claim("batches-sync-exact", "undecided", words)
    table = gaps["table"].set_index("precision").drop(columns="rows")
    double, single = (float(table.loc[p].to_numpy().max()) for p in ("float64", "float32"))
    holds = double <= 1e-12 and single <= 1e-5 and gaps["equal"] and gaps["trained"] <= 1e-10
    tested = gaps["apart"] > 1e-2
    return Claim(
        "batches-sync-exact",
        verdict(holds and tested, tested=tested),
        f"Largest relative difference {double:.1e} in float64 and {single:.1e} in float32; "
        f"statistics of both ranks {'equal' if gaps['equal'] else 'not equal'} to the bit; after "
        f"60 steps {gaps['trained']:.1e}; without synchronization {gaps['apart']:.2f}.",
    )


def padding_law(padded: Padding) -> Claim:
    """padded: of `exact.padding`."""
    return Claim(
        "batches-padding-law",
        verdict(padded.law <= 1e-12 and padded.absorbed <= 1e-12 and padded.other > 1e-2),
        f"Law of {len(padded.lines)} channels and shares to {padded.law:.1e}, absorbed to "
        f"{padded.absorbed:.1e}; the same constants at another share miss by {padded.other:.2f}.",
    )


def padding_harms(lines: Any) -> Claim:
    """lines: of `mates.padded_training`."""
    running = rows_with(lines, statistics="running")
    masked = rows_with(running, arm="masked")
    points = {
        arm: _paired(masked, rows_with(running, arm=arm), "accuracy")
        for arm in ("changing share", "half")
    }
    changing = _column(rows_with(running, arm="changing share"), "accuracy")
    same = equivalent(_column(masked, "accuracy"), changing, 0.5)
    gap = points["changing share"]
    return Claim(
        "batches-padding-harms",
        verdict(gap.low > 0.5, tested=same),
        f"Points of accuracy, masked minus padded, {len(masked)} seeds: changing share "
        f"{with_ends(gap, '+.2f')}, constant half {with_ends(points['half'], '+.2f')}.",
    )


def pure(lines: Any) -> Claim:
    """lines: of `mates.pure_batches`."""
    means = lines.groupby(["arm", "batches"]).accuracy.mean().unstack()
    controls = means.drop(index=["batch norm", "ten pure ghosts"])
    kept = (controls.pure / controls.mixed).min()
    normed = means.loc["batch norm"]
    more = (normed.mixed - normed.pure) - (controls.mixed - controls.pure).max()
    ghost = means.loc["ten pure ghosts", "pure"]
    return Claim(
        "batches-pure",
        verdict(normed.pure <= 20 and kept >= 0.9, more > 10),
        f"Pure batches leave batch norm {normed.pure:.1f} % of {normed.mixed:.1f} %, and ten pure "
        f"ghosts in every step {ghost:.1f} %; the controls keep at least {kept:.0%} of theirs.",
    )


def separate_blind(gradients: dict[str, np.ndarray]) -> Claim:
    """gradients: of `exact.generator_gradients`."""
    apart, joint = gradients["alone"].max(), gradients["together"].min()
    return Claim(
        "batches-separate-blind",
        verdict(apart <= 1e-12 and joint > 1e-6),
        f"Gradient for shift and scale, relative to that for the fakes, {len(gradients['alone'])} "
        f"seeds: at most {apart:.1e} alone, at least {joint:.2f} together.",
    )


def leak_law(lines: Any, signs: float) -> Claim:
    """lines: of `exact.leak`; signs: accuracy by the law of matching signs."""
    mean = rows_with(lines, arm="mean only", negatives="batch")
    queue = rows_with(lines, arm="synchronized", negatives="queue")
    shuffled = rows_with(lines, arm="shuffled", negatives="queue")
    two = rows_with(lines, arm="batch norm", rows=2)
    laws = (
        (1 / mean["rows"], mean, "correlation"),
        (1 / queue["rows"], queue, "correlation"),
        (1 / (2 * (shuffled["rows"] - 1)), shuffled, "correlation"),
        (signs, two, "accuracy"),
    )
    right = np.concatenate([_inside(*law) for law in laws])
    return Claim(
        "batches-leak-law",
        verdict(right.all() and len(two) > 0),
        f"{right.sum()} of {len(right)} laws lie in their simultaneous intervals; signs "
        f"of two rows: {signs:.4f}, measured {two.accuracy.mean():.3f}.",
    )


def _inside(law: Any, lines: Any, name: str) -> np.ndarray:
    return inside(law, Interval(lines[name], lines[f"{name} low"], lines[f"{name} high"]))


def leak_cured(lines: Any, chance: float) -> Claim:
    """lines: of `exact.leak`; chance: 1/K."""
    batch = rows_with(lines, negatives="batch")
    local = rows_with(batch, arm=["mean only", "batch norm"])
    cures = rows_with(batch, arm=["synchronized", "shuffled", "layer norm", "none"])
    queue = rows_with(lines, negatives="queue")
    cured = (local["accuracy low"] > chance).all() and _inside(chance, cures, "accuracy").all()
    return Claim(
        "batches-leak-cured",
        verdict(cured and _inside(chance, queue, "accuracy").all(), cured),
        f"Chance {chance:.4f}. Local statistics find the row with {local.accuracy.min():.3f} to "
        f"{local.accuracy.max():.3f}; cures and row norms with {cures.accuracy.min():.4f} to "
        f"{cures.accuracy.max():.4f}; with a queue the cures leave {queue.accuracy.min():.3f} to "
        f"{queue.accuracy.max():.3f}.",
    )


def leak_trained(intervals: Any, chance: float) -> Claim:
    """intervals: of the accuracy, a row an arm of `encoders.ARMS`; chance: 1/K."""
    local, others = intervals.loc["batch norm"], intervals.drop(index="batch norm")
    used = local.low > chance
    words = ", ".join(f"{arm} {value:.4f}" for arm, value in intervals.estimate.items())
    return Claim(
        "batches-leak-trained",
        verdict(used and inside(chance, others).all(), used),
        f"Accuracy of trained encoders, chance {chance:.4f}: {words}.",
    )


def averaged_weights(lines: Any, law: float) -> Claim:
    """lines, law: of `evaluation.averaged_weights`."""
    better, words = [], []
    for rate, part in lines.groupby("rate"):
        new, old = (rows_with(part, statistics=kind) for kind in ("recomputed", "averaged"))
        points, loss = (_paired(new, old, name) for name in ("accuracy", "loss"))
        better.append(points.low > 0 or loss.high < 0)
        words += [
            f"η = {rate:g} (δ = {new['delta 1'].mean():.1%}): {with_ends(points, '+.2f')} "
            f"points, loss {with_ends(loss, '+.4f')}"
        ]
    return Claim(
        "batches-averaged-weights",
        count(better) if law <= 1e-10 else "undecided",
        f"Law of the excess to {law:.1e}. Recomputed minus averaged statistics: "
        f"{'; '.join(words)}.",
    )
