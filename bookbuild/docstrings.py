"""The API page: every public module, with docstrings that read there as they read in the code.

Our docstrings are plain text with displays, not reStructuredText: `x_hat`, `|x|` and `a * b` would
be read there as references, substitutions and emphasis. Here indented lines become literal blocks
and the other lines are escaped, so a docstring needs no markup of its own.

A line `% modules: rows networks` of a page becomes one section a module: the named modules, and
those of the named packages, in this order.
"""

from __future__ import annotations

import re
from itertools import groupby
from pathlib import Path
from typing import Any

CHAPTERS = "chapters"
_CODE = re.compile(r"``(.+?)``|`([^`]+?)`", re.DOTALL)
_MARKUP = re.compile(r"([\\*_|:`])")
_DEFINES = re.compile(r"^(class|def) ", re.MULTILINE)
_MODULES = re.compile(r"^% modules:(.*)$", re.MULTILINE)
_SECTION = """### `{name}`

```{{eval-rst}}
.. automodule:: {package}.{name}
   :members:
```
"""


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


def _kind(line: str) -> str:
    if not line.strip():
        return "blank"
    return "display" if line.startswith("  ") else "text"


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


def public_modules(package: Path) -> list[str]:
    """Dotted names below the package of the modules whose path has no leading underscore.

    A package counts where its `__init__` defines something. Chapters are left out: each has a page
    of its own.
    """
    names = []
    for path in package.rglob("*.py"):
        parts = path.relative_to(package).with_suffix("").parts
        if parts[-1] == "__init__":
            parts = parts[:-1] if _DEFINES.search(path.read_text(encoding="utf-8")) else ()
        if parts and parts[0] != CHAPTERS and not any(part.startswith("_") for part in parts):
            names.append(".".join(parts))
    return sorted(names)


def list_modules(text: str, modules: list[str], package: str) -> str:
    """Replace the `% modules:` lines of a page.

    Raises ValueError for a name that no module has: the page would silently lose a section.
    """

    def sections(line: re.Match[str]) -> str:
        below = {name: _below(name, modules) for name in line[1].split()}
        if not all(below.values()):
            raise ValueError(f"{line[0]!r}: expected modules of {package}, got {below}")
        shown = [module for named in below.values() for module in named]
        return "\n".join(_SECTION.format(name=name, package=package) for name in shown)

    return _MODULES.sub(sections, text)


def _below(name: str, modules: list[str]) -> list[str]:
    return [module for module in modules if module == name or module.startswith(f"{name}.")]


def _read(app: Any, docname: str, source: list[str]) -> None:
    if _MODULES.search(source[0]):
        package = app.config.book_package
        modules = public_modules(Path(app.srcdir) / package)
        source[0] = list_modules(source[0], modules, package)


def _process(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    lines[:] = [*plain(lines), ""]


def _skip(app: Any, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Leave out the fields of a named tuple: "Alias for field number 0" tells nobody anything."""
    return True if type(obj).__name__ == "_tuplegetter" else None


def setup(app: Any) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("source-read", _read)
    app.connect("autodoc-process-docstring", _process)
    app.connect("autodoc-skip-member", _skip)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
