"""Arguments as clients send them: unknown ones, text that is JSON, objects as text, null."""

import inspect
import json
from typing import Any

import pytest

from agentrun.api.v1alpha1 import GitSource
from mcp_server.schemas.published import closed
from tests.unit.mcp_server.conftest import Bench

SPAWN = {"backend": "codex", "role": "worker", "prompt": "Work."}
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


@pytest.mark.parametrize(
    "text",
    ['{"a": 1}', '["a"]', "null", "true", "42", "1e400", '"quoted"', " [1] ", "[" * 200],
    ids=lambda text: text[:9],
)
async def test_text_that_is_json_stays_text(bench: Bench, text: str) -> None:
    made = await bench.spawn(prompt=text, idempotency_key=text, nickname=None)
    run = await bench.call("get_run", run_id=made["run_id"])
    assert run["prompt"] == text
    assert (await bench.spawn(prompt=text, idempotency_key=text))["run_id"] == made["run_id"]
    cancelled = await bench.call("cancel_run", run_id=made["run_id"], reason=text, wait_ms=0)
    assert cancelled["run_id"] == made["run_id"]
    cancellation = (await bench.row(made["run_id"])).run.spec.cancellation
    assert cancellation is not None
    assert cancellation.reason == text


WORKSPACE = {"git": {"url": "https://x/y", "branch": "b", "depth": 3}}


@pytest.mark.parametrize(
    "workspace",
    [
        pytest.param(json.dumps(WORKSPACE), id="whole"),
        pytest.param({"git": json.dumps(WORKSPACE["git"])}, id="one-level-lower"),
        pytest.param(json.dumps({"git": json.dumps(WORKSPACE["git"])}), id="twice"),
        pytest.param({"git": {**WORKSPACE["git"], "depth": 3.0, "ref": None}}, id="a-float"),
    ],
)
async def test_an_object_may_be_sent_as_a_string(bench: Bench, workspace: Any) -> None:
    made = await bench.spawn(workspace=workspace, metadata='{"n": 12345678901234567}')
    spec = (await bench.row(made["run_id"])).run.spec
    assert spec.workspace is not None
    assert spec.workspace.git == GitSource(**WORKSPACE["git"])
    assert spec.metadata == {"n": 12345678901234567}


async def test_a_list_may_be_sent_as_a_string(bench: Bench) -> None:
    parts = [TEXT, {"type": "data", "data": '{"a": 1}'}]
    made = await bench.spawn(prompt=None, input_message={"parts": json.dumps(parts)})
    message = (await bench.row(made["run_id"])).run.spec.input_message
    assert message is not None
    assert [part.data or part.text for part in message.parts] == ["Hello.", {"a": 1}]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"workspace": '{"git": {"url": "https://x/y", "brach": "b"}}'},
            "Unknown argument workspace.git.brach. Did you mean workspace.git.branch?",
        ),
        (
            {"workspace": {"git": '{"url": "https://x/y", "brach": "b"}'}},
            "Unknown argument workspace.git.brach.",
        ),
        (
            {"timeouts": '{"activeDeadlineSeconds": 5}'},
            "Unknown argument timeouts.activeDeadlineSeconds.",
        ),
        ({"workspace": "main"}, "workspace takes an object, and this string is none in JSON:"),
        ({"workspace": "[]"}, "workspace takes an object, and this string has something else"),
        (
            {"workspace": {"git": "https://x/y"}},
            "workspace.git takes an object, and this string is none in JSON:",
        ),
        ({"metadata": "{} {}"}, "metadata takes an object, and this string is none in JSON:"),
        ({"metadata": '{"a": NaN}'}, "metadata takes an object, and this string is none in JSON:"),
        ({"metadata": '{"a": "\\u0000"}'}, "metadata takes an object"),
        (
            {"input_message": {"parts": '{"type": "text"}'}},
            "input_message.parts takes a list, and this string has something else",
        ),
    ],
)
async def test_an_object_as_a_string_is_checked_like_an_object(
    bench: Bench, arguments: dict[str, Any], message: str
) -> None:
    assert (await bench.refused("spawn_run", **{**SPAWN, **arguments})).startswith(message)


@pytest.mark.parametrize(
    "tool",
    [
        "spawn_run", "get_run", "poll_events", "cancel_run", "continue_run", "list_runs",
        "get_event_artifact", "send_agent_message", "fetch_agent_messages", "list_agents",
    ],
)  # fmt: skip
async def test_null_means_the_default(bench: Bench, tool: str) -> None:
    [schema] = [
        one.input_schema for one in (await bench.client.list_tools()).tools if one.name == tool
    ]
    required = set(schema.get("required", ()))
    nulls = {name: None for name in schema["properties"] if name not in required}
    made = await bench.spawn()
    given: dict[str, Any] = {
        "spawn_run": SPAWN,
        "continue_run": {"run_id": made["run_id"], "input_message": {"parts": [TEXT]}},
        "list_agents": {},
        "list_runs": {},
        "send_agent_message": {"to_agent_name": made["agent_name"], "message": {"parts": [TEXT]}},
        "fetch_agent_messages": {"agent_name": made["agent_name"]},
        "get_event_artifact": {"run_id": made["run_id"], "seq": 1, "field_path": "/output"},
        "poll_events": {"run_id": made["run_id"], "after_seq": 0},
    }.get(tool, {"run_id": made["run_id"]})
    result = await bench.client.call_tool(tool, {**nulls, **given})
    assert "Invalid arguments" not in str(result.content), result.content


async def test_null_means_the_default_at_every_level(bench: Bench) -> None:
    git = {"url": "https://x/y", "ref": None, "branch": None, "depth": None}
    made = await bench.spawn(
        workspace={"git": git, "volume": None},
        timeouts=dict.fromkeys(("idle_timeout_seconds", "active_deadline_seconds")),
    )
    spec = (await bench.row(made["run_id"])).run.spec
    assert spec.workspace is not None
    assert spec.workspace.git == GitSource(url="https://x/y", depth=1)


@pytest.mark.parametrize(
    ("tool", "arguments", "message"),
    [
        ("list_runs", {"limit": "5"}, "limit: Input should be a valid integer, not a string"),
        ("list_runs", {"limit": True}, "limit: Input should be a valid integer, not a boolean"),
        ("list_runs", {"limit": 5.5}, "limit: Input should be a valid integer"),
        (
            "continue_run",
            {"run_id": "a", "from_start": "true"},
            "from_start: Input should be a valid boolean, not a string",
        ),
        (
            "continue_run",
            {"run_id": "a", "from_start": 1},
            "from_start: Input should be a valid boolean, not an integer",
        ),
        ("spawn_run", {"prompt": 5}, "prompt: Input should be a valid string, not an integer"),
        ("spawn_run", {"prompt": ["a"]}, "prompt: Input should be a valid string, not a list"),
        (
            "spawn_run",
            {"workspace": {"git": {"url": "https://x/y", "depth": "1"}}},
            "workspace.git.depth: Input should be a valid integer, not a string",
        ),
        ("spawn_run", {"workspace": 5}, "workspace: Input should be an object, not an integer"),
        ("spawn_run", {"backend": None}, "backend: Input should be 'codex', "),
    ],
)
async def test_a_value_of_another_type_is_refused(
    bench: Bench, tool: str, arguments: dict[str, Any], message: str
) -> None:
    given = {**SPAWN, **arguments} if tool == "spawn_run" else arguments
    text = await bench.refused(tool, **given)
    assert text.startswith(f"Invalid arguments for tool {tool}: {message}")


async def test_the_schemas_forbid_additional_properties(bench: Bench) -> None:
    for tool in (await bench.client.list_tools()).tools:
        assert tool.input_schema["additionalProperties"] is False
        assert closed(tool.input_schema) == tool.input_schema


async def test_the_list_of_tools_is_short(bench: Bench) -> None:
    tools = (await bench.client.list_tools()).model_dump(
        mode="json", by_alias=True, exclude_none=True
    )
    assert len(json.dumps(tools["tools"], separators=(",", ":"))) < 32_500
    for tool in tools["tools"]:
        assert tool["description"] == inspect.cleandoc(tool["description"])
        text = json.dumps([tool["inputSchema"], tool["outputSchema"]])
        for word in ("x-kubernetes", "$ref", "$defs", '"title"', '"default": null'):
            assert word not in text
