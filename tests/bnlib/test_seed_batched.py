"""Seed-batched networks: what they compute, and that the networks never meet."""

import numpy as np
import pytest
import torch

from bnlib.networks.batches import batch_order, fit_rows
from bnlib.networks.seed_batched import SeedBatchedMLP, trace
from bnlib.networks.spec import NORMS, Spec
from bnlib.rows import Moments

SEEDS = (3, 0, 11)
SIZES = (5, 7, 6, 4)


def rows(m=9, seed=0, d=5):
    return torch.from_numpy(np.random.default_rng(seed).normal(1.0, 2.0, (len(SEEDS), m, d)))


def generic(net, seed=1):
    """The network with every parameter moved, so that no zero or one can hide a mistake."""
    rng = np.random.default_rng(seed)
    return {k: v + torch.from_numpy(rng.normal(0, 0.5, v.shape)) for k, v in net.params.items()}


def test_arms_of_a_seed_start_with_the_same_weights_and_other_seeds_with_others():
    arms = [SeedBatchedMLP(Spec(SIZES, norm=norm), SEEDS).params for norm in NORMS]
    for params in arms:
        for layer in (1, 2, 3):
            assert torch.equal(params[f"W{layer}"], arms[0][f"W{layer}"])
    assert not torch.equal(arms[0]["W1"][0], arms[0]["W1"][1])
    alone = SeedBatchedMLP(Spec(SIZES), SEEDS[2:]).params
    assert torch.equal(alone["W2"][0], arms[0]["W2"][2])


@pytest.mark.parametrize(("activation", "gain"), [("relu", 2.0), ("tanh", 1.0), ("sigmoid", 1.0)])
def test_weights_have_variance_gain_over_fan_in_and_gain_one_in_the_last_layer(activation, gain):
    params = SeedBatchedMLP(Spec((200, 300, 250), activation=activation), range(4)).params
    # A variance from n normal numbers is off by sqrt(2/n) of itself: 0.3 % for n = 240 000.
    assert float(params["W1"].var() * 200) == pytest.approx(gain, rel=0.015)
    assert float(params["W2"].var() * 300) == pytest.approx(1.0, rel=0.015)


def test_a_bias_stands_only_where_no_norm_follows_the_linear_map():
    def biases(**options):
        params = SeedBatchedMLP(Spec(SIZES, **options), SEEDS).params
        return {name for name in params if name in ("b1", "b2", "b3")}

    assert biases(norm="none") == {"b1", "b2", "b3"}
    assert biases(norm="batch") == {"b3"}
    assert biases(norm="batch", output_norm="batch") == set()
    assert biases(norm="batch", order="post") == {"b1", "b2", "b3"}


def test_scale_and_shift_switches_remove_gamma_and_beta():
    def kinds(scale, shift):
        net = SeedBatchedMLP(Spec(SIZES, scale=scale, shift=shift), SEEDS)
        return {n for n in net.params if n.startswith(("gamma", "beta"))}

    assert kinds(True, True) == {"gamma1", "gamma2", "beta1", "beta2"}
    assert kinds(True, False) == {"gamma1", "gamma2"}
    assert kinds(False, True) == {"beta1", "beta2"}
    assert kinds(False, False) == set()


def test_one_norm_a_hidden_layer_can_be_given():
    net = SeedBatchedMLP(Spec(SIZES, norm=("none", "batch")), SEEDS)
    assert {"b1", "gamma2", "beta2", "b3"} == {n for n in net.params if n[0] != "W"}


@pytest.mark.parametrize("order", ["pre", "post"])
def test_recalibrated_statistics_are_exact_and_reproduce_training_mode_on_the_same_rows(order):
    spec = Spec(SIZES, order=order, input_norm="batch", output_norm="batch")
    net, x = SeedBatchedMLP(spec, SEEDS), rows(m=40)
    net.params = generic(net)
    stats = net.recalibrate(x)
    seen = net.trace(net.params, x)
    assert set(stats) == {0, 1, 2, 3}
    for site in stats:
        z = seen.pre[site].numpy()
        np.testing.assert_allclose(stats[site].mean.numpy(), z.mean(1), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(stats[site].var.numpy(), z.var(1), rtol=1e-12, atol=1e-12)
    evaluated = net.forward(net.params, x, stats=stats)
    torch.testing.assert_close(evaluated, seen.output, rtol=1e-12, atol=1e-12)
    # In evaluation mode a row's output does not depend on the rows beside it.
    few = net.forward(net.params, x[:, :3], stats=stats)
    torch.testing.assert_close(few, evaluated[:, :3], rtol=1e-12, atol=1e-12)


# torch compiles its own jvp decompositions with torch.jit at the first forward-mode call.
@pytest.mark.filterwarnings("ignore:.torch.jit.script.*is deprecated:DeprecationWarning")
def test_forward_is_a_function_that_torch_func_can_differentiate_twice_and_forward():
    net, x = SeedBatchedMLP(Spec(SIZES, activation="tanh"), SEEDS), rows()
    params = generic(net)
    v = generic(net, seed=7)

    def loss(p):
        return net.forward(p, x).square().sum()

    slope = torch.func.jvp(loss, (params,), (v,))[1]
    grads = torch.func.grad(loss)(params)
    pairing = sum((grads[k] * v[k]).sum() for k in v)
    torch.testing.assert_close(slope, pairing, rtol=1e-10, atol=1e-10)
    hv = torch.func.jvp(torch.func.grad(loss), (params,), (v,))[1]
    h = 1e-5
    up, down = (
        torch.func.grad(loss)({k: params[k] + sign * h * v[k] for k in v}) for sign in (1, -1)
    )
    for k in v:
        # Central difference: truncation h^2 times a third derivative, rounding eps/h, relative.
        torch.testing.assert_close(hv[k], (up[k] - down[k]) / (2 * h), rtol=1e-5, atol=1e-4)
    stacked = {k: torch.stack([params[k], v[k]]) for k in v}
    both = torch.vmap(lambda p: net.forward(p, x))(stacked)
    torch.testing.assert_close(both[1], net.forward(v, x), rtol=1e-12, atol=1e-12)


def test_without_eps_a_constant_channel_is_nan_in_its_own_network_only():
    x = rows()
    x[1, :, 2] = 4.0
    net = SeedBatchedMLP(Spec((5, 3), input_norm="batch", eps=0.0), SEEDS)
    out = net.forward(net.params, x)
    assert torch.isnan(out[1]).all()
    assert torch.isfinite(out[[0, 2]]).all()


def test_one_row_is_refused_in_training_mode_and_fine_with_statistics():
    net = SeedBatchedMLP(Spec(SIZES), SEEDS)
    with pytest.raises(ValueError, match="expected m >= 2 rows to normalize over, got 1"):
        net.forward(net.params, rows(m=1))
    stats = net.recalibrate(rows())
    assert net.forward(net.params, rows(m=1), stats=stats).shape == (3, 1, 4)
    with pytest.raises(ValueError, match="'frozen': expected stats"):
        trace(Spec(SIZES, norm="frozen"), net.params, rows())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sizes": (5,)}, "sizes: expected"),
        ({"sizes": (5, 0, 4)}, "width 0"),
        ({"norm": "bacth"}, "did you mean 'batch'"),
        ({"activation": "rely"}, "did you mean 'relu'"),
        ({"order": "before"}, "order: expected one of 'pre', 'post'"),
        ({"norm": ("batch",)}, "each of 2 layers"),
        ({"output_norm": True}, "norm: expected one of"),
        ({"eps": -1e-5}, "eps: expected a finite number >= 0"),
    ],
    ids=lambda v: str(v)[:30],
)
def test_a_description_that_cannot_be_built_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Spec(**{"sizes": SIZES, **options})


@pytest.mark.parametrize("seeds", [(), (-1, 2)])
def test_seeds_that_cannot_be_used_are_refused(seeds):
    with pytest.raises(ValueError, match="seeds: expected at least one"):
        SeedBatchedMLP(Spec(SIZES), seeds)


@pytest.mark.parametrize(
    ("x", "y", "loss", "message"),
    [
        (np.zeros((8, 4)), np.zeros(8, int), "cross-entropy", r"x: expected rows \(n, 5\)"),
        (np.zeros((2, 8, 5)), np.zeros(8, int), "cross-entropy", r"x: expected rows .* got"),
        (np.zeros((0, 5)), np.zeros(0, int), "cross-entropy", r"n >= 1"),
        (np.full((8, 5), np.inf), np.zeros(8, int), "cross-entropy", "x: expected finite"),
        (np.zeros((8, 5)), np.zeros(7, int), "cross-entropy", r"y: expected shape \(8,\)"),
        (np.zeros((8, 5)), np.zeros(8), "cross-entropy", "class numbers as integers"),
        (np.zeros((8, 5)), np.arange(8), "cross-entropy", r"expected classes 0\.\.3"),
        (np.zeros((8, 5)), np.arange(8) - 5, "cross-entropy", r"got -5\.\.2"),
        (np.zeros((8, 5)), np.zeros((8, 3)), "mse", r"y: expected shape \(8, 4\)"),
        (np.zeros((8, 5)), np.full((8, 4), np.nan), "mse", "y: expected finite targets"),
        (np.zeros((8, 5)), np.zeros((8, 4)), "hinge", "loss: expected one of"),
    ],
    ids=lambda v: str(v)[:24] if isinstance(v, str) else "",
)
def test_rows_and_labels_that_do_not_fit_are_refused(x, y, loss, message):
    with pytest.raises(ValueError, match=message):
        fit_rows(SeedBatchedMLP(Spec(SIZES), SEEDS), x, y, loss)


def test_batch_order_is_a_walk_through_permutations_of_the_seed_alone():
    order = batch_order(SEEDS, 10, batch=3, steps=7)
    assert order.shape == (7, 3, 3)
    for s in range(3):
        for epoch in (order[:3, s], order[3:6, s]):
            assert len(set(epoch.flatten().tolist())) == 9
    assert torch.equal(batch_order(SEEDS[1:], 10, batch=3, steps=4), order[:4, 1:])
    assert not torch.equal(order[:, 0], order[:, 1])


@pytest.mark.parametrize("batch", [0, 11])
def test_a_batch_that_cannot_be_filled_is_refused(batch):
    with pytest.raises(ValueError, match="batch: expected 1 to n = 10"):
        batch_order(SEEDS, 10, batch=batch, steps=1)


def test_float32_starts_from_the_rounded_float64_network():
    wide, narrow = (SeedBatchedMLP(Spec(SIZES), SEEDS, t) for t in (torch.float64, torch.float32))
    assert torch.equal(wide.params["W1"].float(), narrow.params["W1"])
    stats = narrow.recalibrate(rows())
    assert isinstance(stats[1], Moments)
    assert stats[1].mean.dtype == torch.float32
