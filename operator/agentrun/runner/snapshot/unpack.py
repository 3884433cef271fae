"""
Unpacking an archive of parts.

Nothing is written outside of the folders that it is meant for, nothing through a link, and
nothing that is no file, folder or link is made.
"""

import gzip
import io
import os
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO


class Unsafe(Exception):  # noqa: N818 - what it is, not that it is an error
    """The archive holds something that no snapshot of ours does."""


@dataclass(frozen=True)
class Target:
    """Where what the archive has under a name goes."""

    folder: Path
    outer_links: bool = False
    """Whether links may lead out of the folder: as files they do no harm."""


def unpack(parts: Sequence[Path], targets: Mapping[str, Target]) -> None:
    """Unpack; what has no target is passed over. Each part is removed once it was read."""
    links: list[tuple[Path, str]] = []
    modes: list[tuple[Path, int]] = []
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
                if target.outer_links or _stays_inside(path, info.linkname, target.folder):
                    links.append((path, info.linkname))
            elif info.isdir():
                path.mkdir(parents=True, exist_ok=True)
                modes.append((path, info.mode))
            elif info.isreg():
                _write(archive, info, path)
            else:
                raise Unsafe(f"{info.name} is no file, folder or link")
    # Last of all, so that nothing is written through them, nor into folders that forbid it.
    for path, leads_to in links:
        path.unlink(missing_ok=True)
        path.symlink_to(leads_to)
    for path, mode in reversed(modes):
        path.chmod(mode & 0o777 | 0o700)


def _place(name: str, targets: Mapping[str, Target]) -> tuple[Target, Path] | None:
    first, *rest = name.split("/")
    if first not in targets:
        return None
    if ".." in rest or "" in rest or name.startswith("/"):
        raise Unsafe(f"{name} is outside of its folder")
    target = targets[first]
    path = target.folder.joinpath(*rest)
    real = Path(os.path.realpath(target.folder)).joinpath(*rest[:-1])
    if rest and os.path.realpath(path.parent) != str(real):
        raise Unsafe(f"{name} is below a link")
    return target, path


def _stays_inside(path: Path, leads_to: str, folder: Path) -> bool:
    if leads_to.startswith("/"):
        return False
    end = os.path.normpath(path.parent / leads_to)
    return Path(end).is_relative_to(os.path.normpath(folder))


def _write(archive: tarfile.TarFile, info: tarfile.TarInfo, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    source = archive.extractfile(info)
    if source is None:
        raise Unsafe(f"{info.name} has no content")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(path, flags, 0o600), "wb") as file:  # noqa: PTH123
        while chunk := source.read(256 * 1024):
            file.write(chunk)
        os.fchmod(file.fileno(), info.mode & 0o777 | 0o400)
    os.utime(path, (info.mtime, info.mtime), follow_symlinks=False)


class _Joined(io.RawIOBase):
    """Files one after the other, each removed when it was read."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._files: Iterator[BinaryIO] = (path.open("rb") for path in paths)
        self._file: BinaryIO | None = None

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Read on, in the next file where one ends."""
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
