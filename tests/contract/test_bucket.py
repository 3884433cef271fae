"""What only a bucket can suffer: a server that is away, refuses, or ignores what it is asked."""

import asyncio
import socket
from urllib.request import Request, urlopen

import obstore
import pytest
from obstore.store import S3Store

from agentrun.store.base import ConflictError, StoreUnavailableError
from agentrun.store.blobs import open_blobs
from tests.contract.test_blobs import read


async def test_blobs_are_stored_below_the_prefix_with_their_media_type(
    bucket: str, s3: str
) -> None:
    await open_blobs(bucket).put("runs/u/a.txt", b"one", "text/x-diff")
    name, _, prefix = bucket.removeprefix("s3://").partition("/")
    everything = S3Store(name, client_options={"allow_http": True})
    found = await obstore.get_async(everything, f"{prefix}/runs/u/a.txt")
    assert bytes(await found.bytes_async()) == b"one"
    assert found.attributes["Content-Type"] == "text/x-diff"


@pytest.mark.parametrize("conditional", ["etag", "disabled"])
async def test_one_of_many_concurrent_puts_of_different_bytes_wins(
    bucket: str, monkeypatch: pytest.MonkeyPatch, conditional: str
) -> None:
    monkeypatch.setenv("AWS_CONDITIONAL_PUT", conditional)
    blobs = open_blobs(bucket)
    await blobs.put("runs/u/before", b"first", "text/plain")
    results = await asyncio.gather(
        *(blobs.put("runs/u/before", b"%d" % writer, "text/plain") for writer in range(5)),
        return_exceptions=True,
    )
    assert all(isinstance(result, ConflictError) for result in results)
    assert await read(blobs, "runs/u/before") == b"first"
    if conditional == "etag":
        results = await asyncio.gather(
            *(blobs.put("runs/u/race", b"%d" % writer, "text/plain") for writer in range(5)),
            return_exceptions=True,
        )
        assert sum(isinstance(result, str) for result in results) == 1
        assert sum(isinstance(result, ConflictError) for result in results) == 4


async def test_a_stopped_server_is_unavailable(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{taken.getsockname()[1]}")
        blobs = open_blobs(bucket)
        async with asyncio.timeout(60):
            with pytest.raises(StoreUnavailableError, match=bucket) as error:
                await blobs.put("runs/u/a", b"one", "text/plain")
            with pytest.raises(StoreUnavailableError):
                await blobs.size("runs/u/a")
    assert "s3cret-access-key" not in str(error.value)


async def test_a_missing_bucket_is_unavailable_until_it_is_created(bucket: str, s3: str) -> None:
    blobs = open_blobs("s3://not-there")
    with pytest.raises(StoreUnavailableError, match="bucket does not exist"):
        await blobs.put("runs/u/a", b"one", "text/plain")
    (await asyncio.to_thread(urlopen, Request(f"{s3}/not-there", method="PUT"))).close()
    await blobs.put("runs/u/a", b"one", "text/plain")
    assert await read(blobs, "runs/u/a") == b"one"


@pytest.mark.parametrize(
    "url",
    ["s3://", "s3:///prefix", "s3://UPPER", "s3://key:s3cret@bucket", "s3://bucket?secret=s3cret"],
)
async def test_a_url_that_names_no_bucket_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ValueError, match="s3://BUCKET/PREFIX") as error:
        open_blobs(url)
    assert "s3cret" not in str(error.value)
