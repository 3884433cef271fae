"""Faulty agents. The path of each names its fault."""

import asyncio
import json
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

WELL_KNOWN = "/.well-known/agent-card.json"
SLOW_SECONDS = 2.0


def odd_routes(url: str) -> list[Route]:
    """Build the routes of the faulty agents."""
    foreign = "http://a2a.elsewhere.example/rpc"
    cards = {
        "/slow": _card(f"{url}/streaming/rpc"),
        "/foreign": _card(foreign),
        "/bound": _card("http://127.0.0.1:9/"),
        "/pathless": _card("/rpc"),
        "/grpc": _card(f"{url}/streaming/rpc", "GRPC"),
        "/broken": _card(f"{url}/broken/rpc"),
        "/mute": _card(f"{url}/mute/rpc"),
        "/forgetful": _card(f"{url}/forgetful/rpc"),
    }

    async def card(request: Request) -> Response:
        name = request.url.path.removesuffix(WELL_KNOWN)
        if name == "/slow":
            await asyncio.sleep(SLOW_SECONDS)
        return JSONResponse(cards[name])

    return [
        *(Route(f"{name}{WELL_KNOWN}", card) for name in cards),
        Route(f"/page{WELL_KNOWN}", lambda request: HTMLResponse("<h1>Welcome</h1>")),
        Route(f"/hanging{WELL_KNOWN}", _hang),
        Route(f"/moved{WELL_KNOWN}", lambda request: RedirectResponse(f"{url}/streaming/")),
        Route("/broken/rpc", lambda request: Response("no", 500), methods=["POST"]),
        Route("/mute/rpc", lambda request: _stream(b""), methods=["POST"]),
        Route("/forgetful/rpc", _forget, methods=["POST"]),
    ]


async def _hang(request: Request) -> Response:
    await asyncio.sleep(3600)
    return Response()


async def _forget(request: Request) -> Response:
    """Start a task and end the stream; later requests for the task fail with "not found"."""
    asked = await request.json()
    answer: dict[str, Any] = {"jsonrpc": "2.0", "id": asked["id"]}
    if asked["method"] != "SendStreamingMessage":
        return JSONResponse({**answer, "error": {"code": -32001, "message": "Task not found"}})
    task = {"id": "t1", "contextId": "c1", "status": {"state": "TASK_STATE_WORKING"}}
    return _stream(f"data: {json.dumps({**answer, 'result': {'task': task}})}\n\n".encode())


def _stream(body: bytes) -> Response:
    return Response(body, media_type="text/event-stream")


def _card(url: str, binding: str = "JSONRPC") -> dict[str, Any]:
    return {
        "name": "odd", "description": "odd", "version": "1",
        "supportedInterfaces": [
            {"url": url, "protocolBinding": binding, "protocolVersion": "1.0"}
        ],
        "capabilities": {"streaming": True}, "defaultInputModes": ["text"],
        "defaultOutputModes": ["text"],
        "skills": [{"id": "x", "name": "x", "description": "x", "tags": ["x"]}],
    }  # fmt: skip
