"""The verdicts of the chapter on other data, stored with the book.

    bnlib execute covariate-shift -p dataset mnist1d
    python -m bnlib.experiments.covariate_shift.stored EXECUTED.ipynb results/NAME.json

The second line keeps what the executed notebook handed over: verdicts, numbers, parameters.
"""

from __future__ import annotations

import ast
import json
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd

from bnlib.results import read_outputs
from bnlib.stored import content as stored

FOLDER = Path(__file__).parents[3] / "results"
PACKAGES = ("numpy", "scipy", "torch", "scikit-learn", "mnist1d")
CELLS = {"parameters", "injected-parameters"}  # tags; the second overrides the first
DIGITS = 5  # significant ones kept


def keep(executed: str | Path, path: str | Path) -> dict[str, Any]:
    """Write the table of an executed notebook to `path`, one line a claim and a record."""
    book = nbformat.read(executed, as_version=4)
    records, claims = read_outputs(book)
    versions = {name: version(name) for name in PACKAGES} | {"python": platform.python_version()}
    table = {
        "parameters": parameters(book),
        "versions": versions,
        "claims": {
            k: {"verdict": v["verdict"], "evidence": v["evidence"]} for k, v in claims.items()
        },
        "records": {k: _short(v["value"]) for k, v in records.items()},
    }
    parts = [f'"{name}": {json.dumps(table[name])}' for name in ("parameters", "versions")]
    for name in ("claims", "records"):
        rows = ",\n".join(f" {json.dumps(k)}: {json.dumps(v)}" for k, v in table[name].items())
        parts.append(f'"{name}": {{\n{rows}\n}}')
    Path(path).write_text("{\n" + ",\n".join(parts) + "\n}\n")
    return table


def parameters(book: Any) -> dict[str, Any]:
    """The literals of the parameter cells, the injected ones last."""
    found: dict[str, Any] = {}
    for cell in book.cells:
        if CELLS & set(cell.metadata.get("tags", [])):
            for line in ast.parse(cell.source).body:
                if isinstance(line, ast.Assign | ast.AnnAssign) and line.value is not None:
                    target = line.targets[0] if isinstance(line, ast.Assign) else line.target
                    found[ast.unparse(target)] = ast.literal_eval(line.value)
    return found


def load(name: str, digest: str) -> dict[str, Any] | None:
    """The stored table with this digest, or None where there is none; another one is refused."""
    content = stored(FOLDER / name, digest)
    return None if content is None else json.loads(content)


def beside(here: dict[str, str], dataset: str, table: dict[str, Any] | None) -> pd.DataFrame:
    """Verdicts here and in a stored table, with its evidence; empty where there is no table."""
    if table is None:
        return pd.DataFrame()
    verdicts, evidence = (
        {claim: table["claims"][claim][what] for claim in here} for what in ("verdict", "evidence")
    )
    other = table["parameters"]["dataset"]
    columns = {f"this run ({dataset})": here, f"stored ({other})": verdicts, "on": evidence}
    return pd.DataFrame(columns).rename(columns={"on": f"evidence on {other}"})


def _short(value: Any) -> Any:
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


if __name__ == "__main__":
    keep(*sys.argv[1:])
