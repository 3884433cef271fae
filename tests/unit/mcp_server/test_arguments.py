"""Arguments that a tool does not know."""

from typing import Any

import pytest

from mcp_server.schemas.strict import closed
from tests.unit.mcp_server.conftest import Bench

TEXT = {"type": "text", "text": "Hello."}


@pytest.mark.parametrize(
    ("tool", "arguments", "told"),
    [
        pytest.param(
            "spawn_run",
            {"backend": "codex", "role": "worker", "promt": "Work."},
            "Unknown argument promt. Did you mean prompt? spawn_run takes: backend, role, prompt,",
            id="misspelt",
        ),
        pytest.param(
            "get_run",
            {"run_id": "x", "colour": "red"},
            "Unknown argument colour. get_run takes: run_id, agent_name, cwd, namespace.",
            id="unlike-any",
        ),
        pytest.param(
            "spawn_run",
            {
                "backend": "codex",
                "role": "worker",
                "prompt": "Work.",
                "workspace": {"git": {"url": "https://x/y", "brach": "main"}},
                "timeouts": {"activeDeadlineSeconds": 5},
            },
            "Unknown argument workspace.git.brach. Did you mean workspace.git.branch?"
            " spawn_run.workspace.git takes: url, ref, branch, depth."
            " Unknown argument timeouts.activeDeadlineSeconds."
            " Did you mean timeouts.active_deadline_seconds?",
            id="within-an-argument",
        ),
        pytest.param(
            "send_agent_message",
            {"to_agent_name": "bob", "message": {"parts": [TEXT, TEXT | {"mime": "x"}]}},
            "Unknown argument message.parts.1.mime.",
            id="within-a-list",
        ),
    ],
)
async def test_unknown_arguments_are_named_with_the_most_similar(
    bench: Bench, tool: str, arguments: dict[str, Any], told: str
) -> None:
    assert (await bench.refused(tool, **arguments)).startswith(told)
    assert (await bench.call("list_runs"))["runs"] == []


async def test_free_form_objects_accept_any_field(bench: Bench) -> None:
    message = {"parts": [{"type": "data", "data": {"any": {"thing": 1}}}], "metadata": {"b": 2}}
    made = await bench.spawn(
        prompt=None, input_message=message, metadata={"a": {"b": 1}},
        output_schema={"type": "object", "x-mine": True}, workspace=None,
    )  # fmt: skip
    assert (await bench.call("get_run", run_id=made["run_id"]))["metadata"] == {"a": {"b": 1}}


async def test_metadata_that_clients_add_is_not_an_argument(bench: Bench) -> None:
    result = await bench.client.call_tool("list_runs", {}, meta={"progress_token": 1})
    assert not result.is_error


async def test_the_schemas_forbid_additional_properties(bench: Bench) -> None:
    for tool in (await bench.client.list_tools()).tools:
        assert tool.input_schema["additionalProperties"] is False
        assert closed(tool.input_schema) == tool.input_schema
        for inner in tool.input_schema.get("$defs", {}).values():
            assert "properties" not in inner or inner["additionalProperties"] is False
