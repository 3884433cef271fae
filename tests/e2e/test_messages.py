"""Agents in pods of their own, and the messages they get from one another."""

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from uuid import uuid4

import pytest

from agentrun.api.v1alpha1 import default_profile
from dev.mcp_client import McpClient
from tests.e2e.agents import UNTIL_GO, script, trivial
from tests.e2e.checks import check_journal
from tests.e2e.cluster import RUNS, Json, apply, eventually, get, let_go
from tests.e2e.installation import Installation, profile
from tests.events import said

pytestmark = pytest.mark.e2e


def unused(name: str) -> str:
    """Name an agent or a profile as no other test on this cluster did."""
    return f"{name}-{uuid4().hex[:8]}"


def says(text: str) -> Json:
    return {"role": "agent", "parts": [{"type": "text", "text": text}]}


async def listed(client: McpClient, *names: str, **more: Any) -> dict[str, Json]:
    """Return what list_agents says of some agents, once it lists them all."""
    found = await eventually(
        lambda: client.call("list_agents", limit=500, **more),
        lambda page: set(names) <= {one["agent_name"] for one in page["agents"]},
    )
    return {one["agent_name"]: one for one in found["agents"] if one["agent_name"] in names}


async def has(client: McpClient, run_id: str, is_it: Callable[[Json], bool]) -> None:
    """Wait for an event of a run."""
    async for event in client.events(run_id):
        if is_it(event):
            return
    raise AssertionError(f"{run_id} ended without it")


def given(events: list[Json]) -> list[tuple[str | None, int, str]]:
    added = [event["data"] for event in events if event["type"] == "message_added"]
    return [(one["from_agent_name"], one["seq"], one["delivery"]) for one in added]


async def test_two_agents_in_two_pods_receive_each_others_messages(platform: Installation) -> None:
    client = platform.client
    correspondent, tools = unused("correspondent"), {"deliverMessages": "BetweenTurns"}
    await apply(profile(correspondent, agentTools=tools))
    names = ada_name, bob_name = unused("ada"), unused("bob")
    runs = [
        await platform.trivial(["run", UNTIL_GO], agent=name, profile=correspondent)
        for name in names
    ]
    await asyncio.gather(*(platform.reaches(run_id, "Running") for run_id in runs))
    agents = await listed(client, *names, status="running")
    assert [agents[name]["status"] for name in names] == ["running", "running"]
    assert [agents[name]["last_run_id"] for name in names] == runs

    async def send(sender: str, recipient: str, *steps: list[Any]) -> int:
        sent = await client.call(
            "send_agent_message",
            to_agent_name=recipient,
            from_agent_name=sender,
            message=says(trivial(*steps)),
        )
        seq: int = sent["seq"]
        return seq

    waiting = asyncio.create_task(
        client.call("fetch_agent_messages", agent_name=bob_name, wait_ms=30_000)
    )
    assert await send(ada_name, bob_name, ["say", "Bob heard of Ada."]) == 1
    assert [one["seq"] for one in (await waiting)["messages"]] == [1]
    assert await send(bob_name, ada_name, ["say", "Ada heard of Bob."]) == 1
    await asyncio.gather(*(let_go(run_id) for run_id in runs))

    (ada, ada_events), (bob, bob_events) = await asyncio.gather(*map(client.finish, runs))
    for run, events in ((ada, ada_events), (bob, bob_events)):
        assert run["status"] == "completed", run
        check_journal(events, "completed")
    assert given(ada_events) == [(bob_name, 1, "between_turns")]
    assert given(bob_events) == [(ada_name, 1, "between_turns")]
    assert said(ada_events) == [ada["result"]["summary"]] == ["Ada heard of Bob."]
    assert said(bob_events) == [bob["result"]["summary"]] == ["Bob heard of Ada."]

    mailbox = await client.call("fetch_agent_messages", agent_name=ada_name)
    (kept,) = mailbox["messages"]
    assert (kept["from_agent_name"], kept["seq"]) == (bob_name, 1), "it outlives the run"
    agents = await listed(client, ada_name, status="completed")
    assert agents[ada_name]["last_run_status"] == "completed"


async def test_concurrent_messages_to_an_agent_get_distinct_numbers(
    platform: Installation,
) -> None:
    name = unused("popular")
    run_id = await platform.trivial(["say", "here"], agent=name)
    await platform.client.finish(run_id)

    async def send(number: int) -> int:
        sent = await platform.client.call(
            "send_agent_message",
            to_agent_name=name,
            message=says(f"Message {number}"),
        )
        seq: int = sent["seq"]
        return seq

    seqs = await asyncio.gather(*(send(number) for number in range(20)))
    assert sorted(seqs) == list(range(1, 21))


@pytest.mark.parametrize("backend", ["codex", "claude_code"])
async def test_a_real_agent_receives_a_message_during_its_turn(
    platform: Installation, backend: str
) -> None:
    client, name = platform.client, unused(default_profile(backend))
    like = await get("agentprofile", default_profile(backend))
    assert like is not None
    spec = like["spec"] | {"agentTools": {"deliverMessages": "Steer"}}
    metadata = {"name": unused(f"{default_profile(backend)}-steered"), "namespace": RUNS}
    await apply({**like, "metadata": metadata, "spec": spec})
    prompt = script({"shell": UNTIL_GO}, {"say": "Nobody wrote."})
    run_id = await platform.spawn(backend, prompt, profile=metadata["name"], nickname=name)
    await has(client, run_id, lambda event: event["type"] == "command_started")
    await client.call(
        "send_agent_message",
        to_agent_name=name,
        message=says(script({"say": "I heard it in my turn."})),
    )
    await has(client, run_id, lambda event: event["type"] == "message_added")
    if backend == "claude_code":
        # Codex waits for a command no longer once it hears something. Claude Code moves it to the
        # background after some seconds, and may have ended by itself.
        with suppress(AssertionError):
            await let_go(run_id)
    run, events = await client.finish(run_id)
    assert run["status"] == "completed", run
    assert given(events) == [(None, 1, "steered")], json.dumps(events)
    assert "I heard it in my turn." in said(events)[-1], said(events)
    assert "Nobody wrote." not in "".join(said(events))
    kinds = [event["type"] for event in events]
    assert kinds.index("message_added") < kinds.index("command_finished")


async def test_a_continued_run_does_not_receive_earlier_messages_again(
    platform: Installation,
) -> None:
    client, name = platform.client, unused("remembers")
    memory = [{"name": "ACP_AGENT_MEMORY", "value": ".trivial"}]
    remembering, tools = unused("remembering"), {"deliverMessages": "BetweenTurns"}
    await apply(profile(remembering, env=memory, agentTools=tools))

    async def send(*steps: list[Any]) -> None:
        await client.call("send_agent_message", to_agent_name=name, message=says(trivial(*steps)))

    first = await platform.trivial(["run", UNTIL_GO], agent=name, profile=remembering)
    await platform.reaches(first, "Running")
    await send(["say", "I heard the first."])
    await let_go(first)
    run, events = await client.finish(first)
    assert run["status"] == "completed", run
    assert [seq for _, seq, _ in given(events)] == [1]
    await send(["say", "I heard the second."])
    recalls = {"role": "user", "parts": [{"type": "text", "text": trivial(["recall"])}]}
    continued = await client.call("continue_run", run_id=first, input_message=recalls)
    run, events = await client.finish(continued["run_id"])
    assert run["status"] == "completed", run
    assert [seq for _, seq, _ in given(events)] == [2]
    recalled, heard = said(events)
    assert recalled.count("I heard the first.") == 1, "the conversation has it in it"
    assert heard == "I heard the second."
