"""The table of a sweep, out of executed notebooks made by hand."""

import csv
import math
import re

import pytest
from nbformat import v4
from pyarrow import parquet
from stored import put

from bnlib import results
from bookbuild import grids, table
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
            put(run.folder, run.slug, run.key, executed, seconds=1.5)
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
    rows = parquet.read_table(tmp_path / "table.parquet").to_pylist()
    assert [row["name"] for row in rows[:6]] == ["square", "each", "each", "word", "sure", "big"]
    run = next(plan.runs())
    assert rows[0] == {
        "n": 3, "seed": 0, "name_parameter": "a", "sizes": "[2, 8]", "step": 0.5,
        "exact": False, "key": run.key,
        "status": "done", "duration": 1.5, "kind": "record", "name": "square", "index": None,
        "value": 9.0, "low": 8.0, "high": 20.0, "unit": "m", "text": None, "evidence": None,
    }  # fmt: skip
    assert [(row["index"], row["value"]) for row in rows[1:3]] == [(0, 1.0), (1, 2.5)]
    assert (rows[3]["value"], rows[3]["text"], rows[4]["value"]) == (None, "yes", 1.0)
    assert [rows[5][name] for name in ("kind", "text", "evidence")] == ["claim", "holds", "e"]
    assert len(written) == 12
    text = table.summary(written)
    assert re.search(r"^square +2 +9.0 +12.5 +16.0$", text, re.M)
    assert re.search(r"^each +4 +1.0 +1.75 +2.5$", text, re.M)
    assert re.search(r"^big +holds +2$", text, re.M)


def test_the_csv_says_what_the_parquet_says(made, tmp_path):
    plan = made(["n=3"], lambda p: [_record("pi", math.pi), _record("word", 'a "quoted", word')])
    table.write(plan, {}, tmp_path)
    with (tmp_path / "table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == parquet.read_schema(tmp_path / "table.parquet").names
    assert float(rows[0]["value"]) == math.pi
    assert rows[1]["text"] == 'a "quoted", word'


def test_failed_runs_and_empty_runs_have_one_row_each(made, tmp_path):
    plan = made(["n=3,4"], lambda p: [])
    run = list(plan.runs())[1]
    run.path.unlink()
    report = Report(run, ok=False, fresh=True, facts={"cell": 2, "error": "ValueError: no"})
    written = table.write(plan, {run.key: report}, tmp_path)
    done, failed = parquet.read_table(tmp_path / "table.parquet").to_pylist()
    assert (done["status"], done["kind"], failed["status"]) == ("done", None, "failed")
    assert (failed["n"], failed["text"]) == (4, "cell 2: ValueError: no")
    assert table.summary(written) == "no values were recorded"


def test_a_table_that_cannot_be_made_leaves_the_old_one(made, tmp_path):
    plan = made(["n=0:7"], lambda p: [_record("n", p["n"])])
    out = tmp_path / "out"
    out.mkdir()
    table.write(plan, {}, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    last = list(plan.runs())[-1]
    last.path.write_text("{}")
    with pytest.raises(FileNotFoundError, match="run the same command again"):
        table.write(plan, {}, out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert sorted(before) == ["table.csv", "table.parquet"]


def test_whole_numbers_beyond_64_bits_keep_every_digit(made, tmp_path):
    plan = made([f"n={2**70},3"], lambda p: [_record("n", p["n"]), _record("m", 10**999)])
    table.write(plan, {}, tmp_path)
    rows = parquet.read_table(tmp_path / "table.parquet").to_pylist()
    assert [(r["n"], r["value"], r["text"]) for r in rows] == [
        (str(2**70), 2.0**70, str(2**70)), (str(2**70), None, str(10**999)),
        ("3", 3.0, None), ("3", None, str(10**999)),
    ]  # fmt: skip
