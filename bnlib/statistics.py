"""Intervals, paired differences, fits, shape statistics: thin, on scipy and statsmodels.

The first axis is always the one repeated: seeds, channels or draws. Intervals carry 95 % unless
said otherwise. Randomness comes in as `rng`, so that a page repeats.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import special, stats
from statsmodels.stats.multitest import multipletests

Values = Any  # what np.asarray takes


class Interval(NamedTuple):
    """An estimate between the ends of its interval; floats, or arrays with one entry a column."""

    estimate: Any
    low: Any
    high: Any


class Paired(NamedTuple):
    """Mean difference of pairs, the ends of its t-interval and its two-sided p-value."""

    estimate: Any
    low: Any
    high: Any
    p: Any


def with_ends(interval: Any, form: str) -> str:
    """An estimate with its interval as text, "0.31 [0.20, 0.42]" at the format ".2f"."""
    return f"{interval.estimate:{form}} [{interval.low:{form}}, {interval.high:{form}}]"


def listed(intervals: Mapping[Any, Any], form: str) -> str:
    """Several with their names: "digits 0.31 [0.20, 0.42], mnist1d 0.30 [0.21, 0.39]"."""
    return ", ".join(f"{name} {with_ends(each, form)}" for name, each in intervals.items())


def sign(interval: Any) -> Any:
    """1 or -1 where the interval lies above or below 0, and 0 where it has 0."""
    return np.sign(interval.low) * (np.sign(interval.low) == np.sign(interval.high))


def rows_with(frame: pd.DataFrame, **values: Any) -> pd.DataFrame:
    """The rows of a frame that have these values, or one of those in a list, in these columns."""
    for column, value in values.items():
        listed = value if isinstance(value, list) else [value]
        frame = pd.DataFrame(frame[frame[column].isin(listed)])
    return frame


def relative_gap(got: Any, expected: Any) -> float:
    """Largest difference of two arrays or tensors over the largest expected entry."""
    return float(abs(got - expected).max() / abs(expected).max())


class Shape(NamedTuple):
    """What shifting and stretching leaves alone; floats, or arrays with one entry a column."""

    ks: Any  # largest distance between the sample's distribution function and the fitted normal's
    skew: Any  # 0 for a normal
    excess_kurtosis: Any  # 0 for a normal
    cover1: Any  # share within one standard deviation of the mean; 0.683 for a normal


def mean_interval(a: Values, level: float = 0.95, overlap: float = 0.0) -> Interval:
    """Mean over the first axis with its t-interval.

    a: (s,) or (s, ...).  overlap: test rows over training rows where the s values come from random
    splits of one data set; they share rows, and the mean varies by more than s^2 / n: by
    s^2 (1/n + overlap).  Raises ValueError for s < 2, where the spread is unknown.
    Source: nadeau2003 (overlap).
    """
    a = _sample(a, "a")
    mean = a.mean(axis=0)
    half = stats.t.ppf(0.5 + level / 2, len(a) - 1) * _error(a, overlap)
    return Interval(*map(_float, (mean, mean - half, mean + half)))


def median_interval(a: Values) -> Interval:
    """Median over the first axis with a 95 % interval that asks only for independent values.

    Its ends are the k-th value from below and from above, with the largest k for which the binomial
    law gives 95 % or more. Fewer than six values have no such k: there it is the t-interval.
    """
    a = _sample(a, "a")
    middle, k = _float(np.median(a, axis=0)), int(stats.binom.ppf(0.025, len(a), 0.5))
    if k == 0:
        return mean_interval(a)._replace(estimate=middle)
    ordered = np.sort(a, axis=0)
    return Interval(middle, _float(ordered[k - 1]), _float(ordered[-k]))


def column_medians(wide: pd.DataFrame) -> pd.DataFrame:
    """`median_interval` of every column; and the sign of the interval, 0 if it has 0."""
    rows = pd.DataFrame(median_interval(wide.to_numpy())._asdict(), index=wide.columns)
    return pd.DataFrame(rows.assign(sign=sign(rows)))


def paired_difference(a: Values, b: Values, level: float = 0.95, overlap: float = 0.0) -> Paired:
    """Mean of a - b over pairs (the same seed twice), its t-interval and p-value.

    overlap: as for `mean_interval`, which makes it the corrected resampled t test.
    Where all differences are equal the interval is a point, and p is 1 for 0 and 0 otherwise.
    """
    a, b = _sample(a, "a"), _sample(b, "b")
    if a.shape != b.shape:
        raise ValueError(f"expected pairs, got shapes {a.shape} and {b.shape}; pair them by seed")
    difference, error = mean_interval(a - b, level, overlap), _error(a - b, overlap)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(difference.estimate == 0, 0.0, np.divide(difference.estimate, error))
    return Paired(*difference, _float(2 * stats.t.sf(np.abs(t), len(a) - 1)))


def holm(p: Values) -> np.ndarray:
    """Holm's adjusted p-values, in the order given; they bound the chance of one false finding.

    A test without a result, NaN, stays NaN and counts.  Raises ValueError outside [0, 1].
    """
    p = np.asarray(p, dtype=float)
    if ((p < 0) | (p > 1)).any():
        raise ValueError(f"expected p-values in [0, 1], got {p[(p < 0) | (p > 1)]}")
    return np.asarray(multipletests(p, method="holm")[1])


def varies(a: Values) -> bool:
    """Whether values differ by more than rounding; what does not vary correlates with nothing."""
    a = np.asarray(a, dtype=float)
    return bool(a.size > 1 and np.ptp(a) > 8 * np.finfo(float).eps * np.abs(a).max())


def equivalence_p(a: Values, b: Values, margin: float, overlap: float = 0.0) -> float:
    """The larger p-value of two one-sided t tests: the mean of a - b is not within the margin.

    overlap: as for `mean_interval`.  Raises ValueError for a margin that is not positive: it is
    fixed before the run.
    """
    if not margin > 0:
        raise ValueError(f"expected margin > 0, got {margin}; with none nothing is equivalent")
    difference = _sample(a, "a") - _sample(b, "b")
    to_edge = margin - abs(difference.mean())  # the nearer edge has the larger p-value
    with np.errstate(divide="ignore", invalid="ignore"):
        t = to_edge / _error(difference, overlap)
    return float(stats.t.sf(t, len(difference) - 1))


def equivalent(a: Values, b: Values, margin: float) -> bool:
    """Whether the 90 % interval of the paired difference lies within (-margin, margin).

    This is the pair of one-sided tests at 5 %. Not significant is not equivalent.
    """
    return equivalence_p(a, b, margin) < 0.05


def cluster_bootstrap(
    values: Values,
    clusters: Values,
    statistic: Callable[[np.ndarray], Any],
    *,
    resamples: int = 2000,
    rng: np.random.Generator,
) -> Interval:
    """95 % percentile interval of statistic(values) when whole clusters are resampled.

    Channels of a layer share their inputs: resampling channels would promise too much.
    values: (n,) or (n, ...), clusters: (n,), naming the cluster of each value.  statistic: a number
    or an array; all its entries see the same resamples.
    """
    values, clusters = np.asarray(values), np.asarray(clusters)
    if len(values) != len(clusters):
        raise ValueError(f"expected a cluster per value, got {len(clusters)} for {len(values)}")
    names = np.unique(clusters)
    if (clusters != clusters).any():
        raise ValueError("expected a cluster per value, got NaN for some")
    if len(names) < 2:
        raise ValueError(f"expected at least 2 clusters to resample, got {len(names)}")
    members = [values[clusters == name] for name in names]
    draws = rng.integers(len(names), size=(resamples, len(names)))
    resampled = [statistic(np.concatenate([members[k] for k in draw])) for draw in draws]
    low, high = np.quantile(resampled, [0.5 - 0.95 / 2, 0.5 + 0.95 / 2], axis=0)
    return Interval(*map(_float, (statistic(values), low, high)))


def partial_from(xy: Values, xz: Values, yz: Values) -> Any:
    """The correlation of x and y given z, from the three correlations.

        (r_xy - r_xz r_yz) / sqrt((1 - r_xz^2)(1 - r_yz^2))

    NaN where z orders x or y completely: nothing is left to correlate.
    """
    xy, xz, yz = (np.asarray(r, dtype=float) for r in (xy, xz, yz))
    left = (1 - xz**2) * (1 - yz**2)
    return _float((xy - xz * yz) / np.sqrt(np.where(left > 1e-12, left, np.nan)))


def share_explained(features: np.ndarray, y: np.ndarray) -> float:
    """R^2 of the least-squares fit of y (n,) by the columns of features (n, k) and a constant.

    NaN where y does not vary: there is nothing to explain.
    """
    if not varies(y):
        return np.nan
    design = np.column_stack([np.ones(len(y)), features])
    fit = design @ np.linalg.lstsq(design, y, rcond=1e-12)[0]
    return float(1 - np.mean((y - fit) ** 2) / y.var())


def feature_rank(features: np.ndarray) -> int:
    """Rank of the columns of features (n, k) together with a constant.

    Singular values below 1e-10 of the largest count as zero.
    """
    design = np.column_stack([np.ones(len(features)), features])
    values = np.linalg.svd(design, compute_uv=False)
    return int((values > 1e-10 * values[0]).sum())


def shape(x: Values) -> Shape:
    """Shape statistics of each column against the normal with its mean and biased variance.

        z = (x - mu) / sigma,   ks = max_t |F_n(t) - Phi(t)|,   skew = <z^3>,   <z^4> - 3

    x: (n,) or (n, c).  All four are the same for a x + b, a > 0.
    ks is not Kolmogorov's: mean and variance are fitted. Compare it with `ks_reference`.
    Raises ValueError for a constant column, which has no shape.
    """
    x = np.asarray(x, dtype=float)
    n = len(x)
    z = x - x.mean(axis=0)
    z -= z.mean(axis=0)  # the first mean is rounded; at a large offset it would show
    sigma = np.sqrt((z**2).mean(axis=0))
    if not (sigma > 0).all():
        raise ValueError("expected columns that vary, got a constant one; drop and count such ones")
    z = np.sort(z / sigma, axis=0)
    phi = special.ndtr(z)
    step = (np.arange(n) / n).reshape((n,) + (1,) * (x.ndim - 1))
    ks = np.maximum((step + 1 / n - phi).max(axis=0), (phi - step).max(axis=0))
    moments = (z**3).mean(axis=0), (z**4).mean(axis=0) - 3, (np.abs(z) < 1).mean(axis=0)
    return Shape(*map(_float, (ks, *moments)))


def ks_reference(n: int, replicates: int, rng: np.random.Generator) -> np.ndarray:
    """The `ks` of truly normal samples of n draws, (replicates,) ascending.

    The floor for a measured `ks`: this much comes from drawing alone.
    Source: lilliefors1967.
    """
    return np.sort([shape(rng.standard_normal(n)).ks for _ in range(replicates)])


def _error(a: np.ndarray, overlap: float) -> Any:
    """Standard error of the mean over the first axis; see `mean_interval`."""
    return a.std(axis=0, ddof=1) * np.sqrt(1 / len(a) + overlap)


def _sample(a: Values, name: str) -> np.ndarray:
    a = np.asarray(a, dtype=float)
    if a.ndim == 0 or len(a) < 2:
        raise ValueError(f"{name}: expected 2 repetitions or more along axis 0, got {a.shape}")
    if not np.isfinite(a).all():
        raise ValueError(f"{name}: expected finite values, got {(~np.isfinite(a)).sum()} others")
    return a


def _float(a: Values) -> Any:
    """A plain float where there is one number, so that it can be recorded and printed."""
    return float(a) if np.ndim(a) == 0 else np.asarray(a)
