"""A second release of the chart, whose bounds are short and whose namespace tests may spoil."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from dev import product, shell
from dev.front_door import FrontDoor
from tests.e2e.failing import Place

RELEASE = product.Release("impatient", "impatient-system", "impatient")
BOUNDS = {
    "startTimeoutSeconds": 90,
    "stuckTimeoutSeconds": 8,
    "unschedulableTimeoutSeconds": 20,
    "gatewayTimeoutSeconds": 40,
    "resyncSeconds": 10,
}


@contextmanager
def installed() -> Iterator[Place]:
    """Install the release, and take it away again. The main one brings the kinds."""
    name = os.environ["AGENTRUN_CLUSTER"]
    flags = [part for key, value in BOUNDS.items() for part in ("--set", f"operator.{key}={value}")]
    off = "profiles.codex.enabled=false,profiles.claudeCode.enabled=false"
    product.install(name, *flags, "--set", off, release=RELEASE)
    env = product.environment(name)
    try:
        with product.service_url(name, RELEASE.system, RELEASE.service, 8080) as url:
            door = FrontDoor(f"{url}/mcp", product.token(name, RELEASE))
            yield Place(door, RELEASE.runs)
    finally:
        product.kube(env, "delete", "runs", "--all", "-n", RELEASE.runs, "--wait=false")
        shell.run(["helm", "uninstall", RELEASE.name, "-n", RELEASE.system], env=env)
        product.kube(env, "delete", "namespace", RELEASE.runs, RELEASE.system, "--wait=false")
