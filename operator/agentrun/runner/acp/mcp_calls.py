"""
Calls of MCP servers' tools, as the agents report them.

Codex's adapter sends server, tool and arguments as the input, and MCP's result as the output.
Claude Code has the server in the tool's name, and only the result's content; the Gemini CLI has
both names in the title, and does not report the arguments. OpenCode's calls cannot be distinguished
from other tool calls.
"""

import re
from dataclasses import dataclass
from typing import Any

from agentrun.runner.journal.large_text import LargeText

_NAME = 200
_CLAUDES_NAME = re.compile(r"mcp__(.+?)__(.+)", re.DOTALL)
_GEMINIS_TITLE = re.compile(r"([\w.-]{1,200}) \(([\w.-]{1,200}) MCP Server\)")


@dataclass(frozen=True)
class Call:
    """A call of an MCP server's tool."""

    server: str
    tool: str
    arguments: dict[str, Any] | None
    """None if the agent does not report them."""


def codexs_call(given: dict[str, Any], title: str) -> Call:
    """Read the input of a call that Codex's adapter marks as an MCP call."""
    server, tool = (str(given.get(key) or "")[:_NAME] for key in ("server", "tool"))
    return Call(server, tool or title, _dict(given.get("arguments")))


def call_of(name: str, title: str, given: dict[str, Any]) -> Call | None:
    """Read a call of another agent; None if the tool is one of the agent's own."""
    if said := _CLAUDES_NAME.fullmatch(name):
        return Call(said[1], name, given)
    if not name and (said := _GEMINIS_TITLE.fullmatch(title)):
        return Call(said[2], said[1], given or None)
    return None


def answer_of(
    raw: Any, content: list[dict[str, Any]], is_error: bool, output: str
) -> dict[str, Any]:
    """Return MCP's ``result`` and ``error``, also for agents that report only content or text."""
    if isinstance(raw, dict) and not raw.keys().isdisjoint(("result", "error")):
        return {"result": raw.get("result"), "error": raw.get("error")}
    if is_error:
        return {"result": None, "error": {"message": output} if output else None}
    blocks = _blocks(raw, content)
    return {"result": {"content": blocks} if blocks else None, "error": None}


def texts_of_answer(raw: dict[str, Any]) -> list[str]:
    """List the texts of a result, or of an error, as Codex's adapter sends them."""
    content = _dict(raw.get("result")).get("content")
    blocks = content if isinstance(content, list) else []
    error = raw.get("error")
    said = _dict(error).get("message") if isinstance(error, dict) else error
    texts = (*(_dict(block).get("text") for block in blocks), said)
    return [text for text in texts if isinstance(text, str) and text]


def _blocks(raw: Any, content: list[dict[str, Any]]) -> list[Any]:
    if isinstance(raw, list):
        return raw
    if isinstance(raw, dict) and "type" in raw:
        return [raw]
    if isinstance(raw, str) and not _is_structure(raw):
        return [{"type": "text", "text": raw}]
    return [item["content"] for item in content if isinstance(item.get("content"), dict)]


def _is_structure(text: str) -> bool:
    """Whether the value was too large to parse, and is stored as JSON in a file."""
    return isinstance(text, LargeText) and text.media_type == "application/json"


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
