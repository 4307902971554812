"""The tables of the chapter on trained networks: audits, gauges, gates, correlations, folding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

from bnlib import statistics
from bnlib.audit import associations, summary
from bnlib.audit.layers import Record, identity_coords
from bnlib.experiments import trained
from bnlib.networks.efficientnet import EfficientNetLite

State = Mapping[str, torch.Tensor]


def audit_row(
    records: Sequence[Record], near: summary.Share, half: summary.Share
) -> dict[str, float]:
    """One network as stored: shares near the identity and by chance, medians, shares of signs.

    to start: median distance of (gamma, beta) to the initialization (1, 0).
    """
    gamma, beta, _, var = (np.concatenate([r.norm[k] for r in records]) for k in range(4))
    d, _ = summary.distances(records)
    row = {"layers": len(records), "channels": len(d), "d<.1": near.share.estimate}
    row |= {"low": near.share.low, "high": near.share.high, "chance 97.5%": near.null.high}
    row |= {"d<.5": half.share.estimate, "median d": np.median(d)}
    row |= {"to start": np.median(np.hypot(gamma - 1, beta)), "γ<0": (gamma < 0).mean()}
    row |= {"|γ|<.01": (np.abs(gamma) < 0.01).mean(), "β<0": (beta < 0).mean()}
    return row | {"v<ε": (var < records[0].norm.eps).mean()}


@torch.no_grad()
def gauges(
    state: State, images: torch.Tensor, *, rng: np.random.Generator
) -> tuple[pd.DataFrame, dict[str, np.ndarray], dict[str, int]]:
    """A shipped network and three copies of it, float64: distances, and logits against its own.

    Lines: as shipped; the identity copy at eps = 1e-3, distances over the channels that have one
    (`left` counts the others); the identity copy at 1e-5; a random gauge.
    Returns the table, {line: (r, s)} of all channels, and the layers of `left`.
    """
    same, left = trained.identity_copy(state)
    copies = {"as shipped": (state, 1e-3), "identity, ε": (same, 1e-3)}
    copies["identity, ε'"] = trained.identity_copy(state, new_eps=1e-5)[0], 1e-5
    copies["random gauge"] = trained.random_copy(state, eps=1e-3, rng=rng), 1e-3
    truth = EfficientNetLite(state, dtype=torch.float64)(images)
    rows, coordinates = {}, {}
    for title, (copy, eps) in copies.items():
        logits = EfficientNetLite(copy, eps=eps, dtype=torch.float64)(images)
        records = trained.records(copy, eps=eps)
        r, s, d = np.concatenate([np.stack(identity_coords(x.norm)) for x in records], axis=1)
        weak = np.concatenate([np.abs(x.norm.gamma) < np.sqrt(eps) for x in records])
        keep = ~weak if title.startswith("identity") else np.ones_like(weak)
        row = {"max |r-1|": np.abs(r - 1)[keep].max(), "max |s|": np.abs(s)[keep].max()}
        row |= {"max d": d[keep].max(), "median d": np.median(d)}
        row["min v"] = min(x.norm.var.min() for x in records)
        row["logits"] = float((logits - truth).abs().max() / truth.abs().max())
        rows[title] = row | {"left": int((~keep).sum())}
        coordinates[title] = np.stack([r, s])
    return pd.DataFrame(rows).T, coordinates, left


def gate_table(gates: pd.DataFrame, *, rng: np.random.Generator) -> pd.DataFrame:
    """Predicted against measured gates by role and over all, from `trained.gates` of several nets.

    corr with its 95 % interval from resampled layers; a role with one layer in each network
    resamples channels.  Errors are means of absolute differences.
    """
    rows = {}
    for role, part in [*gates.groupby("role"), ("all", gates)]:
        cluster = (part["net"] + part["layer"]).to_numpy(str)
        if len(set(cluster)) <= part["net"].nunique():
            cluster = np.arange(len(part))
        found = statistics.cluster_bootstrap(
            part[["open", "predicted_open"]].to_numpy(),
            cluster,
            lambda pair: associations.correlation(*pair.T),
            resamples=300,
            rng=rng,
        )
        row = {"corr": found.estimate, "low": found.low, "high": found.high}
        row["error"] = (part["open"] - part["predicted_open"]).abs().mean()
        row["error saturated"] = (part["saturated"] - part["predicted_saturated"]).abs().mean()
        rows[role] = row | {"median open": part["open"].median(), "channels": len(part)}
    return pd.DataFrame(rows).T


def association_table(layers: pd.DataFrame, *, seed: int) -> pd.DataFrame:
    """Means over layers by (net, role) and over all roles, from `trained.associations_by_layer`.

    pearson with its 95 % interval from resampled layers, NaN for one layer.
    """
    rows = {}
    for net, part in layers.groupby("net", sort=False):
        for role in ("all", *trained.ROLES):
            one = part if role == "all" else part[part["role"] == role]
            ends = statistics.Interval(one["pearson"].mean(), np.nan, np.nan)
            if len(one) > 1:
                rng = np.random.default_rng([seed, 5])
                ends = statistics.cluster_bootstrap(one["pearson"], one["layer"], np.mean, rng=rng)
            row = {"pearson": ends.estimate, "low": ends.low, "high": ends.high}
            names = ("spearman", "ols", "major", "norm_slope", "partial", "beta_mu")
            row |= {name: one[name].mean() for name in names}
            row |= {"p<.05": (one["p"] < 0.05).mean(), "masked": one["masked"].sum()}
            rows[net, role] = row
    table = pd.DataFrame(rows).T
    table.index.names = ["net", "role"]
    return table


def projection_shifts(states: Mapping[str, State]) -> pd.DataFrame:
    """Largest |beta| of every projection, with its role and relative depth."""
    rows = []
    for net, state in states.items():
        role_of = {k: v for k, v in trained.roles(state).items() if v.startswith("project")}
        for at, (name, role) in enumerate(role_of.items()):
            shift = float(state[f"{name}.bias"].abs().max())
            rows.append({"net": net, "role": role, "depth": (at + 0.5) / len(role_of)})
            rows[-1]["shift"] = shift
    return pd.DataFrame(rows)


def stream_errors(streams: pd.DataFrame) -> pd.Series:
    """Relative error of the predicted means of each layer, in the largest norm."""
    off = np.abs(streams["predicted"].to_numpy() - streams["stored"].to_numpy())
    sized = streams.assign(off=off, size=np.abs(streams["stored"].to_numpy()))
    worst = pd.DataFrame(sized.groupby(["net", "layer"])[["off", "size"]].max())
    return pd.Series(worst["off"].to_numpy() / worst["size"].to_numpy(), worst.index)


@torch.no_grad()
def folding(
    state: State, images: torch.Tensor
) -> tuple[dict[str, float], dict[str, np.ndarray], bool]:
    """Folded and unfolded networks against the unfolded float64 one.

    Returns the largest error of a logit relative to the largest logit, with the counts of stored
    numbers; all relative errors; and whether every network gives every image the same class.
    """
    double, single = (EfficientNetLite(state, dtype=t) for t in (torch.float64, torch.float32))
    rounded = EfficientNetLite(double.fold().weights, dtype=torch.float32)
    nets: dict[str, Any] = {"folded, float64": double.fold(), "unfolded, float32": single}
    nets |= {"folded, float32": single.fold(), "folded in float64, float32": rounded}
    truth = double(images)
    logits = {name: net(images).double() for name, net in nets.items()}
    errors = {k: ((v - truth) / truth.abs().max()).flatten().numpy() for k, v in logits.items()}
    row: dict[str, float] = {name: float(np.abs(v).max()) for name, v in errors.items()}
    for name, net in (("numbers", single), ("numbers, folded", rounded)):
        row[name] = sum(v.numel() for k, v in net.weights.items() if "num_batches" not in k)
    same = all(bool((v.argmax(1) == truth.argmax(1)).all()) for v in logits.values())
    return row, errors, same
