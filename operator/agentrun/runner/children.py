"""
Starts programs that can access only what they need.

git and the packer process data of the agent. Where the kernel has Landlock, each is started by a
thread of its own that has confined itself first: the program inherits the restrictions, and nothing
else has to happen between fork and exec. Their environment holds no credentials either.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import agentrun
from agentrun.runner.kernel import confine_thread

PACKAGES = Path(agentrun.__file__).parents[1]
"""The folder from which Python imports the runner's modules."""
_PROGRAMS = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64")
_READ = (
    "/etc/ld.so.cache", "/etc/passwd", "/etc/group", "/etc/nsswitch.conf", "/etc/localtime",
    "/dev/urandom",
)  # fmt: skip
_WRITTEN = ("/dev/null",)


@dataclass(frozen=True)
class Reach:
    """The paths that a program may open besides the system's programs, with everything below."""

    reads: tuple[Path, ...] = ()
    writes: tuple[Path, ...] = ()
    has_network: bool = False

    def confine(self) -> None:
        """Confine the calling thread, irrevocably."""
        searched = os.environ.get("PATH", os.defpath).split(os.pathsep)
        own = [sys.prefix, sys.base_prefix, str(PACKAGES)]
        runs = [Path(one) for one in (*_PROGRAMS, *searched, *own) if one.startswith("/")]
        confine_thread(
            [*map(Path, _READ), *self.reads], [*map(Path, _WRITTEN), *self.writes], runs,
            self.has_network,
        )  # fmt: skip


@dataclass(frozen=True)
class AllBut:
    """Everything except some folders: for programs that need the network and the credentials."""

    hidden: tuple[Path, ...]

    def confine(self) -> None:
        """Confine the calling thread, irrevocably."""
        beside = list(_beside([one.absolute() for one in self.hidden]))
        confine_thread([], beside, beside, has_network=True)


@dataclass(frozen=True)
class Done:
    """The exit code and the output of a program."""

    code: int
    printed: bytes
    complaint: bytes


class Child:
    """A program that is run once."""

    def __init__(
        self,
        command: Sequence[str],
        reach: Reach | AllBut | None,
        env: Mapping[str, str],
        cwd: Path,
    ) -> None:
        self._command = command
        self._reach = reach
        self._env = dict(env)
        self._cwd = cwd
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._is_ended = False

    async def run(
        self,
        seconds: float | None,
        stdin: bytes | BinaryIO | None = None,
        output: BinaryIO | None = None,
    ) -> Done:
        """Run the program to its end. Raises TimeoutError after ``seconds``, and kills it."""
        executor = ThreadPoolExecutor(1, "child")
        work = asyncio.wrap_future(executor.submit(self._run, stdin, output))
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.shield(work)
        finally:
            self._end()
            await asyncio.wait({work})
            executor.shutdown(wait=False)

    def _run(self, stdin: bytes | BinaryIO | None, output: BinaryIO | None) -> Done:
        if self._reach is not None:
            self._reach.confine()
        content = stdin if isinstance(stdin, bytes) else None
        file = None if isinstance(stdin, bytes) else stdin
        with self._lock:
            if self._is_ended:
                return Done(-signal.SIGKILL, b"", b"")
            process = self._process = subprocess.Popen(
                self._command,
                cwd=self._cwd,
                env=self._env,
                stdin=subprocess.PIPE if content is not None else file or subprocess.DEVNULL,
                stdout=output or subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        with process:
            printed, complaint = process.communicate(content)
            return Done(process.returncode, printed or b"", complaint)

    def _end(self) -> None:
        """Kill the program, and its child processes, if it is still running."""
        with self._lock:
            self._is_ended = True
            if self._process is not None and self._process.returncode is None:
                with suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGKILL)


class ChildError(Exception):
    """A module of the runner ended without an answer."""


async def ask_module(module: str, job: Mapping[str, Any], reach: Reach) -> dict[str, Any]:
    """Run a module of the runner, standard library only, on a job; both job and answer are JSON."""
    env = {"PYTHONPATH": str(PACKAGES), "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}
    # -P: no imports from the current folder; -S, -s: nor from site-packages.
    command = [sys.executable, "-P", "-S", "-s", "-m", module]
    done = await Child(command, reach, env, Path("/")).run(None, json.dumps(job).encode())
    if done.code:
        reason = done.complaint.decode(errors="replace").strip().rpartition("\n")[2]
        raise ChildError(f"{module} ended with {done.code}: {reason}")
    answer: dict[str, Any] = json.loads(done.printed)
    return answer


def _beside(hidden: Iterable[Path]) -> Iterable[Path]:
    """List folders that together contain everything except the hidden ones."""
    hidden = list(hidden)
    above = {parent for one in hidden for parent in one.parents}
    for folder in sorted(above):
        with suppress(OSError):
            # A link may lead above a hidden folder.
            entries = (one for one in sorted(folder.iterdir()) if not one.is_symlink())
            yield from (one for one in entries if one not in above and one not in hidden)
