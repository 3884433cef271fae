"""What events of a journal say, as tests ask of it."""

from typing import Any

Json = dict[str, Any]


def data_of(events: list[Json], kind: str) -> list[Json]:
    """Return the data of all events of a kind."""
    return [event["data"] for event in events if event["type"] == kind]


def said(events: list[Json]) -> list[str]:
    """Return the texts of all messages of the agent, as a reader has got them."""
    return [data["text"] for data in data_of(events, "agent_message")]
