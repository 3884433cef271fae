"""Events wait on disk, in order, and take no more of it than they must."""

from errno import ENOSPC
from io import FileIO
from pathlib import Path
from typing import Any

import pytest

from agentrun.runner.journal.spool import Spool, StoredBlob


def bodies(spool: Spool, count: int = 100, size: int = 10**6) -> list[Any]:
    return [event.body for event in spool.peek(count, size)]


def test_events_are_read_back_unchanged(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    for number in range(5):
        spool.append({"n": number, "text": "a\tb\nc"})
    assert [body[:6] for body in bodies(spool, 2)] == [b'{"n":0', b'{"n":1']
    spool.drop(2)
    assert [body[:6] for body in bodies(spool)] == [b'{"n":2', b'{"n":3', b'{"n":4']
    assert spool.pending == 3


def test_batch_size_is_limited_but_never_zero(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    for _ in range(3):
        spool.append({"text": "x" * 100})
    assert len(bodies(spool, size=250)) == 2
    assert len(bodies(spool, size=1)) == 1


def test_segments_are_deleted_when_they_are_acknowledged(tmp_path: Path) -> None:
    spool = Spool(tmp_path, segment_bytes=50)
    for number in range(10):
        spool.append({"n": number, "text": "x" * 30})
    while batch := bodies(spool, 3):
        spool.drop(len(batch))
    assert (spool.pending, spool.size) == (0, 0)
    assert list(tmp_path.iterdir()) == []


def test_blobs_are_stored_and_deleted_with_their_event(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    path = spool.new_file()
    path.write_text("whole")
    spool.append({"n": 1}, (StoredBlob("artifacts/a", path, "text/plain", 5),))
    [event] = spool.peek(1, 100)
    assert (event.blobs[0].name, event.blobs[0].path.read_text()) == ("artifacts/a", "whole")
    spool.drop(1)
    assert not path.exists()
    assert spool.size == 0


def test_files_of_an_earlier_process_are_removed(tmp_path: Path) -> None:
    (tmp_path / "00000001").write_text("torn")
    assert bodies(Spool(tmp_path)) == []
    assert list(tmp_path.iterdir()) == []


def test_event_that_does_not_fit_on_the_disk_leaves_no_partial_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path)
    spool.append({"n": 1})

    def fail_halfway(file: FileIO, line: bytes) -> None:
        file.write(line[: len(line) // 2])
        raise OSError(ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("agentrun.runner.journal.spool._write", fail_halfway)
        with pytest.raises(OSError, match="No space"):
            spool.append({"n": 2})
    spool.append({"n": 3})
    assert bodies(spool) == [b'{"n":1}', b'{"n":3}']
    spool.drop(2)
    assert (spool.pending, spool.size) == (0, 0)
