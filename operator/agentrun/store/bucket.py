"""
Blobs in a bucket, of S3 or of another service with its protocol.

Endpoint and credentials come from the environment, as for every AWS client: AWS_REGION,
AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a web identity
(AWS_WEB_IDENTITY_TOKEN_FILE and AWS_ROLE_ARN), or the node's or the pod's own role.

A stored blob is never replaced. ``If-None-Match: *`` ensures that for concurrent writers; AWS,
MinIO and most others support it, and for a service that rejects the header there is
AWS_CONDITIONAL_PUT=disabled. Since a service may ignore it, the key is read first.
"""

import asyncio
import os
import re
from datetime import timedelta
from typing import Literal
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError
from obstore.store import S3Store

from agentrun.store.base import ConflictError
from agentrun.store.keys import above

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")


class Bucket:
    """The bucket, and the prefix in it, of ``s3://BUCKET/PREFIX``."""

    def __init__(self, bucket: str, prefix: str, url: str) -> None:
        self.name = url
        endpoint = next(filter(None, map(os.environ.get, _ENDPOINTS)), "")
        self.objects = S3Store(
            bucket,
            prefix=prefix or None,
            # The runner retries for as long as it runs; the caller must receive errors soon.
            retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=15)},
            client_options={
                "allow_http": endpoint.startswith("http://"),
                "connect_timeout": timedelta(seconds=5),
                "timeout": timedelta(seconds=60),
            },
        )

    async def create(self, key: str, body: bytes, media_type: str) -> bool:
        """See ``Place``. A bucket acknowledges a blob only once it is durable."""
        has_it, is_folder, *through = await asyncio.gather(
            self._has(key), self._is_folder(key), *(self._has(name) for name in above(key))
        )
        if is_folder or any(through):
            raise ConflictError(f"{key} would be both a folder and a blob.")
        if has_it:
            return False
        try:
            await self._put(key, body, media_type, "create")
        except AlreadyExistsError:
            return False
        except NotImplementedError:
            await self._put(key, body, media_type, "overwrite")
        return True

    async def _put(
        self, key: str, body: bytes, media_type: str, mode: Literal["create", "overwrite"]
    ) -> None:
        await obstore.put_async(
            self.objects,
            key,
            body,
            mode=mode,
            use_multipart=False,
            attributes={"Content-Type": media_type},
        )

    async def _has(self, key: str) -> bool:
        try:
            await obstore.head_async(self.objects, key)
        except FileNotFoundError:
            return False
        return True

    async def _is_folder(self, key: str) -> bool:
        found = obstore.list(self.objects, prefix=key, chunk_size=1)
        return any([page async for page in found])


def open_bucket(url: str) -> Bucket:
    """Open the bucket of ``s3://BUCKET/PREFIX``. No request is sent before the first blob's."""
    parts = urlsplit(url)
    if parts.query or parts.fragment or not _BUCKET.fullmatch(parts.netloc):
        # The rest of the URL may be a credential.
        raise ValueError(
            "the URL does not name a bucket: use s3://BUCKET/PREFIX, and set the rest in"
            " AWS_ENDPOINT_URL, AWS_REGION, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    return Bucket(parts.netloc, unquote(parts.path).strip("/"), url)
