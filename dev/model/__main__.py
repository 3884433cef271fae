"""Serves the scripted model over HTTP, and also a port that never responds."""

import asyncio
import json
import os
import time
from collections.abc import Iterable
from typing import Any

import uvicorn
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from dev.model import anthropic, chat, gemini, responses
from dev.model.script import (
    Cut,
    Data,
    Event,
    Pause,
    Playable,
    ScriptError,
    Step,
    part,
    recalled,
    steps_of,
)

Api = anthropic.Request | chat.Request | gemini.Request | responses.Request
FORMATS: dict[str, Any] = {
    "/messages": anthropic,
    "/responses": responses,
    "/chat/completions": chat,
    ":generateContent": gemini,
    ":streamGenerateContent": gemini,
}
"""The wire format by the end of the path."""
MODELS = {"object": "list", "data": [{"id": "scripted", "object": "model", "type": "model"}]}
ASIDE: list[Step] = [{"say": "Scripted work"}]


class GoneError(Exception):
    """The client closed the connection before the response was complete."""


class Model:
    """The ASGI application. Its only state is how often each error was returned."""

    def __init__(self, key: str) -> None:
        self._key = key
        self._given: dict[tuple[str, str, int], int] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request, and log one line for it."""
        began = time.monotonic()
        exchange = _Exchange(scope, receive, send)
        try:
            if exchange.request.method == "POST":
                await self._post(exchange)
            else:
                await _get(exchange)
        except GoneError:
            exchange.note["outcome"] = "the client left"
        if exchange.path != "/healthz":
            # Headers are never logged, because they contain the key.
            stamp = {"time": round(time.time(), 3), "seconds": round(time.monotonic() - began, 3)}
            print(json.dumps({**stamp, **exchange.note}), flush=True)

    async def _post(self, exchange: "_Exchange") -> None:
        raw = await exchange.request.body()
        path = exchange.path
        format_ = next((end for end in FORMATS if path.endswith(end)), "")
        api = FORMATS.get(format_, anthropic)
        if self._key and not self._has_key(exchange.request):
            await exchange.json(401, api.error(401, "the API key is missing or wrong"))
            return
        try:
            body = json.loads(raw)
        except ValueError:
            await exchange.json(400, api.error(400, "the request is not JSON"))
            return
        if path.endswith("/count_tokens"):
            await exchange.json(200, {"input_tokens": max(1, len(raw) // 4)})
        elif path.endswith(":countTokens"):
            await exchange.json(200, {"totalTokens": max(1, len(raw) // 4)})
        elif format_:
            is_stream = bool(body.get("stream")) or format_ == ":streamGenerateContent"
            await self._play(exchange, api, api.Request(body), is_stream)
        else:
            await exchange.json(404, api.error(404, f"there is no {path}"))

    async def _play(self, exchange: "_Exchange", api: Any, request: Api, is_stream: bool) -> None:
        try:
            prompt, steps = _steps(request)
        except ScriptError as error:
            await exchange.json(400, api.error(400, str(error)))
            return
        exchange.note["steps"] = [next(iter(step)) for step in steps]
        if failure := self._error_of(request, prompt, steps):
            status, message = int(failure["error"]), failure.get("message", "scripted error")
            await exchange.json(status, api.error(status, str(message)))
        elif is_stream:
            await exchange.stream(api.stream(request, steps))
        else:
            await exchange.wait(sum(float(step.get("hang", 0)) for step in steps))
            await exchange.json(200, api.whole(request, steps))

    def _error_of(self, request: Api, prompt: str, steps: list[Step]) -> Step | None:
        """Return the first error among ``steps`` that is still to be returned, and count it."""
        for number, step in enumerate(steps):
            if "error" not in step:
                continue
            about = (request.conversation_id, f"{prompt}\n{steps}", number)
            self._given[about] = self._given.get(about, 0) + 1
            if self._given[about] <= step.get("times", float("inf")):
                return step
        return None

    def _has_key(self, request: Request) -> bool:
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        given = (bearer, request.headers.get("x-api-key"), request.headers.get("x-goog-api-key"))
        return self._key in given


class _Exchange:
    """A request, its response and its line in the log."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.request = Request(scope, receive)
        self.path: str = scope["path"]
        self.note: dict[str, Any] = {"method": self.request.method, "path": self.path}
        self._send = send

    async def json(self, status: int, content: dict[str, Any]) -> None:
        """Respond with JSON."""
        self.note["status"] = status
        # Not JSONResponse: it cannot write halves of surrogate pairs, which some prompts have.
        respond = Response(json.dumps(content), status, media_type="application/json")
        await respond(self.request.scope, self.request.receive, self._send)

    async def stream(self, playables: Iterable[Playable]) -> None:
        """Respond with server-sent events, at the pace of the script."""
        self.note["status"] = 200
        headers = [(b"content-type", b"text/event-stream")]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        for playable in playables:
            match playable:
                case Event(name, data):
                    content = json.dumps({"type": name, **data})
                    await self._chunk(f"event: {name}\ndata: {content}\n\n")
                case Data(text):
                    await self._chunk(f"data: {text}\n\n")
                case Pause(seconds):
                    await self.wait(seconds)
                case Cut():
                    # The response is not complete, so the server closes the connection.
                    self.note["outcome"] = "cut"
                    return
        await self._send({"type": "http.response.body"})

    async def wait(self, seconds: float) -> None:
        """Wait. Raises GoneError as soon as the client closes the connection."""
        try:
            async with asyncio.timeout(seconds):
                while (await self.request.receive())["type"] != "http.disconnect":
                    pass
        except TimeoutError:
            return
        raise GoneError

    async def _chunk(self, text: str) -> None:
        await self._send({"type": "http.response.body", "body": text.encode(), "more_body": True})


async def _get(exchange: _Exchange) -> None:
    if exchange.path == "/healthz":
        await exchange.json(200, {"status": "ok"})
    elif exchange.path.endswith("/models"):
        await exchange.json(200, MODELS)
    else:
        await exchange.json(404, responses.error(404, f"there is no {exchange.path}"))


def _steps(request: Api) -> tuple[str, list[Step]]:
    if request.is_aside:
        return "", ASIDE
    if isinstance(request, responses.Request) and (poll := request.poll()):
        return "", [{"poll": poll}]
    prompt, results = request.prompt_and_results()
    steps = part(steps_of(prompt), results, request.is_call)
    first = request.preparation(steps[-1])
    text = json.dumps(request.body)
    return prompt, [first] if first else [recalled(step, text) for step in steps]


def server_of(key: str, port: int) -> uvicorn.Server:
    """Build the HTTP server of a model that requires ``key``, if there is one."""
    return uvicorn.Server(
        uvicorn.Config(
            Model(key), host="0.0.0.0", port=port, lifespan="off",
            # A connection is never closed while its client may be sending the next request.
            timeout_keep_alive=3600,
            # Requests are logged by the application.
            log_level="error",
        )
    )  # fmt: skip


async def _keep_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Accept a connection and never respond."""
    await asyncio.Event().wait()


async def main() -> None:
    """Serve until killed."""
    server = server_of(
        os.environ.get("MODEL_API_KEY", ""), int(os.environ.get("LISTEN_PORT", "8080"))
    )
    silent = int(os.environ.get("SILENT_PORT", "0"))
    if silent:
        await asyncio.start_server(_keep_silent, "0.0.0.0", silent)
    await server.serve()


if __name__ == "__main__":
    asyncio.run(main())
