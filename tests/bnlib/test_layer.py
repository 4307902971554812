"""The torch layer: accuracy, derivatives of every order, transforms, drop-in use, refusals."""

import copy
import inspect
import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import exact
from torch import nn
from torch.autograd import gradcheck, gradgradcheck
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, vmap
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

from bnlib import kernels, layer
from bnlib.layer import BatchNorm1d, BatchNorm2d, BatchNorm3d, batch_norm, passes

EPS64 = np.finfo(np.float64).eps
LAYERS = [
    (BatchNorm1d, nn.BatchNorm1d),
    (BatchNorm2d, nn.BatchNorm2d),
    (BatchNorm3d, nn.BatchNorm3d),
]
# torch registers its forward-mode decompositions with its own deprecated torch.jit.script.
forward_mode = pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(3)


def normal(generator, *shape, dtype=torch.float64):
    return torch.randn(shape, generator=generator, dtype=dtype)


def train(x, gamma=None, beta=None, eps=0.3):
    return batch_norm(x, None, None, gamma, beta, True, eps=eps)


def composed(x, gamma, beta, eps=0.3):
    """The plainest forward: torch differentiates every step of it."""
    axes, shape = (0, *range(2, x.ndim)), (1, -1) + (1,) * (x.ndim - 2)
    c = x - x.mean(axes, keepdim=True)
    x_hat = c / torch.sqrt((c * c).mean(axes, keepdim=True) + eps)
    return gamma.reshape(shape) * x_hat + beta.reshape(shape)


def point(generator, *shape):
    """x, gamma with a zero and a negative value, beta; all require gradients."""
    gamma = torch.tensor([1.7, 0.0, -0.6], dtype=torch.float64)
    leaves = normal(generator, *shape) + 1, gamma, normal(generator, 3)
    return [a.requires_grad_() for a in leaves]


# --- values


@pytest.mark.parametrize(
    ("dtype", "ratio", "bound"),
    [(torch.float32, r, 4e-7) for r in (0, 1e2, 1e4, 1e6)]
    + [(torch.float64, r, 1e-15) for r in (0, 1e5, 1e11)],
)
@pytest.mark.parametrize("block", [1, passes.BLOCK])
def test_y_and_dx_are_exact_to_a_few_roundings_at_any_mean(
    dtype, ratio, bound, block, generator, monkeypatch
):
    monkeypatch.setattr(passes, "BLOCK", block)
    scales = torch.tensor([3e-2, 1.0, 7e3], dtype=dtype)
    x = (normal(generator, 250, 3, dtype=dtype) + ratio) * scales
    dy, gamma, beta = (normal(generator, *s, dtype=dtype) for s in ((250, 3), (3,), (3,)))
    x.requires_grad_()
    y = train(x, gamma, beta, eps=1e-5)
    (dx,) = torch.autograd.grad(y, x, dy)
    arrays = [a.detach().numpy() for a in (x, gamma, beta, dy)]
    for k in range(3):  # channel by channel: a large one must not hide a small one
        rows, g, b, d = (a[..., k : k + 1] for a in arrays)
        truth = kernels.exact(rows, g, b, eps=1e-5)
        assert kernels.relative_error(y.detach()[:, k : k + 1].numpy(), truth) <= bound
        truth = exact.backward(d, rows, g, eps=1e-5)
        assert kernels.relative_error(dx[:, k : k + 1].numpy(), truth) <= bound


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("eps", [0.0, 1e-5])
@pytest.mark.parametrize("value", [0.0, 0.1, -1e6 / 3, 1e15 / 7])
def test_a_constant_channel_gives_exactly_beta_and_a_plain_gradient(value, eps, dtype, generator):
    x = torch.full((1003, 2, 7), value, dtype=dtype, requires_grad=True)
    beta, dy = torch.tensor([0.3, -1e-3], dtype=dtype), normal(generator, 1003, 2, 7, dtype=dtype)
    var = torch.ones(2, dtype=dtype)
    y = batch_norm(x, torch.zeros(2, dtype=dtype), var, None, beta, True, 1.0, eps)
    assert torch.equal(y, beta[:, None].expand_as(x))
    assert torch.equal(var, torch.zeros(2, dtype=dtype))
    (dx,) = torch.autograd.grad(y, x, dy)
    want = (dy - dy.double().mean((0, 2), keepdim=True)) * (eps**-0.5 if eps else 0.0)
    # the mean is rounded once, dy - mean once, the product once; |dy| < 8
    atol = 8 * 4 * torch.finfo(dtype).eps * (eps**-0.5 if eps else 0.0)
    torch.testing.assert_close(dx.double(), want.double(), rtol=0, atol=atol)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_nan_and_inf_stay_in_their_channel(bad, generator):
    x = normal(generator, 8, 3, 4)
    clean = [train(x), *updated(x)]
    x[2, 1, 3] = bad
    for got, want in zip([train(x), *updated(x)], clean, strict=True):
        axis = 0 if got.ndim == 1 else 1
        assert got.select(axis, 1).isnan().all()
        assert torch.equal(
            got.index_select(axis, torch.tensor([0, 2])),
            want.index_select(axis, torch.tensor([0, 2])),
        )


def updated(x):
    mean, var = torch.zeros(3, dtype=x.dtype), torch.ones(3, dtype=x.dtype)
    batch_norm(x, mean, var, training=True)
    return mean, var


@settings(max_examples=40, deadline=None)
@given(
    m=st.integers(2, 40),
    offset=st.floats(-1e4, 1e4),
    log_scale=st.floats(-3, 3),
    eps=st.sampled_from([0.0, 1e-5, 1.0]),
    seed=st.integers(0, 2**32 - 1),
)
def test_identities_hold_for_any_rows(m, offset, log_scale, eps, seed):
    source = torch.Generator().manual_seed(seed)
    x = (normal(source, m, 2) * 10**log_scale + offset).requires_grad_()
    gamma, dy = normal(source, 2).requires_grad_(), normal(source, m, 2)
    y = train(x, gamma, None, eps)
    dx, dgamma = torch.autograd.grad(y, (x, gamma), dy)
    var = x.detach().var(0, correction=0)
    rstd = (var + eps) ** -0.5
    x_hat = (x.detach() - x.detach().mean(0)) * rstd
    # m roundings of terms as large as the gain gamma * rstd; x_hat inherits those of x - mu
    noise = 64 * m * EPS64 * (1 + x.detach().abs().amax(0) * rstd) * (1 + gamma.abs() * rstd)
    assert (dx.sum(0).abs() <= noise).all()
    assert (y.mean(0).abs() <= noise * (1 + gamma.abs())).all()
    along = gamma * eps * rstd**3 * dgamma
    assert (((dx * x_hat).sum(0) - along).abs() <= 16 * noise).all()


# --- derivatives


@forward_mode
@pytest.mark.parametrize("shape", [(2, 3), (5, 3), (3, 3, 2), (2, 3, 2, 2)])
@pytest.mark.parametrize("block", [1, passes.BLOCK])
def test_gradcheck_and_gradgradcheck_in_training(shape, block, generator, monkeypatch):
    monkeypatch.setattr(passes, "BLOCK", block)
    inputs = point(generator, *shape)
    batched = block > 1  # is_grads_batched: a single block only
    assert gradcheck(train, inputs, check_forward_ad=True, check_batched_grad=batched)
    assert gradgradcheck(train, inputs, check_fwd_over_rev=True, check_batched_grad=batched)


@forward_mode
def test_gradcheck_and_gradgradcheck_in_evaluation(generator):
    mean, var = normal(generator, 3), normal(generator, 3).square()
    inputs = point(generator, 4, 3, 2)

    def infer(x, gamma, beta):
        return batch_norm(x, mean, var, gamma, beta)

    assert gradcheck(infer, inputs, check_forward_ad=True, check_batched_grad=True)
    assert gradgradcheck(infer, inputs, check_fwd_over_rev=True)
    jacobian = jacrev(lambda x: infer(x[:, :, 0], *inputs[1:])[:, 0])(inputs[0])[..., 0, 0]
    assert torch.equal(jacobian, jacobian.diag().diag())  # in evaluation no row sees another


@forward_mode
@pytest.mark.parametrize(
    "derive",
    [
        grad,
        hessian,
        lambda f: jacrev(jacrev(f)),
        lambda f: jacfwd(jacfwd(f)),
        lambda f: jacrev(jacfwd(f)),
        lambda f: jacrev(jacrev(jacrev(f))),
        lambda f: jacfwd(jacfwd(jacfwd(f))),
    ],
    ids=["grad", "hessian", "rev-rev", "fwd-fwd", "rev-fwd", "rev-rev-rev", "fwd-fwd-fwd"],
)
def test_torch_func_derivatives_equal_those_of_the_composed_formula(derive, generator):
    x, gamma, beta = (a.detach() for a in point(generator, 3, 3, 2))
    weight = normal(generator, 3, 3, 2)

    def of(f):
        return derive(lambda x: (torch.tanh(f(x, gamma, beta)) * weight).sum())(x)

    # sums of a few hundred terms of order one
    torch.testing.assert_close(of(train), of(composed), rtol=0, atol=1e-12)


@pytest.mark.parametrize("dims", [(0, 0, None), (0, None, None), (None, 0, None), (2, 1, 0)])
def test_vmap_is_a_loop_over_its_slices(dims, generator):
    single = [a.detach() for a in point(generator, 4, 3, 2)]
    inputs = [
        a if d is None else torch.stack([a, 2 * a + 1, a.flip(0)], d)
        for a, d in zip(single, dims, strict=True)
    ]

    def gradients(*args):
        return grad(lambda *a: torch.tanh(train(*a)).sum(), (0, 1, 2))(*args)

    for f in (train, gradients):
        got = vmap(f, dims)(*inputs)
        for i in range(3):
            part = [a if d is None else a.select(d, i) for a, d in zip(inputs, dims, strict=True)]
            want = f(*part)
            mine = got[i] if f is train else tuple(g[i] for g in got)
            torch.testing.assert_close(mine, want, rtol=0, atol=1e-14)


def test_vmap_nests_and_per_sample_gradients_work(generator):
    x, (_, gamma, beta) = normal(generator, 2, 5, 4, 3), point(generator, 4, 3)
    nested = vmap(vmap(train, (0, None, None)), (0, None, None))(x, gamma, beta)
    torch.testing.assert_close(nested[1, 3], train(x[1, 3], gamma, beta), rtol=0, atol=1e-14)
    net = BatchNorm1d(3, track_running_stats=False, dtype=torch.float64)

    def loss(parameters, x):
        return functional_call(net, parameters, (x,)).square().sum()

    each = vmap(grad(loss), (None, 0))(dict(net.named_parameters()), x[0])
    assert {k: v.shape for k, v in each.items()} == {"weight": (5, 3), "bias": (5, 3)}


# --- interface


def test_half_precision_is_computed_in_float32_and_rounded_once(generator):
    for dtype in (torch.float16, torch.bfloat16):
        x = normal(generator, 32, 3, dtype=torch.float32).to(dtype)
        gamma, beta = (normal(generator, 3, dtype=torch.float32) for _ in range(2))
        y = train(x, gamma, beta)
        assert y.dtype == dtype
        assert torch.equal(y, train(x.float(), gamma, beta).to(dtype))
        assert train(x, gamma.to(dtype), None).dtype == dtype
        mean, var = torch.zeros(3), torch.ones(3)
        assert batch_norm(x, mean, var, gamma, beta, training=False).dtype == dtype


def test_memory_formats_and_strides_change_nothing(generator):
    x, dy = (normal(generator, 4, 3, 5, 2, dtype=torch.float32) for _ in range(2))
    x.requires_grad_()
    y = train(x)
    (dx,) = torch.autograd.grad(y, x, dy)
    last = x.detach().to(memory_format=torch.channels_last).requires_grad_()
    got = train(last)
    assert got.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(got, y, rtol=0, atol=1e-6)  # sums in another order
    torch.testing.assert_close(torch.autograd.grad(got, last, dy)[0], dx, rtol=0, atol=1e-6)
    (ones,) = torch.autograd.grad(train(x).sum(), x)  # an expanded dy
    assert ones.abs().max() <= 1e-6  # sum(y) does not depend on x


def test_a_small_batch_takes_few_operators(generator):
    """At 64 x 256 each costs as much as reading the batch; with torch's own layer it is 2."""

    class Count(TorchDispatchMode):
        number = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.number += 1
            return func(*args, **(kwargs or {}))

    x = normal(generator, 64, 256, dtype=torch.float32).requires_grad_()
    gamma, beta = torch.ones(256, requires_grad=True), torch.zeros(256, requires_grad=True)
    with Count() as count:
        torch.autograd.grad(train(x, gamma, beta, 1e-5), (x, gamma, beta), torch.ones(64, 256))
    assert count.number <= 60


def test_an_empty_batch_changes_no_statistic_and_counts_for_nothing(generator):
    for momentum in (0.1, None):
        net = BatchNorm2d(3, momentum=momentum)
        net(normal(generator, 4, 3, 2, 2, dtype=torch.float32))
        before = {k: v.clone() for k, v in net.state_dict().items()}
        x = torch.empty(0, 3, 2, 2, requires_grad=True)
        y = net(x)
        y.sum().backward()
        assert y.shape == x.shape
        assert x.grad.shape == x.shape
        assert torch.equal(net.weight.grad, torch.zeros(3))
        assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


DOUBLE = torch.ones(3, dtype=torch.float64)


@pytest.mark.parametrize(
    ("shape", "dtype", "changes", "message"),
    [
        ((1, 3), "float32", {}, r"m >= 2 rows to normalize over, got 1 .*\(1, 3\).*its own mean"),
        ((1, 3, 1, 1), "float32", {}, r"expected m >= 2 rows.*\(1, 3, 1, 1\)"),
        ((3,), "float32", {}, "expected an input of at least 2 axes"),
        ((4, 3), "int64", {}, "expected a real floating dtype, got torch.int64, .*input.float"),
        ((4, 3), "complex64", {}, "got torch.complex64"),
        ((4, 3), "float32", {"eps": -1e-5}, "expected eps >= 0, got -1e-05: the root"),
        ((4, 3), "float32", {"eps": float("nan")}, "expected eps >= 0, got nan"),
        ((4, 3), "float32", {"weight": torch.ones(4)}, r"weight: expected shape \(3,\).*\(4,\)"),
        ((4, 3), "float32", {"bias": torch.ones(1)}, r"bias: expected shape \(3,\).*\(1,\)"),
        ((4, 3), "float32", {"weight": DOUBLE}, "expected torch.float32 .*float64.*cast one"),
        ((4, 3), "float16", {"weight": DOUBLE}, "expected torch.float16 or torch.float32"),
        ((4, 3), "float32", {"running_mean": torch.zeros(3)}, "running_mean alone"),
        ((4, 3), "float32", {"running_var": torch.zeros(3)}, "running_var alone"),
        ((4, 3), "float32", {"training": False}, "expected running_mean and running_var in eval"),
    ],
)
def test_refusals_say_want_got_and_why(shape, dtype, changes, message):
    given = {"running_mean": None, "running_var": None, "training": True, **changes}
    wrong_type = dtype != "float32" or changes.get("weight") is DOUBLE
    with pytest.raises(TypeError if wrong_type else ValueError, match=message):
        batch_norm(torch.zeros(shape, dtype=getattr(torch, dtype)), **given)


def test_layers_refuse_other_channels_and_axes():
    with pytest.raises(ValueError, match=r"weight: expected shape \(5,\).*got \(3,\)"):
        BatchNorm1d(3)(torch.zeros(4, 5))
    with pytest.raises(ValueError, match="expected 4D input"):
        BatchNorm2d(3)(torch.zeros(4, 3))


def test_the_smallest_legal_batches_are_accepted():
    for shape in ((2, 3), (1, 3, 2), (1, 3, 1, 2)):
        assert train(torch.rand(shape), eps=0.0).isfinite().all()
    assert BatchNorm1d(3).eval()(torch.zeros(1, 3)).shape == (1, 3)


@pytest.mark.parametrize(("mine", "theirs"), LAYERS)
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("track", [True, False])
@pytest.mark.parametrize("momentum", [0.1, 0.0, None])
def test_layers_are_drop_ins_and_state_dicts_go_both_ways(
    mine, theirs, affine, track, momentum, generator
):
    shape = (6, 3, 4, 2, 2)[: {BatchNorm1d: 3, BatchNorm2d: 4, BatchNorm3d: 5}[mine]]
    pair = [c(3, 1e-3, momentum, affine, track, dtype=torch.float64) for c in (mine, theirs)]
    assert isinstance(pair[0], theirs)
    assert list(pair[0].state_dict()) == list(pair[1].state_dict())
    for step in range(3):
        x = normal(generator, *shape) * 2 + step
        # y: a handful of roundings of numbers below 8
        torch.testing.assert_close(pair[0](x), pair[1](x), rtol=0, atol=64 * EPS64)
    torch.testing.assert_close(pair[0].state_dict(), pair[1].state_dict(), rtol=0, atol=64 * EPS64)
    for source, target in (pair, pair[::-1]):
        fresh = type(target)(3, 1e-3, momentum, affine, track, dtype=torch.float64)
        fresh.load_state_dict(source.state_dict())
        torch.testing.assert_close(fresh.eval()(x), source.eval()(x), rtol=0, atol=64 * EPS64)


def test_scale_and_shift_switches_leave_their_parameter_out():
    for scale in (True, False):
        for shift in (True, False):
            net = BatchNorm1d(3, scale=scale, shift=shift)
            names = [n for n, on in (("weight", scale), ("bias", shift)) if on]
            assert [n for n, _ in net.named_parameters()] == names
            assert f"scale={scale}, shift={shift}" in repr(net)
            x = torch.rand(5, 3)
            assert torch.equal(net(x), BatchNorm1d(3)(x))  # fresh: scale 1, shift 0
            net.reset_parameters()
    with pytest.raises(RuntimeError, match=r'Unexpected key.*"weight"'):
        BatchNorm1d(3, scale=False).load_state_dict(nn.BatchNorm1d(3).state_dict())


def test_the_running_mean_keeps_no_graph():
    net = BatchNorm1d(3)
    net(torch.rand(4, 3, requires_grad=True))
    assert not net.running_mean.requires_grad


def test_in_evaluation_the_running_tensors_are_constants():
    mean, var = torch.zeros(3, requires_grad=True), torch.ones(3, requires_grad=True)
    assert not batch_norm(torch.rand(4, 3), mean, var).requires_grad


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("shape", "backend"),
    [((600, 3), "aot_eager"), ((640, 3), "inductor"), ((4, 3, 5, 5), "inductor")],
    ids=str,
)
def test_compiled_in_one_graph_it_gives_the_same(shape, backend, generator):
    torch.compiler.reset()
    net = (BatchNorm1d if len(shape) == 2 else BatchNorm2d)(3)
    twin = type(net)(3)
    fast = torch.compile(net, fullgraph=True, backend=backend)
    x = (normal(generator, *shape, dtype=torch.float32) + 1e4).requires_grad_()
    dy = normal(generator, *shape, dtype=torch.float32)
    outcomes = []
    for f, module in ((fast, net), (twin, twin)):
        y = f(x)
        outcomes.append([y, *torch.autograd.grad(y, [x, *module.parameters()], dy)])
    # float32 sums in another order: a few units in the last place of the largest value
    for a, b in zip(*outcomes, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6 * max(1.0, b.abs().max().item()))
    torch.testing.assert_close(net.state_dict(), twin.state_dict(), rtol=1e-6, atol=0)


@pytest.mark.parametrize(("mine", "theirs"), LAYERS)
def test_every_keyword_of_the_installed_torch_is_taken_with_its_default(mine, theirs):
    known = inspect.signature(mine).parameters
    for name, parameter in inspect.signature(theirs).parameters.items():
        assert (known[name].kind, known[name].default) == (parameter.kind, parameter.default), name
    known = inspect.signature(batch_norm).parameters
    for name, parameter in inspect.signature(nn.functional.batch_norm).parameters.items():
        assert (known[name].kind, known[name].default) == (parameter.kind, parameter.default), name


@pytest.mark.parametrize(("mine", "theirs"), LAYERS)
@pytest.mark.parametrize("affine", [True, False])
def test_without_bias_the_layer_is_torch_s_without_bias(mine, theirs, affine, generator):
    pair = [c(3, affine=affine, bias=False, dtype=torch.float64) for c in (mine, theirs)]
    assert list(pair[0].state_dict()) == list(pair[1].state_dict())
    assert pair[0].bias is None
    assert "bias=False" in repr(pair[0])
    x = normal(
        generator, *(6, 3, 4, 2, 2)[: {BatchNorm1d: 3, BatchNorm2d: 4, BatchNorm3d: 5}[mine]]
    )
    torch.testing.assert_close(pair[0](x), pair[1](x), rtol=0, atol=64 * EPS64)
    pair[0].reset_parameters()


SIZES = {
    BatchNorm1d: [(8, 3), (5, 3), (2, 3), (600, 3), (7, 3, 4), (2, 3, 9)],
    BatchNorm2d: [(4, 3, 5, 5), (2, 3, 5, 5), (3, 3, 8, 2)],
    BatchNorm3d: [(4, 3, 2, 2, 2), (3, 3, 2, 3, 2)],
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.slow
@pytest.mark.parametrize(
    ("layer_type", "momentum", "dtype"),
    [
        (BatchNorm1d, None, torch.float32),
        (BatchNorm2d, 0.1, torch.bfloat16),
        (BatchNorm3d, 0.1, torch.float64),
    ],
    ids=str,
)
def test_compiled_once_it_takes_other_sizes_and_both_modes(layer_type, momentum, dtype, generator):
    torch.compiler.reset()
    net, twin = (layer_type(3, momentum=momentum, dtype=dtype) for _ in range(2))
    fast = torch.compile(net, fullgraph=True, backend="aot_eager")
    for size in SIZES[layer_type]:
        for training in (True, False):
            net.train(training)
            twin.train(training)
            x = normal(generator, *size, dtype=torch.float32).to(dtype).requires_grad_()
            ys = fast(x), twin(x)
            tolerance = 64 * torch.finfo(dtype).eps  # sums in another order
            torch.testing.assert_close(*ys, rtol=0, atol=tolerance)
            grads = [torch.autograd.grad(y.square().sum(), x)[0] for y in ys]
            torch.testing.assert_close(*grads, rtol=0, atol=8 * tolerance)
    for name, value in net.state_dict().items():
        torch.testing.assert_close(value, twin.state_dict()[name], rtol=0, atol=tolerance)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_compiled_code_of_one_size_is_followed_by_code_for_all(generator):
    torch.compiler.reset()
    fast = torch.compile(BatchNorm1d(3), fullgraph=True)
    for n in (8, 5, 2, 300):
        x = normal(generator, n, 3, dtype=torch.float32)
        torch.testing.assert_close(fast(x), BatchNorm1d(3)(x), rtol=0, atol=2e-6)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("layer_type", "size", "momentum"),
    [(BatchNorm1d, (4, 3), None), (BatchNorm2d, (4, 3, 5, 5), 0.1)],
    ids=str,
)
def test_exported_once_it_takes_any_batch(layer_type, size, momentum, training, generator):
    net, twin = (layer_type(3, momentum=momentum).train(training) for _ in range(2))
    x = normal(generator, *size, dtype=torch.float32)
    free = {0: torch.export.Dim("batch", min=2)}
    free |= {k: torch.export.Dim(f"side{k}", min=2) for k in range(2, len(size))}
    program = torch.export.export(net, (x,), dynamic_shapes=(free,)).module()
    for k in (4, 7, 2):
        x = normal(generator, k, *size[1:], dtype=torch.float32)
        torch.testing.assert_close(program(x), twin(x), rtol=0, atol=2e-6)
    want = twin.state_dict()
    for name, value in program.state_dict().items():
        torch.testing.assert_close(value, want[name], rtol=0, atol=2e-6)


@pytest.mark.parametrize("training", [True, False])
def test_for_torch_fx_a_layer_is_a_leaf_as_torch_s_own(training, generator):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Linear(3, 3), BatchNorm1d(3))
            self.last = BatchNorm1d(3)

        def forward(self, x):
            return self.last(self.body(x).relu())

    net = Net().train(training)
    traced = torch.fx.symbolic_trace(net)
    called = [node.target for node in traced.graph.nodes if node.op == "call_module"]
    assert called == ["body.0", "body.1", "last"]
    x = normal(generator, 4, 3, dtype=torch.float32)
    twin = copy.deepcopy(net)
    torch.testing.assert_close(traced(x), twin(x), rtol=0, atol=0)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("wrap", [lambda net: net, lambda net: nn.Sequential(nn.Linear(3, 3), net)])
def test_torch_jit_script_is_refused_with_a_sentence(wrap):
    with pytest.raises(RuntimeError, match=r"torch.jit.script: expected .*BatchNorm1d; use"):
        torch.jit.script(wrap(BatchNorm1d(3)))


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("momentum", [None, 0.1])
def test_a_checkpointed_batch_is_counted_with_its_statistics(momentum, reentrant, generator):
    net, plain = BatchNorm1d(3, momentum=momentum), BatchNorm1d(3, momentum=momentum)
    for step in range(3):
        x = (normal(generator, 8, 3, dtype=torch.float32) + step).requires_grad_()
        checkpoint(net, x, use_reentrant=reentrant).square().sum().backward()
        for _ in range(1 + reentrant):  # this kind runs the whole layer again, as torch's does
            plain(x)
    torch.testing.assert_close(net.state_dict(), plain.state_dict(), rtol=1e-6, atol=1e-6)


def test_a_running_variance_of_zero_without_eps_gives_bias_and_a_plain_gradient():
    net = BatchNorm1d(2, eps=0.0).eval()
    nn.init.constant_(net.bias, 0.25)
    net.running_var[0] = 0
    x = torch.tensor([[0.0, 1.0], [3.0, 2.0]], requires_grad=True)
    y = net(x)
    (dx,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(y, torch.tensor([[0.25, 1.25], [0.25, 2.25]]))
    assert torch.equal(dx, torch.tensor([[0.0, 1.0], [0.0, 1.0]]))
    assert train(torch.full((4, 2), 3.0), eps=0.0).isfinite().all()


def test_an_input_of_one_axis_is_refused_in_evaluation_too():
    with pytest.raises(ValueError, match="at least 2 axes"):
        batch_norm(torch.zeros(3), torch.zeros(3), torch.ones(3))


def test_tools_of_torch_that_look_for_batch_normalization_find_it(generator):
    conv, net = nn.Conv2d(3, 4, 3), BatchNorm2d(4, bias=False)
    for _ in range(3):
        net(normal(generator, 4, 4, 5, 5, dtype=torch.float32) * 2 + 1)
    x = normal(generator, 2, 3, 6, 6, dtype=torch.float32)
    folded = torch.nn.utils.fusion.fuse_conv_bn_eval(conv.eval(), net.eval())
    torch.testing.assert_close(folded(x), net(conv(x)), rtol=0, atol=1e-5)
    spread = nn.SyncBatchNorm.convert_sync_batchnorm(nn.Sequential(net))[0]
    assert list(spread.state_dict()) == list(net.state_dict())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("switches", [{}, {"scale": False}, {"shift": False}, {"affine": False}])
def test_onnx_holds_one_batch_normalization_or_one_folded_convolution(switches, generator):
    onnx = pytest.importorskip("onnx")
    from onnx.reference import ReferenceEvaluator

    norm = BatchNorm2d(4, **switches)
    norm(normal(generator, 4, 4, 5, 5, dtype=torch.float32) * 2 + 1)
    x = normal(generator, 2, 4, 6, 6, dtype=torch.float32)
    for net, node in (
        (norm, "BatchNormalization"),
        (nn.Sequential(nn.Conv2d(4, 4, 3), norm), "Conv"),
    ):
        file = io.BytesIO()
        torch.onnx.export(net.eval(), (x,), file, input_names=["x"], dynamo=False)
        model = onnx.load_from_string(file.getvalue())
        kinds = [n.op_type for n in model.graph.node]
        assert [kind for kind in kinds if kind not in ("Identity", "Constant")] == [node]
        (y,) = ReferenceEvaluator(model).run(None, {"x": x.numpy()})
        torch.testing.assert_close(torch.from_numpy(y), net(x), rtol=0, atol=1e-5)


def test_what_the_page_says_of_tools_that_know_torch_s_classes_only():
    spread = nn.SyncBatchNorm.convert_sync_batchnorm(BatchNorm2d(4, shift=False))
    assert type(spread) is nn.SyncBatchNorm
    assert spread.bias is None
    with pytest.raises(AssertionError, match="did not find fuser method"):
        torch.ao.quantization.fuse_modules(
            nn.Sequential(nn.Conv2d(3, 4, 3), BatchNorm2d(4)).eval(), [["0", "1"]]
        )
    lazy = nn.LazyBatchNorm2d()
    lazy(torch.rand(2, 3, 4, 4))
    BatchNorm2d(3).load_state_dict(lazy.state_dict())


def test_public_names():
    assert layer.__all__ == ["BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "batch_norm"]
