"""
Blobs in a bucket, of S3 or whatever speaks its protocol.

Where it is and who asks is said by the environment, as for every AWS client: AWS_REGION,
AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a web identity
(AWS_WEB_IDENTITY_TOKEN_FILE and AWS_ROLE_ARN), or the node's or the pod's own role.

A blob that is there is never replaced. ``If-None-Match: *`` sees to that where several put at
once; AWS, MinIO and most others honour it, and for one that refuses the header there is
AWS_CONDITIONAL_PUT=disabled. Since somebody may ignore it, the key is looked at first.
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
            # A runner tries again for as long as it lives; a caller must hear of trouble soon.
            retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=15)},
            client_options={
                "allow_http": endpoint.startswith("http://"),
                "connect_timeout": timedelta(seconds=5),
                "timeout": timedelta(seconds=60),
            },
        )

    async def create(self, key: str, body: bytes, media_type: str) -> bool:
        """See ``Place``. A bucket has acknowledged what it has stored for good."""
        has_it, is_folder, *through = await asyncio.gather(
            self._has(key), self._is_folder(key), *(self._has(name) for name in above(key))
        )
        if is_folder or any(through):
            raise ConflictError(f"{key} would be a folder and a blob at once.")
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
    """Open the bucket of ``s3://BUCKET/PREFIX``. It is first asked when a blob is."""
    parts = urlsplit(url)
    if parts.query or parts.fragment or not _BUCKET.fullmatch(parts.netloc):
        # Whatever else is in it may be a credential.
        raise ValueError(
            "the URL names no bucket: use s3://BUCKET/PREFIX, and say the rest in AWS_ENDPOINT_URL,"
            " AWS_REGION, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    return Bucket(parts.netloc, unquote(parts.path).strip("/"), url)
