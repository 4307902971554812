"""The table of a sweep and its picture, out of executed notebooks made by hand."""

import csv
import math

import pytest
from nbformat import v4
from pyarrow import parquet

from bnlib import results
from bookbuild import chart, grids, store, table
from bookbuild import notebook as nb
from bookbuild.execute import Report

CELL = """\
n: int = 2
seed: int = 0
name: str = 'a'
sizes: list = [2]
step: float = 0.5
exact: bool = False"""


def _record(key, value, unit="", low=None, high=None):
    payload = {"key": key, "value": value, "unit": unit, "low": low, "high": high}
    return v4.new_output("display_data", {results.RECORD_MIME: payload})


def _verdict(id_, verdict):
    payload = {"id": id_, "verdict": verdict, "evidence": "e"}
    return v4.new_output("display_data", {results.CLAIM_MIME: payload})


@pytest.fixture
def made(tmp_path, write_notebook):
    """A function (words, outputs by parameters) to a plan whose runs are in the store."""

    def make(words, outputs):
        path = write_notebook(tmp_path / "toy.ipynb", ("parameters", CELL), "n")
        plan = grids.plan(path, words, root=tmp_path)
        for run in plan.runs():
            executed = nb.read(path)
            executed.cells[1].outputs = outputs(plan.parameters(run))
            store.put(run.folder, run.slug, run.key, executed, seconds=1.5)
        return plan

    return make


def test_a_row_a_run_and_recorded_value(made, tmp_path):
    plan = made(["n=3,4", "sizes=[2,8]"], lambda p: [
        _record("square", p["n"] ** 2, "m", 8, 20),
        _record("each", [1, 2.5]),
        _record("word", "yes"),
        _record("sure", True),
        _verdict("big", "holds"),
    ])  # fmt: skip
    written = table.write(plan, {}, tmp_path)
    rows = parquet.read_table(written.parquet).to_pylist()
    assert [row["name"] for row in rows[:6]] == ["square", "each", "each", "word", "sure", "big"]
    run = next(plan.runs())
    assert rows[0] == {
        "n": 3, "seed": 0, "name_parameter": "a", "sizes": "[2, 8]", "step": 0.5,
        "exact": False, "key": run.key,
        "status": "done", "duration": 1.5, "kind": "record", "name": "square", "index": None,
        "value": 9.0, "low": 8.0, "high": 20.0, "unit": "m", "text": None,
    }  # fmt: skip
    assert [(row["index"], row["value"]) for row in rows[1:3]] == [(0, 1.0), (1, 2.5)]
    assert (rows[3]["value"], rows[3]["text"], rows[4]["value"]) == (None, "yes", 1.0)
    assert (rows[5]["kind"], rows[5]["text"]) == ("claim", "holds")
    assert (written.rows, dict(written.runs)) == (12, {"done": 2})
    text = table.summary(written)
    assert "square        2           9        12.5          16" in text
    assert "big     holds 2x" in text


def test_the_csv_says_what_the_parquet_says(made, tmp_path):
    plan = made(["n=3"], lambda p: [_record("pi", math.pi), _record("word", 'a "quoted", word')])
    written = table.write(plan, {}, tmp_path)
    with written.csv.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == parquet.read_schema(written.parquet).names
    assert float(rows[0]["value"]) == math.pi
    assert rows[1]["text"] == 'a "quoted", word'


def test_failed_runs_and_empty_runs_have_one_row_each(made, tmp_path):
    plan = made(["n=3,4"], lambda p: [])
    run = list(plan.runs())[1]
    run.path.unlink()
    report = Report(run, ok=False, fresh=True, facts={"cell": 2, "error": "ValueError: no"})
    written = table.write(plan, {run.key: report}, tmp_path)
    done, failed = parquet.read_table(written.parquet).to_pylist()
    assert (done["status"], done["kind"], failed["status"]) == ("done", None, "failed")
    assert (failed["n"], failed["text"]) == (4, "cell 2: ValueError: no")
    assert table.summary(written) == "no values were recorded"


def test_batches_make_one_table_and_only_whole_files_appear(made, tmp_path, monkeypatch):
    plan = made(["n=0:7"], lambda p: [_record("n", p["n"])])
    monkeypatch.setattr(table, "_BATCH", 3)
    out = tmp_path / "out"
    out.mkdir()
    written = table.write(plan, {}, out)
    assert parquet.read_table(written.parquet)["value"].to_pylist() == list(map(float, range(7)))
    last = list(plan.runs())[-1]
    last.path.write_text("{}")
    before = written.parquet.read_bytes()
    with pytest.raises(FileNotFoundError, match="run the same command again"):
        table.write(plan, {}, out)
    assert written.parquet.read_bytes() == before
    assert sorted(path.name for path in out.iterdir()) == ["table.csv", "table.parquet"]


def test_a_long_summary_is_cut(made, tmp_path):
    plan = made(["n=3"], lambda p: [_record(f"k{i}", i) for i in range(9)])
    text = table.summary(table.write(plan, {}, tmp_path), most=4)
    assert text.splitlines()[-1] == "... and 5 names more"


def test_a_single_run_is_drawn_with_the_interval_that_it_recorded():
    point = chart.Point(2, 5.0, 4.0, 7.0)
    assert chart.point(2, [point]) == point


def test_repeated_runs_are_drawn_as_mean_with_t_interval():
    found = [chart.Point(2, y, None, None) for y in (1.0, 2.0, 3.0)]
    x, y, low, high = chart.point(2, found)
    # t of 2 degrees of freedom at 0.975 is 4.302653; the standard error of 1, 2, 3 is 1/sqrt(3).
    half = 4.302653 / 3**0.5
    assert (x, y) == (2, 2.0)
    assert (low, high) == pytest.approx((2 - half, 2 + half), rel=1e-6)


def test_lines_are_the_other_swept_parameters_and_points_their_seeds(made, tmp_path):
    plan = made(
        ["n=3,4", "seed=0:2", "name=a,b"], lambda p: [_record("y", p["n"] + p["seed"], "", 1, 9)]
    )
    written = table.write(plan, {}, tmp_path)
    lines = chart.series(plan, written.parquet, "n", "y")
    assert list(lines) == ["name_parameter a", "name_parameter b"]
    line = lines["name_parameter a"]
    assert {x: [point.y for point in found] for x, found in line.items()} == {3: [3, 4], 4: [4, 5]}
    drawn = chart.draw(plan, written.parquet, "n", "y")
    assert drawn.name == "y-over-n.svg"
    first = drawn.read_bytes()
    assert chart.draw(plan, written.parquet, "n", "y").read_bytes() == first
    assert b"y over n (mean, 95 % t interval over runs)" in first


@pytest.mark.parametrize(("unit", "label"), [("points", b"square [points]"), ("", b"square")])
def test_the_axis_of_a_drawing_has_the_unit_of_what_was_recorded(made, tmp_path, unit, label):
    plan = made(["n=3,4"], lambda p: [_record("square", p["n"] ** 2, unit), _record("y", 1, "m")])
    written = table.write(plan, {}, tmp_path)
    drawn = chart.draw(plan, written.parquet, "n", "square").read_bytes()
    # Matplotlib writes every text into a comment above its outlines.
    assert b"<!-- " + label + b" -->" in drawn


def test_what_cannot_be_drawn_is_refused(made, tmp_path):
    plan = made(["n=0:9", "seed=0:2"], lambda p: [_record("square", 1), _record("w", "x")])
    written = table.write(plan, {}, tmp_path)
    with pytest.raises(ValueError, match="unknown parameter 'sede'; did you mean 'seed'"):
        chart.check(plan, "sede", "square")
    with pytest.raises(ValueError, match="unknown recorded number 'squar'; did you mean 'square'"):
        chart.draw(plan, written.parquet, "n", "squar")
    with pytest.raises(ValueError, match=r"at most 8 lines, got 9: \['n'\] vary"):
        chart.draw(plan, written.parquet, "seed", "square")
