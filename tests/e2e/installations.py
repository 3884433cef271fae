"""Installations that tests upgrade, break and remove, beside the one of all the other tests."""

import asyncio
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dev import cluster as dev_cluster
from dev import images, product, volumes
from dev.front_door import FrontDoor
from tests.e2e.agents import trivial
from tests.e2e.cluster import Json, answers, eventually, get, items, kubectl
from tests.e2e.conftest import profile

OPERATOR, FRONT_DOOR = "operator", "mcp"


@dataclass(frozen=True)
class Installation:
    """One release of the chart, with namespaces of its own."""

    cluster: str
    release: product.Release
    token: str
    """Of the main release's user: it outlives the namespaces here."""

    def install(self, *flags: str, chart: Path = product.CHART) -> None:
        """Install or upgrade it, and offer the trivial agent."""
        product.install(self.cluster, *flags, release=self.release, chart=chart)
        grace = {"timeouts": {"terminationGracePeriodSeconds": 5}}
        offered = profile("trivial", self.release.runs, **grace)
        product.apply(product.environment(self.cluster), offered)

    async def helm(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run helm on the release, and say how it went."""
        verb, *rest = arguments
        return await asyncio.to_thread(
            subprocess.run,
            ["helm", verb, self.release.name, *rest, "--namespace", self.release.system],
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    @contextmanager
    def door(self) -> Iterator[FrontDoor]:
        """Reach the front door, wherever its Service is just now."""
        release = self.release
        with product.service_url(self.cluster, release.system, release.service, 8080) as url:
            yield FrontDoor(f"{url}/mcp", self.token)

    async def spawn(self, *steps: list[Any], **more: Any) -> str:
        """Spawn a run of the trivial agent."""
        arguments = {"backend": "acp", "role": "worker", "profile": "trivial"} | more
        with self.door() as door:
            run = await door.call("spawn_run", prompt=trivial(*steps), **arguments)
        return str(run["run_id"])

    async def run(self, name: str) -> Json:
        """Return an AgentRun."""
        found = await get("run", name, self.release.runs)
        assert found is not None, f"{name} is gone"
        return found

    async def reaches(self, name: str, phase: str) -> None:
        """Wait until a run is in a phase."""
        await eventually(
            lambda: self.run(name), lambda run: run.get("status", {}).get("phase") == phase, 90
        )

    async def pod(self, name: str) -> Json:
        """Return the only pod of a run."""
        selector = f"agentrun.dev/run={name}"
        (found,) = await items("pods", "-l", selector, namespace=self.release.runs)
        return found

    async def own_pods(self) -> dict[str, str]:
        """Return the uids of the release's own pods, by component."""
        pods = await items("pods", namespace=self.release.system)
        component = "app.kubernetes.io/component"
        wanted = [one for one in pods if "deletionTimestamp" not in one["metadata"]]
        return {
            one["metadata"]["labels"][component]: one["metadata"]["uid"]
            for one in wanted
            if one["metadata"]["labels"].get(component) in (OPERATOR, FRONT_DOOR)
        }

    async def scale(self, component: str, replicas: int) -> None:
        """Have so many pods of a component, and wait for them."""
        name, where = f"deployment/{self.release.name}-{component}", ("-n", self.release.system)
        await kubectl("scale", name, f"--replicas={replicas}", *where)
        await kubectl("rollout", "status", name, *where, "--timeout=90s")
        selector = f"app.kubernetes.io/component={component}"
        await eventually(
            lambda: items("pods", "-l", selector, namespace=self.release.system),
            lambda pods: len(pods) == replicas,
        )
        if component == FRONT_DOOR and replicas:
            with self.door() as door:
                await ready(door)

    def remove(self) -> None:
        """Take everything of it away, and offer its volume again."""
        env, release = product.environment(self.cluster), self.release
        subprocess.run(
            ["helm", "uninstall", release.name, "-n", release.system, "--wait"],
            env=env,
            check=False,
        )
        product.kube(
            env, "delete", "namespace", release.runs, release.system,
            "--ignore-not-found", "--timeout=120s",
        )  # fmt: skip
        if found := dev_cluster.find(self.cluster):
            volumes.recycle(found)


async def ready(door: FrontDoor) -> None:
    """Wait until a front door answers at its Service, which a rollout may be a moment ahead of."""
    await answers(door.url.removesuffix("/mcp"), 120)


def tagged(tag: str, *targets: str) -> list[str]:
    """Say which tag the images of some targets have, as flags for helm."""
    values = {"operator": "operator", "mcp-server": "mcpServer", "runner": "runner"}
    flags = [f"images.{values[target]}.tag={tag}" for target in targets or values]
    return [part for flag in flags for part in ("--set", flag)]


def provide(cluster: str, tag: str) -> None:
    """Have the product's images under another tag, as if they were another version."""
    for target in ("operator", "mcp-server", "runner"):
        images.retag(cluster, target, tag)
