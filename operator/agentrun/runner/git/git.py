"""
Runs git so that only the runner's settings determine its behavior.

For any repository: no hooks, no file-system monitor, no prompts, no config of the machine or of a
user, and no search for a repository: its path is always given. For any URL: only the transports
that are listed here, because git's ``ext::`` runs any command and ``protocol.allow = user`` permits
it. Large files are not compared or compressed in memory, of which the runner's container has
little. A transfer is aborted if the server sends nothing for a minute: git itself waits forever.

There are two kinds of processes. Those that communicate with a server have the run's credentials,
and never access a folder of the agent. Those that access one have neither credentials nor network.
"""

import asyncio
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from agentrun.api.repositories import is_covered
from agentrun.runner.children import AllBut, Child, Reach
from agentrun.runner.git.credentials import (
    is_ssh,
    is_web,
    kind_of,
    password_env,
    ssh_env,
)
from agentrun.runner.git.errors import KEYS, CredentialKind, explain
from agentrun.runner.journal.redact import Redactor

_SETTINGS = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "core.attributesFile": "/dev/null",
    "core.excludesFile": "/dev/null",
    "core.fileMode": "true",
    "core.bigFileThreshold": "8m",
    "safe.directory": "*",
    "diff.ignoreSubmodules": "dirty",
    "submodule.recurse": "false",
    "fetch.recurseSubmodules": "false",
    "protocol.allow": "never",
    "protocol.https.allow": "user",
    "protocol.http.allow": "user",
    "protocol.ssh.allow": "user",
    "protocol.git.allow": "user",
    "protocol.file.allow": "user",
    "http.lowSpeedLimit": "1",
    "http.lowSpeedTime": "60",
    "advice.detachedHead": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "transfer.bundleURI": "false",
    "transfer.fsckObjects": "true",
}
# Harmless defects that old programs wrote into the history of well-known repositories.
_HARMLESS = (
    "badDate", "badDateOverflow", "badEmail", "badTimezone", "missingEmail",
    "missingNameBeforeEmail", "missingSpaceBeforeDate", "missingSpaceBeforeEmail",
    "multipleAuthors", "zeroPaddedDate", "zeroPaddedFilemode",
)  # fmt: skip
_ALL = {**_SETTINGS, **{f"fetch.fsck.{one}": "ignore" for one in _HARMLESS}}
_FORCED = [word for key, value in _ALL.items() for word in ("-c", f"{key}={value}")]
"""On the command line: takes precedence over the config of any repository."""
_CHUNK = 256 * 1024
UPLOAD_PACK = " ".join(["git", *_FORCED, "upload-pack"])
"""The command that serves an agent's repository: git does not pass its own options on to it."""


class GitError(Exception):
    """git failed. The message is git's error output, without secrets."""

    @property
    def reason(self) -> str:
        """The last line of the output, which says why, without its level."""
        last = str(self).strip().rpartition("\n")[2]
        return last.removeprefix("fatal: ").removeprefix("error: ")


class Git:
    """git with the runner's settings, and with the run's credentials if there are any."""

    def __init__(self, folder: Path, credentials: Path, redactor: Redactor) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._redactor = redactor
        self._credentials = credentials
        self._kind = kind_of(credentials)
        self._hidden: tuple[Path, ...] = ()
        self._config = folder / "config"
        self._config.write_text(_as_file(), encoding="utf-8")
        self._own = {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "C.UTF-8",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": str(self._config),
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_OPTIONAL_LOCKS": "0",
            "GIT_NO_LAZY_FETCH": "1",
        }
        self._env = {
            **self._own,
            "HOME": str(folder),
            **_network(),
            **ssh_env(folder, credentials, with_key=False),
        }

    def keep_from(self, *folders: Path) -> None:
        """Hide the folders from processes with credentials, where the kernel supports that."""
        self._hidden = folders

    def show_credentials_to(self, repositories: Sequence[str], url: str) -> None:
        """Use the Secret for ``repositories`` only, for work on ``url``. By default, for none."""
        if self._kind is CredentialKind.PASSWORD:
            self._env |= password_env(self._credentials, repositories)
        is_shown = is_covered(url, repositories)
        self._env |= ssh_env(self._folder, self._credentials, with_key=is_shown)

    @property
    def has_credentials(self) -> bool:
        """Whether the Secret holds credentials for repositories."""
        return self._kind is not CredentialKind.NONE

    def fits(self, url: str) -> bool:
        """Whether the Secret's credentials are of the kind that the server of ``url`` accepts."""
        if is_web(url):
            return self._kind is CredentialKind.PASSWORD
        return self._kind in KEYS if is_ssh(url) else self.has_credentials

    async def init(self, private: Path) -> None:
        """Create a private repository, with the runner's settings in its config."""
        await asyncio.to_thread(private.mkdir, parents=True, exist_ok=True)
        await self.run("init", "-q", "--bare", "--template=", str(private), writes=[private])
        with (private / "config").open("a", encoding="utf-8") as config:
            config.write(_as_file())

    async def transfer(self, *args: str, repository: Path, seconds: float) -> str:
        """Run git with credentials and network on a private repository, and return its output."""
        reach = AllBut(self._hidden) if self._hidden else None
        env = self._env | {"GIT_DIR": str(repository)}
        child = Child(["git", *_FORCED, *args], reach, env, repository)
        return await self._finish(child, _command(args), seconds, None, None, (0,), None)

    async def run(
        self,
        *args: str,
        repository: Path | None = None,
        work_tree: Path | None = None,
        reads: Sequence[Path] = (),
        writes: Sequence[Path] = (),
        env: Mapping[str, str] | None = None,
        seconds: float = 300,
        stdin: bytes | BinaryIO | None = None,
        output: Path | None = None,
        codes: Collection[int] = (0,),
        warnings: list[str] | None = None,
    ) -> str:
        """
        Run git without credentials and network, and return its output.

        Where the kernel can enforce it, git can access only its repository, ``reads`` and
        ``writes``.
        With ``output``, its output is written to that file. Other exit codes than ``codes`` are
        failures. The lines of its error output are added to ``warnings``.
        """
        # git searches for a repository unless one is given.
        place = {"GIT_DIR": str(repository)} if repository else {"GIT_CEILING_DIRECTORIES": "/"}
        if work_tree:
            place["GIT_WORK_TREE"] = str(work_tree)
        own = [repository] if repository else []
        reach = Reach((self._config, *reads), (*own, *writes))
        home = {"HOME": "/nonexistent"}
        cwd = repository or self._folder
        child = Child(
            ["git", *_FORCED, *args], reach, {**self._own, **home, **place, **(env or {})}, cwd
        )
        return await self._finish(child, _command(args), seconds, stdin, output, codes, warnings)

    async def _finish(
        self,
        child: Child,
        name: str,
        seconds: float,
        stdin: bytes | BinaryIO | None,
        output: Path | None,
        codes: Collection[int],
        warnings: list[str] | None,
    ) -> str:
        target = output.open("wb") if output else None
        try:
            done = await child.run(seconds, stdin, target)
        except TimeoutError as error:
            raise GitError(f"git {name} took longer than {seconds:.0f} s") from error
        finally:
            if target:
                target.close()
        if done.code not in codes:
            raise GitError(self._stderr_of(done.complaint) or f"git {name} failed: {done.code}")
        if warnings is not None:
            warnings += done.complaint.decode(errors="surrogateescape").splitlines()
        return done.printed.decode(errors="surrogateescape")

    def _stderr_of(self, complaint: bytes) -> str:
        """Return the end of git's error output, where the reason is, with an explanation of it."""
        text = self._redactor.text(complaint.decode(errors="replace").strip())
        return explain(text[-2000:], self._kind) if text else ""


def nul_joined(fields: Iterable[str]) -> bytes:
    """Return paths or entries as git reads them with ``-z``."""
    return "".join(f"{one}\0" for one in fields).encode(errors="surrogateescape")


def nul_separated(file: Path) -> Iterator[str]:
    """Iterate over what git wrote to a file with ``-z``; the file may be large."""
    rest = b""
    with file.open("rb") as opened:
        while chunk := opened.read(_CHUNK):
            *whole, rest = (rest + chunk).split(b"\0")
            yield from (one.decode(errors="surrogateescape") for one in whole if one)


def _command(args: Sequence[str]) -> str:
    """Return git's command, which stands behind the settings."""
    rest = list(args)
    while rest[0] == "-c":
        del rest[:2]
    return rest[0]


def _as_file() -> str:
    sections: dict[str, list[str]] = {}
    for key, value in _ALL.items():
        section, _, name = key.rpartition(".")
        first, _, second = section.partition(".")
        header = f'[{first} "{second}"]' if second else f"[{first}]"
        sections.setdefault(header, []).append(f"\t{name} = {value}\n")
    return "".join(f"{header}\n{''.join(lines)}" for header, lines in sections.items())


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
