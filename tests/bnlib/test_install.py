"""What `pip install bnlib` gives: few packages, and a library that works outside the checkout."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

import bnlib.__main__ as cli

ROOT = Path(__file__).parents[2]
BUILDING = "sphinx", "dask", "distributed", "papermill", "nbformat", "IPython", "bookbuild"


def run(code, cwd):
    done = subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("module", ["bnlib.layer", "bnlib.reference", "bnlib.audit.report"])
def test_the_library_pulls_in_nothing_that_builds_books(module, tmp_path):
    loaded = run(f"import sys, {module}; print(*sys.modules)", tmp_path).split()
    assert not {name.partition(".")[0] for name in loaded} & set(BUILDING)


def test_the_library_needs_about_ten_packages():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert len(project["dependencies"]) <= 11
    names = {re.match(r"[\w-]+", line)[0] for line in project["dependencies"]}
    assert not names & set(BUILDING)


def test_a_command_whose_package_is_missing_says_what_to_install(monkeypatch):
    monkeypatch.setitem(cli.COMMANDS, "execute", "bookbuild_is_not_here.cli:command")
    result = CliRunner().invoke(cli.main, ["execute", "forward", "-p", "seeds", "9"])
    assert result.exit_code == 1
    assert "`bnlib execute` needs the package bookbuild_is_not_here" in result.output
    assert "pip install 'bnlib[book]'" in result.output
    assert CliRunner().invoke(cli.main, ["--help"]).exit_code == 0


def test_the_package_alone_has_its_stored_tables_and_imports_every_chapter(tmp_path):
    """The folder as a wheel carries it: symbolic links to results/ have become files."""
    shutil.copytree(ROOT / "bnlib", tmp_path / "bnlib", ignore=shutil.ignore_patterns("*.pyc"))
    links = [path for path in (ROOT / "bnlib").rglob("*") if path.is_symlink()]
    for link in links:
        copy = tmp_path / link.relative_to(ROOT)
        assert not copy.is_symlink()
        assert copy.read_bytes() == (ROOT / "results" / link.resolve().name).read_bytes()
    chapters = sorted(path.parent.name for path in (ROOT / "bnlib/chapters").glob("*/__init__.py"))
    code = (
        "import importlib, bnlib; print(bnlib.__file__)\n"
        f"for name in {chapters}: importlib.import_module(f'bnlib.chapters.{{name}}').Settings()"
    )
    assert run(code, tmp_path).startswith(str(tmp_path))


def test_nothing_in_the_library_looks_for_the_checkout():
    texts = {path: path.read_text() for path in (ROOT / "bnlib").rglob("*.py")}
    assert [str(path) for path, text in texts.items() if "parents[" in text] == []
