"""What the Gemini CLI reads from the scripted model."""

import json
from typing import Any

from tests.unit.dev.conftest import Answer, Client, script

Json = dict[str, Any]
SHELL = {"functionDeclarations": [{"name": "run_shell_command"}]}


def ask(
    model: Client, *contents: Json, how: str = "generateContent", tool: Json = SHELL, **more: Any
) -> Answer:
    body = {"contents": list(contents), "tools": [tool], **more}
    return model.request("POST", f"/v1beta/models/m:{how}", body, **{"x-goog-api-key": "the-key"})


def parts(answer: Answer) -> list[Json]:
    found: list[Json] = answer.body["candidates"][0]["content"]["parts"]
    return found


def user(*texts: str) -> Json:
    return {"role": "user", "parts": [{"text": text} for text in texts]}


def result(text: str = "ok") -> Json:
    answer = {"name": "run_shell_command", "response": {"output": text}}
    return {"role": "user", "parts": [{"functionResponse": answer}]}


def test_each_result_advances_the_script(model: Client) -> None:
    context = user("<session_context>\nThis is the Gemini CLI.\n</session_context>")
    prompt = user(script({"say": "First."}, {"shell": "ls"}, {"say": "End."}))
    said, call = parts(ask(model, context, prompt))
    assert said == {"text": "First."}
    assert call["functionCall"]["args"]["command"] == "ls"
    called = {"role": "model", "parts": [said, call]}
    assert parts(ask(model, context, prompt, called, result())) == [{"text": "End."}]


def test_a_stream_ends_with_the_reason_and_the_usage(model: Client) -> None:
    prompt = user(script({"think": "hm"}, {"say": "yes"}))
    answer = ask(model, prompt, how="streamGenerateContent")
    events = [json.loads(e.removeprefix("data: ")) for e in answer.text.split("\n\n") if e]
    texts = [event["candidates"][0]["content"]["parts"][0] for event in events]
    assert texts[:2] == [{"text": "hm", "thought": True}, {"text": "yes"}]
    assert events[-1]["candidates"][0]["finishReason"] == "STOP"
    assert events[-1]["usageMetadata"]["promptTokenCount"] == 100


def test_the_choice_of_a_model_is_a_separate_request(model: Client) -> None:
    config = {"responseMimeType": "application/json"}
    answer = ask(model, user(script({"error": 500})), tool={}, generationConfig=config)
    assert json.loads(parts(answer)[0]["text"])["model_choice"] == "flash"


def test_a_tool_step_calls_the_tool_once_its_server_is_connected(model: Client) -> None:
    prompt = user(script({"tool": "agentrun/spawn_run", "arguments": {"role": "worker"}}))
    [pause] = parts(ask(model, prompt))
    assert pause["functionCall"]["name"] == "run_shell_command"
    called = {"role": "model", "parts": [pause]}
    offered = {"functionDeclarations": [{"name": "mcp_agentrun_spawn_run"}]}
    [call] = parts(ask(model, prompt, called, result(), tool=offered))
    assert call["functionCall"] == {"name": "mcp_agentrun_spawn_run", "args": {"role": "worker"}}


def test_an_error_has_the_form_of_the_provider(model: Client) -> None:
    answer = ask(model, user(script({"error": 429, "message": "slow down"})))
    wanted = {"code": 429, "message": "slow down", "status": "RESOURCE_EXHAUSTED"}
    assert (answer.status, answer.body["error"]) == (429, wanted)


def test_tokens_are_counted(model: Client) -> None:
    assert ask(model, user("hello"), how="countTokens").body["totalTokens"] > 0
