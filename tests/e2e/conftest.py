"""The product, installed once on the tests' cluster by its own chart."""

import os
from collections.abc import Iterator
from typing import Any

import pytest

from dev import product
from dev.front_door import FrontDoor
from tests.e2e.cluster import RUNS
from tests.e2e.failing import Place
from tests.e2e.impatient import installed
from tests.e2e.platform import SETTINGS, Platform

DEV_IMAGE = "localhost/agentrun/dev:dev"
AGENT = ["python3", "/opt/agentrun-dev/agent/acp_agent.py"]


def profile(name: str, namespace: str = RUNS, **spec: Any) -> dict[str, Any]:
    """A profile of the trivial agent."""
    return {
        "apiVersion": "agentrun.dev/v1alpha1",
        "kind": "AgentProfile",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "backend": "acp",
            "image": DEV_IMAGE,
            "imagePullPolicy": "Never",
            "command": AGENT,
            "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}},
        }
        | spec,
    }


PROFILES = [
    profile("trivial"),
    profile("no-image", image="localhost/agentrun/no-such-image:1", imagePullPolicy="IfNotPresent"),
    profile("no-program", command=["no-such-agent"]),
    profile(
        "no-secret",
        env=[{"name": "KEY", "secret": {"name": "no-such-secret", "key": "key"}}],
    ),
    profile("no-node", pod={"nodeSelector": {"no-such": "node"}}),
    profile(
        "too-large", resources={"requests": {"memory": "900Gi"}, "limits": {"memory": "900Gi"}}
    ),
]

QUOTA = {
    "apiVersion": "v1",
    "kind": "ResourceQuota",
    "metadata": {"name": "runs", "namespace": RUNS},
    "spec": {"hard": {"requests.memory": "200Gi"}},
}


@pytest.fixture(scope="session")
def platform() -> Iterator[Platform]:
    name = os.environ["AGENTRUN_CLUSTER"]
    product.install(name, *SETTINGS)
    env = product.environment(name)
    for made in [*PROFILES, QUOTA]:
        product.apply(env, made)
    with (
        product.service_url(name, product.SYSTEM, product.MAIN.service, 8080) as url,
        product.service_url(name, "agentrun-dev", "git", 8080) as git,
    ):
        door = FrontDoor(f"{url}/mcp", product.token(name))
        yield Platform(cluster=name, door=door, base_url=url, git_url=git)


@pytest.fixture(scope="session")
def impatient(platform: Platform) -> Iterator[Place]:
    """A second release, with short bounds and a namespace that tests may spoil."""
    with installed() as place:
        yield place
