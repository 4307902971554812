"""MathJax at build time: a formula becomes a drawing and its MathML, and no page needs a script.

The script comes out of the package sphinx-mathjax-offline and runs in the V8 of mini-racer. So
formulas are there without JavaScript, from a folder, on paper, and take their room at once.
"""

import json
import re
from functools import cache
from importlib.metadata import distribution
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

from py_mini_racer import JSEvalException, MiniRacer

_PACKAGE = "sphinx-mathjax-offline"
FOLDER = Path(str(distribution(_PACKAGE).locate_file(f"{_PACKAGE}/static/mathjax")))
_PARTS = (
    "core.js",
    "adaptors/liteDOM.js",
    "loader.js",
    "input/tex-full.js",
    "output/svg.js",
    "output/svg/fonts/tex.js",
)
# What only MathJax's own scripts and styles read.
_INNER = re.compile(r' (?:data-(?:mml-node|c|mjx-[a-z-]+|latex|variant)|id)="(?!MJX-)[^"]*"')
_SVG = "http://www.w3.org/2000/svg"
_ROLE = re.compile(r' (?:role="img"|focusable="false")')

ElementTree.register_namespace("", _SVG)
ElementTree.register_namespace("xlink", "http://www.w3.org/1999/xlink")


class Formula(NamedTuple):
    """svg: a drawing that uses `glyphs` by id. least: with a number at the line's far end, the
    least width of that line."""

    svg: str
    mathml: str
    least: str


class Typesetter:
    """One MathJax; glyphs: the outlines by id of all formulas so far."""

    def __init__(self, macros: dict[str, Any]) -> None:
        """Load the script (a third of a second). Raises FileNotFoundError if it is not there."""
        self.glyphs: dict[str, str] = {}
        self._known: dict[tuple[str, bool], Formula] = {}
        self._engine = MiniRacer()
        self._engine.eval(
            "globalThis.window = globalThis; globalThis.MathJax = {loader: {load: []}, options: {}}"
        )
        for script in _scripts():
            self._engine.eval(script)
        self._engine.eval(f"start({json.dumps(macros)})")

    def formula(self, source: str, *, display: bool) -> Formula:
        """Typeset TeX. Raises ValueError with MathJax's message where the TeX is wrong."""
        key = (source, display)
        if key not in self._known:
            self._known[key] = self._convert(source, display)
        return self._known[key]

    def _convert(self, source: str, display: bool) -> Formula:
        call = f"convert({json.dumps(source)}, {json.dumps(display)})"
        try:
            found = json.loads(str(self._engine.eval(call)))
        except JSEvalException as error:
            reason = re.search(r"Error: (.*)", str(error))
            raise ValueError(f"{source!r}: {reason[1] if reason else error}") from error
        self.glyphs.update(found["glyphs"])
        return Formula(_drawing(found["svg"]), _tree(found["mathml"]), found["least"])


def _drawing(svg: str) -> str:
    root = ElementTree.fromstring(_ROLE.sub("", _INNER.sub("", svg)))
    _flatten(root)
    root.set("aria-hidden", "true")
    return ElementTree.tostring(root, encoding="unicode")


def _flatten(parent: ElementTree.Element) -> None:
    """Take out the groups that say nothing: MathJax makes one for each node of the formula."""
    for child in parent:
        _flatten(child)
    parent[:] = [part for child in parent for part in (child if _says_nothing(child) else [child])]


def _says_nothing(element: ElementTree.Element) -> bool:
    return element.tag == f"{{{_SVG}}}g" and not element.attrib


def _tree(mathml: str) -> str:
    return re.sub(r">\s+<", "><", _INNER.sub("", mathml)).strip()


@cache
def _scripts() -> list[str]:
    files = [*(FOLDER / part for part in _PARTS), Path(__file__).with_name("formulas.js")]
    return [file.read_text(encoding="utf-8") for file in files]
