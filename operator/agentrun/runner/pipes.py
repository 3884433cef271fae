"""
Making the pipes between runner and agent.

This runs before anything heavy is imported, so that the agent boots while the runner loads:
standard library only. Each FIFO is opened once, right here, for reading and writing: so no open
blocks, no end of file arrives while a stray child holds a pipe, and the agent, which can write
to this folder, cannot make the runner open something else later.
"""

import os
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

from agentrun.runner.layout import Layout

NAMES = ("in", "out", "err", "exit", "stop", "call")


@dataclass(frozen=True)
class Pipes:
    """The runner's ends of the agent's pipes: file descriptors, non-blocking."""

    stdin: int
    stdout: int
    stderr: int
    exit: int
    stop: int
    call: int
    """Where ``peer`` says that a call of it waits."""
    calls: int
    """The folder of those calls."""

    def end_agent(self) -> None:
        """End the agent's container. Harmless if it has ended, and when repeated."""
        try:
            os.write(self.stop, b"\n")
        except BlockingIOError:
            return  # the pipe is full of earlier requests to stop


def make_pipes(layout: Layout) -> Pipes:
    """Make the FIFOs, the init and the supervising script. ``announce`` lets the agent begin."""
    folder = layout.pipes
    folder.mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name, 0o600)
    shutil.copyfile(layout.init_program, folder / "init")
    (folder / "init").chmod(0o755)
    (folder / "supervise").write_text(_script(layout), encoding="utf-8")
    (folder / "bin").mkdir(exist_ok=True)
    peer = folder / "bin/peer"
    peer.write_text(_peer(layout), encoding="utf-8")
    peer.chmod(0o755)
    (folder / "calls").mkdir(exist_ok=True)
    calls = os.open(folder / "calls", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    ends = [os.open(folder / name, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC) for name in NAMES]
    return Pipes(*[*ends, calls])


def announce(layout: Layout) -> None:
    """Tell the agent's container that everything is in place."""
    ready = layout.pipes / "ready"
    ready.with_suffix(".new").touch()
    ready.with_suffix(".new").rename(ready)


def _script(layout: Layout) -> str:
    source = Path(__file__).with_name("supervise.sh").read_text(encoding="utf-8")
    return source.replace("@WORKSPACE@", shlex.quote(str(layout.workspace)))


def _peer(layout: Layout) -> str:
    source = Path(__file__).with_name("peer").joinpath("peer.sh").read_text(encoding="utf-8")
    return source.replace("@PIPES@", shlex.quote(str(layout.pipes)))
