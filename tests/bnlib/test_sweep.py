"""Sweeps of rates and seeds as one program: what each model does, and that models never meet."""

import numpy as np
import pytest
import torch

from bnlib.networks import arms
from bnlib.networks.seed_batched import SeedBatchedMLP
from bnlib.sweep import (
    Sweep,
    rate_targets,
    reset_columns,
    train_sweep,
)
from bnlib.training import train

SIZES, SEEDS, STEPS = (5, 7, 6, 4), (3, 0), 6


def rows(n=40):
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, 5)), rng.integers(4, size=n)


def order(batch=8, seeds=2):
    return torch.from_numpy(np.random.default_rng(1).integers(40, size=(STEPS, seeds, batch)))


def arm(name="bn"):
    x, _ = rows()
    return arms.build(name, SIZES, SEEDS, torch.from_numpy(x).expand(len(SEEDS), -1, -1))


def run(rates, name="bn", **options):
    x, y = rows()
    options = {"order": order(), "check": 20, "dtype": torch.float64, **options}
    return train_sweep(arm(name), x, y, rates, **options)


@pytest.mark.parametrize("name", ["bn", "none", "layer-norm", "mean-only"])
def test_a_sweep_is_the_training_loop_at_every_rate(name):
    x, y = rows()
    rates, found = (0.05, 0.4), run((0.05, 0.4), name)
    for k, rate in enumerate(rates):
        net = SeedBatchedMLP(arm(name).spec, SEEDS)
        done = train(net, x, y, steps=STEPS, batch=8, lr=rate, order=order())
        np.testing.assert_allclose(found.loss[:, k], done.loss, rtol=1e-10)


@pytest.mark.parametrize("name", ["bn", "none"])
def test_one_diverging_model_leaves_every_bit_of_the_others(name):
    alone, beside = run([0.1, 0.2], name), run([0.1, 1e200, 0.2], name)
    assert not np.isfinite(beside.final[1]).any()
    for a, b in zip(alone, beside, strict=True):
        kept = b if b.ndim == 1 else b[..., [0, 2], :]
        np.testing.assert_array_equal(a, kept)


def test_reset_gives_hidden_units_their_norm_and_leaves_the_last_layer():
    seen = []
    run(
        [0.5],
        reset_norms=True,
        watch=lambda t, p, g: seen.append({k: v.clone() for k, v in p.items()}),
    )
    for name in ("W1", "W2"):
        sizes = torch.stack([s[name].norm(dim=2) for s in seen])
        torch.testing.assert_close(sizes, sizes[:1].expand_as(sizes), rtol=1e-12, atol=0)
    assert not torch.equal(seen[0]["W3"], seen[-1]["W3"])
    np.testing.assert_allclose(run([0.5], reset_norms=True).growth, 1, rtol=1e-12)


def test_a_reset_changes_no_function_of_scale_free_weights_only_without_eps():
    x, _ = rows()
    gaps = []
    for eps in (0.0, 1e-2):
        at = arms.build("bn", SIZES, SEEDS, torch.from_numpy(x).expand(2, -1, -1), eps=eps)
        norms = {n: torch.full_like(at.params[n][..., :1], 3.0) for n in ("W1", "W2")}
        batch = torch.from_numpy(x).expand(2, -1, -1)
        other = at.logits(reset_columns(at.params, norms), batch)
        gaps.append(float((other - at.logits(at.params, batch)).abs().max()))
    assert gaps[0] < 1e-12 < 1e-4 < gaps[1]


def test_test_rows_are_judged_with_the_statistics_of_the_checked_rows():
    x, y = rows()
    found = run([0.3], test=(x[30:], y[30:]))
    at = arm()
    net = SeedBatchedMLP(at.spec, SEEDS)
    train(net, x, y, steps=STEPS, batch=8, lr=0.3, order=order())
    stats = net.recalibrate(torch.from_numpy(x[:20]))
    output = net.forward(net.params, torch.from_numpy(x[30:]), stats=stats)
    right = (output.argmax(-1).numpy() == y[30:]).mean(1)
    np.testing.assert_allclose(found.accuracy[0], right)


def test_single_precision_is_close_to_double():
    np.testing.assert_allclose(run([0.1], dtype=torch.float32).final, run([0.1]).final, rtol=1e-4)


@pytest.mark.parametrize("rates", [[], [0.0], [-1.0], [float("inf")]])
def test_rates_that_are_no_rates_are_refused(rates):
    with pytest.raises(ValueError, match="expected finite rates > 0"):
        run(rates)


def test_an_order_for_other_seeds_is_refused():
    with pytest.raises(ValueError, match=r"expected \(steps, 2, batch\), got \(6, 3, 8\)"):
        run([0.1], order=order(seeds=3))


def example():
    """Four rates, three seeds; log 4 = 1.386, half of it 0.693."""
    final = np.array([[1.0, 2.0, 0.5], [0.6, np.nan, 0.4], [0.9, 3.0, np.inf], [0.5, np.nan, 0.3]])
    loss = np.ones((2, 4, 3))
    loss[1, 3, 2] = 9.0  # passes at the end, but was not calm
    loss[1, 1, 1] = np.nan
    return Sweep(loss, np.full(3, 1.3), final, np.ones((4, 3)), final)


def test_targets_by_hand_on_a_grid_with_gaps_and_a_seed_that_never_passes():
    found = rate_targets(example(), [0.5, 1, 2, 4], classes=4)
    assert found.max_trainable.tolist() == [2, -2, 2]  # the largest passing one; half the least
    assert found.passing.tolist() == [2, 0, 3]
    assert found.censored.tolist() == [True, False, True]
    assert found.max_stable.tolist() == [2, -2, 0]
    assert found.best.tolist() == [2, -1, 2]


def test_the_threshold_is_strict_and_a_share_of_log_k():
    at = example()._replace(final=np.full((4, 3), np.log(4) / 2))
    assert rate_targets(at, [1, 2, 4, 8], classes=4).passing.tolist() == [0, 0, 0]
    assert rate_targets(at, [1, 2, 4, 8], classes=4, threshold=0.51).passing.tolist() == [4, 4, 4]
