"""One battery of cases, run by the NumPy reference, by our torch layer and by torch itself.

The answers come from torch's automatic differentiation of the formula as it is written down, in
float64. Whoever runs a case returns y, dx, dgamma, dbeta and the running mean and variance.
"""

from typing import NamedTuple

import numpy as np
import pytest
import torch

from bnlib import reference, running
from bnlib.layer import BatchNorm1d, batch_norm


class Case(NamedTuple):
    """What to normalize; the id of a case is its `name`."""

    name: str
    shape: tuple[int, ...]
    eps: float = 1e-5
    mean: float = 0.0  # of x, in its standard deviations
    gamma: tuple[float, ...] = (1.7, -0.6, 0.0)  # generic, negative, zero
    new_weight: float = 0.1


CASES = [
    Case("rows", (9, 3)),
    Case("two rows", (2, 3), eps=0.3),
    Case("large eps", (9, 3), eps=1.0),
    Case("no eps", (9, 3), eps=0.0),
    Case("offset", (33, 3), mean=100.0),
    Case("sequence", (4, 3, 5)),
    Case("single sequence", (1, 3, 7)),
    Case("image", (3, 3, 4, 5)),
    Case("one-pixel image", (6, 3, 1, 1)),
    Case("volume", (2, 3, 3, 2, 4)),
    Case("all new", (5, 3, 2), new_weight=1.0),
    Case("all old", (5, 3, 2), new_weight=0.0),
    Case("no scale", (7, 3), gamma=(0.0, 0.0, 0.0)),
]
MODES = ["training", "evaluation"]
DTYPES = ["float32", "float64"]


class Data(NamedTuple):
    """Arrays of one dtype; running statistics before the batch."""

    x: np.ndarray
    dy: np.ndarray
    gamma: np.ndarray
    beta: np.ndarray
    mean: np.ndarray
    var: np.ndarray


def data(case, dtype):
    rng = np.random.default_rng(sum(map(ord, case.name)))
    c = case.shape[1]
    x = 3 * (rng.normal(size=case.shape) + case.mean)
    arrays = (
        *(x, rng.normal(size=case.shape) + 0.5, np.array(case.gamma), rng.normal(size=c)),
        *(3 * (rng.normal(size=c) + case.mean), rng.uniform(0.5, 2, c)),
    )
    return Data(*(a.astype(dtype) for a in arrays))


def by_numpy(case, mode, d):
    """The reference and the running statistics."""
    before = running.Running(d.mean, d.var, 0)
    if mode == "evaluation":
        constants = {"mean": d.mean, "var": d.var, "eps": case.eps}
        y = running.infer(d.x, d.gamma, d.beta, **constants)
        return y, *running.infer_backward(d.dy, d.x, d.gamma, **constants), d.mean, d.var
    y, tape = reference.forward(d.x, d.gamma, d.beta, eps=case.eps)
    batch = *reference.statistics(d.x), d.x.size // len(d.mean)
    after = running.update(before, *batch, new_weight=case.new_weight)
    return y, *reference.backward(d.dy, tape), after.mean, after.var


def by_torch(function):
    """Anything with the signature of `torch.nn.functional.batch_norm`."""

    def run(case, mode, d):
        x, dy, gamma, beta, mean, var = (torch.tensor(a) for a in d)
        leaves = [a.requires_grad_() for a in (x, gamma, beta)]
        training = mode == "training"
        y = function(x, mean, var, gamma, beta, training, case.new_weight, case.eps)
        return y.detach(), *torch.autograd.grad(y, leaves, dy), mean, var

    return run


def by_layer(case, mode, d):
    """The layer with its state."""
    net = BatchNorm1d(d.x.shape[1], case.eps, case.new_weight, dtype=torch.from_numpy(d.x).dtype)
    net._check_input_dim = lambda x: None  # 1d, 2d and 3d differ in this check only
    state = {"weight": d.gamma, "bias": d.beta, "running_mean": d.mean, "running_var": d.var}
    count = {"num_batches_tracked": torch.tensor(0)}
    net.load_state_dict({k: torch.tensor(v) for k, v in state.items()} | count)
    x = torch.tensor(d.x, requires_grad=True)
    y = net.train(mode == "training")(x)
    grads = torch.autograd.grad(y, (x, net.weight, net.bias), torch.tensor(d.dy))
    return y.detach(), *grads, net.running_mean, net.running_var


def composed(x, mean, var, gamma, beta, training, new_weight, eps):
    """The formula as it is written down, differentiated by torch."""
    axes, shape = (0, *range(2, x.ndim)), (1, -1) + (1,) * (x.ndim - 2)
    mu, v = mean, var
    if training:
        mu = x.mean(axes)
        v = (x - mu.reshape(shape)).square().mean(axes)
        m = x.numel() // x.shape[1]
        mean.lerp_(mu.detach(), new_weight)
        var.lerp_(v.detach() * m / (m - 1), new_weight)
    x_hat = (x - mu.reshape(shape)) / torch.sqrt(v + eps).reshape(shape)
    return gamma.reshape(shape) * x_hat + beta.reshape(shape)


RUNNERS = {
    "reference": by_numpy,
    "function": by_torch(batch_norm),
    "layer": by_layer,
    "torch": by_torch(torch.nn.functional.batch_norm),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("runner", RUNNERS)
def test_everyone_gives_the_same_answer(runner, case, mode, dtype):
    if runner == "torch" and mode == "training" and case.eps == 0:
        pytest.skip("torch.nn.functional.batch_norm refuses eps = 0 in training")
    d = data(case, dtype)
    got = RUNNERS[runner](case, mode, d)
    wide = Data(*(a.astype(np.float64) for a in d))
    want = by_torch(composed)(case, mode, wide)
    m, eps = d.x.size // d.x.shape[1], float(np.finfo(dtype).eps)
    # Up to m roundings in a sum. Torch folds scale and mean, so that its y and its statistics lose
    # a factor mean / sigma; dgamma and dbeta are sums of m terms below 8, dx has a gain below 8.
    noise = 16 * m * eps * (1 + case.mean)
    names = ("y", "dx", "dgamma", "dbeta", "running mean", "running var")
    for name, a, b in zip(names, got, want, strict=True):
        assert name.startswith("running") or str(a.dtype).removeprefix("torch.") == dtype, name
        a, b = np.asarray(a), b.numpy()
        assert a.shape == b.shape, name
        atol = noise * (max(1, case.mean) if name == "running mean" else 1)
        np.testing.assert_allclose(a, b, rtol=noise, atol=atol, err_msg=name)
