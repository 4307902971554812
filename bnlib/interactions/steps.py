"""How long a step is, where it points, and what its derivatives promise.

Source: you2017 (layer-normalized direction).
"""

from typing import NamedTuple

import torch
from torch import Tensor

from bnlib.interactions.split import Function, Params, centered, layer_dots, layers, leaves_of


class Curvature(NamedTuple):
    """L_0 d.Hd / (g.d)^2 and its parts from diagonal and off-diagonal blocks of H, (S,) each."""

    kappa: Tensor
    own: Tensor
    off: Tensor


def first_order(fn: Function, params: Params, direction: Params) -> Tensor:
    """J d, the derivative of fn along the direction, (S, ...).

    Two reverse passes: the derivative with respect to u of  (J^T u).d,  which is linear in u.
    """
    leaves = leaves_of(params)
    value = fn(leaves)
    u = torch.zeros_like(value, requires_grad=True)
    back = torch.autograd.grad(
        value, list(leaves.values()), u, create_graph=True, materialize_grads=True
    )
    along = layer_dots(dict(zip(leaves, back, strict=True)), direction)
    return torch.autograd.grad(along.sum(), u)[0]


def match_loss(loss: Tensor, slope: Tensor, r: float) -> Tensor:
    """The step that promises to lower the loss by the share r:  eta = r L_0 / (-g.d), (S,).

    Raises ValueError for r that is not positive and finite, and where the direction does not
    descend: it promises nothing.
    """
    if not 0 < r < float("inf"):
        raise ValueError(f"r: want a positive finite share of the loss, got {r}")
    if not bool((slope < 0).all()):
        raise ValueError(f"want a descent direction, slope < 0, got {slope.max().item():.3g}")
    return r * loss / -slope


def match_output(derivative: Tensor, c: float) -> Tensor:
    """The step that moves centered logits by c to first order:  eta = c / rms(J d), (S,).

    derivative: J d, (S, m, k); rms over rows and classes.
    Raises ValueError for c that is not positive and finite, and where no output moves.
    """
    if not 0 < c < float("inf"):
        raise ValueError(f"c: want a positive finite change of the logits, got {c}")
    rms = centered(derivative).square().flatten(1).mean(1).sqrt()
    if not bool((rms > 0).all()):
        raise ValueError("want outputs that move, got J d = 0 in some network")
    return c / rms


def layer_normalized(params: Params, grads: Params) -> dict[str, Tensor]:
    """d_l = -||W_l|| g_l / ||g_l|| for the weights W; every other parameter stays.

    Consequence: where f ignores the norm of W_l, f(theta + eta d) ignores it too.
    Source: you2017.
    """
    direction = {}
    for name, grad in grads.items():
        if name.startswith("W"):
            size, slope = (v.flatten(1).norm(dim=1) for v in (params[name], grad))
            scale = torch.where(slope > 0, size / slope, torch.zeros_like(size))
            direction[name] = -scale[(...,) + (None,) * (grad.ndim - 1)] * grad
        else:
            direction[name] = torch.zeros_like(grad)
    return direction


def curvature_split(loss: Function, params: Params, direction: Params) -> Curvature:
    """Curvature along the direction, from blocks within a layer and between layers.

        kappa = L_0 d.Hd / (g.d)^2 = own + off,   with eta = r L_0 / (-g.d):
        L(eta)/L_0 = 1 - r + r^2 kappa / 2 + O(r^3)

    One Hessian-vector product a layer.  Consequences: INT / |LIN| = r off / 2 + O(r^2), and OWN
    likewise; the same for L -> c L, another for L -> L + c.
    """
    leaves = leaves_of(params)
    value, numbers = loss(leaves), layers(params)
    inputs = list(leaves.values())
    grads = torch.autograd.grad(value.sum(), inputs, create_graph=True, materialize_grads=True)
    slopes = layer_dots(dict(zip(leaves, grads, strict=True)), direction)
    rows = []
    for i in range(len(numbers)):
        product = torch.autograd.grad(
            slopes[:, i].sum(), inputs, retain_graph=True, materialize_grads=True
        )
        rows.append(layer_dots(dict(zip(leaves, product, strict=True)), direction))
    blocks = torch.stack(rows, 1) * (value / slopes.sum(1) ** 2).detach()[:, None, None]
    own = blocks.diagonal(dim1=1, dim2=2).sum(1)
    return Curvature(blocks.sum((1, 2)), own, blocks.sum((1, 2)) - own)


def participation(shares: Tensor) -> tuple[Tensor, Tensor]:
    """Share of each layer in the predicted decrease, (S, L), and 1 / sum s^2, (S,).

    shares: g_l.d_l, from `layer_dots`.  1: a single layer carries the step; L: all alike.
    """
    s = shares / shares.sum(1, keepdim=True)
    return s, 1 / s.square().sum(1)
