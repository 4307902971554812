"""The backward pass node by node, the Jacobian, what reaches lower layers, small batches, rounding.

Networks are `SeedBatchedMLP`s for the digits: W1, batch normalization, ReLU, W2. Their gradients
are those of each seed's own mean loss. Where random numbers are drawn, `rng` comes in and moves on.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy import special
from torch import Tensor
from torch.nn import functional as F

from bnlib import data, kernels, laws, layer, reference, running, statistics, training
from bnlib.chapters.gradient import derivatives, witnesses
from bnlib.interactions import gradient
from bnlib.networks.seed_batched import Params, SeedBatchedMLP, Statistics, Trace
from bnlib.networks.spec import Spec
from bnlib.rows import Grads, check_inputs

if TYPE_CHECKING:
    from bnlib.chapters.gradient import Settings

Array = np.ndarray
Rng = np.random.Generator
WIDTHS = (64, 32, 10)
ABOVE = ("gamma", "beta", "W2", "b2")  # what is trained where the first layer is not
FACTORS = 2.0 ** np.arange(-6, 2)  # rates of the sweep over the chapter's rate
LONGER = 5  # steps of the sweep's second end over the chapter's steps
PRECISIONS = (torch.float64, torch.float32)


def backward_graph(
    dy: np.ndarray, x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, *, eps: float
) -> tuple[Grads, dict[str, np.ndarray]]:
    """Gradients by the chain rule through nine nodes, and the adjoint of each node.

        mu = mean_m x   c = x - mu   q = c^2   v = mean_m q   tau = sqrt(v + eps)   i = 1 / tau
        x_hat = c i     z = gamma x_hat        y = z + beta

    x, dy: rows (m, c).  The adjoints, by node name: (m, c) for c, q, x_hat, z, y and (c,) for
    mu, v, tau, i.  The plain formula: no recentring, no scaling.
    Consequence: equal to `reference.backward`, which is what the nine steps collapse to.
    """
    check_inputs(x, eps, dy=dy, gamma=gamma, beta=beta)
    m = len(x)
    c = x - x.mean(axis=0)
    tau = np.sqrt((c**2).mean(axis=0) + eps)
    i = 1 / tau
    x_hat = c * i

    d = {"y": dy, "z": dy}
    d["x_hat"] = gamma * d["z"]
    d["i"] = (d["x_hat"] * c).sum(axis=0)
    d["tau"] = -d["i"] / tau**2
    d["v"] = d["tau"] / (2 * tau)  # eps appears in tau and nowhere else
    d["q"] = np.broadcast_to(d["v"] / m, x.shape)
    d["c"] = d["x_hat"] * i + 2 * c * d["q"]  # two routes: x_hat = c i, and q = c^2
    d["mu"] = -d["c"].sum(axis=0)
    dx = d["c"] + d["mu"] / m  # two routes again: x itself, and mu
    return Grads(dx, (d["z"] * x_hat).sum(axis=0), dy.sum(axis=0)), d


def library_examined(rng: Rng) -> tuple[dict[str, witnesses.Disagreement], bool]:
    """Disagreement with each witness on six random cases; whether torch's gradgradcheck passes."""
    sizes = [(m, eps) for m in (3, 8, 64) for eps in (1e-5, 0.3)]
    cases = [witnesses.random_case(m, 3, eps=eps, rng=rng) for m, eps in sizes]
    disagreements = witnesses.examine(witnesses.LIBRARY, cases, rng)
    agree = torch.autograd.gradgradcheck(
        lambda x, gamma, beta: layer.batch_norm(x, None, None, gamma, beta, training=True, eps=0.3),
        [torch.tensor(a, requires_grad=True) for a in cases[3][:3]],
        raise_exception=False,
    )
    return disagreements, agree


def protests(case: witnesses.Case, rng: Rng) -> pd.DataFrame:
    """Whether a witness (column) disagrees by more than 1e-6 with a flaw (row); first with none."""
    rows = {}
    for flaw in (None, *witnesses.FLAWS):
        disagreements = witnesses.examine(witnesses.plain(flaw), [case], rng)
        protesting = {name: max(sizes) > 1e-6 for name, sizes in disagreements.items()}
        rows[flaw or "no error"] = protesting
    return pd.DataFrame(rows).T


def step_errors(case: witnesses.Case, seed: int) -> tuple[Array, dict[str, Array]]:
    """Steps h (n,), and the errors of differences (n,), by order and operator."""
    steps, lines, code = np.logspace(-8, -0.5, 31), {}, witnesses.LIBRARY
    operators = {"central": derivatives.directional, "Richardson": witnesses.richardson}
    for name, operator in operators.items():
        errors = [
            witnesses.difference_errors(code, case, (h, h), np.random.default_rng(seed), operator)
            for h in steps
        ]
        lines[f"first order, {name}"], lines[f"second order, {name}"] = np.transpose(errors)
    return steps, lines


def autodiff_jacobian(x: Array, gamma: float, *, eps: float, ddof: int = 0) -> Array:
    """dy / dx, (m, m), of one channel x (m,) by automatic differentiation of the definition.

    ddof: 0 for the biased variance, 1 for the unbiased one.
    """

    def define(t: Tensor) -> Tensor:
        return gamma * (t - t.mean()) / (t.var(correction=ddof) + eps).sqrt()

    return torch.func.jacrev(define)(torch.as_tensor(x)).numpy()


def jacobian_terms(x: Array) -> list[Array]:
    """P = J tau / gamma of one channel x (m,), and its terms I, 1 1^T / m and x_hat x_hat^T / m."""
    m, tau = len(x), np.sqrt(x.var() + 0.1)
    x_hat, ones = (x - x.mean()) / tau, np.ones((m, 1))
    P = derivatives.jacobian(x, 1.0, eps=0.1) * tau
    return [P, np.eye(m), ones @ ones.T / m, np.outer(x_hat, x_hat) / m]


def spectrum_miss(rng: Rng) -> float:
    """Largest error of eigenvalues and symmetry over gamma / tau; four m, three eps / var."""
    worst = []
    for m in (2, 3, 8, 64):
        for ratio in (0.0, 1e-5, 0.5):
            x = rng.normal(size=m)
            eps = ratio * x.var()
            J, top = autodiff_jacobian(x, 1.7, eps=eps), 1.7 / np.sqrt(x.var() + eps)
            miss = np.abs(np.linalg.eigvalsh(J) - derivatives.spectrum(x, 1.7, eps=eps)).max()
            worst.append(max(miss, np.abs(J - J.T).max()) / top)
    return max(worst)


class Projections(NamedTuple):
    """P = J tau / gamma of a channel by autodiff, over eps / var: `ratios` (k,), 0 first.

    rho (k,): var / (var + eps).  eigenvalues (k, m), ascending.  leak (k,): norm of P^2 - P.
    """

    ratios: Array
    rho: Array
    eigenvalues: Array
    leak: Array


def projections(x: Array) -> Projections:
    """How far P of the rows x (m,) is from a projection."""
    x, ratios = (x - x.mean()) / x.std(), np.append(0, np.logspace(-6, 2, 33))
    P = [np.sqrt(1 + ratio) * autodiff_jacobian(x, 1.0, eps=ratio) for ratio in ratios]
    eigenvalues = np.array([np.linalg.eigvalsh(p) for p in P])
    leak = np.array([np.linalg.norm(p @ p - p, 2) for p in P])
    return Projections(ratios, 1 / (1 + ratios), eigenvalues, leak)


def energy_kept(sizes: Array, rho: float, rng: Rng) -> Array:
    """Share of a random dy's energy that passes so many rows: 20 batches, 2000 dy each; (20, n)."""
    kept = []
    for m in sizes:
        x = rng.normal(size=(20, m, 1))
        x = (x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True) * np.ones(2000)
        kept.append([energy_passed(rows, rng, eps=1 / rho - 1).mean() for rows in x])
    return np.transpose(kept)


def energy_passed(x: Array, rng: Rng, *, eps: float) -> Array:
    """Share of a random dy that passes each channel of rows x (m, c): |tau dx|^2 / |dy|^2, (c,).

    gamma = 1; `laws.energy_kept` is its mean over isotropic dy.
    """
    dy, ones = rng.normal(size=x.shape), np.ones(x.shape[1])
    tape = reference.forward(x, ones, 0 * ones, eps=eps)[1]
    dx = reference.backward(dy, tape).dx / tape.rstd
    return np.square(dx).sum(0) / np.square(dy).sum(0)


def backward_unbiased(dy: np.ndarray, x: np.ndarray, gamma: np.ndarray, *, eps: float) -> Grads:
    """Gradients when x is normalized with the *unbiased* variance v_u = m / (m - 1) var.

        dx = gamma / tau_u (dy - mean_m dy - m / (m - 1) x_hat mean_m(dy x_hat))

    with tau_u = sqrt(v_u + eps) and x_hat = (x - mu) / tau_u.  x, dy: rows (m, c).
    Consequence: eigenvalue gamma eps / tau_u^3 along x_hat, as in the biased case with v_u for
    var. The gradient of another function, not a correction of [BN.2].
    """
    check_inputs(x, eps, dy=dy, gamma=gamma)
    m = len(x)
    c = x - x.mean(axis=0)
    rstd = 1 / np.sqrt((c**2).sum(axis=0) / (m - 1) + eps)
    x_hat = c * rstd
    along = (dy * x_hat).mean(axis=0)
    dx = gamma * rstd * (dy - dy.mean(axis=0) - m / (m - 1) * x_hat * along)
    return Grads(dx, m * along, dy.sum(axis=0))


def unbiased_miss(rng: Rng) -> float:
    """Largest relative error of the formula for the unbiased variance; m = 3, 8, 64."""
    worst = []
    for m in (3, 8, 64):
        x, dy = rng.normal(size=(2, m, 1))
        dx = autodiff_jacobian(x[:, 0], 1.7, eps=0.3, ddof=1).T @ dy
        ours = backward_unbiased(dy, x, np.array([1.7]), eps=0.3).dx
        worst.append(np.abs(ours - dx).max() / np.abs(dx).max())
    return max(worst)


def evaluation_misses(rng: Rng) -> tuple[float, float]:
    """In evaluation mode, the largest entry off J's diagonal, and the diagonal's relative error."""
    x, mean, var, gamma = rng.normal(size=(8, 1)), *np.array([[0.4], [1.9], [1.7]])
    m, v, scale = map(torch.from_numpy, (mean, var, gamma))
    differentiate = torch.func.jacrev(lambda t: layer.batch_norm(t, m, v, scale, scale, eps=0.3))
    J = differentiate(torch.from_numpy(x)).squeeze().numpy()
    dx = running.infer_backward(np.ones((8, 1)), x, gamma, mean, var, eps=0.3).dx[:, 0]
    return np.abs(J - np.diag(np.diag(J))).max(), np.abs(np.diag(J) / dx - 1).max()


class PairwiseMLP(SeedBatchedMLP):
    """The same networks, but rows are normalized two by two, whatever the size of the batch.

    The loss of a batch of 2 p rows is then the mean loss of p batches of two, and so is its
    gradient.  With `stats`, as in evaluation, there is nothing to pair.
    """

    def trace(self, params: Params, x: Tensor, *, stats: Statistics | None = None) -> Trace:
        """One pass over x (S, m, d), m even; output (S, m, k), the rest pair by pair."""
        if stats is not None:
            return super().trace(params, x, stats=stats)
        s, m, d = x.shape
        copies = {name: value.repeat_interleave(m // 2, 0) for name, value in params.items()}
        pairs = super().trace(copies, x.reshape(s * m // 2, 2, d))
        return pairs._replace(output=pairs.output.reshape(s, m, -1))

    def forward(self, params: Params, x: Tensor, *, stats: Statistics | None = None) -> Tensor:
        """Outputs (S, m, k) on x (S, m, d), m even."""
        return self.trace(params, x, stats=stats).output


def network(
    seeds: int, *, eps: float, dtype: torch.dtype = torch.float64, pairwise: bool = False
) -> SeedBatchedMLP:
    """Networks of seeds 0..seeds-1 for the digits: 64 inputs, 32 normalized units, 10 classes."""
    kind = PairwiseMLP if pairwise else SeedBatchedMLP
    return kind(Spec(WIDTHS, eps=eps), range(seeds), dtype)


@functools.cache
def digits(seeds: int) -> tuple[list[data.Split], Tensor, Tensor]:
    """A split a seed, and its first 128 rows as one batch: x (S, 128, 64), y (S, 128)."""
    splits = [data.digits_split(seed) for seed in range(seeds)]
    x, y = (torch.from_numpy(np.stack([split[k][:128] for split in splits])) for k in (0, 1))
    return splits, x, y


def gradients(net: SeedBatchedMLP, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """Gradients of all parameters on one batch x (S, m, d), y (S, m), in training mode."""

    def losses(params: Params) -> Tensor:
        return training.seed_losses(net.forward(params, x.to(net.dtype)), y, "cross-entropy")

    return gradient(losses, net.params)[1]


def bias_share(net: SeedBatchedMLP, x: Tensor, y: Tensor) -> float:
    """Largest gradient of a bias put before BN, over the largest gradient of the weights there."""
    net.params = {**net.params, "b1": torch.zeros_like(net.params["W1"][..., 0])}
    grads = gradients(net, x, y)
    return float((grads["b1"].abs().amax(1) / grads["W1"].abs().amax((1, 2))).max())


def convolution_bias_share(images: Tensor, y: Tensor, seed: int) -> float:
    """`bias_share` of a 3 x 3 convolution with zero padding; images (n, 1, h, w), y below 10."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(10, 1, 3, 3, generator=generator, dtype=images.dtype).requires_grad_()
    bias = torch.zeros(10, dtype=images.dtype, requires_grad=True)
    z = layer.batch_norm(F.conv2d(images, weight, bias, padding=1), None, None, training=True)
    loss = F.cross_entropy(z.relu().amax((2, 3)), y)
    d_weight, d_bias = torch.autograd.grad(loss, (weight, bias))
    return float(d_bias.abs().max() / d_weight.abs().max())


class Relations(NamedTuple):
    """Largest values over units and seeds: |cos(w, dw)|, and how far two identities are missed."""

    cosine: float
    identity: float
    scaling: float


def weight_relations(seeds: int, x: Tensor, y: Tensor, *, eps: float, scale: float) -> Relations:
    """How the gradient of the weights before BN relates to them, with W1 scaled by `scale`.

    identity   w . dw = eps / tau^2 gamma dgamma        relative to |w| |dw|
    scaling    dw(c w; eps) = dw(w; eps / c^2) / c      relative to the largest entry
    """
    net, unscaled = network(seeds, eps=eps), network(seeds, eps=eps / scale**2)
    for each in (net, unscaled):
        # Not 1 as at the start of training, which would hide a missing gamma.
        each.params["gamma1"] = torch.linspace(0.7, 2.2, WIDTHS[1]).double().expand(seeds, -1)
    net.params["W1"] = scale * net.params["W1"]
    w, grads, dw_unscaled = net.params["W1"], gradients(net, x, y), gradients(unscaled, x, y)["W1"]
    var, dw = net.trace(net.params, x).stats[1].var, grads["W1"]
    along, size = (w * dw).sum(2), w.norm(dim=2) * dw.norm(dim=2)
    predicted = eps / (var + eps) * net.params["gamma1"] * grads["gamma1"]
    miss = (dw - dw_unscaled / scale).abs().max() / dw.abs().max()
    cosine, identity = (along.abs() / size).max(), ((along - predicted).abs() / size).max()
    return Relations(float(cosine), float(identity), float(miss))


class Growth(NamedTuple):
    """size (steps + 1, S, h): |w|^2 of every unit.  law (steps, S, h): lr^2 |dw|^2 of each step."""

    size: Array
    law: Array

    @property
    def shrinking(self) -> float:
        """Share of steps that make a |w|^2 smaller, by more than 1e-12 of it."""
        return float((np.diff(self.size, axis=0) / self.size[:-1] < -1e-12).mean())

    @property
    def layer(self) -> tuple[Array, Array]:
        """|W|^2 over its start (steps + 1, S), and what the squared steps add up to (steps, S)."""
        start = self.size[0].sum(1)
        return self.size.sum(2) / start, 1 + self.law.sum(2).cumsum(0) / start


def norm_growth(seeds: int, x: Tensor, y: Tensor, *, eps: float, steps: int, lr: float) -> Growth:
    """Squared norms of the weights before BN under plain gradient descent on one fixed batch."""
    net, m, seen = network(seeds, eps=eps), x.shape[1], []

    def look(step: training.Step) -> None:
        w, dw = step.params["W1"].detach(), step.grads["W1"]
        seen.append((w.square().sum(2).numpy(), lr**2 * dw.square().sum(2).numpy()))

    order = torch.arange(m).expand(steps, seeds, m)
    training.train(net, x, y, steps=steps, batch=m, lr=lr, order=order, on_step=look)
    size = [before for before, _ in seen] + [net.params["W1"].square().sum(2).numpy()]
    return Growth(np.stack(size), np.stack([law for _, law in seen]))


class Pairs(NamedTuple):
    """The gain of two random rows at each eps of `offsets` (k,).

    law, drawn: "median", "mean", "mean square" -> by theory and over random pairs, (k,).
    near_ties: share of pairs with |gap| below sqrt(1e-5).
    """

    offsets: Array
    law: dict[str, list[float]]
    drawn: dict[str, list[float]]
    near_ties: float

    @property
    def slopes(self) -> dict[str, list[float]]:
        """Statistic -> slopes of its logarithm in log eps, by theory and over random pairs."""
        return {
            n: [log_slope(self.offsets, v[n]) for v in (self.law, self.drawn)] for n in self.law
        }


def random_pairs(seed: int, draws: int) -> Pairs:
    """The gain of pairs of standard Gaussian rows, by quadrature and by drawing."""
    offsets = np.array([1e-6, 1e-5, 1e-4, 1e-3])
    gaps = np.random.default_rng(seed).normal(0, np.sqrt(0.5), draws)
    gains = [laws.pair_gain(gaps, eps) for eps in offsets]
    summaries = {"median": np.median, "mean": np.mean, "mean square": lambda g: np.mean(g**2)}
    drawn = {name: [float(summary(g)) for g in gains] for name, summary in summaries.items()}
    law = {
        "median": [laws.pair_gain(special.erfinv(0.5), eps) for eps in offsets],
        "mean": [laws.pair_gain_moment(1, eps) for eps in offsets],
        "mean square": [laws.pair_gain_moment(2, eps) for eps in offsets],
    }
    return Pairs(offsets, law, drawn, float((np.abs(gaps) < np.sqrt(1e-5)).mean()))


def spikes() -> tuple[Array, dict[float, Array]]:
    """Half-differences of two rows (n,), and eps -> their gain (n,)."""
    gap = np.linspace(-0.2, 0.2, 1001)
    return gap, {eps: laws.pair_gain(gap, eps) for eps in (1e-3, 1e-4, 1e-5)}


def log_slope(x: Array, y: Any) -> float:
    """The slope of log y in log x by least squares."""
    return np.polyfit(np.log(x), np.log(y), 1)[0]


class Arm(NamedTuple):
    """What one way of training did, one entry a seed.

    moved (S,): |W1 - start| / |start|.  unit (S,): the same for the median unit.  norms
    (steps, S, h): |dw| of every unit, empty if W1 was not trained.  loss (S,): mean over the last
    50 steps.  accuracy (S,): on the test rows, with statistics of all training rows.
    """

    moved: Array
    unit: Array
    norms: Array
    loss: Array
    accuracy: Array

    def means(self) -> dict[str, float]:
        """Movement, loss and accuracy, mean over the seeds."""
        parts = {"movement": self.moved, "loss": self.loss, "accuracy": self.accuracy}
        return {name: part.mean() for name, part in parts.items()}


def train_arm(
    given: Settings, m: int, *, eps: float = 1e-5, pairwise: bool = False, **recipe: Any
) -> Arm:
    """Train with batches of m rows, each seed on its split; recipe: as for `training.train`."""
    net, splits = network(given.seeds, eps=eps, pairwise=pairwise), digits(given.seeds)[0]
    x, y, x_test, y_test = (np.stack(part) for part in zip(*splits, strict=True))
    start, norms = net.params["W1"].clone(), []

    def look(step: training.Step) -> None:
        if "W1" in step.grads:
            norms.append(step.grads["W1"].norm(dim=2).numpy())

    recipe = {"batch": m, "steps": given.steps, "lr": given.lr} | recipe
    loss = training.train(net, x, y, on_step=look, **recipe).loss[-50:].mean(0)
    stats = recipe.get("stats") or net.recalibrate(torch.from_numpy(x))
    change = net.params["W1"] - start
    moved = (change.norm(dim=(1, 2)) / start.norm(dim=(1, 2))).numpy()
    unit = (change.norm(dim=2) / start.norm(dim=2)).median(dim=1).values.numpy()
    return Arm(
        moved, unit, np.array(norms), loss, training.accuracy(net, x_test, y_test, stats=stats)
    )


def movement_ratio(two: Arm, three: Arm) -> statistics.Interval:
    """Geometric mean over seeds of the one's movement over the other's."""
    interval = statistics.mean_interval(np.log(two.moved / three.moved))
    return statistics.Interval(*np.exp(interval).tolist())


def norm_summary(norms: Array) -> dict[str, float]:
    """Median, mean and largest of all gradient norms, and how much the largest 1 % add up to."""
    n = np.sort(norms.ravel())
    top = n[-max(1, len(n) // 100) :].sum() / n.sum()
    names = ("median |dw|", "mean |dw|", "largest |dw|", "share of top 1 %")
    return dict(zip(names, map(float, (np.median(n), n.mean(), n[-1], top)), strict=True))


def norm_spread(norms: Array) -> tuple[float, ...]:
    """The 5 %, 50 % and 95 % quantiles of all gradient norms, their mean, and the largest."""
    return *np.quantile(norms, (0.05, 0.5, 0.95)), norms.mean(), norms.max()


def controls(given: Settings) -> dict[str, list[Arm]]:
    """Arms with two and with three rows, each control changing one thing at eps = 1e-5."""
    splits, seeds = digits(given.seeds)[0], range(given.seeds)
    frozen = network(given.seeds, eps=1e-5).recalibrate(splits[0].x_train)

    arms: dict[str, list[Arm]] = {}
    for m in (2, 3):
        batch = training.batch_order(seeds, len(splits[0].x_train), batch=m, steps=1)
        changes: dict[str, Any] = {
            "A: frozen statistics": {"stats": frozen},
            "B: one batch for ever": {"order": batch.expand(given.steps, len(seeds), m)},
            "C: ε = 0": {"eps": 0.0},
            "D: Adam": {"optimizer": "adam", "lr": 0.001},
        }
        for name, change in changes.items():
            arms.setdefault(name, []).append(train_arm(given, m, **change))
    return arms


def length_kept_by_two(x: Tensor, net: SeedBatchedMLP, rng: Rng) -> dict[str, float]:
    """Median share of a random dy's length that passes BN, over pairs of 8 x 8 images x (n, 64).

    "rows": BN over the two rows of every unit of `net`'s first seed.  "images": BN over the
    2 * 8 * 8 positions of eight random 3 x 3 convolutions with zero padding.
    """
    kernel = torch.from_numpy(rng.normal(size=(8, 1, 3, 3)))
    units = net.params["W1"][0].T.numpy()
    kept: dict[str, list[float]] = {"rows": [], "images": []}
    for pair in x.view(-1, 2, 64):
        maps = torch.conv2d(pair.view(2, 1, 8, 8), kernel, padding=1).movedim(1, 3).reshape(-1, 8)
        for name, z in (("rows", pair.numpy() @ units), ("images", maps.numpy())):
            kept[name].extend(np.sqrt(energy_passed(z, rng, eps=net.spec.eps)))
    return {name: float(np.median(values)) for name, values in kept.items()}


def first_layer_gain(given: Settings, pairs: int) -> tuple[Arm, Arm, statistics.Paired]:
    """Steps along the mean gradient of so many pairs, with and without those of W1.

    Also what W1 gains in test accuracy, in points.
    """
    trained = train_arm(given, 2 * pairs, pairwise=True)
    fixed = train_arm(given, 2 * pairs, pairwise=True, trainable=ABOVE)
    gain = statistics.paired_difference(100 * trained.accuracy, 100 * fixed.accuracy)
    return trained, fixed, gain


class Swept(NamedTuple):
    """Losses with the statistics of all training rows, (R, S) each: at every rate, of every seed.

    trained, fixed: on (training, test) rows, with and without training of W1.
    """

    trained: tuple[Array, Array]
    fixed: tuple[Array, Array]

    @property
    def gains(self) -> Array:
        """What training W1 takes off the loss of the test rows at the same rate, (R, S)."""
        return self.fixed[1] - self.trained[1]

    @property
    def best(self) -> tuple[int, int]:
        """The rate of the lowest mean training loss, with and without training of W1."""
        return int(self.trained[0].mean(1).argmin()), int(self.fixed[0].mean(1).argmin())

    @property
    def own_gain(self) -> Array:
        """`gains` with each of the two at its own rate, (S,)."""
        trained, fixed = self.best
        return self.fixed[1][fixed] - self.trained[1][trained]


def sweep_rates(given: Settings, m: int) -> dict[int, Swept]:
    """Steps -> what batches of m rows make of every rate of FACTORS, with the same batches."""
    ends = given.steps, LONGER * given.steps
    arms = (_losses_at(given, m, ends, trainable) for trainable in (None, ABOVE))
    return {steps: Swept(*pair) for steps, pair in zip(ends, zip(*arms, strict=True), strict=True)}


def _losses_at(
    given: Settings, m: int, ends: tuple[int, int], trainable: tuple[str, ...] | None
) -> list[tuple[Array, Array]]:
    splits, count = digits(given.seeds)[0], len(FACTORS)
    parts = zip(*splits, strict=True)
    x, y, *test = (np.concatenate([np.stack(part)] * count) for part in parts)
    net = SeedBatchedMLP(Spec(WIDTHS, eps=1e-5), [*range(given.seeds)] * count)
    order = training.batch_order(net.seeds, x.shape[1], batch=m, steps=ends[1])
    rates = np.repeat(given.lr * FACTORS, given.seeds).tolist()
    how: dict[str, Any] = {"batch": m, "lr": rates, "trainable": trainable}
    found = []
    for first, last in ((0, ends[0]), ends):
        training.train(net, x, y, steps=last - first, order=order[first:last], **how)
        stats = net.recalibrate(torch.from_numpy(x))
        both = (training.losses(net, *rows, stats=stats) for rows in ((x, y), test))
        found.append(tuple(loss.reshape(count, -1) for loss in both))
    return found


KERNELS = (*kernels.METHODS, "torch, rows", "torch, images")
CHANNELS = 16
GAMMA, BETA = np.full(CHANNELS, 1.7, np.float32), np.full(CHANNELS, 0.3, np.float32)


def errors_by_mean(far: Array, noise: Array, digits: int) -> dict[str, Array]:
    """Kernel -> its error at every |mu| / sigma of `far`, from standard normal noise (m, 16)."""
    rows = [(mu + noise).astype(np.float32) for mu in far]
    errors = [kernel_errors(x, eps=1e-5, digits=digits) for x in rows]
    return {name: np.array([error[name] for error in errors]) for name in KERNELS}


def kernel_errors(x: Array, *, eps: float, digits: int) -> dict[str, float]:
    """Largest error of y a kernel, relative to the largest exact |y|, for float32 rows (m, 16).

    inf: y holds values that are not finite.  nan: torch refuses eps = 0 in training mode.
    """
    truth, errors = kernels.exact(x, GAMMA, BETA, eps=eps, digits=digits), {}
    for name in KERNELS:
        if name.startswith("torch") and eps == 0:
            errors[name] = np.nan
            continue
        y = _forward(name, x, eps)
        errors[name] = kernels.relative_error(y, truth) if np.isfinite(y).all() else np.inf
    return errors


def _forward(name: str, x: Array, eps: float) -> Array:
    """y by one kernel; torch takes another one for images (n, c, positions) than for rows."""
    if not name.startswith("torch"):
        return kernels.forward_by(name, x, GAMMA, BETA, eps=eps)
    images = name == "torch, images"
    rows, gamma, beta = (torch.from_numpy(np.ascontiguousarray(a)) for a in (x, GAMMA, BETA))
    layout = rows.T[None].contiguous() if images else rows
    y = F.batch_norm(layout, None, None, gamma, beta, training=True, eps=eps)
    return (y[0].T if images else y).numpy()


def hard_cases(noise: Array) -> dict[str, tuple[Array, float]]:
    """Name -> (float32 rows, eps), out of standard normal `noise` (m, 16).

    The exact output of the constant channel is beta, so that its error is relative to beta.
    """
    outlier = noise.copy()
    outlier[0] = 1e6
    ones = np.ones((1, CHANNELS), np.float32)
    cases = {
        "constant channel, 12345.678": (np.full(noise.shape, 12345.678), 1e-5),
        "two rows, one ulp apart": (np.concatenate([ones, np.nextafter(ones, 2 * ones)]), 1e-5),
        "one outlier of 1e6": (outlier, 1e-5),
        "values near 1e25": (1e25 * noise, 1e-5),
        "values near 1e-25, ε = 0": (1e-25 * noise, 0.0),
    }
    return {name: (x.astype(np.float32), eps) for name, (x, eps) in cases.items()}
