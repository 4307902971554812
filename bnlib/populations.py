"""Six standardized populations of rows, and the expected batch standard deviation of each.

Every population has mean 0 and variance 1. The expectation of s_m, the root of the biased variance
of m rows, is computed by quadrature and not by drawing, so that drawing can be held against it.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.integrate import simpson
from scipy.special import erfc, erfcx

Near = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Population(NamedTuple):
    """One law of a row x with mean 0 and variance 1.

    kurtosis: E[x^4].  draw(rng, shape) gives independent rows.  near(u, a) = E[exp(-u (x - a)^2)].
    atoms: probabilities of single values.  center, width, high: the quadrature takes steps of
    about 0.03 (|a - center| + width) and stops at u = high, where batches are equal or far apart.
    """

    kurtosis: float
    draw: Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]
    near: Near
    atoms: tuple[float, ...] = ()
    center: float = 0.0
    width: float = 1.0
    high: float = 1e10

    def tied(self, m: int) -> float:
        """P(s_m = 0): all m rows are equal, which only atoms allow."""
        return sum(p**m for p in self.atoms)

    def expected_std(self, m: int) -> float:
        """E[s_m] for m independent rows, in units of the standard deviation of a row.

            exp(-u m s^2) = sqrt(m u / pi) int exp(-u sum_i (x_i - a)^2) da
            sqrt(q) = 1 / (2 sqrt(pi)) int_0^inf (1 - exp(-u q)) u^(-3/2) du,    q = m s^2

        Taking expectations turns the first right side into sqrt(m u / pi) int near(u, a)^m da,
        because the rows are independent; nothing else about the population is needed.
        Accurate to 2e-6 where an atom borders on a density, else better.
        Raises ValueError for m < 2.
        """
        if m < 2:
            raise ValueError(f"expected m >= 2 rows for a spread, got {m}")
        low = 1e-5 / m  # below it one Taylor term is enough
        w = np.linspace(np.log(low), np.log(self.high), 161)
        edge = np.arcsinh(1e4 / self.width)
        t = np.linspace(-edge, edge, 1201)
        a = self.center + self.width * np.sinh(t)
        inner = self.near(np.exp(w)[:, None], a[None]) ** m * np.cosh(t)
        phi = np.exp(w / 2) * inner.sum(axis=1) * self.width * (t[1] - t[0]) * np.sqrt(m / np.pi)
        body = simpson((1 - phi) * np.exp(-w / 2), x=w)
        # Beyond `high`, phi falls to P(s = 0) at most as slowly as u^(-1/2), the case m = 2.
        beyond = (2 * (1 - self.tied(m)) - (phi[-1] - self.tied(m))) / np.sqrt(self.high)
        return float((body + 2 * (m - 1) * np.sqrt(low) + beyond) / (2 * np.sqrt(np.pi * m)))


def _normal_near(u: np.ndarray, a: np.ndarray) -> np.ndarray:
    return np.exp(-u * a**2 / (1 + 2 * u)) / np.sqrt(1 + 2 * u)


def _uniform_near(u: np.ndarray, a: np.ndarray) -> np.ndarray:
    """Between -sqrt(3) and sqrt(3); even in a, so only the side without cancellation is used."""
    root, a = np.sqrt(u), np.abs(a)
    mass = erfc(root * (a - np.sqrt(3))) - erfc(root * (a + np.sqrt(3)))
    return np.sqrt(np.pi / u) * mass / (4 * np.sqrt(3))


def _tail_near(u: np.ndarray, a: np.ndarray, rate: float | np.ndarray) -> np.ndarray:
    """int_0^inf exp(-rate x - u (x - a)^2) dx without overflow at either end."""
    root = np.sqrt(u)
    z = rate / (2 * root) - root * a
    inside = np.exp(-u * a**2) * erfcx(np.maximum(z, 0))
    beyond = np.exp(np.minimum(rate * (rate / (4 * u) - a), 0)) * erfc(np.minimum(z, 0))
    return np.sqrt(np.pi / u) / 2 * np.where(z >= 0, inside, beyond)


def _laplace_near(u: np.ndarray, a: np.ndarray) -> np.ndarray:
    rate = np.sqrt(2)
    return (_tail_near(u, a, rate) + _tail_near(u, -a, rate)) * rate / 2


def _two_point_near(u: np.ndarray, a: np.ndarray) -> np.ndarray:
    return (np.exp(-u * (a - 1) ** 2) + np.exp(-u * (a + 1) ** 2)) / 2


# max(z, 0) of a standard normal z: E r = 1/sqrt(2 pi), E r^2 = 1/2, E r^3 = 2 E r, E r^4 = 3/2.
_RELU_MEAN = 1 / np.sqrt(2 * np.pi)
_RELU_STD = np.sqrt(0.5 - _RELU_MEAN**2)
_RELU_FOURTH = 1.5 - 8 * _RELU_MEAN**2 + 3 * _RELU_MEAN**2 - 3 * _RELU_MEAN**4


def _relu_near(u: np.ndarray, a: np.ndarray) -> np.ndarray:
    """The atom at zero, and the upper half of a normal: a Gaussian integral over z > 0."""
    v, b = u / _RELU_STD**2, a * _RELU_STD + _RELU_MEAN  # in units of r
    width = np.sqrt(1 + 2 * v)
    half = np.exp(-v * b**2 / (1 + 2 * v)) * erfc(-np.sqrt(2) * v * b / width) / (2 * width)
    return np.exp(-v * b**2) / 2 + half


def _student_near(u: np.ndarray, a: np.ndarray) -> np.ndarray:
    """t with 5 degrees of freedom: a normal of random variance 3 / chi^2_5, summed in log chi^2."""
    log_chi = np.linspace(-8, 4.5, 41)
    weight = np.exp(2.5 * log_chi - np.exp(log_chi) / 2)
    weight /= weight.sum()
    total = np.zeros(np.broadcast_shapes(u.shape, a.shape))
    for p, variance in zip(weight, 3 * np.exp(-log_chi), strict=True):
        spread = 1 + 2 * u * variance
        total += p / np.sqrt(spread) * np.exp(-u * a**2 / spread)
    return total


POPULATIONS = {
    "Gaussian": Population(3.0, lambda rng, shape: rng.standard_normal(shape), _normal_near),
    "uniform": Population(
        1.8, lambda rng, shape: rng.uniform(-np.sqrt(3), np.sqrt(3), shape), _uniform_near
    ),
    "Laplace": Population(
        6.0, lambda rng, shape: rng.laplace(0, np.sqrt(0.5), shape), _laplace_near
    ),
    "ReLU(Gaussian)": Population(
        float(_RELU_FOURTH / _RELU_STD**4),
        lambda rng, shape: (np.maximum(rng.standard_normal(shape), 0) - _RELU_MEAN) / _RELU_STD,
        _relu_near,
        atoms=(0.5,),
        center=float(-_RELU_MEAN / _RELU_STD),
        width=1e-3,
    ),
    "two-point": Population(
        1.0,
        lambda rng, shape: rng.integers(0, 2, shape) * 2.0 - 1,
        _two_point_near,
        atoms=(0.5, 0.5),
        high=100.0,
    ),
    "Student t5": Population(
        9.0, lambda rng, shape: rng.standard_t(5, shape) * np.sqrt(0.6), _student_near
    ),
}
