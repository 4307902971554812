"""Runs in processes of their own: what is stored, what is reported, what an interruption leaves."""

import ast
import copy
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from matplotlib import font_manager

from bookbuild import execute as ex
from bookbuild import notebook as nb
from bookbuild import sources, store

GOOD = """\
import os, random
print(n, os.environ["OMP_NUM_THREADS"], os.environ["PYTHONHASHSEED"], os.path.basename(os.getcwd()))
{str(i) for i in range(9)}
"""
BAD = "def invert(x):\n    return 1 / x\n\n\ninvert(0)"
PARAMETERS = ("parameters", "n: int = 2  # a number [1, 9]")


@pytest.fixture
def project(tmp_path, write_notebook):
    def make(**cells):
        for name, source in cells.items():
            write_notebook(tmp_path / "notebooks" / f"{name}.ipynb", "# Text", PARAMETERS, source)
        return tmp_path

    return make


def _plan(root, name, **overrides):
    return ex.plan(root / "notebooks" / f"{name}.ipynb", overrides, root=root)


def _files(root):
    return sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())


def test_a_run_that_fails_is_reported_with_its_place_and_the_others_are_stored(project, capsys):
    root = project(good=GOOD, bad=BAD)
    bad, good = ex.execute([_plan(root, name) for name in ("bad", "good")], jobs=2)
    assert [bad.ok, good.ok] == [False, True]
    assert _files(root / "_build") == [f"executed/good/{good.run.key}.ipynb"]

    text = ex.describe(bad)
    assert "notebooks/bad.ipynb, cell 3, line 2" in text
    assert "return 1 / x" in text
    assert "ZeroDivisionError: division by zero" in text
    assert "invert(0)" in text
    assert "\x1b" not in text
    told = sorted(capsys.readouterr().err.splitlines())
    assert told == ["executed bad: FAILED", f"executed good: {good.facts['seconds']:.1f} s"]

    again = ex.execute([good.run])
    assert [(r.ok, r.fresh) for r in again] == [(True, False)]
    executed = store.get(good.run.folder, "good", good.run.key)
    assert executed.cells[2].outputs[0].text == "2 1 0 notebooks\n"
    assert executed.metadata[store.STAMP]["cpu_seconds"] > 0


def test_two_executions_from_scratch_give_the_same_bytes(project, tmp_path):
    root = project(good=GOOD)
    path = root / "notebooks" / "good.ipynb"
    runs = [ex.plan(path, {"n": 3}, root=root, folder=tmp_path / f) for f in ("one", "two")]
    texts = []
    for run, report in zip(runs, ex.execute(runs), strict=True):
        assert report.ok, ex.describe(report)
        done = store.get(run.folder, "good", run.key)
        assert done.cells[2].metadata.tags == [store.INJECTED]
        for name in ("seconds", "cpu_seconds", "digest"):
            del done.metadata[store.STAMP][name]
        texts.append(str(done))
    assert texts[0] == texts[1]


def test_a_cell_that_is_deaf_to_interrupts_ends_at_its_time_with_its_kernel(project):
    deaf = "import os, signal\nsignal.signal(2, signal.SIG_IGN)\nopen('pid', 'w').write"
    root = project(slow=f"{deaf}(str(os.getpid()))\nwhile True: pass")
    (report,) = ex.execute([_plan(root, "slow")], timeout=2)
    assert "slow.ipynb, cell 3\n  CellTimeoutError" in ex.describe(report)
    assert not psutil.pid_exists(int((root / "notebooks" / "pid").read_text()))


def test_what_cannot_be_stored_is_reported_before_anything_runs(project):
    root = project(good="open('ran', 'w')")
    (root / "_build").write_text("a file where the store should be")
    (report,) = ex.execute([_plan(root, "good")])
    assert "the result could not be stored" in ex.describe(report)
    assert str(root / "_build") in ex.describe(report)
    assert not (root / "notebooks" / "ran").exists()


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


@pytest.mark.parametrize(
    ("signum", "status"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGKILL, -9)],
)
def test_an_interrupted_run_leaves_no_process_and_no_file(project, signum, status):
    root = project(slow="open('started', 'w').close()\nimport time\ntime.sleep(60)")
    command = [sys.executable, "-m", "bnlib", "execute", "slow"]
    process = subprocess.Popen(command, cwd=root, stderr=subprocess.PIPE, start_new_session=True)
    _wait(lambda: (root / "notebooks" / "started").exists())
    family = psutil.Process(process.pid).children(recursive=True)
    assert family, "expected a kernel"
    os.killpg(process.pid, signum) if signum == signal.SIGINT else os.kill(process.pid, signum)
    _, told = process.communicate(timeout=20)
    assert process.returncode == status
    assert (b"interrupted. What had finished is in the store" in told) is (status > 0)
    _wait(lambda: not any(p.is_running() and p.status() != "zombie" for p in family))
    assert not [p for p in (root / "_build").rglob("*") if p.is_file()]


def _wait(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


# Forks share what is slow to import, and nothing of the library: each loads what its lines load.
LOADED = """\
import json, os, sys
import pandas, scipy.stats, sklearn, statsmodels.api, torch
from matplotlib import pyplot
for name, lines in json.loads(sys.argv[1]).items():
    if not os.fork():
        assert not [module for module in sys.modules if module.split(".")[0] == "bnlib"]
        exec(lines)
        files = [m.__file__ for n, m in sys.modules.items() if n.split(".")[0] == "bnlib"]
        print(json.dumps([name, files]), flush=True)
        os._exit(0)
    assert os.wait()[1] == 0, name
"""


def test_library_files_cover_every_module_that_a_notebook_loads():
    root = Path(__file__).parents[2]
    books = {path.name: nb.read(path) for path in sorted((root / "notebooks").glob("*.ipynb"))}
    lines = {name: "\n".join(_imports(book)) for name, book in books.items()}
    script = [sys.executable, "-c", LOADED, json.dumps(lines)]
    out = subprocess.run(script, stdout=subprocess.PIPE, text=True, check=True).stdout
    loaded = dict(map(json.loads, out.splitlines()))
    assert loaded.keys() == books.keys()
    for name, files in loaded.items():
        known = sources.library("bnlib", [cell.source for cell in nb.code_cells(books[name])])
        assert {Path(f) for f in files} <= {root / "bnlib" / file for file in known}, name
        assert len(files) > 5, name


def _imports(book):
    nodes = [node for cell in nb.code_cells(book) for node in ast.parse(cell.source).body]
    found = [ast.unparse(n) for n in nodes if isinstance(n, ast.Import | ast.ImportFrom)]
    return [line for line in found if "bnlib" in line]


# What a user's set-up holds, and what a kernel would show of it.
SHOWN = """\
import os, sys
import matplotlib, numpy
from matplotlib import font_manager
print(os.path.basename(font_manager.findfont("STIXGeneral")))
print(numpy.array([1.23456]), matplotlib.rcParams["lines.linewidth"], matplotlib.get_backend())
print("leak" in globals(), [n for n in sys.modules if n == "leaked"])
print(sys.flags.optimize, sorted(n for n in os.environ if "LEAK" in n), os.environ["TZ"])"""


def test_nothing_of_the_users_set_up_reaches_a_kernel(project, tmp_path, monkeypatch):
    clean = _shown(project(one=SHOWN), "one")
    home = tmp_path / "home"
    profile = home / ".ipython" / "profile_default"
    startup = profile / "startup" / "00.py"
    without = copy.copy(font_manager.fontManager)
    without.ttflist = [font for font in without.ttflist if "STIX" not in font.name]
    fonts = home / ".cache" / "matplotlib" / f"fontlist-v{without.__version__}.json"
    for path, text in {
        startup: "import numpy\nleak = numpy.set_printoptions(precision=2)",
        profile / "ipython_config.py": "c.InteractiveShellApp.exec_lines = ['leak = 1']",
        home / ".config" / "matplotlib" / "matplotlibrc": "lines.linewidth: 9",
        home / "rc" / "matplotlibrc": "lines.linewidth: 8",
        home / "path" / "leaked.py": "",
        home / "path" / "sitecustomize.py": "import leaked",
        home / ".local/share/jupyter/kernels/python3/kernel.json": '{"argv": ["false"]}',
    }.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    fonts.parent.mkdir(parents=True)
    font_manager.json_dump(without, fonts)
    for name, value in {
        "HOME": home,
        "XDG_CACHE_HOME": home / ".cache",
        "IPYTHONDIR": home / ".ipython",
        "JUPYTER_PATH": home / ".local/share/jupyter",
        "MPLBACKEND": "svg",
        "MATPLOTLIBRC": home / "rc",
        "PYTHONSTARTUP": startup,
        "PYTHONOPTIMIZE": "1",
        "PYTHONPATH": f"{home / 'path'}:{os.environ.get('PYTHONPATH', '')}",
        "TZ": "Asia/Tokyo",
        "LEAK": "1",
    }.items():
        monkeypatch.setenv(name, str(value))
    assert _shown(project(two=SHOWN), "two") == clean
    assert clean.startswith("STIXGeneral.ttf\n[1.23456] 1.5 module://matplotlib_inline")


def _shown(root, name):
    (report,) = ex.execute([_plan(root, name)])
    assert report.ok, ex.describe(report)
    return store.get(report.run.folder, name, report.run.key).cells[2].outputs[0].text


def test_a_cell_that_ends_half_way_is_a_failure(project):
    cells = {
        "raises": ("raise SystemExit(0)", "SystemExit: 0"),
        "exits": ("exit()", "expected a cell that runs to its end, got one that exits"),
        "interrupts": ("raise KeyboardInterrupt", "KeyboardInterrupt"),
    }
    root = project(**{name: cell for name, (cell, _) in cells.items()})
    for report in ex.execute([_plan(root, name) for name in cells], jobs=2):
        assert not report.ok
        assert report.facts["cell"] == 3
        assert cells[report.run.slug][1] in ex.describe(report)
    assert not _files(root / "_build")


def test_an_exception_that_its_cell_announces_is_no_failure_and_another_is_blamed(
    tmp_path, write_notebook
):
    path = tmp_path / "notebooks" / "n.ipynb"
    write_notebook(path, ("raises-exception", "1 / 0"), "print('went on')")
    (good,) = ex.execute([ex.plan(path, root=tmp_path)])
    executed = store.get(good.run.folder, "n", good.run.key)
    assert executed.cells[0].outputs[0].ename == "ZeroDivisionError"
    assert executed.cells[1].outputs[0].text == "went on\n"
    write_notebook(path, ("raises-exception", "1 / 0"), "[][1]")
    (bad,) = ex.execute([ex.plan(path, root=tmp_path)])
    assert (bad.facts["cell"], bad.facts["error"]) == (2, "IndexError: list index out of range")


def test_what_changes_while_it_is_read_is_not_stored(tmp_path, write_notebook):
    path = tmp_path / "notebooks" / "n.ipynb"
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "data.txt").write_text("1")
    write_notebook(path, "import os\nopen('data.txt').read(), os.system('echo 2 >> data.txt')")
    (report,) = ex.execute([ex.plan(path, root=tmp_path)])
    assert "data.txt differs from the file that the key was made of" in ex.describe(report)
    assert not report.run.path.exists()


def test_a_folder_may_have_any_name(tmp_path, write_notebook):
    root = tmp_path / "a%2Fb?{c} d#"
    path = write_notebook(root / "notebooks" / "n.ipynb", PARAMETERS, "n")
    (report,) = ex.execute([ex.plan(path, {"n": 3}, root=root)])
    assert report.ok, ex.describe(report)
