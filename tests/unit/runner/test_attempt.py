"""The whole life of an attempt, against a scripted agent and a gateway in memory."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agentrun.api import pod_layout
from agentrun.api.v1alpha1 import AgentState, OutcomeState
from agentrun.runner.capability import with_capability
from agentrun.runner.layout import Layout
from agentrun.runner.pipes import announce, make_pipes
from tests.events import said
from tests.unit.runner.harness import (
    a_gateway,
    container_command,
    pod,
    prepare,
    running,
    write,
)
from tests.waiting import LATE_SECONDS

pytestmark = pytest.mark.slow
DEAF_INIT = """
import os, socket, sys
_, folder, workspace, *command = sys.argv
os.chdir(folder)
runner = socket.socket(socket.AF_UNIX)
runner.connect("control")
streams = [os.open(name, os.O_RDWR) for name in ("in", "out", "err")]
runner.sendall(b"init\\n")
assert runner.recv(1) == b"b"
runner.sendall(b"started\\n")
if os.fork() == 0:
    os.chdir(workspace)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.execvp(command[0], command)
while True:  # It hears no stop.
    runner.recv(1)
"""
QUICK = {"agentrun.runner.attempt._CANCEL_SECONDS": 0.5}
"""For agents that do not end their turn, however long they are given."""
STRUCTURED = """
import json, sys
answers = iter(['no number', '{"n": 7}'])
for line in sys.stdin:
    asked = json.loads(line)
    result = {"protocolVersion": 1, "sessionId": "s"}
    if asked["method"] == "session/prompt":
        result = {"stopReason": "end_turn"}
        content = {"type": "text", "text": next(answers)}
        update = {"sessionUpdate": "agent_message_chunk", "content": content}
        params = {"sessionId": "s", "update": update}
        print(json.dumps({"jsonrpc": "2.0", "method": "session/update", "params": params}))
    print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result}), flush=True)
"""


async def test_run_uploads_events_of_the_agent_and_reports_its_outcome(tmp_path: Path) -> None:
    gateway = a_gateway(["run", "echo hello"], ["say", "done"])
    async with pod(tmp_path, gateway, is_new=True) as it:
        log = await it.ended()
    assert gateway.types == [
        "run_started", "status_changed", "command_started", "command_finished",
        "agent_message", "run_completed",
    ]  # fmt: skip
    assert [event["seq"] for event in gateway.events] == [1, 2, 3, 4, 5, 6]
    finished = gateway.data("command_finished")[0]
    assert (finished["output"], finished["exit_code"]) == ("hello\n", 0)
    assert gateway.data("run_completed")[0]["final_response"] == "done"
    assert gateway.outcome is not None
    assert gateway.outcome.state is OutcomeState.COMPLETED
    assert gateway.outcome == it.termination
    assert [state.state for state in gateway.states][:2] == [
        AgentState.PREPARING, AgentState.WORKING,
    ]  # fmt: skip
    assert gateway.states[-1].prompt_sent
    assert "$ echo hello" in log
    assert "(exit code 0)" in log


async def test_secret_values_do_not_leak(tmp_path: Path) -> None:
    prepare(tmp_path)
    write(tmp_path, f"{pod_layout.REDACT}/API_TOKEN", "s3cr3t-value\n")
    gateway = a_gateway(
        ["run", "printf s3cr3t-; sleep 0; echo value | cat"],
        ["say", "it is s3cr3t-"],
        ["say", "value, and c3VjM2NyZXQgczNjcjN0LXZhbHVl"],
    )
    async with pod(tmp_path, gateway) as it:
        log = await it.ended()
    assert gateway.outcome is not None
    told = json.dumps(gateway.events) + gateway.outcome.model_dump_json() + log
    assert "s3cr3t-value" not in told
    assert gateway.data("agent_message")[0]["text"].startswith("it is [redacted]")


async def test_temporary_outage_of_the_gateway_loses_nothing(tmp_path: Path) -> None:
    gateway = a_gateway(["say", "first"], ["talk", 30, 0.05], ["say", "last"])
    async with pod(tmp_path, gateway) as it:
        await gateway.until(lambda: "agent_message" in gateway.types)
        gateway.away = True
        await gateway.until_refused(3)
        gateway.away = False
        await it.ended()
    assert said(gateway.events) == ["first", *(f"message {n}" for n in range(1, 31)), "last"]
    assert [event["seq"] for event in gateway.events] == list(range(1, len(gateway.events) + 1))
    assert gateway.outcome is not None


async def test_late_events_of_an_earlier_attempt_precede_those_of_the_next(tmp_path: Path) -> None:
    gateway = a_gateway(["say", "mine"])
    late = {"seq": 1, "event_id": "other", "ts": "", "type": "agent_message"}
    gateway.late = [{**late, "data": {"text": "theirs"}}]
    async with pod(tmp_path, gateway) as it:
        await it.ended()
    assert gateway.types[:2] == ["agent_message", "run_started"]
    assert [event["seq"] for event in gateway.events] == list(range(1, len(gateway.events) + 1))


async def test_sealed_journal_ends_the_pod(tmp_path: Path) -> None:
    gateway = a_gateway(["say", "begin"], ["sleep", 60])
    async with pod(tmp_path, gateway) as it:
        await gateway.until(lambda: "run_started" in gateway.types)
        gateway.sealed = True
        log = await it.ended()
    assert "the run has finished" in log
    assert gateway.outcome is None


async def test_missing_agent_program_is_named(tmp_path: Path) -> None:
    gateway = a_gateway(["say", "hello"])
    async with pod(tmp_path, gateway, ["no-such-agent-program"]) as it:
        await it.ended()
    assert gateway.outcome is not None
    assert gateway.outcome.reason == "AgentNotFound"
    assert "no-such-agent-program" in (gateway.outcome.message or "")


async def test_child_process_that_holds_the_output_open_does_not_delay_the_run(
    tmp_path: Path,
) -> None:
    gateway = a_gateway(["detach", "sleep 60"], ["say", "bye"], ["exit", 0])
    async with pod(tmp_path, gateway) as it:
        await it.ended()
    assert gateway.outcome is not None
    assert gateway.outcome.reason == "AgentExited"
    assert "agent_message" in gateway.types


async def test_after_a_stop_signal_the_agent_is_interrupted_and_the_remaining_events_uploaded(
    tmp_path: Path,
) -> None:
    gateway = a_gateway(["say", "begin"], ["run", "echo partial; sleep 60"])
    async with pod(tmp_path, gateway, bounds=QUICK) as it:
        await gateway.until(lambda: "command_started" in gateway.types)
        it.terminate()
        await it.ended()
    assert gateway.outcome is not None
    assert gateway.outcome.state is OutcomeState.INTERRUPTED
    assert gateway.types[-1] == "command_finished"
    assert "run_failed" not in gateway.types


async def test_a_stop_signal_while_the_session_loads_ends_the_pod(tmp_path: Path) -> None:
    gateway, calls = a_gateway(["hang"]), tmp_path / "agentrun/calls"
    async with pod(tmp_path, gateway, is_new=True) as it:
        async with asyncio.timeout(LATE_SECONDS):
            while not calls.exists():  # noqa: ASYNC110 - sets no event
                await asyncio.sleep(0.001)  # Looks again, within the bound.
        it.terminate()
        await it.ended()
    assert gateway.outcome is not None
    assert gateway.outcome.state is OutcomeState.INTERRUPTED


async def test_a_stop_signal_before_the_runner_starts_ends_the_agents_container(
    tmp_path: Path,
) -> None:
    sleep = tmp_path / "sleep"
    sleep.write_text("#!/bin/sh\necho waiting; exec /bin/sleep $1\n")
    sleep.chmod(0o755)
    # The first process of a process namespace is what a container's is: it takes no signal that
    # it has not asked for.
    command = container_command(Layout(root=tmp_path), "true")
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    async with running(*command, env=env, stdout=subprocess.PIPE) as unshare:
        assert unshare.stdout
        assert await unshare.stdout.readline() == b"waiting\n"
        children = Path(f"/proc/{unshare.pid}/task/{unshare.pid}/children")
        os.kill(int(await asyncio.to_thread(children.read_text, encoding="ascii")), signal.SIGTERM)
        async with asyncio.timeout(LATE_SECONDS):
            assert await unshare.wait() == 143


async def test_agents_container_ends_even_if_its_runner_exited_before_it_started(
    tmp_path: Path,
) -> None:
    prepare(tmp_path)
    layout = Layout(root=tmp_path, init_program=tmp_path / "init")
    pipes = make_pipes(layout)
    with_capability(layout)
    announce(layout)
    pipes.close()
    async with running(*container_command(layout, "true")) as container:
        async with asyncio.timeout(LATE_SECONDS):
            assert await container.wait() != 0


async def test_a_stop_signal_while_the_gateway_is_unavailable_ends_the_runner_in_time(
    tmp_path: Path,
) -> None:
    gateway = a_gateway(["say", "begin"], ["hang"])
    async with pod(tmp_path, gateway, grace=3) as it:
        await gateway.until(lambda: "agent_message" in gateway.types)
        gateway.away = True
        it.terminate()
        await it.ended(20)
    assert it.termination.state is OutcomeState.INTERRUPTED


async def test_structured_answer_is_repaired_once(tmp_path: Path) -> None:
    # The trivial agent reads its steps from the prompt's last line, here that of the schema.
    schema = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}
    gateway = a_gateway(output_schema=schema, prompt="say a number")
    command = [sys.executable, "-c", STRUCTURED]
    async with pod(tmp_path, gateway, command) as it:
        await it.ended()
    assert gateway.outcome is not None
    assert gateway.outcome.result is not None
    assert gateway.outcome.result.structured == {"n": 7}
    assert gateway.data("run_completed")[0]["structured_output"] == {"n": 7}


LATE_TAIL = """
import json, sys, time
def out(**message): print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)
def say(text):
    content = {"type": "text", "text": text}
    update = {"sessionUpdate": "agent_message_chunk", "messageId": "m", "content": content}
    out(method="session/update", params={"sessionId": "s", "update": update})
sys.stdout.write("\\ufeff")
for line in sys.stdin:
    asked = json.loads(line)
    result = {"protocolVersion": 1, "sessionId": "s"}
    if asked["method"] == "session/prompt":
        say('{"n": ')
        result = {"stopReason": "end_turn"}
    out(id=asked["id"], result=result)
    if asked["method"] == "session/prompt":
        time.sleep(0.03)
        say("4")
        time.sleep(0.03)
        say("2}")
"""


async def test_the_end_of_an_answer_may_follow_the_end_of_the_turn(tmp_path: Path) -> None:
    schema = {"type": "object", "required": ["n"]}
    gateway = a_gateway(output_schema=schema, prompt="say a number")
    async with pod(tmp_path, gateway, [sys.executable, "-c", LATE_TAIL]) as it:
        await it.ended()
    assert gateway.data("run_completed")[0]["final_response"] == '{"n": 42}'
    assert gateway.outcome is not None
    assert gateway.outcome.result is not None
    assert gateway.outcome.result.structured == {"n": 42}
    assert "".join(one["text"] for one in gateway.data("agent_message")) == '{"n": 42}'


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ({"stopReason": "weird"}, 'with the stop reason "weird", which ACP does not define.'),
        ({"stopReason": 5}, "with the stop reason 5, which ACP does not define."),
        ({"stopReason": None}, "without a stop reason, which ACP requires."),
        ({}, "without a stop reason, which ACP requires."),
        (None, "without a stop reason, which ACP requires."),
    ],
    ids=["unknown", "number", "null", "missing", "no-object"],
)
async def test_a_stop_reason_that_acp_does_not_have_is_named(
    tmp_path: Path, result: Any, message: str
) -> None:
    program = LATE_TAIL.replace('{"stopReason": "end_turn"}', repr(result))
    gateway = a_gateway()
    async with pod(tmp_path, gateway, [sys.executable, "-c", program]) as it:
        await it.ended()
    assert gateway.outcome is not None
    assert gateway.outcome.reason == "ProtocolError"
    assert (gateway.outcome.message or "").startswith(f"The agent ended its turn {message}")
    assert gateway.outcome.result is not None
    assert gateway.outcome.result.summary == '{"n": 42}'


async def test_permission_is_granted_and_reported(tmp_path: Path) -> None:
    gateway = a_gateway(["ask", "touch everything"])
    async with pod(tmp_path, gateway) as it:
        await it.ended()
    assert "touch everything" in gateway.data("reasoning")[0]["text"]
    assert '"selected"' in gateway.data("agent_message")[0]["text"]


async def test_memory_of_the_runner_stays_small_while_the_agent_sends_messages(
    tmp_path: Path,
) -> None:
    # It goes on talking, so that the runner hears at once that the run is over.
    gateway = a_gateway(["talk", 20_000, 0], ["talk", 600, 0.1])
    async with pod(tmp_path, gateway, is_new=True) as it:
        await gateway.until(lambda: len(gateway.events) > 20_000)
        resident = it.resident_kilobytes()
        gateway.sealed = True
        await it.ended()
    assert resident < 64 * 1024


async def test_change_of_a_git_workspace_is_kept_and_pushed(tmp_path: Path) -> None:
    prepare(tmp_path)
    origin = a_repository(tmp_path / "origin.git")
    write(tmp_path, f"{pod_layout.GIT_CREDENTIALS}/username", "somebody")
    write(tmp_path, f"{pod_layout.GIT_CREDENTIALS}/password", "p4ssw0rd-of-git")
    gateway = a_gateway(
        ["run", "echo p4ssw0rd-of-git > new.txt"],
        workspace={"git": {"url": f"file://{origin}", "branch": "work"}},
        profile_spec={"git": {"repositories": [f"file://{tmp_path}"], "branches": ["work"]}},
    )
    async with pod(tmp_path, gateway) as it:
        log = await it.ended()
    assert gateway.outcome is not None
    result = gateway.outcome.result
    assert result is not None
    assert (result.branch, result.pushed, result.files_changed) == ("work", True, 1)
    assert git(origin, "rev-parse", "work") == result.commit
    [artifact] = gateway.data("artifact_added")
    patch = gateway.blobs[artifact["relpath"]].decode()
    assert "+[redacted]" in patch
    assert len(patch) == artifact["size"]
    assert gateway.types[-1] == "run_completed"
    assert "1 files changed" in log


async def test_refused_push_fails_the_run_and_keeps_the_patch(tmp_path: Path) -> None:
    prepare(tmp_path)
    origin = a_repository(tmp_path / "origin.git")
    git(origin, "config", "receive.hideRefs", "refs/heads/agentrun")
    write(tmp_path, f"{pod_layout.GIT_CREDENTIALS}/password", "p4ssw0rd-of-git")
    gateway = a_gateway(
        ["run", "echo new > new.txt"],
        workspace={"git": {"url": f"file://{origin}"}},
        profile_spec={"git": {"repositories": [f"file://{origin}"]}},
    )
    async with pod(tmp_path, gateway) as it:
        await it.ended()
    assert gateway.outcome is not None
    assert gateway.outcome.reason == "PushFailed"
    assert "hidden ref" in (gateway.outcome.message or "")
    assert gateway.data("artifact_added")


@pytest.mark.parametrize(
    ("listed", "branch", "why"),
    [
        pytest.param("origin.git", "main", "git.branches does not allow main", id="branch"),
        pytest.param(None, "agentrun/x", "credentials do not apply to", id="repository"),
    ],
)
async def test_push_that_the_profile_does_not_allow_is_refused_and_the_patch_kept(
    tmp_path: Path, listed: str | None, branch: str, why: str
) -> None:
    prepare(tmp_path)
    origin = a_repository(tmp_path / "origin.git")
    before = git(origin, "for-each-ref")
    write(tmp_path, f"{pod_layout.GIT_CREDENTIALS}/password", "p4ssw0rd-of-git")
    gateway = a_gateway(
        ["run", "mkdir -p .github/workflows; echo evil > .github/workflows/x.yml"],
        workspace={"git": {"url": f"file://{origin}", "branch": branch}},
        profile_spec={"git": {"repositories": [f"file://{tmp_path / listed}"] if listed else []}},
    )
    async with pod(tmp_path, gateway) as it:
        await it.ended()
    assert gateway.outcome is not None
    assert gateway.outcome.reason == "PushRefused"
    assert why in (gateway.outcome.message or "")
    assert gateway.outcome.result is not None
    assert gateway.outcome.result.pushed is False
    assert git(origin, "for-each-ref") == before
    [artifact] = gateway.data("artifact_added")
    assert "+evil" in gateway.blobs[artifact["relpath"]].decode()


async def test_repository_that_the_profile_does_not_list_is_not_cloned(tmp_path: Path) -> None:
    origin = a_repository(tmp_path / "origin.git")
    gateway = a_gateway(
        ["say", "never"],
        workspace={"git": {"url": f"file://{origin}"}},
        profile_spec={"git": {"repositories": ["https://git.example.com/team"]}},
    )
    async with pod(tmp_path / "pod", gateway) as it:
        await it.ended()
    assert gateway.outcome is not None
    assert gateway.outcome.reason == "ProfileRefused"
    assert not any(state.prompt_sent for state in gateway.states)


async def test_no_process_of_the_agent_runs_while_the_workspace_is_prepared(
    tmp_path: Path,
) -> None:
    asked, answer = asyncio.Event(), asyncio.Event()

    async def be_silent(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await answer.wait()
        writer.close()

    server = await asyncio.start_server(be_silent, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/repository.git"
    gateway = a_gateway(["say", "never"], workspace={"git": {"url": url}})
    begun = tmp_path / "begun"
    async with server, pod(tmp_path, gateway, ["/bin/sh", "-c", f"touch {begun}"]) as it:
        await asyncio.wait_for(asked.wait(), LATE_SECONDS)
        ready = tmp_path / "agentrun/pipes/ready"
        async with asyncio.timeout(LATE_SECONDS):
            # Its names go once the container is there, which waits for the word to begin.
            while not ready.exists() or (tmp_path / "agentrun/pipes/control").exists():  # noqa: ASYNC110
                await asyncio.sleep(0.05)  # Looks again, within the bound.
        children = Path(f"/proc/{it.container.pid}/task/{it.container.pid}/children")
        init = int(await asyncio.to_thread(children.read_text, encoding="ascii"))
        below = Path(f"/proc/{init}/task/{init}/children")
        assert await asyncio.to_thread(below.read_text, encoding="ascii") == ""
        assert not begun.exists()
        answer.set()
        await it.ended()
    assert gateway.outcome is not None
    assert gateway.outcome.reason == "CloneFailed"
    assert not begun.exists()


@pytest.mark.failure("agent-not-ended")
@pytest.mark.parametrize("has_git", [True, False], ids=["git", "no-git"])
async def test_nothing_is_collected_or_stored_unless_the_agent_has_certainly_ended(
    tmp_path: Path, has_git: bool
) -> None:
    prepare(tmp_path)
    (tmp_path / "init").unlink()
    (tmp_path / "init").write_text(f"#!{sys.executable}{DEAF_INIT}")
    workspace = {}
    if has_git:
        origin = a_repository(tmp_path / "origin.git")
        workspace = {"workspace": {"git": {"url": f"file://{origin}"}}}
    gateway = a_gateway(["run", "echo new > new.txt"], ["say", "done"], **workspace)
    bounds = {"agentrun.runner.finish._END_SECONDS": 0.3}
    async with pod(tmp_path, gateway, bounds=bounds) as it:
        await asyncio.wait_for(it.runner.wait(), LATE_SECONDS)
    outcome = gateway.outcome
    assert outcome is not None
    why = "it is not certain that all of the agent's processes have ended"
    assert why in (outcome.message or "")
    assert outcome.state is (OutcomeState.FAILED if has_git else OutcomeState.COMPLETED)
    assert outcome.result is None or outcome.result.commit is None
    assert any(why in data.get("text", "") for data in gateway.data("reasoning"))
    assert why in (gateway.states[-1].snapshot_error or "")
    assert gateway.blobs == {}


async def test_processes_that_outlive_the_turn_are_killed_before_the_change_is_collected(
    tmp_path: Path,
) -> None:
    prepare(tmp_path)
    origin = a_repository(tmp_path / "origin.git")
    # It kills all that it may, and changes the workspace for as long as it lives.
    busy = "kill -9 1; trap '' TERM INT HUP; while :; do i=$((i+1)); echo $i >m; mv m n; done"
    gateway = a_gateway(
        ["detach", busy], ["run", "until [ -s n ]; do sleep 0.1; done"], ["say", "done"],
        workspace={"git": {"url": f"file://{origin}"}},
    )  # fmt: skip
    async with pod(tmp_path, gateway) as it:
        await gateway.until(lambda: "artifact_added" in gateway.types)
        then = (tmp_path / "workspace/n").read_text()
        await it.ended()
    assert gateway.outcome is not None
    assert gateway.outcome.state is OutcomeState.COMPLETED
    [artifact] = gateway.data("artifact_added")
    assert f"+{then}" in gateway.blobs[artifact["relpath"]].decode()
    assert (tmp_path / "workspace/n").read_text() == then


async def test_the_change_so_far_is_kept_after_a_stop_signal(tmp_path: Path) -> None:
    prepare(tmp_path)
    origin = a_repository(tmp_path / "origin.git")
    gateway = a_gateway(
        ["run", "echo half > half.txt"], ["run", "sleep 60"],
        workspace={"git": {"url": f"file://{origin}"}},
    )  # fmt: skip
    async with pod(tmp_path, gateway, bounds=QUICK) as it:
        await gateway.until(lambda: gateway.types.count("command_started") == 2)
        it.terminate()
        await it.ended()
    assert gateway.outcome is not None
    assert gateway.outcome.state is OutcomeState.INTERRUPTED
    assert gateway.types[-1] == "artifact_added"


async def test_workspace_that_cannot_be_cloned_is_named(tmp_path: Path) -> None:
    gateway = a_gateway(["say", "never"], workspace={"git": {"url": "file:///no/such/repository"}})
    async with pod(tmp_path, gateway) as it:
        await it.ended()
    assert gateway.outcome is not None
    assert gateway.outcome.reason == "CloneFailed"
    assert "/no/such/repository" in (gateway.outcome.message or "")
    assert not any(state.prompt_sent for state in gateway.states)


def git(folder: Path, *args: str) -> str:
    done = subprocess.run(["git", *args], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def a_repository(folder: Path) -> Path:
    """Make a bare repository with one commit, without the machine's git config."""
    folder.mkdir()
    git(folder, "init", "-q", "--bare", "-b", "main")
    (folder / "description").write_text("one file")
    blob = git(folder, "hash-object", "-w", "description")
    listing = subprocess.run(
        ["git", "mktree"], cwd=folder, check=True, capture_output=True, text=True,
        input=f"100644 blob {blob}\tREADME.md\n",
    )  # fmt: skip
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    commit = git(folder, *identity, "commit-tree", listing.stdout.strip(), "-m", "first")
    git(folder, "update-ref", "refs/heads/main", commit)
    return folder


async def test_prompt_that_begins_like_a_command_is_sent_as_text(tmp_path: Path) -> None:
    gateway = a_gateway(prompt="/login page is broken")
    async with pod(tmp_path, gateway) as it:
        await it.ended()
    [heard] = said(gateway.events)
    assert heard.startswith("heard: ")
    assert heard.endswith("\n\n/login page is broken")
    assert not heard.startswith("heard: /")
