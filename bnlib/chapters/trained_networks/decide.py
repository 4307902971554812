"""The rules of the chapter's claims: from what was measured to a verdict and its evidence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bnlib import verdicts
from bnlib.audit.summary import Share
from bnlib.chapters.trained_networks.toys import Arm, Digits
from bnlib.results import NOT_POSED, UNDECIDED, Claim
from bnlib.statistics import Interval, with_ends


def _by_row(table: pd.DataFrame, column: str) -> dict[str, Interval]:
    columns = (table[name] for name in (column, "low", "high"))
    return dict(zip(table.index, map(Interval, *columns), strict=True))


def above_chance(shares: Mapping[str, Sequence[Share]]) -> list[bool]:
    """In which networks more channels are near the identity than 97.5 % of permutations have."""
    return [near.share.estimate > near.null.high for near, _ in shares.values()]


def not_identity(shares: Mapping[str, Sequence[Share]]) -> Claim:
    """In each network the interval is below 5 % and the share not above chance; partly: in some."""
    small, above = [near.share.high < 0.05 for near, _ in shares.values()], above_chance(shares)
    parts = [f"{k} {with_ends(v.share, '.2%')}, {v.null.high:.2%}" for k, (v, _) in shares.items()]
    return Claim(
        "trained-not-identity",
        verdicts.count(s and not a for s, a in zip(small, above, strict=True)),
        "Stored numbers, share of channels with d < 0.1 [by layers], highest of chance: "
        f"{'; '.join(parts)}. Under 5 % in {sum(small)} of {len(small)} nets, above chance in "
        f"{sum(above)}. The gauge theorem says what this is worth.",
    )


def gauge(table: pd.DataFrame, digits: Digits) -> tuple[Claim, Claim]:
    """The copies have d and logits to 1e-10; if so, d cannot measure what was lost."""
    nets, titles = (table.index.get_level_values(name) for name in ("net", "gauge"))
    identity, median = table.loc[titles.str.startswith("identity")], table["median d"].iloc
    d = max(identity["max d"].max(), digits.distances[1]["max d"])
    off = max(identity["logits"].max(), digits.logits)
    holds = d <= 1e-10 and off <= 1e-10
    copies = Claim(
        "trained-gauge",
        verdicts.verdict(holds),
        f"Identity copies of {', '.join(nets.unique())} and of {len(digits.rows)} digits networks: "
        f"largest d {d:.1e}, logits equal to {off:.1e} in float64; {identity['left'].sum():.0f} "
        "channels with |gamma| < sqrt(0.001) have none at the original eps, and all have one at "
        "0.00001.",
    )
    reason = Claim(
        "trained-because-fine-normalised",
        NOT_POSED if holds else UNDECIDED,
        f"The same outputs (to {off:.1e}) go with median d {median[0]:.2f} as shipped, "
        f"{median[2]:.0f} in the identity copy and {median[3]:.2f} in a random gauge: "
        "d says nothing about what was lost.",
    )
    return copies, reason


def gate_rate(table: pd.DataFrame, crops: int) -> Claim:
    """In every role: correlation above 0.8 and error at most 0.1; partly: one of the two."""
    tied, close = table["low"] > 0.8, table["error"] <= 0.1
    rows = _by_row(table, "corr").items()
    parts = [f"{role} {with_ends(r, '.2f')}, {table['error'][role]:.3f}" for role, r in rows]
    return Claim(
        "trained-gate-rate",
        verdicts.verdict((tied & close).all(), (tied | close).all()),
        "Correlation [95 %] and mean absolute error of Phi(beta/|gamma|) against the share of open "
        f"gates on {crops} crops: {'; '.join(parts)}.",
    )


def gamma_sigma(table: pd.DataFrame) -> Claim:
    """The mean correlation is above 0 over the layers of every network; partly: somewhere."""
    overall, stem = (table.xs(role, level="role") for role in ("all", "stem"))
    parts = [f"{net} {with_ends(v, '.2f')}" for net, v in _by_row(overall, "pearson").items()]
    return Claim(
        "trained-gamma-sigma",
        verdicts.verdict((overall["low"] > 0).all(), (table["low"] > 0).any()),
        f"Mean over layers of the correlation of gamma and sigma [by layers]: {'; '.join(parts)}. "
        f"Stem: {', '.join(f'{v:.2f}' for v in stem['pearson'])}.",
    )


def equilibrium(arms: Mapping[str, Arm], seeds: int) -> Claim:
    """In both arms: the slope has the theory within 0.05, and not 0 or 1; partly: not 0 or 1."""
    near, apart, parts = [], [], []
    for output, arm in arms.items():
        slope = arm.sigma[-1]
        wide = slope._replace(low=slope.low - 0.05, high=slope.high + 0.05)
        near.append(verdicts.inside(arm.theory, wide))
        apart.append(slope.low > 0 and slope.high < 1)
        parts.append(f"output {output} {with_ends(slope, '.3f')}, theory {arm.theory:.3f}")
    return Claim(
        "trained-equilibrium",
        verdicts.verdict(all(near) and all(apart), all(apart)),
        f"gamma frozen at random, {seeds} seeds, {arms['frozen'].at[-1]} steps: slope of log sigma "
        f"on log gamma {'; '.join(parts)}. Initialization memory would give 0, identity seeking 1.",
    )


def beta_proj_zero(first: Mapping[float, np.ndarray], plain: pd.Series, skip: pd.Series) -> Claim:
    """No gradient without drop-connect; stored shifts 10 times apart, partly: in medians."""
    without, dropped, gap = first[0.0].max(), first[0.2].min(), skip.min() / plain.max()
    gradient, middle = without <= 1e-12 and dropped > 1e-6, skip.median() / plain.median()
    return Claim(
        "trained-beta-proj-zero",
        verdicts.verdict(gradient and gap >= 10, gradient and middle >= 10),
        f"Largest gradient of beta_proj over the largest of its layer, {len(first[0.0])} toys in "
        f"float64: {without:.1e} without drop-connect, at least {dropped:.1e} with. Shipped: "
        f"largest |beta| of the {len(plain)} projections without skip {plain.max():.3f}, "
        f"smallest of the {len(skip)} with skip {skip.min():.2f}: {gap:.0f} times.",
    )


def mu_expand(errors: np.ndarray) -> Claim:
    """The predicted means are off by at most 1 % in every expansion; partly: 10 %."""
    return Claim(
        "trained-mu-expand",
        verdicts.verdict(errors.max() <= 0.01, errors.max() <= 0.1),
        f"Stored means of {len(errors)} expansions against W sum(beta_proj): relative error "
        f"(largest norm) at most {errors.max():.2%}, median {np.median(errors):.3%}.",
    )


def fold_exact(table: pd.DataFrame, same_class: bool) -> Claim:
    """1e-12 in float64; in float32 at most twice the rounding of the unfolded; equal classes."""
    exact, single = table["folded, float64"].max(), table["folded, float32"]
    plain, crops = table["unfolded, float32"], "every crop" if same_class else "not every crop"
    ratio = (single / plain).max()
    return Claim(
        "trained-fold-exact",
        verdicts.verdict(exact <= 1e-12 and ratio <= 2 and same_class),
        f"Whole networks folded, {', '.join(table.index)}: float64 error {exact:.1e}; float32 "
        f"error at most {single.max():.1e} against {plain.max():.1e} of the unfolded network's own "
        f"rounding, {ratio:.2f} times at worst; argmax equal on {crops}.",
    )


WITNESS = {  # claim: question, and how many families decide it
    "witness-not-identity": ("near", 3),
    "witness-gamma-sigma": ("association", 3),
    "witness-slope": ("slope", 3),
    "witness-beta-proj": ("beta", 2),
    "witness-branch-share": ("branch", 2),
}
FORMS = {"near": ".1%", "association": ".2f", "slope": ".2f", "beta": ".2g", "branch": ".0%"}


def passes(row: Mapping[str, Any]) -> bool:
    """Whether a file does what the register asks, by one row of its numbers."""
    match row["question"]:
        case "near":
            return row["high"] < 0.05
        case "association":
            return row["low"] > 0
        case "slope":
            return row["low"] > 0 and row["high"] < 1
        case "beta":
            return row["value"] <= 0.1
        case "branch":
            return row["value"] >= 0.8
        case "gates":
            return row["low"] > 0.8 and row["error"] <= 0.1
    raise ValueError(f"expected a question of the register, got {row['question']!r}")


def judged(rows: Iterable[Mapping[str, Any]], register: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows; those with a prediction also say whether the file passes, and hit or miss."""
    made = []
    for row in rows:
        predicted = register["predictions"].get(row["question"], {}).get(row["file"])
        verdict = {}
        if predicted is not None:
            met = passes(row)
            verdict = {"passes": met, "hit": met == predicted}
        made.append(dict(row) | verdict)
    return made


def told(row: Mapping[str, Any]) -> str:
    """The number of a row, with its interval where it has one, and hit or miss."""
    form = FORMS.get(row["question"], ".2f")
    ends = f" [{row['low']:{form}}, {row['high']:{form}}]" if "low" in row else ""
    error = f", error {row['error']:.3f}" if "error" in row else ""
    hit = (", hit" if row["hit"] else ", miss") if "hit" in row else " (not counted)"
    return f"{row['value']:{form}}{ends}{error}{hit}"


def witness_table(
    rows: Iterable[Mapping[str, Any]], files: Mapping[str, Mapping[str, Any]]
) -> pd.DataFrame:
    """A line a file: what it is, and each number with hit or miss; a dash where not asked."""
    lines = {name: {k: files[name][k] for k in ("family", "format")} for name in files}
    for row in rows:
        if row["question"] != "stored":
            lines[row["file"]][row["question"]] = told(row)
        elif row["layers"]:
            lines[row["file"]] |= {k: row[k] for k in ("layers", "channels")}
        else:
            lines[row["file"]] |= {"layers": "nothing to audit: folded"}
    return pd.DataFrame(lines).T.fillna("–")


def witness(name: str, rows: Iterable[Mapping[str, Any]], register: Mapping[str, Any]) -> Claim:
    """Holds if every counted family passes, partly if some, fails if none."""
    question, least = WITNESS[name]
    asked = [row for row in rows if row["question"] == question and "hit" in row]
    families: dict[str, bool] = {}
    for row in asked:
        family = register["files"][row["file"]]["family"]
        families[family] = families.get(family, True) and row["passes"]
    enough, passed = len(families) >= least, sum(families.values())
    parts = "; ".join(f"{row['file']} {told(row)}" for row in asked)
    return Claim(
        name,
        verdicts.count(families.values()) if enough else UNDECIDED,
        f"{passed} of {len(families)} families pass. {parts}.",
    )
