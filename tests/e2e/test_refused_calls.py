"""What happens seldom, but is granted a right for: see tests/rights."""

from secrets import token_hex

import pytest

from dev.mcp_client import ToolCallError
from tests.e2e.cluster import RUNS, apply, delete, eventually, get, items, merge, until
from tests.e2e.installation import Installation

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


async def test_an_unknown_profile_is_answered_with_the_existing_ones(
    platform: Installation,
) -> None:
    with pytest.raises(ToolCallError, match="trivial"):
        await platform.trivial(["say", "x"], profile="no-such-profile")


async def test_an_unknown_session_cannot_be_resumed(platform: Installation) -> None:
    with pytest.raises(ToolCallError, match="Unknown session_id: no-such-session"):
        await platform.trivial(["say", "x"], session_mode="resume", session_id="no-such-session")


# Nobody can spawn anything in the namespace meanwhile.
@pytest.mark.disruptive
async def test_a_run_that_the_api_server_refuses_leaves_no_session(
    platform: Installation,
) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "no-more-runs", "namespace": RUNS},
        "spec": {"hard": {"count/agentruns.agentrun.dev": "0"}},
    }
    agent = f"never-born-{token_hex(4)}"
    await apply(quota)
    try:
        await until(
            "resourcequota",
            "no-more-runs",
            lambda found: bool(found and found.get("status", {}).get("used")),
        )
        with pytest.raises(ToolCallError, match="no-more-runs"):
            await platform.trivial(["say", "x"], agent=agent)
    finally:
        await delete("resourcequota", "no-more-runs")
        await platform.gone("resourcequota", "no-more-runs")
    assert await get("agentsession", agent) is None


async def test_an_overwritten_run_status_is_corrected(platform: Installation) -> None:
    run_id = await platform.trivial(["sleep", 600])
    await platform.stands_for(run_id, "Working")
    wrong = {"status": {"reason": "Nonsense", "message": "not so"}}

    async def put_right() -> set[bool]:
        """Write over the status; once it is put right, see whether its Events say `again`."""
        await merge("run", run_id, wrong, subresource="status")
        await platform.stands_for(run_id, "Working")
        events = await items("events", fields=f"involvedObject.name={run_id}")
        return {
            event["lastTimestamp"] > event["firstTimestamp"]
            for event in events
            if event["reason"] == "Working"
        }

    # The news is the same as before: no second Event tells it, the first gets a newer time.
    await eventually(put_right, lambda again: again == {True})
    await platform.client.cancel(run_id)
