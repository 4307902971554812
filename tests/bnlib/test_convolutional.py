"""Convolutional networks against layers of torch.nn, and what their arms share."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from bnlib.interactions import gradient
from bnlib.networks.convolutional import build

SEEDS, DEPTH, WIDTH, CLASSES = range(3), 6, 4, 5


def sequences(m=12, length=11, seeds=3):
    rng = torch.Generator().manual_seed(0)
    return torch.randn(seeds, m, length, generator=rng).double() + 0.5


def shaken(arm):
    """The same network with every parameter moved, so that no gamma is 1 and no beta 0."""
    rng = torch.Generator().manual_seed(3)
    return {
        name: value + 0.3 * torch.randn(value.shape, generator=rng).double()
        for name, value in arm.params.items()
    }


def network(name, **options):
    return build(name, DEPTH, SEEDS, sequences()[0], classes=CLASSES, width=WIDTH, **options)


def modules(arm, params, s):
    """Network s: a convolution and, with a norm, a batch norm of torch.nn for every hidden layer.

    The last is a linear map.
    """
    layers = []
    for layer in range(1, DEPTH):
        weight, first = params[f"W{layer}"][s], layer == 1
        plain, ins = arm.spec.norms[layer] == "none", 1 if first else WIDTH
        size, stride = (5, 2) if first else (3, 1)
        convolution = nn.Conv1d(ins, WIDTH, size, stride, size // 2, bias=plain).double()
        convolution.weight.data = weight.view(WIDTH, size, ins).transpose(1, 2).contiguous()
        norm = nn.Identity() if plain else nn.BatchNorm1d(WIDTH).double()
        if plain:
            convolution.bias.data = params[f"b{layer}"][s]
        else:
            norm.weight.data, norm.bias.data = (params[f"{n}{layer}"][s] for n in ("gamma", "beta"))
        if arm.stats:
            norm.running_mean, norm.running_var = (v[s] for v in arm.stats[layer])
            norm.eval()
        layers.append(nn.Sequential(convolution, norm))
    head = nn.Linear(WIDTH, CLASSES).double()
    head.weight.data, head.bias.data = params[f"W{DEPTH}"][s], params[f"b{DEPTH}"][s]
    return layers, head


def by_modules(arm, params, s, x):
    layers, head = modules(arm, params, s)
    a = carried = F.relu(layers[0](x[:, None]))
    for number, layer in enumerate(layers[1:], start=2):
        a = layer(a)
        a = F.relu(a + carried if arm.skips and number % 2 else a)
        carried = a if number % 2 else carried
    return head(a.mean(2)), layers


@pytest.mark.parametrize("skips", [False, True], ids=["plain", "residual"])
@pytest.mark.parametrize("name", ["none", "frozen", "bn"])
def test_a_network_is_layers_of_torch_one_after_the_other_and_so_is_its_gradient(name, skips):
    arm, x = network(name, skips=skips), sequences()
    params = shaken(arm)
    out = arm.logits(params, x)
    grads = gradient(lambda p: arm.logits(p, x).square().flatten(1).sum(1), params)[1]
    for s in SEEDS:
        expected, layers = by_modules(arm, params, s, x[s])
        torch.testing.assert_close(out[s], expected, rtol=1e-9, atol=1e-9)
        expected.square().sum().backward()
        for layer in (1, 3, DEPTH - 1):
            kernel = layers[layer - 1][0].weight.grad.transpose(1, 2).flatten(1)
            torch.testing.assert_close(grads[f"W{layer}"][s], kernel, rtol=1e-8, atol=1e-8)


def test_skips_and_norms_leave_the_draws_and_every_matrix_is_a_layer():
    plain, residual = network("none"), network("bn", skips=True)
    for layer in range(1, DEPTH + 1):
        assert torch.equal(plain.params[f"W{layer}"], residual.params[f"W{layer}"])
    x = sequences()
    assert not torch.allclose(plain.logits(plain.params, x), residual.logits(residual.params, x))


def test_frozen_is_batch_norm_at_the_start_on_its_rows_and_only_there():
    frozen, live, x = network("frozen"), network("bn"), sequences()[:1].expand(3, -1, -1)
    for rows, equal in ((x, True), (2 * x + 1, False)):
        outputs = (arm.logits(arm.params, rows) for arm in (frozen, live))
        assert torch.allclose(*outputs, rtol=1e-9, atol=1e-9) == equal


@pytest.mark.parametrize("name", ["none", "frozen", "bn"])
def test_copies_are_rows_after_each_other_and_no_network_reads_another(name):
    arm, x = network(name, skips=True), sequences()
    twice = arm.repeated(2)
    out = arm.logits(twice.params, x)
    assert torch.equal(out[:3], out[3:])
    broken = {key: value.clone() for key, value in arm.params.items()}
    broken["W2"][1] = float("nan")
    kept = arm.logits(broken, x)
    assert torch.equal(kept[[0, 2]], out[[0, 2]])
    assert kept[1].isnan().all()


@pytest.mark.parametrize("name", ["frozen", "bn"])
def test_evaluation_has_constants_those_of_the_rows_given_or_the_frozen_ones(name):
    arm, rows = network(name), sequences()
    params = arm.repeated(2).each(lambda value: 1.1 * value).params
    alone = arm.evaluated(params, rows[0], rows[1][:1])
    together = arm.evaluated(params, rows[0], rows[1])
    torch.testing.assert_close(alone[:, 0], together[:, 0], rtol=0, atol=1e-12)
    itself = arm.evaluated(params, rows[0], rows[0])
    training = arm.logits(params, rows[0].expand(3, -1, -1))
    torch.testing.assert_close(itself, training, rtol=1e-8, atol=1e-8)


def test_an_unknown_arm_is_refused():
    with pytest.raises(ValueError, match="did you mean 'frozen'"):
        network("frozn")
