"""A whole network against the identity: shares with intervals, and chance matching."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bnlib import statistics
from bnlib.audit.layers import Record, identity_coords
from bnlib.statistics import Interval


class Share(NamedTuple):
    """The share of channels with d below `bound`, and what chance matching gives."""

    bound: float
    share: Interval  # over resampled layers
    null: Interval  # median and 95 % range over shuffles


def distances(records: Sequence[Record]) -> tuple[np.ndarray, np.ndarray]:
    """d of every channel of all layers, and the number of its layer."""
    found = [identity_coords(record.norm).d for record in records]
    return np.concatenate(found), np.repeat(np.arange(len(found)), [len(d) for d in found])


def interval_over_layers(
    values: np.ndarray, layer: np.ndarray, *, resamples: int = 2000, rng: np.random.Generator
) -> Interval:
    """The mean over channels, with its interval when whole layers are resampled.

    One layer alone has no spread to see: its interval is all of 0 .. 1 for a share.
    """
    if len(np.unique(layer)) < 2:
        return Interval(float(np.mean(values)), 0.0, 1.0)
    return statistics.cluster_bootstrap(values, layer, np.mean, resamples=resamples, rng=rng)


def identity_audit(
    records: Sequence[Record],
    bounds: Sequence[float] = (0.1, 0.5),
    *,
    resamples: int = 2000,
    shuffles: int = 200,
    rng: np.random.Generator,
) -> list[Share]:
    """How many channels are near the identity, and how many would be by chance.

    Chance: within each layer the pairs (gamma, beta) are dealt to the channels anew, so a layer
    keeps its scales and only the matching with the stored statistics is lost.
    Channels that are not finite count as far away.
    """
    d, layer = distances(records)
    d = np.where(np.isfinite(d), d, np.inf)
    null = np.array([_shuffled(records, rng) for _ in range(shuffles)])
    rows = []
    for bound in bounds:
        dealt = (null < bound).mean(axis=1)
        low, middle, high = np.quantile(dealt, [0.025, 0.5, 0.975])
        share = interval_over_layers(d < bound, layer, resamples=resamples, rng=rng)
        rows.append(Share(bound, share, Interval(float(middle), float(low), float(high))))
    return rows


def _shuffled(records: Sequence[Record], rng: np.random.Generator) -> np.ndarray:
    found = []
    for _, norm, *_ in records:
        order = rng.permutation(len(norm.gamma))
        dealt = norm._replace(gamma=norm.gamma[order], beta=norm.beta[order])
        found.append(identity_coords(dealt).d)
    d = np.concatenate(found)
    return np.where(np.isfinite(d), d, np.inf)
