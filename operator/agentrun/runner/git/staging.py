"""
Adds an agent's files to the index of the private repository.

git itself would open them by path, and a link in the place of a folder could lead it anywhere. So
the runner reads them from open folders, and gives git copies in a folder of the runner, in small
batches; for a large file, git receives the open file itself.
"""

import asyncio
import errno
import logging
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from agentrun.runner import folders
from agentrun.runner.folders import Folder
from agentrun.runner.git.git import Git

log = logging.getLogger(__name__)

_LARGE = 4 * 1024 * 1024
_BATCH_FILES = 1000
_BATCH_BYTES = 64 * 1024 * 1024
_CHUNK = 256 * 1024
_LOGGED = 10
_DEEPEST = 200
"""The greatest number of folders in a file's path."""
_ATTRIBUTES = ".gitattributes"
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
"""Missing, or only reachable through a link: git treats these the same."""


class Stage:
    """Adds the files that git has listed."""

    def __init__(self, git: Git, private: Path, env: dict[str, str]) -> None:
        self._git = git
        self._private = private
        self._env = env
        self._place = private / "agentrun-stage"
        self._files, self._targets = self._place / "files", self._place / "links"
        self._left_out: list[str] = []
        self._clear()

    async def add(self, workspace: Folder, names: Path) -> None:
        """Update the index from the workspace, for the paths that the file ``names`` lists."""
        try:
            # .gitattributes determine how git converts files, so they are added first.
            for is_first in (True, False):
                for path in _paths(names):
                    if (path.rpartition("/")[2] == _ATTRIBUTES) is is_first:
                        await self._take(workspace, path)
                await self._flush()
        finally:
            shutil.rmtree(self._place, ignore_errors=True)
        if self._left_out:
            log.warning("Some files are not part of the change: %s", "; ".join(self._left_out))

    async def _take(self, workspace: Folder, path: str) -> None:
        if path.count("/") > _DEEPEST:
            self._leave_out(path[:_DEEPEST], f"more than {_DEEPEST} folders deep")
            return
        try:
            status = workspace.status(path)
            if stat.S_ISLNK(status.st_mode):
                self._stage_link(workspace, path)
            elif stat.S_ISREG(status.st_mode):
                await self._take_file(workspace, path)
            elif stat.S_ISDIR(status.st_mode):
                self._remove(path)  # what was a file is a folder now
            else:
                self._leave_out(path, "no file, folder or link")
        except OSError as error:
            if error.errno in _GONE:
                self._remove(path)
            elif error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
                raise
            else:
                self._leave_out(path, error.strerror or str(error))
        if self._count >= _BATCH_FILES or self._bytes >= _BATCH_BYTES:
            await self._flush()

    async def _take_file(self, workspace: Folder, path: str) -> None:
        with workspace.read(path) as file:
            status = os.fstat(file.fileno())
            is_program = bool(status.st_mode & stat.S_IXUSR)
            if status.st_size <= _LARGE:
                above, _, name = path.rpartition("/")
                mode = 0o700 if is_program else 0o600
                with (
                    Folder.at(self._files) as files,
                    files.folder(above, make=True) as folder,
                    folder.create(name, mode) as copy,
                ):
                    self._bytes += folders.copy_file(file, copy)
                self._copies.append(path)
                self._count += 1
                return
            await self._flush()
            blob = await self._run("hash-object", "-w", "--stdin", f"--path={path}", stdin=file)
        kind = "100755" if is_program else "100644"
        await self._enter([f"{kind} {blob.strip()} 0\t{path}"])

    def _remove(self, path: str) -> None:
        self._gone.append(path)
        self._count += 1

    def _stage_link(self, workspace: Folder, path: str) -> None:
        target = os.fsencode(workspace.link(path))
        (self._targets / str(len(self._links))).write_bytes(target)
        self._links.append(path)
        self._count += 1

    async def _flush(self) -> None:
        if self._gone:
            await self._update("--force-remove", paths=self._gone)
        if self._copies:
            await self._update("--add", "--replace", paths=self._copies)
        if self._links:
            listed = "".join(f"{self._targets / str(one)}\n" for one in range(len(self._links)))
            args = ("hash-object", "-w", "--no-filters", "--stdin-paths")
            blobs = await self._run(*args, stdin=listed.encode())
            pairs = zip(blobs.split(), self._links, strict=True)
            await self._enter([f"120000 {blob} 0\t{path}" for blob, path in pairs])
        if self._count:
            await asyncio.to_thread(self._clear)

    async def _update(self, *args: str, paths: list[str]) -> None:
        stdin = "".join(f"{path}\0" for path in paths).encode(errors="surrogateescape")
        await self._run("update-index", *args, "-z", "--stdin", stdin=stdin)

    async def _enter(self, entries: list[str]) -> None:
        stdin = "".join(f"{entry}\0" for entry in entries).encode(errors="surrogateescape")
        await self._run("update-index", "--add", "--replace", "-z", "--index-info", stdin=stdin)

    async def _run(self, *args: str, stdin: bytes | BinaryIO) -> str:
        return await self._git.run(
            *args, repository=self._private, work_tree=self._files, env=self._env, stdin=stdin
        )

    def _clear(self) -> None:
        """Start a new batch."""
        shutil.rmtree(self._place, ignore_errors=True)
        for folder in (self._files, self._targets):
            folder.mkdir(parents=True)
        self._gone: list[str] = []
        self._copies: list[str] = []
        self._links: list[str] = []
        self._count = self._bytes = 0

    def _leave_out(self, path: str, why: str) -> None:
        if len(self._left_out) < _LOGGED:
            self._left_out.append(f"{path}: {why}")


def _paths(names: Path) -> Iterator[str]:
    """Read NUL-terminated paths; a folder is a nested repository, and is skipped."""
    rest = b""
    with names.open("rb") as file:
        while chunk := file.read(_CHUNK):
            *whole, rest = (rest + chunk).split(b"\0")
            yield from (os.fsdecode(path) for path in whole if path and not path.endswith(b"/"))
