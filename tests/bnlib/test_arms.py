"""The arms: what each computes, and what they share."""

import numpy as np
import pytest
import torch

from bnlib.networks import arms

SEEDS, SIZES = (2, 9), (7, 6, 6, 6, 4)
X = torch.from_numpy(np.random.default_rng(0).normal(0.4, 1.3, (2, 10, 7)))


def built(name, **given):
    return arms.build(name, SIZES, SEEDS, X, **given)


def outputs(name, **given):
    arm = built(name, **given)
    return arm.logits(arm.params, X)


@pytest.mark.parametrize(
    ("one", "other"),
    [("frozen", "bn"), ("frozen-affine", "bn"), ("bn-no-affine", "bn"), ("weight-norm", "none")],
)
def test_two_arms_are_one_function_at_the_start(one, other):
    torch.testing.assert_close(outputs(one), outputs(other), atol=1e-12, rtol=1e-12)


def test_frozen_statistics_do_not_react_and_those_of_bn_do():
    for name, same in (("frozen", False), ("bn", True)):
        arm = built(name, eps=0.0)
        new = dict(arm.params) | {"W2": 3.0 * arm.params["W2"]}
        assert torch.allclose(arm.logits(new, X), arm.logits(arm.params, X), atol=1e-9) == same


def test_renewed_is_the_function_of_bn_with_the_gradient_of_frozen_constants():
    """At the start the constants of frozen-affine are those of this very batch."""

    def gradients(name):
        arm = built(name)
        params = {k: v.clone().requires_grad_() for k, v in arm.params.items()}
        output = arm.logits(params, X)
        return output, torch.autograd.grad(output.square().sum(), params["W2"])[0]

    (renewed, gradient), (bn, through), (_, around) = map(
        gradients, ("renewed", "bn", "frozen-affine")
    )
    torch.testing.assert_close(renewed, bn, atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(gradient, around, atol=1e-9, rtol=1e-9)
    assert (gradient - through).abs().max() > 1e-3
    arm = built("renewed", eps=0.0)  # its function ignores the size of weights, as that of BN
    new = dict(arm.params) | {"W2": 3.0 * arm.params["W2"]}
    torch.testing.assert_close(arm.logits(new, X), arm.logits(arm.params, X))


@pytest.mark.parametrize("name", arms.ARMS)
def test_copies_are_the_networks_one_after_the_other(name):
    arm = built(name)
    other = {k: v * 1.1 for k, v in arm.params.items()}
    both = {k: torch.cat([arm.params[k], other[k]]) for k in other}
    want = torch.cat([arm.logits(arm.params, X), arm.logits(other, X)])
    torch.testing.assert_close(arm.logits(both, X), want)


def test_arms_that_share_an_initialization_have_the_same_weights():
    base = built("none").params
    for name in (*arms.NORMED, "weight-norm"):
        torch.testing.assert_close(built(name).params["W3"], base["W3"])
    for name, factor in (("small", 0.7), ("big", 1.5)):
        torch.testing.assert_close(built(name).params["W3"], factor * base["W3"])
    torch.testing.assert_close(built("last-small").params["W4"], 0.1 * base["W4"])
    torch.testing.assert_close(built("last-small").params["W3"], base["W3"])
    torch.testing.assert_close(built("none", factor=0.01).params["W3"], 0.01 * base["W3"])
    torch.testing.assert_close(built("none", factor=0.01).params["W4"], base["W4"])


def test_parameters_of_each_arm_are_those_of_its_definition():
    def names(name):
        return {"".join(c for c in key if not c.isdigit()) for key in built(name).params}

    assert names("none") == names("frozen") == {"W", "b"}
    assert names("bn") == names("frozen-affine") == {"W", "b", "gamma", "beta"}
    assert names("weight-norm") == {"W", "b", "g"}
    assert {"b1", "b2", "b4", "gamma3", "beta3"} <= set(built("bn-last-hidden").params)
    assert "gamma1" not in built("bn-last-hidden").params
    assert "b1" not in built("bn").params
    assert "b1" in built("layer-norm").params  # which removes no number of a unit
    assert set(built("bn-no-affine").params) == {"W1", "W2", "W3", "W4", "b4"}


def test_orthogonal_has_one_singular_value_and_the_norm_of_he():
    params = arms.build("orthogonal", (7, 9, 9, 4), SEEDS, X).params
    for layer, norm in ((1, 18.0), (2, 18.0), (3, 4.0)):  # gain^2 times fan-out
        weight = params[f"W{layer}"]
        values = torch.linalg.svdvals(weight)
        torch.testing.assert_close(values, values[:, :1].expand_as(values))
        torch.testing.assert_close(values.square().sum(1), torch.full((2,), norm).double())


def test_weight_norm_ignores_the_norm_of_its_directions():
    arm = built("weight-norm")
    new = dict(arm.params) | {"W2": 5.0 * arm.params["W2"]}
    torch.testing.assert_close(arm.logits(new, X), arm.logits(arm.params, X))


def test_an_unknown_arm_is_refused_with_the_nearest_name():
    with pytest.raises(ValueError, match="did you mean 'frozen'"):
        built("frozzen")
