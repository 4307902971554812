"""The list parameters of the chapter: read from text, and refused before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bnlib.experiments import lists
from bnlib.experiments.covariate_shift.along import RULES
from bnlib.networks import arms, spec

DEEP = 10  # weight matrices from which on the claim about noise is judged
CHECKS: dict[str, lists.Check] = {
    "arms": lists.names(arms.ARMS, among=("none", "bn")),
    "activations": lists.names(tuple(spec.ACTIVATIONS)),
    "rate_rules": lists.names(RULES),
    "depths": lists.whole(2),
    "noise_depths": lists.whole(2, some=DEEP),
    "rates": lists.ascending,
    "raw_steps": lists.ascending,
    "matched_steps": lists.ascending,
    "sizes": lists.pairs("[width, batch]", 2),
}


def read(given: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Every list, as a list or as its text, checked; raises ValueError: see `lists.read`."""
    return lists.read(given, CHECKS)


def watched(**walks: tuple[int, int]) -> None:
    """Refuse walks (steps, every) that are never measured after their start."""
    for name, (steps, every) in walks.items():
        lists.want(steps > every, name, f"more than the {every} between measurements", steps)
