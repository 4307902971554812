"""Shipped networks: as stored, in other gauges, their gates, correlations, means, and folded."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy import stats
from torch import Tensor

from bnlib import laws, statistics
from bnlib.audit import summary
from bnlib.audit.layers import Record, find_layers, identity_coords
from bnlib.gauge import Gauged, Norm, gauge, gauge_to_identity
from bnlib.networks import efficientnet
from bnlib.networks.efficientnet import EfficientNetLite, layout, stored_norm

State = Mapping[str, Tensor]

EPS = 1e-3  # with which these networks were trained; a state dict does not hold it
ROLES = ("stem", "expand", "depthwise", "project, no skip", "project, skip", "head")


class Audit(NamedTuple):
    """Networks by name: what is stored, and shares of channels with d < 0.1 and d < 0.5."""

    states: dict[str, State]
    layers: dict[str, list[Record]]
    shares: dict[str, list[summary.Share]]
    table: pd.DataFrame  # a line a network


def role_of(layer: efficientnet.Layer) -> str:
    """One of `ROLES`; projections are split by whether their block has a skip."""
    role = efficientnet.layer_role(layer.norm)
    return role + ((", skip" if layer.skip else ", no skip") if role == "project" else "")


def records_of(state: State, *, eps: float = EPS) -> list[Record]:
    """What the audit finds in a shipped network, in the order of computation."""
    by_name = {record.name: record for record in find_layers(state, eps=eps)[0]}
    return [by_name[layer.norm] for layer in layout(state)]


def audit(networks: Sequence[str], *, shuffles: int, seed: int) -> Audit:
    """The networks as stored; for chance, (gamma, beta) are permuted within the layer."""
    states: dict[str, State] = {name: efficientnet.shipped_state_dict(name) for name in networks}
    layers = {name: records_of(state) for name, state in states.items()}
    shares, rows = {}, {}
    for name, records in layers.items():
        rng = np.random.default_rng([seed, 1])
        shares[name] = summary.identity_audit(records, shuffles=shuffles, rng=rng)
        rows[name] = _audit_row(records, *shares[name])
    return Audit(states, layers, shares, pd.DataFrame(rows).T)


def _audit_row(records: list[Record], near: summary.Share, half: summary.Share) -> dict[str, float]:
    gamma, beta, _, var = (np.concatenate([r.norm[k] for r in records]) for k in range(4))
    d, _ = summary.distances(records)
    row = {"layers": len(records), "channels": len(d), "d<.1": near.share.estimate}
    row |= {"low": near.share.low, "high": near.share.high, "chance 97.5%": near.null.high}
    row |= {"d<.5": half.share.estimate, "median d": np.median(d)}
    row |= {"to start": np.median(np.hypot(gamma - 1, beta)), "γ<0": (gamma < 0).mean()}
    row |= {"|γ|<.01": (np.abs(gamma) < 0.01).mean(), "β<0": (beta < 0).mean()}
    return row | {"v<ε": (var < EPS).mean()}


def regauged(state: State, change: Callable[[Tensor, Norm], Gauged]) -> State:
    """The network in another gauge, float64: `change` is called for each convolution and norm.

    The offset that the copy needs is that of the norms which `change` returns.
    """
    copy = {key: value.double() for key, value in state.items()}
    for conv, name, *_ in layout(state):
        new = change(copy[f"{conv}.weight"], stored_norm(copy, name, eps=EPS))
        copy |= {f"{conv}.weight": new.weight, f"{conv}.bias": new.bias}
        copy |= {f"{name}.weight": new.norm.gamma, f"{name}.bias": new.norm.beta}
        copy |= {f"{name}.running_mean": new.norm.mean, f"{name}.running_var": new.norm.var}
    return copy


def identity_copy(state: State, eps: float) -> State:
    """The copy with identity normalizations, where a channel has one at this eps."""
    return regauged(state, lambda weight, norm: gauge_to_identity(weight, norm, eps=eps)[0])


def random_copy(state: State, rng: np.random.Generator) -> State:
    """a log-uniform in [1/4, 4] where var' allows it, c normal with standard deviation tau."""

    def change(weight: Tensor, norm: Norm) -> Gauged:
        draws = torch.from_numpy(4.0 ** rng.uniform(-1, 1, len(norm.var)))
        least = (norm.eps / (norm.var + norm.eps)) ** 0.5
        shift = torch.from_numpy(rng.standard_normal(len(norm.var))) * (norm.var + norm.eps) ** 0.5
        return gauge(weight, norm, draws.maximum(1.001 * least), shift)

    return regauged(state, change)


def without_copy(records: Sequence[Record]) -> dict[str, int]:
    """In which layers how many channels are too weak for an identity copy at this eps."""
    weak = {x.name: int((np.abs(x.norm.gamma) < np.sqrt(x.norm.eps)).sum()) for x in records}
    return {name: count for name, count in weak.items() if count}


@torch.no_grad()
def gauges(
    states: Mapping[str, State], images: Tensor, *, seed: int
) -> tuple[pd.DataFrame, dict[tuple[str, str], np.ndarray]]:
    """Each network and three copies of it, float64: distances, and logits against its own.

    Returns a line for each, where the distances of an identity copy leave out the channels that
    have none, counted as `left`; and r, s, d of all channels, (3, channels) each.
    """
    rows, clouds = {}, {}
    for name, state in states.items():
        truth = EfficientNetLite(state, dtype=torch.float64)(images)
        copies = {"as shipped": (state, EPS), "identity, ε": (identity_copy(state, EPS), EPS)}
        copies["identity, ε'"] = identity_copy(state, 1e-5), 1e-5
        copies["random gauge"] = random_copy(state, np.random.default_rng([seed, 2])), EPS
        for title, (copy, eps) in copies.items():
            norms = [record.norm for record in records_of(copy, eps=eps)]
            weak = np.concatenate([np.abs(norm.gamma) < np.sqrt(eps) for norm in norms])
            weak &= title.startswith("identity")
            rsd = clouds[name, title] = coordinates(norms)
            row = largest(rsd[:, ~weak]) | {"median d": np.median(rsd[2])}
            row["min v"] = min(norm.var.min() for norm in norms)
            off = (EfficientNetLite(copy, eps=eps, dtype=torch.float64)(images) - truth).abs().max()
            row["logits"] = float(off / truth.abs().max())
            rows[name, title] = row | {"left": int(weak.sum())}
    return pd.DataFrame(rows).T.rename_axis(index=["net", "gauge"]), clouds


def coordinates(norms: Sequence[Norm]) -> np.ndarray:
    """r, s and d of the channels of all layers: (3, channels)."""
    return np.concatenate([np.stack(identity_coords(norm)) for norm in norms], axis=1)


def largest(rsd: np.ndarray) -> dict[str, float]:
    """How far the furthest channel is from the identity."""
    r, s, d = rsd
    ends = abs(r - 1).max(), abs(s).max(), d.max()
    return dict(zip(("max |r-1|", "max |s|", "max d"), map(float, ends), strict=True))


@torch.no_grad()
def gates(state: State, images: Tensor, *, batch: int = 8) -> pd.DataFrame:
    """One line per channel before a ReLU6: how often it is open and saturated, and the prediction.

    open, saturated: shares of all places of all images; predicted_...: from gamma and beta alone.
    """
    net, sums, parts = EfficientNetLite(state), {}, []

    def look(name: str, y: Tensor, when: str) -> None:
        if when == "post" and efficientnet.layer_role(name) != "project":
            shares = [part.double().mean((0, 2, 3)).numpy() for part in (y > 0, y >= 6)]
            sums[name] = sums.get(name, 0) + len(y) * np.stack(shares)

    for part in images.split(batch):
        net(part, look)
    for name, total in sums.items():
        gamma, beta = (v.double().numpy() for v in stored_norm(state, name)[:2])
        columns = {"role": efficientnet.layer_role(name), "layer": name}
        columns |= dict(zip(("open", "saturated"), total / len(images), strict=True))
        columns["predicted_open"] = laws.gate_rate(gamma, beta)
        columns["predicted_saturated"] = laws.saturation_rate(gamma, beta)
        parts.append(pd.DataFrame(columns))
    return pd.concat(parts)


def _corr(pairs: np.ndarray) -> float:
    return correlation(*pairs.T)


def gate_table(gates: pd.DataFrame, *, seed: int) -> pd.DataFrame:
    """Predicted against measured gates by role and over all, from `gates` of several networks.

    corr with its 95 % interval from resampled layers; a role with one layer in each network
    resamples channels.  Errors are means of absolute differences.
    """
    rows, rng = {}, np.random.default_rng([seed, 3])
    for role, part in [*gates.groupby("role"), ("all", gates)]:
        cluster = (part["net"] + part["layer"]).to_numpy(str)
        if len(set(cluster)) <= part["net"].nunique():
            cluster = np.arange(len(part))
        pairs = part[["open", "predicted_open"]].to_numpy()
        corr = statistics.cluster_bootstrap(pairs, cluster, _corr, resamples=300, rng=rng)
        row = {"corr": corr.estimate, "low": corr.low, "high": corr.high}
        row["error"] = (part["open"] - part["predicted_open"]).abs().mean()
        row["error saturated"] = (part["saturated"] - part["predicted_saturated"]).abs().mean()
        rows[role] = row | {"median open": part["open"].median(), "channels": len(part)}
    return pd.DataFrame(rows).T


class Slopes(NamedTuple):
    """Slopes of log b on log a: least squares, and major axis; how many channels were left out."""

    ols: float
    major: float
    masked: int


def correlation(a: np.ndarray, b: np.ndarray, *, rank: bool = False) -> float:
    """Pearson's correlation, or Spearman's; NaN where one of them does not vary."""
    if rank:
        a, b = stats.rankdata(a), stats.rankdata(b)
    if len(a) < 3 or not (statistics.varies(a) and statistics.varies(b)):
        return np.nan
    return float(np.corrcoef(a, b)[0, 1])


def permutation_p(
    a: np.ndarray, b: np.ndarray, *, shuffles: int = 300, rng: np.random.Generator
) -> float:
    """Two-sided p of Pearson's correlation when b is permuted within the layer.

        (1 + number of shuffles with |correlation| at least as large) / (1 + shuffles)

    Treats the channels of a layer as exchangeable, which they are only roughly. NaN where there is
    no correlation.
    """
    if np.isnan(correlation(a, b)):
        return np.nan
    z, other = (a - a.mean()) / a.std(), (b - b.mean()) / b.std()
    permuted = rng.permuted(np.tile(other, (shuffles, 1)), axis=1)
    beyond = np.abs(permuted @ z) >= abs(z @ other) * (1 - 1e-12)
    return float((1 + beyond.sum()) / (1 + shuffles))


def partial_correlation(a: np.ndarray, b: np.ndarray, given: np.ndarray) -> float:
    """Correlation of a and b after the straight line in `given` is taken from both."""
    pairs = (a, b), (a, given), (b, given)
    return statistics.partial_from(*(correlation(*pair) for pair in pairs))


def log_slopes(a: np.ndarray, b: np.ndarray) -> Slopes:
    """Slopes of log b on log |a|; channels with |a| < 0.01 or b <= 0 are left out and counted.

        ols = S_ab / S_aa,    major = (S_bb - S_aa + sqrt((S_bb - S_aa)^2 + 4 S_ab^2)) / (2 S_ab)

    Consequence: noise in b alone leaves ols in place; with noise in both the major axis is less
    biased, and it is steep or undefined where the correlation is weak.
    """
    keep = (np.abs(a) >= 1e-2) & (b > 0)
    ols = major = np.nan
    if keep.sum() >= 3:
        (aa, ab), (_, bb) = np.cov(np.log(np.abs(a[keep])), np.log(b[keep]))
        if aa != 0 and ab != 0:
            ols = float(ab / aa)
            major = float((bb - aa + np.sqrt((bb - aa) ** 2 + 4 * ab**2)) / (2 * ab))
    return Slopes(ols, major, int((~keep).sum()))


def associations(states: Mapping[str, State], *, shuffles: int, seed: int) -> pd.DataFrame:
    """One line per layer: correlations and log-slopes of gamma, sigma = sqrt(var), beta, mu, ||w||.

    pearson, spearman, p: of gamma and sigma, p by permuting within the layer.  ols, major: slopes
    of log sigma on log |gamma|, masked channels left out.  norm_slope: of log ||w|| on log |gamma|.
    partial: correlation of log |gamma| and log sigma given log ||w||.  beta_mu: of beta and mean.
    after: the role of the projection before.
    """
    rows = []
    for net, state in states.items():
        after, rng = "", np.random.default_rng([seed, 4])
        for layer, record in zip(layout(state), records_of(state), strict=True):
            weight = state[f"{layer.conv}.weight"].double().flatten(1).norm(dim=1).numpy()
            row = {"net": net, "layer": layer.norm, "role": role_of(layer), "after": after}
            rows.append(row | _associations(record.norm, weight, shuffles, rng))
            after = row["role"] if "project" in row["role"] else after
    return pd.DataFrame(rows)


def _associations(
    stored: Norm, weight: np.ndarray, shuffles: int, rng: np.random.Generator
) -> dict[str, float]:
    gamma, beta, mean, var, _ = stored
    sigma, live = np.sqrt(var), (np.abs(gamma) >= 1e-2) & (var > 0)
    row = {"pearson": correlation(gamma, sigma), "spearman": correlation(gamma, sigma, rank=True)}
    row["p"] = permutation_p(gamma, sigma, shuffles=shuffles, rng=rng)
    row |= log_slopes(gamma, sigma)._asdict() | {"norm_slope": log_slopes(gamma, weight).ols}
    logs = [np.log(np.abs(v[live])) for v in (gamma, sigma, weight)]
    return row | {"partial": partial_correlation(*logs), "beta_mu": correlation(beta, mean)}


def association_table(layers: pd.DataFrame, *, seed: int) -> pd.DataFrame:
    """Means over layers by (net, role) and over all roles, from `associations`.

    pearson with its 95 % interval from resampled layers, NaN for one layer.
    """
    rows = {}
    for net, role in itertools.product(layers["net"].unique(), ("all", *ROLES)):
        chosen = layers[(layers["net"] == net) & ((layers["role"] == role) | (role == "all"))]
        pearson, rng = chosen["pearson"], np.random.default_rng([seed, 5])
        ends = statistics.Interval(pearson.mean(), np.nan, np.nan)
        if len(chosen) > 1:
            ends = statistics.cluster_bootstrap(pearson, chosen["layer"], np.mean, rng=rng)
        row = {"pearson": ends.estimate, "low": ends.low, "high": ends.high}
        for name in ("spearman", "ols", "major", "norm_slope", "partial", "beta_mu"):
            row[name] = chosen[name].mean()
        row |= {
            "p<.05": (pd.Series(chosen["p"]).dropna() < 0.05).mean(),
            "masked": chosen["masked"].sum(),
        }
        rows[net, role] = row
    return pd.DataFrame(rows).T.rename_axis(index=["net", "role"])


def projection_shifts(states: Mapping[str, State]) -> pd.DataFrame:
    """Largest |beta| of every projection, with its role and relative depth."""
    rows = []
    for state in states.values():
        chosen = [layer for layer in layout(state) if "project" in role_of(layer)]
        for place, layer in enumerate(chosen):
            row = {"role": role_of(layer), "depth": (place + 0.5) / len(chosen)}
            rows.append(row | {"shift": float(state[f"{layer.norm}.bias"].abs().max())})
    return pd.DataFrame(rows)


def stream_means(state: State) -> list[np.ndarray]:
    """The mean that theory gives to the input of each expansion, and the stored one: (2, c) each.

    mu_expand = W_expand sum(beta_proj),  over projections since the last one without a skip
    """
    means, total = [], torch.zeros(0)
    for conv, name, _, skip in layout(state):
        role = efficientnet.layer_role(name)
        if role == "expand":
            predicted = state[f"{conv}.weight"].double().flatten(1) @ total
            means.append(torch.stack([predicted, state[f"{name}.running_mean"].double()]).numpy())
        elif role == "project":
            beta = state[f"{name}.bias"].double()
            total = total + beta if skip else beta
    return means


@torch.no_grad()
def folding(
    states: Mapping[str, State], images: Tensor
) -> tuple[pd.DataFrame, bool, dict[str, Any]]:
    """Folded and unfolded networks against the unfolded float64 one.

    The first network sees two thirds of the images, the others a sixth.  Returns a line a network,
    the largest error of a logit over the largest logit, with the counts of stored numbers; whether
    all agree on every class; and densities and edges of the first network's errors, in 1e-7.
    """
    rows, densities, same = {}, {}, True
    for name, state in states.items():
        few = images[: max(1, len(images) // 6 if rows else 2 * len(images) // 3)]
        double, single = (EfficientNetLite(state, dtype=t) for t in (torch.float64, torch.float32))
        rounded = EfficientNetLite(double.fold().weights, dtype=torch.float32)
        nets = {"folded, float64": double.fold(), "unfolded, float32": single}
        nets |= {"folded, float32": single.fold(), "folded in float64, float32": rounded}
        row, truth = {}, double(few)
        for title, net in nets.items():
            logits = net(few).double()
            error = ((logits - truth) / truth.abs().max()).flatten().numpy()
            row[title] = np.abs(error).max()
            same = same and bool((logits.argmax(1) == truth.argmax(1)).all())
            bins = np.histogram(error * 1e7, bins=60, range=(-6, 6), density=True)
            densities.setdefault(title, bins)
        for title, net in (("numbers", single), ("numbers, folded", rounded)):
            row[title] = sum(v.numel() for k, v in net.weights.items() if "num_batches" not in k)
        rows[name] = row
    return pd.DataFrame(rows).T, same, densities
