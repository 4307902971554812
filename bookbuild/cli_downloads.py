"""The command line: `bnlib downloads`."""

import re
from pathlib import Path

import click

from bookbuild import downloads, epub, pages, pdf
from bookbuild.press import mathml, press

_HTML = "_build/html"


@click.command("downloads")
def downloads_command() -> None:
    """Print the built book as PDF and as EPUB, and link both where its pages offer downloads.

    It takes the pages in _build/html as they are: run `make book` first, or `make downloads`, which
    does both. It needs Debian's chromium.
    """
    root = Path.cwd()
    try:
        made = make(root, root / _HTML)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    for path in made:
        click.echo(f"{path.relative_to(root)}: {downloads.File(path, '').size}")


def make(root: Path, html: Path) -> list[Path]:
    """Write PDF and EPUB and link them. Raises ValueError for a book that is not built."""
    book = pages.collect(root, html)
    with press(pdf.document(book), html) as page:
        printed = pdf.print_book(book, page)
        signs = mathml(page, book.formulas())
    bound = epub.bind(book, signs, html, downloads.written(html))
    name = re.sub(r"[^a-z0-9]+", "-", book.title.lower()).strip("-")
    paths = []
    for kind, content in (("pdf", printed), ("epub", bound)):
        paths.append(html / downloads.FOLDER / f"{name}.{kind}")
        paths[-1].parent.mkdir(exist_ok=True)
        paths[-1].write_bytes(content)
    downloads.fill(html)
    return paths
