"""Experiment G: what the usual proxies say about a quadratic, where the truth is known.

    L(theta) = theta.H theta / 2,   gradient H theta,   SGD sees  H theta + noise

Its smoothness is lambda_max, along the gradient ||H g||/||g||, the same for every rate and noise.
Its "layers" are blocks of theta; "activations" are X theta_1 of a fixed batch X.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

LAYERS, UNITS, ROWS = 4, 5, 64

PROXIES = {
    "consecutive": "difference of consecutive training gradients",
    "band": "band of the loss over trajectories of several rates",
    "gradient": "gradient norm",
    "undivided": "gradient difference, not divided by the distance",
    "drift": "quantile drift of activations",
    "all moved": "gradient difference after all layers moved",
}
TRUTHS = {
    "largest": "largest eigenvalue",
    "along": "gradient difference / distance, along the gradient",
    "shift": "gradient difference after the layers below moved",
}


class Bowl(NamedTuple):
    """A quadratic: H (P, P) and a start."""

    hessian: np.ndarray
    start: np.ndarray

    def loss(self, theta: np.ndarray) -> float:
        return float(theta @ self.hessian @ theta / 2)


def bowl(rng: np.random.Generator, *, coupled: bool = True, factor: float = 1.0) -> Bowl:
    """Eigenvalues from 1/20 to 1, times a factor; without coupling each block has its own basis."""
    n, size = LAYERS * UNITS, UNITS
    values = factor * np.geomspace(0.05, 1.0, n)
    if coupled:
        basis = np.linalg.qr(rng.standard_normal((n, n)))[0]
        hessian = basis @ np.diag(values) @ basis.T
    else:
        hessian = np.zeros((n, n))
        for layer in range(LAYERS):
            part = slice(layer * size, (layer + 1) * size)
            basis = np.linalg.qr(rng.standard_normal((size, size)))[0]
            hessian[part, part] = basis @ np.diag(values[layer::LAYERS]) @ basis.T
    return Bowl((hessian + hessian.T) / 2, rng.standard_normal(n))


def descend(at: Bowl, rate: float, noise: float, steps: int, seed: int) -> tuple[np.ndarray, ...]:
    """Points (T+1, P) and seen gradients (T, P) of SGD with normal noise of norm about `noise`."""
    rng, points, seen = np.random.default_rng(seed), [at.start], []
    for _ in range(steps):
        error = rng.standard_normal(len(at.start)) * noise / np.sqrt(len(at.start))
        seen.append(at.hessian @ points[-1] + error)
        points.append(points[-1] - rate * seen[-1])
    return np.array(points), np.array(seen)


def _strict_lower(h: np.ndarray) -> np.ndarray:
    layer = np.arange(len(h)) // UNITS
    return np.where(layer[:, None] > layer[None], h, 0.0)


def measures(
    at: Bowl, rate: float, noise: float, *, steps: int, seed: int, others: Sequence[float]
) -> dict[str, float]:
    """Every proxy and every truth of one run.

    The first three and the drift are means over the run, as reproductions take them; the others
    belong to its start.  others: the rates whose trajectories make the band.
    """
    points, seen = descend(at, rate, noise, steps, seed)
    g = at.hessian @ at.start
    size, bent = np.linalg.norm(g), np.linalg.norm(at.hessian @ g)
    runs = [descend(at, r, noise, steps, seed)[0] for r in (rate, *others)]
    losses = [[at.loss(theta) for theta in run] for run in runs]
    x = np.random.default_rng(seed).standard_normal((ROWS, UNITS))
    quantiles = np.quantile(points[:, :UNITS] @ x.T, (0.15, 0.5, 0.85), axis=1).T
    found = {
        "consecutive": np.linalg.norm(np.diff(seen, axis=0), axis=1).mean(),
        "band": np.ptp(losses, axis=0).mean(),
        "gradient": np.linalg.norm(seen, axis=1).mean(),
        "undivided": rate * bent,
        "drift": np.abs(np.diff(quantiles, axis=0)).mean(),
        "all moved": rate * bent,
        "largest": np.linalg.eigvalsh(at.hessian)[-1],
        "along": bent / size,
        "shift": rate * np.linalg.norm(_strict_lower(at.hessian) @ g),
    }
    return {name: float(value) for name, value in found.items()}


def table(
    rates: Sequence[float], noises: Sequence[float], *, steps: int = 40, seeds: int = 5
) -> pd.DataFrame:
    """One row a measure: by what factor it changes when something changes, median over seeds.

    noise: from the least to the largest noise, at the least rate.  rate: from the least to the
    largest rate, without noise.  start: twice as far from the minimum.  2 H: twice the Hessian at
    half the rate, so that the path is the same.  uncoupled: to a block-diagonal Hessian.
    """
    columns: dict[str, list[dict[str, float]]] = {}
    for seed in range(seeds):
        plain, twice, apart = (
            bowl(np.random.default_rng(seed), coupled=coupled, factor=factor)
            for coupled, factor in ((True, 1.0), (True, 2.0), (False, 1.0))
        )
        far = plain._replace(start=2 * plain.start)

        def one(
            of: Bowl, rate: float = rates[0], noise: float = 0.0, scale: float = 1.0, seed=seed
        ) -> dict[str, float]:
            others = [scale * r for r in rates]
            return measures(of, scale * rate, noise, steps=steps, seed=seed, others=others)

        base = one(plain)
        runs = {
            "noise": (one(plain, noise=noises[-1]), one(plain, noise=noises[0])),
            "rate": (one(plain, rate=rates[-1]), base),
            "start": (one(far), base),
            "2 H": (one(twice, scale=0.5), base),
            "uncoupled": (one(apart), base),
        }
        for name, (new, old) in runs.items():
            ratio = {key: new[key] / old[key] for key in new}
            columns.setdefault(name, []).append(ratio)
    return pd.DataFrame({name: pd.DataFrame(rows).median() for name, rows in columns.items()})
