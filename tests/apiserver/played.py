"""
A simulated kubelet and runners, so that a test controls how and when pods end.

The operator and the MCP server are real processes on this machine. The API server and the scheduler
are real too. Only the kubelet of one node and the runners of its pods are simulated, by asyncio
tasks of the test. A test therefore decides at which moment a pod ends, and hundreds of pods end in
a minute.
"""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import IntEnum
from pathlib import Path
from typing import Any, TypeVar

import httpx2

from agentrun.api.base import API_VERSION
from agentrun.api.events import EventType, NewEvent
from agentrun.api.gateway import TOKEN_AUDIENCE, Append, Task
from agentrun.api.pod_layout import AGENT, LABEL_RUN, LABEL_SESSION, RUNNER
from agentrun.api.v1alpha1 import (
    TERMINAL_PHASES,
    AgentState,
    AgentStatus,
    Outcome,
    OutcomeState,
    Reason,
    Result,
    Snapshot,
)
from agentrun.kube.api import KubeApi
from agentrun.kube.resources import PODS, RUNS, SESSIONS, Resource
from agentrun.runner.gateway import Gateway, GatewayUnavailableError
from dev.mcp_client import McpClient
from mcp_server.access.auth import AUDIENCE
from tests.apiserver.conftest import new_namespace
from tests.e2e.kube import Json, Kube, connected, version_of
from tests.waiting import LATE_SECONDS

_LABEL = "agentrun.dev/played"
_WITH_THE_TESTS = ("setpriv", "--pdeathsig", "KILL", "--")
"""Makes a program end with its parent, also if the parent is killed."""
_START_SECONDS = 180
_LOOK_SECONDS = 0.05
_PAUSE = 0.1
T = TypeVar("T")
_STRATEGIC = "application/strategic-merge-patch+json"


class Step(IntEnum):
    """The steps, in order, by which a run finishes without being cancelled."""

    TURN = 1
    """The agent ends its prompt turn."""
    EVENTS = 2
    """The gateway receives the final events."""
    OUTCOME = 3
    """The gateway receives the outcome of the attempt."""
    AGENT = 4
    """The agent's container terminates."""
    RUNNER = 5
    """The runner's container terminates. The operator does the rest."""


@dataclass
class Pod:
    """A pod on the simulated node."""

    name: str
    uid: str
    run: str
    session: str
    is_wanted: bool = True
    """Whether the pod may continue: it has not been deleted."""
    ends_by_halves: bool = False
    """Whether the node reports the end of the agent's container before that of the runner's."""
    went_on_from: str | None = None
    """The id of the conversation that the gateway gave it to resume."""
    _goes: asyncio.Event = field(default_factory=asyncio.Event)

    def let_go(self) -> None:
        """Record that the pod was deleted."""
        self.is_wanted = False
        self._goes.set()

    async def deleted(self) -> None:
        """Wait until the pod is deleted."""
        await self._goes.wait()


Before = Callable[[Pod, Step], Awaitable[None]]
"""Awaited before each step of each pod; the step is taken when it returns."""


@dataclass(frozen=True)
class Product:
    """The operator and the MCP server, serving one namespace."""

    namespace: str
    mcp_url: str
    gateway_url: str


@contextmanager
def installed(namespace: str, folder: Path) -> Iterator[Product]:
    """Run the product for a namespace. It must neither exit early nor log a traceback."""
    health, mcp, gateway = _free_ports(3)
    made = Product(namespace, f"http://127.0.0.1:{mcp}/mcp", f"http://127.0.0.1:{gateway}")
    parts = [
        _Part(
            "agentrun.controller.main", health, folder,
            {"HEALTH_PORT": health, "GATEWAY_URL": made.gateway_url, "RUNNER_IMAGE": "none"},
        ),
        _Part(
            "mcp_server", mcp, folder,
            {
                "HOST": "127.0.0.1", "PORT": mcp, "GATEWAY_PORT": gateway,
                "ACCESS": json.dumps([_client(namespace)]),
                "STORE_URL": f"sqlite:///{folder}/agentrun.db", "BLOBS_URL": f"file://{folder}/b",
            },
        ),
    ]  # fmt: skip
    with ExitStack() as running:
        for part in parts:
            running.enter_context(part.running(namespace))
        for part in parts:
            part.wait_until_ready()
        yield made
    for part in parts:
        part.check()


@contextmanager
def installed_anew(prefix: str, folder: Path) -> Iterator[Product]:
    """Run the product for a new namespace, and remove both afterwards."""
    with new_namespace(prefix) as name, installed(name, folder) as made:
        yield made


@dataclass
class _Part:
    """One process of the product."""

    module: str
    port: int
    """The port of ``/readyz``."""
    folder: Path
    settings: dict[str, Any]
    process: "subprocess.Popen[bytes] | None" = None

    @contextmanager
    def running(self, namespace: str) -> Iterator[None]:
        """Run the process, and end it with SIGTERM as Kubernetes does."""
        told = {"NAMESPACES": namespace, **self.settings}
        env = os.environ | {f"AGENTRUN_{name}": str(value) for name, value in told.items()}
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [*_WITH_THE_TESTS, sys.executable, "-m", self.module],
                env=env,
                stdout=log,
                stderr=log,
            )
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(LATE_SECONDS)

    def wait_until_ready(self) -> None:
        """Wait until the process is ready."""
        end = time.monotonic() + _START_SECONDS
        while self.process and self.process.poll() is None and time.monotonic() < end:
            with suppress(httpx2.HTTPError):
                if httpx2.get(f"http://127.0.0.1:{self.port}/readyz").status_code == 200:
                    return
            time.sleep(_LOOK_SECONDS)  # Another process sends no event to wait for.
        raise AssertionError(f"{self.module} is not ready:\n{self._log.read_text()[-4000:]}")

    def check(self) -> None:
        """Check that it exited with code 0 and logged no traceback."""
        said = self._log.read_text()
        assert self.process is not None
        assert self.process.returncode == 0, said[-4000:]
        assert "Traceback" not in said, said[said.index("Traceback") - 1000 :][:5000]

    @property
    def _log(self) -> Path:
        return self.folder / f"{self.module}.log"


def _free_ports(count: int) -> list[int]:
    with ExitStack() as taken:
        sockets = [taken.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


class Seen:
    """The observed objects of one kind, kept current by a watch."""

    def __init__(
        self, kube: KubeApi, resource: Resource, namespace: str, word: Callable[[Json], str]
    ) -> None:
        self._kube = kube
        self._resource = resource
        self._namespace = namespace
        self._word = word
        self._newest: dict[str, Json] = {}
        self._waiting: defaultdict[str, list[asyncio.Event]] = defaultdict(list)
        self.history: defaultdict[str, list[tuple[int, str]]] = defaultdict(list)
        """
        The values of ``word`` of an object, each with the resourceVersion from which on it held.
        """

    async def until(self, name: str, is_so: Callable[[Json], bool]) -> Json:
        """Wait until ``is_so`` holds for an object, and return the object."""
        try:
            async with asyncio.timeout(LATE_SECONDS):
                while name not in self._newest or not is_so(self._newest[name]):
                    news = asyncio.Event()
                    self._waiting[name].append(news)
                    await news.wait()
        except TimeoutError:
            raise AssertionError(f"not so of {name}: {self._newest.get(name)}") from None
        return self._newest[name]

    async def follow(self, tell: Callable[[str, Json], None] = lambda kind, obj: None) -> None:
        """Follow the objects forever. A watch that breaks off is resumed at its last version."""
        version = ""
        while True:
            if not version:
                listed, version = await self._kube.list(self._resource, self._namespace)
                for obj in listed:
                    self._take(obj)
                    tell("MODIFIED", obj)
            async for event in self._kube.watch(self._resource, self._namespace, version, 600):
                if event["type"] == "ERROR":
                    version = ""  # The version is too old.
                    break
                version = event["object"]["metadata"]["resourceVersion"]
                if event["type"] == "BOOKMARK":
                    continue
                self._take(event["object"])
                tell(event["type"], event["object"])

    def _take(self, obj: Json) -> None:
        name, word = obj["metadata"]["name"], self._word(obj)
        self._newest[name] = obj
        if not self.history[name] or self.history[name][-1][1] != word:
            self.history[name].append((version_of(obj), word))
        for news in self._waiting.pop(name, []):
            news.set()


class Node:
    """A node with a simulated kubelet, and simulated runners in its pods."""

    def __init__(
        self, kube: Kube, product: Product, name: str, folder: Path, before: Before
    ) -> None:
        self._kube = kube
        self._product = product
        self.name = name
        self._folder = folder
        self._before = before
        self._pods: dict[str, Pod] = {}
        self.alive: defaultdict[str, set[str]] = defaultdict(set)
        """The runs of a session whose containers run."""
        self.begun: defaultdict[str, list[Pod]] = defaultdict(list)
        """The pods of a session, in the order in which they began."""

    async def run(self) -> None:
        """Simulate the node forever."""
        async with asyncio.TaskGroup() as living:

            def tell(kind: str, obj: Json) -> None:
                if obj["spec"].get("nodeName") == self.name:
                    self._hear(kind, obj["metadata"], living)

            seen = Seen(self._kube.client, PODS, self._product.namespace, lambda _: "")
            await seen.follow(tell)

    def _hear(self, kind: str, metadata: Json, living: asyncio.TaskGroup) -> None:
        pod = self._pods.get(metadata["uid"])
        if pod is None:
            labels = metadata["labels"]
            pod = Pod(metadata["name"], metadata["uid"], labels[LABEL_RUN], labels[LABEL_SESSION])
            self._pods[pod.uid] = pod
            living.create_task(self._live(pod))
        if kind == "DELETED" or metadata.get("deletionTimestamp"):
            pod.let_go()

    async def _live(self, pod: Pod) -> None:
        """Simulate a pod from the start of its containers until it is deleted."""
        self.alive[pod.session].add(pod.run)
        self.begun[pod.session].append(pod)
        assert self.alive[pod.session] == {pod.run}, "one run of a session is active at a time"
        began = _now()
        async with asyncio.TaskGroup() as containers:
            # The kubelet's status and the runner's reports arrive in no fixed order.
            containers.create_task(self._report(pod, "Running", began))
            speaking = containers.create_task(self._speak(pod))
        code = 0 if speaking.result() else 143
        await self._before(pod, Step.AGENT)
        if pod.ends_by_halves:
            await self._report(pod, "Running", began, agent=code)
        await self._before(pod, Step.RUNNER)
        self.alive[pod.session].discard(pod.run)
        await self._report(pod, "Failed" if code else "Succeeded", began, agent=code, runner=0)
        await pod.deleted()
        await self._kube.delete("pod", pod.name, self._product.namespace, grace_seconds=0)

    async def _speak(self, pod: Pod) -> bool:
        """Simulate the runner. Return whether the agent completed its prompt turn."""
        bound = {"apiVersion": "v1", "kind": "Pod", "name": pod.name, "uid": pod.uid}
        file = self._folder / pod.uid
        file.write_text(
            await token(self._kube, self._product.namespace, TOKEN_AUDIENCE, boundObjectRef=bound)
        )
        async with Gateway(self._product.gateway_url, file, lambda _: None) as gateway:
            # The operator may not have recorded the run's pod yet.
            task = await _told(gateway.task)
            pod.went_on_from = task.snapshot.session_id if task.snapshot else None
            journal = _Journal(gateway)
            await journal.add(
                (EventType.RUN_STARTED, {"attempt": task.attempt}),
                (EventType.STATUS_CHANGED, {"status": "running"}),
            )
            remembers = Snapshot(name="snapshots/1", session_id=pod.run)
            state = AgentStatus(state=AgentState.WORKING, prompt_sent=True, snapshot=remembers)
            await _told(lambda: gateway.state(state))
            await self._before(pod, Step.TURN)
            is_done = pod.is_wanted
            await self._before(pod, Step.EVENTS)
            if is_done:
                await journal.add(
                    (EventType.AGENT_MESSAGE, {"text": "Done."}),
                    (EventType.RUN_COMPLETED, {"final_response": "Done."}),
                )
            await self._before(pod, Step.OUTCOME)
            outcome = _outcome(task, is_done)
            # The retries send an identical outcome, which the gateway accepts again.
            await _told(lambda: gateway.outcome(outcome))
            return is_done

    async def _report(
        self, pod: Pod, phase: str, began: str, agent: int | None = None, runner: int | None = None
    ) -> None:
        """
        Write the pod's status as the kubelet does, with the exit codes of terminated containers.
        """
        codes = {AGENT: agent, RUNNER: runner}
        containers = [
            {
                "name": name, "image": "none", "imageID": "none", "restartCount": 0,
                "ready": code is None, "state": _state(code, began),
            }
            for name, code in codes.items()
        ]  # fmt: skip
        ready = {
            "type": "Ready", "lastTransitionTime": _now(),
            "status": "True" if set(codes.values()) == {None} else "False",
        }  # fmt: skip
        status = {
            "phase": phase, "startTime": began,
            "conditions": [ready], "containerStatuses": containers,
        }  # fmt: skip
        await self._kube.client.patch(
            PODS, self._product.namespace, pod.name, {"status": status},
            subresource="status", content_type=_STRATEGIC,
        )  # fmt: skip


def _state(code: int | None, began: str) -> Json:
    if code is None:
        return {"running": {"startedAt": began}}
    ended = {"exitCode": code, "startedAt": began, "finishedAt": _now()}
    return {"terminated": ended | {"reason": "Error" if code else "Completed"}}


def _outcome(task: Task, is_done: bool) -> Outcome:
    if not is_done:
        return Outcome(attempt=task.attempt, state=OutcomeState.INTERRUPTED)
    return Outcome(
        attempt=task.attempt,
        state=OutcomeState.COMPLETED,
        reason=Reason.COMPLETED,
        result=Result(summary="Done."),
        finished_at=datetime.now(UTC),
    )


class _Journal:
    """Appends the events of one runner."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._last_seq = 0

    async def add(self, *events: tuple[EventType, dict[str, Any]]) -> None:
        """Append events."""
        stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        made = [
            NewEvent(seq=seq, event_id=f"event-{seq}", ts=stamp, type=kind, data=data)
            for seq, (kind, data) in enumerate(events, self._last_seq + 1)
        ]
        body = Append(events=made).model_dump_json().encode()
        await _told(lambda: self._gateway.append(body))
        self._last_seq += len(made)


async def _told(tell: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Call the gateway, and retry while it is unavailable, as every runner does."""
    while True:
        with suppress(GatewayUnavailableError):
            return await tell()
        await asyncio.sleep(_PAUSE)  # Nothing signals when the gateway is available again.


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _client(namespace: str) -> Json:
    """Return the subject for the service account whose tokens ``token`` requests."""
    return {"kind": "ServiceAccount", "name": "default", "namespace": namespace}


async def token(kube: Kube, namespace: str, audience: str, **more: Any) -> str:
    """Request a token for the namespace's default service account."""
    account = _client(namespace)["name"]
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
    body = {"spec": {"audiences": [audience], "expirationSeconds": 3600, **more}}
    answer = await kube.client.request("POST", path, body=body)
    return str(answer["status"]["token"])


@dataclass(frozen=True)
class Site:
    """What a test of simulated pods works with."""

    kube: Kube
    node: Node
    runs: Seen
    sessions: Seen
    client: McpClient
    namespace: str

    async def start(self, name: str) -> None:
        """Create a run, as kubectl does."""
        await self.kube.create(
            self._object(
                "AgentRun", name, {"backend": "acp", "profile": self.node.name, "prompt": "Work."}
            )
        )

    async def journal(self, name: str) -> list[Json]:
        """Read all events of a finished run."""
        events: list[Json] = []
        while not events or events[-1]["data"].get("status") not in _ENDS:
            page = await self.client.call("poll_events", run_id=name, after_seq=len(events))
            events += page["events"]
        return events

    @asynccontextmanager
    async def furnished(self) -> AsyncIterator[None]:
        """Create the node, tainted against all other pods, and a profile that selects it."""
        name, labels = self.node.name, {_LABEL: self.node.name}
        taint = {"key": _LABEL, "effect": "NoSchedule"}
        size = {"cpu": "1k", "memory": "10Ti", "pods": "10k", "ephemeral-storage": "100Ti"}
        node = {"metadata": {"name": name, "labels": labels}, "spec": {"taints": [taint]}}
        placed = {"nodeSelector": labels, "tolerations": [{"operator": "Exists"}]}
        spec = {"backend": "acp", "image": "none", "command": ["none"], "pod": placed}
        await self.kube.create({"apiVersion": "v1", "kind": "Node", **node})
        try:
            await self.kube.merge(
                "node", name, "", {"status": {"capacity": size, "allocatable": size}}, "status"
            )
            await self.kube.create(self._object("AgentProfile", name, spec))
            yield
        finally:
            await self.kube.delete("node", name)

    def _object(self, kind: str, name: str, spec: Json) -> Json:
        metadata = {"name": name, "namespace": self.namespace}
        return {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": spec}


_ENDS = {phase.lower() for phase in TERMINAL_PHASES}


@asynccontextmanager
async def played(product: Product, name: str, folder: Path, before: Before) -> AsyncIterator[Site]:
    """Simulate the node ``name``. An error in the simulation fails the block."""
    namespace = product.namespace
    async with connected() as kube:
        client = McpClient(product.mcp_url, await token(kube, namespace, AUDIENCE))
        site = Site(
            kube,
            Node(kube, product, name, folder, before),
            Seen(kube.client, RUNS, namespace, phase_of),
            Seen(kube.client, SESSIONS, namespace, active_in),
            client,
            namespace,
        )
        async with site.furnished(), asyncio.TaskGroup() as playing:
            tasks = [
                playing.create_task(one)
                for one in (site.node.run(), site.runs.follow(), site.sessions.follow())
            ]
            yield site
            for task in tasks:
                task.cancel()
        await client.close()


def phase_of(run: Json) -> str:
    """Return the phase of a run; empty until the operator sets it."""
    return str(run.get("status", {}).get("phase", ""))


def is_over(run: Json) -> bool:
    """Return whether a run has finished."""
    return phase_of(run) in TERMINAL_PHASES


def active_in(session: Json) -> str:
    """Return the name of the active run of a session; empty if there is none."""
    return str(session.get("status", {}).get("activeRun", {}).get("name", ""))
