"""Serves the scripted model over HTTP, and also a port that never responds."""

import json
import os
import select
import socket
import threading
import time
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

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


class Server(ThreadingHTTPServer):
    """The HTTP server. Its only state is how often each error was returned."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, address: tuple[str, int], key: str) -> None:
        super().__init__(address, Handler)
        self.key = key
        self._given: dict[tuple[str, str, int], int] = {}
        self._lock = threading.Lock()

    def error_of(self, request: Api, prompt: str, steps: list[Step]) -> Step | None:
        """Return the first error among ``steps`` that is still to be returned, and count it."""
        for number, step in enumerate(steps):
            if "error" not in step:
                continue
            about = (request.conversation_id, f"{prompt}\n{steps}", number)
            with self._lock:
                self._given[about] = self._given.get(about, 0) + 1
                if self._given[about] <= step.get("times", float("inf")):
                    return step
        return None


class Handler(BaseHTTPRequestHandler):
    """Handles the requests of a connection."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        """Serve the health check and the list of models."""
        self._logged(self._get)

    def do_HEAD(self) -> None:
        """Respond to the probe that some agents send first."""
        self._logged(self._get)

    def do_POST(self) -> None:
        """Return the next part of a script."""
        self._logged(self._post)

    def log_message(self, format: str, *args: Any) -> None:
        """Suppress the default log: ``_logged`` writes one line for each request."""

    def _logged(self, answer: Any) -> None:
        began = time.monotonic()
        self.note: dict[str, Any] = {"method": self.command, "path": self.path.partition("?")[0]}
        try:
            answer()
        except (GoneError, BrokenPipeError, ConnectionResetError):
            self.note["outcome"] = "the client left"
            self.close_connection = True
        if self.note["path"] != "/healthz":
            # Headers are never logged, because they contain the key.
            stamp = {"time": round(time.time(), 3), "seconds": round(time.monotonic() - began, 3)}
            print(json.dumps({**stamp, **self.note}), flush=True)

    def _get(self) -> None:
        path = self.note["path"]
        if path == "/healthz":
            self._json(200, {"status": "ok"})
        elif path.endswith("/models"):
            self._json(200, MODELS)
        else:
            self._json(404, responses.error(404, f"there is no {path}"))

    def _post(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        raw = self.rfile.read(length)
        path = self.note["path"]
        format_ = next((end for end in FORMATS if path.endswith(end)), "")
        api = FORMATS.get(format_, anthropic)
        if self.server.key and not self._has_key():
            self._json(401, api.error(401, "the API key is missing or wrong"))
            return
        try:
            body = json.loads(raw)
        except ValueError:
            self._json(400, api.error(400, "the request is not JSON"))
            return
        if path.endswith("/count_tokens"):
            self._json(200, {"input_tokens": max(1, len(raw) // 4)})
        elif path.endswith(":countTokens"):
            self._json(200, {"totalTokens": max(1, len(raw) // 4)})
        elif format_:
            is_stream = bool(body.get("stream")) or format_ == ":streamGenerateContent"
            self._play(api, api.Request(body), is_stream)
        else:
            self._json(404, api.error(404, f"there is no {path}"))

    def _play(self, api: Any, request: Api, is_stream: bool) -> None:
        try:
            prompt, steps = self._steps(request)
        except ScriptError as error:
            self._json(400, api.error(400, str(error)))
            return
        self.note["steps"] = [next(iter(step)) for step in steps]
        if failure := self.server.error_of(request, prompt, steps):
            status = int(failure["error"])
            self._json(status, api.error(status, str(failure.get("message", "scripted error"))))
        elif is_stream:
            self._stream(api.stream(request, steps))
        else:
            self._wait(sum(float(step.get("hang", 0)) for step in steps))
            self._json(200, api.whole(request, steps))

    def _steps(self, request: Api) -> tuple[str, list[Step]]:
        if request.is_aside:
            return "", ASIDE
        if isinstance(request, responses.Request) and (poll := request.poll()):
            return "", [{"poll": poll}]
        prompt, results = request.prompt_and_results()
        steps = part(steps_of(prompt), results, request.is_call)
        first = request.preparation(steps[-1])
        said = json.dumps(request.body)
        return prompt, [first] if first else [recalled(step, said) for step in steps]

    def _has_key(self) -> bool:
        bearer = self.headers.get("authorization", "").removeprefix("Bearer ")
        given = (bearer, self.headers.get("x-api-key"), self.headers.get("x-goog-api-key"))
        return self.server.key in given

    def _json(self, status: int, content: dict[str, Any]) -> None:
        self.note["status"] = status
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _stream(self, playables: Iterable[Playable]) -> None:
        self.note["status"] = 200
        self.close_connection = True
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for playable in playables:
            match playable:
                case Event(name, data):
                    content = json.dumps({"type": name, **data})
                    self._chunk(f"event: {name}\ndata: {content}\n\n".encode())
                case Data(text):
                    self._chunk(f"data: {text}\n\n".encode())
                case Pause(seconds):
                    self._wait(seconds)
                case Cut():
                    # Without the last chunk the client detects an incomplete response.
                    self.note["outcome"] = "cut"
                    return
        self._chunk(b"")

    def _chunk(self, content: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(content), content))
        self.wfile.flush()

    def _wait(self, seconds: float) -> None:
        """Wait. Raises GoneError as soon as the client closes the connection."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            readable, _, _ = select.select([self.connection], [], [], min(left, 1))
            if readable and not self.connection.recv(1, socket.MSG_PEEK):
                raise GoneError


def keep_silent(port: int) -> None:
    """Accept connections and never respond."""
    held = []
    with socket.create_server(("", port)) as listener:
        while True:
            held.append(listener.accept())


def main() -> None:
    """Serve until killed."""
    port = int(os.environ.get("LISTEN_PORT", "8080"))
    silent = int(os.environ.get("SILENT_PORT", "0"))
    if silent:
        threading.Thread(target=keep_silent, args=(silent,), daemon=True).start()
    Server(("", port), os.environ.get("MODEL_API_KEY", "")).serve_forever()


if __name__ == "__main__":
    main()
