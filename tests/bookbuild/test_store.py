"""The key covers what an execution depends on, and no more; the store holds whole files only."""

import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from stored import put

from bookbuild import notebook as nb
from bookbuild import sources, store

FILES = {
    "lib/__init__.py": "",
    "lib/low.py": "A = 1\n",
    "lib/high.py": "def f():\n    from lib.low import A\n    return A\n",
    "lib/other.py": "B = 2\n",
    "lib/plots/__init__.py": "",
    "lib/plots/style.py": "",
    "lib/plots/figure.mplstyle": "font.size: 9\n",
    "lib/plots/data/table.csv": "1\n",
    "requirements.lock": "numpy==2.4.6\n",
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with a package that no other test has imported."""
    package = f"lib{abs(hash(tmp_path)) % 10**9}"
    for name, text in FILES.items():
        path = tmp_path / name.replace("lib/", f"{package}/", 1)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("lib.", f"{package}."))
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path, package


def _key(project, notebook, overrides=None):
    root, package = project
    return store.key(notebook, overrides or {}, root=root, package=package)


def _edit(path):
    path.write_text(path.read_text() + "\n# edited\n")


@pytest.fixture
def notebook(project, write_notebook):
    root, package = project
    parameters = ("parameters", "seeds: int = 5  # number [2, 9]\nstep: float = 1.0")
    return nb.read(
        write_notebook(root / "n.ipynb", "# Prose", parameters, f"from {package} import high")
    )


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("__init__.py", True),
        ("high.py", True),
        ("low.py", True),
        ("other.py", False),
        ("plots/__init__.py", False),
        ("plots/figure.mplstyle", False),
    ],
)
def test_a_library_file_counts_exactly_if_the_notebook_runs_it(project, notebook, name, counts):
    root, package = project
    before = _key(project, notebook)
    _edit(root / package / name)
    assert (_key(project, notebook) != before) is counts


def test_data_beside_a_module_counts_for_who_imports_that_folder(project):
    package = project[1]
    files = sources.library(package, {f"{package}.plots.style.use_style"})
    assert set(files) == {
        "__init__.py", "plots/__init__.py", "plots/style.py", "plots/figure.mplstyle",
        "plots/data/table.csv",
    }  # fmt: skip


def test_a_star_counts_all_below_it(project):
    package = project[1]
    assert "plots/style.py" in sources.library(package, {f"{package}.plots.*"})
    assert "other.py" in sources.library(package, {f"{package}.*"})


def test_a_package_that_does_not_exist_has_no_files():
    assert sources.library("no_such_package", {"no_such_package.x"}) == {}


def test_prose_alt_text_and_figure_tags_are_not_in_the_key(project, notebook):
    before = _key(project, notebook)
    notebook.cells[0].source = "# Other prose"
    notebook.cells[2].metadata = {"tags": ["hide-input"], "mystnb": {"image": {"alt": "x"}}}
    notebook.cells[2].id = "renamed"
    assert _key(project, notebook) == before


def test_code_lock_python_and_versions_are_in_the_key(project, notebook, monkeypatch):
    keys = {_key(project, notebook)}
    notebook.cells[2].source += "\n1"
    keys.add(_key(project, notebook))
    _edit(project[0] / "requirements.lock")
    keys.add(_key(project, notebook))
    monkeypatch.setattr(sources, "installed", lambda name: "0")
    keys.add(_key(project, notebook))
    monkeypatch.setattr(sources.sys, "version_info", (3, 99))
    monkeypatch.setattr(sources, "environment", lambda root: {"python": "3.99"})
    keys.add(_key(project, notebook))
    assert len(keys) == 5


def test_an_override_counts_only_where_it_differs_from_the_default(project, notebook):
    assert _key(project, notebook, {"seeds": 5, "step": 1}) == _key(project, notebook)
    assert _key(project, notebook, {"seeds": 6}) != _key(project, notebook)
    assert _key(project, notebook, {"step": 2}) == _key(project, notebook, {"step": 2.0})


def test_environment_names_what_is_installed(tmp_path):
    found = sources.environment(tmp_path)
    assert found["lock"] is None
    assert found["numpy"] == __import__("numpy").__version__
    assert sources.installed("no-such-distribution") is None


def test_what_was_put_is_found_again_under_its_key_only(tmp_path, notebook):
    put(tmp_path, "n", "k1", notebook, seconds=1.5)
    found = store.get(tmp_path, "n", "k1")
    assert found.metadata[store.STAMP]["seconds"] == 1.5
    assert store.get(tmp_path, "n", "k2") is None
    os.rename(store.path_of(tmp_path, "n", "k1"), store.path_of(tmp_path, "n", "k2"))
    assert store.get(tmp_path, "n", "k2") is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[:100],
        lambda text: text[:-3],
        lambda text: text.replace("0.123", "0.124"),
        lambda text: text.replace("from lib", "from lob"),
        lambda text: text.replace('"seconds": 1.5', '"seconds": 1.6'),
        lambda text: text.replace('"key": "k"', '"key": "l"'),
        lambda text: text.replace('"digest"', '"tsegid"'),
        lambda text: "[]",
        lambda text: "{}",
        lambda text: '{"metadata": {"bnlib": null}}',
        lambda text: "\0" * 50,
    ],
)
def test_a_damaged_file_is_never_read_and_is_set_aside(tmp_path, notebook, damage, caplog):
    notebook.cells[2].source = "from lib import x"
    notebook.cells[2].outputs = [nbformat.v4.new_output("stream", text="0.123")]
    path = put(tmp_path, "n", "k", notebook, seconds=1.5)
    whole = path.read_text()
    assert damage(whole) != whole
    path.write_text(damage(whole))
    assert store.get(tmp_path, "n", "k") is None
    assert [p.name for p in path.parent.iterdir()] == ["k.damaged"]
    assert "k.ipynb was damaged; it is now k.damaged" in caplog.text
    path.write_text(whole)
    assert store.get(tmp_path, "n", "k").cells[2].outputs[0].text == "0.123"


def test_a_file_with_bytes_that_are_no_text_is_damaged(tmp_path, notebook):
    path = put(tmp_path, "n", "k", notebook)
    path.write_bytes(path.read_bytes().replace(b"k", b"\xff", 1))
    assert store.get(tmp_path, "n", "k") is None


def test_what_is_put_while_a_damaged_file_is_set_aside_is_kept(tmp_path, notebook, monkeypatch):
    path = put(tmp_path, "n", "k", notebook)
    whole, replace = path.read_text(), type(path).replace
    path.write_text("damaged")

    def late(self, target):
        monkeypatch.undo()
        path.write_text(whole)  # another process repairs it just now
        return replace(self, target)

    monkeypatch.setattr(type(path), "replace", late)
    assert store.get(tmp_path, "n", "k") is None
    assert path.read_text() == whole


def test_text_with_what_looks_like_an_empty_digest_is_whole(tmp_path, notebook):
    notebook.cells[2].outputs = [nbformat.v4.new_output("stream", text="0" * 200)]
    put(tmp_path, "n", "k", notebook)
    assert store.get(tmp_path, "n", "k").cells[2].outputs[0].text == "0" * 200


def test_half_written_files_of_dead_writers_are_removed_and_no_others(tmp_path, notebook):
    whole = put(tmp_path, "n", "k", notebook)
    script = (
        "import os, sys; from pathlib import Path; from bookbuild import store\n"
        "store.os.fsync = lambda handle: os.kill(os.getpid(), 9)\n"
        "store.write_atomically(Path(sys.argv[1]), 'half')"
    )
    killed = subprocess.run([sys.executable, "-c", script, whole.parent / "other.ipynb"])
    assert killed.returncode == -9
    (left,) = whole.parent.glob(".*.tmp")
    ours, ours_name = store._temporary(whole.parent)
    os.close(ours)
    elsewhere = whole.parent / ".another-host+1+x.tmp"
    elsewhere.touch()
    assert store.get(tmp_path, "n", "other") is None
    store.prepare(tmp_path / "n")
    assert not left.exists()
    assert set(whole.parent.iterdir()) == {whole, Path(ours_name), elsewhere}


def test_two_processes_that_put_one_key_at_once_leave_it_whole_at_every_moment(tmp_path, notebook):
    put(tmp_path, "n", "k", notebook)
    script = (
        "import sys, nbformat; from pathlib import Path; from stored import put\n"
        "book = nbformat.read(sys.argv[1] + '/n/k.ipynb', as_version=4)\n"
        "for i in range(40): put(Path(sys.argv[1]), 'n', 'k', book, seconds=i)"
    )
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1] / "support")}
    command = [sys.executable, "-c", script, tmp_path]
    writers = [subprocess.Popen(command, env=env) for _ in range(2)]
    looks = 0
    while any(writer.poll() is None for writer in writers) or not looks:
        assert store.get(tmp_path, "n", "k") is not None
        looks += 1
    assert [writer.wait() for writer in writers] == [0, 0]
    assert [p.name for p in (tmp_path / "n").iterdir()] == ["k.ipynb"]


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    target = tmp_path / "file"
    store.write_atomically(target, "old")

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        store.write_atomically(target, "new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert target.read_text() == "old"


def test_stored_text_is_a_notebook_that_others_can_read(tmp_path, notebook):
    path = put(tmp_path, "n", "k", notebook)
    nbformat.validate(json.loads(path.read_text()))
