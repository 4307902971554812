"""What the chapter measures in networks: an inserted layer, convolutions, a teacher's students."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from bnlib import data, identity, statistics, training
from bnlib.networks.efficientnet import EfficientNetLite, shipped_state_dict
from bnlib.networks.seed_batched import SeedBatchedMLP
from bnlib.networks.spec import Spec
from bnlib.parameters import one_of
from bnlib.rows import Moments
from bnlib.statistics import Interval
from bnlib.verdicts import simultaneous

LAYERS = {  # normalizations of EfficientNet-Lite0 from the first to the last, and what they follow
    "_bn0": "stem",
    "_blocks.1._bn1": "depthwise, early",
    "_blocks.7._bn1": "depthwise, middle",
    "_blocks.14._bn0": "expand, late",
    "_blocks.14._bn2": "project, late",
    "_bn1": "head",
}
ARMS = {"γ, β": ["gamma", "beta"], "W, γ, β": ["W1", "gamma", "beta"], "scratch": None}
INPUTS, UNITS = 8, 16  # of a teacher
COLUMNS = ["trained", "m", "steps", "relative MSE", "median d", "low", "high"]
COLUMNS += ["share d < 0.1", "loss, last fifth"]

FORMS = ("as they are", "centred", "standardized", "whitened", "shifted")

Given = tuple[SeedBatchedMLP, dict[int, Moments] | None]  # networks, and statistics as constants


class Plain(NamedTuple):
    """A network without norm for each seed, and its own split of the digits."""

    net: SeedBatchedMLP
    rows: data.Split  # x_train (S, n, 64), y_train (S, n), x_test, y_test


def on_digits(seeds: int) -> Plain:
    """Two-layer tanh networks of 32 units at their initialization, one a seed."""
    splits = zip(*(data.digits_split(k) for k in range(seeds)), strict=True)
    net = SeedBatchedMLP(Spec((64, 32, 10), "tanh", norm="none"), range(seeds))
    return Plain(net, data.Split(*(torch.as_tensor(np.stack(part)) for part in splits)))


def in_form(rows: data.Split, form: str) -> Tensor:
    """The training rows (S, n, d) of each split, changed by what all of its training rows say.

    "as they are"; "centred"; "standardized" as `data.standardized`; "whitened": equal variance
    along the d/2 largest principal components, nothing along others; "shifted": 1 added.
    Standardized and whitened rows are scaled to the total variance of the rows as they are.
    """
    x = rows.x_train
    centred = x - x.mean(dim=1, keepdim=True)
    if form in ("as they are", "shifted"):
        return x + float(form == "shifted")
    if form == "centred":
        return centred
    if one_of("form", form, FORMS) == "standardized":
        made = torch.stack([torch.as_tensor(data.standardized(each.numpy())) for each in x])
    else:
        _, spread, axes = torch.linalg.svd(centred, full_matrices=False)
        largest = axes[:, : x.shape[2] // 2]
        made = centred @ (largest.mT / spread[:, None, : x.shape[2] // 2]) @ largest
    total = [value.var(dim=1, correction=0).sum(dim=1)[:, None, None] for value in (x, made)]
    return made * (total[0] / total[1]).sqrt()


def insert(plain: SeedBatchedMLP, norm: str, x: Tensor) -> Given:
    """`plain` with a norm after its first linear map, gamma and beta restoring the rows x.

    norm: "batch", or "frozen" for the statistics of x (S, m, d).  The bias of that map is dropped,
    as a norm cancels it: beta contains it, and the frozen mean must not.
    """
    z = plain.trace(plain.params, x).pre[1].detach()
    mean, var = z.mean(dim=1), z.var(dim=1, correction=0)
    net = SeedBatchedMLP(replace(plain.spec, norm=norm), plain.seeds, plain.dtype)
    gamma, beta = identity.restoring(mean, var, eps=plain.spec.eps)
    same = {name: value.clone() for name, value in plain.params.items() if name in net.params}
    net.params |= same | {"gamma1": gamma, "beta1": beta}
    return net, {1: Moments(mean - plain.params["b1"], var)} if norm == "frozen" else None


def changes(plain: Plain, m: int) -> np.ndarray:
    """What an inserted layer changes for the first m rows of each split: (modes, parts, S).

    Modes: training, with constants that restore these rows; evaluation, with constants and stored
    statistics of all training rows.  Parts: largest change of an output; relative change of the
    gradient of W1; the cosine of the two; share of the energy of the gradient below the layer.
    """
    x, y = (part[:, :m] for part in plain.rows[:2])
    out0, dw0, dz0 = _backprop((plain.net, None), x, y)
    changed = []
    for norm, restored in ("batch", x), ("frozen", plain.rows.x_train):
        out, dw, dz = _backprop(insert(plain.net, norm, restored), x, y)
        parts = (
            (out - out0).abs().amax((1, 2)),
            (dw - dw0).norm(dim=1) / dw0.norm(dim=1),
            torch.cosine_similarity(dw, dw0),
            (dz - dz0).square().mean((1, 2)) / dz0.square().mean((1, 2)),
        )
        changed.append(torch.stack(parts).numpy())
    return np.stack(changed)


def gradient_change(plain: Plain, form: str, sizes: Sequence[int]) -> np.ndarray:
    """Relative change of the gradient of W1 in training mode, (sizes, S), data in that form."""
    rows = plain.rows._replace(x_train=in_form(plain.rows, form))
    return np.stack([changes(plain._replace(rows=rows), m)[0, 1] for m in sizes])


def _backprop(given: Given, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Outputs, and the gradients of W1, (S, weights), and of the first layer's outputs."""
    net, stats = given
    params = {name: v.clone().requires_grad_() for name, v in net.params.items()}
    seen = net.trace(params, x, stats=stats)
    loss = training.seed_losses(seen.output, y, "cross-entropy").sum()  # seeds do not mix
    dw, dz = torch.autograd.grad(loss, [params["W1"], seen.pre[1]])
    return seen.output.detach(), dw.flatten(1), dz


@training.one_thread()
def partings(plain: Plain, *, steps: int = 100) -> tuple[dict[str, np.ndarray], Plain]:
    """Distance of W1 with and without the inserted layer over how far the plain W1 has moved.

    One array (S, steps) for each way to train the inserted layer; and the plain network, trained.
    """

    def weights(given: Given, **options: Any) -> Tensor:
        """W1 at every step of training, (steps + 1, S, weights)."""
        net, stats = given
        kept: list[Tensor] = []
        how = {"stats": stats, "steps": steps, "batch": 64, "lr": 0.1, **options}
        training.train(
            net, *plain.rows[:2], on_step=lambda t: kept.append(t.params["W1"].clone()), **how
        )
        return torch.stack([*kept, net.params["W1"]]).flatten(2).detach()

    batch, frozen, still = (
        insert(plain.net, norm, plain.rows.x_train) for norm in ("batch", "frozen", "frozen")
    )
    trained = copy(plain.net)
    alone = weights((trained, None))
    moved = (alone - alone[0]).norm(dim=2)[1:]
    paths = {
        "training mode": weights(batch),
        "frozen statistics": weights(frozen),
        "frozen statistics, γ not trained": weights(still, trainable=["W", "beta", "b"]),
    }
    parted = {name: ((w - alone).norm(dim=2)[1:] / moved).numpy().T for name, w in paths.items()}
    return parted, plain._replace(net=trained)


@training.one_thread()
def loss_changes(plain: Plain, sizes: Sequence[int]) -> tuple[np.ndarray, dict[int, np.ndarray]]:
    """Change of the test loss by a layer that restores the population of the training rows, (S,).

    First in evaluation with the statistics of that population, then in training mode with test
    batches of each size, whole ones alone.
    """

    def loss(given: Given, m: int) -> np.ndarray:
        (net, stats), parts = given, []
        for x, y in zip(*(part.split(m, dim=1) for part in plain.rows[2:]), strict=True):
            if x.shape[1] == m:
                out = net.forward(net.params, x, stats=stats)
                parts.append(training.seed_losses(out, y, "cross-entropy"))
        return torch.stack(parts).mean(dim=0).numpy()

    bare, x = (plain.net, None), plain.rows.x_train
    frozen, batch = (insert(plain.net, norm, x) for norm in ("frozen", "batch"))
    still = loss(frozen, 32) - loss(bare, 32)
    return still, {m: loss(batch, m) - loss(bare, m) for m in sizes}


class Inputs(NamedTuple):
    """Statistics of one layer's inputs, image by image; the images are the population."""

    mean: np.ndarray  # (n, c), of each image about the channel's mean
    var: np.ndarray  # (n, c), biased
    kurtosis: np.ndarray  # (c,), of all positions of all images
    positions: int  # H W


def describe(x: np.ndarray, *, channels: int = 64, least: float = 1e-6) -> Inputs:
    """The first `channels` channels of x (n, c, positions) whose variance exceeds `least`."""
    x = x[:, np.flatnonzero(x.var(axis=(0, 2)) > least)[:channels]].astype(np.float64)
    c = x - x.mean(axis=(0, 2), keepdims=True)
    square = c * c
    kurtosis = (square * square).mean(axis=(0, 2)) / square.mean(axis=(0, 2)) ** 2
    return Inputs(c.mean(axis=2), c.var(axis=2), kurtosis, x.shape[2])


def layer_inputs(net: Any, images: Tensor, names: Mapping[str, str]) -> dict[str, Inputs]:
    """`describe` for the inputs of the normalizations `names` (hook name -> name to use) of a net.

    net(images, hook=...) calls hook(name, tensor, "pre"), as `EfficientNetLite` does.
    """
    taken: dict[str, list[np.ndarray]] = {name: [] for name in names}

    def keep(name: str, tensor: Tensor, when: str) -> None:
        if when == "pre" and name in taken:
            taken[name].append(tensor[:, :192].flatten(2).numpy())  # what memory can hold

    with torch.no_grad():
        for part in images.split(8):
            net(part, hook=keep)
    return {names[name]: describe(np.concatenate(parts)) for name, parts in taken.items()}


def random_inputs(images: Tensor, *, seed: int) -> dict[str, Inputs]:
    """The same of 32 random filters of two sizes, stride 8: needs no trained network."""
    generator, inputs = torch.Generator().manual_seed(seed), {}
    for size in (3, 7):
        filters = torch.randn(32, 3, size, size, generator=generator)
        maps = torch.nn.functional.conv2d(images / 128 - 1, filters, stride=8)
        inputs[f"random {size}x{size}"] = describe(maps.flatten(2).numpy())
    return inputs


def image_errors(mean: np.ndarray, var: np.ndarray, batches: np.ndarray) -> np.ndarray:
    """`identity.batch_error` / sigma^2 of batches of whole images, population constants.

    mean, var: (n, c), moments of each of n images of equally many positions, var biased; all n
    are the population.  batches: (b, N) numbers of images.  Returns (b, c).
    The rows of an image depend on each other, so N H W is not the m of `error`.
    """
    center = mean.mean(axis=0)
    mean = mean - center  # large offsets would cancel in the squares
    spread = (var + mean**2).mean(axis=0)
    mu = mean[batches].mean(axis=1)
    batch_var = (var + mean**2)[batches].mean(axis=1) - mu**2
    constants = identity.Constants(np.sqrt(spread), np.zeros_like(spread))
    return identity.batch_error(mu, batch_var, constants, eps=0.0) / spread


def batch_effects(inputs: Inputs, batches: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`image_errors`, and each over what as many independent rows would make of it, (b, c) both."""
    errors = image_errors(inputs.mean, inputs.var, batches)
    m = batches.shape[1] * inputs.positions
    return errors, errors * m / identity.leading_error(1, inputs.kurtosis)


def design_effect(inputs: Inputs, images: int, rng: Any, *, batches: int = 12) -> dict[str, float]:
    """The error law with whole images as batches, drawn with replacement; medians over channels.

        effect = D / ((1 + (kurtosis - 1) / 4) / (N H W))

    m: N H W.  error: D, with the population's constants.  low, high: 95 % percentile interval of
    the effect, batches resampled.  rows: independent rows that one image is worth, H W / effect.
    fits: share of channels with an effect in [0.5, 2].
    Consequence: an effect of 1 in the limit of many independent rows.
    """
    errors, ratio = batch_effects(inputs, rng.integers(0, len(inputs.mean), (batches, images)))

    def middle(values: np.ndarray) -> float:
        return float(np.median(values.mean(axis=0)))

    effect, low, high = statistics.cluster_bootstrap(
        ratio, np.arange(batches), middle, resamples=1000, rng=rng
    )
    row = {"m": images * inputs.positions, "error": middle(errors)}
    row |= {"effect": effect, "low": low, "high": high}
    mean = ratio.mean(axis=0)
    return row | {"rows": inputs.positions / effect, "fits": ((mean >= 0.5) & (mean <= 2)).mean()}


def design_effects(inputs: Mapping[str, Inputs], *, seed: int) -> pd.DataFrame:
    """`design_effect` for every layer and batches of N = 2 and of 8 images."""
    effects = {
        (layer, n): design_effect(inputs[layer], n, np.random.default_rng([seed, 10, place]))
        for place, (layer, n) in enumerate(product(inputs, (2, 8)))
    }
    return pd.DataFrame(effects).T.rename_axis(["layer", "N"])


@training.one_thread()
def photographs(crops: int, *, seed: int, random: bool) -> pd.DataFrame:
    """`design_effects` on crops of two photographs in EfficientNet-Lite0, or in random filters."""
    images = data.photo_crops(crops, seed=seed)
    if random:
        return design_effects(random_inputs(images, seed=seed), seed=seed)
    net = EfficientNetLite(shipped_state_dict())
    return design_effects(layer_inputs(net, images, LAYERS), seed=seed)


class Teacher(NamedTuple):
    """S teachers y = top tanh(weight x + bias) with their data."""

    x: Tensor  # (S, n, 8)
    y: Tensor  # (S, n, 1)
    weight: Tensor  # (S, 16, 8), rows of scales over a factor of ten
    bias: Tensor  # (S, 16)
    top: Tensor  # (S, 1, 16)


def teachers(seeds: int, entropy: list[int], *, rows: int = 4096) -> Teacher:
    """One teacher a seed, each drawn from the generator (*entropy, its number)."""
    parts = []
    for k in range(seeds):
        rng = np.random.default_rng([*entropy, k])
        scale = 10 ** rng.uniform(-0.5, 0.5, (UNITS, 1)) / np.sqrt(INPUTS)
        weight = rng.standard_normal((UNITS, INPUTS)) * scale
        bias, top = rng.standard_normal(UNITS), rng.standard_normal((1, UNITS))
        parts.append((rng.standard_normal((rows, INPUTS)), weight, bias, top))
    x, weight, bias, top = (torch.tensor(np.stack(part)) for part in zip(*parts, strict=True))
    return Teacher(x, torch.tanh(x @ weight.mT + bias[:, None]) @ top.mT, weight, bias, top)


def study(teacher: Teacher, arm: str, m: int, steps: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Train Linear - BN - tanh - Linear on the teacher's outputs with batches of m.

    arm: one of ARMS. "γ, β" and "W, γ, β" start from the teacher's weights and keep its output
    weights: SGD 0.02, momentum 0.9. "scratch" trains all from its own start: Adam 0.01. All with a
    cosine schedule. The teacher's bias is part of mu, except from scratch, where no unit
    corresponds to a teacher's and d refers to the unit's own input.
    Returns the evaluation error as a share of the variance of y, (S,); d of each unit, (S, 16), at
    exact statistics; and the relative change of the training loss over the last fifth of the steps.
    """
    net = SeedBatchedMLP(Spec((INPUTS, UNITS, 1), "tanh"), range(len(teacher.x)))
    how: dict[str, Any] = {"lr": 0.01, "optimizer": "adam"}
    if arm != "scratch":
        net.params |= {"W1": teacher.weight.clone(), "W2": teacher.top.clone()}
        how = {"lr": 0.02, "momentum": 0.9}
    how |= {"steps": steps, "batch": m, "loss": "mse", "schedule": "cosine"}
    loss = training.train(net, teacher.x, teacher.y, trainable=ARMS[arm], **how).loss
    stats = net.recalibrate(teacher.x)
    tau, mu = (stats[1].var + net.spec.eps).sqrt(), stats[1].mean
    mu = mu if arm == "scratch" else mu + teacher.bias
    d = torch.hypot(net.params["gamma1"] / tau - 1, (net.params["beta1"] - mu) / tau)
    mse = training.losses(net, teacher.x, teacher.y, loss="mse", stats=stats)
    fifth = steps // 5
    late = loss[-fifth:].mean() / loss[-2 * fifth : -fifth].mean() - 1
    variance = teacher.y.var((1, 2), correction=0).numpy()
    return mse / variance, d.detach().numpy(), float(late)


@training.one_thread()
def comparison(
    seed: int, seeds: int, sizes: Sequence[int], steps: int
) -> tuple[pd.DataFrame, Interval, Interval]:
    """`study` of every arm and batch size, and of "γ, β" at the last size with four times as long.

    A teacher's d is that of its median unit; the table has the median over teachers with its 95 %
    interval.  Then, with only gamma and beta trained, d at the last batch size over d at the first,
    and d after four times the steps over d: geometric means; both intervals hold with 95 %.
    """
    school, rows, typical = teachers(seeds, [seed, 12]), [], []
    for arm, m, length in [*product(ARMS, sizes, [steps]), ("γ, β", sizes[-1], 4 * steps)]:
        mse, d, late = study(school, arm, m, length)
        typical.append(np.median(d, axis=1))
        middle = statistics.median_interval(typical[-1])
        rows.append([arm, m, length, np.median(mse), *middle, (d < 0.1).mean(), late])
    few, many, longer = (np.log(typical[k]) for k in (0, len(sizes) - 1, -1))
    logs = (
        statistics.paired_difference(after, before, simultaneous(2))[:3]
        for after, before in ((many, few), (longer, many))
    )
    by_rows, by_steps = (Interval(*(float(np.exp(v)) for v in log)) for log in logs)
    return pd.DataFrame(rows, columns=COLUMNS), by_rows, by_steps
