"""send_agent_message and fetch_agent_messages."""

import asyncio
from typing import Any

import pytest

from agentrun.kube.resources import SESSIONS
from agentrun.store.base import MAX_MESSAGE_BYTES, StoredMessage
from mcp_server.access.auth import Caller
from tests.memory_messages import MemoryMessages
from tests.unit.mcp_server.cluster import session
from tests.unit.mcp_server.conftest import Bench


def says(text: str = "Hello.", **more: Any) -> dict[str, Any]:
    return {"role": "agent", "parts": [{"type": "text", "text": text}], **more}


@pytest.fixture
async def agents(bench: Bench) -> dict[str, str]:
    """Two agents, and their session ids."""
    made = [await bench.add(SESSIONS, "team-a", session(name)) for name in ("ada", "bob")]
    return {one["metadata"]["name"]: one["metadata"]["uid"] for one in made}


async def send(bench: Bench, **arguments: Any) -> dict[str, Any]:
    return await bench.call("send_agent_message", **{"message": says()} | arguments)


async def fetch(bench: Bench, agent: str = "bob", **arguments: Any) -> dict[str, Any]:
    return await bench.call("fetch_agent_messages", agent_name=agent, **arguments)


async def test_a_message_is_read_back_unchanged(bench: Bench, agents: dict[str, str]) -> None:
    data = {"type": "data", "data": {"n": 1, "none": None}}
    message = says("Ünï 🚀", metadata={"x": None})
    message["parts"].append(data)
    sent = await send(
        bench,
        to_agent_name=" bob ",
        from_agent_name="ada",
        message=message,
        metadata={"kind": "question"},
    )
    created = sent["created_at"]
    assert sent == {
        "message_id": sent["message_id"],
        "to_agent_name": "bob",
        "to_session_id": agents["bob"],
        "seq": 1,
        "created_at": created,
    }
    assert await fetch(bench) == {
        "agent_name": "bob",
        "session_id": agents["bob"],
        "messages": [
            {
                **sent,
                "from_agent_name": "ada",
                "from_session_id": agents["ada"],
                "body": message,
                "metadata": {"kind": "question"},
            }
        ],
        "next_after_seq": 1,
    }


@pytest.mark.usefixtures("agents")
async def test_a_message_without_a_sender_names_none(bench: Bench) -> None:
    await send(bench, to_agent_name="bob", from_agent_name="  ")
    (message,) = (await fetch(bench))["messages"]
    assert (message["from_agent_name"], message["from_session_id"]) == (None, None)
    assert message["metadata"] == {}


@pytest.mark.usefixtures("agents")
async def test_an_agent_may_write_to_itself(bench: Bench) -> None:
    sent = await send(bench, to_agent_name="ada", from_agent_name="ada")
    assert sent["seq"] == 1


async def test_agents_are_named_by_session_id_and_nickname_too(
    bench: Bench, agents: dict[str, str]
) -> None:
    await send(bench, to_agent_name=agents["bob"])
    await send(bench, to_agent_name="Bob!")
    assert (await fetch(bench, agents["bob"]))["agent_name"] == "bob"
    assert len((await fetch(bench, "BOB"))["messages"]) == 2


@pytest.mark.usefixtures("agents")
async def test_messages_are_read_after_a_cursor_and_not_removed(bench: Bench) -> None:
    for number in range(1, 6):
        await send(bench, to_agent_name="bob", message=says(f"Message {number}"))
    page = await fetch(bench, after_seq=1, limit=2)
    assert [one["seq"] for one in page["messages"]] == [2, 3]
    assert page["next_after_seq"] == 3
    assert [one["seq"] for one in (await fetch(bench, after_seq=3))["messages"]] == [4, 5]
    end = await fetch(bench, after_seq=5)
    assert (end["messages"], end["next_after_seq"]) == ([], 5)
    assert len((await fetch(bench))["messages"]) == 5, "reading takes nothing away"


@pytest.mark.usefixtures("agents")
async def test_a_page_is_bounded_in_bytes(bench: Bench) -> None:
    for _ in range(10):
        await send(bench, to_agent_name="bob", message=says("x" * 5_000))
    page = await fetch(bench)
    assert 5 <= len(page["messages"]) < 10
    rest = await fetch(bench, after_seq=page["next_after_seq"])
    assert len(page["messages"]) + len(rest["messages"]) == 10


@pytest.mark.usefixtures("agents")
async def test_waiting_for_a_message_ends_when_it_arrives(bench: Bench) -> None:
    waiting = asyncio.create_task(fetch(bench, wait_ms=30_000))
    for _ in range(50):
        await asyncio.sleep(0)  # Until it waits.
    assert not waiting.done()
    await send(bench, to_agent_name="bob")
    assert len((await waiting)["messages"]) == 1


@pytest.mark.usefixtures("agents")
async def test_waiting_calls_return_when_the_process_stops(bench: Bench) -> None:
    waiting = asyncio.create_task(fetch(bench, wait_ms=30_000))
    for _ in range(50):
        await asyncio.sleep(0)  # Until it waits.
    bench.tool_context.stopping.set()
    assert (await waiting)["messages"] == []


@pytest.mark.usefixtures("agents")
async def test_concurrent_sends_leave_neither_gaps_nor_duplicates(bench: Bench) -> None:
    sent = await asyncio.gather(*(send(bench, to_agent_name="bob") for _ in range(20)))
    assert sorted(one["seq"] for one in sent) == list(range(1, 21))


@pytest.mark.usefixtures("agents")
async def test_a_recreated_session_has_an_empty_mailbox(bench: Bench) -> None:
    await send(bench, to_agent_name="bob")
    await bench.remove(SESSIONS, "team-a", "bob")
    await bench.add(SESSIONS, "team-a", session("bob"))
    assert (await fetch(bench))["messages"] == []
    assert (await send(bench, to_agent_name="bob"))["seq"] == 1


@pytest.mark.usefixtures("agents")
async def test_an_unknown_recipient_is_named_with_the_next_step(bench: Bench) -> None:
    advice = "Call list_agents to see the agents in namespace team-a."
    for tool, arguments in (
        ("send_agent_message", {"to_agent_name": "eve", "message": says()}),
        (
            "send_agent_message",
            {"to_agent_name": "bob", "from_agent_name": "eve", "message": says()},
        ),
        ("fetch_agent_messages", {"agent_name": "eve"}),
    ):
        refusal = await bench.refused(tool, **arguments)
        assert refusal == f"Unknown agent_name: eve. {advice}"
    assert (await fetch(bench))["messages"] == [], "nothing was sent"
    refusal = await bench.refused("fetch_agent_messages", agent_name="  ")
    assert refusal == f"Provide agent_name. {advice}"


async def test_a_folder_only_selects_the_recipient(bench: Bench) -> None:
    await bench.spawn(nickname="ada", cwd="src")
    await send(bench, to_agent_name="ada", cwd="/workspace/src")
    assert len((await fetch(bench, "ada", cwd="src"))["messages"]) == 1
    refusal = await bench.refused("fetch_agent_messages", agent_name="ada", cwd="docs")
    assert refusal.startswith("Unknown agent_name in cwd docs: ada. Call list_agents")


@pytest.mark.usefixtures("agents")
async def test_agents_of_another_namespace_are_not_found(bench: Bench) -> None:
    refusal = await bench.refused(
        "send_agent_message", to_agent_name="bob", message=says(), namespace="team-b"
    )
    assert refusal.endswith("in namespace team-b.")


@pytest.mark.usefixtures("agents")
@pytest.mark.parametrize(
    ("part", "told"),
    [
        ({"type": "text"}, "message.parts[0] is of type text but has no text"),
        ({"type": "text", "text": " "}, "message is empty"),
    ],
)
async def test_a_message_without_content_is_refused(
    bench: Bench, part: dict[str, Any], told: str
) -> None:
    message = {"parts": [part]}
    refusal = await bench.refused("send_agent_message", to_agent_name="bob", message=message)
    assert refusal.startswith(told)
    assert (await fetch(bench))["messages"] == []


@pytest.mark.usefixtures("agents")
async def test_a_too_large_message_is_refused_with_the_sizes(bench: Bench) -> None:
    message = says("x" * 130_000)
    message["parts"] *= 3
    refusal = await bench.refused("send_agent_message", to_agent_name="bob", message=message)
    assert f"more than {MAX_MESSAGE_BYTES}. Put large content into a file" in refusal


@pytest.mark.usefixtures("agents")
async def test_an_unavailable_store_is_reported(bench: Bench) -> None:
    bench.store.failure = OSError("disk full")
    refusal = await bench.refused("send_agent_message", to_agent_name="bob", message=says())
    assert refusal.startswith("The event store is unavailable")


async def test_a_repeated_call_with_a_key_sends_nothing_twice(
    bench: Bench, agents: dict[str, str]
) -> None:
    call: dict[str, Any] = {
        "to_agent_name": "bob",
        "from_agent_name": "ada",
        "idempotency_key": "k",
    }
    call |= {"metadata": {"kind": "note"}, "message": says(metadata={"x": [1, None]})}
    first = await send(bench, **call)
    assert await send(bench, **call) == first
    told = await bench.refused("send_agent_message", **{**call, "message": says("Other.")})
    assert told == (
        "idempotency_key was used before for another message to bob, number 1. Use another key."
    )
    for other in ({"to_agent_name": "ada"}, {"idempotency_key": "other"}):
        assert (await send(bench, **call | other))["message_id"] != first["message_id"]
    bench.caller = Caller("system:serviceaccount:team-a:bob")
    assert (await send(bench, **call))["seq"] == 3


async def test_reading_a_full_mailbox_reads_about_one_response_from_the_store(
    bench: Bench, agents: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch_all, held = MemoryMessages.fetch, list[int]()

    async def counted(store: MemoryMessages, *given: Any) -> list[StoredMessage]:
        found = await fetch_all(store, *given)
        held.append(len(found))
        return found

    for _ in range(40):
        await send(bench, to_agent_name="bob", message=says(), metadata={"x": "x" * 7_000})
    monkeypatch.setattr(MemoryMessages, "fetch", counted)
    page = await fetch(bench, limit=1000)
    assert [one["seq"] for one in page["messages"]] == [1, 2, 3, 4]
    assert sum(held) < 15, "all of them would take nine pages"
    rest = await fetch(bench, limit=1000, after_seq=page["next_after_seq"])
    assert rest["messages"][0]["seq"] == 5


async def test_many_small_messages_fit_into_one_response(
    bench: Bench, agents: dict[str, str]
) -> None:
    for number in range(70):
        await send(bench, to_agent_name="bob", message=says(str(number)))
    for limit, last in ((7, 7), (50, 50), (1000, 70)):
        page = await fetch(bench, limit=limit)
        assert [one["seq"] for one in page["messages"]] == list(range(1, last + 1))
