"""Checks that hold for every journal."""

from typing import Any

from tests.events import check_order


def check_journal(events: list[dict[str, Any]], status: str) -> None:
    """Assert that a finished run's events have no gap or duplicate, and end with the seal."""
    check_order(events)
    last = events[-1]
    assert (last["type"], last["data"]["status"]) == ("status_changed", status)
    sealed = [
        event
        for event in events
        if event["type"] == "status_changed"
        and event["data"].get("status") in ("completed", "failed", "cancelled", "rejected")
    ]
    assert sealed == [last]
