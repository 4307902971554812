"""The bench of digits on which steps are compared: where they start and where they point."""

import numpy as np
import pytest
import torch

from bnlib import data, interactions


def test_descent_lowers_the_loss_and_leaves_the_initial_parameters_alone():
    at = interactions.problem("frozen", 4, range(3))
    before = {name: value.clone() for name, value in at.arm.params.items()}
    after = at.loss(interactions.descend(at))
    assert (after < 0.6 * at.loss(at.arm.params)).all()
    assert all(torch.equal(before[name], at.arm.params[name]) for name in before)


def test_inputs_are_standardized_once_for_all_seeds_and_quiet_pixels_stay_quiet():
    x = np.array([[0.0, 0.5, 0.001], [0.5, 0.5, 0.0], [1.0, 0.5, 0.0]])
    z = data.standardized(x)
    np.testing.assert_allclose(z.mean(0), 0, atol=1e-15)
    np.testing.assert_allclose(z.std(0)[0], 1)
    assert z.std(0)[1] == 0
    assert z.std(0)[2] < 0.1
    alone, both = (interactions.problem("none", 2, seeds) for seeds in ([5], [3, 5]))
    assert torch.equal(alone.x[0], both.x[1])
    assert float(alone.x.abs().max()) <= data.LIMIT


@pytest.mark.parametrize("rule", interactions.DIRECTIONS)
def test_every_direction_descends(rule):
    at = interactions.problem("bn", 3, range(2))
    target = interactions.aim(at, rule=rule)
    assert (target.slope < 0).all()
    step = interactions.match_loss(target.loss, target.slope, 1e-3)
    np.testing.assert_allclose(interactions.one_step(at, target, step)["act"], 1, atol=0.05)


def test_directions_batches_and_depths_that_make_no_sense_are_refused():
    at = interactions.problem("bn", 2, [0])
    with pytest.raises(ValueError, match="direction: expected one of"):
        interactions.aim(at, rule="newton")
    with pytest.raises(ValueError, match="depth: expected at least 1 weight matrix, got 0"):
        interactions.problem("bn", 0, [0])
    with pytest.raises(ValueError, match="batch: expected 2 to 1797 rows, got 1"):
        interactions.problem("bn", 2, [0], batch=1)
