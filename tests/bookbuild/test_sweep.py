"""What a Dask worker does with a task, what the coordinator does with results, and the command.

Commands with workers of their own, and what they survive, are in tests/sweep.
"""

import contextlib
import io
import logging
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from click.testing import CliRunner
from stored import put
from tqdm import tqdm

from bnlib.__main__ import main
from bookbuild import grids, remote, store, sweep
from bookbuild import notebook as nb
from bookbuild.sources import MismatchError

CHAPTER = """\
import os, time
from bnlib.parameters import Settings as Base, parameter
from bnlib.results import Record, Section
from dataclasses import dataclass

@dataclass(frozen=True)
class Settings(Base):
    n: int = parameter(0, 0, 99)

def run(given):
    assert given.n not in (4, 5), "too many"
    time.sleep(max(0, given.n - 10) / 2)
    threads = int(os.environ["OMP_NUM_THREADS"])
    words = Record("folder", os.path.basename(os.getcwd())), Record("threads", threads)
    return {"all": Section(records=(Record("n", given.n), *words))}
"""


@pytest.fixture
def plan(tmp_path, write_notebook, monkeypatch):
    """The plan of six runs of a chapter whose package no other test has imported."""
    package = f"lib{abs(hash(tmp_path)) % 10**9}"
    for name, text in {"": "", "chapters/": "", "chapters/toy/": CHAPTER}.items():
        (tmp_path / package / name).mkdir(exist_ok=True)
        (tmp_path / package / name / "__init__.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    path = tmp_path / "notebooks" / "toy.ipynb"
    cell = ("parameters", "n: int = 0  # a number [0, 99]")
    write_notebook(path, cell, f"from {package}.chapters import toy as chapter")
    return grids.plan(path, ["n=0:6"], root=tmp_path, package=package)


@pytest.fixture
def task(plan):
    run = next(plan.runs())
    return remote.Task(run, plan.parameters(run), plan.chapter, "", plan.made_of.environment)


@pytest.fixture
def stored(plan, task):
    """What a worker's result becomes in the store."""

    def put(text):
        run = task.run
        path = store.path_of(run.folder, run.slug, run.key, store.DIRECT)
        store.write_atomically(path, text)
        return store.measured(run.folder, run.slug, run.key)

    return put


def test_the_page_of_a_chapter_is_called_and_other_notebooks_are_not(plan, tmp_path):
    page = plan.notebook
    package = plan.made_of.package
    assert plan.chapter == f"{package}.chapters.toy"
    options = {"root": tmp_path, "package": package}
    assert grids.plan(page, ["n=1"], notebooks=True, **options).chapter is None
    for copy in (tmp_path / "mine" / "toy.ipynb", page.with_name("other.ipynb")):
        copy.parent.mkdir(exist_ok=True)
        copy.write_text(page.read_text())
        assert grids.plan(copy, ["n=1"], **options).chapter is None
    page.write_text(page.read_text().replace("import toy", "import ploy"))
    assert grids.plan(page, ["n=1"], **options).chapter is None


def test_a_chapter_is_called_beside_its_page_and_its_result_is_whole_in_the_store(task, stored):
    facts, text = remote.perform(task)
    measured = stored(text)
    assert {name: record["value"] for name, record in measured.records.items()} == {
        "n": 0, "folder": "notebooks", "threads": 1
    }  # fmt: skip
    assert (measured.claims, measured.seconds) == ({}, facts["seconds"])
    assert stored(text.replace("notebooks", "elsewhere")) is None


def test_threads_of_one_worker_call_one_after_another(task, stored):
    tasks = [task._replace(given={"n": n}) for n in (11, 13)]
    with ThreadPoolExecutor(2) as threads:
        texts = [outcome.text for outcome in threads.map(remote.perform, tasks)]
    folders = [stored(text).records["folder"]["value"] for text in texts]
    assert folders == ["notebooks", "notebooks"], "one thread left the folder for the other"


def test_a_chapter_that_raises_and_parameters_that_it_refuses_are_facts(task):
    facts, text = remote.perform(task._replace(given={"n": 5}))
    assert (facts["error"], text) == ("AssertionError: too many", None)
    assert 'assert given.n not in (4, 5), "too many"' in "\n".join(facts["traceback"])
    facts, _ = remote.perform(task._replace(given={"n": 100}))
    assert facts["error"].startswith("ValueError: parameter 'n': expected one in [0, 99]")


def test_a_worker_refuses_to_file_under_a_key_it_does_not_deserve(task):
    for name in task.run.files:
        run = task.run._replace(files={name: "0" * 64})
        with pytest.raises(MismatchError, match=f"{name} differs from the file"):
            remote.perform(task._replace(run=run))
    environment = task.environment | {"numpy": "1.0"}
    with pytest.raises(MismatchError, match=r"numpy: expected 1\.0, which .* made of, got 2"):
        remote.perform(task._replace(environment=environment))


def test_a_library_edited_during_the_run_is_noticed(task, monkeypatch):
    def edited(task):
        root = task.run.notebook.parents[1]
        page = root / task.run.package / "chapters" / "toy" / "__init__.py"
        page.write_text(page.read_text() + "\n")

    monkeypatch.setattr(remote, "_called", edited)
    with pytest.raises(MismatchError, match="differs from the file"):
        remote.perform(task)


@pytest.fixture(scope="module")
def client():
    """A real scheduler with one real worker, in this process."""
    from distributed import Client, LocalCluster

    options = {"dashboard_address": "127.0.0.1:0", "silence_logs": logging.CRITICAL}
    options |= {"processes": False, "protocol": "tcp://", "host": "127.0.0.1"}
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, **options) as here,
        Client(here) as client,
    ):
        yield client


@pytest.fixture
def settle(client):
    """A function (plan) to the reports of the failed runs, and how far the bar came."""

    def run(plan, connect=lambda: contextlib.nullcontext(client)):
        with tqdm(total=6, file=io.StringIO()) as bar:
            try:
                return sweep.settle(plan, connect, bar), bar.n
            finally:
                while any(client.processing().values()):
                    time.sleep(0.01)  # a run of this process has its working folder, too

    return run


def test_every_run_is_settled_once_and_what_the_store_has_is_not_run_again(
    plan, settle, monkeypatch, capsys
):
    monkeypatch.setattr(sweep, "WINDOW", 2)
    failed, count = settle(plan)
    assert [report.run.parameters for report in failed.values()] == [{"n": 4}, {"n": 5}]
    assert count == 6
    told = capsys.readouterr().err
    assert "toy.ipynb\n    parameters: {'n': 5}\n  AssertionError: too many" in told
    assert told.count("Traceback") == 1, "the same error is told in full once"
    whole = {path.stem: path.read_text() for path in plan.folder.glob("*.json")}
    assert whole.keys() | failed.keys() == {run.key for run in plan.runs()}

    runs = [run for run in plan.runs() if run.key in whole]
    done = plan._replace(grids=({"n": [run.parameters.get("n", 0) for run in runs]},))
    assert settle(done, lambda: pytest.fail("opened a cluster")) == ({}, 4)
    assert whole == {path.stem: path.read_text() for path in plan.folder.glob("*.json")}


def test_a_library_that_is_not_that_of_the_plan_ends_the_sweep(plan, settle):
    other = plan.made_of._replace(library={"chapters/toy/__init__.py": "0" * 64})
    with pytest.raises(MismatchError, match="differs from the file"):
        settle(plan._replace(made_of=other))


def test_a_store_that_cannot_be_written_ends_the_sweep_and_leaves_no_part(
    plan, settle, monkeypatch
):
    def full(handle):
        raise OSError(28, "No space left on device")

    plan.folder.mkdir(parents=True)
    monkeypatch.setattr(store.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        settle(plan)
    assert list(plan.folder.iterdir()) == []


@pytest.fixture
def command(tmp_path, write_notebook, monkeypatch):
    """A function (words) to what `bnlib sweep toy` did, in a book with a notebook toy."""
    cell = ("parameters", "n: int = 0  # a number [0, 99]")
    write_notebook(tmp_path / "notebooks" / "toy.ipynb", cell, "n")
    monkeypatch.chdir(tmp_path)
    return lambda *words: CliRunner().invoke(main, ["sweep", "toy", *words])


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["--grid", "nn=3"], 1, "toy.ipynb: unknown parameter 'nn'; did you mean 'n'"),
        (["--grid", "n=3,100"], 1, "expected one in [0, 99], got 100"),
        (["--grid", "n=3", "--scheduler", "x", "--workers", "2"], 2, "expected --scheduler or"),
        (["--grid", "n=3", "--workers", "0"], 2, "not in the range"),
        ([], 2, "Missing option '--grid'"),
        (["--grid", "n=0:1:1e-9"], 1, "toy.ipynb: expected at most 1,000,000 runs"),
    ],
)
def test_a_plan_with_a_mistake_is_refused_and_nothing_runs(
    command, words, status, message, tmp_path
):
    result = command(*words)
    assert (result.exit_code, message in result.output) == (status, True), result.output
    assert not (tmp_path / "_build").exists()


def test_a_dry_run_prints_the_plan_and_writes_nothing(command, tmp_path):
    result = command("--grid", "n=0:20", "--dry-run")
    assert "plan   toy: 20 runs, 0 in the store, 20 to do\n" in result.output
    assert "       n  0, 1, 2, ..., 19 (20 values)\n" in result.output
    assert "time   unknown: the store has no run of it yet" in result.output
    assert not (tmp_path / "_build").exists()


def test_no_such_notebook_is_refused(command):
    result = CliRunner().invoke(main, ["sweep", "tox", "--grid", "n=1"])
    assert "expected a notebook, got 'tox', which is no file" in result.output


def test_a_dry_run_tells_the_time_that_stored_runs_let_expect(command, tmp_path):
    book = nb.read(tmp_path / "notebooks" / "toy.ipynb")
    run = next(grids.plan(tmp_path / "notebooks" / "toy.ipynb", ["n=1"], root=tmp_path).runs())
    put(run.folder, "toy", run.key, book, seconds=400.0)
    result = command("--grid", "n=0:20", "--workers", "2", "--dry-run")
    assert "time   about 1 h 3 min 20 s with 2 at a time, at 400 s a run" in result.output


def test_folders_that_cannot_be_written_are_found_out_before_anything_runs(command, tmp_path):
    (tmp_path / "file").write_text("")
    result = command("--grid", "n=3", "--out", "file/out")
    assert (result.exit_code, result.output.splitlines()[-1]) == (
        1, "Error: [Errno 20] Not a directory: 'file/out'"
    )  # fmt: skip
    (tmp_path / "_build").write_text("")
    result = command("--grid", "n=3", "--out", "out")
    assert "_build/executed/toy'" in result.output


@pytest.mark.parametrize("name", ["sweep.settle", "table.write"])
def test_a_disk_that_is_full_ends_the_command_with_what_to_do(command, monkeypatch, name):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sweep, "settle", lambda *_: {})
    monkeypatch.setattr(f"bookbuild.cli_sweep.{name}", full)
    result = command("--grid", "n=3", "--out", "out")
    assert result.exit_code == 1
    assert "Error: [Errno 28] No space left on device. What had finished" in result.output
