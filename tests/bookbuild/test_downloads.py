"""Links to files to take away: each leads to a file that is there and says its size."""

import re

import pytest

from bookbuild import downloads


@pytest.fixture
def html(tmp_path):
    """A built book whose home page has a slot for links."""
    (tmp_path / "book").mkdir()
    (tmp_path / "book/index.html").write_text(f"<article>{downloads.SLOT}</article>")
    (tmp_path / "downloads").mkdir()
    (tmp_path / "downloads/all-results.json").write_text("{}")
    return tmp_path


def links(text):
    return dict(re.findall(r'<a href="([^"]+)" download>([^<]+)</a>', text))


def test_files_are_linked_by_words_and_size(html):
    (html / "downloads/one.ipynb").write_text("x" * 70_600)
    (html / "downloads/two.ipynb").write_text("x" * 2_340_000)
    found = downloads.links(html, {"one.ipynb": "a notebook", "two.ipynb": "another"}, up="../")
    assert links(found) == {
        "../downloads/one.ipynb": "a notebook (71 kB)",
        "../downloads/two.ipynb": "another (2.3 MB)",
    }


def test_the_book_links_what_was_printed_and_nothing_before_or_after_that(html):
    page = html / "book/index.html"
    downloads.link_book(html)
    bare = page.read_bytes()
    assert list(links(page.read_text())) == ["../downloads/all-results.json"]
    (html / "downloads/book.pdf").write_text("printed")
    (html / "downloads/book.epub").write_text("printed")
    downloads.link_book(html)
    assert list(links(page.read_text()).values()) == [
        "the book as PDF (1 kB)",
        "the book as EPUB (1 kB)",
        "the results of all chapters as JSON (1 kB)",
    ]
    for path in downloads.printed(html):
        path.unlink()
    downloads.link_book(html)
    assert page.read_bytes() == bare
