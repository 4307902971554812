"""Sweeps on workers of this machine: what is run, what is kept, and what faults leave behind."""

import os
import random
import signal
import time

import psutil
import pytest


@pytest.mark.slow
def test_whole_executions_are_never_repeated_and_damaged_ones_are(book):
    toy = book()
    first = toy.sweep("--grid", "n=2,4", "--workers", "1", "--out", "few")
    assert "toy: 2 runs, 0 in the store, 2 to do" in first
    assert "dask   tcp://127.0.0.1:" in first
    assert "/status" in first
    assert "2 done, 0 failed, 0 left" in first
    damaged = min((toy.root / "_build/executed/toy").glob("*.ipynb"))
    damaged.write_text(damaged.read_text()[:-99])
    second = toy.sweep("--grid", "n=2:5", "--workers", "1", "--out", "out", "--plot", "n", "square")
    assert "toy: 3 runs, 2 in the store, 1 to do" in second
    assert "square        3           4           9          16" in second
    assert "drawn in out/square-over-n.svg" in second
    assert sorted(toy.ran()) in ([2, 2, 3, 4], [2, 3, 4, 4])
    third = toy.sweep("--grid", "n=2:5", "--out", "out", "--plot", "n", "cube", status=1)
    assert "dask" not in third, "nothing to do starts no cluster"
    assert third.endswith("Error: unknown recorded number 'cube'. Known: square\n")
    assert [(row["n"], row["value"], row["low"]) for row in toy.table("out")] == [
        (2, 4, 3), (3, 9, 8), (4, 16, 15)
    ]  # fmt: skip


@pytest.mark.slow
def test_failing_hanging_and_dying_runs_are_told_and_the_others_kept(book):
    toy = book(
        "if n == 1: raise ValueError('no ones')\nif n == 2: time.sleep(99)\nif n == 3: os._exit(7)",
    )
    words = ("--grid", "n=0:5", "--workers", "2", "--out", "out", "--time-limit", "8")
    output = toy.sweep(*words, status=1)
    assert "FAILED notebooks/toy.ipynb, cell 3, line 1\n    parameters: {'n': 1}" in output
    assert "ValueError: no ones" in output
    assert "FAILED notebooks/toy.ipynb, cell 3\n  TimeLimit" in output  # n = 2 is the default
    assert "FAILED notebooks/toy.ipynb, cell 3\n    parameters: {'n': 3}" in output
    assert "2 runs done, 3 failed" in output
    rows = toy.table("out")
    assert [(row["n"], row["status"]) for row in rows] == [
        (0, "done"), (1, "failed"), (2, "failed"), (3, "failed"), (4, "done")
    ]  # fmt: skip
    assert rows[1]["text"] == "cell 3: ValueError: no ones"
    assert len(toy.stored()) == 2


@pytest.mark.slow
def test_an_interrupted_sweep_keeps_what_it_has_and_goes_on(book, wait_for):
    toy = book()
    words = ("--grid", "n=0:8", "--grid", "wait=0.3", "--workers", "2", "--out", "out")
    process = toy.start(*words)
    wait_for(lambda: len(toy.stored()) >= 2)
    family = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command goes on from there" in output
    assert "Traceback" not in output
    wait_for(lambda: not any(p.is_running() and p.status() != "zombie" for p in family))
    kept = toy.stored()
    assert 2 <= len(kept) < 8
    again = toy.sweep(*words)
    assert f"8 runs, {len(kept)} in the store, {8 - len(kept)} to do" in again
    assert kept < toy.stored()
    assert len(toy.ran()) <= 8 + 2, "at most what was running is run again"
    assert [row["value"] for row in toy.table("out")] == [n**2 for n in range(8)]


@pytest.mark.slow
def test_two_sweeps_at_once_share_the_work_and_agree(book):
    toy = book()
    processes = [
        toy.start("--grid", "n=0:6", "--grid", "wait=0.1", "--workers", "1", "--out", folder)
        for folder in ("one", "two")
    ]
    for process in processes:
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0, output
    assert sorted(toy.ran()) == list(range(6)), "each run once, whoever did it"
    assert toy.table("one") == toy.table("two")


@pytest.mark.slow
def test_workers_killed_twenty_times_lose_no_finished_run(book, wait_for, workers):
    gated = "import pathlib\nwhile n == 5 and not pathlib.Path('go').exists():\n    time.sleep(0.1)"
    undisturbed, toy = book(gated, name="undisturbed"), book(gated, name="killed")
    (undisturbed.root / "notebooks" / "go").touch()
    words = ("--grid", "n=0:6", "--workers", "2", "--out", "out")
    undisturbed.sweep(*words)
    process = toy.start(*words)
    draw, kept = random.Random(0), set()
    for _ in range(20):
        time.sleep(draw.random())  # it starts, waits for a run, has one, hands one over
        wait_for(lambda: (alive := workers(process)) and draw.choice(alive).kill() is None)
        assert kept <= toy.stored(), "a finished run was lost"
        kept = toy.stored()
    (toy.root / "notebooks" / "go").touch()
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert kept <= toy.stored()
    assert toy.table("out") == undisturbed.table("out")
