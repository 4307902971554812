"""The directive `chapter-map`: each chapter with its question and the count of its verdicts.

Its content has one `slug: question` a line. A slug that is no executed page, and an executed page
with claims that the map leaves out, are warnings.
"""

from collections import Counter
from pathlib import Path

from docutils import nodes
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from bnlib.results import VERDICTS
from bookbuild.sphinx_ext import chapters
from bookbuild.sphinx_ext.ledger import Entry, join, register, verdict_class
from bookbuild.sphinx_ext.tables import table

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
        rows = [
            [f"{{doc}}`/{book[slug].docname}`", question, _verdicts(slug, entries)]
            for slug, question in questions.items()
            if slug in book
        ]
        return [table(self, "chapter-map", ["Chapter", "Question", "Verdicts"], rows)]


def _pair(line: str) -> tuple[str, str]:
    slug, _, question = line.partition(":")
    return slug.strip(), question.strip()


def _verdicts(slug: str, entries: list[Entry]) -> list[nodes.Node]:
    """The counts, most favorable verdict first: `7 holds`, `1 partly`."""
    found = Counter(e.found.get("verdict") for e in entries if e.claim["chapter"] == slug)
    chips: list[nodes.Node] = []
    for verdict in (v for v in VERDICTS if found[v]):
        classes = ["verdict", verdict_class(verdict)]
        chips += [nodes.inline("", f"{found[verdict]} {verdict}", classes=classes), nodes.Text(" ")]
    return [nodes.paragraph("", "", *chips)]
