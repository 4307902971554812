"""Laws of the batches chapter, and what they are held against: no network is trained here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy import stats
from torch import Tensor

from bnlib import identity
from bnlib.networks.seed_batched import SeedBatchedMLP
from bnlib.networks.spec import Spec
from bnlib.statistics import mean_interval
from bnlib.verdicts import simultaneous

if TYPE_CHECKING:
    from bnlib.chapters.batches import Settings

LAW_LEVEL = 0.999  # a law that is proved must not fail by chance
CHANNELS = GROUPS = 64  # of the leak


def moving_drift(a: float, step: float, target: float) -> tuple[float, float]:
    """Where y comes to rest, and how far b still moves at every step.

        y* = (1 - a) step T / (a + step (1 - a))        drift = step a T / (a + step (1 - a))

    Of the toy y = b - r, r <- (1 - a) r + a b (then used), loss (y - T)^2 / 2.
    """
    speed = step * target / (a + step * (1 - a))
    return (1 - a) * speed, a * speed


def accumulated_error(parts_std: Any, total_std: Any) -> Any:
    """Mean square of x_hat (accumulated) - x_hat (one batch): 2 (1 - mean_j s_j / s).

    parts_std: (k, ...) of k equal parts; total_std: (...) of all rows.  Exact for any data.
    """
    return 2 * (1 - parts_std.mean(0) / total_std)


def padded_moments(p: float, delta: Any) -> tuple[Any, Any]:
    """Mean and standard deviation of the normalized real rows beside a share p of constant rows.

    p delta / k,  1 / k,  k = sqrt((1 - p) (1 + p delta^2))        delta = (mu - c) / sigma
    """
    k = ((1 - p) * (1 + p * delta**2)) ** 0.5
    return p * delta / k, 1 / k


def padding_constants(gamma: Any, beta: Any, p: float, delta: Any) -> tuple[Any, Any]:
    """The scale and shift that give the unpadded layer back: gamma k, beta - gamma p delta."""
    return gamma / padded_moments(p, delta)[1], beta - gamma * p * delta


def dropout_variance(weights: Tensor, squares: Tensor, keep: float) -> Tensor:
    """By how much inverted dropout raises Var(W h): (1 / keep - 1) sum_j w_j^2 E h_j^2.

    weights: (S, k, c); squares: E h^2 (S, c).  (S, k).  Evaluation drops nothing and has less.
    """
    return (1 / keep - 1) * (weights.square() @ squares.unsqueeze(2)).squeeze(2)


def leak_bits(n: int, channels: int) -> float:
    """What removing the mean of n Gaussian rows tells of a row: -(C / 2) log2(1 - 1 / n^2) bits."""
    return float(-channels / 2 * np.log2(1 - 1 / n**2))


def leak_correlation(n: int) -> float:
    """Correlation in a channel of two views of a row under batch norm: E[E[x_hat | mates]^2].

        x_hat = sqrt(n - 1) t / sqrt(1 + t^2),   t = sqrt(1 - 1 / n) (x - y) / s

    y ~ N(0, 1 / (n - 1)): mean of the n - 1 mates, Gaussian; s^2 ~ chi^2_{n - 2}: their squares
    around it.  By quadrature, eps = 0.  Consequence: 1/3 at n = 2, where only signs are left.
    """
    nodes, weights = np.polynomial.legendre.leggauss(200)
    u, du = (nodes + 1) / 2, weights / 2
    y, dy = np.polynomial.hermite_e.hermegauss(60)
    y, dy = y[:, None] / np.sqrt(n - 1), dy / dy.sum()
    d, top = 14 * u**3, np.sqrt(n - 2) + 7  # d = |x - y|; powers put nodes near 0, as for s
    s, ds = top * u**2, stats.chi.pdf(top * u**2, max(n - 2, 1)) * 2 * top * u * du
    if n == 2:
        s, ds = np.zeros(1), np.ones(1)
    t = np.sqrt(1 - 1 / n) * d[:, None]
    odd = (stats.norm.pdf(y + d) - stats.norm.pdf(y - d)) * 42 * u**2 * du
    means = odd @ (np.sqrt(n - 1) * t / np.hypot(s, t))
    return float(dy @ means**2 @ ds)


def sign_match_accuracy(channels: int, candidates: int) -> float:
    """How often most equal signs point at the right candidate, at n = 2; ties share the point.

    P = sum_j b(j; C, 2/3) (F(j)^K - F(j - 1)^K) / (K f(j)),   F, f of Bin(C, 1/2)
    """
    j = np.arange(channels + 1)
    below = stats.binom.cdf(j, channels, 0.5) ** candidates
    best = np.diff(below, prepend=0.0) / (candidates * stats.binom.pmf(j, channels, 0.5))
    return float((stats.binom.pmf(j, channels, 2 / 3) * best).sum())


def toy_errors(steps: int) -> tuple[float, float, pd.DataFrame]:
    """Largest errors of drift and vanishing time; the drift by weight a, law and recursion."""
    lines, step, target = {}, 0.1, 1.0
    for a in (0.0, 0.01, 0.1, 1.0):
        b, r, before = 0.0, 0.0, 0.0
        for _ in range(steps):
            r = (1 - a) * r + a * b
            before, b = b, b - step * (b - r - target)
        fixed, drift = moving_drift(a, step, target)
        y = before - r
        lines[a] = {"y*": fixed, "y": y, "drift": drift, "b moves": b - before}
    table = pd.DataFrame.from_dict(lines, orient="index").rename_axis("a")
    error = max(np.abs(table["y*"] - table.y).max(), np.abs(table.drift - table["b moves"]).max())
    late = []
    for step in (0.01, 0.003):
        w, count = 1.0, 0
        while w > 0:
            w, count = w - step * 0.5 / w, count + 1  # T = 1/2, a = 1, start at 1
        late.append(abs(count * step - 1) / 1)  # the law: w0^2 / (2 step (1 - T)) = 1 / step
    return float(error), max(late), table


def radial(seeds: int) -> tuple[float, float]:
    """Largest relative errors of w dw = gamma dgamma + gamma mu_r / sqrt(v_r) dbeta, and of 0.

    The first with moving statistics as constants; the second with batch statistics and with
    renormalization, whose gradient is rJ.
    """
    identity_error = zero = 0.0
    for seed in range(seeds):
        g = torch.Generator().manual_seed(seed)

        def draw(*shape: int, of: torch.Generator = g) -> Tensor:
            return torch.randn(shape, generator=of, dtype=torch.float64)

        h, w, mu, dy = draw(32, 7), draw(7), draw(), draw(32)
        var = 1 + draw() ** 2
        for kind in ("ema", "batch", "renorm"):
            weight = w.clone().requires_grad_()
            gamma, beta = (
                torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (1.3, 0.2)
            )
            z = h @ weight
            y = gamma * normalized(kind, z, mu, var, 0.0) + beta
            dw, dgamma, dbeta = torch.autograd.grad((dy * y).sum(), (weight, gamma, beta))
            gamma = gamma.detach()
            size = float(w.norm() * dw.norm())
            if kind == "ema":
                want = gamma * dgamma + gamma * mu / var**0.5 * dbeta
                identity_error = max(identity_error, abs(float(w @ dw - want)) / size)
            else:
                zero = max(zero, abs(float(w @ dw)) / size)
    return identity_error, zero


def normalized(kind: str, z: Tensor, mean: Any, var: Any, eps: float) -> Tensor:
    """z over axis -2 (or its only one) normalized, statistics as `kind` has them.

    batch    by those of the rows
    ema      by the given mean and var, constants
    renorm   the same values: r x_hat + d, with r = s / sqrt(var), d = (x_mean - mean) / sqrt(var)
             held constant, so that the gradient is r times that of batch normalization
    """
    if kind == "ema":
        return (z - mean) / (var + eps) ** 0.5
    axis = 0 if z.ndim == 1 else -2
    x_mean = z.mean(axis, keepdim=True)
    spread = ((z - x_mean).square().mean(axis, keepdim=True) + eps) ** 0.5
    x_hat = (z - x_mean) / spread
    if kind == "batch":
        return x_hat
    root = (var + eps) ** 0.5
    return x_hat * (spread / root).detach() + ((x_mean - mean) / root).detach()


def _normalized_batches(given: Settings, part: int, m: int) -> tuple[np.ndarray, np.ndarray]:
    """So many Gaussian batches (m, draws), and their normalized values."""
    x = np.random.default_rng([given.seed, part, m]).normal(size=(m, given.draws))
    return x, (x - x.mean(0)) / x.std(0)


def evaluation_maps(given: Settings) -> Any:
    """E(z - f)^2 of the four maps by batch size: law, and simultaneous interval."""
    grid = np.linspace(-7, 7, 1401)
    level = simultaneous(4 * len(given.law_sizes), LAW_LEVEL)
    lines = []
    for m in given.law_sizes:
        x, z = _normalized_batches(given, 21, m)
        best = np.interp(x, grid, identity.conditional_map(grid, m))
        maps = x, identity.expected_batch_std(m) * x, identity.weighed(x, 1 / m), best
        for (name, law), f in zip(
            identity.evaluation_errors(m)._asdict().items(), maps, strict=True
        ):
            measured = mean_interval(((z - f) ** 2).mean(0), level)
            lines.append({"m": m, "map": name, "law": law, **measured._asdict()})
    return pd.DataFrame(lines)


def conditional_means(given: Settings) -> dict[int, tuple[np.ndarray, ...]]:
    """Grid, h_m, and what was measured: centers of bins of x and the mean of x_hat in them."""
    grid, edges, means = np.linspace(-3, 3, 121), np.linspace(-2.75, 2.75, 12), {}
    centers = (edges[1:] + edges[:-1]) / 2
    sizes = given.law_sizes
    for m in sorted({sizes[0], sizes[len(sizes) // 3], sizes[-1]}):
        x, z = _normalized_batches(given, 22, m)
        at = np.digitize(x.ravel(), edges)
        measured = np.array([z.ravel()[at == k].mean() for k in range(1, 12)])
        means[m] = grid, identity.conditional_map(grid, m), centers, measured
    return means


class Padding(NamedTuple):
    """law, absorbed: largest errors of the law and of the absorbing constants; other: by how much
    the same constants miss at another share; lines: (p, delta, mean, sd) of every channel."""

    law: float
    absorbed: float
    other: float
    lines: np.ndarray


def padding(z: np.ndarray, shares: list[float]) -> Padding:
    """z (n, c): inputs of a trained layer's norm, padded with rows of zeros; eps = 0."""
    n, errors, lines = len(z), {"law": [], "absorbed": [], "other": []}, []
    mu, sigma = z.mean(0), z.std(0)
    delta, clean = mu / sigma, (z - mu) / sigma
    for share in shares:
        empty = round(n * share / (1 - share))
        p = empty / (n + empty)
        gamma, beta = padding_constants(1.0, 0.0, p, delta)
        padded, more = (_among_zeros(z, rows) for rows in (empty, empty + n // 10))
        mean, std = padded.mean(0), padded.std(0)
        for law, measured in zip(padded_moments(p, delta), (mean, std), strict=True):
            errors["law"].append(np.abs(law - measured).max())
        errors["absorbed"].append(np.abs(gamma * padded + beta - clean).max())
        errors["other"].append(np.abs(gamma * more + beta - clean).max())
        lines.append(np.column_stack([np.full_like(delta, p), delta, mean, std]))
    largest = {name: float(max(gaps)) for name, gaps in errors.items()}
    return Padding(**largest, lines=np.concatenate(lines))


def _among_zeros(z: np.ndarray, empty: int) -> np.ndarray:
    """The real rows normalized by the statistics of theirs and so many rows of zeros."""
    rows = np.concatenate([z, np.zeros((empty, z.shape[1]))])
    return (z - rows.mean(0)) / rows.std(0)


def generator_gradients(seeds: int) -> dict[str, np.ndarray]:
    """Largest gradient for shift t and scale s of fakes t + s u, a seed each: alone, or together.

    The critic has two BN layers, eps = 0; relative to the gradient for the fakes themselves.
    """
    net = SeedBatchedMLP(Spec((8, 16, 16, 1), "tanh", eps=0.0), range(seeds))
    g = torch.Generator().manual_seed(7)
    u, real = (torch.randn(seeds, 32, 8, generator=g, dtype=torch.float64) for _ in range(2))
    gradients = {}
    for kind in ("alone", "together"):
        t = torch.randn(seeds, 1, 8, generator=g, dtype=torch.float64).requires_grad_()
        s = torch.full((seeds, 1, 1), 0.7, dtype=torch.float64).requires_grad_()
        fakes = t + s * u
        rows = fakes if kind == "alone" else torch.cat([fakes, real], 1)
        loss = net.forward(net.params, rows)[:, :32].tanh().sum()
        grads = torch.autograd.grad(loss, (t, s, fakes))
        size = grads[2].abs().sum((1, 2))
        largest = torch.maximum(grads[0].abs().amax((1, 2)), grads[1].abs().amax((1, 2)))
        gradients[kind] = (largest / size).numpy()
    return gradients


NORMALS = {"mean only": "mean", "batch norm": "batch", "layer norm": "row", "none": "none"}


def _normal(kind: str, x: np.ndarray, axes: Any) -> np.ndarray:
    """x (K, N, C) without its mean over `axes`, and divided by its deviation for full norms."""
    if kind == "none":
        return x
    axes = 2 if kind == "row" else axes
    centered = x - x.mean(axes, keepdims=True)
    return centered if kind == "mean" else centered / x.std(axes, keepdims=True)


def _in_batch(rng: np.random.Generator, n: int) -> dict[str, tuple[np.ndarray, np.ndarray, float]]:
    """One round of K groups of n rows: query and key of row 0, and the variance left in it."""
    views, order = _views(rng, n), rng.permutation(GROUPS * n)
    mixed = views[1].reshape(-1, CHANNELS)[order].reshape(views[1].shape)
    place = np.argsort(order)[np.arange(GROUPS) * n]
    pairs = {}
    for arm, kind in NORMALS.items():
        query, key = (_normal(kind, view, 1)[:, 0] for view in views)
        pairs[arm] = query, key, 1 - 1 / n if kind == "mean" else 1.0
    query, key = (_normal("batch", view, (0, 1))[:, 0] for view in views)
    pairs["synchronized"] = query, key, 1.0
    key = _normal("batch", mixed, 1).reshape(-1, CHANNELS)[place]
    pairs["shuffled"] = _normal("batch", views[0], 1)[:, 0], key, 1.0
    return pairs


def _with_queue(
    rng: np.random.Generator, m: int
) -> dict[str, tuple[np.ndarray, np.ndarray, float]]:
    """The same where every key comes with a batch of its own: m rows, or any two of them."""
    views = _views(rng, m)
    query, key = (_normal("mean", view, 1)[:, 0] for view in views)
    mate = views[1][np.arange(GROUPS), rng.integers(1, m, GROUPS)]
    pair = (views[0][:, 0] - views[0][:, 1]) / 2, (views[1][:, 0] - mate) / 2
    return {"synchronized": (query, key, 1 - 1 / m), "shuffled": (*pair, 1 / 2)}


def _views(rng: np.random.Generator, n: int) -> list[np.ndarray]:
    """Two views (K, n, C): row 0 is independent noise in each, its companions are the same."""
    mates = rng.normal(size=(GROUPS, n - 1, CHANNELS))
    return [np.concatenate([rng.normal(size=(GROUPS, 1, CHANNELS)), mates], 1) for _ in range(2)]


def _correlation_law(arm: str, rows: int, negatives: str) -> float:
    """What the correlation of an arm should be; NaN where no law is derived."""
    if (arm, negatives) == ("batch norm", "batch"):
        return leak_correlation(rows)
    apart = {"layer norm batch": 0.0, "none batch": 0.0, "shuffled queue": 0.5 / max(rows - 1, 1)}
    shared = {"mean only batch": 1 / rows, "synchronized queue": 1 / rows}
    return (apart | shared).get(f"{arm} {negatives}", np.nan)


def leak(given: Settings) -> Any:
    """Accuracy of finding the probe's other view, and correlation of its channels, by arm and N.

    law: of the correlation.
    """
    rng, rounds = np.random.default_rng([given.seed, 31]), {}
    cases = [(_in_batch, "batch", n) for n in given.group_sizes]
    cases += [(_with_queue, "queue", m) for m in given.queue_sizes]
    for draw, negatives, rows in cases:
        for _ in range(given.rounds):
            for arm, (query, key, variance) in draw(rng, rows).items():
                seen = _share_matched(query, key), float((query * key).mean() / variance)
                rounds.setdefault((arm, rows, negatives), []).append(seen)
    level = simultaneous(2 * len(rounds), LAW_LEVEL)
    lines = []
    for (arm, rows, negatives), seen in rounds.items():
        line: dict[str, Any] = {"arm": arm, "rows": rows, "negatives": negatives}
        line["law"] = _correlation_law(arm, rows, negatives)
        for name, values in zip(("accuracy", "correlation"), np.transpose(seen), strict=True):
            measured = mean_interval(values, level)
            line |= {name: measured.estimate}
            line |= {f"{name} low": measured.low, f"{name} high": measured.high}
        lines.append(line)
    return pd.DataFrame(lines)


def _share_matched(query: np.ndarray, keys: np.ndarray) -> float:
    """Share of queries whose largest product is with their own key; ties share the point."""
    products = np.round(query @ keys.T, 9)
    best = products == products.max(1, keepdims=True)
    return float((np.diagonal(best) / best.sum(1)).mean())
