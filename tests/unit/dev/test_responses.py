"""What Codex reads from the scripted model."""

import json
from typing import Any

import pytest

from tests.unit.dev.conftest import Client, script

Json = dict[str, Any]
EXEC = {"type": "function", "name": "exec_command"}


def body(*items: Json, stream: bool = False, tools: tuple[Json, ...] = (EXEC,)) -> Json:
    return {"model": "m", "input": list(items), "stream": stream, "tools": list(tools)}


def user(text: str) -> Json:
    content = [{"type": "input_text", "text": text}]
    return {"type": "message", "role": "user", "content": content}


def output(text: str = "ok") -> Json:
    return {"type": "function_call_output", "call_id": "c", "output": text}


def command(item: Json) -> str:
    found: str = json.loads(item["arguments"])["cmd"]
    return found


def test_a_shell_step_becomes_an_exec_command(model: Client) -> None:
    answer = model.responses(body(user(script({"say": "First."}, {"shell": "ls"}))))
    said, call = answer.body["output"]
    assert said["content"][0]["text"] == "First."
    assert (call["type"], call["name"], command(call)) == ("function_call", "exec_command", "ls")


def test_a_title_is_made_without_the_steps_of_the_script(model: Client) -> None:
    task = script({"shell": "ls"})
    asked = f"Your task is to generate a very short title for a conversation.\n{task}"
    answer = model.responses(body(user(asked)))
    assert [item["type"] for item in answer.body["output"]] == ["message"]


@pytest.mark.parametrize(
    ("tool", "kind"),
    [
        ({"type": "custom", "name": "exec"}, "custom_tool_call"),
        ({"type": "function", "name": "shell_command"}, "function_call"),
        ({"type": "function", "name": "shell"}, "function_call"),
    ],
)
def test_the_offered_shell_tool_is_called(model: Client, tool: Json, kind: str) -> None:
    call = model.responses(body(user(script({"shell": "ls"})), tools=(tool,))).body["output"][0]
    assert (call["type"], call["name"]) == (kind, tool["name"])
    assert "ls" in json.dumps(call)


def test_each_result_advances_the_script(model: Client) -> None:
    prompt = user(script({"shell": "one"}, {"shell": "two"}, {"say": "End."}))
    second = model.responses(body(prompt, output())).body["output"]
    third = model.responses(body(prompt, output(), output())).body["output"]
    assert command(second[0]) == "two"
    assert third[0]["content"][0]["text"] == "End."


def test_a_running_command_is_awaited(model: Client) -> None:
    prompt = user(script({"shell": "long"}, {"say": "End."}))
    running = output("Process running with session ID 7")
    call = model.responses(body(prompt, running)).body["output"][0]
    assert call["name"] == "write_stdin"
    assert json.loads(call["arguments"])["session_id"] == 7
    end = model.responses(body(prompt, running, output())).body["output"][0]
    assert end["content"][0]["text"] == "End."


def test_a_stream_ends_with_the_complete_response(model: Client) -> None:
    prompt = user(script({"think": "hm"}, {"say": "yes"}, {"shell": "ls"}))
    events = model.responses(body(prompt, stream=True)).events
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert events[0]["type"] == "response.created"
    assert events[-1]["type"] == "response.completed"
    whole = events[-1]["response"]
    assert [item["type"] for item in whole["output"]] == ["reasoning", "message", "function_call"]
    done = [e["item"] for e in events if e["type"] == "response.output_item.done"]
    assert done == whole["output"]
    usage = whole["usage"]
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]


def test_the_environment_context_is_not_a_prompt(model: Client) -> None:
    prompt = user(script({"say": "mine"}))
    added = user("<environment_context>cwd</environment_context>")
    found = model.responses(body(prompt, added)).body["output"][0]
    assert found["content"][0]["text"] == "mine"


def test_structured_output_is_the_answers_text(model: Client) -> None:
    found = model.responses(body(user(script({"structured": {"answer": 42}})))).body["output"][0]
    assert json.loads(found["content"][0]["text"]) == {"answer": 42}


def test_an_error_is_returned_as_often_as_requested(model: Client) -> None:
    request = body(user(script({"error": 429, "message": "slow down", "times": 2}, {"say": "ok"})))
    answers = [model.responses(request) for _ in range(3)]
    assert [answer.status for answer in answers] == [429, 429, 200]
    assert answers[0].body["error"]["code"] == "rate_limit_exceeded"
    assert answers[0].body["error"]["message"] == "slow down"


def test_conversations_do_not_share_their_errors(model: Client) -> None:
    request = body(user(script({"error": 429, "times": 1}, {"say": "ok"})))
    for conversation in ("one", "two"):
        assert model.responses({**request, "prompt_cache_key": conversation}).status == 429


def test_a_plain_text_prompt_plays_its_scenario(model: Client) -> None:
    items = model.responses(body(user("Please add a greeting module."))).body["output"]
    assert [item["type"] for item in items] == ["reasoning", "message", "function_call"]


def test_a_wrong_key_is_refused(model: Client) -> None:
    answer = model.responses(body(user("hello")), key="wrong")
    assert answer.status == 401
    assert answer.body["error"]["code"] == "invalid_api_key"


def test_models_and_health_need_no_key(model: Client) -> None:
    assert model.request("GET", "/healthz").body == {"status": "ok"}
    assert model.request("GET", "/v1/models").body["data"][0]["id"] == "scripted"


def test_tools_listed_in_the_conversation_are_found(model: Client) -> None:
    namespace = {"type": "namespace", "name": "shell", "tools": [EXEC]}
    offered = {"type": "additional_tools", "tools": [namespace]}
    request = body(offered, user(script({"shell": "ls"})), tools=())
    assert command(model.responses(request).body["output"][0]) == "ls"


def test_a_tool_step_calls_the_tool_once_its_server_is_connected(model: Client) -> None:
    step = {"tool": "agentrun/spawn_run", "arguments": {"role": "worker"}}
    prompt = user(script(step, {"say": "End."}))
    waits = model.responses(body(prompt)).body["output"][0]
    assert waits["name"] == "exec_command"
    waited = {**output(), "call_id": waits["call_id"]}
    tools = [{"type": "function", "name": "spawn_run"}]
    server = {"type": "namespace", "name": "mcp__agentrun", "tools": tools}
    call = model.responses(body(prompt, waited, tools=(EXEC, server))).body["output"][0]
    assert (call["namespace"], call["name"]) == ("mcp__agentrun", "spawn_run")
    assert json.loads(call["arguments"]) == {"role": "worker"}


def test_a_tool_step_calls_the_tool_in_code_where_the_agent_lists_only_its_server(
    model: Client,
) -> None:
    step = {"tool": "stock/stock_of", "arguments": {"article": "nut"}}
    code = {"type": "custom", "name": "exec"}
    prompt = user(script(step, {"say": "End."}))
    named = "\n- mcp__other: What it is for.\n- mcp__stock\n"
    told = user(f"<tools>\nDeferred tool namespaces:{named}</tools>")
    waits = model.responses(body(told, prompt, tools=(code,))).body["output"][0]
    assert waits["input"] == 'text(await tools.mcp__stock__stock_of({"article": "nut"}));'
    unknown = user("<tools>\nDeferred tool namespaces:\n- mcp__other\n</tools>")
    # One that is connected later is told of later.
    late = user("<tools>\nAdded deferred tool namespaces:\n- mcp__stock\n</tools>")
    calls = model.responses(body(unknown, prompt, late, tools=(code,))).body["output"][0]
    assert "mcp__stock__stock_of" in calls["input"]
    waits = model.responses(body(unknown, prompt, tools=(code,))).body["output"][0]
    assert "exec_command" in waits["input"]
