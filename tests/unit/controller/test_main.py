"""The operator's process: its tasks live and die together, and its probes say how it is."""

import asyncio
import socket
from typing import Any

import aiohttp
import kopf
import pytest

from agentrun.controller import main
from agentrun.controller.caches import Caches
from agentrun.controller.main import run_together, run_watches, serve_health
from agentrun.controller.settings import PodDefaults, Settings
from agentrun.controller.sync import Sync
from tests.unit.controller.fake_api import FakeApi
from tests.waiting import LATE_SECONDS


class Stopped:
    """Notes whether a task that would run for ever was ended."""

    def __init__(self) -> None:
        self.is_stopped = False

    async def forever(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            self.is_stopped = True


async def test_background_tasks_end_with_the_watches() -> None:
    beside = Stopped()

    async def watches() -> None:
        await asyncio.sleep(0)  # What is beside begins first.

    await run_together([beside.forever()], watches())
    assert beside.is_stopped


async def test_a_failed_background_task_ends_the_watches() -> None:
    watches = Stopped()

    async def fail() -> None:
        await asyncio.sleep(0)  # What is beside begins first.
        raise RuntimeError("wedged")

    with pytest.raises(RuntimeError, match="wedged"):
        await run_together([fail()], watches.forever())
    assert watches.is_stopped


async def test_an_error_of_the_watches_is_raised() -> None:
    beside = Stopped()

    async def fail() -> None:
        await asyncio.sleep(0)  # What is beside begins first.
        raise RuntimeError("no watch")

    with pytest.raises(RuntimeError, match="no watch"):
        await run_together([beside.forever()], fail())
    assert beside.is_stopped


async def test_watches_that_kopf_abandoned_restart_once_all_crds_are_served(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caches, stopping, begun = Caches(), asyncio.Event(), list[str]()
    sync = Sync(FakeApi(), caches, ("ns",), lambda _: None, lambda: 0.0)

    async def operator(**_: Any) -> None:
        begun.append(sync.not_ready_reason)
        if len(begun) == 1:
            raise RuntimeError("404 page not found")

    monkeypatch.setattr(kopf, "operator", operator)
    monkeypatch.setattr(main, "_SETTLING_SECONDS", 0)
    settings = Settings(("ns",), PodDefaults("http://gateway", "runner:1"))
    await sync.start()
    async with asyncio.timeout(LATE_SECONDS):
        await run_watches(caches, sync, settings, stopping)
    assert begun == ["", ""]


async def ask(port: int, path: str, host: str = "127.0.0.1") -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{host}:{port}{path}") as answer,
    ):
        return answer.status, await answer.text()


async def test_a_waiting_operator_is_alive_and_reports_what_it_waits_for() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    alive, not_ready_reason = [True], ["404: no such kind"]
    async with serve_health(port, lambda: alive[0], lambda: not_ready_reason[0]):
        assert (await ask(port, "/healthz"))[0] == 200
        assert (await ask(port, "/healthz", "[::1]"))[0] == 200
        status, body = await ask(port, "/readyz")
        assert status == 503
        assert "no such kind" in body
        not_ready_reason[0] = ""
        assert (await ask(port, "/readyz"))[0] == 200
        alive[0] = False
        assert (await ask(port, "/healthz"))[0] == 503
