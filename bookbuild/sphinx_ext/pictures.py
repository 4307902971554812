"""Pictures that take their room at once, come when they are near, and say what they show."""

import re
import struct
from itertools import count
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging

logger = logging.getLogger(__name__)
DECORATIVE = "decorative"
_SHORTEST = 20  # characters: a name is not a description
_FILE_NAME = re.compile(r"^\S+\.(svg|png|jpe?g|gif|webp)$|_build/", re.IGNORECASE)
_IMG = re.compile(r"<img\b[^>]*>")
_PIXELS = {"": 1.0, "px": 1.0, "pt": 4 / 3, "in": 96.0, "cm": 96 / 2.54, "mm": 9.6 / 2.54}
_LENGTH = r'{}="([\d.]+)([a-z]*)"'


def check_alt(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Warn of each picture that says nothing to who cannot see it.

    A picture of class `decorative` is the exception, and its text must be empty.
    """
    if app.builder.format != "html":
        return
    for node in doctree.findall(nodes.image):
        alt = node.get("alt", "").strip()
        if DECORATIVE in node.get("classes", []):
            if alt:
                message = "decorative picture: expected no alt text, got %r"
                logger.warning(message, alt, location=node)
        elif len(alt) < _SHORTEST or _FILE_NAME.search(alt):
            logger.warning(
                "picture %s: expected an alt text that says the finding, got %r; a picture without "
                "content has the class %r", node["uri"], alt, DECORATIVE, location=node,
            )  # fmt: skip


def reserve_room(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any
) -> None:
    """Give each picture of the body its size; load all but the first when they come near."""
    if "body" in context:
        copies = {f"_images/{copy}": name for name, copy in app.builder.images.items()}
        place = count()

        def sized(tag: re.Match[str]) -> str:
            source = re.search(r'src="[./]*([^"]*)"', tag[0])
            name = copies.get(source[1]) if source else None
            return _sized(tag[0], Path(app.srcdir) / name if name else None, lazy=next(place) > 0)

        context["body"] = _IMG.sub(sized, context["body"])


def size(path: Path) -> tuple[int, int] | None:
    """Width and height in CSS pixels, of an SVG or a PNG."""
    content = path.read_bytes()
    if content.startswith(b"\x89PNG"):
        return struct.unpack(">II", content[16:24])
    tag = "".join(re.findall(r"<svg\b[^>]*>", content.decode("utf-8"))[:1])
    found = [re.search(rf"\s{_LENGTH.format(name)}", tag) for name in ("width", "height")]
    if not all(found):
        box = re.search(r'viewBox="[\d.-]+ [\d.-]+ ([\d.]+) ([\d.]+)"', tag)
        return (round(float(box[1])), round(float(box[2]))) if box else None
    width, height = (round(float(f[1]) * _PIXELS[f[2]]) for f in found if f)
    return width, height


def _sized(tag: str, path: Path | None, *, lazy: bool) -> str:
    known = size(path) if path and path.is_file() else None
    added = ' loading="lazy" decoding="async"' if lazy else ""
    if known:
        share = re.search(r'width[=:] ?"?(\d+%)', tag)
        tag = re.sub(r' (?:width|height|style)="[^"]*"', "", tag)
        added += f' width="{known[0]}" height="{known[1]}"'
        added += f' style="width: {share[1]}"' if share else ""
    return re.sub(r"\s*/?>$", f"{added} />", tag)
