"""The list parameters of the chapter: read from text, and refused before anything is trained."""

from __future__ import annotations

import ast
import difflib
import math
from collections.abc import Mapping, Sequence
from typing import Any

from bnlib.experiments.covariate_shift.along import RULES
from bnlib.networks import arms, spec

DEEP = 10  # weight matrices from which on the claim about noise is judged
NAMES: dict[str, Sequence[str]] = {
    "arms": arms.ARMS,
    "activations": tuple(spec.ACTIVATIONS),
    "rate_rules": RULES,
}


def read(given: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Every list, whether it came as a list or as its text, checked.

    arms, activations, rate_rules: known names, each once; arms with none and bn.
    depths, noise_depths: whole numbers from 2 on; the largest noise_depth at least 10.
    rates, raw_steps, matched_steps: positive, finite, ascending.  sizes: [width, batch].
    Raises ValueError that names the parameter, what was wanted and what was given.
    """
    lists = {name: _listed(name, value) for name, value in given.items()}
    for name, values in lists.items():
        if name in NAMES:
            _known(name, values)
        elif name == "sizes":
            _pairs(name, values)
        elif name.endswith("depths"):
            _want(all(_whole(v, 2) for v in values), name, "whole numbers from 2 on", values)
        else:
            right = all(_positive(v) for v in values) and sorted(set(values)) == values
            _want(right, name, "positive numbers, ascending", values)
    names = lists.get("arms", ["none", "bn"])
    _want({"none", "bn"} <= set(names), "arms", "none and bn among them", names)
    deepest = max(lists.get("noise_depths", [DEEP]))
    _want(deepest >= DEEP, "noise_depths", f"one of at least {DEEP}, which decides", deepest)
    return lists


def watched(**walks: tuple[int, int]) -> None:
    """Refuse walks (steps, every) that are never measured after their start."""
    for name, (steps, every) in walks.items():
        _want(steps > every, name, f"more than the {every} between measurements", steps)


def _listed(name: str, value: Any) -> list[Any]:
    try:
        found = ast.literal_eval(value) if isinstance(value, str) else value
    except (SyntaxError, ValueError):
        found = None
    _want(isinstance(found, list | tuple) and len(found) > 0, name, "a list with entries", value)
    return list(found or ())


def _known(name: str, values: list[Any]) -> None:
    for value in values:
        near = difflib.get_close_matches(str(value), NAMES[name], n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        _want(value in NAMES[name], name, f"names out of {tuple(NAMES[name])}", f"{value!r}{hint}")
    _want(len(set(values)) == len(values), name, "each name once", values)


def _pairs(name: str, values: list[Any]) -> None:
    right = all(isinstance(v, list | tuple) and len(v) == 2 for v in values)
    right = right and all(_whole(n, 2) for pair in values for n in pair)
    _want(right, name, "pairs [width, batch] of whole numbers from 2 on", values)


def _whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _positive(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and 0 < value < math.inf


def _want(right: bool, name: str, wanted: str, value: Any) -> None:
    if not right:
        raise ValueError(f"{name}: want {wanted}, got {value}")
