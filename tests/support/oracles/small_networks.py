"""Two small networks of an arm, the interaction of their steps and their exact Hessian."""

import numpy as np
import torch
from torch.nn import functional as F

from bnlib import interactions as ia
from bnlib.networks import arms

SEEDS = (0, 5)
X = torch.from_numpy(np.random.default_rng(0).normal(0.3, 1.5, (2, 12, 4)))
Y = torch.from_numpy(np.random.default_rng(1).integers(0, 3, (2, 12)))


def loss_of(logits):
    labels = Y[: len(logits)] if len(logits) < 2 else Y.repeat(len(logits) // 2, 1)
    each = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
    return each.unflatten(0, labels.shape).mean(1)


def outputs(name="bn", depth=3, activation="tanh", eps=1e-5):
    """Parameters away from zeros and ones, and the logits, of two networks of an arm."""
    arm = arms.build(name, (4, *(3,) * (depth - 1), 3), SEEDS, X, activation=activation, eps=eps)
    rng = np.random.default_rng(2)
    params = {k: v + torch.from_numpy(rng.normal(0, 0.2, v.shape)) for k, v in arm.params.items()}
    return params, lambda p: arm.logits(p, X)


def network(*given, **options):
    """The same parameters, and the loss."""
    params, logits = outputs(*given, **options)
    return params, lambda p: loss_of(logits(p))


def hessian(params, loss):
    """The exact Hessian of one network, rows and columns in the order of `params`, and blocks."""
    shapes = {k: v.shape for k, v in params.items()}
    counts = [v.numel() for v in params.values()]

    def flat(theta):
        parts = zip(shapes, theta.split(counts), strict=True)
        return loss({k: part.view(shapes[k]) for k, part in parts})[0]

    theta = torch.cat([v.flatten() for v in params.values()])
    layer = np.repeat([ia.layer_of(k) for k in params], counts)
    return torch.autograd.functional.hessian(flat, theta).numpy(), layer


def first(params, loss):
    """The first of the two networks alone."""
    own = {k: v[:1] for k, v in params.items()}
    return own, lambda p: loss({k: torch.cat([v, params[k][1:]]) for k, v in p.items()})[:1]


def step_of(params, loss):
    value, grads = ia.gradient(loss, params)
    return value, grads, ia.layer_dots(grads, grads).sum(1)


def inter(params, loss, grads, step):
    values = ia.corners(loss, params, {k: -g for k, g in grads.items()}, step)
    return ia.step_split(values, -step * ia.layer_dots(grads, grads).sum(1)).inter


def scalar(**values):
    return {name: torch.tensor([v], dtype=torch.float64) for name, v in values.items()}
