"""A process that has imported what is slow to import, and forks a worker for each job.

`python -m bookbuild.forkserver FD MODULE...` imports the modules once and then serves requests
from the socket FD until the other side closes it. A request is the working directory and the
environment of the worker, and four files: standard input, output and error, and where to tell what
becomes of it. The server itself has no thread, event loop or ZMQ context, draws no random number,
and imports nothing of the book's library but `bookbuild`: a fork starts like a fresh Python.
"""

import contextlib
import gc
import importlib
import json
import os
import select
import socket
import sys
from collections.abc import Iterable
from importlib.util import find_spec

# What every worker and kernel imports. Papermill is not in it: it imports tqdm.auto, which looks
# for a notebook at that moment, and would not find the one that a kernel is for.
ALWAYS = ("ipykernel.kernelapp", "nbclient", "nbformat.v4", "tenacity", "yaml")
# What notebooks that compute import. Left out: pyplot, which chooses a backend; pandas and
# whatever imports it, since pyarrow starts a thread.
NUMERIC_MODULES = (
    "numpy", "torch", "torch.func", "scipy.integrate", "scipy.optimize", "scipy.sparse.linalg",
    "scipy.special", "scipy.stats", "mpmath", "matplotlib.figure", "matplotlib.ticker",
    "matplotlib.backends.backend_agg", "matplotlib.backends.backend_svg",
)  # fmt: skip
NUMERIC_PACKAGES = {name.partition(".")[0] for name in NUMERIC_MODULES} | {
    "pandas",
    "sklearn",
    "statsmodels",
}
INLINE = "module://matplotlib_inline.backend_inline"
MESSAGE = 1 << 20  # bytes of a request: an environment


def unsupported() -> str:
    """Why this system cannot fork workers; empty where it can."""
    if os.environ.get("BNLIB_FORKSERVER") == "0":
        return "BNLIB_FORKSERVER is 0"
    if not sys.platform.startswith("linux"):
        return f"forking a prepared Python is known to be safe on Linux only, not on {sys.platform}"
    return "" if hasattr(os, "pidfd_open") else "this Python has no os.pidfd_open"


def preload(modules: Iterable[str]) -> str:
    """Import the modules that are installed; what makes a fork unlike a fresh Python, or ""."""
    chosen = os.environ.get("MPLBACKEND")
    os.environ["MPLBACKEND"] = chosen or INLINE  # as a kernel has it when it imports Matplotlib
    try:
        for name in modules:
            if find_spec(name.partition(".")[0]):
                importlib.import_module(name)
    except Exception as error:
        return f"an import failed: {type(error).__name__}: {error}"
    finally:
        if not chosen:
            del os.environ["MPLBACKEND"]
    warm()
    if (threads := len(os.listdir("/proc/self/task"))) > 1:
        return f"the imports started {threads - 1} threads"
    sys.stdout.flush()
    said = os.fstat(2).st_size  # our standard output and error are one file
    return f"the imports printed {said} bytes, which a cell would have shown" if said else ""


def warm() -> None:
    """Compile the notebook schema once, and keep the collector off what all forks share."""
    import nbformat

    nbformat.validate(nbformat.v4.new_notebook())
    gc.collect()
    gc.freeze()


class Server:
    """Forks workers and tells what becomes of them; `serve` returns in the worker."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.ends: dict[int, tuple[int, int]] = {}  # by pidfd: pid, and the file to tell

    def serve(self, refusal: str) -> dict | None:
        """Answer requests; None when the other side has closed, in a worker its request."""
        poll, open_ = select.poll(), True
        poll.register(self.connection, select.POLLIN)
        while open_ or self.ends:
            for fd, _ in poll.poll():
                if fd in self.ends:
                    poll.unregister(fd)
                    self._ended(fd)
                    continue
                request, files = self._receive()
                if request is None:
                    poll.unregister(self.connection)
                    open_ = False
                elif refusal:
                    _tell(files[3], refused=refusal)
                    _close(*files)
                elif (pidfd := self._fork(files)) is None:
                    return request
                else:
                    poll.register(pidfd, select.POLLIN)
        return None

    def _receive(self) -> tuple[dict | None, list[int]]:
        try:
            message, files, *_ = socket.recv_fds(self.connection, MESSAGE, 4)
        except ConnectionResetError:
            return None, []
        return (json.loads(message), files) if message else (None, [])

    def _fork(self, files: list[int]) -> int | None:
        pid = os.fork()
        if pid:
            pidfd = os.pidfd_open(pid)
            self.ends[pidfd] = (pid, files[3])
            _close(*files[:3])
            _tell(files[3], pid=pid)
            return pidfd
        # Nothing of another worker may stay open here: who waits for its end would wait for ours.
        self.connection.close()
        for pidfd, (_, told) in self.ends.items():
            _close(pidfd, told)
        os.close(files[3])
        for target, fd in enumerate(files[:3]):
            os.dup2(fd, target)
        _close(*files[:3])
        os.setsid()
        return None

    def _ended(self, pidfd: int) -> None:
        pid, told = self.ends.pop(pidfd)
        _tell(told, status=os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        _close(pidfd, told)


def _tell(fd: int, **event: object) -> None:
    with contextlib.suppress(BrokenPipeError):  # whoever asked has gone
        os.write(fd, json.dumps(event).encode() + b"\n")


def _close(*files: int) -> None:
    for fd in files:
        os.close(fd)


def main() -> None:
    """Prepare, serve, and in a fork be a worker whose kernel is a fork too."""
    from bookbuild import kernels, worker

    connection = socket.socket(fileno=int(sys.argv[1]))
    if sys.path[0] == os.getcwd():
        del sys.path[0]  # a kernel starts without it
    refusal = preload(sys.argv[2:])
    kernels.remember_configuration()
    request = Server(connection).serve(refusal)
    if request is None:
        return
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    kernels.prepare()
    worker.main()


if __name__ == "__main__":
    main()
