"""Residual blocks before they are trained: exact laws, first steps, placements, shares, gradients.

A batch is rows of digits, x (S, m, d), another one for every seed; float64 unless said otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from bnlib import data, interactions
from bnlib.networks.residual import ResidualArm, Seen, build, forward
from bnlib.networks.seed_batched import moments, normalize
from bnlib.networks.spec import BATCH_ORDER, seeded
from bnlib.rows import Moments
from bnlib.training import seed_losses

RATES = (1e-4, 1e-3, 1e-2, 1e-1)
WAITED = (2, 4, 8, 16)  # steps after which the weights are looked at
OPTIMIZERS = {"SGD": 0.1, "momentum": 0.05, "Adam": 0.003}  # and the rate of the twenty steps
NUDGE = 0.02  # relative change of the factor on the branches' gradients

Loss = Callable[[Mapping[str, Tensor]], Tensor]


class Start(NamedTuple):
    """An arm at its start, with a batch x (S, m, d), y (S, m) of digits for every seed."""

    arm: ResidualArm
    x: Tensor
    y: Tensor

    def loss(self, params: Mapping[str, Tensor]) -> Tensor:
        """Cross-entropy of each network, (S,)."""
        return seed_losses(self.arm.logits(params, self.x), self.y, "cross-entropy")

    def seen(self, at: str = "streams", back: float = 1.0) -> tuple[Seen, list[Tensor]]:
        """A forward pass, and the gradient of the loss at x_0 .. x_L, (S, m, c) each.

        at: "branches" for the gradient at those instead.
        """
        seen, params = Seen(), {k: v.clone().requires_grad_() for k, v in self.arm.params.items()}
        out = forward(self.arm, params, self.x, seen=seen, back=back)
        loss = seed_losses(out, self.y, "cross-entropy").sum()
        return seen, list(torch.autograd.grad(loss, getattr(seen, at)))


def start(
    name: str, form: str, blocks: int, seeds: Sequence[int], *, rows: int = 64, **how: Any
) -> Start:
    """An arm by name; how: of `build`."""
    digits = data.bench_split("digits")
    chosen = [seeded(s, BATCH_ORDER).permutation(len(digits.x_train))[:rows] for s in seeds]
    x, y = (torch.from_numpy(v[np.stack(chosen)]) for v in (digits.x_train, digits.y_train))
    return Start(build(name, form, blocks, seeds, (x.shape[2], digits.classes), **how), x, y)


def identity(seeds: Sequence[int], blocks: int) -> pd.DataFrame:
    """Largest |x_l - x_0| and |dx_l - dx_L| of closed blocks, in two forms, precisions and modes.

    Inner gamma and beta, and the statistics of evaluation, are random numbers.  In v1 gradients
    are compared where x_0 > 0; kink is the share of the other entries.
    """
    lines = []
    for form, dtype, mode in product(
        ("stream", "v1"), (torch.float32, torch.float64), ("training", "evaluation")
    ):
        at = start("zero", form, blocks, seeds)
        rng = torch.Generator().manual_seed(1)

        def noise(value: Tensor, rng: torch.Generator = rng) -> Tensor:
            return torch.randn(value.shape, generator=rng, dtype=torch.float64)

        params = {
            k: (v + noise(v) if k.startswith(("gamma_in", "beta_in")) else v).to(dtype)
            for k, v in at.arm.params.items()
        }
        seen, stats = Seen(), None
        if mode == "evaluation":
            forward(at.arm, params, at.x.to(dtype), seen=seen)
            stats = {
                k: Moments(m.mean + noise(m.mean).to(dtype), m.var * noise(m.var).exp().to(dtype))
                for k, m in seen.moments.items()
            }
            seen = Seen()
        params["W0"].requires_grad_()
        out = forward(at.arm, params, at.x.to(dtype), stats=stats, seen=seen)
        loss = seed_losses(out, at.y, "cross-entropy").sum()
        grads = torch.autograd.grad(loss, seen.streams)
        on = (seen.streams[0] > 0) | (form == "stream")
        ahead = max(float((x - seen.streams[0]).detach().abs().max()) for x in seen.streams)
        back = max(float((dx - grads[-1])[on].abs().max()) for dx in grads)
        kink = 1 - float(on.double().mean())
        lines.append((form, str(dtype)[6:], mode, ahead, back, kink))
    return pd.DataFrame(lines, columns=["form", "dtype", "mode", "forward", "backward", "kink"])


def inserted_layer(seeds: Sequence[int]) -> np.ndarray:
    """Relative change of the gradient by a BN layer set to the identity of its batch, (S,).

    gamma = tau and beta = mu give x back; the gradient that passes is not dy.  In v1: where a norm
    reads the stream, it has already taken out of dy what the layer would take.
    """
    at = start("zero", "v1", 1, seeds)
    seen, grads = at.seen()
    x, dy = seen.streams[0].detach().requires_grad_(), grads[-1]
    mean, var = moments(x.detach())
    y = normalize("batch", x, (var + at.arm.eps).sqrt(), mean, None, at.arm.eps)
    (dx,) = torch.autograd.grad(y, x, dy)
    return ((dx - dy).norm(dim=(1, 2)) / dy.norm(dim=(1, 2))).numpy()


class FirstStep(NamedTuple):
    """Closed blocks in their first step.

    waiting: largest |gradient| of a weight or inner gamma, beta of a branch.  open_share: share of
    d gamma that is not 0.  shift: largest |d beta| over largest |d gamma|.  ratio: rate -> (S,),
    decrease of the loss beyond that of the block-free network over the predicted one.
    """

    waiting: float
    open_share: float
    shift: float
    ratio: dict[float, np.ndarray]


def first_step(form: str, seeds: Sequence[int], blocks: int) -> FirstStep:
    """One plain gradient step of all parameters from closed blocks."""
    at, bare = (start(name, form, blocks, seeds) for name in ("zero", "no-blocks"))
    grads, bare_grads = (interactions.gradient(s.loss, s.arm.params)[1] for s in (at, bare))
    inner = [g for k, g in grads.items() if k.startswith(("W_", "gamma_", "beta_"))]
    scale, shift = (
        torch.stack([grads[f"{name}{block}"] for block in range(1, blocks + 1)], 1)
        for name in ("gamma", "beta")
    )
    predicted = (scale.square() + shift.square()).sum((1, 2))
    ratio = {}
    for rate in RATES[:3]:
        gain = _decrease(at, grads, rate) - _decrease(bare, bare_grads, rate)
        ratio[rate] = (gain / (rate * predicted)).numpy()
    return FirstStep(
        max(float(g.abs().max()) for g in inner),
        float((scale != 0).double().mean()),
        float(shift.abs().max() / scale.abs().max()),
        ratio,
    )


def _decrease(at: Start, grads: Mapping[str, Tensor], rate: float) -> Tensor:
    moved = {name: value - rate * grads[name] for name, value in at.arm.params.items()}
    return at.loss(at.arm.params) - at.loss(moved)


def descend(
    loss: Loss,
    params: Mapping[str, Tensor],
    steps: int,
    rate: float,
    optimizer: str = "SGD",
    decay: float = 0.0,
) -> Iterator[tuple[dict[str, Tensor], dict[str, Tensor]]]:
    """Parameters after each of so many full-batch steps, and the gradient that was taken.

    optimizer: "SGD", "momentum" (0.9), or "Adam" (0.9, 0.999, offset 1e-16, as good as none).
    decay: added to all gradients.
    """
    now = {name: value.clone() for name, value in params.items()}
    first, second = ({k: torch.zeros_like(v) for k, v in now.items()} for _ in range(2))
    for t in range(1, steps + 1):
        grads = interactions.gradient(loss, now)[1]
        for name, grad in grads.items():
            grad = grad + decay * now[name]
            if optimizer == "Adam":
                first[name] = 0.9 * first[name] + 0.1 * grad
                second[name] = 0.999 * second[name] + 0.001 * grad.square()
                root = (second[name] / (1 - 0.999**t)).sqrt() + 1e-16
                move = first[name] / (1 - 0.9**t) / root
            else:
                first[name] = grad + (0.9 if optimizer == "momentum" else 0.0) * first[name]
                move = first[name]
            now[name] = now[name] - rate * move
        yield dict(now), grads


class Waiting(NamedTuple):
    """How far gamma and the weights of closed blocks have come after 1 .. T steps.

    gamma, weight: (T,) root mean square change, over seeds and blocks.  ratio: (S, len(WAITED)),
    ||W_T - W_0|| / ||W_2 - W_0||.  jump: median |W_2 - W_0| / rate of the second step.
    """

    gamma: np.ndarray
    weight: np.ndarray
    ratio: np.ndarray
    jump: float


def waiting(optimizer: str, seeds: Sequence[int], blocks: int, rate: float = 1e-3) -> Waiting:
    """Full-batch steps of SGD or Adam from closed blocks."""
    at = start("zero", "stream", blocks, seeds)
    gammas, weights, jump = [], [], np.nan
    for t, (params, _) in enumerate(
        descend(at.loss, at.arm.params, max(WAITED), rate, optimizer), start=1
    ):
        change = {k: params[k] - v for k, v in at.arm.params.items()}
        parts = [change[f"W_{k}{n}"] for k in ("in", "out") for n in range(1, blocks + 1)]
        gammas.append(torch.stack([change[f"gamma{n}"] for n in range(1, blocks + 1)], 1))
        weights.append(torch.stack([part.square().sum((1, 2)) for part in parts]).sum(0).sqrt())
        if t == 2:
            moved = torch.cat([part.abs().flatten() for part in parts])
            jump = float(moved[moved > 0].median()) / rate
    sizes = torch.stack(weights, 1).numpy()
    ratio = sizes[:, [t - 1 for t in WAITED]] / sizes[:, [1]]
    gamma = np.array([float(g.square().mean().sqrt()) for g in gammas])
    return Waiting(gamma, np.sqrt((sizes**2).mean(0)), ratio, jump)


def moved_weights(seeds: Sequence[int], blocks: int, steps: int = 50, rate: float = 0.1) -> float:
    """Least ||W_out - its start|| of a block that starts closed, over blocks and seeds."""
    at = start("zero", "stream", blocks, seeds)
    *_, (params, _) = descend(at.loss, at.arm.params, steps, rate)
    names = [f"W_out{n}" for n in range(1, blocks + 1)]
    return min(float((params[n] - at.arm.params[n]).norm(dim=(1, 2)).min()) for n in names)


def flipped(optimizer: str, seeds: Sequence[int], blocks: int, steps: int = 20) -> float:
    """Largest difference after training when random rows of W_out start with the other sign.

    Signs of these rows and of their gamma are flipped back before the comparison.
    """
    at, rng = start("zero", "stream", blocks, seeds), np.random.default_rng(5)
    width, params, signs = at.arm.params["W0"].shape[1], dict(at.arm.params), {}
    for n in range(1, blocks + 1):
        sign = torch.from_numpy(rng.choice([-1.0, 1.0], (len(seeds), width)))
        signs |= {f"W_out{n}": sign[:, :, None], f"gamma{n}": sign}
        params[f"W_out{n}"] = params[f"W_out{n}"] * sign[:, :, None]
    rate = OPTIMIZERS[optimizer]
    *_, (plain, _) = descend(at.loss, at.arm.params, steps, rate, optimizer)
    *_, (other, _) = descend(at.loss, params, steps, rate, optimizer)
    return max(float((other[k] * signs.get(k, 1.0) - v).abs().max()) for k, v in plain.items())


def channel_gradients(seeds: Sequence[int], blocks: int) -> np.ndarray:
    """d gamma of closed blocks at the start, (S, L, c)."""
    at = start("zero", "stream", blocks, seeds)
    grads = interactions.gradient(at.loss, at.arm.params)[1]
    return torch.stack([grads[f"gamma{n}"] for n in range(1, blocks + 1)], 1).numpy()


PLACES = {  # name -> arm, form, activation
    "zero γ, last": ("zero", "stream", "relu"),
    "one zero factor": ("scalar", "stream", "relu"),
    "zero W under a norm": ("zero-weight", "stream", "relu"),
    "zero γ before a ReLU": ("zero", "v2", "relu"),
    "zero γ before a GELU": ("zero", "v2", "gelu"),
    "zero γ before a tanh": ("zero", "v2", "tanh"),
    "zero γ before a softplus": ("zero", "v2", "softplus"),
}


class Placement(NamedTuple):
    """One way to start a block as the identity.

    start: largest |f| at the start.  opened: (len(RATES),) root mean square of f after one step of
    the block's own parameters, over seeds and rows.  law: the same by the law of the jump, or NaN.
    gradient: largest |gradient| of the block's parameters over the steps.  path: (4,) root mean
    square of f after 0 .. 3 steps of all parameters.
    """

    start: float
    opened: np.ndarray
    law: np.ndarray
    gradient: float
    path: np.ndarray


def placement(name: str, seeds: Sequence[int], *, steps: int = 50, rate: float = 0.3) -> Placement:
    """A network with one block, started closed in one of `PLACES`."""
    arm, form, activation = PLACES[name]
    at = start(arm, form, 1, seeds, activation=activation)
    block = [k for k in at.arm.params if k.endswith("1") and not k.startswith(("W1", "b1"))]
    grads = interactions.gradient(at.loss, at.arm.params)[1]
    opened = []
    for step in RATES:
        moved = {k: v - step * grads[k] if k in block else v for k, v in at.arm.params.items()}
        opened.append(_branch_rms(at, moved))
    path, largest = [_branch_rms(at, at.arm.params)], 0.0
    for decay in (0.0, 0.01):
        for params, taken in descend(at.loss, at.arm.params, steps, rate, decay=decay):
            largest = max(largest, *(float(taken[k].abs().max()) for k in block))
            if not decay and len(path) < 4:
                path.append(_branch_rms(at, params))
    law = jump_law(at) if arm == "zero-weight" else np.full(len(RATES), np.nan)
    return Placement(path[0], np.array(opened), law, largest, np.array(path))


def jump_law(at: Start) -> np.ndarray:
    """Root mean square of the branch after one step from W_out = 0, at every rate of `RATES`.

    gamma [1 + (eps / (eta s_c))^2]^(-1/2),  s_c the deviation over rows of (G a)_c,
    G = sum_i gamma (dy_i - <dy>) a_i^T,  a: what W_out reads,  dy: gradient at the branch
    """
    seen, (dy,) = at.seen("branches")
    a = seen.hidden[0].detach()
    change = torch.einsum("smc,smh->sch", dy - dy.mean(1, keepdim=True), a)
    s = moments(torch.einsum("sch,smh->smc", change, a)).var.sqrt().numpy()
    return np.array([np.sqrt((1 / (1 + (at.arm.eps / (r * s)) ** 2)).mean()) for r in RATES])


@torch.no_grad()
def _branch_rms(at: Start, params: Mapping[str, Tensor]) -> float:
    seen = Seen()
    forward(at.arm, params, at.x, seen=seen)
    return float(seen.branches[0].square().mean().sqrt())


def passed(at: Start) -> np.ndarray:
    """Mean number of branches that the energy of the gradient has passed, (S,).

    d ln |dx_0| / d ln t at t = 1,  t a factor on the gradient of every branch
    """
    ends = [at.seen(back=t)[1][0].norm(dim=(1, 2)).log() for t in (1 + NUDGE, 1 - NUDGE)]
    return ((ends[0] - ends[1]) / np.log((1 + NUDGE) / (1 - NUDGE))).numpy()


def row_share(x: Tensor, f: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Share s, relative size nu and correlation rho of a branch f and its input x, (S,) each.

        s = var(f)/var(x + f),  nu = sqrt(var(f)/var(x)),  rho = cov(x, f)/sqrt(var(x) var(f))

    Variances over rows, then means over channels.  x, f: (S, m, c).  A closed branch has rho 0.
    """
    a, b, both = (moments(v).var.mean(1) for v in (x, f, x + f))
    root = (a * b).sqrt().clamp(min=1e-300)
    return b / both, (b / a).sqrt(), (both - a - b) / 2 / root


def shares(seen: Seen) -> tuple[np.ndarray, ...]:
    """`row_share` of all branches, (S, L) each."""
    rows = [row_share(*pair) for pair in zip(seen.streams, seen.branches, strict=False)]
    return tuple(torch.stack(part, 1).double().numpy() for part in zip(*rows, strict=True))


STARTS = {  # name on the page -> arm, form, (form, gain) of the laws; gain None: 1/sqrt(L)
    "stream": ("one", "stream", ("stream", 1.0)),
    "stream, γ = 1/√L": ("root", "stream", ("stream", None)),
    "v1": ("one", "v1", None),
    "v2": ("one", "v2", None),
    "no norm": ("none", "stream", ("none", 1.0)),
    "no norm, α = 1/√L": ("skip-root", "stream", ("none", None)),
}


class Depths(NamedTuple):
    """A form at the start.  shares, correlations: (S, L).  squares: (S, L + 1), mean squares of
    x_l.  gradients: (S, L + 1), |dx_l|^2 / |dx_L|^2.  depth: (S,), branches that it passed."""

    shares: np.ndarray
    correlations: np.ndarray
    squares: np.ndarray
    gradients: np.ndarray
    depth: np.ndarray


def at_the_start(name: str, blocks: int, seeds: Sequence[int], width: int) -> Depths:
    """One of `STARTS`, on 256 rows."""
    arm, form, _ = STARTS[name]
    at = start(arm, form, blocks, seeds, rows=256, width=width)
    seen, grads = at.seen()
    with torch.no_grad():
        share, _, correlation = shares(seen)
        squares = torch.stack([x.square().mean((1, 2)) for x in seen.streams], 1)
        sizes = torch.stack([dx.square().sum((1, 2)) for dx in grads], 1)
    gradients = (sizes / sizes[:, -1:]).numpy()
    return Depths(share, correlation, squares.numpy(), gradients, passed(at))
