"""kopf, as it is installed, reads lists and watches as we do."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import kopf
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from kopf._cogs.clients import api, auth, fetching, watching
from kopf._cogs.structs import credentials
from kopf._cogs.structs.references import NamespaceName

from agentrun.api.quarantine import mark_of
from agentrun.controller.kopf_reading import read_within_bounds
from tests.objects import nested, written

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


async def test_kopf_lists_and_watches_beside_an_object_that_is_too_deep(session: None) -> None:
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
