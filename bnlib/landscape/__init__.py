"""The loss around a point: shift of a layer's gradient, smoothness, blocks of the Hessian.

Networks are plain functions of layered parameters, S at once, as in `bnlib.interactions`.

Internal covariate shift is measured as a change of gradients: G_i is the gradient of layer i, G'_i
the same after the layers below i have moved by -eta g, layer i and those above it not yet. Same
batch, batch statistics computed anew. Its integral is the interaction.

Source: santurkar2018 (shift, smoothness, noise), yang2019 (explosion of gradients).
"""

import math
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor

from bnlib.interactions import (
    Function,
    Params,
    gradient,
    layer_dots,
    layer_normalized,
    layer_of,
    layers,
    moved,
    stepped,
)
from bnlib.landscape.ascent import first_ascent as first_ascent
from bnlib.networks.seed_batched import Statistics, forward, trace
from bnlib.networks.spec import Spec
from bnlib.parameters import one_of

UNITS = ("raw", "matched", "layer-normalized")
RELU_FACTOR = math.pi / (math.pi - 1)
"""Growth of the squared gradient per layer: wide ReLU network with BN, gamma = 1, beta = 0, at the
start. Var relu(N(0, 1)) = 1/2 - 1/(2 pi); He weights double it, and the backward pass divides by
it:  2 (1/2) / (1 - 1/pi)."""


class Ics(NamedTuple):
    """Change of every layer's gradient by the steps of the layers below, (S, L) each.

    Layer 1 has none below: 0, 0, 1, 0.  relative and cosine are NaN where G_i = 0.
    """

    norm: Tensor  # ||G'_i - G_i||
    relative: Tensor  # ||G'_i - G_i|| / ||G_i||
    cosine: Tensor  # between G'_i and G_i
    projection: Tensor  # g_i.(G'_i - G_i)


class Path(NamedTuple):
    """The loss at K steps along a direction, (K, S) each.

    change: norm of the change of the gradient since the start.  smoothness: change / distance, the
    Lipschitz constant that the gradient must have at least.  cosine: of the gradients.
    """

    loss: Tensor
    change: Tensor
    smoothness: Tensor
    cosine: Tensor


class Extremes(NamedTuple):
    """Both ends of the spectrum: the k lowest, ascending, and the k highest, descending."""

    low: np.ndarray
    high: np.ndarray


class Noise(NamedTuple):
    """What is added to and what multiplies each entry; the shape of the output, (S, m, c)."""

    shift: Tensor
    scale: Tensor


def ics_change(loss_fn: Function, params: Params, grads: Params, step: float | Tensor) -> Ics:
    """How the steps of the layers below change each layer's gradient.

        G'_i = grad_i L(theta'_1, ..., theta'_{i-1}, theta_i, ..., theta_L),  theta' = theta - eta g

    step: eta, a number or (S,).  grads: g, which is also the direction.
    Consequence: the sum of -eta projections is the interaction INT up to O(eta^3).
    Raises ValueError for gradients that do not fit the parameters and steps that are not finite.
    """
    direction, numbers, rows = _opposite(params, grads), layers(params), []
    for place, number in enumerate(numbers):
        below = np.arange(len(numbers))[None] < place
        old = {name: grads[name] for name in params if layer_of(name) == number}
        point = moved(params, direction, below, step)
        new = _of_layer(loss_fn, point, number) if place else old
        change = {name: new[name] - old[name] for name in old}
        sizes = [_dot(a, a).sqrt() for a in (change, old, new)]
        cosine = _dot(new, old) / (sizes[1] * sizes[2])
        rows.append((sizes[0], sizes[0] / sizes[1], cosine, _dot(change, old)))
    return Ics(*(torch.stack(column, 1) for column in zip(*rows, strict=True)))


def ics_integral(
    loss_fn: Function,
    params: Params,
    grads: Params,
    step: float | Tensor,
    *,
    nodes: int = 12,
    panels: int = 1,
) -> Tensor:
    """The interaction as an integral of covariate shift along each layer's own step, (S,).

        INT = -eta sum_i int_0^1 g_i.(G'_i(t) - G_i(t)) dt

    with layer i at theta_i - t eta g_i in both G'_i and G_i; Gauss and Legendre's rule with `nodes`
    places on each of `panels` equal parts.
    Consequences: exact for smooth L up to the rule's error; one node is the midpoint rule, whose
    error is O(eta^4); ReLU has kinks, so more panels help and more nodes hardly do.
    Raises ValueError as `ics_change`, and for less than one node or panel.
    """
    direction, numbers = _opposite(params, grads), layers(params)
    places, weights = _quadrature(nodes, panels)
    size = torch.as_tensor(step, dtype=torch.float64)
    total = torch.zeros(len(next(iter(params.values()))), dtype=torch.float64)
    for place, number in enumerate(numbers[1:], start=1):
        masks = np.zeros((2, len(places), len(numbers)))
        masks[1, :, :place] = 1
        masks[:, :, place] = places
        point = moved(params, direction, masks.reshape(-1, len(numbers)), size)
        new = _of_layer(loss_fn, point, number)
        old = {k: grads[k].repeat(len(places) * 2, *[1] * (grads[k].ndim - 1)) for k in new}
        dots = _dot(new, old).unflatten(0, (2, len(places), -1))
        total += torch.einsum("n,ns->s", torch.from_numpy(weights), dots[1] - dots[0])
    return -size * total


def gradient_path(
    loss_fn: Function,
    params: Params,
    grads: Params,
    steps: Sequence[float] | Tensor,
    *,
    direction: Params | None = None,
) -> Path:
    """Loss and gradient at theta + a d for every step a.

        change = ||grad L(theta + a d) - g||,    smoothness = change / (a ||d||)

    grads: g at theta.  direction: d, by default -g.  steps: (K,) for all networks, or (K, S).
    Consequence: for theta = c phi  smoothness is c^2 times as large at the same points, so it has
    a unit; times L / ||g||^2 it has none.
    Raises ValueError for no steps, and for steps that are not positive and finite: at a = 0 there
    is no distance to divide by.
    """
    sizes = torch.as_tensor(steps, dtype=torch.float64)
    right = sizes.ndim in (1, 2) and len(sizes) > 0
    if not right or not bool(((sizes > 0) & torch.isfinite(sizes)).all()):
        raise ValueError(f"steps: expected positive finite sizes, (K,) or (K, S), got {steps}")
    way = {k: -g for k, g in grads.items()} if direction is None else direction
    start, distance, rows = _flat(grads), _flat(way).norm(dim=1), []
    for size in sizes:
        a = size.expand(len(start))
        loss, there = gradient(loss_fn, stepped(params, way, a))
        now = _flat(there)
        change = (now - start).norm(dim=1)
        cosine = (now * start).sum(1) / (now.norm(dim=1) * start.norm(dim=1))
        rows.append((loss, change, change / (a * distance), cosine))
    return Path(*(torch.stack(column) for column in zip(*rows, strict=True)))


def unit_scaled(loss_fn: Function, params: Params) -> tuple[Function, dict[str, Tensor]]:
    """The same network in units of its weights: phi_l = W_l / ||W_l||, and L as a function of phi.

    Only matrices called W... are rescaled, each by its norm at this point, a constant.
    Consequence: where L ignores the norm of W_l, nothing measured on phi sees W_l -> a W_l.
    """
    sizes = {k: v.flatten(1).norm(dim=1) for k, v in params.items() if k.startswith("W")}

    def times(values: Params, power: float) -> dict[str, Tensor]:
        scaled = dict(values)
        for name, size in sizes.items():
            factor = size.repeat(len(values[name]) // len(size)) ** power
            scaled[name] = values[name] * factor[:, None, None]
        return scaled

    return lambda phi: loss_fn(times(phi, 1.0)), times(params, -1.0)


def smoothness(
    loss_fn: Function, params: Params, unit: str, sizes: Sequence[float]
) -> dict[str, Tensor]:
    """Loss range, gradient change and effective smoothness along one direction, (S,) each.

    raw: steps a = `sizes` along -g; everything in its own unit.
    matched: a = r L/|g|^2 for r in `sizes`; range / L, change / |g|, smoothness L / |g|^2.
    layer-normalized: the same with every matrix in units of its norm, along -g_l/||g_l||, where
    |slope| takes the place of |g|: blind to scales that the function does not see.
    Further (K, S), a row a step: "loss-line", "change-line"; and (S,): "cosine" at the longest
    step, "kept" = actual / predicted decrease there.  Raises ValueError for an unknown unit.
    """
    if one_of("unit", unit, UNITS) == "layer-normalized":
        loss_fn, params = unit_scaled(loss_fn, params)
    loss, grads = gradient(loss_fn, params)
    way = {name: -g for name, g in grads.items()}
    if unit == "layer-normalized":
        way = layer_normalized(params, grads)
    slope = -layer_dots(grads, way).sum(1)  # predicted decrease per step size
    size, length = (layer_dots(v, v).sum(1).sqrt() for v in (grads, way))
    steps = torch.tensor(sizes, dtype=torch.float64)[:, None].expand(-1, len(loss))
    steps = steps * (1.0 if unit == "raw" else loss / slope)
    path = gradient_path(loss_fn, params, grads, steps, direction=way)
    by = (loss, size, (slope / length) ** 2 / loss)
    by = tuple(map(torch.ones_like, by)) if unit == "raw" else by
    return {
        "range": (path.loss.amax(0) - path.loss.amin(0)) / by[0],
        "change": path.change.amax(0) / by[1],
        "smoothness": path.smoothness.amax(0) / by[2],
        "cosine": path.cosine[-1],
        "kept": (loss - path.loss[-1]) / (steps[-1] * slope),
        "loss-line": path.loss / by[0],
        "change-line": path.change / by[1],
    }


def hvp(loss_fn: Function, params: Params, vector: Params) -> dict[str, Tensor]:
    """H v for each of S networks, with the structure of the parameters.

        H v = d/dt grad L(theta + t v)  at t = 0

    Forward mode over reverse mode: a product costs a few gradients, and no block is ever formed.
    Raises ValueError for a vector of another structure.
    """
    shapes = [{name: tuple(t.shape) for name, t in given.items()} for given in (params, vector)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"vector: expected the structure of the parameters, got {shapes[1]}")
    with warnings.catch_warnings():
        # torch compiles its own forward-mode rules on first use, with an interface it deprecates
        warnings.filterwarnings("ignore", ".*torch.jit.script", DeprecationWarning)
        point = {name: value.detach() for name, value in params.items()}
        reverse = torch.func.grad(lambda point: loss_fn(point).sum())
        return torch.func.jvp(reverse, (point,), (dict(vector),))[1]


def block_norms(
    loss_fn: Function, params: Params, *, probes: int, rng: np.random.Generator
) -> Tensor:
    """Squared Frobenius norms of the layer x layer blocks of the Hessian, estimated, (S, L, L).

        E ||H_ij v||^2 = ||H_ij||_F^2   for v of independent signs in layer j, 0 elsewhere

    (Hutchinson); the mean of B and its transpose, as the Hessian is symmetric.
    Consequence: unbiased, with a relative error of about (2/probes)^(1/2) at worst.
    Raises ValueError for less than one probe.
    """
    if probes < 1:
        raise ValueError(f"probes: expected at least 1, got {probes}")
    numbers, columns = layers(params), []
    many = {k: v.detach().repeat(probes, *[1] * (v.ndim - 1)) for k, v in params.items()}
    for number in numbers:
        vector = {
            k: torch.from_numpy(rng.choice((-1.0, 1.0), size=tuple(v.shape))).to(v.dtype)
            if layer_of(k) == number
            else torch.zeros_like(v)
            for k, v in many.items()
        }
        products = hvp(loss_fn, many, vector)
        columns.append(layer_dots(products, products).unflatten(0, (probes, -1)).mean(0))
    norms = torch.stack(columns, 2)
    return (norms + norms.mT) / 2


def diagonal_share(norms: Tensor) -> Tensor:
    """sum_i ||H_ii||^2 / ||H||^2 from squared norms (S, L, L), (S,).

    For independent equal entries it is 1 - `iid_share`.
    """
    return norms.diagonal(dim1=1, dim2=2).sum(1) / norms.sum((1, 2))


def iid_share(params: Params) -> float:
    """Off-diagonal share of a matrix of independent equal entries with these blocks.

    1 - sum n_l^2 / (sum n_l)^2,   n_l parameters in layer l
    """
    ones = {name: torch.ones_like(value) for name, value in params.items()}
    counts = layer_dots(ones, ones)[0]
    return float(1 - (counts**2).sum() / counts.sum() ** 2)


def coupling(norms: Tensor) -> Tensor:
    """||H_ij|| / (||H_ii|| ||H_jj||)^(1/2) from squared norms, (S, L, L); 1 on the diagonal.

    Consequence: ignores a factor on the loss and, for scale-free layers, factors on their weights.
    """
    diagonal = norms.diagonal(dim1=1, dim2=2)
    return (norms / (diagonal[:, :, None] * diagonal[:, None, :]).sqrt()).sqrt()


def extreme_eigenvalues(
    loss_fn: Function, params: Params, *, k: int = 1, tol: float = 0.0
) -> Extremes:
    """The k lowest and k highest eigenvalues of the Hessian of one network, by Lanczos.

    Not by power iteration: that finds the largest |lambda|, be it negative, and stalls where both
    ends have the same size.  The start vector is fixed, so a page repeats.
    tol: relative accuracy, 0 for rounding.
    Raises ValueError for several networks, for another precision than float64, which leaves the
    small end in rounding, and for k outside 1 ... n - 1.
    """
    shapes = {name: value.shape for name, value in params.items()}
    counts = [shape.numel() for shape in shapes.values()]
    if any(shape[0] != 1 for shape in shapes.values()):
        raise ValueError("params: expected one network, leading axis 1; several would mix")
    if any(value.dtype != torch.float64 for value in params.values()):
        raise ValueError("params: expected float64; in float32 the small end is rounding")
    n = sum(counts)
    if not 1 <= k < n:
        raise ValueError(f"k: expected 1 to {n - 1} of {n} eigenvalues, got {k}")

    def product(flat: Any) -> np.ndarray:
        rows = torch.from_numpy(np.array(flat, dtype=np.float64).ravel()).split(counts)
        vector = {name: part.view(shapes[name]) for name, part in zip(shapes, rows, strict=True)}
        products = hvp(loss_fn, params, vector)
        return torch.cat([products[name].flatten() for name in shapes]).numpy()

    operator: Any = LinearOperator
    hessian = operator((n, n), matvec=product, dtype=np.float64)
    options: Any = {"k": k, "v0": np.random.default_rng(0).standard_normal(n), "tol": tol}
    low, high = (
        np.sort(eigsh(hessian, which=end, return_eigenvectors=False, **options))
        for end in ("SA", "LA")
    )
    return Extremes(low, high[::-1])


def layer_gradient_norms(
    params: Params, x: Tensor, y: Tensor, spec: Spec, *, stats: Statistics | None = None
) -> Tensor:
    """||dL/dz_l||^2 of the pre-activations z_l = W_l a_{l-1} (+ b_l) of every layer, (S, L).

    x: (S, m, d).  y: (S, m) classes.  L: mean cross-entropy.  stats: constants for a frozen norm.
    z_l is the input of the norm, where there is one.
    Raises ValueError for spec.order "post", whose norm sees activations, not z.
    """
    if spec.order != "pre":
        raise ValueError(f"spec.order: expected 'pre', got {spec.order!r}: the norm sees no z")
    pre: dict[int, Tensor] = {}
    point = {name: value.detach().requires_grad_() for name, value in params.items()}
    output = forward(spec, point, x, stats=stats, pre=pre)
    sites = [pre[layer] for layer in range(1, len(spec.sizes))]
    loss = torch.nn.functional.cross_entropy(output.flatten(0, 1), y.flatten(), reduction="none")
    grads = torch.autograd.grad(loss.unflatten(0, y.shape).mean(1).sum(), sites)
    return torch.stack([g.square().sum((1, 2)) for g in grads], 1)


def mean_factor(norms: Tensor) -> Tensor:
    """Geometric mean of  ||dL/dz_l||^2 / ||dL/dz_{l+1}||^2  over l = 2 ... L - 2, (S,).

    norms: (S, L).  Layer 1 is left out, whose norm divides by the spread of the inputs, and the
    output layer, which no activation follows.
    Raises ValueError for fewer than four layers, where nothing is left.
    """
    last = norms.shape[1] - 1
    if last < 3:
        raise ValueError(f"norms: expected at least 4 layers, got {last + 1}: no pair inside")
    return (norms[:, 1] / norms[:, last - 1]) ** (1 / (last - 2))


def inverse_variance(
    params: Params, x: Tensor, spec: Spec, *, stats: Statistics | None = None
) -> Tensor:
    """Mean of 1/(sigma^2 + eps) over units, geometric mean over l = 2 ... L - 2, (S,); 1 if plain.

    A backward layer of a wide ReLU network divides by sigma^2 unit by unit, so this replaces
    1/(1 - 1/pi) where the units' variances differ:  <1/sigma^2> >= 1/<sigma^2>.
    """
    used = trace(spec, params, x, stats=stats).stats
    inner = [used[site].var + spec.eps for site in used if 2 <= site <= len(spec.sizes) - 3]
    means = [(1 / var).mean(1) for var in inner] or [torch.ones(len(x), dtype=x.dtype)]
    return torch.stack(means, 1).log().mean(1).exp()


def noisy_normalization(y: Tensor, noise: Noise) -> Tensor:
    """The output of a norm under noise that the caller has drawn:  y scale + shift.

    y: (S, m, c), after gamma and beta and before the activation. It raises the shift of
    distributions on purpose; noise kept fixed is a fixed layer, so that two gradients can be
    compared under it.
    Raises ValueError for noise of another shape, which would be shared between rows or networks
    unseen, and for noise that is not finite.
    """
    for name, value in noise._asdict().items():
        if value.shape != y.shape:
            raise ValueError(
                f"{name}: expected the shape of y, {tuple(y.shape)}, got {tuple(value.shape)}"
            )
        if not bool(torch.isfinite(value).all()):
            raise ValueError(f"{name}: expected finite noise, got NaN or Inf")
    return torch.addcmul(noise.shift, y, noise.scale)


def _opposite(params: Params, grads: Params) -> dict[str, Tensor]:
    odd = sorted(set(params) ^ set(grads))
    if odd:
        raise ValueError(
            f"expected a gradient for every parameter and no other, got {odd} in one only"
        )
    return {name: -grad for name, grad in grads.items()}


def _of_layer(loss_fn: Function, point: Params, number: int) -> dict[str, Tensor]:
    """The gradient with respect to the parameters of one layer; the rest of the graph is saved."""
    return gradient(
        lambda leaves: loss_fn({**point, **leaves}),
        {name: value for name, value in point.items() if layer_of(name) == number},
    )[1]


def _dot(a: Params, b: Params) -> Tensor:
    """a.b of one layer, (K S,)."""
    return layer_dots(a, b).sum(1)


def _quadrature(nodes: int, panels: int) -> tuple[np.ndarray, np.ndarray]:
    """Places in (0, 1) and weights of Gauss and Legendre's rule on equal panels."""
    for name, value in {"nodes": nodes, "panels": panels}.items():
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{name}: expected a whole number >= 1, got {value!r}")
    at, weight = np.polynomial.legendre.leggauss(nodes)
    places = (np.arange(panels)[:, None] + (1 + at) / 2) / panels
    return places.ravel(), np.tile(weight / 2 / panels, panels)


def _flat(values: Params) -> Tensor:
    return torch.cat([values[name].flatten(1) for name in sorted(values)], 1)
