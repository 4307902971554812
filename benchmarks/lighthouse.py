"""Scores of Google's Lighthouse for built pages: on a slow phone, out of 100 in four categories.

Lighthouse comes from the npm registry by `npx`, pinned; the pages are those in `_build/html`, sent
compressed. The score in performance depends on the machine and on what else it does: the median of
three is shown, with the time that the page blocks a finger.
"""

import json
import os
import shutil
import statistics
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from tests.support.host import served

HTML = Path(__file__).parents[1] / "_build" / "html"
LIGHTHOUSE = "lighthouse@12.8.2"
PAGES = ("book/index", "book/claims", *(f"notebooks/{n}" for n in ("forward", "interactions")))
ROUNDS = 3
CATEGORIES = ("performance", "accessibility", "best-practices", "seo")
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)


def main() -> None:
    """Print the table."""
    chromium, npx = shutil.which("chromium"), shutil.which("npx")
    if not (chromium and npx and (HTML / "index.html").is_file()):
        print("lighthouse: needs npx, chromium and a built book (`make book`)")
        return
    print(f"{LIGHTHOUSE}, median of {ROUNDS}: out of 100, and ms of blocking")
    print(f"{'':28}" + "".join(f"{name:>16}" for name in (*CATEGORIES, "blocking")))
    with served(HTML) as site:
        for page in PAGES:
            reports = [_report(npx, chromium, f"{site}/{page}.html") for _ in range(ROUNDS)]
            scores = [
                statistics.median(100 * report["categories"][name]["score"] for report in reports)
                for name in CATEGORIES
            ]
            blocking = statistics.median(
                report["audits"]["total-blocking-time"]["numericValue"] for report in reports
            )
            cells = "".join(f"{value:16.0f}" for value in (*scores, blocking))
            print(f"{page:28}{cells}", flush=True)


def _report(npx: str, chromium: str, url: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        words = [npx, "--yes", LIGHTHOUSE, url, "--quiet", f"--chrome-flags={FLAGS}"]
        subprocess.run(
            [*words, "--output=json", "--output-path=report.json"],
            cwd=folder, env=os.environ | {"CHROME_PATH": chromium}, check=True,
        )  # fmt: skip
        return json.loads((Path(folder) / "report.json").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
