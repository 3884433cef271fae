"""The wire format of Anthropic's Messages API."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from dev.model.script import (
    PAUSE,
    Cut,
    Event,
    Pause,
    Playable,
    Step,
    is_prompt,
    text_of,
    words,
)

ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    529: "overloaded_error",
}

# The prefix of the ids of calls that are not steps of the script.
_ASIDE = "aside_"


@dataclass(frozen=True)
class Request:
    """The relevant parts of a request."""

    body: dict[str, Any]

    @property
    def tools(self) -> set[str]:
        """The names of the offered tools."""
        return {str(tool.get("name")) for tool in self.body.get("tools") or []}

    @property
    def is_aside(self) -> bool:
        """Whether the request is the agent's own (a title, a quota): it offers no tools."""
        return not self.tools

    @property
    def conversation_id(self) -> str:
        """Distinguishes this conversation from others with the same prompt."""
        return str((self.body.get("metadata") or {}).get("user_id", ""))

    def is_call(self, step: Step) -> bool:
        """Return whether a step is a tool call, which has a result."""
        if "structured" in step:
            return "StructuredOutput" in self.tools
        return bool(step.keys() & {"shell", "tool", "search"})

    def prompt_and_results(self) -> tuple[str, list[str]]:
        """Return the newest prompt and the tool results since."""
        results: list[str] = []
        for message in reversed(self.body.get("messages") or []):
            if message.get("role") != "user":
                continue
            content = message.get("content")
            blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
            texts = [str(b.get("text", "")) for b in blocks or [] if b.get("type") == "text"]
            if prompt := "\n".join(text for text in texts if is_prompt(text)):
                return prompt, results
            results = [_text_of_result(b) for b in blocks or [] if _counts(b)] + results
        return "", results

    def preparation(self, step: Step) -> Step | None:
        """Return the step that makes a tool available; None if none is needed."""
        if "tool" not in step or (name := _tool_name(step)) in self.tools:
            return None
        conversation = json.dumps(self.body.get("messages"))
        if f'"tool_name": "{name}"' in conversation:
            return None
        # Claude Code lists the names of its deferred tools, and a search loads them.
        return {"search": f"select:{name}"} if name in conversation else {"shell": PAUSE}


def stream(request: Request, steps: list[Step]) -> Iterator[Playable]:
    """Render ``steps`` as server-sent events."""
    message = _message(request, [])
    message["stop_reason"] = None
    yield Event("message_start", {"message": message})
    yield Event("ping", {})
    index = 0
    for step in steps:
        if "hang" in step:
            yield Pause(float(step["hang"]))
        elif "cut" in step:
            yield Cut()
            return
        elif "error" not in step:
            yield from _stream_block(index, _block(request, step), step)
            index += 1
    stop = {"stop_reason": _stop_reason(request, steps), "stop_sequence": None}
    yield Event("message_delta", {"delta": stop, "usage": {"output_tokens": _tokens(steps)}})
    yield Event("message_stop", {})


def whole(request: Request, steps: list[Step]) -> dict[str, Any]:
    """Build the response without streaming."""
    blocks = [_block(request, s) for s in steps if not s.keys() & {"hang", "cut", "error"}]
    answer = _message(request, blocks)
    answer["stop_reason"] = _stop_reason(request, steps)
    answer["usage"]["output_tokens"] = _tokens(steps)
    return answer


def error(status: int, message: str) -> dict[str, Any]:
    """Build an error in the provider's format."""
    kind = ERROR_TYPES.get(status, "api_error")
    return {"type": "error", "error": {"type": kind, "message": message}}


def _message(request: Request, content: list[dict[str, Any]]) -> dict[str, Any]:
    usage = {"input_tokens": 100, "output_tokens": 1}
    cached = {"cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}
    return {
        "id": f"msg_{uuid4().hex}",
        "type": "message",
        "role": "assistant",
        "model": request.body.get("model", "scripted"),
        "content": content,
        "stop_sequence": None,
        "usage": {**usage, **cached},
    }


def _block(request: Request, step: Step) -> dict[str, Any]:
    if "search" in step:
        return _tool("ToolSearch", {"query": step["search"], "max_results": 5}, _ASIDE)
    if "tool" in step:
        return _tool(_tool_name(step), step["arguments"])
    if "think" in step:
        return {"type": "thinking", "thinking": str(step["think"]), "signature": "scripted"}
    if "shell" in step:
        # Longer than any test; the default would end a long command after two minutes.
        call = {"command": step["shell"], "description": "Run a command", "timeout": 600_000}
        return _tool("Bash", call, _ASIDE if step["shell"] == PAUSE else "")
    if request.is_call(step):
        return _tool("StructuredOutput", step["structured"])
    text = text_of(step)
    return {"type": "text", "text": json.dumps(step["structured"]) if text is None else text}


def _tool(name: str, value: dict[str, Any], mark: str = "") -> dict[str, Any]:
    return {"type": "tool_use", "id": f"toolu_{mark}{uuid4().hex}", "name": name, "input": value}


def _tool_name(step: Step) -> str:
    server, _, tool = str(step["tool"]).partition("/")
    return f"mcp__{server}__{tool}"


def _counts(block: dict[str, Any]) -> bool:
    """Return whether a block is the result of a step, and not of a preparation."""
    is_aside = str(block.get("tool_use_id", "")).startswith(f"toolu_{_ASIDE}")
    return block.get("type") == "tool_result" and not is_aside


def _text_of_result(block: dict[str, Any]) -> str:
    content = block.get("content")
    if isinstance(content, str):
        return content
    return "\n".join(str(part.get("text", "")) for part in content or [])


def _stream_block(index: int, block: dict[str, Any], step: Step) -> Iterator[Playable]:
    def delta(kind: str, key: str, value: str) -> Event:
        change = {"type": kind, key: value}
        return Event("content_block_delta", {"index": index, "delta": change})

    kind = block["type"]
    empty = {"text": {"text": ""}, "thinking": {"thinking": "", "signature": ""}}
    start = {**block, **empty.get(kind, {"input": {}})}
    yield Event("content_block_start", {"index": index, "content_block": start})
    if kind == "tool_use":
        yield delta("input_json_delta", "partial_json", json.dumps(block["input"]))
    elif kind == "thinking":
        yield delta("thinking_delta", "thinking", block["thinking"])
        yield delta("signature_delta", "signature", block["signature"])
    elif text_of(step) is None:
        yield delta("text_delta", "text", block["text"])
    else:
        for word, pause in words(step):
            yield delta("text_delta", "text", word)
            if pause:
                yield pause
    yield Event("content_block_stop", {"index": index})


def _stop_reason(request: Request, steps: list[Step]) -> str:
    return "tool_use" if any(map(request.is_call, steps)) else "end_turn"


def _tokens(steps: list[Step]) -> int:
    return max(1, len(json.dumps(steps)) // 4)
