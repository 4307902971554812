"""The three passes against autograd, identities and 60-digit numbers.

Differences and a value by hand: tests/chapters/gradient/test_witnesses.py.
"""

from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import exact as oracle

from bnlib import kernels, reference
from bnlib.reference import backward, double_backward, forward, statistics

U32, U64 = 2.0**-24, 2.0**-53  # unit roundoffs


class Case(NamedTuple):
    x: np.ndarray
    gamma: np.ndarray
    beta: np.ndarray
    dy: np.ndarray
    v: np.ndarray
    u: np.ndarray
    w: np.ndarray


def case(m, *, offset=0.0, seed=0, dtype=np.float64, shape=None):
    """Nothing equal, nothing symmetric; gamma holds a zero and a negative number."""
    rng = np.random.default_rng([seed, m])
    shape = shape or (m, 4)
    rows = [rng.normal(size=shape) for _ in range(3)]
    gamma = np.array([1.7, 0.0, -0.6, 2.1])
    values = (rows[0] * 1.3 + offset, gamma, *rng.normal(size=(1, 4)), rows[1], rows[2])
    return Case(*(a.astype(dtype) for a in (*values, *rng.normal(size=(2, 4)))))


CASES = [
    pytest.param(m, eps, offset, id=f"m={m}, eps={eps}, offset={offset:g}")
    for m in (2, 3, 8)
    for eps, offset in ((0.0, 0.0), (1e-5, 1e4), (1.0, 0.0), (1.0, 1e4))
]


def passes(k, eps):
    y, tape = forward(k.x, k.gamma, k.beta, eps=eps)
    return y, tape, backward(k.dy, tape), double_backward(k.v, k.u, k.w, k.dy, tape)


def by_autograd(k, eps):
    """Both derivatives of the plainest forward, by torch."""
    x, gamma, beta, dy, v, u, w = (torch.tensor(a, requires_grad=True) for a in k)
    c = x - x.mean(0)
    y = gamma * c / (c.square().mean(0) + eps).sqrt() + beta
    first = torch.autograd.grad(y, (x, gamma, beta), dy, create_graph=True)
    second = torch.autograd.grad(first, (dy, x, gamma), (v, u, w))
    return [t.detach().numpy() for t in (y, *first, *second)]


# --- first and second derivative ---


@pytest.mark.parametrize(("m", "eps", "offset"), CASES)
def test_all_passes_agree_with_autograd(m, eps, offset):
    k = case(m, offset=offset)
    y, tape, first, second = passes(k, eps)
    # The witness takes mu with an error of U |offset|, which moves x_hat by rstd of that. Each
    # derivative has one more factor rstd, and sums of up to 8 terms of size up to 4.
    moved = U64 * (1 + offset * tape.rstd.max())
    rstd = max(1.0, tape.rstd.max())
    powers, ours = (0, 1, 0, 0, 1, 2, 1), (y, *first, *second)
    for power, got, want in zip(powers, ours, by_autograd(k, eps), strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=256 * moved * rstd**power)


@pytest.mark.parametrize(("m", "eps", "offset"), CASES)
def test_input_gradient_sums_to_zero_and_meets_x_hat_only_through_eps(m, eps, offset):
    k = case(m, offset=offset)
    _, tape, (dx, dgamma, dbeta), second = passes(k, eps)
    size = np.abs(k.gamma * tape.rstd).max() * m  # m terms of gain gamma rstd
    np.testing.assert_allclose(dx.sum(0), 0, atol=16 * U64 * size)
    rate = k.gamma * eps * tape.rstd**3
    np.testing.assert_allclose((dx * tape.x_hat).sum(0), rate * dgamma, atol=64 * U64 * size)
    np.testing.assert_allclose(dbeta, k.dy.sum(0), atol=16 * U64 * m)
    bend = np.abs(second.g_x).max() + size * tape.rstd.max()
    np.testing.assert_allclose(second.g_x.sum(0), 0, atol=64 * U64 * m * bend)
    # g_gamma is the derivative of <v, dx>, and dx is linear in gamma
    np.testing.assert_allclose(k.gamma * second.g_gamma, (k.v * dx).sum(0), atol=64 * U64 * size)


# --- moments of the output ---


@settings(deadline=None, derandomize=True, max_examples=60)
@given(
    m=st.integers(2, 200),
    exponent=st.integers(-12, 12),
    eps=st.sampled_from([0.0, 1e-12, 1e-5, 1.0]),
    seed=st.integers(0, 2**32 - 1),
)
def test_output_has_mean_beta_and_variance_gamma_squared_rho_within_the_bound(
    m, exponent, eps, seed
):
    rng = np.random.default_rng(seed)
    x = np.exp(2 * rng.normal(size=(m, 3))) * 10.0**exponent
    gamma, beta = rng.normal(size=(2, 3))
    y, tape = forward(x, gamma, beta, eps=eps)
    size = np.abs(gamma) + np.abs(beta)
    # sums of m terms in pairs: a few roundings of the largest term, sqrt(m) at most
    assert np.all(np.abs(y.mean(0) - beta) <= 16 * U64 * np.sqrt(m) * size)
    np.testing.assert_allclose(np.square(tape.x_hat).mean(0), tape.rho, rtol=64 * U64)
    assert np.all(np.abs(tape.x_hat) <= np.sqrt((m - 1) * tape.rho) * (1 + 64 * U64))
    mu, var = statistics(x)
    np.testing.assert_allclose(tape.rho, var / (var + eps), rtol=64 * U64)
    np.testing.assert_allclose(mu, x.mean(0), rtol=64 * U64)


@pytest.mark.parametrize("shape", [(2, 4, 3), (3, 4, 2, 5), (2, 4, 1, 2, 2), (1, 4, 9)])
def test_a_layout_only_changes_the_number_of_rows_of_the_double_backward(shape):
    k = case(7, shape=shape)

    def rows(a):
        return np.moveaxis(a, 1, -1).reshape(-1, 4)

    flat = Case(rows(k.x), *k[1:3], rows(k.dy), rows(k.v), *k[5:])
    whole, flattened = passes(k, 1e-3)[3], passes(flat, 1e-3)[3]
    assert whole.g_x.shape == whole.g_dy.shape == shape
    for a, b in zip((*map(rows, whole[:2]), whole.g_gamma), flattened, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", [(40, 50), (3000, 40), (9, 40, 3), (2, 3, 700, 200)])
def test_every_way_of_blocking_and_storing_gives_the_plain_formula(shape):
    rng = np.random.default_rng(4)
    x, dy = rng.normal(size=(2, *shape))
    gamma, beta = rng.normal(size=(2, shape[1]))
    axes, column = (0, *range(2, len(shape))), [-1] + [1] * (len(shape) - 2)
    g, b = gamma.reshape(column), beta.reshape(column)
    y, tape = forward(x, gamma, beta, eps=0.1)
    x_hat = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 0.1)
    np.testing.assert_allclose(y, g * x_hat + b, rtol=0, atol=1e-13)
    p = dy - dy.mean(axes, keepdims=True) - x_hat * (dy * x_hat).mean(axes, keepdims=True)
    grads = backward(dy, tape)
    np.testing.assert_allclose(grads.dx, g * tape.rstd.reshape(column) * p, rtol=0, atol=1e-13)
    np.testing.assert_allclose(grads.dgamma, (dy * x_hat).sum(axes), rtol=0, atol=1e-10)
    np.testing.assert_allclose(grads.dbeta, dy.sum(axes), rtol=0, atol=1e-10)


# --- accuracy ---

ACCURACY = [(np.float32, 4e-7, (0.0, 1e2, 1e4, 1e6)), (np.float64, 1e-15, (0.0, 1e4, 1e8, 1e11))]


@pytest.mark.parametrize(
    ("dtype", "goal", "offset"),
    [(d, goal, offset) for d, goal, all_ in ACCURACY for offset in all_],
)
@pytest.mark.parametrize("m", [16, 65, 300])
def test_output_and_input_gradient_are_accurate_at_any_mean(dtype, goal, offset, m):
    # The goal is under 7 unit roundoffs: x - shift, - mean, rstd, x_hat, gamma x_hat, + beta round
    # once each, and the worst roundings do not meet in one number.
    rng = np.random.default_rng(m)
    x, dy = rng.normal(size=(2, m, 2))
    x, dy = (x + offset).astype(dtype), dy.astype(dtype)
    gamma, beta = np.array([1.3, -0.4], dtype), np.array([0.2, 1.0], dtype)
    for eps in (1e-5, 0.3):
        y, tape = forward(x, gamma, beta, eps=eps)
        assert y.dtype == tape.x_hat.dtype == dtype
        assert kernels.relative_error(y, kernels.exact(x, gamma, beta, eps=eps)) <= goal
        dx = backward(dy, tape).dx
        assert dx.dtype == dtype
        assert kernels.relative_error(dx, oracle.backward(dy, x, gamma, eps=eps)) <= goal


@pytest.mark.parametrize("shape", [(100_000, 2), (4096, 40), (32, 2, 3136)])
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_accuracy_in_float32_does_not_fall_with_the_number_of_rows(shape, offset):
    rng = np.random.default_rng(8)
    x, dy = rng.normal(size=(2, *shape)).astype(np.float32)
    x += np.float32(offset)
    gamma, beta = rng.normal(size=(2, shape[1])).astype(np.float32)
    y, tape = forward(x, gamma, beta, eps=1e-5)
    wide = [a.astype(np.float64) for a in (x, gamma, beta)]
    y64, tape64 = forward(*wide, eps=1e-5)  # nine more digits: the truth for this purpose
    dx, dx64 = backward(dy, tape).dx, backward(dy.astype(np.float64), tape64).dx
    assert np.abs(y - y64).max() <= 4e-7 * np.abs(y64).max()
    assert np.abs(dx - dx64).max() <= 4e-7 * np.abs(dx64).max()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("eps", [0.0, 1e-5])
@pytest.mark.parametrize("shape", [(2, 50), (37, 5), (1001, 50), (3, 5, 7, 11)])
def test_a_constant_channel_returns_exactly_beta(dtype, eps, shape):
    rng = np.random.default_rng(9)
    column = [-1] + [1] * (len(shape) - 2)
    constant = (rng.normal(size=shape[1]) * 10.0 ** rng.integers(-3, 6, shape[1])).astype(dtype)
    x = np.broadcast_to(constant.reshape(column), shape).copy()
    for beta in (rng.normal(size=shape[1]).astype(dtype), np.zeros(shape[1], dtype)):
        y, tape = forward(x, np.ones_like(beta), beta, eps=eps)
        np.testing.assert_array_equal(y, np.broadcast_to(beta.reshape(column), shape))
    np.testing.assert_array_equal(tape.rho, 0)
    np.testing.assert_array_equal(statistics(x).var, 0)


def test_an_outlier_in_the_first_row_costs_the_other_rows_no_digits():
    x = np.random.default_rng(10).normal(size=(500, 1)).astype(np.float32)
    x[0] = 1e6
    one, zero = np.ones(1, np.float32), np.zeros(1, np.float32)
    y, _ = forward(x, one, zero, eps=1e-5)
    # x - shift rounds by U of a few; x - mu, with mu = 2000, and two products by U of themselves
    assert kernels.relative_error(y[1:], kernels.exact(x, one, zero, eps=1e-5)[1:]) <= 7 * U32


def test_a_constant_channel_has_gain_one_over_root_eps_and_no_gradient_without_eps():
    k = case(3)
    x = np.full_like(k.x, 0.1)
    _, tape = forward(x, k.gamma, k.beta, eps=1e-4)
    want = k.gamma / 0.01 * (k.dy - k.dy.mean(0))
    np.testing.assert_allclose(backward(k.dy, tape).dx, want, atol=16 * U64 * 1e2 * 4)
    _, tape = forward(x, k.gamma, k.beta, eps=0.0)
    assert np.all(np.isinf(tape.rstd))
    assert not np.isfinite(backward(k.dy, tape).dx[:, 0]).any()


@pytest.mark.parametrize("scale", [1e30, 1e-25])
@pytest.mark.parametrize("eps", [0.0, 1e-5])
def test_extreme_scales_in_float32_neither_overflow_nor_vanish(scale, eps):
    k = case(9)
    x, one, zero = (k.x * scale).astype(np.float32), np.ones(4, np.float32), np.zeros(4, np.float32)
    y, tape = forward(x, one, zero, eps=eps)
    assert kernels.relative_error(y, kernels.exact(x, one, zero, eps=eps)) <= 4e-7
    dx = backward(k.dy.astype(np.float32), tape).dx
    truth = oracle.backward(k.dy.astype(np.float32), x, one, eps=eps)
    assert kernels.relative_error(dx, truth) <= 4e-7
    mu, var = statistics(x)
    np.testing.assert_allclose(mu, x.mean(0, dtype=np.float64), atol=8 * U32 * scale)
    np.testing.assert_allclose(var, x.var(0, dtype=np.float64), rtol=32 * U32)


def test_extreme_scales_in_float64_neither_overflow_nor_vanish():
    k = case(9)
    y = forward(k.x, k.gamma, k.beta, eps=0.0)[0]
    for scale in (2.0**900, 2.0**-900):  # exact, so the result must not change at all
        np.testing.assert_array_equal(forward(k.x * scale, k.gamma, k.beta, eps=0.0)[0], y)
    x, one, zero = k.x * 1e-200, np.ones(4), np.zeros(4)  # var = 1e-400 beside eps
    y, tape = forward(x, one, zero, eps=1e-5)
    assert kernels.relative_error(y, kernels.exact(x, one, zero, eps=1e-5)) <= 1e-15
    np.testing.assert_allclose(tape.rstd, 1e-5**-0.5, rtol=4 * U64)


@pytest.mark.parametrize("shape", [(8, 4), (4, 4, 3), (8, 40)])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nan_and_inf_stay_in_their_channel_without_a_warning(shape, bad, dtype):
    rng = np.random.default_rng(6)
    x, dy, v = rng.normal(size=(3, *shape)).astype(dtype)
    gamma, beta, u, w = rng.normal(size=(4, shape[1])).astype(dtype)
    spoilt = x.copy()
    spoilt[1, 2] = bad

    def everything(x):
        y, tape = forward(x, gamma, beta, eps=1e-5)
        first, second = backward(dy, tape), double_backward(v, u, w, dy, tape)
        return [y, first.dx, second.g_dy, second.g_x, *statistics(x)]

    for clean, found in zip(everything(x), everything(spoilt), strict=True):
        channels = np.moveaxis(found, min(1, found.ndim - 1), 0)
        assert not np.isfinite(channels[2]).any()
        others = np.delete(channels, 2, axis=0)
        expected = np.delete(np.moveaxis(clean, min(1, clean.ndim - 1), 0), 2, axis=0)
        # a block with a spoilt channel is scaled before squaring, which may move the last digit
        np.testing.assert_allclose(others, expected, rtol=0, atol=64 * np.finfo(dtype).eps * 9)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_and_inf_in_the_incoming_gradient_stay_in_their_channel(bad):
    k = case(6)
    _, tape, clean, _ = passes(k, 0.1)
    dy = k.dy.copy()
    dy[0, 3] = bad
    found, second = backward(dy, tape), double_backward(k.v, k.u, k.w, dy, tape)
    assert not np.isfinite([found.dx[:, 3], second.g_x[:, 3]]).any()
    np.testing.assert_array_equal(found.dx[:, :3], clean.dx[:, :3])
    assert np.isfinite(second.g_x[:, :3]).all()


# --- refusals ---


@pytest.mark.parametrize("shape", [(1, 3), (0, 3), (1, 3, 1, 1)])
def test_one_row_is_refused_and_two_are_not(shape):
    one = np.ones(3)
    with pytest.raises(
        ValueError, match=r"expected m >= 2 rows to normalize over, got [01] from x of"
    ):
        forward(np.ones(shape), one, one, eps=0.1)
    forward(np.ones((2, 3)), one, one, eps=0.1)


def test_statistics_of_no_row_are_nan_and_of_one_row_have_no_variance():
    assert np.isnan(statistics(np.ones((0, 2)))).all()
    mu, var = statistics(np.array([[3.0, 4.0]]))
    assert (*mu, *var) == (3.0, 4.0, 0.0, 0.0)


def test_the_backward_passes_refuse_another_shape_or_dtype():
    k = case(4)
    _, tape = forward(k.x, k.gamma, k.beta, eps=0.1)
    with pytest.raises(ValueError, match=r"dy: expected shape \(4, 4\).*got \(3, 4\)"):
        backward(k.dy[:3], tape)
    with pytest.raises(TypeError, match="dy: expected float64, the dtype of x, got float32"):
        backward(k.dy.astype(np.float32), tape)
    with pytest.raises(ValueError, match=r"u: expected shape \(4,\)"):
        double_backward(k.v, k.u[:2], k.w, k.dy, tape)


def test_inputs_are_left_as_they_were():
    k = case(5)
    copies = [a.copy() for a in k]
    passes(k, 0.1)
    for before, after in zip(copies, k, strict=True):
        np.testing.assert_array_equal(before, after)
    assert reference.forward(k.x[::2], k.gamma, k.beta, eps=0.1)[0].shape == (3, 4)
