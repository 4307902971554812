"""What the entries of the page call: each function against an independent way."""

import numpy as np
import pytest
import torch

from bnlib import interactions
from bnlib.chapters.misconceptions import Settings, measure
from bnlib.interactions import problem

SEEDS = range(4)


def test_the_band_lies_on_one_side_of_the_mean_and_no_row_is_in_both_halves():
    rows = measure.band_splits(4, rows=50)
    assert rows.x_train.shape == (4, 50, 1)
    low, high = measure.BAND
    assert 0 < low < high < 1
    assert np.array_equal(rows.y_train, ((low < rows.x_train) & (rows.x_train < high))[..., 0])
    for train, test in zip(rows.x_train, rows.x_test, strict=True):
        assert not set(train.ravel()) & set(test.ravel())
    again = measure.band_splits(3, rows=50)
    assert np.array_equal(again.x_test[2], rows.x_test[2])


def test_the_turn_is_the_angle_between_gradients_taken_by_hand():
    at = problem("bn", 8, SEEDS, activation="tanh")
    params = dict(at.arm.params)
    loss, old = interactions.gradient(at.loss, params)
    step = 0.5 * loss / interactions.layer_dots(old, old).sum(1)
    for name in [name for name in params if int(name[-1]) < 5]:
        size = step[(...,) + (None,) * (params[name].ndim - 1)]
        params[name] = params[name] - size * old[name]
    _, new = interactions.gradient(at.loss, params)
    a, b = (torch.cat([g[k].flatten(1) for k in g if k.endswith("5")], 1) for g in (old, new))
    cosine = (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))
    found = measure.gradient_turn("bn", "tanh", "start", SEEDS)
    assert np.allclose(np.cos(np.radians(found)), cosine, rtol=0, atol=1e-9)
    after = measure.gradient_turn("bn", "tanh", "trained", SEEDS)
    assert after.mean() > found.mean() + 20


def _normal(seed, *shapes):
    rng = np.random.default_rng(seed)
    return [torch.from_numpy(rng.normal(size=shape)) for shape in shapes]


def test_two_forms_of_one_function_part_by_the_step_worked_by_hand():
    x, w, target = _normal(1, (16, 3), (3, 1), (16, 1))
    z, step = x @ w, 0.1
    before, after = measure.two_coordinates(x, w, target, step=step)
    error, c, m = z - target, z - z.mean(), len(z)
    plain = x @ (w - step * 2 / m * x.T @ error) - step * 2 * error.mean()
    spread = c.square().mean().sqrt()
    x_hat = c / spread
    dy = 2 / m * error
    dz = dy - dy.mean() - x_hat * (dy * x_hat).mean()  # the gain gamma / spread is 1
    moved = x @ (w - step * x.T @ dz)
    hat = (moved - moved.mean()) / (moved - moved.mean()).square().mean().sqrt()
    normed = (spread - step * (dy * x_hat).sum()) * hat + z.mean() - step * dy.sum()
    assert before < 1e-12
    assert after == pytest.approx(float((plain - normed).abs().max()), rel=1e-9)


def test_units_of_one_input_span_three_relu_functions_without_beta_and_many_with_it():
    z = _normal(2, (200, 1))[0] * torch.tensor([[1.0, -2.0, 0.5, 3.0, -1.0]]).double()
    gamma, beta = torch.tensor([[1.0, 2.0, -0.5, 1.5, 3.0], [0.2, -0.4, 0.6, -0.8, 1.0]]).double()
    rank = measure.feature_ranks(z, gamma, beta)
    assert list(rank.loc["relu"]) == [3, 3, 6, 6]
    assert rank.neither.tanh == 2 < rank.gamma.tanh


def test_lower_gradients_vanish_in_a_chain_of_numbers_only():
    size = measure.lower_gradients((1, 3), np.random.default_rng(3))
    assert size[1] < 1e-12 < 0.1 < size[3]


def test_the_jacobian_is_that_of_differences():
    (x,) = _normal(4, (5,))
    found, h = measure.jacobian(x), 1e-6
    for j in range(5):
        nudge = h * torch.eye(5, dtype=torch.float64)[j]
        up, down = ((a - a.mean()) / a.std(correction=0) for a in (x + nudge, x - nudge))
        assert torch.allclose(found[:, j], (up - down) / (2 * h), rtol=0, atol=1e-9)


def test_output_and_gradient_agree_with_a_directional_difference():
    x, w, target, along = _normal(5, (12, 4), (4, 1), (12, 1), (4, 1))

    def loss(weight):
        y, _ = measure.output_and_gradient(x, target, weight, 1.5)
        return float((y - target).square().mean())

    y, grad = measure.output_and_gradient(x, target, w, 1.5)
    assert float(y.std(correction=0)) == pytest.approx(1.5, rel=1e-12)
    slope = (loss(w + 1e-6 * along) - loss(w - 1e-6 * along)) / 2e-6
    assert slope == pytest.approx(float((grad * along).sum()), abs=1e-8)


def test_a_forward_pass_moves_buffers_only_and_a_step_parameters_only():
    by_forward, by_step = measure.moved(*_normal(6, (16, 4)), seed=1)
    assert by_forward == ["1.num_batches_tracked", "1.running_mean", "1.running_var"]
    assert by_step == ["0.weight", "1.bias", "1.weight"]


def test_only_the_root_of_var_plus_eps_restores_and_only_in_evaluation_both_ways():
    x, dy = _normal(7, (32, 4), (32, 4))
    miss = measure.restored(3 + 2 * x, 0.1)
    assert miss["root of var + eps"] < 1e-12 < 0.01 < miss["deviation"] < 1 < miss["variance"]
    training, evaluation = measure.identity_passes(3 + 2 * x, dy)
    assert max(training[0], *evaluation) < 1e-12 < 0.05 < training[1]


def test_the_norm_before_a_relu_hands_on_no_negative_value_and_after_it_a_mean_of_zero():
    (z,) = _normal(8, (200, 16))
    before, after = measure.norm(z).relu(), measure.norm(z.relu())
    assert before.min() == 0 < 0.3 < before.mean()
    assert abs(after.mean()) < 1e-12 < 0.5 < -after.min()


def test_normalizing_sets_two_moments_and_leaves_the_shape():
    rows = measure.shapes(np.random.default_rng(9).exponential(size=(1000, 1)))
    assert np.allclose(rows.loc["x_hat"], [0, 1, *rows.loc["x"][2:]], rtol=1e-10, atol=1e-12)


def test_gamma_does_not_change_the_shape_of_a_relu_but_that_of_a_tanh():
    share = measure.nonlinear_shares().to_numpy()
    assert abs(share[2, 1] - share[2, 0]) < 1e-6
    assert share[1, 1] > 2 * share[1, 0]


def test_the_stored_variance_is_larger_than_that_of_the_batch():
    ratio = measure.evaluation_ratio(*_normal(10, (5, 3)))
    assert torch.allclose(ratio, torch.full_like(ratio, 0.8**0.5), rtol=0, atol=1e-9)


def test_a_new_weight_of_one_keeps_the_last_batch_and_a_smaller_one_less_noise():
    last = np.random.default_rng([0, 21]).normal(size=(200, 50))[-1]
    assert measure.running_spread(0, 50, 1.0) == last.std()
    assert measure.running_spread(0, 50, 0.1) < 0.5


def test_a_row_depends_on_its_companions_in_training_mode_only():
    training, evaluation, moved = measure.companions(*_normal(11, (1, 4), (7, 4)))
    assert min(training, moved) > 0.1 > evaluation == 0


def test_a_bias_before_the_norm_is_taken_out():
    assert max(measure.shifted_bias(*_normal(12, (32, 4), (32, 4)))) < 1e-10


def test_two_rows_let_no_direction_through_and_one_row_is_refused():
    (x,) = _normal(13, (2,))
    assert measure.blocked(x)[0] == 0
    assert "more than 1 value" in measure.refusal(torch.ones(1, 1))
    assert measure.refusal(torch.ones(2, 1)) == ""


def test_the_length_of_w_only_grows_and_does_not_enter_the_function():
    x, w, target = _normal(14, (64, 8), (8, 1), (64, 1))
    assert max(measure.scale_misses(x, target, w)) < 1e-12
    assert min(np.diff(measure.lengths(x, target, w))) > 0


def test_the_graph_behind_a_running_mean_grows_by_the_same_number_with_every_batch():
    x, w = _normal(15, (6, 8, 3), (3, 3))
    assert len(set(np.diff(measure.graph_depths(list(x), w)))) == 1
    assert all(measure.two_modes(5 + x[0]).values())
    assert not measure.two_modes(x[0] - x[0].mean(0))["moved"]


def test_the_unbiased_layer_has_a_smaller_square_and_gain():
    square, ratio, miss = measure.unbiased(*_normal(16, (5, 1), (5, 1)))
    assert square == pytest.approx(0.8, abs=1e-12)
    assert ratio == pytest.approx(0.8**0.5, abs=1e-9)
    assert miss < 1e-12


def test_along_x_hat_a_remainder_is_left_for_positive_eps_only():
    x, dy = _normal(17, (16, 1), (16, 1))
    total, along, law = measure.sums_of_dx(0.1 * x, dy, 0.01)
    assert abs(total) < 1e-12 < 0.1 < abs(law)
    assert along == pytest.approx(law, rel=1e-9)
    assert abs(measure.sums_of_dx(0.1 * x, dy, 0.0)[1]) < 1e-12


def test_normal_numbers_depend_on_seed_and_entry():
    first = Settings(seed=1).normal(2, 3)
    assert first.equal(Settings(seed=1).normal(2, 3))
    assert not first.equal(Settings(seed=2).normal(2, 3))
    assert not first.equal(Settings(seed=1).normal(3, 3))
