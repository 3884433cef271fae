"""Agents that use AgentRun from their pods: the command peer, and the tools over MCP."""

import asyncio
import json
from typing import Any
from uuid import uuid4

import pytest

from agentrun.api.v1alpha1 import default_profile
from tests.e2e.agents import script, trivial
from tests.e2e.cluster import RUNS, Json, apply, get, pod_uid, processes_of
from tests.e2e.installation import Installation
from tests.e2e.memory import watching

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

EVERYTHING = [
    "send_agent_message", "fetch_agent_messages", "list_agents", "list_runs", "get_run",
    "poll_events", "spawn_run", "cancel_run",
]  # fmt: skip


def unused(name: str) -> str:
    """Name an agent or a profile as no other test on this cluster did."""
    return f"{name}-{uuid4().hex[:8]}"


def printed(events: list[Json]) -> str:
    return "".join(
        event["data"]["output"] for event in events if event["type"] == "command_finished"
    )


async def test_two_agents_exchange_messages_with_the_peer_command(platform: Installation) -> None:
    client = platform.client
    ada, bob = unused("tools-ada"), unused("tools-bob")
    waits = "peer wait --timeout 60000 --json; echo $PEER_NAME $PEER_SESSION_ID $PEER_CWD"
    listener = await platform.trivial(["run", waits], agent=bob)
    says = f"peer send {bob} 'Are you there?' --kind question; peer whoami; peer fly; echo rc $?"
    speaker = await platform.trivial(["run", says], agent=ada)
    (_, heard), (_, spoken) = await asyncio.gather(client.finish(listener), client.finish(speaker))
    line, identity = printed(heard).strip().splitlines()
    (message,) = json.loads(line)["messages"]
    assert message["from_agent_name"] == ada
    assert message["body"]["parts"][0]["text"] == "Are you there?"
    assert message["metadata"] == {"kind": "question"}
    assert identity == f"{bob} {bob} /workspace"
    sent, who, *_, code = printed(spoken).strip().splitlines()
    assert sent == f"sent {message['message_id']} -> {bob} (#{message['seq']})"
    assert who == f"{ada}\trunning\t/workspace"
    assert code == "rc 1"


def words(text: str, **more: Any) -> Json:
    return {"message": {"role": "agent", "parts": [{"type": "text", "text": text}]}, **more}


def tool(name: str, until: str = "", **arguments: Any) -> Json:
    step = {"tool": f"agentrun/{name}", "arguments": arguments}
    return step | {"until": until} if until else step


async def with_tools(platform: Installation, backend: str, **tools: Any) -> str:
    """Make a profile like the default one of ``backend``, with other ``agentTools``."""
    like = await get("agentprofile", default_profile(backend))
    assert like is not None
    name = unused(f"tools-{backend.replace('_', '-')}")
    metadata = {"name": name, "namespace": RUNS}
    await apply({**like, "metadata": metadata, "spec": like["spec"] | {"agentTools": tools}})
    return name


async def started_by(platform: Installation, run_id: str) -> list[Json]:
    """Return the runs that the agent of a run has asked for."""
    return await platform.find_runs(lambda one: one["requested_by"] == f"run/{run_id}")


ANSWER = "It is port 8443."


@pytest.mark.parametrize(("deliver", "how"), [("Pull", []), ("BetweenTurns", ["between_turns"])])
async def test_two_real_agents_in_two_pods_exchange_messages_with_their_tools(
    platform: Installation, deliver: str, how: list[str]
) -> None:
    client, ada, bob = platform.client, unused("real-ada"), unused("real-bob")
    question = "Which port is it?"
    answers = tool("send_agent_message", to_agent_name=ada, **words(ANSWER))
    if deliver != "Pull":
        # The turn that the message begins does what it says; fences within fences are escaped.
        question += f"\nFENCEscript\n{json.dumps([answers, {'say': 'I was asked.'}])}\nFENCE"
    looks = tool("fetch_agent_messages", "Which port", wait_ms=30_000)
    listens = [looks, *([answers] if deliver == "Pull" else []), {"say": "I am here."}]
    asks = [
        tool("list_agents", bob),
        tool("send_agent_message", to_agent_name=bob, **words(question)),
        tool("fetch_agent_messages", ANSWER, wait_ms=30_000),
        {"say": "Now I know."},
    ]
    profiles = [
        await with_tools(platform, "claude_code", deliverMessages=deliver),
        await with_tools(platform, "codex"),
    ]
    runs = []
    for backend, profile_name, name, steps in (
        ("claude_code", profiles[0], bob, listens), ("codex", profiles[1], ada, asks),
    ):  # fmt: skip
        prompt = script(*steps).replace("FENCE", "\\u0060" * 3)
        run_id = await platform.spawn(backend, prompt, profile=profile_name, nickname=name)
        runs.append(run_id)
    (listener, heard), (asker, spoken) = await asyncio.gather(*map(client.finish, runs))
    assert [listener["status"], asker["status"]] == ["completed", "completed"], (heard, spoken)
    assert "Now I know." in json.dumps(spoken)
    assert ANSWER in "".join(json.dumps(e) for e in spoken if e["type"] == "tool_finished")
    given = [e["data"] for e in heard if e["type"] == "message_added"]
    assert [one["delivery"] for one in given] == how
    for name, sender, said in ((bob, ada, "Which port is it?"), (ada, bob, ANSWER)):
        (letter,) = (await client.call("fetch_agent_messages", agent_name=name))["messages"]
        assert letter["from_agent_name"] == sender
        assert letter["body"]["parts"][0]["text"].startswith(said)


async def test_an_agent_that_calls_endlessly_does_not_exhaust_its_runners_memory(
    platform: Installation,
) -> None:
    calls = "for j in $(seq 20); do peer list --json >/dev/null; done"
    loop = f"for i in $(seq 8); do ({calls}) & done; wait"
    run_id = await platform.trivial(["run", loop], ["run", "peer whoami"])
    async with watching(await pod_uid(run_id)) as memory:
        run, events = await platform.client.finish(run_id)
    assert run["status"] == "completed", run
    assert f"{run_id}\trunning" in printed(events)
    memory.check()


def a_child(*steps: list[Any]) -> Json:
    """What an agent says of a run that it asks for."""
    prompt = trivial(*steps)
    return {"backend": "acp", "role": "worker", "profile": "trivial", "prompt": prompt}


@pytest.mark.parametrize("backend", ["codex", "claude_code"])
async def test_a_real_agent_uses_the_tools_and_starts_a_run_within_its_bounds(
    platform: Installation, backend: str
) -> None:
    client, children = platform.client, {"profiles": ["trivial"], "maxCount": 1}
    name = await with_tools(platform, backend, allowed=EVERYTHING, children=children)
    child = a_child(["say", "I am a child."])
    steps = script(
        tool("list_agents"),
        tool("send_agent_message", to_agent_name=name, **words("Hello.")),
        tool("spawn_run", **child),
        tool("poll_events", "run_completed", run_id="{{run_id}}", after_seq=0),
        tool("spawn_run", **child),
        {"say": "done"},
    )
    run_id = await platform.spawn(backend, steps, profile=name, nickname=name)
    run, events = await client.finish(run_id)
    said = json.dumps(events)
    assert run["status"] == "completed", said
    assert "I am a child." in said, said
    assert "You have started 1 runs" in said, said
    (letter,) = (await client.call("fetch_agent_messages", agent_name=name))["messages"]
    assert letter["from_agent_name"] == name
    (own,) = await started_by(platform, run_id)
    below, _ = await client.finish(own["run_id"])
    assert below["status"] == "completed", below
    parent, made = await platform.run(run_id), await platform.run(own["run_id"])
    assert made["spec"]["parent"] == {
        "name": run_id, "uid": parent["metadata"]["uid"], "depth": 1,
    }  # fmt: skip


async def test_cancelling_a_run_cancels_the_runs_that_its_agent_started(
    platform: Installation,
) -> None:
    children = {"profiles": ["trivial"], "maxCount": 1}
    lead = await with_tools(platform, "claude_code", allowed=EVERYTHING, children=children)
    endless = "while :; do sleep 1; done"
    prompt = script(tool("spawn_run", **a_child(["sleep", 600])), {"shell": endless})
    run_id = await platform.spawn("claude_code", prompt, profile=lead)
    async for event in platform.client.events(run_id):
        # It has asked for its child before that.
        if event["type"] == "command_started" and endless in event["data"]["command"]:
            break
    (below,) = await started_by(platform, run_id)
    uid = await pod_uid(below["run_id"])
    await platform.reaches(below["run_id"], "Running")
    answer = await platform.client.cancel(run_id)
    assert answer["status"] == "cancelled"
    await platform.reaches(below["run_id"], "Cancelled")
    assert processes_of(uid) == []
