"""The agent's program: bounded reading, and a clear word when it does not answer."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from agentrun.runner.acp import client as client_module
from agentrun.runner.acp.client import AcpAgent
from agentrun.runner.acp.transport import TransportContext
from agentrun.runner.journal.large_text import LargeText
from agentrun.runner.journal.redact import Redactor
from agentrun.runner.layout import Layout
from agentrun.runner.outcome import AttemptError
from agentrun.runner.pipe_reader import LineTooLongError, PipeReader
from agentrun.runner.pipes import CALL, CONTROL, STREAMS, Pipes, announce, make_pipes
from tests.unit.runner.harness import PlayedInit
from tests.waiting import LATE_SECONDS


@pytest.fixture
def pipes(tmp_path: Path) -> Iterator[Pipes]:
    (tmp_path / "init").write_text("init")
    made = make_pipes(Layout(root=tmp_path, init_program=tmp_path / "init"))
    yield made
    made.close()


@pytest.fixture
def init(pipes: Pipes, tmp_path: Path) -> Iterator[PlayedInit]:
    played = PlayedInit(Layout(root=tmp_path).pipes)
    yield played
    played.close()


def test_pipes_are_ready_only_when_announced(tmp_path: Path) -> None:
    (tmp_path / "init").write_text("init")
    layout = Layout(root=tmp_path, init_program=tmp_path / "init")
    pipes = make_pipes(layout)
    assert not (layout.pipes / "ready").exists()
    announce(layout)
    assert {path.name for path in layout.pipes.iterdir()} == {
        *STREAMS, CALL, CONTROL, "init", "ready", "bin",
    }  # fmt: skip
    assert os.access(layout.pipes / "init", os.X_OK)
    pipes.close()


async def test_lines_are_read_one_by_one_however_they_are_split(pipes: Pipes) -> None:
    reader = PipeReader(pipes.stdout)
    os.write(pipes.stdout, b"one\ntw")
    assert await reader.readline() == b"one"
    waiting = asyncio.create_task(reader.readline())
    await asyncio.sleep(0)  # So that it waits.
    os.write(pipes.stdout, b"o\nrest")
    assert await waiting == b"two"
    reader.end()
    assert await reader.readline() == b"rest"
    assert await reader.readline() is None


async def test_line_beyond_the_limit_is_an_error_before_it_is_read(pipes: Pipes) -> None:
    reader = PipeReader(pipes.stdout, limit=1000)
    os.write(pipes.stdout, b"x" * 60_000)
    with pytest.raises(LineTooLongError, match="1000"):
        await reader.readline()


async def test_a_busy_stream_does_not_starve_other_tasks(pipes: Pipes) -> None:
    reader = PipeReader(pipes.stderr)
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)  # Counts the turns that others have.

    other = asyncio.create_task(others())
    # What is read is written again at once: there is always more.
    for _ in range(100):
        os.write(pipes.stderr, b"x" * 100 + b"\n")
        assert await reader.readline() == b"x" * 100
    other.cancel()
    assert turns >= 50


@asynccontextmanager
async def listening(
    pipes: Pipes, tmp_path: Path
) -> AsyncIterator[tuple[AcpAgent, list[dict[str, Any]]]]:
    updates: list[dict[str, Any]] = []

    async def take(update: dict[str, Any]) -> None:
        updates.append(update)

    async def room() -> None:
        await asyncio.sleep(0)  # As waiting for room gives others a turn.

    files = (tmp_path / f"large{number}" for number in count())
    around = TransportContext(Redactor(["s3cr3t-value"]), lambda: next(files), room)
    agent = AcpAgent(pipes, take, lambda call, answer: None, around)
    listener = asyncio.create_task(agent.listen())
    try:
        yield agent, updates
    finally:
        listener.cancel()
        await asyncio.gather(listener, return_exceptions=True)
        await agent.close()


async def test_agent_that_hangs_in_the_handshake_is_named(
    pipes: Pipes, init: PlayedInit, tmp_path: Path
) -> None:
    async with listening(pipes, tmp_path) as (agent, _):
        init.say("started")
        os.write(pipes.stderr, b"loading the universe\n")
        with pytest.raises(AttemptError, match="loading the universe") as raised:
            await agent.handshake(seconds=0.2)
    assert raised.value.reason == "AgentUnresponsive"


async def test_the_last_line_that_is_no_message_is_named(
    pipes: Pipes, init: PlayedInit, tmp_path: Path
) -> None:
    async with listening(pipes, tmp_path) as (agent, _):
        init.say("started")
        os.write(pipes.stdout, "\ufeffWelcome!\nUsage: agent --acp\n".encode())
        with pytest.raises(AttemptError, match="not a message of ACP: 'Usage: agent --acp'"):
            await agent.handshake(seconds=0.2)


async def test_agent_that_has_not_started_is_awaited(
    pipes: Pipes, init: PlayedInit, tmp_path: Path
) -> None:
    async with listening(pipes, tmp_path) as (agent, _):
        handshake = asyncio.create_task(agent.handshake(seconds=0.05))
        done, _pending = await asyncio.wait({handshake}, timeout=0.2)
        assert not done
        init.say("started")
        with pytest.raises(AttemptError):
            await handshake


async def test_output_that_violates_the_protocol_is_eventually_an_error(
    pipes: Pipes, init: PlayedInit, tmp_path: Path
) -> None:
    async with listening(pipes, tmp_path) as (agent, _):
        init.say("started")
        os.write(pipes.stdout, b"not json \xff\n" * 101)
        with pytest.raises(AttemptError, match="are not messages") as raised:
            await agent.handshake()
    assert raised.value.reason == "ProtocolError"


async def test_updates_arrive_in_order_and_as_valid_text(
    pipes: Pipes, init: PlayedInit, tmp_path: Path
) -> None:
    frame = '{"method":"session/update","params":{"update":{"n":%d,"t":"\\ud800x"}}}\n'
    async with listening(pipes, tmp_path) as (agent, updates):
        os.write(pipes.stdout, b"".join((frame % n).encode() for n in range(50)))
        init.say("0")
        with pytest.raises(AttemptError, match="exit code 0"):
            await agent.handshake()
    assert [update["n"] for update in updates] == list(range(50))
    assert updates[0]["t"] == "\ufffdx"


def left_in(folder: Path) -> list[Path]:
    return list(folder.glob("large*"))


def a_line(**update: Any) -> bytes:
    message = {"method": "session/update", "params": {"update": update}}
    return json.dumps(message, ensure_ascii=False).encode() + b"\n"


async def put(fd: int, data: bytes) -> None:
    """Write to a pipe that somebody reads meanwhile."""
    while data:
        try:
            data = data[os.write(fd, data) :]
        except BlockingIOError:
            await asyncio.sleep(0.001)  # Full: looks again, as the reader tells nobody.


async def test_large_message_arrives_with_its_texts_in_files(
    pipes: Pipes, init: PlayedInit, tmp_path: Path
) -> None:
    async with listening(pipes, tmp_path) as (agent, updates):
        await put(pipes.stdout, a_line(n=1) + a_line(n=2, t="ü s3cr3t-value" * 100_000))
        await put(pipes.stdout, a_line(n=3))
        init.say("0")
        with pytest.raises(AttemptError, match="exit code 0"):
            await agent.handshake()
    assert [update["n"] for update in updates] == [1, 2, 3]
    large = updates[1]["t"]
    assert isinstance(large, LargeText)
    assert large.length == len("ü [redacted]") * 100_000
    assert left_in(tmp_path) == []


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b"progress: 12%\r\n", id="print"),
        pytest.param(b"\x00\xff\xfe\x1b[2J\n", id="binary"),
        pytest.param(b"x" * 500_000 + b"\n", id="long"),
        pytest.param(b'{"a":"' + b"x" * 500_000 + b"\n", id="long-no-json"),
        pytest.param(b"[" * 100_000 + b"\n", id="deep"),
        pytest.param(b"[" * 500_000 + b"\n", id="long-and-deep"),
        pytest.param(b"[1,2]\n\n7\n", id="no-object"),
        pytest.param(b"\xef\xbb\xbf\n\xef\xbb\xbf", id="byte-order-marks"),
        pytest.param(b'{"id":{},"result":7}\n', id="id-is-an-object"),
        pytest.param(b'{"method":"session/update","params":{"update":7}}\n', id="no-update"),
        pytest.param(b'{"params":' * 50_000 + b"1" + b"}" * 50_000 + b"\n", id="deep-object"),
    ],
)
async def test_line_that_is_no_message_is_skipped(
    pipes: Pipes, init: PlayedInit, tmp_path: Path, line: bytes
) -> None:
    async with listening(pipes, tmp_path) as (agent, updates):
        await put(pipes.stdout, line + a_line(t="\xa0a\u2028b\r")[:-1] + b"\r\n")
        init.say("0")
        with pytest.raises(AttemptError, match="exit code 0"):
            await agent.handshake()
    assert updates == [{"t": "\xa0a\u2028b\r"}]


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b'{"method":"session/update","params":{"update":{"t":"a"}}}\n', id="short"),
        pytest.param(
            b'{"method":"session/update","params":{"update":{"t":"a"}}' + b" " * 500_000 + b"}\n",
            id="long",
        ),
    ],
)
async def test_byte_order_mark_at_the_beginning_of_a_line_is_skipped(
    pipes: Pipes, init: PlayedInit, tmp_path: Path, line: bytes
) -> None:
    async with listening(pipes, tmp_path) as (agent, updates):
        await put(pipes.stdout, b"\xef\xbb\xbf" + line)
        init.say("0")
        with pytest.raises(AttemptError, match="exit code 0"):
            await agent.handshake()
    assert updates == [{"t": "a"}]


async def test_failure_names_the_last_line_that_was_not_a_message(
    pipes: Pipes, init: PlayedInit, tmp_path: Path
) -> None:
    async with listening(pipes, tmp_path) as (agent, _):
        await put(pipes.stdout, b"Welcome!\nsign in with s3cr3t-value first\n")
        init.say("7")
        with pytest.raises(AttemptError, match=r"ACP: 'sign in with \[redacted\] first'\."):
            await agent.handshake()


async def respond(pipes: Pipes, response: bytes) -> None:
    """Read the runner's first request, and respond to it."""
    await PipeReader(pipes.stdin).readline()
    await put(pipes.stdout, b'{"jsonrpc":"2.0","id":0,%s}\n' % response)


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        pytest.param(b'"result":{"stopReason":"tired"}', "tired", id="unknown"),
        pytest.param(b'"result":{"stopReason":7}', 7, id="number"),
        pytest.param(b'"result":{"stopReason":null}', None, id="null"),
        pytest.param(b'"result":{}', None, id="missing"),
        pytest.param(b'"result":null', None, id="no-result"),
        pytest.param(b'"result":[]', None, id="no-object"),
        pytest.param(b'"x":1', None, id="neither-result-nor-error"),
    ],
)
async def test_response_to_a_prompt_may_have_any_stop_reason(
    pipes: Pipes, init: PlayedInit, tmp_path: Path, response: bytes, reason: Any
) -> None:
    async with listening(pipes, tmp_path) as (agent, _):
        init.say("started")
        prompt = asyncio.create_task(agent.prompt("go"))
        await respond(pipes, response)
        assert (await prompt).stop_reason == reason


@pytest.mark.parametrize(
    ("response", "told"),
    [
        pytest.param(
            b'"result":{"agentCapabilities":{}}',
            r"does not conform to ACP: protocolVersion is missing\. .* another version",
            id="missing",
        ),
        pytest.param(
            b'"result":{"protocolVersion":"s3cr3t-value"}',
            r'ACP: protocolVersion is "\[redacted\]"\. ',
            id="invalid",
        ),
        pytest.param(b'"result":7', r"ACP: it is 7 and not an object\. ", id="no-object"),
        pytest.param(b'"error":"not today"', "handshake: not today$", id="error-is-text"),
        pytest.param(
            b'"error":{"code":"E1","message":null}', "handshake: null$", id="error-has-no-message"
        ),
    ],
)
async def test_response_that_does_not_conform_is_described(
    pipes: Pipes, init: PlayedInit, tmp_path: Path, response: bytes, told: str
) -> None:
    async with listening(pipes, tmp_path) as (agent, _):
        init.say("started")
        handshake = asyncio.create_task(agent.handshake())
        await respond(pipes, response)
        with pytest.raises(AttemptError, match=told) as raised:
            await handshake
    assert raised.value.reason == "ProtocolError"


@pytest.mark.parametrize(
    "capabilities",
    [
        pytest.param(b'"all"', id="text"),
        pytest.param(b"null", id="null"),
        pytest.param(b'{"mcpCapabilities":7,"sessionCapabilities":"x"}', id="no-objects"),
    ],
)
async def test_agent_with_invalid_capabilities_has_none(
    pipes: Pipes, init: PlayedInit, tmp_path: Path, capabilities: bytes
) -> None:
    async with listening(pipes, tmp_path) as (agent, _):
        init.say("started")
        handshake = asyncio.create_task(agent.handshake())
        result = b'"result":{"protocolVersion":1,"agentCapabilities":%s}' % capabilities
        await respond(pipes, result)
        await handshake
        assert (agent.can_load, agent.can_steer) == (False, False)
        assert not (agent.mcp_capabilities and agent.mcp_capabilities.http)


async def test_error_of_an_endless_line_names_the_limit_and_its_size(
    pipes: Pipes, init: PlayedInit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PipeReader.store, "__defaults__", (1_000_000,))
    async with listening(pipes, tmp_path) as (agent, _):
        init.say("started")
        asked = asyncio.create_task(agent.handshake())
        writing = asyncio.create_task(put(pipes.stdout, b'{"a":"' + b"x" * 3_000_000))
        with pytest.raises(
            AttemptError, match=r"has 10\d{5} bytes or more, beyond the limit of 1000000"
        ):
            await asked
        writing.cancel()
    assert left_in(tmp_path) == []


async def test_responses_to_concurrent_requests_do_not_mix(
    pipes: Pipes, init: PlayedInit, tmp_path: Path
) -> None:
    async with listening(pipes, tmp_path) as (agent, _):
        init.say("started")
        asked = asyncio.create_task(agent.handshake())
        request = '{"jsonrpc":"2.0","id":%d,"method":"fs/read","params":{"x":"%s"}}\n'
        lines = "".join(request % (number, "y" * 500) for number in range(1000))
        asking = asyncio.create_task(put(pipes.stdout, lines.encode()))
        reader = PipeReader(pipes.stdin)
        answers = [json.loads(await reader.readline() or b"") for _ in range(1001)]
        await asking
        asked.cancel()
    # The first is what the runner itself asks.
    assert {answer["id"] for answer in answers[1:]} == set(range(1000))


async def test_final_events_contain_no_part_of_a_secret(
    pipes: Pipes, init: PlayedInit, tmp_path: Path
) -> None:
    async with listening(pipes, tmp_path) as (agent, _):
        await put(pipes.stderr, b"x" * 1995 + b"s3cr3t-value\n" + b"\xff\x00" * 200_000 + b"\n")
        await put(pipes.stderr, b"the end\n" + b"\n" * 70_000)
        init.say("1")
        with pytest.raises(AttemptError, match="the end") as raised:
            await agent.handshake()
    assert "s3c" not in raised.value.message
    assert "ret-value" not in raised.value.message


@pytest.mark.parametrize("turns", range(10))
async def test_final_output_is_read_before_the_end_is_reported(
    pipes: Pipes, init: PlayedInit, tmp_path: Path, turns: int
) -> None:
    async with listening(pipes, tmp_path) as (agent, _):
        asked = asyncio.create_task(agent.handshake())
        for _turn in range(20):
            await asyncio.sleep(0)  # Until it waits.
        init.say("started")
        # It ends while the runner is about to hear that it has begun.
        for _turn in range(turns):
            await asyncio.sleep(0)  # Another instant each time.
        os.write(pipes.stderr, b"Exec format error\n")
        init.say("126")
        with pytest.raises(AttemptError, match="another architecture"):
            await asked


async def test_continued_output_does_not_hide_the_end_of_the_agent(
    pipes: Pipes, init: PlayedInit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "_LAST_WORDS_SECONDS", 0.1)
    async with listening(pipes, tmp_path) as (agent, _):
        speaking = asyncio.create_task(put(pipes.stderr, b"and on\n" * 10_000_000))
        init.say("1")
        with pytest.raises(AttemptError, match="exit code 1"):
            await asyncio.wait_for(agent.handshake(), LATE_SECONDS)
        speaking.cancel()


@pytest.mark.parametrize(
    ("meta", "can_steer"),
    [
        pytest.param({"steering": {"supported": True}}, True, id="codex-and-claude"),
        pytest.param({"steering": {"supported": False}}, False, id="not-now"),
        pytest.param({"steering": "yes"}, False, id="nonsense"),
        pytest.param({"other": 1}, False, id="others"),
        pytest.param(None, False, id="nothing"),
    ],
)
async def test_an_agent_declares_whether_it_can_be_steered(
    pipes: Pipes, init: PlayedInit, tmp_path: Path, meta: dict[str, Any] | None, can_steer: bool
) -> None:
    async with listening(pipes, tmp_path) as (agent, _):
        init.say("started")
        asked = asyncio.create_task(agent.handshake())
        question = json.loads(await PipeReader(pipes.stdin).readline() or b"")
        result = {"protocolVersion": 1} | ({"_meta": meta} if meta is not None else {})
        answer = {"jsonrpc": "2.0", "id": question["id"], "result": result}
        await put(pipes.stdout, json.dumps(answer).encode() + b"\n")
        await asked
        assert agent.can_steer is can_steer


@pytest.mark.parametrize(
    ("answer", "is_taken"),
    [
        pytest.param({"result": {"outcome": "injected"}}, True, id="injected"),
        pytest.param({"result": {"outcome": "promptRequired"}}, False, id="no-turn"),
        pytest.param({"result": {"outcome": "failed"}}, False, id="failed"),
        pytest.param({"result": None}, False, id="nothing"),
        pytest.param({"error": {"code": -32601, "message": "no such method"}}, False, id="error"),
        pytest.param(None, False, id="the-program-ends"),
    ],
)
async def test_only_messages_accepted_into_the_turn_are_delivered(
    pipes: Pipes, init: PlayedInit, tmp_path: Path, answer: dict[str, Any] | None, is_taken: bool
) -> None:
    async with listening(pipes, tmp_path) as (agent, _):
        agent.session_id = "s-1"
        steering = asyncio.create_task(agent.steer("Listen!"))
        asked = json.loads(await PipeReader(pipes.stdin).readline() or b"")
        assert (asked["method"], asked["params"]) == (
            "_session/steering",
            {
                "sessionId": "s-1",
                "prompt": [{"type": "text", "text": "Listen!"}],
                "_meta": {"steering": {"idleBehavior": "promptRequired"}},
            },
        )
        if answer is None:
            init.say("1")
        else:
            line = json.dumps({"jsonrpc": "2.0", "id": asked["id"], **answer})
            await put(pipes.stdout, line.encode() + b"\n")
        assert await steering is is_taken
