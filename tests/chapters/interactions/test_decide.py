"""The rules of the interactions chapter, on both sides of their edges."""

import pandas as pd
import pytest

from bnlib.chapters.interactions import decide


def signs(*rows):
    index = pd.MultiIndex.from_tuples([row[:2] for row in rows], names=["activation", "L"])
    return pd.DataFrame({"sign": [row[2] for row in rows]}, index=index)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([("relu", 4, -1), ("relu", 8, -1), ("tanh", 4, -1)], "holds"),
        ([("relu", 4, -1), ("relu", 8, -1), ("tanh", 4, 0)], "partly"),
        ([("relu", 4, -1), ("relu", 8, 0), ("tanh", 4, -1)], "partly"),
        ([("relu", 4, -1), ("relu", 8, -1), ("relu", 2, 0), ("tanh", 4, -1)], "holds"),
        ([("relu", 4, -1), ("relu", 8, 0), ("tanh", 4, 1)], "fails"),
        ([("relu", 4, 0), ("relu", 8, 0), ("tanh", 4, 0)], "fails"),
    ],
)
def test_bn_reduces_it_in_every_relu_cell_and_in_another_from_four_layers_on(rows, expected):
    assert decide.reduced(signs(*rows)) == expected
    claim = decide.output_interaction_reduced(signs(*rows))
    below, above = (sum(row[2] == side for row in rows) for side in (-1, 1))
    assert f"below 0 in {below} of {len(rows)} cells and above 0 in {above}." in claim.evidence


def test_without_relu_cells_there_is_no_verdict():
    with pytest.raises(ValueError, match="expected ReLU cells"):
        decide.reduced(signs(("tanh", 8, -1)))


@pytest.mark.parametrize(
    ("sign", "phi", "expected"),
    [(-1, 0.49, "holds"), (-1, 0.5, "partly"), (0, 0.49, "fails"), (1, 0.49, "fails")],
)
def test_a_cell_needs_less_than_half_from_frozen_statistics(sign, phi, expected):
    rows = signs(("relu", 4, sign)).assign(phi=phi)
    assert decide.by_reacting(rows) == [expected]


@pytest.mark.parametrize(
    ("cell", "expected"), [([-1, -1], "holds"), ([-1, 0], "partly"), ([0, 1], "fails")]
)
def test_a_cell_is_special_where_bn_is_below_every_other_arm(cell, expected):
    assert decide.by_bn_alone(pd.DataFrame([cell], columns=["a", "b"])) == [expected]


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        (["holds", "holds"], "holds"),
        (["holds", "fails"], "fails"),
        (["holds", "partly", "fails"], "partly"),
    ],
)
def test_cells_add_up_and_half_of_them_failing_is_enough(verdicts, expected):
    rows = signs(*[("relu", 4 + i, -i) for i in range(len(verdicts))], ("tanh", 4, -1))
    rows = rows.assign(verdict=[*verdicts, "fails"])
    claim = decide.special_to_bn(rows.rename(columns={"sign": "layer-norm"}), ["layer-norm"])
    assert claim.verdict == expected
    assert f"{verdicts.count('fails')} fail. BN interacts less" in claim.evidence
    assert claim.evidence.endswith(f"layer-norm in {len(verdicts) - 1}.")
    react = decide.statistics_must_react(rows, pd.Series([0.25, 0.75]))
    assert react.verdict == expected
    assert react.evidence.endswith("give 25% to 75% of the reduction.")


@pytest.mark.parametrize(
    ("slopes", "expected"),
    [([1, 1], "holds"), ([1, 0], "partly"), ([1, -1], "fails"), ([0, 0], "fails")],
)
def test_the_advantage_grows_where_no_slope_is_below_zero(slopes, expected):
    assert decide.grows_with_depth(pd.DataFrame({"sign": slopes})).verdict == expected


@pytest.mark.parametrize(
    ("shares", "expected"),
    [((0.5, 0.5), "holds"), ((0.5, 0.49), "partly"), ((0.11, 0.0), "partly"), ((0.1, 0), "fails")],
)
def test_high_orders_matter_from_a_half_everywhere_or_above_a_tenth_somewhere(shares, expected):
    claim = decide.high_orders_matter(pd.Series(shares, index=["relu", "tanh"]))
    assert claim.verdict == expected
