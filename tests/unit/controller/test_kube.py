"""Talking to an API server over HTTP."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from kubernetes.aio import client

from agentrun.controller.kube import ApiError, Kind, Kube, connect
from tests.accounts import ACCOUNT, in_a_pod

PODS = "/api/v1/namespaces/ns/pods"
RUN = "/apis/agentrun.dev/v1alpha1/namespaces/ns/agentruns/r"


class Server:
    """Answers as told, and keeps what it was asked."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, Any]] = []
        self.asked: list[tuple[str, str, dict[str, str], str, Any]] = []
        self.tokens: list[str] = []

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.json() if request.can_read_body else None
        kind = request.headers.get("Content-Type", "")
        self.tokens.append(request.headers.get("Authorization", ""))
        self.asked.append((request.method, request.path, dict(request.query), kind, body))
        status, answer = self.answers.pop(0)
        if isinstance(answer, str):
            return web.Response(status=status, text=answer)
        return web.json_response(answer, status=status)


@pytest.fixture
async def server() -> AsyncIterator[tuple[Server, Kube]]:
    app, fake = web.Application(), Server()
    app.router.add_route("*", "/{path:.*}", fake.answer)
    async with TestServer(app) as running:
        settings = client.Configuration(host=str(running.make_url("")).rstrip("/"))
        async with client.ApiClient(settings) as api:
            yield fake, Kube(api)


Pair = tuple[Server, Kube]


async def test_a_list_is_read_page_by_page(server: Pair) -> None:
    fake, kube = server
    fake.answers = [
        (200, {"items": [{"a": 1}], "metadata": {"resourceVersion": "5", "continue": "c+/="}}),
        (200, {"items": [{"a": 2}], "metadata": {"resourceVersion": "5"}}),
    ]
    listed = await kube.list(Kind.POD, "ns", labels="agentrun.dev/run", fields="x=y")
    assert listed == ([{"a": 1}, {"a": 2}], "5")
    asked = {"limit": "500", "labelSelector": "agentrun.dev/run", "fieldSelector": "x=y"}
    assert [query for _, _, query, _, _ in fake.asked] == [asked, {**asked, "continue": "c+/="}]


async def test_a_status_is_merged_into_the_subresource(server: Pair) -> None:
    fake, kube = server
    fake.answers = [(200, {"kind": "AgentRun"})]
    body = {"status": {"phase": "Running", "reason": None}}
    assert await kube.patch(Kind.RUN, "ns", "r", body, "status") == {"kind": "AgentRun"}
    assert fake.asked == [("PATCH", f"{RUN}/status", {}, "application/merge-patch+json", body)]


async def test_what_does_not_exist_is_none(server: Pair) -> None:
    fake, kube = server
    fake.answers = [(404, {"message": "not found"})]
    assert await kube.get(Kind.RUN, "ns", "r") is None


async def test_only_the_object_with_the_uid_is_deleted(server: Pair) -> None:
    fake, kube = server
    fake.answers = [(200, {"kind": "Pod"})]
    assert await kube.delete(Kind.POD, "ns", "p", "u1") == {"kind": "Pod"}
    method, path, _, _, body = fake.asked[0]
    assert (method, path) == ("DELETE", f"{PODS}/p")
    assert body["preconditions"] == {"uid": "u1"}


@pytest.mark.parametrize("code", [404, 409])
async def test_deleting_what_is_gone_or_replaced_is_done(server: Pair, code: int) -> None:
    fake, kube = server
    fake.answers = [(code, {"message": "gone"})]
    assert await kube.delete(Kind.POD, "ns", "p", "u1") is None


@pytest.mark.parametrize(
    ("code", "answer", "message"),
    [
        pytest.param(403, {"message": "exceeded quota"}, "exceeded quota", id="a-status"),
        pytest.param(502, "Bad Gateway", "Bad Gateway", id="no-json"),
        pytest.param(200, [], "is not a JSON object", id="no-object"),
    ],
)
async def test_an_error_carries_what_the_api_server_said(
    server: Pair, code: int, answer: Any, message: str
) -> None:
    fake, kube = server
    fake.answers = [(code, answer)]
    with pytest.raises(ApiError, match=message) as caught:
        await kube.create(Kind.POD, "ns", {"metadata": {"name": "p"}})
    assert caught.value.code == code


async def test_an_api_server_that_is_away_is_an_error_like_others() -> None:
    async with client.ApiClient(client.Configuration(host="http://127.0.0.1:1")) as api:
        with pytest.raises(ApiError, match="cannot be reached") as caught:
            await Kube(api).get(Kind.RUN, "ns", "r")
    assert caught.value.code == 0


@pytest.mark.parametrize(
    ("code", "stale"), [(404, True), (409, True), (422, True), (403, False), (500, False)]
)
def test_which_refusals_mean_that_something_has_changed(code: int, stale: bool) -> None:
    assert ApiError(code, "").is_stale is stale


async def test_a_pod_logs_in_with_its_account_whatever_a_netrc_file_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake = Server()
    fake.answers = [(200, {"n": 1})]
    async with in_a_pod(fake.answer, monkeypatch, tmp_path), connect() as kube:
        assert await kube.get(Kind.RUN, "ns", "r") == {"n": 1}
    assert fake.tokens == [ACCOUNT]
