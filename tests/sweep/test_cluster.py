"""Sweeps on a cluster of `dask scheduler` and `dask worker` commands, and what it survives."""

import signal

import pytest

WORDS = ("--grid", "n=0:6", "--grid", "wait=0.3", "--out", "out")


def test_a_cluster_of_separate_commands_runs_a_sweep(book, cluster):
    toy = book()
    cluster.scheduler()
    cluster.worker()
    cluster.worker()
    output = toy.sweep(*WORDS, "--scheduler", cluster.address)
    assert f"dask   {cluster.address}" in output
    assert [row["value"] for row in toy.table("out")] == [n**2 for n in range(6)]
    assert sorted(toy.ran()) == list(range(6))
    assert len(toy.stored()) == 6


@pytest.mark.slow
def test_a_scheduler_and_workers_that_die_and_come_back_lose_nothing(book, cluster, wait_for):
    toy = book()
    scheduler, worker = cluster.scheduler(), cluster.worker()
    process = toy.start(*WORDS, "--scheduler", str(cluster.file))
    wait_for(lambda: len(toy.stored()) >= 1)
    worker.send_signal(signal.SIGKILL)
    worker = cluster.worker()
    before = len(toy.stored())
    wait_for(lambda: len(toy.stored()) > before)
    kept = toy.stored()
    assert len(kept) < 6, "expected a sweep that is not done yet"
    scheduler.send_signal(signal.SIGKILL)
    assert scheduler.wait() == -signal.SIGKILL
    cluster.scheduler()
    cluster.worker()
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert kept <= toy.stored()
    assert [row["value"] for row in toy.table("out")] == [n**2 for n in range(6)]


@pytest.mark.slow
def test_a_scheduler_lost_for_good_ends_the_sweep_with_what_to_do(
    book, cluster, wait_for, monkeypatch, capsys
):
    from click.testing import CliRunner

    from bnlib.__main__ import main
    from bookbuild import cluster as module

    toy = book()
    scheduler = cluster.scheduler()
    cluster.worker()
    monkeypatch.chdir(toy.root)
    monkeypatch.setattr(module.connect.__wrapped__, "__kwdefaults__", {"patience": 1.0})
    stored = module.Cluster.tend

    def tend(self):
        if toy.stored() and scheduler.poll() is None:
            scheduler.kill()
            scheduler.wait()
        return stored(self)

    monkeypatch.setattr(module.Cluster, "tend", tend)
    result = CliRunner().invoke(main, ["sweep", "toy", *WORDS, "--scheduler", cluster.address])
    assert result.exit_code == 1
    assert "the Dask scheduler was lost and did not come back" in result.output
    assert "the same command goes on from there" in result.output
    assert 1 <= len(toy.stored()) < 6


def test_an_address_without_a_scheduler_is_refused(book, monkeypatch):
    from click.testing import CliRunner

    from bnlib.__main__ import main
    from bookbuild import cluster as module

    monkeypatch.chdir(book().root)
    monkeypatch.setattr(module.connect.__wrapped__, "__kwdefaults__", {"patience": 0.5})
    words = ["sweep", "toy", *WORDS, "--scheduler"]
    result = CliRunner().invoke(main, [*words, "tcp://127.0.0.1:1"])
    assert result.exit_code == 1
    assert "no Dask scheduler answers at tcp://127.0.0.1:1" in result.output
    assert CliRunner().invoke(main, [*words, "here:there"]).exit_code == 1


def test_workers_that_do_not_start_are_told(book, monkeypatch):
    from bookbuild import cluster as module

    monkeypatch.setattr(module.sys, "executable", "/bin/false")
    with module.connect(None, 1) as found, pytest.raises(module.SchedulerError, match="not start"):
        _tend_forever(found)


def _tend_forever(cluster):
    while True:
        cluster.tend()
