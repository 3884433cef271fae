"""Messages of people and agents to an agent, in parts."""

import json
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from agentrun.api.base import Json, Line, Model, Text

# All that Python's str.strip() removes, in the syntax of Go's regular expressions.
_BLANK = r"\pZ\t-\r\x1c-\x1f\x{85}"
# The API server estimates the cost of a rule by the length of the expression: CEL unescapes all
# but the class of separators first.
_BLANK_IN_CEL = r"\\pZ\t-\r\x1c-\x1f\x85"
IN_CEL_NOT_BLANK = f"matches('[^{_BLANK_IN_CEL}]')"
"""In CEL, after a text and a dot: whether the text is more than white space."""
SAYS_NOTHING: dict[str, Any] = {
    "properties": {
        "parts": {
            "items": {
                "properties": {"type": {"enum": ["text"]}, "text": {"pattern": f"^[{_BLANK}]*$"}}
            }
        }
    }
}
"""The schema of messages that are white space alone, for fields where CEL would cost too much."""

_JSON = json.JSONEncoder(indent=2, ensure_ascii=False)


class MessagePart(Model):
    """One part of a message: text, structured data, or a file."""

    # One flat model rather than a tagged union: a Kubernetes structural schema has no
    # discriminators, and the MCP server and kubectl must accept the same thing.
    type: Literal["text", "data", "file"]
    """The kind of the part: `text`, `data` or `file`."""
    text: Annotated[str, Field(min_length=1, max_length=131_072)] | None = None
    """The text of a text part."""
    data: Json | None = None
    """The object of a data part."""
    uri: Line | None = None
    """The URI of a file part."""
    bytes_base64: Text | None = Field(default=None, alias="bytes_base64")
    """A file part's bytes, base64."""
    mime_type: Line | None = Field(default=None, alias="mime_type")
    """A file part's media type."""
    name: Line | None = None
    """A file part's name."""

    RULES: ClassVar[Sequence[dict[str, str]]] = [
        {
            "rule": f"self.type != '{kind}' || has(self.{kind})",
            "message": f"a part of type {kind} needs {kind}",
        }
        for kind in ("text", "data")
    ]


class AgentMessage(Model):
    """A message with at least one part."""

    role: Literal["user", "agent", "system"] = "user"
    """The sender's role."""
    parts: Annotated[list[MessagePart], Field(min_length=1, max_length=32)]
    """The content, in order."""
    metadata: Json | None = None
    """Stored with the message as it is."""


def render_text(message: AgentMessage) -> str:
    """Render ``message`` as text for a prompt: its parts, joined by blank lines."""
    return "\n\n".join(_render_part(part) for part in message.parts).strip()


def render_data(data: Any, limit: int | None = None) -> str:
    """Render data as indented JSON, cut off after ``limit`` characters."""
    pieces, size = list[str](), 0
    for piece in _JSON.iterencode(data):
        pieces.append(piece)
        size += len(piece)
        if limit is not None and size > limit:
            return "".join(pieces)[:limit] + "…"
    return "".join(pieces)


def render_file(uri: str | None, name: str | None) -> str:
    """Render a reference to a file by URI, or to attached bytes if it has none."""
    if uri:
        return f"Attached file: {name or uri}"
    return f"Attached file bytes: {name}" if name else "Attached file bytes"


def _render_part(part: MessagePart) -> str:
    if part.type == "text":
        return part.text or ""
    if part.type == "data":
        return render_data(part.data or {})
    return render_file(part.uri, part.name)
