"""What agents say over ACP, as events."""

import json
from pathlib import Path
from typing import Any

import pytest

from agentrun.runner.acp.mapping import MAX_OPEN_TOOLS, UpdateMapper
from agentrun.runner.journal.large_text import LargeText, Text
from agentrun.runner.journal.redact import Redactor
from agentrun.runner.journal.sanitize import sanitize

FIXTURES = Path(__file__).parent / "fixtures"


def events_of(mapper: UpdateMapper, name: str) -> list[tuple[str, dict[str, Any]]]:
    lines = (FIXTURES / f"{name}.jsonl").read_text().splitlines()
    drafts = [draft for line in lines for draft in mapper.feed(json.loads(line))]
    return [(kind.value, data) for kind, data in [*drafts, *mapper.end_turn()]]


def chunk(text: Text, message: str | None = None, kind: str = "agent_message_chunk") -> Any:
    content = {"type": "text", "text": text}
    return {"sessionUpdate": kind, "messageId": message, "content": content}


@pytest.mark.parametrize(
    ("name", "tool", "exit_code"),
    [
        pytest.param("codex-ok", "exec_command", 0, id="codex"),
        pytest.param("claude-ok", "Bash", 0, id="claude"),
        pytest.param("opencode-ok", "shell", 0, id="opencode"),
        pytest.param("gemini-ok", "shell", None, id="gemini"),
    ],
)
def test_command_starts_once_and_finishes_once(name: str, tool: str, exit_code: int | None) -> None:
    mapper = UpdateMapper()
    events = events_of(mapper, name)
    commands = [(kind, data) for kind, data in events if kind.startswith("command_")]
    assert [kind for kind, _ in commands] == ["command_started", "command_finished"]
    started, finished = commands[0][1], commands[1][1]
    assert started["command"] == finished["command"] == "echo hello > hello.txt"
    assert started["tool_use_id"] == finished["tool_use_id"]
    assert (finished["tool"], finished["exit_code"]) == (tool, exit_code)
    assert finished["status"] == "completed"
    assert mapper.final_response == "done"


@pytest.mark.parametrize(
    "name",
    ["codex-cancel-tool", "claude-cancel-tool", "opencode-cancel-tool", "gemini-cancel-tool"],
)
def test_interrupted_tool_still_finishes(name: str) -> None:
    kinds = [kind for kind, _ in events_of(UpdateMapper(), name)]
    assert kinds.count("command_started") == kinds.count("command_finished") == 1


@pytest.mark.parametrize("name", ["opencode-perm", "gemini-perm"])
def test_tool_that_was_allowed_starts_once_and_finishes_once(name: str) -> None:
    events = [(kind, data) for kind, data in events_of(UpdateMapper(), name) if "command" in kind]
    assert [kind for kind, _ in events] == ["command_started", "command_finished"]
    assert {data["command"] for _, data in events} == {"touch made.txt && date > d.txt"}


@pytest.mark.parametrize(
    ("output", "code"),
    [
        pytest.param("Exit code 3\nno such file", 3, id="claude"),
        pytest.param("Command exited with code: 3", 3, id="gemini"),
        pytest.param("Command exited with code: 3\nsaid the test", None, id="what-a-test-says"),
    ],
)
def test_exit_code_is_read_from_all_places_where_agents_report_it(
    output: str, code: int | None
) -> None:
    content = [{"type": "content", "content": {"type": "text", "text": output}}]
    tool = {"toolCallId": "t1", "kind": "execute", "title": "make", "content": content}
    done = {"sessionUpdate": "tool_call", "status": "completed", **tool}
    assert UpdateMapper().feed(done)[-1][1]["exit_code"] == code


def test_running_tool_is_shown_by_its_title() -> None:
    mapper = UpdateMapper()
    mapper.feed({"sessionUpdate": "tool_call", "toolCallId": "t1", "title": "mcp.agentrun.x"})
    assert mapper.announced("t1").call["title"] == "mcp.agentrun.x"
    assert mapper.announced("t2").call == {}


def test_geminis_mcp_tool_has_the_names_of_server_and_tool() -> None:
    title = "list_agents (agentrun MCP Server)"
    tool = {"toolCallId": "t1", "kind": "other", "title": title, "content": []}
    done = {"sessionUpdate": "tool_call_update", "status": "completed", **tool}
    for _, data in UpdateMapper().feed(done):
        assert (data["server"], data["tool"]) == ("agentrun", "list_agents")


def test_files_that_claudes_commands_change_are_reported() -> None:
    changed = [data for kind, data in events_of(UpdateMapper(), "claude-ok") if "file" in kind]
    assert changed[0]["changes"][0]["kind"] == "add"


def test_chunks_of_a_message_become_one_event() -> None:
    mapper = UpdateMapper()
    drafts = [mapper.feed(chunk(text, "m1")) for text in ("Hel", "lo ", "there")]
    assert drafts == [[], [], []]
    assert [data["text"] for _, data in mapper.feed(chunk("Next", "m2"))] == ["Hello there"]
    assert [data["text"] for _, data in mapper.end_turn()] == ["Next"]
    assert mapper.final_response == "Next"


def test_a_pause_flushes_the_text_and_the_final_response_is_complete() -> None:
    mapper = UpdateMapper()
    mapper.feed(chunk("first half, ", "m1"))
    assert [data["text"] for _, data in mapper.let_go()] == ["first half, "]
    mapper.feed(chunk("second half", "m1"))
    assert [data["text"] for _, data in mapper.end_turn()] == ["second half"]
    assert mapper.final_response == "first half, second half"


SECRET = "s3cr3t-value"


def with_redactor() -> UpdateMapper:
    redactor = Redactor([SECRET])
    return UpdateMapper(redactor.text, redactor.safe_length, redactor.continuation)


@pytest.mark.parametrize(
    ("pieces", "texts"),
    [
        pytest.param(["for the rest to s"], ["for the rest to s"], id="nothing-follows"),
        pytest.param(["the rest", " is s", "afe"], ["the rest", " is s", "afe"], id="no-value"),
        pytest.param(
            ["the key is s3cr3", "t-value!"], ["the key is s3cr3", "[redacted]!"], id="two"
        ),
        pytest.param(
            ["s3", "cr", "3t", "-value", "!"],
            ["s3", "cr", "[redacted]", "[redacted]", "!"],
            id="many",
        ),
        pytest.param(["it's s3", "cr", " the"], ["it's s3", "cr", " the"], id="a-word"),
        pytest.param(
            ["s3cr3t-valu", "e"],
            ["s3cr3t-valu", "[redacted]"],
            id="all-but-the-last",
        ),
        pytest.param(
            ["s3cr3", "t-value s3cr3t-value!"], ["s3cr3", "[redacted] [redacted]!"], id="twice"
        ),
        pytest.param(["s3cr3", "\n"], ["s3cr3"], id="blank"),
    ],
)
def test_text_is_published_in_a_pause_and_the_rest_of_a_secret_removed(
    pieces: list[str], texts: list[str]
) -> None:
    redactor = Redactor([SECRET])
    mapper, published = with_redactor(), list[str]()
    for piece in pieces:
        mapper.feed(chunk(piece, "m1"))
        published += [redactor.text(data["text"]) for _, data in mapper.let_go()]
    published += [redactor.text(data["text"]) for _, data in mapper.end_turn()]
    assert published == texts
    assert redactor.text(mapper.final_response or "") == redactor.text("".join(pieces))


def test_a_secret_that_goes_on_after_a_tool_call_is_removed() -> None:
    mapper = with_redactor()
    drafts = mapper.feed(chunk("the key is s3cr3", "m1"))
    drafts += mapper.feed({"sessionUpdate": "plan", "entries": []})
    drafts += mapper.feed(chunk("t-value!", "m1")) + mapper.end_turn()
    texts = [data["text"] for kind, data in drafts if kind == "agent_message"]
    assert texts == ["the key is s3cr3", "[redacted]!"]


def test_the_output_of_a_command_is_published_in_a_pause() -> None:
    mapper = with_redactor()
    command = {"toolCallId": "t", "kind": "execute", "title": "ls", "status": "in_progress"}
    mapper.feed({"sessionUpdate": "tool_call", **command})
    outputs = []
    for data in ("one s3cr3", "t-value\n", "two"):
        meta = {"terminal_output": {"data": data}}
        mapper.feed({"sessionUpdate": "tool_call_update", "toolCallId": "t", "_meta": meta})
        outputs += [data["output"] for _, data in mapper.let_go()]
    assert outputs == ["one s3cr3", "[redacted]\n", "two"]


def said_by(drafts: list[Any], kind: str = "agent_message") -> dict[str, str]:
    """Join the pieces of each message."""
    whole: dict[str, str] = {}
    for one, data in drafts:
        if one == kind:
            whole[data["message_id"]] = whole.get(data["message_id"], "") + data["text"]
    return whole


@pytest.mark.parametrize("kind", ["agent_message", "reasoning"])
@pytest.mark.parametrize("given", ["msg_1", None])
def test_chunks_of_a_message_join_to_the_original_text(given: str | None, kind: str) -> None:
    mapper = UpdateMapper(attempt=2)
    update = "agent_message_chunk" if kind == "agent_message" else "agent_thought_chunk"
    texts = ["Hello ", "\n\n", " \n", "world", "x" * 10_000, "\t", "\n" * 9000, "end"]
    drafts = []
    for text in texts:
        drafts += mapper.feed(chunk(text, given, update)) + mapper.let_go()
    drafts += mapper.end_turn()
    assert len(drafts) > 4
    assert said_by(drafts, kind) == {given or "m2.1": "".join(texts)}


def test_each_message_has_an_id_of_its_own() -> None:
    mapper = UpdateMapper()
    tool = {"sessionUpdate": "tool_call", "toolCallId": "t1", "kind": "search"}
    drafts = mapper.feed(chunk("first")) + mapper.feed({**tool, "status": "completed"})
    drafts += mapper.feed(chunk("thought", kind="agent_thought_chunk"))
    drafts += mapper.feed(chunk("second")) + mapper.feed(chunk("third", "msg_3"))
    drafts += mapper.end_turn()
    assert said_by(drafts) == {"m1.1": "first", "m1.3": "second", "msg_3": "third"}
    assert said_by(drafts, "reasoning") == {"m1.2": "thought"}


def test_message_continues_after_a_tool_with_the_preceding_white_space() -> None:
    mapper, drafts = UpdateMapper(), list[Any]()
    tool = {"sessionUpdate": "tool_call", "toolCallId": "t1", "kind": "search"}
    for update in (chunk("one", "m"), chunk("\n", "m"), {**tool, "status": "completed"}):
        drafts += mapper.feed(update) + mapper.let_go()
    drafts += mapper.feed(chunk("two", "m")) + mapper.end_turn()
    assert said_by(drafts) == {"m": "one\ntwo"}
    assert mapper.feed(chunk(" \n", "n")) + mapper.end_turn() == []


def test_white_space_before_a_large_text_is_kept() -> None:
    mapper, large = UpdateMapper(), a_large_text(16_000_000)
    drafts = mapper.feed(chunk("one", "m")) + mapper.let_go() + mapper.feed(chunk("\n", "m"))
    drafts += mapper.feed(chunk(large, "m"))
    assert [data["text"] for _, data in drafts] == ["one", "\n", large]
    assert {data["message_id"] for _, data in drafts} == {"m"}


def test_plan_becomes_a_checklist() -> None:
    entries = [
        {"content": "look", "status": "completed", "priority": "high"},
        {"content": "leap", "status": "pending", "priority": "low"},
    ]
    [(kind, data)] = UpdateMapper().feed({"sessionUpdate": "plan", "entries": entries})
    assert kind == "todo_updated"
    assert [(item["text"], item["completed"]) for item in data["items"]] == [
        ("look", True), ("leap", False),
    ]  # fmt: skip


def test_edit_reports_the_path_of_the_file_in_the_workspace() -> None:
    mapper = UpdateMapper(workspace="/workspace")
    tool = {"sessionUpdate": "tool_call", "toolCallId": "t1", "kind": "edit", "title": "Edit a.py"}
    mapper.feed({**tool, "status": "in_progress", "rawInput": {"file_path": "/workspace/a.py"}})
    diff = {"type": "diff", "path": "/workspace/a.py", "oldText": "1", "newText": "2"}
    done = {"sessionUpdate": "tool_call_update", "toolCallId": "t1", "status": "completed"}
    events = mapper.feed({**done, "content": [diff]})
    assert [kind.value for kind, _ in events] == ["tool_finished", "file_changed"]
    assert events[1][1]["changes"] == [{"path": "a.py", "kind": "update"}]


def test_updates_after_the_end_of_a_tool_change_nothing() -> None:
    mapper = UpdateMapper()
    call = {"toolCallId": "t1", "kind": "execute", "rawInput": {"command": "ls"}}
    mapper.feed({"sessionUpdate": "tool_call", "status": "in_progress", **call})
    again = {"sessionUpdate": "tool_call_update", "status": "completed", **call}
    assert len(mapper.feed(again)) == 1
    assert mapper.feed(again) == []


def test_terminal_output_is_reported_in_chunks_and_completely_at_the_end() -> None:
    mapper = UpdateMapper()
    call = {"sessionUpdate": "tool_call", "toolCallId": "t1", "kind": "execute"}
    mapper.feed({**call, "status": "in_progress", "rawInput": {"command": "make"}})
    update = {"sessionUpdate": "tool_call_update", "toolCallId": "t1"}
    mapper.feed({**update, "_meta": {"terminal_output": {"data": "one\n"}}})
    assert [data["output"] for _, data in mapper.let_go()] == ["one\n"]
    assert mapper.let_go() == []
    mapper.feed({**update, "_meta": {"terminal_output": {"data": "two\n"}}})
    end = {**update, "status": "failed", "_meta": {"terminal_exit": {"exit_code": 2}}}
    [(_, finished)] = mapper.feed(end)
    assert (finished["output"], finished["exit_code"]) == ("one\ntwo\n", 2)


@pytest.mark.parametrize(
    "update",
    [
        pytest.param({}, id="empty"),
        pytest.param({"sessionUpdate": "agent_message_chunk"}, id="no-content"),
        pytest.param({"sessionUpdate": "tool_call"}, id="no-tool"),
        pytest.param({"sessionUpdate": "tool_call", "rawInput": "text", "_meta": 3}, id="odd-tool"),
        pytest.param({"sessionUpdate": "plan", "entries": None}, id="no-plan"),
    ],
)
def test_malformed_updates_break_nothing(update: dict[str, Any]) -> None:
    UpdateMapper().feed(update)


def test_unknown_update_is_logged_once() -> None:
    mapper = UpdateMapper()
    [(kind, data)] = mapper.feed({"sessionUpdate": "dream"})
    assert kind == "reasoning"
    assert "dream" in data["text"]
    assert mapper.feed({"sessionUpdate": "dream"}) == []


def test_terminal_of_a_tool_without_other_output_is_shown() -> None:
    redactor = Redactor(["s3cr3t-value"])
    mapper = UpdateMapper(redactor.text, redactor.safe_length)
    update = {"sessionUpdate": "tool_call_update", "toolCallId": "t1", "kind": "execute"}
    pieces = ["a" * 65_530 + "s3cr3t-", "value!", *["b" * 65_536] * 100, "s3cr3t-va", "lue, end"]
    events = [
        draft
        for piece in pieces
        for draft in mapper.feed({**update, "_meta": {"terminal_output": {"data": piece}}})
    ]
    assert events[0][0] == "command_started"
    finished = mapper.feed({**update, "status": "completed"})[-1][1]["output"]
    shown = "".join(data["output"] for kind, data in events if kind == "command_updated")
    whole = redactor.text("".join(pieces))
    assert shown + finished[-len(whole) + len(shown) :] == whole
    assert finished.startswith("a" * 1000)
    assert finished.endswith("bbb[redacted], end")
    assert "left out: see the command_updated events" in finished
    assert len(finished) < 66_000


def test_state_of_unfinished_tools_is_bounded() -> None:
    redactor = Redactor(["s3cr3t-value"])
    mapper = UpdateMapper(redactor.text, redactor.safe_length)
    update = {"sessionUpdate": "tool_call_update", "toolCallId": "t1", "kind": "search"}
    long = "s3cr3t-value" * 100_000
    text = {"type": "content", "content": {"type": "text", "text": long}}
    deep: Any = "deep"
    for _ in range(500):
        deep = [deep]
    mapper.feed({**update, "content": [text] * 100})
    mapper.feed({**update, "rawInput": {"words": long, "more": [long] * 100, "deep": deep}})
    mapper.feed({**update, "title": long})
    mapper.feed({**update, "status": "in_progress"})
    [(_, finished)] = mapper.end_turn()
    output = finished["output"]
    assert 20_000 < len(output) < 40_000
    assert "the rest was left out" in output
    assert "s3c" not in redactor.text(output)
    assert len(finished["title"]) < 40_000


def test_last_update_of_a_tool_is_used_completely() -> None:
    text = {"type": "content", "content": {"type": "text", "text": "x" * 600_000}}
    update = {"sessionUpdate": "tool_call", "toolCallId": "t1", "kind": "search"}
    drafts = UpdateMapper().feed({**update, "status": "completed", "content": [text]})
    assert drafts[-1][1]["output"] == "x" * 600_000


def test_the_oldest_of_too_many_tools_is_finished() -> None:
    mapper = UpdateMapper()
    update = {"sessionUpdate": "tool_call", "kind": "search"}
    mapper.feed({**update, "toolCallId": "quiet"})
    mapper.feed({**update, "toolCallId": "t0", "status": "in_progress"})
    events = [
        (kind.value, data["tool_use_id"], data["status"])
        for n in range(1, MAX_OPEN_TOOLS + 1)
        for kind, data in mapper.feed({**update, "toolCallId": f"t{n}", "status": "in_progress"})
    ]
    assert [event for event in events if "finished" in event[0]] == [
        ("tool_finished", "t0", "interrupted")
    ]
    late = {"sessionUpdate": "tool_call_update", "toolCallId": "t0", "status": "completed"}
    assert mapper.feed(late) == []
    assert len(mapper.end_turn()) == MAX_OPEN_TOOLS
    for n in range(1000):
        assert mapper.feed({**update, "toolCallId": f"silent{n}"}) == []
    assert len(mapper._tools) < 100


def test_reannounced_id_is_another_tool() -> None:
    mapper = UpdateMapper()
    tool = {"sessionUpdate": "tool_call", "toolCallId": "t1", "kind": "search"}
    kinds = [
        kind
        for _ in range(2)
        for kind, _ in mapper.feed({**tool, "status": "completed", "rawOutput": "found"})
    ]
    assert kinds == ["tool_started", "tool_finished"] * 2


def test_memory_of_finished_tools_is_bounded() -> None:
    mapper = UpdateMapper()
    tool = {"sessionUpdate": "tool_call", "kind": "search", "status": "completed"}
    for number in range(10_000):
        mapper.feed({**tool, "toolCallId": f"t{number}"})
    late = {"sessionUpdate": "tool_call_update", "toolCallId": "t9999", "title": "late"}
    assert mapper.feed(late) == []
    assert len(mapper._finished) < 5000


def test_long_message_is_truncated_at_a_limit_that_it_names() -> None:
    redactor = Redactor(["s3cr3t-value"])
    mapper = UpdateMapper(redactor.text, redactor.safe_length)
    pieces = ["x" * 65_536] * 15 + ["x" * 65_530 + "s3cr3t-value"] + ["y" * 65_536] * 5
    drafts = [draft for piece in pieces for draft in mapper.feed(chunk(piece, "m1"))]
    drafts += mapper.end_turn()
    assert "".join(data["text"] for _, data in drafts) == "".join(pieces)
    assert mapper.is_cut
    assert mapper.final_response
    assert "s3c" not in mapper.final_response
    assert mapper.final_response.endswith("see the agent_message events ...]")
    assert len(mapper.final_response) < 1_100_000


def a_large_text(size: int, media_type: str = "text/plain") -> LargeText:
    return LargeText("x" * 32_000, Path("/nowhere"), size, size, media_type)


def test_large_text_of_a_message_is_one_event() -> None:
    mapper, large = UpdateMapper(), a_large_text(16_000_000)
    drafts = mapper.feed(chunk("before ", "m1")) + mapper.feed(chunk(large, "m1"))
    drafts += mapper.feed(chunk(" after", "m1")) + mapper.end_turn()
    assert [data["text"] for _, data in drafts] == ["before ", large, " after"]
    assert drafts[1][1]["text"] is large
    assert mapper.is_cut
    assert type(mapper.final_response) is str
    assert "15968006 characters left out" in mapper.final_response


def test_large_output_of_a_tool_is_in_its_events() -> None:
    large = a_large_text(16_000_000)
    tool = {"sessionUpdate": "tool_call", "toolCallId": "t1", "kind": "search"}
    texts = [{"type": "content", "content": {"type": "text", "text": one}} for one in ("a", large)]
    for fields in ({"rawOutput": large}, {"rawOutput": {"output": large}}, {"content": texts[1:]}):
        finished = UpdateMapper().feed({**tool, **fields, "status": "completed"})[-1][1]
        assert finished["output"] is large
    finished = UpdateMapper().feed({**tool, "content": texts, "status": "completed"})[-1][1]
    assert finished["content"][1] is large


def test_large_output_of_a_terminal_is_an_event_of_its_own() -> None:
    mapper, large = UpdateMapper(), a_large_text(16_000_000)
    tool = {"sessionUpdate": "tool_call", "toolCallId": "t1", "kind": "execute"}
    drafts = mapper.feed({**tool, "_meta": {"terminal_output": {"data": "before "}}})
    drafts += mapper.feed({**tool, "_meta": {"terminal_output": {"data": large}}})
    later = {**tool, "_meta": {"terminal_output": {"data": " after"}}, "status": "completed"}
    finished = mapper.feed(later)[-1][1]
    assert [data["output"] for kind, data in drafts if kind == "command_updated"] == [
        "before ", large,
    ]  # fmt: skip
    assert finished["output"].endswith("see the command_updated events ...]\n after")


def test_no_large_data_of_a_running_tool_is_kept_in_memory() -> None:
    mapper, large = UpdateMapper(), a_large_text(16_000_000)
    tool = {"sessionUpdate": "tool_call", "toolCallId": "t1", "kind": "search"}
    started = mapper.feed({**tool, "title": large, "rawInput": {"words": large}})
    assert started[0][1]["input"]["words"] is large
    [(_, finished)] = mapper.end_turn()
    assert type(finished["title"]) is str
    assert "left out" in finished["title"]


def test_unreadable_plan_is_stored_as_it_is() -> None:
    large = a_large_text(16_000_000, "application/json")
    drafts = UpdateMapper().feed({"sessionUpdate": "plan", "entries": large})
    assert [kind.value for kind, _ in drafts] == ["reasoning", "todo_updated"]
    assert drafts[0][1]["raw_message"] is large
    assert drafts[1][1] == {"items": []}


def test_unreadable_structure_is_stored_as_it_is() -> None:
    large = a_large_text(16_000_000, "application/json")
    tool = {"sessionUpdate": "tool_call", "toolCallId": "t1", "content": large, "rawInput": large}
    drafts = UpdateMapper().feed({**tool, "status": "completed"})
    assert [data["raw_message"] is large for kind, data in drafts if kind == "reasoning"] == [
        True, True,
    ]  # fmt: skip
    assert drafts[-1][0] == "tool_finished"


CODEXS_CALL = {
    # As codex-acp 2.6.0 sends it.
    "sessionUpdate": "tool_call",
    "toolCallId": "exec-1",
    "kind": "execute",
    "title": "mcp.stock.stock_of",
    "status": "in_progress",
    "rawInput": {"server": "stock", "tool": "stock_of", "arguments": {"article": "nut"}},
    "_meta": {"is_mcp_tool_call": True},
}
END = {"sessionUpdate": "tool_call_update", "toolCallId": "exec-1", "status": "completed"}
PIECES = [{"type": "text", "text": "21 pieces"}]


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        pytest.param({"result": {"content": PIECES}, "error": None}, "21 pieces", id="text"),
        pytest.param(
            {"result": {"content": [], "structuredContent": {"pieces": 21}}, "error": None}, "",
            id="structure",
        ),
        pytest.param({"result": None, "error": {"message": "none"}}, "none", id="error"),
    ],
)  # fmt: skip
def test_a_tool_of_an_mcp_server_is_no_command_though_codex_reports_one(
    raw: dict[str, Any], said: str
) -> None:
    mapper = UpdateMapper()
    [(kind, started)] = mapper.feed(CODEXS_CALL)
    assert kind.value == "tool_started"
    assert (started["server"], started["tool"]) == ("stock", "stock_of")
    assert started["arguments"] == {"article": "nut"}
    [(kind, finished)] = mapper.feed({**END, "rawOutput": raw})
    assert kind.value == "tool_finished"
    assert (finished["tool"], finished["output"]) == ("stock_of", said)
    assert finished["arguments"] == {"article": "nut"}
    assert {"result": finished["result"], "error": finished["error"]} == raw


@pytest.mark.parametrize("raw", [PIECES, "21 pieces", None], ids=["blocks", "text", "nothing"])
def test_claudes_tool_of_an_mcp_server_is_reported_as_one(raw: Any) -> None:
    mapper = UpdateMapper()
    # As claude-agent-acp 0.101.0 sends them.
    call = {
        "sessionUpdate": "tool_call", "toolCallId": "exec-1", "name": "mcp__stock__stock_of",
        "kind": "other", "title": "mcp__stock__stock_of", "status": "pending",
    }  # fmt: skip
    [(_, started)] = mapper.feed({**call, "rawInput": {"article": "nut"}})
    assert (started["server"], started["tool"]) == ("stock", "mcp__stock__stock_of")
    assert started["input"] == started["arguments"] == {"article": "nut"}
    [(_, finished)] = mapper.feed({**END, "rawOutput": raw, "content": content_of(PIECES)})
    assert (finished["server"], finished["output"]) == ("stock", "21 pieces")
    assert finished["arguments"] == {"article": "nut"}
    assert (finished["result"], finished["error"]) == ({"content": PIECES}, None)
    mapper.feed(call)
    failed = mapper.feed({**END, "status": "failed", "rawOutput": "no such article"})[-1][1]
    assert (failed["result"], failed["error"]) == (None, {"message": "no such article"})


def content_of(blocks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"type": "content", "content": block} for block in blocks]


def test_interrupted_call_of_an_mcp_tool_has_no_result() -> None:
    mapper = UpdateMapper()
    mapper.feed(CODEXS_CALL)
    [(_, finished)] = mapper.end_turn()
    assert (finished["result"], finished["error"]) == (None, None)
    assert finished["arguments"] == {"article": "nut"}


def test_large_result_of_an_mcp_tool_is_stored_once() -> None:
    mapper, large = UpdateMapper(), a_large_text(16_000_000)
    mapper.feed(CODEXS_CALL)
    result = {"content": [{"type": "text", "text": large}]}
    [(_, finished)] = mapper.feed({**END, "rawOutput": {"result": result, "error": None}})
    assert finished["output"] is finished["result"]["content"][0]["text"] is large
    small, blobs = sanitize(finished, "artifacts/000001-tool_finished-1")
    assert [blob.text for blob in blobs] == [large]
    refs = small["artifact_refs"]
    assert refs["/output"]["relpath"] == refs["/result/content/0/text"]["relpath"] == blobs[0].name


@pytest.mark.parametrize("kind", ["search", "execute"])
@pytest.mark.parametrize(
    ("raw", "content", "is_given"),
    [
        pytest.param({"matches": [1, 2]}, None, True, id="no-known-key"),
        pytest.param({"error": {"code": 3}}, None, True, id="known-key-of-another-type"),
        pytest.param([{"line": 1}], None, True, id="list"),
        pytest.param(0, None, True, id="number"),
        pytest.param({"matches": [1]}, content_of(PIECES), False, id="text-as-well"),
        pytest.param({"output": "", "exit_code": 0}, None, False, id="nothing-more"),
        pytest.param({}, None, False, id="nothing"),
    ],
)
def test_tool_result_without_text_is_reported_unchanged(
    raw: Any, content: Any, is_given: bool, kind: str
) -> None:
    tool = {"sessionUpdate": "tool_call", "toolCallId": "t1", "kind": kind, "title": "find"}
    finished = UpdateMapper().feed(
        {**tool, "status": "completed", "rawOutput": raw, "content": content}
    )
    data = finished[-1][1]
    assert data["output"] == ("21 pieces" if content else "")
    assert data.get("raw_tool_use_result") == (raw if is_given else None)


def test_large_names_of_an_mcp_call_are_truncated_and_a_large_title_is_stored() -> None:
    large = a_large_text(16_000_000)
    call = {**CODEXS_CALL, "title": large, "rawInput": {"server": {"name": large}, "tool": None}}
    [(_, started)] = UpdateMapper().feed(call)
    assert started["server"] == f"{{'name': '{'x' * 190}"
    assert started["tool"] is large
    [(_, started)] = UpdateMapper().feed({**CODEXS_CALL, "rawInput": {"tool": large}})
    assert started["tool"] == "x" * 200
