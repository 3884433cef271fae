"""
Blobs in a folder.

A runner deletes its copy once a blob is acknowledged, so the blob must be on disk by then, and so
must every folder above it. obstore does not wait for the disk; here a blob is written under a
temporary name, synced, and only then linked to its key: a file with a key is complete, also after a
power failure. Only one MCP server may use a folder; see ``bucket`` for several.
"""

import asyncio
import os
import tempfile
import time
from pathlib import Path
from urllib.parse import unquote, urlsplit

from obstore.store import LocalStore

from agentrun.store.blob_errors import translated

_INCOMING = ".incoming"
_FORGOTTEN_SECONDS = 3600


class FolderStore:
    """The folder of ``file:///FOLDER``."""

    def __init__(self, folder: Path, url: str) -> None:
        self.name = url
        self.objects = LocalStore(folder, mkdir=True)
        self._folder = folder

    async def create(self, key: str, body: bytes, media_type: str) -> bool:
        """See ``Place``."""
        return await asyncio.to_thread(self._create, self._folder / key, body)

    def discard_unfinished(self) -> None:
        """
        Delete unfinished files of processes that were killed more than _FORGOTTEN_SECONDS ago.
        """
        for part in self._incoming.glob("*"):
            if part.stat().st_mtime < time.time() - _FORGOTTEN_SECONDS:
                part.unlink(missing_ok=True)

    @property
    def _incoming(self) -> Path:
        return self._folder / _INCOMING

    def _create(self, path: Path, body: bytes) -> bool:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._incoming.mkdir(exist_ok=True)
        part = self._write(body)
        try:
            os.link(part, path)
            is_new = True
        except FileExistsError:
            is_new = False
        finally:
            part.unlink(missing_ok=True)
        # Also for an existing blob: its writer may have been killed before this.
        for folder in (path.parent, *path.parent.parents):
            sync_folder(folder)
            if folder == self._folder:
                break
        return is_new

    def _write(self, body: bytes) -> Path:
        """Write ``body`` to a temporary file, and sync it."""
        number, name = tempfile.mkstemp(dir=self._incoming)
        with open(number, "wb") as file:  # noqa: PTH123 - it is open already
            try:
                file.write(body)
                file.flush()
                os.fsync(file.fileno())
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise
        return Path(name)


def open_folder(url: str) -> FolderStore:
    """Open the folder of ``file:///FOLDER``, and create it if it is missing."""
    parts = urlsplit(url)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost") or len(parts.path) < 2:
        raise ValueError(
            "the URL is not a valid blob location: use file:///data/blobs or s3://BUCKET"
        )
    path = Path(unquote(parts.path))
    with translated(url):
        folder = FolderStore(path, url)
        folder.discard_unfinished()
    return folder


def sync_folder(folder: Path) -> None:
    """Sync the directory entries in ``folder`` to disk."""
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
