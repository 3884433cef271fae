"""`ask`, `run` and `review`: what is asked for, what is shown, and how it ends."""

import json
from pathlib import Path

import pytest

from tests.unit.cli.fake_server import FakeServer, ending
from tests.unit.cli.terminal import call

WORKS = {
    "events": [("run_started", {}), ("agent_message", {"text": "I look.\x1b]52;c;eA==\x07"})],
    "view": {"status": "running"},
}
RAN = ("command_finished", {"command": "ls", "output": "a\nb", "exit_code": 2})


@pytest.mark.parametrize(
    ("command", "role"), [("ask", "planner"), ("run", "worker"), ("review", "reviewer")]
)
def test_each_command_has_its_role(fake: FakeServer, command: str, role: str) -> None:
    fake.upcoming(ending("completed"))
    assert call(fake, command, "Fix", "it").code == 0
    given = fake.argument("spawn_run")
    assert (given["role"], given["backend"], given["prompt"]) == (role, "codex", "Fix it")
    assert "input_message" not in given


def test_a_run_is_shown_with_its_progress_and_result(fake: FakeServer) -> None:
    result = {"files_changed": 2, "insertions": 3, "deletions": 1, "branch": "agentrun/run-1"}
    fake.upcoming(WORKS, ending("completed", RAN, result=result))
    done = call(fake, "run", "Fix it")
    assert done.code == 0
    # An agent's words cannot give orders to the terminal.
    assert "● I look.\\x1b]52;c;eA==\\x07" in done.out
    assert "(exit code 2)" in done.out
    assert "✓ run-1 completed after 2m 10s · 2 files, +3 -1 on agentrun/run-1" in done.out
    assert "\x1b" not in done.out + done.err
    assert "agentrun runs diff run-1" in done.err


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ("completed", 0), ("failed", 5), ("rejected", 5), ("cancelled", 6),
        ("input_required", 7), ("auth_required", 7),
    ],
)  # fmt: skip
def test_the_exit_code_states_how_a_run_ended(fake: FakeServer, status: str, code: int) -> None:
    fake.upcoming(WORKS, ending(status, error="no luck"))
    assert call(fake, "run", "Fix it").code == code


def test_a_question_without_a_terminal_is_shown_and_left_unanswered(fake: FakeServer) -> None:
    question = {"id": "q", "text": "May I?", "options": [{"id": "yes", "name": "Yes, you may"}]}
    asks = ("input_required", {"text": "May I?"})
    fake.upcoming(WORKS, ending("input_required", asks, question=question))
    done = call(fake, "run", "Fix it")
    assert done.code == 7
    assert "1) Yes, you may" in done.err
    assert "agentrun runs continue run-1 ANSWER" in done.err
    assert [name for name, _ in fake.calls if name in ("cancel_run", "continue_run")] == []


@pytest.mark.parametrize("output", ["json", "jsonl"])
def test_a_run_that_waits_tells_the_next_commands_beside_its_json(
    fake: FakeServer, output: str
) -> None:
    asks = ("input_required", {"text": "May I?"})
    question = {"id": "q", "text": "May I?", "options": []}
    fake.upcoming(WORKS, ending("input_required", asks, question=question))
    done = call(fake, "run", "Work.", "-o", output)
    assert done.code == 7
    assert (
        all(json.loads(line) for line in done.out.splitlines())
        if output == "jsonl"
        else (json.loads(done.out)["run"]["status"] == "input_required")
    )
    assert "agentrun runs continue run-1 ANSWER" in done.err
    waited = call(fake, "runs", "wait", "run-1", "-o", output)
    assert waited.code == 7
    assert "agentrun runs continue run-1 ANSWER" in waited.err


@pytest.mark.parametrize("status", ["failed", "rejected", "cancelled"])
@pytest.mark.parametrize("output", ["json", "jsonl"])
def test_a_run_that_has_not_completed_tells_the_next_commands_beside_its_json(
    fake: FakeServer, output: str, status: str
) -> None:
    fake.upcoming(WORKS, ending(status, error="no luck"))
    ran = call(fake, "run", "Work.", "-o", output)
    waited = call(fake, "runs", "wait", "run-1", "-o", output)
    for done in (ran, waited):
        assert "agentrun runs again run-1" in done.err
        assert "agentrun" not in done.out
    assert ran.code == waited.code != 0


@pytest.mark.parametrize("output", ["json", "jsonl"])
def test_a_completed_run_has_only_its_json(fake: FakeServer, output: str) -> None:
    fake.upcoming(WORKS, ending("completed"))
    assert call(fake, "run", "Work.", "-o", output).err == ""


def test_detach_consumes_no_word_of_the_prompt(fake: FakeServer) -> None:
    done = call(fake, "run", "--detach", "Fix", "it")
    assert (done.code, done.out) == (0, "run-1\n")
    assert fake.argument("spawn_run")["prompt"] == "Fix it"
    assert "agentrun runs wait run-1" in done.err


def test_piped_input_follows_the_task(fake: FakeServer) -> None:
    call(fake, "ask", "-p", "What is this?", "--detach", stdin="some\nlog\n")
    given = fake.argument("spawn_run")
    assert given["prompt"] == "What is this?"
    assert given["input_message"]["parts"] == [{"type": "text", "text": "some\nlog"}]


def test_piped_input_may_be_the_task(fake: FakeServer) -> None:
    call(fake, "ask", "--detach", stdin="Say hello.")
    assert fake.argument("spawn_run")["prompt"] == "Say hello."


def test_every_option_reaches_the_mcp_server(fake: FakeServer, tmp_path: Path) -> None:
    schema = tmp_path / "schema.json"
    schema.write_text('{"type": "object"}')
    options = {
        "--backend": "claude_code", "--profile": "fast", "--model": "m", "--repo": "https://g/r",
        "--ref": "main", "--branch": "b", "--cwd": "sub", "--name": "ada", "--schema": str(schema),
        "--deadline": "1h30m", "--idempotency-key": "k", "--namespace": "team-b",
    }  # fmt: skip
    flat = [word for pair in options.items() for word in pair]
    more = ["--metadata", "a=1", "--metadata", "b=x=y", "--detach"]
    assert call(fake, "run", "Go", *flat, *more).code == 0
    assert fake.argument("spawn_run") == {
        "role": "worker", "prompt": "Go", "backend": "claude_code", "profile": "fast",
        "model": "m", "workspace": {"git": {"url": "https://g/r", "ref": "main", "branch": "b"}},
        "cwd": "sub", "nickname": "ada", "session_mode": "new",
        "output_schema": {"type": "object"}, "metadata": {"a": "1", "b": "x=y"},
        "timeouts": {"active_deadline_seconds": 5400}, "idempotency_key": "k",
        "namespace": "team-b",
    }  # fmt: skip


def test_a_remote_agent_is_named_by_its_url(fake: FakeServer) -> None:
    call(fake, "ask", "Hi", "--agent-url", "https://a2a.example", "--detach")
    given = fake.argument("spawn_run")
    assert given["backend"] == "remote_a2a"
    assert given["backend_config"] == {"agent_url": "https://a2a.example"}


def test_the_backend_follows_from_a_profile_or_a_conversation(fake: FakeServer) -> None:
    fake.profiles = [{"name": "slow", "backend": "gemini"}]
    call(fake, "ask", "Hi", "--profile", "slow", "--namespace", "team-a", "--detach")
    assert fake.argument("spawn_run")["backend"] == "gemini"
    fake.reset()
    fake.add("run-0", "completed", agent_name="bo", backend="opencode")
    call(fake, "ask", "Hi", "--resume", "bo", "--detach")
    given = fake.argument("spawn_run")
    assert (given["backend"], given["session_mode"], given["session_id"]) == (
        "opencode", "resume", "bo",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run"], "there is no task"),
        (["run", "Go", "--prompt", "Go"], "give the task once"),
        (["run", "Go", "--ref", "main"], "need --repo"),
        (["run", "Go", "--metadata", "novalue"], "KEY=VALUE"),
        (["run", "Go", "--deadline", "soon"], "90s, 15m or 1h30m"),
        (["run", "Go", "--schema", "/nowhere"], "cannot be read as JSON"),
        (["run", "Go", "-x"], "-x"),
        (["run", "Go", "--output", "xml"], "xml"),
        (["runs", "show"], "RUN"),
        (["runs", "continue", "run-1"], "there is no answer"),
    ],
)
def test_a_wrong_call_ends_with_2_without_a_request(
    fake: FakeServer, arguments: list[str], words: str
) -> None:
    done = call(fake, *arguments)
    assert done.code == 2
    assert words in done.err
    assert fake.calls == []


@pytest.mark.parametrize("command", [[], ["ask"], ["run"], ["runs"], ["runs", "list"], ["events"]])
def test_help_ends_with_0(fake: FakeServer, command: list[str]) -> None:
    done = call(fake, *command, "--help")
    assert (done.code, done.err) == (0, "")
    assert "Usage:" in done.out


def test_json_prints_the_result_at_the_end(fake: FakeServer) -> None:
    fake.upcoming(WORKS, ending("completed", result={"summary": "Done."}))
    done = call(fake, "run", "Go", "-o", "json")
    told = json.loads(done.out)
    assert (told["spawn"]["run_id"], told["run"]["status"]) == ("run-1", "completed")
    assert told["result"] == {"summary": "Done."}
    assert told["run"]["of_the_next_version"] == {"kept": True}


def test_jsonl_prints_each_event_when_it_arrives(fake: FakeServer) -> None:
    fake.upcoming(WORKS, ending("failed", error="no luck"))
    done = call(fake, "run", "Go", "-o", "jsonl")
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert [line["type"] for line in lines] == [
        "run_started", "agent_message", "status_changed", "run_summary",
    ]  # fmt: skip
    assert lines[-1]["payload"]["error"] == "no luck"
    assert done.code == 5


def test_a_refusal_of_the_mcp_server_is_one_line_and_ends_with_8(fake: FakeServer) -> None:
    done = call(fake, "run", "Go", "--profile", "unknown", "--backend", "codex")
    assert done.code == 8
    assert done.err == (
        "agentrun: Unknown profile: unknown. Profiles in this namespace: codex (codex).\n"
    )
