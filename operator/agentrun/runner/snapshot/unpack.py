"""
Unpacking of an archive in parts.

Nothing is written outside of the target folders, and nothing through a link, whenever it was made.
Only regular files, folders and links are created.
"""

import errno
import gzip
import io
import os
import posixpath
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from agentrun.runner.folders import Folder


class UnsafeArchiveError(Exception):
    """The archive contains an entry that AgentRun's snapshots never contain."""


@dataclass(frozen=True)
class Target:
    """The destination of one of the archive's folders."""

    folder: Folder
    outer_links: bool = False
    """Whether links may lead out of the folder: as files, they do no harm."""


def unpack(parts: Sequence[Path], targets: Mapping[str, Target]) -> None:
    """
    Unpack the archive; entries without a target are skipped.

    Each part is removed after it was read. Raises UnsafeArchiveError for an unsafe entry.
    """
    links: list[tuple[Folder, str, str]] = []
    modes: list[tuple[Folder, str, int]] = []
    with (
        io.BufferedReader(_Joined(parts)) as joined,
        gzip.GzipFile(fileobj=joined, mode="rb") as packed,
        tarfile.open(fileobj=packed, mode="r|") as archive,
    ):
        for info in archive:
            archive.members.clear()  # type: ignore[attr-defined]
            found = _place(info.name, targets)
            if found is None:
                continue
            target, path = found
            if info.issym():
                if target.outer_links or _stays_inside(path, info.linkname):
                    links.append((target.folder, path, info.linkname))
            elif info.isdir():
                with _below(target.folder, path):
                    modes.append((target.folder, path, info.mode))
            elif info.isreg():
                _write(archive, info, target.folder, path)
            else:
                raise UnsafeArchiveError(f"{info.name} is no file, folder or link")
    # Links and modes come last, so that nothing is written through the links, nor into folders
    # whose modes forbid it.
    for folder, path, leads_to in links:
        above, _, name = path.rpartition("/")
        with _below(folder, above) as parent:
            parent.remove(name)
            parent.make_link(name, leads_to)
    for folder, path, mode in reversed(modes):
        with _below(folder, path) as opened:
            os.fchmod(opened.descriptor, mode & 0o777 | 0o700)


def _place(name: str, targets: Mapping[str, Target]) -> tuple[Target, str] | None:
    first, *rest = name.split("/")
    if first not in targets:
        return None
    if ".." in rest or "." in rest or "" in rest or not rest:
        raise UnsafeArchiveError(f"{name} is outside of its folder")
    return targets[first], "/".join(rest)


def _stays_inside(path: str, leads_to: str) -> bool:
    if leads_to.startswith("/"):
        return False
    end = posixpath.normpath(posixpath.join(posixpath.dirname(path), leads_to))
    return end != ".." and not end.startswith("../")


@contextmanager
def _below(folder: Folder, path: str) -> Iterator[Folder]:
    """Open a folder, and create it if it is missing."""
    try:
        opened = folder.folder(path, make=True)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise UnsafeArchiveError(f"{path} is below a link, or no folder") from error
        raise
    with opened:
        yield opened


def _write(archive: tarfile.TarFile, info: tarfile.TarInfo, folder: Folder, path: str) -> None:
    source = archive.extractfile(info)
    if source is None:
        raise UnsafeArchiveError(f"{info.name} has no content")
    above, _, name = path.rpartition("/")
    with _below(folder, above) as parent:
        parent.remove(name)
        with parent.create(name) as file:
            while chunk := source.read(256 * 1024):
                file.write(chunk)
            file.flush()
            os.fchmod(file.fileno(), info.mode & 0o777 | 0o400)
            os.utime(file.fileno(), (info.mtime, info.mtime))


class _Joined(io.RawIOBase):
    """Concatenation of files, each removed after it was read."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._files: Iterator[BinaryIO] = (path.open("rb") for path in paths)
        self._file: BinaryIO | None = None

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Read; continue with the next file where one ends."""
        while True:
            if self._file is None:
                self._file = next(self._files, None)
                if self._file is None:
                    return 0
            data = self._file.read(len(buffer))
            if data:
                buffer[: len(data)] = data
                return len(data)
            self._file.close()
            Path(self._file.name).unlink()
            self._file = None
