"""Progress of several notebooks at once: a bar on a terminal, a line a notebook elsewhere."""

import sys
from collections.abc import Callable
from typing import Any

from tqdm import tqdm


class Bar:
    """One bar over notebooks, whose text tells how far the running ones are."""

    def __init__(self, slugs: list[str]) -> None:
        self.slugs, self.at = slugs, {}
        # A log has no use for a bar that redraws itself.
        self.bar = tqdm(total=len(slugs), unit="notebook", disable=not sys.stderr.isatty())

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *_: Any) -> None:
        self.bar.close()

    def cells(self, number: int) -> Callable[[int, int], None]:
        """A function that takes (cells done, cells in all) of the notebook with this number."""

        def show(done: int, total: int) -> None:
            self.at[number] = f"{self.slugs[number]} {done}/{total}"
            self.at = {n: text for n, text in self.at.items() if done < total or n != number}
            self.bar.set_postfix_str(", ".join(self.at.values()))

        return show

    def finished(self, slug: str, ok: bool, facts: dict[str, Any]) -> None:
        """Count one notebook as done, and say so where no bar can."""
        self.bar.update()
        if self.bar.disable:
            what = f"{facts['seconds']:.1f} s" if ok else "FAILED"
            print(f"executed {slug}: {what}", file=sys.stderr, flush=True)
