"""The command line's client against the real tools: it reads what they answer."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from agentrun.cli.answers import Run
from agentrun.cli.asking import text_message
from agentrun.cli.client import Tools
from agentrun.cli.commands.profiles import read_profiles
from agentrun.cli.connection import ServerEndpoint
from agentrun.cli.options import ConnectionOptions
from agentrun.cli.problems import CliError
from tests.unit.mcp_server.test_auth import ALICE
from tests.unit.mcp_server.test_http import HEADERS, URL, a_site

SPAWN: dict[str, Any] = {"backend": "codex", "role": "worker", "prompt": "Work."}


@asynccontextmanager
async def reached() -> AsyncIterator[Tools]:
    async with a_site() as site, site.client(authorization=HEADERS["authorization"]) as http:
        yield Tools(ServerEndpoint(http, f"{URL}/mcp", "here"))


async def test_a_run_is_found_by_its_id_and_by_its_agent() -> None:
    async with reached() as tools:
        spawned = await tools.spawn_run(**SPAWN, nickname="ada")
        assert (spawned.agent_name, spawned.status) == ("ada", "queued")
        by_id, by_name = await tools.find_run(spawned.run_id), await tools.find_run("ada")
        assert by_id.run_id == by_name.run_id == spawned.run_id
        assert by_id.prompt == "Work."
        assert [run.run_id for run in (await tools.list_runs(limit=5)).runs] == [spawned.run_id]
        assert [agent.agent_name for agent in (await tools.list_agents(limit=5)).agents] == ["ada"]


async def test_neither_run_nor_agent_is_one_error_with_the_next_step() -> None:
    async with reached() as tools:
        with pytest.raises(
            CliError, match="there is no run and no agent nobody: `agentrun runs list`"
        ):
            await tools.find_run("nobody")


async def test_events_and_cancellation_are_read() -> None:
    async with reached() as tools:
        run_id = (await tools.spawn_run(**SPAWN)).run_id
        page = await tools.poll_events(run_id, 0, wait_ms=0)
        assert (page.run_id, page.events, page.next_after_seq) == (run_id, [], 0)
        assert (await tools.cancel_run(run_id, wait_ms=0)).status == "cancelling"


async def test_what_a_tool_refuses_is_reported_in_its_own_message() -> None:
    async with reached() as tools:
        run_id = (await tools.spawn_run(**SPAWN)).run_id
        with pytest.raises(CliError, match=r"^run is not awaiting additional input: queued"):
            await tools.continue_run(run_id, input_message=text_message("Yes."))
        with pytest.raises(CliError, match=r"^run has not ended yet: queued"):
            await tools.continue_run(run_id, from_start=True)
        with pytest.raises(CliError, match=r"^No artifacts found for seq 1"):
            await tools.get_event_artifact(run_id, 1, "/patch")


async def test_an_unauthorized_user_gets_the_error_of_the_mcp_server() -> None:
    async with a_site() as site, site.client(authorization=HEADERS["authorization"]) as http:
        user = {"username": "system:serviceaccount:sec-a:nobody"}
        site.cluster.reviews["token"] = {**ALICE, "user": user}
        tools = Tools(ServerEndpoint(http, f"{URL}/mcp", "here"))
        words = (
            rf"^here forbids this \(403\): {user['username']} is not authorized to use this Agent"
        )
        with pytest.raises(CliError, match=words):
            await tools.list_runs(limit=1)
        with pytest.raises(CliError, match=words):
            await tools.read_resource("agentrun://team-a/profiles")


async def test_a_tool_that_an_older_mcp_server_lacks_is_named() -> None:
    async with reached() as tools:
        with pytest.raises(CliError, match="here does not offer no_such_tool: it is older"):
            await tools._call(Run, "no_such_tool", {})


async def test_messages_are_sent_and_read() -> None:
    async with reached() as tools:
        await tools.spawn_run(**SPAWN, nickname="ada")
        sent = await tools.send_agent_message(to_agent_name="ada", message=text_message("Look."))
        assert (sent.to_agent_name, sent.seq) == ("ada", 1)
        [letter] = (await tools.fetch_agent_messages("ada", after_seq=0, limit=1)).messages
        assert (letter.seq, letter.body.parts[0]["text"]) == (1, "Look.")


async def test_profiles_are_read_from_the_mcp_server() -> None:
    async with reached() as tools:
        tools.namespace = "team-a"
        [profile] = await read_profiles(tools, ConnectionOptions(url=URL, token="token"))
        assert (profile.name, profile.backend) == ("codex", "codex")
