"""An agent that attacks the runner while it reads and writes the agent's folders."""

import ctypes
import os
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from agentrun.api import pod_layout
from agentrun.runner.layout import Layout
from tests.waiting import LATE_SECONDS

CANARY = "canary-8f2b1c7d"
SECRETS = [
    pod_layout.TOKEN_FILE, pod_layout.PROVIDER_KEY_FILE, f"{pod_layout.GIT_CREDENTIALS}/password",
    f"{pod_layout.REDACT}/value", f"{pod_layout.MCP_SECRETS}/server/key",
    f"{pod_layout.BACKEND_SECRET}/auth_token",
]  # fmt: skip
"""The paths of a pod's credentials, all in folders of their own."""
OPENED, CREATED = 0x20, 0x100
"""Bits of an inotify event mask: IN_OPEN and IN_CREATE."""


def a_pod(root: Path) -> Layout:
    """Create the folders of a pod, with a canary at the path of each secret."""
    layout = Layout(root=root)
    for path in SECRETS:
        file = layout.at(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{CANARY} {file.name}\n")
    for folder in (layout.home, layout.workspace, layout.spool):
        folder.mkdir(parents=True)
    return layout


def hole(file: Path, mebibytes: int) -> None:
    """Make a sparse file, which takes a while to read and no space."""
    with file.open("wb") as opened:
        opened.truncate(mebibytes * 1024 * 1024)


@contextmanager
def once(watched: Path, event: int, name: str, act: Callable[[], None]) -> Iterator[None]:
    """
    Call ``act`` at the moment at which ``name`` is opened or created in a folder during the block.

    inotify reports that to any process that may read the folder, so the agent has no race to win.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    notify = libc.inotify_init1(os.O_CLOEXEC)
    assert libc.inotify_add_watch(notify, os.fsencode(watched), event) >= 0
    end, ending = os.pipe()
    acted = threading.Event()

    def wait() -> None:
        import select

        while not acted.is_set():
            ready, _, _ = select.select([notify, end], [], [], LATE_SECONDS)
            if notify not in ready:
                return
            if name in _names(os.read(notify, 65536)):
                act()
                acted.set()

    thread = threading.Thread(target=wait)
    thread.start()
    try:
        yield
    finally:
        os.write(ending, b"x")
        thread.join()
        for descriptor in (notify, end, ending):
            os.close(descriptor)
    assert acted.is_set(), f"nothing came across {watched / name}"


def _names(events: bytes) -> Iterator[str]:
    while events:
        _, _, _, length = struct.unpack_from("iIII", events)
        yield events[16 : 16 + length].rstrip(b"\0").decode()
        events = events[16 + length :]


def swap(folder: Path, leads_to: Path) -> Callable[[], None]:
    """Replace a folder by a link."""

    def act() -> None:
        folder.rename(folder.with_name(f"{folder.name}.away"))
        folder.symlink_to(leads_to)

    return act


@contextmanager
def swapping(folder: Path, leads_to: Path) -> Iterator[None]:
    """Swap a folder and a link continuously during the block."""
    link, over = folder.with_name(f"{folder.name}.link"), threading.Event()
    link.symlink_to(leads_to)
    libc = ctypes.CDLL(None, use_errno=True)
    names = (-100, os.fsencode(folder), -100, os.fsencode(link), 2)  # AT_FDCWD, RENAME_EXCHANGE

    def exchange() -> None:
        while not over.is_set():
            libc.renameat2(*names)

    thread = threading.Thread(target=exchange)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
