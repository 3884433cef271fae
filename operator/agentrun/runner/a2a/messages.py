"""Messages to a remote agent, as the SDK's JSON, and the text of those it sends. Pure."""

from itertools import groupby
from typing import Any

from agentrun.api.gateway import Task
from agentrun.api.messages import AgentMessage, MessagePart, render_data, render_file

Raw = dict[str, Any]

DATA_BOUND = 64 * 1024
"""The limit for data and files, in characters: data as text can be much larger."""


def text_parts(text: str) -> list[Raw]:
    """Build a text part."""
    return [{"text": text}]


def parts_of(message: AgentMessage) -> list[Raw]:
    """Convert the parts of a message."""
    return [_part(part) for part in message.parts]


def build_message(
    name: str,
    parts: list[Raw],
    task: Task,
    context: str | None,
    remote_task: str | None,
    metadata: Raw | None = None,
) -> Raw:
    """Build a message with its sender's metadata, for a context and a task of it."""
    own = {"run_id": task.run_id, "session_id": task.session_id, "agent_name": task.agent_name}
    message = {
        "messageId": name, "role": "ROLE_USER", "parts": parts,
        "metadata": {**(metadata or {}), "agentrun": own},
        "contextId": context, "taskId": remote_task,
    }  # fmt: skip
    return {key: value for key, value in message.items() if value}


def _part(part: MessagePart) -> Raw:
    if part.type == "text":
        return {"text": part.text or ""}
    if part.type == "data":
        return {"data": part.data or {}}
    content = {"raw": part.bytes_base64} if part.bytes_base64 else {"url": part.uri or ""}
    more = {"mediaType": part.mime_type, "filename": part.name}
    return {**content, **{key: value for key, value in more.items() if value}}


def text_of(parts: list[Raw]) -> str:
    """Join the text parts unchanged."""
    return "".join(part["text"] for part in parts if "text" in part)


def render(parts: list[Raw]) -> str:
    """Render texts unchanged, data as JSON, and files by their names, never by their bytes."""
    room, said = DATA_BOUND, list[str]()
    for is_text, group in groupby(parts, lambda part: "text" in part):
        if is_text:
            said.append(text_of(list(group)))
            continue
        for part in group:
            if room > 0:
                said.append(_render(part, room))
                room -= len(said[-1])
    return "\n\n".join(text for text in said if text)


def render_made(parts: list[Raw]) -> str:
    """Render an artifact: its text parts, or all parts if there is no text."""
    return text_of(parts) or render(parts)


def _render(part: Raw, room: int) -> str:
    if "data" in part:
        return render_data(part["data"], room)
    if "url" in part or "raw" in part:
        url = part.get("url", "")
        # A data URL contains the bytes themselves.
        where = None if url.startswith("data:") else url
        return render_file(where, part.get("filename"))[:room]
    return ""
