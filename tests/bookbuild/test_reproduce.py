"""`bnlib reproduce`: what counts as moved, what it says, and what an update keeps."""

import json

import pytest
from click.testing import CliRunner

from bnlib.__main__ import main
from bookbuild import reproduce as rp

CODE = """\
import os
from bnlib.results import claim, record
record("count", 3)
old = 1e-6 if "MKL_CBWR" in os.environ else 0
record("ratio", 0.1 + step + old, low=0.05, high=0.25, unit="s")
record("name", "relu")
record("curve", [1.0, 2.0])
claim("large", "holds" if step < 1 else "fails", "Large.")"""


def _measured(**records):
    return {"records": records, "claims": {"large": "holds"}}


def _moved(before, now):
    return [str(moved) for moved in rp.compare(_measured(**before), _measured(**now))]


def test_equal_values_have_not_moved():
    record = {"x": {"value": 1.5, "low": 1.0, "high": 2.0, "unit": "s"}}
    assert _moved(record, record) == []


@pytest.mark.parametrize(
    ("before", "now", "says"),
    [
        ({"value": 3}, {"value": 4}, "'x' moved: 3 -> 4, by 1 where 0 is allowed"),
        ({"value": 1.0, "tolerance": 0.1}, {"value": 1.2}, "1.0 -> 1.2, by 0.2 where 0.1 is"),
        ({"value": 1, "low": 0.5}, {"value": 1, "low": 0.6}, "low of 'x' moved: 0.5 -> 0.6"),
        ({"value": 1, "high": 2.0}, {"value": 1}, "high of 'x' moved: 2.0 -> None"),
        ({"value": 1, "unit": "s"}, {"value": 1, "unit": "ms"}, "unit of 'x' moved: 's' -> 'ms'"),
        ({"value": "a"}, {"value": "b"}, "'x' moved: 'a' -> 'b'"),
        ({"value": True}, {"value": 1}, "'x' moved: True -> 1"),
        ({"value": True, "tolerance": 5}, {"value": False}, "'x' moved: True -> False"),
        ({"value": [1.0, 2.0]}, {"value": [1.0, 2.5]}, "by 0.5 where"),
        ({"value": [1.0, 2.0], "tolerance": 9}, {"value": [1.0]}, "[1.0, 2.0] -> [1.0]"),
    ],
)
def test_a_difference_is_named_with_its_size(before, now, says):
    (text,) = _moved({"x": before}, {"x": now})
    assert says in text


def test_a_difference_within_the_tolerance_is_none():
    before = {"value": 1.0, "low": 0.9, "high": 1.1, "tolerance": 0.01}
    assert _moved({"x": before}, {"x": {"value": 1.005, "low": 0.9, "high": 1.109}}) == []


def test_a_text_that_spells_an_interval_follows_its_numbers_and_no_other_text_does():
    ends = {"value": 0.5, "low": 0.1, "high": 0.9, "tolerance": 0.2}
    before = {"a": ends, "a-interval": {"value": "0.1 to 0.9"}, "b-interval": {"value": "x"}}
    now = {
        "a": ends | {"low": 0.2},
        "a-interval": {"value": "0.2 to 0.9"},
        "b-interval": {"value": "y"},
    }
    moved = rp.compare({"records": before, "claims": {}}, {"records": now, "claims": {}})
    assert [m.name for m in moved] == ["'b-interval'"]
    now["a"] = ends | {"low": 0.4}
    moved = rp.compare({"records": before, "claims": {}}, {"records": now, "claims": {}})
    assert [m.name for m in moved] == ["low of 'a'", "'b-interval'"]


def test_values_and_claims_that_come_or_go_have_moved_and_the_first_is_first():
    baseline = {"records": {"a": {"value": 1}, "b": {"value": 1}}, "claims": {"c": "holds"}}
    measured = {"records": {"b": {"value": 2}, "d": {"value": 1}}, "claims": {"c": "fails"}}
    assert [moved.name for moved in rp.compare(baseline, measured)] == [
        "value 'a'", "'b'", "value 'd'", "verdict on 'c'",
    ]  # fmt: skip


def test_a_tolerance_is_ten_times_the_distance_of_two_processors_and_never_below_rounding():
    one = _measured(
        x={"value": 2.0, "low": 1.0, "high": 3.0}, y={"value": 500.0}, n={"value": 7},
        m={"value": 7}, t={"value": "a"}, tiny={"value": 3e-16},
    )  # fmt: skip
    two = _measured(
        x={"value": 2.0, "low": 1.0, "high": 3.25}, y={"value": 500.0}, n={"value": 7},
        m={"value": 8}, t={"value": "a"}, tiny={"value": 3e-16},
    )  # fmt: skip
    made = rp.baseline({**one, "parameters": {}, "key": "k"}, two, None)
    tolerances = {key: record["tolerance"] for key, record in made["records"].items()}
    assert tolerances == {"x": 2.5, "y": 5e-7, "n": 0.0, "m": 10.0, "t": 0.0, "tiny": 1e-13}
    assert rp.compare(made, two) == []
    two["records"]["t"] = {"value": "b"}
    two["claims"] = {"large": "partly"}
    assert [m.name for m in rp.compare(made, two)] == ["'t'", "verdict on 'large'"]


def test_versions_that_differ_come_first_and_both_sides_are_named():
    before = {"Python": "3.11.7", "numpy": "2.4.6", "torch": "2.13.0", "processor": "A"}
    lines = rp.versions_apart(before, {**before, "numpy": "2.5.0", "processor": "B"})
    assert lines[:2] == ["numpy: 2.4.6 -> 2.5.0", "processor: A -> B"]
    assert "Python: 3.11.7 on both sides" in lines
    assert {"Python", "numpy", "torch", "scipy", "processor"} <= rp.versions().keys()


@pytest.fixture
def book(tmp_path, monkeypatch, write_notebook):
    parameters = ("parameters", "step: float = 0.0  # moves a value [0, 9]")
    write_notebook(tmp_path / "notebooks" / "one.ipynb", parameters, CODE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _command(*words):
    return CliRunner().invoke(main, ["reproduce", *words])


def test_an_update_makes_a_baseline_a_second_look_agrees_and_a_moved_value_is_named(
    book, write_notebook
):
    refused = _command("one")
    assert refused.exit_code == 1
    assert "`bnlib reproduce one --update` makes one" in refused.output
    made = _command("--update")
    assert (made.exit_code, made.output.splitlines()[-1]) == (0, "one: wrote results/one.json")
    path = book / "results" / "one.json"
    baseline = json.loads(path.read_text())
    assert baseline["records"]["count"] == {"value": 3, "tolerance": 0.0}
    ratio = dict(baseline["records"]["ratio"])
    assert ratio == {"value": 0.1, "low": 0.05, "high": 0.25, "unit": "s", "tolerance": 1e-5}
    assert baseline["claims"] == {"large": "holds"}
    assert not (book / "_build").exists(), "expected a store that is gone afterwards"

    same = _command()
    assert (same.exit_code, same.stdout) == (
        0,
        "one: 4 values, 1 verdicts as published\n",
    )

    baseline["records"]["ratio"] |= {"value": 0.3, "tolerance": 0.1, "why": "by hand"}
    baseline["records"]["count"]["value"] = 4
    baseline["versions"]["numpy"] = "1.0"
    path.write_text(json.dumps(baseline))
    moved = _command("one")
    assert moved.exit_code == 1
    assert "one: 'count' moved: 4 -> 3, by 1 where 0 is allowed\n  and 1 more" in moved.output
    assert "numpy: 1.0 -> 2" in moved.output

    again = _command("one", "--update")
    assert "one: 'ratio' moved: 0.3 -> 0.1, by 0.2 where 0.1 is allowed" in again.output
    kept = json.loads(path.read_text())["records"]["ratio"]
    assert kept == {**ratio, "tolerance": 0.1, "why": "by hand"}


def test_a_failing_notebook_sets_the_status_and_writes_nothing(book, write_notebook):
    write_notebook(book / "notebooks" / "bad.ipynb", "1 / 0")
    result = _command("bad", "--update")
    assert result.exit_code == 1
    assert "ZeroDivisionError" in result.output
    assert not (book / "results").exists()


NAN = float("nan")


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ({"value": 1.0, "tolerance": 9.0}, {"value": NAN}),
        ({"value": NAN, "tolerance": 9.0}, {"value": 1.0}),
        ({"value": NAN}, {"value": NAN}),
        ({"value": 1.0, "tolerance": NAN}, {"value": 2.0}),
        ({"value": [1.0, 2.0], "tolerance": 9.0}, {"value": [1.0, NAN]}),
        ({"value": 1.0, "low": 0.0, "tolerance": 9.0}, {"value": 1.0, "low": NAN}),
    ],
)
def test_nan_passes_no_comparison(before, now):
    assert _moved({"x": before}, {"x": now})


@pytest.mark.parametrize(
    "text",
    [
        '{"records": ',
        "[]",
        '{"records": [], "claims": {}}',
        '{"records": {"x": 3}, "claims": {}}',
        '{"records": {"x": {"value": 1, "tolerance": "1"}}, "claims": {}}',
        '{"records": {"x": {"value": 1, "tolerance": -1}}, "claims": {}}',
        '{"records": {"x": {"value": 1, "tolerance": NaN}}, "claims": {}}',
        '{"records": {"x": {"value": 1, "tolerance": 1e999}}, "claims": {}}',
        '{"records": {"x": {"value": NaN}}, "claims": {}}',
        '{"records": {"x": {"value": 1}}, "claims": {"large": ["holds"]}, "parameters": 3}',
        '{"records": {"x": {}}, "claims": 3}',
    ],
)
def test_a_baseline_that_is_none_is_named_before_anything_runs(book, text):
    (book / "results").mkdir()
    (book / "results" / "one.json").write_text(text)
    result = _command("one")
    assert result.exit_code == 1
    assert "results/one.json: expected a baseline, got " in result.output


def test_nan_is_not_written_into_a_baseline(tmp_path):
    made = {"parameters": {}, "key": "k", "versions": {}, "records": {}, "claims": {"a": NAN}}
    with pytest.raises(ValueError, match="not JSON compliant"):
        rp.write(tmp_path, "one", made)
    assert list(tmp_path.iterdir()) == []
