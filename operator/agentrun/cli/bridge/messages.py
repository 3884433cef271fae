"""
The parts of a message that the bridge reads, and the messages that it writes itself.

The headers are those of MCP's streamable HTTP transport: up to 2025-11-25 they carry the version
that ``initialize`` negotiated; since 2026-07-28 each request states its version in ``_meta``.
"""

import base64
import json
import re
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

PARSE_ERROR, INVALID_REQUEST, AWAY = -32700, -32600, -32000

VERSION_META = "io.modelcontextprotocol/protocolVersion"
# The parameter that goes into the `mcp-name` header, by method; proxies may read it.
_NAMED = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
_PRINTABLE = re.compile(r"[\x20-\x7E]*")


class MalformedError(ValueError):
    """The input is not a valid message. ``reply`` is the error response to the client."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.reply = failure(None, code, text)


@dataclass(frozen=True)
class JsonRpcMessage:
    """A JSON-RPC message from the client."""

    content: Json

    @property
    def method(self) -> str:
        """The method; empty for a response."""
        return str(self.content.get("method", ""))

    @property
    def id(self) -> str | int | None:
        """The id."""
        found: str | int | None = self.content.get("id")
        return found

    @property
    def is_request(self) -> bool:
        """Whether the message requires a response."""
        return bool(self.method) and self.id is not None

    @property
    def params(self) -> Json:
        """The parameters."""
        found = self.content.get("params")
        return found if isinstance(found, dict) else {}

    @property
    def version(self) -> str:
        """The protocol version in the message's ``_meta``, since 2026-07-28; else empty."""
        meta = self.params.get("_meta")
        found = meta.get(VERSION_META) if isinstance(meta, dict) else None
        return found if isinstance(found, str) else ""

    @property
    def cancels(self) -> str | int | None:
        """The id of the request that this message cancels; None if it cancels none."""
        if self.method != "notifications/cancelled":
            return None
        found: str | int | None = self.params.get("requestId")
        return found

    @property
    def title(self) -> str:
        """A short name of the message for logs and error messages."""
        name = self.params.get(_NAMED.get(self.method, ""))
        return f"{self.method} {name}" if name else self.method or "an answer"


def parse(line: bytes) -> JsonRpcMessage:
    """Parse a line from the client. Raises MalformedError if it is not a valid message."""
    try:
        content = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise MalformedError(PARSE_ERROR, f"this line is not JSON: {error}") from error
    if not isinstance(content, dict) or content.get("jsonrpc") != "2.0":
        raise MalformedError(INVALID_REQUEST, "a line must hold one JSON-RPC 2.0 message")
    if not isinstance(content.get("id"), str | int | None):
        raise MalformedError(INVALID_REQUEST, "the id must be a string or a number")
    return JsonRpcMessage(content)


def headers_of(message: JsonRpcMessage, negotiated: str) -> dict[str, str]:
    """Build the headers that the transport requires for a message."""
    headers = {
        "accept": "application/json, text/event-stream",
        "content-type": "application/json",
    }
    if own := message.version:
        headers |= {"mcp-protocol-version": own, "mcp-method": message.method}
        name = message.params.get(_NAMED.get(message.method, ""))
        if isinstance(name, str):
            headers["mcp-name"] = _header_value(name)
    elif negotiated and message.method != "initialize":
        headers["mcp-protocol-version"] = negotiated
    return headers


def failure(request_id: str | int | None, code: int, text: str) -> Json:
    """Build a JSON-RPC error response."""
    return {"jsonrpc": "2.0", "id": request_id, "error": {"code": code, "message": text}}


def _header_value(text: str) -> str:
    """Encode a header value as the specification requires."""
    if _PRINTABLE.fullmatch(text) and text == text.strip() and not text.startswith("=?base64?"):
        return text
    return f"=?base64?{base64.b64encode(text.encode()).decode()}?="
