"""The landscape around a point: hand values, exact Hessians, orders of error, refusals."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from bnlib import interactions as ia
from bnlib import landscape as ls
from bnlib.networks import arms
from bnlib.networks.seed_batched import forward

SEEDS = (0, 5)
X = torch.from_numpy(np.random.default_rng(0).normal(0.3, 1.5, (2, 12, 4)))
Y = torch.from_numpy(np.random.default_rng(1).integers(0, 3, (2, 12)))


def loss_of(logits):
    labels = Y[: len(logits)] if len(logits) < 2 else Y.repeat(len(logits) // 2, 1)
    each = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
    return each.unflatten(0, labels.shape).mean(1)


def network(name="bn", depth=3, activation="tanh", eps=1e-5):
    """Parameters away from zeros and ones, and the loss, of two networks of an arm."""
    arm = arms.build(name, (4, *(3,) * (depth - 1), 3), SEEDS, X, activation=activation, eps=eps)
    rng = np.random.default_rng(2)
    params = {k: v + torch.from_numpy(rng.normal(0, 0.2, v.shape)) for k, v in arm.params.items()}
    return params, lambda p: loss_of(arm.logits(p, X))


def first(params, loss):
    """The first of the two networks alone."""
    own = {k: v[:1] for k, v in params.items()}
    return own, lambda p: loss({k: torch.cat([v, params[k][1:]]) for k, v in p.items()})[:1]


def hessian(params, loss):
    """The exact Hessian of one network, rows and columns in the order of `params`, and blocks."""
    shapes = {k: v.shape for k, v in params.items()}
    counts = [v.numel() for v in params.values()]

    def flat(theta):
        parts = zip(shapes, theta.split(counts), strict=True)
        return loss({k: part.view(shapes[k]) for k, part in parts})[0]

    theta = torch.cat([v.flatten() for v in params.values()])
    layer = np.repeat([ia.layer_of(k) for k in params], counts)
    return torch.autograd.functional.hessian(flat, theta).numpy(), layer


def step_of(params, loss):
    value, grads = ia.gradient(loss, params)
    return value, grads, ia.layer_dots(grads, grads).sum(1)


def inter(params, loss, grads, step):
    values = ia.corners(loss, params, {k: -g for k, g in grads.items()}, step)
    return ia.step_split(values, -step * ia.layer_dots(grads, grads).sum(1)).inter


def scalar(**values):
    return {name: torch.tensor([v], dtype=torch.float64) for name, v in values.items()}


def product(p):
    return p["w1"] * p["w2"]


# Covariate shift and its integral


def test_shift_of_a_product_by_hand():
    params = scalar(w1=3.0, w2=-2.0)
    _, grads = ia.gradient(product, params)
    found = ls.ics_change(product, params, grads, 0.1)
    # g = (-2, 3); layer 1 moves to 3.2, so layer 2's gradient becomes 3.2
    np.testing.assert_allclose(found.norm, [[0.0, 0.2]], atol=1e-14)
    np.testing.assert_allclose(found.relative, [[0.0, 0.2 / 3]], atol=1e-14)
    np.testing.assert_allclose(found.cosine, [[1.0, 1.0]], atol=1e-14)
    np.testing.assert_allclose(found.projection, [[0.0, 0.6]], atol=1e-14)
    # INT = -0.1 * 0.2 * 3 = 0.1^2 * (-2) * 3, and the integrand is constant in t
    assert float(ls.ics_integral(product, params, grads, 0.1, nodes=1)) == pytest.approx(-0.06)
    assert float(inter(params, product, grads, 0.1)) == pytest.approx(-0.06)


def test_layers_above_and_the_layer_itself_stay_where_they_are():
    params = scalar(w1=1.0, w2=2.0, w3=3.0)

    def loss(p):
        return p["w1"] * p["w2"] + p["w2"] ** 2 + p["w2"] * p["w3"]

    _, grads = ia.gradient(loss, params)
    found = ls.ics_change(loss, params, grads, 0.1)
    # g = (2, 8, 2): layer 2 sees layer 1 move by -0.2, layer 3 sees layer 2 move by -0.8
    np.testing.assert_allclose(found.norm, [[0.0, 0.2, 0.8]], atol=1e-14)


@pytest.mark.parametrize("name", ["none", "bn", "frozen", "layer-norm"])
def test_the_integral_is_the_interaction_for_a_smooth_network(name):
    params, loss = network(name, depth=4)
    value, grads, squares = step_of(params, loss)
    step = 0.1 * value / squares
    exact = inter(params, loss, grads, step)
    found = ls.ics_integral(loss, params, grads, step, nodes=12)
    assert (exact.abs() > 1e-4).all()
    torch.testing.assert_close(found, exact, rtol=1e-8, atol=0)


def test_panels_help_where_the_loss_has_kinks():
    params, loss = network("none", depth=4, activation="relu")
    _, grads, _ = step_of(params, loss)
    exact = inter(params, loss, grads, 1.0)
    errors = [
        float((ls.ics_integral(loss, params, grads, 1.0, nodes=4, panels=n) - exact).abs().max())
        for n in (1, 64)
    ]
    assert errors[1] < 2e-3 * exact.abs().max()
    assert errors[1] < 0.2 * errors[0]


@pytest.mark.parametrize("name", ["none", "bn"])
def test_left_endpoint_misses_by_the_cube_of_the_step_and_the_midpoint_by_its_fourth_power(name):
    params, loss = network(name, depth=4)
    _, grads, _ = step_of(params, loss)
    steps, left, middle = 2.0 ** -np.arange(6, 10), [], []
    for step in steps:
        exact = inter(params, loss, grads, step)
        shift = ls.ics_change(loss, params, grads, step).projection.sum(1)
        left.append(float((-step * shift - exact).abs().max()))
        one = ls.ics_integral(loss, params, grads, step, nodes=1)
        middle.append(float((one - exact).abs().max()))
    assert np.diff(np.log2(left)).mean() == pytest.approx(-3, abs=0.2)
    assert np.diff(np.log2(middle)).mean() == pytest.approx(-4, abs=0.3)


def test_shift_bounds_the_interaction():
    params, loss = network("bn", depth=4)
    _, grads, _ = step_of(params, loss)
    shift = ls.ics_change(loss, params, grads, 0.01)
    sizes = ia.layer_dots(grads, grads).sqrt()
    bound = 0.01 * (sizes * shift.norm).sum(1)
    assert (inter(params, loss, grads, 0.01).abs() <= 1.01 * bound).all()


def test_zero_interaction_does_not_mean_zero_shift():
    def loss(p):  # H_21 g_1 = (0, 2) and g_2 = (1, 0)
        return p["w1"][:, 0] + p["w2"][:, 0] + 2 * p["w1"][:, 0] * p["w2"][:, 1]

    params = {k: torch.zeros(1, 2, dtype=torch.float64) for k in ("w1", "w2")}
    _, grads = ia.gradient(loss, params)
    assert float(ls.ics_change(loss, params, grads, 0.1).norm[0, 1]) == pytest.approx(0.2)
    assert float(inter(params, loss, grads, 0.1)) == 0.0


@settings(max_examples=15, deadline=None)
@given(c=st.floats(0.2, 5.0), factor=st.floats(0.2, 5.0))
def test_relative_shift_and_cosine_ignore_the_units_of_loss_and_parameters(c, factor):
    params, loss = network("bn")
    value, grads, squares = step_of(params, loss)
    base = ls.ics_change(loss, params, grads, 0.3 * value / squares)

    def other(p):  # theta = c phi, and another unit of the loss
        return factor * loss({k: c * v for k, v in p.items()})

    phi = {k: v / c for k, v in params.items()}
    value, grads, squares = step_of(phi, other)
    found = ls.ics_change(other, phi, grads, 0.3 * value / squares)
    torch.testing.assert_close(found.relative, base.relative, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(found.cosine, base.cosine, rtol=1e-6, atol=1e-9)


# The path along the gradient


def bowl(p):
    return 0.5 * (torch.tensor([1.0, 4.0], dtype=torch.float64) * p["w1"] ** 2).sum(1)


def test_path_of_a_quadratic_by_hand():
    params = {"w1": torch.tensor([[1.0, 1.0]], dtype=torch.float64)}
    _, grads = ia.gradient(bowl, params)  # g = (1, 4), H g = (1, 16)
    found = ls.gradient_path(bowl, params, grads, [0.1, 0.5])
    np.testing.assert_allclose(
        found.loss[:, 0], [0.5 * 0.81 + 2 * 0.36, 0.5 * 0.25 + 2], atol=1e-14
    )
    np.testing.assert_allclose(found.change[:, 0], [0.1 * 257**0.5, 0.5 * 257**0.5], atol=1e-14)
    np.testing.assert_allclose(found.smoothness[:, 0], [(257 / 17) ** 0.5] * 2, atol=1e-13)
    # gradients at a = 0.1: (0.9, 2.4)
    cosine = (0.9 + 9.6) / (17**0.5 * (0.81 + 5.76) ** 0.5)
    assert float(found.cosine[0, 0]) == pytest.approx(cosine)


@settings(max_examples=15, deadline=None)
@given(c=st.floats(0.2, 5.0), factor=st.floats(0.2, 5.0))
def test_smoothness_has_a_unit_and_its_matched_form_has_none(c, factor):
    params, loss = network("none")
    value, grads, squares = step_of(params, loss)
    sizes = torch.tensor([[0.1], [0.5]], dtype=torch.float64)
    base = ls.gradient_path(loss, params, grads, sizes * value / squares)

    def other(p):
        return factor * loss({k: c * v for k, v in p.items()})

    phi = {k: v / c for k, v in params.items()}
    new, there, squares_there = step_of(phi, other)
    found = ls.gradient_path(other, phi, there, sizes * new / squares_there)
    torch.testing.assert_close(found.loss / new, base.loss / value)
    torch.testing.assert_close(found.smoothness, factor * c**2 * base.smoothness, rtol=1e-6, atol=0)
    matched = [
        (p.smoothness * v / s) for p, v, s in ((found, new, squares_there), (base, value, squares))
    ]
    torch.testing.assert_close(*matched, rtol=1e-6, atol=0)


@settings(max_examples=10, deadline=None)
@given(scale=st.floats(0.1, 10.0))
def test_units_of_the_weights_hide_a_scale_that_bn_does_not_see(scale):
    params, loss = network("bn", eps=0.0)
    other = dict(params) | {"W2": scale * params["W2"]}
    lines = []
    for point in (params, other):
        fn, phi = ls.unit_scaled(loss, point)
        torch.testing.assert_close(phi["W2"].flatten(1).norm(dim=1), torch.ones(2).double())
        torch.testing.assert_close(fn(phi), loss(point))
        _, grads = ia.gradient(fn, phi)
        way = ia.layer_normalized(phi, grads)
        lines.append(ls.gradient_path(fn, phi, grads, [0.01, 0.1], direction=way))
    for a, b in zip(*lines, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-9)


# The Hessian


@pytest.mark.parametrize("name", ["none", "bn", "layer-norm"])
def test_a_product_with_the_hessian_is_that_of_the_exact_hessian(name):
    params, loss = first(*network(name))
    exact, _ = hessian(params, loss)
    rng = np.random.default_rng(3)
    vector = {k: torch.from_numpy(rng.normal(size=v.shape)) for k, v in params.items()}
    found = ls.hvp(loss, params, vector)
    flat = [torch.cat([v[k].flatten() for k in params]).numpy() for v in (vector, found)]
    np.testing.assert_allclose(flat[1], exact @ flat[0], atol=1e-12)


def test_block_norms_are_those_of_the_exact_hessian():
    params, loss = network("bn")
    found = ls.block_norms(loss, params, probes=1500, rng=np.random.default_rng(4))
    exact, layer = hessian(*first(params, loss))
    want = [
        [(exact[np.ix_(layer == i, layer == j)] ** 2).sum() for j in (1, 2, 3)] for i in (1, 2, 3)
    ]
    # relative standard error of a block at most (2 / 1500)^(1/2) = 3.7 %
    np.testing.assert_allclose(found[0], want, rtol=0.12)
    torch.testing.assert_close(found, found.mT)


def test_block_norms_are_exact_where_layers_are_single_numbers():
    params = scalar(w1=3.0, w2=-2.0)
    found = ls.block_norms(
        lambda p: p["w1"] ** 2 * p["w2"], params, probes=1, rng=np.random.default_rng(0)
    )
    np.testing.assert_allclose(found[0], [[16.0, 36.0], [36.0, 0.0]], atol=1e-12)
    assert float(ls.diagonal_share(found)) == pytest.approx(16 / 88)


def test_share_of_equal_independent_entries_and_coupling():
    counts = np.array([2.0, 3.0, 5.0])
    norms = torch.from_numpy(np.outer(counts, counts))[None]
    assert float(ls.diagonal_share(norms)) == pytest.approx(38 / 100)
    torch.testing.assert_close(ls.coupling(norms), torch.ones_like(norms))
    scaled = norms * torch.tensor([1.0, 9.0, 4.0])[:, None] * torch.tensor([1.0, 9.0, 4.0])
    torch.testing.assert_close(ls.coupling(7 * scaled), torch.ones_like(norms))


@pytest.mark.parametrize("layer", [1, 2])
def test_scale_free_weights_have_minus_the_gradient_in_their_block_and_nothing_elsewhere(layer):
    params, loss = network("bn", eps=0.0)
    _, grads = ia.gradient(loss, params)
    name = f"W{layer}"
    vector = {k: v if k == name else torch.zeros_like(v) for k, v in params.items()}
    found = ls.hvp(loss, params, vector)
    torch.testing.assert_close(found[name], -grads[name], atol=1e-10, rtol=0)
    assert grads[name].abs().max() > 1e-3
    for other in params:
        if other != name:
            assert found[other].abs().max() < 1e-10


def test_a_finite_offset_breaks_the_scale_identity():
    params, loss = network("bn", eps=0.1)
    _, grads = ia.gradient(loss, params)
    vector = {k: v if k == "W1" else torch.zeros_like(v) for k, v in params.items()}
    assert (ls.hvp(loss, params, vector)["W1"] + grads["W1"]).abs().max() > 1e-4


@pytest.mark.parametrize("sign", [1, -1])
def test_lanczos_finds_both_ends_also_where_the_negative_one_dominates(sign):
    params, loss = first(*network("bn"))
    exact, _ = hessian(params, loss)
    values = np.linalg.eigvalsh(sign * exact)
    found = ls.extreme_eigenvalues(lambda p: sign * loss(p), params, k=3)
    np.testing.assert_allclose(found.low, values[:3], atol=1e-9)
    np.testing.assert_allclose(found.high, values[:-4:-1], atol=1e-9)
    dominant = sign * np.abs(values).max()
    assert (found.high if sign > 0 else found.low)[0] == pytest.approx(dominant)


def test_lanczos_separates_ends_of_equal_size():
    values = torch.tensor([-2.0, -1.0, 0.5, 2.0], dtype=torch.float64)

    def saddle(p):
        return 0.5 * (values * p["w1"] ** 2).sum(1)

    found = ls.extreme_eigenvalues(saddle, {"w1": torch.ones(1, 4, dtype=torch.float64)})
    assert (found.low[0], found.high[0]) == (pytest.approx(-2), pytest.approx(2))


# Noise and explosion


def test_noise_multiplies_and_shifts_and_stands_between_norm_and_activation():
    arm = arms.build("bn", (4, 3, 3), SEEDS, X)
    noise = ls.Noise(torch.full((2, 12, 3), 0.5).double(), torch.full((2, 12, 3), -2.0).double())
    seen = {}

    def after(site, y):
        seen[site] = y
        return ls.noisy_normalization(y, noise)

    found = forward(arm.spec, arm.params, X, after=after)
    assert list(seen) == [1]
    torch.testing.assert_close(seen[1].mean(1), torch.zeros(2, 3).double(), atol=1e-12, rtol=0)
    hidden = torch.relu(0.5 - 2.0 * seen[1])
    want = hidden @ arm.params["W2"].mT + arm.params["b2"][:, None]
    torch.testing.assert_close(found, want)


def test_no_noise_changes_nothing():
    y = X[:, :, :3]
    quiet = ls.Noise(torch.zeros_like(y), torch.ones_like(y))
    torch.testing.assert_close(ls.noisy_normalization(y, quiet), y, rtol=0, atol=0)


def test_gradient_norms_of_layers_are_those_of_shifts_of_their_outputs():
    arm = arms.build("none", (4, 3, 3, 3), SEEDS, X)
    found = ls.layer_gradient_norms(arm.params, X, Y, arm.spec)
    # without norm a row of b_l is added to every row of z_l: its gradient is the sum over rows
    assert found.shape == (2, 3)
    _, grads = ia.gradient(lambda p: loss_of(arm.logits(p, X)), arm.params)
    output = (torch.softmax(arm.logits(arm.params, X), -1) - F.one_hot(Y, 3)) / 12
    torch.testing.assert_close(found[:, 2], output.square().sum((1, 2)))
    torch.testing.assert_close(output.sum(1), grads["b3"])


@pytest.mark.parametrize(("name", "factor"), [("none", 1.0), ("bn", ls.RELU_FACTOR)])
def test_wide_relu_networks_with_bn_explode_by_the_derived_factor(name, factor):
    x = torch.from_numpy(np.random.default_rng(6).normal(size=(2, 256, 64)))
    y = torch.from_numpy(np.random.default_rng(7).integers(0, 10, (2, 256)))
    arm = arms.build(name, (64, *(256,) * 8, 10), SEEDS, x)
    found = ls.mean_factor(ls.layer_gradient_norms(arm.params, x, y, arm.spec))
    # finite width: (1/256)^(1/2) a layer; finite batch raises BN's factor a little
    np.testing.assert_allclose(found, factor, rtol=0.08)


def test_the_derived_factor_is_pi_over_pi_minus_one():
    z = np.random.default_rng(8).standard_normal(1_000_000)
    # Var relu(z) = (1 - 1/pi) / 2, standard error 1e-3
    assert 1 / (2 * np.maximum(z, 0).var()) == pytest.approx(ls.RELU_FACTOR, rel=5e-3)
    assert pytest.approx(math.pi / (math.pi - 1)) == ls.RELU_FACTOR


def test_mean_factor_leaves_the_first_and_the_last_layer_out():
    norms = torch.tensor([[99.0, 8.0, 4.0, 2.0, 77.0]])
    assert float(ls.mean_factor(norms)) == pytest.approx(2.0)


# Refusals


@pytest.mark.parametrize("step", [math.nan, math.inf, torch.tensor([0.1, -math.inf])])
def test_steps_that_are_not_finite_are_refused(step):
    params, loss = network()
    _, grads = ia.gradient(loss, params)
    with pytest.raises(ValueError, match="finite step"):
        ls.ics_change(loss, params, grads, step)


def test_gradients_that_do_not_fit_are_refused():
    params, loss = network()
    _, grads = ia.gradient(loss, params)
    grads.pop("W2")
    with pytest.raises(
        ValueError, match=r"gradient for every parameter and no other, got \['W2'\]"
    ):
        ls.ics_change(loss, params, grads, 0.1)
    with pytest.raises(ValueError, match="gradient for every parameter"):
        ls.ics_integral(loss, params, grads, 0.1)


@pytest.mark.parametrize(("option", "value"), [("nodes", 0), ("panels", 0), ("nodes", 1.5)])
def test_quadrature_without_places_is_refused(option, value):
    params, loss = network()
    _, grads = ia.gradient(loss, params)
    with pytest.raises(ValueError, match=f"{option}: expected a whole number >= 1"):
        ls.ics_integral(loss, params, grads, 0.1, **{option: value})


@pytest.mark.parametrize("steps", [[], [0.0, 0.1], [-0.1], [math.inf], [math.nan]])
def test_paths_without_distance_are_refused(steps):
    params, loss = network()
    _, grads = ia.gradient(loss, params)
    with pytest.raises(ValueError, match="steps: expected"):
        ls.gradient_path(loss, params, grads, steps)


def test_hessian_functions_refuse_what_they_cannot_do():
    params, loss = network()
    with pytest.raises(ValueError, match="vector: expected the structure of the parameters"):
        ls.hvp(loss, params, {"W1": params["W1"]})
    with pytest.raises(ValueError, match="probes: expected at least 1, got 0"):
        ls.block_norms(loss, params, probes=0, rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match="one network"):
        ls.extreme_eigenvalues(loss, params)
    own, alone = first(params, loss)
    with pytest.raises(ValueError, match="k: expected 1 to"):
        ls.extreme_eigenvalues(alone, own, k=0)
    with pytest.raises(ValueError, match="float64"):
        ls.extreme_eigenvalues(alone, {k: v.float() for k, v in own.items()})


def test_noise_of_another_shape_or_not_finite_is_refused():
    y = X[:, :, :3]
    with pytest.raises(ValueError, match=r"shift: expected the shape of y, \(2, 12, 3\)"):
        ls.noisy_normalization(y, ls.Noise(torch.zeros(2, 1, 3), torch.ones_like(y)))
    with pytest.raises(ValueError, match="scale: expected finite noise"):
        ls.noisy_normalization(y, ls.Noise(torch.zeros_like(y), y * math.nan))


def test_explosion_needs_norms_before_the_activation_and_layers_between_the_ends():
    arm = arms.build("bn", (4, 3, 3), SEEDS, X)
    spec = type(arm.spec)((4, 3, 3), order="post")
    with pytest.raises(ValueError, match="expected 'pre', got 'post'"):
        ls.layer_gradient_norms(arm.params, X, Y, spec)
    with pytest.raises(ValueError, match="at least 4 layers, got 3"):
        ls.mean_factor(torch.ones(2, 3))


# Smoothness in units


def test_smoothness_of_a_quadratic_by_hand():
    h, theta = 3.0, 2.0
    params = {"W1": torch.full((1, 1, 1), theta, dtype=torch.float64)}

    def bowl(p):
        return h * p["W1"].flatten(1).square().sum(1) / 2

    raw = ls.smoothness(bowl, params, "raw", [0.1, 0.2])
    at = [h * theta**2 / 2 * (1 - a * h) ** 2 for a in (0.1, 0.2)]
    assert float(raw["range"]) == pytest.approx(at[0] - at[1])
    assert float(raw["change"]) == pytest.approx(0.2 * h * h * theta)
    assert float(raw["smoothness"]) == pytest.approx(h)
    matched = ls.smoothness(bowl, params, "matched", [0.5, 1.0])
    assert float(matched["smoothness"]) == pytest.approx(0.5)
    assert float(matched["change"]) == pytest.approx(0.5)
    assert float(matched["range"]) == pytest.approx(0.75**2 - 0.5**2)
    assert float(matched["kept"]) == pytest.approx(0.75)


@pytest.mark.parametrize("scale", [10.0, 0.1])
def test_a_scale_that_bn_does_not_see_moves_raw_smoothness_only(scale):
    params, loss = network(eps=1e-14)
    scaled = params | {k: scale * params[k] for k in ("W1", "W2")}
    before, after = (
        {unit: ls.smoothness(loss, p, unit, [0.1])["smoothness"] for unit in ls.UNITS}
        for p in (params, scaled)
    )
    unit = "layer-normalized"
    torch.testing.assert_close(before[unit], after[unit], rtol=1e-6, atol=0)
    assert ((after["raw"] < before["raw"]) == (scale > 1)).all()
    assert ((after["matched"] / before["matched"]).log().abs() > 0.05).all()
    with pytest.raises(ValueError, match="unit: expected one of"):
        ls.smoothness(loss, params, "cooked", [0.1])


def test_without_structure_the_share_is_that_of_the_counts():
    params = {"W1": torch.ones(2, 3, 2), "W2": torch.ones(2, 1, 3), "b2": torch.ones(2, 1)}
    assert ls.iid_share(params) == pytest.approx(1 - (6**2 + 4**2) / 10**2)


def test_the_mean_of_one_over_the_variance_is_one_without_statistics_and_leaves_out_both_ends():
    for name, depth, same in (("none", 5, True), ("bn", 3, True), ("bn", 5, False)):
        arm = arms.build(name, (4, *(3,) * (depth - 1), 3), SEEDS, X)
        inverse = ls.inverse_variance(arm.params, X, arm.spec, stats=arm.stats)
        assert bool((inverse == 1).all()) == same
