"""Three meanings of order, told apart by one network."""

import numpy as np

from bnlib import meanings


def test_the_three_meanings_of_order_come_apart_on_one_network():
    found = meanings.three_orders(np.random.default_rng(4))
    assert all(meanings.told_apart(found).values())
    assert abs(sum(found["interaction"])) > 1e-3


def test_the_table_has_a_row_for_every_measurement_and_no_gaps():
    table = meanings.as_table(meanings.three_orders(np.random.default_rng(4)))
    assert table.shape == (8, 3)
    assert (table["3"] == "").sum() == 3
    assert table.notna().all(axis=None)
