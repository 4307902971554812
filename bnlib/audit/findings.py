"""What stands out in a checkpoint, and what it means for who trains, prunes or quantizes it."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from bnlib.audit.layers import Record, identity_coords
from bnlib.laws import gate_rate, saturation_rate

UNEVEN = 16.0  # four bits of an eight-bit weight

Measured = dict[str, Any]


class Kind(NamedTuple):
    """A kind of finding: severity "error", "warning" or "note", and its consequences."""

    severity: str
    title: str
    training: str
    pruning: str
    quantization: str


KINDS = {
    "non-finite": Kind(
        "error",
        "numbers that are not finite",
        "Training diverged, or overflowed in half precision: go back to an earlier checkpoint.",
        "Do not prune: every output that depends on these channels is not a number.",
        "Do not quantize: calibration would fail or spread the damage.",
    ),
    "negative-variance": Kind(
        "error",
        "a running variance below 0",
        "No update can give this: the file is damaged, or its parts were averaged or edited.",
        "The channel cannot be judged before the variance is recomputed.",
        "Folding takes the root of var + eps; recompute the statistics on data first.",
    ),
    "never-updated": Kind(
        "warning",
        "statistics that were never updated (mean 0, variance 1 in all channels)",
        "Evaluation mode uses the initial values: run training-mode passes over data first. "
        "A gauge with identity statistics looks the same.",
        "Scales of channels say nothing before the statistics exist.",
        "Folding would fold the initial values in.",
    ),
    "small-variance": Kind(
        "note",
        "running variances below eps",
        "eps, not the spread of the data, sets the scale: these channels are not brought to unit "
        "variance, and their incoming weights are not free of scale.",
        "The inputs of these channels hardly vary: candidates, if gamma does not magnify them.",
        "The folded scale hangs on eps: use the eps of the training run.",
    ),
    "small-gamma": Kind(
        "note",
        "|gamma| below sqrt(eps)",
        "Legal. There is no copy of the channel with identity normalization at this eps.",
        "Weak channels; compare beta/|gamma| before removing.",
        "Small folded weights: with one scale for the whole layer they round to 0.",
    ),
    "dead": Kind(
        "note",
        "constant channels (|gamma| below 0.001)",
        "The incoming weights get next to no gradient: such a channel rarely comes back.",
        "Remove it, and add the constant activation of beta to the next bias.",
        "Remove before quantizing; it costs a channel and carries nothing.",
    ),
    "closed": Kind(
        "note",
        "gates that are open less than 1 % of the time",
        "Little gradient passes: beta is far below -|gamma|.",
        "Candidates for removal. This assumes near-normal x_hat: verify on data.",
        "Rare large values set the range of the activation; clip by percentile.",
    ),
    "negative-gamma": Kind(
        "note",
        "negative gamma",
        "Harmless: the sign can move into the incoming weights.",
        "Rank channels by |gamma|, not by gamma.",
        "Harmless; but gamma cannot be moved through a ReLU without flipping the weights first.",
    ),
    "uneven": Kind(
        "note",
        f"|gamma|/tau spreads: largest over median {UNEVEN:g} or more",
        "Steps in the incoming weights act with very different strength on the channels.",
        "Magnitudes of weights are not comparable across channels before folding.",
        "After folding one scale for the layer wastes bits: quantize this layer by channel.",
    ),
    "half": Kind(
        "note",
        "statistics stored in half precision",
        "Updates smaller than a thousandth of the value are lost: keep statistics in float32.",
        "Nothing.",
        "A float16 variance below 6e-8 is stored as 0; fold in float32.",
    ),
    "assumed": Kind(
        "note",
        "no gamma or beta stored: 1 and 0 assumed",
        "The layer was built without scale and shift.",
        "Nothing in this layer ranks its channels.",
        "Nothing.",
    ),
}


class Finding(NamedTuple):
    """One kind in one layer: how many channels of it."""

    kind: str
    layer: str
    channels: int


def measure(record: Record, activation: str = "relu") -> Measured:
    """Numbers of one layer, ready for JSON: quantiles (10, 50, 90 %) and counts of channels.

    Quantiles are over channels whose four numbers are finite and whose var + eps is above 0.
    """
    gamma, beta, mean, var, eps = record.norm
    finite = np.isfinite(np.stack([gamma, beta, mean, var])).all(axis=0)
    sound = finite & (np.where(finite, var, 0) + eps > 0)
    norm = type(record.norm)(gamma[sound], beta[sound], mean[sound], var[sound], eps)
    gamma, beta, mean, var, _ = norm
    r, s, d = identity_coords(norm)
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
        "spread": float(scale.max() / middle) if middle > 0 else None,
        "counts": {
            "non-finite": int((~finite).sum()),
            "negative-variance": int((record.norm.var < 0).sum()),
            "never-updated": _never_updated(record),
            "small-variance": int(((var < eps) & (var >= 0)).sum()) * (not _never_updated(record)),
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
    found = []
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
                found.append(Finding(kind, layer["layer"], channels))
    return found
