"""`runs`, `events`, `artifacts`, `agents` and `profiles`."""

import json
from pathlib import Path

import pytest

from agentrun.cli.render.text import duration, line_of
from tests.unit.cli.fake_server import START, FakeServer, ending
from tests.unit.cli.terminal import call

PATCH = b"diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-old\n+new\n" * 40


def with_patch(fake: FakeServer) -> None:
    run = fake.add("run-1", "completed")
    run.add("agent_message", text="Done.")
    run.add("artifact_added", name="patch.diff", artifact_refs={"/patch": {"total_bytes": 1}})
    fake.artifacts[2, "/patch"] = PATCH


def test_runs_are_listed_in_columns(fake: FakeServer) -> None:
    fake.add("run-1", "completed", completed_at="2026-11-25T12:02:10.000Z", summary="All\ngood")
    fake.add("run-22", "input_required", agent_name="a-long-name")
    done = call(fake, "runs", "list")
    head, first, second = done.out.splitlines()
    assert head.split() == [
        "RUN", "STATUS", "BACKEND", "AGENT", "AGE", "TOOK", "SUMMARY",
    ]  # fmt: skip
    assert "2m 10s" in first
    assert "All good" in first
    assert first.index("completed") == second.index("input_required") == head.index("STATUS")


def test_an_empty_list_reports_it(fake: FakeServer) -> None:
    done = call(fake, "runs", "list")
    assert (done.code, done.out) == (0, "")
    assert "There are no runs yet: `agentrun run PROMPT` starts one." in done.err
    assert "no matching runs" in call(fake, "runs", "list", "--status", "failed").err
    assert "There are no agents" in call(fake, "agents", "list").err
    assert "There are no messages for ada" in call(fake, "agents", "inbox", "ada").err


def test_runs_that_cannot_be_read_are_reported_beside_the_others(fake: FakeServer) -> None:
    fake.add("run-1", unreadable="status.agent is left out")
    fake.unreadable = [{"run_id": "odd", "namespace": "team-a", "reason": "spec is too deep"}]
    done = call(fake, "runs", "list")
    assert done.out.splitlines()[1].startswith("run-1")
    assert "team-a/odd cannot be read: spec is too deep" in done.err
    assert "status.agent is left out" in call(fake, "runs", "show", "run-1").out


def test_more_runs_than_fit_are_reported(fake: FakeServer) -> None:
    for number in range(3):
        fake.add(f"run-{number}")
    assert "--cursor more" in call(fake, "runs", "list", "--limit", "2").err
    assert json.loads(call(fake, "runs", "list", "--limit", "2", "-o", "json").out)["next_cursor"]
    assert len(call(fake, "runs", "list", "-o", "jsonl").out.splitlines()) == 3


def test_a_run_is_shown_by_its_id_or_its_agent(fake: FakeServer) -> None:
    fake.add("run-1", "failed", error="no luck", prompt="Fix it", reason="AgentError")
    by_id, by_name = call(fake, "runs", "show", "run-1"), call(fake, "runs", "show", "ada")
    assert by_id == by_name
    for words in ("failed (AgentError)", "no luck", "Fix it", "ada · codex · worker"):
        assert words in by_id.out
    assert "agentrun runs again run-1" in by_id.err


def test_an_unknown_run_is_one_line_with_what_to_do(fake: FakeServer) -> None:
    done = call(fake, "runs", "show", "nobody")
    assert (done.code, done.out) == (8, "")
    assert done.err.startswith(
        "agentrun: there is no run and no agent nobody: `agentrun runs list`"
    )


def test_a_piped_diff_is_the_patch_byte_by_byte(fake: FakeServer) -> None:
    with_patch(fake)
    done = call(fake, "runs", "diff", "ada")
    assert done.out.encode() == PATCH


def test_a_run_without_a_patch_reports_why(fake: FakeServer) -> None:
    fake.add("run-1", "completed")
    assert "changed nothing" in call(fake, "runs", "diff", "run-1").err
    fake.add("run-1", "running")
    done = call(fake, "runs", "diff", "run-1")
    assert (done.code, "agentrun runs wait run-1" in done.err) == (8, True)


def test_a_field_is_read_as_a_whole_or_in_part(fake: FakeServer, tmp_path: Path) -> None:
    with_patch(fake)
    assert call(fake, "artifacts", "get", "ada", "2", "/patch").out.encode() == PATCH
    some = call(fake, "artifacts", "get", "ada", "2", "/patch", "--offset", "5", "--limit", "3")
    assert some.out.encode() == PATCH[5:8]
    file = tmp_path / "patch"
    done = call(fake, "artifacts", "get", "ada", "2", "/patch", "--output-file", str(file))
    assert (done.code, file.read_bytes()) == (0, PATCH)
    done = call(fake, "artifacts", "get", "ada", "9", "/x")
    assert (done.code, done.err) == (8, "agentrun: No artifacts found for seq 9\n")


def test_cancelling_states_that_nothing_is_left(fake: FakeServer) -> None:
    fake.add("run-1")
    done = call(fake, "runs", "cancel", "ada", "--reason", "enough")
    assert (done.code, done.out) == (0, "run-1 is cancelled: all of its processes have ended\n")
    assert fake.argument("cancel_run") == {"run_id": "run-1", "wait_ms": 30000, "reason": "enough"}
    fake.add("run-2", "completed", agent_name="bo")
    done = call(fake, "runs", "cancel", "run-2")
    assert (done.code, "already terminal: completed" in done.err) == (8, True)


@pytest.mark.parametrize("output", ["text", "json"])
def test_a_cancellation_that_is_not_waited_for_tells_how_to_wait(
    fake: FakeServer, output: str
) -> None:
    fake.add("run-1")
    done = call(fake, "runs", "cancel", "run-1", "--detach", "-o", output)
    assert done.code == 0
    assert "agentrun runs wait run-1" in done.err
    assert "agentrun" not in done.out


def test_waiting_ends_with_the_run(fake: FakeServer) -> None:
    fake.add("run-1").later = [ending("failed", error="no luck")]
    done = call(fake, "runs", "wait", "run-1")
    assert done.code == 5
    assert "✗ run-1 failed" in done.out
    assert "no luck" in done.out


def test_waiting_has_a_timeout_that_does_not_affect_the_run(fake: FakeServer) -> None:
    fake.add("run-1")
    done = call(fake, "runs", "wait", "run-1", "--timeout", "1s")
    assert done.code == 8
    assert (
        "run-1 is still running after 1s; `agentrun runs wait run-1` continues to wait" in done.err
    )
    assert "cancel_run" not in [name for name, _ in fake.calls]


@pytest.mark.parametrize(
    ("typed", "part"),
    [
        (["2"], {"type": "data", "data": {"option_id": "no"}}),
        (["YES"], {"type": "data", "data": {"option_id": "yes"}}),
        (["Yes, you may"], {"type": "data", "data": {"option_id": "yes"}}),
        (["--option", "no"], {"type": "data", "data": {"option_id": "no"}}),
        (["Use", "the", "other"], {"type": "text", "text": "Use the other"}),
    ],
    ids=str,
)
def test_a_waiting_run_is_answered_and_followed(
    fake: FakeServer, typed: list[str], part: dict[str, object]
) -> None:
    options = [{"id": "yes", "name": "Yes, you may"}, {"id": "no", "name": "No"}]
    run = fake.add("run-1", "input_required", question={"id": "q", "text": "?", "options": options})
    run.later = [ending("completed")]
    done = call(fake, "runs", "continue", "run-1", *typed)
    assert done.code == 0
    assert fake.argument("continue_run")["input_message"] == {"role": "user", "parts": [part]}


def test_an_ended_run_is_continued_by_another(fake: FakeServer) -> None:
    fake.add("run-0", "completed")
    fake.upcoming(ending("completed", ("agent_message", {"text": "More."})))
    done = call(fake, "runs", "continue", "run-0", "And", "now?")
    assert done.code == 0
    assert "run-1 continues run-0" in done.err
    assert "More." in done.out


def test_a_run_is_rerun_from_the_start(fake: FakeServer) -> None:
    fake.add("run-0", "failed")
    done = call(fake, "runs", "again", "run-0", "--detach")
    assert (done.code, done.out) == (0, "run-1\n")
    assert fake.argument("continue_run") == {"run_id": "run-0", "from_start": True}


def test_events_are_printed_and_followed_to_the_end(fake: FakeServer) -> None:
    run = fake.add("run-1")
    run.add("agent_message", text="One.")
    run.later = [ending("completed", ("agent_message", {"text": "Two."}))]
    done = call(fake, "events", "tail", "ada")
    assert done.code == 0
    assert done.out.index("One.") < done.out.index("Two.") < done.out.index("✓ run-1")
    told = json.loads(call(fake, "events", "tail", "ada", "--after", "1", "-o", "json").out)
    assert [event["seq"] for event in told["events"]] == [2, 3]
    assert told["next_after_seq"] == 3
    done = call(fake, "events", "tail", "ada", "--limit", "1", "-o", "jsonl")
    assert [json.loads(line)["data"]["text"] for line in done.out.splitlines()] == ["One."]


def test_following_has_a_timeout(fake: FakeServer) -> None:
    fake.add("run-1")
    done = call(fake, "events", "tail", "run-1", "--timeout", "1s")
    assert (done.code, "events tail run-1 --after 0` continues" in done.err) == (8, True)


def test_an_empty_page_of_agents_does_not_state_that_there_are_none(fake: FakeServer) -> None:
    fake.next_cursor = "c1"
    told = call(fake, "agents", "list", "--status", "idle").err
    assert "None of the agents on this page match" in told
    assert "--cursor c1" in told
    assert "There are no agents" not in told


def test_agents_are_listed_and_receive_messages(fake: FakeServer) -> None:
    fake.agents = [{"agent_name": "ada", "role": None, "status": "idle", "updated_at": START}]
    assert "ada" in call(fake, "agents", "list").out
    fake.next_cursor = "c1"
    assert "--cursor c1" in call(fake, "agents", "list", "--cursor", "c0").err
    asked = [given for tool, given in fake.calls if tool == "list_agents"]
    assert [(one.get("cursor"), one["limit"]) for one in asked[1:4]] == [
        ("c0", 50), ("c1", 49), ("c1", 48)
    ]  # fmt: skip
    assert len(asked) == 51, "as many as it prints, over as many pages as that takes"
    fake.next_cursor = None
    done = call(fake, "agents", "send", "ada", "Look", "here", "--from", "bo")
    assert (done.code, done.out) == (0, "sent to ada as its message 3\n")
    assert fake.argument("send_agent_message") == {
        "to_agent_name": "ada", "from_agent_name": "bo",
        "message": {"role": "user", "parts": [{"type": "text", "text": "Look here"}]},
    }  # fmt: skip
    body = {"role": "user", "parts": [{"type": "text", "text": "Look here"}]}
    mail = {"from_agent_name": None, "created_at": START, "body": body}
    fake.mailbox = [{"seq": seq, **mail} for seq in (2, 3, 4, 5)]
    done = call(fake, "agents", "inbox", "ada", "--after", "2", "--limit", "2")
    assert [line[:4] for line in done.out.splitlines()] == ["[3] ", "[4] "]
    assert done.out.endswith("system: Look here\n")
    asked = [given for tool, given in fake.calls if tool == "fetch_agent_messages"]
    assert [(one["after_seq"], one["limit"]) for one in asked] == [(2, 2), (3, 1)]


def test_profiles_are_listed_with_their_models(fake: FakeServer) -> None:
    models = {"default": "m1", "allowed": ["m1", "m2"]}
    fake.profiles = [{"name": "fast", "backend": "codex", "models": models, "description": "Quick"}]
    done = call(fake, "profiles", "list", "--namespace", "team-a")
    assert done.out.splitlines()[1].split("  ")[0] == "fast"
    assert "m1 (default), m2" in done.out
    assert "Quick" in done.out
    done = call(fake, "profiles", "list")
    assert (done.code, "set --namespace" in done.err) == (8, True)


def test_a_call_survives_a_short_outage_of_the_mcp_server(fake: FakeServer) -> None:
    fake.add("run-1")
    fake.failures = [503, 502]
    assert call(fake, "runs", "show", "run-1").code == 0


def test_a_refused_token_states_what_to_do(fake: FakeServer) -> None:
    fake.failures = [401] * 4
    done = call(fake, "runs", "list")
    assert (done.code, done.out) == (8, "")
    assert "does not accept the token (401): set another one with --token" in done.err
    assert len(done.err.splitlines()) == 1


def test_an_unauthorized_user_gets_the_error_of_the_mcp_server(fake: FakeServer) -> None:
    fake.failures, fake.refusal = [403] * 4, "jane is not authorized to use this AgentRun."
    done = call(fake, "runs", "list")
    assert (done.code, done.out) == (8, "")
    assert f"forbids this (403): {fake.refusal}" in done.err
    assert "token" not in done.err
    assert len(done.err.splitlines()) == 1


def test_a_missing_mcp_server_is_reported(
    fake: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agentrun.cli.client.PATIENCE_SECONDS", 0.0)
    done = call(fake, "runs", "list", AGENTRUN_URL="http://127.0.0.1:1")
    assert done.code == 8
    assert "http://127.0.0.1:1 cannot be reached" in done.err
    assert len(done.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0s"), (59.9, "59s"), (130, "2m 10s"), (3 * 3600 + 240, "3h 4m"), (190_000, "2d 4h")],
)
def test_durations_have_their_two_largest_units(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_a_line_is_truncated_and_escaped() -> None:
    assert line_of("a\n\tb\x1b[2J") == "a b\\x1b[2J"
    assert line_of("word " * 100, 12) == "word word w…"
