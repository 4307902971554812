"""Runs in processes of their own: what is stored, what is reported, what an interruption leaves."""

import ast
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from bookbuild import execute as ex
from bookbuild import notebook as nb
from bookbuild import store

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


def test_runs_that_fail_or_kill_their_worker_are_reported_and_the_others_stored(project, capsys):
    root = project(good=GOOD, bad=BAD, kills="import os\nos.kill(os.getppid(), 9)\nn")
    names = ["bad", "good", "kills"]
    bad, good, kills = ex.execute([_plan(root, name) for name in names], jobs=2)
    assert [bad.ok, good.ok, kills.ok] == [False, True, False]
    assert _files(root / "_build") == [f"executed/good/{good.run.key}.ipynb"]

    text = ex.describe(bad)
    assert "notebooks/bad.ipynb, cell 3, line 2" in text
    assert "return 1 / x" in text
    assert "ZeroDivisionError: division by zero" in text
    assert "invert(0)" in text
    assert "\x1b" not in text
    assert "kills.ipynb\n  the worker ended with status -9" in ex.describe(kills)
    told = sorted(capsys.readouterr().err.splitlines())
    assert told[:2] == ["executed bad: FAILED", f"executed good: {good.facts['seconds']:.1f} s"]

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


def test_a_result_that_does_not_fit_on_the_disk_is_reported_and_leaves_no_part(project):
    run = _plan(project(long="print('x' * 200_000)"), "long")
    run.folder.mkdir(parents=True)
    mount = shutil.which("mount")
    command = [mount, "-t", "tmpfs", "-o", "size=64k", "tmpfs", run.folder]
    if not mount or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("only root can mount a small disk; the next test needs none")
    try:
        (report,) = ex.execute([run])
        assert "No space left on device" in ex.describe(report)
        assert _files(run.folder) == []
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


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_run_leaves_no_process_and_no_file(project, signum):
    root = project(slow="open('started', 'w').close()\nimport time\ntime.sleep(60)")
    command = [sys.executable, "-m", "bnlib", "execute", "slow"]
    process = subprocess.Popen(command, cwd=root, stderr=subprocess.PIPE, start_new_session=True)
    _wait(lambda: (root / "notebooks" / "started").exists())
    family = psutil.Process(process.pid).children(recursive=True)
    assert len(family) >= 2, "expected a worker and a kernel"
    os.killpg(process.pid, signum) if signum == signal.SIGINT else process.kill()
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
