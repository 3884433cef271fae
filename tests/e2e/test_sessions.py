"""Continuing: waits that outlive their pods, conversations that go on, and nobody stranded."""

import asyncio
import itertools
import json
import os
import signal
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio

from dev import product
from tests.e2e.agents import trivial
from tests.e2e.checks import check_journal
from tests.e2e.cluster import (
    Json,
    api,
    apply,
    delete,
    kubectl,
    merge,
    runner_of,
    there,
    until,
)
from tests.e2e.installation import MCP_SERVER, OPERATOR, Installation, a_run, profile
from tests.events import said

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

MEMORY = [{"name": "ACP_AGENT_MEMORY", "value": ".trivial"}]
WATCH_LAG = timedelta(seconds=2)
"""How much later than it was made the operator may first see a run."""
ASKS = "asks"
REMEMBERS = "remembers"
IDLE = 5
"""How many seconds the pod of a wait is kept, where a test does not want to wait for it."""
GRACE = 6
"""How many seconds a run that is cancelled has; an agent that hears nothing gets a part of them."""
CONTINUES = 5
"""How many continue one run at once; the lane of the API server orders many more."""


@pytest_asyncio.fixture(scope="module", loop_scope="session", autouse=True)
async def profiles(platform: Installation) -> None:
    """Profiles of agents with a memory; another process that makes them makes the same."""
    await apply(profile(REMEMBERS, env=MEMORY), profile(ASKS, env=MEMORY, permissionMode="Ask"))


def text(words: str) -> Json:
    return {"role": "user", "parts": [{"type": "text", "text": words}]}


async def asking(platform: Installation, idle: int = 600) -> str:
    """Begin a run whose agent asks, and wait until the operator and the MCP server show it."""
    run_id = await platform.trivial(
        ["say", "before"], ["ask", "May I?"], ["say", "after"],
        profile=ASKS, timeouts={"idle_timeout_seconds": idle},
    )  # fmt: skip
    await platform.reaches(run_id, "InputRequired")
    # The journal may follow the phase, and decides whether the run may be answered.
    await platform.shown(run_id, lambda run: run["status"] == "input_required")
    return run_id


async def without_a_pod(platform: Installation, run_id: str) -> None:
    """Wait until the first pod of a run is gone, and the operator has settled that it waits on."""
    await platform.gone("pod", f"{run_id}-1")

    def is_settled(status: Json) -> bool:
        return any(
            (one["type"], one["status"]) == ("PodTerminated", "True")
            for one in status.get("conditions", [])
        )

    status = await platform.until(run_id, is_settled, 30)
    assert status["phase"] == "InputRequired", status


async def until_asked(platform: Installation, run_id: str, question: str, attempt: int) -> Json:
    """Wait until an attempt asks for that, and return the run's status."""

    def is_asked(status: Json) -> bool:
        asked = status.get("agent", {}).get("question", {}).get("text", "")
        return (status.get("phase"), status.get("attempts"), question in asked) == (
            "InputRequired", attempt, True,
        )  # fmt: skip

    return await platform.until(run_id, is_asked)


async def answer(
    platform: Installation, run_id: str, words: str, *, with_kubectl: bool = False
) -> None:
    """Answer the open question of a run in the run itself, without the MCP server."""
    run = await platform.run(run_id)
    question = run["status"]["agent"]["question"]["id"]
    inputs = run["spec"].get("inputs", [])
    made = {"seq": len(inputs) + 1, "questionID": question, "message": text(words)}
    patch = {"spec": {"inputs": [*inputs, made]}}
    if with_kubectl:
        where = ("run", run_id, "-n", platform.namespace)
        await kubectl("patch", *where, "--type=merge", "-p", json.dumps(patch))
    else:
        await merge("run", run_id, patch)


def recalled(events: list[Json]) -> list[str]:
    """Read the prompts that the agent remembered: it says so in a message with others."""
    found = [words[words.index('["') :] for words in said(events) if '["' in words]
    (words,) = found
    prompts: list[str] = json.JSONDecoder().raw_decode(words)[0]
    return prompts


async def test_a_waiting_run_is_answered_while_its_pod_runs(platform: Installation) -> None:
    run_id = await asking(platform)
    shown = await platform.shown(run_id, lambda run: run["question"])
    assert shown["status"] == "input_required"
    assert [option["name"] for option in shown["question"]["options"]] == ["Yes", "No"]
    taken = await platform.client.call(
        "continue_run", run_id=run_id, input_message=text("yes"), wait_ms=30_000
    )
    assert (taken["mode"], taken["status"]) in [("live", "running"), ("live", "completed")]
    run, events = await platform.client.finish(run_id)
    assert (run["status"], run["attempts"]) == ("completed", 1), run
    check_journal(events, "completed")
    assert any('"optionId": "yes"' in words for words in said(events))


@pytest.mark.parametrize("by", ["mcp", "kubectl"])
async def test_a_run_waits_without_its_pod_and_finishes_with_the_answer(
    platform: Installation, by: str
) -> None:
    run_id = await asking(platform, IDLE)
    await without_a_pod(platform, run_id)
    words = json.dumps([["recall"], ["say", "done"]])
    if by == "mcp":
        taken = await platform.client.call(
            "continue_run", run_id=run_id, input_message=text(words), wait_ms=30_000
        )
        assert (taken["mode"], taken["run_id"]) == ("live", run_id)
    else:
        await answer(platform, run_id, words, with_kubectl=True)
    run, events = await platform.client.finish(run_id)
    assert (run["status"], run["attempts"]) == ("completed", 2), run
    check_journal(events, "completed")
    assert len(recalled(events)) == 2, "the first prompt, and the answer once"
    assert said(events)[-1].endswith("done")


async def test_a_waiting_run_without_a_pod_is_cancelled_at_once(platform: Installation) -> None:
    run_id = await asking(platform, IDLE)
    await without_a_pod(platform, run_id)
    cancelled = await platform.client.call("cancel_run", run_id=run_id, wait_ms=30_000)
    assert cancelled["status"] == "cancelled"


async def test_a_pod_deleted_while_its_run_waits_loses_nothing(
    platform: Installation,
) -> None:
    run_id = await asking(platform)
    await delete("pod", f"{run_id}-1")
    await without_a_pod(platform, run_id)
    await answer(platform, run_id, json.dumps([["recall"]]))
    run, events = await platform.client.finish(run_id)
    assert (run["status"], run["attempts"]) == ("completed", 2), run
    assert len(recalled(events)) == 2


async def test_an_answer_whose_pod_is_deleted_before_the_snapshot_is_given_again_once(
    platform: Installation,
) -> None:
    run_id = await asking(platform)
    await delete("pod", f"{run_id}-1")
    await without_a_pod(platform, run_id)
    again = json.dumps([["ask", "Again?"], ["recall"], ["say", "done"]])
    await answer(platform, run_id, again)
    status = await until_asked(platform, run_id, "Again?", attempt=2)
    assert status["agent"]["acknowledgedInput"] == 1
    # Acknowledged, and in no snapshot: a runner that is stopped makes none as its pod goes.
    os.kill(await runner_of(status["podUID"]), signal.SIGSTOP)
    await api().delete("pod", f"{run_id}-2", platform.namespace, grace_seconds=0)
    await until_asked(platform, run_id, "Again?", attempt=3)
    await answer(platform, run_id, "yes")
    ended, events = await platform.client.finish(run_id)
    assert (ended["status"], ended["attempts"]) == ("completed", 3), ended
    check_journal(events, "completed")
    assert len(recalled(events)) == 2, "the first prompt, and the answer once"


@pytest.mark.disruptive
async def test_a_call_whose_mcp_server_is_killed_is_retried_and_answers_once(
    platform: Installation,
) -> None:
    run_id = await asking(platform)
    words = {"input_message": text(json.dumps([["recall"]])), "idempotency_key": uuid4().hex}
    calling = asyncio.create_task(
        platform.client.call("continue_run", run_id=run_id, wait_ms=30_000, **words)
    )
    await platform.kill(MCP_SERVER)
    await asyncio.gather(calling, return_exceptions=True)
    await platform.ready()
    await platform.client.call("continue_run", run_id=run_id, **words)
    run, events = await platform.client.finish(run_id)
    assert (run["status"], run["attempts"]) == ("completed", 1), run
    check_journal(events, "completed")
    assert len((await platform.run(run_id))["spec"]["inputs"]) == 1
    assert len(recalled(events)) == 2


@pytest.mark.disruptive
@pytest.mark.parametrize("component", [OPERATOR, MCP_SERVER])
async def test_an_answer_is_neither_lost_nor_duplicated_when_a_component_is_killed(
    platform: Installation, component: str
) -> None:
    # Of a pod that died before, the kubelet would restart what dies twice more only after 20 s.
    await platform.restart(component)
    run_id = await asking(platform, IDLE)
    await without_a_pod(platform, run_id)
    await platform.kill(component)
    await answer(platform, run_id, json.dumps([["recall"], ["sleep", 3], ["say", "done"]]))
    await there("pod", f"{run_id}-2")
    await platform.kill(component)
    await platform.ready()
    run, events = await platform.client.finish(run_id)
    assert (run["status"], run["attempts"]) == ("completed", 2), run
    check_journal(events, "completed")
    assert len(recalled(events)) == 2


async def test_a_failed_run_is_continued_and_rerun(platform: Installation) -> None:
    schema = {"type": "object", "required": ["n"]}
    first = await platform.trivial(
        ["say", "first"], ["fail", "no luck"],
        profile=REMEMBERS, metadata={"ticket": 7}, output_schema=schema,
    )  # fmt: skip
    run, _ = await platform.client.finish(first)
    assert (run["status"], run["reason"]) == ("failed", "ProviderError"), run
    words = json.dumps([["recall"], ["say", '{"n": 7}']])
    continued = await platform.client.call("continue_run", run_id=first, input_message=text(words))
    run, events = await platform.client.finish(continued["run_id"])
    assert (run["status"], run["metadata"]) == ("completed", {"ticket": 7}), run
    assert run["result"]["structured"] == {"n": 7}
    assert "first" in recalled(events)[0]
    again = await platform.client.call("continue_run", run_id=first, from_start=True)
    run, events = await platform.client.finish(again["run_id"])
    assert (run["status"], said(events)) == ("failed", ["first"]), run
    assert run["resumed_from_run_id"] == first


async def test_a_completed_run_is_continued_by_another_with_its_conversation(
    platform: Installation,
) -> None:
    first = await platform.trivial(["say", "first"], profile=REMEMBERS, metadata={"ticket": 7})
    await platform.client.finish(first)
    continued = await platform.client.call(
        "continue_run", run_id=first, input_message=text(json.dumps([["recall"]]))
    )
    assert (continued["mode"], continued["resumed_from_run_id"]) == ("resume", first)
    run, events = await platform.client.finish(continued["run_id"])
    assert (run["status"], run["metadata"]) == ("completed", {"ticket": 7}), run
    assert recalled(events)[0] == trivial(["say", "first"])
    again = await platform.client.call("continue_run", run_id=first, from_start=True)
    run, events = await platform.client.finish(again["run_id"])
    assert (run["status"], said(events)) == ("completed", ["first"])


async def test_a_conversation_that_cannot_be_restored_is_not_replaced_by_a_new_one(
    platform: Installation,
) -> None:
    first = await platform.trivial(["say", "first"])
    await platform.client.finish(first)
    continued = await platform.client.call(
        "continue_run", run_id=first, input_message=text(json.dumps([["say", "second"]]))
    )
    run, events = await platform.client.finish(continued["run_id"])
    assert (run["status"], run["reason"]) == ("failed", "SessionNotResumable"), run
    assert said(events) == []


def moment(run: Json, *path: str) -> datetime:
    value: Any = run
    for step in path:
        value = value[step]
    return datetime.fromisoformat(value)


async def test_continuations_during_completion_all_run_in_order(
    platform: Installation,
) -> None:
    first = await platform.trivial(["sleep", 1], ["say", "done"], profile=REMEMBERS)
    await platform.reaches(first, "Completed")
    words = text(json.dumps([["say", "hello"]]))
    answers = await asyncio.gather(
        *(
            platform.client.call("continue_run", run_id=first, input_message=words)
            for _ in range(CONTINUES)
        )
    )
    names = sorted(one["run_id"] for one in answers)
    assert len(set(names)) == CONTINUES
    ends = await asyncio.gather(*(platform.client.finish(name) for name in names))
    assert [run["status"] for run, _ in ends] == ["completed"] * CONTINUES
    assert [said(events) for _, events in ends] == [["hello"]] * CONTINUES
    runs = [await platform.run(name) for name in names]
    made = sorted(
        (
            moment(run, "metadata", "creationTimestamp"),
            run["metadata"]["name"],
            moment(run, "status", "startTime"),
            moment(run, "status", "completionTime"),
        )
        for run in runs
    )
    began = sorted(made, key=lambda run: run[2:])
    for (*_, ended), chosen in itertools.pairwise(began):
        assert ended <= chosen[2], "one is active at a time"
        # Whoever was there when the place became free, and was made earlier, had been served.
        waited = [run for run in made if run[0] + WATCH_LAG < ended and run[2] > chosen[2]]
        assert [run for run in waited if run < chosen] == [], "first come, first served"
    await until(
        "agentsession",
        first,
        lambda session: session is not None and "activeRun" not in session["status"],
    )


async def test_children_are_cancelled_with_their_parent(platform: Installation) -> None:
    parent = await platform.trivial(["hang"], timeouts={"termination_grace_period_seconds": GRACE})
    child = a_run(
        f"{parent[:40]}-child",
        prompt=trivial(["hang"]),
        parent={"name": parent, "uid": (await platform.run(parent))["metadata"]["uid"]},
        timeouts={"terminationGracePeriodSeconds": GRACE},
    )
    name = child["metadata"]["name"]
    # Only the MCP server says whose child a run is.
    account = f"system:serviceaccount:{product.SYSTEM}:{product.MAIN.service}"
    await kubectl("create", "-f", "-", "--as", account, stdin=json.dumps(child))
    await platform.reaches(name, "Running")
    cancelled = await platform.client.cancel(run_id=parent)
    assert cancelled["status"] == "cancelled"
    run, _ = await platform.client.finish(name)
    assert (run["status"], run["reason"]) == ("cancelled", "CancelRequested"), run
    assert run["message"] == f"The parent, run {parent}, was cancelled."
    assert run["parent_run_id"] == parent
