"""Many runs, and agents that misbehave."""

import asyncio

import pytest

from dev.front_door import ToolFailed
from tests.e2e.checks import check_journal
from tests.e2e.cluster import RUNS, eventually, get, kubectl, pod_uid, processes_of, runner_of
from tests.e2e.memory import STEADY, resident_of
from tests.e2e.platform import Platform

pytestmark = pytest.mark.e2e


@pytest.mark.timeout(300)
async def test_twenty_runs_at_once_all_complete(platform: Platform) -> None:
    runs = await asyncio.gather(
        *(platform.trivial(["say", f"I am {number}"], ["sleep", 3]) for number in range(20))
    )
    ends = await asyncio.gather(*(platform.door.finish(run_id) for run_id in runs))
    for number, (run, events) in enumerate(ends):
        assert run["status"] == "completed", run
        assert run["result"]["summary"] == f"I am {number}"
        check_journal(events, "completed")


async def test_a_child_that_holds_the_agents_output_does_not_hold_the_run(
    platform: Platform,
) -> None:
    run_id = await platform.trivial(["detach", "sleep 3600"], ["say", "left one behind"])
    uid = await pod_uid(run_id)
    run, events = await platform.door.finish(run_id)
    assert run["status"] == "completed", run
    # The kubelet takes the pod's empty sandbox down a moment after its containers ended.
    assert [line for line in processes_of(uid) if "/pause" not in line] == []
    check_journal(events, "completed")


@pytest.mark.failure("agent-exits-in-turn")
async def test_an_agent_that_exits_early_fails_with_its_code_and_last_words(
    platform: Platform,
) -> None:
    run, events = await platform.door.finish(await platform.trivial(["exit", 3]))
    assert (run["status"], run["reason"]) == ("failed", "AgentExited"), run
    assert "3" in run["message"]
    assert "the agent gives up" in run["message"]
    check_journal(events, "failed")


@pytest.mark.failure("agent-missing")
async def test_an_agent_that_is_not_in_the_image_is_named(platform: Platform) -> None:
    run, _ = await platform.door.finish(await platform.trivial(["say", "x"], profile="no-program"))
    assert (run["status"], run["reason"]) == ("failed", "AgentNotFound"), run
    assert "no-such-agent" in run["message"]


@pytest.mark.failure("deadline")
async def test_an_agent_that_hangs_is_ended_by_the_deadline(platform: Platform) -> None:
    run_id = await platform.trivial(["hang"], timeouts={"active_deadline_seconds": 5})
    run, events = await platform.door.finish(run_id)
    ended = await get("run", run_id)
    assert ended is not None
    uid = ended["status"]["podUID"]
    assert (run["status"], run["reason"]) == ("failed", "DeadlineExceeded"), run
    assert processes_of(uid) == []
    check_journal(events, "failed")


@pytest.mark.failure("agent-line-too-long")
async def test_a_hundred_megabytes_in_one_line_end_the_agent_and_not_the_runner(
    platform: Platform,
) -> None:
    run, events = await platform.door.finish(await platform.trivial(["line", 100_000_000]))
    assert (run["status"], run["reason"]) == ("failed", "ProtocolError"), run
    check_journal(events, "failed")


async def test_the_runner_stays_small(platform: Platform) -> None:
    run_id = await platform.trivial(["talk", 300, 0.02], ["sleep", 600])
    uid = await pod_uid(run_id)
    await eventually(lambda: platform.phase(run_id), lambda phase: phase == "Running")
    async for event in platform.door.events(run_id):
        if event["data"].get("text") == "message 300":
            break
    resident = await asyncio.to_thread(resident_of, await runner_of(uid))
    await platform.door.call("cancel_run", run_id=run_id)
    assert resident["VmRSS"] <= STEADY


@pytest.mark.parametrize(
    ("profile", "reason", "saying"),
    [
        pytest.param(
            "no-image",
            "ImagePullFailed",
            "no-such-image",
            id="image-missing",
            marks=pytest.mark.failure("image-missing"),
        ),
        pytest.param(
            "no-secret",
            "SecretMissing",
            "no-such-secret",
            id="secret-missing",
            marks=pytest.mark.failure("secret-missing"),
        ),
        pytest.param(
            "no-node",
            "Unschedulable",
            "node",
            id="unschedulable",
            marks=pytest.mark.failure("unschedulable"),
        ),
        pytest.param(
            "too-large",
            "QuotaExceeded",
            "exceeded quota",
            id="quota",
            marks=pytest.mark.failure("quota"),
        ),
    ],
)
async def test_a_pod_that_cannot_start_says_why_at_once_and_ends(
    platform: Platform, profile: str, reason: str, saying: str
) -> None:
    run_id = await platform.trivial(["say", "x"], profile=profile)
    await eventually(lambda: platform.reason(run_id), lambda why: why == reason)
    run, events = await platform.door.finish(run_id)
    assert (run["status"], run["reason"]) == ("failed", reason), run
    assert saying in run["message"]
    check_journal(events, "failed")
    story = await kubectl("describe", "run", run_id, "-n", RUNS)
    assert reason in story


async def test_a_profile_that_is_missing_is_named_before_a_run_is_made(platform: Platform) -> None:
    with pytest.raises(ToolFailed, match=r"nowhere.*trivial"):
        await platform.trivial(["say", "x"], profile="nowhere")


@pytest.mark.failure("clone-ref")
async def test_a_repository_that_cannot_be_cloned_is_named(platform: Platform) -> None:
    run_id = await platform.trivial(
        ["say", "x"], workspace={"git": {"url": platform.repository, "ref": "no-such-branch"}}
    )
    run, _ = await platform.door.finish(run_id)
    assert (run["status"], run["reason"]) == ("failed", "CloneFailed"), run
    assert "no-such-branch" in run["message"]
