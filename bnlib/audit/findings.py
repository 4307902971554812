"""What stands out in a checkpoint, and what it means for who trains, prunes or quantizes it."""

import tomllib
from collections.abc import Sequence
from importlib.resources import files
from typing import Any, NamedTuple

import numpy as np

from bnlib.audit.layers import Record, identity_coords
from bnlib.laws import gate_rate, saturation_rate
from bnlib.parameters import one_of

UNEVEN = 16.0  # four bits of an eight-bit weight; `kinds.toml` says it, too

HUGE = 1e300  # beyond it coordinates overflow when they are averaged
ACTIVATIONS = ("relu", "relu6", "none")

Measured = dict[str, Any]


class Kind(NamedTuple):
    """A kind of finding: severity "error", "warning" or "note", and its consequences.

    The kinds, gravest first, stand in `kinds.toml`.
    """

    severity: str
    title: str
    training: str
    pruning: str
    quantization: str


KINDS = {
    name: Kind(**kind)
    for name, kind in tomllib.loads(files("bnlib.audit").joinpath("kinds.toml").read_text()).items()
}


class Finding(NamedTuple):
    """One kind in one layer: how many channels of it."""

    kind: str
    layer: str
    channels: int


@np.errstate(all="ignore")
def measure(record: Record, activation: str = "relu") -> Measured:
    """Numbers of one layer, ready for JSON: quantiles (10, 50, 90 %) and counts of channels.

    Quantiles are over channels whose four numbers are finite, whose var + eps is above 0 and whose
    coordinates do not overflow; others are counted.  Raises ValueError for an unknown activation.
    """
    one_of("activation", activation, ACTIVATIONS)
    vectors, eps = np.stack(record.norm[:4]), record.norm.eps
    total, coordinates = record.norm.var + eps, np.stack(identity_coords(record.norm))
    finite = np.isfinite(vectors).all(axis=0)
    still = finite & (total == 0)
    sound = finite & (total > 0) & (coordinates[2] < HUGE)
    gamma, beta, _, var = vectors[:, sound]
    r, s, d = coordinates[:, sound]
    rates = gate_rate(gamma, beta)
    gates = {} if activation == "none" else {"gate": _quantiles(rates)}
    if activation == "relu6":
        gates["saturated"] = _quantiles(saturation_rate(gamma, beta))
    scale = np.abs(gamma) / np.sqrt(var + eps)
    middle = float(np.median(scale)) if scale.size else 0.0
    return {
        "layer": record.name,
        "channels": len(sound),
        "dtype": record.dtype,
        "assumed": list(record.assumed),
        "quantiles": {"r": _quantiles(r), "s": _quantiles(s), "d": _quantiles(d), **gates},
        "spread": float(np.nan_to_num(scale.max() / middle)) if middle > 0 else None,
        "counts": {
            "non-finite": int((~finite | (~sound & (total > 0))).sum()),
            "negative-variance": int((record.norm.var < 0).sum()),
            "never-updated": _never_updated(record),
            "small-variance": (int(((var < eps) & (var >= 0)).sum()) + int(still.sum()))
            * (not _never_updated(record)),
            "small-gamma": int((np.abs(gamma) < np.sqrt(eps)).sum()),
            "dead": int((np.abs(gamma) < 1e-3).sum()),
            "closed": 0 if activation == "none" else int((rates < 0.01).sum()),
            "negative-gamma": int((gamma < 0).sum()),
        },
    }


def _never_updated(record: Record) -> int:
    """All channels, or none: one channel at (0, 1) can be chance."""
    fresh = bool((record.norm.mean == 0).all() and (record.norm.var == 1).all())
    return len(record.norm.mean) * fresh


def _quantiles(values: np.ndarray) -> list[float] | None:
    if not values.size:
        return None
    return [float(v) for v in np.quantile(values, [0.1, 0.5, 0.9])]


def find(layers: Sequence[Measured]) -> list[Finding]:
    """The findings of all measured layers, gravest kind first, layers in their order."""
    findings = []
    for kind in KINDS:
        for layer in layers:
            channels = layer["counts"].get(kind, 0)
            whole = {
                "uneven": (layer["spread"] or 0) >= UNEVEN,
                "half": layer["dtype"] in ("float16", "bfloat16"),
                "assumed": bool(layer["assumed"]),
            }
            channels = layer["channels"] if whole.get(kind) else channels
            if channels:
                findings.append(Finding(kind, layer["layer"], channels))
    return findings
