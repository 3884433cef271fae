"""
The state of an agent's tool calls, from the updates about them.

Agents report a tool call incrementally and each in its own way: the command may come with the first
update or a later one, the output as text, as a result or as pieces of a terminal. A Tool merges the
updates, so that every tool call starts once and finishes once.
"""

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from agentrun.api.events import EventType
from agentrun.backends import EXTENSIONS
from agentrun.backends.extensions import McpCall, ToolCall
from agentrun.runner.acp.mcp_results import answer_of, texts_of_answer
from agentrun.runner.acp.streams import (
    FLUSH_CHARACTERS,
    Continuation,
    Draft,
    TerminalOutput,
    join,
    texts_of,
    whole_text,
)
from agentrun.runner.journal.large_text import LargeText, Text, preview_of, text_of, with_previews

_KEPT_BOUND = 32 * 1024
"""The size to which each field of an unfinished tool call is trimmed, in characters."""
_NAME = 200
_NODE = 64
"""The size that is counted for a value in addition to its text."""
_DEEPEST = 32
_LEFT_OUT = "[... the rest was left out ...]"
_FINAL = frozenset({"completed", "failed", "cancelled"})
_EDITS = frozenset({"edit", "delete", "move"})
_BOUNDED = frozenset({"title", "rawInput", "content", "rawOutput"})
_OUTPUTS = ("formatted_output", "aggregated_output", "output", "stdout", "error")
_EXIT_CODES = ("exit_code", "exitCode")
_EXIT_CODE_TEXTS = [
    re.compile(one.exit_code_text, re.IGNORECASE) for one in EXTENSIONS if one.exit_code_text
]
_QUIET_TOOLS = frozenset(one.quiet_tool for one in EXTENSIONS if one.quiet_tool)


@dataclass
class Tool:
    """One tool call."""

    id: str
    clean: Callable[[str], str]
    safe_length: Callable[[str], int]
    continuation: Continuation = whole_text
    name: str = ""
    kind: str = ""
    title: Text = ""
    status: str = "pending"
    input: dict[str, Any] = field(default_factory=dict)
    content: list[dict[str, Any]] = field(default_factory=list)
    raw_output: Any = None
    response: dict[str, Any] = field(default_factory=dict)
    """The result of a command as some agents report it (ToolReport)."""
    exit_code: int | None = None
    terminal: TerminalOutput = field(init=False)
    """The output of its terminal."""
    is_bounded: bool = True
    """False if a field was updated since the last ``bound``."""
    is_cut: bool = False
    """Whether part of a field was left out."""
    is_mcp: bool = False
    """Whether it is marked as an MCP tool call; agents may report those with kind execute."""
    started: bool = False
    finished: bool = False

    def __post_init__(self) -> None:
        self.terminal = TerminalOutput(self.clean, self.safe_length, self.continuation)

    @property
    def is_command(self) -> bool:
        """Whether it runs a command in a shell."""
        return self.kind == "execute" and not self.is_mcp

    @property
    def call(self) -> McpCall | None:
        """The MCP tool that it calls; None if it is not an MCP tool call."""
        if self.is_command:
            return None
        reported = ToolCall(self.name, preview_of(self.title), self.input, self.is_mcp)
        return next((found for one in EXTENSIONS if (found := one.mcp_call(reported))), None)

    @property
    def is_error(self) -> bool:
        """Whether it failed."""
        return self.status in ("failed", "interrupted") or self.exit_code not in (None, 0)

    @property
    def command(self) -> Text:
        """The command as typed in a shell; empty if it is not known yet."""
        command = self.input.get("command") or self.input.get("cmd")
        if isinstance(command, list):
            return shlex.join(preview_of(word) for word in command)
        return text_of(command or "")

    def merge(self, update: dict[str, Any]) -> None:
        """Merge an update; fields that it omits stay as they are."""
        meta = _dict(update.get("_meta"))
        self.is_bounded = self.is_bounded and not _BOUNDED & update.keys()
        self._merge_reports(meta)
        self.name = preview_of(update.get("name") or self.name)[:_NAME]
        self.kind = preview_of(update.get("kind") or self.kind)[:_NAME]
        self.title = text_of(update.get("title") or self.title)
        self.status = preview_of(update.get("status") or self.status)[:_NAME]
        self.input = _dict(update.get("rawInput")) or self.input
        if isinstance(update.get("content"), list):
            self.content = [item for item in update["content"] if isinstance(item, dict)]
        if update.get("rawOutput") is not None:
            self.raw_output = update["rawOutput"]
        code = _dict(meta.get("terminal_exit")).get("exit_code")
        if isinstance(code, int):
            self.exit_code = code

    def _merge_reports(self, meta: dict[str, Any]) -> None:
        for one in EXTENSIONS:
            report = one.tool_report(meta)
            if report is None:
                continue
            self.name = report.name or self.name
            self.is_mcp = self.is_mcp or report.is_mcp
            if report.response is not None:
                self.response = report.response or self.response
                self.is_bounded = False

    def advance(self, update: dict[str, Any]) -> list[Draft]:
        """Return the events that are due after an update was merged."""
        drafts: list[Draft] = []
        is_final = self.status in _FINAL
        shown = self._show(_dict(update.get("_meta")))
        # Some agents report the command only after they have announced the tool call.
        is_known = bool(self.command) if self.is_command else bool(self.input)
        is_late = is_final or self.status == "in_progress" or bool(shown)
        if not self.started and (is_known or is_late):
            self.started = True
            drafts.append(self._start())
        if self.is_command:
            drafts += [self._update(text) for text in shown]
        if is_final:
            drafts.append(self._finish())
        return drafts

    def _show(self, meta: dict[str, Any]) -> list[Text]:
        """Append the terminal's output; return what is to be emitted now."""
        new = _dict(meta.get("terminal_output") or meta.get("terminal_output_delta"))
        shown = self.terminal.add(text_of(new.get("data") or ""))
        if len(self.terminal.waiting) >= FLUSH_CHARACTERS and (text := self.terminal.take()):
            shown.append(text)
        return shown

    def let_go(self) -> list[Draft]:
        """Return all of the terminal's output since the last event."""
        if not self.started or self.finished or not self.is_command:
            return []
        text = self.terminal.let_go()
        return [self._update(text)] if text else []

    def _update(self, text: Text) -> Draft:
        data = {**self._names(), "output": text, "status": "in_progress"}
        return EventType.COMMAND_UPDATED, data

    def bound(self) -> None:
        """Trim fields that are too large to be held until the tool call finishes."""
        if self.is_bounded:
            return
        trimmers = [_Trimmer(self.safe_length) for _ in range(5)]
        self.title, self.input, self.content, self.raw_output, self.response = (
            trimmer.trim(value)
            for trimmer, value in zip(
                trimmers,
                (self.title, self.input, self.content, self.raw_output, self.response),
                strict=True,
            )
        )
        self.is_cut = self.is_cut or any(trimmer.has_cut for trimmer in trimmers)
        self.is_bounded = True

    def interrupt(self) -> list[Draft]:
        """Finish it as interrupted, if it has started and not finished."""
        if not self.started or self.finished:
            return []
        self.status = "interrupted"
        return [self._finish()]

    def _names(self) -> dict[str, Any]:
        if self.is_command:
            command = self.command or self.title
            return {"command": command, "tool": self.name or "shell", "tool_use_id": self.id}
        if call := self.call:
            # A tool without a name is called by its title, which may be large.
            tool = self.title if call.tool == preview_of(self.title) else call.tool
            return {"server": call.server, "tool": tool, "tool_use_id": self.id}
        return {"tool": self.name or self.title or self.kind or "tool", "tool_use_id": self.id}

    def _start(self) -> Draft:
        data = {**self._names(), "status": "in_progress"}
        if self.is_command:
            data |= _present(cwd=self.input.get("cwd"), description=self.input.get("description"))
            return EventType.COMMAND_STARTED, data
        if call := self.call:
            data |= _present(arguments=call.arguments)
        if self.is_mcp:
            return EventType.TOOL_STARTED, data
        return EventType.TOOL_STARTED, data | {"input": self.input, "title": self.title}

    def _finish(self) -> Draft:
        self.finished = True
        output = self._output()
        data: dict[str, Any] = {**self._names(), "status": self.status, "output": output}
        data |= self._returned(output)
        if not self.is_command:
            data |= {"title": self.title, "is_error": self.is_error, **self._parts()}
            return EventType.TOOL_FINISHED, data
        self.exit_code = self._find_exit_code(output)
        streams = _present(stdout=self.response.get("stdout"), stderr=self.response.get("stderr"))
        interrupted = self.status == "interrupted" or bool(self.response.get("interrupted"))
        return EventType.COMMAND_FINISHED, data | streams | {
            "exit_code": self.exit_code,
            "is_error": self.is_error,
            "interrupted": interrupted,
        }

    def _output(self) -> Text:
        raw = self.raw_output
        if self.terminal:
            return self.terminal.whole()
        streams = [self.response.get(name) for name in ("stdout", "stderr")]
        if any(streams):
            return join([text_of(text) for text in streams if text])
        if isinstance(raw, Text):
            return raw
        if self.is_mcp:
            return join(texts_of_answer(_dict(raw)))
        for name in _OUTPUTS:
            text = _dict(raw).get(name)
            if isinstance(text, Text) and text:
                return text
        return join(texts_of(self.content))

    def _returned(self, output: Text) -> dict[str, Any]:
        """Return the result of an MCP call, or a raw output that ``output`` does not include."""
        raw = self.raw_output
        if call := self.call:
            answer = answer_of(raw, self.content, self.is_error, output)
            return _present(arguments=call.arguments) | answer
        parts = [raw]
        if isinstance(raw, dict):
            parts = [value for key, value in raw.items() if key not in _EXIT_CODES]
        is_told = output or all(part in (None, "", []) for part in parts)
        return {} if is_told else {"raw_tool_use_result": raw}

    def _parts(self) -> dict[str, Any]:
        """Return the texts one by one if they are too large to be joined."""
        texts = texts_of(self.content)
        is_joined = len(texts) > 1 and any(isinstance(text, LargeText) for text in texts)
        return {"content": texts} if is_joined else {}

    def _find_exit_code(self, output: Text) -> int | None:
        if self.exit_code is not None:
            return self.exit_code
        raw = _dict(self.raw_output)
        codes = [raw.get(name) for name in _EXIT_CODES]
        for code in (*codes, *(one.exit_code(raw) for one in EXTENSIONS)):
            if isinstance(code, int):
                return code
        for text in _EXIT_CODE_TEXTS:
            if match := text.search(preview_of(output)):
                return int(match[1])
        return 0 if self.name in _QUIET_TOOLS and self.status == "completed" else None


class _Trimmer:
    """Trims a JSON value, and marks the cuts. No cut leaves the beginning of a secret."""

    def __init__(self, safe_length: Callable[[str], int]) -> None:
        self._safe_length = safe_length
        self._room = _KEPT_BOUND
        self.has_cut = False
        """Whether something was left out."""

    def trim(self, value: Any, depth: int = 0) -> Any:
        """Return the first part of ``value``, of the same type."""
        self._room -= _NODE
        if isinstance(value, Text):
            return self._text(value)
        if isinstance(value, dict):
            return self._dict(value, depth)
        if isinstance(value, list):
            return self._list(value, depth)
        return value

    def _text(self, text: Text) -> str:
        room, known = max(0, self._room), preview_of(text)
        self._room -= len(known)
        if len(known) <= room and not isinstance(text, LargeText):
            return known
        self.has_cut = True
        first = known[:room]
        return first[: self._safe_length(first)] + _LEFT_OUT

    def _dict(self, value: dict[str, Any], depth: int) -> dict[str, Any]:
        kept: dict[str, Any] = {}
        for key, item in value.items():
            self._room -= len(key)
            if self._room <= 0 or depth >= _DEEPEST:
                self.has_cut = True
                kept["..."] = _LEFT_OUT
                break
            kept[key] = self.trim(item, depth + 1)
        return kept

    def _list(self, value: list[Any], depth: int) -> list[Any]:
        kept: list[Any] = []
        for item in value:
            if self._room <= 0 or depth >= _DEEPEST:
                self.has_cut = True
                # Items of a tool call's content are read one by one, and must be objects.
                kept.append(_NOTE if isinstance(item, dict) else _LEFT_OUT)
                break
            kept.append(self.trim(item, depth + 1))
        return kept


_NOTE = {"type": "content", "content": {"type": "text", "text": _LEFT_OUT}}


def changes_of(tool: Tool, workspace: str) -> list[dict[str, Any]]:
    """List the files that a finished tool call changed, with paths relative to the workspace."""
    changes: dict[str, str] = {}
    for item in with_previews(tool.content):
        if item.get("type") == "diff" and item.get("path"):
            kind = "update" if item.get("oldText") else "add"
            changes[str(item["path"])] = "delete" if tool.kind == "delete" else kind
    response = with_previews(tool.response)
    for one in EXTENSIONS:
        for path, kind in one.changed_files(response).items():
            changes.setdefault(path, kind)
    if not changes and tool.kind in _EDITS and tool.status == "completed":
        edited = tool.input.get("file_path") or tool.input.get("path")
        if edited:
            changes[preview_of(edited)] = "delete" if tool.kind == "delete" else "update"
    return [{"path": relative(path, workspace), "kind": kind} for path, kind in changes.items()]


def relative(path: str, workspace: str) -> str:
    """Replace the workspace's path in ``path``, so that it is relative to the workspace."""
    return path.replace(f"{workspace.rstrip('/')}/", "")


def _present(**values: Any) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
