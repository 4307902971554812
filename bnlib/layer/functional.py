"""`batch_norm` with the signature of `torch.nn.functional.batch_norm`, and its derivatives.

Nothing here comes from `bnlib.reference`: the two are each other's witness.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function, forward_ad

from bnlib.layer import passes
from bnlib.rows import per_channel, reduced_axes

HALVES = (torch.float16, torch.bfloat16)


def _mean(a: Tensor) -> Tensor:
    return a.mean(reduced_axes(a.ndim), keepdim=True)


def _standardize(x: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """(x_hat, rstd) by plain operations: where derivatives go on, torch must see them all."""
    c = x - _mean(x).detach()  # y does not change with a shift of x, whatever its derivative
    c = c - _mean(c)
    rstd = passes.inverse_root(_mean(c * c), eps)
    return c * rstd, rstd


def _project(a: Tensor, x_hat: Tensor, rstd: Tensor) -> Tensor:
    """J a = rstd * (a - <a> - x_hat * <a * x_hat>), the derivative of x_hat; symmetric."""
    return rstd * (a - _mean(a) - x_hat * _mean(a * x_hat))


def _plain(x: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """(y, mean, var) by plain operations, for forward mode.

    torch drops derivatives, without a word, when forward mode goes twice through a Function.
    """
    x_hat, _ = _standardize(x, eps)
    y = x_hat * per_channel(gamma, x.ndim) + per_channel(beta, x.ndim)
    fixed, axes = x.detach().double(), reduced_axes(x.ndim)
    return y, fixed.mean(axes), fixed.var(axes, correction=0)


def _stack(info: Any, in_dims: tuple[Any, ...], args: tuple[Any, ...]) -> list[Any]:
    """Arguments of B batch norms of c channels as those of one with B * c channels."""
    stacked = []
    for dim, a in zip(in_dims, args, strict=True):
        if isinstance(a, Tensor):
            a = a.unsqueeze(0) if dim is None else a.movedim(dim, 0)
            a = a.expand(info.batch_size, *a.shape[1:])
            a = a.flatten(0, 1) if a.ndim == 2 else a.movedim(0, 1).flatten(1, 2)
        stacked.append(a)
    return stacked


def _unstack(info: Any, a: Tensor) -> Tensor:
    """The inverse for a result, the batch first."""
    axis = 0 if a.ndim == 1 else 1
    return a.unflatten(axis, (info.batch_size, -1)).movedim(axis, 0)


class _Plain(Function):
    """y of x, gamma, beta as by `_Normalize`, quicker to call, outside of `torch.func`."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        x, gamma, beta, ctx.eps, known = inputs
        ctx.save_for_backward(x, gamma, *known)
        return passes.forward(x, gamma, beta, ctx.eps, known)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Any, ...]:
        return *_differentiate(ctx, *grad_outputs), None, None


def _differentiate(ctx: Any, dy: Tensor) -> tuple[Tensor, ...]:
    """(dx, dgamma, dbeta); as a Function only where they may be differentiated in their turn."""
    x, gamma, *known = ctx.saved_tensors
    if _transformed() or torch.is_grad_enabled():
        return _Differentiate.apply(dy, x, gamma, *known, ctx.eps)
    return passes.backward(dy, x, gamma, ctx.eps, passes.Statistics(*known))


def _transformed() -> bool:
    """Whether torch runs these lines for something else than their values."""
    return torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active()


class _Normalize(Function):
    """(y, pilot, shift, var) of x, gamma, beta; derivatives are those of y."""

    @staticmethod
    def forward(x: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> tuple[Tensor, ...]:
        known = passes.statistics(x)
        return passes.forward(x, gamma, beta, eps, known), *known

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        x, gamma, _, ctx.eps = inputs
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(x, gamma, *output[1:])

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Any, ...]:
        dy, *_ = grad_outputs
        return *_differentiate(ctx, dy), None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *args: Any) -> Any:
        outputs = _Normalize.apply(*_stack(info, in_dims, args))
        return tuple(_unstack(info, a) for a in outputs), (0, 0, 0, 0)


class _Differentiate(Function):
    """(dx, dgamma, dbeta) of dy, x, gamma: the backward pass, differentiable in its turn."""

    @staticmethod
    def forward(
        dy: Tensor, x: Tensor, gamma: Tensor, pilot: Tensor, shift: Tensor, var: Tensor, eps: float
    ) -> tuple[Tensor, ...]:
        return passes.backward(dy, x, gamma, eps, passes.Statistics(pilot, shift, var))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        dy, x, gamma, _, _, _, ctx.eps = inputs
        ctx.save_for_backward(dy, x, gamma)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Any, ...]:
        """Gradients for the cotangents v of dx, u of dgamma, w of dbeta  [BN.3].

        g_dy    = gamma * J v + u * x_hat + w
        g_gamma = sum(v * J dy)
        g_x     = u * J dy - gamma * rstd * (x_hat * <v * J dy> + <dy * x_hat> * J v
                                             + <v * x_hat> * J dy)
        """
        v, u, w = grad_outputs
        dy, x, gamma = ctx.saved_tensors
        gamma, u, w = (per_channel(a, x.ndim) for a in (gamma, u, w))
        x_hat, rstd = _standardize(x, ctx.eps)
        jv, jdy = _project(v, x_hat, rstd), _project(dy, x_hat, rstd)
        g_dy = gamma * jv + u * x_hat + w
        bend = x_hat * _mean(v * jdy) + _mean(dy * x_hat) * jv + _mean(v * x_hat) * jdy
        g_x = u * jdy - gamma * rstd * bend
        g_gamma = (v * jdy).sum(reduced_axes(x.ndim))
        return g_dy, g_x, g_gamma, None, None, None, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *args: Any) -> Any:
        outputs = _Differentiate.apply(*_stack(info, in_dims, args))
        return tuple(_unstack(info, a) for a in outputs), (0, 0, 0)


def _check(x: Tensor, eps: float, others: dict[str, Tensor | None]) -> None:
    """Refuse what would otherwise fail far from its cause, or be computed silently wrong."""
    reduced_axes(x.ndim)
    if not eps >= 0:
        raise ValueError(f"expected eps >= 0, got {eps}: the root of var + eps must exist")
    if x.dtype not in (torch.float32, torch.float64, *HALVES):
        raise TypeError(
            f"input: expected a real floating dtype, got {x.dtype}, which cannot hold the result; "
            "convert it, e.g. input.float()"
        )
    allowed = (x.dtype, torch.float32) if x.dtype in HALVES else (x.dtype,)
    for name, v in others.items():
        if v is not None and v.shape != x.shape[1:2]:
            raise ValueError(
                f"{name}: expected shape ({x.shape[1]},), one value a channel of an input of shape "
                f"{tuple(x.shape)}, got {tuple(v.shape)}; channels are axis 1"
            )
        if v is not None and v.dtype not in allowed:
            want = " or ".join(map(str, allowed))
            raise TypeError(
                f"{name}: expected {want} with an input of {x.dtype}, got {v.dtype}: "
                "a promotion would hide the precision; cast one of them"
            )


def _track(running: Tensor, new: Tensor, new_weight: Any) -> None:
    """running <- (1 - new_weight) * running + new_weight * new, rounded once."""
    running.copy_((1 - new_weight) * running.double() + new_weight * new)


def _train(
    x: Tensor,
    gamma: Tensor,
    beta: Tensor,
    buffers: tuple[Tensor, Tensor] | None,
    new_weight: Any,
    eps: float,
) -> Tensor:
    """Normalize with the statistics of x, and fold them into the running ones  [BN.1], [BN.5]."""
    m = passes.rows(x)
    if m == 0:  # nothing to normalize or to learn from, but a graph of the right shape
        return x * per_channel(gamma, x.ndim) + per_channel(beta, x.ndim)
    if m == 1:
        raise ValueError(
            f"expected m >= 2 rows to normalize over, got 1 in an input of shape {tuple(x.shape)}: "
            "one value equals its own mean; use a larger batch, or evaluation mode"
        )
    if forward_ad._current_level >= 0:
        y, mean, var = _plain(x, gamma, beta, eps)
    else:
        if _transformed():
            y, pilot, shift, var = _Normalize.apply(x, gamma, beta, eps)
        else:
            known = pilot, shift, var = passes.statistics(x.detach())
            y = _Plain.apply(x, gamma, beta, eps, known)
        mean = pilot.double() + shift if buffers else pilot
    if buffers is not None:
        with torch.no_grad():
            _track(buffers[0], mean, new_weight)
            _track(buffers[1], var * (m / (m - 1)), new_weight)
    return y


def _infer(
    x: Tensor, gamma: Tensor, beta: Tensor, buffers: tuple[Tensor, Tensor], eps: float
) -> Tensor:
    """y = gamma * (var + eps) ** -0.5 * (x - mean) + beta with constant mean and var  [BN.4].

    Affine in x, so torch's own derivatives are already the closed form.
    """
    mean, var = (v.detach().double() for v in buffers)
    scale = gamma * passes.inverse_root(var, eps).to(x.dtype)
    mean, scale, beta = (per_channel(v, x.ndim) for v in (mean.to(x.dtype), scale, beta))
    return (x - mean) * scale + beta


def batch_norm(
    input: Tensor,  # noqa: A002  the name in torch.nn.functional.batch_norm
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalize every channel of input; the interface of `torch.nn.functional.batch_norm`.

        training    y = weight * (x - mu) / sqrt(var + eps) + bias                        [BN.1]
                    running <- (1 - momentum) * running + momentum * (mu, var m/(m - 1))  [BN.5]
        evaluation  y = weight * (x - running_mean) / sqrt(running_var + eps) + bias      [BN.4]

    input: (N, C) or (N, C, ...), float32 or float64, or half precision, which is computed in
    float32 and rounded once. The other tensors: (C,), the dtype of input (float32 also goes with
    half precision). momentum weighs the new batch; the running tensors change in place. An input
    of one axis has no channels and is refused, also in evaluation, where torch takes some.
    Raises ValueError for one row in training (it has no variance), eps < 0 (no root), another
    number of channels, a running tensor that is missing or alone; TypeError for integers (the
    result has fractions) and mixed dtypes (a promotion would hide the precision).
    Consequences: y and its gradient are exact to a few units in the last place however large
    mu / sigma is; a constant channel gives bias exactly, also with eps = 0, where its gradient is
    0, and so does a running variance of 0 with eps = 0 (torch: NaN); NaN and Inf stay in their
    channel; an empty batch changes no running tensor. Derivatives of every order, and `torch.func`,
    see mu and var as functions of input. Squares must be representable: in float32, sigma between
    1e-19 and 1e19. Source: ioffe2015.
    """
    running = {"running_mean": running_mean, "running_var": running_var}
    _check(input, eps, {"weight": weight, "bias": bias, **running})
    if (running_mean is None) is not (running_var is None):
        alone = "running_mean" if running_var is None else "running_var"
        raise ValueError(f"expected both running tensors or neither, got {alone} alone")
    x = input.float() if input.dtype in HALVES else input
    gamma = x.new_ones(x.shape[1]) if weight is None else weight.to(x.dtype)
    beta = x.new_zeros(x.shape[1]) if bias is None else bias.to(x.dtype)
    buffers = None if running_mean is None or running_var is None else (running_mean, running_var)
    if training:
        y = _train(x, gamma, beta, buffers, momentum, eps)
    elif buffers is not None:
        y = _infer(x, gamma, beta, buffers, eps)
    else:
        raise ValueError(
            "expected running_mean and running_var in evaluation, got None: they replace the "
            "batch's statistics; pass them, or training=True"
        )
    return y.to(input.dtype)
