"""The numbers of the registered weight files of other families, and hit or miss.

    python -m bnlib.chapters.trained_networks.stored results/trained-networks-witnesses.json

reads what `make weights` has fetched; a minute.
"""

from __future__ import annotations

import sys
from pathlib import Path

from bnlib import stored
from bnlib.chapters.trained_networks import decide, witnesses
from bnlib.training import one_thread


@one_thread()
def keep(path: str | Path, folder: Path = witnesses.FOLDER) -> None:
    """Write the table, a line a file and question. Raises ValueError where a file is missing."""
    register, lacking = witnesses.register(), witnesses.missing(folder)
    if lacking:
        raise ValueError(f"expected all files of `make weights` in {folder}, got none of {lacking}")
    rows = [row for name in register["files"] for row in witnesses.rows(name, folder)]
    head = {"register": witnesses.DIGESTS["register.toml"], "versions": stored.versions()}
    stored.write(Path(path), head | {"rows": decide.judged(rows, register)})


if __name__ == "__main__":
    keep(sys.argv[1])
