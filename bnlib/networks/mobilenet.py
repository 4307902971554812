"""MobileNetV2 in evaluation mode, from a state dict with torchvision's names.

    stem 3x3 stride 2 | blocks: expand 1x1, depthwise 3x3, project 1x1 | head 1x1 | mean, linear

ReLU6 follows every batch normalization but the projections'; a block whose output has the shape of
its input adds it. Padding is symmetric, eps 1e-5.
"""

import re
from collections.abc import Mapping

import torch
from torch.nn import functional

MEAN = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
DEVIATION = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
STRIDED = ("0", "2", "4", "7", "14")  # the stem, and blocks that halve the image
PROJECTION = re.compile(r"conv\.[23]$")


class MobileNetV2:
    """`net(x)` takes images (n, 3, h, w), RGB in 0 .. 255, and gives logits (n, 1000)."""

    def __init__(self, state_dict: Mapping[str, torch.Tensor]) -> None:
        """Raises ValueError for a state dict without torchvision's names."""
        self.weights = dict(state_dict)
        if not {"features.0.0.weight", "classifier.1.weight"} <= set(self.weights):
            raise ValueError("expected the state dict of a MobileNetV2, got one without its stem")
        ends = ".running_var"
        self.norms = [key.removesuffix(ends) for key in self.weights if key.endswith(ends)]

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Logits with the stored statistics."""
        return self._run(x, self.weights, anew=False)

    @torch.no_grad()
    def recalibrated(self, x: torch.Tensor) -> "MobileNetV2":
        """The network with the statistics of the images x, layer by layer."""
        weights = dict(self.weights)
        self._run(x, weights, anew=True)
        return MobileNetV2(weights)

    def _run(
        self, x: torch.Tensor, weights: dict[str, torch.Tensor], *, anew: bool
    ) -> torch.Tensor:
        """anew: statistics of x are put into `weights` before a layer reads them."""
        x = stream = (x / 255 - MEAN) / DEVIATION
        before = ""
        for name in self.norms:
            block, (at, last) = name.split(".")[1], name.rsplit(".", 1)
            stream, before = (stream if block == before else x), block
            weight = weights[f"{at}.{int(last) - 1}.weight"]
            depthwise = weight.shape[1] == 1
            stride = 2 if block in STRIDED and (depthwise or block == "0") else 1
            groups = len(weight) if depthwise else 1
            x = functional.conv2d(x, weight, None, stride, weight.shape[-1] // 2, groups=groups)
            if anew:
                var, mean = torch.var_mean(x, (0, 2, 3), correction=0)
                weights |= {f"{name}.running_mean": mean, f"{name}.running_var": var}
            parts = ("running_mean", "running_var", "weight", "bias")
            mean, var, gamma, beta = (weights[f"{name}.{part}"] for part in parts)
            x = functional.batch_norm(x, mean, var, gamma, beta)
            if PROJECTION.search(name):
                x = x + stream if x.shape == stream.shape else x
            else:
                x = x.clamp(0, 6)
        return x.mean((2, 3)) @ weights["classifier.1.weight"].T + weights["classifier.1.bias"]
