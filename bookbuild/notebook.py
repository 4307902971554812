"""What a notebook declares: its parameters, and the library modules that its cells import.

A declaration is one line of the cell tagged `parameters`:

    seeds: int = 5  # independent splits and initializations [2, 100]

name, type, default (a literal), comment, and at the end of the comment what is allowed: a range
`[lo, hi]`, which in a list binds each element, or `{a|b|c}`.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import nbformat

from bnlib.parameters import TYPES, Parameter, check, described, from_text, unknown

FOLDER = "notebooks"
_RANGE = re.compile(r"\[\s*([^\[\],]+?)\s*,\s*([^\[\],]+?)\s*\]\s*$")
_CHOICE = re.compile(r"\{([^{}]+)\}\s*$")


def read(path: Path) -> nbformat.NotebookNode:
    """The notebook at path, in format 4. Raises ValueError naming the file where it is not one."""
    try:
        return nbformat.read(path, as_version=4)
    except (nbformat.reader.NotJSONError, nbformat.ValidationError) as error:
        raise ValueError(f"{path}: expected a Jupyter notebook (.ipynb), got {error}") from error


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
    comments = _comments(cells[0].source)
    found = [_declaration(line, comments) for line in ast.parse(cells[0].source).body]
    return {parameter.name: parameter for parameter in found}


def parse(declared: Mapping[str, Parameter], pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Turn `-p name value` strings into values of the declared types, and `check` them."""
    values = {}
    for name, text in pairs:
        if name not in declared:
            raise ValueError(unknown("parameter", name, described(declared)))
        values[name] = from_text(declared[name], text)
    check(declared, values)
    return values


def imports(notebook: Any, package: str) -> set[str]:
    """Dotted names below package that the code cells import; `package.*` where unsure.

    `from package import name` gives `package.name`, which may be a module or an attribute: the
    import graph decides. A cell that is not plain Python counts as importing everything.
    """
    found: set[str] = set()
    for cell in code_cells(notebook):
        try:
            tree = ast.parse(_without_magics(cell.source))
        except SyntaxError:
            found |= {f"{package}.*"} if package in cell.source else set()
            continue
        for node in ast.walk(tree):
            found |= _imported(node)
    return {name for name in found if name == package or name.startswith(f"{package}.")}


def _imported(node: ast.AST) -> set[str]:
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names}
    if isinstance(node, ast.ImportFrom) and node.module:
        return {f"{node.module}.{alias.name}" for alias in node.names}
    return set()


def _without_magics(source: str) -> str:
    return "\n".join(
        "" if line.lstrip().startswith(("%", "!", "?")) else line for line in source.splitlines()
    )


def _comments(source: str) -> dict[int, str]:
    """Comments by line number; a comment on a line of its own belongs to nothing."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {
        token.start[0]: token.string.lstrip("# ").strip()
        for token in tokens
        if token.type == tokenize.COMMENT and token.line[: token.start[1]].strip()
    }


def _declaration(line: ast.stmt, comments: dict[int, str]) -> Parameter:
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
    on_lines = range(line.lineno, (line.end_lineno or line.lineno) + 1)
    comment = next((comments[n] for n in reversed(on_lines) if n in comments), "")
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
