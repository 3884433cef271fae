"""A backup and a restore as docs/operations.md has them, command by command, with a live run."""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.e2e.agents import UNTIL_GO
from tests.e2e.checks import check_journal
from tests.e2e.cluster import SYSTEM, eventually, kubectl, let_go
from tests.e2e.installation import MCP_SERVER, Installation

pytestmark = [pytest.mark.e2e, pytest.mark.disruptive, pytest.mark.timeout(300)]

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
SECTION = "### Backup and restore: SQLite and a folder"


def documented() -> tuple[str, str]:
    """Read the commands of the section: those that back up, and those that restore."""
    section = PAGE.read_text(encoding="utf-8").split(f"{SECTION}\n")[1].split("\n### ")[0]
    blocks = section.split("```console\n")[1:]
    backup, restore = (commands(block.split("```")[0]) for block in blocks)
    return backup, restore


def commands(block: str) -> str:
    """Take what a person types from a block, and leave what is answered."""
    typed, goes_on, until = list[str](), False, ""
    for line in block.splitlines():
        if not (goes_on or until or line.startswith("$ ")):
            continue
        typed.append(line if goes_on or until else line.removeprefix("$ "))
        until = "END" if "<<END" in line else "" if line == until else until
        goes_on = line.endswith("\\")
    return "\n".join(typed)


async def shell(script: str, folder: Path) -> str:
    """Run commands until one fails."""
    done = await asyncio.to_thread(
        subprocess.run,
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stderr


async def journal(platform: Installation, run_id: str) -> list[dict[str, Any]]:
    """Read what there is of a journal."""
    page = await platform.client.call(
        "poll_events", run_id=run_id, after_seq=0, limit=1000, wait_ms=0
    )
    events: list[dict[str, Any]] = page["events"]
    return events


@pytest_asyncio.fixture(loop_scope="session")
async def nothing_left(platform: Installation) -> AsyncIterator[None]:
    yield
    await kubectl("delete", "pod", "agentrun-restore", "-n", SYSTEM, "--ignore-not-found", "--now")
    await platform.scale(MCP_SERVER, 1)
    remove = ("rm", "-rf", "/data/old")
    await kubectl("exec", platform.deployment(MCP_SERVER), "-n", SYSTEM, "--", *remove)


@pytest.mark.usefixtures("nothing_left")
async def test_a_restored_store_has_its_journals_and_resumes_active_runs(
    platform: Installation, tmp_path: Path
) -> None:
    backup, restore = documented()
    # It still speaks when the store is restored, and is held until that is done.
    talk = (["talk", 400, 0.1], ["run", UNTIL_GO], ["say", "message 401"])
    before, live = await asyncio.gather(
        platform.trivial(["say", "before the backup"]), platform.trivial(*talk)
    )
    await platform.client.finish(before)
    kept = await journal(platform, before)
    await eventually(lambda: journal(platform, live), lambda events: len(events) > 10)

    said = await shell(backup, tmp_path)
    assert "agentrun: backup of" in said
    backed_up = len(await journal(platform, live))
    after = await platform.trivial(["say", "after the backup"])
    await platform.client.finish(after)
    await eventually(lambda: journal(platform, live), lambda events: len(events) > backed_up + 10)

    assert "agentrun: restore of" in await shell(restore, tmp_path)
    await platform.ready()
    await let_go(live)

    assert await journal(platform, before) == kept
    # What was recorded after the backup is known from the cluster; what it said is lost.
    run = await platform.client.call("get_run", run_id=after)
    assert run["status"] == "completed"
    assert [event["type"] for event in await journal(platform, after)] == ["status_changed"]

    run, events = await platform.client.finish(live)
    assert (run["status"], run["attempts"]) == ("completed", 1), run
    check_journal(events, "completed")
    notes = [event for event in events if event["type"] == "reasoning"]
    assert len(notes) == 1
    assert "are lost: the store was restored" in notes[0]["data"]["text"]
    assert notes[0]["seq"] <= backed_up + 1
    texts = [event["data"]["text"] for event in events if event["type"] == "agent_message"]
    numbers = [int(text.removeprefix("message ")) for text in texts]
    assert (numbers[0], numbers[-1]) == (1, 401)
    assert numbers == sorted(set(numbers)), "what is not gone is there once"
