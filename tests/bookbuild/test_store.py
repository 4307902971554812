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
    declared = nb.parameters(notebook)
    made_of = store.basis(root / "n.ipynb", notebook, root=root, package=package)
    of = store.keys(root, declared, made_of)
    return of(store.effective(declared, overrides or {}))[0]


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


@pytest.mark.parametrize(
    ("cell", "files"),
    [
        ("from lib.plots.style import use_style", {"plots/style.py", "plots/data/table.csv"}),
        ("from lib.plots import *", {"plots/style.py", "plots/figure.mplstyle"}),
        ("files = !ls\nimport lib", {"plots/style.py", "other.py", "high.py"}),
        ("import importlib\nimportlib.import_module('lib.' + name)", {"other.py"}),
        ("%run -m lib.other", {"other.py"}),
    ],
)
def test_what_a_cell_may_import_counts_with_the_data_of_its_folder(project, cell, files):
    package = project[1]
    assert files <= set(
        sources.library(
            package,
            [cell.replace("lib.", f"{package}.").replace("import lib", f"import {package}")],
        )
    )


def test_a_package_that_does_not_exist_has_no_files():
    assert sources.library("no_such_package", ["import no_such_package.x"]) == {}


def test_a_stored_table_that_appears_changes_or_goes_is_in_the_key_and_a_lost_one_is_refused(
    project, notebook
):
    root, package = project
    table, link = root / "results.json", root / package / "full.json"
    keys = {_key(project, notebook)}
    for text in ("1", "2"):
        table.write_text(text)
        link.unlink(missing_ok=True)
        link.symlink_to(table)
        keys.add(_key(project, notebook))
    assert len(keys) == 3
    table.rename(root / "away.json")
    with pytest.raises(ValueError, match=r"expected the stored file .*results\.json, got none"):
        _key(project, notebook)


# A file beside the notebook, and the cell that it can reach.
BESIDE = {
    "a module": ("mine.py", "import mine"),
    "one that a module imports": ("deep.py", "import mine"),
    "a package": ("pack/inner.py", "from pack import inner"),
    "one that a package imports": ("pack/low.py", "from pack import inner"),
    "one in place of Python's": ("random.py", "import numpy"),
    "one of an unclear import": ("mine.py", "%run mine.py"),
    "settings of figures": ("matplotlibrc", "1"),
    "a file by its name": ("data/own.csv", "open('data/own.csv')"),
    "a file that a module names": ("own.txt", "import mine"),
}


@pytest.mark.parametrize(("name", "cell"), BESIDE.values(), ids=BESIDE)
def test_a_file_beside_the_notebook_counts_exactly_if_it_can_reach_a_run(
    project, notebook, name, cell
):
    folder, package = project
    files = {"mine.py": "import deep, pack\nopen('own.txt')", "deep.py": f"import {package}.other"}
    files |= {"pack/__init__.py": "", "pack/inner.py": "from . import low", "pack/low.py": ""}
    for file, text in (files | {"unused.csv": "1"}).items():
        (folder / file).parent.mkdir(exist_ok=True)
        (folder / file).write_text(text)
    notebook.cells[2].source = cell
    keys = [_key(project, notebook)]
    for edited in ("unused.csv", name):
        (folder / edited).parent.mkdir(exist_ok=True)
        (folder / edited).touch()
        _edit(folder / edited)
        keys.append(_key(project, notebook))
    assert keys[0] == keys[1] != keys[2]


@pytest.mark.parametrize(
    "cell",
    [
        "open('own.txt', 'a').close()",
        "with open('own.txt', mode='wb') as file:\n    pass",
        "from pathlib import Path\nPath('own.txt').write_text('1')",
        "table.to_csv('own.txt')",
        "fig.savefig('own.txt')",
        "name = 'own.txt'\ntable.to_csv(name)",
    ],
)
def test_a_file_that_a_cell_writes_does_not_outdate_it(project, notebook, cell):
    notebook.cells[2].source = cell
    before = _key(project, notebook)
    (project[0] / "own.txt").write_text("1")
    assert _key(project, notebook) == before


def test_the_library_that_an_own_module_imports_counts(project, notebook):
    folder, package = project
    (folder / "mine.py").write_text(f"import {package}.other")
    notebook.cells[2].source = "import mine"
    before = _key(project, notebook)
    _edit(folder / package / "other.py")
    assert _key(project, notebook) != before


def test_the_content_of_a_file_that_a_parameter_names_counts(project, write_notebook):
    folder = project[0]
    declared = "data: str = 'default.npz'\nmore: list = ['a']"
    notebook = nb.read(write_notebook(folder / "n.ipynb", ("parameters", declared), "data"))
    given = [{}, {"data": str(folder / "own.npz")}, {"more": ["listed.npz"]}]
    before = [_key(project, notebook, overrides) for overrides in given]
    for name in ("default.npz", "own.npz", "listed.npz"):
        (folder / name).write_bytes(b"1")
    here = [_key(project, notebook, overrides) for overrides in given]
    (folder / "own.npz").write_bytes(b"2")
    changed = [_key(project, notebook, overrides) for overrides in given]
    assert not set(before) & set(here)
    assert [a == b for a, b in zip(here, changed, strict=True)] == [True, False, True]


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
        lambda text: text.replace("k", "\udcff", 1),
    ],
)
def test_a_damaged_file_counts_as_none(tmp_path, notebook, damage, caplog):
    notebook.cells[2].source = "from lib import x"
    notebook.cells[2].outputs = [nbformat.v4.new_output("stream", text="0.123")]
    path = put(tmp_path, "n", "k", notebook, seconds=1.5)
    whole = path.read_text()
    assert damage(whole) != whole
    path.write_text(damage(whole), errors="surrogateescape")
    assert store.get(tmp_path, "n", "k") is None
    assert "k.ipynb is damaged; it counts as none" in caplog.text
    path.write_text(whole)
    assert store.get(tmp_path, "n", "k").cells[2].outputs[0].text == "0.123"


def test_text_with_what_looks_like_an_empty_digest_is_whole(tmp_path, notebook):
    notebook.cells[2].outputs = [nbformat.v4.new_output("stream", text="0" * 200)]
    put(tmp_path, "n", "k", notebook)
    assert store.get(tmp_path, "n", "k").cells[2].outputs[0].text == "0" * 200


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


def test_stored_text_is_a_notebook_that_others_can_read_and_nothing_else_is_stored(
    tmp_path, notebook
):
    path = put(tmp_path, "n", "k", notebook)
    nbformat.validate(json.loads(path.read_text()))
    notebook.cells[2].outputs = [nbformat.v4.new_output("display_data", {"application/x+json": {}})]
    notebook.cells[2].outputs[0].data["application/x+json"]["a"] = float("nan")
    with pytest.raises(ValueError, match="not JSON compliant"):
        store.text_of("k", notebook)
    with pytest.raises(ValueError, match="not JSON compliant"):
        store.direct_text("k", {"a": {"value": float("inf")}}, {})
