"""The command line: `bnlib downloads`."""

import re
from pathlib import Path

import click

from bookbuild import downloads, epub, pages, pdf


@click.command("downloads")
def downloads_command() -> None:
    """Print the built book as PDF and as EPUB, and link both where its pages offer downloads.

    It takes the pages in _build/html as they are: run `make book` first, or `make downloads`, which
    does both. It needs Debian's chromium.
    """
    html = Path("_build/html")
    try:
        book = pages.collect(Path.cwd(), html)
        name = re.sub(r"[^a-z0-9]+", "-", book.title.lower()).strip("-")
        folder = html / downloads.FOLDER
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.pdf").write_bytes(pdf.print_book(book, html))
        epub.bind(book, html, folder / f"{name}.epub")
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    downloads.link_book(html)
    for path in downloads.printed(html):
        click.echo(f"{path}: {downloads.size(path)}")
