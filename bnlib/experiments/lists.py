"""The list parameters of a notebook: read from text, and refused before anything is trained.

Papermill's -p hands a list over as text. A check raises ValueError that names the parameter, what
was wanted and what was given.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bnlib.parameters import one_of

Check = Callable[[str, list[Any]], None]


def read(given: Mapping[str, Any], checks: Mapping[str, Check]) -> dict[str, list[Any]]:
    """Every list, whether it came as a list or as its text, not empty, and as its check wants it.

    Raises ValueError.
    """
    found = {name: _listed(name, value) for name, value in given.items()}
    for name, values in found.items():
        checks[name](name, values)
    return found


def want(right: bool, name: str, wanted: str, got: Any) -> None:
    """Raise ValueError for the parameter `name` unless what was given is right."""
    if not right:
        raise ValueError(f"{name}: want {wanted}, got {got}")


def names(known: Sequence[str], *, among: Sequence[str] = (), without: Sequence[str] = ()) -> Check:
    """Known names, each once; those of `among` included, none of `without`."""

    def check(name: str, values: list[Any]) -> None:
        for value in values:
            one_of(name, value, known)
        want(len(set(values)) == len(values), name, "each name once", values)
        want(set(among) <= set(values), name, f"{' and '.join(among)} among them", values)
        want(set(without).isdisjoint(values), name, f"none of {', '.join(without)}", values)

    return check


def whole(least: int, *, some: int | None = None, count: int = 1) -> Check:
    """At least `count` different whole numbers from `least` on; one of them `some` or more."""

    def check(name: str, values: list[Any]) -> None:
        want(all(_whole(v, least) for v in values), name, f"whole numbers from {least} on", values)
        if count > 1:
            want(len(set(values)) >= count, name, f"at least {count} different numbers", values)
        if some is not None:
            want(max(values) >= some, name, f"one of at least {some}, which decides", values)

    return check


def ascending(name: str, values: list[Any]) -> None:
    """Positive finite numbers, in ascending order."""
    right = all(_positive(v) for v in values) and sorted(set(values)) == values
    want(right, name, "positive numbers, ascending", values)


def pairs(what: str, least: int) -> Check:
    """Pairs of whole numbers from `least` on; `what` names their two entries."""

    def check(name: str, values: list[Any]) -> None:
        right = all(isinstance(v, list | tuple) and len(v) == 2 for v in values)
        right = right and all(_whole(n, least) for pair in values for n in pair)
        want(right, name, f"pairs {what} of whole numbers from {least} on", values)

    return check


def _listed(name: str, value: Any) -> list[Any]:
    try:
        found = ast.literal_eval(value) if isinstance(value, str) else value
    except (SyntaxError, ValueError):
        found = None
    want(isinstance(found, list | tuple) and len(found) > 0, name, "a list with entries", value)
    return list(found or ())


def _whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _positive(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and 0 < value < math.inf
