"""Many runs, and agents that misbehave."""

import asyncio

import pytest

from dev.mcp_client import ToolCallError
from tests.e2e.checks import check_journal
from tests.e2e.cluster import pod_uid, processes_of
from tests.e2e.installation import Installation

pytestmark = pytest.mark.e2e


@pytest.mark.timeout(300)
@pytest.mark.parametrize("count", [10, pytest.param(20, marks=pytest.mark.full)])
async def test_many_runs_at_once_all_complete(platform: Installation, count: int) -> None:
    runs = await asyncio.gather(
        *(platform.trivial(["say", f"I am {number}"], ["sleep", 3]) for number in range(count))
    )
    ends = await asyncio.gather(*(platform.client.finish(run_id) for run_id in runs))
    for number, (run, events) in enumerate(ends):
        assert run["status"] == "completed", run
        assert run["result"]["summary"] == f"I am {number}"
        check_journal(events, "completed")


async def test_a_child_process_that_holds_the_agents_output_open_does_not_delay_the_run(
    platform: Installation,
) -> None:
    run_id = await platform.trivial(["detach", "sleep 3600"], ["say", "left one behind"])
    uid = await pod_uid(run_id)
    run, events = await platform.client.finish(run_id)
    assert run["status"] == "completed", run
    # The kubelet takes the pod's empty sandbox down a moment after its containers ended.
    assert [line for line in processes_of(uid) if "/pause" not in line] == []
    check_journal(events, "completed")


# How agents fail, and what their users are told, tests/unit/runner/test_failures.py and
# test_failures_agents.py try one by one. These two ask more of it.


async def test_the_final_output_of_an_agent_that_exits_early_is_in_the_message(
    platform: Installation,
) -> None:
    run, events = await platform.client.finish(await platform.trivial(["exit", 3]))
    assert (run["status"], run["reason"]) == ("failed", "AgentExited"), run
    assert "exit code 3" in run["message"]
    assert "the agent gives up" in run["message"]
    check_journal(events, "failed")


async def test_a_hanging_agent_leaves_nothing_behind_after_its_deadline(
    platform: Installation,
) -> None:
    run_id = await platform.trivial(["hang"], timeouts={"active_deadline_seconds": 8})
    uid = await pod_uid(run_id)
    run, events = await platform.client.finish(run_id)
    left = processes_of(uid)
    assert (run["status"], run["reason"]) == ("failed", "DeadlineExceeded"), run
    assert left == []
    check_journal(events, "failed")


async def test_a_missing_profile_is_named_before_a_run_is_created(
    platform: Installation,
) -> None:
    with pytest.raises(ToolCallError, match=r"nowhere.*trivial"):
        await platform.trivial(["say", "x"], profile="nowhere")
