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
import math
import platform
from collections.abc import Iterable, Iterator, Mapping
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


def read(root: Path, slug: str) -> dict[str, Any] | None:
    """The baseline of a chapter; None where there is none. Raises ValueError if it is damaged."""
    path = root / FOLDER / f"{slug}.json"
    try:
        baseline = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_number)
        for record in baseline["records"].values():
            if not 0 <= record.get("tolerance", 0.0) < math.inf:
                raise ValueError(f"the tolerance {record['tolerance']}")
        baseline.setdefault("parameters", {}).keys()
        return baseline if baseline["records"].keys() | baseline["claims"].keys() else None
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        got = f"{type(error).__name__}: {error}"
        raise ValueError(f"{path}: expected a baseline, got {got}") from error


def compare(baseline: Mapping[str, Any], measured: Mapping[str, Any]) -> list[Moved]:
    """Every difference of recorded values, units and verdicts, in the order of the baseline."""
    before, now = baseline["records"], measured["records"]
    moved: list[Moved] = []
    for key in {**before, **now}:
        if key not in now or key not in before:
            moved.append(_come_or_gone("value", key, key in before))
        elif not _spelled(key, before):
            moved += _record(key, before[key], now[key])
    before, now = baseline["claims"], measured["claims"]
    for name in {**before, **now}:
        if name not in now or name not in before:
            moved.append(_come_or_gone("claim", name, name in before))
        elif before[name] != now[name]:
            moved.append(Moved(f"verdict on '{name}'", before[name], now[name]))
    return moved


def measure(
    runs: Iterable[Run], *, jobs: int | None, extra: Mapping[str, str] | None = None
) -> tuple[dict[str, Any], list[Report]]:
    """Execute what the runs' stores lack; by slug what was recorded, and the runs that failed."""
    reports = execute(runs, jobs=jobs, extra=extra)
    measured = {r.run.slug: _measured(r.run) for r in reports if r.ok}
    return measured, [report for report in reports if not report.ok]


def baseline(
    measured: Mapping[str, Any], elsewhere: Mapping[str, Any], old: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The baseline of a run. elsewhere: the run on the old processor; old: what it replaces.

    Compared with elsewhere, it says what no tolerance can cover: verdicts and texts that depend on
    the processor.
    """
    made = {**measured, "versions": versions(), "records": {}}
    for key, record in measured["records"].items():
        kept = (old or {}).get("records", {}).get(key, {})
        if "why" in kept:
            tolerance = {name: kept[name] for name in ("tolerance", "why")}
        else:
            tolerance = {"tolerance": _tolerance(record, elsewhere["records"].get(key, record))}
        made["records"][key] = {**record, **tolerance}
    return made


def write(root: Path, slug: str, made: Mapping[str, Any]) -> Path:
    """Write a baseline by one atomic rename, one record a line. Raises ValueError for NaN."""
    path = root / FOLDER / f"{slug}.json"
    parts = {name: _json(made[name]) for name in ("parameters", "key", "versions")}
    for name in ("records", "claims"):
        lines = [f"  {_json(key)}: {_json(value)}" for key, value in made[name].items()]
        parts[name] = "{\n" + ",\n".join(lines) + "\n }" if lines else "{}"
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
    apart = [
        f"{name}: {before.get(name, 'none')} -> {now.get(name, 'none')}"
        for name in sorted({**before, **now})
        if before.get(name) != now.get(name)
    ]
    same = [name for name in sorted(now) if before.get(name) == now[name]]
    return [*apart, *(f"{name}: {now[name]} on both sides" for name in same)]


def distance(before: Any, now: Any) -> float | None:
    """Largest distance of two values or lists; 0.0 where they are equal, None if not comparable.

    Nothing is comparable with NaN: it passes no tolerance, and is not as published either.
    """
    if isinstance(before, list) and isinstance(now, list):
        apart = [distance(a, b) for a, b in zip(before, now, strict=False)]
        if len(before) != len(now) or None in apart:
            return None
        return max((by for by in apart if by is not None), default=0.0)
    if before == now and isinstance(before, bool) == isinstance(now, bool):
        return 0.0
    if any(isinstance(v, bool) or not isinstance(v, int | float) for v in (before, now)):
        return None
    by = abs(now - before)
    return None if math.isnan(by) else by


def _measured(run: Run) -> dict[str, Any]:
    executed = store.get(run.folder, run.slug, run.key)
    if executed is None:
        raise ValueError(f"{run.path} was damaged while it was compared; try again")
    records, claims = read_outputs(executed)
    stated = {
        key: {name: record[name] for name in (*_NUMBERS, "unit") if record[name] not in (None, "")}
        for key, record in records.items()
    }
    verdicts = {name: claim["verdict"] for name, claim in claims.items()}
    return {
        "parameters": run.parameters, "key": run.key, "records": stated, "claims": verdicts
    }  # fmt: skip


def _come_or_gone(what: str, name: str, gone: bool) -> Moved:
    sides = ("recorded", "not recorded") if gone else ("not in the baseline", "recorded")
    return Moved(f"{what} '{name}'", *sides)


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
        if by is None or not by <= allowed:  # so that NaN is not allowed, either
            label = f"'{key}'" if name == "value" else f"{name} of '{key}'"
            yield Moved(label, old, new, by, allowed)


def _tolerance(record: Mapping[str, Any], elsewhere: Mapping[str, Any]) -> float:
    apart = [distance(record.get(name), elsewhere.get(name)) or 0.0 for name in _NUMBERS]
    sizes = [abs(v) for name in _NUMBERS for v in _floats(record.get(name))]
    floors = [max(FLOOR * max(sizes), ROUNDING)] if sizes else []
    return float(f"{max(FACTOR * max(apart), *floors, 0.0):.2g}")


def _floats(value: Any) -> list[float]:
    """The floats in a value: counts get no tolerance for their size."""
    return [v for v in (value if isinstance(value, list) else [value]) if isinstance(v, float)]


def _processor() -> str:
    names = []
    if (known := Path("/proc/cpuinfo")).is_file():
        lines = known.read_text(encoding="utf-8").splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor() or 'unknown'} ({platform.machine()})"


def _no_number(name: str) -> float:
    raise ValueError(f"{name}, which is no value")


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
