"""Blobs in a folder, by way of obstore, so that a bucket is another URL."""

import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import LocalStore, ObjectStore

from agentrun.store.base import Conflict, Unavailable

_CHUNK = 256 * 1024


def open_blobs(url: str) -> "ObjectBlobStore":
    """Open the blobs at ``file:///FOLDER``; the folder is made when it is needed."""
    parts = urlsplit(url)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost") or len(parts.path) < 2:
        raise ValueError(f"{url} names no folder: use file:///data/blobs")
    folder = Path(unquote(parts.path))
    with _translated(str(folder)):
        return ObjectBlobStore(LocalStore(folder, mkdir=True), url)


class ObjectBlobStore:
    """A BlobStore on an object store."""

    def __init__(self, objects: ObjectStore, url: str) -> None:
        self._objects = objects
        self._url = url

    async def put(self, key: str, body: bytes, media_type: str) -> str:
        """See ``BlobStore``. A folder keeps no media type: it has no place for one."""
        digest = hashlib.sha256(body).hexdigest()
        with _translated(self._url):
            try:
                await obstore.put_async(
                    self._objects, key, body, mode="create", use_multipart=False
                )
            except (BaseError, OSError) as error:
                if await self._is_folder_and_blob(key):
                    raise Conflict(f"{key} would be a folder and a blob at once.") from error
                if not isinstance(error, AlreadyExistsError):
                    raise
                if await self._digest(key) != digest:
                    raise Conflict(f"Other bytes are stored as {key}.") from error
        return digest

    async def size(self, key: str) -> int | None:
        """See ``BlobStore``."""
        with _translated(self._url):
            try:
                return int((await obstore.head_async(self._objects, key))["size"])
            except FileNotFoundError:
                return None

    async def read(
        self, key: str, offset: int = 0, limit: int | None = None
    ) -> AsyncIterator[bytes]:
        """See ``BlobStore``."""
        total = await self.size(key)
        if total is None:
            raise KeyError(key)
        end = total if limit is None else min(total, offset + limit)
        if offset >= end:
            return
        with _translated(self._url):
            options: obstore.GetOptions = {"range": (offset, end)}
            found = await obstore.get_async(self._objects, key, options=options)
            async for chunk in found.stream(min_chunk_size=_CHUNK):
                yield bytes(chunk)

    async def delete_prefix(self, prefix: str) -> None:
        """See ``BlobStore``."""
        # Object stores match whole path segments.
        folder = prefix.rpartition("/")[0]
        with _translated(self._url):
            async for page in obstore.list(self._objects, prefix=folder or None):
                doomed = [found["path"] for found in page if found["path"].startswith(prefix)]
                for key in doomed:
                    await self._delete(key)

    async def _delete(self, key: str) -> None:
        try:
            await obstore.delete_async(self._objects, key)
        except FileNotFoundError:
            return

    async def _digest(self, key: str) -> str:
        digest = hashlib.sha256()
        found = await obstore.get_async(self._objects, key)
        async for chunk in found.stream(min_chunk_size=_CHUNK):
            digest.update(chunk)
        return digest.hexdigest()

    async def _is_folder_and_blob(self, key: str) -> bool:
        """Whether the key goes through a blob, or others go through it."""
        parts = key.split("/")
        above = ["/".join(parts[:end]) for end in range(1, len(parts))]
        for name in above:
            if await self.size(name) is not None:
                return True
        return bool(await obstore.list(self._objects, prefix=key, chunk_size=1).collect_async())


@contextmanager
def _translated(where: str) -> Iterator[None]:
    try:
        yield
    except (BaseError, OSError) as error:
        first = str(error).partition("\n")[0]
        raise Unavailable(f"The blobs at {where} cannot be used just now: {first}") from error
