"""Tables of what was computed, as directives build them: a cell is markup of the page, or nodes."""

from collections.abc import Iterable, Sequence

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

Cell = str | Sequence[nodes.Node]


def table(
    directive: SphinxDirective, name: str, heads: Sequence[str], rows: Iterable[Sequence[Cell]]
) -> nodes.table:
    """A table of class `name` with a head."""
    group = nodes.tgroup(cols=len(heads))
    group += [nodes.colspec(colwidth=1) for _ in heads]
    group += nodes.thead("", _row(directive, heads))
    group += nodes.tbody("", *[_row(directive, row) for row in rows])
    return nodes.table("", group, classes=[name])


def _row(directive: SphinxDirective, cells: Sequence[Cell]) -> nodes.row:
    parsed = [directive.parse_text_to_nodes(c) if isinstance(c, str) else c for c in cells]
    return nodes.row("", *[nodes.entry("", *cell) for cell in parsed])
