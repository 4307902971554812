"""Pictures that take their room at once, come when they are near, and say what they show."""

import re
from itertools import count
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.images import get_image_size

logger = logging.getLogger(__name__)
DECORATIVE = "decorative"
_SHORTEST = 20  # characters: a name is not a description
_FILE_NAME = re.compile(r"^\S+\.(svg|png|jpe?g|gif|webp)$|_build/", re.IGNORECASE)
_IMG = re.compile(r"<img\b[^>]*>")


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


def _sized(tag: str, path: Path | None, *, lazy: bool) -> str:
    known = get_image_size(str(path)) if path and path.is_file() else None
    added = ' loading="lazy" decoding="async"' if lazy else ""
    if known:
        share = re.search(r'width[=:] ?"?(\d+%)', tag)
        tag = re.sub(r' (?:width|height|style)="[^"]*"', "", tag)
        added += f' width="{known[0]}" height="{known[1]}"'
        added += f' style="width: {share[1]}"' if share else ""
    return re.sub(r"\s*/?>$", f"{added} />", tag)
