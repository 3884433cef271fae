"""What opencode reads from the scripted model."""

import json
from typing import Any

from tests.unit.dev.conftest import Answer, Client, script

Json = dict[str, Any]
BASH = {"type": "function", "function": {"name": "bash"}}


def ask(model: Client, *messages: Json, tools: tuple[Json, ...] = (BASH,), **more: Any) -> Answer:
    body = {"model": "m", "messages": list(messages), "tools": list(tools), **more}
    return model.request("POST", "/v1/chat/completions", body, authorization="Bearer the-key")


def message(answer: Answer) -> Json:
    found: Json = answer.body["choices"][0]["message"]
    return found


def user(text: str) -> Json:
    return {"role": "user", "content": [{"type": "text", "text": text}]}


def result(call: Json, text: str = "ok") -> Json:
    return {"role": "tool", "tool_call_id": call["id"], "content": text}


def chunks(answer: Answer) -> list[Json]:
    lines = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def test_tools_are_called_by_the_names_that_the_agent_offers(model: Client) -> None:
    steps = script({"tool": "agentrun/list_agents", "arguments": {}}, {"shell": "ls"})
    names = ("mcp__agentrun__list_agents", "run_shell_command")
    tools = tuple({"type": "function", "function": {"name": name}} for name in names)
    first = message(ask(model, user(steps), tools=tools))
    [call] = first["tool_calls"]
    then = message(ask(model, user(steps), first, result(call), tools=tools))
    called = [one["function"]["name"] for one in (call, *then["tool_calls"])]
    assert called == list(names)


def test_each_result_advances_the_script(model: Client) -> None:
    prompt = user(script({"say": "First."}, {"shell": "ls"}, {"say": "End."}))
    first = message(ask(model, prompt))
    [call] = first["tool_calls"]
    assert first["content"] == "First."
    assert call["function"]["name"] == "bash"
    assert json.loads(call["function"]["arguments"])["command"] == "ls"
    assert message(ask(model, prompt, first, result(call)))["content"] == "End."


def test_a_stream_contains_the_same_response_in_chunks(model: Client) -> None:
    prompt = user(script({"think": "hm"}, {"say_slowly": "a b", "words_per_second": 99},
                         {"shell": "ls"}))  # fmt: skip
    found = chunks(ask(model, prompt, stream=True))
    deltas = [chunk["choices"][0]["delta"] for chunk in found if chunk["choices"]]
    assert "".join(delta.get("content") or "" for delta in deltas) == "a b"
    assert [d["reasoning_content"] for d in deltas if "reasoning_content" in d] == ["hm"]
    assert found[-2]["choices"][0]["finish_reason"] == "tool_calls"
    assert found[-1]["usage"]["prompt_tokens"] == 100


def test_a_title_is_a_separate_request(model: Client) -> None:
    prompt = user(script({"error": 500}))
    assert message(ask(model, prompt, tools=()))["content"] == "Scripted work"


def test_a_tool_step_calls_the_tool_once_its_server_is_connected(model: Client) -> None:
    prompt = user(script({"tool": "agentrun/spawn_run", "arguments": {"role": "worker"}}))
    waits = message(ask(model, prompt))
    [pause] = waits["tool_calls"]
    assert pause["function"]["name"] == "bash"
    offered = {"type": "function", "function": {"name": "agentrun_spawn_run"}}
    [call] = message(ask(model, prompt, waits, result(pause), tools=(BASH, offered)))["tool_calls"]
    assert call["function"]["name"] == "agentrun_spawn_run"


def test_a_structured_step_is_the_answers_text(model: Client) -> None:
    prompt = user(script({"structured": {"answer": 42}}))
    assert json.loads(message(ask(model, prompt))["content"]) == {"answer": 42}


def test_an_error_has_the_form_of_the_provider(model: Client) -> None:
    answer = ask(model, user(script({"error": 429, "message": "slow down"})))
    assert (answer.status, answer.body["error"]["message"]) == (429, "slow down")
