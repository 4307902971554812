"""The table of a sweep: a row a run and recorded value, as Parquet and CSV.

Columns: every declared parameter (lists as JSON), then those of `COLUMNS`. `key` names the
execution in the store, `name` the recorded value, `index` its place in a recorded list; numbers and
bools are in `value`, strings and the verdicts on claims in `text`. A run that failed has one row,
with the error as its text; a run that recorded nothing has one row, too.
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
    "key": "string", "status": "string", "duration": "float64", "kind": "string", "name": "string",
    "index": "int64", "value": "float64", "low": "float64", "high": "float64", "unit": "string",
    "text": "string",
}  # fmt: skip
FILES = ("table.parquet", "table.csv")
_ARROW = {"int": "int64", "float": "float64", "bool": "bool_", "str": "string", "list": "string"}


def write(plan: Plan, failed: Mapping[str, Report], folder: Path) -> pd.DataFrame:
    """Write the `FILES` of a settled sweep into folder, each by a rename; the table.

    failed: the reports of failed runs by key; every other run of the plan is in the store.
    """
    import pyarrow as pa
    from pyarrow import csv, parquet

    columns = _parameter_columns(plan)
    kinds = {columns[name]: _ARROW[parameter.kind] for name, parameter in plan.declared.items()}
    schema = pa.schema([(name, getattr(pa, kind)()) for name, kind in (kinds | COLUMNS).items()])
    table = pa.Table.from_pylist(list(_rows(plan, failed)), schema=schema)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".table-") as half:
        parquet.write_table(table, Path(half, FILES[0]))
        csv.write_csv(table, Path(half, FILES[1]))
        for name in FILES:
            os.replace(Path(half, name), folder / name)
    return table.to_pandas()


def summary(table: pd.DataFrame, most: int = 30) -> str:
    """The table in short, for a terminal: lowest, median, highest of each number; verdicts."""
    numbers = table[table.value.notna()].groupby("name", sort=False).value
    values = numbers.agg(values="count", lowest="min", median="median", highest="max")
    verdicts = table[table.kind == "claim"].groupby("name", sort=False).text.value_counts(sort=True)
    lines = values[:most].to_string(index_names=False, float_format="{:.5g}".format).splitlines()
    lines = lines if len(values) else []
    lines += [f"... and {len(values) - most} names more"] if len(values) > most else []
    lines += [f"{name}: {verdict} {count}x" for (name, verdict), count in verdicts.items()]
    return "\n".join(lines) or "no values were recorded"


def _parameter_columns(plan: Plan) -> dict[str, str]:
    """The column of each declared parameter: its name, unless the table needs that name itself."""
    return {name: f"{name}_parameter" if name in COLUMNS else name for name in plan.declared}


def _rows(plan: Plan, failed: Mapping[str, Report]) -> Iterator[dict[str, Any]]:
    """The rows in the order of the plan."""
    columns = _parameter_columns(plan)
    for run in plan.runs():
        given = {
            columns[name]: json.dumps(value) if isinstance(value, list) else value
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
        yield done | {"kind": "claim", "name": claim["id"], "text": claim["verdict"]}
    if not (measured.records or measured.claims):
        yield done


def _valued(value: Any) -> dict[str, Any]:
    return {"text": value} if isinstance(value, str) else {"value": float(value)}


def _failure(report: Report) -> dict[str, Any]:
    cell = f"cell {report.facts['cell']}: " if report.facts.get("cell") else ""
    return {"status": "failed", "text": f"{cell}{report.facts['error']}"}
