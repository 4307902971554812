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
    d = [identity_coords(record.norm).d for record in records]
    return np.concatenate(d), np.repeat(np.arange(len(d)), [len(layer) for layer in d])


def identity_audit(
    records: Sequence[Record],
    bounds: Sequence[float] = (0.1, 0.5),
    *,
    shuffles: int = 200,
    rng: np.random.Generator,
) -> list[Share]:
    """How many channels are near the identity, and how many would be by chance.

    The interval is over resampled layers; one layer alone has no spread to see, and gets 0 .. 1.
    Chance: within each layer the pairs (gamma, beta) are permuted, so a layer keeps its scales and
    only the matching with the stored statistics is lost.
    Channels that are not finite count as far away.
    """
    d, layer = distances(records)
    null = np.array(
        [
            [(moved < bound).mean() for bound in bounds]
            for moved in (distances(_permuted(records, rng))[0] for _ in range(shuffles))
        ]
    )
    rows = []
    for bound, by_chance in zip(bounds, null.T, strict=True):
        low, middle, high = map(float, np.quantile(by_chance, (0.025, 0.5, 0.975)))
        if len(records) < 2:
            share = Interval(float(np.mean(d < bound)), 0.0, 1.0)
        else:
            share = statistics.cluster_bootstrap(d < bound, layer, np.mean, rng=rng)
        rows.append(Share(bound, share, Interval(middle, low, high)))
    return rows


def _permuted(records: Sequence[Record], rng: np.random.Generator) -> list[Record]:
    moved = []
    for record in records:
        norm, order = record.norm, rng.permutation(len(record.norm.gamma))
        norm = norm._replace(gamma=norm.gamma[order], beta=norm.beta[order])
        moved.append(record._replace(norm=norm))
    return moved
