"""How a sweep goes, for whoever sits before it: a bar on a terminal, some lines in a log."""

import sys
import time
from collections import Counter
from typing import Any

from tqdm import tqdm

from bookbuild.execute import Report, describe

_SHOWN = 20  # failures told in full
_LINES = 20  # lines of a log, about
_LASTS = 10.0  # seconds that workers may take to start


class Watch:
    """Counts settled runs; `with` it around the sweep."""

    def __init__(self, total: int) -> None:
        self.total, self.counts = total, Counter[str]()
        self.why, self.since, self.said = "", 0.0, False
        self.bar = tqdm(total=total, unit="run", disable=not sys.stderr.isatty(), smoothing=0.1)
        self.begun: float | None = None
        self.told: set[tuple[int | None, str]] = set()

    def __enter__(self) -> "Watch":
        return self

    def __exit__(self, *_: Any) -> None:
        self.bar.close()

    def settled(self, state: str, report: Report | None) -> None:
        """One run is settled: "stored" (found in the store), "done" or "failed"."""
        if state == "failed" and report and self.counts["failed"] < _SHOWN:
            self.say(describe(self._in_short(report)))
        self.counts[state] += 1
        if state == "stored":  # these take no time: the time to go is about the others
            self.bar.initial = self.counts["stored"]
        self.bar.set_postfix_str(self._counted(), refresh=False)
        self.bar.update()
        fresh = self.counts["done"] + self.counts["failed"]
        if self.bar.disable and fresh and (self._step() or self.left == 0):
            self.say(f"{self._counted()}{self._to_go(fresh)}")

    def waiting(self, why: str) -> None:
        """Say why nothing goes on if that lasts, and then that it does again."""
        if why != self.why:
            if self.said:
                self.say("going on")
            self.why, self.since, self.said = why, time.monotonic(), False
        if why and not self.said and time.monotonic() - self.since > _LASTS:
            self.say(f"waiting: {why}")
            self.said = True

    def start(self) -> None:
        """The cluster is up: the clock of the time to go starts."""
        self.begun = time.monotonic()

    def say(self, text: str) -> None:
        """Write a line above the bar."""
        tqdm.write(text, file=sys.stderr)
        sys.stderr.flush()

    @property
    def left(self) -> int:
        """Runs not settled yet."""
        return self.total - sum(self.counts.values())

    def _counted(self) -> str:
        counts = self.counts
        stored = f"{counts['stored']} were stored, " if counts["stored"] else ""
        return f"{stored}{counts['done']} done, {counts['failed']} failed, {self.left} left"

    def _step(self) -> bool:
        return sum(self.counts.values()) % max(1, self.total // _LINES) == 0

    def _to_go(self, fresh: int) -> str:
        if self.begun is None or not self.left:
            return ""
        seconds = (time.monotonic() - self.begun) / fresh * self.left
        return f", about {tqdm.format_interval(seconds)} to go"

    def _in_short(self, report: Report) -> Report:
        """Without its traceback, if the same error in the same cell was told before."""
        what = (report.facts.get("cell"), report.facts["error"])
        told = what in self.told
        self.told.add(what)
        return report._replace(facts=report.facts | {"traceback": []}) if told else report
