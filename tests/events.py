"""What events of a journal say, as tests ask of it."""

from typing import Any

Json = dict[str, Any]


def data_of(events: list[Json], kind: str) -> list[Json]:
    """Return the data of all events of a kind."""
    return [event["data"] for event in events if event["type"] == kind]


def said(events: list[Json]) -> list[str]:
    """
    Return the texts of all messages of the agent, as a reader has got them.

    Where an agent pauses, a message is told as far as it is certain that no secret begins there:
    what follows at once by the same id is the rest of it (docs/events.md).
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
