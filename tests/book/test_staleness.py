"""A page never shows a number that today's library would not give, and nothing runs twice.

A miniature book with a library of its own is built as a user would, with `jupyter-book build`. Its
notebooks leave a line in a log when they run, so the tests count kernels, not our own reports.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
CONFIG = """\
title: Miniature
author: Nobody
copyright: "2026"
only_build_toc_files: true
exclude_patterns: [_build]
execute: {execute_notebooks: "off", timeout: 100, stderr_output: show}
repository: {url: ""}
sphinx:
  recursive_update: true
  extra_extensions: [bookbuild.sphinx_ext]
  config: {project: Miniature, book_package: minilib, html_context: {default_mode: auto}}
"""
TOC = """\
format: jb-book
root: book/index
chapters:
  - file: notebooks/direct
  - file: notebooks/indirect
  - file: notebooks/apart
  - file: book/claims
  - file: book/status
  - file: book/map
"""
CLAIMS = """\
[[claim]]
id = "large"
statement = "The number $n$ is large."
source = "Nobody"
chapter = "direct"
expected = "holds"
kind = "measured"
fixed = "registered"
rule = "n > 1"
"""
FILES = {
    "_config.yml": CONFIG,
    "_toc.yml": TOC,
    "book/index.md": "# Index\n\nPasted: {glue:text}`../notebooks/direct.ipynb::number:.3f`.\n",
    "book/claims.md": "# Claims\n\n```{ledger}\n```\n",
    "book/status.md": "# Status\n\n```{status}\n```\n",
    "book/map.md": "# Map\n\n```{chapter-map}\ndirect: Is $n$ *large*?\n```\n",
    "book/claims.toml": CLAIMS,
    "minilib/__init__.py": "",
    "minilib/low.py": "NUMBER = 2.5\n",
    "minilib/high.py": "from minilib import low\n\n\ndef twice():\n    return 2 * low.NUMBER\n",
    "minilib/other.py": "NAME = 'other'\n",
}
LOG = "with open('../../runs', 'a') as f:\n    f.write('{} ')"
DIRECT = """\
from bnlib.results import claim, record
from minilib.low import NUMBER
record("number", NUMBER)
claim("large", "holds" if NUMBER > 1 else "fails", f"The number is {NUMBER}.")"""


class Build(NamedTuple):
    """What one build did: exit status, notebooks that a kernel ran, text on the terminal."""

    status: int
    ran: set[str]
    text: str


class Book:
    """The miniature and its files."""

    def __init__(self, root: Path) -> None:
        self.root, self.log, self.last = root, root.parent / "runs", None

    def sources(self) -> dict[Path, bytes]:
        """Every file that is not built."""
        files = (path for path in self.root.rglob("*") if "_build" not in path.parts)
        return {path: path.read_bytes() for path in files if path.is_file()}

    def bring_up_to_date(self) -> None:
        """Build, unless the last build was of these files, and went well."""
        if self.last != self.sources():
            assert self.build().status == 0

    def build(self, *options: str) -> Build:
        """Run jupyter-book in a process of its own, warnings as errors."""
        self.log.write_text("")
        command = [Path(sys.executable).with_name("jupyter-book"), "build", ".", "-W", "-n"]
        done = subprocess.run(
            [*command, "--keep-going", *options],
            cwd=self.root,
            env={**os.environ, "PYTHONPATH": f"{self.root}:{ROOT}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.last = None if done.returncode else self.sources()
        return Build(done.returncode, set(self.log.read_text().split()), done.stdout)

    def page(self, name: str) -> str:
        """The HTML of a page."""
        return (self.root / "_build" / "html" / f"{name}.html").read_text()

    def words(self, name: str) -> str:
        """What a page says, without its tags."""
        return re.sub(r"<[^>]*>", "", self.page(name))

    def html(self) -> dict[str, bytes]:
        """Every file of the built book."""
        files = (self.root / "_build" / "html").rglob("*")
        return {str(path): path.read_bytes() for path in files if path.is_file()}

    def executed(self) -> set[str]:
        """The files of the store, whole or not."""
        folder = self.root / "_build" / "executed"
        return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def built(tmp_path_factory, write_notebook):
    """The book after a first build, which takes all its executions."""
    root = tmp_path_factory.mktemp("miniature") / "book"
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    _chapter(write_notebook, root, "direct", DIRECT)
    _chapter(write_notebook, root, "indirect", "from minilib import high\nhigh.twice()")
    _chapter(write_notebook, root, "apart", "from minilib import other\nother.NAME")
    book = Book(root)
    first = book.build()
    assert first.status == 0, first.text
    assert first.ran == {"direct", "indirect", "apart"}
    return book


@pytest.fixture
def book(built):
    """The book; what a test edits is restored after it."""
    before = built.sources()
    yield built
    for path, content in built.sources().items():
        if path not in before:
            path.unlink()
        elif content != before[path]:
            path.write_bytes(before[path])


def _chapter(write_notebook, root, name, code):
    path = root / "notebooks" / f"{name}.ipynb"
    write_notebook(path, f"# Chapter {name}", ("remove-cell", LOG.format(name)), code)


def _edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_pages_link_claims_ask_no_other_host_and_carry_the_executed_notebook(book):
    book.bring_up_to_date()
    claims, chapter = book.page("book/claims"), book.page("notebooks/direct")
    assert 'href="../notebooks/direct.html#claim-large"' in claims
    assert 'id="claim-large"' in chapter
    for page in (claims, chapter):
        assert not re.search(r"thebe|kernelName", page)
        assert not re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="(?:https?:)?//', page)
    html = book.root / "_build" / "html"
    assert '<use xlink:href="#MJX-TEX-I-1D45B"' in claims, "the drawing of a formula"
    assert '<path id="MJX-TEX-I-1D45B"' in claims
    assert "MJX" not in chapter, "it has no formula"
    assert (
        "MathJax 3.2.2" in (ROOT / "bookbuild/sphinx_ext/static/formulas-license.txt").read_text()
    )
    assert "The number is 2.5." in (html / "_sources/notebooks/direct.ipynb").read_text()


def test_each_chapter_ships_its_notebooks_and_results_and_links_them(book):
    book.bring_up_to_date()
    html = book.root / "_build" / "html"
    links = re.findall(r'<a href="../(downloads/[^"]+)" download>', book.page("notebooks/direct"))
    assert links == [f"downloads/direct{end}" for end in ("-executed.ipynb", ".ipynb", ".json")]
    executed, stripped, results = ((html / link).read_text() for link in links)
    assert "The number is 2.5." in executed
    code = [c for c in json.loads(stripped)["cells"] if c["cell_type"] == "code"]
    assert code
    assert all(cell["outputs"] == [] for cell in code)
    direct = json.loads(results)
    assert direct["records"]["number"] == {"value": 2.5}
    assert direct["claims"]["large"] == {
        "statement": "The number $n$ is large.",
        "source": "Nobody",
        "kind": "measured",
        "fixed": "registered",
        "rule": "n > 1",
        "verdict": "holds",
        "evidence": "The number is 2.5.",
    }
    for kind in ("-executed", ""):
        first = json.loads((html / f"downloads/direct{kind}.ipynb").read_text())["cells"][0]
        assert "pip install -c requirements.lock" in "".join(first["source"])
    together = json.loads((html / "downloads/all-results.json").read_text())
    assert set(together["chapters"]) == {"direct", "indirect", "apart"}
    assert together["chapters"]["direct"]["records"] == direct["records"]


def test_a_rebuild_without_a_change_runs_nothing_and_changes_no_byte(book):
    book.bring_up_to_date()
    before = book.html()
    (book.root / "stray.md").write_text("# A stray file is not part of the book\n")
    again = book.build()
    assert (again.status, again.ran) == (0, set()), again.text
    assert "no targets are out of date" in again.text
    assert book.html() == before


def test_a_library_edit_runs_who_imports_it_and_pages_follow_and_a_revert_runs_nothing(book):
    assert "Pasted: 2.500" in book.words("book/index")
    _edit(book.root / "minilib/low.py", "2.5", "3.25")
    edited = book.build()
    assert (edited.status, edited.ran) == (0, {"direct", "indirect"}), edited.text
    assert "Pasted: 3.250" in book.words("book/index")
    assert "The number is 3.25." in book.words("book/claims")
    assert "6.5" in book.words("notebooks/indirect")
    assert "6 changed" in edited.text, "expected all but the chapter apart to be read again"

    _edit(book.root / "minilib/low.py", "3.25", "2.5")
    reverted = book.build()
    assert (reverted.status, reverted.ran) == (0, set()), reverted.text
    assert "Pasted: 2.500" in book.words("book/index")
    assert "The number is 2.5." in book.words("book/claims")


def test_a_prose_edit_runs_nothing_and_changes_that_page_only(book):
    book.bring_up_to_date()
    before = book.page("book/index")
    _edit(book.root / "notebooks/indirect.ipynb", "Chapter indirect", "Chapter reworded")
    edited = book.build()
    assert (edited.status, edited.ran) == (0, set()), edited.text
    assert "Chapter reworded" in book.words("notebooks/indirect")
    assert "1 changed" in edited.text
    assert book.page("book/index") == before.replace("Chapter indirect", "Chapter reworded")
    assert "Chapter reworded" in book.words("notebooks/apart"), "titles stand on every page"


def test_a_failing_cell_is_named_ends_the_build_and_keeps_the_last_good_execution(book):
    before = book.executed()
    _edit(book.root / "notebooks/apart.ipynb", "other.NAME", "other.NAMED")
    failed = book.build()
    assert failed.status != 0
    assert "notebooks/apart.ipynb, cell 3, line 2" in failed.text
    assert "other.NAMED" in failed.text
    assert "AttributeError: module 'minilib.other' has no attribute 'NAMED'" in failed.text
    assert book.executed() == before

    _edit(book.root / "notebooks/apart.ipynb", "other.NAMED", "other.NAME")
    repaired = book.build()
    assert (repaired.status, repaired.ran) == (0, set()), repaired.text


@pytest.mark.slow
def test_a_warning_stays_until_it_is_repaired(book):
    _edit(book.root / "book/claims.toml", 'expected = "holds"', 'expected = "fails"')
    for _ in range(2):
        build = book.build()
        assert build.status != 0
        assert "claim 'large': expected 'fails', computed 'holds'" in build.text
        assert build.ran == set()


@pytest.mark.slow
def test_the_map_has_each_chapter_with_its_question_and_counted_verdicts_and_follows_them(book):
    book.bring_up_to_date()
    (row,) = re.findall(r"<tr[^>]*><td>(?:(?!</tr>).)*</tr>", book.page("book/map"), re.S)
    assert 'href="../notebooks/direct.html"' in row
    assert "<em>large</em>" in row
    assert re.sub(r"\s+", " ", re.sub("<[^>]*>", "", row)).endswith("large? 1 holds ")

    _edit(book.root / "minilib/low.py", "2.5", "0.25")
    _edit(book.root / "book/claims.toml", 'expected = "holds"', 'expected = "fails"')
    assert book.build().status == 0
    assert "1 fails" in book.words("book/map")
    assert "1 holds" not in book.words("book/map")


@pytest.mark.slow
def test_a_map_that_does_not_have_exactly_the_chapters_with_claims_is_a_warning(book):
    _edit(book.root / "book/map.md", "direct:", "indirect:")
    build = book.build()
    assert build.status != 0
    assert "chapter-map: 'direct' is not in the map" in build.text
    assert "chapter-map: 'indirect' is no chapter with claims" in build.text


@pytest.mark.slow
def test_an_address_set_in_the_configuration_shows_on_every_page_and_goes_with_it(book):
    """Canonical link, address of the shared card, map of the pages, buttons of the repository."""
    site, code = "https://example.org/norms", "https://github.com/somebody/norms"
    nowhere = 'repository: {url: ""}'
    published = f'html: {{baseurl: "{site}/"}}\nrepository: {{url: "{code}"}}'
    book.bring_up_to_date()
    before = book.page("notebooks/direct")
    assert not (book.root / "_build/html/sitemap.xml").exists()
    for trace in ("canonical", "og:url", "github.com", "mybinder"):
        assert trace not in before, trace

    _edit(book.root / "_config.yml", nowhere, published)
    built = book.build()
    assert (built.status, built.ran) == (0, set()), built.text
    page = f"{site}/notebooks/direct.html"
    head = book.page("notebooks/direct")
    assert f'<link rel="canonical" href="{page}"' in head
    assert f'<meta property="og:url" content="{page}" />' in head
    assert f'content="{site}/_static/card.png"' in head
    assert f"<loc>{page}</loc>" in (book.root / "_build/html/sitemap.xml").read_text()
    for link in (f"{code}/issues/new", f"{code}/blob/", "mybinder.org/v2/gh/somebody/norms"):
        assert link in head, link

    _edit(book.root / "_config.yml", published, nowhere)
    again = book.build()
    assert (again.status, again.ran) == (0, set()), again.text
    assert book.page("notebooks/direct") == before
    assert not (book.root / "_build/html/sitemap.xml").exists()
