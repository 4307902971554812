"""`python -m benchmarks [name ...]`: run the benchmarks named, or all of `NAMES`."""

import importlib
import sys

NAMES = ("kernels", "book", "training", "interactions", "audit", "sweep", "lighthouse")


def main(names: list[str]) -> None:
    """Run the benchmarks in order; each prints its table when it has finished."""
    unknown = sorted(set(names) - set(NAMES))
    if unknown:
        raise SystemExit(f"need names among {', '.join(NAMES)}, got {', '.join(unknown)}")
    for name in names or NAMES:
        importlib.import_module(f"benchmarks.{name}").main()
        print(flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
