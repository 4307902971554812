"""Networks: an inserted layer, rows that depend on each other, a teacher and its students."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from bnlib import data, identity, reference
from bnlib.chapters.identity import networks, positions


def test_independent_positions_count_and_copied_ones_do_not():
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(400, 6, 32))
    single = np.repeat(rng.normal(size=(400, 6, 1)), 32, axis=2)
    free, bound = (
        networks.design_effect(networks.describe(x), 8, rng, batches=200) for x in (noise, single)
    )
    assert free["m"] == bound["m"] == 256
    assert free["effect"] == pytest.approx(1, abs=0.2)
    # Eight rows instead of 256; at m = 8 the Gaussian law is 4 % above its leading term.
    assert bound["effect"] == pytest.approx(32 * 1.04, rel=0.2)
    assert bound["rows"] == pytest.approx(1, rel=0.2)
    assert (free["fits"], bound["fits"]) == (1, 0)


def test_inputs_are_described_by_image_and_constant_channels_left_out():
    x = np.random.default_rng(1).normal(size=(3, 4, 5)) + 100
    x[:, 1] = 7
    got = networks.describe(x, channels=2)
    kept = x[:, [0, 2]] - x[:, [0, 2]].mean(axis=(0, 2), keepdims=True)
    np.testing.assert_allclose(got.mean, kept.mean(axis=2), atol=1e-12)
    np.testing.assert_allclose(got.var, kept.var(axis=2), rtol=1e-10)
    want = (kept**4).mean(axis=(0, 2)) / kept.var(axis=(0, 2)) ** 2
    np.testing.assert_allclose(got.kurtosis, want, rtol=1e-10)
    assert got.positions == 5


def test_d_is_0_at_the_constants_of_the_identity_and_else_the_distance_from_them(monkeypatch):
    off = [0.0, 0.0]

    def put(net, x, y, **recipe):
        """Instead of training: off by 30 % of gamma and 0.4 tau of beta."""
        stats = net.recalibrate(x)[1]
        tau = (stats.var + net.spec.eps).sqrt()
        net.params["gamma1"] = (1 + off[0]) * tau
        net.params["beta1"] = stats.mean + school.bias + off[1] * tau
        return SimpleNamespace(loss=np.ones((5, 2)))

    monkeypatch.setattr(networks.training, "train", put)
    school = networks.teachers(2, [0, 1], rows=512)
    for off[:], d in (((0, 0), 0), ((0.3, -0.4), 0.5)):
        mse, distance, _ = networks.study(school, "γ, β", m=8, steps=5)
        np.testing.assert_allclose(distance, d, atol=1e-12)
        assert (mse.max() < 1e-24) == (d == 0)


def test_errors_of_whole_images_equal_those_of_their_pooled_rows():
    rng = np.random.default_rng(6)
    x = 100 + rng.normal(size=(6, 3, 50)) * rng.uniform(1, 3, (6, 3, 1))  # images, channels, places
    batches = np.array([[0, 4], [5, 5]])
    got = networks.image_errors(x.mean(axis=2), x.var(axis=2), batches)
    population = reference.statistics(x)
    for b, batch in enumerate(batches):
        rows = np.moveaxis(x[batch], 1, 2).reshape(-1, 3)
        constants = identity.restoring(population.mean, population.var, eps=0.0)
        y, _ = reference.forward(rows, *constants, eps=0.0)
        want = np.square(y - rows).mean(axis=0) / population.var
        np.testing.assert_allclose(got[b], want, rtol=1e-9)


def test_forms_of_data_change_mean_and_spread_and_keep_the_total_variance():
    rows = networks.on_digits(2).rows
    usual, centred, standard, white, shifted = (networks.in_form(rows, f) for f in networks.FORMS)
    total = usual.var(dim=1, correction=0).sum(dim=1)
    for form in (centred, standard, white, shifted):
        np.testing.assert_allclose(form.var(dim=1, correction=0).sum(dim=1), total)
    for form in (centred, standard, white):
        np.testing.assert_allclose(form.mean(dim=1), 0, atol=0.02)  # standardized ones are clipped
    np.testing.assert_allclose(shifted - usual, 1)
    spread = np.linalg.eigvalsh(np.cov(white[0].numpy().T, bias=True))
    np.testing.assert_allclose(spread, np.repeat([0, float(total[0]) / 32], 32), atol=1e-12)


def test_taking_the_mean_out_of_a_gradient_changes_no_weight_of_centred_rows():
    """Of dW = sum dz x^T the layer keeps all but the part along x_hat, if the batch is centred."""
    plain = networks.on_digits(2)
    x, y = plain.rows.x_train[:, :64], plain.rows.y_train[:, :64]
    x = x - x.mean(dim=1, keepdim=True)
    _, weights, _ = networks._backprop(networks.insert(plain.net, "batch", x), x, y)
    _, before, upper = networks._backprop((plain.net, None), x, y)
    z = plain.net.trace(plain.net.params, x).pre[1].detach()
    rstd = 1 / (z.var(dim=1, correction=0, keepdim=True) + plain.net.spec.eps).sqrt()
    x_hat = (z - z.mean(dim=1, keepdim=True)) * rstd
    along = (upper * x_hat).mean(dim=1, keepdim=True) * x_hat
    lost = (along.mT @ x).flatten(1)
    np.testing.assert_allclose(before - weights, lost, atol=1e-12)
    assert lost.abs().max() > 1e-3


def test_windows_side_by_side_tie_no_positions_together():
    """A pixel reaches one place of the second convolution, beside what the statistics carry."""
    rng = np.random.default_rng(3)
    filters = [torch.from_numpy(rng.normal(size=shape)) for shape in positions.SHAPES]
    images = torch.from_numpy(rng.normal(size=(400, 1, 28, 28)))
    moved = images.clone()
    moved[0, 0, 5, 6] += 1
    for (before, after), place in zip(
        zip(positions.inputs(filters, images), positions.inputs(filters, moved), strict=True),
        ((2, 3), (1, 1)),
        strict=True,
    ):
        change = (after - before).abs().sum(dim=1)
        touched = float(change[0, place[0], place[1]])
        change[0, place[0], place[1]] = 0
        assert change.max() < 0.01 * touched


def test_each_image_is_in_one_batch_and_positions_of_noise_are_rows(monkeypatch):
    seen = []

    def kept(inputs, batches):
        seen.append(batches)
        return networks.batch_effects(inputs, batches)

    monkeypatch.setattr(positions, "batch_effects", kept)
    rows = data.load("mnist5k", 1)._replace(x_test=np.empty((0, 784)))
    few = rows._replace(x_train=rows.x_train[:1000], y_train=rows.y_train[:1000])
    monkeypatch.setattr(positions.data, "load", lambda name, seed: few)
    monkeypatch.setattr(positions, "CROPS", 16)
    monkeypatch.setattr(positions, "STEPS", 2)
    cells = positions.effects(1)
    assert all(len(np.unique(batches)) == batches.size for batches in seen)
    assert [cells.loc[kind].shape for kind in positions.IMAGES] == [(10, 4)] * 4
    noise = cells.loc["noise, second draw"]
    np.testing.assert_allclose(noise.estimate, 1, atol=0.25)
    np.testing.assert_allclose(noise.rows * noise.estimate, [784] * 2 + [196, 196, 49, 49] * 2)
    assert (cells.loc["digits"].loc["pixels"].low > 5).all()
