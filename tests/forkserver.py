"""
A Python process that has loaded its modules, and forks for each command line that it receives.

    python -P forkserver.py DESCRIPTOR CODE

CODE loads the modules. Each message on the socket DESCRIPTOR is one order: the command line in
Python's form, the environment, the folder, and four descriptors: the standard streams, and a socket
on which it reports the child's pid and later its exit code. A child is as similar to a new process
as possible: it has its own session, no descriptors but the streams and only its own environment,
and it ends as any Python program does. When the other end of the socket is closed, all children are
killed.

Imports only what this needs, so that the children have nothing loaded but what CODE loads.
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
    """Return the order in each child, and None in the server at its end."""
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
    """Install the standard streams, and the controlling terminal if they are one."""
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.setsid()
    if os.isatty(0):
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    # Python does this at its start.
    sys.stdout.reconfigure(line_buffering=os.isatty(1))  # type: ignore[union-attr]
    os.environ.clear()
    os.environ.update(order["env"])
    os.chdir(order["folder"])


def _reap(handle: int, pid: int, report: socket.socket) -> None:
    os.close(handle)
    _say(report, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    report.close()


def _say(report: socket.socket, number: int) -> None:
    with contextlib.suppress(BrokenPipeError):  # Nobody reads it any more.
        report.send(str(number).encode())


def _kill(pids: list[int]) -> None:
    for pid in pids:
        for kill in (os.killpg, os.kill):
            with contextlib.suppress(ProcessLookupError):
                kill(pid, signal.SIGKILL)


def run(flag: str, *arguments: str) -> None:
    """
    Run a program as Python does for its arguments: -c CODE, -m MODULE or a FILE, then its own.
    """
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
    # Otherwise garbage collection in each child would visit all loaded objects and so copy them.
    gc.collect()
    gc.freeze()
    if (told := serve(socket.socket(fileno=int(sys.argv[1])))) is not None:
        run(*told["command"])
