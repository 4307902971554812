"""What the inputs of a network's batch normalizations look like. Nothing here changes a network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch

from bnlib import reference, statistics
from bnlib.networks.efficientnet import layer_role

Inputs = dict[tuple[str, str], torch.Tensor]


@torch.no_grad()
def collect(
    net: Callable[..., Any], images: torch.Tensor, *, positions: int, seed: int, batch: int = 16
) -> Inputs:
    """Values at the input of every batch normalization, {(role, name): (n, c)}.

    net: called as net(images, hook), as `networks.efficientnet.EfficientNetLite` is.
    positions: how many random places of each image are kept, without repetition and the same for
    all channels of a layer, so n = images * positions.
    Raises ValueError where a layer has fewer places than that.
    """
    places, kept = torch.Generator().manual_seed(seed), {}

    def keep(name: str, tensor: torch.Tensor, when: str) -> None:
        if when != "pre":
            return
        flat = tensor.flatten(2)
        if flat.shape[2] < positions:
            raise ValueError(f"{name}: want {positions} positions, got only {flat.shape[2]}")
        at = torch.rand(len(flat), flat.shape[2], generator=places).argsort(1)[:, :positions]
        found = flat.gather(2, at[:, None].expand(-1, flat.shape[1], -1))
        kept.setdefault((layer_role(name), name), []).append(found.transpose(1, 2).flatten(0, 1))

    for part in images.split(batch):
        net(part, keep)
    return {key: torch.cat(parts) for key, parts in kept.items()}


def channel_shapes(
    inputs: Mapping[tuple[str, str], torch.Tensor], floors: Mapping[int, float], *, eps: float
) -> pd.DataFrame:
    """One line per channel: its shape after [BN.1] normalized it, and what that changed.

    inputs: {(group, layer): (n, c)}.  floors: n -> the `ks` below which a sample of n counts as
    normal.  Columns: group, layer, channel; ks, skew, excess_kurtosis, cover1 of x_hat; change,
    the largest change of one of the four from x to x_hat; rho; open, the share of x_hat > 0;
    normal and normal_before, whether ks is at most the floor after and before.
    Channels with a standard deviation below 1e-8 have no shape and are left out.
    """
    found = []
    for (group, layer), values in inputs.items():
        live = np.flatnonzero((values.std(0, correction=0) >= 1e-8).numpy())
        # One channel after the other in memory: NumPy then sums pairwise, which keeps 13 digits of
        # a kurtosis of thousands, and sorts faster.
        x = np.asfortranarray(values[:, live].double().numpy())
        _, tape = reference.forward(x, np.ones(live.size), np.zeros(live.size), eps=eps)
        x_hat = np.asfortranarray(tape.x_hat)
        before, after = statistics.shape(x), statistics.shape(x_hat)
        columns = {"group": group, "layer": layer, "channel": live} | after._asdict()
        columns["change"] = np.abs(np.subtract(after, before)).max(axis=0)
        columns["rho"], columns["open"] = tape.rho, (x_hat > 0).mean(axis=0)
        for name, ks in (("normal", after.ks), ("normal_before", before.ks)):
            columns[name] = ks <= floors[len(x)]
        found.append(pd.DataFrame(columns))
    return pd.concat(found, ignore_index=True)


def summarize(found: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """One line per group of `channel_shapes`: how far its channels are from normal.

    KS: median over channels; low, high: its 95 % interval when whole layers are resampled, NaN for
    a group of one layer; 10 %, 90 %: quantiles over channels; |skewness|, kurtosis (excess) and
    within 1 sd: medians; under floor: the share that counts as normal.
    """
    groups = found.groupby("group", sort=False)
    lines = {}
    for name, part in groups:
        ends = np.nan, np.nan
        clusters = part["layer"].to_numpy(str)
        if len(set(clusters)) > 1:
            ends = statistics.cluster_bootstrap(part["ks"], clusters, np.median, rng=rng)[1:]
        tenths = part["ks"].quantile([0.1, 0.9])
        lines[name] = (part["ks"].median(), *ends, *tenths, part["skew"].abs().median())
    table = pd.DataFrame(lines, ["KS", "low", "high", "10 %", "90 %", "|skewness|"]).T
    table["kurtosis"], table["within 1 sd"] = (
        groups["excess_kurtosis"].median(),
        groups["cover1"].median(),
    )
    table["under floor"], table["channels"] = groups["normal"].mean(), groups.size()
    return table.assign(layers=groups["layer"].nunique())
