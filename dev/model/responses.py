"""The wire format of OpenAI's Responses."""

import itertools
import json
import re
import time
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

Item = dict[str, Any]

ERROR_CODES = {401: "invalid_api_key", 403: "forbidden", 429: "rate_limit_exceeded"}
# Codex's tools return before a long command has ended, with the session to poll.
_RUNNING = re.compile(r"Process running with session ID (\d+)")
_WAITING = re.compile(r"Script running with cell ID (\S+)")
_PATIENCE_MS = 30_000
# How codex lists the connected MCP servers to models that write code; within JSON.
_DEFERRED = re.compile(r"(?:D|Added d)eferred tool namespaces:(.*?)</tools>")
_NAMESPACE = re.compile(r"\\n- ([\w-]+)")
# codex-acp has a title made in a conversation of its own, after the first turn and with all tools.
_TITLE = "Your task is to generate a very short title for a conversation"
_LEAVE = {"sandbox_permissions": "require_escalated", "justification": "The script says so."}
# The prefix of the ids of calls that are not steps of the script.
_ASIDE = "aside_"


@dataclass(frozen=True)
class Request:
    """The relevant parts of a request."""

    body: dict[str, Any]

    @property
    def tools(self) -> dict[str, dict[str, Any]]:
        """The offered tools by name."""
        offered = list(self.body.get("tools") or [])
        for item in self.items:
            # For the models that it knows, codex offers its tools within the conversation.
            if item.get("type") == "additional_tools":
                offered += item.get("tools") or []
        return {str(tool.get("name") or tool.get("type")): tool for tool in _flat(offered)}

    @property
    def is_aside(self) -> bool:
        """Whether the request is the agent's own: it offers no tools, or asks for a title."""
        last = next((one for one in reversed(self.items) if one.get("role") == "user"), {})
        return not self.tools or _TITLE in json.dumps(last.get("content"))

    @property
    def conversation_id(self) -> str:
        """Distinguishes this conversation from others with the same prompt."""
        return str(self.body.get("prompt_cache_key") or "")

    @property
    def items(self) -> list[Item]:
        """The conversation so far."""
        given = self.body.get("input")
        if isinstance(given, str):
            return [{"type": "message", "role": "user", "content": given}]
        return given if isinstance(given, list) else []

    def is_call(self, step: Step) -> bool:
        """Return whether a step is a tool call, which has a result."""
        return bool(step.keys() & {"shell", "tool"})

    def prompt_and_results(self) -> tuple[str, list[str]]:
        """Return the newest prompt and the results of the calls that ended since."""
        results: list[str] = []
        for item in reversed(self.items):
            if _is_output(item):
                if not _still_running(item) and not _is_aside(item):
                    results.insert(0, _output_of(item))
            elif item.get("role") == "user" and (prompt := _prompt_of(item)):
                return prompt, results
        return "", results

    def preparation(self, step: Step) -> Step | None:
        """Return a step that waits, while the tool's server is not connected; else None."""
        if "tool" not in step or _address(step) in self.addresses:
            return None
        return None if _address(step)[0] in self.deferred else {"shell": PAUSE}

    @property
    def addresses(self) -> set[tuple[str, str]]:
        """The offered tools of MCP servers, each with its namespace."""
        offered = [tool for tool in self.body.get("tools") or [] if tool.get("type") == "namespace"]
        return {(str(n.get("name")), str(t.get("name"))) for n in offered for t in n["tools"]}

    @property
    def deferred(self) -> set[str]:
        """The namespaces of MCP servers whose tools are available to code only, and not listed."""
        lists = (_DEFERRED.search(json.dumps(item)) for item in self.items)
        return {name for found in lists if found for name in _NAMESPACE.findall(found[1])}

    def poll(self) -> Item | None:
        """Return the call that polls the last command, if that has not ended yet; else None."""
        last = self.items[-1] if self.items else {}
        if not _is_output(last):
            return None
        text = _output_of(last)
        if found := _RUNNING.search(text):
            session = {"session_id": int(found[1]), "chars": "", "yield_time_ms": _PATIENCE_MS}
            return _function("write_stdin", session)
        if found := _WAITING.search(text):
            cell = {"cell_id": found[1], "yield_time_ms": _PATIENCE_MS}
            return _function("wait", cell)
        return None


def _flat(tools: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield all tools, including those in namespaces."""
    for tool in tools:
        if tool.get("type") == "namespace":
            yield from _flat(tool.get("tools") or [])
        else:
            yield tool


def stream(request: Request, steps: list[Step]) -> Iterator[Playable]:
    """Render ``steps`` as server-sent events."""
    number = itertools.count()

    def event(kind: str, **data: Any) -> Event:
        return Event(kind, {"sequence_number": next(number), **data})

    response = _response(request)
    yield event("response.created", response=response)
    output: list[Item] = []
    for step in steps:
        if "hang" in step:
            yield Pause(float(step["hang"]))
        elif "cut" in step:
            yield Cut()
            return
        elif "error" not in step:
            item = _item(request, step)
            yield from _stream_item(event, len(output), item, step)
            output.append(item)
    done = {**response, "status": "completed", "output": output, "usage": _usage(steps)}
    yield event("response.completed", response=done)


def whole(request: Request, steps: list[Step]) -> dict[str, Any]:
    """Build the response without streaming."""
    output = [_item(request, s) for s in steps if not s.keys() & {"hang", "cut", "error"}]
    extra = {"status": "completed", "output": output, "usage": _usage(steps)}
    return {**_response(request), **extra}


def error(status: int, message: str) -> dict[str, Any]:
    """Build an error in the provider's format."""
    code = ERROR_CODES.get(status, "server_error")
    return {"error": {"message": message, "type": code, "param": None, "code": code}}


def _response(request: Request) -> dict[str, Any]:
    return {
        "id": f"resp_{uuid4().hex}",
        "object": "response",
        "created_at": int(time.time()),
        "model": request.body.get("model", "scripted"),
        "status": "in_progress",
        "output": [],
    }


def _item(request: Request, step: Step) -> Item:
    if "poll" in step:
        poll: Item = step["poll"]
        return poll
    if "think" in step:
        summary = [{"type": "summary_text", "text": str(step["think"])}]
        return {"type": "reasoning", "id": f"rs_{uuid4().hex}", "summary": summary}
    if "shell" in step:
        call = _shell(request.tools, str(step["shell"]), is_escalated="escalated" in step)
        return _marked(call) if step["shell"] == PAUSE else call
    if "tool" in step:
        namespace, name = _address(step)
        if namespace in request.deferred:
            arguments = json.dumps(step["arguments"])
            return _code(f"text(await tools.{namespace}__{name}({arguments}));")
        return {**_function(name, step["arguments"]), "namespace": namespace}
    text = text_of(step)
    if text is None:
        text = json.dumps(step["structured"])
    content = [{"type": "output_text", "text": text, "annotations": []}]
    message = {"type": "message", "id": f"msg_{uuid4().hex}", "role": "assistant"}
    return {**message, "status": "completed", "content": content}


def _shell(tools: dict[str, dict[str, Any]], command: str, *, is_escalated: bool = False) -> Item:
    """Call the shell tool that the agent offers; if escalated, codex asks for permission."""
    leave = dict(_LEAVE) if is_escalated else {}
    if "exec_command" in tools:
        arguments = {"cmd": command, "yield_time_ms": _PATIENCE_MS, **leave}
        return _function("exec_command", arguments)
    if tools.get("exec", {}).get("type") == "custom":
        code = (
            f"let r = await tools.exec_command({json.dumps({'cmd': command, **leave})}); "
            "let all = r.output ?? ''; "
            "while (r.session_id != null) { r = await tools.write_stdin({session_id: "
            f"r.session_id, chars: '', yield_time_ms: {_PATIENCE_MS}}}); all += r.output ?? ''; }} "
            "text(all);"
        )
        return _code(code)
    if "shell_command" in tools:
        return _function("shell_command", {"command": command})
    return _function("shell", {"command": ["bash", "-lc", command]})


def _code(code: str) -> Item:
    """Build a call that runs JavaScript in codex, whose tools are functions there."""
    call = uuid4().hex
    names = {"id": f"ctc_{call}", "call_id": f"call_{call}", "name": "exec"}
    return {"type": "custom_tool_call", "status": "completed", **names, "input": code}


def _function(name: str, arguments: dict[str, Any]) -> Item:
    call = uuid4().hex
    names = {"id": f"fc_{call}", "call_id": f"call_{call}", "name": name}
    return {"type": "function_call", **names, "arguments": json.dumps(arguments)}


def _address(step: Step) -> tuple[str, str]:
    server, _, tool = str(step["tool"]).partition("/")
    return f"mcp__{server}", tool


def _marked(call: Item) -> Item:
    return {**call, "call_id": f"{_ASIDE}{call['call_id']}"}


def _is_aside(output: Item) -> bool:
    return str(output.get("call_id", "")).startswith(_ASIDE)


def _stream_item(event: Any, index: int, item: Item, step: Step) -> Iterator[Playable]:
    blank: Item = {"status": "in_progress"} if item["type"] != "reasoning" else {}
    blank |= {key: type(item[key])() for key in ("arguments", "content", "summary") if key in item}
    yield event("response.output_item.added", output_index=index, item={**item, **blank})
    at = {"item_id": item["id"], "output_index": index}
    if item["type"] == "message":
        yield from _stream_text(event, at, item["content"][0], step)
    elif item["type"] == "reasoning":
        for number, part in enumerate(item["summary"]):
            here = {**at, "summary_index": number}
            blank_part = {**part, "text": ""}
            yield event("response.reasoning_summary_part.added", **here, part=blank_part)
            yield event("response.reasoning_summary_text.delta", **here, delta=part["text"])
            yield event("response.reasoning_summary_text.done", **here, text=part["text"])
            yield event("response.reasoning_summary_part.done", **here, part=part)
    elif "arguments" in item:
        arguments = item["arguments"]
        yield event("response.function_call_arguments.delta", **at, delta=arguments)
        yield event("response.function_call_arguments.done", **at, arguments=arguments)
    yield event("response.output_item.done", output_index=index, item=item)


def _stream_text(event: Any, at: Item, part: Item, step: Step) -> Iterator[Playable]:
    at = {**at, "content_index": 0}
    yield event("response.content_part.added", **at, part={**part, "text": ""})
    if text_of(step) is None:
        yield event("response.output_text.delta", **at, delta=part["text"])
    else:
        for word, pause in words(step):
            yield event("response.output_text.delta", **at, delta=word)
            if pause:
                yield pause
    yield event("response.output_text.done", **at, text=part["text"])
    yield event("response.content_part.done", **at, part=part)


def _usage(steps: list[Step]) -> dict[str, Any]:
    written = max(1, len(json.dumps(steps)) // 4)
    return {
        "input_tokens": 100,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 100 + written,
    }


def _prompt_of(item: Item) -> str:
    content = item.get("content")
    parts = [{"text": content}] if isinstance(content, str) else content or []
    texts = [str(part.get("text", "")) for part in parts]
    return "\n".join(text for text in texts if is_prompt(text))


def _is_output(item: Item) -> bool:
    return str(item.get("type", "")).endswith("_output")


def _output_of(item: Item) -> str:
    output = item.get("output")
    return output if isinstance(output, str) else json.dumps(output)


def _still_running(item: Item) -> bool:
    text = _output_of(item)
    return bool(_RUNNING.search(text) or _WAITING.search(text))
