"""What a small survey finds, and how its tables and slopes are made of it."""

import pandas as pd
import pytest

from bnlib.chapters import interactions as chapter
from bnlib.chapters.interactions import measure


def test_the_share_of_frozen_statistics_is_a_ratio_of_medians_of_the_same_seeds():
    cell = {"activation": "relu", "L": 8, "state": "start", "matched": "loss", "size": 0.5}
    arms = {"none": 0.0, "frozen": -0.3, "bn": -0.4}
    frame = pd.DataFrame(
        {**cell, "seed": seed, "arm": arm, "int": seed + value * (1 + seed % 2)}
        for seed in range(6)
        for arm, value in arms.items()
    )
    row = measure.frozen_share(frame).iloc[0]
    # Frozen gives three quarters of the gain in every seed, however large that is.
    assert (row["phi low"], row.phi, row["phi high"]) == pytest.approx((0.75, 0.75, 0.75))


def test_the_slope_is_the_median_over_pairs_of_depths_and_then_over_seeds():
    gains = {2: [0.0, 0.0, 0.0], 4: [2.0, 4.0, 6.0], 8: [100.0, 4.0, 6.0]}
    frame = pd.DataFrame(
        {"state": "start", "size": 0.5, "L": depth, "seed": seed, "arm": arm, "int": value * sign}
        for depth, values in gains.items()
        for seed, value in enumerate(values)
        for arm, sign in {"none": 1.0, "bn": 0.0}.items()
    )
    # slopes 1, 24.5, 16.7 -> 16.7;  2, 0, 0.67 -> 0.67;  3, 0, 1 -> 1
    assert measure.slope_in_depth(frame).estimate["start", 0.5] == pytest.approx(1.0)


def test_other_reasons_leave_out_the_plain_net_where_its_signal_is_gone(monkeypatch):
    changes = {"as above": {}, "small": {"factor": 0.1, "batch": 16}}
    monkeypatch.setattr(measure, "CHANGES", changes)
    rows = measure.other_reasons(chapter.Settings(seeds=4, steps=1))
    pairs = [("BN - none", "as above"), ("BN - frozen", "as above"), ("BN - frozen", "small")]
    expected = {(s, *pair) for s in ("ReLU, start", "tanh, trained") for pair in pairs}
    assert set(rows.index) == expected
