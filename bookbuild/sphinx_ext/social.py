"""What search engines and people who share a link see: description, card, map of the pages."""

import html
import os
import re
from pathlib import Path
from posixpath import join
from textwrap import shorten
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config

from bookbuild.sphinx_ext import formulas

CARD = "card.png"
_LONGEST = 160  # characters that result pages show
_SHORTEST = 60
_MAP = """\
<?xml version="1.0" encoding="utf-8"?>
<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">
{places}</urlset>
"""


def configure(app: Sphinx, config: Config) -> None:
    """Take the addresses that the publisher sets; add pages for the root and for wrong addresses.

    Buttons for source, issues and launching are shown where the repository's address is known.
    """
    config["html_baseurl"] = os.environ.get("BOOK_BASEURL", config.html_baseurl)
    options = config.html_theme_options
    known = bool(options.get("repository_url"))
    for name in ("use_repository_button", "use_issues_button", "use_source_button"):
        options[name] = known
    binder = {"notebook_interface": "jupyterlab", "binderhub_url": "https://mybinder.org"}
    options["launch_buttons"] = binder if known else {}
    config["html_additional_pages"] = {"index": "root.html", "404": "404.html"}


def describe(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Write the tags of a page's head. Addresses are absolute once the publisher sets one."""
    title = html.unescape(re.sub(r"<[^>]+>", "", context.get("title") or app.config.project))
    address, root = app.config.html_baseurl, app.config.root_doc
    tree = app.env.get_doctree(root) if page == "index" else doctree
    text = _description(app, tree) if tree else f"{title}, a page of the book {app.config.project}"
    tags = {
        "og:type": "article" if "/" in page else "website",
        "og:site_name": app.config.project,
        "og:title": title,
        "og:description": text,
        "og:image:width": "1200",
        "og:image:height": "630",
        "og:image:alt": f"The title of the book, {app.config.project}, and its question",
        "twitter:card": "summary_large_image",
    }
    if address:  # relative ones are read by nobody
        url = join(address, f"{root if page == 'index' else page}.html")
        tags |= {"og:url": url, "og:image": join(address, f"_static/{CARD}")}
    lines = [f'<meta name="description" content="{html.escape(text)}" />']
    lines += [f'<meta property="{k}" content="{html.escape(v)}" />' for k, v in tags.items()]
    context["social"] = "\n".join(lines)
    if address and page == "404":  # a server gives it for addresses of any depth
        context["metatags"] = f'<base href="{html.escape(join(address, ""))}" />'


def write_map(app: Sphinx, error: Exception | None) -> None:
    """Write `sitemap.xml` if the publisher sets an address; remove an older one if not."""
    if error or app.builder.name != "html":
        return
    path, address = Path(app.outdir) / "sitemap.xml", app.config.html_baseurl
    path.unlink(missing_ok=True)
    if address:
        pages = (join(address, f"{name}.html") for name in sorted(app.env.found_docs))
        places = "".join(f"<url><loc>{html.escape(page)}</loc></url>\n" for page in pages)
        path.write_text(_MAP.format(places=places), encoding="utf-8")


def _description(app: Sphinx, doctree: nodes.document) -> str:
    """The first paragraphs, cut at a word."""
    text = ""
    for paragraph in doctree.findall(nodes.paragraph):
        text = f"{text} {_words(app, paragraph)}".strip()
        if len(text) >= _SHORTEST:
            break
    return shorten(text, _LONGEST, placeholder="…")


def _words(app: Sphinx, paragraph: nodes.paragraph) -> str:
    copy = paragraph.deepcopy()
    for math in list(copy.findall(nodes.math)):
        math.replace_self(nodes.Text(formulas.words(app, math)))
    return " ".join(copy.astext().split())
