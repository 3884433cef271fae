"""The gateway's HTTP endpoints, as specified in ``agentrun.api.gateway``."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from agentrun.api.gateway import BLOB_NAME, SNAPSHOT_FILE, Blob, Head, Inputs, Task, blob_key
from agentrun.api.v1alpha1 import AgentRun, AgentStatus, Outcome
from agentrun.store.base import BlobStore, JournalHead, RunRow, RunStore, StoreError
from mcp_server.gateway.agent_tools import AgentToolsEndpoint
from mcp_server.gateway.messages import Mailboxes
from mcp_server.gateway.ports import PodAuthenticator, RunDirectory
from mcp_server.gateway.problems import HANDLERS, RequestError, answer
from mcp_server.gateway.reports import Reports
from mcp_server.gateway.requests import (
    MAX_STATUS_BYTES,
    read_events,
    read_model,
    read_number,
    received,
)
from mcp_server.gateway.runner_identity import RunnerAuthenticator, is_over
from mcp_server.gateway.snapshots import (
    BYTES,
    SnapshotSource,
    acknowledged_before,
    most_bytes_of,
    origin_in,
    own_origin,
)
from mcp_server.tools.context import ToolContext
from mcp_server.tools.waiting import read_until

MAX_WAIT_MS = 30_000
"""The maximum time that a request for inputs waits, in milliseconds."""

_MAX_INPUT = 1_000_000
# Blobs are in memory while they are stored: many runs may end concurrently.
_UPLOADS = 4
# The minimum time that requests for inputs take once the run is to stop: limits the polling rate.
_PACE_SECONDS = 1.0

log = logging.getLogger(__name__)


def build_gateway(
    store: RunStore,
    blobs: BlobStore,
    runs: RunDirectory,
    authenticator: PodAuthenticator,
    closing: asyncio.Event | None = None,
    context: ToolContext | None = None,
) -> Starlette:
    """
    Build the ASGI application. Setting ``closing`` ends the requests that wait.

    With a ``context``, agents can call tools; without one, there is no /v1/mcp.
    """
    gateway = _Gateway(store, blobs, runs, authenticator, closing or asyncio.Event())
    tools = AgentToolsEndpoint(context, gateway.runners) if context else None
    routes = [
        Route("/v1/task", gateway.task, methods=["GET"]),
        Route("/v1/head", gateway.head, methods=["GET"]),
        Route("/v1/events", gateway.append, methods=["POST"]),
        Route("/v1/blobs/{name:path}", gateway.put_blob, methods=["PUT"]),
        Route("/v1/state", gateway.state, methods=["POST"]),
        Route("/v1/outcome", gateway.outcome, methods=["POST"]),
        Route("/v1/inputs", gateway.inputs, methods=["GET"]),
        *gateway.mailboxes.routes,
        Route("/v1/snapshot/{name}", gateway.snapshot, methods=["GET"]),
        *([tools.route] if tools else []),
    ]

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with tools.running() if tools else nullcontext():
            yield

    return Starlette(routes=routes, exception_handlers=HANDLERS, lifespan=lifespan)


class _Gateway:
    """The request handlers."""

    def __init__(
        self,
        store: RunStore,
        blobs: BlobStore,
        runs: RunDirectory,
        authenticator: PodAuthenticator,
        closing: asyncio.Event,
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._runs = runs
        self.runners = RunnerAuthenticator(store, runs, authenticator)
        self._reports = Reports(store, runs)
        self.mailboxes = Mailboxes(store.messages, self.runners, closing)
        self._closing = closing
        self._uploads = asyncio.Semaphore(_UPLOADS)

    async def task(self, request: Request) -> Response:
        """Return the runner's task, unless the run has finished."""
        runner = await self.runners.identify_writer(request)
        run = runner.run
        profile = await self.runners.profile_of(runner)
        origin = await self._origin(run)
        task = Task(
            run_id=run.metadata.name,
            namespace=run.metadata.namespace,
            uid=runner.uid,
            attempt=runner.attempt,
            session_id=runner.row.session_uid,
            agent_name=run.session_name,
            spec=run.spec,
            profile=profile.spec,
            acknowledged_input=acknowledged_before(run),
            snapshot=origin.snapshot if origin else None,
            head=_head(await self._store.head(runner.uid)),
        )
        return answer(task)

    async def head(self, request: Request) -> Response:
        """Return the head of the journal."""
        runner = await self.runners.identify(request)
        return answer(_head(await self._store.head(runner.uid)))

    async def append(self, request: Request) -> Response:
        """Append events; they are durable when this responds."""
        runner = await self.runners.identify_writer(request)
        events = await read_events(request)
        return answer(_head(await self._store.append(runner.uid, runner.attempt, events)))

    async def put_blob(self, request: Request) -> Response:
        """Store a blob of the run."""
        runner = await self.runners.identify_writer(request)
        name = request.path_params["name"]
        if not re.fullmatch(BLOB_NAME, name):
            message = (
                f"name: {name[:160]!r} must have up to four parts of letters, digits, '.', '_'"
            )
            raise RequestError(
                "invalid", f"{message} and '-', each starting with a letter or digit."
            )
        media_type = request.headers.get("content-type", BYTES)
        async with (
            received(request, most_bytes_of(name), f"Blob {name}") as file,
            # Acquired after the body has arrived: a stalled sender must not block others.
            self._uploads,
        ):
            body = await file.read()
            digest = await self._blobs.put(blob_key(runner.uid, name), body, media_type)
        return answer(Blob(name=name, size=len(body), sha256=digest))

    async def snapshot(self, request: Request) -> Response:
        """Return a file of the snapshot that the run resumes from."""
        runner = await self.runners.identify_writer(request)
        run, name = runner.run, request.path_params["name"]
        origin = await self._origin(run)
        if origin is None or not re.fullmatch(SNAPSHOT_FILE, name):
            raise RequestError(
                "not_found", f"Run {run.metadata.name} resumes from no file {name[:64]!r}."
            )
        key = origin.key_of(name)
        size = await self._blobs.size(key)
        if size is None:
            raise RequestError("not_found", f"The snapshot's file {key} no longer exists.")
        headers = {"Content-Length": str(size)}
        return StreamingResponse(self._blobs.read(key), headers=headers, media_type=BYTES)

    async def _origin(self, run: AgentRun) -> SnapshotSource | None:
        """Return the snapshot that a run resumes from: its own, else that of its session."""
        if own := own_origin(run):
            return own
        if run.spec.session is None or run.spec.session.mode != "resume":
            return None
        session = await self._runs.session(run.metadata.namespace, run.session_name)
        return origin_in(session) if session else None

    async def state(self, request: Request) -> Response:
        """Record the agent's state."""
        runner = await self.runners.identify_writer(request)
        reported = await read_model(request, AgentStatus, MAX_STATUS_BYTES)
        if await request.is_disconnected():
            # This process was delayed. The runner may have sent a newer state to another replica.
            raise RequestError(
                "unavailable", "The runner closed the connection. Send the newest state again."
            )
        if replaced := await self._reports.state(runner, reported):
            await self._forget(SnapshotSource(runner.uid, replaced))
        return answer(_head(await self._store.head(runner.uid)))

    async def _forget(self, old: SnapshotSource) -> None:
        """Delete a snapshot. If that fails, it is deleted with its run."""
        try:
            await self._blobs.delete_prefix(old.key_of(""))
        except StoreError as error:
            log.warning("The replaced snapshot %s could not be deleted: %s", old.key_of(""), error)

    async def outcome(self, request: Request) -> Response:
        """Record the outcome of the attempt."""
        runner = await self.runners.identify_writer(request)
        outcome = await read_model(request, Outcome, MAX_STATUS_BYTES)
        await self._reports.outcome(runner, outcome)
        return answer(_head(await self._store.head(runner.uid)))

    async def inputs(self, request: Request) -> Response:
        """Wait for inputs, or for the run to be cancelled."""
        runner = await self.runners.identify(request)
        after = read_number(request, "after", _MAX_INPUT)
        seconds = read_number(request, "wait_ms", MAX_WAIT_MS) / 1000
        if _is_unwanted(runner.row):
            await self._pause(min(seconds, _PACE_SECONDS))
            seconds = 0

        async def read() -> RunRow:
            return await self._store.get_run_by_uid(runner.uid) or runner.row

        row = await read_until(
            lambda row: bool(inputs_of(row, after).inputs) or _is_unwanted(row),
            read,
            self._store.changes(runner.uid),
            seconds,
            self._closing,
        )
        return answer(inputs_of(row, after))

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._closing.wait()
        except TimeoutError:
            return


def _is_unwanted(row: RunRow) -> bool:
    return is_over(row) or inputs_of(row, _MAX_INPUT).desired_state == "Cancelled"


def inputs_of(row: RunRow, after: int) -> Inputs:
    """Return the inputs after number ``after``, and the desired state of the run."""
    spec = row.run.spec
    # A deleted run is stopped as if it had been cancelled.
    is_deleted = row.deleted_at is not None or row.run.metadata.deletion_timestamp is not None
    return Inputs(
        inputs=sorted((item for item in spec.inputs if item.seq > after), key=lambda i: i.seq),
        desired_state="Cancelled" if is_deleted else spec.desired_state.value,
    )


def _head(head: JournalHead) -> Head:
    return Head(last_seq=head.last_seq, sealed=head.sealed)
