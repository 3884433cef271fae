"""
What agents report in fields and texts of their own, which ACP does not define.

The functions read what the agent has sent: nothing in it has to have the expected type.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

Fields = Mapping[str, Any]


class ToolCall(NamedTuple):
    """A tool call, as far as the agent has reported it."""

    name: str
    title: str
    input: dict[str, Any]
    is_mcp: bool


class McpCall(NamedTuple):
    """A call of an MCP server's tool."""

    server: str
    tool: str
    arguments: dict[str, Any] | None
    """None if the agent does not report them."""


class ToolReport(NamedTuple):
    """What the ``_meta`` of an update says about a tool call."""

    name: str = ""
    """The tool's name; empty if it is not mentioned."""
    is_mcp: bool = False
    """Whether it is marked as a call of an MCP server's tool, although its kind is execute."""
    response: dict[str, Any] | None = None
    """The result of a command, with ``stdout``, ``stderr`` and ``interrupted``."""


def _no_report(meta: Fields) -> ToolReport | None:
    return None


def _no_call(call: ToolCall) -> McpCall | None:
    return None


def _no_code(output: Fields) -> object:
    return None


def _no_changes(response: Fields) -> Mapping[str, str]:
    return {}


def _no_counts(meta: Fields) -> Fields:
    return {}


class Extensions(NamedTuple):
    """An agent's extensions of ACP."""

    command_signs: str = "/"
    """
    The characters of which one, at the beginning of a prompt, makes it a command of the agent's.
    ACP's slash commands have no other mark.
    """
    answer_tool: str | None = None
    """The agent's own tool for the answer that satisfies a schema."""
    tool_report: Callable[[Fields], ToolReport | None] = _no_report
    """Reads the ``_meta`` of an update of a tool call."""
    mcp_call: Callable[[ToolCall], McpCall | None] = _no_call
    """Reads a call of an MCP server's tool; None if the tool is one of the agent's own."""
    exit_code: Callable[[Fields], object] = _no_code
    """Finds a command's exit code in its ``rawOutput``."""
    exit_code_text: str | None = None
    """The regular expression of an exit code in a command's output."""
    quiet_tool: str | None = None
    """The tool for commands whose exit code is reported only if it is not zero."""
    changed_files: Callable[[Fields], Mapping[str, str]] = _no_changes
    """Reads from a command's ``response`` which files it changed: add or update, by path."""
    token_counts: Callable[[Fields], Fields] = _no_counts
    """Finds the tokens of a turn in the ``_meta`` of the response to its prompt."""


def fields(value: object) -> dict[str, Any]:
    """Return ``value`` if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}
