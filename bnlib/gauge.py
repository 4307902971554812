"""The freedom that batch normalization leaves in a trained network, and folding it away.

A linear map followed by batch normalization computes the same function in evaluation mode for a
whole family of weights and statistics. Everything here works on NumPy arrays and torch tensors
alike, is elementwise in the channels, and returns new arrays.
"""

from typing import Any, NamedTuple


class Norm(NamedTuple):
    """One batch normalization as stored: (c,) each, and the offset under its root."""

    gamma: Any
    beta: Any
    mean: Any
    var: Any
    eps: float


class Gauged(NamedTuple):
    """A linear map and its normalization after a change of gauge."""

    weight: Any  # (c, ...)
    bias: Any  # (c,), added before the normalization
    norm: Norm


def gauge(weight: Any, norm: Norm, a: Any, c: Any, *, eps: float | None = None) -> Gauged:
    """Another network with the same function in evaluation mode.

        W' = a W,  bias c,  mean' = a mean + c,  var' = a^2 (var + eps) - eps',
        gamma' = gamma sign(a),  beta' = beta

    weight: (channels, ...), of a linear map without bias.  a, c: (channels,).
    eps: the offset eps' of the new network; the old one unless given.
    Raises ValueError where a = 0, which would erase the channel, and where var' < 0: a variance
    cannot be negative, so a^2 (var + eps) >= eps' is the range of the gauge.
    Consequence: gamma' (a z + c - mean') / sqrt(var' + eps') + beta' is the same for every z.
    """
    eps = norm.eps if eps is None else eps
    var = a * a * (norm.var + norm.eps) - eps
    if bool((a == 0).any()):
        raise ValueError("a: expected numbers other than 0, got 0; it would erase the channel")
    if bool((var < 0).any()):
        raise ValueError(
            f"expected a^2 (var + eps) >= {eps:g}, got a variance of {float(var.min()):g}; "
            "take a larger |a| in these channels, or a smaller eps"
        )
    sign = (a > 0) * 2 - 1
    moved = Norm(norm.gamma * sign, norm.beta, a * norm.mean + c, var, eps)
    return Gauged(_across(a, weight) * weight, c, moved)


def gauge_to_identity(weight: Any, norm: Norm, *, eps: float | None = None) -> tuple[Gauged, Any]:
    """The copy whose normalization is the identity in evaluation mode, and where it exists.

        a = gamma / sqrt(var + eps),   c = beta - a mean

    eps: as in `gauge`.  Returns the copy and `ok` (c,), where |gamma| >= sqrt(eps'); the other
    channels keep their gamma, and only make room for eps'.
    Raises ValueError where such a channel cannot: var + eps < eps'.
    Consequences where ok: gamma' = |gamma| = sqrt(var' + eps') and mean' = beta; W' and c are what
    `fold_bn` gives.
    """
    eps = norm.eps if eps is None else eps
    ok = norm.gamma**2 >= eps
    keep = 1 - ok * 1.0
    a = ok * norm.gamma / (norm.var + norm.eps) ** 0.5 + keep
    # Not through `gauge`: gamma^2 - eps' and beta carry no rounding of a.
    var = ok * (norm.gamma**2 - eps) + keep * (norm.var + norm.eps - eps)
    if bool((var < 0).any()):
        raise ValueError(f"expected var + eps >= {eps:g} where gamma is small; take a smaller eps")
    mean = ok * norm.beta + keep * norm.mean
    gamma = ok * abs(norm.gamma) + keep * norm.gamma
    bias = ok * (norm.beta - a * norm.mean)
    return Gauged(_across(a, weight) * weight, bias, Norm(gamma, norm.beta, mean, var, eps)), ok


def fold_bn(
    weight: Any, bias: Any, norm: Norm, *, transposed: bool = False, groups: int = 1
) -> tuple[Any, Any]:
    """Weight and bias of the linear map that has absorbed its normalization [BN.4].

        W_f = W gamma / sqrt(var + eps),   b_f = beta + gamma (bias - mean) / sqrt(var + eps)

    weight: (c, ...), as linear maps and convolutions have it, in any number of groups; of a
    transposed convolution, which its weight does not tell, (inputs, c / groups, ...).
    bias: (c,), or None for a map without.  Zero padding does not matter: the bias comes after it.
    Raises ValueError for other shapes, and where var + eps is not above 0, which has no root.
    Consequence: exact in real arithmetic, in evaluation mode only.
    """
    vectors = {"beta": norm.beta, "mean": norm.mean, "var": norm.var, "bias": bias}
    for name, vector in vectors.items():
        if vector is not None and vector.shape != norm.gamma.shape:
            raise ValueError(
                f"{name}: expected the shape of gamma, {tuple(norm.gamma.shape)}, got "
                f"{tuple(vector.shape)}"
            )
    if not bool((norm.var + norm.eps > 0).all()):
        raise ValueError(f"expected var + eps > 0, got eps {norm.eps:g} and {norm.var.min()}")
    a = norm.gamma / (norm.var + norm.eps) ** 0.5
    shift = norm.beta - a * (norm.mean if bias is None else norm.mean - bias)
    if not transposed:
        return _across(a, weight) * weight, shift
    inputs, each, *_ = shape = tuple(weight.shape)
    if groups < 1 or each * groups != len(a) or inputs % groups or weight.ndim < 3:
        raise ValueError(
            f"weight: expected (inputs, {len(a)} / groups, ...) in {groups} groups, got {shape}"
        )
    grouped = weight.reshape(groups, inputs // groups, each, -1)  # (group, input, output, taps)
    return (a.reshape(groups, 1, each, 1) * grouped).reshape(shape), shift


def _across(a: Any, weight: Any) -> Any:
    if weight.ndim < 2 or len(weight) != len(a):
        raise ValueError(f"weight: expected ({len(a)}, ...), got {tuple(weight.shape)}")
    return a.reshape((-1,) + (1,) * (weight.ndim - 1))
