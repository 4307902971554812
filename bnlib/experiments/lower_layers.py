"""What reaches the layers below a normalization, and what they make of it.

Networks are `SeedBatchedMLP`s of three widths: W1, batch normalization, ReLU, W2. Everything is
per seed and per unit; gradients are those of each seed's own mean loss.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from bnlib import layer, reference, training
from bnlib.networks.seed_batched import Params, SeedBatchedMLP, Statistics, Trace
from bnlib.networks.spec import Spec

SIZES = (64, 32, 10)


def network(
    seeds: int, *, eps: float, dtype: torch.dtype = torch.float64, pairwise: bool = False
) -> SeedBatchedMLP:
    """Networks of seeds 0..seeds-1 for the digits: 64 inputs, 32 normalized units, 10 classes."""
    kind = PairwiseMLP if pairwise else SeedBatchedMLP
    return kind(Spec(SIZES, eps=eps), range(seeds), dtype)


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
        many = {name: value.repeat_interleave(m // 2, 0) for name, value in params.items()}
        seen = super().trace(many, x.reshape(s * m // 2, 2, d))
        return seen._replace(output=seen.output.reshape(s, m, -1))

    def forward(self, params: Params, x: Tensor, *, stats: Statistics | None = None) -> Tensor:
        """Outputs (S, m, k) on x (S, m, d), m even."""
        return self.trace(params, x, stats=stats).output


def gradients(net: SeedBatchedMLP, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """Gradients of all parameters on one batch x (S, m, d), y (S, m), in training mode."""
    p = {name: value.detach().requires_grad_() for name, value in net.params.items()}
    losses = training.seed_losses(net.forward(p, x.to(net.dtype)), y, "cross-entropy")
    return dict(zip(p, torch.autograd.grad(losses.sum(), list(p.values())), strict=True))


def bias_share(net: SeedBatchedMLP, x: Tensor, y: Tensor) -> float:
    """Largest gradient of a bias put before BN, over the largest gradient of the weights there."""
    net.params = {**net.params, "b1": torch.zeros_like(net.params["W1"][..., 0])}
    found = gradients(net, x, y)
    return float((found["b1"].abs().amax(1) / found["W1"].abs().amax((1, 2))).max())


def convolution_bias_share(images: Tensor, y: Tensor, generator: torch.Generator) -> float:
    """`bias_share` of a 3 x 3 convolution with zero padding; images (n, 1, h, w), y below 10."""
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
        each.params["gamma1"] = torch.linspace(0.7, 2.2, SIZES[1]).double().expand(seeds, -1)
    net.params["W1"] = scale * net.params["W1"]
    w, found, other = net.params["W1"], gradients(net, x, y), gradients(unscaled, x, y)
    var = net.trace(net.params, x).stats[1].var
    along, size = (w * found["W1"]).sum(2), w.norm(dim=2) * found["W1"].norm(dim=2)
    predicted = eps / (var + eps) * net.params["gamma1"] * found["gamma1"]
    miss = (found["W1"] - other["W1"] / scale).abs().max() / found["W1"].abs().max()
    return Relations(
        float((along.abs() / size).max()),
        float(((along - predicted).abs() / size).max()),
        float(miss),
    )


class Growth(NamedTuple):
    """size (steps + 1, S, h): |w|^2 of every unit.  law (steps, S, h): lr^2 |dw|^2 of each step."""

    size: np.ndarray
    law: np.ndarray


def norm_growth(seeds: int, x: Tensor, y: Tensor, *, eps: float, steps: int, lr: float) -> Growth:
    """Squared norms of the weights before BN under plain gradient descent on one fixed batch."""
    net, m, seen = network(seeds, eps=eps), x.shape[1], []
    order = torch.arange(m).expand(steps, seeds, m)

    def look(step: training.Step) -> None:
        w, dw = step.params["W1"].detach(), step.grads["W1"]
        seen.append((w.square().sum(2).numpy(), lr**2 * dw.square().sum(2).numpy()))

    training.train(net, x, y, steps=steps, batch=m, lr=lr, order=order, on_step=look)
    size = [before for before, _ in seen] + [net.params["W1"].square().sum(2).numpy()]
    return Growth(np.stack(size), np.stack([law for _, law in seen]))


class Arm(NamedTuple):
    """What one way of training did, one entry a seed.

    moved (S,): |W1 - start| / |start|.  unit (S,): the same for the median unit.  norms
    (steps, S, h): |dw| of every unit, empty if W1 was not trained.  loss (S,): mean over the last
    50 steps.  accuracy (S,): on the test rows, with statistics of all training rows.
    """

    moved: np.ndarray
    unit: np.ndarray
    norms: np.ndarray
    loss: np.ndarray
    accuracy: np.ndarray


def train_arm(net: SeedBatchedMLP, splits: Sequence[Any], **recipe: Any) -> Arm:
    """Train `net` on one `data.Split` a seed, and say how far the weights below BN moved.

    recipe: as for `training.train`.
    """
    x, y, x_test, y_test = (np.stack(part) for part in zip(*splits, strict=True))
    start, norms = net.params["W1"].clone(), []

    def look(step: training.Step) -> None:
        if "W1" in step.grads:
            norms.append(step.grads["W1"].norm(dim=2).numpy())

    history = training.train(net, x, y, on_step=look, **recipe)
    stats = recipe.get("stats") or net.recalibrate(torch.from_numpy(x))
    change = net.params["W1"] - start
    per_unit = (change.norm(dim=2) / start.norm(dim=2)).median(dim=1).values
    return Arm(
        (change.norm(dim=(1, 2)) / start.norm(dim=(1, 2))).numpy(),
        per_unit.numpy(),
        np.array(norms),
        history.loss[-50:].mean(0),
        training.accuracy(net, x_test, y_test, stats=stats),
    )


def norm_summary(norms: np.ndarray) -> dict[str, float]:
    """Median, mean and largest of all gradient norms, and how much the largest 1 % add up to."""
    n = np.sort(norms.ravel())
    top = n[-max(1, len(n) // 100) :].sum() / n.sum()
    found = (np.median(n), n.mean(), n[-1], top)
    names = ("median |dw|", "mean |dw|", "largest |dw|", "share of top 1 %")
    return dict(zip(names, map(float, found), strict=True))


def energy_passed(x: np.ndarray, rng: np.random.Generator, *, eps: float) -> np.ndarray:
    """Share of a random dy that passes each channel of rows x (m, c): |tau dx|^2 / |dy|^2, (c,).

    gamma = 1; `laws.energy_kept` is its mean over isotropic dy.
    """
    dy, one = rng.normal(size=x.shape), np.ones(x.shape[1])
    tape = reference.forward(x, one, 0 * one, eps=eps)[1]
    dx = reference.backward(dy, tape).dx / tape.rstd
    return np.square(dx).sum(0) / np.square(dy).sum(0)


def length_kept_by_two(
    x: Tensor, net: SeedBatchedMLP, rng: np.random.Generator
) -> dict[str, float]:
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
