"""The directive `chapter-map`: each chapter with its question and the count of its verdicts.

Its content has one `slug: question` a line. A slug that is no executed page, and an executed page
with claims that the map leaves out, are warnings.
"""

from collections import Counter
from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.addnodes import pending_xref
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from bnlib.results import VERDICTS
from bookbuild.sphinx_ext import chapters
from bookbuild.sphinx_ext.ledger import Entry, join, register, table

logger = logging.getLogger(__name__)


class ChapterMap(SphinxDirective):
    """A table of chapters: link, question, verdicts."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """Build the table from the lines of the directive and the computed verdicts."""
        path = Path(self.env.srcdir) / self.config.book_claims
        self.env.note_dependency(str(path))
        book = chapters.of(self.env.app)
        entries = join(register(path), book)
        questions = dict(map(_pair, self.content))
        for slug in sorted(questions.keys() ^ {entry.claim["chapter"] for entry in entries}):
            where = "no chapter with claims" if slug in questions else "not in the map"
            logger.warning("chapter-map: %r is %s", slug, where, location=self.get_location())
        heads = [[nodes.paragraph("", name)] for name in ("Chapter", "Question", "Verdicts")]
        rows = [
            [self._link(book[slug].docname), self._text(question), _verdicts(slug, entries)]
            for slug, question in questions.items()
            if slug in book
        ]
        return [table("chapter-map", heads, rows)]

    def _link(self, docname: str) -> list[nodes.Node]:
        xref = pending_xref(
            "", nodes.inline("", ""), refdomain="std", reftype="doc", reftarget=f"/{docname}",
            refdoc=self.env.docname, refexplicit=False, refwarn=True,
        )  # fmt: skip
        return [nodes.paragraph("", "", xref)]

    def _text(self, text: str) -> list[nodes.Node]:
        box = nodes.Element()
        box.document = self.state.document
        self.state.nested_parse(StringList([text], self.get_source_info()[0]), 0, box)
        return box.children


def _pair(line: str) -> tuple[str, str]:
    slug, _, question = line.partition(":")
    return slug.strip(), question.strip()


def _verdicts(slug: str, entries: list[Entry]) -> list[nodes.Node]:
    """The counts, most favorable verdict first: `7 holds`, `1 partly`."""
    found = Counter(e.found.get("verdict") for e in entries if e.claim["chapter"] == slug)
    chips: list[nodes.Node] = []
    for verdict in (v for v in VERDICTS if found[v]):
        classes = ["verdict", f"verdict-{verdict}"]
        chips += [nodes.inline("", f"{found[verdict]} {verdict}", classes=classes), nodes.Text(" ")]
    return [nodes.paragraph("", "", *chips)]
