"""Whatever becomes of one run is in its report: `run_one` neither raises nor hangs."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest
from nbformat import v4

from bookbuild import execute as ex
from bookbuild import processes, store, worker

STARTED = "open('started', 'a').write('x');\n"
HANG = f"{STARTED}import time\ntime.sleep(600)"
DEAF = f"{STARTED}import signal\nsignal.signal(2, signal.SIG_IGN)\nwhile True: pass"


@pytest.fixture
def plan(tmp_path, write_notebook):
    def make(source, **overrides):
        parameters = ("parameters", "n: int = 2  # a number [1, 9]")
        path = write_notebook(tmp_path / "notebooks" / "n.ipynb", "# Text", parameters, source)
        return ex.plan(path, overrides, root=tmp_path)

    return make


@pytest.fixture
def started(tmp_path):
    """How often the last cell has begun."""
    return lambda: (
        len((tmp_path / "notebooks" / "started").read_text())
        if (tmp_path / "notebooks" / "started").exists()
        else 0
    )


def _wait(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def _in_background(action):
    thread = threading.Thread(target=action, daemon=True)
    thread.start()
    return thread


def _files(run):
    return [path.name for path in run.folder.rglob("*") if path.is_file()]


def test_a_kernel_that_dies_is_reported_with_notebook_parameters_and_cell(plan, started):
    run = plan(f"{STARTED}import os\nos._exit(3)", n=3)
    report = ex.run_one(run)
    text = ex.describe(report)
    assert not report.ok
    assert report.facts["died"]
    assert "n.ipynb, cell 3\n    parameters: {'n': 3}\n" in text
    assert "DeadKernelError" in text
    assert started() == 1
    assert _files(run) == []


def test_a_run_whose_kernel_dies_once_is_started_again_and_a_failing_cell_is_not(plan, started):
    dies = f"import os\nagain = os.path.exists('started')\n{STARTED}\nagain or os._exit(3)"
    assert ex.run_one(plan(dies), attempts=3).ok
    assert started() == 2
    assert not ex.run_one(plan(f"{STARTED}1 / 0"), attempts=3).ok
    assert started() == 3


@pytest.mark.parametrize("forkserver", ["1", "0"])
def test_a_worker_that_is_killed_is_reported_and_takes_its_kernel_along(
    plan, started, monkeypatch, forkserver
):
    monkeypatch.setenv("BNLIB_FORKSERVER", forkserver)
    workers, family = [], []

    def kill():
        _wait(started)
        family[:] = psutil.Process(workers[0].pid).children(recursive=True)
        os.kill(workers[0].pid, signal.SIGKILL)

    killer = _in_background(kill)
    report = ex.run_one(plan(HANG), started=workers.append)
    killer.join()
    assert (report.ok, report.facts["died"], report.facts["cell"]) == (False, True, 3)
    assert "the worker ended with status -9 before its report" in ex.describe(report)
    assert family
    _wait(lambda: not any(p.is_running() and p.status() != "zombie" for p in family))


@pytest.mark.parametrize("source", [HANG, DEAF], ids=["sleeping", "busy and deaf to interrupts"])
def test_a_run_over_its_time_limit_is_ended_with_its_kernel(plan, started, monkeypatch, source):
    family = []

    class Timer(threading.Timer):
        """Rings when the cell runs, however slow this machine is."""

        def run(self):
            _wait(started)
            family[:] = psutil.Process(workers[0].pid).children(recursive=True)
            self.function()

    workers = []
    monkeypatch.setattr(processes.threading, "Timer", Timer)
    report = ex.run_one(plan(source, n=4), time_limit=7, attempts=2, started=workers.append)
    assert "n.ipynb, cell 3\n    parameters: {'n': 4}" in ex.describe(report)
    assert "TimeLimit: ended after 7 s" in ex.describe(report)
    assert len(workers) == 1, "it would take as long again"
    assert family
    _wait(lambda: not any(p.is_running() and p.status() != "zombie" for p in family))


def test_a_run_within_its_time_limit_is_as_without(plan):
    assert ex.run_one(plan("n"), time_limit=300).ok


def test_a_folder_that_cannot_be_written_is_reported_before_anything_runs(plan, started):
    run = plan(STARTED)
    run.folder.parent.mkdir(parents=True)
    run.folder.write_text("a file where the store should be")
    report = ex.run_one(run)
    assert "could not be stored" in ex.describe(report)
    assert str(run.folder) in ex.describe(report)
    assert started() == 0


def test_a_result_that_does_not_fit_on_the_disk_is_reported_and_leaves_no_part(plan, tmp_path):
    run = plan("print('x' * 200_000)")
    run.folder.mkdir(parents=True)
    mount = shutil.which("mount")
    command = [mount, "-t", "tmpfs", "-o", "size=64k", "tmpfs", run.folder]
    if not mount or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("only root can mount a small disk; the next test needs none")
    try:
        report = ex.run_one(run)
        assert "No space left on device" in ex.describe(report)
        assert _files(run) == []
        subprocess.run([mount, "-o", "remount,size=4M", run.folder], check=True)
        assert ex.run_one(run).ok
        assert store.get(run.folder, run.slug, run.key)
    finally:
        subprocess.run(["umount", "-l", run.folder], check=True)


def test_a_file_that_may_not_grow_is_removed(tmp_path):
    script = (
        "import resource, sys; from pathlib import Path; from bookbuild import store\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (9999, 9999))\n"
        "store.write_atomically(Path(sys.argv[1]), 'x' * 99999)"
    )
    target = tmp_path / "store" / "k.ipynb"
    done = subprocess.run([sys.executable, "-c", script, target], capture_output=True, text=True)
    assert "OSError: [Errno 27] File too large" in done.stderr
    assert list(target.parent.iterdir()) == []


def test_a_damaged_result_is_computed_again(plan, started):
    run = plan(STARTED)
    assert ex.run_one(run).fresh
    run.path.write_text(run.path.read_text()[:-50])
    assert ex.run_one(run).fresh
    assert not ex.run_one(run).fresh
    assert started() == 2
    assert sorted(_files(run)) == [f"{run.key}.damaged", f"{run.key}.ipynb"]


def test_no_process_can_be_started_is_a_report(plan, monkeypatch):
    def no_more(*args, **kwargs):
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setenv("BNLIB_FORKSERVER", "0")
    monkeypatch.setattr(processes.subprocess, "Popen", no_more)
    report = ex.run_one(plan("n"))
    assert "no process could be started" in ex.describe(report)


def test_a_kernel_that_does_not_start_is_started_once_more(monkeypatch, tmp_path, write_notebook):
    path = write_notebook(tmp_path / "n.ipynb", "# Text", "1 + 1")
    starts = []

    def no_start(*args, **kwargs):
        starts.append(1)
        raise RuntimeError("Kernel died before replying to kernel_info")

    monkeypatch.setitem(sys.modules, "papermill", type("Fake", (), {"execute_notebook": no_start}))
    job = {"notebook": str(path), "parameters": {}, "timeout": 9, "folder": str(tmp_path)}
    report = worker.execute(job, lambda event: None)
    assert len(starts) == 2
    assert not report["ok"]
    assert "KernelStartError: RuntimeError: Kernel died before" in report["error"]


def test_text_that_came_in_several_packets_becomes_one_output():
    packets = [
        v4.new_output("stream", name=name, text=text)
        for name, text in [("stdout", "a\n"), ("stdout", "b\n"), ("stderr", "c"), ("stdout", "d")]
    ]
    book = v4.new_notebook(cells=[v4.new_code_cell("", outputs=packets)])
    worker.tidy(book)
    assert [output.text for output in book.cells[0].outputs] == ["a\nb\n", "c", "d"]
