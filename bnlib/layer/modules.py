"""Drop-in layers for `torch.nn.BatchNorm1d`, `2d` and `3d`."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Proxy

from bnlib.layer.functional import batch_norm


class _Layer(nn.modules.batchnorm._BatchNorm):
    """What the three layers add to torch's: `batch_norm` above, and the switches scale and shift.

    With scale=False `weight` is None, with shift=False or bias=False `bias` is None, and absent
    from the state dict: loading a learned scale into a layer without one is an error, not silently
    another function. With the defaults, and with affine=False, state dicts are those of torch.nn.
    momentum=None keeps the plain average over all batches since the last reset. A batch is counted
    once, also where checkpointing runs forward again for it and torch counts twice.
    torch.compile and torch.export take any batch size and both modes; in torch.fx the layer is a
    leaf, as torch's own; torch.jit.script is refused with a sentence. torch.onnx.export with
    dynamo=False writes one BatchNormalization, or folds it into the convolution before it.
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
        scale: bool = True,
        shift: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype)
        if not scale:
            self.register_parameter("weight", None)
        if not (shift and bias):
            self.register_parameter("bias", None)

    def reset_parameters(self) -> None:
        """Scale 1, shift 0, no running statistics: the layer as it was made."""
        self.reset_running_stats()
        if self.weight is not None:
            nn.init.ones_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def extra_repr(self) -> str:
        """torch's, and the switches."""
        given = f"scale={self.weight is not None}, shift={self.bias is not None}"
        return f"{super().extra_repr()}, {given}"

    def __prepare_scriptable__(self) -> Any:
        """Refuse torch.jit.script, which asks for this."""
        raise RuntimeError(
            f"torch.jit.script: expected a layer that it can compile, got bnlib.layer's "
            f"{type(self).__name__}; use torch.compile or torch.export, or torch.nn's layer, which "
            "loads the same state dict"
        )

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  the name in torch.nn
        """Normalize input; in training mode also update the running statistics."""
        if isinstance(input, Proxy):  # of torch.fx, which takes only layers of torch.nn for leaves
            tracer: Any = input.tracer
            return tracer.create_proxy("call_module", tracer.path_of_module(self), (input,), {})
        if torch.onnx.is_in_onnx_export():
            return super().forward(input)  # torch's operator, which has a node there
        self._check_input_dim(input)
        used = self.track_running_stats or not self.training
        # Statistics first: non-reentrant checkpointing may stop between them and the counter.
        y = batch_norm(
            input,
            self.running_mean if used else None,
            self.running_var if used else None,
            self.weight,
            self.bias,
            self.training or (self.running_mean is None and self.running_var is None),
            self._new_weight(),
            self.eps,
        )
        tracked = self.num_batches_tracked
        if self.training and self.track_running_stats and tracked is not None and input.numel():
            tracked.add_(1)
        return y

    def _new_weight(self) -> Any:
        """The weight of this batch in the running statistics; a tensor where it is an average."""
        if self.momentum is None and self.num_batches_tracked is not None:
            return 1.0 / (self.num_batches_tracked + 1).double()
        return self.momentum or 0.0


class BatchNorm1d(_Layer, nn.BatchNorm1d):
    """`torch.nn.BatchNorm1d`, for (N, C) or (N, C, L), with the switches scale and shift."""


class BatchNorm2d(_Layer, nn.BatchNorm2d):
    """`torch.nn.BatchNorm2d`, for (N, C, H, W), with the switches scale and shift."""


class BatchNorm3d(_Layer, nn.BatchNorm3d):
    """`torch.nn.BatchNorm3d`, for (N, C, D, H, W), with the switches scale and shift."""
