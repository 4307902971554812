"""The loss around a point: shift of a layer's gradient, smoothness, blocks of the Hessian.

Networks are plain functions of layered parameters, S at once, as in `bnlib.interactions`.
"""

from bnlib.landscape.ascent import first_ascent
from bnlib.landscape.blocks import (
    Extremes,
    block_norms,
    coupling,
    diagonal_share,
    extreme_eigenvalues,
    hvp,
    iid_share,
)
from bnlib.landscape.explosion import (
    RELU_FACTOR,
    inverse_variance,
    layer_gradient_norms,
    mean_factor,
)
from bnlib.landscape.noise import Noise, noisy_normalization
from bnlib.landscape.path import UNITS, Path, gradient_path, smoothness, unit_scaled
from bnlib.landscape.shift import Ics, ics_change, ics_integral

__all__ = [
    "RELU_FACTOR",
    "UNITS",
    "Extremes",
    "Ics",
    "Noise",
    "Path",
    "block_norms",
    "coupling",
    "diagonal_share",
    "extreme_eigenvalues",
    "first_ascent",
    "gradient_path",
    "hvp",
    "ics_change",
    "ics_integral",
    "iid_share",
    "inverse_variance",
    "layer_gradient_norms",
    "mean_factor",
    "noisy_normalization",
    "smoothness",
    "unit_scaled",
]
