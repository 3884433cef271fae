"""
Remote agents over A2A, from pods: a real server, made with the official SDK, that misbehaves.

What is up to the runner alone is held in full beside its other tests
(``tests/unit/runner/test_remote.py``, ``a2a/test_failures.py``): of that only a selection is here.
"""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from secrets import token_hex
from typing import Any

import pytest
import pytest_asyncio

from agentrun.api.v1alpha1 import TERMINAL_PHASES
from dev import product
from dev.a2a.server import TEAM, TOKEN
from tests.e2e.checks import check_journal
from tests.e2e.cluster import (
    RUNS,
    Json,
    apply,
    delete,
    eventually,
    get,
    items,
    kubectl,
    merge,
    pod_of,
    pod_uid,
)
from tests.e2e.failing import check_failure
from tests.e2e.installation import Installation
from tests.e2e.memory import watching
from tests.e2e.remotes import Together, a_run, at, profile, seen, spawn, task_of
from tests.events import data_of, said
from tests.failures import promised

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("a2a"), pytest.mark.timeout(300)]

SPOKEN = ["streaming", "old-polled"]
SCHEMA = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}
CREDENTIALS = {"auth_token": TOKEN, "headers": {"x-team": TEAM}}
KEY = "remote-key"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def remote(platform: Installation) -> AsyncIterator[str]:
    """Make the profiles, and yield where this machine reaches the agents."""
    key = {"baseURL": f"{product.REMOTE}/bearer", "keySecret": {"name": KEY, "key": "key"}}
    secret = {
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": KEY, "namespace": RUNS},
        "stringData": {"key": TOKEN},
    }  # fmt: skip
    await apply(secret, profile(), profile("remote-keyed", provider=key))
    with product.service_url(platform.cluster, "agentrun-dev", "a2a", 8080) as url:
        yield url


async def told(remote: str, agent: str, run: Json) -> list[str]:
    """Say what the agent was told in a run's conversation."""
    heard: dict[str, list[str]] = (await seen(remote, agent))["heard"]
    return heard[run["remote_ref"]["context_id"]]


def says(words: str) -> Json:
    return {"role": "user", "parts": [{"type": "text", "text": words}]}


async def answer(platform: Installation, run_id: str, words: str, by: str = "mcp") -> None:
    if by == "mcp":
        await platform.client.call("continue_run", run_id=run_id, input_message=says(words))
        return
    # As kubectl does it.
    question = (await platform.status(run_id))["agent"]["question"]["id"]
    given = [{"seq": 1, "questionID": question, "message": says(words)}]
    await merge("run", run_id, {"spec": {"inputs": given}})


@dataclass(frozen=True)
class Talk:
    """A run whose agent asked which one, and then who it is that speaks."""

    asked: Json
    """As get_run showed it with the first question."""
    run: Json
    events: list[Json]


async def talk(platform: Installation, agent: str, *steps: list[Any]) -> Talk:
    """Spawn a run, answer what its agent asks, and wait for its end."""
    run_id = await spawn(platform, at(agent), *steps)
    asked = await platform.shown(run_id, lambda run: run["question"])
    await answer(platform, run_id, "the second")
    await platform.reaches(run_id, "AuthRequired")
    await answer(platform, run_id, "it is me")
    return Talk(asked, *await platform.client.finish(run_id))


async def follow(platform: Installation, agent: str) -> Talk:
    return await talk(
        platform, agent,
        ["say", "I begin"], ["sleep", 1], ["ask", "Which one?"], ["auth", "Who are you?"],
        ["artifact", "report", "all is well", 3], ["data", "numbers", {"n": 1}],
        ["artifact", "big", "x" * 30_000, 3], ["binary", "bytes", 100_000],
    )  # fmt: skip


FOLLOWED = Together(follow, SPOKEN)


@pytest.mark.parametrize("agent", SPOKEN)
async def test_task_is_followed_to_its_end(platform: Installation, remote: str, agent: str) -> None:
    talked = await FOLLOWED.of(platform, agent)
    run, events = talked.run, talked.events
    assert talked.asked["question"]["text"] == "Which one?"
    assert run["status"] == "completed", run
    check_journal(events, "completed")
    assert data_of(events, "run_completed")[0]["final_response"].startswith("all is well\n\nx")
    assert "I begin" in said(events)
    assert (await told(remote, agent, run))[1:] == ["the second", "it is me"]
    ref = run["remote_ref"]
    assert (ref["provider"], ref["conversation_id"]) == ("remote_a2a", ref["context_id"])
    assert (ref["agent_name"], ref["agent_url"]) == ("scripted", at(agent)["agent_url"])
    tasks = {one["task_id"] for one in data_of(events, "status_changed") if one.get("task_id")}
    assert tasks == {ref["task_id"]}
    assert ref["task_id"] in await kubectl("describe", "run", run["run_id"], "-n", RUNS)
    await check_artifacts(platform, run["run_id"], events)


async def check_artifacts(platform: Installation, run_id: str, events: list[Json]) -> None:
    """Read what the events only preview."""
    made = [one for one in events if one["type"] == "artifact_added"]
    found = {one["data"]["artifact_id"]: one for one in made}
    assert len(made) == len(found), "each is told of once"
    assert found["report"]["data"]["text"] == "all is well"
    assert found["numbers"]["data"]["parts"][0]["data"] == {"n": 1}
    assert await whole(platform, run_id, found["big"], "/text") == "x" * 30_000
    (part,) = json.loads(await whole(platform, run_id, found["bytes"], "/parts"))
    assert base64.b64decode(part["raw"]) == bytes(100_000)
    assert part["mediaType"] == "application/octet-stream"


async def whole(platform: Installation, run_id: str, event: Json, field: str) -> str:
    content, offset = "", 0
    while True:
        page = await platform.client.call(
            "get_event_artifact", run_id=run_id, seq=event["seq"], field_path=field, offset=offset,
            limit=262_144,
        )  # fmt: skip
        content, offset = f"{content}{page['content']}", offset + page["returned_bytes"]
        if not page["has_more"]:
            return content


async def test_interrupted_stream_is_resumed(platform: Installation, remote: str) -> None:
    """That of each message does, in another way, while the task goes on."""
    talked = await talk(
        platform, "streaming",
        ["say", "before"], ["drop"], ["sleep", 1], ["ask", "Which one?"],
        ["hush"], ["sleep", 1], ["auth", "Who are you?"],
        ["garble"], ["sleep", 1], ["artifact", "a", "after"],
    )  # fmt: skip
    run, events = talked.run, talked.events
    assert run["status"] == "completed", run
    check_journal(events, "completed")
    assert data_of(events, "run_completed")[0]["final_response"] == "after"
    assert said(events).count("before") == 1
    marks = [text.partition(" ")[0] for text in said(events) if text.startswith("(")]
    assert marks == ["(drop", "(hush", "(garble"], "each is told of once"
    assert (await told(remote, "streaming", run))[1:] == ["the second", "it is me"]


DONE: dict[str, tuple[Json, list[Any], Json]] = {
    "keyed": (at("bearer"), ["say", "hello"], {"profile": "remote-keyed"}),
    "given": (at("streaming"), ["data", "a", {"n": 7}], {"output_schema": SCHEMA}),
}


async def finish(platform: Installation, key: str) -> Json:
    config, step, more = DONE[key]
    run, _ = await platform.client.finish(await spawn(platform, config, step, **more))
    return run


ALL_DONE = Together(finish, DONE)


async def test_key_of_the_profile_is_sent_to_the_profiles_agent(
    platform: Installation, remote: str
) -> None:
    run = await ALL_DONE.of(platform, "keyed")
    assert run["status"] == "completed", run


async def test_data_is_the_structured_answer(platform: Installation, remote: str) -> None:
    run = await ALL_DONE.of(platform, "given")
    assert run["result"]["structured"] == {"n": 7}, run


HELLO = ["say", "hello"]
WRONG: dict[str, tuple[Json, list[Any]]] = {
    "remote-unreachable": ({"agent_url": "http://a2a.agentrun-dev.svc:9/"}, HELLO),
    "remote-leads-elsewhere": (at("foreign", **CREDENTIALS), HELLO),
    "remote-rejected": (at("old-polled"), ["reject", "I will not"]),
}
MCP_SERVER = "system:serviceaccount:agentrun-system:agentrun-mcp"
ELSEWHERE = {"agent_url": "http://a2a.elsewhere.example"}
PAST_THE_TOOLS: dict[str, tuple[Json | None, Json]] = {
    "remote-secret-of-another": (ELSEWHERE, {}),
    "remote-key-of-another": (ELSEWHERE, {"profile": "remote-keyed"}),
    "remote-url-missing": (None, {}),
    "remote-secret-missing": (at("streaming", credentials_secret="gone-agentrun-backend"), {}),
}
SLOW = ("remote-secret-missing",)


async def go_wrong(platform: Installation, key: str) -> str:
    """Make a run, by spawn_run or past it, and wait for its end."""
    if key in WRONG:
        config, step = WRONG[key]
        run_id = await spawn(platform, config, step)
    else:
        given, more = PAST_THE_TOOLS[key]
        if key == "remote-secret-of-another":
            other = await ALL_WRONG.of(platform, "remote-leads-elsewhere")
            given = {**ELSEWHERE, "credentials_secret": f"{other}-agentrun-backend"}
        run_id = f"a-{key}-{token_hex(4)}"
        run = a_run(run_id, given, ["say", "x"], **more)
        # Nobody else may name a Secret there: what is tried is what holds should somebody.
        await kubectl("create", "-f", "-", "--as", MCP_SERVER, stdin=json.dumps(run))
    await platform.reaches(run_id, *TERMINAL_PHASES, seconds=200)
    return run_id


ALL_WRONG: Together[str, str] = Together(go_wrong, [*SLOW, *WRONG, *PAST_THE_TOOLS])


@promised(*WRONG)
async def test_errors_are_named(platform: Installation, remote: str, key: str) -> None:
    await check_failure(platform, await ALL_WRONG.of(platform, key), key)


@promised(*PAST_THE_TOOLS)
async def test_errors_of_a_run_that_no_tool_has_validated_are_named(
    platform: Installation, remote: str, key: str
) -> None:
    """As kubectl makes it: nothing has looked at it before its pod does."""
    await check_failure(platform, await ALL_WRONG.of(platform, key), key)


async def test_credentials_are_stored_in_a_secret_of_the_run_only(
    platform: Installation, remote: str
) -> None:
    secrets = base64.b64encode(f"you said {TOKEN} and {TEAM}".encode()).decode()
    run_id = await spawn(platform, at("guarded", **CREDENTIALS), ["whisper", secrets])
    pod = await pod_of(run_id)
    run, events = await platform.client.finish(run_id)
    assert run["status"] == "completed", run
    assert any(text.startswith("you said") for text in said(events))
    name = f"{run_id}-agentrun-backend"
    secret = await get("secret", name)
    made = await get("run", run_id)
    session = await get("agentsession", run["agent_name"])
    assert secret is not None
    assert made is not None
    assert session is not None
    kept = base64.b64decode(secret["data"]["auth_token"]).decode()
    assert (kept, secret["immutable"]) == (TOKEN, True)
    owners = {one["uid"] for one in secret["metadata"]["ownerReferences"]}
    assert owners == {made["metadata"]["uid"], session["metadata"]["uid"]}
    log = await items("events")
    assert log
    for where in (pod, made, session, run, events, log):
        text = json.dumps(where)
        assert TOKEN not in text
        assert TEAM not in text
    again = await platform.client.call(
        "continue_run", run_id=run_id, input_message=says('[["recall"]]')
    )
    assert again["mode"] == "resume"
    resumed, events = await platform.client.finish(again["run_id"])
    assert resumed["status"] == "completed", resumed
    assert resumed["remote_ref"]["context_id"] == run["remote_ref"]["context_id"]
    assert len(await told(remote, "guarded", resumed)) == 2
    third = await spawn(
        platform, at("guarded"), ["recall"], session_mode="resume", session_id=run["session_id"]
    )
    fresh = await platform.client.call("continue_run", run_id=run_id, from_start=True)
    ends = await asyncio.gather(*(platform.client.finish(one) for one in (third, fresh["run_id"])))
    for (ended, _), turns in zip(ends, (3, 1), strict=True):
        assert ended["status"] == "completed", ended
        assert len(await told(remote, "guarded", ended)) == turns
    for kind, owner in (("run", run_id), ("agentsession", run["agent_name"])):
        assert await get("secret", name)
        await delete(kind, owner)
        await platform.gone(kind, owner)
    await platform.gone("secret", name)


async def wait_without_a_pod(platform: Installation, key: str) -> str:
    """Spawn a run whose agent asks something, and wait until its pod has gone meanwhile."""
    run_id = await spawn(
        platform, at("streaming"), ["artifact", "first", "one"], ["ask", "Which one?"], ["recall"],
        timeouts={"idle_timeout_seconds": 5},
    )  # fmt: skip
    await platform.reaches(run_id, "InputRequired")
    await platform.gone("pod", f"{run_id}-1")
    return run_id


ANSWERED = ("mcp", "kubectl")
WAITING = Together(wait_without_a_pod, [*ANSWERED, "cancelled"])


@pytest.mark.parametrize("by", ANSWERED)
async def test_run_waits_without_its_pod_and_the_same_task_continues(
    platform: Installation, remote: str, by: str
) -> None:
    run_id = await WAITING.of(platform, by)
    before = await platform.shown(run_id, lambda run: run["remote_ref"])
    await answer(platform, run_id, "the second", by)
    run, events = await platform.client.finish(run_id)
    assert (run["status"], run["attempts"]) == ("completed", 2), run
    check_journal(events, "completed")
    assert run["remote_ref"] == before["remote_ref"]
    assert [one["artifact_id"] for one in data_of(events, "artifact_added")] == ["first", "recall"]
    assert (await told(remote, "streaming", run))[1:] == ["the second"]


async def test_cancel_of_a_wait_without_a_pod_states_that_the_remote_was_not_informed(
    platform: Installation, remote: str
) -> None:
    run_id = await WAITING.of(platform, "cancelled")
    await platform.client.cancel(run_id)
    run, _ = await platform.client.finish(run_id)
    assert run["status"] == "cancelled", run
    assert "was not cancelled" in run["message"], run
    assert run["remote_ref"]["task_id"] in run["message"]


LATE = ("no answer within 2.5 s", "did not confirm the cancellation")
"""What a run says of a remote agent that a busy machine kept from answering in time."""
CANCELLED: dict[tuple[str, str], tuple[list[str], tuple[str, ...]]] = {
    ("streaming", "done"): (["say", "hello"], ("is canceled", *LATE)),
    ("old-polled", "while-it-waits"): (["ask", "Which one?"], ("is canceled", *LATE)),
    ("streaming", "refused"): (["stubborn"], ("could not be cancelled: ",)),
    ("old-polled", "unanswered"): (["deaf"], ("could not be cancelled: no answer within",)),
}
POD_DELETED = ("streaming", "done", "by its pod")


async def work(platform: Installation, key: tuple[str, ...]) -> str:
    """Spawn a run whose task goes on for long, and wait until it is known, or waits itself."""
    agent, how, *_ = key
    step, _ = CANCELLED[agent, how]
    run_id = await spawn(platform, at(agent), step, ["sleep", 3600])
    if step[0] == "ask":
        await platform.reaches(run_id, "InputRequired")
    await platform.until(run_id, lambda status: task_of(status) is not None)
    return run_id


WORKING: Together[tuple[str, ...], str] = Together(work, [*CANCELLED, POD_DELETED])


async def was_told(remote: str, agent: str, task: str) -> None:
    """Wait until the agent was asked to cancel a task: the run does not always wait for that."""
    await eventually(lambda: seen(remote, agent), lambda shown: task in shown["cancelled"])


@pytest.mark.parametrize(("agent", "how"), CANCELLED)
async def test_cancel_reaches_the_remote_task_or_states_that_it_could_not(
    platform: Installation, remote: str, agent: str, how: str
) -> None:
    run_id, (_, words) = await WORKING.of(platform, (agent, how)), CANCELLED[agent, how]
    await platform.client.cancel(run_id)
    run, _ = await platform.client.finish(run_id)
    assert run["status"] == "cancelled", run
    task = run["remote_ref"]["task_id"]
    assert f"Remote task {task}" in run["message"]
    assert any(one in run["message"] for one in words), run
    await was_told(remote, agent, task)


async def test_pod_that_is_deleted_cancels_the_remote_task_and_the_run_reports_it(
    platform: Installation, remote: str
) -> None:
    run_id = await WORKING.of(platform, POD_DELETED)
    await delete("pod", f"{run_id}-1")
    run, _ = await platform.client.finish(run_id)
    assert (run["status"], run["reason"]) == ("failed", "PodDeleted"), run
    task = run["remote_ref"]["task_id"]
    assert f"Remote task {task} of {at('streaming')['agent_url']} " in run["message"]
    assert any(one in run["message"] for one in ("is canceled.", *LATE)), run
    await was_told(remote, "streaming", task)


async def test_runner_stays_within_its_memory_limit(platform: Installation, remote: str) -> None:
    steps = [["fill", "big", 3_000_000, 300], ["binary", "b", 3_000_000], ["sleep", 5]]
    run_id = await spawn(platform, at("streaming"), *steps)
    async with watching(await pod_uid(run_id)) as memory:
        run, _ = await platform.client.finish(run_id)
    assert run["status"] == "completed", run
    # A large event stays until the next one, above the 64 MiB of other runs (docs/a2a.md).
    memory.check(steady=96 * 1024 * 1024)
