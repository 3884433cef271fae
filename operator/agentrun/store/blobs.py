"""Blobs in a folder or a bucket, by obstore."""

import hashlib
from collections.abc import AsyncIterator
from typing import Protocol
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import ObjectStore

from agentrun.store.base import ConflictError
from agentrun.store.blob_errors import translated
from agentrun.store.bucket import open_bucket
from agentrun.store.folder import open_folder
from agentrun.store.keys import above, check

_CHUNK = 256 * 1024


class Place(Protocol):
    """The location of blobs."""

    @property
    def name(self) -> str:
        """The name for messages. It never contains a credential."""

    @property
    def objects(self) -> ObjectStore:
        """The object store that reads and lists."""

    async def create(self, key: str, body: bytes, media_type: str) -> bool:
        """Store a blob durably; return False if the key exists."""


def open_blobs(url: str) -> "ObjectBlobStore":
    """
    Open the blobs at ``file:///FOLDER`` or ``s3://BUCKET/PREFIX``. Raises ValueError for others.
    """
    place: Place = open_bucket(url) if urlsplit(url).scheme == "s3" else open_folder(url)
    return ObjectBlobStore(place)


class ObjectBlobStore:
    """A BlobStore in a folder or a bucket."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._objects = place.objects

    async def put(self, key: str, body: bytes, media_type: str) -> str:
        """See ``BlobStore``. A folder does not store the media type."""
        check(key)
        digest = hashlib.sha256(body).hexdigest()
        with translated(self._place.name):
            try:
                is_new = await self._place.create(key, body, media_type)
            except (BaseError, OSError) as error:
                if await self._is_folder_and_blob(key):
                    raise _folder_and_blob(key) from error
                raise
            if not is_new:
                await self._compare(key, digest)
        return digest

    async def size(self, key: str) -> int | None:
        """See ``BlobStore``."""
        with translated(self._place.name):
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
        with translated(self._place.name):
            options: obstore.GetOptions = {"range": (offset, end)}
            found = await obstore.get_async(self._objects, key, options=options)
            async for chunk in found.stream(min_chunk_size=_CHUNK):
                yield bytes(chunk)

    async def keys(self) -> list[str]:
        """List the keys of all blobs."""
        with translated(self._place.name):
            pages = [page async for page in obstore.list(self._objects)]
        found = (str(blob["path"]) for page in pages for blob in page)
        return sorted(key for key in found if not key.startswith("."))

    async def delete_prefix(self, prefix: str) -> None:
        """See ``BlobStore``."""
        # Object stores match whole path segments.
        folder = prefix.rpartition("/")[0]
        with translated(self._place.name):
            async for page in obstore.list(self._objects, prefix=folder or None):
                doomed = [found["path"] for found in page if found["path"].startswith(prefix)]
                for key in doomed:
                    await self._delete(key)

    async def _delete(self, key: str) -> None:
        try:
            await obstore.delete_async(self._objects, key)
        except FileNotFoundError:
            return

    async def _compare(self, key: str, digest: str) -> None:
        """Raise ConflictError unless the stored blob has the given digest."""
        if await self.size(key) is None:
            raise _folder_and_blob(key)
        if await self._digest(key) != digest:
            raise ConflictError(f"Other bytes are stored as {key}.")

    async def _digest(self, key: str) -> str:
        digest = hashlib.sha256()
        found = await obstore.get_async(self._objects, key)
        async for chunk in found.stream(min_chunk_size=_CHUNK):
            digest.update(chunk)
        return digest.hexdigest()

    async def _is_folder_and_blob(self, key: str) -> bool:
        """Whether the key goes through a blob, or others go through it."""
        for name in above(key):
            if await self.size(name) is not None:
                return True
        return bool(await obstore.list(self._objects, prefix=key, chunk_size=1).collect_async())


def _folder_and_blob(key: str) -> ConflictError:
    return ConflictError(f"{key} would be both a folder and a blob.")
