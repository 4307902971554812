"""Sweeps on workers of this machine: what is run, what is kept, and what faults leave behind."""

import os
import signal

import pytest

SLOWLY = ("--grid", "n=0:8", "--grid", "wait=0.5", "--workers", "2", "--out", "out")
SQUARES = [n**2 for n in range(8)]


def _values(rows):
    return [row["value"] for row in rows]


def test_a_chapter_is_called_for_each_value_and_what_is_whole_never_again(book):
    words = ("sweep", "toy", "--workers", "1", "--out", "out", "--grid")
    first = book.run(*words, "n=2,13,4", status=1)
    assert "toy: 3 runs, 0 in the store, 3 to do" in first
    assert "calls  bnlib.chapters.toy.run" in first
    assert "dask   tcp://127.0.0.1:" in first
    assert "FAILED notebooks/toy.ipynb\n    parameters: {'n': 13}\n  ValueError: no th" in first
    assert 'raise ValueError("no thirteens")' in first
    assert "2 runs done, 1 failed; 5 rows in out/table.parquet and table.csv" in first
    rows = book.table("out")
    assert [(row["n"], row["status"], row["value"], row["text"]) for row in rows] == [
        (2, "done", 4, None),
        (13, "failed", None, "ValueError: no thirteens"),
        (4, "done", 16, None),
    ]  # fmt: skip
    damaged = book.stored()[4]
    damaged.write_text(damaged.read_text()[:-9])
    second = book.run(*words, "n=2:5")
    assert "toy: 3 runs, 2 in the store, 1 to do" in second
    assert damaged.read_text().endswith("}\n"), "what was damaged is whole again"
    assert sorted(book.ran()) == [2, 3, 4, 4, 13]
    third = book.run(*words, "n=2:5")
    assert "dask" not in third, "nothing to do starts no cluster"
    assert [(row["n"], row["value"], row["low"]) for row in book.table("out")] == [
        (2, 4, 3), (3, 9, 8), (4, 16, 15)
    ]  # fmt: skip


@pytest.mark.slow
def test_an_executed_notebook_counts_as_done_and_can_be_had_for_every_run(book):
    words = ("sweep", "toy", "--grid", "n=4,5", "--workers", "1")
    book.run("execute", "toy", "-p", "n", "4")
    assert "toy: 2 runs, 1 in the store, 1 to do" in book.run(*words, "--out", "called")
    assert list(book.stored()) == [5]
    executed = book.run(*words, "--out", "executed", "--notebooks")
    assert "toy: 2 runs, 1 in the store, 1 to do" in executed
    assert "calls  toy.ipynb, a kernel a run" in executed
    assert sorted(book.stored(".ipynb")) == [4, 5]
    assert book.ran() == [4, 5, 5]
    assert book.table("called") == book.table("executed")
    assert _values(book.table("called")) == [16, 25]


@pytest.mark.slow
def test_a_notebook_of_ones_own_is_executed_where_it_lies_and_failures_name_the_cell(
    book, write_notebook
):
    work = "from bnlib.results import record\nrecord('twice', factor * n)\nassert n != 3, 'three'"
    dies = "import os\nif n == 4: os._exit(7)"
    read = "factor = int(open('factor').read())"
    path = book.root / "mine" / "toy.ipynb"
    write_notebook(path, ("parameters", "n: int = 2"), read, work, dies)
    (path.parent / "factor").write_text("2")
    words = ("sweep", "mine/toy.ipynb", "--grid", "n=2:6", "--workers", "2", "--out", "out")
    output = book.run(*words, status=1)
    assert "calls  toy.ipynb, a kernel a run" in output
    assert "FAILED mine/toy.ipynb, cell 3, line 3\n    parameters: {'n': 3}" in output
    assert "AssertionError: three" in output
    assert "FAILED mine/toy.ipynb, cell 4\n    parameters: {'n': 4}\n  DeadKernelError" in output
    assert "2 runs done, 2 failed" in output
    assert _values(book.table("out")) == [4, None, None, 10]
    assert sorted(book.stored(".ipynb")) == [2, 5]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "signum", "status"),
    [
        (".json", signal.SIGINT, 130),
        (".json", signal.SIGTERM, 143),
        (".json", signal.SIGHUP, 129),
        (".json", signal.SIGKILL, -9),
        (".ipynb", signal.SIGINT, 130),
        (".ipynb", signal.SIGKILL, -9),
    ],
)
def test_a_command_that_is_ended_keeps_what_it_has_leaves_no_process_and_goes_on(
    book, wait_for, family, kind, signum, status
):
    words = ("sweep", "toy", *SLOWLY, *(["--notebooks"] if kind == ".ipynb" else []))
    process = book.start(*words)
    wait_for(lambda: len(book.stored(kind)) >= 2)
    started = family(process)
    if signum in (signal.SIGINT, signal.SIGHUP):
        os.killpg(process.pid, signum)  # as a terminal does it: the workers get it, too
    else:
        os.kill(process.pid, signum)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == status, output
    if status > 0:
        assert "the same command goes on from there" in output
        assert "Traceback" not in output
    wait_for(lambda: not any(p.is_running() and p.status() != "zombie" for p in started))
    kept = book.stored(kind)
    assert 2 <= len(kept) < 8
    again = book.run(*words)
    assert f"8 runs, {len(kept)} in the store, {8 - len(kept)} to do" in again
    assert kept.items() <= book.stored(kind).items()
    assert len(book.ran()) <= 8 + 2, "at most what was running is run again"
    assert _values(book.table("out")) == SQUARES


@pytest.mark.slow
def test_workers_that_are_killed_lose_no_finished_run_and_others_take_over(book, wait_for, family):
    process = book.start("sweep", "toy", *SLOWLY)
    for count in (1, 4):
        wait_for(lambda count=count: len(book.stored()) >= count)
        kept = book.stored()
        worker = next(p for p in family(process) if "spawn_main" in " ".join(p.cmdline()))
        worker.kill()
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert kept.items() <= book.stored().items()
    # A worker has one run that goes on, and at most one that ended and was not fetched yet:
    # a run is stored by the process that hands it over.
    assert len(book.ran()) <= 8 + 2 * 2, "what the killed ones had is run again"
    assert _values(book.table("out")) == SQUARES


@pytest.mark.slow
def test_a_run_that_kills_its_workers_is_given_up_and_the_others_are_kept(book):
    words = ("sweep", "toy", "--grid", "n=66,0:8", "--workers", "2", "--out", "out")
    output = book.run(*words, status=1)
    assert "parameters: {'n': 66}\n  KilledWorker: Attempted to run task" in output
    assert "8 runs done, 1 failed" in output
    assert book.ran().count(66) == 4
    assert _values(book.table("out")) == [None, *SQUARES]
