"""The chapter on other data, stored with the book.

python -m bnlib.chapters.covariate_shift.stored PATH [DATASET]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from bnlib import stored
from bnlib.chapters import covariate_shift as chapter
from bnlib.results import collect


def keep(path: str | Path, given: chapter.Settings) -> dict[str, Any]:
    """Run the chapter and write its table to `path`, one line a claim and a record."""
    records, claims = collect(chapter.run(given).values())
    heads = {"parameters": vars(given), "versions": stored.versions()}
    rows = {
        "claims": {
            k: {"verdict": c["verdict"], "evidence": c["evidence"]} for k, c in claims.items()
        },
        "records": {k: stored.short(record["value"]) for k, record in records.items()},
    }
    parts = [f'"{name}": {json.dumps(value)}' for name, value in heads.items()]
    for name, values in rows.items():
        lines = ",\n".join(f" {json.dumps(k)}: {json.dumps(v)}" for k, v in values.items())
        parts.append(f'"{name}": {{\n{lines}\n}}')
    Path(path).write_text("{\n" + ",\n".join(parts) + "\n}\n")
    return heads | rows


if __name__ == "__main__":
    keep(sys.argv[1], chapter.Settings(dataset=(*sys.argv[2:], "mnist1d")[0]))
