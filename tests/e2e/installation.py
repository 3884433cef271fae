"""
Installations of the chart, as the tests use them.

Most tests share one. Others are installed with short timeouts, or are upgraded, broken, replicated
and removed.
"""

import asyncio
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from agentrun.api.status import TERMINAL_STATUSES
from dev import cluster as dev_cluster
from dev import images, product
from dev.mcp_client import McpClient
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
"""Accepts connections and never answers."""
AT_ONCE = 3
"""
How many pods of a batch may start concurrently.

On two cores, more of them only delay one another, until the timeouts of other runs end those.
"""
START_SECONDS = 30.0
LOADING = {None, "Accepted", "SessionBusy", "PodPending", "Preparing"}
"""Reasons of runs whose pod has not started, or is starting."""
COMPONENT = "app.kubernetes.io/component"


@dataclass(frozen=True)
class Installation:
    """One release of the chart, seen from one of its run namespaces."""

    cluster: str
    release: product.Release
    client: McpClient = field(repr=False)
    """Calls the MCP tools as the client of the namespace."""
    starting: asyncio.Semaphore = field(
        default_factory=lambda: asyncio.Semaphore(AT_ONCE), repr=False, compare=False
    )

    @property
    def namespace(self) -> str:
        """The namespace of the runs."""
        return self.release.runs

    @property
    def url(self) -> str:
        """The URL of the MCP server from this machine."""
        return self.client.url.removesuffix("/mcp")

    @property
    def env(self) -> dict[str, str]:
        """The environment for kubectl and helm."""
        return product.environment(self.cluster)

    def within(self, namespace: str) -> "Installation":
        """Return the same release, seen from another of its namespaces."""
        release = replace(self.release, runs=namespace)
        client = McpClient(self.client.url, product.token(self.cluster, release))
        return replace(self, release=release, client=client)

    def through(self, client: McpClient) -> "Installation":
        """Return the same release, with another connection."""
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
        Spawn a run of the trivial agent for each key, concurrently: most of their time is waiting.

        ``steps`` is what the agent does. The rest are arguments of spawn_run; the profile defaults
        to the key. Returns the ids by key.
        """
        ids = await asyncio.gather(
            *(self.in_turn(**{"profile": key, **more}) for key, more in wanted.items())
        )
        return dict(zip(wanted, ids, strict=True))

    async def in_turn(self, steps: Sequence[list[Any]] = (["say", "hello"],), **more: Any) -> str:
        """Spawn a run of the trivial agent once fewer than ``AT_ONCE`` of a batch are starting."""
        async with self.starting:
            run_id = await self.trivial(*steps, **more)
            # A run that cannot start uses no CPU, so the batch does not wait for it.
            with suppress(AssertionError):
                await self.until(run_id, _has_started, START_SECONDS)
            return run_id

    async def shown(self, run_id: str, is_so: Callable[[Json], Any], seconds: float = 60) -> Json:
        """
        Poll get_run, which lags a moment, until ``is_so`` holds or the run has finished.

        Returns the last answer.
        """
        return await eventually(
            lambda: self.client.call("get_run", run_id=run_id),
            lambda run: is_so(run) or run["status"] in TERMINAL_STATUSES,
            seconds,
        )

    async def run(self, run_id: str) -> Json:
        """Return an AgentRun in its current state."""
        found = await get("run", run_id, self.namespace)
        assert found is not None, f"{run_id} is gone"
        return found

    async def status(self, run_id: str) -> Json:
        """Return the current status of an AgentRun."""
        return status_of(await self.run(run_id))

    async def phase(self, run_id: str) -> str:
        """Return a run's phase; empty before the operator has set it."""
        return str((await self.status(run_id)).get("phase", ""))

    async def until(
        self, run_id: str, is_so: Callable[[Json], bool], seconds: float = LATE_SECONDS
    ) -> Json:
        """Wait until ``is_so`` holds for a run's status, and return the status."""
        run = await until(
            "run", run_id, lambda seen: is_so(status_of(seen)), self.namespace, seconds
        )
        return status_of(run)

    async def reaches(
        self, run_id: str, *phases: str, reason: str = "", seconds: float = LATE_SECONDS
    ) -> Json:
        """
        Wait until a run is in one of ``phases``, for ``reason`` if given, and return its status.
        """
        return await self.until(
            run_id,
            lambda status: status.get("phase") in phases and reason in ("", status.get("reason")),
            seconds,
        )

    async def stands_for(self, run_id: str, reason: str, seconds: float = LATE_SECONDS) -> Json:
        """Wait until a run's status has the reason, and return the status."""
        return await self.until(run_id, lambda status: status.get("reason") == reason, seconds)

    async def gone(self, kind: str, name: str, seconds: float = LATE_SECONDS) -> None:
        """Wait until an object in the namespace of the runs is gone."""
        await gone(kind, name, self.namespace, seconds)

    async def find_runs(self, is_wanted: Callable[[Json], bool]) -> list[Json]:
        """Page through everything that list_runs lists, and return what matches."""
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
        """Wait until the MCP server is ready behind its Service."""
        await answers(self.url, seconds)

    async def pods(self, component: str) -> list[Json]:
        """Return the pods of a component that are not terminating."""
        found = await items(
            "pods", labels=f"{COMPONENT}={component}", namespace=self.release.system
        )
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    async def own_pods(self) -> dict[str, str]:
        """Return the uids of the pods of the operator and the MCP server, by component."""
        return {
            component: pod["metadata"]["uid"]
            for component in (OPERATOR, MCP_SERVER)
            for pod in await self.pods(component)
        }

    async def kill(self, component: str) -> None:
        """Kill every process of a component with SIGKILL, as in a crash."""
        alive = [pod for pod in await self.pods(component) if pod["status"]["phase"] == "Running"]
        assert alive, f"no pod of {component} runs"
        kill(alive[0])

    async def restart(self, *components: str) -> None:
        """Replace the pods of components, and wait for the new pods."""
        for component in components:
            await kubectl("rollout", "restart", self.deployment(component), *self._in_system)
        for component in components:
            await self._rolled_out(component)

    async def scale(self, component: str, replicas: int) -> None:
        """Scale a component, and wait until it has exactly ``replicas`` pods."""
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
        Install or upgrade the release, and return it as it is reached now.

        Also creates the profile of the trivial agent. A pod that still exists ``grace_seconds``
        after its run has ended is deleted.
        """
        await asyncio.to_thread(
            product.install, self.cluster, *flags, release=self.release, chart=chart
        )
        grace = {"timeouts": {"terminationGracePeriodSeconds": grace_seconds}}
        await apply(profile("trivial", self.namespace, **grace))
        with reached(self.cluster, self.release) as url:
            return self.through(McpClient(f"{url}/mcp", self.client.token))

    async def helm(self, verb: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run helm on the release, and return the completed process."""
        return await called("helm", verb, self.release.name, *arguments, *self._in_system)

    async def remove(self) -> None:
        """Uninstall the release with everything of it, and make its volume available again."""
        await self.helm("uninstall", "--wait", "--ignore-not-found")
        namespaces = (self.release.runs, self.release.system)
        await delete("namespace", *namespaces, namespace="")
        for namespace in namespaces:
            await gone("namespace", namespace, "")
        if found := dev_cluster.find(self.cluster):
            await asyncio.to_thread(dev_cluster.recycle_volumes, found)


def _has_started(status: Json) -> bool:
    return status.get("reason") not in LOADING


@contextmanager
def reached(cluster: str, release: product.Release) -> Iterator[str]:
    """Yield the URL of a release's MCP server from this machine."""
    with product.service_url(cluster, release.system, release.service, 8080) as url:
        yield url


def profile(name: str, namespace: str = product.RUNS, **spec: Any) -> Json:
    """Build a profile of the trivial agent."""
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
    """Build an AgentRun of the trivial agent for kubectl: no tool has checked it."""
    return {
        "apiVersion": "agentrun.dev/v1alpha1",
        "kind": "AgentRun",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"backend": "acp", "profile": "trivial", "prompt": "do\n[]"} | spec,
    }


def tagged(tag: str, *targets: str) -> list[str]:
    """Return the flags for helm that set the image tag of some targets."""
    values = {"operator": "operator", "mcp-server": "mcpServer", "runner": "runner"}
    flags = [f"images.{values[target]}.tag={tag}" for target in targets or values]
    return [part for flag in flags for part in ("--set", flag)]


def provide(cluster: str, tag: str) -> None:
    """Tag the product's images with another tag, as if they were another version."""
    for target in ("operator", "mcp-server", "runner"):
        images.retag(cluster, target, tag)
