"""The table of a sweep: a row a run and recorded value, as Parquet and CSV, written in batches.

Columns: every declared parameter (lists as JSON), then those of `COLUMNS`. `key` names the
execution in the store, `name` the recorded value, `index` its place in a recorded list; numbers and
bools are in `value`, strings and the verdicts on claims in `text`. A run that failed has one row,
with the error as its text; a run that recorded nothing has one row, too.
"""

import json
import os
import statistics
import tempfile
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from bnlib import results
from bookbuild import store
from bookbuild.execute import Report, Run
from bookbuild.grids import Plan

COLUMNS = {
    "key": "string", "status": "string", "duration": "float64", "kind": "string", "name": "string",
    "index": "int64", "value": "float64", "low": "float64", "high": "float64", "unit": "string",
    "text": "string",
}  # fmt: skip
_ARROW = {"int": "int64", "float": "float64", "bool": "bool_", "str": "string", "list": "string"}
_BATCH = 20_000  # rows


class Written(NamedTuple):
    """What a table holds. values: numbers by name; verdicts: how often, by claim."""

    parquet: Path
    csv: Path
    rows: int
    runs: Counter[str]
    values: dict[str, array]
    verdicts: dict[str, Counter[str]]


def write(plan: Plan, failed: Mapping[str, Report], folder: Path) -> Written:
    """Write table.parquet and table.csv of a settled sweep into folder, each by a rename.

    failed: the reports of failed runs by key; every other run of the plan is in the store.
    """
    import pyarrow as pa
    from pyarrow import csv, parquet

    schema = pa.schema([(name, getattr(pa, kind)()) for name, kind in _columns(plan).items()])
    written = Written(
        folder / "table.parquet", folder / "table.csv", 0, Counter(), defaultdict(array_of_doubles),
        defaultdict(Counter),
    )  # fmt: skip
    count = 0
    with tempfile.TemporaryDirectory(dir=folder, prefix=".table-") as name:
        paths = Path(name, "table.parquet"), Path(name, "table.csv")
        with parquet.ParquetWriter(paths[0], schema) as one, csv.CSVWriter(paths[1], schema) as two:
            for batch in _batches(rows(plan, failed, written)):
                table = pa.Table.from_pylist(batch, schema=schema)
                one.write_table(table)
                two.write_table(table)
                count += len(batch)
        for path, target in zip(paths, written[:2], strict=True):
            os.replace(path, target)
    return written._replace(rows=count)


def rows(plan: Plan, failed: Mapping[str, Report], written: Written) -> Iterator[dict[str, Any]]:
    """The rows in the order of the plan; counts into `written` as it goes."""
    columns = parameter_columns(plan)
    for run in plan.runs():
        given = {
            columns[name]: json.dumps(value) if isinstance(value, list) else value
            for name, value in plan.parameters(run).items()
        }
        given["key"] = run.key
        report = failed.get(run.key)
        written.runs["failed" if report else "done"] += 1
        of_run = _failure(report) if report else list(_recorded(run))
        for row in of_run or [{"status": "done"}]:
            _count(row, written)
            yield given | row


def parameter_columns(plan: Plan) -> dict[str, str]:
    """The column of each declared parameter: its name, unless the table needs that name itself."""
    return {name: f"{name}_parameter" if name in COLUMNS else name for name in plan.declared}


def summary(written: Written, most: int = 30) -> str:
    """The table in short, for a terminal: how often, lowest, median, highest of each number."""
    width = max([len(name) for name in [*written.values, *written.verdicts]] or [0])
    lines = [f"{'':{width}}  {'values':>7}{'lowest':>12}{'median':>12}{'highest':>12}"]
    lines += [
        f"{name:{width}}  {len(numbers):7}"
        + "".join(f"{f(numbers):12.5g}" for f in (min, statistics.median, max))
        for name, numbers in written.values.items()
    ]
    if len(lines) > most + 1:
        lines = [*lines[: most + 1], f"... and {len(written.values) - most} names more"]
    for name, verdicts in written.verdicts.items():
        told = ", ".join(f"{verdict} {count}x" for verdict, count in verdicts.most_common())
        lines.append(f"{name:{width}}  {told}")
    return "\n".join(lines) if written.values or written.verdicts else "no values were recorded"


def array_of_doubles() -> array:
    """Eight bytes a number, where a list would take forty."""
    return array("d")


def _columns(plan: Plan) -> dict[str, str]:
    kinds = {name: _ARROW[parameter.kind] for name, parameter in plan.declared.items()}
    return {column: kinds[name] for name, column in parameter_columns(plan).items()} | COLUMNS


def _recorded(run: Run) -> Iterator[dict[str, Any]]:
    executed = store.get(run.folder, run.slug, run.key)
    if executed is None:
        raise FileNotFoundError(f"{run.path} was whole a moment ago; run the same command again")
    records, claims = results.read_outputs(executed)
    done = {"status": "done", "duration": executed.metadata[store.STAMP].get("seconds")}
    for record in records.values():
        common = done | {"kind": "record", "name": record["key"], "unit": record["unit"]}
        common |= {"low": record["low"], "high": record["high"]}
        listed = isinstance(record["value"], list)
        for index, value in enumerate(record["value"] if listed else [record["value"]]):
            yield common | {"index": index if listed else None} | _valued(value)
    for claim in claims.values():
        yield done | {"kind": "claim", "name": claim["id"], "text": claim["verdict"]}


def _valued(value: Any) -> dict[str, Any]:
    return {"text": value} if isinstance(value, str) else {"value": float(value)}


def _failure(report: Report) -> list[dict[str, Any]]:
    cell = f"cell {report.facts['cell']}: " if report.facts.get("cell") else ""
    return [{"status": "failed", "text": f"{cell}{report.facts['error']}"}]


def _count(row: dict[str, Any], written: Written) -> None:
    if row.get("kind") == "claim":
        written.verdicts[row["name"]][row["text"]] += 1
    elif row.get("value") is not None:
        written.values[row["name"]].append(row["value"])


def _batches(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    for row in rows:
        batch.append(row)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
