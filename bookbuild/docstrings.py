"""The API page: docstrings that read there as they read in the code.

Our docstrings are plain text with displays, not reStructuredText: `x_hat`, `|x|` and `a * b` would
be read there as references, substitutions and emphasis. Here indented lines become literal blocks
and the other lines are escaped, so a docstring needs no markup of its own.
"""

import re
from itertools import groupby
from typing import Any

_CODE = re.compile(r"``(.+?)``|`([^`]+?)`", re.DOTALL)
_MARKUP = re.compile(r"([\\*_|:`])")


def plain(lines: list[str]) -> list[str]:
    """Turn the lines of a docstring into reStructuredText that shows exactly those lines."""
    out: list[str] = []
    last = "text"
    for kind, lines_of_kind in groupby(lines, key=_kind):
        group = list(lines_of_kind)
        if kind == "display" and last == "text":
            out += ["", "::", ""]
        elif kind == "text" and last == "display":
            out.append("")
        out += _escape(group) if kind == "text" else group
        last = last if kind == "blank" else kind
    return out


def _kind(line: str) -> str:
    if not line.strip():
        return "blank"
    return "display" if line.startswith("  ") else "text"


def _escape(lines: list[str]) -> list[str]:
    """Keep code between backticks as literals and escape everything else."""
    text, parts, end = "\n".join(lines), [], 0
    for match in _CODE.finditer(text):
        code = (match[1] or match[2]).strip()
        end, before = match.end(), text[end : match.start()]
        # "``Rows``s" would be no literal: an escaped space separates and does not show.
        glue = "\\ " if text[end : end + 1].isalnum() else ""
        parts += [_MARKUP.sub(r"\\\1", before), f"``{code}``{glue}"]
    return "".join([*parts, _MARKUP.sub(r"\\\1", text[end:])]).split("\n")


def _process(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    lines[:] = [*plain(lines), ""]


def _skip(app: Any, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Leave out the fields of a named tuple: "Alias for field number 0" tells nobody anything."""
    return True if type(obj).__name__ == "_tuplegetter" else None


def setup(app: Any) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("autodoc-process-docstring", _process)
    app.connect("autodoc-skip-member", _skip)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
