"""Where the answer that satisfies a schema comes from."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from agentrun.api.v1alpha1 import OutcomeState
from agentrun.backends import backend_of
from agentrun.backends.claude_code import CLAUDE_CODE
from agentrun.runner.acp.mapping import UpdateMapper, find_answer
from agentrun.runner.answer_check import check_apart, check_schema_apart
from agentrun.runner.journal.large_text import LargeText
from agentrun.runner.prompt import build_repair
from tests.unit.runner.harness import a_gateway, pod

SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {"answer": {"type": "string"}},
    "required": ["answer"],
}
NAMED = {"claudeCode": {"toolName": "StructuredOutput"}}


def call(status: str | None, **more: Any) -> dict[str, Any]:
    return {"sessionUpdate": "tool_call_update", "toolCallId": "t1", "status": status,
            "_meta": NAMED, **more}  # fmt: skip


def words(text: str) -> dict[str, Any]:
    content = {"type": "text", "text": text}
    return {"sessionUpdate": "agent_message_chunk", "content": content}


def told(*updates: dict[str, Any]) -> UpdateMapper:
    mapper = UpdateMapper()
    for update in updates:
        mapper.feed(update)
    mapper.end_turn()
    return mapper


def test_claude_code_gets_the_schema_without_its_dialect() -> None:
    meta = CLAUDE_CODE.session_meta(False, SCHEMA)["claudeCode"]["options"]["outputFormat"]
    assert meta["type"] == "json_schema"
    assert meta["schema"] == {key: value for key, value in SCHEMA.items() if key != "$schema"}


@pytest.mark.parametrize(
    ("backend", "schema"),
    [("codex", SCHEMA), ("gemini", SCHEMA), ("claude_code", None), ("claude_code", {})],
)
def test_other_agents_get_the_schema_as_text(backend: str, schema: dict[str, Any] | None) -> None:
    of_backend = backend_of(backend)
    assert of_backend.session_meta(False, schema) == of_backend.session_meta(False, None)
    assert "outputFormat" not in str(of_backend.session_meta(False, schema))


def test_claude_code_needs_no_permission_for_agentruns_own_tools() -> None:
    options = CLAUDE_CODE.session_meta(True, SCHEMA)["claudeCode"]["options"]
    assert options["allowedTools"] == ["mcp__agentrun"]
    assert "outputFormat" in options


@pytest.mark.slow
async def test_the_answer_is_the_input_of_the_agents_output_tool() -> None:
    mapper = told(
        words("Here it is:"), call("pending", rawInput={}), call(None, rawInput={"answer": "x"}),
        call("completed"), words('{"answer": "y"}'),
    )  # fmt: skip
    assert await find_answer(mapper, SCHEMA) == {"answer": "x"}
    mapper.begin_turn()
    mapper.feed(words('{"answer": "y"}'))
    assert await find_answer(mapper, SCHEMA) == {"answer": "y"}


@pytest.mark.slow
async def test_input_refused_by_the_output_tool_is_not_the_answer() -> None:
    mapper = told(call("pending", rawInput={"answer": "x"}), call("failed"))
    with pytest.raises(ValueError, match="contains no JSON"):
        await find_answer(mapper, SCHEMA)


@pytest.mark.slow
async def test_input_accepted_by_the_output_tool_is_still_validated() -> None:
    mapper = told(call("completed", rawInput={"answer": 42}))
    with pytest.raises(ValueError, match="is not of type 'string'"):
        await find_answer(mapper, SCHEMA)


@pytest.mark.slow
async def test_a_long_answer_is_complete_and_a_truncated_one_is_refused() -> None:
    long = "x" * 100_000
    mapper = told(call("pending", rawInput={"answer": long}), call("completed"))
    assert await find_answer(mapper, SCHEMA) == {"answer": long}
    beginning = LargeText("x", Path("x"), 10, 10, "text/plain")
    cut = told(call("pending", rawInput={"answer": beginning}), call("completed"))
    assert cut.answer is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("schema", "answer", "problem"),
    [
        pytest.param({"pattern": "^\\p{L}+$"}, "äb", None, id="unicode-classes"),
        pytest.param({"pattern": "^\\p{L}[\\w-.]*$"}, "ä-.", None, id="hyphen-after-a-set"),
        pytest.param({"pattern": "^(?<a>x)\\k<a>$"}, "xx", None, id="named-groups"),
        pytest.param({"pattern": "^\\d$"}, "\u0663", "does not match", id="digits-are-ascii"),
        pytest.param({"pattern": "a\\-b"}, "a-b", None, id="needless-escape"),
        pytest.param({"pattern": "(?P<a>x)"}, "x", "pattern", id="pythons-own"),
        pytest.param({"pattern": "("}, "x", "pattern", id="no-pattern"),
        pytest.param(
            {"patternProperties": {"^\\p{Lu}": {"type": "null"}}, "additionalProperties": False},
            {"A": None}, None, id="names-of-properties",
        ),
    ],
)  # fmt: skip
async def test_patterns_have_the_syntax_of_javascript(
    schema: dict[str, Any], answer: Any, problem: str | None
) -> None:
    checked = check_apart(json.dumps(answer), schema)
    if problem is None:
        assert await checked == answer
        return
    with pytest.raises(ValueError, match=problem):
        await checked


@pytest.mark.slow
@pytest.mark.parametrize(
    ("schema", "answer"),
    [
        pytest.param({"pattern": "^(a+)+$"}, "a" * 40 + "!", id="pattern"),
        pytest.param(
            {"additionalProperties": False, "patternProperties": {"^(a+)+$": {}}},
            {"a" * 40 + "!": 1},
            id="names-of-properties",
        ),
    ],
)
async def test_a_catastrophic_pattern_blocks_nothing_else(
    monkeypatch: pytest.MonkeyPatch, schema: dict[str, Any], answer: Any
) -> None:
    monkeypatch.setattr("agentrun.runner.answer_check.SECONDS", 3.0)
    checking = asyncio.create_task(check_apart(json.dumps(answer), schema))
    ticks = 0
    while not checking.done():
        await asyncio.wait({checking}, timeout=0.1)
        ticks += 1
    assert ticks > 10
    with pytest.raises(ValueError, match=r"the pattern \^\(a\+\)\+\$ in outputSchema"):
        await checking


@pytest.mark.slow
async def test_a_check_takes_no_more_memory_than_the_runners_container_has() -> None:
    with pytest.raises(ValueError, match=r"takes too much memory.* the pattern .* simpler"):
        await check_apart(json.dumps("ab" * 500_000), {"pattern": "^(?:(a)|(b))*$"})


@pytest.mark.slow
async def test_the_largest_answers_can_be_checked() -> None:
    answer = [str(number) for number in range(79_000)]
    schema = {"items": {"type": "string", "pattern": "^\\d+$"}}
    assert await check_apart(json.dumps(answer), schema) == answer


@pytest.mark.slow
@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        pytest.param({"properties": {"a": {"$ref": "#/$defs/A"}}}, "/properties/a has", id="ref"),
        pytest.param({"$ref": "https://example.com/x"}, "other documents", id="elsewhere"),
        pytest.param({"$schema": {}}, r"\$schema", id="dialect"),
        pytest.param({"type": "thing"}, r"at \$.type: 'thing'", id="type"),
        pytest.param({"pattern": "(?P<a>x)"}, "of JavaScript", id="pattern"),
        pytest.param({"schema": {"type": "object"}, "name": "a"}, "pass its content", id="wrapper"),
        pytest.param({"type": "number"}, None, id="valid"),
    ],
)
async def test_a_schema_is_checked_without_an_answer(
    schema: dict[str, Any], problem: str | None
) -> None:
    if problem is None:
        await check_schema_apart(schema)
        return
    with pytest.raises(ValueError, match=problem):
        await check_schema_apart(schema)


@pytest.mark.slow
async def test_an_answer_contains_no_secrets() -> None:
    mapper = UpdateMapper(clean=lambda text: text.replace("s3cr3t", "[redacted]"))
    mapper.feed(call("completed", rawInput={"answer": "s3cr3t"}))
    assert await find_answer(mapper, SCHEMA) == {"answer": "[redacted]"}


def test_the_repair_prompt_names_the_output_tool_if_there_is_one() -> None:
    assert "the tool StructuredOutput" in build_repair("no", SCHEMA, "StructuredOutput")
    assert json.dumps(SCHEMA, indent=2) in build_repair("no", SCHEMA)
    assert "tool" not in build_repair("no", SCHEMA)


OWN_WAY = """
import json, sys
able = REFUSES
def send(message):
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)
def tell(update):
    send({"method": "session/update", "params": {"sessionId": "s", "update": update}})
for line in sys.stdin:
    asked = json.loads(line)
    meta = (asked["params"].get("_meta") or {}).get("claudeCode")
    if asked["method"] == "session/new" and "outputFormat" in meta["options"] and not able:
        error = {"code": -32603, "message": "Internal error", "data": {"details": "no such ref"}}
        send({"id": asked["id"], "error": error})
        continue
    if asked["method"] == "session/prompt":
        text = asked["params"]["prompt"][0]["text"]
        assert ("StructuredOutput" in text) == able, text
        call = {"toolCallId": "t1", "title": "StructuredOutput",
                "_meta": {"claudeCode": {"toolName": "StructuredOutput"}}}
        if able:
            given = {"rawInput": {"answer": "by the tool"}, "status": "pending"}
            tell({"sessionUpdate": "tool_call", **call, **given})
            tell({"sessionUpdate": "tool_call_update", **call, "status": "completed"})
        else:
            content = {"type": "text", "text": '{"answer": "in words"}'}
            tell({"sessionUpdate": "agent_message_chunk", "content": content})
    result = {"protocolVersion": 1, "sessionId": "s", "stopReason": "end_turn"}
    send({"id": asked["id"], "result": result})
"""


@pytest.mark.parametrize(
    ("able", "answer"), [(True, "by the tool"), (False, "in words")], ids=["able", "not-able"]
)
@pytest.mark.slow
async def test_an_agent_without_support_for_schemas_receives_it_as_text(
    tmp_path: Path, able: bool, answer: str
) -> None:
    gateway = a_gateway(backend="claude_code", prompt="Answer.", output_schema=SCHEMA)
    program = OWN_WAY.replace("REFUSES", str(able))
    async with pod(tmp_path, gateway, [sys.executable, "-c", program]) as it:
        await it.ended()
    assert gateway.outcome is not None
    assert gateway.outcome.state is OutcomeState.COMPLETED, gateway.outcome
    [completed] = gateway.data("run_completed")
    assert completed["structured_output"] == {"answer": answer}
    assert json.loads(completed["final_response"]) == {"answer": answer}
    told_why = [data["text"] for data in gateway.data("reasoning")]
    assert [text.endswith("no such ref") for text in told_why] == ([] if able else [True])
