"""How the MCP server starts, serves while nobody calls, and stops."""

import asyncio
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx2
import pytest
from starlette.applications import Starlette

from agentrun.store.base import StoreUnavailableError
from mcp_server.__main__ import _open, _server
from mcp_server.http.connections import CLIENTS, RUNNERS, ConnectionLimits
from mcp_server.settings import Settings, SettingsError


async def test_an_invalid_url_is_named_by_its_variable_and_not_repeated(tmp_path: Path) -> None:
    blobs = f"file://{tmp_path}/blobs"
    with pytest.raises(SettingsError, match="AGENTRUN_STORE_URL") as refused:
        await _open(Settings(store_url="mysql://agentrun:geheim@db/runs", blobs_url=blobs))
    assert "geheim" not in str(refused.value)
    with pytest.raises(SettingsError, match="AGENTRUN_BLOBS_URL"):
        await _open(Settings(blobs_url="gs://runs"))


async def test_an_unwritable_blob_store_is_reported_at_startup(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnavailableError, match="blobs"):
        await _open(Settings(blobs_url=f"file://{tmp_path}/file/blobs"))


async def test_an_mcp_server_restarts_with_its_stored_data(tmp_path: Path) -> None:
    settings = Settings(
        store_url=f"sqlite:///{tmp_path}/agentrun.db", blobs_url=f"file://{tmp_path}/blobs"
    )
    for _ in range(2):
        store, blobs = await _open(settings)
        assert await blobs.size("start/check") == 0
        await store.close()


def test_an_idle_connection_stays_open_longer_than_clients_and_proxies_keep_it() -> None:
    # The defaults of nginx and of AWS' load balancers are the longest that are widely used.
    for bounds in (CLIENTS, RUNNERS):
        server = _server(Starlette(), "127.0.0.1", 0, bounds)
        assert server.config.timeout_keep_alive > 60


@pytest.mark.parametrize("bounds", [CLIENTS, RUNNERS], ids=["server", "gateway"])
async def test_both_ports_are_reached_over_ipv4_and_ipv6(bounds: ConnectionLimits) -> None:
    server = _server(Starlette(), Settings().host, 0, bounds)
    serving = asyncio.create_task(server.serve())
    async with asyncio.timeout(10), httpx2.AsyncClient() as client:
        while not server.started:  # noqa: ASYNC110 - it sets no event
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        for host in ("127.0.0.1", "[::1]"):
            assert (await client.get(f"http://{host}:{port}/")).status_code == 404
    server.stop()
    await serving


async def test_an_idle_server_wakes_once_a_second_for_the_date_and_stops_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = _server(Starlette(), "127.0.0.1", 0, CLIENTS)
    ticks = 0
    on_tick = server.on_tick

    async def counted(counter: int) -> bool:
        nonlocal ticks
        ticks += 1
        return await on_tick(counter)

    monkeypatch.setattr(server, "on_tick", counted)
    serving = asyncio.create_task(server.serve())
    async with asyncio.timeout(10), httpx2.AsyncClient() as client:
        while not server.started:  # noqa: ASYNC110 - it sets no event
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]

        async def date() -> str:
            return (await client.get(f"http://127.0.0.1:{port}/")).headers["date"]

        first, before = await date(), ticks
        while (last := await date()) == first:  # noqa: ASYNC110 - the clock sets no event
            await asyncio.sleep(0.05)
        passed = (parsedate_to_datetime(last) - parsedate_to_datetime(first)).total_seconds()
        assert ticks - before <= passed + 1
        looks = ticks
        server.stop()
        await serving
    assert ticks == looks + 1
