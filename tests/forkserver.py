"""
A Python that has loaded its modules already, and forks for each command line that it is told.

    python -P forkserver.py DESCRIPTOR CODE

CODE loads the modules. What comes on the socket DESCRIPTOR is one order a message: the command
line as Python takes it, the environment, the folder, and four descriptors: the standard streams,
and where it is told the child's pid, then its exit code. A child is as like a new process as can
be: a session of its own, no descriptors but the streams, only its own environment, and it ends as
any Python program does. Once nobody holds the socket's other end, all of them are killed.

Imports only what is needed for that, so that the children find no more loaded than CODE loads.
"""

import contextlib
import fcntl
import gc
import json
import os
import runpy
import selectors
import signal
import socket
import sys
import termios
from types import ModuleType
from typing import Any

MAX_ORDER = 1 << 20


def serve(orders: socket.socket) -> dict[str, Any] | None:
    """Return in each child, with its order; and at the end, with none."""
    reports: dict[int, tuple[int, socket.socket]] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(orders, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is not orders:
                    selector.unregister(key.fd)
                    _reap(key.fd, *reports.pop(key.fd))
                    continue
                order, files = _receive(orders)
                if order is None:
                    _kill([pid for pid, _ in reports.values()])
                    return None
                report = socket.socket(fileno=files.pop())
                pid = os.fork()
                if not pid:
                    for handle, (_, other) in reports.items():
                        os.close(handle)
                        other.close()
                    for one in (report, orders):
                        one.close()
                    _take(files, order)
                    return order
                for file in files:
                    os.close(file)
                handle = os.pidfd_open(pid)
                reports[handle] = (pid, report)
                selector.register(handle, selectors.EVENT_READ)
                _say(report, pid)


def _receive(orders: socket.socket) -> tuple[dict[str, Any] | None, list[int]]:
    text, files, _, _ = socket.recv_fds(orders, MAX_ORDER, 4)
    return (json.loads(text) if text else None), files


def _take(files: list[int], order: dict[str, Any]) -> None:
    """Take the standard streams, and the terminal if they are one."""
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.setsid()
    if os.isatty(0):
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    # Python looks at its streams as it starts.
    sys.stdout.reconfigure(line_buffering=os.isatty(1))  # type: ignore[union-attr]
    os.environ.clear()
    os.environ.update(order["env"])
    os.chdir(order["folder"])


def _reap(handle: int, pid: int, report: socket.socket) -> None:
    os.close(handle)
    _say(report, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    report.close()


def _say(report: socket.socket, number: int) -> None:
    with contextlib.suppress(BrokenPipeError):  # Nobody is interested any more.
        report.send(str(number).encode())


def _kill(pids: list[int]) -> None:
    for pid in pids:
        for kill in (os.killpg, os.kill):
            with contextlib.suppress(ProcessLookupError):
                kill(pid, signal.SIGKILL)


def run(flag: str, *arguments: str) -> None:
    """Do what Python does with its arguments: -c CODE, -m MODULE or a FILE, and more words."""
    if flag == "-m":
        sys.argv = [*arguments]
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
    elif flag == "-c":
        sys.argv = ["-c", *arguments[1:]]
        sys.modules["__main__"] = ModuleType("__main__")
        exec(compile(arguments[0], "<string>", "exec"), vars(sys.modules["__main__"]))
    else:
        sys.argv = [flag, *arguments]
        runpy.run_path(flag, run_name="__main__")


if __name__ == "__main__":
    server = sys.modules["__main__"]
    exec(compile(sys.argv[2], "<load>", "exec"), {})
    # Or each child would go through all that is loaded, and copy it by that.
    gc.collect()
    gc.freeze()
    if (told := serve(socket.socket(fileno=int(sys.argv[1])))) is not None:
        run(*told["command"])
