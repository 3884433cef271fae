"""Queries and checks on the events of a journal."""

from typing import Any

Json = dict[str, Any]


def data_of(events: list[Json], kind: str) -> list[Json]:
    """Return the data of all events of a kind."""
    return [event["data"] for event in events if event["type"] == kind]


def check_order(events: list[Json]) -> None:
    """Assert that events are in order without gap or duplicate, and that each end has one start."""
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    for kind in ("command", "tool"):
        started = _ids(events, f"{kind}_started")
        finished = _ids(events, f"{kind}_finished")
        assert len(started) == len(set(started))
        assert len(finished) == len(set(finished))
        assert set(finished) <= set(started)


def _ids(events: list[Json], kind: str) -> list[str | None]:
    return [data.get("tool_use_id") for data in data_of(events, kind)]


def said(events: list[Json]) -> list[str]:
    """
    Return the texts of all messages of the agent, as a reader assembles them.

    If an agent pauses, the message is sent so far. The event that directly follows with the same id
    contains the rest (docs/events.md).
    """
    texts, before = list[str](), ("", "")
    for event in events:
        data, kind = event["data"], event["type"]
        now = kind, data.get("message_id", "")
        if kind == "agent_message" and now[1] and now == before:
            texts[-1] += data["text"]
        elif kind == "agent_message":
            texts.append(data["text"])
        before = now
    return texts
