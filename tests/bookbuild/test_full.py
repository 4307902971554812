"""`bnlib reproduce --full`: large tables computed again by the modules that the register names."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from bnlib.__main__ import main
from bookbuild import full

REGISTER = """\
[squares-full]
chapter = "squares"
module = "squares_table"
arguments = ["3"]
"""
# Stops after a row in its first call, as a person would stop it.
PROGRAM = """\
import json, sys
from pathlib import Path
path, rows = Path(sys.argv[1]), int(sys.argv[2])
table = {"versions": {"python": "3.11.0"}, "rows": []}
table = json.loads(path.read_text()) if path.exists() else table
for n in range(len(table["rows"]), rows):
    with open("ran", "a") as file:
        file.write(str(n))
    table["rows"].append({"n": n, "square": n**2})
    path.write_text(json.dumps(table))
    if n == 0 and len(Path("ran").read_text()) == 1:
        sys.exit(3)
"""
STORED = {
    "versions": {"python": "3.11.0"},
    "rows": [{"n": 0, "square": 0}, {"n": 1, "square": 1}, {"n": 2, "square": 4}],
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "full.toml").write_text(REGISTER)
    (tmp_path / "results" / "squares-full.json").write_text(json.dumps(STORED))
    (tmp_path / "squares_table.py").write_text(PROGRAM)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _command(*words):
    return CliRunner().invoke(main, ["reproduce", "--full", *words])


def test_a_table_that_was_stopped_goes_on_and_is_compared_whole(project):
    stopped = _command("squares")
    assert stopped.exit_code == 1
    assert "squares-full: `python -m squares_table` ended with status 3" in stopped.output
    done = _command("squares")
    assert (done.exit_code, done.output.splitlines()[-1]) == (0, "squares-full: as published")
    assert (project / "ran").read_text() == "012", "a finished row is not computed again"


def test_rows_of_another_library_are_not_gone_on_with(tmp_path, monkeypatch):
    package = f"lib{abs(hash(tmp_path)) % 10**9}"
    for name, text in {"__init__": "", "low": "1", "make": f"import {package}.low\n"}.items():
        (tmp_path / package).mkdir(exist_ok=True)
        (tmp_path / package / f"{name}.py").write_text(text)
    with (tmp_path / package / "make.py").open("a") as file:
        file.write("import sys; open(sys.argv[1], 'a').write('1')")
    monkeypatch.syspath_prepend(tmp_path)
    table = full.Table("t", "c", tmp_path / "t.json", (f"{package}.make",))
    first, again = (full.redo(tmp_path, table, package) for _ in range(2))
    (tmp_path / package / "low.py").write_text("2")
    other = full.redo(tmp_path, table, package)
    assert first == again != other
    assert [path.read_text() for path in (first, other)] == ["11", "1"]


def test_a_value_that_moved_is_named_and_an_update_replaces_the_table(project):
    path = project / "results" / "squares-full.json"
    other = {"versions": {"python": "3.10.0"}, "rows": [*STORED["rows"][:2], {"n": 2, "square": 5}]}
    path.write_text(json.dumps(other))
    _command()
    moved = _command("squares-full")
    assert moved.exit_code == 1
    assert "squares-full: 'rows[2] square' moved: 5 -> 4, by 1" in moved.output
    assert "python: 3.10.0 -> 3.11.0" in moved.output
    updated = _command("--update")
    assert updated.exit_code == 0
    assert "wrote results/squares-full.json; its page names the old one" in updated.output
    assert json.loads(path.read_text()) == STORED


@pytest.mark.parametrize(
    ("before", "now", "names"),
    [
        ({"a": [1, 2]}, {"a": [1, 2]}, []),
        ({"versions": 1, "a": 1}, {"versions": 2, "a": 1}, []),
        ({"a": {"versions": 1}}, {"a": {"versions": 2}}, ["'a versions'"]),
        ({"a": [1, 2]}, {"a": [1, 2, 3]}, ["'a'"]),
        ({"a": None, "b": 1}, {"a": 2, "c": 1}, ["'a'", "'b'", "'c'"]),
        ({"a": True}, {"a": 1}, ["'a'"]),
    ],
)
def test_every_other_value_is_a_difference_but_those_of_versions(before, now, names):
    assert [moved.name for moved in full.compare(before, now)] == names


def test_what_is_unknown_or_damaged_is_told(project):
    assert "did you mean 'squares'" in _command("square").output
    assert "expected --stored alone" in _command("--stored").output
    (project / "results" / "squares-full.json").write_text("[")
    assert "squares-full.json: expected a table" in _command().output
    (project / "results" / "full.toml").write_text("[a]\nchapter = 3\n")
    assert "full.toml: expected a register of tables" in _command().output


def test_every_large_table_of_the_book_is_registered_with_a_module_that_exists():
    root = Path(__file__).parents[2]
    chapters = {path.stem for path in (root / "notebooks").glob("*.ipynb")}
    tables = full.tables(root, [])
    here = {p.stem for p in (root / "results").glob("*.json")} - chapters
    named = {table.name for table in tables}
    assert {name for name in here if name.endswith("-full")} <= named
    for table in tables:
        assert full.read(table.path)["versions"], table.name
        assert root.joinpath(*table.command[0].split(".")).with_suffix(".py").is_file(), table.name
