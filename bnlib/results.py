"""What a chapter hands to the book, section by section: recorded numbers and verdicts on claims.

Both travel as cell outputs of the executed notebook, and as nothing else: prose pastes them with
myst-nb's glue, the ledger and a sweep read them with `read_outputs`. A section measures once; the
page then publishes it, shows its tables and draws its figures, each in a cell of its own.
"""

import html
import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:  # a section is read without pandas and Matplotlib, too
    from matplotlib.figure import Figure
    from pandas import DataFrame

RECORD_MIME = "application/vnd.bnlib.record+json"
CLAIM_MIME = "application/vnd.bnlib.claim+json"
UNDECIDED = "undecided"  # the run could not test it, or a number that decides is none
NOT_POSED = "not well posed"  # as it stands nothing can decide it
VERDICTS = ("holds", "partly", "fails", UNDECIDED, NOT_POSED)
SPELLED = "-interval"  # `<key>-interval` spells, for prose, the ends of the interval of `<key>`

Value = bool | int | float | str | list

# myst-nb takes an output with "scrapbook" metadata out of the page and into its glue store, cutting
# the length of this prefix off the MIME types.
_HIDDEN = "application/papermill.record/"
_SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_given: dict[str, tuple[str, int]] = {}


@dataclass(frozen=True)
class Record:
    """One measured value, under a key that is unique in its chapter.

    value: a number, a bool, a string or a list of these; NumPy and torch scalars and 1-D arrays
    become plain Python. low, high: the ends of its interval, in the same unit.
    Prose pastes it as ``{glue:text}`key:.3f` `` on its page and, on another page, as
    ``{glue:text}`../notebooks/forward.ipynb::key:.3f` ``; the format is not optional.

    Raises ValueError for a non-finite number (a page must not print "nan"), for a key that is not
    a kebab-case slug, and for half an interval; TypeError for a value of another type.
    """

    key: str
    value: Any
    unit: str = ""
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        _check_slug("record key", self.key)
        low, high = _interval(self.key, self.low, self.high)
        plain = {"value": _plain(self.key, self.value), "low": low, "high": high}
        for name, value in plain.items():
            object.__setattr__(self, name, value)

    @classmethod
    def interval(cls, key: str, interval: Any, unit: str = "") -> Self:
        """An estimate with its interval; interval: anything with estimate, low and high."""
        return cls(key, interval.estimate, unit, interval.low, interval.high)

    def publish(self) -> None:
        """Hand the record to the book, for glue; a reader's own notebook shows it as a line."""
        ends = "" if self.low is None else f", interval {self.low:g} to {self.high:g}"
        data = {
            "text/plain": f"{self.key} = {self.value} {self.unit}".rstrip() + ends,
            f"{_HIDDEN}text/plain": repr(self.value),
            RECORD_MIME: dict(vars(self)),
        }
        metadata = {"scrapbook": {"name": self.key, "mime_prefix": _HIDDEN}}
        _emit(f"record {self.key!r}", data, metadata)


@dataclass(frozen=True)
class Claim:
    """The verdict on one claim, with the evidence as one plain sentence.

    It is `UNDECIDED` where its evidence holds a NaN, which no comparison passes. Raises ValueError
    for another verdict than these, empty evidence, or an id that is not a kebab-case slug.
    """

    id: str
    verdict: str
    evidence: str

    def __post_init__(self) -> None:
        _check_slug("claim id", self.id)
        what = f"claim {self.id!r}"
        if self.verdict not in VERDICTS:
            raise ValueError(f"{what}: expected a verdict out of {VERDICTS}, got {self.verdict!r}")
        if re.search(r"\bnan\b", self.evidence):
            object.__setattr__(self, "verdict", UNDECIDED)
        if not self.evidence.strip() or "\n" in self.evidence:
            raise ValueError(f"{what}: expected one sentence of evidence, got {self.evidence!r}")

    def publish(self) -> None:
        """Hand the claim to the book, as a badge that links point at: `#claim-<id>`."""
        kind = self.verdict.replace(" ", "-")
        badge = (
            f'<div class="bn-claim bn-claim-{kind}" id="claim-{self.id}" role="note">'
            f'<strong class="bn-claim-verdict">{self.verdict}</strong> '
            f'<a class="bn-claim-id" href="#claim-{self.id}"><code>{self.id}</code></a> '
            f'<span class="bn-claim-evidence">{html.escape(self.evidence)}</span></div>'
        )
        plain = f"{self.id}: {self.verdict}. {self.evidence}"
        data = {"text/html": badge, "text/plain": plain, CLAIM_MIME: dict(vars(self))}
        _emit(f"claim {self.id!r}", data, {})


@dataclass(frozen=True, kw_only=True)
class Section:
    """What one section of a chapter measured, decided and can show.

    values: what it measured, for later sections and for cells of the page. tables, figures: by
    name; a figure is drawn when it is asked for.
    """

    values: Any = None
    records: tuple[Record, ...] = ()
    claims: tuple[Claim, ...] = ()
    tables: Mapping[str, "DataFrame"] = field(default_factory=dict)
    figures: Mapping[str, Callable[[], "Figure"]] = field(default_factory=dict)

    @property
    def table(self) -> "DataFrame":
        """The only table. Raises ValueError where there is none, or more than one."""
        return _only("table", self.tables)

    def figure(self, name: str | None = None) -> "Figure":
        """Draw the figure of this name, or the only one."""
        draw = _only("figure", self.figures) if name is None else self.figures[name]
        return draw()

    def publish(self) -> None:
        """Hand records and claims to the book, as outputs of the running cell.

        In a process without a notebook nothing happens. Raises ValueError for a key or id that was
        published before.
        """
        for record_or_claim in (*self.records, *self.claims):
            record_or_claim.publish()


def recorded(values: Mapping[str, Any], unit: str = "", *, ends: str = "") -> tuple[Record, ...]:
    """A record for each key; a value with estimate, low and high is recorded with its interval.

    ends: a format.  Given one, prose gets each interval as text, too: `<key>-interval`, "a to b".
    """
    made = []
    for key, value in values.items():
        if not hasattr(value, "estimate"):
            made.append(Record(key, value, unit))
            continue
        made.append(Record.interval(key, value, unit))
        if ends:
            made.append(Record(f"{key}{SPELLED}", f"{value.low:{ends}} to {value.high:{ends}}"))
    return tuple(made)


def collect(sections: Iterable[Section]) -> tuple[dict[str, dict], dict[str, dict]]:
    """(records by key, claims by id) of a chapter's sections, as `read_outputs` gives them.

    Raises ValueError where two sections carry the same key.
    """
    sections = list(sections)
    records = [vars(record) for section in sections for record in section.records]
    claims = [vars(claim) for section in sections for claim in section.claims]
    return _by("key", records), _by("id", claims)


def read_outputs(notebook: Any) -> tuple[dict[str, dict], dict[str, dict]]:
    """Collect the (records by key, claims by id) of an executed notebook node.

    Raises ValueError where two outputs carry the same key: one of the numbers would be lost.
    """
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    bundles = [output.get("data", {}) for output in outputs]
    records = [dict(data[RECORD_MIME]) for data in bundles if RECORD_MIME in data]
    claims = [dict(data[CLAIM_MIME]) for data in bundles if CLAIM_MIME in data]
    return _by("key", records), _by("id", claims)


def record(key: str, value: Any, **more: Any) -> None:
    """Publish one record outside a section."""
    Record(key, value, **more).publish()


def claim(id: str, verdict: str, evidence: str) -> None:  # noqa: A002
    """Publish one claim outside a section."""
    Claim(id, verdict, evidence).publish()


def _by(name: str, payloads: Iterable[dict]) -> dict[str, dict]:
    named: dict[str, dict] = {}
    for payload in payloads:
        if payload[name] in named:
            raise ValueError(f"expected each {name} once, got {payload[name]!r} twice")
        named[payload[name]] = payload
    return named


def _only(what: str, entries: Mapping[str, Any]) -> Any:
    if len(entries) != 1:
        known = ", ".join(map(repr, entries)) or "none"
        raise ValueError(f"expected a section with one {what}, got {known}; name the one you want")
    return next(iter(entries.values()))


def _check_slug(what: str, name: str) -> None:
    if not isinstance(name, str) or not _SLUG.fullmatch(name):
        raise ValueError(
            f"{what}: expected a kebab-case slug such as 'largest-error', got {name!r}"
        )


def _plain(key: str, value: Any) -> Value:
    """Plain Python for one recorded value; NumPy and torch both spell this `tolist`."""
    value = value.tolist() if hasattr(value, "tolist") else value
    several = isinstance(value, list | tuple)
    return [_scalar(key, item) for item in value] if several else _scalar(key, value)


def _scalar(key: str, value: Any) -> bool | int | float | str:
    value = value.tolist() if hasattr(value, "tolist") else value
    if not isinstance(value, bool | int | float | str):
        kind = type(value).__name__
        raise TypeError(f"record {key!r}: expected number, bool, str or a 1-D list, got {kind}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(
            f"record {key!r}: expected a finite number, got {value}; record what failed"
        )
    return value


def _interval(key: str, low: Any, high: Any) -> tuple[float | None, float | None]:
    if low is None and high is None:
        return None, None
    if low is None or high is None:
        raise ValueError(f"record {key!r}: expected both ends of the interval, got {low=}, {high=}")
    low, high = float(_scalar(key, low)), float(_scalar(key, high))
    if low > high:
        raise ValueError(f"record {key!r}: expected low <= high, got {low=}, {high=}")
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
        raise ValueError(f"{name}: expected each name once in a notebook, got it twice")
    _given[name] = cell
    ipython.display.display(data, raw=True, metadata=metadata)
