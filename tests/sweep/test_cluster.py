"""Sweeps on a cluster of `dask scheduler` and `dask worker` commands, and what it survives."""

import pytest
from click.testing import CliRunner

from bnlib.__main__ import main
from bookbuild import sweep as module

WORDS = ("sweep", "toy", "--grid", "n=0:6", "--grid", "wait=0.5", "--out", "out", "--scheduler")


@pytest.mark.slow
def test_a_worker_that_dies_is_replaced_and_one_that_has_an_older_library_is_refused(
    book, cluster, wait_for
):
    cluster.scheduler()
    worker = cluster.worker()
    process = book.start(*WORDS, str(cluster.file))
    wait_for(lambda: len(book.stored()) >= 2)
    worker.kill()
    cluster.worker()
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert "dask   tcp://127.0.0.1:" in output
    assert [row["value"] for row in book.table("out") if row["kind"]] == [n**2 for n in range(6)]

    book.chapter.write_text(book.chapter.read_text().replace("n**2", "n**3"))
    refused = book.run(*WORDS, str(cluster.file), status=1)
    assert "toy/__init__.py was edited since a worker imported it; start it anew" in refused
    assert len(book.stored()) == 6, "nothing of the old library under a key of the new one"


@pytest.mark.slow
def test_a_scheduler_that_is_lost_ends_the_sweep_with_what_to_do(book, cluster, wait_for):
    scheduler = cluster.scheduler()
    cluster.worker()
    process = book.start(*WORDS, str(cluster.file))
    wait_for(lambda: len(book.stored()) >= 1)
    scheduler.kill()
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 1, output
    assert "the Dask scheduler was lost. What had finished is in the store" in output
    assert 1 <= len(book.stored()) < 6


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "here:there", "file.json"])
def test_an_address_without_a_scheduler_is_refused(book, monkeypatch, address):
    monkeypatch.chdir(book.root)
    (book.root / "file.json").write_text("{}")
    monkeypatch.setattr(module.connect.__wrapped__, "__kwdefaults__", {"patience": 0.5})
    result = CliRunner().invoke(main, [*WORDS, address])
    assert result.exit_code == 1
    assert f"no Dask scheduler answers at {address}" in result.output
