"""A real API server with the CRDs applied. `make test` starts one and sets KUBECONFIG."""

import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

from agentrun.api.base import API_VERSION
from agentrun.kube.api import KubeApi, Object
from agentrun.kube.client import Kube, connect
from agentrun.kube.resources import PROFILES, RUNS, SESSIONS, Resource

ROOT = Path(__file__).parents[2]


_KINDS = {RUNS: "AgentRun", SESSIONS: "AgentSession", PROFILES: "AgentProfile"}


@dataclass(frozen=True)
class Objects:
    """The objects of one kind in one namespace."""

    kube: KubeApi
    namespace: str
    resource: Resource

    async def create(self, spec: Object, name: str | None = None) -> Object:
        body = {
            "apiVersion": API_VERSION,
            "kind": _KINDS[self.resource],
            "metadata": {"name": name or f"t-{uuid4().hex[:12]}"},
            "spec": spec,
        }
        return await self.kube.create(self.resource, self.namespace, body)

    async def patch(self, name: str, body: Object) -> Object:
        return await self.kube.patch(self.resource, self.namespace, name, body)

    async def patch_status(self, name: str, status: Object | None) -> Object:
        body = {"status": status}
        return await self.kube.patch(
            self.resource, self.namespace, name, body, subresource="status"
        )

    async def get(self, name: str) -> Object:
        return await self.kube.get(self.resource, self.namespace, name)

    async def list(self, fields: str) -> list[Object]:
        found, _ = await self.kube.list(self.resource, self.namespace, fields=fields)
        return found


def kubectl(*arguments: str) -> str:
    """Run kubectl against the test's API server and return its output."""
    done = subprocess.run(["kubectl", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def crds() -> None:
    """Apply the CRDs."""
    how = "`make cluster`, then `make test-some T=tests/apiserver`"
    assert os.environ.get("KUBECONFIG"), f"KUBECONFIG is not set: {how}"
    kubectl("apply", "--server-side", "--force-conflicts", "-f", str(ROOT / "crds"))
    kubectl("wait", "--for=condition=Established", "--timeout=30s", "-f", str(ROOT / "crds"))


@contextmanager
def new_namespace(prefix: str) -> Iterator[str]:
    """Create a namespace for the block, and delete it afterwards without waiting for its end."""
    name = f"{prefix}-{uuid4().hex[:8]}"
    kubectl("create", "namespace", name)
    try:
        yield name
    finally:
        kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="session")
def namespace(crds: None) -> Iterator[str]:
    with new_namespace("rules") as name:
        yield name


@pytest.fixture
async def kube(crds: None) -> AsyncIterator[Kube]:
    async with connect() as connected:
        yield connected


@pytest.fixture
def runs(kube: Kube, namespace: str) -> Objects:
    return Objects(kube, namespace, RUNS)


@pytest.fixture
def sessions(kube: Kube, namespace: str) -> Objects:
    return Objects(kube, namespace, SESSIONS)


@pytest.fixture
def profiles(kube: Kube, namespace: str) -> Objects:
    return Objects(kube, namespace, PROFILES)
