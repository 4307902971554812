"""The directive `status`: with what, how long and under which key each chapter was executed.

Everything comes from the stored executions, so a rebuild that executes nothing changes no byte.
"""

from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.util.docutils import SphinxDirective

from bookbuild.sphinx_ext import chapters
from bookbuild.sphinx_ext.ledger import table

_DIGITS = 12  # of a hash: enough to tell two apart, short enough for a phone


class Status(SphinxDirective):
    """A table of executions and a table of versions."""

    def run(self) -> list[nodes.Node]:
        """Build both tables."""
        book = chapters.of(self.env.app).values()
        heads = ["Chapter", "Wall seconds", "CPU seconds", "Key", "Outputs"]
        runs = [[self._link(c), *_figures(c.stamp)] for c in book]
        found = [[_text(name), _text(number)] for name, number in chapters.versions().items()]
        return [
            table("status-runs", [_text(head) for head in heads], runs),
            table("status-versions", [_text("Software"), _text("Version")], found),
        ]

    def _link(self, chapter: chapters.Chapter) -> list[nodes.Node]:
        xref = pending_xref(
            "", nodes.inline("", chapter.slug), refdomain="std", reftype="doc",
            reftarget=f"/{chapter.docname}", refdoc=self.env.docname, refexplicit=False,
            refwarn=True,
        )  # fmt: skip
        return [nodes.paragraph("", "", xref)]


def _figures(stamp: dict[str, Any]) -> list[list[nodes.Node]]:
    seconds = [_text(f"{stamp[name]:.1f}") for name in ("seconds", "cpu_seconds")]
    return [*seconds, *[_code(stamp[name][:_DIGITS]) for name in ("key", "outputs")]]


def _text(text: str) -> list[nodes.Node]:
    return [nodes.paragraph("", text)]


def _code(text: str) -> list[nodes.Node]:
    return [nodes.paragraph("", "", nodes.literal("", text))]
