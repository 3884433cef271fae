"""The wire format of OpenAI's Chat Completions, which most providers speak too."""

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

# In the ids of calls that are no step of the script.
_ASIDE = "aside_"
# opencode's own would end a long command after two minutes.
_TIMEOUT_MS = 600_000
_SHELLS = ("bash", "run_shell_command")
"""opencode's shell, and Qwen Code's."""


@dataclass(frozen=True)
class Request:
    """What matters of a request."""

    body: dict[str, Any]

    @property
    def tools(self) -> set[str]:
        """The names of the offered tools."""
        functions = (tool.get("function") or {} for tool in self.body.get("tools") or [])
        return {str(function.get("name")) for function in functions}

    @property
    def is_aside(self) -> bool:
        """Without tools it is the agent's own question (a title), not the user's."""
        return not self.tools

    @property
    def conversation_id(self) -> str:
        """What tells this conversation from another with the same prompt: nothing is sent."""
        return str(self.body.get("user") or "")

    def is_call(self, step: Step) -> bool:
        """Tell whether a step is played as a tool call, to which a result will come."""
        return bool(step.keys() & {"shell", "tool"})

    def prompt_and_results(self) -> tuple[str, list[str]]:
        """Find the newest prompt, and what the calls since resulted in."""
        results: list[str] = []
        for message in reversed(self.body.get("messages") or []):
            if message.get("role") == "tool":
                if not str(message.get("tool_call_id", "")).startswith(_ASIDE):
                    results.insert(0, _text_of(message))
            elif message.get("role") == "user" and (prompt := _text_of(message)):
                return prompt, results
        return "", results

    def preparation(self, step: Step) -> Step | None:
        """Build the step that waits for a tool whose server is not connected so far."""
        if "tool" not in step or self.tools & set(_tool_names(step)):
            return None
        return {"shell": PAUSE}

    def called(self, names: Sequence[str]) -> str:
        """Choose of a tool's names, by agent, the one that this agent offers."""
        return next((name for name in names if name in self.tools), names[0])


def stream(request: Request, steps: list[Step]) -> Iterator[Playable]:
    """Play ``steps`` as server-sent events."""
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
    """Split what a step adds to the message into what is sent at once."""
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
    """Build the answer that is not streamed."""
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
    """Name an MCP server's tool as opencode does, and as Qwen Code does."""
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
    """Join the texts of a message, for a user's those that the user wrote."""
    content = message.get("content")
    parts = [{"text": content}] if isinstance(content, str) else content or []
    texts = [str(part.get("text", "")) for part in parts]
    is_users = message.get("role") == "user"
    return "\n".join(text for text in texts if not is_users or is_prompt(text))
