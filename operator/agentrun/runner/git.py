"""
Running git, so that nothing but the runner's own settings decides what it does.

Whatever repository it works on: no hooks, no file-system monitor, no prompts, no config of the
machine or of a user. Whatever URL it is given: only transports that are named here, for git's
``ext::`` runs any command, and ``protocol.allow = user`` would let it. And of large files nothing
is compared or compressed in memory, of which the runner's container has little. A server that says
nothing for a minute is given up: git itself would wait for ever.
"""

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from agentrun.api.repositories import is_covered
from agentrun.runner.complaints import KEYS, Credentials, explain
from agentrun.runner.git_credentials import (
    is_ssh,
    is_web,
    kind_of,
    password_env,
    ssh_env,
)
from agentrun.runner.redact import Redactor

_CONFIG = """[core]
\thooksPath = /dev/null
\tfsmonitor = false
\tfileMode = true
\tbigFileThreshold = 8m
[safe]
\tdirectory = *
[diff]
\tignoreSubmodules = dirty
[submodule]
\trecurse = false
[fetch]
\trecurseSubmodules = false
[protocol]
\tallow = never
[protocol "https"]
\tallow = user
[protocol "http"]
\tallow = user
[protocol "ssh"]
\tallow = user
[protocol "git"]
\tallow = user
[protocol "file"]
\tallow = user
[http]
	lowSpeedLimit = 1
	lowSpeedTime = 60
[advice]
\tdetachedHead = false
[gc]
\tauto = 0
[maintenance]
\tauto = false
[transfer]
\tbundleURI = false
"""


class GitError(Exception):
    """git failed. Carries what it said, without secrets."""


class Git:
    """git with the runner's settings, and the run's credentials where there are any."""

    def __init__(self, folder: Path, credentials: Path, redactor: Redactor) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._redactor = redactor
        self._credentials = credentials
        self._kind = kind_of(credentials)
        (folder / "config").write_text(_CONFIG, encoding="utf-8")
        self._env = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": str(folder / "config"),
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_OPTIONAL_LOCKS": "0",
            **_network(),
            **ssh_env(folder, credentials, with_key=False),
        }

    def show_credentials_to(self, repositories: Sequence[str], url: str) -> None:
        """Let git show the Secret to ``repositories``, as it works on ``url``. Before, to none."""
        if self._kind is Credentials.PASSWORD:
            self._env |= password_env(self._credentials, repositories)
        is_shown = is_covered(url, repositories)
        self._env |= ssh_env(self._folder, self._credentials, with_key=is_shown)

    @property
    def has_credentials(self) -> bool:
        """Whether the Secret holds anything that opens repositories."""
        return self._kind is not Credentials.NONE

    def fits(self, url: str) -> bool:
        """Whether what the Secret holds is of use with the server of ``url``."""
        if is_web(url):
            return self._kind is Credentials.PASSWORD
        return self._kind in KEYS if is_ssh(url) else self.has_credentials

    async def run(
        self,
        *args: str,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        seconds: float = 120,
        stdin: bytes | None = None,
        output: Path | None = None,
    ) -> str:
        """Run git and return what it printed; with ``output``, it is printed into that file."""
        target = output.open("wb") if output else None
        try:
            process = await asyncio.create_subprocess_exec(
                "git", *args,
                cwd=cwd or self._folder,
                env=self._env | dict(env or {}),
                stdin=asyncio.subprocess.PIPE if stdin is not None else asyncio.subprocess.DEVNULL,
                stdout=target or asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
            )  # fmt: skip
        finally:
            if target:
                target.close()
        try:
            async with asyncio.timeout(seconds):
                printed, complaint = await process.communicate(stdin)
        except TimeoutError as error:
            raise GitError(f"git {args[0]} took longer than {seconds:.0f} s") from error
        finally:
            await _reap(process)
        if process.returncode:
            raise GitError(self._said(complaint) or f"git {args[0]} failed: {process.returncode}")
        return (printed or b"").decode(errors="surrogateescape")

    def _said(self, complaint: bytes) -> str:
        """Return the end of what git complained of, where the reason is, and what it means."""
        text = self._redactor.text(complaint.decode(errors="replace").strip())
        return explain(text[-2000:], self._kind) if text else ""


def _network() -> dict[str, str]:
    names = (
        "http_proxy",
        "https_proxy",
        "no_proxy",
        "all_proxy",
        "ssl_cert_file",
        "git_ssl_cainfo",
    )
    return {name: value for name, value in os.environ.items() if name.lower() in names}


async def _reap(process: asyncio.subprocess.Process) -> None:
    """End git and the helpers it started, should they still be alive."""
    if process.returncode is not None:
        return
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
