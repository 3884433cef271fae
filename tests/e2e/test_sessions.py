"""Continuing: waits that outlive their pods, conversations that go on, and nobody stranded."""

import asyncio
import itertools
import json
import os
import signal
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.e2e.agents import trivial
from tests.e2e.checks import check_journal
from tests.e2e.cluster import (
    RUNS,
    Json,
    apply,
    eventually,
    get,
    kill_component,
    kubectl,
    runner_of,
)
from tests.e2e.conftest import profile
from tests.e2e.platform import Platform

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

MEMORY = [{"name": "ACP_AGENT_MEMORY", "value": ".trivial"}]
WATCH_LAG = timedelta(seconds=2)
"""How much later than it was made the operator may first see a run."""
ASKS = "asks"
REMEMBERS = "remembers"
IDLE = 2
"""How many seconds the pod of a wait is kept, where a test does not want to wait for it."""


@pytest.fixture(autouse=True)
async def profiles(platform: Platform) -> None:
    await platform.apply(
        profile(REMEMBERS, env=MEMORY), profile(ASKS, env=MEMORY, permissionMode="Ask")
    )


def text(words: str) -> Json:
    return {"role": "user", "parts": [{"type": "text", "text": words}]}


async def asking(platform: Platform, idle: int = 600) -> str:
    """Begin a run whose agent asks, and wait until it waits."""
    run_id = await platform.trivial(
        ["say", "before"], ["ask", "May I?"], ["say", "after"],
        profile=ASKS, timeouts={"idle_timeout_seconds": idle},
    )  # fmt: skip
    await eventually(lambda: platform.phase(run_id), lambda phase: phase == "InputRequired", 90)
    return run_id


async def without_a_pod(platform: Platform, run_id: str, attempt: int = 1) -> None:
    await eventually(lambda: get("pod", f"{run_id}-{attempt}"), lambda found: found is None, 90)
    assert await platform.phase(run_id) == "InputRequired"


async def until_asked(run_id: str, question: str, attempt: int) -> Json:
    """Wait until an attempt asks for that, and return the run's status."""

    def is_asked(run: Json | None) -> bool:
        status: Json = (run or {}).get("status", {})
        asked = status.get("agent", {}).get("question", {}).get("text", "")
        return (status.get("phase"), status.get("attempts"), question in asked) == (
            "InputRequired", attempt, True,
        )  # fmt: skip

    run = await eventually(lambda: get("run", run_id), is_asked, 120)
    assert run is not None
    status: Json = run["status"]
    return status


async def answer_with_kubectl(run_id: str, words: str) -> None:
    run = await get("run", run_id)
    assert run is not None
    question = run["status"]["agent"]["question"]["id"]
    inputs = run["spec"].get("inputs", [])
    made = {"seq": len(inputs) + 1, "questionID": question, "message": text(words)}
    patch = json.dumps({"spec": {"inputs": [*inputs, made]}})
    await kubectl("patch", "run", run_id, "-n", RUNS, "--type=merge", "-p", patch)


def said(events: list[Json]) -> list[str]:
    return [event["data"]["text"] for event in events if event["type"] == "agent_message"]


def recalled(events: list[Json]) -> list[str]:
    """Read the prompts that the agent remembered: it says so in a message with others."""
    found = [words[words.index('["') :] for words in said(events) if '["' in words]
    (words,) = found
    prompts: list[str] = json.JSONDecoder().raw_decode(words)[0]
    return prompts


async def test_a_run_that_waits_is_answered_while_its_pod_lives(platform: Platform) -> None:
    run_id = await asking(platform)
    shown = await platform.door.call("get_run", run_id=run_id)
    assert shown["status"] == "input_required"
    assert [option["name"] for option in shown["question"]["options"]] == ["Yes", "No"]
    answer = await platform.door.call(
        "continue_run", run_id=run_id, input_message=text("yes"), wait_ms=30_000
    )
    assert (answer["mode"], answer["status"]) in [("live", "running"), ("live", "completed")]
    run, events = await platform.door.finish(run_id)
    assert (run["status"], run["attempts"]) == ("completed", 1), run
    check_journal(events, "completed")
    assert any('"optionId": "yes"' in words for words in said(events))


@pytest.mark.parametrize("by", ["mcp", "kubectl"])
async def test_a_run_waits_without_its_pod_and_finishes_with_the_answer(
    platform: Platform, by: str
) -> None:
    run_id = await asking(platform, IDLE)
    await without_a_pod(platform, run_id)
    words = json.dumps([["recall"], ["say", "done"]])
    if by == "mcp":
        answer = await platform.door.call(
            "continue_run", run_id=run_id, input_message=text(words), wait_ms=30_000
        )
        assert (answer["mode"], answer["run_id"]) == ("live", run_id)
    else:
        await answer_with_kubectl(run_id, words)
    run, events = await platform.door.finish(run_id)
    assert (run["status"], run["attempts"]) == ("completed", 2), run
    check_journal(events, "completed")
    assert len(recalled(events)) == 2, "the first prompt, and the answer once"
    assert said(events)[-1].endswith("done")


async def test_a_waiting_run_without_a_pod_is_cancelled_at_once(platform: Platform) -> None:
    run_id = await asking(platform, IDLE)
    await without_a_pod(platform, run_id)
    answer = await platform.door.call("cancel_run", run_id=run_id, wait_ms=30_000)
    assert answer["status"] == "cancelled"


async def test_a_pod_that_is_deleted_while_its_run_waits_takes_nothing_with_it(
    platform: Platform,
) -> None:
    run_id = await asking(platform)
    await kubectl("delete", "pod", f"{run_id}-1", "-n", RUNS, "--wait=false")
    await without_a_pod(platform, run_id)
    await answer_with_kubectl(run_id, json.dumps([["recall"]]))
    run, events = await platform.door.finish(run_id)
    assert (run["status"], run["attempts"]) == ("completed", 2), run
    assert len(recalled(events)) == 2


@pytest.mark.parametrize("component", ["operator", "mcp"])
async def test_an_answer_is_neither_lost_nor_doubled_when_a_part_dies(
    platform: Platform, component: str
) -> None:
    run_id = await asking(platform, IDLE)
    await without_a_pod(platform, run_id)
    await kill_component(component)
    await answer_with_kubectl(run_id, json.dumps([["recall"], ["sleep", 3], ["say", "done"]]))
    await eventually(lambda: get("pod", f"{run_id}-2"), lambda found: found is not None, 90)
    await kill_component(component)
    await platform.ready()
    run, events = await platform.door.finish(run_id)
    assert (run["status"], run["attempts"]) == ("completed", 2), run
    check_journal(events, "completed")
    assert len(recalled(events)) == 2


async def test_an_answer_whose_pod_is_gone_before_it_was_kept_is_given_again_once(
    platform: Platform,
) -> None:
    run_id = await asking(platform)
    await kubectl("delete", "pod", f"{run_id}-1", "-n", RUNS, "--wait=false")
    await without_a_pod(platform, run_id)
    again = json.dumps([["ask", "Again?"], ["recall"], ["say", "done"]])
    await answer_with_kubectl(run_id, again)
    status = await until_asked(run_id, "Again?", attempt=2)
    assert status["agent"]["acknowledgedInput"] == 1
    # Acknowledged, and in no snapshot: a runner that is stopped makes none as its pod goes.
    os.kill(await runner_of(status["podUID"]), signal.SIGSTOP)
    await kubectl("delete", "pod", f"{run_id}-2", "-n", RUNS, "--grace-period=0", "--force")
    await until_asked(run_id, "Again?", attempt=3)
    await answer_with_kubectl(run_id, "yes")
    ended, events = await platform.door.finish(run_id)
    assert (ended["status"], ended["attempts"]) == ("completed", 3), ended
    check_journal(events, "completed")
    assert len(recalled(events)) == 2, "the first prompt, and the answer once"


async def test_a_call_whose_front_door_dies_is_repeated_and_answers_once(
    platform: Platform,
) -> None:
    run_id = await asking(platform)
    words = {"input_message": text(json.dumps([["recall"]])), "idempotency_key": "once"}
    calling = asyncio.create_task(
        platform.door.call("continue_run", run_id=run_id, wait_ms=30_000, **words)
    )
    await kill_component("mcp")
    await asyncio.gather(calling, return_exceptions=True)
    await platform.ready()
    await platform.door.call("continue_run", run_id=run_id, **words)
    run, events = await platform.door.finish(run_id)
    assert (run["status"], run["attempts"]) == ("completed", 1), run
    check_journal(events, "completed")
    made = await get("run", run_id)
    assert made is not None
    assert len(made["spec"]["inputs"]) == 1
    assert len(recalled(events)) == 2


async def test_a_failed_run_goes_on_and_is_done_again(platform: Platform) -> None:
    schema = {"type": "object", "required": ["n"]}
    first = await platform.trivial(
        ["say", "first"], ["fail", "no luck"],
        profile=REMEMBERS, metadata={"ticket": 7}, output_schema=schema,
    )  # fmt: skip
    run, _ = await platform.door.finish(first)
    assert (run["status"], run["reason"]) == ("failed", "ProviderError"), run
    words = json.dumps([["recall"], ["say", '{"n": 7}']])
    answer = await platform.door.call("continue_run", run_id=first, input_message=text(words))
    run, events = await platform.door.finish(answer["run_id"])
    assert (run["status"], run["metadata"]) == ("completed", {"ticket": 7}), run
    assert run["result"]["structured"] == {"n": 7}
    assert "first" in recalled(events)[0]
    again = await platform.door.call("continue_run", run_id=first, from_start=True)
    run, events = await platform.door.finish(again["run_id"])
    assert (run["status"], said(events)) == ("failed", ["first"]), run
    assert run["resumed_from_run_id"] == first


async def test_a_completed_run_is_continued_by_another_with_its_memory(
    platform: Platform,
) -> None:
    first = await platform.trivial(["say", "first"], profile=REMEMBERS, metadata={"ticket": 7})
    await platform.door.finish(first)
    answer = await platform.door.call(
        "continue_run", run_id=first, input_message=text(json.dumps([["recall"]]))
    )
    assert (answer["mode"], answer["resumed_from_run_id"]) == ("resume", first)
    run, events = await platform.door.finish(answer["run_id"])
    assert (run["status"], run["metadata"]) == ("completed", {"ticket": 7}), run
    assert recalled(events)[0] == trivial(["say", "first"])
    again = await platform.door.call("continue_run", run_id=first, from_start=True)
    run, events = await platform.door.finish(again["run_id"])
    assert (run["status"], said(events)) == ("completed", ["first"])


async def test_a_conversation_that_cannot_be_restored_is_not_made_up(platform: Platform) -> None:
    first = await platform.trivial(["say", "first"])
    await platform.door.finish(first)
    answer = await platform.door.call(
        "continue_run", run_id=first, input_message=text(json.dumps([["say", "second"]]))
    )
    run, events = await platform.door.finish(answer["run_id"])
    assert (run["status"], run["reason"]) == ("failed", "SessionNotResumable"), run
    assert said(events) == []


def moment(run: Json, *path: str) -> datetime:
    value: Any = run
    for step in path:
        value = value[step]
    return datetime.fromisoformat(value)


@pytest.mark.timeout(1200)
async def test_thirty_continues_in_the_instant_of_completion_all_run_in_order(
    platform: Platform,
) -> None:
    first = await platform.trivial(["sleep", 1], profile=REMEMBERS)
    await eventually(lambda: platform.phase(first), lambda phase: phase == "Completed", 90)
    words = text(json.dumps([["say", "hello"]]))
    answers = await asyncio.gather(
        *(platform.door.call("continue_run", run_id=first, input_message=words) for _ in range(30))
    )
    names = sorted(answer["run_id"] for answer in answers)
    assert len(set(names)) == 30
    ends = await asyncio.gather(*(platform.door.finish(name) for name in names))
    assert [run["status"] for run, _ in ends] == ["completed"] * 30
    assert [said(events) for _, events in ends] == [["hello"]] * 30
    runs = [await get("run", name) for name in names]
    made = sorted(
        (
            moment(run, "metadata", "creationTimestamp"),
            run["metadata"]["name"],
            moment(run, "status", "startTime"),
            moment(run, "status", "completionTime"),
        )
        for run in runs
        if run is not None
    )
    assert len(made) == 30
    began = sorted(made, key=lambda run: run[2:])
    for (*_, ended), chosen in itertools.pairwise(began):
        assert ended <= chosen[2], "one is active at a time"
        # Whoever was there when the place became free, and was made earlier, had been served.
        waited = [run for run in made if run[0] + WATCH_LAG < ended and run[2] > chosen[2]]
        assert [run for run in waited if run < chosen] == [], "first come, first served"
    await eventually(
        lambda: get("agentsession", first),
        lambda session: session is not None and "activeRun" not in session["status"],
    )


async def test_children_are_cancelled_with_their_parent(platform: Platform) -> None:
    parent = await platform.trivial(["hang"])
    found = await get("run", parent)
    assert found is not None
    name = f"{parent[:40]}-child"
    spec = {
        "backend": "acp",
        "profile": "trivial",
        "prompt": trivial(["hang"]),
        "parent": {"name": parent, "uid": found["metadata"]["uid"]},
    }
    await apply(
        {
            "apiVersion": "agentrun.dev/v1alpha1",
            "kind": "AgentRun",
            "metadata": {"name": name, "namespace": RUNS},
            "spec": spec,
        }
    )
    await eventually(lambda: platform.phase(name), lambda phase: phase == "Running", 90)
    answer = await platform.door.cancel(run_id=parent)
    assert answer["status"] == "cancelled"
    run, _ = await platform.door.finish(name)
    assert (run["status"], run["reason"]) == ("cancelled", "CancelRequested"), run
    assert run["message"] == f"Its parent, run {parent}, was cancelled."
    assert run["parent_run_id"] == parent
