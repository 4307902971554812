import pytest
import torch
from torch.nn import functional as F

from bnlib.networks.residual import FORMS, Seen, build, forward

SEEDS = range(3)


def rows(m=20, d=7, seeds=3):
    return torch.randn(seeds, m, d, generator=torch.Generator().manual_seed(0)).double()


def shaken(arm):
    """The same network with every number moved, so that no gamma is 1 and no beta 0."""
    rng = torch.Generator().manual_seed(3)
    return arm.each(lambda v: v + 0.3 * torch.randn(v.shape, generator=rng).double())


def norm(params, site, s, a):
    return F.batch_norm(
        a, None, None, params[f"gamma{site}"][s], params[f"beta{site}"][s], training=True, eps=1e-5
    )


def by_modules(arm, s, x):
    """Network s, block after block, on one batch of vectors or, as channels, of sequences."""
    p, (pad, stride) = arm.params, ((2, 2) if arm.convolution else (0, 1))

    def linear(name, a, padding=1, stride=1):
        if not arm.convolution:
            return F.linear(a, p[name][s])
        out, fan = p[name][s].shape
        kernel = p[name][s].view(out, fan // a.shape[1], a.shape[1]).transpose(1, 2)
        return F.conv1d(a, kernel, padding=padding, stride=stride)

    x = norm(p, "0", s, linear("W0", x[:, None] if arm.convolution else x, pad, stride))
    x = F.relu(x) if "v1" in arm.form else x
    for n in range(1, arm.blocks + 1):
        if arm.form == "v2":
            a = F.relu(norm(p, f"_in{n}", s, x))
            a = F.relu(norm(p, f"{n}", s, linear(f"W_in{n}", a)))
            x = x + linear(f"W_out{n}", a)
            continue
        a = F.relu(norm(p, f"_in{n}", s, linear(f"W_in{n}", x)))
        x = x + norm(p, f"{n}", s, linear(f"W_out{n}", a))
        x = F.relu(x) if "v1" in arm.form else x
    head = str(arm.blocks + 1)
    x = x if arm.form == "v1" else norm(p, head, s, x)
    x = x if "v1" in arm.form else F.relu(x)
    x = x.mean(2) if arm.convolution else x
    return F.linear(x, p[f"W{head}"][s], p[f"b{head}"][s])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("convolution", [False, True], ids=["vectors", "sequences"])
def test_all_forms_are_what_plain_layers_of_torch_compute_block_after_block(form, convolution):
    arm = shaken(build("one", form, 2, SEEDS, (12, 4), width=6, convolution=convolution))
    x = rows(d=12)
    out = arm.logits(arm.params, x)
    for s in SEEDS:
        torch.testing.assert_close(out[s], by_modules(arm, s, x[s]), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["skip-init", "skip-root", "fixup", "none"])
def test_a_network_without_norm_is_its_linear_maps_and_factors(name):
    arm = shaken(build(name, "stream", 2, SEEDS, (7, 4), width=6))
    x, p = rows(), arm.params
    for s in SEEDS:
        a = F.linear(x[s], p["W0"][s], p["b0"][s])
        for n in (1, 2):
            f = F.relu(F.linear(a, p[f"W_in{n}"][s], p[f"b_in{n}"][s]))
            f = F.linear(f, p[f"W_out{n}"][s], p[f"b_out{n}"][s])
            a = a + f * (p[f"alpha{n}"][s] if name != "none" else 1)
        want = F.linear(F.relu(a), p["W3"][s], p["b3"][s])
        torch.testing.assert_close(arm.logits(p, x)[s], want, rtol=1e-9, atol=1e-9)


def test_arms_and_depths_share_the_draws_of_stem_head_and_blocks():
    deep, shallow, bare = (
        build(name, "stream", blocks, SEEDS, (7, 4))
        for name, blocks in (("one", 5), ("zero", 2), ("no-blocks", 5))
    )
    for name in ("W0", "W_in2", "W_out1"):
        assert torch.equal(deep.params[name], shallow.params[name])
    assert torch.equal(deep.params["W6"], bare.params["W1"])
    x = rows()
    assert torch.equal(shallow.logits(shallow.params, x), bare.logits(bare.params, x))


def test_a_fixed_factor_starts_as_a_small_gamma_does_and_is_no_parameter():
    small, fixed = (
        build(name, "stream", 4, SEEDS, (7, 4), width=6) for name in ("root", "fixed-root")
    )
    x, params = rows(), {k: v.clone().requires_grad_() for k, v in fixed.params.items()}
    torch.testing.assert_close(fixed.logits(params, x), small.logits(small.params, x))
    assert params.keys() == small.params.keys()
    assert bool((params["gamma1"] == 1).all())
    slope = torch.autograd.grad(fixed.logits(params, x).square().sum(), params["gamma1"])[0]
    inner = {k: v.clone().requires_grad_() for k, v in small.params.items()}
    whole = torch.autograd.grad(small.logits(inner, x).square().sum(), inner["gamma1"])[0]
    torch.testing.assert_close(slope, whole / 2)


def test_copies_are_rows_after_each_other_and_no_network_reads_another():
    arm = shaken(build("one", "v1", 2, SEEDS, (7, 4)))
    twice, x = arm.repeated(2), rows()
    out = arm.logits(twice.params, x)
    assert torch.equal(out[:3], out[3:])
    broken = {name: value.clone() for name, value in arm.params.items()}
    broken["W0"][1] = float("nan")
    kept = arm.logits(broken, x)
    assert torch.equal(kept[[0, 2]], out[[0, 2]])
    assert kept[1].isnan().all()


def test_evaluation_uses_the_statistics_of_the_rows_that_were_given():
    arm = shaken(build("one", "stream", 2, SEEDS, (7, 4)))
    fit = rows()[0]
    both = torch.cat([fit[:1], 100 * fit[1:]])
    first = arm.evaluated(arm.params, fit, both)[:, 0]
    whole = arm.evaluated(arm.params, fit, fit)
    torch.testing.assert_close(first, whole[:, 0], rtol=0, atol=0)
    training = arm.logits(arm.params, fit.expand(3, -1, -1))
    torch.testing.assert_close(whole, training, rtol=1e-8, atol=1e-8)


def test_a_factor_on_the_backward_pass_leaves_outputs_and_scales_a_branchs_gradient():
    arm = shaken(build("one", "stream", 1, SEEDS, (7, 4)))
    gradients = {}
    for t in (0.0, 1.0, 2.0):
        seen = Seen()
        params = {k: v.clone().requires_grad_() for k, v in arm.params.items()}
        out = forward(arm, params, rows(), seen=seen, back=t)
        assert torch.allclose(out, arm.logits(arm.params, rows()), rtol=0, atol=1e-12)
        gradients[t] = torch.autograd.grad(out.square().sum(), seen.streams)
    skip, branch = gradients[0.0][0], gradients[1.0][0] - gradients[0.0][0]
    torch.testing.assert_close(skip, gradients[1.0][1])
    torch.testing.assert_close(gradients[2.0][0], skip + 2 * branch)


@pytest.mark.parametrize("eps", [1e-5, 0.0])
def test_a_closed_block_hides_no_constant_channel_without_an_offset(eps):
    """0 times NaN is NaN: gamma = 0 does not repair 0/0, which eps > 0 avoids."""
    at = build("zero", "stream", 1, [0], (7, 4), width=6)
    at.params["W_out1"][0, 2] = 0.0
    arm = type(at)(at.form, at.blocks, at.params, eps=eps)
    assert bool(arm.logits(arm.params, rows(seeds=1)).isnan().any()) == (eps == 0)


@pytest.mark.parametrize(
    ("name", "form", "reason"),
    [
        ("zeroes", "stream", "did you mean 'zero'"),
        ("zero", "v3", "expected one of"),
        ("fixup", "v1", "expected 'stream' with the arm 'fixup'"),
    ],
)
def test_what_is_not_defined_is_refused(name, form, reason):
    with pytest.raises(ValueError, match=reason):
        build(name, form, 2, [0], (7, 4))
