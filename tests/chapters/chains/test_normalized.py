"""Normalization before the last factor: the leak, the invariances, the law."""

import numpy as np
import pytest

from bnlib.chapters.chains import measure
from bnlib.orders import subset_masks


def chain(seed=0, depth=5):
    rng = np.random.default_rng(seed)
    w, x = 1 + 0.3 * rng.normal(size=depth), 0.5 + rng.normal(size=64)
    return w, x, 2 * x + rng.normal(size=64)


@pytest.mark.parametrize("eps", [None, 0.3, 1e-5, 0.0])
def test_pulls_are_derivatives_of_the_loss_along_relative_moves(eps):
    w, x, y = chain()
    pull, h = measure.scalar_pull(w, x, y, eps=eps), 1e-5
    for i in range(len(w)):
        moves = np.where(np.arange(len(w)) == i, h * w, 0)
        up = measure.subset_losses(w, moves, x, y, eps=eps)[-1]
        down = measure.subset_losses(w, -moves, x, y, eps=eps)[-1]
        expected = pull.top if i == len(w) - 1 else pull.lower
        # rounding 2^-53 / h, truncation h^2 times a derivative of order ten
        assert (up - down) / (2 * h) == pytest.approx(expected, abs=1e-8)


def test_lower_terms_ignore_the_top_factor_alone():
    masks = subset_masks(3)
    assert measure.lower_terms(5.0 + 3.0 * masks[:, 2]) == 0
    assert measure.lower_terms(5.0 + 3.0 * masks[:, 2] * masks[:, 0]) == 3


def test_own_moves_have_the_matched_predicted_decrease():
    w, x, y = chain()
    pull = measure.scalar_pull(w, x, y, eps=0.1)
    moves = measure.gradient_moves(w, pull, 0.5)
    slope = np.array([*[pull.lower] * 4, pull.top]) / w
    assert (slope * moves).sum() == pytest.approx(-0.5 * pull.loss)


def test_vector_gradients_agree_with_central_differences():
    rng = np.random.default_rng(2)
    x, y, top = rng.normal(size=(32, 4)), rng.normal(size=32), rng.normal(size=3)
    weights = [rng.normal(size=(4, 4)), rng.normal(size=(4, 3))]
    _, grads, _ = measure.vector_gradients(x, weights, top, y)
    for i, g in enumerate(grads):
        v, h = rng.normal(size=g.shape), 1e-5

        def loss(s, i=i, v=v):
            moved = [w + s * v if j == i else w for j, w in enumerate(weights)]
            out = measure.vector_gradients(x, moved, top, y)[0] @ top
            return 0.5 * ((out - y) ** 2).mean()

        assert (loss(h) - loss(-h)) / (2 * h) == pytest.approx((g * v).sum(), rel=1e-6, abs=1e-8)


def test_the_law_of_frozen_layers_is_that_of_one_unit_in_two_dimensions():
    # Beta(1/2, 1/2) has quantiles sin^2(pi p / 2)
    mean, low, high = measure.beta_law(np.array([1.0]), 2)
    assert (mean[0], 1 - high[0], 1 - low[0]) == pytest.approx(
        (0.5, np.sin(np.pi * 0.0125) ** 2, np.sin(np.pi * 0.4875) ** 2)
    )
