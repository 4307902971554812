"""The numbers behind the widgets: special cases of what the chapters prove."""

import numpy as np
import pytest
from oracles import widgets

from bnlib import chains, identity, laws
from bnlib.chapters.chains import measure


@pytest.mark.parametrize("depth", [1, 2, 7, 12])
def test_a_plain_chain_has_the_orders_and_the_matched_step_of_the_chapter(depth):
    w = widgets.chain_weights(depth, 1.2, 0.4)
    found = widgets.chain_numbers(w, normalized=False, promise=0.5)
    step = measure.matched_step(w, 0.25)  # target 0: r is half of the promise
    orders = chains.chain_orders(w, measure.gradients(w), 1.0, step=step) / w.prod()
    assert found["step"] == pytest.approx(step)
    assert found["orders"] == pytest.approx(orders, rel=1e-9)
    assert found["above"] <= found["bound"] * (1 + 1e-9)


def test_a_normalized_chain_has_one_order_where_nothing_leaks():
    found = widgets.chain_numbers(widgets.chain_weights(8, 1.2, 0.2), normalized=True, promise=0.5)
    assert found["first"] == pytest.approx(0.25, rel=1e-6)
    assert found["above"] < 1e-6 * found["first"]


@pytest.mark.parametrize("m", [2, 8, 1024])
def test_the_expected_error_of_any_constants_is_the_mean_over_batches(m):
    gamma, beta, batches = 1.3, 0.8, 4000
    found = widgets.identity_numbers(m, 0, gamma, beta, stored=False, batches=batches)
    spread = found["errors"].std() / np.sqrt(batches)
    assert found["law"] == pytest.approx(found["mean-error"], abs=4 * spread)
    at_population = widgets.identity_numbers(m, 0, 1.0, 1.0, stored=False, batches=1)["law"]
    assert at_population == pytest.approx(identity.gaussian_error(m), rel=1e-9)


@pytest.mark.parametrize("curve", widgets.BEND_CURVES)
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_without_beta_no_width_gets_below_the_floor_of_the_chapter(curve, activation):
    y = widgets.BEND_CURVES[curve]
    floor = laws.kink_floor(widgets.BEND_X, y, activation) / y.var()
    for width in (2, 64):
        found = widgets.bend_numbers(curve, width, reach=0.0, gamma="one", activation=activation)
        assert found["left"] == pytest.approx(floor, rel=1e-6)
        assert found["kinks"] == pytest.approx(np.full(width, widgets.BEND_X.mean()))


def test_gamma_adds_nothing_before_a_relu_and_something_before_a_tanh():
    def left(**given):
        return widgets.bend_numbers("wave", 64, reach=0.0, **given)["left"]

    assert left(gamma="varied", activation="relu") == pytest.approx(
        left(gamma="one", activation="relu"), rel=1e-6
    )
    assert left(gamma="varied", activation="tanh") < 0.5 * left(gamma="one", activation="tanh")
