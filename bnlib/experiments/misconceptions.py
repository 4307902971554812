"""What the page of misconceptions trains and steps, so that its cells stay short."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bnlib import data, interactions, reference, training
from bnlib.activations import FUNCTIONS
from bnlib.floors import feature_rank
from bnlib.interactions import aim, descend, problem
from bnlib.landscape import ics_change, layer_gradient_norms
from bnlib.layer import batch_norm
from bnlib.networks.seed_batched import SeedBatchedMLP
from bnlib.networks.spec import Spec

BAND = (0.3, 0.7)  # both thresholds on one side of the mean of the inputs, which is 0
BAND_STREAM = 8  # apart from the streams that networks draw from


def band_splits(seeds: Sequence[int], *, rows: int = 512) -> data.Split:
    """Is a number in the band? x uniform on (-1, 1); as many test rows as training rows.

    Returns x (S, rows, 1) and classes (S, rows). Raises ValueError for fewer than 2 rows.
    """
    if rows < 2:
        raise ValueError(f"rows: want at least 2 to normalize over, got {rows}")
    drawn = np.stack(
        [np.random.default_rng([s, BAND_STREAM]).uniform(-1, 1, (2 * rows, 1)) for s in seeds]
    )
    inside = ((drawn > BAND[0]) & (drawn < BAND[1]))[..., 0].astype(int)
    return data.Split(drawn[:, :rows], inside[:, :rows], drawn[:, rows:], inside[:, rows:])


def accuracies(
    rows: data.Split, arms: Mapping[str, Mapping[str, Any]], hidden: Sequence[int], *, steps: int
) -> dict[str, np.ndarray]:
    """Test accuracy of each arm in percent, (S,), one learning rate for all of them.

    arms: name -> what it sets in `Spec`.  Seeds 0..S-1 are paired: a seed has the same split,
    start and batches in every arm.
    """
    seeds, found = range(len(rows.x_train)), {}
    sizes = (rows.x_train.shape[2], *hidden, rows.classes)
    for name, options in arms.items():
        net = SeedBatchedMLP(Spec(sizes, **options), seeds, torch.float32)
        recipe = {"batch": 64, "lr": 0.1, "momentum": 0.9, "schedule": "cosine"}
        training.train(net, rows.x_train, rows.y_train, steps=steps, **recipe)
        found[name] = 100 * np.array(training.scores(net, rows)["accuracy"])
    return found


def gradient_turn(
    arm: str, activation: str, state: str, seeds: Sequence[int], *, layer: int = 5, depth: int = 8
) -> np.ndarray:
    """Degrees by which a layer's gradient turns when the layers below it step, (S,).

    The step of all promises to halve the loss.  state: "start", or "trained" for twenty gradient
    steps before it (`interactions.descend`).
    """
    at = problem(arm, depth, seeds, activation=activation)
    params = descend(at) if state == "trained" else at.arm.params
    loss, grads = interactions.gradient(at.loss, params)
    step = interactions.match_loss(loss, aim(at, params).slope, 0.5)
    cosine = ics_change(at.loss, params, grads, step).cosine[:, layer - 1]
    return torch.rad2deg(torch.arccos(cosine)).numpy()


def gradient_growth(arm: str, depth: int, seeds: Sequence[int]) -> np.ndarray:
    """log10 of ||dL/dz_1|| / ||dL/dz_h|| at the start, h the last hidden layer, ReLU, (S,)."""
    at = problem(arm, depth, seeds, width=64)
    norms = layer_gradient_norms(at.arm.params, at.x, at.y, at.arm.spec)
    return (norms[:, 0] / norms[:, -2]).log10().numpy() / 2


def two_coordinates(
    x: Tensor, weight: Tensor, target: Tensor, *, step: float
) -> tuple[float, float]:
    """How far two forms of one function are apart before and after a gradient step of each.

        x w + b,  b = 0        gamma BN(x w) + beta,  gamma, beta = spread and mean of x w,  eps = 0

    x: (m, d).  weight: (d, 1).  target: (m, 1), for the mean squared error.
    """
    z = x @ weight
    plain = _stepped(lambda w, b: x @ w + b, (weight, 0 * weight[0]), target, step)
    start = weight, z.std(0, correction=0), z.mean(0)
    normed = _stepped(lambda w, g, b: _norm(x @ w, g, b), start, target, step)
    before, after = (float((a - b).abs().max()) for a, b in zip(plain, normed, strict=True))
    return before, after


def feature_ranks(
    z: np.ndarray, arms: Mapping[str, tuple[np.ndarray, np.ndarray]]
) -> dict[str, dict[str, int]]:
    """Independent functions among the units of a layer, with the constant: arm -> activation.

    z: (m, c), what enters the norm; arms: name -> (gamma, beta), (c,) each.  eps = 0.
    """
    found = {}
    for name, (gamma, beta) in arms.items():
        y, _ = reference.forward(z, gamma, beta, eps=0)
        found[name] = {act: feature_rank(FUNCTIONS[act](y)) for act in ("relu", "tanh")}
    return found


def lower_gradient(width: int, rng: np.random.Generator) -> float:
    """|W_1| |dL/dW_1| of the linear chain x W_1 W_2 BN w_3, layers of one width, eps = 0.

    Consequence: 0 at width 1, where only the sign of W_1 W_2 is left.
    """
    x, w1, w2 = (torch.from_numpy(rng.normal(size=(m, width))) for m in (32, width, width))
    w3, target = (torch.from_numpy(rng.normal(size=(m, 1))) for m in (width, 32))
    w1.requires_grad_()
    loss = ((_norm(x @ w1 @ w2) @ w3 - target) ** 2).mean()
    (grad,) = torch.autograd.grad(loss, w1)
    return float(grad.norm() * w1.detach().norm())


def jacobian(x: Tensor) -> Tensor:
    """dx_hat_i / dx_j of the rows x (m,) of one channel by autodiff, eps = 0, (m, m)."""
    found: Any = torch.autograd.functional.jacobian(lambda a: _norm(a[:, None])[:, 0], x)
    return found


def output_and_gradient(
    x: Tensor, target: Tensor, weight: Tensor, gamma: float = 1.0
) -> tuple[Tensor, Tensor]:
    """y = gamma BN(x w) of rows x (m, d), eps = 0, and the gradient of mean (y - target)^2 in w."""
    leaf = weight.detach().clone().requires_grad_()
    y = gamma * _norm(x @ leaf)
    (grad,) = torch.autograd.grad((y - target).square().mean(), leaf)
    return y.detach(), grad


def _norm(z: Tensor, gamma: Tensor | None = None, beta: Tensor | None = None) -> Tensor:
    return batch_norm(z, None, None, gamma, beta, training=True, eps=0)


def _stepped(
    f: Callable[..., Tensor], start: Sequence[Tensor], target: Tensor, step: float
) -> tuple[Tensor, Tensor]:
    """Outputs of f at its parameters, and after one step of all of them."""
    leaves = [a.detach().clone().requires_grad_() for a in start]
    before = f(*leaves)
    grads = torch.autograd.grad((before - target).square().mean(), leaves)
    after = f(*(a - step * g for a, g in zip(leaves, grads, strict=True)))
    return before.detach(), after.detach()
