"""The plan of a sweep: grids of parameter values, checked whole, enumerated one run at a time.

A grid is a product over names. Values are given as text (`2,4,8`, `0:20`, `0:1:0.25`) or in a TOML
file, which may hold several grids. Nothing here keeps a list of the runs: a plan of a hundred
thousand costs a few megabytes.
"""

import itertools
import json
import math
import os
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from hashlib import sha256
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from bnlib.parameters import Parameter, check
from bookbuild import notebook as nb
from bookbuild import store
from bookbuild.execute import Run

Grid = Mapping[str, Sequence[Any]]
MOST = 1_000_000  # runs of a plan; a finer step is a slip
_ASKED = 50  # stored runs from which the time of another one is guessed


class Plan(NamedTuple):
    """What a sweep runs. made_of: what every key covers; store: the folder of all results.

    chapter: the module whose `run` is called; None where the notebook is executed.
    """

    notebook: Path
    source: Any
    declared: dict[str, Parameter]
    grids: tuple[Grid, ...]
    made_of: store.Basis
    store: Path
    chapter: str | None = None

    @property
    def folder(self) -> Path:
        """Where the store keeps the results of this notebook."""
        return self.store / self.notebook.stem

    def runs(self) -> Iterator[Run]:
        """The runs in the order of the grids; one that several grids hold comes once."""
        of = store.keys(self.notebook.parent, self.declared, self.made_of)
        seen: set[bytes] = set()
        for grid in self.grids:
            for values in itertools.product(*grid.values()):
                parameters = store.effective(self.declared, dict(zip(grid, values, strict=True)))
                key, files = of(parameters)
                if (short := bytes.fromhex(key)) not in seen:
                    seen.add(short)
                    package = self.made_of.package
                    yield Run(self.notebook, parameters, key, self.store, files, package)

    def parameters(self, run: Run) -> dict[str, Any]:
        """Every declared parameter of a run, defaults included, in the order of the notebook."""
        defaults = {name: parameter.default for name, parameter in self.declared.items()}
        return defaults | run.parameters


class Survey(NamedTuple):
    """A plan in numbers: its runs, how many of them have a file in the store, and its name.

    seconds: the median of what stored runs of this notebook took; None where there is none.
    """

    runs: int
    stored: int
    name: str
    seconds: float | None


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
    Raises ValueError, naming the notebook, for whatever `parameters.check` refuses, a name given
    twice, a grid without values and a plan of more than `MOST` runs.
    """
    path, source = notebook.resolve(), nb.read(notebook)
    with nb.named(notebook):
        declared = nb.parameters(source)
        grids = parse(declared, words)
        made_of = store.basis(path, source, root=root, package=package)
    # The page of a chapter is a notebook of the book that imports the chapter of its name.
    page = not notebooks and path.parent == (root / nb.FOLDER).resolve()
    name = f"{package}.chapters.{notebook.stem.replace('-', '_')}"
    imported = set().union(*(nb.imported(cell.source) for cell in nb.code_cells(source)))
    chapter = name if page and name in imported else None
    return Plan(path, source, declared, grids, made_of, root / store.FOLDER, chapter)


def survey(made: Plan) -> Survey:
    """Go through the plan once; a file in the store is counted by its name, and not read."""
    kinds = (store.NOTEBOOK, store.DIRECT) if made.chapter else (store.NOTEBOOK,)
    present = {path.stem: path for kind in kinds for path in made.folder.glob(f"*{kind}")}
    count, stored, name = 0, 0, sha256()
    for run in made.runs():
        count, stored = count + 1, stored + (run.key in present)
        name.update(run.key.encode())
    some = list(present.values())[:_ASKED]
    times = [s for path in some if (s := store.stamp(path.read_bytes()).get("seconds"))]
    seconds = median(times) if times else None
    return Survey(count, stored, f"{made.notebook.stem}-{name.hexdigest()[:8]}", seconds)


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
            common[name] = _checked(declared, name, text, _from_words)
    for grid in files:
        if twice := common.keys() & grid.keys():
            raise ValueError(f"expected {sorted(twice)} in the file or as --grid, got both")
    grids = tuple({**grid, **common} for grid in files or [{}])
    _expect_at_most(sum(map(size, grids)))
    return grids


def shown(values: Sequence[Any], most: int = 8) -> str:
    """Values for a person: all of a few, the ends of many."""
    if len(values) <= most:
        return ", ".join(map(str, values))
    head = ", ".join(map(str, values[:3]))
    return f"{head}, ..., {values[-1]} ({len(values)} values)"


def size(grid: Grid) -> int:
    """Runs in one grid."""
    return math.prod(len(values) for values in grid.values())


def from_shell(value: Any) -> Any:
    """A path that was typed in a shell is meant from there, not from the notebook's folder.

    That is a text, or an entry of a list, that looks like a path and names a file from here.
    """
    if isinstance(value, list):
        return [from_shell(entry) for entry in value]
    like_a_path = isinstance(value, str) and ("." in value or os.sep in value)
    return os.path.abspath(value) if like_a_path and os.path.isfile(value) else value


def _expect_at_most(runs: float) -> None:
    if runs > MOST:
        raise ValueError(f"expected at most {MOST:,} runs, got {float(runs):.3g}; the step is tiny")


def _checked(
    declared: Mapping[str, Parameter],
    name: str,
    given: Any,
    read: Callable[[Parameter, Any], Sequence[Any]],
) -> Sequence[Any]:
    check(declared, {} if name in declared else {name: None})  # it refuses the unknown
    values = read(declared[name], given)
    if not values:
        raise ValueError(f"parameter {name!r}: expected values, got none")
    for value in values:
        check(declared, {name: value})
    return [from_shell(value) for value in values]


def _from_words(parameter: Parameter, text: str) -> Sequence[Any]:
    if parameter.kind == "list":
        try:
            return json.loads(f"[{text}]")
        except json.JSONDecodeError as error:
            raise ValueError(
                f"parameter {parameter.name!r}: expected lists such as [2,4],[8], got {text!r}"
            ) from error
    pieces = [piece.strip() for piece in text.split(",")]
    if parameter.kind in ("int", "float"):
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
        count = (stop - start) / step
        whole = all(part.is_finite() and part % 1 == 0 for part in (start, stop, step))
    except (InvalidOperation, ValueError, ZeroDivisionError) as error:
        raise ValueError(want) from error
    if not count.is_finite():
        raise ValueError(want)
    _expect_at_most(float(count))
    if parameter.kind == "int" and not whole:
        raise ValueError(f"{want}: an int takes whole numbers")
    if parameter.kind == "int":
        return range(int(start), int(stop), int(step))
    # Decimal, so that the third of 0:1:0.1 is 0.2 and not 0.30000000000000004's neighbour.
    return [float(start + n * step) for n in range(max(0, math.ceil(count)))]


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
    with nb.named(path):
        return [
            {name: _checked(declared, name, value, _from_toml) for name, value in table.items()}
            for table in tables
        ]


def _from_toml(parameter: Parameter, value: Any) -> Sequence[Any]:
    """An array is the values themselves, a text is read as a word, anything else is one value."""
    if isinstance(value, str):
        return _from_words(parameter, value)
    return value if isinstance(value, list) else [value]
