"""The table of a sweep: a row a run and recorded value, as Parquet and CSV.

Columns: every declared parameter (lists as JSON), then those of `COLUMNS`. `key` names the
execution in the store, `name` the recorded value, `index` its place in a recorded list; numbers and
bools are in `value`, strings, verdicts and whole numbers that a float cannot hold in `text`, the
evidence of a verdict in `evidence`. A run that failed has one row, with the error as its text; a
run that recorded nothing has one row, too.
"""

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from bookbuild import store
from bookbuild.execute import Report, Run
from bookbuild.grids import Plan

COLUMNS = {
    "key": "string", "status": "string", "duration": "Float64", "kind": "string", "name": "string",
    "index": "Int64", "value": "Float64", "low": "Float64", "high": "Float64", "unit": "string",
    "text": "string", "evidence": "string",
}  # fmt: skip
FILES = ("table.parquet", "table.csv")
_KINDS = {"int": "Int64", "float": "Float64", "bool": "boolean", "str": "string", "list": "string"}


def write(plan: Plan, failed: Mapping[str, Report], folder: Path) -> pd.DataFrame:
    """Write the `FILES` of a settled sweep into folder, each by a rename; the table.

    failed: the reports of failed runs by key; every other run of the plan is in the store.
    """
    names = {name: f"{name}_parameter" if name in COLUMNS else name for name in plan.declared}
    rows = list(_rows(plan, failed, names))
    kinds = {names[name]: _KINDS[parameter.kind] for name, parameter in plan.declared.items()}
    for name in [name for name, kind in kinds.items() if kind == "Int64"]:
        if any(row[name].bit_length() > 63 for row in rows):
            kinds[name] = "string"
    table = pd.DataFrame(
        {name: pd.array([row.get(name) for row in rows], kind)
         for name, kind in (kinds | COLUMNS).items()}
    )  # fmt: skip
    with tempfile.TemporaryDirectory(dir=folder, prefix=".table-") as half:
        table.to_parquet(Path(half, FILES[0]), index=False)
        table.to_csv(Path(half, FILES[1]), index=False)
        for name in FILES:
            os.replace(Path(half, name), folder / name)
    return table


def summary(table: pd.DataFrame) -> str:
    """The table in short, for a terminal: lowest, median, highest of each number; verdicts."""
    numbers = table[table.value.notna()].groupby("name", sort=False).value
    values = numbers.agg(values="count", lowest="min", median="median", highest="max")
    verdicts = table[table.kind == "claim"].groupby("name", sort=False).text.value_counts()
    parts = [frame.to_string() for frame in (values, verdicts) if len(frame)]
    return "\n".join(parts) or "no values were recorded"


def _rows(
    plan: Plan, failed: Mapping[str, Report], names: Mapping[str, str]
) -> Iterator[dict[str, Any]]:
    """The rows in the order of the plan. names: the column of each declared parameter."""
    for run in plan.runs():
        given = {
            names[name]: json.dumps(value) if isinstance(value, list) else value
            for name, value in plan.parameters(run).items()
        }
        report = failed.get(run.key)
        for row in [_failure(report)] if report else _recorded(run):
            yield given | {"key": run.key} | row


def _recorded(run: Run) -> Iterator[dict[str, Any]]:
    measured = store.measured(run.folder, run.slug, run.key)
    if measured is None:
        raise FileNotFoundError(f"{run.path} was whole a moment ago; run the same command again")
    done = {"status": "done", "duration": measured.seconds}
    for record in measured.records.values():
        common = done | {"kind": "record", "name": record["key"]}
        common |= {name: record[name] for name in ("unit", "low", "high")}
        listed = isinstance(record["value"], list)
        for index, value in enumerate(record["value"] if listed else [record["value"]]):
            yield common | {"index": index if listed else None} | _valued(value)
    for claim in measured.claims.values():
        verdict = {"text": claim["verdict"], "evidence": claim["evidence"]}
        yield done | {"kind": "claim", "name": claim["id"]} | verdict
    if not (measured.records or measured.claims):
        yield done


def _valued(value: Any) -> dict[str, Any]:
    if isinstance(value, int) and value.bit_length() > 53:
        return {"text": str(value)} | ({"value": float(value)} if value.bit_length() < 1024 else {})
    return {"text": value} if isinstance(value, str) else {"value": float(value)}


def _failure(report: Report) -> dict[str, Any]:
    cell = f"cell {report.facts['cell']}: " if report.facts.get("cell") else ""
    return {"status": "failed", "text": f"{cell}{report.facts['error']}"}
