"""Chains of factors, measured: without normalization, and with it before the last factor.

Scalar chains without normalization have x = 1, target 0 and the squared loss, so that
dL/dw_i = c / w_i with c = y^2; their shares are of all orders from 1 on and lie in [0, 1]. Shares
of matrix chains are in units of the first order and can exceed 1.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy import stats

from bnlib import chains, reference
from bnlib.orders import moebius, noise_floor, order_sums, subset_masks
from bnlib.statistics import Interval, median_interval

if TYPE_CHECKING:
    from bnlib.chapters.chains import Settings

WAYS = ("product", "term by term", "subsets", "interpolation", "forward mode")
ARMS = {"no BN": None, "BN, 0": 0.0, "BN, 1e-5": 1e-5, "BN, 1e-3": 1e-3}


def equal_chain(length: int, weight: float, step: float) -> tuple[np.ndarray, float]:
    """Orders (l+1,) and exact change of a chain of equal factors, x = 1 and dL/dy = 1."""
    factors, grads = np.full(length, weight), weight ** (length - 1.0) * np.ones(length)
    change = weight**length * np.expm1(length * np.log1p(-step * weight ** (length - 2)))
    return chains.chain_orders(factors, grads, 1.0, step=step), float(change)


def gradients(w: np.ndarray) -> np.ndarray:
    """dL/dw_i of scalar chains, (..., l) as w."""
    return w.prod(axis=-1, keepdims=True) ** 2 / w


def by_each_way(w: np.ndarray, moves: np.ndarray, ways: Any = WAYS) -> dict[str, np.ndarray]:
    """The orders of n chains of one depth, w -> w - moves, by each of `WAYS`, (n, l+1) each.

    w, moves: (n, l).  The last three see the chain only as a function to call.
    """
    depth, pairs = w.shape[1], list(zip(w, moves, strict=True))
    factors, slopes = torch.tensor(w), torch.tensor(moves)
    compute: dict[str, Callable[[], Any]] = {
        "product": lambda: chains.chain_orders(w, moves, 1.0, step=1.0),
        "term by term": lambda: [chains.direct_orders(*pair, 1.0, step=1.0) for pair in pairs],
        "subsets": lambda: order_sums(subset_outputs(w, moves), depth).T,
        "interpolation": lambda: (
            chains.interpolated_orders(lambda s: (w - s * moves).prod(axis=-1), depth).T
        ),
        "forward mode": lambda: (
            chains.jvp_orders(
                lambda s: functools.reduce(operator.mul, (factors - s * slopes).unbind(-1)), depth
            ).T
        ),
    }
    return {way: np.asarray(compute[way]()) for way in ways}


def subset_outputs(w: np.ndarray, moves: np.ndarray) -> np.ndarray:
    """The output with the factors of each subset moved, w - moves: (n, l) -> (2^l, n)."""
    return np.where(subset_masks(w.shape[1])[:, None, :], w - moves, w).prod(axis=-1)


def agreement(
    lengths: Sequence[int], draws: int, rng: np.random.Generator, *, step: float
) -> tuple[pd.DataFrame, float]:
    """Differences to "term by term", a row each length, a column each way; smallest |T_k|.

    Differences in units of the largest coefficient of the chain, worst of `draws` chains with
    weights N(1, 0.3^2). The smallest is over all orders from 1 on, chains and lengths.
    """
    rows, least = {}, np.inf
    for length in lengths:
        w = rng.normal(1.0, 0.3, (draws, length))
        orders = by_each_way(w, step * gradients(w))
        direct = orders["term by term"]
        largest = np.abs(direct).max(axis=1, keepdims=True)
        rows[length] = {way: (np.abs(v - direct) / largest).max() for way, v in orders.items()}
        least = min(least, float(np.abs(direct[:, 1:]).min()))
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("factors"), least


def errors_of_ways(w: np.ndarray, *, step: float) -> dict[str, np.ndarray]:
    """Relative error of four ways for one chain, order by order, and two predictions, (l+1,) each.

    w: (l,).  The truth is the same product in exact fractions. Forward mode is left out: at 16
    factors it would not end. Keys: the ways, and "subsets, bound", "interpolation, bound".
    """
    depth, moves = len(w), step * gradients(w)
    truth = [Fraction(1)]
    for factor, move in zip(map(Fraction, w), map(Fraction, moves), strict=True):
        kept, moved = [t * factor for t in truth], [t * move for t in truth]
        truth = [kept[0], *map(operator.sub, kept[1:], moved[:-1]), -moved[-1]]
    size = np.array([abs(float(t)) for t in truth])
    errors = {}
    for way, (orders,) in by_each_way(w[None], moves[None], WAYS[:4]).items():
        gaps = [(Fraction(order) - t) / t for order, t in zip(orders, truth, strict=True)]
        errors[way] = np.abs(np.array(gaps, dtype=float))
    largest = float(np.abs(subset_outputs(w[None], moves[None])).max())
    errors["subsets, bound"] = noise_floor(depth, largest) / size
    edge = np.abs([(w + moves).prod(), (w - moves).prod(), w.prod()]).max()
    unit = np.finfo(float).eps / 2
    errors["interpolation, bound"] = unit * (1 + np.sqrt(2)) ** depth * edge / size
    return errors


def matched_step(w: np.ndarray, r: float) -> np.ndarray:
    """The step at which the first-order relative change of the output is r, w.shape[:-1]."""
    return r / (w.prod(axis=-1) ** 2 * (1 / w**2).sum(axis=-1))


def shares(w: np.ndarray, step: np.ndarray | float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(share of the orders from 2 on, r, |T_2| / |T_1|) of n chains, (n,) each.

    w: (n, l).  step: one for all or one each.
    """
    grads = gradients(w) * np.broadcast_to(step, w.shape[:1])[:, None]
    sizes = np.abs(chains.chain_orders(w, grads, 1.0, step=1.0))
    above = sizes[:, 2:].sum(axis=1)
    return above / (above + sizes[:, 1]), sizes[:, 1] / sizes[:, 0], sizes[:, 2] / sizes[:, 1]


def over_depths(w: np.ndarray, depths: Sequence[int], r: float | None = None) -> np.ndarray:
    """`shares` of the first l factors of n chains, (n, 3, len(depths)).

    w: (n, deepest).  The step has the first-order relative change r, or is 0.02 without one.
    """
    cut = [w[:, :length] for length in depths]
    return np.array([shares(v, 0.02 if r is None else matched_step(v, r)) for v in cut]).T


def depth_slopes(ratios: np.ndarray, depths: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """(slope, largest residual) of the line through log(e_2/e_1) - log(l - 1) over l, per row.

    ratios: (n, len(depths)), e_2/e_1 at each depth >= 2.  Equal weights w give the slope
    2 log|w| for a squared loss with target 0 and no residual.
    """
    over = np.asarray(depths, dtype=float)
    heights = np.log(ratios) - np.log(over - 1)
    slope, offset = np.polyfit(over, heights.T, 1)
    residual = heights - np.outer(slope, over) - offset[:, None]
    return slope, np.abs(residual).max(axis=1)


class Family(NamedTuple):
    """Random scalar chains around one mean weight, cut at each depth."""

    mean: float
    fixed: np.ndarray  # `over_depths` at the fixed step, (seeds, 3, depths)
    matched: np.ndarray  # the same at the step of a given r
    slope: Interval  # `depth_slopes` at the fixed step
    equal: tuple[float, float]  # the slope of equal weights, and its residual


def family(mean: float, given: Settings) -> Family:
    """Chains with weights N(mean, 0.1^2); every mean sees the same draws."""
    depths, rng = given.scalar_depths, np.random.default_rng([given.seed, 3])
    noise = rng.normal(0.0, 0.1, (given.seeds, max(depths)))
    fixed = over_depths(mean + noise, depths)
    slope = median_interval(depth_slopes(fixed[:, 2], depths)[0])
    equal = over_depths(mean + 0 * noise[:1], depths)
    (straight,), (residual,) = depth_slopes(equal[:, 2], depths)
    matched = over_depths(mean + noise, depths, given.r_matched)
    return Family(mean, fixed, matched, slope, (straight, residual))


def against_the_bound(
    draws: int, r: float, rng: np.random.Generator, *, deepest: int = 30
) -> tuple[np.ndarray, np.ndarray]:
    """(sum_{k>=2} |T_k| / |y|, the same in units of the Maclaurin bound) of random chains.

    Depth uniform on 2 ... deepest, |w| log-normal with standard deviation 1 of the logarithm,
    random signs, the step matched to the first-order relative change r.
    """
    depth = rng.integers(2, deepest + 1, draws)
    used = np.arange(deepest) < depth[:, None]
    w = np.exp(rng.normal(size=used.shape)) * rng.choice([-1.0, 1.0], used.shape)
    w = np.where(used, w, 1.0)
    pull = np.where(used, gradients(w), 0.0)  # a factor that does not move adds nothing
    step = r / np.abs(pull / w).sum(axis=1, keepdims=True)
    sizes = np.abs(chains.chain_orders(w, pull * step, 1.0, step=1.0))
    above = sizes[:, 2:].sum(axis=1) / sizes[:, 0]
    bounds = {length: chains.maclaurin_bound(r, int(length)) for length in np.unique(depth)}
    return above, above / np.array([bounds[length] for length in depth])


class Step(NamedTuple):
    """One gradient step of a matrix chain, measured by its exact polynomial."""

    step: float  # eta
    predicted: float  # step |g|^2 / L_0
    useful: float  # actual / predicted decrease of the loss
    moved: float  # first-order change of the output, |C_1| step / |C_0|
    gross: float  # sum_{k >= 2} |C_k| step^k / (|C_1| step)
    net: float  # the norm of the sum instead of the sum of norms
    residual: float  # polynomial against forward pass, in units of the sum of its |terms|


def matrix_chain(
    kind: str, scale: float, depth: int, rng: np.random.Generator, *, width: int, rows: int
) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Weights, inputs (rows, width) and targets of a linear teacher with entries N(0, 1/width).

    kind: "orthogonal" for scale * Q, "gaussian" for scale * N(0, 1/width) entries.
    """
    x = rng.normal(size=(rows, width))
    teacher, *drawn = rng.normal(size=(depth + 1, width, width)) / np.sqrt(width)
    if kind == "orthogonal":
        drawn = [np.linalg.qr(w)[0] for w in drawn]
    return [scale * w for w in drawn], x, x @ teacher


def chain_coefficients(
    weights: Sequence[np.ndarray], grads: Sequence[np.ndarray], x: np.ndarray
) -> list[np.ndarray]:
    """C_0 ... C_l of a matrix chain, each (m, n): l (l + 1) products.

        x prod_i (W_i - s G_i) = sum_k C_k s^k        C'_k = C_k W_i - C_{k-1} G_i

    weights, grads: l matrices, (a, b) each.  x: (m, a_1).  C_k: [y] / [step]^k.
    Consequence: |C_k| <= |x| prod |W_i| e_k(|G_i| / |W_i|), Frobenius for C_k and x, else spectral.
    """
    coefficients = [x]
    for w, g in zip(weights, grads, strict=True):
        kept, moved = [c @ w for c in coefficients], [c @ g for c in coefficients]
        mixed = [a - b for a, b in zip(kept[1:], moved, strict=False)]
        coefficients = [kept[0], *mixed, -moved[-1]]
    return coefficients


def loss_coefficients(coefficients: Sequence[np.ndarray], target: np.ndarray) -> np.ndarray:
    """The squared loss along the step, as a polynomial of degree 2 l, (2l+1,).

        L(s) = 1/2 mean_m |out(s) - target|^2        L_k = 1/2 sum_{i+j=k} mean_m <R_i, R_j>

    coefficients: C_0 ... C_l, (m, n) each; R_0 = C_0 - target, R_k = C_k.  target: (m, n).
    Consequences: L_0 is the loss before the step; along the gradient L_1 = -|g|^2.
    """
    residuals = [coefficients[0] - target, *coefficients[1:]]
    flat = np.stack([r.ravel() for r in residuals])
    gram = flat @ flat.T / (2 * len(target))
    return np.array([np.trace(gram[:, ::-1], k) for k in range(len(gram) - 1, -len(gram), -1)])


def matrix_gradients(
    weights: list[np.ndarray], x: np.ndarray, y: np.ndarray
) -> tuple[float, list[np.ndarray]]:
    """The loss 1/2 mean_m |x prod W - y|^2 and its gradient with respect to each factor."""
    inputs = [x]
    for w in weights:
        inputs.append(inputs[-1] @ w)
    error = inputs.pop() - y
    back, grads = error / len(x), []
    for w, h in zip(reversed(weights), reversed(inputs), strict=True):
        grads.append(h.T @ back)
        back = back @ w.T
    return 0.5 * float((error**2).sum()) / len(x), grads[::-1]


def measure_steps(
    weights: list[np.ndarray], x: np.ndarray, y: np.ndarray, *, step: float, r_loss: float
) -> tuple[Step, Step]:
    """The step of a given size, and the step whose predicted relative decrease is r_loss."""
    loss, grads = matrix_gradients(weights, x, y)
    slope = sum(float((g**2).sum()) for g in grads)
    orders = chain_coefficients(weights, grads, x)
    polynomial = loss_coefficients(orders, y)

    def at(eta: float) -> Step:
        powers = eta ** np.arange(len(polynomial))
        decrease = -float((polynomial * powers)[1:].sum())
        terms = [c * p for c, p in zip(orders, powers, strict=False)]
        first, *above = (float(np.linalg.norm(t)) for t in terms[1:])
        together = float(np.linalg.norm(sum(terms[2:])))
        stepped = [w - eta * g for w, g in zip(weights, grads, strict=True)]
        truth, _ = matrix_gradients(stepped, x, y)
        gap = abs(loss - decrease - truth) / float(np.abs(polynomial * powers).sum())
        moved, predicted = first / float(np.linalg.norm(terms[0])), eta * slope
        shape = sum(above) / first, together / first
        return Step(eta, predicted / loss, decrease / predicted, moved, *shape, gap)

    return at(step), at(r_loss * loss / slope)


def matrix_steps(given: Settings) -> pd.DataFrame:
    """`measure_steps` for both kinds of matrices, every scale, depth and seed: a row each.

    Columns: kind, scale, depth, rule ("fixed step", 0.01, or "matched progress") and those of
    `Step`. A seed has the same inputs and teacher, and the same matrices up to the scale.
    """
    rows = []
    kinds, seeds = ("orthogonal", "gaussian"), range(given.seeds)
    for kind, scale, depth, k in product(kinds, given.scales, given.depths, seeds):
        rng = np.random.default_rng([given.seed, depth, k])
        chain = matrix_chain(kind, scale, depth, rng, width=given.width, rows=256)
        both = measure_steps(*chain, step=0.01, r_loss=given.r_matched)
        for rule, step in zip(("fixed step", "matched progress"), both, strict=True):
            rows.append({"kind": kind, "scale": scale, "depth": depth, "rule": rule})
            rows[-1] |= step._asdict()
    return pd.DataFrame(rows)


def matrix_bands(steps: pd.DataFrame, what: str, rule: str, given: Settings) -> dict[Any, Interval]:
    """Medians over depth of one column under one rule, by (kind, scale)."""
    cells = steps[steps.rule == rule].groupby(["kind", "scale"], sort=False)[what]
    shape = len(given.depths), -1
    return {case: median_interval(cell.to_numpy().reshape(shape).T) for case, cell in cells}


class ScalarPull(NamedTuple):
    """How a loss pulls at the factors of a scalar chain, in relative units w_i dL/dw_i."""

    loss: float
    lower: float  # the same for every lower factor
    top: float  # w_l dL/dw_l = <dL/dx_hat, x_hat> summed over rows
    leak: float  # eps / (v + eps) with v the variance before normalization


def scalar_pull(w: np.ndarray, x: np.ndarray, y: np.ndarray, *, eps: float | None) -> ScalarPull:
    """Pulls at the chain w_l BN(x w_1 ... w_{l-1}) by the loss 1/2 mean_m (out - y)^2.

    w: (l,).  x, y: (m,).  eps = None leaves the normalization out: every factor is pulled alike,
    and leak is 1.
    """
    h = w[:-1].prod() * x
    if eps is None:
        error = w[-1] * h - y
        pull = float((error * w[-1] * h).mean())
        return ScalarPull(0.5 * float((error**2).mean()), pull, pull, 1.0)
    out, tape = reference.forward(h[:, None], w[-1:], np.zeros(1), eps=eps)
    error = out[:, 0] - y
    grads = reference.backward(error[:, None] / len(x), tape)
    lower = float((grads.dx[:, 0] * h).sum())
    top = float(w[-1] * grads.dgamma[0])
    leak = float(eps / (h.var() + eps))
    return ScalarPull(0.5 * float((error**2).mean()), lower, top, leak)


def subset_losses(
    w: np.ndarray, moves: np.ndarray, x: np.ndarray, y: np.ndarray, *, eps: float | None
) -> np.ndarray:
    """The loss with the factors of each subset moved, w_i + moves_i, (2^l,)."""
    moved = np.where(subset_masks(len(w)), w + moves, w)
    h, top = x[:, None] * moved[:, :-1].prod(axis=1), moved[:, -1]
    if eps is None:
        out = h * top
    else:
        out, _ = reference.forward(h, top, np.zeros(len(top)), eps=eps)
    return 0.5 * ((out - y[:, None]) ** 2).mean(axis=0)


def gradient_moves(w: np.ndarray, pull: ScalarPull, r_loss: float) -> np.ndarray:
    """-step * gradient, with the step of predicted relative decrease r_loss."""
    grads = np.append([pull.lower] * (len(w) - 1), pull.top) / w
    return -r_loss * pull.loss / (grads**2).sum() * grads


def lower_terms(losses: np.ndarray) -> float:
    """Largest |I_T| of the subsets T with a lower factor in them."""
    masks = subset_masks(len(losses).bit_length() - 1)
    return float(np.abs(moebius(losses))[masks[:, :-1].any(axis=1)].max())


def scalar_arms(rng: np.random.Generator, *, r_loss: float, depth: int = 6) -> pd.DataFrame:
    """One random scalar chain in every arm and at seven scales of its first weight.

    Columns: arm, power (w_1 is multiplied by 10^power), gradient (lower / top pull), leak, v_eps
    (v / eps, 0 without BN), own and any: the largest |I_T| with a lower factor, in units of the
    loss, for the arm's own gradient step (`gradient_moves`) and for a random move of up to half
    of each weight, which keeps every sign.
    """
    w, x = 1 + 0.3 * rng.normal(size=depth), 0.5 + rng.normal(size=256)
    y, anywhere = 2 * x + rng.normal(size=256), w * rng.uniform(-0.5, 0.5, depth)
    rows = []
    for (arm, eps), power in product(ARMS.items(), range(-4, 3)):
        stretch = np.append(10.0**power, np.ones(depth - 1))
        pull = scalar_pull(w * stretch, x, y, eps=eps)
        moves = gradient_moves(w * stretch, pull, r_loss), anywhere * stretch
        losses = [subset_losses(w * stretch, d, x, y, eps=eps) for d in moves]
        terms = [lower_terms(v) / pull.loss for v in losses]
        ratio = 1 / pull.leak - 1 if pull.leak else 0.0
        rows.append((arm, power, abs(pull.lower / pull.top), pull.leak, ratio, *terms))
    columns = ["arm", "power", "gradient", "leak", "v_eps", "own", "any"]
    return pd.DataFrame(rows, columns=columns)


def vector_gradients(
    x: np.ndarray, weights: list[np.ndarray], top: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
    """H = BN(X W_1 W_2 ...) at eps = 0, the gradient of each W, and that of their product P.

    x: (m, d).  weights: matrices.  top: (k,).  y: (m,).  The loss is 1/2 mean_m (H top - y)^2.
    """
    whole = np.linalg.multi_dot([*weights, np.eye(len(top))])
    h, tape = reference.forward(x @ whole, np.ones(len(top)), np.zeros(len(top)), eps=0.0)
    error = h @ top - y
    d_whole = x.T @ reference.backward(np.outer(error / len(x), top), tape).dx
    grads, before = [], np.eye(len(whole))
    for i, w in enumerate(weights):
        after = np.linalg.multi_dot([*weights[i + 1 :], np.eye(len(top)), np.eye(len(top))])
        grads.append(before.T @ d_whole @ after.T)
        before = before @ w
    return h, grads, d_whole


def invariances(rng: np.random.Generator) -> dict[str, Any]:
    """What a vector chain with normalization does not notice (to rounding), and what it does.

    256 rows, 8 inputs, 5 units. Deviations relative to the size of what is compared; keys that
    start with "not" are expected to be large.
    """
    x, y = rng.normal(size=(256, 8)), rng.normal(size=256)
    first, last, top = rng.normal(size=(8, 8)), rng.normal(size=(8, 5)), rng.normal(size=5)
    positive, inner = np.exp(rng.normal(size=5)), np.exp(rng.normal(size=8))
    h, (d_first, d_last), d_whole = vector_gradients(x, [first, last], top, y)
    *_, d_scaled = vector_gradients(x, [3.0 * first, last], top, y)
    whole, norm = first @ last, np.linalg.norm

    def change(x: np.ndarray, *weights: np.ndarray) -> Any:
        return np.abs(vector_gradients(x, list(weights), top, y)[0] - h).max()

    def along(w: np.ndarray, d_w: np.ndarray) -> Any:
        return abs((d_w * w).sum()) / (norm(d_w) * norm(w))

    columns = np.abs((whole * d_whole).sum(axis=0)).max()
    of_first = np.abs((d_first * first).sum(0)).max()
    return {
        "an offset of the inputs": change(x + 5.0 * rng.normal(size=8), first, last),
        "a scale per unit, last factor": change(x, first, last * positive),
        "a scale of the whole product": change(x, 7.0 * first, last),
        "not a scale per unit, inner factor": change(x, first * inner, last),
        "Euler: each column of the product": columns / np.abs(whole * d_whole).sum(),
        "Euler: factor 1 as a whole": along(first, d_first),
        "Euler: factor 2 as a whole": along(last, d_last),
        "not Euler: columns of factor 1": of_first / (norm(d_first) * norm(first)),
        "gradient at 3 P is a third": norm(3.0 * d_scaled - d_whole) / norm(d_whole),
        "not a gradient of zero": norm(d_whole) * norm(whole),
    }


def bottleneck(
    rng: np.random.Generator, *, k: int, d: int, rows: int, steps: int, rate: float
) -> tuple[float, float]:
    """Normalized mean squared error with frozen and with trained lower factors.

    y = x t, centered; x W_1 W_2 of k units, BN with eps = 0, the top solved by least squares. The
    trained arm moves W_1 and W_2 by gradient, with the top solved again at every step and held
    constant in the gradient.
    """
    x, t = rng.normal(size=(rows, d)), rng.normal(size=d)
    y = x @ t
    y -= y.mean()
    weights = [rng.normal(size=(d, d)) / np.sqrt(d), rng.normal(size=(d, k)) / np.sqrt(d)]
    errors = []
    for _ in range(steps + 1):
        h, _ = reference.forward(x @ weights[0] @ weights[1], np.ones(k), np.zeros(k), eps=0.0)
        top = np.linalg.lstsq(h, y, rcond=None)[0]
        errors.append(float(((h @ top - y) ** 2).sum() / (y**2).sum()))
        _, grads, _ = vector_gradients(x, weights, top, y)
        weights = [w - rate * g for w, g in zip(weights, grads, strict=True)]
    return errors[0], errors[-1]


def bottlenecks(given: Settings) -> np.ndarray:
    """`bottleneck` with 16 inputs for every seed and width, (seeds, widths, 2), frozen first."""
    shape = {"d": 16, "rows": 512, "steps": 60, "rate": 1.0}
    streams = ([given.seed, 8, k, j] for j in range(given.seeds) for k in given.widths)
    errors = [bottleneck(np.random.default_rng(s), k=s[2], **shape) for s in streams]
    return np.reshape(errors, (given.seeds, len(given.widths), 2))


def beta_law(k: np.ndarray, d: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean and central 95 % of the frozen arm's error, 1 - Beta(k/2, (d-k)/2); k < d: (n,)."""
    low, high = 1 - stats.beta(k / 2, (d - k) / 2).ppf([[0.975], [0.025]])
    return 1 - k / d, low, high
