"""Matplotlib's drawings, lightened before they are copied into the book."""

import base64
import io
import os
import re
from pathlib import Path
from typing import Any

from PIL import Image
from sphinx.application import Sphinx

from bookbuild import store

OUTPUTS = "jupyter_execute"  # myst-nb's folder; what lies elsewhere is somebody's own file
_MADE_BY = "<dc:title>Matplotlib"
_NOTES = re.compile(r"<metadata>.*?</metadata>|<!--.*?-->|<!DOCTYPE.*?>", re.DOTALL)
_RASTER = re.compile(r"(data:image/png;base64,)\s*([A-Za-z0-9+/=\s]+)")
_LINK = re.compile(r'((?:href="|url\()#)([^")]+)')
_ID = re.compile(r'\s+id="([^"]+)"')
_LONG = re.compile(r"\d+\.\d{3,}")


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
    bare = _RASTER.sub(_with_palette, _NOTES.sub("", svg))
    targets = dict.fromkeys(name for _, name in _LINK.findall(bare))
    short = {name: f"_{number:x}" for number, name in enumerate(targets)}
    linked = _LINK.sub(lambda m: m[1] + short[m[2]], bare)
    named = _ID.sub(lambda m: f' id="{short[m[1]]}"' if m[1] in short else "", linked)
    return _LONG.sub(_rounded, named)


def _rounded(number: re.Match[str]) -> str:
    """Five significant digits: hundredths of a point in a drawing of some hundred points."""
    value = float(number[0])
    return f"{value:.5g}" if 1e-4 < value < 1e5 else number[0]


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
