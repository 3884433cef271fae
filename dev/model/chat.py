"""The wire format of OpenAI's Chat Completions, which most providers also support."""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from dev.model.responses import error
from dev.model.script import PAUSE, Cut, Data, Pause, Playable, Step, is_prompt, text_of, words

Message = dict[str, Any]

__all__ = ["Request", "error", "stream", "whole"]

# The prefix of the ids of calls that are not steps of the script.
_ASIDE = "aside_"
# The default of opencode would end a long command after two minutes.
_TIMEOUT_MS = 600_000
_SHELLS = ("bash", "run_shell_command")
"""The shell tools of opencode and Qwen Code."""


@dataclass(frozen=True)
class Request:
    """The relevant parts of a request."""

    body: dict[str, Any]

    @property
    def tools(self) -> set[str]:
        """The names of the offered tools."""
        functions = (tool.get("function") or {} for tool in self.body.get("tools") or [])
        return {str(function.get("name")) for function in functions}

    @property
    def is_aside(self) -> bool:
        """Whether the request is the agent's own (a title): it offers no tools."""
        return not self.tools

    @property
    def conversation_id(self) -> str:
        """The ``user`` field; the agents send none, so it is usually empty."""
        return str(self.body.get("user") or "")

    def is_call(self, step: Step) -> bool:
        """Return whether a step is a tool call, which has a result."""
        return bool(step.keys() & {"shell", "tool"})

    def prompt_and_results(self) -> tuple[str, list[str]]:
        """Return the newest prompt and the results of the calls since."""
        results: list[str] = []
        for message in reversed(self.body.get("messages") or []):
            if message.get("role") == "tool":
                if not str(message.get("tool_call_id", "")).startswith(_ASIDE):
                    results.insert(0, _text_of(message))
            elif message.get("role") == "user" and (prompt := _text_of(message)):
                return prompt, results
        return "", results

    def preparation(self, step: Step) -> Step | None:
        """Return a step that waits, while the tool's server is not connected; else None."""
        if "tool" not in step or self.tools & set(_tool_names(step)):
            return None
        return {"shell": PAUSE}

    def called(self, names: Sequence[str]) -> str:
        """Return the one of a tool's names, which differ by agent, that this agent offers."""
        return next((name for name in names if name in self.tools), names[0])


def stream(request: Request, steps: list[Step]) -> Iterator[Playable]:
    """Render ``steps`` as server-sent events."""
    envelope = _envelope(request, "chat.completion.chunk")

    def chunk(delta: Message, reason: str | None = None) -> Data:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return Data(json.dumps({**envelope, "choices": [choice]}))

    yield chunk({"role": "assistant", "content": ""})
    for step in steps:
        if "hang" in step:
            yield Pause(float(step["hang"]))
        elif "cut" in step:
            yield Cut()
            return
        else:
            for delta, pause in _deltas(request, step):
                yield chunk(delta)
                if pause:
                    yield pause
    yield chunk({}, _finish_reason(request, steps))
    yield Data(json.dumps({**envelope, "choices": [], "usage": _usage(steps)}))
    yield Data("[DONE]")


def _deltas(request: Request, step: Step) -> Iterator[tuple[Message, Pause | None]]:
    """Split a step's addition to the message into the deltas that are sent."""
    if request.is_call(step):
        yield {"tool_calls": [{"index": 0, **_call(request, step)}]}, None
    elif "think" in step:
        yield {"reasoning_content": str(step["think"])}, None
    elif "structured" in step:
        yield {"content": json.dumps(step["structured"])}, None
    elif text_of(step) is not None:
        for word, pause in words(step):
            yield {"content": word}, pause


def whole(request: Request, steps: list[Step]) -> dict[str, Any]:
    """Build the response without streaming."""
    texts = [text_of(s) or json.dumps(s["structured"]) for s in steps if _speaks(s)]
    message: Message = {"role": "assistant", "content": "\n".join(texts) or None}
    if calls := [_call(request, step) for step in steps if request.is_call(step)]:
        message["tool_calls"] = calls
    reason = _finish_reason(request, steps)
    choice = {"index": 0, "message": message, "finish_reason": reason}
    return {**_envelope(request, "chat.completion"), "choices": [choice], "usage": _usage(steps)}


def _envelope(request: Request, kind: str) -> dict[str, Any]:
    model = request.body.get("model", "scripted")
    id_ = f"chatcmpl-{uuid4().hex}"
    return {"id": id_, "object": kind, "created": int(time.time()), "model": model}


def _speaks(step: Step) -> bool:
    return text_of(step) is not None or "structured" in step


def _call(request: Request, step: Step) -> dict[str, Any]:
    mark = _ASIDE if step.get("shell") == PAUSE else ""
    if "tool" in step:
        name, arguments = request.called(_tool_names(step)), step["arguments"]
    else:
        name = request.called(_SHELLS)
        named = {"command": step["shell"], "description": "Run a command"}
        arguments = {**named, "timeout": _TIMEOUT_MS}
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {"id": f"{mark}call_{uuid4().hex}", "type": "function", "function": function}


def _tool_names(step: Step) -> tuple[str, ...]:
    """Return the names of an MCP server's tool in opencode and in Qwen Code."""
    name = str(step["tool"])
    return name.replace("/", "_"), f"mcp__{name.replace('/', '__')}"


def _finish_reason(request: Request, steps: list[Step]) -> str:
    return "tool_calls" if any(map(request.is_call, steps)) else "stop"


def _usage(steps: list[Step]) -> dict[str, Any]:
    written = max(1, len(json.dumps(steps)) // 4)
    return {
        "prompt_tokens": 100,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens": written,
        "total_tokens": 100 + written,
    }


def _text_of(message: Message) -> str:
    """Join the texts of a message; of a user message, only what the user wrote."""
    content = message.get("content")
    parts = [{"text": content}] if isinstance(content, str) else content or []
    texts = [str(part.get("text", "")) for part in parts]
    is_users = message.get("role") == "user"
    return "\n".join(text for text in texts if not is_users or is_prompt(text))
