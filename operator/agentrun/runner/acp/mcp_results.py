"""
Results of MCP servers' tools, as the agents report them.

Some send MCP's result or error as the output of a tool call, others only the result's content.
"""

from typing import Any

from agentrun.runner.journal.large_text import LargeText, Text


def answer_of(
    raw: Any, content: list[dict[str, Any]], is_error: bool, output: Text
) -> dict[str, Any]:
    """Return MCP's ``result`` and ``error``, also for agents that report only content or text."""
    if isinstance(raw, dict) and not raw.keys().isdisjoint(("result", "error")):
        return {"result": raw.get("result"), "error": raw.get("error")}
    if is_error:
        return {"result": None, "error": {"message": output} if output else None}
    blocks = _blocks(raw, content)
    return {"result": {"content": blocks} if blocks else None, "error": None}


def texts_of_answer(raw: dict[str, Any]) -> list[Text]:
    """List the texts of a result, or of an error, that is the output of a tool call."""
    content = _dict(raw.get("result")).get("content")
    blocks = content if isinstance(content, list) else []
    error = raw.get("error")
    message = _dict(error).get("message") if isinstance(error, dict) else error
    texts = (*(_dict(block).get("text") for block in blocks), message)
    return [text for text in texts if isinstance(text, Text) and text]


def _blocks(raw: Any, content: list[dict[str, Any]]) -> list[Any]:
    if isinstance(raw, list):
        return raw
    if isinstance(raw, dict) and "type" in raw:
        return [raw]
    if isinstance(raw, str) or (isinstance(raw, LargeText) and not raw.is_structure):
        return [{"type": "text", "text": raw}]
    return [item["content"] for item in content if isinstance(item.get("content"), dict)]


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
