"""The commands of the reproduce page are run, the heavy ones on stand-ins or as far as a plan."""

import re
import shlex
import socket
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from bnlib.__main__ import main
from bookbuild import full, grids
from bookbuild import notebook as nb

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "book/reproduce.md").read_text()
BODY = 'from bnlib.results import record\nrecord("law-to-normal-2", seed + 1 / draws)'


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.M | re.S)


def lines(program):
    """The words of each command line of this program, comments dropped."""
    found = [line for block in blocks("bash") for line in block.splitlines()]
    return [words for f in found if (words := shlex.split(f, comments=True))[:1] == [program]]


BNLIB = [words[1:] for words in lines("bnlib")]
SWEEPS = [words for words in BNLIB if words[0] == "sweep"]


def spelled(words):
    return " ".join(words)


@pytest.fixture
def project(tmp_path, write_notebook):
    """A project whose chapter forward declares what the real one does, and takes no time."""
    book = nb.read(ROOT / "notebooks/forward.ipynb")
    declared = next(c.source for c in nb.code_cells(book) if "parameters" in nb.tags(c))
    write_notebook(tmp_path / "notebooks/forward.ipynb", ("parameters", declared), BODY)
    (tmp_path / "grids.toml").write_text(blocks("toml")[0])
    return tmp_path


def run(folder, words):
    """The command as a person starts it; its standard output."""
    done = subprocess.run(
        [sys.executable, "-m", "bnlib", *words], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("words", BNLIB, ids=spelled)
def test_every_command_is_understood_and_names_what_exists(words, tmp_path, monkeypatch):
    (tmp_path / "checkpoint.pth").touch()
    monkeypatch.chdir(tmp_path)
    name, *rest = words
    command = main.get_command(click.Context(main), name)
    given = command.make_context(name, rest).params
    if given.get("tables"):
        assert full.tables(ROOT, given["slugs"])
    elif "slugs" in given:
        assert nb.find(ROOT, given["slugs"])


@pytest.mark.parametrize("words", SWEEPS, ids=spelled)
def test_every_sweep_is_a_plan_of_the_real_notebook(words, tmp_path):
    (tmp_path / "grids.toml").write_text(blocks("toml")[0])
    given = [tmp_path / w if w.endswith(".toml") else w for w in grid_words(words)]
    notebook = ROOT / "notebooks" / f"{words[1]}.ipynb"
    assert grids.survey(grids.plan(notebook, map(str, given), root=ROOT)).runs > 1


def grid_words(words):
    return [after for word, after in pairwise(words) if word == "--grid"]


@pytest.mark.slow
def test_the_sweeps_on_this_machine_run(project):
    here = [words for words in SWEEPS if "--scheduler" not in words]
    outputs = [run(project, words) for words in here]
    assert "plan   forward: 20 runs, 0 in the store, 20 to do" in outputs[0]
    assert "8 runs done, 0 failed; 8 rows in _build/sweeps/forward-" in outputs[1]
    assert "grid 2: 2 runs" in outputs[2]
    assert "6 runs done, 0 failed; 6 rows in tables/forward/table.parquet" in outputs[2]
    (picture,) = [block for block in blocks("python") if "read_parquet" in block]
    subprocess.run([sys.executable, "-c", picture], cwd=project, check=True)
    assert (project / "law-to-normal-2.svg").stat().st_size > 1000


@pytest.mark.slow
def test_a_cluster_started_by_hand_runs_its_sweeps(project):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    scheduler, worker = [[w.replace("8786", port) for w in words[1:]] for words in lines("dask")]
    sweeps = [words for words in SWEEPS if "--scheduler" in words]
    with (project / "log").open("wb") as log:
        start = [sys.executable, "-m", "dask"]
        processes = [subprocess.Popen([*start, *scheduler], cwd=project, stdout=log, stderr=log)]
        try:
            deadline = time.monotonic() + 60
            while not (project / "scheduler.json").exists():
                assert time.monotonic() < deadline, (project / "log").read_text()
                time.sleep(0.1)
            processes += [subprocess.Popen([*start, *worker], cwd=project, stdout=log, stderr=log)]
            outputs = [run(project, [w.replace("8786", port) for w in words]) for words in sweeps]
        finally:
            for process in reversed(processes):
                process.terminate()
                process.wait()
    assert "3 runs done, 0 failed" in outputs[0]
    assert "4 runs, 3 in the store, 1 to do" in outputs[1]
    assert "4 runs done, 0 failed" in outputs[1]


def test_the_exit_statuses_of_the_page_are_those_of_the_commands(project, monkeypatch):
    monkeypatch.chdir(project)
    assert re.findall(r"^\| `(\d+)` \|", PAGE, re.M) == ["0", "1", "2", "130"]
    for words, status in [
        (["sweep", "forward", "--grid", "seed=1", "--dry-run"], 0),
        (["sweep", "forward", "--grid", "sed=1"], 1),
        (["reproduce", "forward"], 1),
        (["sweep", "forward"], 2),
    ]:
        assert CliRunner().invoke(main, words).exit_code == status, words
