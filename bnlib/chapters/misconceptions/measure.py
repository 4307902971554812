"""What the entries of the page measure. float64; the norm in training mode, eps = 0 by default."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from itertools import pairwise, product
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import stats
from torch import Tensor, nn

from bnlib import activations, data, identity, interactions, reference, running, training
from bnlib.landscape import ics_change, layer_gradient_norms
from bnlib.layer import batch_norm
from bnlib.networks.regauged import identity_copy
from bnlib.networks.seed_batched import SeedBatchedMLP, forward
from bnlib.networks.spec import Spec
from bnlib.statistics import feature_rank

ARMS = "none", "bn"
CASES = tuple(product(("relu", "tanh"), ("start", "trained")))  # activation and state
BAND = (0.3, 0.7)  # both thresholds on one side of the mean of the inputs, which is 0
BAND_STREAM = 8  # apart from the streams that networks draw from


def apart(a: Any, b: Any) -> float:
    """The largest difference of two arrays."""
    return float(abs(torch.as_tensor(a).detach() - torch.as_tensor(b).detach()).max())


def norm(
    z: Tensor, gamma: Tensor | None = None, beta: Tensor | None = None, *, eps: float = 0.0
) -> Tensor:
    """gamma x_hat + beta of the rows z (m, c); gamma, beta: (c,), 1 and 0 unless given."""
    return batch_norm(z, None, None, gamma, beta, training=True, eps=eps)


def spread(x: Tensor) -> Tensor:
    """The standard deviation over rows that divides by m."""
    return x.std(0, correction=0)


def moved(x: Tensor, seed: int) -> list[list[str]]:
    """What one forward pass on x (m, 4) moves, and what one optimizer step moves after it, by name.

    In a linear layer without bias, then `nn.BatchNorm1d`.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Linear(4, 3, bias=False), nn.BatchNorm1d(3)).double()
    states = [deepcopy(net.state_dict())]
    loss = (net(x) - 1).square().mean()
    states.append(deepcopy(net.state_dict()))
    loss.backward()
    torch.optim.SGD(net.parameters(), lr=0.1).step()
    stages = pairwise([*states, net.state_dict()])
    return [sorted(name for name in a if not a[name].equal(b[name])) for a, b in stages]


def restored(x: Tensor, eps: float) -> dict[str, float]:
    """Largest |y - x| by what gamma is set to, with beta at the mean."""
    var = x.var(0, correction=0)
    guesses = {"variance": var, "deviation": var.sqrt(), "root of var + eps": (var + eps).sqrt()}
    return {name: apart(norm(x, g, x.mean(0), eps=eps), x) for name, g in guesses.items()}


def two_coordinates(
    x: Tensor, weight: Tensor, target: Tensor, step: float = 0.1
) -> tuple[float, float]:
    """How far two forms of one function are apart before and after a gradient step of each.

        x w + b,  b = 0        gamma BN(x w) + beta,  gamma, beta = spread and mean of x w,  eps = 0

    x: (m, d).  weight: (d, 1).  target: (m, 1), for the mean squared error.
    """

    def stepped(f: Callable[..., Tensor], *start: Tensor) -> tuple[Tensor, Tensor]:
        leaves = [a.detach().clone().requires_grad_() for a in start]
        before = f(*leaves)
        grads = torch.autograd.grad((before - target).square().mean(), leaves)
        return before, f(*(a - step * g for a, g in zip(leaves, grads, strict=True)))

    z = x @ weight
    plain = stepped(lambda w, b: x @ w + b, weight, 0 * weight[0])
    normed = stepped(lambda w, g, b: norm(x @ w, g, b), weight, spread(z), z.mean(0))
    return apart(plain[0], normed[0]), apart(plain[1], normed[1])


def output_moments(normal: Callable[..., Tensor], eps: float = 1e-5) -> tuple[float, float]:
    """How far mean and spread of y are from their laws over 200 draws of all lower weights."""
    gamma, beta = torch.tensor([[2.0, -1.0, 0.5], [0.3, -4.0, 7.0]]).double()
    x, off = normal(4, 64, 5), []
    for draw in range(200):
        w1, w2 = normal(1000 + draw, 5, 20), 10 ** (draw % 7 - 3.0) * normal(2000 + draw, 20, 3)
        z = (x @ w1).relu() @ w2
        y, var = norm(z, gamma, beta, eps=eps), z.var(0, correction=0)
        law = gamma.abs() * (var / (var + eps)).sqrt()
        off.append((apart(y.mean(0), beta), apart(spread(y), law)))
    means, spreads = zip(*off, strict=True)
    return max(means), max(spreads)


def feature_ranks(z: Tensor, gamma: Tensor, beta: Tensor) -> pd.DataFrame:
    """Independent functions among the units of a layer, with the constant: activation by arm.

    z: (m, c), what enters the norm, eps = 0.  gamma, beta: (c,), of the arms that have them.
    """
    ones, zeros = torch.ones_like(gamma), torch.zeros_like(beta)
    arms = {"neither": (ones, zeros), "gamma": (gamma, zeros), "beta": (ones, beta)}
    ranks = {}
    for name, (scale, shift) in (arms | {"both": (gamma, beta)}).items():
        y, _ = reference.forward(z.numpy(), scale.numpy(), shift.numpy(), eps=0)
        acts = {act: activations.FUNCTIONS[act](y) for act in ("relu", "tanh")}
        ranks[name] = {act: feature_rank(features) for act, features in acts.items()}
    return pd.DataFrame(ranks).rename_axis("independent functions of 64 units")


def digits(seeds: int) -> data.Split:
    """The digits of each seed, stacked."""
    return data.Split(*map(np.stack, zip(*map(data.digits_split, range(seeds)), strict=True)))


def band_splits(seeds: int, *, rows: int = 512) -> data.Split:
    """Is a number in the band? x uniform on (-1, 1); as many test rows as training rows.

    Returns x (S, rows, 1) and classes (S, rows).
    """
    streams = (np.random.default_rng([seed, BAND_STREAM]) for seed in range(seeds))
    drawn = np.stack([rng.uniform(-1, 1, (2 * rows, 1)) for rng in streams])
    inside = ((drawn > BAND[0]) & (drawn < BAND[1]))[..., 0].astype(int)
    return data.Split(drawn[:, :rows], inside[:, :rows], drawn[:, rows:], inside[:, rows:])


def accuracies(
    rows: data.Split, arms: Mapping[str, Mapping[str, Any]], hidden: Sequence[int], *, steps: int
) -> dict[str, np.ndarray]:
    """Test accuracy of each arm in percent, (S,), one learning rate for all of them.

    arms: name -> what it sets in `Spec`.  Seeds 0..S-1 are paired: a seed has the same split,
    start and batches in every arm.
    """
    sizes, points = (rows.x_train.shape[2], *hidden, rows.classes), {}
    for name, options in arms.items():
        net = SeedBatchedMLP(Spec(sizes, **options), range(len(rows.x_train)), torch.float32)
        recipe = {"batch": 64, "lr": 0.1, "momentum": 0.9, "schedule": "cosine"}
        training.train(net, rows.x_train, rows.y_train, steps=steps, **recipe)
        points[name] = 100 * np.array(training.scores(net, rows)["accuracy"])
    return points


def identity_passes(rows: Tensor, grad: Tensor, eps: float = 1e-5) -> list[tuple[float, float]]:
    """|y - x| and |dx - dy| with gamma, beta restoring x (m, c): in training, in evaluation."""
    x, dy = rows.numpy(), grad.numpy()
    mean, var = reference.statistics(x)
    gamma, beta = identity.restoring(mean, var, eps=eps)
    y, tape = reference.forward(x, gamma, beta, eps=eps)
    y_eval = running.infer(x, gamma, beta, mean, var, eps=eps)
    dx_eval = running.infer_backward(dy, x, gamma, mean, var, eps=eps).dx
    dx = reference.backward(dy, tape).dx
    return [(apart(y, x), apart(dx, dy)), (apart(y_eval, x), apart(dx_eval, dy))]


def population_gap(
    m: int, draws: int, rng: np.random.Generator
) -> tuple[list[float], float, float]:
    """y - x of `draws` Gaussian batches of m rows with the constants of the population, eps = 0.

    Its root mean square in units of sigma: measured, by the exact law, by the leading term; how
    far the mean square is from the law, in standard errors; the largest |y - x| in evaluation.
    """
    x = 3 + 2 * rng.normal(size=(m, draws))  # each column is one batch
    constants = identity.Constants(np.full(draws, 2.0), np.full(draws, 3.0))
    squares = identity.batch_error(*reference.statistics(x), constants, eps=0) / 4
    law = identity.gaussian_error(m)
    off = abs(squares.mean() - law) / (squares.std() / draws**0.5)
    y = running.infer(x, *constants, constants.beta, constants.gamma**2, eps=0)
    return [float(squares.mean()) ** 0.5, *np.sqrt([law, 1.5 / m])], off, apart(y, x)


@training.one_thread()
def norm_deleted(seed: int, steps: int) -> tuple[float, float, int]:
    """A network of digits and its copy whose norm is the identity: how far the outputs differ.

    In training mode; in evaluation mode with the copy's norm deleted; units without such a copy.
    """
    rows, sizes = data.digits_split(seed), (64, 32, 10)
    net = SeedBatchedMLP(Spec(sizes, eps=0), [seed])
    training.train(net, rows.x_train[None], rows.y_train[None], steps=steps, batch=64, lr=0.1)
    known, x = net.recalibrate(rows.x_train), torch.from_numpy(rows.x_test)
    twin, without = identity_copy(net, known)
    bare = {k: v for k, v in twin.params.items() if k not in ("gamma1", "beta1")}
    in_training = apart(net.forward(net.params, x), net.forward(twin.params, x))
    in_evaluation = net.forward(net.params, x, stats=known)
    return in_training, apart(in_evaluation, forward(Spec(sizes, norm="none"), bare, x)), without


def shapes(x: np.ndarray) -> pd.DataFrame:
    """Four moments of the rows x (m, 1) and of x_hat."""
    x_hat = reference.forward(x, np.ones(1), np.zeros(1), eps=0)[1].x_hat
    measures = np.mean, np.std, stats.skew, stats.kurtosis
    rows = {
        name: [float(f(a.ravel())) for f in measures] for name, a in (("x", x), ("x_hat", x_hat))
    }
    return pd.DataFrame(rows, index=["mean", "sd", "skewness", "excess kurtosis"]).T


def nonlinear_shares() -> pd.DataFrame:
    """The share of variance that no straight line explains, N(0, 1) inputs: activation by case."""
    cases = {"γ = 1, β = 0": (1, 0), "γ = 3, β = 0": (3, 0), "γ = 1, β = 2": (1, 2)}
    phis = {name: activations.FUNCTIONS[name] for name in ("sigmoid", "tanh", "relu")}
    share = activations.nonlinear_share
    return pd.DataFrame(
        {
            case: {name: share(phi, *pair) for name, phi in phis.items()}
            for case, pair in cases.items()
        }
    )


def gradient_turn(
    arm: str, activation: str, state: str, seeds: Sequence[int], *, layer: int = 5, depth: int = 8
) -> np.ndarray:
    """Degrees by which a layer's gradient turns when the layers below it step, (S,).

    The predicted decrease of the step of all is half the loss.  state: "start", or "trained" for
    twenty gradient steps before it (`interactions.descend`).
    """
    at = interactions.problem(arm, depth, seeds, activation=activation)
    params = interactions.descend(at) if state == "trained" else at.arm.params
    loss, grads = interactions.gradient(at.loss, params)
    step = interactions.match_loss(loss, interactions.aim(at, params).slope, 0.5)
    cosine = ics_change(at.loss, params, grads, step).cosine[:, layer - 1]
    return torch.rad2deg(torch.arccos(cosine)).numpy()


def gradient_growth(arm: str, depth: int, seeds: Sequence[int]) -> np.ndarray:
    """log10 of ||dL/dz_1|| / ||dL/dz_h|| at the start, h the last hidden layer, ReLU, (S,)."""
    at = interactions.problem(arm, depth, seeds, width=64)
    norms = layer_gradient_norms(at.arm.params, at.x, at.y, at.arm.spec)
    return (norms[:, 0] / norms[:, -2]).log10().numpy() / 2


def lower_gradients(widths: Sequence[int], rng: np.random.Generator) -> dict[int, float]:
    """|W_1| |dL/dW_1| of linear chains x W_1 W_2 BN w_3, layers of one width, eps = 0: by width.

    Consequence: 0 at width 1, where only the sign of W_1 W_2 is left.
    """
    sizes = {}
    for width in widths:
        x, w1, w2 = (torch.from_numpy(rng.normal(size=(m, width))) for m in (32, width, width))
        w3, target = (torch.from_numpy(rng.normal(size=(m, 1))) for m in (width, 32))
        loss = ((norm(x @ w1.requires_grad_() @ w2) @ w3 - target) ** 2).mean()
        (grad,) = torch.autograd.grad(loss, w1)
        sizes[width] = float(grad.norm() * w1.detach().norm())
    return sizes


def evaluation_ratio(x: Tensor) -> Tensor:
    """Evaluation over training output of `nn.BatchNorm1d` after the one batch x (m, c)."""
    layer: Any = nn.BatchNorm1d(x.shape[1], eps=1e-12, momentum=1.0, affine=False).double()
    in_training = layer(x)
    return layer.eval()(x - x.mean(0) + layer.running_mean) / in_training


def running_spread(seed: int, runs: int, new_weight: float) -> float:
    """Deviation of running means after 200 steps; that of a batch mean is 1."""
    kept = np.zeros(runs)
    for batch in np.random.default_rng([seed, 21]).normal(size=(200, runs)):
        kept = (1 - new_weight) * kept + new_weight * batch
    return float(kept.std())


def companions(row: Tensor, others: Tensor) -> tuple[float, float, float]:
    """What a row's output owes to the rows beside it, in training and in evaluation mode.

    row: (1, c).  others: (n, c), also taken five times as large.  Last, how far the running
    variance moved when the two batches passed in training mode.
    """
    layer, batches = (
        nn.BatchNorm1d(row.shape[1]).double(),
        [torch.cat([row, k * others]) for k in (1, 5)],
    )
    start = deepcopy(layer.running_var)
    training = apart(*(layer(rows)[0] for rows in batches))
    evaluation = apart(*(layer.eval()(rows)[0] for rows in batches))
    return training, evaluation, apart(layer.running_var, start)


def shifted_bias(z: Tensor, target: Tensor) -> tuple[float, float]:
    """What a bias of 100 before the norm changes in y; largest gradient of a bias of 0.

    z: (m, c).  target: (m, c), for the sum of squares.
    """
    bias = torch.zeros(z.shape[1]).double().requires_grad_()
    y = norm(z + bias, eps=1e-5)
    (gradient,) = torch.autograd.grad((y - target).square().sum(), bias)
    return apart(norm(z + 100, eps=1e-5), y), float(gradient.abs().max())


def switches() -> pd.DataFrame:
    """How many parameters and buffers `nn.BatchNorm1d` has by its two switches."""
    rows = []
    for affine, track in product((True, False), repeat=2):
        layer = nn.BatchNorm1d(3, affine=affine, track_running_stats=track)
        rows.append([affine, track, len(list(layer.parameters())), len(list(layer.buffers()))])
    return pd.DataFrame(rows, columns=["affine", "track_running_stats", "parameters", "buffers"])


def jacobian(x: Tensor) -> Any:
    """dx_hat_i / dx_j of the rows x (m,) of one channel by autodiff, eps = 0, (m, m)."""
    return torch.autograd.functional.jacobian(lambda a: norm(a[:, None])[:, 0], x)


def blocked(x: Tensor) -> tuple[int, float]:
    """Rank of the Jacobian of the rows x (m,), and its distance from the formula of the page."""
    by_autodiff, m = jacobian(x), len(x)
    x_hat = (x - x.mean()) / spread(x)
    formula = (torch.eye(m).double() - 1 / m - torch.outer(x_hat, x_hat) / m) / spread(x)
    return int((torch.linalg.svdvals(by_autodiff) > 1e-9).sum()), apart(by_autodiff, formula)


def refusal(rows: Tensor) -> str:
    """What `nn.BatchNorm1d` says to rows (m, c) that it does not take; "" if it takes them."""
    try:
        nn.BatchNorm1d(rows.shape[1])(rows)
    except ValueError as error:
        return str(error)
    return ""


def output_and_gradient(
    x: Tensor, target: Tensor, weight: Tensor, gamma: float = 1.0
) -> tuple[Tensor, Tensor]:
    """y = gamma BN(x w) of rows x (m, d), eps = 0, and the gradient of mean (y - target)^2 in w."""
    leaf = weight.detach().clone().requires_grad_()
    y = gamma * norm(x @ leaf)
    (grad,) = torch.autograd.grad((y - target).square().mean(), leaf)
    return y.detach(), grad


def scale_misses(x: Tensor, target: Tensor, weight: Tensor, k: float = 5.0) -> tuple[float, float]:
    """How far y at k w is from y at w, and k times the gradient at k w from that at w."""
    y, grad = output_and_gradient(x, target, weight)
    y_far, grad_far = output_and_gradient(x, target, k * weight)
    return apart(y_far, y), apart(k * grad_far, grad)


def lengths(x: Tensor, target: Tensor, weight: Tensor, steps: int = 50) -> list[float]:
    """The length of w at the start and after each plain gradient step of rate 1/2."""
    norms = [float(weight.norm())]
    for _ in range(steps):
        weight = weight - 0.5 * output_and_gradient(x, target, weight)[1]
        norms.append(float(weight.norm()))
    return norms


def graph_depths(batches: Sequence[Tensor], weight: Tensor) -> list[int]:
    """How deep the graph behind a running mean of x w is after each batch x, if none is cut."""

    def depth(node: Any) -> int:
        return (
            0 if node is None else 1 + max((depth(up) for up, _ in node.next_functions), default=0)
        )

    leaf, kept, depths = weight.clone().requires_grad_(), torch.zeros(weight.shape[1]), []
    for x in batches:
        kept = 0.9 * kept + 0.1 * (x @ leaf).mean(0)
        depths.append(depth(kept.grad_fn))
    return depths


def two_modes(rows: Tensor) -> dict[str, bool]:
    """Training mode without gradients, then evaluation mode with them: what each does."""
    layer: Any = nn.BatchNorm1d(rows.shape[1]).double()
    with torch.no_grad():
        layer(rows)
    kept = layer.running_mean.clone()
    y = layer.eval()(rows.clone().requires_grad_())
    frozen = layer.running_mean.equal(kept)
    return {"moved": bool(kept.min() > 0.4), "frozen": frozen, "gradients": y.requires_grad}


def unbiased(x: Tensor, dy: Tensor) -> tuple[float, float, float]:
    """Normalizing with m - 1: mean square of x_hat, dx over the usual dx, miss of its law.

    x, dy: (m, 1), eps = 0.
    """
    x = x.clone().requires_grad_()
    x_hat = (x - x.mean(0)) / x.std(0, correction=1)
    dx, usual = (torch.autograd.grad(out, x, dy)[0] for out in (x_hat, norm(x)))
    miss = apart(dx, ((len(x) - 1) / len(x)) ** 0.5 * usual)
    return float((x_hat.detach() ** 2).mean()), float((dx / usual).mean()), miss


def sums_of_dx(x: Tensor, dy: Tensor, eps: float) -> tuple[float, float, float]:
    """sum dx, sum dx x_hat, and its formula eps dgamma / tau^3, of one channel x (m, 1)."""
    _, tape = reference.forward(x.numpy(), np.ones(1), np.zeros(1), eps=eps)
    grads = reference.backward(dy.numpy(), tape)
    law = eps * tape.rstd[0] ** 3 * grads.dgamma[0]
    return float(grads.dx.sum()), float((grads.dx * tape.x_hat).sum()), float(law)
