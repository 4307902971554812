"""Blocks and both ends of the Hessian: products with vectors, and a survey of the arms.

Networks are plain functions of layered parameters, S at once, as in `bnlib.interactions`.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor

from bnlib import interactions
from bnlib.chapters.covariate_shift.measure import Bench
from bnlib.interactions import Function, Params, Problem, layer_dots, layer_of, layers


class Extremes(NamedTuple):
    """Both ends of the spectrum: the k lowest, ascending, and the k highest, descending."""

    low: np.ndarray
    high: np.ndarray


def hvp(loss_fn: Function, params: Params, vector: Params) -> dict[str, Tensor]:
    """H v for each of S networks, with the structure of the parameters.

        H v = d/dt grad L(theta + t v)  at t = 0

    Forward mode over reverse mode: a product costs a few gradients, and no block is ever formed.
    Raises ValueError for a vector of another structure.
    """
    shapes = [{name: tuple(t.shape) for name, t in given.items()} for given in (params, vector)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"vector: expected the structure of the parameters, got {shapes[1]}")
    with warnings.catch_warnings():
        # torch compiles its own forward-mode rules on first use, with an interface it deprecates
        warnings.filterwarnings("ignore", ".*torch.jit.script", DeprecationWarning)
        point = {name: value.detach() for name, value in params.items()}
        reverse = torch.func.grad(lambda point: loss_fn(point).sum())
        return torch.func.jvp(reverse, (point,), (dict(vector),))[1]


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
        raise ValueError(f"probes: expected at least 1, got {probes}")
    numbers, columns = layers(params), []
    many = {k: v.detach().repeat(probes, *[1] * (v.ndim - 1)) for k, v in params.items()}
    for number in numbers:
        vector = {
            k: torch.from_numpy(rng.choice((-1.0, 1.0), size=tuple(v.shape))).to(v.dtype)
            if layer_of(k) == number
            else torch.zeros_like(v)
            for k, v in many.items()
        }
        products = hvp(loss_fn, many, vector)
        columns.append(layer_dots(products, products).unflatten(0, (probes, -1)).mean(0))
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
    diagonal = norms.diagonal(dim1=1, dim2=2)
    return (norms / (diagonal[:, :, None] * diagonal[:, None, :]).sqrt()).sqrt()


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
    shapes = {name: value.shape for name, value in params.items()}
    counts = [shape.numel() for shape in shapes.values()]
    if any(shape[0] != 1 for shape in shapes.values()):
        raise ValueError("params: expected one network, leading axis 1; several would mix")
    if any(value.dtype != torch.float64 for value in params.values()):
        raise ValueError("params: expected float64; in float32 the small end is rounding")
    n = sum(counts)
    if not 1 <= k < n:
        raise ValueError(f"k: expected 1 to {n - 1} of {n} eigenvalues, got {k}")

    def product(flat: Any) -> np.ndarray:
        rows = torch.from_numpy(np.array(flat, dtype=np.float64).ravel()).split(counts)
        vector = {name: part.view(shapes[name]) for name, part in zip(shapes, rows, strict=True)}
        products = hvp(loss_fn, params, vector)
        return torch.cat([products[name].flatten() for name in shapes]).numpy()

    operator: Any = LinearOperator
    hessian = operator((n, n), matvec=product, dtype=np.float64)
    options: Any = {"k": k, "v0": np.random.default_rng(0).standard_normal(n), "tol": tol}
    low, high = (
        np.sort(eigsh(hessian, which=end, return_eigenvectors=False, **options))
        for end in ("SA", "LA")
    )
    return Extremes(low, high[::-1])


# The survey


def states(bench: Bench, name: str, depth: int, steps: int) -> Iterator[tuple[str, Problem]]:
    """An arm with one batch a seed: at its start, and after full-batch steps on that batch."""
    at = bench.start(name, depth)
    yield "start", at
    yield "trained", at._replace(arm=replace(at.arm, params=interactions.descend(at, steps=steps)))


def survey_blocks(
    bench: Bench, names: Sequence[str], depth: int, steps: int, probes: int
) -> tuple[pd.DataFrame, dict[tuple[str, str], np.ndarray]]:
    """One row an arm, state and seed; and the median over seeds of the block norms, (L, L).

    diag, off: norms of the block-diagonal part and of the rest.  share: off^2 / (diag^2 + off^2),
    "iid" its value without structure.  coupling: of pairs of layers, the mean.
    scaled: the off-diagonal norm with ||W_i|| ||H_ij|| ||W_j|| in place of ||H_ij||.
    """
    off = lambda blocks: blocks.sum((1, 2)) - blocks.diagonal(dim1=1, dim2=2).sum(1)  # noqa: E731
    frames, maps = [], {}
    for name in names:
        for state, at in states(bench, name, depth, steps):
            params, rng = at.arm.params, np.random.default_rng(0)
            squares = block_norms(at.loss, params, probes=probes, rng=rng)
            weights = [params[f"W{i}"].flatten(1).norm(dim=1) for i in interactions.layers(params)]
            weight = torch.stack(weights, 1).square()
            where = {"arm": name, "state": state, "seed": list(bench.seeds)}
            values = {
                "iid": iid_share(params),
                "loss": at.loss(params),
                "diag": (squares.sum((1, 2)) - off(squares)).sqrt(),
                "off": off(squares).sqrt(),
                "share": 1 - diagonal_share(squares),
                "coupling": off(coupling(squares)) / (depth * (depth - 1)),
                "scaled": off(squares * weight[:, :, None] * weight[:, None, :]).sqrt(),
            }
            frames.append(pd.DataFrame({**where, **values}))
            maps[name, state] = squares.sqrt().median(0).values.numpy()
    return pd.concat(frames, ignore_index=True), maps


def spectrum_ends(bench: Bench, names: Sequence[str], depth: int, steps: int) -> pd.DataFrame:
    """Lowest and highest eigenvalue of the Hessian: one row an arm, state and seed."""
    rows = []
    for name in names:
        for state, at in states(bench, name, depth, steps):
            for place, seed in enumerate(bench.seeds):
                single = alone(at, place)
                ends = extreme_eigenvalues(single.loss, single.arm.params, tol=1e-4)
                rows.append((name, state, seed, ends.low[0], ends.high[0]))
    return pd.DataFrame(rows, columns=["arm", "state", "seed", "lowest", "highest"])


def alone(at: Problem, place: int) -> Problem:
    """Network number `place` of a problem."""
    pick = slice(place, place + 1)
    return Problem(at.arm.each(lambda value: value[pick]), at.x[pick], at.y[pick])
