"""One small network that tells three things called "order" apart."""

from typing import Any

import numpy as np
import pandas as pd
import torch

from bnlib.chains import jvp_orders
from bnlib.orders import order_sums, subset_masks


def three_orders(rng: np.random.Generator) -> dict[str, Any]:
    """Three things called "order", measured on one network: x W1 BN tanh W2 BN tanh w3.

    One gradient step of predicted relative decrease 1/2. Keys: "interaction" (A_1, A_2, A_3 of
    the loss), "taylor" (the powers 1, 2, 3 of the step in the same loss), "moments" (mean and
    standard deviation of one unit before BN, after BN, after BN and the step), and "along" (the
    Taylor coefficients 1, 2, 3 of the loss when that unit's batch vector z moves along 1, along z
    and along a random direction).
    """
    rows, width = 128, 8
    x, y = (torch.tensor(rng.normal(size=(rows, n))) for n in (width, 1))
    shapes = (width, width), (width, width), (width, 1)
    weights = [torch.tensor(rng.normal(size=s) / np.sqrt(width)) for s in shapes]

    def loss(weights: list[torch.Tensor], nudge: Any = 0.0) -> torch.Tensor:
        h = torch.tanh(_standard(x @ weights[0] + nudge))
        h = torch.tanh(_standard(h @ weights[1]))
        return 0.5 * ((h @ weights[2] - y) ** 2).mean()

    leaves = [w.requires_grad_() for w in weights]
    grads = torch.autograd.grad(loss(leaves), leaves)
    weights = [w.detach() for w in weights]
    before = loss(weights).item()
    step = 0.5 * before / sum(float((g**2).sum()) for g in grads)

    def move(mask: Any) -> list[torch.Tensor]:
        return [w - s * step * g for w, g, s in zip(weights, grads, mask, strict=True)]

    values = torch.stack([loss(move(mask)) for mask in subset_masks(3).astype(float)])
    z = x @ weights[0]
    unit, spread = torch.eye(width, dtype=z.dtype)[0], z[:, 0].std(correction=0)
    sides = {
        "1": spread * torch.ones(rows, 1, dtype=z.dtype),
        "z": z[:, :1],
        "random": spread * torch.tensor(rng.normal(size=(rows, 1))),
    }
    stages = z, _standard(z), _standard(x @ move((1, 1, 1))[0])
    return {
        "interaction": order_sums(values, 3)[1:].tolist(),
        "taylor": jvp_orders(lambda s: loss(move((s, s, s))), 3)[1:].tolist(),
        "moments": [(float(a[:, 0].mean()), float(a[:, 0].std(correction=0))) for a in stages],
        "along": {
            name: jvp_orders(lambda t, side=side: loss(weights, t * side * unit), 3)[1:].tolist()
            for name, side in sides.items()
        },
    }


def told_apart(measured: dict[str, Any]) -> dict[str, bool]:
    """Which pairs of the three meanings the measurement of `three_orders` separates.

    "1, 2": interactions exist while the moments after BN stay 0 and 1 before and after the step.
    "1, 3": the interactions and the powers of the step differ, and both exist although the loss
    is flat to every order along 1 and z.  "2, 3": moving along 1 and z shifts and stretches the
    unit's moments, but no Taylor order of the loss sees it, while a random direction is seen.
    """
    interaction, along = np.abs(measured["interaction"]), measured["along"]
    flat = max(map(abs, [*along["1"], *along["z"]])) <= 1e-12
    seen = min(map(abs, along["random"])) > 1e-6
    fixed = all(abs(mean) + abs(sd - 1) <= 1e-12 for mean, sd in measured["moments"][1:])
    apart = np.abs(np.subtract(measured["interaction"], measured["taylor"])) > 0.1 * interaction
    return {
        "1, 2": bool(fixed and interaction.min() > 1e-6),
        "1, 3": bool(flat and apart[:2].all()),
        "2, 3": bool(flat and seen and measured["moments"][0][1] > 0),
    }


def as_table(measured: dict[str, Any]) -> pd.DataFrame:
    """The measurement of `three_orders`, a row each, as short text."""
    stages = zip(("before BN", "after BN", "after BN and step"), measured["moments"], strict=True)
    rows = {
        "1 interaction: A_1, A_2, A_3 of the loss": measured["interaction"],
        "1 the same step: powers 1, 2, 3 of its size": measured["taylor"],
        **{f"2 moments of a unit, {stage}: mean, sd": pair for stage, pair in stages},
        **{f"3 Taylor of L, unit along {name}": v for name, v in measured["along"].items()},
    }
    text = {name: [f"{v:.2g}" for v in row] + [""] * (3 - len(row)) for name, row in rows.items()}
    return pd.DataFrame.from_dict(text, orient="index", columns=["1", "2", "3"])


def _standard(z: torch.Tensor) -> torch.Tensor:
    # Composed of plain operations: nested forward mode does not pass through our layer's Function.
    centered = z - z.mean(dim=0)
    return centered / (centered**2).mean(dim=0).sqrt()
