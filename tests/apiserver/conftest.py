"""A real API server with the CRDs applied. `make test` starts one and sets KUBECONFIG."""

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from kubernetes import client, config

from agentrun.api.v1alpha1 import GROUP, VERSION

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Objects:
    """The objects of one kind in one namespace, as raw dicts."""

    api: Any
    namespace: str
    plural: str

    def create(self, spec: dict[str, Any], name: str | None = None) -> dict[str, Any]:
        kind = {"agentruns": "AgentRun", "agentsessions": "AgentSession"}.get(
            self.plural, "AgentProfile"
        )
        body = {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": kind,
            "metadata": {"name": name or f"t-{uuid4().hex[:12]}"},
            "spec": spec,
        }
        created: dict[str, Any] = self.api.create_namespaced_custom_object(
            GROUP, VERSION, self.namespace, self.plural, body
        )
        return created

    def patch(self, name: str, body: dict[str, Any]) -> dict[str, Any]:
        patched: dict[str, Any] = self.api.patch_namespaced_custom_object(
            GROUP, VERSION, self.namespace, self.plural, name, body
        )
        return patched

    def patch_status(self, name: str, status: dict[str, Any] | None) -> dict[str, Any]:
        patched: dict[str, Any] = self.api.patch_namespaced_custom_object_status(
            GROUP, VERSION, self.namespace, self.plural, name, {"status": status}
        )
        return patched

    def get(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.api.get_namespaced_custom_object(
            GROUP, VERSION, self.namespace, self.plural, name
        )
        return found

    def list(self, **query: str) -> list[dict[str, Any]]:
        answer = self.api.list_namespaced_custom_object(
            GROUP, VERSION, self.namespace, self.plural, **query
        )
        items: list[dict[str, Any]] = answer["items"]
        return items


def kubectl(*arguments: str) -> str:
    """Run kubectl against the test's API server and return its output."""
    done = subprocess.run(["kubectl", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def api() -> Iterator[client.ApiClient]:
    kubeconfig = os.environ.get("KUBECONFIG")
    how = "`make cluster`, then `make test-some T=tests/apiserver`"
    assert kubeconfig, f"KUBECONFIG is not set: {how}"
    kubectl("apply", "--server-side", "--force-conflicts", "-f", str(ROOT / "crds"))
    kubectl("wait", "--for=condition=Established", "--timeout=30s", "-f", str(ROOT / "crds"))
    with config.new_client_from_config(kubeconfig) as connection:
        yield connection


@pytest.fixture(scope="session")
def namespace(api: client.ApiClient) -> Iterator[str]:
    name = f"rules-{uuid4().hex[:8]}"
    core = client.CoreV1Api(api)
    core.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name=name)))
    yield name
    core.delete_namespace(name)


@pytest.fixture(scope="session")
def runs(api: client.ApiClient, namespace: str) -> Objects:
    return Objects(client.CustomObjectsApi(api), namespace, "agentruns")


@pytest.fixture(scope="session")
def sessions(api: client.ApiClient, namespace: str) -> Objects:
    return Objects(client.CustomObjectsApi(api), namespace, "agentsessions")


@pytest.fixture(scope="session")
def profiles(api: client.ApiClient, namespace: str) -> Objects:
    return Objects(client.CustomObjectsApi(api), namespace, "agentprofiles")
