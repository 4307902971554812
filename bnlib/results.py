"""What a notebook hands to the book: recorded numbers and the verdicts on claims.

Both travel as cell outputs of the executed notebook, and as nothing else: prose pastes them with
myst-nb's glue, the ledger and a sweep read them with `read_outputs`. In a process without a
notebook the calls only check their arguments.
"""

import html
import math
import re
import sys
from typing import Any

RECORD_MIME = "application/vnd.bnlib.record+json"
CLAIM_MIME = "application/vnd.bnlib.claim+json"
VERDICTS = ("holds", "partly", "fails")

Value = bool | int | float | str | list

# myst-nb takes an output with "scrapbook" metadata for its glue store, cutting the length of this
# prefix off the MIME types; the prefix also keeps front ends from showing the output.
_HIDDEN = "application/papermill.record/"
_SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_given: dict[str, tuple[str, int]] = {}


def record(
    key: str,
    value: Any,
    *,
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
) -> None:
    """Hand one measured value to the book, under a key that is unique in its notebook.

    value: a number, a bool, a string or a list of these; NumPy and torch scalars and 1-D arrays
    become plain Python. low, high: the ends of its interval, in the same unit.
    Prose pastes it as ``{glue:text}`key:.3f` `` here and, on another page, as
    ``{glue:text}`../notebooks/forward.ipynb::key:.3f` ``; the format is not optional.

    Raises ValueError for a non-finite number (a page must not print "nan"), for a key that is not
    a kebab-case slug or was used before, and for half an interval; TypeError for another type.
    """
    _check_slug("record key", key)
    value = _plain(key, value)
    low, high = _interval(key, low, high)
    payload = {"key": key, "value": value, "unit": unit, "low": low, "high": high}
    data = {f"{_HIDDEN}text/plain": repr(value), RECORD_MIME: payload}
    _emit(f"record {key!r}", data, {"scrapbook": {"name": key, "mime_prefix": _HIDDEN}})


def claim(id: str, verdict: str, evidence: str) -> None:  # noqa: A002 - the ledger calls it id
    """Give the verdict on one claim, with the evidence as one plain sentence.

    The output is a badge (a link target `#claim-<id>`) and the same as data for the ledger.

    Raises ValueError for a verdict outside `VERDICTS`, empty evidence, or an id that is not a
    kebab-case slug or got a verdict before.
    """
    _check_slug("claim id", id)
    if verdict not in VERDICTS:
        raise ValueError(f"claim {id!r}: want a verdict out of {VERDICTS}, got {verdict!r}")
    if not evidence.strip() or "\n" in evidence:
        raise ValueError(f"claim {id!r}: want one sentence of evidence, got {evidence!r}")
    badge = (
        f'<div class="bn-claim bn-claim-{verdict}" id="claim-{id}" role="note">'
        f'<strong class="bn-claim-verdict">{verdict}</strong> '
        f'<a class="bn-claim-id" href="#claim-{id}"><code>{id}</code></a> '
        f'<span class="bn-claim-evidence">{html.escape(evidence)}</span></div>'
    )
    payload = {"id": id, "verdict": verdict, "evidence": evidence}
    data = {"text/html": badge, "text/plain": f"{id}: {verdict}. {evidence}", CLAIM_MIME: payload}
    _emit(f"claim {id!r}", data, {})


def read_outputs(notebook: Any) -> tuple[dict[str, dict], dict[str, dict]]:
    """Collect the (records by key, claims by id) of an executed notebook node.

    Raises ValueError where two outputs carry the same key: one of the numbers would be lost.
    """
    found: dict[str, dict[str, dict]] = {RECORD_MIME: {}, CLAIM_MIME: {}}
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            for mime, name in ((RECORD_MIME, "key"), (CLAIM_MIME, "id")):
                payload = output.get("data", {}).get(mime)
                if payload is None:
                    continue
                if payload[name] in found[mime]:
                    raise ValueError(f"want each {name} once, got {payload[name]!r} twice")
                found[mime][payload[name]] = dict(payload)
    return found[RECORD_MIME], found[CLAIM_MIME]


def _check_slug(what: str, name: str) -> None:
    if not isinstance(name, str) or not _SLUG.fullmatch(name):
        raise ValueError(f"{what}: want a kebab-case slug such as 'largest-error', got {name!r}")


def _plain(key: str, value: Any) -> Value:
    """Plain Python for one recorded value; NumPy and torch both spell this `tolist`."""
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, list | tuple):
        return [_scalar(key, item) for item in value]
    return _scalar(key, value)


def _scalar(key: str, value: Any) -> bool | int | float | str:
    value = value.tolist() if hasattr(value, "tolist") else value
    if not isinstance(value, bool | int | float | str):
        kind = type(value).__name__
        raise TypeError(f"record {key!r}: want number, bool, str or a 1-D list, got {kind}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"record {key!r}: want a finite number, got {value}; record what failed")
    return value


def _interval(key: str, low: Any, high: Any) -> tuple[float | None, float | None]:
    if low is None and high is None:
        return None, None
    if low is None or high is None:
        raise ValueError(f"record {key!r}: want both ends of the interval, got {low=}, {high=}")
    low, high = float(_scalar(key, low)), float(_scalar(key, high))
    if low > high:
        raise ValueError(f"record {key!r}: want low <= high, got {low=}, {high=}")
    return low, high


def _emit(name: str, data: dict[str, Any], metadata: dict[str, Any]) -> None:
    """Display the bundle in a running notebook; do nothing where there is none."""
    ipython: Any = sys.modules.get("IPython")  # a kernel has imported it; a script need not
    shell = ipython.get_ipython() if ipython else None
    if shell is None:
        return
    cell = (shell.get_parent().get("content", {}).get("code", ""), shell.execution_count)
    before = _given.get(name)
    # The same cell run again by hand replaces its own output, which is no duplicate.
    if before and (before[0] != cell[0] or before[1] == cell[1]):
        raise ValueError(f"{name}: want each name once in a notebook, got it twice")
    _given[name] = cell
    ipython.display.display(data, raw=True, metadata=metadata)
