"""
Rejects arguments that a tool does not have.

The SDK silently drops unknown arguments, which is worse than an error: with
``workspace.git.brach``, a run would start from the wrong branch without notice. See
``docs/decisions/0011``.
"""

import json
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from itertools import islice
from typing import Any

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError, UnexpectedToolError
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS, CallToolResult, InputRequiredResult, Tool
from pydantic import ValidationError

from agentrun.api.bounded_json import fault_of

Schema = Mapping[str, Any]

_MOST_LISTED = 5
"""The maximum number of wrong arguments in a message: a call may have a million."""
_LONGEST = 100
"""The maximum length of an untrusted name in a message, in characters."""


class StrictServer(MCPServer):
    """An MCP server whose tools reject arguments that are not in their input schemas."""

    _schemas: Mapping[str, Schema] = {}

    async def list_tools(self) -> list[Tool]:
        """List the tools, with ``additionalProperties: false`` in their schemas."""
        return [
            tool.model_copy(update={"input_schema": closed(tool.input_schema)})
            for tool in await super().list_tools()
        ]

    async def call_tool(
        self, name: str, arguments: dict[str, Any], context: Context[Any, Any] | None = None
    ) -> CallToolResult | InputRequiredResult:
        """
        Call a tool. Raises ToolError if it has unknown arguments.

        The messages of errors begin with `Error: `.
        """
        schema = await self._schema(name)
        message = _beyond_bounds(schema, arguments) or refusal(name, schema, arguments)
        if message:
            raise ToolError(f"Error: {message}")
        try:
            return await super().call_tool(name, arguments, context)
        except UnexpectedToolError:
            raise  # The SDK logs it and hides the details from the client.
        except ToolError as error:
            raise ToolError(f"Error: {_describe(name, error)}") from error

    async def _schema(self, name: str) -> Schema:
        if name not in self._schemas:
            # Not the method above: a subclass may filter the tools by caller.
            self._schemas = {
                tool.name: tool.input_schema for tool in await MCPServer.list_tools(self)
            }
        return self._schemas.get(name, {})


async def within_bounds(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
    """
    Reject requests whose params exceed the JSON limits or cannot be stored (middleware).

    Raises MCPError. Tool calls are checked by ``StrictServer.call_tool``.
    """
    if ctx.method != "tools/call" and (why := fault_of(ctx.params, "The params")):
        raise MCPError(INVALID_PARAMS, f"{why} Correct it and send the request again.")
    return await call_next(ctx)


def _beyond_bounds(schema: Schema, arguments: Mapping[str, Any]) -> str:
    """Return how the arguments exceed the limits of JSON input; empty if they do not."""
    why = fault_of(arguments, "The arguments")
    for name, value in arguments.items():
        if isinstance(value, str) and not why and _is_structure(schema, name):
            # The SDK parses a string that contains a JSON object or array.
            why = fault_of(_within(value), name)
    return f"{why} Correct it and call again." if why else ""


def _is_structure(schema: Schema, name: str) -> bool:
    fields, definitions = schema.get("properties", {}), schema.get("$defs", {})
    found = _resolved(fields.get(name, {}), definitions)
    return found.get("type") in ("object", "array")


def _within(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def problems(error: ValidationError) -> str:
    """Return one line that names the invalid values and the reasons."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    message = "; ".join(
        f"{_cut('.'.join(map(str, one['loc']))) or 'value'}: {_cut(one['msg'], 500)}"
        for one in found[:_MOST_LISTED]
    )
    more = len(found) - _MOST_LISTED
    return f"{message}; and {more} more" if more > 0 else message


def _describe(tool: str, error: ToolError) -> str:
    """Return a tool's message without the SDK's prefix, and without Pydantic's formatting."""
    cause = error.__cause__
    if isinstance(cause, ValidationError):
        return f"Invalid arguments for tool {tool}: {problems(cause)}"
    return str(cause or error)


def closed(schema: Any) -> Any:
    """Return the schema with ``additionalProperties: false`` in objects that have properties."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: closed(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        made.setdefault("additionalProperties", False)
    return made


def refusal(tool: str, schema: Schema, arguments: Mapping[str, Any]) -> str:
    """Return a message about the unknown arguments of a call; empty if there are none."""
    found = list(islice(_unknown(schema, schema.get("$defs", {}), arguments, ()), _MOST_LISTED + 1))
    message = " ".join(
        _quoted(tool, path, name, known) for path, name, known in found[:_MOST_LISTED]
    )
    return f"{message} There are more." if len(found) > _MOST_LISTED else message


def _quoted(tool: str, path: tuple[str, ...], name: str, known: list[str]) -> str:
    near = get_close_matches(name, known, 1) if len(name) <= _LONGEST else []
    guess = f" Did you mean {'.'.join((*path, near[0]))}?" if near else ""
    whole = _cut(".".join((*path, name)))
    return f"Unknown argument {whole}.{guess} {'.'.join((tool, *path))} takes: {', '.join(known)}."


def _cut(text: str, most: int = _LONGEST) -> str:
    return text if len(text) <= most else f"{text[:most]}…"


def _unknown(
    schema: Schema, definitions: Schema, value: Any, path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], str, list[str]]]:
    """Yield the path of each unknown field, its name, and the names of the known fields."""
    schema = _resolved(schema, definitions)
    if isinstance(value, list):
        for index, one in enumerate(value):
            yield from _unknown(schema.get("items", {}), definitions, one, (*path, str(index)))
    if not isinstance(value, dict) or "properties" not in schema:
        return
    fields: Schema = schema["properties"]
    for name, inner in value.items():
        if name in fields:
            yield from _unknown(fields[name], definitions, inner, (*path, name))
        else:
            yield path, name, list(fields)


def _resolved(schema: Schema, definitions: Schema) -> Schema:
    """Resolve ``$ref``, and choose the alternative of ``anyOf`` that is an object or an array."""
    if "$ref" in schema:
        return _resolved(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    for one in schema.get("anyOf", ()):
        found = _resolved(one, definitions)
        if found.get("type") in ("object", "array"):
            return found
    return schema
