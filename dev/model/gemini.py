"""The wire format of Gemini's generateContent."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dev.model.script import PAUSE, Cut, Data, Pause, Playable, Step, is_prompt, text_of, words

Part = dict[str, Any]

STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
}
# The decisions that the CLI requests itself: which model to use, and who speaks next.
_DECISION = {
    "model_choice": "flash",
    "complexity_score": 1,
    "complexity_reasoning": "scripted",
    "reasoning": "scripted",
    "next_speaker": "user",
}


@dataclass(frozen=True)
class Request:
    """The relevant parts of a request."""

    body: dict[str, Any]

    @property
    def tools(self) -> set[str]:
        """The names of the offered tools."""
        offered = self.body.get("tools") or []
        return {
            str(function.get("name"))
            for tool in offered
            for function in tool.get("functionDeclarations") or []
        }

    @property
    def is_aside(self) -> bool:
        """Whether the request is the agent's own (which model?): it offers no tools."""
        return not self.tools

    @property
    def is_decision(self) -> bool:
        """Whether the agent requests JSON for a decision of its own."""
        config = self.body.get("generationConfig") or {}
        return config.get("responseMimeType") == "application/json"

    @property
    def conversation_id(self) -> str:
        """Distinguishes this conversation from others with the same prompt."""
        return str(self.body.get("session_id") or "")

    def is_call(self, step: Step) -> bool:
        """Return whether a step is a tool call, which has a result."""
        return bool(step.keys() & {"shell", "tool"})

    def prompt_and_results(self) -> tuple[str, list[str]]:
        """Return the newest prompt and the results of the calls since."""
        calls: list[Part] = []
        results: list[Part] = []
        prompt = ""
        for content in reversed(self.body.get("contents") or []):
            parts = content.get("parts") or []
            if content.get("role") == "model":
                calls = [p["functionCall"] for p in parts if "functionCall" in p] + calls
                continue
            if prompt := _prompt_of(parts):
                break
            answers = [p["functionResponse"] for p in parts if "functionResponse" in p]
            results = answers + results
        # Results are in the order of their calls.
        counted = zip(calls, results, strict=False)
        return prompt, [_text_of_result(one) for call, one in counted if not _is_aside(call)]

    def preparation(self, step: Step) -> Step | None:
        """Return a step that waits, while the tool's server is not connected; else None."""
        if "tool" not in step or _tool_name(step) in self.tools:
            return None
        return {"shell": PAUSE}


def stream(request: Request, steps: list[Step]) -> Iterator[Playable]:
    """Render ``steps`` as server-sent events."""
    for step in steps:
        if "hang" in step:
            # Headers and a first event are sent, so that the client does not time out.
            yield _piece(request, steps, [{"text": ""}])
            yield Pause(float(step["hang"]))
        elif "cut" in step:
            yield _piece(request, steps, [{"text": "cut"}])
            yield Cut()
            return
        elif text_of(step) is not None and not request.is_decision:
            for word, pause in words(step):
                yield _piece(request, steps, [{"text": word}])
                if pause:
                    yield pause
        elif parts := _parts(request, [step]):
            yield _piece(request, steps, parts)
    yield _piece(request, steps, [{"text": ""}], "STOP")


def whole(request: Request, steps: list[Step]) -> dict[str, Any]:
    """Build the response without streaming."""
    return _answer(request, steps, _parts(request, steps), "STOP")


def error(status: int, message: str) -> dict[str, Any]:
    """Build an error in the provider's format."""
    named = STATUSES.get(status, "INTERNAL")
    return {"error": {"code": status, "message": message, "status": named}}


def _piece(
    request: Request, steps: list[Step], parts: list[Part], reason: str | None = None
) -> Data:
    return Data(json.dumps(_answer(request, steps, parts, reason)))


def _answer(
    request: Request, steps: list[Step], parts: list[Part], reason: str | None
) -> dict[str, Any]:
    candidate = {"index": 0, "content": {"role": "model", "parts": parts}}
    if reason:
        candidate["finishReason"] = reason
    return {
        "candidates": [candidate],
        "usageMetadata": _usage(steps),
        "modelVersion": request.body.get("model", "scripted"),
    }


def _parts(request: Request, steps: list[Step]) -> list[Part]:
    if request.is_decision:
        return [{"text": json.dumps(_DECISION)}]
    return [part for step in steps for part in _part(step)]


def _part(step: Step) -> list[Part]:
    if "tool" in step:
        return [_call(_tool_name(step), step["arguments"])]
    if "shell" in step:
        command = {"command": step["shell"], "description": "Run a command"}
        return [_call("run_shell_command", command)]
    if "think" in step:
        return [{"text": str(step["think"]), "thought": True}]
    if "structured" in step:
        return [{"text": json.dumps(step["structured"])}]
    text = text_of(step)
    return [] if text is None else [{"text": text}]


def _call(name: str, arguments: dict[str, Any]) -> Part:
    return {"functionCall": {"name": name, "args": arguments}}


def _tool_name(step: Step) -> str:
    """Return the name of an MCP server's tool in the CLI."""
    server, _, tool = str(step["tool"]).partition("/")
    return f"mcp_{server}_{tool}"


def _is_aside(call: Part) -> bool:
    return (call.get("args") or {}).get("command") == PAUSE


def _prompt_of(parts: list[Part]) -> str:
    texts = [str(part.get("text", "")) for part in parts]
    return "\n".join(text for text in texts if is_prompt(text))


def _text_of_result(result: Part) -> str:
    answer = result.get("response") or {}
    output = answer.get("output", answer)
    return output if isinstance(output, str) else json.dumps(output)


def _usage(steps: list[Step]) -> dict[str, Any]:
    written = max(1, len(json.dumps(steps)) // 4)
    return {
        "promptTokenCount": 100,
        "candidatesTokenCount": written,
        "totalTokenCount": 100 + written,
    }
