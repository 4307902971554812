"""What is a theorem, checked: small networks in float64, and shipped networks on photographs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional

from bnlib import data, training
from bnlib.chapters.transfer import domains
from bnlib.chapters.transfer.domains import SPEC, Trained
from bnlib.identity import reparameterized
from bnlib.networks.efficientnet import EfficientNetLite, shipped_state_dict
from bnlib.networks.seed_batched import SeedBatchedMLP, Statistics
from bnlib.networks.spec import Spec
from bnlib.rows import Moments
from bnlib.statistics import relative_gap

CONTRAST = 0.4, 0.3  # factor and offset on every pixel of a digit
PLAIN_STEPS = 50


class Contrast(NamedTuple):
    """Largest difference of logits under a contrast change, in units of their spread."""

    exact: float  # own statistics, eps = 0
    stored_eps: float  # own statistics, the eps of training
    source: float  # statistics of the source
    eps_law: float  # one hidden layer at eps, against the clean one at eps / c^2
    dead: int  # channels without variance: each would make 0 / 0 at eps = 0


class Line(NamedTuple):
    """What a channel does in evaluation, y = slope x + offset."""

    slope: float
    offset: float


class Random(NamedTuple):
    """A network frozen at a random start, against the one without normalization."""

    function: float  # relative gap of the outputs to the law (1 + eps)^(-L/2)
    path: float  # relative gap of the trained weights, gamma and beta fixed, eps = 0
    tuned: float  # the same with gamma and beta trained


def in_double(trained: Trained, eps: float | None = None) -> SeedBatchedMLP:
    """The same networks in float64, at another eps if one is given."""
    old, spec = trained.net, trained.net.spec
    net = SeedBatchedMLP(spec if eps is None else replace(spec, eps=eps), old.seeds)
    net.params = {name: value.double() for name, value in old.params.items()}
    return net


@torch.no_grad()
def same_function(trained: Trained, other: Tensor) -> dict[str, float]:
    """Outputs with other statistics and the constants that go with them: largest relative gaps.

    other: rows (S, n, d) of another domain.  Trained networks get its statistics, random ones
    random statistics, gamma and beta.
    """
    rows, net = other.double(), in_double(trained)
    stored = {i: Moments(*(v.double() for v in moments)) for i, moments in trained.stats.items()}
    wild = SeedBatchedMLP(SPEC, net.seeds)
    rng = torch.Generator().manual_seed(18)
    for name, value in wild.params.items():
        if not name.startswith("W"):
            value.normal_(generator=rng)
    old, new = ({i: _any_moments(m, rng) for i, m in stored.items()} for _ in range(2))
    return {
        "trained": _gap_of_twin(net, rows, stored, net.recalibrate(rows)),
        "random": _gap_of_twin(wild, rows, old, new),
    }


def _gap_of_twin(net: SeedBatchedMLP, rows: Tensor, old: Statistics, new: Statistics) -> float:
    twin = dict(net.params)
    for i in old:
        names = f"gamma{i}", f"beta{i}"
        gamma, beta = (net.params[name] for name in names)
        constants = reparameterized(gamma, beta, old[i], new[i], eps=net.spec.eps)
        twin |= dict(zip(names, constants, strict=True))
    wanted = net.forward(net.params, rows, stats=old)
    return relative_gap(net.forward(twin, rows, stats=new), wanted)


def _any_moments(like: Moments, rng: torch.Generator) -> Moments:
    mean = torch.randn(like.mean.shape, generator=rng, dtype=torch.float64)
    return Moments(mean, 0.1 + torch.rand(like.var.shape, generator=rng, dtype=torch.float64))


def repairs(looks: Sequence[int] = (1, 10, 100)) -> dict[str, Line]:
    """The channel of the page's smallest example, whose rows arrive as 2 x + 3, and its repairs.

    "stored"; "counted", with the moments of the new rows; and after so many gradient steps on
    gamma and beta, stored statistics, towards the clean outputs in the mean square.
    """
    clean = np.array([0.0, 0.0, 4.0, 4.0])
    seen, mean, std = 2 * clean + 3, clean.mean(), clean.std()
    lines = {"stored": Line(1 / std, -mean / std)}
    lines["counted"] = Line(1 / seen.std(), -seen.mean() / seen.std())
    x, wanted, (gamma, beta) = (seen - mean) / std, (clean - mean) / std, (1.0, 0.0)
    for step in range(1, max(looks) + 1):
        error = gamma * x + beta - wanted
        gamma, beta = gamma - 0.15 * (error * x).mean(), beta - 0.15 * error.mean()
        if step in looks:
            steps = f"{step} gradient step" + "s" * (step > 1)
            lines[steps] = Line(gamma / std, beta - gamma * mean / std)
    return lines


@torch.no_grad()
def contrast(trained: Trained, x: Tensor) -> Contrast:
    """Trained networks on rows (S, n, d) and on their contrast change, in float64."""
    factor, offset = CONTRAST
    rows = x.double()
    changed = factor * rows + offset
    zero, usual = in_double(trained, eps=0.0), in_double(trained)
    clean = {net: _evaluated(net, rows) for net in (zero, usual)}
    spread, stored = clean[zero].std(), usual.recalibrate(rows)
    gaps = [_evaluated(net, changed) - clean[net] for net in (zero, usual)]
    gaps.append(usual.forward(usual.params, changed, stats=stored) - clean[usual])
    spec = Spec((64, 128, 10), eps=0.01)
    one = SeedBatchedMLP(spec, trained.net.seeds)
    equal = SeedBatchedMLP(replace(spec, eps=spec.eps / factor**2), trained.net.seeds)
    law = relative_gap(_evaluated(one, changed), _evaluated(equal, rows))
    dead = sum(int((m.var == 0).sum()) for m in zero.recalibrate(rows).values())
    free, usual_gap, source = (float(gap.abs().max() / spread) for gap in gaps)
    return Contrast(free, usual_gap, source, law, dead)


def _evaluated(net: SeedBatchedMLP, x: Tensor) -> Tensor:
    return net.forward(net.params, x, stats=net.recalibrate(x))


def frozen_at_random(seeds: Sequence[int], rows: domains.Target, *, eps: float = 0.1) -> Random:
    """Stored mean 0 and variance 1, gamma = 1, beta = 0, no biases: the plain network, scaled."""
    x, y = rows.x.double(), rows.y
    plain, frozen = (
        SeedBatchedMLP(replace(SPEC, norm=norm, eps=eps), seeds) for norm in ("none", "frozen")
    )
    width = torch.zeros(len(seeds), 128, dtype=torch.float64)
    start = {i: Moments(width, width + 1) for i in (1, 2)}
    outputs = frozen.forward(frozen.params, x, stats=start)
    wanted = plain.forward(plain.params, x) * (1 + eps) ** (-len(start) / 2)
    path = {}
    recipe = {"steps": PLAIN_STEPS, "batch": 32, "lr": 0.05}
    training.train(plain, x, y, trainable=["W"], **recipe)
    for kinds in (["W"], ["W", "gamma", "beta"]):
        net = SeedBatchedMLP(replace(frozen.spec, eps=0.0), seeds)
        training.train(net, x, y, stats=start, trainable=kinds, **recipe)
        gaps = [relative_gap(net.params[w], plain.params[w]) for w in ("W1", "W2", "W3")]
        path[len(kinds)] = max(gaps)
    return Random(relative_gap(outputs, wanted), path[1], path[3])


GREY = 127.0  # what a shipped network subtracts, and so the value of its padding
COLOURS = torch.tensor([1.0, 0.6, 0.3])[:, None, None]
CORRUPTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "clean": lambda u: u,
    "contrast": lambda u: 0.3 * u + 0.7 * GREY,
    "dark": lambda u: 0.3 * u,
    "colour gains": lambda u: COLOURS.to(u.dtype) * u,
    "colours swapped": lambda u: u.flip(1),
    "noise": lambda u: u + 40 * torch.randn(u.shape, generator=torch.Generator().manual_seed(18)),
    "blur": lambda u: functional.avg_pool2d(u, 5, 1, 2, count_include_pad=False),
}
DARK_BORDER = -0.7 * GREY / 128  # the padding value, changed as "dark" changes a picture


@torch.no_grad()
def borders(network: str, crops: int, *, pixels: int, seed: int, eps: float = 1e-9) -> pd.Series:
    """Cosines to the clean crops, all with target statistics at a small eps, in float64."""
    state = shipped_state_dict(network)
    images, others = data.photo_crops(2 * crops, size=pixels, seed=seed).double().split(crops)

    def logits(name: str, border: float = 0.0) -> Tensor:
        net = EfficientNetLite(state, eps=eps, dtype=torch.float64, border=border)
        change = CORRUPTIONS[name]
        return net.recalibrated(change(others))(change(images))

    clean = logits("clean")
    cases = {"contrast": ("contrast", 0.0), "dark": ("dark", 0.0)}
    cases["dark, border too"] = ("dark", DARK_BORDER)
    return pd.Series({case: cosine(logits(*how), clean) for case, how in cases.items()})


def cosine(a: Tensor, b: Tensor) -> float:
    """Of two sets of logits (n, k), each without its means over crops and over classes."""
    flat = [(z - z.mean(0)).double() for z in (a, b)]
    one, other = ((z - z.mean(1, keepdim=True)).flatten() for z in flat)
    return float(one @ other / (one.norm() * other.norm()))
