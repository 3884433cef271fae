"""An MCP server in a thread, over real HTTP: the tools' shapes, and runs that tests script."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from starlette.responses import JSONResponse

from agentrun.api.status import TERMINAL_STATUSES

Json = dict[str, Any]
START = "2026-11-25T12:00:00.000Z"
END = "2026-11-25T12:02:10.000Z"


@dataclass
class FakeRun:
    """A scripted run: its events, its view, and the changes that each poll makes."""

    run_id: str
    view: Json
    events: list[Json] = field(default_factory=list)
    later: list[Json] = field(default_factory=list)
    """Changes for the next polls, one each, with `events` and a `view`."""

    def add(self, kind: str, **data: Any) -> None:
        self.events.append(event(len(self.events) + 1, kind, **data))

    def step(self) -> None:
        if self.later:
            change = self.later.pop(0)
            for kind, data in change.get("events", []):
                self.add(kind, **data)
            self.view |= change.get("view", {})


def event(seq: int, kind: str, **data: Any) -> Json:
    return {
        "seq": seq, "ts": START, "run_id": "run-1", "session_id": "s", "backend": "codex",
        "type": kind, "data": data,
    }  # fmt: skip


def view(run_id: str = "run-1", status: str = "running", **more: Any) -> Json:
    return {
        "run_id": run_id, "namespace": "team-a", "backend": "codex", "role": "worker",
        "session_id": "s-1", "agent_name": "ada", "status": status, "summary": "Work.",
        "started_at": START, "updated_at": START, "completed_at": None, "last_seq": 0,
        "cwd": "/workspace", "metadata": {}, "attempts": 1, "conditions": [],
        "of_the_next_version": {"kept": True},
    } | more  # fmt: skip


def ending(status: str, *events: tuple[str, Json], **more: Any) -> Json:
    last = ("status_changed", {"status": status})
    return {"events": [*events, last], "view": {"status": status, "completed_at": END, **more}}


@dataclass
class FakeServer:
    """The state of the server that tests set, and the calls that it recorded."""

    url: str = ""
    runs: dict[str, FakeRun] = field(default_factory=dict)
    next_run: FakeRun | None = None
    agents: list[Json] = field(default_factory=list)
    next_cursor: str | None = None
    """The ``next_cursor`` of the page of agents."""
    mailbox: list[Json] = field(default_factory=list)
    unreadable: list[Json] = field(default_factory=list)
    profiles: list[Json] | None = field(default_factory=list)
    artifacts: dict[tuple[int, str], bytes] = field(default_factory=dict)
    failures: list[int] = field(default_factory=list)
    """HTTP statuses with which the next requests fail."""
    refusal: str = ""
    """The message of a 403 response, as the MCP server sends it."""
    calls: list[tuple[str, Json]] = field(default_factory=list)

    def reset(self) -> None:
        self.runs, self.agents, self.mailbox, self.artifacts = {}, [], [], {}
        self.unreadable = []
        self.next_run, self.profiles, self.failures, self.calls = None, [], [], []
        self.refusal, self.next_cursor = "", None

    def add(self, run_id: str = "run-1", status: str = "running", **more: Any) -> FakeRun:
        made = FakeRun(run_id, view(run_id, status, **more))
        self.runs[run_id] = made
        return made

    def upcoming(self, *later: Json, **more: Any) -> FakeRun:
        """Set the run that the next spawn_run or continue_run creates."""
        made = FakeRun("run-1", view("run-1", "queued", **more), later=list(later))
        self.next_run = made
        return made

    def argument(self, tool: str) -> Json:
        """Return the arguments of the only call of a tool."""
        [found] = [arguments for name, arguments in self.calls if name == tool]
        return found

    def find(self, run_id: str | None, agent_name: str | None) -> FakeRun:
        if run_id:
            if run_id not in self.runs:
                raise ToolError(f"Unknown run_id: {run_id}. Call list_runs to see the runs.")
            return self.runs[run_id]
        for run in self.runs.values():
            if run.view["agent_name"] == agent_name:
                return run
        raise ToolError(f"Unknown agent_name: {agent_name}. Call list_runs to see the agents.")

    def begin(self) -> FakeRun:
        made = self.next_run or FakeRun("run-1", view("run-1", "queued"))
        self.runs[made.run_id] = made
        return made


def build(fake: FakeServer) -> MCPServer:  # noqa: C901 - a function for each tool
    server: MCPServer = MCPServer("fake", log_level="ERROR")

    def log(tool: str, arguments: Json) -> None:
        given = {k: v for k, v in arguments.items() if v is not None and k not in ("fake", "log")}
        fake.calls.append((tool, given))

    @server.tool()
    def spawn_run(
        backend: str, role: str, prompt: str | None = None, input_message: Json | None = None,
        session_mode: str | None = None, session_id: str | None = None,
        nickname: str | None = None, profile: str | None = None, model: str | None = None,
        workspace: Json | None = None, cwd: str | None = None, output_schema: Json | None = None,
        metadata: Json | None = None, backend_config: Json | None = None,
        timeouts: Json | None = None, idempotency_key: str | None = None,
        namespace: str | None = None,
    ) -> Json:  # fmt: skip
        log("spawn_run", locals())
        if profile == "unknown":
            raise ToolError("Unknown profile: unknown. Profiles in this namespace: codex (codex).")
        made = fake.begin()
        keys = ("run_id", "backend", "role", "session_id", "agent_name")
        return {**{key: made.view[key] for key in keys}, "status": "queued"}

    @server.tool()
    def get_run(
        run_id: str | None = None, agent_name: str | None = None, namespace: str | None = None
    ) -> Json:
        log("get_run", locals())
        found = fake.find(run_id, agent_name)
        return found.view | {"last_seq": len(found.events)}

    @server.tool()
    def poll_events(
        after_seq: int, run_id: str, limit: int = 100, wait_ms: int = 20_000,
        namespace: str | None = None,
    ) -> Json:  # fmt: skip
        log("poll_events", locals())
        found = fake.find(run_id, None)
        if wait_ms and after_seq >= len(found.events):
            if not found.later:
                # No change is scripted: the real server would wait.
                time.sleep(min(wait_ms / 1000, 0.2))  # The client requests this wait.
            found.step()
        page = found.events[after_seq : after_seq + limit]
        return {
            "run_id": run_id, "status": found.view["status"], "events": page,
            "next_after_seq": page[-1]["seq"] if page else after_seq,
        }  # fmt: skip

    @server.tool()
    def cancel_run(
        run_id: str, wait_ms: int = 15_000, reason: str | None = None, namespace: str | None = None
    ) -> Json:
        log("cancel_run", locals())
        found = fake.find(run_id, None)
        if found.view["status"] in TERMINAL_STATUSES:
            raise ToolError(f"run is already terminal: {found.view['status']}. Call get_run.")
        found.later = []
        if not wait_ms:
            found.view |= {"status": "cancelling"}
            return {"run_id": run_id, "status": "cancelling", "cancelled_at": None}
        found.add("status_changed", status="cancelled")
        found.view |= {"status": "cancelled", "completed_at": END}
        return {"run_id": run_id, "status": "cancelled", "cancelled_at": END}

    @server.tool()
    def list_runs(
        status: str | None = None, backend: str | None = None, cwd: str | None = None,
        limit: int = 100, cursor: str | None = None, namespace: str | None = None,
    ) -> Json:  # fmt: skip
        log("list_runs", locals())
        rows = [run.view for run in fake.runs.values() if status in (None, run.view["status"])]
        more = "more" if len(rows) > limit else None
        return {"runs": rows[:limit], "next_cursor": more, "unreadable": fake.unreadable}

    @server.tool()
    def continue_run(
        run_id: str, input_message: Json | None = None, from_start: bool | None = None,
        namespace: str | None = None,
    ) -> Json:  # fmt: skip
        log("continue_run", locals())
        found = fake.find(run_id, None)
        if found.view["status"] in TERMINAL_STATUSES:
            made = fake.begin()
            return {
                "run_id": made.run_id, "status": "queued", "mode": "resume",
                "resumed_from_run_id": run_id,
            }  # fmt: skip
        found.view |= {"status": "running", "question": None}
        found.add("status_changed", status="running")
        return {"run_id": run_id, "status": "running", "mode": "live"}

    @server.tool()
    def get_event_artifact(
        run_id: str, seq: int, field_path: str, offset: int = 0, limit: int = 65_536,
        namespace: str | None = None,
    ) -> Json:  # fmt: skip
        if (seq, field_path) not in fake.artifacts:
            raise ToolError(f"No artifacts found for seq {seq}")
        whole = fake.artifacts[seq, field_path]
        part = whole[offset : offset + min(limit, 1000)]
        return {
            "run_id": run_id, "seq": seq, "field_path": field_path, "mime": "text/x-diff",
            "encoding": "utf-8", "relpath": "x", "total_bytes": len(whole), "offset": offset,
            "returned_bytes": len(part), "has_more": offset + len(part) < len(whole),
            "content": part.decode(),
        }  # fmt: skip

    @server.tool()
    def list_agents(
        status: str | None = None, backend: str | None = None, limit: int = 100,
        cursor: str | None = None, namespace: str | None = None,
    ) -> Json:  # fmt: skip
        log("list_agents", locals())
        return {"agents": fake.agents[:limit], "next_cursor": fake.next_cursor}

    @server.tool()
    def send_agent_message(
        to_agent_name: str, message: Json, from_agent_name: str | None = None,
        namespace: str | None = None,
    ) -> Json:  # fmt: skip
        log("send_agent_message", locals())
        return {
            "message_id": "m-1", "to_agent_name": to_agent_name, "to_session_id": "s-1",
            "seq": 3, "created_at": START,
        }  # fmt: skip

    @server.tool()
    def fetch_agent_messages(
        agent_name: str, after_seq: int = 0, limit: int = 100, namespace: str | None = None
    ) -> Json:
        log("fetch_agent_messages", locals())
        # A page of one message, as if there were no room for more.
        found = [one for one in fake.mailbox if one["seq"] > after_seq][:1]
        return {
            "agent_name": agent_name, "session_id": "s-1", "messages": found,
            "next_after_seq": found[-1]["seq"] if found else after_seq,
        }  # fmt: skip

    @server.resource("agentrun://{namespace}/profiles", mime_type="application/json")
    def profiles(namespace: str) -> list[Json]:
        log("profiles", {"namespace": namespace})
        return fake.profiles or []

    return server


class _Failing:
    """Middleware that fails requests as tests configure, and passes on the others."""

    def __init__(self, app: Any, fake: FakeServer) -> None:
        self._app, self._fake = app, fake

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or not self._fake.failures:
            await self._app(scope, receive, send)
            return
        status = self._fake.failures.pop(0)
        if status == 403 and self._fake.refusal:
            error = {"code": 403, "message": self._fake.refusal}
            told = JSONResponse({"jsonrpc": "2.0", "id": None, "error": error}, status)
            await told(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b"no"})


@contextmanager
def serving(fake: FakeServer) -> Iterator[FakeServer]:
    """Serve it on a free port."""
    app = _Failing(build(fake).streamable_http_app(stateless_http=True), fake)
    config = uvicorn.Config(app, port=0, log_level="error", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)  # Polls: the server does not signal that it has started.
    port = server.servers[0].sockets[0].getsockname()[1]
    fake.url = f"http://127.0.0.1:{port}"
    try:
        yield fake
    finally:
        server.should_exit = True
        thread.join(10)
