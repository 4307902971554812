"""The directive `status`: with what, how long and under which key each chapter was executed.

Everything comes from the stored executions, so a rebuild that executes nothing changes no byte.
"""

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from bookbuild.sphinx_ext import chapters
from bookbuild.sphinx_ext.tables import table

_DIGITS = 12  # of a hash: enough to tell two apart, short enough for a phone


class Status(SphinxDirective):
    """A table of executions and a table of versions."""

    def run(self) -> list[nodes.Node]:
        """Build both tables."""
        heads = ["Chapter", "Wall seconds", "CPU seconds", "Key", "Outputs"]
        runs = [_run(chapter) for chapter in chapters.of(self.env.app).values()]
        return [
            table(self, "status-runs", heads, runs),
            table(self, "status-versions", ["Software", "Version"], chapters.versions().items()),
        ]


def _run(chapter: chapters.Chapter) -> list[str]:
    stamp = chapter.stamp
    seconds = [f"{stamp[name]:.1f}" for name in ("seconds", "cpu_seconds")]
    digests = [f"`{stamp[name][:_DIGITS]}`" for name in ("key", "outputs")]
    return [f"{{doc}}`{chapter.slug} </{chapter.docname}>`", *seconds, *digests]
