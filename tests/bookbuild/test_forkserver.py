"""A forked kernel is like a fresh one: it inherits nothing from other runs, and shows nothing."""

import subprocess
import sys
import time

import psutil
import pytest

from bookbuild import execute as ex
from bookbuild import forkserver, prepared, store
from bookbuild import notebook as nb

pytestmark = pytest.mark.skipif(bool(forkserver.unsupported()), reason=forkserver.unsupported())

# What a computation may depend on without saying so. `order` is what importing late could change.
STATE = """\
import decimal, gc, json, locale, logging, os, resource, signal, sys, threading, warnings
import %(modules)s
from matplotlib import pyplot
state = {
    "cwd": os.path.basename(os.getcwd()),
    "argv": [os.path.basename(sys.argv[0]), *sys.argv[1:2]],
    "path": sys.path,
    "flags": str(sys.flags),
    "hash": hash("a word"),
    "environment": sorted(k for k in os.environ if k not in %(except)r),
    "warnings": sorted(map(str, warnings.filters)),
    "threads": sorted(t.name for t in threading.enumerate()),
    "signals": {s.name: str(signal.getsignal(s)).partition(" at ")[0] for s in signal.Signals},
    "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
    "limits": [resource.getrlimit(n) for n in (resource.RLIMIT_NOFILE, resource.RLIMIT_AS)],
    "recursion": sys.getrecursionlimit(), "gc": gc.get_threshold(), "umask": os.umask(0o22),
    "decimal": str(decimal.getcontext()), "locale": locale.setlocale(locale.LC_ALL),
    "logging": [str(h) for h in logging.getLogger().handlers],
    "numpy": numpy.get_printoptions(), "errors": numpy.geterr(),
    "torch": [torch.get_num_threads(), str(torch.get_default_dtype()), torch.is_grad_enabled()],
    "matplotlib": {k: str(v) for k, v in matplotlib.rcParams.items()},
    "backend": matplotlib.get_backend(), "file": matplotlib.matplotlib_fname(),
    "stdin": sys.stdin.read() if not sys.stdin.closed else None,
    "main": sorted(vars(sys.modules["__main__"]))[:5],
    "library": sorted(m for m in sys.modules if m.partition(".")[0] == "bnlib"),
}
for name, value in state.items():
    print(name, json.dumps(value, default=str))
"""
VOLATILE = ("JPY_PARENT_PID", "PYTEST_CURRENT_TEST")
SPOIL = """\
import atexit, locale, os, random, signal, sys, threading, time, warnings
import numpy, torch, matplotlib
from matplotlib import pyplot
import bnlib.results
os.chdir("/"); os.environ["SPOILED"] = "1"; os.environ.pop("HOME", None); os.umask(0)
matplotlib.rcParams["font.size"] = 99; matplotlib.use("agg")
numpy.random.seed(1); torch.manual_seed(1); random.seed(1)
numpy.set_printoptions(precision=1); torch.set_default_dtype(torch.float64)
torch.set_num_threads(2); torch.set_grad_enabled(False); numpy.seterr(all="ignore")
numpy.mean = torch.ones = json = len = None
sys.path.insert(0, "/spoiled"); sys.modules["math"] = None; sys.setrecursionlimit(500)
signal.signal(signal.SIGUSR1, lambda *_: None); warnings.simplefilter("ignore")
threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
bnlib.results._given.update(spoiled=("", 0))
open("/proc/self/comm", "w").write("spoiled");"""


@pytest.fixture
def plan(tmp_path, write_notebook):
    def make(name, *cells, folder="store"):
        path = write_notebook(tmp_path / "notebooks" / f"{name}.ipynb", *cells)
        return ex.plan(path, root=tmp_path, folder=tmp_path / folder)

    return make


def _run(run, **options):
    report = ex.run_one(run, **options)
    assert report.ok, ex.describe(report)
    return store.get(run.folder, run.slug, run.key)


def _lines(book):
    return nb.code_cells(book)[0].outputs[0].text.splitlines()


@pytest.mark.slow
def test_a_fork_is_like_a_fresh_python_before_and_after_a_run_that_spoils_everything(
    plan, monkeypatch
):
    look = STATE % {"except": VOLATILE, "modules": ", ".join(forkserver.NUMERIC_MODULES)}
    first = _lines(_run(plan("look", look, folder="first")))
    _run(plan("spoil", SPOIL))
    second = _lines(_run(plan("look", look, folder="second")))
    monkeypatch.setenv("BNLIB_FORKSERVER", "0")
    fresh = [line.replace('"BNLIB_FORKSERVER", ', "") for line in _lines(_run(plan("look", look)))]
    assert len(fresh) > 25
    assert _differing(first, fresh) == []
    assert _differing(second, fresh) == []


def _differing(lines, others):
    return [pair for pair in zip(lines, others, strict=True) if pair[0] != pair[1]]


def test_what_nobody_seeded_differs_from_fork_to_fork(plan):
    draw = (
        "import random, numpy, torch\n[random.random(), numpy.random.rand(), torch.rand(1).item()]"
    )
    runs = [plan("draw", draw, folder=f"store{i}") for i in range(2)]
    one, two = [_run(run).cells[0].outputs[0].data["text/plain"] for run in runs]
    assert all(a != b for a, b in zip(one.split(","), two.split(","), strict=True)), (one, two)


def _text(run):
    return _lines(_run(run))[0]


def _server(heavy=False):
    modules = forkserver.ALWAYS + (forkserver.NUMERIC_MODULES if heavy else ())
    return prepared._servers[modules]


def test_one_server_serves_many_runs_and_has_no_thread_when_it_forks(plan, capsys):
    lines = "import os\nprint(os.getppid(), os.getpid())"
    texts = {_text(plan("n", lines, folder=str(i))) for i in range(2)}
    assert len(texts) == 2, "expected a kernel of its own for each run"
    server = _server()
    assert server.refusal == ""
    threads = psutil.Process(server.process.pid).num_threads()
    assert threads == 1
    assert "a Python of its own" not in capsys.readouterr().err


def test_a_server_that_died_is_replaced(plan):
    _run(plan("n", "1", folder="one"))
    first = _server().process
    first.kill()
    first.wait()
    _run(plan("n", "1", folder="two"))
    assert _server().process.pid != first.pid


def test_a_worker_outlives_its_server(plan, tmp_path):
    started = []
    run = plan("n", "import pathlib, time\nwhile not pathlib.Path('go').exists(): time.sleep(0.01)")

    def end(process):
        started.append(process)
        _server().process.kill()
        _server().process.wait()
        (tmp_path / "notebooks" / "go").touch()

    _run(run, started=end)
    assert started[0].wait() == -1


def test_another_environment_or_an_edit_of_what_it_imported_needs_another_server(
    plan, monkeypatch, tmp_path
):
    show = "import os\nprint(os.environ.get('COLOR'))"
    assert _text(plan("n", show, folder="one")) == "None"
    first = _server()
    monkeypatch.setenv("COLOR", "red")
    assert _text(plan("n", show, folder="two")) == "red"
    second = _server()
    assert second is not first
    monkeypatch.setattr(prepared, "_marks", lambda: ["edited"])
    _run(plan("n", show, folder="three"))
    assert _server() is not second


def test_an_edit_of_the_package_changes_its_marks(tmp_path, monkeypatch):
    (tmp_path / "publish").mkdir()
    monkeypatch.setattr(prepared, "__file__", str(tmp_path / "publish" / "prepared.py"))
    before = prepared._marks()
    (tmp_path / "publish" / "worker.py").write_text("")
    assert prepared._marks() != before


def test_a_module_that_is_edited_between_two_runs_is_the_new_one(plan, tmp_path):
    show = "import helper\nprint(helper.NAME)"
    for number, name in enumerate(["one", "another"]):
        run = plan("n", show, folder=name)
        (tmp_path / "notebooks" / "helper.py").write_text(f"NAME = {name!r}\n")
        assert _text(run) == name, number


def test_a_configuration_of_matplotlib_beside_the_notebook_counts(plan, tmp_path):
    show = "import matplotlib\nprint(matplotlib.rcParams['font.size'])"
    assert _text(plan("n", show, folder="one")) == "10.0"
    (tmp_path / "notebooks" / "matplotlibrc").write_text("font.size: 7\n")
    assert _text(plan("n", show, folder="two")) == "7.0"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import threading, time; threading.Thread(target=time.sleep, args=(9,), daemon=True)"
         ".start()", "the imports started 1 threads"),
        ("print('hello')", "the imports printed 6 bytes"),
        ("1 / 0", "an import failed: ZeroDivisionError"),
    ],
)  # fmt: skip
def test_a_server_that_would_not_be_like_a_fresh_python_refuses_and_the_run_starts_one(
    plan, tmp_path, monkeypatch, capsys, code, reason
):
    (tmp_path / "oddity.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(forkserver, "ALWAYS", ("oddity",))
    assert _text(plan("n", "print('well')")) == "well"
    assert f"each run starts a Python of its own: {reason}" in capsys.readouterr().err


def test_other_systems_start_a_python_for_each_run(monkeypatch):
    monkeypatch.delenv("BNLIB_FORKSERVER", raising=False)
    monkeypatch.setattr(forkserver.sys, "platform", "darwin")
    assert "on Linux only, not on darwin" in forkserver.unsupported()


def test_kernels_and_servers_end_with_a_command_that_is_killed(plan, tmp_path):
    run = plan("n", "open('started', 'w').close()\nimport time\ntime.sleep(600)")
    script = (
        "import sys; from pathlib import Path; from bookbuild import execute as ex\n"
        "ex.run_one(ex.plan(Path(sys.argv[1]), root=Path(sys.argv[2])))"
    )
    process = subprocess.Popen([sys.executable, "-c", script, run.notebook, tmp_path])
    _wait((tmp_path / "notebooks" / "started").exists)
    family = psutil.Process(process.pid).children(recursive=True)
    assert len(family) == 3, "expected a server, a worker and a kernel"
    process.kill()
    process.wait()
    _wait(lambda: not any(p.is_running() and p.status() != "zombie" for p in family))


def _wait(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)
