"""Links to files to take away: each leads to a file that is there, and belongs to these pages."""

import os
import re

import pytest

from bookbuild import downloads


@pytest.fixture
def html(tmp_path):
    """A built book of two pages: a chapter, and one with links for the whole book."""
    html = tmp_path / "html"
    files = {
        "notebooks/one.html": f"<article>One {downloads.slot('one')}</article>",
        "index.html": f"<article>Home {downloads.slot(downloads.BOOK)}</article>",
        "downloads/one-executed.ipynb": "x" * 2_340_000,
        "downloads/one.ipynb": "x" * 70_600,
        "downloads/one.json": "{}",
        "downloads/all-results.json": "{}",
    }
    for name, text in files.items():
        (html / name).parent.mkdir(parents=True, exist_ok=True)
        (html / name).write_text(text)
    return html


def put(html, *names):
    for name in names:
        (html / "downloads" / name).write_text("printed")


def links(html, name):
    page = html / name
    found = re.findall(r'<a href="([^"]+)" download>([^<]+)</a>', page.read_text())
    assert all((page.parent / target).is_file() for target, _ in found)
    return dict(found)


def test_a_chapter_links_its_three_files_by_name_and_size(html):
    downloads.fill(html)
    assert links(html, "notebooks/one.html") == {
        "../downloads/one-executed.ipynb": "executed notebook (2.3 MB)",
        "../downloads/one.ipynb": "notebook without outputs (71 kB)",
        "../downloads/one.json": "results as JSON (1 kB)",
    }


def test_the_book_links_what_was_printed_and_nothing_before_that(html):
    downloads.fill(html)
    assert list(links(html, "index.html")) == ["downloads/all-results.json"]
    put(html, "book.pdf", "book.epub")
    downloads.fill(html)
    assert list(links(html, "index.html").values()) == [
        "the book as PDF (1 kB)",
        "the book as EPUB (1 kB)",
        "the results of all chapters as JSON (1 kB)",
    ]


def test_filling_twice_changes_no_byte(html):
    downloads.fill(html)
    before = (html / "index.html").read_bytes()
    downloads.fill(html)
    assert (html / "index.html").read_bytes() == before


@pytest.mark.parametrize(("after", "stays"), [(-1, False), (1, True)])
def test_a_printed_book_goes_when_a_page_is_written_after_it_and_only_then(html, after, stays):
    put(html, "book.pdf", "book.epub")
    (html / "searchindex.js").touch()
    for name in ("book.pdf", "book.epub"):
        os.utime(html / "downloads" / name, times=(0, downloads.written(html) + after))
    downloads.drop_outdated(html)
    assert (html / "downloads/book.pdf").exists() is stays
    assert (html / "downloads/book.epub").exists() is stays
    assert (html / "downloads/one.json").exists()
