"""What a notebook declares: its parameters, and the library modules that its cells import.

A declaration is one line of the cell tagged `parameters`:

    seeds: int = 5  # independent splits and initializations [2, 100]

name, type, default (a literal), comment, and at the end of the comment what is allowed: a range
`[lo, hi]`, which in a list binds each element, or `{a|b|c}`.
"""

import ast
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import nbformat

from bnlib.parameters import TYPES, Parameter, check, described, from_text, unknown

FOLDER = "notebooks"
_RANGE = re.compile(r"\[\s*([^\[\],]+?)\s*,\s*([^\[\],]+?)\s*\]\s*$")
_COMPUTED = re.compile(r"__import__|import_module|^\s*(!|%run)", re.MULTILINE)
_CHOICE = re.compile(r"\{([^{}]+)\}\s*$")


def read(path: Path) -> nbformat.NotebookNode:
    """The notebook at path, in format 4. Raises ValueError unless it is one, in Python."""
    try:
        notebook = nbformat.read(path, as_version=4)
        language = notebook.metadata.get("kernelspec", {}).get("language") or "python"
    except Exception as error:  # a file that is no notebook fails in many ways
        raise ValueError(f"{path}: expected a Jupyter notebook (.ipynb), got {error}") from error
    if language.lower() != "python":
        raise ValueError(f"{path.name}: expected a notebook in Python, got one in {language}")
    return notebook


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Whatever is wrong with a notebook, or its parameters, is a ValueError that names it."""
    try:
        yield
    except (ValueError, TypeError, SyntaxError) as error:
        raise ValueError(f"{path.name}: {error}") from error


def find(root: Path, slugs: Sequence[str] = ()) -> list[Path]:
    """The notebooks of the book at root with these names, or all. Raises ValueError."""
    known = {path.stem: path for path in sorted((root / FOLDER).glob("*.ipynb"))}
    if not known:
        raise ValueError(f"no {FOLDER}/*.ipynb below {root}; run it in the book's root")
    for slug in slugs:
        if slug not in known:
            raise ValueError(unknown("notebook", slug, {name: name for name in known}))
    return [known[slug] for slug in slugs or known]


def code_cells(notebook: Any) -> list[Any]:
    """The code cells, in order."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def tags(cell: Any) -> list[str]:
    """The tags of a cell; most cells have none."""
    return list(cell.metadata.get("tags", []))


def parameters(notebook: Any) -> dict[str, Parameter]:
    """The declared parameters by name, in order; empty without a cell tagged `parameters`.

    Raises ValueError for a second such cell, or a line in it that is not `name: type = literal`:
    a value derived there would keep the old default, since papermill injects after the cell.
    """
    cells = [cell for cell in code_cells(notebook) if "parameters" in tags(cell)]
    if len(cells) > 1:
        raise ValueError(f"expected one cell tagged 'parameters', got {len(cells)}")
    if not cells:
        return {}
    text = cells[0].source
    declared = [_declaration(line, text) for line in ast.parse(text, "parameters cell").body]
    return {parameter.name: parameter for parameter in declared}


def parse(declared: Mapping[str, Parameter], pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Turn `-p name value` strings into values of the declared types, and `check` them."""
    values = {}
    for name, text in pairs:
        if name not in declared:
            raise ValueError(unknown("parameter", name, described(declared)))
        values[name] = from_text(declared[name], text)
    check(declared, values)
    return values


@cache
def imported(source: str, package: str = "") -> frozenset[str]:
    """The dotted names that a cell, or a file of this package, imports; `*` where unsure.

    `from package import name` gives `package.name`, which may be a module or an attribute. A cell
    that is not plain Python, or that imports by a computed name, may import anything.
    """
    tree = syntax(source)
    names = {"*"} if tree is None or _COMPUTED.search(source) else set()
    for node in _statements(tree.body if tree else []):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: 1 - node.level or None] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            names |= {f"{base}.{alias.name}" for alias in node.names}
    return frozenset(names)


def syntax(source: str) -> ast.Module | None:
    """The syntax tree of a cell, magics left out; None where it is not plain Python."""
    lines = source.splitlines()
    plain = ["" if line.lstrip().startswith(("%", "!", "?")) else line for line in lines]
    try:
        return ast.parse("\n".join(plain))
    except (SyntaxError, ValueError):  # ValueError: a null byte
        return None


def _statements(body: Iterable[Any]) -> Iterator[Any]:
    """Every statement; a walk through all expressions takes ten times as long."""
    for node in body:
        yield node
        for name in ("body", "handlers", "orelse", "finalbody", "cases"):
            yield from _statements(getattr(node, name, ()))


def _declaration(line: ast.stmt, text: str) -> Parameter:
    place = f"line {line.lineno} of the parameters cell"
    if not isinstance(line, ast.AnnAssign) or not isinstance(line.target, ast.Name):
        raise ValueError(f"{place}: expected `name: type = literal`, got {ast.unparse(line)!r}")
    kind = ast.unparse(line.annotation).split("[")[0]
    if kind not in TYPES:
        raise ValueError(f"{place}: expected a type out of {sorted(TYPES)}, got {kind!r}")
    try:
        default = ast.literal_eval(line.value) if line.value else None
    except ValueError as error:
        raise ValueError(f"{place}: expected a literal, got {ast.unparse(line)!r}") from error
    last = text.splitlines()[(line.end_lineno or line.lineno) - 1].encode()
    comment = last[line.end_col_offset :].decode().lstrip(" #").strip()
    parameter = Parameter(line.target.id, kind, default, comment, **_allowed(comment))
    check({parameter.name: parameter}, {parameter.name: default})
    return parameter


def _allowed(comment: str) -> dict[str, Any]:
    if match := _CHOICE.search(comment):
        return {"choices": tuple(choice.strip() for choice in match[1].split("|"))}
    if match := _RANGE.search(comment):
        try:
            return {"low": float(match[1]), "high": float(match[2])}
        except ValueError:
            return {}  # brackets in plain words, such as an interval of a formula
    return {}
