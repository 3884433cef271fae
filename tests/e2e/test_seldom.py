"""What happens seldom, but is granted a right for: see tests/rights."""

import asyncio
import json
from typing import Any

import pytest

from dev import product
from dev.front_door import ToolFailed
from tests.e2e.cluster import RUNS, eventually, get, items, kubectl
from tests.e2e.platform import SETTINGS, Platform

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


async def test_a_profile_that_is_not_there_is_answered_with_those_that_are(
    platform: Platform,
) -> None:
    with pytest.raises(ToolFailed, match="trivial"):
        await platform.trivial(["say", "x"], profile="no-such-profile")


async def test_a_session_that_is_not_there_cannot_be_resumed(platform: Platform) -> None:
    with pytest.raises(ToolFailed, match="Unknown session_id: no-such-session"):
        await platform.trivial(["say", "x"], session_mode="resume", session_id="no-such-session")


async def test_a_run_that_the_api_server_refuses_leaves_no_session(platform: Platform) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "no-more-runs", "namespace": RUNS},
        "spec": {"hard": {"count/agentruns.agentrun.dev": "0"}},
    }
    await platform.apply(quota)

    async def counted() -> Any:
        found = await get("resourcequota", "no-more-runs")
        return found and found.get("status", {}).get("used")

    try:
        await eventually(counted, bool)
        with pytest.raises(ToolFailed, match="no-more-runs"):
            await platform.trivial(["say", "x"], agent="never-born")
    finally:
        await kubectl("delete", "resourcequota", "no-more-runs", "-n", RUNS)
    assert await get("agentsession", "never-born") is None


async def test_who_writes_over_a_runs_status_is_put_right(platform: Platform) -> None:
    run_id = await platform.trivial(["sleep", 600])
    await eventually(lambda: platform.reason(run_id), lambda reason: reason == "Working")
    patch = json.dumps({"status": {"reason": "Nonsense", "message": "not so"}})
    what = ("patch", "run", run_id, "-n", RUNS, "--subresource=status", "--type=merge")

    async def put_right() -> set[bool]:
        """Write over the status; once it is put right, see whether its Events say `again`."""
        await kubectl(*what, "-p", patch)
        await eventually(lambda: platform.reason(run_id), lambda reason: reason == "Working")
        events = await items("events", "--field-selector", f"involvedObject.name={run_id}")
        return {
            event["lastTimestamp"] > event["firstTimestamp"]
            for event in events
            if event["reason"] == "Working"
        }

    # The news is the same as before: no second Event tells it, the first gets a newer time.
    await eventually(put_right, lambda again: again == {True})
    await platform.door.call("cancel_run", run_id=run_id, wait_ms=30_000)


async def test_a_profile_that_is_switched_off_goes_and_comes_back(platform: Platform) -> None:
    async def install(*flags: str) -> None:
        await asyncio.to_thread(product.install, platform.cluster, *SETTINGS, *flags)

    await install("--set", "profiles.claudeCode.enabled=false")
    try:
        assert await get("aprofile", "claude-code") is None
        assert await get("aprofile", "codex")
    finally:
        await install()
    assert await get("aprofile", "claude-code")
