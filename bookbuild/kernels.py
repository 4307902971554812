"""A kernel that was forked before its worker did anything, instead of started from nothing.

`prepare` forks it; it waits, as fresh as its server left it, until papermill's kernel manager would
start a program, and then becomes that program. Where the program is not this Python's ipykernel,
or Matplotlib would read another configuration, the program is started after all.
"""

import atexit
import importlib
import json
import os
import signal
import socket
import sys
import threading
import traceback
import uuid
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

_QUIET = 0.02  # seconds: a kernel of this machine answers in one
_LAUNCHER = "ipykernel_launcher"


class _Waiting(NamedTuple):
    """A forked process that is no kernel yet."""

    pid: int
    channel: socket.socket


_waiting: list[_Waiting] = []
_matplotlibrc: list[str] = []


def remember_configuration() -> None:
    """Note which file Matplotlib has read. Call it before the working directory changes."""
    _matplotlibrc[:] = _configuration()


def prepare() -> None:
    """Fork the process that will be the kernel. Call it before any thread starts."""
    ours, its = socket.socketpair()
    pid = os.fork()
    if pid:
        its.close()
        _waiting.append(_Waiting(pid, ours))
        return
    ours.close()
    try:
        os.setsid()
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
        os.dup2(2, 1)  # the worker's standard output carries its events
        with its.makefile() as lines:
            line = lines.readline()
        its.close()
        if line:
            _become(**json.loads(line))
    finally:
        os._exit(1)


def options() -> dict[str, Any]:
    """What papermill must be told so that it uses what `prepare` forked; nothing without."""
    return {"kernel_manager_class": _manager()} if _waiting else {}


def _manager() -> Any:
    from jupyter_client.asynchronous.client import AsyncKernelClient
    from jupyter_client.manager import AsyncKernelManager
    from jupyter_client.provisioning.local_provisioner import LocalProvisioner
    from traitlets import Type

    class Provisioner(LocalProvisioner):
        async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> Any:
            if not _waiting or not _is_ours(cmd):
                return await super().launch_kernel(cmd, **kwargs)
            pid, channel = _waiting.pop()
            environment = kwargs.get("env") or dict(os.environ)
            environment["JPY_PARENT_PID"] = str(os.getpid())
            self.cwd = kwargs.get("cwd") or os.getcwd()
            line = json.dumps({"cmd": cmd, "cwd": str(self.cwd), "environment": environment})
            with channel:
                channel.sendall(line.encode() + b"\n")
            self.process: Any = _Process(pid)
            self.pid = self.pgid = pid
            return self.connection_info

    class Client(AsyncKernelClient):
        async def _async_wait_for_ready(self, timeout: float | None = None) -> None:
            channel = self.iopub_channel
            patient = channel.get_msg

            async def get(timeout: float | None = None) -> Any:
                return await patient(timeout=_QUIET)

            # It reads this channel until nothing came for a fifth of a second. What might come
            # later answers no cell, and nbclient passes over it.
            channel.get_msg = get
            try:
                await super()._async_wait_for_ready(timeout=timeout)
            finally:
                del channel.get_msg

        wait_for_ready = _async_wait_for_ready

    class Manager(AsyncKernelManager):
        client_factory = Type(Client)

        async def _async_finish_shutdown(self, *args: Any, **kwargs: Any) -> None:
            await super()._async_finish_shutdown(*args, **kwargs, pollinterval=_QUIET)

        finish_shutdown = _async_finish_shutdown

        async def _async_pre_start_kernel(self, **kwargs: Any) -> Any:
            if self.provisioner is None and self.kernel_spec is not None:
                self.kernel_id = self.kernel_id or str(uuid.uuid4())
                self.provisioner = Provisioner(
                    kernel_id=self.kernel_id, kernel_spec=self.kernel_spec, parent=self
                )
            return await super()._async_pre_start_kernel(**kwargs)

        pre_start_kernel = _async_pre_start_kernel

    return Manager


class _Process:
    """A forked child, as much of a Popen as a provisioner uses."""

    stdin = stdout = stderr = None

    def __init__(self, pid: int) -> None:
        self.pid, self.returncode = pid, None

    def poll(self) -> int | None:
        return self._reap(os.WNOHANG)

    def wait(self, timeout: float | None = None) -> int | None:
        return self._reap(0)

    def _reap(self, flags: int) -> int | None:
        if self.returncode is None:
            try:
                pid, status = os.waitpid(self.pid, flags)
            except ChildProcessError:
                pid, status = self.pid, 0
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def send_signal(self, signum: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, signum)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)


def _is_ours(cmd: list[str]) -> bool:
    return cmd[1:3] == ["-m", _LAUNCHER] and Path(cmd[0]).absolute() == Path(sys.executable)


def _become(cmd: list[str], cwd: str, environment: dict[str, str]) -> None:
    """Turn into the kernel that cmd would start."""
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    if _configuration() != _matplotlibrc:
        os.execv(cmd[0], cmd)
    spec: Any = find_spec(_LAUNCHER)
    sys.argv[:] = [spec.origin, *cmd[3:]]
    # The library is the kernel's own import, from the files as they are now.
    for name in [name for name in sys.modules if name.partition(".")[0] == "bnlib"]:
        del sys.modules[name]
    importlib.invalidate_caches()
    _draw_afresh()
    code = 1
    try:
        app = importlib.import_module("ipykernel.kernelapp")
        # The default was read from the environment when the server imported it.
        app.launch_new_instance(parent_handle=os.getppid())
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    _leave(code)


def _draw_afresh() -> None:
    """Seed what a fresh Python seeds from the system: else all forks would draw alike.

    A notebook that forgot its seed must not look deterministic. `random` does this by itself.
    """
    numpy: Any = sys.modules.get("numpy")
    if numpy:
        numpy.random.seed()
    torch: Any = sys.modules.get("torch")
    if torch:
        torch.default_generator.seed()


def _configuration() -> list[str]:
    matplotlib: Any = sys.modules.get("matplotlib")
    return [os.path.abspath(matplotlib.matplotlib_fname())] if matplotlib else []


def _leave(code: int) -> None:
    """End as Python does, but for tearing down every module, which takes longest."""
    # ipykernel's exit function stops the thread that sends output and then waits for the one that
    # had the request to shut down, which may still wait to have its output sent: seconds, in one
    # run of eight. Its last act is soon done, as long as the other is there.
    for thread in threading.enumerate():
        if thread.name == "Control":
            thread.join(1.0)
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)
