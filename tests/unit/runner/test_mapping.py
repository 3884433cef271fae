"""What agents say over ACP, as events."""

import json
from pathlib import Path
from typing import Any

import pytest

from agentrun.runner.acp.mapping import MAX_OPEN_TOOLS, Mapper
from agentrun.runner.redact import Redactor

FIXTURES = Path(__file__).parent / "fixtures"


def events_of(mapper: Mapper, name: str) -> list[tuple[str, dict[str, Any]]]:
    lines = (FIXTURES / f"{name}.jsonl").read_text().splitlines()
    drafts = [draft for line in lines for draft in mapper.feed(json.loads(line))]
    return [(kind.value, data) for kind, data in [*drafts, *mapper.end_turn()]]


def chunk(text: str, message: str | None = None, kind: str = "agent_message_chunk") -> Any:
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
    mapper = Mapper()
    events = events_of(mapper, name)
    commands = [(kind, data) for kind, data in events if kind.startswith("command_")]
    assert [kind for kind, _ in commands] == ["command_started", "command_finished"]
    started, finished = commands[0][1], commands[1][1]
    assert started["command"] == finished["command"] == "echo hello > hello.txt"
    assert started["tool_use_id"] == finished["tool_use_id"]
    assert (finished["tool"], finished["exit_code"]) == (tool, exit_code)
    assert finished["status"] == "completed"
    assert mapper.final_response == "done"


@pytest.mark.parametrize("name", ["codex-cancel-tool", "claude-cancel-tool"])
def test_tool_that_is_cut_off_finishes_all_the_same(name: str) -> None:
    kinds = [kind for kind, _ in events_of(Mapper(), name)]
    assert kinds.count("command_started") == kinds.count("command_finished") == 1


def test_files_that_claudes_commands_change_are_told() -> None:
    changed = [data for kind, data in events_of(Mapper(), "claude-ok") if "file" in kind]
    assert changed[0]["changes"][0]["kind"] == "add"


def test_chunks_of_a_message_become_one_event() -> None:
    mapper = Mapper()
    drafts = [mapper.feed(chunk(text, "m1")) for text in ("Hel", "lo ", "there")]
    assert drafts == [[], [], []]
    assert [data["text"] for _, data in mapper.feed(chunk("Next", "m2"))] == ["Hello there"]
    assert [data["text"] for _, data in mapper.end_turn()] == ["Next"]
    assert mapper.final_response == "Next"


def test_a_pause_shows_what_was_said_and_the_final_response_is_whole() -> None:
    mapper = Mapper()
    mapper.feed(chunk("first half, ", "m1"))
    assert [data["text"] for _, data in mapper.flush()] == ["first half, "]
    mapper.feed(chunk("second half", "m1"))
    assert [data["text"] for _, data in mapper.end_turn()] == ["second half"]
    assert mapper.final_response == "first half, second half"


def test_secret_that_is_cut_by_a_pause_waits_for_its_end() -> None:
    redactor = Redactor(["s3cr3t-value"])
    mapper = Mapper(safe_length=redactor.safe_length)
    mapper.feed(chunk("the key is s3cr3", "m1"))
    assert [data["text"] for _, data in mapper.flush()] == ["the key is "]
    mapper.feed(chunk("t-value!", "m1"))
    assert [redactor.text(data["text"]) for _, data in mapper.flush()] == ["[redacted]!"]


def test_plan_becomes_a_checklist() -> None:
    entries = [
        {"content": "look", "status": "completed", "priority": "high"},
        {"content": "leap", "status": "pending", "priority": "low"},
    ]
    [(kind, data)] = Mapper().feed({"sessionUpdate": "plan", "entries": entries})
    assert kind == "todo_updated"
    assert [(item["text"], item["completed"]) for item in data["items"]] == [
        ("look", True), ("leap", False),
    ]  # fmt: skip


def test_edit_tells_the_file_with_its_path_in_the_workspace() -> None:
    mapper = Mapper(workspace="/workspace")
    tool = {"sessionUpdate": "tool_call", "toolCallId": "t1", "kind": "edit", "title": "Edit a.py"}
    mapper.feed({**tool, "status": "in_progress", "rawInput": {"file_path": "/workspace/a.py"}})
    diff = {"type": "diff", "path": "/workspace/a.py", "oldText": "1", "newText": "2"}
    done = {"sessionUpdate": "tool_call_update", "toolCallId": "t1", "status": "completed"}
    events = mapper.feed({**done, "content": [diff]})
    assert [kind.value for kind, _ in events] == ["tool_finished", "file_changed"]
    assert events[1][1]["changes"] == [{"path": "a.py", "kind": "update"}]


def test_updates_after_the_end_of_a_tool_change_nothing() -> None:
    mapper = Mapper()
    call = {"toolCallId": "t1", "kind": "execute", "rawInput": {"command": "ls"}}
    mapper.feed({"sessionUpdate": "tool_call", "status": "in_progress", **call})
    again = {"sessionUpdate": "tool_call_update", "status": "completed", **call}
    assert len(mapper.feed(again)) == 1
    assert mapper.feed(again) == []


def test_terminal_output_is_shown_in_pieces_and_whole_at_the_end() -> None:
    mapper = Mapper()
    call = {"sessionUpdate": "tool_call", "toolCallId": "t1", "kind": "execute"}
    mapper.feed({**call, "status": "in_progress", "rawInput": {"command": "make"}})
    update = {"sessionUpdate": "tool_call_update", "toolCallId": "t1"}
    mapper.feed({**update, "_meta": {"terminal_output": {"data": "one\n"}}})
    assert [data["output"] for _, data in mapper.flush()] == ["one\n"]
    assert mapper.flush() == []
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
def test_odd_updates_break_nothing(update: dict[str, Any]) -> None:
    Mapper().feed(update)


def test_unknown_update_is_noted_once() -> None:
    mapper = Mapper()
    [(kind, data)] = mapper.feed({"sessionUpdate": "dream"})
    assert kind == "reasoning"
    assert "dream" in data["text"]
    assert mapper.feed({"sessionUpdate": "dream"}) == []


def test_terminal_of_a_tool_that_does_not_start_is_bounded() -> None:
    redactor = Redactor(["s3cr3t-value"])
    mapper = Mapper(safe_length=redactor.safe_length)
    update = {"sessionUpdate": "tool_call_update", "toolCallId": "t1", "kind": "execute"}
    mapper.feed({**update, "_meta": {"terminal_output": {"data": "a" * 65_530 + "s3cr3t-value"}}})
    for _ in range(100):
        mapper.feed({**update, "_meta": {"terminal_output": {"data": "b" * 65_536}}})
    started = mapper.feed({**update, "rawInput": {"command": "make"}})
    assert [kind.value for kind, _ in started] == ["command_started", "command_updated"]
    output = started[1][1]["output"]
    assert output.startswith("a" * 65_530 + "\n[... ")
    assert "left out" in output
    assert len(output) < 66_000
    mapper.feed({**update, "_meta": {"terminal_output": {"data": "more"}}})
    assert [data["output"] for _, data in mapper.flush()] == ["more"]


def test_what_is_known_of_an_unfinished_tool_is_bounded() -> None:
    redactor = Redactor(["s3cr3t-value"])
    mapper = Mapper(safe_length=redactor.safe_length)
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
    assert 200_000 < len(output) < 300_000
    assert "the rest was left out" in output
    assert "s3c" not in redactor.text(output)
    assert len(finished["title"]) < 300_000


def test_last_update_of_a_tool_is_taken_whole() -> None:
    text = {"type": "content", "content": {"type": "text", "text": "x" * 600_000}}
    update = {"sessionUpdate": "tool_call", "toolCallId": "t1", "kind": "search"}
    drafts = Mapper().feed({**update, "status": "completed", "content": [text]})
    assert drafts[-1][1]["output"] == "x" * 600_000


def test_oldest_of_too_many_tools_is_ended() -> None:
    mapper = Mapper()
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
    assert mapper.feed({**update, "toolCallId": "t0", "status": "completed"}) == []
    assert len(mapper.end_turn()) == MAX_OPEN_TOOLS
    for n in range(1000):
        assert mapper.feed({**update, "toolCallId": f"silent{n}"}) == []
    assert len(mapper._tools) < 100
