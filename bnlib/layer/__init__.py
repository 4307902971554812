"""Batch normalization for torch: the interface of `torch.nn`, closed-form derivatives, any mean."""

from bnlib.layer.functional import batch_norm
from bnlib.layer.modules import BatchNorm1d, BatchNorm2d, BatchNorm3d

__all__ = ["BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "batch_norm"]
