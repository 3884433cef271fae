"""
A pod without a cluster.

The gateway is in memory, the runner is a separate process, the agent's container is a process
namespace, and every path of the pod is below a temporary folder.
"""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from aiohttp import web

from agentrun.api import pod_layout
from agentrun.api.gateway import Append, Delivered, Head, Inputs, MailboxMessage, Messages, Task
from agentrun.api.messages import AgentMessage
from agentrun.api.v1alpha1 import (
    AgentProfileSpec,
    AgentRunSpec,
    AgentStatus,
    Input,
    Outcome,
    Question,
    Snapshot,
)
from agentrun.runner.layout import Layout
from dev import tools
from tests.forked import ForkServer, Process, ended
from tests.waiting import LATE_SECONDS

RUN = "run-harness"
PROVIDER_URL = "PROVIDER_URL"
"""The variable that contains the provider's URL for an agent of these tests."""
AGENT = [sys.executable, str(Path(__file__).parents[3] / "dev/agent/acp_agent.py")]
REPOSITORY = Path(__file__).parents[3]
_START = """
import json, os, sys
from pathlib import Path
from pkgutil import resolve_name
from agentrun.runner.__main__ import main
from agentrun.runner.layout import Layout
root = Path(sys.argv[1])
layout = Layout(
    root=root, init_program=root / "init", proxy_port=int(sys.argv[2]), tools_port=0
)
for name, seconds in json.loads(sys.argv[3]).items():
    place, _, bound = name.rpartition(".")
    found = getattr(resolve_name(place), bound)
    if callable(found):
        [_] = found.__defaults__
        found.__defaults__ = (seconds,)
    else:
        setattr(resolve_name(place), bound, seconds)
sys.exit(main(layout, os.environ))
"""
_LOAD = """
from agentrun.runner.__main__ import load
from agentrun.runner.loading import quickly
load()
with quickly():
    import agentrun.runner.acp.driver
"""
_LOAD_REMOTE = """
from agentrun.runner.__main__ import load
load()
import agentrun.runner.a2a.driver
"""
may_start = True
"""Whether the test is marked as slow, which is required of a test that starts a pod."""
_SERVERS = {
    is_remote: ForkServer(code, REPOSITORY / "operator")
    for is_remote, code in ((False, _LOAD), (True, _LOAD_REMOTE))
}
"""
The servers that runners are forked from; each has loaded what its runners load at their start.
"""


@dataclass
class FakeGateway:
    """Implements the gateway's protocol in memory, with failures that tests configure."""

    spec: AgentRunSpec
    profile: AgentProfileSpec
    events: list[dict[str, Any]] = field(default_factory=list)
    blobs: dict[str, bytes] = field(default_factory=dict)
    states: list[AgentStatus] = field(default_factory=list)
    outcome: Outcome | None = None
    inputs: list[Input] = field(default_factory=list)
    desired_state: Literal["Active", "Cancelled"] = "Active"
    """The desired state of the run."""
    away: bool = False
    refused: int = 0
    sealed: bool = False
    snapshot: Snapshot | None = None
    """The snapshot from which the run resumes; its files are in ``kept``."""
    kept: dict[str, bytes] = field(default_factory=dict)
    attempt: int = 1
    uid: str = "uid-1"
    acknowledged_input: int = 0
    late: list[dict[str, Any]] = field(default_factory=list)
    """Events of an earlier attempt that arrive just before this attempt's first append."""
    mail: list[MailboxMessage] = field(default_factory=list)
    delivered: int = 0
    tools: Callable[[dict[str, Any]], dict[str, Any]] = lambda said: {"result": {}}
    """Returns the response to an MCP message from the agent."""
    asked: list[str] = field(default_factory=list)
    """Every request that was handled, as method and path."""
    heard: list[bytes] = field(default_factory=list)
    heard_headers: list[dict[str, str]] = field(default_factory=list)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def types(self) -> list[str]:
        return [event["type"] for event in self.events]

    def data(self, kind: str) -> list[dict[str, Any]]:
        return [event["data"] for event in self.events if event["type"] == kind]

    async def until(self, condition: Any) -> None:
        async with self.changed:
            await asyncio.wait_for(self.changed.wait_for(condition), LATE_SECONDS)

    async def until_refused(self, times: int) -> None:
        """Wait until ``times`` more requests were refused while the gateway was away."""
        enough = self.refused + times
        await self.until(lambda: self.refused >= enough)

    def app(self) -> web.Application:
        app = web.Application(client_max_size=80 * 1024 * 1024, middlewares=[self._guard])
        app.router.add_get("/v1/task", self._task)
        app.router.add_post("/v1/events", self._append)
        app.router.add_put("/v1/blobs/{name:.+}", self._put)
        app.router.add_post("/v1/state", self._state)
        app.router.add_post("/v1/outcome", self._outcome)
        app.router.add_get("/v1/inputs", self._inputs)
        app.router.add_post("/v1/mcp", self._mcp)
        app.router.add_get("/v1/messages", self._messages)
        app.router.add_post("/v1/delivered", self._delivered)
        app.router.add_get("/v1/snapshot/{file}", self._snapshot)
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if self.away:
            self.refused += 1
            async with self.changed:
                self.changed.notify_all()
            return _problem(503, "unavailable")
        if request.headers.get("authorization") != "Bearer token-of-the-pod":
            return _problem(401, "unauthenticated")
        if self.sealed and request.method != "GET":
            return _problem(410, "sealed")
        answer: web.StreamResponse = await handler(request)
        self.asked.append(f"{request.method} {request.path}")
        async with self.changed:
            self.changed.notify_all()
        return answer

    async def _task(self, _: web.Request) -> web.Response:
        task = Task(
            run_id=RUN, namespace="agents", uid=self.uid, attempt=self.attempt,
            session_id="session-uid", agent_name="harness", spec=self.spec, profile=self.profile,
            head=self._head(), snapshot=self.snapshot, acknowledged_input=self.acknowledged_input,
        )  # fmt: skip
        return _json(task)

    def _head(self) -> Head:
        return Head(last_seq=len(self.events), sealed=self.sealed)

    async def _append(self, request: web.Request) -> web.Response:
        events = Append.model_validate_json(await request.read()).events
        self.events, self.late = self.events + self.late, []
        head = len(self.events)
        known = {event["seq"]: event["event_id"] for event in self.events}
        is_gap = [event.seq for event in events] != list(
            range(events[0].seq, events[0].seq + len(events))
        )
        taken = any(known.get(one.seq, one.event_id) != one.event_id for one in events)
        if is_gap or taken or events[0].seq > head + 1:
            return _problem(409, "conflict", last_seq=head)
        self.events += [one.model_dump(mode="json") for one in events if one.seq > head]
        return _json(self._head())

    async def _put(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        self.blobs[name] = await request.read()
        return web.json_response({"name": name, "size": len(self.blobs[name]), "sha256": ""})

    async def _state(self, request: web.Request) -> web.Response:
        self.states.append(AgentStatus.model_validate_json(await request.read()))
        return _json(self._head())

    async def _outcome(self, request: web.Request) -> web.Response:
        self.outcome = Outcome.model_validate_json(await request.read())
        return _json(self._head())

    async def _snapshot(self, request: web.Request) -> web.Response:
        assert self.snapshot is not None
        name = f"{self.snapshot.name}/{request.match_info['file']}"
        found = self.kept.get(name)
        return web.Response(body=found) if found is not None else _problem(404, "not_found")

    async def give(self, message: AgentMessage, question_id: str | None = None) -> None:
        """Add an input, as kubectl and continue_run do."""
        async with self.changed:
            seq = len(self.inputs) + 1
            self.inputs.append(Input(seq=seq, question_id=question_id, message=message))
            self.changed.notify_all()

    @property
    def question(self) -> Question | None:
        """The open question of the run, as last reported."""
        return self.states[-1].question if self.states else None

    def next_attempt(self, **spec: Any) -> "FakeGateway":
        """Return the gateway of the attempt that resumes from the newest snapshot."""
        snapshot = next(one.snapshot for one in reversed(self.states) if one.snapshot)
        other = FakeGateway(self.spec, self.profile, inputs=self.inputs)
        other.snapshot, other.kept, other.attempt = snapshot, self.blobs, self.attempt + 1
        if spec:
            changed = {**self.spec.model_dump(exclude_none=True), **spec}
            other.spec = AgentRunSpec.model_validate(changed)
            other.uid, other.attempt, other.inputs = "uid-2", 1, []
        return other

    async def _inputs(self, request: web.Request) -> web.Response:
        after, wait = int(request.query["after"]), int(request.query.get("wait_ms", 0))
        async with self.changed:
            waiting = self.changed.wait_for(lambda: any(i.seq > after for i in self.inputs))
            try:
                await asyncio.wait_for(waiting, 0.5 if wait > 1000 else 0.01)
            except TimeoutError:
                return _json(Inputs(inputs=[], desired_state=self.desired_state))
        new = [one for one in self.inputs if one.seq > after]
        return _json(Inputs(inputs=new, desired_state=self.desired_state))

    async def _mcp(self, request: web.Request) -> web.Response:
        """
        Answer a tool call with what the test configured, as an event stream like the gateway's.
        """
        self.heard.append(await request.read())
        self.heard_headers.append({k.lower(): v for k, v in request.headers.items()})
        said = json.dumps(self.tools(json.loads(self.heard[-1])))
        body = f"event: message\r\ndata: {said}\r\n\r\n"
        return web.Response(text=body, content_type="text/event-stream")

    async def write(self, *mail: MailboxMessage) -> None:
        """Put messages into the mailbox."""
        async with self.changed:
            self.mail += mail
            self.changed.notify_all()

    async def _messages(self, request: web.Request) -> web.Response:
        after = max(int(request.query["after"]), self.delivered)
        seconds = int(request.query["wait_ms"]) / 1000
        async with self.changed:
            waiting = self.changed.wait_for(lambda: any(one.seq > after for one in self.mail))
            with suppress(TimeoutError):
                await asyncio.wait_for(waiting, seconds)
        new = [one for one in self.mail if one.seq > after]
        return _json(Messages(messages=new, delivered_seq=self.delivered))

    async def _delivered(self, request: web.Request) -> web.Response:
        said = Delivered.model_validate_json(await request.read())
        self.delivered = max(self.delivered, said.seq)
        return _json(Messages(delivered_seq=self.delivered))


def _json(model: Any) -> web.Response:
    return web.json_response(model.model_dump(mode="json", by_alias=True, exclude_none=True))


def _problem(status: int, code: str, **more: Any) -> web.Response:
    body = {"error": code, "message": f"the test says {code}", **more}
    return web.json_response(body, status=status)


@dataclass
class Pod:
    """A running pod."""

    root: Path
    gateway: FakeGateway
    runner: Process
    container: asyncio.subprocess.Process

    async def ended(self, seconds: float = 90) -> str:
        """Wait until both containers have terminated, and return the runner's log."""
        try:
            async with asyncio.timeout(seconds):
                await self.runner.wait()
                await self.container.wait()
        except TimeoutError as error:
            raise AssertionError(f"the pod does not end:\n{self.log}") from error
        assert self.runner.returncode == 0, self.log
        return self.log

    @property
    def log(self) -> str:
        return (self.root / "runner.log").read_text()

    def terminate(self) -> None:
        self.runner.send_signal(signal.SIGTERM)

    def resident_kilobytes(self) -> int:
        for line in Path(f"/proc/{self.runner.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1])
        raise AssertionError("the runner is gone")

    def processes(self) -> list[str]:
        """List the agent's live processes, found by the pod's folder in their environment."""
        mine = f"{self.root}/".encode()
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            # It has ended since, or belongs to another user.
            with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
                command = (process / "cmdline").read_bytes()
                if mine in command + (process / "environ").read_bytes():
                    found.append(command.replace(b"\0", b" ").decode(errors="replace"))
        return found

    @property
    def termination(self) -> Outcome:
        path = self.root / pod_layout.TERMINATION_LOG.lstrip("/")
        return Outcome.model_validate_json(path.read_text())


def prepare(root: Path) -> None:
    """Create the folders that the kubelet would mount."""
    root.mkdir(exist_ok=True)
    (root / "init").symlink_to(tools.agent_init())
    for path in (pod_layout.WORKSPACE, pod_layout.HOME, pod_layout.SPOOL, "/dev"):
        (root / path.lstrip("/")).mkdir(parents=True)
    write(root, pod_layout.TOKEN_FILE, "token-of-the-pod")


def write(root: Path, path: str, text: str) -> None:
    """Write a file at the path where a Secret would be mounted."""
    file = root / path.lstrip("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


@asynccontextmanager
async def serve(app: web.Application) -> AsyncIterator[str]:
    """Serve an application on a free port of the loopback, and yield its URL."""
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def pod(
    root: Path,
    gateway: FakeGateway,
    command: list[str] | None = None,
    provider: str | None = None,
    port: int = 0,
    grace: int = 60,
    idle: float = 60,
    is_new: bool = False,
    bounds: Mapping[str, float] | None = None,
) -> AsyncIterator[Pod]:
    """
    Start both containers of a pod.

    The runner is forked from a process that has loaded all modules. If ``is_new``, it is a new
    process, for tests of how it loads and of its memory. ``bounds`` overrides timeouts and other
    limits, by the names of their constants, or of functions that take no other argument by default.
    """
    assert may_start, "mark the test with pytest.mark.slow: it starts processes"
    if not (root / "init").exists():
        prepare(root)
    async with serve(gateway.app()) as url:
        env = {
            **os.environ, "PYTHONPATH": str(REPOSITORY / "operator"),
            pod_layout.ENV_GATEWAY: url, pod_layout.ENV_RUN: RUN, pod_layout.ENV_IDLE: str(idle),
            pod_layout.ENV_ATTEMPT: str(gateway.attempt),
            pod_layout.ENV_BACKEND: gateway.spec.backend, pod_layout.ENV_GRACE: str(grace),
        }  # fmt: skip
        if provider:
            env[pod_layout.ENV_PROVIDER] = provider
        home = {
            "ACP_AGENT_MEMORY": ".trivial", **os.environ,
            "HOME": str(root / pod_layout.HOME.lstrip("/")),
            PROVIDER_URL: proxy_url(port),
        }  # fmt: skip
        agent = container_command(Layout(root=root), *(command or AGENT), port=port)
        begin = ("-c", _START, str(root), str(port), json.dumps(bounds or {}))
        async with (
            _runner(root / "runner.log", *begin, env=env, is_new=is_new) as runner,
            running(*agent, env=home) as container,
        ):
            yield Pod(root, gateway, runner, container)


@asynccontextmanager
async def _runner(
    output: Path, *command: str, env: dict[str, str], is_new: bool
) -> AsyncIterator[Process]:
    server = _SERVERS[env[pod_layout.ENV_BACKEND] == "remote_a2a"]
    with output.open("wb") as log:
        if is_new:
            new = running(sys.executable, *command, env=env, stdout=log, stderr=log)
            async with new as process:
                yield process
        else:
            async with ended(server.fork(*command, env=env, stdout=log, stderr=log)) as forked:
                yield forked


def proxy_url(port: int) -> str:
    """Return the URL of the runner's proxy in the agent's environment."""
    return pod_layout.PROXY_URL.replace(str(pod_layout.PROXY_PORT), str(port))


def container_command(layout: Layout, *agent: str, port: int = 0) -> list[str]:
    """Build the command of the agent's container, with its folders below the test's."""
    script = pod_layout.agent_bootstrap([PROVIDER_URL])
    script = script.replace(pod_layout.PIPES, str(layout.pipes))
    script = script.replace(pod_layout.WORKSPACE, str(layout.workspace))
    script = script.replace(pod_layout.PROXY_URL, proxy_url(port))
    # If the test kills this process, the whole namespace ends with it.
    namespace = ("unshare", "--pid", "--fork", "--kill-child")
    return [*namespace, "/bin/sh", "-c", script, "agent", *agent]


class PlayedInit:
    """Simulates the init process of the agent's container, as the test directs."""

    def __init__(self, folder: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # A socket's address is short, and the path of a test's folder may be long.
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        self._socket.connect(f"/proc/self/fd/{opened}/control")
        os.close(opened)
        self.say("init")

    def say(self, *lines: str) -> None:
        self._socket.sendall("".join(f"{line}\n" for line in lines).encode())

    async def hear(self) -> bytes:
        """Wait for the runner's next byte."""
        self._socket.setblocking(False)
        return await asyncio.get_running_loop().sock_recv(self._socket, 1)

    def close(self) -> None:
        self._socket.close()


def running(
    *command: str, **options: Any
) -> AbstractAsyncContextManager[asyncio.subprocess.Process]:
    """Run a command in a new session; neither it nor its children are left at the end."""
    return ended(asyncio.create_subprocess_exec(*command, start_new_session=True, **options))


def an_answer(text: str) -> AgentMessage:
    """Make a message as from a person."""
    return AgentMessage.model_validate({"parts": [{"type": "text", "text": text}]})


def a_gateway(*steps: list[Any], **spec: Any) -> FakeGateway:
    """Make the gateway of a run whose prompt scripts the trivial agent with ``steps``."""
    profile = spec.pop("profile_spec", {})
    spec.setdefault("prompt", json.dumps(steps))
    spec.setdefault("backend", "acp")
    return FakeGateway(
        AgentRunSpec.model_validate(spec),
        AgentProfileSpec.model_validate({"backend": spec["backend"], "image": "none", **profile}),
    )
