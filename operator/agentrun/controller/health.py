"""
The operator's probe endpoints, ``/healthz`` and ``/readyz``.

They are served from the start, also while the operator waits for the API server or for its CRDs:
a waiting operator is alive, and ``/readyz`` states what it waits for.
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
    Serve both endpoints on ``port``: status 200, or 503 with a reason if not alive or not ready.

    ``/readyz`` of a ready operator includes a non-empty ``note``, which asks for attention.
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
        await web.TCPSite(runner, "0.0.0.0", port).start()
        yield
    finally:
        await runner.cleanup()


def _answer(why: str, note: str = "") -> web.Response:
    fine = {"status": "ok", "note": note} if note else {"status": "ok"}
    body = {"status": "not ready", "why": why} if why else fine
    return web.json_response(body, status=503 if why else 200)
