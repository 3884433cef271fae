"""What kopf is told to watch and how it reads, and what happens to its news."""

import asyncio
import logging
from collections.abc import AsyncIterator
from itertools import islice
from typing import Any

import aiohttp
import kopf
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from kopf._cogs.clients import api, auth, fetching, watching
from kopf._cogs.structs import credentials
from kopf._cogs.structs.references import NamespaceName

from agentrun.api.pod_layout import LABEL_RUN
from agentrun.api.quarantine import mark_of
from agentrun.controller.caches import Caches
from agentrun.controller.watches import (
    Pauses,
    build_settings,
    feed_into,
    is_worth_logging,
    read_within_bounds,
)
from agentrun.kube.api import Object
from agentrun.kube.resources import RUNS
from tests.objects import nested, written


def a_run(version: int) -> Object:
    return {
        "metadata": {
            "name": "r",
            "namespace": "ns",
            "uid": "u",
            "resourceVersion": str(version),
            "managedFields": [{"manager": "kubectl"}],
        },
        "spec": {"backend": "codex"},
    }


async def test_changes_are_cached_without_unused_fields() -> None:
    caches = Caches()
    feed: Any = feed_into(caches, RUNS)
    told = a_run(2)
    await feed(event={"type": "ADDED", "object": told})
    cached = caches.of(RUNS).get(("ns", "r"))
    assert cached is not None
    assert "managedFields" not in cached["metadata"]
    assert "managedFields" in told["metadata"]
    await feed(event={"type": "DELETED", "object": a_run(3)})
    assert caches.of(RUNS).get(("ns", "r")) is None


def test_kopf_only_watches() -> None:
    settings = build_settings()
    assert not settings.posting.enabled
    assert settings.scanning.disabled
    pods = kopf.Resource("", "v1", "pods")
    assert list(settings.watching.label_selectors.collect(pods)) == [LABEL_RUN]


def test_the_api_server_is_awaited_without_limit_and_with_renewed_backoff() -> None:
    pauses = Pauses()
    first = list(islice(pauses, 100))
    assert list(islice(pauses, 100)) == first
    assert (first[0], max(first)) == (0.1, 3.0)


@pytest.mark.parametrize(
    ("said", "is_told"),
    [
        pytest.param("Request attempt #1 failed; will retry: GET /x", True, id="first"),
        pytest.param("Request attempt #2 failed; will retry: GET /x", False, id="second"),
        pytest.param("Request attempt #31 failed; will retry: GET /x", False, id="later"),
        pytest.param("run r: Running (Working)", True, id="our-own"),
    ],
)
def test_an_outage_is_reported_once_for_each_watch(said: str, is_told: bool) -> None:
    record = logging.LogRecord("kopf", logging.ERROR, "", 0, said, None, None)
    assert is_worth_logging(record) == is_told


RESOURCE = kopf.Resource("agentrun.dev", "v1alpha1", "agentruns", namespaced=True)
DEEP = '{"metadata":{"name":"deep","uid":"d"},"spec":{"metadata":' + written(nested(5000)) + "}}"
GOOD = '{"metadata":{"name":"good","uid":"g"},"spec":{}}'


async def answer(request: web.Request) -> web.StreamResponse:
    if "watch" in request.query:
        lines = [f'{{"type":"ADDED","object":{one}}}\n' for one in (DEEP, GOOD)]
        return web.Response(text="".join(lines))
    head = '"kind":"L","apiVersion":"v1","metadata":{"resourceVersion":"5"}'
    listed = f'{{{head},"items":[{DEEP},{GOOD}]}}'
    return web.Response(text=listed, content_type="application/json")


@pytest.fixture
async def session(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    for name in ("get", "json"):
        monkeypatch.setattr(api, name, getattr(api, name))
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(app) as server, aiohttp.ClientSession() as http:
        made: Any = auth.APIContext(
            credentials.AiohttpSession(aiohttp_session=http, server=str(server.make_url("")))
        )
        vault: Any = _Vault(made)
        token = auth.vault_var.set(vault)
        yield
        auth.vault_var.reset(token)


class _Vault:
    """What kopf takes its connection from."""

    def __init__(self, context: Any) -> None:
        self.context = context

    async def extended(self, *_: Any) -> AsyncIterator[Any]:
        yield "key", None, self.context


async def test_kopf_lists_and_watches_despite_a_too_deeply_nested_object(session: None) -> None:
    read_within_bounds()
    settings, logger = kopf.OperatorSettings(), logging.getLogger("kopf")
    found: list[Any] = []
    namespace = NamespaceName("ns")
    chunks = fetching.fetch_objs(
        settings=settings, resource=RESOURCE, namespace=namespace, logger=logger
    )
    async for chunk, _ in chunks:
        found += chunk
    stream = watching.watch_objs(
        settings=settings,
        resource=RESOURCE,
        namespace=namespace,
        since="5",
        operator_pause_waiter=asyncio.Future(),
    )
    found += [event["object"] async for event in stream]
    assert [one["metadata"]["name"] for one in found] == ["deep", "good", "deep", "good"]
    assert [bool(mark_of(one)) for one in found] == [True, False, True, False]
