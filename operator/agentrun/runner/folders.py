"""
Reaching files in folders that an agent can write.

At any moment an agent may put a link in the place of a folder, and behind it lies whatever the
runner can see: its credentials, too. So such a folder is opened once, and everything in it is
reached from the open descriptor, through no link and not out of it. A link is itself at most: it
can be read and kept, and is never followed. Nothing here waits for the other end of a pipe.

Standard library only: the agent's home is written before anything else is loaded.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from agentrun.runner import kernel

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST_LINKS = 40
_CHUNK = 1024 * 1024


class OutsideFolderError(OSError):
    """A path that leads out of the folder."""


class Folder:
    """A folder that is held open. Paths are relative to it."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    @classmethod
    def at(cls, path: Path, make: bool = False) -> "Folder":
        """Open a folder whose own place no agent can change, as a mount's is."""
        if make:
            path.mkdir(parents=True, exist_ok=True)
        return cls(os.open(path, _FOLDER))

    def __enter__(self) -> "Folder":
        """Hold it open for the block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        """Close it."""
        os.close(self.descriptor)

    def folder(self, path: str = "", make: bool = False) -> "Folder":
        """Open a folder in it; with ``make``, make what is missing on the way."""
        parts = _parts(path) if path else []
        if make:
            return Folder(self._make(parts))
        return Folder(self._open(parts, _FOLDER) if parts else os.dup(self.descriptor))

    def names(self) -> list[str]:
        """List what is in it, sorted."""
        return sorted(os.listdir(self.descriptor))  # noqa: PTH208 - by descriptor

    def status(self, path: str) -> os.stat_result:
        """Say what is there; of a link, the link itself."""
        with self._parent(path) as (parent, name):
            return os.stat(name, dir_fd=parent, follow_symlinks=False)

    def link(self, path: str) -> str:
        """Read where a link leads to."""
        with self._parent(path) as (parent, name):
            return os.readlink(name, dir_fd=parent)

    def read(self, path: str) -> BinaryIO:
        """Open a file, and nothing that is none, for reading."""
        descriptor = self._open(_parts(path), _FILE)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(errno.EINVAL, "No file", path)
        return open(descriptor, "rb")  # noqa: PTH123

    def create(self, path: str, mode: int = 0o600) -> BinaryIO:
        """Make a file where there is nothing, for writing."""
        with self._parent(path) as (parent, name):
            return open(os.open(name, _NEW_FILE, mode, dir_fd=parent), "wb")  # noqa: PTH123

    def replace(self, path: str, content: bytes) -> None:
        """Put a file in the place of what is there, whatever it is; make the folders above it."""
        above, _, name = path.rpartition("/")
        with self.folder(above, make=True) as parent:
            new = f"{name}.{os.urandom(8).hex()}"
            with parent.create(new) as file:
                file.write(content)
            try:
                parent.rename(new, name)
            except OSError:
                parent.remove(new)
                raise

    def rename(self, old: str, new: str) -> None:
        """Give another name to something in this very folder."""
        at = self.descriptor
        os.rename(_name(old), _name(new), src_dir_fd=at, dst_dir_fd=at)

    def remove(self, path: str) -> None:
        """Remove a file or a link, if it is there."""
        with suppress(FileNotFoundError), self._parent(path) as (parent, name):
            os.unlink(name, dir_fd=parent)

    def make_folder(self, path: str) -> None:
        """Make a folder where there is nothing."""
        with self._parent(path) as (parent, name):
            os.mkdir(name, 0o777, dir_fd=parent)

    def make_link(self, path: str, leads_to: str) -> None:
        """Make a link where there is nothing."""
        with self._parent(path) as (parent, name):
            os.symlink(leads_to, name, dir_fd=parent)

    def entries(self, path: str) -> Iterator["Entry"]:
        """Go through what is in it; ``path`` is its own."""
        for name in self.names():
            with suppress(FileNotFoundError):
                yield self._entry(path, name)

    def walk(self, path: str, failed: Callable[[str, OSError], None]) -> Iterator["Entry"]:
        """Go through ``path`` and all that is below it; folders come before what they hold."""
        above, _, name = path.rpartition("/")
        try:
            with self.folder(above) as parent:
                entry = parent._entry(above, name)
                yield entry
        except OSError as error:
            failed(path, error)
            return
        stack = [path] if entry.is_folder else []
        while stack:
            one = stack.pop()
            try:
                with self.folder(one) as folder:
                    for entry in folder.entries(one):
                        if entry.is_folder:
                            stack.append(entry.path)
                        yield entry
            except OSError as error:
                failed(one, error)

    def resolve(self, path: str) -> list[str]:
        """
        Follow links from here without leaving, as far as there is something, and return the parts.

        For a path that only an agent goes; what it leads to may change at any time.
        """
        wanted, found, links = path.split("/")[::-1], list[str](), 0
        while wanted:
            part = wanted.pop()
            if part in ("", "."):
                continue
            if part == "..":
                if not found:
                    raise OutsideFolderError(errno.EXDEV, "Leads out of the folder", path)
                found.pop()
                continue
            found.append(part)
            if (leads_to := self._leads_to("/".join(found))) is None:
                continue
            links += 1
            if links > _MOST_LINKS or leads_to.startswith("/"):
                raise OutsideFolderError(errno.EXDEV, "Leads out of the folder", path)
            found.pop()
            wanted += leads_to.split("/")[::-1]
        return found

    def _leads_to(self, path: str) -> str | None:
        try:
            return self.link(path)
        except OSError:
            return None  # no link

    def _entry(self, above: str, name: str) -> "Entry":
        status = os.stat(_name(name), dir_fd=self.descriptor, follow_symlinks=False)
        return Entry(self, name, f"{above}/{name}" if above else name, status)

    def _open(self, parts: list[str], flags: int) -> int:
        if len(parts) > 1:
            found = kernel.open_beneath(self.descriptor, "/".join(parts), flags)
            if found is not None:
                return found
        at = os.dup(self.descriptor)
        try:
            for number, part in enumerate(parts, 1):
                above, is_last = at, number == len(parts)
                at = os.open(part, flags if is_last else _FOLDER, dir_fd=above)
                os.close(above)
        except OSError:
            os.close(at)
            raise
        return at

    def _make(self, parts: list[str]) -> int:
        at = os.dup(self.descriptor)
        try:
            for part in parts:
                above = at
                with suppress(FileExistsError):
                    os.mkdir(part, 0o777, dir_fd=above)
                at = os.open(part, _FOLDER, dir_fd=above)
                os.close(above)
        except OSError:
            os.close(at)
            raise
        return at

    @contextmanager
    def _parent(self, path: str) -> Iterator[tuple[int, str]]:
        *above, name = _parts(path)
        if not above:
            yield self.descriptor, name
            return
        descriptor = self._open(above, _FOLDER)
        try:
            yield descriptor, name
        finally:
            os.close(descriptor)


@dataclass(frozen=True)
class Entry:
    """Something in a folder, as it was a moment ago."""

    folder: Folder
    """Open until the walk goes on."""
    name: str
    path: str
    status: os.stat_result

    @property
    def is_folder(self) -> bool:
        """Whether it was a folder."""
        return stat.S_ISDIR(self.status.st_mode)


def copy(source: Folder, target: Folder) -> None:
    """Copy all folders and files of a folder, with their modes, into one that lacks the files."""

    def failed(path: str, error: OSError) -> None:
        raise OSError(error.errno, error.strerror, path) from error

    for first in source.names():
        for entry in source.walk(first, failed):
            if entry.is_folder:
                with target.folder(entry.path, make=True):
                    continue
            with (
                entry.folder.read(entry.name) as old,
                target.create(entry.path, stat.S_IMODE(entry.status.st_mode)) as new,
            ):
                copy_file(old, new)


def copy_file(source: BinaryIO, target: BinaryIO) -> int:
    """Copy a file's content in the kernel, as much as it has now, and return how much that was."""
    left = size = os.fstat(source.fileno()).st_size
    while left and (sent := os.sendfile(target.fileno(), source.fileno(), None, min(left, _CHUNK))):
        left -= sent
    return size - left


def _parts(path: str) -> list[str]:
    return [_name(part) for part in path.split("/")]


def _name(part: str) -> str:
    if part in ("", ".", "..") or "/" in part:
        raise OutsideFolderError(errno.EXDEV, "Leads out of the folder", part)
    return part
