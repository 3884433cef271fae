"""What Claude Code reads from the scripted model."""

from http.client import IncompleteRead
from typing import Any

import pytest

from tests.unit.dev.conftest import Client, script

Json = dict[str, Any]
BASH = {"name": "Bash", "input_schema": {}}
STRUCTURED = {"name": "StructuredOutput", "input_schema": {}}


def body(*messages: Json, stream: bool = False, tools: tuple[Json, ...] = (BASH,)) -> Json:
    return {"model": "m", "messages": list(messages), "stream": stream, "tools": list(tools)}


def user(text: str) -> Json:
    return {"role": "user", "content": [{"type": "text", "text": text}]}


def result() -> Json:
    return {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": ""}]}


def test_a_shell_step_becomes_a_bash_call(model: Client) -> None:
    answer = model.messages(body(user(script({"say": "First."}, {"shell": "ls"}))))
    assert answer.status == 200
    assert answer.body["stop_reason"] == "tool_use"
    said, call = answer.body["content"]
    assert said == {"type": "text", "text": "First."}
    assert (call["name"], call["input"]["command"]) == ("Bash", "ls")


def test_each_result_advances_the_script(model: Client) -> None:
    prompt = user(script({"shell": "one"}, {"shell": "two"}, {"say": "End."}))
    second = model.messages(body(prompt, result())).body
    third = model.messages(body(prompt, result(), result())).body
    assert second["content"][0]["input"]["command"] == "two"
    assert third["content"] == [{"type": "text", "text": "End."}]
    assert third["stop_reason"] == "end_turn"


def test_a_stream_is_a_complete_message(model: Client) -> None:
    prompt = user(script({"think": "hm"}, {"say_slowly": "one two", "words_per_second": 1000},
                         {"shell": "ls"}))  # fmt: skip
    events = model.messages(body(prompt, stream=True)).events
    assert [event["type"] for event in events] == [
        "message_start", "ping",
        "content_block_start", "content_block_delta", "content_block_delta", "content_block_stop",
        "content_block_start", "content_block_delta", "content_block_delta", "content_block_stop",
        "content_block_start", "content_block_delta", "content_block_stop",
        "message_delta", "message_stop",
    ]  # fmt: skip
    deltas = [event["delta"] for event in events if event["type"] == "content_block_delta"]
    assert [delta["type"] for delta in deltas] == [
        "thinking_delta", "signature_delta", "text_delta", "text_delta", "input_json_delta",
    ]  # fmt: skip
    assert deltas[2]["text"] + deltas[3]["text"] == "one two"
    assert events[-2]["delta"]["stop_reason"] == "tool_use"


def test_a_newer_prompt_starts_a_new_script(model: Client) -> None:
    old = user(script({"shell": "old"}, {"say": "old"}))
    new = user(script({"say": "new"}))
    assert model.messages(body(old, result(), new)).body["content"][0]["text"] == "new"


def test_text_that_the_agent_adds_is_not_a_prompt(model: Client) -> None:
    prompt = user(script({"say": "mine"}))
    reminder = user("<system-reminder>Be good.</system-reminder>")
    assert model.messages(body(prompt, reminder)).body["content"][0]["text"] == "mine"


def test_a_request_without_tools_consumes_no_step(model: Client) -> None:
    prompt = user(script({"error": 500, "times": 1}, {"say": "x"}))
    assert model.messages(body(prompt, tools=())).status == 200
    assert model.messages(body(prompt)).status == 500
    assert model.messages(body(prompt)).status == 200


def test_structured_output_uses_its_tool_if_there_is_one(model: Client) -> None:
    prompt = user(script({"structured": {"answer": 42}}))
    call = model.messages(body(prompt, tools=(BASH, STRUCTURED))).body["content"][0]
    assert (call["name"], call["input"]) == ("StructuredOutput", {"answer": 42})
    assert model.messages(body(prompt)).body["content"][0]["text"] == '{"answer": 42}'


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, "authentication_error"), (429, "rate_limit_error"), (500, "api_error")],
)
def test_an_error_has_the_providers_shape(model: Client, status: int, kind: str) -> None:
    answer = model.messages(body(user(script({"error": status, "message": "no luck"}))))
    assert answer.status == status
    assert answer.body == {"type": "error", "error": {"type": kind, "message": "no luck"}}


def test_a_wrong_key_is_refused_and_not_repeated(
    model: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = model.messages(body(user("hello")), key="wrong-key")
    assert answer.status == 401
    assert answer.body["error"]["type"] == "authentication_error"
    assert "wrong-key" not in answer.text + capsys.readouterr().out


def test_a_truncated_stream_has_no_end(model: Client) -> None:
    with pytest.raises(IncompleteRead):
        model.messages(body(user(script({"say": "half"}, {"cut": True})), stream=True))


def test_tokens_are_counted(model: Client) -> None:
    headers = {"x-api-key": "the-key"}
    answer = model.request("POST", "/v1/messages/count_tokens", body(user("hello")), **headers)
    assert answer.body["input_tokens"] > 0


def test_an_invalid_script_is_an_error_of_the_caller(model: Client) -> None:
    answer = model.messages(body(user("```script\n[{\n```")))
    assert answer.status == 400
    assert "not JSON" in answer.body["error"]["message"]


SEARCH = {"name": "ToolSearch", "input_schema": {}}
SPAWN = script({"tool": "agentrun/spawn_run", "arguments": {"role": "worker"}}, {"say": "End."})
NAME = "mcp__agentrun__spawn_run"


def test_a_tool_step_calls_the_tool_of_the_mcp_server(model: Client) -> None:
    offered = {"name": NAME, "input_schema": {}}
    call = model.messages(body(user(SPAWN), tools=(BASH, offered))).body["content"][0]
    assert (call["name"], call["input"]) == (NAME, {"role": "worker"})


def test_an_unconnected_tool_is_awaited_and_then_searched(model: Client) -> None:
    waits = model.messages(body(user(SPAWN), tools=(BASH, SEARCH))).body["content"][0]
    assert waits["name"] == "Bash"
    aside = {"type": "tool_result", "tool_use_id": waits["id"], "content": ""}
    told = {"role": "system", "content": f"Deferred tools: {NAME}"}
    messages = [user(SPAWN), {"role": "user", "content": [aside]}, told]
    searches = model.messages(body(*messages, tools=(BASH, SEARCH))).body["content"][0]
    assert (searches["name"], searches["input"]["query"]) == ("ToolSearch", f"select:{NAME}")
    reference = {"type": "tool_reference", "tool_name": NAME}
    found = {"type": "tool_result", "tool_use_id": searches["id"], "content": [reference]}
    loaded = {"role": "user", "content": [found, {"type": "text", "text": "Tool loaded."}]}
    call = model.messages(body(*messages, loaded, tools=(BASH, SEARCH))).body["content"][0]
    assert call["name"] == NAME
