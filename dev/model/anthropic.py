"""The wire format of Anthropic's Messages."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from dev.model.script import Cut, Event, Pause, Playable, Step, is_prompt, text_of, words

ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    529: "overloaded_error",
}


@dataclass(frozen=True)
class Request:
    """What matters of a request."""

    body: dict[str, Any]

    @property
    def tools(self) -> set[str]:
        """The names of the offered tools."""
        return {str(tool.get("name")) for tool in self.body.get("tools") or []}

    @property
    def is_aside(self) -> bool:
        """Without tools it is the agent's own question (a title, a quota), not the user's."""
        return not self.tools

    @property
    def conversation_id(self) -> str:
        """What tells this conversation from another with the same prompt."""
        return str((self.body.get("metadata") or {}).get("user_id", ""))

    def is_call(self, step: Step) -> bool:
        """Tell whether a step is played as a tool call, to which a result will come."""
        return "shell" in step or ("structured" in step and "StructuredOutput" in self.tools)

    def prompt_and_results(self) -> tuple[str, int]:
        """Find the newest prompt, and count the tool results since."""
        results = 0
        for message in reversed(self.body.get("messages") or []):
            if message.get("role") != "user":
                continue
            content = message.get("content")
            blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
            texts = [str(b.get("text", "")) for b in blocks or [] if b.get("type") == "text"]
            if prompt := "\n".join(text for text in texts if is_prompt(text)):
                return prompt, results
            results += sum(block.get("type") == "tool_result" for block in blocks or [])
        return "", results


def stream(request: Request, steps: list[Step]) -> Iterator[Playable]:
    """Play ``steps`` as server-sent events."""
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
    """Build the answer that is not streamed."""
    blocks = [_block(request, s) for s in steps if not s.keys() & {"hang", "cut", "error"}]
    answer = _message(request, blocks)
    answer["stop_reason"] = _stop_reason(request, steps)
    answer["usage"]["output_tokens"] = _tokens(steps)
    return answer


def error(status: int, message: str) -> dict[str, Any]:
    """Build an error as the provider writes it."""
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
    if "think" in step:
        return {"type": "thinking", "thinking": str(step["think"]), "signature": "scripted"}
    if "shell" in step:
        # Longer than any test; the default would end a long command after two minutes.
        call = {"command": step["shell"], "description": "Run a command", "timeout": 600_000}
        return _tool("Bash", call)
    if request.is_call(step):
        return _tool("StructuredOutput", step["structured"])
    text = text_of(step)
    return {"type": "text", "text": json.dumps(step["structured"]) if text is None else text}


def _tool(name: str, value: dict[str, Any]) -> dict[str, Any]:
    return {"type": "tool_use", "id": f"toolu_{uuid4().hex}", "name": name, "input": value}


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
