"""Residual networks as plain functions, one network a seed, run together as one tensor program.

A stem, L blocks that each add a branch f_l to the stream x, and a head; axes as in `seed_batched`:

    stream    x_l = x_{l-1} + f_l,   f_l = gamma_l BN(W_out phi(BN(W_in x_{l-1}))) + beta_l
    v1        x_l = phi(x_{l-1} + f_l), and the last layer reads x_L itself
    v1-head   v1 with a batch norm before the last layer
    v2        f_l = W_out phi(BN(W_in phi(BN(x_{l-1})))), the second BN has gamma_l and beta_l

The stem is W x and BN (then phi in v1), the head of stream and v2 is BN, phi and W. A parameter's
name ends in the number of its block: W_in3, gamma_in3, W_out3, gamma3, beta3; the stem is 0, the
head L + 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from bnlib.networks.arms import tiled
from bnlib.networks.seed_batched import Params, moments, normalize
from bnlib.networks.spec import ACTIVATIONS, INITIAL_WEIGHTS
from bnlib.parameters import one_of
from bnlib.rows import Moments

FORMS = ("stream", "v1", "v1-head", "v2")
WITHOUT_NORM = ("skip-init", "skip-root", "fixup", "none")
ARMS = (
    *("one", "zero", "root", "fixed-root", "scalar", "zero-weight"),
    *(*WITHOUT_NORM, "no-blocks"),
)
STEM_KERNEL, STEM_STRIDE, KERNEL = 5, 2, 3  # of the convolutional networks


@dataclass
class Seen:
    """What a forward pass fills in: streams x_0 .. x_L, branches f_1 .. f_L, hidden phi(...) that
    W_out reads, each (S, m, c) and part of the graph; moments (S, c) by site, "0", "_in1", "1", ...
    """

    streams: list[Tensor] = field(default_factory=list)
    branches: list[Tensor] = field(default_factory=list)
    hidden: list[Tensor] = field(default_factory=list)
    moments: dict[str, Moments] = field(default_factory=dict)


@dataclass(frozen=True)
class ResidualArm:
    """S networks of one form: what they compute, and their initial numbers.

    normed: with batch norm.  convolution: rows are positions of sequences, x (S, m, length).
    factor: constant on every branch, not trained.
    """

    form: str
    blocks: int
    params: dict[str, Tensor]
    normed: bool = True
    convolution: bool = False
    activation: str = "relu"
    eps: float = 1e-5
    factor: float = 1.0

    def logits(self, params: Params, x: Tensor) -> Tensor:
        """Outputs (K S, m, k) of K copies of the S networks, x (S, m, d); any K."""
        return forward(self, params, tiled(x, len(params["W0"]) // len(x)))

    def evaluated(self, params: Params, fit: Tensor, x: Tensor) -> Tensor:
        """Outputs (K, m, k) of K networks on x (m, d), statistics of `fit` (n, d) as constants."""
        seen, copies = Seen(), len(params["W0"])
        forward(self, params, fit.expand(copies, -1, -1), seen=seen)
        return forward(self, params, x.expand(copies, -1, -1), stats=seen.moments)

    def each(self, change: Callable[[Tensor], Tensor]) -> ResidualArm:
        """The same change of every initial number: a cast, a choice of seeds, copies."""
        return replace(self, params={name: change(value) for name, value in self.params.items()})

    def repeated(self, copies: int) -> ResidualArm:
        """The S networks `copies` times over, copy k of network s in row k S + s."""
        return self.each(lambda value: tiled(value, copies))


def forward(
    arm: ResidualArm,
    params: Params,
    x: Tensor,
    *,
    stats: Mapping[str, Moments] | None = None,
    seen: Seen | None = None,
    back: float = 1.0,
) -> Tensor:
    """Outputs (S, m, k) of the S networks with these parameters on x (S, m, d).

    stats: site -> moments used as constants (evaluation mode).  seen: filled in.
    back: factor on the gradient that goes back through each branch; the outputs stay.
    """
    phi, watched = ACTIVATIONS[arm.activation], seen is not None
    kept = Seen() if seen is None else seen
    rectified = arm.form.startswith("v1")

    def norm(site: str, a: Tensor) -> Tensor:
        if not arm.normed:
            return a
        if watched and stats is None:
            kept.moments[site] = moments(a.detach())
        given = None if stats is None else stats[site]
        gamma, beta = params.get(f"gamma{site}"), params.get(f"beta{site}")
        return normalize("batch", a, gamma, beta, given, arm.eps)

    def linear(name: str, a: Tensor) -> Tensor:
        bias, columns = params.get(f"b{name}"), a.transpose(1, 2)
        y = torch.bmm(params[f"W{name}"], columns)
        return (y if bias is None else y + bias[:, :, None]).transpose(1, 2)

    def branch(block: int, a: Tensor) -> Tensor:
        a = phi(norm(f"_in{block}", a)) if arm.form == "v2" else a
        a = linear(f"_in{block}", beside(a, sequences))
        a = phi(norm(str(block) if arm.form == "v2" else f"_in{block}", a))
        kept.hidden.append(a)
        f = linear(f"_out{block}", beside(a, sequences))
        f = f if arm.form == "v2" else norm(str(block), f)
        f = f if arm.factor == 1 else f * arm.factor
        alpha = params.get(f"alpha{block}")
        return f if alpha is None else f * alpha[:, None, None]

    sequences = x.shape[1] if arm.convolution else 0
    x = norm("0", linear("0", windows(x) if arm.convolution else x))
    x = phi(x) if rectified else x
    for block in range(1, arm.blocks + 1):
        f = branch(block, x)
        f = f if back == 1 else back * f + (1 - back) * f.detach()
        kept.streams.append(x)
        kept.branches.append(f)
        x = phi(x + f) if rectified else x + f
    kept.streams.append(x)
    head = str(arm.blocks + 1)
    x = x if arm.form == "v1" else norm(head, x)
    x = x if rectified else phi(x)
    return linear(head, x.unflatten(1, (sequences, -1)).mean(2) if sequences else x)


def build(
    name: str,
    form: str,
    blocks: int,
    seeds: Sequence[int],
    sizes: tuple[int, int],
    *,
    width: int = 32,
    convolution: bool = False,
    activation: str = "relu",
) -> ResidualArm:
    """The arm of a name, one network a seed, float64.

        one, zero, root   gamma_l = 1, 0, 1/sqrt(L);   zero-weight: gamma_l = 1 and W_out = 0
        fixed-root        gamma_l = 1, and a constant factor 1/sqrt(L) on the branch
        scalar            no gamma_l and beta_l, a factor alpha_l = 0 on the branch
        none              no batch norm, biases;   skip-init, skip-root: and alpha_l = 0, 1/sqrt(L)
        fixup             none, W_in times 1/sqrt(L), W_out and the last W 0, alpha_l = 1
        no-blocks         stem and head only

    W ~ N(0, 1/fan-in), W_out ~ N(0, 2/fan-in).  sizes: inputs d and classes k.
    Consequence: stem and head, and block l, have the same draws in all arms, forms and depths.
    Source: goyal2017 (zero), de2020 (skip-init), zhang2019 (fixup).
    Raises ValueError for an unknown name or form, with the nearest one, and a form that is not
    defined without batch norm.
    """
    one_of("arm", name, ARMS)
    one_of("form", form, FORMS)
    normed = name not in WITHOUT_NORM
    if form != "stream" and (not normed or name == "scalar"):
        raise ValueError(f"form: expected 'stream' with the arm {name!r}, got {form!r}")
    blocks, kernel = 0 if name == "no-blocks" else blocks, KERNEL if convolution else 1
    inputs, classes = sizes
    fan = STEM_KERNEL if convolution else inputs
    ends = draws(seeds, 0, [(width, fan, 1.0), (classes, width, 1.0)])
    zero = torch.zeros(len(seeds), width, dtype=torch.float64)
    root = max(blocks, 1) ** -0.5
    params = {"W0": ends[0]} | _affine("0", zero, normed)
    for block in range(1, blocks + 1):
        shapes = [(width, kernel * width, 1.0), (width, kernel * width, 2.0)]
        first, second = draws(seeds, block, shapes)
        first = first * root if name == "fixup" else first
        second = 0 * second if name in ("fixup", "zero-weight") else second
        params |= {f"W_in{block}": first} | _affine(f"_in{block}", zero, normed)
        params |= {f"W_out{block}": second}
        if name == "scalar" or (not normed and name != "none"):
            start = {"skip-root": root, "fixup": 1.0}.get(name, 0.0)
            params[f"alpha{block}"] = zero[:, 0] + start
        if name != "scalar":
            start = {"zero": 0.0, "root": root}.get(name, 1.0)
            params |= _affine(f"{block}" if normed else f"_out{block}", zero, normed, start)
    head = str(blocks + 1)
    if form != "v1":
        params |= _affine(head, zero, normed) if normed else {}
    params[f"W{head}"] = 0 * ends[1] if name == "fixup" else ends[1]
    params[f"b{head}"] = zero[:, :1].expand(-1, classes).clone()
    factor = root if name == "fixed-root" else 1.0
    return ResidualArm(form, blocks, params, normed, convolution, activation, factor=factor)


def _affine(site: str, zero: Tensor, normed: bool, gamma: float = 1.0) -> dict[str, Tensor]:
    """gamma and beta of a batch norm, or the bias that stands in the place of beta."""
    if not normed:
        return {f"b{site}": zero.clone()}
    return {f"gamma{site}": zero + gamma, f"beta{site}": zero.clone()}


def draws(
    seeds: Sequence[int], number: int, shapes: Sequence[tuple[int, int, float]]
) -> list[Tensor]:
    """Normal weights (S, out, in) of each (out, in, gain), from stream `number` of every seed."""
    rngs = [np.random.default_rng((seed, INITIAL_WEIGHTS, number)) for seed in seeds]
    drawn = []
    for out, fan, gain in shapes:
        weights = np.stack([rng.standard_normal((out, fan)) for rng in rngs])
        drawn.append(torch.from_numpy(weights * np.sqrt(gain / fan)))
    return drawn


def windows(x: Tensor) -> Tensor:
    """Windows of the stem: sequences (S, m, length) -> rows (S, m positions, STEM_KERNEL)."""
    half = STEM_KERNEL // 2
    return F.pad(x, (half, half)).unfold(2, STEM_KERNEL, STEM_STRIDE).flatten(1, 2)


def beside(a: Tensor, sequences: int) -> Tensor:
    """Each row with its left and right neighbor in its sequence, (S, rows, 3 c); 0: rows alone."""
    if not sequences:
        return a
    columns = a.transpose(1, 2).unflatten(2, (sequences, -1))
    padded, length = F.pad(columns, (1, 1)), columns.shape[3]
    beside = torch.cat([padded[..., k : k + length] for k in range(KERNEL)], 1)
    return beside.flatten(2).transpose(1, 2)
