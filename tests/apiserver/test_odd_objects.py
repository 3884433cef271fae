"""
Objects that the API server takes, however odd: a good run beside them goes on.

They are made from the CRDs' own schemas and applied as text, for no encoder writes the deepest of
them. The operator and the MCP server are real processes, as in ``test_races``.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from hypothesis import given

from agentrun.api.base import API_VERSION
from agentrun.kube.client import Kube
from agentrun.kube.errors import ApiError
from agentrun.kube.kubeconfig import log_in
from agentrun.kube.resources import RUNS, Resource
from tests.apiserver.conftest import kubectl
from tests.apiserver.played import Pod, Product, Site, Step, installed_anew, is_over, played
from tests.objects import KINDS, QUIETLY, nested, objects, written

pytestmark = [pytest.mark.apiserver, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def product(crds: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    with installed_anew("odd", tmp_path_factory.mktemp("product")) as made:
        yield made


@pytest.fixture
async def api(crds: None) -> AsyncIterator[httpx2.Client]:
    """A connection to the API server for bodies as text."""
    login = await log_in([Path(os.environ["KUBECONFIG"])], "")
    headers = {**await login.headers(), "Content-Type": "application/json"}
    with httpx2.Client(
        base_url=login.host, headers=headers, verify=login.tls, timeout=60, trust_env=False
    ) as http:
        yield http


def apply(api: httpx2.Client, namespace: str, plural: str, made: dict[str, Any]) -> str:
    """Make an object; nothing is returned if the API server refuses it."""
    name = f"odd-{uuid4().hex[:8]}"
    body = {
        "apiVersion": API_VERSION,
        "kind": KINDS[plural].__name__,
        "metadata": {"name": name},
        **made,
    }
    path = Resource(RUNS.api, plural).path(namespace)
    answer = api.post(path, content=written(body).encode())
    # A rule that looks for what need not be there refuses what the schema takes.
    assert b"no such key" not in answer.content, (made, answer.content)
    return name if answer.status_code == 201 else ""


async def test_a_valid_run_proceeds_beside_any_object_that_the_api_server_accepts(
    api: httpx2.Client, product: Product, tmp_path: Path
) -> None:
    taken: list[str] = []

    def fill_with(plural: str) -> None:
        @QUIETLY
        @given(objects(plural))
        def one(made: dict[str, Any]) -> None:
            if name := apply(api, product.namespace, plural, made):
                taken.append(name)

        one()

    def fill() -> None:
        for plural in KINDS:
            fill_with(plural)
        for depth in (205, 260, 900, 1100, 3000):
            spec = {"backend": "codex", "prompt": "p", "metadata": nested(depth)}
            name = apply(api, product.namespace, "agentruns", {"spec": spec})
            assert name, f"the API server does not take {depth} levels"
            taken.append(name)

    await asyncio.to_thread(fill)
    assert taken

    async def before(_: Pod, __: Step) -> None:
        """Let each step be taken at once."""

    async with played(product, f"{product.namespace}-node", tmp_path, before) as site:
        await _goes_on(site)


async def _goes_on(site: Site) -> None:
    name = f"good-{uuid4().hex[:8]}"
    await site.start(name)
    await site.runs.until(name, is_over)


async def test_a_quarantined_object_is_reported_until_it_is_deleted(
    api: httpx2.Client, product: Product
) -> None:
    spec = {"backend": "codex", "prompt": "p", "metadata": nested(1500)}
    name = await asyncio.to_thread(apply, api, product.namespace, "agentruns", {"spec": spec})
    ready = product.mcp_url.replace("/mcp", "/readyz")
    async with httpx2.AsyncClient() as http_client:

        async def note() -> str:
            answer = await http_client.get(ready)
            assert answer.status_code == 200
            found: str = answer.json().get("note", "")
            return found

        async with asyncio.timeout(60):
            while "cannot be read" not in await note():  # noqa: ASYNC110
                await asyncio.sleep(0.1)  # No event tells of another process.
        # Python's client cannot read the answer.
        where = ("-n", product.namespace, "--wait=false")
        await asyncio.to_thread(kubectl, "delete", "agentruns", "--all", *where)
        async with asyncio.timeout(60):
            while await note():  # noqa: ASYNC110
                await asyncio.sleep(0.1)
    assert name


@pytest.mark.parametrize(
    "spec",
    [
        {"prompt": "a\0b"},
        {"prompt": "p", "workspace": {"cwd": "a\0b"}},
        {"prompt": "p", "cancellation": {"reason": "\0"}, "desiredState": "Cancelled"},
        {"inputMessage": {"parts": [{"type": "text", "text": "\0"}]}},
    ],
)
async def test_a_nul_is_rejected_by_the_validation_rules_of_the_crd(
    kube: Kube, product: Product, spec: dict[str, Any]
) -> None:
    body = {
        "apiVersion": API_VERSION,
        "kind": "AgentRun",
        "metadata": {"name": f"nul-{uuid4().hex[:8]}"},
        "spec": {"backend": "codex", **spec},
    }
    with pytest.raises(ApiError) as refused:
        await kube.create(RUNS, product.namespace, body)
    assert refused.value.status == 422
