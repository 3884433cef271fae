"""
Packing of files into an archive in parts, on disk.

The files belong to the agent and are untrusted: they are reached from open folders, no link is
followed, and only regular files, folders and links are packed. Memory use does not depend on their
size.
"""

import gzip
import hashlib
import io
import os
import stat
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from agentrun.runner.folders import Entry, Folder

MOST_TIMES = 20
"""
The maximum ratio of the files' size to the archive's size.

A sparse file of a terabyte compresses to little, but takes long to read, and fills the disk where
it is unpacked.
"""


class UnpackableFileError(Exception):
    """The archive cannot be written."""


class SnapshotTooLargeError(Exception):
    """The archive would exceed its maximum size."""


@dataclass(frozen=True)
class Source:
    """A set of files to pack."""

    name: str
    """Their folder in the archive."""
    root: Folder
    paths: Iterable[str]
    """The paths in ``root`` to pack, each with everything below it."""


@dataclass(frozen=True)
class Piece:
    """A part of the archive that has been written."""

    name: str
    size: int
    sha256: str


class PartWriter(io.RawIOBase):
    """A file in parts of a fixed size, each with its size and SHA-256 digest."""

    def __init__(self, folder: Path, limit: int, part_bytes: int) -> None:
        self._folder = folder
        self._limit = limit
        self._part_bytes = part_bytes
        self._file: BinaryIO | None = None
        self._digest = hashlib.sha256()
        self._size = 0
        self._total = 0
        self.parts: list[Piece] = []

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, data: bytes | memoryview) -> int:  # type: ignore[override]
        """Write all of ``data``. Raises SnapshotTooLargeError if the total exceeds the limit."""
        rest = memoryview(data)
        self._total += len(rest)
        if self._total > self._limit:
            raise SnapshotTooLargeError
        while rest:
            piece = rest[: self._part_bytes - self._size]
            self._append(piece)
            self._digest.update(piece)
            self._size += len(piece)
            rest = rest[len(piece) :]
            if self._size == self._part_bytes:
                self.finish()
        return len(data)

    def finish(self) -> None:
        """End the part that is being written."""
        if self._file is None:
            return
        self._file.close()
        name = Path(self._file.name).name
        self.parts.append(Piece(name=name, size=self._size, sha256=self._digest.hexdigest()))
        self._file, self._size, self._digest = None, 0, hashlib.sha256()

    def _append(self, piece: memoryview) -> None:
        # Not an OSError: those are of files that cannot be read, which are left out.
        try:
            self._open().write(piece)
        except OSError as error:
            raise UnpackableFileError(f"{self._folder}: {error}") from error

    def _open(self) -> BinaryIO:
        if self._file is None:
            name = f"part-{len(self.parts) + 1:04d}"
            self._file = (self._folder / name).open("wb")
        return self._file


@dataclass
class Packer:
    """Packs sources into parts in ``folder``."""

    folder: Path
    limit: int
    """The maximum total size of the parts in bytes."""
    part_bytes: int
    left_out: list[str] = field(default_factory=list)
    """The first 10 paths that could not be packed, with the reasons."""

    _read: int = 0

    def pack(self, sources: Iterable[Source]) -> list[Piece]:
        """Pack all sources. Raises SnapshotTooLargeError if they exceed the limit."""
        writer = PartWriter(self.folder, self.limit, self.part_bytes)
        try:
            self._write(writer, sources)
        finally:
            writer.finish()
        return writer.parts

    def _write(self, writer: PartWriter, sources: Iterable[Source]) -> None:
        with (
            gzip.GzipFile(fileobj=writer, mode="wb", compresslevel=1, mtime=0) as packed,
            tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as archive,
        ):
            for source in sources:
                for path in source.paths:
                    self._add(archive, source, path)

    def _add(self, archive: tarfile.TarFile, source: Source, path: str) -> None:
        for entry in source.root.walk(path, self._cannot):
            try:
                self._add_one(archive, source, entry)
            except OSError as error:
                self._cannot(entry.path, error)

    def _add_one(self, archive: tarfile.TarFile, source: Source, entry: Entry) -> None:
        info = tarfile.TarInfo(f"{source.name}/{entry.path}")
        mode = entry.status.st_mode
        info.mode = stat.S_IMODE(mode) & 0o777
        info.mtime = int(entry.status.st_mtime)
        if stat.S_ISLNK(mode):
            info.type, info.linkname = tarfile.SYMTYPE, entry.folder.link(entry.name)
            archive.addfile(info)
        elif stat.S_ISDIR(mode):
            info.type = tarfile.DIRTYPE
            archive.addfile(info)
        elif stat.S_ISREG(mode):
            self._add_file(archive, info, entry)
        else:
            self._leave_out(f"{entry.path}: no file, folder or link")
        # The library stores every member for a list that is not used.
        archive.members.clear()  # type: ignore[attr-defined]

    def _add_file(self, archive: tarfile.TarFile, info: tarfile.TarInfo, entry: Entry) -> None:
        with entry.folder.read(entry.name) as file:
            info.size = os.fstat(file.fileno()).st_size
            self._read += info.size
            if self._read > self.limit * MOST_TIMES:
                raise SnapshotTooLargeError
            archive.addfile(info, _Exactly(file, info.size))

    def _cannot(self, path: str, error: OSError) -> None:
        self._leave_out(f"{path}: {error.strerror or error}")

    def _leave_out(self, what: str) -> None:
        if len(self.left_out) < 10:
            self.left_out.append(what)


class _Exactly(io.RawIOBase):
    """A file read as exactly ``size`` bytes, even if it changes meanwhile."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._left = size

    def read(self, size: int = -1) -> bytes:
        """Read; bytes that were truncated meanwhile are zeros."""
        wanted = self._left if size < 0 else min(size, self._left)
        data = self._file.read(wanted)
        data += bytes(wanted - len(data))
        self._left -= wanted
        return data


def size_of(source: Source) -> int:
    """Return the total size of a source's regular files in bytes."""

    def failed(path: str, error: OSError) -> None:
        """Skip it: it is missing or unreadable, and so not packed either."""

    entries = (entry for path in source.paths for entry in source.root.walk(path, failed))
    return sum(one.status.st_size for one in entries if stat.S_ISREG(one.status.st_mode))
