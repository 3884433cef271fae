"""
An MCP server that is strict about what it is given, and brief about what it publishes.

The SDK parses every string argument that is JSON, drops unknown arguments, and takes ``"5"`` and
``true`` for numbers. Here, text stays text, an unknown argument is an error, and so is a value of
another type. See ``docs/decisions/0011``.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError, UnexpectedToolError
from mcp.server.mcpserver.utilities.func_metadata import FuncMetadata
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS, CallToolResult, InputRequiredResult, Tool
from pydantic import ValidationError
from pydantic_core import ErrorDetails, to_json

from agentrun.api.bounded_json import fault_of
from mcp_server.schemas.call_arguments import (
    MOST_LISTED,
    InvalidCallError,
    Schema,
    read_arguments,
    shortened,
)
from mcp_server.schemas.published import input_schema, output_schema

_MOST_REASON = 500
_TYPES: dict[type, str] = {
    str: "a string", bool: "a boolean", int: "an integer", float: "a number",
    list: "a list", dict: "an object", type(None): "null",
}  # fmt: skip
"""The types of JSON, as messages name them."""


class _Arguments(FuncMetadata):
    """Validates the arguments of a call as JSON, without conversions between its types."""

    def validate_arguments(self, arguments_to_validate: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments of the function. Raises pydantic's ValidationError."""
        given = to_json(arguments_to_validate)
        return self.arg_model.model_validate_json(given, strict=True).model_dump_one_level()


class StrictServer(MCPServer):
    """An MCP server whose tools take the arguments of their input schemas, and nothing else."""

    _schemas: Mapping[str, Schema] = {}

    def add_tool(
        self, fn: Callable[..., Any], name: str | None = None, *args: Any, **options: Any
    ) -> None:
        """Register a tool."""
        super().add_tool(fn, name, *args, **options)
        tool = self._tool_manager.get_tool(name or fn.__name__)
        assert tool is not None, "the tool has just been added"
        tool.description = inspect.cleandoc(tool.description)
        known = tool.fn_metadata
        tool.fn_metadata = _Arguments(
            arg_model=known.arg_model,
            output_schema=known.output_schema,
            output_model=known.output_model,
            wrap_output=known.wrap_output,
        )

    async def list_tools(self) -> list[Tool]:
        """List the tools, with their schemas as they are published."""
        return [
            tool.model_copy(
                update={
                    "input_schema": input_schema(tool.input_schema),
                    "output_schema": tool.output_schema and output_schema(tool.output_schema),
                }
            )
            for tool in await self.described_tools()
        ]

    async def described_tools(self) -> list[Tool]:
        """List the tools with all descriptions, also of the fields of their results."""
        # Not the method of ``self``: a subclass may filter the tools by caller.
        return await MCPServer.list_tools(self)

    async def call_tool(
        self, name: str, arguments: dict[str, Any], context: Context[Any, Any] | None = None
    ) -> CallToolResult | InputRequiredResult:
        """
        Call a tool. Raises ToolError if its input schema does not allow the arguments.

        The messages of errors begin with `Error: `.
        """
        try:
            given = read_arguments(name, await self._schema(name), arguments)
        except InvalidCallError as error:
            raise ToolError(f"Error: {error}") from error
        try:
            return await super().call_tool(name, given, context)
        except UnexpectedToolError:
            raise  # The SDK logs it and hides the details from the client.
        except ToolError as error:
            raise ToolError(f"Error: {_describe(name, error)}") from error

    async def _schema(self, name: str) -> Schema:
        if name not in self._schemas:
            self._schemas = {tool.name: tool.input_schema for tool in await self.described_tools()}
        return self._schemas.get(name, {})


async def within_bounds(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
    """
    Reject requests whose params exceed the JSON limits or cannot be stored (middleware).

    Raises MCPError. Tool calls are checked by ``StrictServer.call_tool``.
    """
    if ctx.method != "tools/call" and (why := fault_of(ctx.params, "The params")):
        raise MCPError(INVALID_PARAMS, f"{why} Correct it and send the request again.")
    return await call_next(ctx)


async def without_false_is_error(
    ctx: ServerRequestContext[Any, Any], call_next: CallNext
) -> HandlerResult:
    """Leave ``isError`` out of the results of successful calls (middleware): it is optional."""
    result = await call_next(ctx)
    if ctx.method == "tools/call" and isinstance(result, dict) and result.get("isError") is False:
        return {key: value for key, value in result.items() if key != "isError"}
    return result


def problems(error: ValidationError) -> str:
    """Return one line that names the invalid values and the reasons."""
    found = error.errors(include_url=False, include_context=False)
    message = "; ".join(
        f"{shortened('.'.join(map(str, one['loc']))) or 'value'}: {_reason(one)}"
        for one in found[:MOST_LISTED]
    )
    more = len(found) - MOST_LISTED
    return f"{message}; and {more} more" if more > 0 else message


def _reason(error: ErrorDetails) -> str:
    reason = shortened(error["msg"], _MOST_REASON)
    given = _TYPES.get(type(error["input"]))
    return f"{reason}, not {given}" if error["type"].endswith("_type") and given else reason


def _describe(tool: str, error: ToolError) -> str:
    """Return a tool's message without the SDK's prefix, and without Pydantic's formatting."""
    cause = error.__cause__
    if isinstance(cause, ValidationError):
        return f"Invalid arguments for tool {tool}: {problems(cause)}"
    return str(cause or error)
