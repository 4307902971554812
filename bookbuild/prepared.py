"""The client of `forkserver`: workers that need not import what a server has imported before."""

import atexit
import contextlib
import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import IO, Any

from bookbuild import forkserver

# Variables that say where a process is, and change nothing of what it imports.
_VOLATILE = {"PWD", "OLDPWD", "_", "SHLVL", "COLUMNS", "LINES", "PYTEST_CURRENT_TEST"}
_START = 120  # seconds until a server must have answered; importing torch takes some of them
_lock = threading.Lock()
_servers: dict[tuple[str, ...], "_Server"] = {}
_ending: list[subprocess.Popen[bytes]] = []


class Unavailable(Exception):
    """Why no worker can be forked here."""


class Worker:
    """A forked worker, as much of a Popen as `processes` uses."""

    def __init__(self, pid: int, stdin: IO[str], stdout: IO[str], told: IO[str]) -> None:
        self.pid, self.stdin, self.stdout, self._told = pid, stdin, stdout, told
        self.returncode: int | None = None
        self._reading = threading.Lock()

    def wait(self) -> int:
        """The exit status, -1 where the server ended before the worker did."""
        with self._reading:
            if self.returncode is None:
                line = self._told.readline() or '{"status": -1}'
                self.returncode = int(json.loads(line)["status"])
                self._told.close()
            return self.returncode

    def close(self) -> None:
        """Let go of its files."""
        for file in (self.stdin, self.stdout, self._told):
            file.close()

    def kill(self) -> None:
        """End it at once; nothing happens where it has ended."""
        ended = self.returncode is not None or bool(select.select([self._told], [], [], 0)[0])
        if not ended:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)


def fork(errors: IO[str], heavy: bool, environment: dict[str, str]) -> Worker:
    """Fork a worker that writes its standard error to errors. Raises Unavailable.

    heavy: with what numerical notebooks import. A server lives as long as this process; another
    environment, or an edit of what the server has imported, starts another one.
    """
    if reason := forkserver.unsupported():
        raise Unavailable(reason)
    modules = forkserver.ALWAYS + (forkserver.NUMERIC_MODULES if heavy else ())
    for last in (False, True):
        server = _server(modules, environment)
        try:
            return server.fork(errors, environment)
        except (OSError, ValueError) as error:  # it has ended; once more with another one
            _drop(server)
            if last:
                raise Unavailable(f"the fork server failed: {error}") from error
    raise AssertionError


@atexit.register
def close() -> None:
    """End all servers; each waits until the workers that it has forked have ended."""
    for server in list(_servers.values()):
        _drop(server)
    for process in _ending:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(2)


def _server(modules: tuple[str, ...], environment: dict[str, str]) -> "_Server":
    identity = _identity(environment)
    with _lock:
        server = _servers.get(modules)
        if server and server.identity != identity:
            server.close()
        if not server or server.identity != identity:
            server = _servers[modules] = _Server(modules, environment, identity)
        return server


def _drop(server: "_Server") -> None:
    with _lock:
        for modules in [m for m, known in _servers.items() if known is server]:
            del _servers[modules]
    server.close()


def _identity(environment: dict[str, str]) -> tuple[Any, ...]:
    """Changes when a new server would not be like the old one."""
    stable = {name: text for name, text in environment.items() if name not in _VOLATILE}
    names = sorted(name for name in dir(resource) if name.startswith("RLIMIT_"))
    limits = [resource.getrlimit(getattr(resource, name)) for name in names]
    return os.getpid(), stable, limits, os.sched_getaffinity(0), _marks()


def _marks() -> list[tuple[str, int]]:
    """When what a server imports was changed last: our own files, and what is installed."""
    own = Path(__file__).parent
    files = [own.parent / "__init__.py", *sorted(own.glob("*.py"))]
    installed = [Path(name) for name in sys.path if name.endswith("-packages")]
    return [(str(p), p.stat().st_mtime_ns) for p in files + installed if p.exists()]


class _Server:
    """One server process and the socket to it."""

    def __init__(self, modules: Any, environment: dict[str, str], identity: Any) -> None:
        self.identity, self.refusal = identity, ""
        self.connection, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with its, tempfile.TemporaryFile() as said:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "bookbuild.forkserver", str(its.fileno()), *modules],
                pass_fds=[its.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                env=environment,
                start_new_session=True,  # Ctrl-C goes to us alone
            )

    def fork(self, errors: IO[str], environment: dict[str, str]) -> Worker:
        if self.refusal:
            raise Unavailable(self.refusal)
        request = json.dumps({"cwd": os.getcwd(), "environment": environment})
        (stdin, our_in), (our_out, stdout), (our_told, told) = os.pipe(), os.pipe(), os.pipe()
        try:
            files = [stdin, stdout, errors.fileno(), told]
            socket.send_fds(self.connection, [request.encode()], files)
        except OSError:
            for fd in (our_in, our_out, our_told):
                os.close(fd)
            raise
        finally:
            for fd in (stdin, stdout, told):
                os.close(fd)
        answer = _answer(our_told)
        worker = Worker(answer.get("pid", 0), *map(os.fdopen, (our_in, our_out, our_told), "wrr"))
        if "refused" in answer:
            self.refusal = answer["refused"]
            worker.close()
            raise Unavailable(self.refusal)
        if not worker.pid:
            worker.close()
            self.process.kill()
            raise OSError("it ended, or did not answer")
        return worker

    def close(self) -> None:
        self.connection.close()
        _ending[:] = [p for p in (*_ending, self.process) if p.poll() is None]


def _answer(told: int) -> dict[str, Any]:
    """What the server says of a request; empty where it has ended or says nothing for too long."""
    line = b""
    while not line.endswith(b"\n"):
        ready = select.select([told], [], [], _START)[0]
        part = os.read(told, 1) if ready else b""  # byte by byte: the status follows in time
        if not part:
            return {}
        line += part
    return json.loads(line)
