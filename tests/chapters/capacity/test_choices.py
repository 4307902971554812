"""What is chosen at random or by its score: weights that are trained, and learning rates."""

import numpy as np
import pytest
import torch

from bnlib.chapters.capacity import measure
from bnlib.networks.seed_batched import SeedBatchedMLP
from bnlib.networks.spec import Spec

SEEDS, PLAIN = (3, 0, 11), Spec((6, 8, 3), norm="none")


@pytest.fixture
def data():
    """Own rows and labels for each seed; the classes can be learned."""
    rng = np.random.default_rng(0)
    x = rng.normal(0.5, 1.5, (len(SEEDS), 40, 6))
    return x, (x @ rng.normal(size=(6, 3))).argmax(-1)


@pytest.mark.parametrize("count", [1, 26, 7 * 5 + 6 * 7 + 4 * 6])
def test_weight_mask_has_exactly_the_wanted_number_of_entries(count):
    net = SeedBatchedMLP(Spec((5, 7, 6, 4)), SEEDS)
    masks = measure.weight_mask(net, count)
    assert {n: m.shape for n, m in masks.items()} == {
        n: p.shape for n, p in net.params.items() if n[0] == "W"
    }
    assert [sum(int(m[s].sum()) for m in masks.values()) for s in range(3)] == [count] * 3
    with pytest.raises(ValueError, match="count: expected 1 to 101"):
        measure.weight_mask(net, 102)


def test_pick_rate_finds_the_rate_that_trains_and_flags_edges_and_divergence(data):
    x, y = data
    options = {"steps": 60, "batch": 8, "momentum": 0.9}
    picked = measure.pick_rate(
        PLAIN, SEEDS, x, y, rates=[1e200, 1e-6, 0.05], held_out=12, **options
    )
    assert picked.rates.tolist() == [1e-6, 0.05, 1e200]
    assert picked.rate == 0.05
    assert not picked.at_edge
    assert picked.diverged[2].all()
    assert not picked.diverged[:2].any()
    assert (picked.scores[2] == 0).all()
    assert measure.pick_rate(PLAIN, SEEDS, x, y, rates=[1e-6, 0.05], held_out=12, **options).at_edge


def test_pick_rate_never_trains_on_held_out_rows_and_holds_out_the_same_for_every_arm(data):
    x, y = data
    x = x.copy()
    x[:, :, 0] = np.arange(40)

    def trained_rows(spec):
        seen = []
        measure.pick_rate(
            spec,
            SEEDS,
            x,
            y,
            rates=[1e-9],
            held_out=10,
            steps=30,
            batch=10,
            on_step=lambda step: seen.append(step.x[:, :, 0]),
        )
        return [set(rows.tolist()) for rows in torch.cat(seen, 1)]

    assert [len(rows) for rows in trained_rows(Spec((6, 8, 3)))] == [30, 30, 30]
    assert trained_rows(Spec((6, 8, 3))) == trained_rows(PLAIN)
