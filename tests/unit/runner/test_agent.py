"""The agent's program: bounded reading, and a clear word when it does not answer."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from agentrun.runner.agent import Agent
from agentrun.runner.layout import Layout
from agentrun.runner.lines import LineReader, LineTooLong
from agentrun.runner.outcome import Failure
from agentrun.runner.pipes import NAMES, Pipes, announce, make_pipes


@pytest.fixture
def pipes(tmp_path: Path) -> Iterator[Pipes]:
    (tmp_path / "tini").write_text("init")
    made = make_pipes(Layout(root=tmp_path, init_program=tmp_path / "tini"))
    yield made
    for fd in (made.stdin, made.stdout, made.stderr, made.exit, made.stop):
        os.close(fd)


def test_pipes_are_ready_only_when_announced(tmp_path: Path) -> None:
    (tmp_path / "tini").write_text("init")
    layout = Layout(root=tmp_path, init_program=tmp_path / "tini")
    make_pipes(layout)
    assert not (layout.pipes / "ready").exists()
    announce(layout)
    assert {path.name for path in layout.pipes.iterdir()} == {
        *NAMES, "init", "supervise", "ready",
    }  # fmt: skip
    assert os.access(layout.pipes / "init", os.X_OK)


async def test_lines_come_one_by_one_however_they_are_cut(pipes: Pipes) -> None:
    reader = LineReader(pipes.stdout)
    os.write(pipes.stdout, b"one\ntw")
    assert await reader.readline() == b"one"
    waiting = asyncio.create_task(reader.readline())
    await asyncio.sleep(0)
    os.write(pipes.stdout, b"o\nrest")
    assert await waiting == b"two"
    reader.end()
    assert await reader.readline() == b"rest"
    assert await reader.readline() is None


async def test_line_beyond_the_limit_is_an_error_before_it_is_read(pipes: Pipes) -> None:
    reader = LineReader(pipes.stdout, limit=1000)
    os.write(pipes.stdout, b"x" * 60_000)
    with pytest.raises(LineTooLong, match="1000"):
        await reader.readline()


async def test_who_talks_without_a_pause_lets_others_take_their_turn(pipes: Pipes) -> None:
    reader = LineReader(pipes.stderr)
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(others())
    # What is read is written again at once: there is always more.
    for _ in range(100):
        os.write(pipes.stderr, b"x" * 100 + b"\n")
        assert await reader.readline() == b"x" * 100
    other.cancel()
    assert turns >= 50


@asynccontextmanager
async def listening(pipes: Pipes) -> AsyncIterator[tuple[Agent, list[dict[str, Any]]]]:
    updates: list[dict[str, Any]] = []

    async def take(update: dict[str, Any]) -> None:
        updates.append(update)

    agent = Agent(pipes, take, lambda call, answer: None)
    listener = asyncio.create_task(agent.listen())
    try:
        yield agent, updates
    finally:
        listener.cancel()
        await asyncio.gather(listener, return_exceptions=True)
        await agent.close()


async def test_agent_that_hangs_in_the_handshake_is_named(pipes: Pipes) -> None:
    async with listening(pipes) as (agent, _):
        os.write(pipes.exit, b"started\n")
        os.write(pipes.stderr, b"loading the universe\n")
        with pytest.raises(Failure, match="loading the universe") as raised:
            await agent.handshake(seconds=0.2)
    assert raised.value.reason == "AgentUnresponsive"


async def test_agent_that_has_not_started_is_waited_for(pipes: Pipes) -> None:
    async with listening(pipes) as (agent, _):
        handshake = asyncio.create_task(agent.handshake(seconds=0.05))
        done, _pending = await asyncio.wait({handshake}, timeout=0.2)
        assert not done
        os.write(pipes.exit, b"started\n")
        with pytest.raises(Failure):
            await handshake


async def test_output_that_is_no_protocol_is_an_error_in_the_end(pipes: Pipes) -> None:
    async with listening(pipes) as (agent, _):
        os.write(pipes.exit, b"started\n")
        os.write(pipes.stdout, b"not json \xff\n" * 101)
        with pytest.raises(Failure, match="are no messages") as raised:
            await agent.handshake()
    assert raised.value.reason == "ProtocolError"


async def test_updates_arrive_in_order_and_as_valid_text(pipes: Pipes) -> None:
    frame = '{"method":"session/update","params":{"update":{"n":%d,"t":"\\ud800x"}}}\n'
    async with listening(pipes) as (agent, updates):
        os.write(pipes.stdout, b"".join((frame % n).encode() for n in range(50)))
        os.write(pipes.exit, b"0\n")
        with pytest.raises(Failure, match="exit code 0"):
            await agent.handshake()
    assert [update["n"] for update in updates] == list(range(50))
    assert updates[0]["t"] == "?x"


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b"7" * 5000 + b"\n", id="digits"),
        pytest.param(b"7" * 65_000 + b"\n", id="many-digits"),
        pytest.param(b"x" * 65_536, id="no-end"),
    ],
)
async def test_line_that_is_no_exit_code_is_passed_over(pipes: Pipes, line: bytes) -> None:
    async with listening(pipes) as (agent, _):
        for part in (line, b"x", b"\nstarted\n3\n"):
            os.write(pipes.exit, part)
            await asyncio.sleep(0.05)
        with pytest.raises(Failure, match="exit code 3"):
            await asyncio.wait_for(agent.handshake(), 5)
