"""
Adds an agent's files to the index of the private repository.

git itself would open them by path, and a link in the place of a folder could lead it anywhere. So
the runner reads them from open folders, and gives git copies in a folder of the runner, in small
batches; for a large file, git receives the open file itself.
"""

import asyncio
import errno
import filecmp
import os
import shutil
import stat
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from agentrun.runner import folders
from agentrun.runner.folders import Folder
from agentrun.runner.git.git import Git, GitError, nul_joined, nul_separated
from agentrun.runner.git.workspace import INDEX, Base, index_env

_LARGE = 4 * 1024 * 1024
_BATCH_FILES = 1000
_BATCH_BYTES = 64 * 1024 * 1024
_CHUNK = 256 * 1024
_MOST_SPLITS = 400
"""How often a batch that git refuses is divided, to find the paths that it refuses."""
DEEPEST = 200
"""The greatest number of folders in a file's path."""
_ATTRIBUTES = ".gitattributes"
_REFUSED_NAME = "Ignoring path "
"""How ``git update-index`` reports a name such as ``.Git``; it succeeds nevertheless."""
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
"""Missing, or only reachable through a link: git treats these the same."""


@dataclass(frozen=True)
class Pristine:
    """
    The files as the clone wrote them, for files that no commit of the agent changes.

    With some attributes, such as ``eol``, a file differs from its commit once it is cloned.
    """

    git: Git
    private: Path
    index: Path | None
    """An index of the clone's commit. None if no attributes apply, so that no file can differ."""
    changed: frozenset[str]
    """The paths that the agent's commits change."""

    @classmethod
    async def of(cls, git: Git, base: Base, head: str, index: Path) -> "Pristine":
        """Read the commit of ``base`` into ``index``, and compare with it the commit ``head``."""
        env = index_env(index)
        await git.run("read-tree", base.commit, repository=base.private, env=env)
        pattern = ":(top,glob)**/.gitattributes"
        listed = await git.run("ls-files", "-z", pattern, repository=base.private, env=env)
        if not listed:
            return cls(git, base.private, None, frozenset())
        args = ("diff-tree", "-r", "-z", "--name-only", "--no-renames", base.commit, head)
        changed = await git.run(*args, repository=base.private)
        return cls(git, base.private, index, frozenset(changed.split("\0")))

    async def check_out(self, paths: Collection[str], target: Path) -> None:
        """Write the files into a folder; those that the clone did not have are missing there."""
        wanted = [path for path in paths if path not in self.changed]
        if self.index is None or not wanted:
            return
        await self.git.run(
            "checkout-index", "-q", "-f", "-z", "--stdin",
            repository=self.private, work_tree=target, stdin=nul_joined(wanted),
            env=index_env(self.index), codes=(0, 1),
        )  # fmt: skip


class Stage:
    """Adds the files that git has listed."""

    def __init__(self, git: Git, private: Path, pristine: Pristine, has_modes: bool) -> None:
        self._git = git
        self._private = private
        self._pristine = pristine
        self._has_modes = has_modes
        """Whether the agent's git regards the mode of files."""
        self._place = private / "agentrun-stage"
        self._files, self._targets = self._place / "files", self._place / "links"
        self._cloned = self._place / "cloned"
        self._splits_left = _MOST_SPLITS
        self.left_out: list[str] = []
        """The paths that are not added, and why."""
        self._clear()

    async def add(self, workspace: Folder, names: Path, excluded: Collection[str] = ()) -> None:
        """
        Update the index from the workspace, for the paths that the file ``names`` lists.

        Everything in the folders ``excluded`` stays as it is in the index.
        """
        try:
            # .gitattributes determine how git converts files, so they are added first.
            for is_first in (True, False):
                for path in nul_separated(names):
                    # A name that ends with a slash is a nested repository.
                    if path.endswith("/") or _is_below(path, excluded):
                        continue
                    if (path.rpartition("/")[2] == _ATTRIBUTES) is is_first:
                        await self._take(workspace, path)
                await self._flush()
        finally:
            shutil.rmtree(self._place, ignore_errors=True)

    async def _take(self, workspace: Folder, path: str) -> None:
        if path.count("/") > DEEPEST:
            self._leave_out(path, f"more than {DEEPEST} folders deep")
            return
        if path in self._taken:
            return
        self._taken.add(path)
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
            elif error.errno in (errno.ENOSPC, errno.EDQUOT):
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
            await self._take_large(file, path, is_program)

    async def _take_large(self, file: BinaryIO, path: str, is_program: bool) -> None:
        await self._pristine.check_out([path], self._cloned)
        cloned = self._clone_of(path, is_program)
        if cloned is not None and _is_same(file, cloned):
            return
        file.seek(0)
        try:
            blob = await self._run("hash-object", "-w", "--stdin", f"--path={path}", stdin=file)
        except GitError as error:
            file.seek(0)
            blob = await self._raw(file, path, error)
        await self._enter([path], {path: (await self._mode(path, is_program), blob.strip())})

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
            await self._update("--force-remove", self._gone)
        if self._copies:
            await self._pristine.check_out(self._copies, self._cloned)
            modified = [path for path in self._copies if not self._is_as_cloned(path)]
            await self._divide(self._add, modified)
        if self._links:
            listed = "".join(f"{self._targets / str(one)}\n" for one in range(len(self._links)))
            args = ("hash-object", "-w", "--no-filters", "--stdin-paths")
            blobs = await self._run(*args, stdin=listed.encode())
            pairs = zip(blobs.split(), self._links, strict=True)
            await self._enter(self._links, {path: ("120000", blob) for blob, path in pairs})
        if self._count:
            await asyncio.to_thread(self._clear)

    def _is_as_cloned(self, path: str) -> bool:
        ours = self._files / path
        cloned = self._clone_of(path, _is_program(ours))
        return cloned is not None and filecmp.cmp(ours, cloned, shallow=False)

    def _clone_of(self, path: str, is_program: bool) -> Path | None:
        """Return the file as the clone wrote it; None if that was no file with this mode."""
        cloned = self._cloned / path
        is_file = cloned.is_file() and not cloned.is_symlink()
        return cloned if is_file and _is_program(cloned) == is_program else None

    async def _add(self, paths: list[str]) -> None:
        """Add copied files. Raises GitError if git refuses one of several."""
        warnings: list[str] = []
        try:
            await self._update("--add", paths, "--replace", warnings=warnings)
        except GitError as error:
            if len(paths) > 1:
                raise
            (path,) = paths
            with (self._files / path).open("rb") as file:
                blob = await self._raw(file, path, error)
            mode = await self._mode(path, _is_program(self._files / path))
            await self._enter(paths, {path: (mode, blob.strip())})
        for line in warnings:
            if line.startswith(_REFUSED_NAME):
                self._leave_out(
                    line.removeprefix(_REFUSED_NAME), "git accepts no file of this name"
                )

    async def _raw(self, file: BinaryIO, path: str, error: GitError) -> str:
        """Store a file that git cannot convert as it is, so that its content is not lost."""
        blob = await self._run("hash-object", "-w", "--no-filters", "--stdin", stdin=file)
        self._leave_out(path, f"stored without conversion, since git refuses it: {error.reason}")
        return blob

    async def _enter(self, paths: list[str], entries: Mapping[str, tuple[str, str]]) -> None:
        """Enter stored objects into the index, by their paths."""

        async def enter(some: list[str]) -> None:
            lines = (f"{mode} {blob} 0\t{path}" for path in some for mode, blob in [entries[path]])
            args = ("update-index", "--add", "--replace", "-z", "--index-info")
            await self._run(*args, stdin=nul_joined(lines))

        await self._divide(enter, paths)

    async def _divide(self, work: Callable[[list[str]], Awaitable[None]], paths: list[str]) -> None:
        """Do the work for the paths; name those that git refuses, and do it for all others."""
        if not paths:
            return
        try:
            await work(paths)
        except GitError as error:
            if len(paths) == 1 or not self._splits_left:
                for path in paths:
                    self._leave_out(path, error.reason)
                return
            self._splits_left -= 1
            half = len(paths) // 2
            await self._divide(work, paths[:half])
            await self._divide(work, paths[half:])

    async def _mode(self, path: str, is_program: bool) -> str:
        if self._has_modes:
            return "100755" if is_program else "100644"
        listed = await self._run("ls-files", "-s", "-z", "--", f":(top,literal){path}", stdin=b"")
        return listed[:6] if listed.startswith("100") else "100644"

    async def _update(
        self, flag: str, paths: list[str], *flags: str, warnings: list[str] | None = None
    ) -> None:
        args = ("update-index", flag, *flags, "-z", "--stdin")
        setting = mode_setting(self._has_modes)
        await self._run(*setting, *args, stdin=nul_joined(paths), warnings=warnings)

    async def _run(
        self, *args: str, stdin: bytes | BinaryIO, warnings: list[str] | None = None
    ) -> str:
        return await self._git.run(
            *args, repository=self._private, work_tree=self._files,
            env=index_env(self._private / INDEX), stdin=stdin, warnings=warnings,
        )  # fmt: skip

    def _clear(self) -> None:
        """Start a new batch."""
        shutil.rmtree(self._place, ignore_errors=True)
        for folder in (self._files, self._targets, self._cloned):
            folder.mkdir(parents=True)
        self._taken: set[str] = set()
        self._gone: list[str] = []
        self._copies: list[str] = []
        self._links: list[str] = []
        self._count = self._bytes = 0

    def _leave_out(self, path: str, why: str) -> None:
        self.left_out.append(f"{path}: {why}")


def _is_below(path: str, folders: Collection[str]) -> bool:
    """Return whether the path is one of the folders, or in one."""
    if not folders:
        return False
    ends = (at for at, letter in enumerate(path) if letter == "/")
    return path in folders or any(path[:end] in folders for end in ends)


def mode_setting(has_modes: bool) -> Sequence[str]:
    """Return git's option for whether the mode of files counts."""
    return ("-c", f"core.fileMode={str(has_modes).lower()}")


def _is_program(file: Path) -> bool:
    return bool(file.stat().st_mode & stat.S_IXUSR)


def _is_same(file: BinaryIO, other: Path) -> bool:
    with other.open("rb") as opened:
        while chunk := file.read(_CHUNK):
            if opened.read(len(chunk)) != chunk:
                return False
        return not opened.read(1)
