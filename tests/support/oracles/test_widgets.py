"""The numbers behind the widgets: special cases of what the chapters prove."""

from pathlib import Path

import numpy as np
import pytest
from oracles import widgets
from scipy.stats import chi2

from bnlib import chains, identity, laws
from bnlib.chapters.chains import measure

ROOT = Path(__file__).parents[3]


def test_the_committed_table_is_the_one_that_the_library_writes():
    script = (ROOT / "book/assets/widgets/sample.js").read_text(encoding="utf-8")
    assert script == widgets.sample_script()


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


@pytest.mark.parametrize("m", [2, 4, 8, 16, 32])
def test_with_the_populations_constants_the_expected_error_is_the_law(m):
    error = widgets.expected_error(m, 2.0, 1.0, mu=1.0, sigma=2.0, eps=0.0)
    assert error == pytest.approx(identity.gaussian_error(m), rel=1e-9)


def test_the_expected_error_with_an_offset_is_the_mean_over_batches():
    var = 2.0**2 * chi2.ppf((np.arange(100_000) + 0.5) / 100_000, 7) / 8
    gamma, eps = np.sqrt(2.0**2 + 1.0), 1.0
    error = widgets.expected_error(8, gamma, 1.0, mu=1.0, sigma=2.0, eps=eps)
    scale = np.mean((gamma / np.sqrt(var + eps) - 1) ** 2 * var) / 2.0**2
    assert error == pytest.approx(scale + 1 / 8, rel=1e-4)


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
