"""What search engines and people who share a link see: description, card, map of the pages."""

import html
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
    """Show source, issue and launch buttons where the repository's address is known."""
    options = config.html_theme_options
    known = bool(options.get("repository_url"))
    for name in ("use_repository_button", "use_issues_button", "use_source_button"):
        options[name] = known
    binder = {"notebook_interface": "jupyterlab", "binderhub_url": "https://mybinder.org"}
    options["launch_buttons"] = binder if known else {}


def describe(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Write the tags of a page's head. Addresses are absolute once the publisher sets one."""
    title = html.unescape(re.sub(r"<[^>]+>", "", context.get("title") or app.config.project))
    text = _description(app, doctree) if doctree else f"{title}: {app.config.project}"
    address, card = app.config.html_baseurl, f"_static/{CARD}"
    tags = {
        "og:type": "article" if "/" in page else "website",
        "og:site_name": app.config.project,
        "og:title": title,
        "og:description": text,
        "og:image": join(address, card) if address else context["pathto"](card, 1),
        "og:image:width": "1200",
        "og:image:height": "630",
        "og:image:alt": f"The title of the book, {app.config.project}, and its question",
        "twitter:card": "summary_large_image",
        **({"og:url": context["pageurl"]} if address and context.get("pageurl") else {}),
    }
    lines = [f'<meta name="description" content="{html.escape(text)}" />']
    lines += [f'<meta property="{k}" content="{html.escape(v)}" />' for k, v in tags.items()]
    context["social"] = "\n".join(lines)


def write_map(app: Sphinx, error: Exception | None) -> None:
    """Write `sitemap.xml` if the address is set; remove an older one if not."""
    if error or app.builder.name != "html":
        return
    path, address = Path(app.outdir) / "sitemap.xml", app.config.html_baseurl
    path.unlink(missing_ok=True)
    if address:
        pages = (join(address, f"{name}.html") for name in sorted(app.env.found_docs))
        places = "".join(f"<url><loc>{html.escape(page)}</loc></url>\n" for page in pages)
        path.write_text(_MAP.format(places=places), encoding="utf-8")


def draw_card(app: Sphinx, error: Exception | None) -> None:
    """Draw the picture that a shared link shows, once a build folder."""
    path = Path(app.outdir) / "_static" / CARD
    if error or app.builder.name != "html" or path.is_file():
        return
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 6.3), dpi=100, facecolor="#14181e")
    figure.text(0.07, 0.62, app.config.project.replace(", ", ",\n"), size=44, color="#f3f5f7",
                weight="bold", linespacing=1.3)  # fmt: skip
    figure.text(0.07, 0.36, "Why rescale again with γ and β\nwhat was just normalized?", size=27,
                color="#a5e8bd", linespacing=1.4)  # fmt: skip
    figure.text(0.07, 0.12, "Claims, tested by experiments that can fail", size=20, color="#ced6dd")
    figure.savefig(path, metadata={"Software": None})


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
