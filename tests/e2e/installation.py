"""
An installation of the chart, as the tests use it: the one of most tests, and those beside it that
tests make impatient, upgrade, break, replicate and remove.
"""

import asyncio
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dev import cluster as dev_cluster
from dev import images, product, volumes
from dev.mcp_client import TERMINAL, McpClient
from tests.e2e.agents import trivial
from tests.e2e.cluster import (
    Json,
    answers,
    apply,
    called,
    delete,
    eventually,
    get,
    gone,
    items,
    kill,
    kubectl,
    status_of,
    until,
)
from tests.waiting import LATE_SECONDS

OPERATOR, MCP_SERVER = "operator", "mcp"
REPOSITORY = f"{product.GIT}/demo.git"
SILENT_REPOSITORY = "http://silent.agentrun-dev.svc:8080/x.git"
"""It takes connections and never answers."""
AT_ONCE = 3
"""How many pods of a batch may start at the same time: on two cores more only hold one another up,
until the bounds that other runs are held to end them."""
START_SECONDS = 30.0
LOADING = {None, "Accepted", "SessionBusy", "PodPending", "Preparing"}
"""Reasons of runs whose pod is yet to start, or starts."""
COMPONENT = "app.kubernetes.io/component"


@dataclass(frozen=True)
class Installation:
    """One release of the chart, seen from one namespace of its runs."""

    cluster: str
    release: product.Release
    client: McpClient = field(repr=False)
    """The MCP tools, called by the client of the namespace."""
    starting: asyncio.Semaphore = field(
        default_factory=lambda: asyncio.Semaphore(AT_ONCE), repr=False, compare=False
    )

    @property
    def namespace(self) -> str:
        """The namespace of the runs."""
        return self.release.runs

    @property
    def url(self) -> str:
        """Where this machine reaches the MCP server."""
        return self.client.url.removesuffix("/mcp")

    @property
    def env(self) -> dict[str, str]:
        """The environment in which kubectl and helm speak to the cluster."""
        return product.environment(self.cluster)

    def within(self, namespace: str) -> "Installation":
        """Return the same release, seen from another of its namespaces."""
        release = replace(self.release, runs=namespace)
        client = McpClient(self.client.url, product.token(self.cluster, release))
        return replace(self, release=release, client=client)

    def through(self, client: McpClient) -> "Installation":
        """Return the same release, reached by another connection."""
        return replace(self, client=client)

    # Runs

    async def trivial(
        self, *steps: list[Any], agent: str | None = None, profile: str = "trivial", **more: Any
    ) -> str:
        """Spawn a run of the trivial agent and return its id."""
        if agent:
            more["nickname"] = agent
        return await self.spawn("acp", trivial(*steps), profile=profile, **more)

    async def spawn(self, backend: str, prompt: str, **more: Any) -> str:
        """Spawn a run and return its id."""
        arguments = {"role": "worker", "backend": backend, "prompt": prompt, **more}
        run_id: str = (await self.client.call("spawn_run", **arguments))["run_id"]
        return run_id

    async def spawn_all(self, wanted: dict[str, dict[str, Any]]) -> dict[str, str]:
        """
        Spawn a run of the trivial agent for each key: most of what they do is wait together.

        ``steps`` is what the agent does; the rest are arguments of spawn_run, of which the profile
        is named like the key unless it is told. Returns the ids by key.
        """
        ids = await asyncio.gather(
            *(self.in_turn(**{"profile": key, **more}) for key, more in wanted.items())
        )
        return dict(zip(wanted, ids, strict=True))

    async def in_turn(self, steps: Sequence[list[Any]] = (["say", "hello"],), **more: Any) -> str:
        """Spawn a run of the trivial agent, once few others of a batch are about to start."""
        async with self.starting:
            run_id = await self.trivial(*steps, **more)
            # What stays in the way of a start takes nobody's time, and is not waited for.
            with suppress(AssertionError):
                await self.until(run_id, _has_started, START_SECONDS)
            return run_id

    async def shown(self, run_id: str, is_so: Callable[[Json], Any], seconds: float = 60) -> Json:
        """
        Wait until get_run, which hears of all a moment later, shows a run so, or that it is over.

        Returns what it shows.
        """
        return await eventually(
            lambda: self.client.call("get_run", run_id=run_id),
            lambda run: is_so(run) or run["status"] in TERMINAL,
            seconds,
        )

    async def run(self, run_id: str) -> Json:
        """Return an AgentRun as it is now."""
        found = await get("run", run_id, self.namespace)
        assert found is not None, f"{run_id} is gone"
        return found

    async def status(self, run_id: str) -> Json:
        """Return the status of an AgentRun as it is now."""
        return status_of(await self.run(run_id))

    async def phase(self, run_id: str) -> str:
        """Return a run's phase; empty before the operator saw it."""
        return str((await self.status(run_id)).get("phase", ""))

    async def until(
        self, run_id: str, is_so: Callable[[Json], bool], seconds: float = LATE_SECONDS
    ) -> Json:
        """Wait until that is so of a run's status, and return the status."""
        run = await until(
            "run", run_id, lambda seen: is_so(status_of(seen)), self.namespace, seconds
        )
        return status_of(run)

    async def reaches(
        self, run_id: str, *phases: str, reason: str = "", seconds: float = LATE_SECONDS
    ) -> Json:
        """Wait until a run is in one of some phases, for a reason, and return its status."""
        return await self.until(
            run_id,
            lambda status: status.get("phase") in phases and reason in ("", status.get("reason")),
            seconds,
        )

    async def stands_for(self, run_id: str, reason: str, seconds: float = LATE_SECONDS) -> Json:
        """Wait until a run is where it is for a reason, and return its status."""
        return await self.until(run_id, lambda status: status.get("reason") == reason, seconds)

    async def gone(self, kind: str, name: str, seconds: float = LATE_SECONDS) -> None:
        """Wait until an object beside the runs is gone."""
        await gone(kind, name, self.namespace, seconds)

    async def find_runs(self, is_wanted: Callable[[Json], bool]) -> list[Json]:
        """Search everything that list_runs lists."""
        found: list[Json] = []
        cursor: dict[str, str] = {}
        while True:
            page = await self.client.call("list_runs", limit=100, **cursor)
            found += filter(is_wanted, page["runs"])
            if not page.get("next_cursor"):
                return found
            cursor = {"cursor": page["next_cursor"]}

    # Its own pods

    async def ready(self, seconds: float = LATE_SECONDS) -> None:
        """Wait until the MCP server answers at its Service."""
        await answers(self.url, seconds)

    async def pods(self, component: str) -> list[Json]:
        """Return the pods of a component that are not about to end."""
        found = await items(
            "pods", labels=f"{COMPONENT}={component}", namespace=self.release.system
        )
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    async def own_pods(self) -> dict[str, str]:
        """Return the uids of operator and MCP server, by component."""
        return {
            component: pod["metadata"]["uid"]
            for component in (OPERATOR, MCP_SERVER)
            for pod in await self.pods(component)
        }

    async def kill(self, component: str) -> None:
        """Kill every process of a component with SIGKILL, as a crash would."""
        alive = [pod for pod in await self.pods(component) if pod["status"]["phase"] == "Running"]
        assert alive, f"no pod of {component} runs"
        kill(alive[0])

    async def restart(self, *components: str) -> None:
        """Replace the pods of components, and wait for the new ones."""
        for component in components:
            await kubectl("rollout", "restart", self.deployment(component), *self._in_system)
        for component in components:
            await self._rolled_out(component)

    async def scale(self, component: str, replicas: int) -> None:
        """Have so many pods of a component, and wait until no other is left."""
        where = (self.deployment(component), *self._in_system)
        await kubectl("scale", *where, f"--replicas={replicas}")
        await self._rolled_out(component)
        labels = f"{COMPONENT}={component}"
        for pod in await items("pods", labels=labels, namespace=self.release.system):
            if not replicas or "deletionTimestamp" in pod["metadata"]:
                await gone("pod", pod["metadata"]["name"], self.release.system)
        if component == MCP_SERVER and replicas:
            await self.ready()

    def deployment(self, component: str) -> str:
        """Name the Deployment of a component, as kubectl does."""
        full = self.release.service.removesuffix(f"-{MCP_SERVER}")
        return f"deployment/{full}-{component}"

    async def _rolled_out(self, component: str) -> None:
        where = (self.deployment(component), *self._in_system)
        await kubectl("rollout", "status", *where, "--timeout=120s")

    @property
    def _in_system(self) -> tuple[str, str]:
        return "-n", self.release.system

    # The release

    async def install(
        self, *flags: str, chart: Path = product.CHART, grace_seconds: int = 5
    ) -> "Installation":
        """
        Install or upgrade it, offer the trivial agent, and return it as it is reached now.

        A pod that is still there so long after its run has ended is deleted.
        """
        await asyncio.to_thread(
            product.install, self.cluster, *flags, release=self.release, chart=chart
        )
        grace = {"timeouts": {"terminationGracePeriodSeconds": grace_seconds}}
        await apply(profile("trivial", self.namespace, **grace))
        with reached(self.cluster, self.release) as url:
            return self.through(McpClient(f"{url}/mcp", self.client.token))

    async def helm(self, verb: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run helm on the release, and say how it went."""
        return await called("helm", verb, self.release.name, *arguments, *self._in_system)

    async def remove(self) -> None:
        """Take everything of it away, and offer its volume again."""
        await self.helm("uninstall", "--wait", "--ignore-not-found")
        namespaces = (self.release.runs, self.release.system)
        await delete("namespace", *namespaces, namespace="")
        for namespace in namespaces:
            await gone("namespace", namespace, "")
        if found := dev_cluster.find(self.cluster):
            await asyncio.to_thread(volumes.recycle, found)


def _has_started(status: Json) -> bool:
    return status.get("reason") not in LOADING


@contextmanager
def reached(cluster: str, release: product.Release) -> Iterator[str]:
    """Give the URL at which this machine reaches the MCP server of a release."""
    with product.service_url(cluster, release.system, release.service, 8080) as url:
        yield url


def profile(name: str, namespace: str = product.RUNS, **spec: Any) -> Json:
    """A profile of the trivial agent."""
    return {
        "apiVersion": "agentrun.dev/v1alpha1",
        "kind": "AgentProfile",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "backend": "acp",
            "image": images.name_of("dev"),
            "imagePullPolicy": "Never",
            "command": ["python3", "/opt/agentrun-dev/agent/acp_agent.py"],
            "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}},
        }
        | spec,
    }


def a_run(name: str, namespace: str = product.RUNS, **spec: Any) -> Json:
    """An AgentRun of the trivial agent, as kubectl makes it: no tool has looked at it before."""
    return {
        "apiVersion": "agentrun.dev/v1alpha1",
        "kind": "AgentRun",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"backend": "acp", "profile": "trivial", "prompt": "do\n[]"} | spec,
    }


def tagged(tag: str, *targets: str) -> list[str]:
    """Say which tag the images of some targets have, as flags for helm."""
    values = {"operator": "operator", "mcp-server": "mcpServer", "runner": "runner"}
    flags = [f"images.{values[target]}.tag={tag}" for target in targets or values]
    return [part for flag in flags for part in ("--set", flag)]


def provide(cluster: str, tag: str) -> None:
    """Have the product's images under another tag, as if they were another version."""
    for target in ("operator", "mcp-server", "runner"):
        images.retag(cluster, target, tag)
