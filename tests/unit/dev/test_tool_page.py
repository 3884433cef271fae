"""The page of all tools is what the server says of itself."""

import asyncio

import pytest
from mcp_types import Tool

from dev import paths
from dev.tool_page import _server, page

TOOLS = asyncio.run(_server().described_tools())


def test_the_page_is_the_generated_one() -> None:
    found = (paths.CHECKOUT / "docs/tools.md").read_text(encoding="utf-8")
    assert found == page(), "docs/tools.md is out of date: run `make generate`"


@pytest.mark.parametrize("tool", TOOLS, ids=[tool.name for tool in TOOLS])
def test_each_tool_has_a_description_and_described_arguments(tool: Tool) -> None:
    assert tool.title
    assert len((tool.description or "").split()) > 10
    for name, field in tool.input_schema["properties"].items():
        assert field.get("description"), f"{tool.name}.{name}"
    assert tool.output_schema
    for name, field in tool.output_schema["properties"].items():
        assert field.get("description"), f"{tool.name}: {name}"


@pytest.mark.parametrize("tool", TOOLS, ids=[tool.name for tool in TOOLS])
def test_each_tool_declares_whether_it_is_read_only(tool: Tool) -> None:
    hints = tool.annotations
    assert hints is not None
    writes = {"spawn_run", "cancel_run", "continue_run", "send_agent_message"}
    assert hints.read_only_hint == (tool.name not in writes)
    assert bool(hints.destructive_hint) == (tool.name == "cancel_run")
    assert hints.open_world_hint is not None
