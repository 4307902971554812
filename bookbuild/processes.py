"""One job in a process of its own: started, followed event by event, ended with all below it."""

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from typing import IO, Any

import psutil

from bookbuild import prepared

# One thread a worker: sums are then added in one order, and kernels do not fight for cores.
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
    "JUPYTER_PREFER_ENV_PATH": "1",  # a user's kernel called python3 must not shadow ours
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",
}
Progress = Callable[[int, int], None]
_said: set[str] = set()


def run(
    job: dict[str, Any],
    *,
    time_limit: float | None = None,
    progress: Progress = lambda done, total: None,
    started: Callable[[Any], None] = lambda process: None,
) -> dict[str, Any]:
    """Run one job and give the facts of its report, whatever becomes of the process.

    time_limit: seconds after which process and kernel are ended. progress: called with cells done
    and cells in all. started: called with the process, for whoever may have to `end` it. The
    facts have "died" where the process or the kernel ended by itself: another try may succeed.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8") as errors:
        try:
            process = _start(errors, job.get("heavy", True))
        except OSError as error:
            return {"ok": False, "died": True, "error": f"no process could be started: {error}"}
        started(process)
        clock = _Clock(process, time_limit)
        try:
            facts, cell = _follow(process, job, progress)
        except BaseException:
            end(process)
            process.wait()
            raise
        finally:
            clock.stop()
        if clock.rang and not (facts and facts["ok"]):
            return {"ok": False, "cell": cell, "error": f"TimeLimit: ended after {time_limit:g} s"}
        if facts is None:
            errors.seek(0)
            tail = errors.read().splitlines()[-20:]
            reason = f"the worker ended with status {process.wait()} before its report"
            facts = {"ok": False, "died": True, "cell": cell, "error": reason, "traceback": tail}
        return facts


def end(process: Any) -> None:
    """Kill a process and everything below it; nothing happens where it has ended."""
    try:
        family = psutil.Process(process.pid).children(recursive=True)
    except psutil.Error:  # it has ended, or ends while we look
        family = []
    process.kill()
    for child in family:
        try:
            child.kill()
        except psutil.NoSuchProcess:
            continue


class _Clock:
    """Ends a process when its time is over."""

    def __init__(self, process: Any, seconds: float | None) -> None:
        self.process, self.rang = process, False
        self.timer = threading.Timer(seconds or 0, self._ring) if seconds else None
        if self.timer:
            self.timer.daemon = True
            self.timer.start()

    def _ring(self) -> None:
        self.rang = True
        end(self.process)

    def stop(self) -> None:
        if self.timer:
            self.timer.cancel()
            self.timer.join()


def _start(errors: IO[str], heavy: bool) -> Any:
    """A worker: a fork of a prepared server, or a Python of its own."""
    try:
        return prepared.fork(errors, heavy, os.environ | ENVIRONMENT)
    except prepared.Unavailable as reason:
        _say_once(f"note: each run starts a Python of its own: {reason}")
    return subprocess.Popen(
        [sys.executable, "-m", "bookbuild.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        env=os.environ | ENVIRONMENT,
        start_new_session=True,  # Ctrl-C goes to us alone; we end the workers
    )


def _follow(
    process: Any, job: dict[str, Any], progress: Progress
) -> tuple[dict[str, Any] | None, int | None]:
    """The report, or None where the process died before it, and the cell that ran last."""
    facts = cell = None
    try:
        with process.stdin, process.stdout:
            print(json.dumps(job), file=process.stdin, flush=True)
            for event in map(json.loads, process.stdout):
                if "ok" in event:
                    facts = event
                elif "at" in event:
                    cell = event["at"]
                else:
                    progress(event["cell"], event["of"])
    except (BrokenPipeError, json.JSONDecodeError):
        pass  # it died; the caller says so
    process.wait()
    return facts, cell


def _say_once(text: str) -> None:
    if text not in _said:
        _said.add(text)
        print(text, file=sys.stderr, flush=True)
