"""Laws against independent computation, and measurements that must not mix up their rows."""

import numpy as np
import pytest
import torch

from bnlib import identity, layer, training
from bnlib.chapters.batches import (
    Settings,
    descent,
    diagnosis,
    evaluation,
    exact,
    machines,
    mates,
    moving,
)
from bnlib.data import Split
from bnlib.networks.batches import batch_order
from bnlib.networks.seed_batched import SeedBatchedMLP
from bnlib.networks.spec import Spec
from bnlib.rows import Moments
from bnlib.statistics import rows_with


def test_the_toy_comes_to_rest_where_the_law_says():
    fixed, drift = exact.moving_drift(1.0, 0.1, 2.0)
    assert (fixed, drift) == (0.0, 0.2), "the original paper's example"
    assert exact.moving_drift(0.0, 0.1, 2.0) == pytest.approx((2.0, 0.0))
    toy, late, _ = exact.toy_errors(4000)
    assert toy < 1e-9
    assert 0 < late < 0.05


def test_the_gradient_has_no_part_along_the_weights_where_it_should_not():
    identity, zero = exact.radial(3)
    assert max(identity, zero) < 1e-13


def test_renormalization_has_the_values_of_moving_statistics_and_the_gradient_of_a_batch():
    z = torch.randn(9, 3, dtype=torch.float64, requires_grad=True)
    mean, var = torch.tensor([0.3, -1.0, 2.0]).double(), torch.tensor([0.5, 2.0, 1.0]).double()
    moved, renormed = (exact.normalized(kind, z, mean, var, 1e-3) for kind in ("ema", "renorm"))
    torch.testing.assert_close(moved, renormed)
    (gradient,) = torch.autograd.grad((renormed * torch.randn(9, 3)).sum(), z)
    assert gradient.sum(0).abs().max() < 1e-13


def test_the_accumulation_law_has_the_value_worked_out_by_hand():
    error = exact.accumulated_error(np.array([1.0, 1.0]), np.sqrt(5))
    assert error == pytest.approx(2 * (1 - 1 / np.sqrt(5)), rel=1e-15)


def test_the_padding_law_is_what_numpy_computes():
    z = np.random.default_rng(0).normal(size=(50, 3)) * [1, 2, 0.5] + [0, 3, -1]
    found = exact.padding(z, [0.2, 0.5])
    assert max(found.law, found.absorbed) < 1e-13
    assert found.other > 0.01
    mean, std = exact.padded_moments(0.5, 1.0)
    assert (mean, std) == pytest.approx((0.5 / 0.75**0.5, 1 / 0.75**0.5))


def test_signs_find_their_row_as_often_as_drawn_signs_do():
    rng = np.random.default_rng(1)
    shape = (4000, 5, 8)
    query = rng.integers(2, size=(4000, 1, 8))
    keys = rng.integers(2, size=shape)
    keys[:, :1] = np.where(rng.random((4000, 1, 8)) < 2 / 3, query, 1 - query)
    agree = (keys == query).sum(2)
    best = agree == agree.max(1, keepdims=True)
    share = (best[:, 0] / best.sum(1)).mean()
    assert abs(share - exact.sign_match_accuracy(8, 5)) < 4 * 0.5 / np.sqrt(4000)


def test_bits_by_hand():
    assert exact.leak_bits(2, 64) == pytest.approx(-32 * np.log2(0.75))
    assert exact.leak_bits(6, 64) > 1 > exact.leak_bits(7, 64)


def test_shuffling_puts_each_row_back_where_it_belongs():
    given = Settings(group_sizes=[2], queue_sizes=[2], rounds=10)
    lines = exact.leak(given).set_index(["arm", "negatives"])
    assert lines.accuracy["none", "batch"] < 0.1 < 0.5 < lines.accuracy["mean only", "batch"]


def test_a_generator_is_blind_alone_only():
    found = exact.generator_gradients(4)
    assert found["alone"].max() < 1e-14 < 1e-3 < found["together"].min()


def test_the_network_here_is_the_librarys():
    net = SeedBatchedMLP(Spec((5, 4, 3), eps=descent.EPS), [0, 1], torch.float64)
    x = torch.randn(2, 6, 5, dtype=torch.float64)
    want = net.forward(net.params, x)
    torch.testing.assert_close(descent.network(net.params, x, descent.of_batch), want)
    stats = net.recalibrate(x)
    torch.testing.assert_close(descent.network(net.params, x, descent.stored(stats)), want)


def test_ghosts_are_micro_batches_side_by_side():
    z = torch.randn(2, 8, 3, dtype=torch.float64)
    parts = [descent.of_batch(1, part) for part in z.split(4, 1)]
    torch.testing.assert_close(descent.ghosts(4)(1, z), torch.cat(parts, 1))


def test_descent_is_that_of_the_library():
    net, other = (SeedBatchedMLP(Spec((5, 4, 3), eps=descent.EPS), [0, 1]) for _ in range(2))
    x, y = torch.randn(2, 12, 5, dtype=torch.float64), torch.randint(3, (2, 12))
    order = batch_order(net.seeds, 12, batch=6, steps=8)
    recipe = {"lr": [0.1, 0.2], **descent.COSINE}
    descent.fit(net, descent.of_batch, Split(x, y, x, y), order, **recipe)
    training.train(other, x, y, order=order, steps=8, batch=6, **recipe)
    for name, value in other.params.items():
        torch.testing.assert_close(net.params[name], value)


def test_pure_batches_have_one_class_and_no_row_twice():
    y = torch.randint(10, (2, 400), generator=torch.Generator().manual_seed(0))
    order = mates.pure_order(y, 20, 8)
    for t in range(20):
        for s in range(2):
            assert len(set(y[s][order[t, s]].tolist())) == 1
            assert len(set(order[t, s].tolist())) == 8
    classes = y[0][order[:, 0, 0]]
    assert len(set(classes.tolist())) > 3


def test_one_process_alone_is_the_layer_of_the_library_and_torch():
    found = machines.one_pass(layer.batch_norm, torch.float64)
    theirs = machines.one_pass(torch.nn.functional.batch_norm, torch.float64)
    for a, b in zip(found, theirs, strict=True):
        torch.testing.assert_close(a, b)


def test_merged_statistics_keep_the_digits_that_sums_lose():
    sums = machines.naive_sums()
    assert sums.merged.max() < 1e-3 < 1 < sums.sums.iloc[-1]


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("parts", [3], "divisors of 64"),
        ("ghosts", [4, 4], "each number once"),
        ("group_sizes", [4, 8], "2 as the first number"),
        ("doses", [0.1, 0.5, 1.0], "0 as the first number"),
        ("doses", [0.0, 1.0], "at least 3 numbers"),
        ("rates", [1.0, 0.1], "ascending"),
        ("shares", [0.95], "one in"),
        ("seeds", 3, "one in"),
    ],
)
def test_a_grid_that_does_not_fit_is_refused_with_the_reason(name, value, reason):
    with pytest.raises(ValueError, match=f"parameter '{name}': expected .*({reason})"):
        Settings(**{name: value})


def test_one_weighted_row_is_as_many_padding_rows():
    net, x = descent.started((5, 6, 6, 3), [0, 1], torch.float64), torch.rand(2, 8, 5).double()
    zero = [torch.zeros(2, n, 5).double() for n in (1, 4)]
    start = Moments(torch.zeros(2, 6).double(), torch.ones(2, 6).double())
    norm = mates.Padded({1: start, 2: start}, torch.ones(2, 9, 1).double())
    norm.weight[:, -1] = 4
    y = torch.zeros(2, 8).long()
    one = descent.gradients(net.params, torch.cat([x, zero[0]], 1), y, norm)
    four = descent.gradients(net.params, torch.cat([x, zero[1]], 1), y, descent.of_batch)
    torch.testing.assert_close(one, four)
    z = torch.cat([x, zero[1]], 1) @ net.params["W1"].mT
    torch.testing.assert_close(norm.kept[1].mean, 0.1 * z.mean(1))
    torch.testing.assert_close(norm.kept[1].var, 0.9 + 0.1 * z.var(1))
    norm.weight[:, -1] = 0
    masked = descent.gradients(net.params, torch.cat([x, zero[0]], 1), y, norm)
    torch.testing.assert_close(masked, descent.gradients(net.params, x, y, descent.of_batch))


def test_evaluation_scores_every_cell_by_its_own_network_and_statistics():
    given = Settings(seeds=4, steps=30, rates=[0.05], doses=[0.0, 0.1, 1.0])
    lines, _, _ = moving.moving_averages(given)
    rows, net = descent.splits(4), descent.started(descent.WIDE, range(4))
    order = batch_order(net.seeds, rows.x_train.shape[1], batch=64, steps=30)
    descent.fit(net, descent.of_batch, rows, order, lr=0.05)
    stats = net.recalibrate(rows.x_train)
    want = 100 * training.accuracy(net, rows.x_test, rows.y_test, stats=stats)
    batch, renorm = (
        rows_with(lines, kind=kind, a=0.1, affine=True).accuracy for kind in ("batch", "renorm")
    )
    np.testing.assert_allclose(batch, want, atol=0.2)
    assert np.abs(renorm - want).max() < 2, "the values of a batch"


def test_the_excess_is_a_geometric_mean_of_each_site():
    mean, var = torch.zeros(1, 2), torch.tensor([[1.0, 2.0]])
    averaged = {1: Moments(mean, 2 * var), 2: Moments(mean, var * torch.tensor([4.0, 1 / 16]))}
    found = evaluation.excess(averaged, dict.fromkeys((1, 2), Moments(mean, var)))
    assert {k: v.item() for k, v in found.items()} == pytest.approx({"delta 1": 1, "delta 2": -0.5})


def test_what_evaluation_misses_in_a_layer_is_the_law_where_its_rows_are_gaussian():
    z = torch.from_numpy(np.random.default_rng(3).normal(2, 3, size=(2, 2000, 4)))
    law = identity.evaluation_errors(4)
    lines = evaluation.missed(z, 4)
    np.testing.assert_allclose(lines.stored, law.stored, atol=0.01)
    np.testing.assert_allclose(lines.line, law.line, atol=0.01)
    np.testing.assert_allclose(lines.best, law.best, atol=0.01)


def test_a_row_among_mates_that_are_all_the_same_has_one_probability():
    net = descent.started((5, 4, 3), [0, 1])
    mate, x_test = torch.rand(2, 1, 5), torch.rand(2, 6, 5)
    rows = Split(mate.expand(2, 7, 5), torch.zeros(2, 7).long(), x_test, torch.zeros(2, 6).long())
    given = evaluation.among_mates(net.params, rows, 4)
    for row in range(6):
        batch = torch.cat([x_test[:, row : row + 1], mate.expand(2, 3, 5)], 1)
        want = descent.network(net.params, batch, descent.of_batch)[:, 0].double().softmax(-1)
        torch.testing.assert_close(given[:, row], want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("n", [2, 3, 6])
def test_the_correlation_that_batch_norm_leaves_is_that_of_drawn_rows(n):
    rng, draws, views = np.random.default_rng(5), 400_000, []
    mates = rng.normal(size=(n - 1, draws))
    for _ in range(2):
        x = np.concatenate([rng.normal(size=(1, draws)), mates])
        views.append(((x - x.mean(0)) / x.std(0))[0])
    products = views[0] * views[1]
    gap = abs(products.mean() - exact.leak_correlation(n))
    assert gap < 4 * products.std() / draws**0.5
    assert exact.leak_correlation(2) == pytest.approx(1 / 3, rel=1e-10)


def test_dropout_raises_the_variance_by_the_law():
    torch.manual_seed(0)
    weights, h = torch.randn(2, 3, 5).double(), torch.rand(2, 200_000, 5).double()
    dropped = torch.nn.functional.dropout(h, 0.4) @ weights.mT
    more = dropped.var(1) - (h @ weights.mT).var(1)
    law = exact.dropout_variance(weights, h.square().mean(1), 0.6)
    torch.testing.assert_close(more, law, rtol=0.05, atol=0)


def test_sizes_beside_their_laws_are_read_from_what_each_network_stored():
    torch.manual_seed(1)
    x, net = torch.rand(2, 400, 64), descent.started(descent.DEEP, [0, 1])
    clean = net.recalibrate(x)
    (mean, var), wide = clean[1], clean[2]
    trained = {
        "too few steps": {1: Moments(0.7 * mean, var)},
        "momentum swapped": {1: Moments(mean + (var / 16).sqrt() / 2, var)},
        "batches of 4": clean,
        "dropout before BN": {2: Moments(wide.mean, 3 * wide.var)},
    }
    found = diagnosis.sizes_by_law(x, {cause: (net, kept) for cause, kept in trained.items()})
    measured = {cause: size for cause, (_, size) in found.items()}
    few, momentum, four, dropout = measured.values()
    assert (few, momentum, dropout) == pytest.approx((0.3, 0.5, 3.0), rel=1e-4)
    assert four == pytest.approx(found["batches of 4"][0], abs=0.03)
    assert found["too few steps"][0] == pytest.approx(0.99**60)
    assert found["dropout before BN"][0] > 1.2
