"""Runs in processes of their own: what is stored, what is reported, what an interruption leaves."""

import ast
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from bookbuild import execute as ex
from bookbuild import notebook as nb
from bookbuild import processes, store

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


def test_runs_that_fail_are_reported_and_the_others_stored(project):
    root = project(good=GOOD, bad=BAD, dies="import os\nos._exit(3)")
    names = ["bad", "good", "dies"]
    bad, good, dies = ex.execute([_plan(root, name) for name in names], jobs=2)
    assert [bad.ok, good.ok, dies.ok] == [False, True, False]
    assert _files(root / "_build") == [f"executed/good/{good.run.key}.ipynb"]

    text = ex.describe(bad)
    assert "notebooks/bad.ipynb, cell 3, line 2" in text
    assert "return 1 / x" in text
    assert "ZeroDivisionError: division by zero" in text
    assert "invert(0)" in text
    assert "\x1b" not in text
    assert "dies.ipynb, cell 3\n  DeadKernelError" in ex.describe(dies)

    again = ex.execute([good.run])
    assert [(r.ok, r.fresh) for r in again] == [(True, False)]
    executed = store.get(good.run.folder, "good", good.run.key)
    assert executed.cells[2].outputs[0].text == "2 1 0 notebooks\n"
    assert executed.metadata[store.STAMP]["cpu_seconds"] > 0


def test_two_executions_from_scratch_give_the_same_bytes(project, tmp_path):
    root = project(good=GOOD)
    path = root / "notebooks" / "good.ipynb"
    texts = []
    runs = [ex.plan(path, {"n": 3}, root=root, folder=tmp_path / f) for f in ("one", "two")]
    # Both have one notebook and one key, so they are handed over in two calls.
    for run in runs:
        assert all(report.ok for report in ex.execute([run]))
        done = store.get(run.folder, "good", run.key)
        assert done.cells[2].metadata.tags == [store.INJECTED]
        for name in ("seconds", "cpu_seconds", "digest"):
            del done.metadata[store.STAMP][name]
        texts.append(str(done))
    assert texts[0] == texts[1]


def test_parameters_are_checked_before_anything_runs(project):
    root = project(good=GOOD)
    with pytest.raises(ValueError, match=r"good\.ipynb: unknown parameter 'm'.*n: int \[1, 9\]"):
        _plan(root, "good", m=3)
    with pytest.raises(ValueError, match="expected int"):
        _plan(root, "good", n=3.5)
    with pytest.raises(ValueError, match="got 10"):
        _plan(root, "good", n=10)
    assert not (root / "_build").exists()


def test_a_cell_over_its_time_is_a_failure(project):
    root = project(slow="import time\ntime.sleep(60)")
    (report,) = ex.execute([_plan(root, "slow")], timeout=1)
    assert "CellTimeoutError" in ex.describe(report)
    assert "cell 3" in ex.describe(report)


def test_a_worker_that_dies_is_reported(project, monkeypatch):
    root = project(good=GOOD)
    monkeypatch.setenv("BNLIB_FORKSERVER", "0")
    monkeypatch.setattr(processes.sys, "executable", "/bin/false")
    (report,) = ex.execute([_plan(root, "good")])
    assert "the worker ended with status 1 before its report" in ex.describe(report)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_run_leaves_no_process_and_no_file(project, signum):
    root = project(slow="open('started', 'w').close()\nimport time\ntime.sleep(60)")
    command = [sys.executable, "-m", "bnlib", "execute", "slow"]
    process = subprocess.Popen(command, cwd=root, stderr=subprocess.PIPE, start_new_session=True)
    _wait(lambda: (root / "notebooks" / "started").exists())
    family = psutil.Process(process.pid).children(recursive=True)
    assert len(family) >= 2, "expected a worker and a kernel"
    os.kill(process.pid, signum)
    process.communicate(timeout=20)
    assert process.returncode != 0
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
        known = store.sources.library("bnlib", nb.imports(books[name], "bnlib"))
        assert {Path(f) for f in files} <= {root / "bnlib" / file for file in known}, name
        assert len(files) > 5, name


def _imports(book):
    nodes = [node for cell in nb.code_cells(book) for node in ast.parse(cell.source).body]
    found = [ast.unparse(n) for n in nodes if isinstance(n, ast.Import | ast.ImportFrom)]
    return [line for line in found if "bnlib" in line]
