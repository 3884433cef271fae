"""
The operator's process: ``python -m agentrun.controller.main``.

It fills the caches, then runs the watches (kopf), the work queue, periodic relists and the posting
of Events until it is stopped. Stopping or killing it at any point loses nothing: all of its state
is in the cluster.
"""

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import kopf
from aiohttp import web

from agentrun.controller.apply import Applier
from agentrun.controller.caches import Caches
from agentrun.controller.events import EventRecorder
from agentrun.controller.observe import Observer
from agentrun.controller.queue import WorkQueue
from agentrun.controller.reconcile import Reconciler
from agentrun.controller.settings import Settings, SettingsError, settings_from
from agentrun.controller.sync import Sync
from agentrun.controller.watches import (
    affected_runs,
    build_registry,
    build_settings,
    is_worth_logging,
    read_within_bounds,
)
from agentrun.kube.api import Object
from agentrun.kube.client import connect
from agentrun.kube.clock import ServerClock
from agentrun.kube.objects import Key
from agentrun.kube.resources import Resource
from agentrun.listening import listen

logger = logging.getLogger(__name__)

_SILENCES = 5
"""How many relist intervals may pass without a relist before the operator is not alive."""
_SETTLING_SECONDS = 2.0


async def operate(settings: Settings) -> None:
    """Run the operator until a signal stops it."""
    stopping = asyncio.Event()
    clock = ServerClock()
    async with connect(clock=clock) as kube:
        queue = WorkQueue[Key]()
        caches = Caches(partial(_enqueue, queue))
        sync = Sync(kube, caches, settings.namespaces, queue.add, time.monotonic)
        async with serve_health(
            settings.health_port,
            lambda: _is_alive(sync, settings),
            lambda: sync.not_ready_reason,
            caches.quarantine.describe,
        ):
            _stop_on_signals(stopping)
            await run_together([stopping.wait()], sync.start())
            if stopping.is_set():
                return
            recorder = EventRecorder(kube, settings.identity, clock.now)
            observer = Observer(kube, caches)
            applier = Applier(kube, caches, settings.pod, settings.timeouts, recorder)
            reconciler = Reconciler(observer, applier, queue, settings.timeouts, clock.now)
            background = [
                sync.run_forever(settings.resync_seconds),
                sync.reopen_forever(),
                recorder.post_forever(),
                *(queue.work(reconciler.reconcile) for _ in range(settings.workers)),
            ]
            logger.info("managing runs in namespaces %s", ", ".join(settings.namespaces))
            try:
                await run_together(background, run_watches(caches, sync, settings, stopping))
            finally:
                queue.close()


@asynccontextmanager
async def serve_health(
    port: int,
    is_alive: Callable[[], bool],
    not_ready_reason: Callable[[], str],
    note: Callable[[], str] = lambda: "",
) -> AsyncIterator[None]:
    """
    Serve ``/healthz`` and ``/readyz``: status 200, or 503 with a reason if not alive or not ready.

    They are served from the start, also while the operator waits for the API server or for its
    CRDs: a waiting operator is alive, and ``/readyz`` states what it waits for. ``/readyz`` of a
    ready operator includes a non-empty ``note``, which asks for attention.
    """

    async def healthz(_: web.Request) -> web.Response:
        why = "" if is_alive() else "the operator has not relisted its objects for too long"
        return _answer(why)

    async def readyz(_: web.Request) -> web.Response:
        return _answer(not_ready_reason(), note())

    app = web.Application()
    app.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.SockSite(runner, listen(port)).start()
        yield
    finally:
        await runner.cleanup()


def _answer(why: str, note: str = "") -> web.Response:
    fine = {"status": "ok", "note": note} if note else {"status": "ok"}
    body = {"status": "not ready", "why": why} if why else fine
    return web.json_response(body, status=503 if why else 200)


def _is_alive(sync: Sync, settings: Settings) -> bool:
    return time.monotonic() - sync.last_relist < _SILENCES * max(settings.resync_seconds, 30)


def _stop_on_signals(stopping: asyncio.Event) -> None:
    """Set ``stopping`` on SIGTERM and SIGINT; kopf replaces these handlers while it watches."""
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)


def _enqueue(queue: WorkQueue[Key], caches: Caches, kind: Resource, obj: Object) -> None:
    for key in affected_runs(caches, kind, obj):
        queue.add(key)


async def run_watches(
    caches: Caches, sync: Sync, settings: Settings, stopping: asyncio.Event
) -> None:
    """
    Run the watches until a signal stops the operator.

    kopf ends all watches when one of the kinds is removed; they are restarted when it is back.
    """
    registry = build_registry(caches)
    read_within_bounds()
    while not stopping.is_set():
        try:
            await kopf.operator(
                registry=registry,
                settings=build_settings(),
                namespaces=settings.namespaces,
                standalone=True,
                stop_flag=stopping,
            )
            return
        except Exception as error:  # noqa: BLE001 - kopf's own errors are not public
            logger.warning("the watches ended and are restarted: %s", error)
            sync.mark_not_ready(f"the watches ended: {error}")
        _stop_on_signals(stopping)
        # A newly created CRD is served before kopf can discover it.
        await run_together([stopping.wait()], asyncio.sleep(_SETTLING_SECONDS))
        await run_together([stopping.wait()], sync.start())


async def run_together(background: Sequence[Coroutine[Any, Any, Any]], main: Any) -> None:
    """
    Run ``main`` and ``background`` concurrently until the first of them ends.

    The others are cancelled then. Raises the exception of one that failed.
    """
    tasks = [asyncio.create_task(one) for one in background]
    first = asyncio.create_task(main)
    try:
        await asyncio.wait([first, *tasks], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (first, *tasks):
            task.cancel()
        results = await asyncio.gather(first, *tasks, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            raise result


def main() -> None:
    """Read the settings from the environment and run the operator."""
    logging.basicConfig(
        level=os.environ.get("AGENTRUN_LOG_LEVEL", "INFO"),
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )
    # kopf logs every event that it passes to a handler.
    logging.getLogger("kopf").setLevel(logging.WARNING)
    for handler in logging.getLogger().handlers:
        handler.addFilter(is_worth_logging)
    try:
        settings = settings_from(os.environ)
    except SettingsError as error:
        sys.exit(str(error))
    asyncio.run(operate(settings))


if __name__ == "__main__":
    main()
