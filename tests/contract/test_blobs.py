import errno
import hashlib
import os
from pathlib import Path

import pytest

from agentrun.store.base import BlobStore, ConflictError, StoreUnavailableError
from agentrun.store.blobs import open_blobs

BODY = bytes(range(256)) * 4096


async def read(blobs: BlobStore, key: str, offset: int = 0, limit: int | None = None) -> bytes:
    return b"".join([chunk async for chunk in blobs.read(key, offset, limit)])


async def keys(blobs: BlobStore, *candidates: str) -> list[str]:
    return [key for key in candidates if await blobs.size(key) is not None]


@pytest.mark.parametrize("body", [b"", b"x", BODY], ids=["empty", "byte", "megabyte"])
async def test_a_blob_is_read_back_unchanged(blobs: BlobStore, body: bytes) -> None:
    digest = await blobs.put("runs/u/a/b.txt", body, "text/plain")
    assert digest == hashlib.sha256(body).hexdigest()
    assert await blobs.size("runs/u/a/b.txt") == len(body)
    assert await read(blobs, "runs/u/a/b.txt") == body


@pytest.mark.parametrize(
    ("offset", "limit"),
    [
        pytest.param(5, None, id="from-offset"),
        pytest.param(0, 7, id="limit"),
        pytest.param(300_000, 500_000, id="middle"),
        pytest.param(len(BODY) - 3, 100, id="beyond-the-end"),
        pytest.param(len(BODY), 1, id="at-the-end"),
        pytest.param(len(BODY) + 10, None, id="after-the-end"),
        pytest.param(3, 0, id="nothing"),
    ],
)
async def test_a_range_of_a_blob_is_read(blobs: BlobStore, offset: int, limit: int | None) -> None:
    await blobs.put("k", BODY, "application/octet-stream")
    end = None if limit is None else offset + limit
    assert await read(blobs, "k", offset, limit) == BODY[offset:end]


async def test_putting_the_same_bytes_again_is_harmless_and_other_bytes_conflict(
    blobs: BlobStore,
) -> None:
    first = await blobs.put("runs/u/k", b"one", "text/plain")
    assert await blobs.put("runs/u/k", b"one", "text/plain") == first
    with pytest.raises(ConflictError):
        await blobs.put("runs/u/k", b"two", "text/plain")
    assert await read(blobs, "runs/u/k") == b"one"


@pytest.mark.parametrize("key", ["runs/u/file/below", "runs/u"], ids=["below-a-blob", "above-one"])
async def test_a_key_is_never_both_a_folder_and_a_blob(blobs: BlobStore, key: str) -> None:
    await blobs.put("runs/u/file", b"one", "text/plain")
    with pytest.raises(ConflictError):
        await blobs.put(key, b"two", "text/plain")
    assert await read(blobs, "runs/u/file") == b"one"


async def test_a_missing_blob_is_absent(blobs: BlobStore) -> None:
    await blobs.put("runs/u/a", b"one", "text/plain")
    assert await blobs.size("runs/u/b") is None
    assert await blobs.size("runs/u") is None
    with pytest.raises(KeyError):
        await read(blobs, "runs/u/b")


async def test_deleting_a_prefix_deletes_the_blobs_below_it_only(blobs: BlobStore) -> None:
    names = ["runs/u1/a", "runs/u1/b/c", "runs/u12/a", "runs/u2/a"]
    for name in names:
        await blobs.put(name, b"x", "text/plain")
    await blobs.delete_prefix("runs/u1/")
    assert await keys(blobs, *names) == ["runs/u12/a", "runs/u2/a"]
    await blobs.delete_prefix("runs/u1")
    assert await keys(blobs, *names) == ["runs/u2/a"]
    await blobs.delete_prefix("runs/nothing/")


async def test_blobs_survive_the_process_that_put_them(tmp_path: Path) -> None:
    await open_blobs(f"file://{tmp_path}/with%20space").put("runs/u/a", b"one", "text/plain")
    assert (tmp_path / "with space" / "runs" / "u" / "a").read_bytes() == b"one"
    assert await read(open_blobs(f"file://{tmp_path}/with%20space"), "runs/u/a") == b"one"


async def test_an_unwritable_folder_is_unavailable_until_it_is_writable(tmp_path: Path) -> None:
    blobs = open_blobs(f"file://{tmp_path}/blobs")
    (tmp_path / "blobs").rmdir()
    (tmp_path / "blobs").write_text("in the way")
    with pytest.raises(StoreUnavailableError) as error:
        await blobs.put("runs/u/a", b"one", "text/plain")
    assert error.value.__cause__ is not None
    (tmp_path / "blobs").unlink()
    await blobs.put("runs/u/a", b"one", "text/plain")
    assert await read(blobs, "runs/u/a") == b"one"


@pytest.mark.parametrize("url", ["", "/data", "file:", "file://host/data", "gs://bucket"])
async def test_a_url_that_names_no_folder_is_an_error(url: str) -> None:
    with pytest.raises(ValueError, match="file:///data/blobs"):
        open_blobs(url)


async def test_a_blob_is_synced_before_its_rename_and_its_folders_before_put_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = list[str]()
    fsync, link = os.fsync, os.link

    def record_fsync(number: int) -> None:
        done.append(str(Path(f"/proc/self/fd/{number}").readlink().relative_to(tmp_path)))
        fsync(number)

    def record_link(source: Path, target: Path) -> None:
        done.append(f"link {target.relative_to(tmp_path)}")
        link(source, target)

    blobs = open_blobs(f"file://{tmp_path}/blobs")
    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(os, "link", record_link)
    folders = ["blobs/runs/u", "blobs/runs", "blobs"]
    # The second time too: whoever put it first may have died before it said so.
    for _ in range(2):
        await blobs.put("runs/u/a", b"one", "text/plain")
        assert done[0].startswith("blobs/.incoming/")
        assert done[1:] == ["link blobs/runs/u/a", *folders]
        done.clear()


async def test_a_failing_disk_leaves_no_partial_blob(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    blobs = open_blobs(f"file://{tmp_path}/blobs")
    with monkeypatch.context() as full:
        full.setattr(os, "fsync", fail)
        with pytest.raises(StoreUnavailableError, match="No space left"):
            await blobs.put("runs/u/a", b"one", "text/plain")
    assert await blobs.size("runs/u/a") is None
    assert list((tmp_path / "blobs" / ".incoming").iterdir()) == []
    await blobs.put("runs/u/a", b"two", "text/plain")
    assert await read(blobs, "runs/u/a") == b"two"


async def test_partial_writes_of_a_killed_process_are_discarded(tmp_path: Path) -> None:
    incoming = tmp_path / "blobs" / ".incoming"
    incoming.mkdir(parents=True)
    for part in ("new", "old"):
        (incoming / part).write_bytes(b"on")
    os.utime(incoming / "old", (0, 0))
    open_blobs(f"file://{tmp_path}/blobs")
    assert [part.name for part in incoming.iterdir()] == ["new"], "somebody may be writing it"


@pytest.mark.parametrize("key", ["", "/a", "a/", "a//b", "../a", "a/../b", ".incoming/a", "a b"])
async def test_a_key_that_is_not_a_plain_path_is_refused(tmp_path: Path, key: str) -> None:
    with pytest.raises(ValueError, match="not a valid blob key"):
        await open_blobs(f"file://{tmp_path}/blobs").put(key, b"one", "text/plain")
