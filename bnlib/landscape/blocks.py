"""The Hessian, layer by layer: products with vectors, norms of its blocks, ends of its spectrum.

The forward mode runs over the reverse mode, so a product costs a few gradients and no block is
ever formed.
"""

import warnings
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor

from bnlib.interactions.split import Function, Params, layer_dots, layer_of, layers


class Extremes(NamedTuple):
    """Both ends of the spectrum: the k lowest, ascending, and the k highest, descending."""

    low: np.ndarray
    high: np.ndarray


def hvp(loss_fn: Function, params: Params, vector: Params) -> dict[str, Tensor]:
    """H v for each of S networks, with the structure of the parameters.

        H v = d/dt grad L(theta + t v)  at t = 0

    Raises ValueError for a vector of another structure.
    """
    shapes = [{name: tuple(t.shape) for name, t in given.items()} for given in (params, vector)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"vector: want the structure of the parameters, got {shapes[1]}")

    def total(point: Params) -> Tensor:
        return loss_fn(point).sum()

    with warnings.catch_warnings():
        # torch compiles its own forward-mode rules on first use, with an interface it deprecates
        warnings.filterwarnings("ignore", ".*torch.jit.script", DeprecationWarning)
        point = {name: value.detach() for name, value in params.items()}
        return torch.func.jvp(torch.func.grad(total), (point,), (dict(vector),))[1]


def block_norms(
    loss_fn: Function, params: Params, *, probes: int, rng: np.random.Generator
) -> Tensor:
    """Squared Frobenius norms of the layer x layer blocks of the Hessian, estimated, (S, L, L).

        E ||H_ij v||^2 = ||H_ij||_F^2   for v of independent signs in layer j, 0 elsewhere

    (Hutchinson); the mean of B and its transpose, as the Hessian is symmetric.
    Consequence: unbiased, with a relative error of about (2/probes)^(1/2) at worst.
    Raises ValueError for less than one probe.
    """
    if probes < 1:
        raise ValueError(f"probes: want at least 1, got {probes}")
    numbers, columns = layers(params), []
    many = {k: v.detach().repeat(probes, *[1] * (v.ndim - 1)) for k, v in params.items()}
    for number in numbers:
        vector = {
            k: torch.from_numpy(rng.choice((-1.0, 1.0), size=tuple(v.shape))).to(v.dtype)
            if layer_of(k) == number
            else torch.zeros_like(v)
            for k, v in many.items()
        }
        product = hvp(loss_fn, many, vector)
        columns.append(layer_dots(product, product).unflatten(0, (probes, -1)).mean(0))
    norms = torch.stack(columns, 2)
    return (norms + norms.mT) / 2


def diagonal_share(norms: Tensor) -> Tensor:
    """sum_i ||H_ii||^2 / ||H||^2 from squared norms (S, L, L), (S,).

    For independent equal entries it is 1 - `iid_share`.
    """
    return norms.diagonal(dim1=1, dim2=2).sum(1) / norms.sum((1, 2))


def iid_share(params: Params) -> float:
    """Off-diagonal share of a matrix of independent equal entries with these blocks.

    1 - sum n_l^2 / (sum n_l)^2,   n_l parameters in layer l
    """
    ones = {name: torch.ones_like(value) for name, value in params.items()}
    counts = layer_dots(ones, ones)[0]
    return float(1 - (counts**2).sum() / counts.sum() ** 2)


def coupling(norms: Tensor) -> Tensor:
    """||H_ij|| / (||H_ii|| ||H_jj||)^(1/2) from squared norms, (S, L, L); 1 on the diagonal.

    Consequence: ignores a factor on the loss and, for scale-free layers, factors on their weights.
    """
    own = norms.diagonal(dim1=1, dim2=2)
    return (norms / (own[:, :, None] * own[:, None, :]).sqrt()).sqrt()


def extreme_eigenvalues(
    loss_fn: Function, params: Params, *, k: int = 1, tol: float = 0.0
) -> Extremes:
    """The k lowest and k highest eigenvalues of the Hessian of one network, by Lanczos.

    Not by power iteration: that finds the largest |lambda|, be it negative, and stalls where both
    ends have the same size.  The start vector is fixed, so a page repeats.
    tol: relative accuracy, 0 for rounding.
    Raises ValueError for several networks, for another precision than float64, which leaves the
    small end in rounding, and for k outside 1 ... n - 1.
    """
    if any(len(value) != 1 for value in params.values()):
        raise ValueError("params: want one network, leading axis 1; eigenvalues of several mix")
    if any(value.dtype != torch.float64 for value in params.values()):
        raise ValueError("params: want float64; in float32 the small end is rounding")
    n = sum(value.numel() for value in params.values())
    if not 1 <= k < n:
        raise ValueError(f"k: want 1 to {n - 1} of {n} eigenvalues, got {k}")
    options: Any = {"k": k, "v0": np.random.default_rng(0).standard_normal(n), "tol": tol}
    operator = _operator(loss_fn, params, n)
    low, high = (
        np.sort(eigsh(operator, which=end, return_eigenvectors=False, **options))
        for end in ("SA", "LA")
    )
    return Extremes(low, high[::-1])


def _operator(loss_fn: Function, params: Params, n: int) -> Any:
    shapes = {name: value.shape for name, value in params.items()}
    counts = [value.numel() for value in params.values()]

    def product(flat: Any) -> np.ndarray:
        rows = torch.from_numpy(np.array(flat, dtype=np.float64).ravel()).split(counts)
        vector = {name: part.view(shapes[name]) for name, part in zip(shapes, rows, strict=True)}
        found = hvp(loss_fn, params, vector)
        return torch.cat([found[name].flatten() for name in shapes]).numpy()

    operator: Any = LinearOperator
    return operator((n, n), matvec=product, dtype=np.float64)
