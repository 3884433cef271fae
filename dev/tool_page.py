"""
Generates the page of all tools, ``docs/tools.md``, from the server's own descriptions.

``python -m dev.tool_page FILE`` writes it.
"""

import asyncio
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcp.server.mcpserver import MCPServer
from mcp_types import Tool

from agentrun.api.v1alpha1 import AgentTools
from mcp_server.access.policy import user_policies
from mcp_server.access.subjects import NOBODY
from mcp_server.runs.runs import Runs
from mcp_server.schemas.strict import StrictServer
from mcp_server.server.app import build_server
from mcp_server.tools.context import ToolContext
from mcp_server.watches.watched import Watched

Schema = Mapping[str, Any]

_HEAD = """\
# The tools

<!-- Generated from the server by `make generate`; a test holds it to the server. -->

The tools that MCP clients find at `/mcp`. `tools/list` returns the same without the descriptions of
results and the limits of lengths. An argument without a default is required, and null means the
default; an argument that is not listed is rejected
([0011](decisions/0011-unknown-arguments-are-refused.md)). A rejected call returns an error:
`isError` with one text that begins with `Error: ` and states what to do instead. While
`poll_events` and `cancel_run` wait, a client that requests progress is notified every 5 seconds.

A `run_id` is the name of an AgentRun, or `NAME@UID`. If several runs had one name, one
after the other, the name alone is that of the newest, results give each as `NAME@UID`, and a call
that continues from a `seq` needs that form
([0027](decisions/0027-a-cursor-belongs-to-one-run.md)).
"""
_FOOT = """\
## For agents

An agent in a pod may call the tools that its profile's `agentTools.allowed` lists; by default
{default}. It calls them over MCP, from a server named `agentrun`, if it supports MCP servers over
HTTP (Codex, Claude Code, OpenCode and Gemini CLI do), and in any image with the command `peer`:
`whoami`, `list`, `send`, `inbox`, `wait`; `peer --help` explains them. It sends messages under its
own name and reads its own mailbox. With `spawn_run` it starts runs of its own within the limits of
`agentTools.children`: they name its run in `spec.parent`, and it can read and change only those.

What to do next: [clients.md](clients.md) connects a client; `agentrun mcp --check` checks whether
AgentRun is reachable.
"""

_MORE = {"poll_events": "[events.md](events.md) describes `data` by the event's type."}
"""Text below a tool's tables."""


class _Nowhere:
    """A cluster and stores that reject every call: the tools are described, not called."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} is not called")


def page() -> str:
    """Return the page."""
    return asyncio.run(_page(_server()))


def _server() -> StrictServer:
    nowhere = _Nowhere()
    runs = Runs(nowhere, nowhere, Watched(nowhere, nowhere, ["agents"]))
    policies = user_policies(NOBODY, ["agents"], runs.quarantine)
    return build_server(ToolContext(nowhere, nowhere, runs, policies))


async def _page(server: StrictServer) -> str:
    tools = await server.described_tools()
    default = [f"`{name}`" for name in AgentTools().allowed]
    foot = _FOOT.replace("{default}", f"{', '.join(default[:-1])} and {default[-1]}")
    parts = [_HEAD, _overview(tools), *(_section(tool) for tool in tools)]
    parts += [await _resources(server), await _prompts(server), foot]
    return "\n".join(parts)


def _overview(tools: list[Tool]) -> str:
    rows = [f"| [`{tool.name}`](#{tool.name}) | {tool.title} | {_hints(tool)} |" for tool in tools]
    return "\n".join(["| tool | title | hints |", "|---|---|---|", *rows, ""])


def _hints(tool: Tool) -> str:
    hints = tool.annotations
    assert hints is not None, f"{tool.name} has no annotations"
    if hints.read_only_hint:
        return "read-only"
    listed = ["destructive" if hints.destructive_hint else "additive"]
    listed += ["idempotent"] if hints.idempotent_hint else []
    return ", ".join(listed)


def _section(tool: Tool) -> str:
    text = "\n\n".join(" ".join(part.split()) for part in (tool.description or "").split("\n\n"))
    given = Shape.of(tool.input_schema)
    answer = Shape.of(tool.output_schema or {})
    parts = [f"## {tool.name}", "", text, "", *_table("argument", given), ""]
    parts += ["Result:", "", *_table("field", answer), ""]
    for name, inner in {**given.inner, **answer.inner}.items():
        parts += [f"`{name}`: {inner.text}", "", *_table("field", inner), ""]
    parts += [_MORE[tool.name], ""] if tool.name in _MORE else []
    return "\n".join(parts)


@dataclass(frozen=True)
class Shape:
    """A JSON Schema object, with the definitions that it refers to."""

    schema: Schema
    definitions: Schema

    @classmethod
    def of(cls, schema: Schema) -> "Shape":
        """Wrap a tool's schema."""
        return cls(schema, schema.get("$defs", {}))

    @property
    def text(self) -> str:
        """The description."""
        return _line(self.schema.get("description", ""))

    @property
    def inner(self) -> dict[str, "Shape"]:
        """The object definitions, by name."""
        return {
            name: Shape(schema, self.definitions)
            for name, schema in sorted(self.definitions.items())
            if "properties" in schema
        }

    def rows(self) -> Iterator[tuple[str, str, str, str]]:
        """Yield name, type, default and description of each field."""
        required = self.schema.get("required", [])
        for name, field in self.schema.get("properties", {}).items():
            default = "" if name in required else _default(field)
            yield name, self.type_of(field), default, _line(field.get("description", ""))

    def type_of(self, field: Schema) -> str:
        """Format a field's type with its limits."""
        if "$ref" in field:
            name = field["$ref"].rpartition("/")[2]
            target = self.definitions.get(name, {})
            return name if "properties" in target else self.type_of(target)
        if "anyOf" in field:
            return " or ".join(self.type_of(one) for one in field["anyOf"] if one != _NULL)
        if "enum" in field:
            return ", ".join(f"`{value}`" for value in field["enum"])
        if "const" in field:
            return f"`{field['const']}`"
        if field.get("type") == "array":
            return f"list of {self.type_of(field.get('items', {}))}"
        return str(field.get("type", "any")) + _bounds(field)


_NULL = {"type": "null"}


def _bounds(field: Schema) -> str:
    low, high = field.get("minimum"), field.get("maximum")
    if low is not None and high is not None:
        return f", {low} to {high}"
    if low is not None:
        return f", {low} or more"
    if high is not None:
        return f", {high} or less"
    longest = field.get("maxLength")
    return f", {longest} characters" if longest else ""


def _default(field: Schema) -> str:
    value = field.get("default")
    return "none" if value is None else f"`{json.dumps(value)}`"


def _table(first: str, shape: Shape) -> list[str]:
    head = [f"| {first} | type | default | description |", "|---|---|---|---|"]
    rows = list(shape.rows())
    if not rows:
        return ["None."]
    return head + [
        f"| `{name}` | {_cell(kind)} | {_cell(default)} | {_cell(text)} |"
        for name, kind, default, text in rows
    ]


def _line(text: str) -> str:
    return " ".join(text.split())


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


async def _resources(server: MCPServer) -> str:
    rows = [
        f"| `{one.uri_template}` | {_cell(one.description or '')} |"
        for one in await server.list_resource_templates()
    ]
    text = (
        "Clients of protocol 2026-07-28 can listen for changes of runs and journals"
        " (`subscriptions/listen`), at any replica. Older clients subscribe"
        " (`resources/subscribe`) through the bridge `agentrun mcp`; over HTTP they poll"
        " ([0012](decisions/0012-the-bridge-keeps-subscriptions.md))."
    )
    return "\n".join(
        ["## Resources", "", "| URI | description |", "|---|---|", *rows, "", text, ""]
    )


async def _prompts(server: MCPServer) -> str:
    rows = [
        f"| `{one.name}` | {one.description} |"
        f" {', '.join(f'`{argument.name}`' for argument in one.arguments or [])} |"
        for one in await server.list_prompts()
    ]
    head = ["## Prompts", "", "| prompt | description | arguments |", "|---|---|---|"]
    return "\n".join([*head, *rows, ""])


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
