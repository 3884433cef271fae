"""What must hold of every journal."""

from typing import Any


def check_journal(events: list[dict[str, Any]], status: str) -> None:
    """A finished run's events are in order, without gap or double, and end with the seal."""
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    last = events[-1]
    assert (last["type"], last["data"]["status"]) == ("status_changed", status)
    sealed = [
        event
        for event in events
        if event["type"] == "status_changed"
        and event["data"].get("status") in ("completed", "failed", "cancelled", "rejected")
    ]
    assert sealed == [last]
    for kind in ("command", "tool"):
        started = _ids(events, f"{kind}_started")
        finished = _ids(events, f"{kind}_finished")
        assert len(started) == len(set(started))
        assert len(finished) == len(set(finished))
        assert set(finished) <= set(started)


def _ids(events: list[dict[str, Any]], kind: str) -> list[str]:
    return [event["data"].get("tool_use_id") for event in events if event["type"] == kind]
