"""The messages of the scheduler and the kubelet on a pod, and the Events that carry them."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

Manifest = Mapping[str, Any]

# Phrases that the scheduler and the kubelet repeat or wrap their errors in.
_NOISE = re.compile(
    r"( no new claims to deallocate,?| preemption: .*$|(?<=VolumeClaims\.) not found"
    r"|rpc error: code = \w+ desc = |Back-off pulling image \"[^\"]*\": ErrImagePull: )"
)
_LONGEST = 1000
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


def shortened(message: str) -> str:
    """Shorten a message of Kubernetes to one line, without phrases that carry no information."""
    line = _NOISE.sub("", " ".join(message.split())).strip()
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"


def newest(events: Sequence[Manifest]) -> Manifest | None:
    """Return the newest Event; of two in the same second, the one that is not a warning."""

    def age(event: Manifest) -> tuple[datetime, bool]:
        return seen_at(event), event.get("type") != "Warning"

    return max(events, key=age, default=None)


def seen_at(event: Manifest) -> datetime:
    """Return the second in which an Event was last seen; an Event without a time is the oldest."""
    series = event.get("series") or {}
    at = series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime")
    return datetime.fromisoformat(at).replace(microsecond=0) if at else _LONG_AGO


def times_seen(event: Manifest) -> int:
    """Return how often an Event was seen."""
    series = event.get("series") or {}
    return int(series.get("count") or event.get("count") or 1)
