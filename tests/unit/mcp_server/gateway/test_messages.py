"""Messages on their way to a runner."""

import asyncio
from typing import Any

import httpx2
import pytest

from agentrun.api.gateway import Messages
from agentrun.api.v1alpha1 import Phase
from agentrun.store.base import MailboxState
from mcp_server.gateway.messages import MAX_ANSWER_BYTES
from tests.contract.builders import a_message
from tests.unit.mcp_server.gateway.conftest import World, the_run

LONG = 30_000
SESSION = "session-1"


async def send(world: World, *numbers: int, text: str = "Hello.", to: str = SESSION) -> None:
    for number in numbers:
        message = a_message(f"m-{number}", text, to=to, sender="ada", metadata={"none": None})
        await world.store.messages.send(message)


async def ask(world: World, after: int = 0, wait_ms: int = 0) -> list[int]:
    answer = await world.call("GET", f"/v1/messages?after={after}&wait_ms={wait_ms}")
    assert answer.status_code == 200, answer.text
    return [one.seq for one in Messages.model_validate_json(answer.content).messages]


async def deliver(world: World, seq: int) -> httpx2.Response:
    return await world.call("POST", "/v1/delivered", {"seq": seq})


async def begin_asking(world: World, after: int = 0) -> "asyncio.Task[list[int]]":
    asking = asyncio.create_task(ask(world, after, LONG))
    for _ in range(50):
        await asyncio.sleep(0)  # Until it waits.
    assert not asking.done()
    return asking


async def test_a_message_is_delivered_unchanged(world: World) -> None:
    await send(world, 1, text="Ünï 🚀")
    answer = await world.call("GET", "/v1/messages")
    (mail,) = Messages.model_validate_json(answer.content).messages
    assert (mail.message_id, mail.seq, mail.metadata) == ("m-1", 1, {"none": None})
    assert (mail.from_agent_name, mail.from_session_id) == ("ada", "s-2")
    assert mail.body == a_message(text="Ünï 🚀").body
    assert mail.created_at.endswith("Z")


async def test_only_the_sessions_own_messages_are_delivered(world: World) -> None:
    await send(world, 1, 2, 3)
    await send(world, 4, to="session-2")
    assert await ask(world) == [1, 2, 3]
    assert await ask(world, after=2) == [3]
    assert await ask(world, after=3) == []


async def test_delivered_messages_are_not_delivered_again(world: World) -> None:
    await send(world, 1, 2, 3)
    answer = await deliver(world, 2)
    assert Messages.model_validate_json(answer.content).delivered_seq == 2
    assert await ask(world) == [3], "not to another attempt either"
    assert await world.store.messages.mailbox(SESSION) == MailboxState(3, 2)
    assert len(await world.store.messages.fetch(SESSION, 0, 10)) == 3, "readers find them"


async def test_a_new_message_wakes_the_waiting_runner(world: World) -> None:
    await send(world, 1)
    await deliver(world, 1)
    asking = await begin_asking(world)
    await send(world, 2, to="session-2")
    await asyncio.sleep(0)  # So that it could wake.
    await send(world, 2)
    assert await asking == [2]


async def test_a_wait_without_messages_is_answered_at_its_timeout(world: World) -> None:
    assert await ask(world, wait_ms=10) == []


async def test_shutting_down_ends_the_wait(world: World) -> None:
    asking = await begin_asking(world)
    world.closing.set()
    assert await asking == []


async def test_a_response_is_bounded_and_the_rest_follows(world: World) -> None:
    await send(world, *range(1, 11), text="x" * 130_000)
    first = await ask(world)
    assert 1 < len(first) <= MAX_ANSWER_BYTES // 130_000
    assert await ask(world, after=first[-1]) != []


async def test_an_ended_run_gets_no_messages(world: World) -> None:
    await send(world, 1)
    run = the_run(phase=Phase.CANCELLED)
    run.metadata.resource_version = "20"
    await world.see(run)
    for answer in (await world.call("GET", "/v1/messages"), await deliver(world, 1)):
        assert (answer.status_code, answer.json()["error"]) == (410, "sealed")


async def test_a_run_without_its_session_is_asked_to_retry(world: World) -> None:
    world.runs.sessions.clear()
    answer = await world.call("GET", "/v1/messages")
    assert (answer.status_code, answer.json()["error"]) == (503, "unavailable")


async def test_another_pod_gets_no_messages(world: World) -> None:
    answer = await world.call("GET", "/v1/messages", token="team/run-1-2/pod-2")
    assert answer.status_code == 403


@pytest.mark.parametrize("query", ["after=-1", "after=x", "wait_ms=30001"])
async def test_an_invalid_number_is_named(world: World, query: str) -> None:
    answer = await world.call("GET", f"/v1/messages?{query}")
    problem: dict[str, Any] = answer.json()
    assert (answer.status_code, problem["error"]) == (400, "invalid")
    assert (await deliver(world, 0)).status_code == 400
