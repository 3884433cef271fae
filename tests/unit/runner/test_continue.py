"""Questions to people, and going on from snapshots, over real pipes."""

import json
from pathlib import Path
from typing import Any

import pytest

from agentrun.api import pod_layout
from agentrun.api.messages import AgentMessage
from agentrun.api.v1alpha1 import AgentState, OutcomeState
from tests.events import said
from tests.unit.runner.harness import AGENT, FakeGateway, a_gateway, an_answer, pod
from tests.unit.runner.test_attempt import STRUCTURED, a_repository, git

pytestmark = pytest.mark.slow
ASK = {"permission_mode": "Ask"}


def texts(gateway: FakeGateway) -> str:
    return json.dumps(gateway.data("agent_message"))


async def asked(gateway: FakeGateway) -> str:
    await gateway.until(lambda: gateway.question is not None)
    assert gateway.question is not None
    return gateway.question.id


def data(option: str) -> AgentMessage:
    part = {"type": "data", "data": {"option_id": option}}
    return AgentMessage.model_validate({"parts": [part]})


@pytest.mark.parametrize("message", [an_answer(" YES "), data("yes")], ids=["text", "data"])
async def test_permission_is_requested_and_the_chosen_option_returned(
    tmp_path: Path, message: AgentMessage
) -> None:
    gateway = a_gateway(["ask", "rm -r x"], ["say", "done"], profile_spec=ASK)
    async with pod(tmp_path, gateway) as it:
        await gateway.give(message, await asked(gateway))
        await it.ended()
    assert gateway.outcome is not None
    assert gateway.outcome.state is OutcomeState.COMPLETED
    [event] = gateway.data("input_required")
    assert event["text"] == "The agent asks for permission: rm -r x"
    assert [one["id"] for one in event["options"]] == ["yes", "no"]
    assert 'optionId\\": \\"yes' in texts(gateway)
    assert gateway.data("status_changed")[-1] == {"status": "running", "reason": "continue_run"}
    assert AgentState.INPUT_REQUIRED in [one.state for one in gateway.states]
    assert gateway.states[-1].question is None
    assert gateway.states[-1].acknowledged_input == 1


async def test_what_was_said_before_a_question_is_read_while_it_waits(tmp_path: Path) -> None:
    gateway = a_gateway(["say", "I will delete x"], ["ask", "rm -r x"], profile_spec=ASK)
    async with pod(tmp_path, gateway) as it:
        name = await asked(gateway)
        types = [event["type"] for event in gateway.events]
        assert types.index("agent_message") < types.index("input_required")
        assert gateway.data("agent_message")[0]["text"] == "I will delete x"
        await gateway.give(an_answer("yes"), name)
        await it.ended()


async def test_any_other_text_refuses_and_becomes_the_next_prompt(tmp_path: Path) -> None:
    gateway = a_gateway(["ask", "rm -r x"], ["say", "then"], profile_spec=ASK)
    async with pod(tmp_path, gateway) as it:
        await asked(gateway)
        await gateway.give(an_answer('Rather do\n[["say", "something else"]]'))
        await it.ended()
    assert gateway.outcome is not None
    assert gateway.outcome.state is OutcomeState.COMPLETED
    assert 'optionId\\": \\"no' in texts(gateway)
    assert gateway.data("run_completed")[0]["final_response"] == "something else"
    assert gateway.data("run_completed")[0]["usage"]["total_tokens"] == 10


CANCELS = """
import json, sys
def out(**message): print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    if asked.get("method") == "session/prompt":
        turn = asked["id"]
        call = {"toolCallId": "1", "title": "touch x"}
        options = [{"optionId": "cancel", "name": "No", "kind": "reject_once"}]
        out(id=0, method="session/request_permission",
            params={"sessionId": "s", "toolCall": call, "options": options})
    elif "method" in asked and "id" in asked:
        out(id=asked["id"], result={"protocolVersion": 1, "sessionId": "s"})
    elif "result" in asked:
        out(id=turn, result={"stopReason": "cancelled"})
"""


async def test_turn_cancelled_by_a_refusal_does_not_cancel_the_run(tmp_path: Path) -> None:
    gateway = a_gateway(profile_spec=ASK, prompt="go")
    async with pod(tmp_path, gateway, ["python3", "-c", CANCELS]) as it:
        await asked(gateway)
        await gateway.give(an_answer("no"))
        await it.ended()
    assert gateway.outcome is not None
    assert gateway.outcome.state is OutcomeState.COMPLETED


async def test_answer_to_another_question_is_skipped(tmp_path: Path) -> None:
    gateway = a_gateway(["ask", "x"], profile_spec=ASK)
    async with pod(tmp_path, gateway) as it:
        name = await asked(gateway)
        await gateway.give(an_answer("yes"), "permission-7-1")
        await gateway.until(lambda: "no longer open" in json.dumps(gateway.data("reasoning")))
        await gateway.give(an_answer("no"), name)
        await it.ended()
    assert 'optionId\\": \\"no' in texts(gateway)


async def test_stop_while_a_question_is_open_answers_it(tmp_path: Path) -> None:
    gateway = a_gateway(["ask", "x"], ["say", "never"], profile_spec=ASK)
    async with pod(tmp_path, gateway) as it:
        await asked(gateway)
        it.terminate()
        await it.ended()
    assert gateway.outcome is not None
    assert gateway.outcome.state is OutcomeState.INTERRUPTED
    assert not gateway.outcome.waiting
    assert 'outcome\\": \\"cancelled' in texts(gateway)


async def test_idle_run_ends_its_pod_and_another_continues_with_the_answer(tmp_path: Path) -> None:
    origin = a_repository(tmp_path / "origin.git")
    gateway = a_gateway(
        ["run", "echo half > half.txt; git add half.txt; git commit -qm half"],
        ["run", "echo kept > loose.txt"], ["say", "half"], ["ask", "the rest"],
        ["run", "git log --format=%s; git status --short; cat loose.txt"], ["recall"],
        workspace={"git": {"url": f"file://{origin}"}}, profile_spec=ASK,
    )  # fmt: skip
    first = tmp_path / "first"
    async with pod(first, gateway, idle=0.2) as it:
        await it.ended()
    assert gateway.outcome is not None
    assert (gateway.outcome.state, gateway.outcome.waiting) == (OutcomeState.INTERRUPTED, True)
    assert gateway.states[-1].question is not None
    assert gateway.states[-1].snapshot is not None
    await gateway.give(an_answer("yes"), gateway.states[-1].question.id)

    again = gateway.next_attempt()
    second = tmp_path / "second"
    async with pod(second, again) as it:
        await it.ended()
    assert again.outcome is not None
    assert again.outcome.state is OutcomeState.COMPLETED, again.outcome
    assert "said before" not in json.dumps(again.events)
    shown = again.data("command_finished")[0]["output"]
    assert shown.splitlines() == ["half", "first", "?? loose.txt", "kept"]
    assert "input_required" not in again.types
    ids = [{said["message_id"] for said in one.data("agent_message")} for one in (gateway, again)]
    assert [bool(one) for one in ids] == [True, True]
    assert not ids[0] & ids[1]
    assert "The answer is:\\\\nYes" in texts(again)
    assert "half.txt" in texts(again)
    assert again.outcome.result is not None
    assert again.outcome.result.files_changed == 2
    assert again.states[-1].acknowledged_input == 1
    assert again.states[-1].usage is not None
    assert again.data("run_completed")[0]["usage"]["total_tokens"] == 5
    assert git(second / "workspace", "branch", "--show-current") == "agentrun/run-harness"


async def test_another_run_resumes_conversation_and_repository(tmp_path: Path) -> None:
    origin = a_repository(tmp_path / "origin.git")
    workspace = {"git": {"url": f"file://{origin}"}}
    gateway = a_gateway(["run", "echo one > one.txt"], ["say", "first"], workspace=workspace)
    first = tmp_path / "first"
    async with pod(first, gateway) as it:
        await it.ended()
    prompt = json.dumps([["run", "cat one.txt; echo two > two.txt"], ["recall"]])
    session = {"mode": "resume", "name": "harness"}
    again = gateway.next_attempt(prompt=prompt, session=session)
    second = tmp_path / "second"
    async with pod(second, again, is_new=True) as it:
        await it.ended()
    assert again.outcome is not None
    assert again.outcome.state is OutcomeState.COMPLETED, again.outcome
    assert again.data("command_finished")[0]["output"] == "one\n"
    assert "echo one > one.txt" in texts(again)
    assert again.outcome.result is not None
    assert again.outcome.result.files_changed == 1, "only what this run did"


async def test_workspace_without_git_is_stored_with_its_links(tmp_path: Path) -> None:
    gateway = a_gateway(
        ["run", "mkdir d; echo x > d/f; chmod 755 d/f; ln -s /usr/bin/env tool; mkfifo pipe"]
    )
    first = tmp_path / "first"
    async with pod(first, gateway) as it:
        await it.ended()
    again = gateway.next_attempt(
        prompt=json.dumps([["run", "ls; cat d/f; readlink tool; test -x d/f"]]),
        session={"mode": "resume", "name": "harness"},
    )
    second = tmp_path / "second"
    async with pod(second, again) as it:
        await it.ended()
    shown = again.data("command_finished")[0]
    assert (shown["output"].split(), shown["exit_code"]) == (["d", "tool", "x", "/usr/bin/env"], 0)


async def test_too_large_snapshot_is_not_stored_and_the_run_completes(tmp_path: Path) -> None:
    sessions = {"sessions": {"max_snapshot_size": "100Ki"}}
    gateway = a_gateway(
        ["run", "head -c 300000 /dev/urandom > large"], ["say", "done"], profile_spec=sessions
    )
    async with pod(tmp_path, gateway) as it:
        await it.ended()
    assert gateway.outcome is not None
    assert gateway.outcome.state is OutcomeState.COMPLETED
    error = gateway.states[-1].snapshot_error or ""
    assert "workspace 0.3 MiB" in error
    assert "sessions.maxSnapshotSize" in error
    assert not any(name.startswith("snapshots/") for name in gateway.blobs)
    assert not list((tmp_path / pod_layout.SPOOL.lstrip("/")).glob("snapshot/*"))


def _break_part(gateway: FakeGateway) -> None:
    name = f"{gateway.states[-1].snapshot.name}/part-0001"  # type: ignore[union-attr]
    gateway.blobs[name] = b"x" + gateway.blobs[name][1:]


def _lose_part(gateway: FakeGateway) -> None:
    del gateway.blobs[f"{gateway.states[-1].snapshot.name}/part-0001"]  # type: ignore[union-attr]


@pytest.mark.parametrize("spoil", [_break_part, _lose_part], ids=["changed", "gone"])
async def test_missing_conversation_is_not_replaced_by_a_new_one(
    tmp_path: Path, spoil: Any
) -> None:
    gateway = a_gateway(["say", "first"])
    first = tmp_path / "first"
    async with pod(first, gateway) as it:
        await it.ended()
    spoil(gateway)
    again = gateway.next_attempt(session={"mode": "resume", "name": "harness"})
    second = tmp_path / "second"
    async with pod(second, again) as it:
        await it.ended()
    assert again.outcome is not None
    assert again.outcome.reason == "SessionNotResumable"
    assert "from_start" in (again.outcome.message or "")
    assert "agent_message" not in again.types


async def test_agent_that_cannot_load_a_session_is_named(tmp_path: Path) -> None:
    gateway = a_gateway(["say", "first"])
    first = tmp_path / "first"
    async with pod(first, gateway) as it:
        await it.ended()
    again = gateway.next_attempt(session={"mode": "resume", "name": "harness"})
    second = tmp_path / "second"
    command = [
        "env",
        "ACP_AGENT_MEMORY=",
        *AGENT,
    ]
    async with pod(second, again, command) as it:
        await it.ended()
    assert again.outcome is not None
    assert again.outcome.reason == "SessionNotResumable"


async def test_structured_answer_of_a_resumed_run_is_checked(tmp_path: Path) -> None:
    gateway = a_gateway(["say", "first"])
    first = tmp_path / "first"
    async with pod(first, gateway) as it:
        await it.ended()
    again = gateway.next_attempt(
        prompt="a number", output_schema={"type": "object", "required": ["n"]},
        session={"mode": "resume", "name": "harness"},
    )  # fmt: skip
    able = '"sessionId": "s", "agentCapabilities": {"loadSession": True}}'
    program = STRUCTURED.replace('"sessionId": "s"}', able)
    async with pod(tmp_path / "second", again, ["python3", "-c", program]) as it:
        await it.ended()
    assert again.outcome is not None
    assert again.outcome.state is OutcomeState.COMPLETED, again.outcome
    assert again.outcome.result is not None
    assert again.outcome.result.structured == {"n": 7}


LATE = """
import json, sys
def send(message):
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)
def say(text):
    content = {"type": "text", "text": text}
    update = {"sessionUpdate": "agent_message_chunk", "content": content}
    send({"method": "session/update", "params": {"sessionId": "s", "update": update}})
for line in sys.stdin:
    asked = json.loads(line)
    if asked["method"] == "session/prompt":
        say("new")
    able = {"loadSession": True}
    send({"id": asked["id"], "result": {
        "protocolVersion": 1, "sessionId": "s", "agentCapabilities": able, "stopReason": "end_turn"
    }})
    if asked["method"] == "session/load":
        say("old")
"""


async def test_history_repeated_after_loading_is_not_reported_again(
    tmp_path: Path,
) -> None:
    gateway = a_gateway(["say", "first"])
    async with pod(tmp_path / "first", gateway) as it:
        await it.ended()
    again = gateway.next_attempt(session={"mode": "resume", "name": "harness"})
    async with pod(tmp_path / "second", again, ["python3", "-c", LATE]) as it:
        await it.ended()
    assert said(again.events) == ["new"]


async def test_wait_continues_after_unrelated_inputs_and_these_are_handled_later(
    tmp_path: Path,
) -> None:
    gateway = a_gateway(["ask", "the rest"], ["say", "done"], profile_spec=ASK)
    async with pod(tmp_path / "first", gateway, idle=0.2) as it:
        await it.ended()
    await gateway.give(an_answer("yes"), "permission-9-9")
    second = gateway.next_attempt()
    async with pod(tmp_path / "second", second, idle=2) as it:
        await it.ended()
    assert second.outcome is not None
    assert second.outcome.waiting
    assert second.states[-1].state is AgentState.INPUT_REQUIRED
    assert second.states[-1].snapshot is not None
    assert second.states[-1].snapshot.acknowledged_input == 1

    third = second.next_attempt()
    assert second.question is not None
    await third.give(an_answer("no"), second.question.id)
    async with pod(tmp_path / "third", third) as it:
        await it.ended()
    assert third.outcome is not None
    assert third.outcome.state is OutcomeState.COMPLETED
    assert 'optionId\\": \\"no' in texts(third)
    assert third.states[-1].acknowledged_input == 2
