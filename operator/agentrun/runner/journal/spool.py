"""
Storage of events on disk until the gateway has acknowledged them.

Append-only segments; a segment is deleted when all its events are acknowledged. Only the events
that are being sent are in memory, so while the gateway is unavailable only disk space is used.
"""

import json
from collections import deque
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import Any

SEGMENT_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True)
class StoredBlob:
    """A blob in the spool."""

    name: str
    path: Path
    media_type: str
    size: int


@dataclass(frozen=True)
class SpooledEvent:
    """An event without its seq, which is assigned when it is sent, and the blobs it refers to."""

    body: bytes
    blobs: tuple[StoredBlob, ...]


@dataclass
class _Segment:
    path: Path
    written: int = 0
    read: int = 0


@dataclass
class Spool:
    """A queue of events in ``folder``, which is emptied first: a container never restarts."""

    folder: Path
    segment_bytes: int = SEGMENT_BYTES
    pending: int = 0
    """The number of events that are not acknowledged."""
    size: int = 0
    """The size of these events and their blobs, in bytes."""
    _segments: deque[_Segment] = field(default_factory=deque)
    _made: int = 0

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for left in self.folder.iterdir():
            left.unlink()

    def new_file(self) -> Path:
        """Return a path in the spool that does not exist yet."""
        self._made += 1
        return self.folder / f"{self._made:08d}"

    def append(self, event: dict[str, Any], blobs: tuple[StoredBlob, ...] = ()) -> None:
        """Append an event."""
        refs = [[blob.name, blob.path.name, blob.media_type, blob.size] for blob in blobs]
        line = b"%s\t%s\n" % (encode(refs), encode(event))
        segment = self._segments[-1] if self._segments else None
        if segment is None or segment.written >= self.segment_bytes:
            segment = _Segment(self.new_file())
            segment.path.touch()
            self._segments.append(segment)
        with segment.path.open("ab", buffering=0) as file:
            try:
                _write(file, line)
            except OSError:
                # Half a line would become the beginning of the next.
                file.truncate(segment.written)
                raise
        segment.written += len(line)
        self.pending += 1
        self.size += len(line) + sum(blob.size for blob in blobs)

    def peek(self, max_events: int, max_bytes: int) -> list[SpooledEvent]:
        """Return the first events of the queue, at least one if there is any."""
        batch: list[SpooledEvent] = []
        taken = 0
        if not self._segments:
            return batch
        segment = self._segments[0]
        with segment.path.open("rb") as file:
            file.seek(segment.read)
            while len(batch) < max_events and (line := file.readline()):
                taken += len(line)
                if batch and taken > max_bytes:
                    break
                batch.append(self._parse(line))
        return batch

    def drop(self, count: int) -> None:
        """Delete the first ``count`` events, which are acknowledged, and their blobs."""
        segment = self._segments[0]
        with segment.path.open("rb") as file:
            file.seek(segment.read)
            for _ in range(count):
                line = file.readline()
                segment.read += len(line)
                blobs = self._parse(line).blobs
                self.pending -= 1
                self.size -= len(line) + sum(blob.size for blob in blobs)
                for blob in blobs:
                    blob.path.unlink(missing_ok=True)
        if segment.read >= segment.written:
            segment.path.unlink()
            self._segments.popleft()

    def _parse(self, line: bytes) -> SpooledEvent:
        refs, _, body = line.rstrip(b"\n").partition(b"\t")
        blobs = (
            StoredBlob(name, self.folder / file, media_type, size)
            for name, file, media_type, size in json.loads(refs)
        )
        return SpooledEvent(body, tuple(blobs))


def _write(file: FileIO, line: bytes) -> None:
    rest = memoryview(line)
    while rest:
        rest = rest[file.write(rest) or 0 :]


def encode(value: Any) -> bytes:
    """Return compact JSON, in one line."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
