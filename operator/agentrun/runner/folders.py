"""
Access to files in folders that an agent can write.

An agent can replace a folder with a symbolic link at any time, and the link can lead to anything
that the runner can read, its credentials included. So such a folder is opened once, and everything
in it is accessed relative to the open descriptor, without following links and without leaving the
folder. A link itself can be read and stored, and is never followed. No operation here blocks on the
other end of a pipe.

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
    """An open folder. Paths are relative to it."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    @classmethod
    def at(cls, path: Path, make: bool = False) -> "Folder":
        """Open a folder whose path no agent can change, such as a mount point."""
        if make:
            path.mkdir(parents=True, exist_ok=True)
        return cls(os.open(path, _FOLDER))

    def __enter__(self) -> "Folder":
        """Return the folder, which is open during the block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        """Close the folder."""
        os.close(self.descriptor)

    def folder(self, path: str = "", make: bool = False) -> "Folder":
        """Open a folder below this one; with ``make``, create the missing folders of the path."""
        parts = _parts(path) if path else []
        if make:
            return Folder(self._make(parts))
        return Folder(self._open(parts, _FOLDER) if parts else os.dup(self.descriptor))

    def names(self) -> list[str]:
        """List the names of the folder's entries, sorted."""
        return sorted(os.listdir(self.descriptor))  # noqa: PTH208 - by descriptor

    def status(self, path: str) -> os.stat_result:
        """Return the status of the entry; of a link, the status of the link itself."""
        with self._parent(path) as (parent, name):
            return os.stat(name, dir_fd=parent, follow_symlinks=False)

    def link(self, path: str) -> str:
        """Return the target of a link."""
        with self._parent(path) as (parent, name):
            return os.readlink(name, dir_fd=parent)

    def read(self, path: str) -> BinaryIO:
        """Open a regular file for reading. Raises OSError (EINVAL) for anything else."""
        descriptor = self._open(_parts(path), _FILE)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(errno.EINVAL, "No file", path)
        return open(descriptor, "rb")  # noqa: PTH123

    def create(self, path: str, mode: int = 0o600) -> BinaryIO:
        """Create a file for writing. Raises FileExistsError if the path exists."""
        with self._parent(path) as (parent, name):
            return open(os.open(name, _NEW_FILE, mode, dir_fd=parent), "wb")  # noqa: PTH123

    def replace(self, path: str, content: bytes) -> None:
        """Replace the entry at ``path``, of any kind, with a file; create the folders above it."""
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
        """Rename an entry of this folder, within the folder."""
        at = self.descriptor
        os.rename(_name(old), _name(new), src_dir_fd=at, dst_dir_fd=at)

    def remove(self, path: str) -> None:
        """Remove a file or a link, if it exists."""
        with suppress(FileNotFoundError), self._parent(path) as (parent, name):
            os.unlink(name, dir_fd=parent)

    def make_folder(self, path: str) -> None:
        """Create a folder. Raises FileExistsError if the path exists."""
        with self._parent(path) as (parent, name):
            os.mkdir(name, 0o777, dir_fd=parent)

    def make_link(self, path: str, leads_to: str) -> None:
        """Create a symbolic link. Raises FileExistsError if the path exists."""
        with self._parent(path) as (parent, name):
            os.symlink(leads_to, name, dir_fd=parent)

    def entries(self, path: str) -> Iterator["Entry"]:
        """Iterate over the folder's entries; ``path`` is the path of the folder itself."""
        for name in self.names():
            with suppress(FileNotFoundError):
                yield self._entry(path, name)

    def walk(self, path: str, failed: Callable[[str, OSError], None]) -> Iterator["Entry"]:
        """Iterate over ``path`` and everything below it; a folder comes before its entries."""
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
        Follow links within the folder, as far as the path exists, and return the parts of the path.

        For paths that only an agent uses: the agent may change the target at any time.
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
    """An entry of a folder, with its status at the time of reading."""

    folder: Folder
    """Open until the iteration continues."""
    name: str
    path: str
    status: os.stat_result

    @property
    def is_folder(self) -> bool:
        """Whether the entry was a folder."""
        return stat.S_ISDIR(self.status.st_mode)


def copy(source: Folder, target: Folder) -> None:
    """Copy all folders and files, with the files' modes, into a folder without these files."""

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
    """Copy a file's content in the kernel, up to its current size; return the bytes copied."""
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
