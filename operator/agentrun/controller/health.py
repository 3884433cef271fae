"""
Telling Kubernetes how the operator is: ``/healthz`` and ``/readyz``.

They answer from the operator's first moment on, also while it waits for the API server or for
the kinds to be there: an operator that waits is alive, and says in ``/readyz`` what for.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web


@asynccontextmanager
async def serve_health(
    port: int,
    is_alive: Callable[[], bool],
    not_ready_reason: Callable[[], str],
    note: Callable[[], str] = lambda: "",
) -> AsyncIterator[None]:
    """
    Answer on ``port``: alive or not, and ready unless there is something to wait for.

    A ``note`` is told by an operator that is ready: it works, and there is something to look at.
    """

    async def healthz(_: web.Request) -> web.Response:
        why = "" if is_alive() else "the operator has not looked at the cluster for too long"
        return _answer(why)

    async def readyz(_: web.Request) -> web.Response:
        return _answer(not_ready_reason(), note())

    app = web.Application()
    app.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "0.0.0.0", port).start()
        yield
    finally:
        await runner.cleanup()


def _answer(why: str, note: str = "") -> web.Response:
    fine = {"status": "ok", "note": note} if note else {"status": "ok"}
    body = {"status": "not ready", "why": why} if why else fine
    return web.json_response(body, status=503 if why else 200)
