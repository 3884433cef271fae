"""Remote agents over A2A, from pods: a real server, made with the official SDK, that misbehaves."""

import asyncio
import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

from dev import product
from dev.a2a.server import KINDS, TEAM, TOKEN
from tests.e2e.checks import check_journal
from tests.e2e.cluster import RUNS, Json, apply, eventually, get, kubectl, pod_uid
from tests.e2e.failing import check_failure, promised
from tests.e2e.memory import watching
from tests.e2e.platform import Platform
from tests.e2e.remotes import Together, a_run, at, profile, seen, spawn

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

SPOKEN = ["streaming", "polled", "old", "old-polled", "rest"]
SCHEMA = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}
CREDENTIALS = {"auth_token": TOKEN, "headers": {"x-team": TEAM}}
KEY = "remote-key"


@pytest.fixture(scope="module")
def remote(platform: Platform) -> Iterator[str]:
    """Make the profiles, and yield where this machine reaches the agents."""
    env = product.environment(platform.cluster)
    key = {"baseURL": f"{product.REMOTE}/bearer", "keySecret": {"name": KEY, "key": "key"}}
    secret = {
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": KEY, "namespace": RUNS},
        "stringData": {"key": TOKEN},
    }  # fmt: skip
    for made in (secret, profile(), profile("remote-keyed", provider=key)):
        product.apply(env, made)
    with product.service_url(platform.cluster, "agentrun-dev", "a2a", 8080) as url:
        yield url


async def told(remote: str, agent: str, run: Json) -> list[str]:
    """Say what the agent was told in a run's conversation."""
    heard: dict[str, list[str]] = (await seen(remote, agent))["heard"]
    return heard[run["remote_ref"]["context_id"]]


def data(events: list[Json], kind: str) -> list[Json]:
    return [event["data"] for event in events if event["type"] == kind]


async def waiting(platform: Platform, run_id: str, phase: str = "InputRequired") -> None:
    await eventually(lambda: platform.phase(run_id), lambda found: found == phase, 90)


async def without_a_pod(platform: Platform, run_id: str) -> None:
    await eventually(lambda: get("pod", f"{run_id}-1"), lambda found: found is None, 90)


def says(words: str) -> Json:
    return {"role": "user", "parts": [{"type": "text", "text": words}]}


async def answer(platform: Platform, run_id: str, words: str, by: str = "mcp") -> None:
    if by == "mcp":
        await platform.door.call("continue_run", run_id=run_id, input_message=says(words))
        return
    run = await get("run", run_id)
    assert run is not None
    question = run["status"]["agent"]["question"]["id"]
    given = [{"seq": 1, "questionID": question, "message": says(words)}]
    patch = json.dumps({"spec": {"inputs": given}})
    await kubectl("patch", "run", run_id, "-n", RUNS, "--type=merge", "-p", patch)


FOLLOWED = Together({
    agent: (
        at(agent),
        [
            ["say", "I begin"], ["sleep", 1], ["ask", "Which one?"], ["auth", "Who are you?"],
            ["artifact", "report", "all is well", 3], ["data", "numbers", {"n": 1}],
            ["artifact", "big", "x" * 30_000, 3], ["binary", "bytes", 100_000],
        ],
    )
    for agent in SPOKEN
})  # fmt: skip


@pytest.mark.parametrize("agent", SPOKEN)
async def test_task_is_followed_to_its_end(platform: Platform, remote: str, agent: str) -> None:
    run_id = await FOLLOWED.run(platform, agent)
    await waiting(platform, run_id)
    shown = await platform.door.call("get_run", run_id=run_id)
    assert shown["question"]["text"] == "Which one?"
    await answer(platform, run_id, "the second")
    await waiting(platform, run_id, "AuthRequired")
    await answer(platform, run_id, "it is me")
    run, events = await platform.door.finish(run_id)
    assert run["status"] == "completed", run
    check_journal(events, "completed")
    assert data(events, "run_completed")[0]["final_response"].startswith("all is well\n\nx")
    assert "I begin" in [one["text"] for one in data(events, "agent_message")]
    assert (await told(remote, agent, run))[1:] == ["the second", "it is me"]
    ref = run["remote_ref"]
    assert (ref["provider"], ref["conversation_id"]) == ("remote_a2a", ref["context_id"])
    assert (ref["agent_name"], ref["agent_url"]) == ("scripted", at(agent)["agent_url"])
    tasks = {one["task_id"] for one in data(events, "status_changed") if one.get("task_id")}
    assert tasks == {ref["task_id"]}
    assert ref["task_id"] in await kubectl("describe", "run", run_id, "-n", RUNS)
    await check_artifacts(platform, run_id, events)


async def check_artifacts(platform: Platform, run_id: str, events: list[Json]) -> None:
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


async def whole(platform: Platform, run_id: str, event: Json, field: str) -> str:
    content, offset = "", 0
    while True:
        page = await platform.door.call(
            "get_event_artifact", run_id=run_id, seq=event["seq"], field_path=field, offset=offset,
            limit=262_144,
        )  # fmt: skip
        content, offset = f"{content}{page['content']}", offset + page["returned_bytes"]
        if not page["has_more"]:
            return content


BROKEN = Together({
    f"{agent}-{fault}": (
        at(agent), [["say", "before"], [fault], ["sleep", 2], ["artifact", "a", "after"]],
    )
    for agent in ("streaming", "old")
    for fault in ("drop", "hush", "garble")
})  # fmt: skip


@pytest.mark.parametrize("key", BROKEN.wanted)
async def test_stream_that_breaks_off_is_taken_up_again(
    platform: Platform, remote: str, key: str
) -> None:
    run, events = await platform.door.finish(await BROKEN.run(platform, key))
    assert run["status"] == "completed", run
    check_journal(events, "completed")
    assert data(events, "run_completed")[0]["final_response"] == "after"
    assert [one["text"] for one in data(events, "agent_message")].count("before") == 1
    assert len(await told(remote, key.split("-")[0], run)) == 1


async def test_slow_card_and_answer_without_a_task(platform: Platform, remote: str) -> None:
    run_id = await spawn(platform, at("slow"), ["reply", "just so"])
    run, events = await platform.door.finish(run_id)
    assert run["status"] == "completed", run
    assert data(events, "run_completed")[0]["final_response"] == "just so"


HELLO = ["say", "hello"]
WRONG: dict[str, tuple[Json, list[Any]]] = {
    "remote-unreachable": ({"agent_url": "http://a2a.agentrun-dev.svc:9/"}, HELLO),
    "remote-card-missing": (at("nowhere"), HELLO),
    "remote-card-moved": (at("moved"), HELLO),
    "remote-card-hangs": (at("hanging"), HELLO),
    "remote-card-wrong": (at("page"), HELLO),
    "remote-interface-unknown": (at("grpc"), HELLO),
    "remote-leads-elsewhere": (at("foreign", **CREDENTIALS), HELLO),
    "remote-refuses": (at("guarded"), HELLO),
    "remote-broken": (at("broken"), HELLO),
    "remote-mute": (at("mute"), HELLO),
    "remote-forgets": (at("forgetful"), HELLO),
    "remote-failed": (at("streaming"), ["fail", "I cannot"]),
    "remote-rejected": (at("old-polled"), ["reject", "I will not"]),
}


ALL_WRONG = Together({key: (config, [step]) for key, (config, step) in WRONG.items()})


@promised(*WRONG)
async def test_what_goes_wrong_is_named(platform: Platform, remote: str, key: str) -> None:
    await check_failure(platform.door, await ALL_WRONG.run(platform, key), key)


@promised(
    "remote-secret-missing", "remote-secret-of-another", "remote-key-of-another",
    "remote-url-missing",
)  # fmt: skip
async def test_what_is_wrong_with_a_run_by_kubectl_is_named(
    platform: Platform, remote: str, key: str
) -> None:
    """As kubectl makes it: nothing has looked at it before its pod does."""
    name, more, config = f"a-{key}", Json(), at("streaming")
    if key == "remote-secret-missing":
        config["credentials_secret"] = "gone-agentrun-backend"
    if key == "remote-secret-of-another":
        other = await spawn(platform, at("guarded", **CREDENTIALS), ["say", "hello"])
        config = {
            "agent_url": "http://a2a.elsewhere.example",
            "credentials_secret": f"{other}-agentrun-backend",
        }
    if key == "remote-key-of-another":
        config, more = {"agent_url": "http://a2a.elsewhere.example"}, {"profile": "remote-keyed"}
    await apply(a_run(name, None if key == "remote-url-missing" else config, ["say", "x"], **more))
    await check_failure(platform.door, name, key)
    await kubectl("delete", "run", name, "-n", RUNS)


async def test_credentials_are_in_a_secret_of_the_run_and_nowhere_else(
    platform: Platform, remote: str
) -> None:
    secrets = base64.b64encode(f"you said {TOKEN} and {TEAM}".encode()).decode()
    steps = (["whisper", secrets], ["sleep", 2])
    run_id = await spawn(platform, at("guarded", **CREDENTIALS), *steps)
    pod = await eventually(lambda: get("pod", f"{run_id}-1"), lambda found: found is not None, 60)
    run, events = await platform.door.finish(run_id)
    assert run["status"] == "completed", run
    assert any(one["text"].startswith("you said") for one in data(events, "agent_message"))
    secret = await get("secret", f"{run_id}-agentrun-backend")
    made = await get("run", run_id)
    session = await get("agentsession", run["agent_name"])
    assert secret is not None
    assert made is not None
    assert session is not None
    kept = base64.b64decode(secret["data"]["auth_token"]).decode()
    assert (kept, secret["immutable"]) == (TOKEN, True)
    owners = {one["uid"] for one in secret["metadata"]["ownerReferences"]}
    assert owners == {made["metadata"]["uid"], session["metadata"]["uid"]}
    log = await kubectl("get", "events", "-n", RUNS, "-o", "json")
    for where in (pod, made, session, run, events, log):
        assert TOKEN not in json.dumps(where)
        assert TEAM not in json.dumps(where)
    again = await platform.door.call(
        "continue_run", run_id=run_id, input_message=says('[["recall"]]')
    )
    assert again["mode"] == "resume"
    resumed, events = await platform.door.finish(again["run_id"])
    assert resumed["status"] == "completed", resumed
    assert resumed["remote_ref"]["context_id"] == run["remote_ref"]["context_id"]
    assert len(await told(remote, "guarded", resumed)) == 2
    third = await spawn(
        platform, at("guarded"), ["recall"], session_mode="resume", session_id=run["session_id"]
    )
    fresh = await platform.door.call("continue_run", run_id=run_id, from_start=True)
    for name, turns in ((third, 3), (fresh["run_id"], 1)):
        ended, _ = await platform.door.finish(name)
        assert ended["status"] == "completed", ended
        assert len(await told(remote, "guarded", ended)) == turns
    for kind, name in (("run", run_id), ("agentsession", run["agent_name"])):
        assert await get("secret", f"{run_id}-agentrun-backend")
        await kubectl("delete", kind, name, "-n", RUNS)
    await platform.gone("secret", f"{run_id}-agentrun-backend")


async def test_key_of_the_profile_goes_to_the_profiles_agent(
    platform: Platform, remote: str
) -> None:
    run_id = await spawn(platform, at("bearer"), ["say", "hello"], profile="remote-keyed")
    run, _ = await platform.door.finish(run_id)
    assert run["status"] == "completed", run


@pytest.mark.parametrize("by", ["mcp", "kubectl"])
async def test_run_waits_without_its_pod_and_the_same_task_goes_on(
    platform: Platform, remote: str, by: str
) -> None:
    run_id = await spawn(
        platform, at("streaming"), ["artifact", "first", "one"], ["ask", "Which one?"], ["recall"],
        timeouts={"idle_timeout_seconds": 1},
    )  # fmt: skip
    await waiting(platform, run_id)
    await without_a_pod(platform, run_id)
    before = await platform.door.call("get_run", run_id=run_id)
    await answer(platform, run_id, "the second", by)
    run, events = await platform.door.finish(run_id)
    assert (run["status"], run["attempts"]) == ("completed", 2), run
    check_journal(events, "completed")
    assert run["remote_ref"] == before["remote_ref"]
    assert [one["artifact_id"] for one in data(events, "artifact_added")] == ["first", "recall"]
    assert (await told(remote, "streaming", run))[1:] == ["the second"]


LATE = ("no answer within 2.5 s", "did not confirm its end in time")
"""What a run says of a remote agent that a busy machine kept from answering in time."""
CANCELLED: dict[str, tuple[list[str], tuple[str, ...]]] = {
    "done": (["say", "hello"], ("is canceled", *LATE)),
    "while-it-waits": (["ask", "Which one?"], ("is canceled", *LATE)),
    "refused": (["stubborn"], ("could not be cancelled: ",)),
    "unanswered": (["deaf"], ("could not be cancelled: no answer within",)),
}
ALL_CANCELLED = Together({
    f"{key}-{agent}": (at(agent), [step, ["sleep", 3600]])
    for key, (step, _) in CANCELLED.items()
    for agent in ("streaming", "old-polled")
})  # fmt: skip


async def was_told(remote: str, agent: str, task: str) -> None:
    """Wait until the agent was asked to cancel a task: the run does not always wait for that."""
    await eventually(lambda: seen(remote, agent), lambda shown: task in shown["cancelled"])


@pytest.mark.parametrize("agent", ["streaming", "old-polled"])
@pytest.mark.parametrize("key", CANCELLED)
async def test_cancel_reaches_the_remote_task_or_says_that_it_could_not(
    platform: Platform, remote: str, agent: str, key: str
) -> None:
    run_id, (step, words) = await ALL_CANCELLED.run(platform, f"{key}-{agent}"), CANCELLED[key]
    if step[0] == "ask":
        await waiting(platform, run_id)
    await eventually(
        lambda: platform.door.call("get_run", run_id=run_id),
        lambda run: (run.get("remote_ref") or {}).get("task_id") is not None, 150,
    )  # fmt: skip
    await platform.door.call("cancel_run", run_id=run_id, wait_ms=30_000)
    run, _ = await platform.door.finish(run_id)
    assert run["status"] == "cancelled", run
    task = run["remote_ref"]["task_id"]
    assert f"Remote task {task}" in run["message"]
    assert any(one in run["message"] for one in words), run
    await was_told(remote, agent, task)


async def test_pod_that_is_deleted_cancels_the_remote_task_and_the_run_says_so(
    platform: Platform, remote: str
) -> None:
    run_id = await spawn(platform, at("streaming"), ["say", "hello"], ["sleep", 300])
    await eventually(
        lambda: platform.door.call("get_run", run_id=run_id),
        lambda run: (run.get("remote_ref") or {}).get("task_id") is not None, 150,
    )  # fmt: skip
    await kubectl("delete", "pod", f"{run_id}-1", "-n", RUNS, "--wait=false")
    run, _ = await platform.door.finish(run_id)
    assert (run["status"], run["reason"]) == ("failed", "PodDeleted"), run
    task = run["remote_ref"]["task_id"]
    assert f"Remote task {task} of {at('streaming')['agent_url']} " in run["message"]
    assert any(one in run["message"] for one in ("is canceled.", *LATE)), run
    await was_told(remote, "streaming", task)


async def test_cancel_of_a_wait_without_a_pod_says_that_the_remote_was_not_told(
    platform: Platform, remote: str
) -> None:
    more = {"timeouts": {"idle_timeout_seconds": 1}}
    run_id = await spawn(platform, at("streaming"), ["ask", "Which one?"], **more)
    await waiting(platform, run_id)
    await without_a_pod(platform, run_id)
    await platform.door.call("cancel_run", run_id=run_id, wait_ms=20_000)
    run, _ = await platform.door.finish(run_id)
    assert run["status"] == "cancelled"
    assert "was not cancelled" in run["message"], run
    assert run["remote_ref"]["task_id"] in run["message"]


async def test_structured_answer_is_data_or_mended_once_or_none(
    platform: Platform, remote: str
) -> None:
    wrong = ["artifact", "a", "seven"]
    tasks: list[tuple[list[Any], ...]] = [
        (["data", "a", {"n": 7}],),
        (["later", [["artifact", "a", '{"n": 7}']]], wrong),
        (["later", [wrong]], wrong),
    ]
    spawned = await asyncio.gather(
        *(spawn(platform, at("streaming"), *steps, output_schema=SCHEMA) for steps in tasks)
    )
    given, mended, never = [(await platform.door.finish(one))[0] for one in spawned]
    assert given["result"]["structured"] == {"n": 7}
    assert mended["result"]["structured"] == {"n": 7}
    assert len(await told(remote, "streaming", mended)) == 2
    assert (never["status"], never["reason"]) == ("failed", "OutputInvalid")
    assert not (never["result"] or {}).get("structured")


def test_all_kinds_of_agents_are_used() -> None:
    assert set(SPOKEN) | {"guarded", "bearer"} == set(KINDS)


async def test_runner_keeps_to_its_bounds_of_memory(platform: Platform, remote: str) -> None:
    steps = [["sleep", 3], ["fill", "big", 3_000_000, 300], ["binary", "b", 3_000_000]]
    run_id = await spawn(platform, at("streaming"), *steps, ["sleep", 6])
    async with watching(await pod_uid(run_id)) as memory:
        run, _ = await platform.door.finish(run_id)
    assert run["status"] == "completed", run
    # A large event stays until the next one, above the 64 MiB of other runs (docs/a2a.md).
    memory.check(steady=96 * 1024 * 1024)
