"""The command ``peer``, in a pod without a cluster."""

import asyncio
import json
import os
import subprocess
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from agentrun.api.gateway import Head, MailboxMessage, Messages, Task
from agentrun.api.messages import AgentMessage
from agentrun.api.v1alpha1 import AgentProfileSpec, AgentRunSpec
from agentrun.runner.layout import Layout
from agentrun.runner.mcp_relay import ToolCallError
from agentrun.runner.peer import server
from agentrun.runner.peer.commands import Peer
from agentrun.runner.peer.server import Answer, PeerServer
from agentrun.runner.pipes import make_pipes
from tests.unit.runner.harness import a_gateway, pod
from tests.waiting import LATE_SECONDS

TASK = Task(
    run_id="run-1",
    namespace="agents",
    uid="uid-1",
    attempt=1,
    session_id="session-1",
    agent_name="ada",
    spec=AgentRunSpec(backend="acp", role="worker", prompt="x"),
    profile=AgentProfileSpec(backend="acp", image="i"),
    head=Head(last_seq=0),
)


@dataclass
class FakeTools:
    """What the tools answer, and what they were asked."""

    answers: dict[str, Any] = field(default_factory=dict)
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    async def call(self, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        self.calls.append((tool, arguments))
        answer = self.answers[tool]
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, dict)
        return answer


@dataclass
class FakeGateway:
    mail: list[MailboxMessage] = field(default_factory=list)
    delivered: int = 0
    """What the conversation says of it; the gateway knows only of earlier ones."""

    async def messages(self, after: int, wait_ms: int) -> Messages:
        new = [one for one in self.mail if one.seq > after]
        if not new:
            await asyncio.sleep(wait_ms / 1000)  # As the gateway does when no mail comes.
        return Messages(messages=new, delivered_seq=0)

    def note_read(self, seq: int) -> None:
        self.delivered = seq


def mail(seq: int, text: str = "Hello.", sender: str | None = "bob") -> MailboxMessage:
    body = AgentMessage.model_validate({"parts": [{"type": "text", "text": text}]})
    return MailboxMessage(
        message_id=f"m{seq}", seq=seq, body=body, created_at="t", from_agent_name=sender
    )


def page(*messages: MailboxMessage) -> dict[str, Any]:
    shown = [one.model_dump(mode="json", by_alias=True) for one in messages]
    return {"agent_name": "ada", "messages": shown, "next_after_seq": 9}


def a_peer(tools: FakeTools, gateway: FakeGateway | None = None, task: Task = TASK) -> Peer:
    gateway = gateway or FakeGateway()
    return Peer(task, gateway, tools, gateway)  # type: ignore[arg-type]


AGENTS = {
    "agents": [
        {"agent_name": "ada", "role": "worker", "status": "running"},
        {"agent_name": "bob", "role": None, "status": "idle"},
    ]
}
SENT = {"message_id": "m1", "to_agent_name": "bob", "seq": 3}


@pytest.mark.parametrize(
    ("call", "code", "text"),
    [
        (["whoami"], 0, "ada\trunning\t/workspace"),
        (["whoami", "--cwd", "/x"], 0, "ada\trunning\t/x"),
        (["whoami", "--as", "ada"], 0, "ada\trunning\t/workspace"),
        (["whoami", "--as", "eve"], 1, "Error: You are ada, not eve. Omit --as."),
        (["list"], 0, "ada\tworker\trunning\nbob\t-\tidle"),
        (["send", "bob", "Hello", "you"], 0, "sent m1 -> bob (#3)"),
        (["inbox"], 0, "[1] bob: Hello.\n[2] system: Bye."),
        (["send", "bob"], 1, "Error: the following arguments are required: text"),
        (["fly"], 1, "Error: argument COMMAND: invalid choice: 'fly'"),
        ([], 2, "usage: peer"),
        (["--help"], 0, "usage: peer"),
        (["help"], 0, "usage: peer"),
        (["send", "--help"], 0, "usage: peer send"),
    ],
)
async def test_each_command_prints_its_lines(call: list[str], code: int, text: str) -> None:
    answers = {
        "list_agents": AGENTS,
        "send_agent_message": SENT,
        "fetch_agent_messages": page(mail(1), mail(2, "Bye.", None)),
    }
    answer = await a_peer(FakeTools(answers)).respond(["ada", "/workspace", *call])
    assert (answer.code, answer.text.startswith(text)) == (code, True), answer.text


async def test_a_message_names_its_kind_and_what_it_answers() -> None:
    tools = FakeTools({"send_agent_message": SENT})
    call = ["ada", "/w", "send", "bob", "a", "b", "--kind", "note", "--reply-to", "m0", "--json"]
    answer = await a_peer(tools).respond(call)
    assert json.loads(answer.text) == SENT
    ((_, given),) = tools.calls
    assert given["metadata"] == {"kind": "note", "reply_to": "m0"}
    assert given["message"]["parts"] == [{"type": "text", "text": "a b"}]


async def test_agents_of_all_pages_are_listed() -> None:
    pages: Iterator[dict[str, Any]] = iter(
        [
            {"agents": AGENTS["agents"][:1], "next_cursor": "c1"},
            {"agents": AGENTS["agents"][1:], "next_cursor": None},
        ]
    )

    class Paged(FakeTools):
        async def call(self, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
            self.calls.append((tool, arguments))
            return next(pages)

    tools = Paged()
    answer = await a_peer(tools).respond(["ada", "/workspace", "list"])
    assert answer.text == "ada\tworker\trunning\nbob\t-\tidle"
    assert [given.get("cursor") for _, given in tools.calls] == [None, "c1"]


async def test_a_refusal_of_a_tool_is_an_error() -> None:
    tools = FakeTools({"list_agents": ToolCallError("not offered")})
    assert await a_peer(tools).respond(["", "", "list"]) == Answer("Error: not offered", 1)


async def test_waiting_returns_each_message_once() -> None:
    gateway = FakeGateway([mail(1)])
    peer = a_peer(FakeTools(), gateway)
    assert (await peer.respond(["", "", "wait"])).text == "[1] bob: Hello."
    assert (await peer.respond(["", "", "wait", "--timeout", "0"])).text == "no messages"
    gateway.mail.append(mail(2, "More."))
    answer = await peer.respond(["", "", "wait", "--json"])
    assert json.loads(answer.text)["next_after_seq"] == 2


async def test_waiting_after_a_number_does_not_change_the_delivered_messages() -> None:
    gateway, tools = FakeGateway(), FakeTools({"fetch_agent_messages": page(mail(1))})
    peer = a_peer(tools, gateway)
    assert (await peer.respond(["", "", "wait", "--after", "0"])).text == "[1] bob: Hello."
    assert gateway.delivered == 0
    assert tools.calls[0][1]["after_seq"] == 0


async def test_waiting_is_refused_if_the_profile_does_not_allow_the_tool() -> None:
    profile = AgentProfileSpec.model_validate(
        {"backend": "acp", "image": "i", "agentTools": {"allowed": []}}
    )
    task = TASK.model_copy(update={"profile": profile})
    answer = await a_peer(FakeTools(), task=task).respond(["", "", "wait"])
    assert answer == Answer(
        "Error: the profile does not allow you to call fetch_agent_messages.", 1
    )


@dataclass
class Place:
    """The agent's side of a desk."""

    pipes: Path
    calls: Path
    asked: list[Sequence[str]]

    async def peer(self, *arguments: str, **env: str) -> tuple[int, str, str]:
        process = await asyncio.create_subprocess_exec(
            str(self.pipes / "bin/peer"),
            *arguments,
            env={"PATH": os.environ["PATH"], **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        async with asyncio.timeout(LATE_SECONDS):
            out, err = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()


@asynccontextmanager
async def a_place(tmp_path: Path, answer: Answer | Exception) -> AsyncIterator[Place]:
    (tmp_path / "init").write_text("")
    layout = Layout(root=tmp_path, init_program=tmp_path / "init")
    asked: list[Sequence[str]] = []

    async def respond(call: Sequence[str]) -> Answer:
        asked.append(call)
        if isinstance(answer, Exception):
            raise answer
        return answer

    pipes = make_pipes(layout)
    serving = asyncio.create_task(PeerServer(pipes, respond).serve())
    try:
        yield Place(layout.pipes, layout.calls, asked)
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        pipes.close()


async def test_arguments_and_responses_arrive_unchanged(tmp_path: Path) -> None:
    text = "a\\n%s\t ü\n\n  $HOME `x` \\"
    async with a_place(tmp_path, Answer(text)) as place:
        given = ["send", "bob", "two\nlines", "", "-x", "ü'\"\\$(echo no)"]
        assert await place.peer(*given, PEER_NAME="ada", PEER_CWD="/w") == (0, f"{text}\n", "")
        assert place.asked == [["ada", "/w", *given]]


async def test_an_error_is_written_to_stderr(tmp_path: Path) -> None:
    async with a_place(tmp_path, Answer("Error: no", 3)) as place:
        assert await place.peer("x") == (3, "", "Error: no\n")


async def test_a_failed_call_does_not_affect_others(tmp_path: Path) -> None:
    async with a_place(tmp_path, KeyError("x")) as place:
        for _ in range(2):
            code, _, err = await place.peer("x")
            assert (code, "the runner failed: KeyError" in err) == (1, True)


async def test_concurrent_calls_are_all_answered_and_leave_no_files(tmp_path: Path) -> None:
    async with a_place(tmp_path, Answer("ok")) as place:
        results = await asyncio.gather(*(place.peer("x") for _ in range(20)))
        assert {code for code, _, _ in results} <= {0}
        async with asyncio.timeout(LATE_SECONDS):
            while list(place.calls.iterdir()):  # noqa: ASYNC110 - sets no event
                await asyncio.sleep(0.01)  # Looks again, within a bound.


async def test_a_command_that_was_delayed_is_asked_to_retry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_READ_SECONDS", 0.1)
    async with a_place(tmp_path, Answer("ok")) as place:
        call, answer = place.calls / "7-0", place.calls / "7-0.answer"
        call.write_bytes(b"x\0")
        await asyncio.to_thread((place.pipes / "call").write_text, "7-0\n")
        async with asyncio.timeout(LATE_SECONDS):
            while not answer.exists() or "not read in time" not in answer.read_text():  # noqa: ASYNC110 - sets no event
                await asyncio.sleep(0.01)  # Looks again, within a bound.
        assert answer.read_text().startswith("1\nError: ")
        await asyncio.to_thread((place.pipes / "call").write_text, "-7-0\n")
        async with asyncio.timeout(LATE_SECONDS):
            while answer.exists():  # noqa: ASYNC110 - sets no event
                await asyncio.sleep(0.01)  # Looks again, within a bound.


async def test_a_too_large_request_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "MAX_REQUEST", 1000)
    monkeypatch.setattr(server, "MAX_ANSWER", 1000)
    async with a_place(tmp_path, Answer("x" * 1001)) as place:
        assert "the answer takes more than 1000 bytes" in (await place.peer("x"))[2]
        assert "the arguments take more than 1000 bytes" in (await place.peer("x" * 1001))[2]


async def test_manipulated_request_files_reach_no_other_file(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("a\0b\0c\0")
    async with a_place(tmp_path, Answer("written")) as place:
        calls = place.calls
        (calls / "1-0").symlink_to(secret)
        os.mkfifo(calls / "2-0")
        (calls / "3-0").mkdir()
        (calls / "4-0").write_text("")
        (calls / "4-0.new").symlink_to(secret)
        (calls / "4-0.answer").symlink_to(secret)
        with (place.pipes / "call").open("w") as fifo:
            fifo.write("1-0\n2-0\n3-0\n4-0\n../1\n\n" + "x" * 9999 + "\n9-9\n-7-0\n")
        assert (await place.peer("after"))[0] == 0
        assert secret.read_text() == "a\0b\0c\0"
        assert len(place.asked) == 2
        assert place.asked[0] == []


@pytest.mark.slow
async def test_an_agent_in_its_pod_finds_peer_on_its_path(tmp_path: Path) -> None:
    gateway = a_gateway(["run", "peer list; peer whoami --json; peer fly; echo rc $?"])
    gateway.tools = lambda _: {"result": {"structuredContent": AGENTS}}
    async with pod(tmp_path, gateway) as running:
        await running.ended()
    (finished,) = gateway.data("command_finished")
    assert "ada\tworker\trunning" in finished["output"]
    assert '"agent_name": "harness"' in finished["output"]
    assert "rc 1" in finished["output"]
