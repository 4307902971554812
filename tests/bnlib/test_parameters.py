"""Parameters declared as settings: what is refused, by which sentence, and under papermill."""

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from bnlib import parameters
from bnlib.parameters import ascending, different, grid, names, pairs, parameter

ARMS = ("none", "frozen", "bn", "layer-norm")


@dataclass(frozen=True)
class Settings(parameters.Settings):
    seeds: int = parameter(5, 2, 100)
    step: float = parameter(0.1, 1e-6, 10.0)
    mode: str = parameter("pre", choices=("pre", "post"))
    arms: list = parameter(["none", "bn"], rule=names(ARMS, among=("bn",), without=("frozen",)))
    depths: list = parameter([2, 4], 2, 60, rule=different(2, some=4))
    rates: list = parameter([0.1, 1], 0.0, 10.0, rule=ascending)
    sizes: list = parameter([[64, 64]], 2, 512, rule=pairs("[width, batch]"))


def test_a_declaration_gives_name_type_default_and_what_is_allowed():
    declared = Settings.declared()
    assert list(declared) == ["seeds", "step", "mode", "arms", "depths", "rates", "sizes"]
    assert declared["seeds"][:3] == ("seeds", "int", 5)
    assert (declared["seeds"].low, declared["seeds"].high) == (2, 100)
    assert declared["mode"].choices == ("pre", "post")
    assert declared["arms"].default == ["none", "bn"]


def test_defaults_are_allowed_and_lists_are_not_shared():
    assert Settings() == Settings(5, 0.1, "pre", ["none", "bn"], [2, 4], [0.1, 1], [[64, 64]])
    assert Settings().arms is not Settings().arms


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("seeds", 1, "parameter 'seeds': expected one in [2, 100], got 1"),
        ("seeds", True, "parameter 'seeds': expected int [2, 100], got True (bool)"),
        ("step", "x", "parameter 'step': expected float [1e-06, 10], got 'x' (str)"),
        ("mode", "mid", "parameter 'mode': expected one in {pre|post}, got 'mid'"),
        ("arms", [], "parameter 'arms': expected a list with entries, got []"),
        ("arms", ["bn", "layernorm"], "did you mean 'layer-norm'?"),
        ("arms", ["none"], "parameter 'arms': expected bn among them, got ['none']"),
        ("arms", ["bn", "frozen"], "parameter 'arms': expected none of frozen"),
        ("arms", ["bn", "bn"], "parameter 'arms': expected each name once"),
        ("depths", [2, 3], "parameter 'depths': expected one of at least 4, which decides"),
        ("depths", [4, 4], "parameter 'depths': expected at least 2 different numbers"),
        (
            "depths",
            [4, 2.5],
            "list of int, such as [2, 4], each one in [2, 60], got 2.5 (float)",
        ),
        ("depths", [4, [8]], "such as [2, 4], each one in [2, 60], got [8] (list)"),
        ("depths", [4, True], "got True (bool)"),
        ("depths", 4, "such as [2, 4], each one in [2, 60], got 4 (int)"),
        ("depths", [4, 61], "parameter 'depths': expected one in [2, 60], got 61"),
        ("rates", [1, 0.1], "parameter 'rates': expected numbers in ascending order, each once"),
        ("rates", [0.1, float("nan")], "parameter 'rates': expected one in [0, 10], got nan"),
        ("rates", ["0.1"], "expected list of float, such as [0.1, 1]"),
        ("sizes", [[64]], "parameter 'sizes': expected pairs [width, batch] of whole numbers"),
        ("sizes", [[64, 1]], "parameter 'sizes': expected one in [2, 512], got [64, 1]"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_by_name(name, value, sentence):
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - the sentence is compared below
        Settings(**{name: value})
    assert sentence in str(refused.value)


@pytest.mark.parametrize(
    ("rule", "values", "sentence"),
    [
        (grid(3), [1, 2], "at least 3 numbers"),
        (grid(), [2, 1], "numbers in ascending order"),
        (grid(first=2), [3, 4], "2 as the first number"),
        (grid(first=0), [1, 2], "0 as the first number"),
        (grid(among=64), [2, 4], "64 among them"),
    ],
)
def test_a_grid_is_refused_for_one_reason_at_a_time(rule, values, sentence):
    with pytest.raises(ValueError, match=f"parameter 'sizes': expected {sentence}"):
        rule("sizes", values)
    rule("sizes", [0, 2, 64] if sentence.startswith("0") else [2, 4, 64])


def test_a_running_notebook_gives_its_values_and_a_list_may_come_as_text():
    namespace = {"seeds": 3, "arms": "['bn', 'none']", "depths": "[2, 4]", "unrelated": 7}
    given = Settings.read(namespace)
    assert (given.seeds, given.arms, given.depths) == (3, ["bn", "none"], [2, 4])
    with pytest.raises(ValueError, match="'arms': expected list of str, such as"):
        Settings.read({"arms": "bn, none"})


def test_a_name_that_papermill_injected_and_nobody_declared_is_refused():
    cells = ["", "seeds: int = 5", "# Parameters\nsedes = 9\n"]
    with pytest.raises(ValueError, match=r"unknown parameter 'sedes'; did you mean 'seeds'\?"):
        Settings.read({"seeds": 5, "sedes": 9, "In": cells})
    assert Settings.read({"seeds": 7, "In": ["", "# Parameters\nseeds = 7\n", "x = 1"]}).seeds == 7


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (("seeds", "1"), r"parameter 'seeds': expected one in \[2, 100\], got 1"),
        (("sedes", "9"), r"unknown parameter 'sedes'; did you mean 'seeds'\?"),
    ],
)
def test_plain_papermill_and_our_command_refuse_with_the_same_sentence(given, sentence, tmp_path):
    root = Path(__file__).parents[2]
    programs = Path(sys.executable).parent
    calls = {
        "papermill": (root / "notebooks/forward.ipynb", "out.ipynb", "-p", *given),
        "bnlib": ("execute", "forward", "-p", *given),
    }
    for program, words in calls.items():
        where = root if program == "bnlib" else tmp_path
        command = [programs / program, *words]
        done = subprocess.run(command, cwd=where, capture_output=True, text=True)
        assert done.returncode != 0
        assert re.search(sentence, done.stderr + done.stdout), program
