"""Messages: what people and agents say to an agent, in parts."""

import json
from typing import Annotated, Literal

from pydantic import Field

from agentrun.api.base import Json, Line, Model, Text


class MessagePart(Model):
    """One part of a message: text, structured data, or a file."""

    # One flat model rather than a tagged union: a Kubernetes structural schema has no
    # discriminators, and the front door and kubectl must accept the same thing.
    type: Literal["text", "data", "file"]
    """What the part is: `text`, `data` or `file`."""
    text: Annotated[str, Field(min_length=1, max_length=131_072)] | None = None
    """The text of a text part."""
    data: Json | None = None
    """The object of a data part."""
    uri: Line | None = None
    """Where a file part's bytes are."""
    bytes_base64: Text | None = Field(default=None, alias="bytes_base64")
    """A file part's bytes, base64."""
    mime_type: Line | None = Field(default=None, alias="mime_type")
    """A file part's media type."""
    name: Line | None = None
    """A file part's name."""


class AgentMessage(Model):
    """A message with at least one part."""

    role: Literal["user", "agent", "system"] = "user"
    """Who speaks."""
    parts: Annotated[list[MessagePart], Field(min_length=1, max_length=32)]
    """What is said, in order."""
    metadata: Json | None = None
    """Kept with the message, not interpreted."""


def render_text(message: AgentMessage) -> str:
    """Render ``message`` as the text an agent's prompt needs: parts joined by a blank line."""
    return "\n\n".join(_render_part(part) for part in message.parts).strip()


def _render_part(part: MessagePart) -> str:
    if part.type == "text":
        return part.text or ""
    if part.type == "data":
        return json.dumps(part.data or {}, indent=2, ensure_ascii=False)
    if part.uri:
        return f"Attached file: {part.name or part.uri}"
    return f"Attached file bytes: {part.name}" if part.name else "Attached file bytes"
