"""
Creates the pipes between runner and agent.

This runs before anything large is imported, so that the agent's container starts while the runner
loads: standard library only. Each FIFO is opened once, here, for reading and writing: so no open
blocks, and there is no end of file while a stray child process holds a pipe. The agent may not
write to this folder, and the names of the socket and the FIFOs that only the container's first
process opens are removed before the agent starts.
"""

import os
import shlex
import shutil
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from agentrun.runner.layout import Layout

STREAMS = ("in", "out", "err")
"""The FIFOs of the agent's standard streams."""
CONTROL = "control"
"""The socket between the runner and the init."""
CALL = "call"
"""The FIFO to which ``peer`` writes the name of a call."""


@dataclass(frozen=True)
class Pipes:
    """The runner's ends of the agent's pipes: file descriptors, non-blocking."""

    stdin: int
    stdout: int
    stderr: int
    call: int
    """The FIFO on which ``peer`` announces its calls."""
    calls: int
    """The folder of those calls."""
    folder: int
    """The folder of the pipes."""
    control: socket.socket
    """The listening socket, to which the container's first process connects once."""

    def hide(self) -> None:
        """Remove the names that only the container's first process may open; it has opened them."""
        self.control.close()
        for name in (CONTROL, *STREAMS):
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=self.folder)

    def close(self) -> None:
        """Close all of them."""
        self.control.close()
        for end in (self.stdin, self.stdout, self.stderr, self.call, self.calls, self.folder):
            os.close(end)


def make_pipes(layout: Layout) -> Pipes:
    """Create the FIFOs, the socket and the init. ``announce`` starts the agent's container."""
    folder = layout.pipes
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONTROL).unlink(missing_ok=True)
    for name in (*STREAMS, CALL):
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name, 0o600)
    shutil.copyfile(layout.init_program, folder / "init")
    (folder / "init").chmod(0o755)
    (folder / "bin").mkdir(exist_ok=True)
    peer = folder / "bin/peer"
    peer.write_text(_peer(layout), encoding="utf-8")
    peer.chmod(0o755)
    layout.calls.mkdir(exist_ok=True)
    opened = _folder(folder)
    return Pipes(
        stdin=_both_ends(folder / "in"),
        stdout=_both_ends(folder / "out"),
        stderr=_both_ends(folder / "err"),
        call=_both_ends(folder / CALL),
        calls=_folder(layout.calls),
        folder=opened,
        control=_listen(opened),
    )


def announce(layout: Layout) -> None:
    """Signal the agent's container that all files are in place."""
    ready = layout.pipes / "ready"
    ready.with_suffix(".new").touch()
    ready.with_suffix(".new").rename(ready)


def _both_ends(fifo: Path) -> int:
    return os.open(fifo, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)


def _folder(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def _listen(folder: int) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # A socket's address is short, and the folder's path may be long.
    listener.bind(f"/proc/self/fd/{folder}/{CONTROL}")
    listener.listen(1)
    listener.setblocking(False)
    return listener


def _peer(layout: Layout) -> str:
    source = Path(__file__).with_name("peer").joinpath("peer.sh").read_text(encoding="utf-8")
    call = shlex.quote(str(layout.pipes / CALL))
    return source.replace("@CALL@", call).replace("@CALLS@", shlex.quote(str(layout.calls)))
