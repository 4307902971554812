"""Shipped networks: their normalizations by role, other gauges of them, gates, and stream means."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch

from bnlib.audit import associations
from bnlib.audit.layers import Record, find_layers
from bnlib.gauge import Gauged, Norm, gauge, gauge_to_identity
from bnlib.laws import gate_rate, saturation_rate
from bnlib.networks.efficientnet import layer_role, layout, stored_norm

State = Mapping[str, torch.Tensor]
ROLES = ("stem", "expand", "depthwise", "project, no skip", "project, skip", "head")


def roles(state: State) -> dict[str, str]:
    """The role of every normalization, projections split by whether the block has a skip."""
    found = {}
    for layer in layout(state):
        role = layer_role(layer.norm)
        skip = ", skip" if layer.skip else ", no skip"
        found[layer.norm] = role + (skip if role == "project" else "")
    return found


def records(state: State, *, eps: float = 1e-3) -> list[Record]:
    """What the audit finds in a shipped network, in the order of computation."""
    found = {record.name: record for record in find_layers(state, eps=eps)[0]}
    return [found[name] for name in roles(state)]


def regauged(
    state: State, change: Callable[[torch.Tensor, Norm], Gauged], *, eps: float = 1e-3
) -> dict[str, torch.Tensor]:
    """The network in another gauge, float64: `change` is called for each convolution and norm.

    The offset that the copy needs is that of the norms which `change` returns.
    """
    copy = {key: value.double() for key, value in state.items()}
    for conv, name, *_ in layout(state):
        new = change(copy[f"{conv}.weight"], stored_norm(copy, name, eps=eps))
        copy |= {f"{conv}.weight": new.weight, f"{conv}.bias": new.bias}
        copy |= {f"{name}.weight": new.norm.gamma, f"{name}.bias": new.norm.beta}
        copy |= {f"{name}.running_mean": new.norm.mean, f"{name}.running_var": new.norm.var}
    return copy


def identity_copy(
    state: State, *, eps: float = 1e-3, new_eps: float | None = None
) -> tuple[dict[str, torch.Tensor], dict[str, int]]:
    """The copy with identity normalizations, and how many channels of which layer have none."""
    left: list[int] = []

    def change(weight: torch.Tensor, norm: Norm) -> Gauged:
        copy, ok = gauge_to_identity(weight, norm, eps=new_eps)
        left.append(int((~ok).sum()))
        return copy

    copy = regauged(state, change, eps=eps)
    return copy, {name: n for name, n in zip(roles(state), left, strict=True) if n}


def random_copy(state: State, *, eps: float, rng: np.random.Generator) -> dict[str, torch.Tensor]:
    """The network in a random gauge: a log-uniform in [1/4, 4] where var' allows it; c is normal,
    with standard deviation tau, so mean' moves too."""

    def change(weight: torch.Tensor, norm: Norm) -> Gauged:
        draws = torch.from_numpy(4.0 ** rng.uniform(-1, 1, len(norm.var)))
        least = (norm.eps / (norm.var + norm.eps)) ** 0.5
        shift = torch.from_numpy(rng.standard_normal(len(norm.var))) * (norm.var + norm.eps) ** 0.5
        return gauge(weight, norm, draws.maximum(1.001 * least), shift)

    return regauged(state, change, eps=eps)


@torch.no_grad()
def gates(net: Any, images: torch.Tensor, *, batch: int = 8) -> pd.DataFrame:
    """One line per channel before a ReLU6: how often it is open and saturated, and the prediction.

    Columns: role, layer; open, saturated: shares of all places of all images; predicted_open,
    predicted_saturated: from gamma and beta alone.
    net: an `EfficientNetLite`.
    """
    sums: dict[str, list[np.ndarray]] = {}

    def look(name: str, y: torch.Tensor, when: str) -> None:
        if when == "post" and layer_role(name) != "project":
            shares = [(y > 0).double().mean((0, 2, 3)), (y >= 6).double().mean((0, 2, 3))]
            sums.setdefault(name, []).append(len(y) * torch.stack(shares).numpy())

    for part in images.split(batch):
        net(part, look)
    return pd.concat([_gates_of(net, name, sum(s) / len(images)) for name, s in sums.items()])


def _gates_of(net: Any, name: str, measured: Any) -> pd.DataFrame:
    norm = stored_norm(net.weights, name, eps=net.eps)
    gamma, beta = norm.gamma.double().numpy(), norm.beta.double().numpy()
    columns = {"role": layer_role(name), "layer": name, "open": measured[0]}
    columns |= {"saturated": measured[1], "predicted_open": gate_rate(gamma, beta)}
    return pd.DataFrame(columns | {"predicted_saturated": saturation_rate(gamma, beta)})


def associations_by_layer(
    state: State, *, eps: float = 1e-3, shuffles: int = 300, rng: np.random.Generator
) -> pd.DataFrame:
    """One line per layer: correlations and log-slopes of gamma, sigma = sqrt(var), beta, mu, ||w||.

    pearson, spearman, p: of gamma and sigma, p by dealing within the layer.  ols, major: slopes of
    log sigma on log |gamma|, masked channels left out.  norm_slope: of log ||w|| on log |gamma|.
    partial: correlation of log |gamma| and log sigma given log ||w||.  beta_mu: of beta and mean.
    """
    rows, role_of = [], roles(state)
    for conv, name, *_ in layout(state):
        rows_of = state[f"{conv}.weight"].double().flatten(1).norm(dim=1).numpy()
        gamma, beta, mean, var = (v.double().numpy() for v in stored_norm(state, name, eps=eps)[:4])
        row = _row(Norm(gamma, beta, mean, var, eps), rows_of, shuffles, rng)
        rows.append({"layer": name, "role": role_of[name], **row})
    return pd.DataFrame(rows)


def _row(
    stored: Norm, norm: np.ndarray, shuffles: int, rng: np.random.Generator
) -> dict[str, float]:
    gamma, beta, mean, var, _ = stored
    sigma = np.sqrt(var)
    live = (np.abs(gamma) >= 1e-2) & (var > 0)
    logs = [np.log(np.abs(v[live])) for v in (gamma, sigma, norm)]
    slopes = associations.log_slopes(gamma, sigma)
    return {
        "pearson": associations.correlation(gamma, sigma),
        "spearman": associations.correlation(gamma, sigma, rank=True),
        "p": associations.permutation_p(gamma, sigma, shuffles=shuffles, rng=rng),
        "ols": slopes.ols,
        "major": slopes.major,
        "masked": slopes.masked,
        "norm_slope": associations.log_slopes(gamma, norm).ols,
        "log_norm": associations.correlation(logs[0], logs[2]),
        "partial": associations.partial_correlation(*logs),
        "beta_mu": associations.correlation(beta, mean),
    }


def stream_means(state: State) -> pd.DataFrame:
    """The mean that theory gives to the input of each expansion, and the stored one, by channel.

        mu_expand = W_expand sum(beta_proj),  over projections since the last one without a skip

    Columns: layer, after (the role of the projection before it), predicted, stored; the head, a
    1x1 convolution as the expansions are, is listed too.
    """
    found, total, before = [], torch.zeros(0), ""
    role_of = roles(state)
    for conv, name, _, skip in layout(state):
        role = role_of[name]
        if role in ("expand", "head"):
            predicted = state[f"{conv}.weight"].double().flatten(1) @ total
            columns = {"layer": name, "after": before, "predicted": predicted.numpy()}
            columns["stored"] = state[f"{name}.running_mean"].double().numpy()
            found.append(pd.DataFrame(columns))
        elif role.startswith("project"):
            beta = state[f"{name}.bias"].double()
            total, before = (total + beta if skip else beta), role
    return pd.concat(found, ignore_index=True)
