"""The copy of small trained networks whose normalizations are the identity."""

from typing import NamedTuple

from torch import Tensor

from bnlib.gauge import Norm, gauge_to_identity
from bnlib.networks.seed_batched import Params, SeedBatchedMLP, Statistics
from bnlib.rows import Moments


class Copy(NamedTuple):
    """A network in another gauge: for `net.forward(params, x, stats=stats)`."""

    params: dict[str, Tensor]
    stats: dict[int, Moments]


def norm_of(net: SeedBatchedMLP, params: Params, stats: Statistics, site: int) -> Norm:
    """One site as stored, all seeds and units in one axis (S c,)."""
    gamma, beta = params[f"gamma{site}"].flatten(), params[f"beta{site}"].flatten()
    return Norm(gamma, beta, stats[site].mean.flatten(), stats[site].var.flatten(), net.spec.eps)


def identity_copy(net: SeedBatchedMLP, stats: Statistics) -> tuple[Copy, int]:
    """The identity gauge of all networks, and how many units have none."""
    params, moved, left = dict(net.params), {}, 0
    for site in stats:
        norm, weight = norm_of(net, params, stats, site), params[f"W{site}"]
        new, ok = gauge_to_identity(weight.flatten(0, 1), norm)
        units, left = weight.shape[:2], left + int((~ok).sum())
        params[f"W{site}"], params[f"b{site}"] = new.weight.view_as(weight), new.bias.view(units)
        params[f"gamma{site}"] = new.norm.gamma.view(units)
        moved[site] = Moments(new.norm.mean.view(units), new.norm.var.view(units))
    return Copy(params, moved), left
