"""Requests to an API server over HTTP."""

import asyncio
import gc
import json
import socket
import ssl
import subprocess
import threading
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, aclosing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from aiohttp import web

from agentrun.kube import client
from agentrun.kube.api import APPLY_PATCH
from agentrun.kube.client import Kube, connect
from agentrun.kube.clock import ServerClock
from agentrun.kube.errors import ApiError, ApiUnavailableError
from agentrun.kube.resources import PODS, RUNS, SECRETS, SESSIONS, Resource
from tests.accounts import ACCOUNT, in_a_pod

PATH = "/apis/agentrun.dev/v1alpha1/namespaces/team-a/agentruns"


class Api:
    """Answers with what it is given, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str, Any]] = []
        self.answers: list[tuple[int, Any]] = []
        self.tokens: list[str] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.text()
        asked = (
            request.method,
            str(request.rel_url),
            request.content_type,
            body and json.loads(body),
        )
        self.asked.append(asked)
        self.tokens.append(request.headers.get("Authorization", ""))
        status, answer = self.answers.pop(0)
        if not isinstance(answer, list):
            text = answer if isinstance(answer, str) else json.dumps(answer)
            return web.Response(status=status, text=text, content_type="application/json")
        stream = web.StreamResponse()
        await stream.prepare(request)
        for piece in answer:
            await stream.write(piece)
        return stream


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
async def kube(api: Api, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Kube]:
    async with in_a_pod(api.handle, monkeypatch, tmp_path), connect() as connected:
        yield connected


async def test_objects_are_created_read_patched_and_deleted(kube: Kube, api: Api) -> None:
    api.answers = [(200, {"n": number}) for number in range(5)]
    assert await kube.get(PODS, "team-a", "p") == {"n": 0}
    await kube.create(RUNS, "team-a", {"a": 1})
    await kube.patch(RUNS, "team-a", "r", {"a": 2})
    query = {"fieldManager": "x", "force": "true"}
    body = {"a": 3}
    await kube.patch(
        RUNS, "team-a", "r", body, subresource="status", content_type=APPLY_PATCH, query=query
    )
    await kube.delete(RUNS, "team-a", "r", "uid-1")
    deletion = {"preconditions": {"uid": "uid-1"}, "propagationPolicy": "Background"}
    assert api.asked == [
        ("GET", "/api/v1/namespaces/team-a/pods/p", "application/json", ""),
        ("POST", PATH, "application/json", {"a": 1}),
        ("PATCH", f"{PATH}/r", "application/merge-patch+json", {"a": 2}),
        ("PATCH", f"{PATH}/r/status?fieldManager=x&force=true", APPLY_PATCH, {"a": 3}),
        ("DELETE", f"{PATH}/r", "application/json", deletion),
    ]


async def test_a_collection_of_all_namespaces_is_listed(kube: Kube, api: Api) -> None:
    api.answers = [(200, {"items": [], "metadata": {"resourceVersion": "7"}})]
    assert await kube.list(PODS.in_all_namespaces, "") == ([], "7")
    assert api.asked[0][1] == "/api/v1/pods?limit=500"


@pytest.mark.parametrize(
    "name",
    [
        "../../other/agentruns/r", "..", ".", "r/status", "r?watch=true", "r#x", "%2e%2e", "R",
        "-r", "r\n", "r/",
    ],
)  # fmt: skip
async def test_a_name_cannot_change_the_request_path(kube: Kube, api: Api, name: str) -> None:
    api.answers = [(200, {})]
    with pytest.raises(ApiError, match="is not a valid Kubernetes name") as refused:
        await kube.get(RUNS, "team-a", name)
    assert refused.value.status == 400
    with pytest.raises(ApiError, match="is not a valid Kubernetes name"):
        await kube.list(RUNS, name)
    assert api.asked == []


async def test_a_list_is_read_completely(kube: Kube, api: Api) -> None:
    meta = {"resourceVersion": "7"}
    api.answers = [
        (200, {"items": [{"a": 1}], "metadata": meta | {"continue": "c+/="}}),
        (200, {"items": [{"a": 2}], "metadata": meta}),
    ]
    listed = await kube.list(RUNS, "team-a", labels="agentrun.dev/run", fields="x=y")
    assert listed == ([{"a": 1}, {"a": 2}], "7")
    asked = {"limit": "500", "labelSelector": "agentrun.dev/run", "fieldSelector": "x=y"}
    queries = [dict(parse_qsl(urlsplit(url).query)) for _, url, *_ in api.asked]
    assert queries == [asked, {**asked, "continue": "c+/="}]


async def test_get_raises_and_find_returns_none_for_a_missing_object(kube: Kube, api: Api) -> None:
    api.answers = [(404, {"message": "not found"})] * 2
    assert await kube.find(RUNS, "team-a", "r") is None
    with pytest.raises(ApiError) as missing:
        await kube.get(RUNS, "team-a", "r")
    assert missing.value.is_not_found


CONFLICT = {
    "reason": "Conflict",
    "message": 'Operation cannot be fulfilled on resourcequotas "house": the object has been'
    " modified; please apply your changes to the latest version and try again",
}


@pytest.mark.parametrize("resource", [PODS, RUNS, SESSIONS, SECRETS], ids=lambda one: one.plural)
async def test_a_creation_that_conflicts_with_another_is_retried(
    kube: Kube, api: Api, resource: Resource
) -> None:
    api.answers = [(409, CONFLICT), (409, CONFLICT), (201, {"kind": "Pod"})]
    assert await kube.create(resource, "team-a", {"a": 1}) == {"kind": "Pod"}
    assert len(api.asked) == 3


async def test_a_creation_that_always_conflicts_is_given_up(
    kube: Kube, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "_CREATE_PAUSE", 0)
    api.answers = [(409, CONFLICT)] * 9
    with pytest.raises(ApiError) as conflict:
        await kube.create(PODS, "team-a", {"a": 1})
    assert conflict.value.is_conflict
    assert not conflict.value.already_exists
    assert len(api.asked) == 6


@pytest.mark.parametrize(
    "problem",
    [
        {"reason": "AlreadyExists", "message": 'pods "p" already exists'},
        {"message": 'admission webhook "w" denied the request: no'},
    ],
    ids=["exists", "denied"],
)
async def test_no_other_creation_is_retried(kube: Kube, api: Api, problem: dict[str, str]) -> None:
    api.answers = [(409, problem)]
    with pytest.raises(ApiError) as refused:
        await kube.create(PODS, "team-a", {"a": 1})
    assert not refused.value.is_conflict
    assert refused.value.already_exists is ("reason" in problem)


async def test_a_deletion_that_conflicts_is_not_taken_for_one_of_a_replaced_object(
    kube: Kube, api: Api
) -> None:
    api.answers = [(409, CONFLICT)]
    with pytest.raises(ApiError):
        await kube.delete(PODS, "team-a", "p", "uid-1")


@pytest.mark.parametrize(
    ("status", "message"),
    [(404, "gone"), (409, "Precondition failed: UID in precondition: a, UID in object meta: b")],
)
async def test_deleting_a_missing_or_replaced_object_succeeds(
    kube: Kube, api: Api, status: int, message: str
) -> None:
    api.answers = [(status, {"message": message}), (200, {"kind": "Pod"})]
    assert await kube.delete(PODS, "team-a", "p", "uid-1") is None
    assert await kube.delete(PODS, "team-a", "p", "uid-1") == {"kind": "Pod"}


async def test_a_token_is_reviewed_for_its_audience(kube: Kube, api: Api) -> None:
    api.answers = [(201, {"status": {"authenticated": True}})]
    assert await kube.review_token("t", "agentrun") == {"authenticated": True}
    assert api.asked[0][3]["spec"] == {"token": "t", "audiences": ["agentrun"]}


async def test_a_watch_yields_an_object_for_each_line(kube: Kube, api: Api) -> None:
    api.answers = [(200, [b'{"type":"ADDED","object":{}}\n{"type":', b'"DELETED","object":{}}\n'])]
    events = [event["type"] async for event in kube.watch(RUNS, "team-a", "5", 60)]
    assert events == ["ADDED", "DELETED"]
    assert "watch=true" in api.asked[0][1]
    assert "resourceVersion=5" in api.asked[0][1]


@contextmanager
def tls_server_that_only_sends(response: bytes, folder: Path) -> Iterator[tuple[str, Path]]:
    """Serve one connection, which is never read after its request; yield URL and certificate."""
    certificate, key = folder / "tls.crt", folder / "tls.key"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=api"
    files = ["-addext", "subjectAltName=IP:127.0.0.1", "-out", str(certificate)]
    subprocess.run([*command.split(), *files, "-keyout", key], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    is_over = threading.Event()

    def serve(listener: socket.socket) -> None:
        accepted, _ = listener.accept()
        with context.wrap_socket(accepted, server_side=True) as connection:
            connection.recv(65536)
            connection.sendall(response)
            is_over.wait()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = threading.Thread(target=serve, args=(listener,))
        serving.start()
        try:
            yield f"https://127.0.0.1:{listener.getsockname()[1]}", certificate
        finally:
            is_over.set()
            serving.join()


def test_the_connection_of_a_watch_is_closed_before_its_event_loop_ends(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def watch_one_event() -> None:
        async with (
            connect() as kube,
            aclosing(kube.watch(RUNS, "team-a", "5", 60)) as events,
        ):
            assert (await anext(events))["type"] == "ADDED"

    line = b'{"type":"ADDED","object":{}}\n'
    chunk = b"%x\r\n%s\r\n" % (len(line), line)
    response = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk
    with tls_server_that_only_sends(response, tmp_path) as (url, certificate):

        def load(client_configuration: Any) -> None:
            client_configuration.host = url
            client_configuration.ssl_ca_cert = str(certificate)

        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
        monkeypatch.setattr("agentrun.kube.client.config.load_incluster_config", load)
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            asyncio.run(watch_one_event())
            gc.collect()
    assert [str(one.message) for one in found] == []


@pytest.mark.parametrize(
    ("status", "answer", "kind", "message"),
    [
        pytest.param(404, {"message": "not found"}, ApiError, "not found", id="not-found"),
        pytest.param(422, {"message": "too long"}, ApiError, "too long", id="invalid"),
        pytest.param(403, "no json", ApiError, "no json", id="proxy-in-between"),
        pytest.param(404, [1], ApiError, "", id="no-status-object"),
        pytest.param(429, {"message": "slow"}, ApiUnavailableError, "slow", id="too-many-requests"),
        pytest.param(503, "", ApiUnavailableError, "HTTP 503", id="no-words"),
    ],
)
async def test_an_error_contains_the_message_of_the_api_server(
    kube: Kube, api: Api, status: int, answer: Any, kind: type[ApiError], message: str
) -> None:
    api.answers = [(status, json.dumps(answer) if isinstance(answer, list) else answer)]
    with pytest.raises(ApiError) as refused:
        await kube.get(RUNS, "team-a", "r")
    assert type(refused.value) is kind
    assert message in refused.value.message
    assert refused.value.status == status


@pytest.mark.parametrize(
    ("status", "stale"), [(404, True), (409, True), (422, True), (403, False), (500, False)]
)
def test_which_rejections_mean_that_the_object_has_changed(status: int, stale: bool) -> None:
    assert ApiError(status, "", "").is_stale is stale


async def test_an_unreachable_api_server_is_unavailable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, api: Api
) -> None:
    async with AsyncExitStack() as pod:
        await pod.enter_async_context(in_a_pod(api.handle, monkeypatch, tmp_path))
        async with connect() as kube:
            await pod.aclose()
            with pytest.raises(ApiUnavailableError, match="cannot be reached") as error:
                await kube.get(RUNS, "team-a", "r")
    assert error.value.status == 0


@pytest.mark.parametrize(
    ("answer", "message", "status"),
    [("{", "was interrupted", 0), (" []", "is not a JSON object", 200)],
)
async def test_a_response_that_is_not_an_object_is_unavailable(
    kube: Kube, api: Api, answer: str, message: str, status: int
) -> None:
    api.answers = [(200, answer)]
    with pytest.raises(ApiUnavailableError, match=message) as error:
        await kube.get(RUNS, "team-a", "r")
    assert error.value.status == status


async def test_a_clock_is_set_by_the_dates_of_responses(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, api: Api
) -> None:
    clock = ServerClock(lambda: datetime.now(UTC) + timedelta(hours=1))
    api.answers = [(200, {})]
    async with in_a_pod(api.handle, monkeypatch, tmp_path), connect(clock=clock) as kube:
        await kube.get(RUNS, "team-a", "r")
    assert abs(clock.now() - datetime.now(UTC)) < timedelta(minutes=1)


async def test_a_pod_logs_in_with_its_account_whatever_a_netrc_file_contains(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, api: Api
) -> None:
    api.answers = [(200, {"n": 1})]
    async with in_a_pod(api.handle, monkeypatch, tmp_path), connect() as kube:
        assert await kube.get(PODS, "team-a", "p") == {"n": 1}
    assert api.tokens == [ACCOUNT]
