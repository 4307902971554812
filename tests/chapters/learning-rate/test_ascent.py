"""Where a descent direction stops descending."""

import numpy as np
import pytest
import torch

from bnlib.chapters.learning_rate.measure import first_ascent


def quadratic(seeds=3, d=4, seed=0):
    """L = p.Hp/2 + 5 for each network, H positive definite; copy k of network s in row k S + s."""
    rng = np.random.default_rng(seed)
    root = torch.from_numpy(rng.normal(size=(seeds, d, d)))
    h = root @ root.mT + torch.eye(d, dtype=torch.float64)
    p = torch.from_numpy(rng.normal(size=(seeds, d)))

    def loss(params):
        v = params["W1"]
        return 5 + (v * (h.repeat(len(v) // seeds, 1, 1) @ v[..., None])[..., 0]).sum(1) / 2

    return loss, {"W1": p}, (h @ p[..., None])[..., 0], h


def test_for_a_quadratic_it_is_two_over_the_curvature_along_the_gradient():
    loss, params, g, h = quadratic()
    steps = torch.logspace(-4, 2, 40, dtype=torch.float64)[:, None].expand(-1, 3)
    found = first_ascent(loss, params, {"W1": -g}, steps)
    bend = (g[:, None] @ h @ g[..., None])[:, 0, 0]
    torch.testing.assert_close(found, 2 * g.square().sum(1) / bend, rtol=1e-7, atol=0)
    top = torch.linalg.eigvalsh(h)[:, -1]
    assert bool((found > 2 / top).all())


def test_a_rise_before_the_first_step_is_found_and_one_after_the_last_is_infinite():
    loss, params, g, _ = quadratic()
    late = torch.tensor([[50.0], [100.0]], dtype=torch.float64).expand(2, 3)
    assert bool((first_ascent(loss, params, {"W1": -g}, late) < 50).all())
    early = torch.tensor([[1e-6], [1e-5]], dtype=torch.float64).expand(2, 3)
    assert bool(torch.isinf(first_ascent(loss, params, {"W1": -g}, early)).all())


def test_a_loss_that_is_not_a_number_counts_as_risen():
    def loss(params):
        v = params["W1"][:, 0]
        return torch.where(v > -3, v, torch.full_like(v, float("nan")))

    start, down = torch.zeros(1, 1, dtype=torch.float64), -torch.ones(1, 1, dtype=torch.float64)
    steps = torch.tensor([[1.0], [2.0], [4.0]], dtype=torch.float64)
    found = first_ascent(loss, {"W1": start}, {"W1": down}, steps)
    torch.testing.assert_close(found, torch.full_like(found, 3.0), rtol=1e-8, atol=0)


@pytest.mark.parametrize("steps", [[[1.0], [0.5]], [[0.0], [1.0]], [[-1.0], [1.0]]])
def test_steps_that_do_not_ascend_from_zero_are_refused(steps):
    loss, params, g, _ = quadratic(seeds=1)
    with pytest.raises(ValueError, match="positive and ascending"):
        first_ascent(loss, params, {"W1": -g}, torch.tensor(steps, dtype=torch.float64))
