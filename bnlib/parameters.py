"""Parameters of a run: declared once, and checked once, whoever hands them over.

A chapter declares its parameters as a frozen dataclass:

    @dataclass(frozen=True)
    class Settings(parameters.Settings):
        seeds: int = parameter(5, 2, 100)
        activations: list = parameter(["relu", "tanh"], rule=names(ACTIVATIONS))

The page repeats them, with a comment each, in its cell tagged `parameters`; papermill writes other
values below that cell, with any name and any value, and a list as text. `Settings.read` is where
a wrong one is refused, with the same sentence that the command line uses.
"""

from __future__ import annotations

import ast
import difflib
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, field, fields
from typing import Any, NamedTuple, Self

TYPES = {"int": int, "float": float, "bool": bool, "str": str, "list": list}
INJECTED = "# Parameters"  # how the cell begins that papermill writes

Rule = Callable[[str, list[Any]], None]
"""What a list has to satisfy beyond its elements' range: raises ValueError naming the parameter."""


class Parameter(NamedTuple):
    """One declared parameter. low, high: the allowed range; choices: the allowed strings.

    A list has at least one element, of the kind of the default's; range and choices bind each,
    and `rule` the list as a whole.
    """

    name: str
    kind: str
    default: Any
    comment: str = ""
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    rule: Rule | None = None

    @property
    def element(self) -> type:
        """The type of a value, or of each element of a list: float where any of them is one."""
        if self.kind != "list":
            return TYPES[self.kind]
        kinds = {type(item) for item in self.default}
        return float if kinds == {int, float} else kinds.pop()


def parameter(
    default: Any,
    low: float | None = None,
    high: float | None = None,
    *,
    choices: Sequence[str] = (),
    rule: Rule | None = None,
) -> Any:
    """A field of `Settings` with its default and what is allowed."""
    allowed = {"low": low, "high": high, "choices": tuple(choices), "rule": rule}
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=allowed)
    return field(default=default, metadata=allowed)


class Settings:
    """The parameters of a chapter. Subclasses are frozen dataclasses of `parameter` fields."""

    def __post_init__(self) -> None:
        """Raises ValueError for a value of another type, or one that is not allowed."""
        check(self.declared(), vars(self))

    @classmethod
    def declared(cls) -> dict[str, Parameter]:
        """The parameters by name, in order."""
        declared = {}
        for entry in fields(cls):  # type: ignore[arg-type]  # subclasses are dataclasses
            listed = entry.default_factory is not MISSING
            default = entry.default_factory() if listed else entry.default  # type: ignore[misc]
            kind = getattr(entry.type, "__name__", str(entry.type)).split("[")[0]
            declared[entry.name] = Parameter(entry.name, kind, default, **entry.metadata)
        return declared

    @classmethod
    def read(cls, namespace: Mapping[str, Any]) -> Self:
        """The settings of a running notebook, from its `globals()`.

        Raises ValueError for a parameter that papermill injected under a name that is not
        declared, and for a value that is not allowed.
        """
        declared = cls.declared()
        for name in _injected(namespace.get("In", [])):
            if name not in declared:
                raise ValueError(unknown("parameter", name, described(declared)))
        given = {name: namespace[name] for name in declared if name in namespace}
        return cls(**{name: _unpacked(declared[name], value) for name, value in given.items()})


def check(declared: Mapping[str, Parameter], given: Mapping[str, Any]) -> None:
    """Refuse what papermill would accept silently.

    Raises ValueError for a name that is not declared (with the nearest one), a value that is not
    of the declared type, and a value outside the allowed range or choices. An int is a float.
    """
    for name, value in given.items():
        if name not in declared:
            raise ValueError(unknown("parameter", name, described(declared)))
        parameter = declared[name]
        if type(value) is not list and parameter.kind == "list":
            raise ValueError(_wrong(parameter, f"{value!r} ({type(value).__name__})"))
        items = value if parameter.kind == "list" else [value]
        expect(len(items) > 0, name, "a list with entries", value)
        for item in items:
            # bool is a subclass of int, but `seeds=True` is a slip.
            if (type(item), parameter.element) not in ((parameter.element,) * 2, (int, float)):
                raise ValueError(_wrong(parameter, f"{item!r} ({type(item).__name__})"))
            one_in = f"one in {_allowed(parameter).strip()}"
            expect(_within(parameter, item), name, one_in, repr(item))
        if parameter.rule is not None:
            parameter.rule(name, value)


def from_text(parameter: Parameter, text: str) -> Any:
    """The value of a parameter given as text, as on a command line. Raises ValueError."""
    try:
        if parameter.kind == "bool":
            return {"true": True, "false": False}[text.strip().lower()]
        if parameter.kind == "list":
            return json.loads(text)
        return TYPES[parameter.kind](text)
    except (KeyError, ValueError) as error:
        raise ValueError(_wrong(parameter, repr(text))) from error


def unknown(what: str, name: str, known: Mapping[str, str]) -> str:
    """The message for a name that is not known: the nearest one, and what there is, described."""
    hint = _nearest(name, known) or "."
    return f"unknown {what} {name!r}{hint} Known: {', '.join(known.values()) or 'none'}"


def described(declared: Mapping[str, Parameter]) -> dict[str, str]:
    """Name, type and range of each parameter, for a message."""
    return {name: f"{name}: {p.kind}{_allowed(p)}" for name, p in declared.items()}


def one_of(what: str, got: object, known: Sequence[str]) -> str:
    """`got` if it is one of `known`; otherwise a ValueError that suggests the nearest name."""
    if isinstance(got, str) and got in known:
        return got
    hint = _nearest(str(got), known)
    raise ValueError(f"{what}: expected one of {', '.join(map(repr, known))}, got {got!r}{hint}")


def expect(right: bool, name: str, expected: str, got: Any) -> None:
    """Raise ValueError for the parameter `name` unless what was given is right."""
    if not right:
        raise ValueError(f"parameter {name!r}: expected {expected}, got {got}")


def names(known: Sequence[str], *, among: Sequence[str] = (), without: Sequence[str] = ()) -> Rule:
    """Known names, each once; those of `among` included, none of `without`."""

    def rule(name: str, values: list[Any]) -> None:
        for value in values:
            one_of(f"parameter {name!r}", value, known)
        expect(len(set(values)) == len(values), name, "each name once", values)
        expect(set(among) <= set(values), name, f"{' and '.join(among)} among them", values)
        expect(set(without).isdisjoint(values), name, f"none of {', '.join(without)}", values)

    return rule


def different(count: int, *, some: int = 0) -> Rule:
    """At least `count` different numbers, one of them `some` or more."""

    def rule(name: str, values: list[Any]) -> None:
        expect(len(set(values)) >= count, name, f"at least {count} different numbers", values)
        expect(max(values) >= some, name, f"one of at least {some}, which decides", values)

    return rule


def ascending(name: str, values: list[Any]) -> None:
    """Each number once, in ascending order."""
    expect(sorted(set(values)) == values, name, "numbers in ascending order, each once", values)


def grid(least: int = 1, *, first: float | None = None, among: float | None = None) -> Rule:
    """Ascending numbers, at least so many; a certain one first, or among them."""

    def rule(name: str, values: list[Any]) -> None:
        ascending(name, values)
        expect(len(values) >= least, name, f"at least {least} numbers", values)
        expect(first in (None, values[0]), name, f"{first} as the first number", values)
        expect(among in (None, *values), name, f"{among} among them, which decides", values)

    return rule


def pairs(what: str) -> Rule:
    """Pairs of whole numbers; `what` names their two entries."""

    def rule(name: str, values: list[Any]) -> None:
        right = all(len(pair) == 2 and {type(n) for n in pair} == {int} for pair in values)
        expect(right, name, f"pairs {what} of whole numbers", values)

    return rule


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _injected(cells: Sequence[str]) -> list[str]:
    """The names that papermill set, from the sources of the cells that ran."""
    sources = [cell for cell in cells if cell.startswith(INJECTED)]
    assigned = ast.parse(sources[-1]).body if sources else []
    return [line.targets[0].id for line in assigned if isinstance(line, ast.Assign)]  # type: ignore[attr-defined]


def _unpacked(parameter: Parameter, value: Any) -> Any:
    """A list that papermill's -p handed over as text, as a list; anything else as it is."""
    if parameter.kind != "list" or not isinstance(value, str):
        return value
    try:
        return ast.literal_eval(value)
    except (SyntaxError, ValueError):
        return value  # `check` refuses it by its type


def _allowed(parameter: Parameter) -> str:
    if parameter.choices:
        return f" {{{'|'.join(parameter.choices)}}}"
    if parameter.low is None or parameter.high is None:
        return ""
    return f" [{parameter.low:g}, {parameter.high:g}]"


def _wrong(parameter: Parameter, got: str) -> str:
    kind = parameter.kind
    if kind == "list":
        kind = f"list of {parameter.element.__name__}, such as {parameter.default}, each one in"
        kind = kind if _allowed(parameter) else kind.removesuffix(", each one in")
    return f"parameter {parameter.name!r}: expected {kind}{_allowed(parameter)}, got {got}"


def _within(parameter: Parameter, item: Any) -> bool:
    """Whether a value, or an element of a list, is in the declared range or among the choices."""
    if isinstance(item, list):
        return all(_within(parameter, number) for number in item)
    if parameter.choices:
        return item in parameter.choices
    if parameter.low is None or parameter.high is None:
        return not isinstance(item, float) or math.isfinite(item)
    return isinstance(item, int | float) and parameter.low <= item <= parameter.high
