"""A formula and the punctuation behind it stay on one line.

A browser sees an inline formula as a box, and may break the line between the box and a comma.
"""

import re

from docutils import nodes
from sphinx.application import Sphinx

_BEHIND = re.compile(r"[,.;:!?)\]’”%]+")


def keep_punctuation(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Put each inline formula with the marks that follow it into an inline box of class nobr."""
    for math in list(doctree.findall(nodes.math)):
        after = math.next_node(nodes.Text, descend=False, siblings=True)
        parent = math.parent
        place = parent.index(math)
        if after is None or parent[place + 1 : place + 2] != [after]:
            continue
        if marks := _BEHIND.match(after):
            parent[place + 1] = nodes.Text(after[marks.end() :])
            parent[place] = nodes.inline("", "", math, nodes.Text(marks[0]), classes=["nobr"])
