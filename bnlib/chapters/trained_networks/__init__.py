"""Where do gamma and beta end up in trained networks, and is that a question about the network?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from bnlib import parameters, statistics
from bnlib.chapters.trained_networks import decide, figures, measure, toys, witnesses
from bnlib.data import photo_crops
from bnlib.parameters import names, parameter
from bnlib.results import Record, Section, recorded

NETWORKS = ["lite0", "lite1", "lite2"]


@dataclass(frozen=True)
class Settings(parameters.Settings):
    """What `notebooks/trained-networks.ipynb` declares, with its ranges."""

    seed: int = parameter(0, 0, 1_000_000)
    nets: list = parameter(NETWORKS, choices=NETWORKS, rule=names(NETWORKS))
    crops: int = parameter(24, 4, 200)
    pixels: int = parameter(224, 96, 512)
    seeds: int = parameter(10, 3, 100)
    steps: int = parameter(2000, 400, 20_000)
    toy_steps: int = parameter(700, 100, 10_000)
    shuffles: int = parameter(400, 100, 10_000)


def audit(given: Settings) -> Section:
    """The shipped networks as they are, against the identity and against chance."""
    stored = measure.audit(given.nets, shuffles=given.shuffles, seed=given.seed)
    near = [100 * share.share.estimate for share, _ in stored.shares.values()]
    records = [Record("near-largest", max(near), "percent")]
    records.append(Record("median-d-smallest", stored.table["median d"].min()))
    records.append(Record("nets-above-chance", sum(decide.above_chance(stored.shares))))
    return Section(
        values=stored,
        records=tuple(records),
        claims=(decide.not_identity(stored.shares),),
        tables={"networks": stored.table.round(4)},
        figures={"share": lambda: figures.share(stored.shares)},
    )


def gauges(given: Settings, stored: measure.Audit) -> Section:
    """The same networks in other gauges: an identity copy at two offsets, and a random one."""
    images = photo_crops(max(1, given.crops // 12), size=given.pixels, seed=given.seed)
    table, clouds = measure.gauges(stored.states, images, seed=given.seed)
    titles = table.index.get_level_values("gauge")
    identity = table.loc[titles.str.startswith("identity")]
    records = [Record("channels-without-copy", int(identity["left"].sum()))]
    records.append(Record("copy-logits", identity["logits"].max()))
    records.append(Record("random-median-d", table["median d"][titles == "random gauge"].min()))
    first = {title: rsd for (name, title), rsd in clouds.items() if name == given.nets[0]}
    return Section(
        values=table,
        records=tuple(records),
        tables={"copies": table},
        figures={"clouds": lambda: figures.clouds(first)},
    )


def own_copies(given: Settings, gauges: pd.DataFrame) -> Section:
    """Identity copies of networks trained here, in both modes; the theorem, live."""
    digits = toys.digits_copies(given.seeds)
    return Section(values=digits, claims=decide.gauge(gauges, digits))


def gates(given: Settings, stored: measure.Audit) -> Section:
    """How often gates open on photographs, against what gamma and beta say."""
    images = photo_crops(given.crops, size=given.pixels, seed=given.seed)
    nets = stored.states.items()
    channels = pd.concat(measure.gates(state, images).assign(net=name) for name, state in nets)
    table = measure.gate_table(channels, seed=given.seed)
    records, head = [], channels.open[channels.role == "head"]
    for role in ("head", "depthwise", "expand", "all"):
        records += [Record(f"gate-{name}-{role}", table[name][role]) for name in ("corr", "error")]
    records.append(Record("gate-open-head", table["median open"]["head"]))
    records.append(Record("gate-control-head", (head - head.median()).abs().mean()))
    return Section(
        records=tuple(records),
        claims=(decide.gate_rate(table, given.crops),),
        tables={"roles": table.round(3)},
        figures={"gates": lambda: figures.gates(channels)},
    )


def associations(given: Settings, stored: measure.Audit) -> Section:
    """Whether large gamma go with large sigma, by network and role."""
    layers = measure.associations(stored.states, shuffles=given.shuffles, seed=given.seed)
    table = measure.association_table(layers, seed=given.seed)
    by_role, records = {role: table.xs(role, level="role") for role in ("all", *measure.ROLES)}, []
    for role, key in (("project, no skip", "no-skip"), ("project, skip", "skip")):
        records.append(Record(f"slope-{key}-low", by_role[role]["ols"].min()))
        records.append(Record(f"slope-{key}-high", by_role[role]["ols"].max()))
    records.append(Record("stem-pearson-largest", by_role["stem"]["pearson"].abs().max()))
    records.append(Record("pearson-smallest", by_role["all"]["pearson"].min()))
    return Section(
        values=layers,
        records=tuple(records),
        claims=(decide.gamma_sigma(table),),
        tables={"roles": table.round(2)},
        figures={"forest": lambda: figures.forest(table)},
    )


def equilibrium(given: Settings) -> Section:
    """gamma frozen at random values: whether sigma follows, and with which slope."""
    arms, records = toys.equilibrium(given.seeds, steps=given.steps), []
    for output, arm in arms.items():
        slope, norm = f"equilibrium-slope-{output}", f"equilibrium-norm-{output}"
        records += recorded({slope: arm.sigma[-1], norm: arm.norm}, ends=".3f")
    theory = arms["trained"].theory
    records.append(Record("equilibrium-theory-trained", theory))
    records.append(Record("equilibrium-p", 2 * theory - 1))
    return Section(
        values=arms,
        records=tuple(records),
        claims=(decide.equilibrium(arms, given.seeds),),
        figures={"slopes": lambda: figures.equilibrium(arms)},
    )


def controls(given: Settings) -> Section:
    """Runs that differ from the intervention: no decay, a falling rate, Adam, a learned gamma."""
    runs, records = toys.controls(given.seeds, steps=round(0.4 * given.steps)), []
    for name, row in runs.items():
        key = name.replace("γ", "gamma").replace(",", "").replace(" ", "-").lower()
        records.append(Record(f"control-{key}", row["slope"], low=row["low"], high=row["high"]))
    return Section(records=tuple(records), tables={"runs": pd.DataFrame(runs).T.round(3)})


def shifts(given: Settings, stored: measure.Audit, layers: pd.DataFrame) -> Section:
    """The shift after a linear bottleneck, in shipped networks and in a toy."""
    projections = measure.projection_shifts(stored.states)
    by_role = projections.set_index("role")["shift"]
    plain, skip = by_role.loc[["project, no skip"]], by_role.loc[["project, skip"]]
    means = [pair for state in stored.states.values() for pair in measure.stream_means(state)]
    errors = np.array([abs(theory - seen).max() / abs(seen).max() for theory, seen in means])
    first = {p: toys.first_gradient(given.seeds, drop=p) for p in (0.0, 0.2)}
    trained = {p: toys.train(given.seeds, drop=p, steps=given.toy_steps) for p in (0.0, 0.2)}
    moved = {p: toy["max |β_proj|"] for p, toy in trained.items()}
    records = [Record("shift-gap", skip.min() / plain.max())]
    records.append(Record("shift-largest-plain", plain.max()))
    records.append(Record("expand-error", 100 * errors.max(), "percent"))
    records.append(Record("toy-shift-drop", np.median(moved[0.2])))
    after = layers[layers.role == "expand"].groupby("after")["beta_mu"]
    for key in ("skip", "no-skip"):
        beta_mu = after.get_group(f"project, {key.replace('-', ' ')}")
        records.append(Record(f"beta-mu-{key}", beta_mu.mean()))
    rows = {}
    for p, toy in trained.items():
        middle = {name: (np.median if "max" in name else np.mean)(v) for name, v in toy.items()}
        rows[f"drop-connect {p:g}"] = middle
        beta_mu = statistics.mean_interval(toy["corr β μ"].mean(axis=1))
        records += recorded({f"toy-beta-mu-{round(10 * p)}": beta_mu}, ends=".2f")
    return Section(
        records=tuple(records),
        claims=(decide.beta_proj_zero(first, plain, skip), decide.mu_expand(errors)),
        tables={"toys": pd.DataFrame(rows).T},
        figures={"shifts": lambda: figures.shifts(projections, moved, np.hstack(means))},
    )


def folding(given: Settings, stored: measure.Audit) -> Section:
    """Whole networks folded, against their own rounding."""
    images = photo_crops(given.crops, size=given.pixels, seed=given.seed)
    table, same, densities = measure.folding(stored.states, images)
    single, plain = table["folded, float32"], table["unfolded, float32"]
    ratios = (single / plain).max(), (table["folded in float64, float32"] / plain).max()
    records = [Record("fold-double", table["folded, float64"].max())]
    records += [Record("fold-single", single.max()), Record("unfolded-single", plain.max())]
    records += [Record("fold-ratio", ratios[0]), Record("fold-rounded-ratio", ratios[1])]
    return Section(
        records=tuple(records),
        claims=(decide.fold_exact(table, same),),
        tables={"networks": table},
        figures={"errors": lambda: figures.folding(densities)},
    )


def other_families() -> Section:
    """Files of other families, as stored: each claim's number, and hit or miss of its prediction.

    values: a sentence on which of the files are here and gave the stored numbers again.
    """
    register, rows = witnesses.register(), witnesses.table()
    lacking, files = witnesses.missing(), register["files"]
    witnesses.check(rows, [name for name in files if name not in lacking])
    words = f"Read again: {len(files) - len(lacking)} of {len(files)} files, as stored."
    if lacking:
        words += f" Not here, see `make weights`: {', '.join(lacking)}."
    hits = [row["hit"] for row in rows if "hit" in row]
    records = [Record("witness-files", len(files)), Record("witness-hits", sum(hits))]
    records += [Record("witness-misses", len(hits) - sum(hits))]
    records += [Record("witness-predictions", len(hits))]
    records.append(Record("witness-hit-rate", 100 * sum(hits) / len(hits), "percent"))
    largest = {row["file"]: row["largest"] for row in rows if row["question"] == "beta"}
    records += [Record(f"witness-beta-{name}", value) for name, value in largest.items()]
    near = [row for row in rows if row["question"] == "near"]
    records.append(Record("witness-near-largest", 100 * max(r["value"] for r in near), "percent"))
    records.append(Record("witness-above-chance", sum(r["value"] > r["chance"] for r in near)))
    return Section(
        values=words,
        records=tuple(records),
        claims=tuple(decide.witness(name, rows, register) for name in decide.WITNESS),
        tables={"files": decide.witness_table(rows, files)},
    )


def run(given: Settings) -> dict[str, Section]:
    """All sections in page order."""
    sections = {"audit": audit(given)}
    stored = sections["audit"].values
    sections["gauges"] = gauges(given, stored)
    sections["own_copies"] = own_copies(given, sections["gauges"].values)
    sections["gates"] = gates(given, stored)
    sections["associations"] = associations(given, stored)
    sections["equilibrium"], sections["controls"] = equilibrium(given), controls(given)
    sections["shifts"] = shifts(given, stored, sections["associations"].values)
    sections["folding"] = folding(given, stored)
    return sections | {"other_families": other_families()}
