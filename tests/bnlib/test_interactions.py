"""The exact split of one update: hand values, identities, invariances, refusals."""

import numpy as np
import pytest
import torch
from oracles.small_networks import SEEDS, X, loss_of, outputs, scalar

from bnlib import interactions as ia
from bnlib.networks import arms
from bnlib.orders import MAX_DEPTH, order_sums


def network(name="bn", depth=4, **options):
    params, logits = outputs(name, depth, **options)
    return params, logits, lambda p: loss_of(logits(p))


def descent(loss, params):
    value, grads = ia.gradient(loss, params)
    direction = {name: -grad for name, grad in grads.items()}
    return value, direction, ia.layer_dots(grads, direction).sum(1)


def toy(fn, params, direction, step):
    slope = ia.first_order(fn, params, direction)
    return ia.step_split(ia.corners(fn, params, direction, step), step * slope)


def test_split_of_a_product_is_all_interaction_and_of_a_sum_of_squares_all_own():
    params, direction = scalar(w1=3.0, w2=-2.0), scalar(w1=0.5, w2=4.0)
    product = toy(lambda p: p["w1"] * p["w2"], params, direction, 0.1)
    # (3 + 0.05)(-2 + 0.4) + 6: first order 0.1 (-2 * 0.5 + 3 * 4) = 1.1, interaction 0.05 * 0.4
    np.testing.assert_allclose([float(v) for v in product], [1.1, 0.0, 0.02, 1.12], atol=1e-14)
    squares = toy(lambda p: p["w1"] ** 2 + p["w2"] ** 2, params, direction, 0.1)
    # 0.1 (6 * 0.5 - 4 * 4) = -1.3; own 0.01 (0.25 + 16)
    np.testing.assert_allclose([float(v) for v in squares], [-1.3, 0.1625, 0, -1.1375], atol=1e-14)


@pytest.mark.parametrize("name", ["none", "bn", "frozen", "layer-norm", "weight-norm"])
def test_interaction_is_the_sum_of_orders_from_two_on_and_orders_add_up_to_the_total(name):
    params, _, loss = network(name, depth=6, activation="relu")
    value, direction, slope = descent(loss, params)
    step = ia.match_loss(value, slope, 0.5)
    parts = ia.step_split(ia.corners(loss, params, direction, step), step * slope)
    values = ia.all_subsets(loss, params, direction, step)
    sums = order_sums(values, 6)
    torch.testing.assert_close(sums.sum(0), values[-1], atol=1e-12, rtol=0)
    torch.testing.assert_close(parts.inter, sums[2:].sum(0), atol=1e-12, rtol=0)
    torch.testing.assert_close(parts.lin + parts.own, sums[1], atol=1e-12, rtol=0)
    torch.testing.assert_close(parts.total, values[-1] - values[0], atol=1e-12, rtol=0)
    assert (parts.inter.abs() > 1e-6).all()


@pytest.mark.parametrize("depth", [1, 3, 9])
def test_the_split_needs_l_plus_two_evaluations_and_subsets_two_to_the_l(depth):
    params, _, loss = network("none", depth=depth)
    seen = []

    def counted(p):
        seen.append(len(p["W1"]) // len(SEEDS))
        return loss(p)

    ia.corners(counted, params, params, 0.01)
    assert sum(seen) == depth + 2
    seen.clear()
    ia.all_subsets(counted, params, params, 0.01)
    assert sum(seen) == 2**depth
    assert len(seen) == -(-(2**depth) // ia.CHUNK)


def test_one_layer_has_no_interaction():
    params, _, loss = network("none", depth=1)
    value, direction, slope = descent(loss, params)
    step = ia.match_loss(value, slope, 1.0)
    parts = ia.step_split(ia.corners(loss, params, direction, step), step * slope)
    assert float(parts.inter.abs().max()) == 0.0
    assert (parts.own > 0).all()


def test_chunks_change_nothing(monkeypatch):
    params, logits, _ = network("bn", depth=4)
    whole = ia.all_subsets(logits, params, params, 0.1)
    monkeypatch.setattr(ia, "CHUNK", 3)
    torch.testing.assert_close(ia.all_subsets(logits, params, params, 0.1), whole)


def test_every_subset_moves_exactly_its_layers_of_its_network():
    params, _, _ = network("bn", depth=3)
    direction = {name: torch.ones_like(value) for name, value in params.items()}
    masks = np.array([[False, True, False], [True, False, True]])
    new = ia.moved(params, direction, masks, torch.tensor([0.5, 2.0]))
    for name, value in params.items():
        shift = (new[name] - value.repeat(2, *[1] * (value.ndim - 1))).flatten(1)
        on = masks[:, ia.layer_of(name) - 1]
        want = [on[0] * 0.5, on[0] * 2.0, on[1] * 0.5, on[1] * 2.0]
        np.testing.assert_allclose(shift, np.broadcast_to(np.c_[want], shift.shape), atol=1e-14)


def test_parallel_branches_have_interaction_in_the_loss_and_none_in_the_network():
    rng = np.random.default_rng(3)
    params = {f"W{i}": torch.from_numpy(rng.normal(size=(2, 3, 4))) for i in (1, 2)}

    def logits(p):
        x = X.repeat(len(p["W1"]) // 2, 1, 1)
        return x @ p["W1"].mT + x.cos() @ p["W2"].mT

    value, direction, slope = descent(lambda p: loss_of(logits(p)), params)
    step = ia.match_loss(value, slope, 0.5)
    derivative = ia.first_order(logits, params, direction) * step[:, None, None]
    values = ia.corners(logits, params, direction, step)
    parts = ia.output_split(values, loss_of, derivative)
    # sums of a few rounded logits of size 10
    assert float(parts.net_share.max()) < 1e-13
    assert float(parts.network.abs().max()) < 1e-13
    assert float(parts.curvature.min()) > 1e-6


def test_curvature_is_that_of_the_whole_hessian_block_by_block():
    params, _, loss = network("bn", depth=3)
    value, direction, slope = descent(loss, params)
    found = ia.curvature_split(loss, params, direction)
    d = 1e-4 / slope.abs().sqrt()
    numbers = np.eye(3, dtype=bool)
    up, down = (
        ia.evaluate(loss, params, direction, np.vstack([numbers, [True] * 3]), sign * d)
        for sign in (1, -1)
    )
    second = (up - 2 * value + down) / d**2 * (value / slope**2)
    # second difference at h = 1e-4: rounding 4e-16 / 1e-8 and truncation 1e-8, relative to kappa
    torch.testing.assert_close(found.kappa, second[-1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.own, second[:-1].sum(0), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.own + found.off, found.kappa)


def test_curvature_ignores_a_factor_on_the_loss_but_not_an_added_constant():
    params, _, loss = network("bn")
    _, direction, _ = descent(loss, params)
    base, times, plus = (
        ia.curvature_split(fn, params, direction).kappa
        for fn in (loss, lambda p: 7 * loss(p), lambda p: loss(p) + 1)
    )
    torch.testing.assert_close(times, base)
    assert ((plus - base).abs() > 0.1 * base.abs()).all()


# The gradient of "renewed" leaves out what its statistics do: it is not that of its function.
@pytest.mark.parametrize("name", [name for name in arms.ARMS if name != "renewed"])
def test_first_order_change_is_the_central_difference_in_every_arm(name):
    params, logits, loss = network(name)
    _, direction, _ = descent(loss, params)
    step, everything = 1e-5, np.ones((1, 4), dtype=bool)
    up, down = (ia.evaluate(logits, params, direction, everything, s)[0] for s in (step, -step))
    derivative = ia.first_order(logits, params, direction)
    # truncation 1e-10 times a third derivative below 1e3, rounding 1e-15 / 1e-5
    torch.testing.assert_close(derivative, (up - down) / (2 * step), atol=1e-6, rtol=1e-6)


def test_layer_normalized_leaves_a_layer_without_gradient_where_it_is():
    params = {"W1": torch.ones(1, 2, 2, dtype=torch.float64)}
    direction = ia.layer_normalized(params, {"W1": torch.zeros_like(params["W1"])})
    assert float(direction["W1"].abs().max()) == 0.0


def test_participation_counts_the_layers_that_carry_the_step():
    shares, n_eff = ia.participation(torch.tensor([[1.0, 1, 1, 1], [0, 3, 0, 0], [2, 2, 0, 0]]))
    torch.testing.assert_close(n_eff, torch.tensor([4.0, 1, 2]))
    torch.testing.assert_close(shares.sum(1), torch.ones(3))


def test_gradient_of_an_unused_parameter_is_zero():
    value, grads = ia.gradient(lambda p: p["w1"] ** 2, scalar(w1=3.0, w2=1.0))
    assert (float(value), float(grads["w1"]), float(grads["w2"])) == (9.0, 6.0, 0.0)


@pytest.mark.parametrize("step", [float("nan"), float("inf"), torch.tensor([0.1, -torch.inf])])
def test_a_step_that_is_not_finite_is_refused(step):
    params, _, loss = network()
    with pytest.raises(ValueError, match="finite step"):
        ia.corners(loss, params, params, step)


def test_depth_zero_unnumbered_names_and_wrong_masks_are_refused():
    with pytest.raises(ValueError, match="at least 1 layer to update, got depth 0"):
        ia.corners(lambda p: torch.zeros(1), {}, {}, 0.1)
    with pytest.raises(ValueError, match="ends in its layer's number, as 'W3', got 'scale'"):
        ia.layers({"scale": torch.zeros(1)})
    params, _, _ = network(depth=3)
    with pytest.raises(ValueError, match=r"masks \(K, 3\)"):
        ia.moved(params, params, np.ones((2, 4), dtype=bool), 0.1)


def test_subsets_beyond_the_limit_are_refused_while_the_split_still_works():
    deep = {f"w{i}": torch.ones(1, dtype=torch.float64) for i in range(1, MAX_DEPTH + 2)}

    def total(p):
        return torch.stack(list(p.values())).sum(0)

    with pytest.raises(ValueError, match=f"at most {MAX_DEPTH} layers, got {MAX_DEPTH + 1}"):
        ia.all_subsets(total, deep, deep, 0.1)
    assert len(ia.corners(total, deep, deep, 0.1)) == MAX_DEPTH + 3


@pytest.mark.parametrize("size", [0.0, -0.5, float("nan"), float("inf")])
def test_matching_refuses_sizes_that_promise_nothing(size):
    with pytest.raises(ValueError, match="r: expected a positive finite"):
        ia.match_loss(torch.ones(1), -torch.ones(1), size)
    with pytest.raises(ValueError, match="c: expected a positive finite"):
        ia.match_output(torch.ones(1, 2, 2), size)


def test_matching_refuses_directions_that_do_not_descend_and_outputs_that_stay():
    with pytest.raises(ValueError, match="descent direction"):
        ia.match_loss(torch.ones(2), torch.tensor([-1.0, 0.0]), 0.5)
    with pytest.raises(ValueError, match="J d = 0"):
        ia.match_output(torch.ones(1, 4, 3), 0.5)  # a constant over classes moves no softmax
