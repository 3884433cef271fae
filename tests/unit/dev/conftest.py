"""The scripted model on a loopback port, and a client that knows its wire formats."""

import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any

import pytest

from dev.model.__main__ import server_of

Json = dict[str, Any]
KEY = "the-key"


def script(*steps: Json) -> str:
    return f"Do this:\n```script\n{json.dumps(steps)}\n```"


@dataclass
class Answer:
    status: int
    text: str

    @property
    def body(self) -> Json:
        found: Json = json.loads(self.text)
        return found

    @property
    def events(self) -> list[Json]:
        blocks = [block.splitlines() for block in self.text.split("\n\n") if block]
        for name, data in blocks:
            assert json.loads(data.removeprefix("data: "))["type"] == name.removeprefix("event: ")
        return [json.loads(data.removeprefix("data: ")) for _, data in blocks]


@dataclass
class Client:
    port: int

    def request(self, method: str, path: str, body: Json | None = None, **headers: str) -> Answer:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            content = None if body is None else json.dumps(body)
            connection.request(method, path, content, headers)
            answer = connection.getresponse()
            return Answer(answer.status, answer.read().decode())
        finally:
            connection.close()

    def messages(self, body: Json, key: str = KEY) -> Answer:
        return self.request("POST", "/v1/messages", body, **{"x-api-key": key})

    def responses(self, body: Json, key: str = KEY) -> Answer:
        return self.request("POST", "/v1/responses", body, authorization=f"Bearer {key}")


@pytest.fixture(scope="module")
def model() -> Iterator[Client]:
    server = server_of(KEY, 0)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        serving.start()
        yield Client(listener.getsockname()[1])
        server.should_exit = True
        serving.join()
