"""Drop-in layers for `torch.nn.BatchNorm1d`, `2d` and `3d`."""

from typing import Any

from torch import Tensor, nn

from bnlib.layer.functional import batch_norm


class _Layer(nn.modules.batchnorm._BatchNorm):
    """What the three layers add to torch's: `batch_norm` above, and the switches scale and shift.

    With scale=False `weight` is None, with shift=False `bias` is None, and absent from the state
    dict: loading a learned scale into a layer without one is an error, not silently another
    function. With both (the default), and with affine=False, state dicts are those of torch.nn.
    momentum=None keeps the plain average over all batches since the last reset.
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
        scale: bool = True,
        shift: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype)
        if not scale:
            self.register_parameter("weight", None)
        if not shift:
            self.register_parameter("bias", None)

    def reset_parameters(self) -> None:
        """Scale 1, shift 0, no running statistics: the layer as it was made."""
        self.reset_running_stats()
        if self.weight is not None:
            nn.init.ones_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def extra_repr(self) -> str:
        """Arguments in the order of the constructor."""
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, "
            f"affine={self.affine}, track_running_stats={self.track_running_stats}, "
            f"scale={self.weight is not None}, shift={self.bias is not None}"
        )

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  the name in torch.nn
        """Normalize input; in training mode also update the running statistics."""
        self._check_input_dim(input)
        used = self.track_running_stats or not self.training
        return batch_norm(
            input,
            self.running_mean if used else None,
            self.running_var if used else None,
            self.weight,
            self.bias,
            self.training or (self.running_mean is None and self.running_var is None),
            self._count(input),
            self.eps,
        )

    def _count(self, x: Tensor) -> float:
        """Count the batch, unless it is empty, and return its weight in the running statistics."""
        tracked = self.num_batches_tracked
        if self.training and self.track_running_stats and tracked is not None and x.numel():
            tracked.add_(1)
            if self.momentum is None:
                return 1.0 / float(tracked)
        return 0.0 if self.momentum is None else self.momentum


class BatchNorm1d(_Layer, nn.BatchNorm1d):
    """`torch.nn.BatchNorm1d`, for (N, C) or (N, C, L), with the switches scale and shift."""


class BatchNorm2d(_Layer, nn.BatchNorm2d):
    """`torch.nn.BatchNorm2d`, for (N, C, H, W), with the switches scale and shift."""


class BatchNorm3d(_Layer, nn.BatchNorm3d):
    """`torch.nn.BatchNorm3d`, for (N, C, D, H, W), with the switches scale and shift."""
