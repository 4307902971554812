"""The plan of a sweep: grids of parameter values, checked whole, enumerated one run at a time.

A grid is a product over names. Values are given as text (`2,4,8`, `0:20`, `0:1:0.25`) or in a TOML
file, which may hold several grids. Nothing here keeps a list of the runs: a plan of a hundred
thousand costs a few megabytes.
"""

import itertools
import json
import math
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from bnlib.parameters import Parameter, check
from bookbuild import notebook as nb
from bookbuild import store
from bookbuild.execute import Run

Grid = Mapping[str, Sequence[Any]]


class Plan(NamedTuple):
    """What a sweep runs. parts: what every key covers; store: the folder of all results.

    chapter: the module whose `run` is called; None where the notebook is executed.
    """

    notebook: Path
    source: Any
    declared: dict[str, Parameter]
    grids: tuple[Grid, ...]
    parts: dict[str, Any]
    store: Path
    package: str
    chapter: str | None = None

    @property
    def folder(self) -> Path:
        """Where the store keeps the results of this notebook."""
        return self.store / self.notebook.stem

    def runs(self) -> Iterator[Run]:
        """The runs in the order of the grids; one that several grids hold comes once."""
        of = store.keys(self.source, self.parts)
        seen: set[bytes] = set()
        for grid in self.grids:
            for values in itertools.product(*grid.values()):
                parameters = store.effective(self.declared, dict(zip(grid, values, strict=True)))
                key = of(parameters)
                if (short := bytes.fromhex(key)) not in seen:
                    seen.add(short)
                    yield Run(self.notebook, parameters, key, self.store)

    def parameters(self, run: Run) -> dict[str, Any]:
        """Every declared parameter of a run, defaults included, in the order of the notebook."""
        defaults = {name: parameter.default for name, parameter in self.declared.items()}
        return defaults | run.parameters


class Survey(NamedTuple):
    """A plan in numbers: its runs, how many of them have a file in the store, and its name."""

    runs: int
    stored: int
    name: str


def plan(
    notebook: Path,
    words: Iterable[str],
    *,
    root: Path,
    package: str = "bnlib",
    notebooks: bool = False,
) -> Plan:
    """Read the notebook and check every value of every grid against what it declares.

    words: `name=values`, or the name of a TOML file; names given as words belong to every grid.
    notebooks: execute the notebook even where it is the page of a chapter.
    Raises ValueError, naming the notebook, for whatever `notebook.check` refuses, a name given
    twice and a grid without values.
    """
    source = nb.read(notebook)
    try:
        declared = nb.parameters(source)
        grids = parse(declared, words)
    except (ValueError, SyntaxError) as error:
        raise ValueError(f"{notebook.name}: {error}") from error
    parts = store.basis(source, root=root, package=package)
    chapter = None if notebooks else _chapter(notebook, source, root, package)
    folder = root / store.FOLDER
    return Plan(notebook.resolve(), source, declared, grids, parts, folder, package, chapter)


def _chapter(notebook: Path, source: Any, root: Path, package: str) -> str | None:
    """The chapter whose page this is: a notebook of the book that imports it."""
    name = f"{package}.chapters.{notebook.stem.replace('-', '_')}"
    of_the_book = notebook.resolve().parent == (root / nb.FOLDER).resolve()
    return name if of_the_book and name in nb.imports(source, package) else None


def survey(made: Plan) -> Survey:
    """Go through the plan once; a file in the store is counted by its name, and not opened."""
    kinds = (store.NOTEBOOK, store.DIRECT) if made.chapter else (store.NOTEBOOK,)
    present = {path.stem for kind in kinds for path in made.folder.glob(f"*{kind}")}
    count, stored, name = 0, 0, sha256()
    for run in made.runs():
        count, stored = count + 1, stored + (run.key in present)
        name.update(run.key.encode())
    return Survey(count, stored, f"{made.notebook.stem}-{name.hexdigest()[:8]}")


def parse(declared: Mapping[str, Parameter], words: Iterable[str]) -> tuple[Grid, ...]:
    """The grids that these words spell, every value checked."""
    common: dict[str, Sequence[Any]] = {}
    files: list[Grid] = []
    for word in words:
        name, equals, text = word.partition("=")
        if not equals:
            files += _from_file(declared, Path(word))
        elif name in common:
            raise ValueError(f"parameter {name!r}: expected one --grid {name}=..., got two")
        else:
            common[name] = _checked(declared, name, _from_words(_known(declared, name), text))
    for grid in files:
        if twice := common.keys() & grid.keys():
            raise ValueError(f"expected {sorted(twice)} in the file or as --grid, got both")
    return tuple({**grid, **common} for grid in files or [{}])


def shown(values: Sequence[Any], most: int = 8) -> str:
    """Values for a person: all of a few, the ends of many."""
    if len(values) <= most:
        return ", ".join(map(str, values))
    head = ", ".join(map(str, values[:3]))
    return f"{head}, ..., {values[-1]} ({len(values)} values)"


def size(grid: Grid) -> int:
    """Runs in one grid."""
    return math.prod(len(values) for values in grid.values())


def _known(declared: Mapping[str, Parameter], name: str) -> Parameter:
    check(declared, {} if name in declared else {name: None})  # it refuses the unknown
    return declared[name]


def _checked(declared: Mapping[str, Parameter], name: str, values: Sequence[Any]) -> Sequence[Any]:
    if not values:
        raise ValueError(f"parameter {name!r}: expected values, got none")
    for value in values:
        check(declared, {name: value})
    return values


def _from_words(parameter: Parameter, text: str) -> Sequence[Any]:
    if parameter.kind == "list":
        try:
            return json.loads(f"[{text}]")
        except json.JSONDecodeError as error:
            raise ValueError(
                f"parameter {parameter.name!r}: expected lists such as [2,4],[8], got {text!r}"
            ) from error
    pieces = [piece.strip() for piece in text.split(",")]
    if parameter.kind in ("int", "float") and any(":" in piece for piece in pieces):
        spans = [_span(parameter, piece) for piece in pieces]
        return spans[0] if len(spans) == 1 else [value for span in spans for value in span]
    return [_single(parameter, piece) for piece in pieces]


def _single(parameter: Parameter, text: str) -> Any:
    return nb.parse({parameter.name: parameter}, [(parameter.name, text)])[parameter.name]


def _span(parameter: Parameter, text: str) -> Sequence[Any]:
    """`start:stop` or `start:stop:step` as in Python, without the stop; one value is itself."""
    if ":" not in text:
        return [_single(parameter, text)]
    want = f"parameter {parameter.name!r}: expected start:stop or start:stop:step, got {text!r}"
    try:
        start, stop, *more = [Decimal(part) for part in text.split(":")]
        (step,) = more or [Decimal(1)]
        count = max(0, math.ceil((stop - start) / step))
    except (InvalidOperation, ValueError, ZeroDivisionError, ArithmeticError) as error:
        raise ValueError(want) from error
    if parameter.kind == "int":
        if any(part != int(part) for part in (start, stop, step)):
            raise ValueError(f"{want}: an int takes whole numbers")
        return range(int(start), int(stop), int(step))
    # Decimal, so that the third of 0:1:0.1 is 0.2 and not 0.30000000000000004's neighbour.
    return [float(start + n * step) for n in range(count)]


def _from_file(declared: Mapping[str, Parameter], path: Path) -> list[Grid]:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        got = repr(str(path))
        raise ValueError(f"expected --grid name=values or a TOML file, got {got}") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"{path}: expected a TOML file of grids: {error}") from error
    tables = content["grid"] if isinstance(content.get("grid"), list) else [content]
    if not tables or not all(isinstance(table, dict) for table in tables):
        raise ValueError(f"{path}: expected tables [[grid]] of names and values")
    try:
        return [
            {
                name: _checked(declared, name, _from_toml(_known(declared, name), value))
                for name, value in table.items()
            }
            for table in tables
        ]
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _from_toml(parameter: Parameter, value: Any) -> Sequence[Any]:
    if isinstance(value, str) and parameter.kind in ("int", "float"):
        return _from_words(parameter, value)
    if not isinstance(value, list):
        return [value]
    # [2, 8] is one value of a list parameter, [[2, 8], [16]] are two.
    if parameter.kind == "list" and not all(isinstance(item, list) for item in value):
        return [value]
    return value
