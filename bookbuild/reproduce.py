"""Recorded values against `results/<slug>.json`, the values of the published run.

On one machine a run gives the same bytes again, so any difference has a reason. Another processor
adds up in another order, and training can make much of that. How much is allowed is measured, not
guessed: a baseline is made of two runs, one as usual and one with the arithmetic of an old
processor (`OLD_PROCESSOR`). A number may move by `FACTOR` times the distance of the two, at least
by `FLOOR` of its size. Texts, truth values and verdicts may not change, and counts only if the two
runs disagree; a text that spells an interval (`SPELLED`) follows the interval's own numbers. A
number below `ROUNDING` is nothing but rounding and may be any other such number. A tolerance set
by hand, with a reason under "why", survives an update."""

import json
import os
import platform
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from bnlib.results import SPELLED, read_outputs
from bookbuild import sources, store
from bookbuild.execute import Report, Run, execute

FOLDER = "results"
FACTOR = 10.0  # one other processor is one sample of many
FLOOR = 1e-9  # of the value: sums of a million float64 terms in another order stay far below
ROUNDING = 1e-13  # what float64 leaves of sums that cancel, for terms of size one
OLD_PROCESSOR = {
    "MKL_CBWR": "COMPATIBLE", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
    "ATEN_CPU_CAPABILITY": "default", "OPENBLAS_CORETYPE": "Nehalem",
}  # fmt: skip
_NUMBERS = ("value", "low", "high")


class Moved(NamedTuple):
    """One difference. by: the largest distance, None where the two have none."""

    name: str
    before: Any
    now: Any
    by: float | None = None
    tolerance: float = 0.0

    def __str__(self) -> str:
        text = f"{self.name} moved: {_short(self.before)} -> {_short(self.now)}"
        if self.by is None:
            return text
        return f"{text}, by {self.by:.3g} where {self.tolerance:.3g} is allowed"


def path_of(root: Path, slug: str) -> Path:
    """Where the baseline of a chapter lies."""
    return root / FOLDER / f"{slug}.json"


def read(root: Path, slug: str) -> dict[str, Any] | None:
    """The baseline of a chapter; None where there is none. Raises ValueError if it is damaged."""
    path = path_of(root, slug)
    try:
        baseline = json.loads(path.read_text(encoding="utf-8"))
        return baseline if baseline["records"].keys() | baseline["claims"].keys() else None
    except FileNotFoundError:
        return None
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        got = f"{type(error).__name__}: {error}"
        raise ValueError(f"{path}: expected a baseline, got {got}") from error


def compare(baseline: Mapping[str, Any], measured: Mapping[str, Any]) -> list[Moved]:
    """Every difference of recorded values, units and verdicts, in the order of the baseline."""
    found = list(_missing("value", baseline["records"], measured["records"]))
    found += _missing("claim", baseline["claims"], measured["claims"])
    for key in _both(baseline["records"], measured["records"]):
        if not _spelled(key, baseline["records"]):
            found += _record(key, baseline["records"][key], measured["records"][key])
    for name in _both(baseline["claims"], measured["claims"]):
        before, now = baseline["claims"][name], measured["claims"][name]
        found += [Moved(f"verdict on '{name}'", before, now)] if before != now else []
    order = {name: place for place, name in enumerate(baseline["records"])}
    return sorted(found, key=lambda moved: order.get(moved.name.split("'")[1], len(order)))


def measure(runs: Iterable[Run], *, jobs: int | None) -> tuple[dict[str, Any], list[Report]]:
    """Execute what the runs' stores lack; by slug what was recorded, and the runs that failed."""
    reports = execute(runs, jobs=jobs)
    found = {r.run.slug: _measured(r.run) for r in reports if r.ok}
    return found, [report for report in reports if not report.ok]


def baseline(
    measured: Mapping[str, Any], elsewhere: Mapping[str, Any], old: Mapping[str, Any] | None
) -> dict[str, Any]:
    """The baseline of a run. elsewhere: the run on the old processor; old: what it replaces."""
    made = {**measured, "versions": versions(), "records": {}}
    for key, record in measured["records"].items():
        kept = (old or {}).get("records", {}).get(key, {})
        if "why" in kept:
            tolerance = {name: kept[name] for name in ("tolerance", "why")}
        else:
            tolerance = {"tolerance": _tolerance(record, elsewhere["records"].get(key, record))}
        made["records"][key] = {**record, **tolerance}
    return made


def unstable(measured: Mapping[str, Any], elsewhere: Mapping[str, Any]) -> list[str]:
    """What no tolerance can cover: verdicts and texts that depend on the processor."""
    allowed = {"records": {}, "claims": measured["claims"]}
    for key, record in measured["records"].items():
        other = elsewhere["records"].get(key, record)
        allowed["records"][key] = {**record, "tolerance": _tolerance(record, other)}
    return [moved.name for moved in compare(allowed, elsewhere)]


def write(root: Path, slug: str, made: Mapping[str, Any]) -> Path:
    """Write a baseline by one atomic rename, one record a line."""
    path = path_of(root, slug)
    records = [f"  {_json(key)}: {_json(value)}" for key, value in made["records"].items()]
    claims = [f"  {_json(key)}: {_json(value)}" for key, value in made["claims"].items()]
    parts = {name: _json(made[name]) for name in ("parameters", "key", "versions")}
    parts["records"] = "{\n" + ",\n".join(records) + "\n }" if records else "{}"
    parts["claims"] = "{\n" + ",\n".join(claims) + "\n }" if claims else "{}"
    body = ",\n".join(f' "{name}": {text}' for name, text in parts.items())
    store.write_atomically(path, f"{{\n{body}\n}}\n")
    return path


def versions() -> dict[str, str]:
    """With what a run is done: Python, the packages that compute, the processor."""
    packages = {name: sources.installed(name) for name in sources.PACKAGES}
    return {
        "Python": platform.python_version(),
        **{name: number for name, number in packages.items() if number},
        "processor": _processor(),
    }


def versions_apart(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Versions of both sides, in words: first those that differ."""
    names = sorted(before.keys() | now.keys(), key=lambda n: (before.get(n) == now.get(n), n))
    shown = ("Python", "numpy", "torch", "scipy", "processor")
    return [
        f"{name}: {before.get(name, 'none')} -> {now.get(name, 'none')}"
        if before.get(name) != now.get(name)
        else f"{name}: {now[name]} on both sides"
        for name in names
        if before.get(name) != now.get(name) or name in shown
    ]


@contextmanager
def scratch() -> Iterator[Path]:
    """A store that lasts as long as one command."""
    with tempfile.TemporaryDirectory(prefix="bnlib-reproduce-") as folder:
        yield Path(folder)


@contextmanager
def old_processor() -> Iterator[None]:
    """Kernels that start meanwhile compute as on a processor without recent instructions."""
    before = dict(os.environ)
    os.environ.update(OLD_PROCESSOR)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _stated(record: Mapping[str, Any]) -> dict[str, Any]:
    """What a baseline keeps of a record: the numbers and the unit that it has."""
    return {name: record[name] for name in (*_NUMBERS, "unit") if record[name] not in (None, "")}


def _measured(run: Run) -> dict[str, Any]:
    executed = store.get(run.folder, run.slug, run.key)
    if executed is None:
        raise ValueError(f"{run.path} was damaged while it was compared; try again")
    records, claims = read_outputs(executed)
    return {
        "parameters": run.parameters,
        "key": run.key,
        "records": {key: _stated(record) for key, record in records.items()},
        "claims": {name: claim["verdict"] for name, claim in claims.items()},
    }


def _missing(what: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Moved]:
    for name in before:
        if name not in now:
            yield Moved(f"{what} '{name}'", "recorded", "not recorded")
    for name in now:
        if name not in before:
            yield Moved(f"{what} '{name}'", "not in the baseline", "recorded")


def _both(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    return [name for name in before if name in now]


def _spelled(key: str, records: Mapping[str, Any]) -> bool:
    """Whether this is the text of an interval whose ends are numbers: those are compared."""
    interval = records.get(key.removesuffix(SPELLED), {})
    return key.endswith(SPELLED) and interval.get("low") is not None


def _record(key: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Moved]:
    allowed = before.get("tolerance", 0.0)
    if before.get("unit") != now.get("unit"):
        yield Moved(f"unit of '{key}'", before.get("unit"), now.get("unit"))
    for name in _NUMBERS:
        old, new = before.get(name), now.get(name)
        by = distance(old, new)
        if by is None or by > allowed:
            label = f"'{key}'" if name == "value" else f"{name} of '{key}'"
            yield Moved(label, old, new, by, allowed)


def distance(before: Any, now: Any) -> float | None:
    """Largest distance of two values or lists; 0.0 where they are equal, None if not comparable."""
    if isinstance(before, list) and isinstance(now, list):
        apart = [distance(a, b) for a, b in zip(before, now, strict=False)]
        if len(before) != len(now) or None in apart:
            return None
        return max((by for by in apart if by is not None), default=0.0)
    if before == now and isinstance(before, bool) == isinstance(now, bool):
        return 0.0
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in (before, now))
    return abs(now - before) if numbers else None


def _tolerance(record: Mapping[str, Any], elsewhere: Mapping[str, Any]) -> float:
    apart = [distance(record.get(name), elsewhere.get(name)) or 0.0 for name in _NUMBERS]
    sizes = [abs(v) for name in _NUMBERS for v in _floats(record.get(name))]
    floors = [max(FLOOR * max(sizes), ROUNDING)] if sizes else []
    return float(f"{max(FACTOR * max(apart), *floors, 0.0):.2g}")


def _floats(value: Any) -> Iterator[float]:
    """The floats in a value: counts get no tolerance for their size."""
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, float):
            yield item


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor() or 'unknown'} ({platform.machine()})"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
