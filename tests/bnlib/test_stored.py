"""Stored tables: only the one that the page was written about, and unfinished ones go on."""

import json
from hashlib import sha256

import pytest

from bnlib import stored


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "table.json"
    path.write_text('{"rows": [1]}')
    return path


def test_a_table_is_read_by_the_start_of_its_digest(path):
    digest = sha256(path.read_bytes()).hexdigest()
    assert stored.table(path, digest[:8]) == {"rows": [1]}
    assert stored.content(path, digest) == b'{"rows": [1]}'


@pytest.mark.parametrize("digest", ["", "0123456789"])
def test_another_table_is_refused(path, digest):
    with pytest.raises(ValueError, match=r"table\.json: expected the file with SHA-256"):
        stored.table(path, digest)


def test_a_missing_table_is_an_error(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"expected the stored no\.json at /.*, got no file"
    ):
        stored.table(tmp_path / "no.json", "abc")


def test_an_unfinished_table_goes_on_only_under_the_same_head(tmp_path):
    path, head = tmp_path / "t.json", {"parameters": {"seeds": 2}}
    assert stored.started(path, head) == head
    path.write_text(json.dumps({**head, "rows": [1]}))
    assert stored.started(path, head)["rows"] == [1]
    assert stored.started(path, {"parameters": {"seeds": 3}}) == {"parameters": {"seeds": 3}}


def test_versions_name_what_computes():
    assert {"numpy", "torch", "python"} <= set(stored.versions())


def test_numbers_of_a_table_are_short_and_json_has_no_infinity():
    short = stored.short({"x": [1.23456789, float("inf"), True, 3, "a"], "y": {"z": 2.0}})
    assert short == {"x": [1.2346, None, True, 3, "a"], "y": {"z": 2.0}}


def test_a_table_has_a_line_for_each_row(tmp_path):
    path, table = tmp_path / "t.json", {"seeds": 3, "powers": [-1, 2], "rows": [{"a": 1}, {"a": 2}]}
    stored.write(path, table)
    assert json.loads(path.read_text()) == table
    assert path.read_text().splitlines()[1:] == [
        '"seeds": 3,',
        '"powers": [-1, 2],',
        '"rows": [',
        '{"a": 1},',
        '{"a": 2}',
        "]",
        "}",
    ]
