"""The command line: what it prints and its exit status."""

import re

import pytest
from click.testing import CliRunner

from bnlib.__main__ import main


@pytest.fixture
def run(tmp_path, monkeypatch, write_notebook):
    write_notebook(tmp_path / "notebooks" / "good.ipynb", ("parameters", "n: int = 2"), "n")
    monkeypatch.chdir(tmp_path)
    runner = CliRunner()
    return lambda *words: runner.invoke(main, words)


def test_execute_runs_once_and_then_says_up_to_date(run, tmp_path):
    first, second = run("execute"), run("execute", "good", "--jobs", "1")
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert re.search(r"good: \d+\.\d s, _build/executed/good/\w+\.ipynb", first.output)
    assert "good: up to date" in second.output
    other = run("execute", "good", "-p", "n", "3")
    assert "up to date" not in other.output
    assert len(list((tmp_path / "_build/executed/good").iterdir())) == 2


def test_a_failure_sets_the_exit_status(run, tmp_path, write_notebook):
    write_notebook(tmp_path / "notebooks" / "bad.ipynb", "raise RuntimeError('no')")
    result = run("execute", "bad")
    assert result.exit_code == 1
    assert "FAILED notebooks/bad.ipynb, cell 1, line 1" in result.output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["goood"], "unknown notebook 'goood'; did you mean 'good'?"),
        (["good", "-p", "m", "3"], "unknown parameter 'm'. Known: n: int"),
        (["good", "-p", "n", "x"], "parameter 'n': expected int, got 'x'"),
        (["--jobs", "0"], "not in the range"),
        (["lists", "-p", "sizes", "[2, null]"], "lists.ipynb: "),
        (["broken"], "broken.ipynb: '[' was never closed (parameters cell, line 1)"),
        (["folder"], "folder.ipynb: expected a Jupyter notebook"),
        (["other"], "other.ipynb: expected a notebook in Python, got one in R"),
    ],
)
def test_what_is_unknown_or_no_python_is_refused_in_a_sentence(
    run, words, message, tmp_path, write_notebook
):
    folder = tmp_path / "notebooks"
    write_notebook(folder / "lists.ipynb", ("parameters", "sizes: list = [2]  # [2, 9]"), "1")
    write_notebook(folder / "broken.ipynb", ("parameters", "sizes: list = [2"))
    (folder / "folder.ipynb").mkdir()
    other = write_notebook(folder / "other.ipynb", "1")
    other.write_text(other.read_text().replace('"language": "python"', '"language": "R"'))
    result = run("execute", *words)
    assert (result.exit_code, type(result.exception)) in [(1, SystemExit), (2, SystemExit)]
    assert message in result.output


def test_a_notebook_named_twice_runs_once_and_data_in_the_shell_are_found(
    run, tmp_path, write_notebook, monkeypatch
):
    write_notebook(
        tmp_path / "notebooks" / "reads.ipynb", ("parameters", "data: str = ''"),
        "print(open(data).read()); open('ran', 'a').write('x')",
    )  # fmt: skip
    (tmp_path / "shell").mkdir()
    (tmp_path / "own.txt").write_text("1")
    words = ("execute", "reads", "reads", "-p", "data", "own.txt")
    first = run(*words)
    assert first.exit_code == 0, first.output
    assert first.output.count("_build/executed/reads/") == 2
    assert "reads: up to date" in run(*words).output
    (tmp_path / "own.txt").write_text("2")
    monkeypatch.chdir(tmp_path / "shell")
    assert "up to date" not in run("-C", "..", *words).output
    assert (tmp_path / "notebooks" / "ran").read_text() == "xx"


def test_a_folder_that_cannot_be_entered_is_refused(run):
    assert "Directory 'nowhere' does not exist" in run("-C", "nowhere", "execute").output


def test_a_folder_without_notebooks_is_refused(run, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    assert "run it in the book's root" in run("execute").output
