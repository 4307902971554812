"""List parameters: read from text, refused by name; here on the lists of one chapter."""

import pytest

from bnlib.experiments import interaction_cells, lists

GOOD = {
    "activations": ["relu", "tanh"],
    "others": ["layer-norm"],
    "depths": [2, 4],
    "line_depths": [2, 8],
    "r_values": [0.1, 1],
    "c_values": [0.3],
}


@pytest.mark.parametrize("written", [list, repr])
def test_a_list_may_come_as_itself_or_as_its_text(written):
    given = {name: written(value) for name, value in GOOD.items()}
    assert lists.read(given, interaction_cells.CHECKS) == GOOD


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("others", [], "a list with entries, got \\[\\]"),
        ("others", "layer-norm", "a list with entries"),
        ("others", ["layernorm"], "did you mean 'layer-norm'"),
        ("others", ["layer-norm", "bn"], "none of none, frozen, bn, got"),
        ("activations", ["tanh"], "relu among them"),
        ("depths", [2, 3], "one of at least 4, which decides"),
        ("line_depths", [4], "at least 2 different numbers"),
        ("line_depths", [4, 4], "at least 2 different numbers"),
        ("line_depths", [4, 1], "whole numbers from 2 on"),
        ("r_values", [0.5, 0.1], "positive numbers, ascending"),
        ("c_values", ["x"], "positive numbers, ascending"),
    ],
)
def test_a_list_that_does_not_fit_is_refused_by_name(name, value, said):
    with pytest.raises(ValueError, match=said) as refused:
        lists.read(GOOD | {name: value}, interaction_cells.CHECKS)
    assert str(refused.value).startswith(f"{name}: ")
