"""Matplotlib's drawings, lightened before they are copied into the book."""

import base64
import io
import os
import re
from pathlib import Path
from typing import Any

from PIL import Image
from scour import scour
from sphinx.application import Sphinx

from bookbuild import store

OUTPUTS = "jupyter_execute"  # myst-nb's folder; what lies elsewhere is somebody's own file
_MADE_BY = "<dc:title>Matplotlib"
_RASTER = re.compile(r"(data:image/png;base64,)\s*([A-Za-z0-9+/=\s]+)")
# Matplotlib's rule for all elements would win over the attributes that scour makes of styles; what
# an element inherits does not.
_FOR_ALL = "*{stroke-linejoin: round; stroke-linecap: butt}"
_FROM_ABOVE = 'stroke-linejoin="round" stroke-linecap="butt"'
# Significant digits: hundredths of a point in a drawing of some hundred points.
_OPTIONS = """--strip-xml-prolog --remove-metadata --enable-comment-stripping --enable-id-stripping
--shorten-ids --indent=none --no-line-breaks --set-precision=5 --set-c-precision=5 --quiet"""


def lighten_all(app: Sphinx, env: Any) -> None:
    """Lighten the drawings of the notebooks that were read, each once.

    Their times stay: a page is read again when a drawing of it is newer than the page.
    """
    if app.builder.name != "html":
        return
    for path in (Path(app.srcdir) / name for name in env.images):
        if path.suffix == ".svg" and OUTPUTS in path.parts:
            text = path.read_text(encoding="utf-8")
            if _MADE_BY in text:
                before = path.stat()
                store.write_atomically(path, lighten(text))
                os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def lighten(svg: str) -> str:
    """The same picture without notes, with short names and numbers; small tables for its pixels."""
    options = scour.parse_args(_OPTIONS.split())
    bare = re.sub(r"<!DOCTYPE.*?>", "", svg, flags=re.DOTALL)
    inherited = bare.replace(_FOR_ALL, "").replace("<svg ", f"<svg {_FROM_ABOVE} ", 1)
    return scour.scourString(_RASTER.sub(_with_palette, inherited), options)


def _with_palette(found: re.Match[str]) -> str:
    """A picture in a drawing: with a table of its colors, where it has at most 256."""
    picture = Image.open(io.BytesIO(base64.b64decode(found[2]))).convert("RGBA")
    colors: Any = picture.getcolors(256)
    if colors is None:
        return found[0]
    # The file names the transparency of the first colors only, up to the last that has any.
    order = sorted((color for _, color in colors), key=lambda c: (c[3] == 255, c))
    place = {color: i for i, color in enumerate(order)}
    small = Image.new("P", picture.size)
    small.putdata([place[color] for color in picture.get_flattened_data()])
    small.putpalette([value for color in order for value in color[:3]])
    clear = bytes(color[3] for color in order if color[3] < 255)
    buffer = io.BytesIO()
    small.save(buffer, "png", optimize=True, **({"transparency": clear} if clear else {}))
    return found[1] + base64.b64encode(buffer.getvalue()).decode()
