"""How far the normalizations of small trained networks are from the identity."""

from typing import Any

from bnlib.audit.layers import identity_coords
from bnlib.gauge import Norm
from bnlib.networks.regauged import norm_of
from bnlib.networks.seed_batched import Params, SeedBatchedMLP, Statistics


def largest_distance(net: SeedBatchedMLP, params: Params, stats: Statistics) -> dict[str, float]:
    """Largest |r - 1|, |s| and d, and the smallest variance, over all sites and networks."""
    found: list[Any] = []
    for site in stats:
        gamma, beta, mean, var, eps = norm_of(net, params, stats, site)
        stored = Norm(gamma.numpy(), beta.numpy(), mean.numpy(), var.numpy(), eps)
        r, s, d = identity_coords(stored)
        found.append((abs(r - 1).max(), abs(s).max(), d.max(), -stored.var.min()))
    r, s, d, v = (float(max(column)) for column in zip(*found, strict=True))
    return {"max |r-1|": r, "max |s|": s, "max d": d, "min var": -v}
