"""The gauge leaves the function alone; the identity copy is one; folding is what is left of it."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from bnlib.gauge import Norm, fold_bn, gauge, gauge_to_identity
from bnlib.running import infer

EPS = 1e-3


@pytest.fixture
def case():
    """A linear map (5, 3) with a normalization: negative, weak and zero gammas, a tiny variance."""
    rng = np.random.default_rng(0)
    gamma = np.array([1.3, -0.7, 0.02, 0.0, 2.0])
    norm = Norm(gamma, rng.normal(size=5), rng.normal(size=5), rng.uniform(0.1, 3, 5), EPS)
    norm.var[4] = 1e-5
    return rng.normal(size=(5, 3)), norm, rng.normal(size=(40, 3))


def output(weight, bias, norm, x):
    gamma, beta, mean, var, eps = norm
    return infer(x @ weight.T + bias, gamma, beta, mean, var, eps=eps)


def assert_same_function(new, weight, norm, x):
    """A handful of roundings of the largest term of an output, |gamma| x_hat."""
    before, after = output(weight, 0, norm, x), output(new.weight, new.bias, new.norm, x)
    np.testing.assert_allclose(after, before, rtol=0, atol=64 * 2.2e-16 * np.abs(before).max())


@pytest.mark.parametrize("new_eps", [None, 1e-5])
def test_every_gauge_with_a_variance_leaves_the_function_and_moves_the_rest(case, new_eps):
    weight, norm, x = case
    a, c = np.array([2.0, -3.0, 0.5, 1.0, -7.0]), np.array([1.0, 0.0, -20.0, 3.0, 0.1])
    new = gauge(weight, norm, a, c, eps=new_eps)
    assert_same_function(new, weight, norm, x)
    np.testing.assert_array_equal(new.norm.gamma, norm.gamma * np.sign(a))
    assert not np.allclose(new.norm.mean, norm.mean)
    assert new.norm.eps == (new_eps or EPS)


def test_a_gauge_by_hand():
    norm = Norm(np.array([3.0]), np.array([1.0]), np.array([2.0]), np.array([3.0]), 1.0)
    new = gauge(np.array([[5.0]]), norm, np.array([-2.0]), np.array([7.0]))
    assert (new.weight, new.bias) == (-10, 7)
    assert [v.item() for v in new.norm[:4]] == [-3, 1, 3, 15]  # 4 (3 + 1) - 1 = 15


def test_a_gauge_without_a_variance_is_refused_and_the_edge_is_not(case):
    weight, norm, _ = case
    edge = np.sqrt(EPS / (norm.var + EPS))
    with pytest.raises(ValueError, match="got a variance of -"):
        gauge(weight, norm, 0.99 * edge, norm.mean)
    assert gauge(weight, norm, 1.0001 * edge, norm.mean).norm.var.min() >= 0
    with pytest.raises(ValueError, match="expected numbers other than 0"):
        gauge(weight, norm, 0 * edge, norm.mean, eps=0.0)


def test_the_identity_copy_is_the_identity_where_gamma_allows_it_and_unchanged_elsewhere(case):
    weight, norm, x = case
    new, ok = gauge_to_identity(weight, norm)
    assert ok.tolist() == [True, True, False, False, True]
    assert_same_function(new, weight, norm, x)
    tau = np.sqrt(new.norm.var + EPS)
    np.testing.assert_allclose(new.norm.gamma[ok], tau[ok], rtol=4e-16)
    np.testing.assert_array_equal(new.norm.mean[ok], new.norm.beta[ok])
    for before, after in zip(norm[:4], new.norm[:4], strict=True):
        np.testing.assert_allclose(after[~ok], before[~ok], rtol=1e-12)


def test_a_smaller_eps_lets_weaker_channels_be_the_identity(case):
    weight, norm, x = case
    new, ok = gauge_to_identity(weight, norm, eps=1e-5)
    assert ok.tolist() == [True, True, True, False, True]
    assert_same_function(new, weight, norm, x)
    with pytest.raises(ValueError, match="take a smaller eps"):
        gauge_to_identity(weight, norm, eps=10.0)


@pytest.mark.parametrize("with_bias", [True, False])
def test_folding_is_the_inference_map_after_the_linear_one(case, with_bias):
    weight, norm, x = case
    bias = np.arange(5.0) if with_bias else None
    w, b = fold_bn(weight, bias, norm)
    wanted = output(weight, 0 if bias is None else bias, norm, x)
    np.testing.assert_allclose(x @ w.T + b, wanted, rtol=0, atol=1e-13 * np.abs(wanted).max())


LAYOUTS = {
    "linear": (nn.Linear(6, 4), (5, 6)),
    "conv1d": (nn.Conv1d(6, 4, 3), (2, 6, 7)),
    "conv2d": (nn.Conv2d(6, 4, 3, padding=1), (2, 6, 7, 7)),
    "square": (nn.Conv2d(4, 4, 3, bias=False), (2, 4, 7, 7)),
    "groups": (nn.Conv2d(6, 4, 3, groups=2), (2, 6, 7, 7)),
    "depthwise": (nn.Conv2d(4, 4, 3, groups=4), (2, 4, 7, 7)),
    "transposed": (nn.ConvTranspose2d(4, 4, 3), (2, 4, 7, 7)),
    "transposed, other inputs": (nn.ConvTranspose1d(6, 4, 3, stride=2, bias=False), (2, 6, 7)),
    "transposed in groups": (nn.ConvTranspose2d(6, 4, 3, groups=2), (2, 6, 5, 5)),
    "transposed square in groups": (nn.ConvTranspose2d(4, 4, 3, groups=2), (2, 4, 5, 5)),
    "transposed depthwise": (nn.ConvTranspose3d(4, 4, 2, groups=4), (2, 4, 3, 3, 3)),
}


def norm_of_four(seed=3):
    rng = np.random.default_rng(seed)
    gamma, beta, mean = rng.normal(size=(3, 4))
    return Norm(gamma, beta, mean, rng.uniform(0.1, 2, 4), 1e-3)


@pytest.mark.parametrize(("layer", "size"), LAYOUTS.values(), ids=list(LAYOUTS))
def test_folding_is_right_for_every_layout(layer, size):
    layer, norm = copy.deepcopy(layer).double(), norm_of_four()
    tensors = Norm(*(torch.from_numpy(v) for v in norm[:4]), norm.eps)
    x = torch.randn(size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    gamma, beta, mean, var, eps = tensors
    want = nn.functional.batch_norm(layer(x), mean, var, gamma, beta, eps=eps).detach()
    how = {"transposed": True, "groups": layer.groups} if "Transpose" in str(layer) else {}
    weight, bias = layer.weight.detach(), None if layer.bias is None else layer.bias.detach()
    for form in (lambda v: v, lambda v: None if v is None else v.numpy()):
        stored = Norm(*map(form, tensors[:4]), eps)
        folded = fold_bn(form(weight), form(bias), stored, **how)
        copied = copy.deepcopy(layer)
        copied.weight, copied.bias = (nn.Parameter(torch.as_tensor(v)) for v in folded)
        torch.testing.assert_close(copied(x).detach(), want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("shape", "bias", "change", "how"),
    [
        ((6, 4, 3, 3), None, {}, {}),  # transposed, and not said so
        ((1, 4), None, {}, {}),
        ((4,), None, {}, {}),
        ((4, 6), (1,), {}, {}),
        ((4, 6), None, {"mean": np.zeros(1)}, {}),
        ((4, 6), None, {"var": np.array([1.0, 0, 1, 1]), "eps": 0.0}, {}),
        ((4, 6), None, {"var": np.array([1.0, -1, 1, 1])}, {}),
        ((4, 6), None, {"var": np.array([1.0, np.nan, 1, 1])}, {}),
        ((4, 6, 3), None, {}, {"transposed": True}),
        ((6, 4, 3), None, {}, {"transposed": True, "groups": 2}),
        ((5, 2, 3), None, {}, {"transposed": True, "groups": 2}),
        ((6, 4, 3), None, {}, {"transposed": True, "groups": 0}),
    ],
)
def test_what_does_not_fold_is_refused(shape, bias, change, how):
    norm = norm_of_four()._replace(**change)
    with pytest.raises(ValueError, match="expected"):
        fold_bn(np.ones(shape), bias and np.ones(bias), norm, **how)


def test_a_gauge_of_another_number_of_channels_is_refused():
    norm, ones = norm_of_four(), np.ones(4)
    for weight in (np.ones((6, 4)), np.ones((1, 4)), np.ones(4)):
        with pytest.raises(ValueError, match="weight: expected"):
            gauge(weight, norm, ones, ones)
        with pytest.raises(ValueError, match="weight: expected"):
            gauge_to_identity(weight, norm)
