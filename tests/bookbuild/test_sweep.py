"""The coordinator against a scripted cluster: what it hands over, keeps, tries again and gives up.

Real clusters, real faults and the command are in tests/sweep.
"""

import subprocess
import sys
from concurrent.futures import CancelledError
from contextlib import closing, nullcontext
from pathlib import Path

import nbformat
import pytest
from click.testing import CliRunner

from bnlib.__main__ import main
from bookbuild import cluster, grids, remote, store, sweep, table, watch
from bookbuild import notebook as nb
from bookbuild.execute import Report
from bookbuild.leases import Leases
from bookbuild.remote import MismatchError, Outcome, Task

KEY = "0123456789abcdef0123456789abcdef"


class Future:
    """One submission; `then` is what comes of it, an outcome or an exception."""

    def __init__(self, task, then):
        self.task, self.then, self.status = task, then, "finished"

    def result(self, timeout):
        if isinstance(self.then, Exception):
            raise self.then
        return self.then

    def release(self):
        pass


class Scripted(cluster.Cluster):
    """A cluster whose futures end as `script` says: from the number of the submission to an end."""

    queue = 3

    def __init__(self, script=None):
        super().__init__(self)
        self.script, self.submitted, self.most, self.status = script or {}, [], 0, "running"
        self.sweep = None

    def __str__(self):
        return "scripted"

    def submit(self, function, task, key, pure):
        assert (function, pure) == (remote.perform, False)
        self.submitted.append(task)
        then = self.script.get(len(self.submitted), Outcome(True, {}, _executed(task)))
        if self.sweep:
            self.most = max(self.most, len(self.sweep.flying) + 1)
        return Future(task, then)

    def nthreads(self):
        return {"one": 1}

    def cancel(self, futures, force):
        pass


def _executed(task):
    """What a worker would send back, without having run anything."""
    executed = nbformat.reads(task.text, as_version=4)
    folder = task.run.folder.parent / "elsewhere"
    return store.put(folder, task.run.slug, task.run.key, executed, seconds=0.1).read_text()


class Told:
    """A watcher that remembers."""

    def __init__(self):
        self.states, self.reasons = [], []

    def settled(self, state, report):
        self.states.append(state)

    def waiting(self, why):
        self.reasons.append(why)


@pytest.fixture
def plan(tmp_path, write_notebook):
    cell = ("parameters", "n: int = 0  # a number [0, 99]")
    path = write_notebook(tmp_path / "notebooks" / "toy.ipynb", cell, "n")
    return grids.plan(path, ["n=0:6"], root=tmp_path)


@pytest.fixture
def run(plan, monkeypatch):
    """A function (cluster) to (failed, told); the sweep does not sleep."""
    monkeypatch.setattr(sweep, "_TICK", 0)

    def go(scripted):
        told = Told()
        scripted.sweep = sweep.Sweep(plan, lambda: scripted, told, time_limit=5)
        return scripted.sweep.run(), told

    return go


def test_what_the_store_lacks_is_handed_over_in_a_small_window(plan, run):
    first = next(plan.runs())
    store.put(first.folder, first.slug, first.key, nb.read(first.notebook))
    scripted = Scripted()
    failed, told = run(scripted)
    assert (failed, told.states) == ({}, ["stored", *["done"] * 5])
    assert [task.run.parameters["n"] for task in scripted.submitted] == [1, 2, 3, 4, 5]
    assert scripted.most <= 3
    assert all(store.get(r.folder, r.slug, r.key) is not None for r in plan.runs())
    assert scripted.submitted[0].time_limit == 5


def test_a_complete_store_opens_no_cluster(plan, run):
    run(Scripted())
    assert sweep.Sweep(plan, lambda: pytest.fail("opened"), Told()).run() == {}


def test_runs_that_lost_their_worker_or_scheduler_are_handed_over_again(run):
    from distributed import KilledWorker

    losses = [CancelledError(), KilledWorker("t", None, 3), OSError("connection lost")]
    scripted = Scripted({1: losses[0], 2: losses[1], 3: losses[2]})
    failed, told = run(scripted)
    assert (failed, told.states.count("done"), len(scripted.submitted)) == ({}, 6, 9)


def test_a_run_that_loses_every_worker_is_given_up_at_last(run):
    scripted = Scripted()
    submit = scripted.submit

    def submit_or_lose(function, task, **options):
        future = submit(function, task, **options)
        if task.run.parameters.get("n") == 3:
            future.then = OSError("its worker is gone")
        return future

    scripted.submit = submit_or_lose
    failed, told = run(scripted)
    assert told.states.count("done") == 5
    assert [report.facts["error"] for report in failed.values()] == ["OSError: its worker is gone"]
    assert len(scripted.submitted) == 6 + sweep.LOSSES


def test_a_result_that_went_down_with_its_worker_is_waited_for(run):
    scripted = Scripted()
    submit = scripted.submit
    late = []

    def submit_late(function, task, **options):
        future = submit(function, task, **options)
        if not late:
            late.append(future)
            whole, future.result = future.result, lambda timeout: _raise(TimeoutError)
            scripted.wake = lambda: setattr(future, "result", whole)
        elif len(scripted.submitted) == 4:
            scripted.wake()
        return future

    scripted.submit = submit_late
    failed, told = run(scripted)
    assert (failed, told.states) == ({}, ["done"] * 6)
    assert len(scripted.submitted) == 6, "Dask computes it again, we do not"


def _raise(error):
    raise error


def test_what_a_worker_raises_otherwise_is_the_failure_of_that_run(plan, run):
    failed, told = run(Scripted({2: ZeroDivisionError("in the worker")}))
    (report,) = failed.values()
    assert report.run.parameters == {"n": 1}
    assert report.facts == {"error": "ZeroDivisionError: in the worker"}
    assert told.states.count("done") == 5
    with closing(Leases(plan.folder)) as leases:
        assert leases.take(report.run.key)


def test_many_failures_keep_few_tracebacks(run, monkeypatch):
    monkeypatch.setattr(sweep, "TRACEBACKS", 2)
    bad = {n: Outcome(False, {"error": "no", "traceback": ["long"]}) for n in range(1, 6)}
    failed, _ = run(Scripted(bad))
    assert ["traceback" in report.facts for report in failed.values()] == [True] * 2 + [False] * 3


def test_a_worker_with_another_library_ends_the_sweep(run):
    with pytest.raises(MismatchError, match=r"low\.py differs"):
        run(Scripted({2: MismatchError("low.py differs")}))


def test_a_store_that_cannot_be_written_ends_the_sweep_and_leaves_no_part(plan, run, monkeypatch):
    def full(handle):
        raise OSError(28, "No space left on device")

    scripted = Scripted()
    texts = [_executed(Task(one, nbformat.writes(plan.source), plan.parts)) for one in plan.runs()]
    scripted.script = {n: Outcome(True, {}, text) for n, text in enumerate(texts, start=1)}
    monkeypatch.setattr(store.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        run(scripted)
    assert [path.name for path in plan.folder.iterdir()] == [".leases"]


def test_a_scheduler_that_does_not_come_back_ends_the_sweep(run):
    scripted = Scripted({2: CancelledError()})
    scripted.nthreads = lambda: setattr(scripted, "status", "closed") or {}
    with pytest.raises(cluster.SchedulerError, match="did not come back"):
        run(scripted)


def test_a_scheduler_that_is_away_is_waited_for_and_said_so(run):
    scripted = Scripted()
    states = iter(["connecting"] * 3)
    kind = type("Away", (Scripted,), {"status": property(lambda s: next(states, "running"))})
    kind.status = kind.status.setter(lambda s, value: None)
    scripted.__class__ = kind
    _, told = run(scripted)
    assert told.states == ["done"] * 6
    assert "the scheduler is away" in told.reasons


def test_a_run_that_another_process_has_taken_is_left_until_it_is_there_or_free(
    plan, run, monkeypatch
):
    monkeypatch.setattr(sweep, "_LOOK_AGAIN", 0.01)
    one, other = list(plan.runs())[2:4]
    script = (
        "import sys; from pathlib import Path; from bookbuild.leases import Leases\n"
        "leases = Leases(Path(sys.argv[1])); print([leases.take(k) for k in sys.argv[2:]])\n"
        "sys.stdout.flush(); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, plan.folder, one.key, other.key],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdin
    assert process.stdout
    with process.stdin, process.stdout:
        assert process.stdout.readline() == "[True, True]\n"
        scripted = Scripted()
        submit = scripted.submit

        def submit_then(function, task, **options):
            if len(scripted.submitted) == 3:  # all but the last of those that are free
                store.put(one.folder, one.slug, one.key, nb.read(one.notebook))
                process.kill()
                process.wait()
            return submit(function, task, **options)

        scripted.submit = submit_then
        _, told = run(scripted)
    assert sorted(told.states) == ["done"] * 5 + ["stored"]
    assert [task.run.parameters.get("n", 0) for task in scripted.submitted] == [0, 1, 4, 5, 3]


def test_a_file_system_without_locks_stops_nothing(tmp_path, monkeypatch):
    from bookbuild import leases as module

    def refuse(*_):
        raise OSError(module.errno.ENOLCK, "No locks available")

    monkeypatch.setattr(module.fcntl, "lockf", refuse)
    with closing(Leases(tmp_path)) as leases:
        assert leases.take(KEY)
        leases.release(KEY)


@pytest.fixture
def task(plan):
    return Task(next(plan.runs()), nbformat.writes(plan.source), plan.parts)


def test_a_worker_refuses_to_file_under_a_key_it_does_not_deserve(task, monkeypatch):
    monkeypatch.setattr(remote, "run_one", lambda *a, **k: pytest.fail("ran"))
    other = task._replace(parts=task.parts | {"library": {"results.py": "0" * 64}})
    with pytest.raises(MismatchError, match=r"results\.py differs from the file"):
        remote.perform(other)
    environment = task.parts["environment"] | {"numpy": "1.0"}
    with pytest.raises(MismatchError, match=r"numpy: expected 1\.0, which .* made of, got 2"):
        remote.perform(task._replace(parts=task.parts | {"environment": environment}))


def test_a_library_edited_during_the_run_is_noticed(task, monkeypatch):
    calls = []
    monkeypatch.setattr(remote, "_compare", lambda task: calls.append(1))

    def run_one(run, **_):
        store.put(run.folder, run.slug, run.key, nb.read(run.notebook))
        return Report(run, True, True, {})

    monkeypatch.setattr(remote, "run_one", run_one)
    outcome = remote.perform(task)
    assert (outcome.ok, len(calls)) == (True, 2)
    assert outcome.text is not None
    assert nbformat.reads(outcome.text, 4).metadata[store.STAMP]["key"] == task.run.key


def test_the_notebook_runs_where_it_lies_and_a_copy_of_it_where_it_does_not(task, monkeypatch):
    places = []

    def run_one(run, *, timeout, time_limit):
        places.append((run.notebook, timeout, time_limit))
        if len(places) == 1:
            task.run.notebook.write_text(task.text.replace('"n"', '"n + 1"'))
        assert nb.read(run.notebook).cells[1].source in ("n", "n + 1")
        return Report(run, False, True, {"error": "no"})

    monkeypatch.setattr(remote, "run_one", run_one)
    assert remote.perform(task._replace(time_limit=7)) == Outcome(False, {"error": "no"})
    (first, *limits), (second, *_) = places
    assert (first, limits) == (task.run.notebook, [7, 7])
    assert second != first, "it was edited while it ran, so a copy ran after it"
    assert second.name == "toy.ipynb"
    assert remote.perform(task) == Outcome(False, {"error": "no"})
    assert places[-1][0] != first
    assert places[-1][1:] == (600, None)


def test_the_watch_counts_and_tells_an_error_in_full_once(plan, capsys):
    other, third = list(plan.runs())[1:3]
    facts = {"cell": 2, "error": "ValueError: no", "traceback": ["deep inside"]}
    with watch.Watch(3) as told:
        told.start()
        told.settled("stored", None)
        told.settled("failed", Report(other, False, True, facts))
        told.settled("failed", Report(third, False, True, facts))
    text = capsys.readouterr().err
    assert text.count("deep inside") == 1
    assert text.count("ValueError: no") == 2
    assert "parameters: {'n': 1}" in text
    assert "1 were stored, 0 done, 1 failed, 1 left, about 00:0" in text
    assert "1 were stored, 0 done, 2 failed, 0 left\n" in text


def test_the_bar_of_a_terminal_counts_what_is_settled_and_lines_stand_above_it(
    plan, capsys, monkeypatch
):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with watch.Watch(2) as told:
        told.say("dask   tcp://here")
        told.start()
        for state in ("done", "failed"):
            told.settled(state, Report(next(plan.runs()), state == "done", True, {"error": "no"}))
            told.bar.refresh()
    text = capsys.readouterr().err
    assert "dask   tcp://here\n" in text.split("\r")
    bars = [line for line in text.split("\r") if "%|" in line]
    assert "1/2 [" in bars[-3]
    assert "1 done, 0 failed, 1 left" in bars[-3]
    assert "2/2 [" in bars[-1]
    assert "1 done, 1 failed, 0 left" in bars[-1]


def test_waiting_is_said_only_if_it_lasts(capsys, monkeypatch):
    told = watch.Watch(3)
    told.waiting("no workers")
    told.waiting("")
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(watch, "_LASTS", -1)
    told.waiting("no workers")
    told.waiting("no workers")
    told.waiting("")
    assert capsys.readouterr().err == "waiting: no workers\ngoing on\n"


@pytest.fixture
def command(plan, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda *words: CliRunner().invoke(main, ["sweep", "toy", *words])


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["--grid", "nn=3"], 1, "toy.ipynb: unknown parameter 'nn'; did you mean 'n'"),
        (["--grid", "n=3,100"], 1, "expected one in [0, 99], got 100"),
        (["--grid", "n=3", "--plot", "m", "x"], 1, "unknown parameter 'm'"),
        (["--grid", "n=3", "--scheduler", "x", "--workers", "2"], 2, "expected --scheduler or"),
        (["--grid", "n=3", "--workers", "0"], 2, "not in the range"),
        (["--grid", "n=3", "--time-limit", "0"], 2, "not in the range"),
        ([], 2, "Missing option '--grid'"),
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
    assert not (tmp_path / "_build").exists()


def test_no_such_notebook_is_refused(command):
    result = CliRunner().invoke(main, ["sweep", "tox", "--grid", "n=1"])
    assert "expected a notebook, got 'tox', which is no file" in result.output


def test_folders_that_cannot_be_written_are_found_out_before_anything_runs(command, tmp_path):
    (tmp_path / "file").write_text("")
    result = command("--grid", "n=3", "--out", "file/out")
    assert (result.exit_code, result.output.splitlines()[-1]) == (
        1, "Error: cannot write into file/out: Not a directory"
    )  # fmt: skip
    (tmp_path / "_build").write_text("")
    result = command("--grid", "n=3", "--out", "out")
    assert "_build/executed/toy: Not a directory" in result.output


def test_a_disk_that_is_full_ends_the_command_with_what_to_do(command, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sweep, "_TICK", 0)
    monkeypatch.setattr(cluster, "connect", lambda *_: nullcontext(Scripted()))
    with monkeypatch.context() as small:
        small.setattr(remote.store, "write_atomically", full)
        scripted = Scripted()
        scripted.submit = lambda f, task, key, pure: Future(task, Outcome(True, {}, task.text))
        small.setattr(cluster, "connect", lambda *_: nullcontext(scripted))
        result = command("--grid", "n=3")
    assert result.exit_code == 1
    assert "the store: [Errno 28] No space left on device. What had finished" in result.output
    monkeypatch.setattr(table, "rows", full)
    result = command("--grid", "n=3", "--out", "out")
    assert result.exit_code == 1
    assert "the table: [Errno 28] No space left on device. What had finished" in result.output
    assert not list(Path("out").iterdir()), "a part of a table"


def test_help_has_examples(command):
    assert "--grid seed=0:20 --dry-run" in command("--help").output
