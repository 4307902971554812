"""Does BN reduce what an update does only because all layers move at once?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bnlib import parameters, statistics
from bnlib.chapters.interactions import decide, figures, measure, networks, times
from bnlib.chapters.interactions.measure import COMPARED
from bnlib.chapters.interactions.stored import HERE, REGISTER, SEEDS
from bnlib.interactions import DIRECTIONS
from bnlib.networks.arms import ARMS
from bnlib.networks.spec import ACTIVATIONS
from bnlib.orders import noise_floor
from bnlib.parameters import ascending, different, names, parameter
from bnlib.results import Record, Section, recorded
from bnlib.stored import content, table

LEAST_AGREEMENT = 0.9  # share of values of int that come out as the stored table has them
Steps = dict[str, pd.DataFrame]  # of `every_cell`
DIGESTS = {
    REGISTER: "4ccba15cda775505",
    "times.json": "55d99f3116424540",
    "networks-register.toml": "2a4965400c52b29f",
    "networks.json": "95d4956a2682c536",
}
OTHERS = ["layer-norm", "orthogonal", "weight-norm", "bn-last-hidden"]


@dataclass(frozen=True)
class Settings(parameters.Settings):
    """What `notebooks/interactions.ipynb` declares, with its ranges."""

    seeds: int = parameter(10, 4, 200)
    activations: list = parameter(
        ["relu", "tanh", "linear"], rule=names(tuple(ACTIVATIONS), among=("relu",))
    )
    others: list = parameter(OTHERS, rule=names(ARMS, without=COMPARED))
    depths: list = parameter([4, 8], 2, 32, rule=different(1, some=decide.JUDGED))
    line_depths: list = parameter([2, 4, 8, 12], 2, 32, rule=different(2))
    r_values: list = parameter([0.1, 0.5, 1.0], 1e-6, 100.0, rule=ascending)
    c_values: list = parameter([0.3, 1.0], 1e-6, 100.0, rule=ascending)
    r_points: int = parameter(24, 3, 200)
    width: int = parameter(32, 8, 512)
    batch: int = parameter(64, 4, 1797)
    bn_eps: float = parameter(1e-5, 1e-12, 1.0)
    steps: int = parameter(20, 1, 500)
    direction: str = parameter("gradient", choices=DIRECTIONS)
    order_depth: int = parameter(6, 3, 10)
    confounds: bool = parameter(True)

    @property
    def bench(self) -> dict[str, Any]:
        """What every network of the bench shares."""
        return {"width": self.width, "batch": self.batch, "eps": self.bn_eps}

    @property
    def both_states(self) -> dict[str, Any]:
        """At the start, and after the steps of training."""
        return {"states": ["start", "trained"], "steps": self.steps}


def percents(shares: dict[str, Any]) -> tuple[Record, ...]:
    """Records of shares, in percent."""
    return recorded({key: 100 * share for key, share in shares.items()}, "percent")


def identities(given: Settings) -> Section:
    """What the derivation says exactly, and its limit of small steps."""
    worst = measure.identities(given.order_depth, range(3), np.random.default_rng(0))
    assert max(worst[key] for key in ("orders", "inter", "shares", "two-parts")) <= 1e-12
    assert worst["rescaled"] <= 1e-9
    assert worst["small-steps"] <= 0.02
    shown = {text: f"{worst[key]:.0e}" for key, text in measure.IDENTITIES.items()}
    return Section(
        records=(Record("check-kinks", worst["kinks"]),),
        tables={"deviations": pd.Series(shown, name="largest deviation").to_frame()},
    )


def every_cell(given: Settings) -> Section:
    """The steps of every cell, by how they are matched, and the loss before them."""
    steps = measure.every_cell(given)
    losses: Any = steps.groupby(["activation", "L", "state", "arm"], sort=False)["loss"].median()
    values = {kind: steps[steps.matched == kind] for kind in ("loss", "output")}
    return Section(values=values, tables={"losses": losses.unstack().round(2)})


def situations(given: Settings) -> Section:
    """Steps of growing size in three situations."""
    rows, at_half = {}, {}
    for case, steps in measure.situations(given).items():
        rows[case] = {w: measure.medians(steps, w, ["arm", "size"]) for w in ("int", "act")}
        half = steps[steps["size"] == 0.5].groupby("arm")["int"].median()
        at_half |= {"-".join(("int", *case, arm)): half[arm] for arm in COMPARED}
    drawn = {"situations": lambda: figures.situations(rows, COMPARED)}
    return Section(records=recorded(at_half), figures=drawn)


def loss_interaction(given: Settings, steps: Steps) -> Section:
    """The interaction in the loss, cell by cell; drawn beside that in the outputs."""
    loss = steps["loss"]
    rows, amount = (measure.differences(loss, what) for what in ("int", "int-loss"))
    size = measure.differences(loss.assign(int=loss["int"].abs()), "int")
    outputs = measure.differences(steps["output"], "net")
    at_start = decide.reduced(decide.of_state(rows, "start"))
    return Section(
        records=recorded({"loss-cells": len(rows), "loss-start": at_start}),
        claims=(decide.loss_interaction_reduced(rows, size, amount, given.steps),),
        tables={"cells": measure.described(loss, "int")},
        figures={"cells": lambda: figures.cells(rows, outputs)},
    )


def predictability(given: Settings, steps: Steps) -> Section:
    """By how much a step misses its predicted decrease."""
    rows = measure.differences(steps["loss"], "miss")
    start, trained = (decide.sides(decide.of_state(rows, s)) for s in ("start", "trained"))
    counts = {"miss-start-below": start[0], "miss-start-cells": start[2]}
    counts |= {"miss-trained-above": trained[1], "miss-trained-cells": trained[2]}
    return Section(
        records=recorded(counts),
        claims=(decide.step_more_predictable(rows, given.steps),),
        tables={"cells": measure.described(steps["loss"], "miss")},
    )


def every_arm(given: Settings) -> Section:
    """What a step of each arm consists of, eight ReLU layers, r = 1/2."""
    arms = [arm for arm in ARMS if arm != "bn"] + ["bn"]
    steps = measure.survey(given, arms, r_values=[0.5], **given.both_states)
    columns = ["act", "own", "int", "curvature", "network"]
    means: Any = steps.groupby(["state", "arm"])[columns].mean()
    drawn = {"bars": lambda: figures.bars(means, arms), "parts": lambda: figures.parts(means)}
    return Section(values=steps, figures=drawn)


def output_interaction(steps: Steps) -> Section:
    """The interaction in the outputs, and the two parts of that in the loss."""
    rows = measure.differences(steps["output"], "net")
    _, above, cells = decide.sides(rows)
    counts = {"output-above": above, "output-cells": cells}
    for part in ("curvature", "network"):
        below, above, _ = decide.sides(measure.differences(steps["loss"], part))
        counts |= {f"{part}-below": below, f"{part}-above": above}
    return Section(
        records=recorded(counts),
        claims=(decide.output_interaction_reduced(rows),),
        tables={"cells": measure.described(steps["output"], "net")},
    )


def frozen_statistics(given: Settings, steps: Steps, zoo: pd.DataFrame) -> Section:
    """How much of the reduction statistics give that do not react.  zoo: of `every_arm`."""
    rows: Any = measure.frozen_share(steps["loss"])
    rows = rows.assign(verdict=decide.by_reacting(rows))
    start: Any = rows.xs("relu").xs("start", level="state").phi
    deep, shallow, shares = max(given.depths), min(given.depths), {}
    for name, phi in {"deep": start[deep], "shallow": start[shallow]}.items():
        shares |= {f"phi-{name}-low": phi.min(), f"phi-{name}-high": phi.max()}
    plain = measure.at_start(zoo)
    gap = float((plain["frozen-affine"] - plain["frozen"]).median())
    columns = ["estimate", "low", "high", "phi", "phi low", "phi high", "verdict"]
    return Section(
        records=(Record("deep", deep), *percents(shares), Record("frozen-affine-gap", gap)),
        claims=(decide.statistics_must_react(rows, start),),
        tables={"cells": rows[columns].droplevel("matched").round(3)},
    )


def other_arms(given: Settings, steps: Steps) -> Section:
    """BN against other normalizations and an initialization."""
    rows = {x: measure.differences(steps["loss"], "int", "bn", x) for x in given.others}
    signs = pd.DataFrame({other: of_other.sign for other, of_other in rows.items()})
    cells, words = decide.by_bn_alone(signs), {-1.0: "BN less", 0.0: "open", 1.0: "BN more"}
    return Section(
        claims=(decide.special_to_bn(signs.assign(verdict=cells), given.others),),
        tables={"signs": signs.map(words.get).assign(cell=cells).droplevel("matched")},
    )


def over_depth(given: Settings) -> Section:
    """The interaction against depth, ReLU."""
    arms = [*COMPARED, *given.others[:2]]
    networks = {"depths": given.line_depths, **given.both_states}
    steps = measure.survey(given, arms, r_values=given.r_values, **networks)
    middle: Any = steps[steps["size"] == given.r_values[len(given.r_values) // 2]]
    medians = measure.medians(middle, "int", ["state", "arm", "L"])
    slopes = measure.slope_in_depth(steps)
    return Section(
        claims=(decide.grows_with_depth(slopes),),
        tables={"slopes": slopes.drop(columns="sign").round(3)},
        figures={"depth": lambda: figures.over_depth(medians, arms)},
    )


def high_orders(given: Settings) -> Section:
    """The orders of one step, from all subsets of the layers."""
    sizes = measure.families(given)
    shares = measure.high_shares(sizes)
    plain = shares.loss.xs("none", level=1)
    sane = shares.logits.xs("relu")[["none", "bn", "bn-last-hidden", "layer-norm"]]
    typical = measure.typical_orders(sizes)
    floor = noise_floor(given.order_depth, float(np.median(sizes["relu", "none"]["largest"])))[1:]
    high = {"high-small": shares.loss["relu", "small"], "high-none-largest": plain.max()}
    return Section(
        records=percents(high | {"high-logits-low": sane.min(), "high-logits-high": sane.max()}),
        claims=(decide.high_orders_matter(plain),),
        tables={"shares": shares.unstack(0).round(2).reindex(measure.FAMILIES)},
        figures={"orders": lambda: figures.orders(typical, floor)},
    )


def other_reasons(given: Settings) -> Section:
    """What else makes int smaller."""
    effect, gaps = measure.other_reasons(given), {}
    for key, setting in {"relu-start": "ReLU, start", "tanh-trained": "tanh, trained"}.items():
        for name, change in {"m4": "M4", "width-64": "width 64"}.items():
            gaps[f"{name}-{key}"] = effect.estimate[setting, "BN - none", change]
    text = effect.apply("{0.estimate:+.2f} ({0.low:+.2f} to {0.high:+.2f})".format, axis=1)
    shown: Any = text.unstack([0, 1])
    changes = [name for name in measure.CHANGES if name in shown.index]
    return Section(records=recorded(gaps), tables={"gaps": shown.reindex(changes).fillna("")})


def participation(given: Settings) -> Section:
    """int and the layers that carry the step, under two directions."""
    arms, rules = ["none", "orthogonal", "frozen", "bn"], ("gradient", "layer-normalized")
    steps = {rule: measure.survey(given, arms, r_values=[0.5], rule=rule) for rule in rules}
    return Section(figures={"participation": lambda: figures.participation(steps)})


def ablation(zoo: pd.DataFrame) -> Section:
    """Every arm at the start: which half of BN does it.  zoo: of `every_arm`."""
    columns = ["loss", "n-eff", "constant", "act", "own", "int", "per-layer", "network", "net"]
    start: Any = zoo[zoo.state == "start"].groupby("arm", sort=False)[columns].median()
    keys, records = {"ablation": "int", "n-eff": "n-eff", "corrected": "per-layer"}, ()
    for arm in ("none", "mean-only", "std-only", "bn"):
        records += recorded({f"{key}-{arm}": start[column][arm] for key, column in keys.items()})
        records += percents({f"constant-{arm}": start.constant[arm]})
    plain = measure.at_start(zoo)
    gap: Any = statistics.column_medians((plain["mean-only"] - plain["bn"]).to_frame("int")).iloc[0]
    return Section(
        records=(*records, *recorded({"centering-gap": gap}, ends="+.2f")),
        tables={"arms": start.round(2)},
    )


def when_or_which(given: Settings) -> Section:
    """The register, and BN - none by world and time, of the stored table; a part runs again."""
    register = content(HERE / REGISTER, DIGESTS[REGISTER]).decode()
    rows = table(HERE / "times.json", DIGESTS["times.json"])["rows"]
    wide: Any = times.by_seed(rows)
    again = times.agreement(wide, times.World("digits", "relu", 32), range(4))
    assert again >= LEAST_AGREEMENT
    gaps = wide["int", "bn"] - wide["int", "none"]
    signs, medians = times.directions(gaps), times.over_times(gaps.median())
    pairs = {
        f"{part}, BN - none": wide[part, "bn"] - wide[part, "none"]
        for part in ("int", "own", "act")
    }
    for other in ("frozen", "renewed"):
        shares = wide["int", other]  # in fewer worlds
        pairs[f"int, BN - {other}"] = wide["int", "bn"][list(shares.columns)] - shares
    tables = {name: times.directions(gap) for name, gap in pairs.items()}
    shown = {name: times.counts(table) for name, table in tables.items()}
    for kind, part in signs.groupby("activation"):
        shown[f"int, BN - none, {kind}"] = times.counts(part)
    sides = {"less": (signs < 0).sum(), "more": (signs > 0).sum()}
    numbers = {f"{time}-{side}": n for side, each in sides.items() for time, n in each.items()}
    numbers |= {"worlds": len(signs), "cells-decided": decide.decided(signs)}
    more = (signs > 0).sum(axis=1)
    numbers |= {"cells-more": more.sum(), "cells-more-relu": more.xs("relu", level=1).sum()}
    numbers |= {"same-as-time": decide.with_commoner(signs), "world-seeds": SEEDS}
    numbers |= {"same-as-world": decide.with_commoner(signs, 1), "world-cells": signs.size}
    losses: Any = wide["loss"].median().groupby(["arm", "time"], sort=False).median()
    return Section(
        values=register,
        records=(*recorded(numbers), *percents({"times-agree": again})),
        claims=(decide.interaction_direction_is_time(signs),),
        tables={
            "counts": pd.DataFrame(shown).T,
            "losses": losses.unstack("time").reindex(columns=list(times.TIMES)).round(2),
        },
        figures={"map": lambda: figures.world_map(signs, medians)},
    )


def other_networks(given: Settings) -> Section:
    """Convolutional networks, of the second stored table, with its register; a part runs again."""
    register, kept = (HERE / name for name in ("networks-register.toml", "networks.json"))
    wide: Any = networks.by_seed(table(kept, DIGESTS[kept.name])["rows"])
    again = networks.agreement(wide, range(4))
    assert again >= LEAST_AGREEMENT
    relu = wide.xs("relu", axis=1, level="activation")
    signs, gaps = networks.signs(wide), networks.rate_gaps(relu)
    numbers = {f"int-{net}-{time}-{arm}": x for (arm, net, time), x in relu["int"].median().items()}
    numbers |= {f"factor-{'-'.join(cell)}": 2**gap.estimate for cell, gap in gaps["none"].items()}
    fastest = relu["max_stable", "bn"] == math.log2(networks.RATES[-1])
    numbers["rates-at-edge"] = fastest.to_numpy().sum()
    pairs = wide["int", "bn"].notna() & wide["int", "none"].notna()
    split = {f"int, {arm}": wide["int", arm].median().round(2) for arm in networks.ARMS}
    split |= {name: sides.map(decide.SIDES.get) for name, sides in signs.items()}
    columns = [(target, arm) for target in networks.TARGETS for arm in networks.ARMS]
    rates = {f"{arm}, {target}": relu[target, arm].mean().round(1) for target, arm in columns}
    for other, of_other in gaps.items():
        text = {cell: statistics.with_ends(gap, "+.1f") for cell, gap in of_other.items()}
        rates[f"BN - {other}, max_stable"] = pd.Series(text)
    return Section(
        values=content(register, DIGESTS[register.name]).decode(),
        records=(*recorded(numbers), *percents({"networks-agree": again})),
        claims=(
            decide.interactions_beyond_perceptrons(signs["int, BN - none"]),
            decide.larger_rates_beyond_perceptrons(gaps["none"]),
        ),
        tables={
            "split": pd.DataFrame(split).assign(pairs=pairs.sum()),
            "rates": pd.DataFrame(rates).T,
        },
        figures={"cells": lambda: figures.by_network(wide["int"], wide["max_stable"])},
    )


def run(given: Settings) -> dict[str, Section]:
    """All sections, in page order."""
    cells, arms = every_cell(given), every_arm(given)
    return {
        "identities": identities(given),
        "every_cell": cells,
        "situations": situations(given),
        "loss_interaction": loss_interaction(given, cells.values),
        "predictability": predictability(given, cells.values),
        "every_arm": arms,
        "output_interaction": output_interaction(cells.values),
        "frozen_statistics": frozen_statistics(given, cells.values, arms.values),
        "other_arms": other_arms(given, cells.values),
        "over_depth": over_depth(given),
        "high_orders": high_orders(given),
        "other_reasons": other_reasons(given),
        "participation": participation(given),
        "ablation": ablation(arms.values),
        "when_or_which": when_or_which(given),
        "other_networks": other_networks(given),
    }
