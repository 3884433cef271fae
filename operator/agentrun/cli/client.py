"""
The MCP server's tools as methods.

Each call opens its own connection: the server is stateless, so a call also succeeds right after an
MCP server was replaced. Calls that are safe to repeat are retried for a limited time if the
connection breaks or the MCP server is unavailable; the others are never retried, because they may
have been carried out. All failures are raised as ``CliError``.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import httpx2
from pydantic import ValidationError

from agentrun import __version__
from agentrun.backoff import Backoff
from agentrun.cli import answers
from agentrun.cli.answers import Answer
from agentrun.cli.options import ConnectionOptions
from agentrun.cli.problems import AwayError, CliError, ToolRefusedError

if TYPE_CHECKING:
    from mcp import Client

    from agentrun.cli.connection import ServerEndpoint

A = TypeVar("A", bound=Answer)

PATIENCE_SECONDS = 20.0
_PAUSES = (0.2, 0.5, 1.0, 2.0)
_AWAY = (429, 502, 503, 504)
# Codes of JSON-RPC and the SDK: unknown method or resource; below, connection closed.
_UNKNOWN = (-32601, -32602, -32002)
_CONNECTION_CLOSED = -32000


class Tools:
    """The tools of one MCP server, in one namespace."""

    def __init__(self, endpoint: "ServerEndpoint", namespace: str = "") -> None:
        self.endpoint = endpoint
        self.namespace = namespace
        self._mode: Any = "auto"
        self._status = 0
        endpoint.http.event_hooks["response"].append(self._note)

    async def spawn_run(self, **arguments: Any) -> answers.Spawned:
        """Start a run. The call is retried only if it has an idempotency_key."""
        patient = bool(arguments.get("idempotency_key"))
        return await self._call(answers.Spawned, "spawn_run", arguments, patient=patient)

    async def get_run(self, run_id: str) -> answers.Run:
        """Return a run."""
        return await self._call(answers.Run, "get_run", {"run_id": run_id})

    async def find_run(self, ref: str) -> answers.Run:
        """Return a run by its run_id or by its agent's name. Raises CliError if there is none."""
        for key in ("run_id", "agent_name"):
            try:
                return await self._call(answers.Run, "get_run", {key: ref})
            except ToolRefusedError as error:
                if not str(error).startswith(f"Unknown {key}"):
                    raise
        raise CliError(
            f"there is no run and no agent {ref}: `agentrun runs list` shows the runs,"
            " and --namespace selects another namespace"
        )

    async def poll_events(
        self, run_id: str, after_seq: int, *, limit: int = 200, wait_ms: int = 20_000
    ) -> answers.Page:
        """Return the events after ``after_seq``; wait up to ``wait_ms`` for the first."""
        arguments = {"run_id": run_id, "after_seq": after_seq, "limit": limit, "wait_ms": wait_ms}
        return await self._call(answers.Page, "poll_events", arguments)

    async def cancel_run(
        self, run_id: str, *, wait_ms: int = 15_000, reason: str | None = None
    ) -> answers.Cancelled:
        """Cancel a run. Idempotent."""
        arguments = {"run_id": run_id, "wait_ms": wait_ms, "reason": reason}
        return await self._call(answers.Cancelled, "cancel_run", arguments)

    async def list_runs(self, *, limit: int, **filters: Any) -> answers.Runs:
        """Return up to ``limit`` runs, newest first; fewer if a page has none that match."""
        found = last = await self._call(answers.Runs, "list_runs", {**filters, "limit": limit})
        while last.runs and last.next_cursor and len(found.runs) < limit:
            rest = {"limit": limit - len(found.runs), "cursor": last.next_cursor}
            last = await self._call(answers.Runs, "list_runs", {**filters, **rest})
            found.runs += last.runs
            found.unreadable += last.unreadable
            found.next_cursor = last.next_cursor
        return found

    async def continue_run(self, run_id: str, **arguments: Any) -> answers.Continued:
        """Answer a run that waits for input, or continue a finished one as a new run."""
        given = {"run_id": run_id, **arguments}
        return await self._call(answers.Continued, "continue_run", given, patient=False)

    async def get_event_artifact(
        self, run_id: str, seq: int, field_path: str, *, offset: int = 0, limit: int = 262_144
    ) -> answers.Slice:
        """Return a part of a large event field."""
        arguments = {
            "run_id": run_id, "seq": seq, "field_path": field_path,
            "offset": offset, "limit": limit,
        }  # fmt: skip
        return await self._call(answers.Slice, "get_event_artifact", arguments)

    async def list_agents(self, *, limit: int, **filters: Any) -> answers.Agents:
        """Return up to ``limit`` agents, the last changed first; fewer if a page has none."""
        found = last = await self._call(answers.Agents, "list_agents", {**filters, "limit": limit})
        while last.agents and last.next_cursor and len(found.agents) < limit:
            rest = {"limit": limit - len(found.agents), "cursor": last.next_cursor}
            last = await self._call(answers.Agents, "list_agents", {**filters, **rest})
            found.agents += last.agents
            found.next_cursor = last.next_cursor
        return found

    async def send_agent_message(self, **arguments: Any) -> answers.Sent:
        """Append a message to an agent's mailbox."""
        return await self._call(answers.Sent, "send_agent_message", arguments, patient=False)

    async def fetch_agent_messages(
        self, agent_name: str, *, after_seq: int, limit: int
    ) -> answers.Inbox:
        """Return up to ``limit`` messages of an agent's mailbox, without removing any."""
        given = {"agent_name": agent_name, "after_seq": after_seq, "limit": limit}
        found = last = await self._call(answers.Inbox, "fetch_agent_messages", given)
        while last.messages and len(found.messages) < limit:
            rest = {"after_seq": last.next_after_seq, "limit": limit - len(found.messages)}
            last = await self._call(answers.Inbox, "fetch_agent_messages", {**given, **rest})
            found.messages += last.messages
            found.next_after_seq = last.next_after_seq
        return found

    async def read_resource(self, uri: str) -> Any:
        """Read a resource and parse its content as JSON."""
        async with self._connected() as client:
            read = await client.read_resource(uri)
        return json.loads(getattr(read.contents[0], "text", "null"))

    async def _call(
        self, kind: type[A], tool: str, arguments: dict[str, Any], *, patient: bool = True
    ) -> A:
        given = {key: value for key, value in arguments.items() if value is not None}
        if self.namespace:
            given.setdefault("namespace", self.namespace)
        content = await self._repeat(tool, given, PATIENCE_SECONDS if patient else 0.0)
        try:
            return kind.model_validate(content)
        except ValidationError as error:
            wrong = ".".join(str(part) for part in error.errors()[0]["loc"])
            raise CliError(
                f"{self.endpoint.place} answered {tool} in a form that this agentrun {__version__}"
                f" does not read ({wrong}): install the version that is in the cluster"
            ) from error

    async def _repeat(self, tool: str, given: dict[str, Any], patience: float) -> Any:
        clock = asyncio.get_running_loop().time
        ends, backoff = clock() + patience, Backoff(_PAUSES)
        while True:
            try:
                async with self._connected() as client:
                    result = await client.call_tool(tool, given)
            except AwayError:
                pause = backoff.next()
                if clock() + pause > ends:
                    raise
                await asyncio.sleep(pause)
                continue
            if result.is_error:
                text = " ".join(getattr(part, "text", "") for part in result.content)
                raise _refused(tool, text, self.endpoint.place)
            return result.structured_content

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator["Client"]:
        """Connect to the server. Connection and protocol errors are raised as ``CliError``."""
        # Not at module level: MCP and Kubernetes take a second to import, and help needs neither.
        from mcp import Client
        from mcp.client.streamable_http import streamable_http_client
        from mcp_types.version import MODERN_PROTOCOL_VERSIONS

        self._status = 0
        transport = streamable_http_client(
            self.endpoint.url, http_client=self.endpoint.http, max_sse_event_size=None
        )
        try:
            async with Client(transport, mode=self._mode, cache=None) as client:
                if client.protocol_version in MODERN_PROTOCOL_VERSIONS:
                    # Negotiated once: the protocol version also holds for the calls that follow.
                    self._mode = client.protocol_version
                yield client
        except (Exception, BaseExceptionGroup) as error:
            # Errors of the transport's tasks are raised as exception groups.
            known = next(_leaves(error), error)
            raise self._explained(known) from error

    async def _note(self, response: httpx2.Response) -> None:
        # The SDK does not expose the HTTP status of an error.
        self._status = response.status_code

    def _explained(self, error: BaseException) -> BaseException:
        from mcp import MCPError

        place = self.endpoint.place
        if isinstance(error, CliError) or not isinstance(
            error, (MCPError, httpx2.HTTPError, OSError)
        ):
            return error
        if isinstance(error, (httpx2.HTTPError, OSError)):
            why = str(error) or type(error).__name__
            return AwayError(f"{place} cannot be reached: {why}; check the URL and the network")
        if self._status == 401:
            return CliError(
                f"{place} does not accept the token (401): set another one with --token or"
                " AGENTRUN_TOKEN, or omit it to request one with your kubeconfig"
            )
        if self._status == 403:
            # The token is valid; only the MCP server knows why the client is not authorized.
            return CliError(f"{place} forbids this (403): {error.message}")
        if self._status in _AWAY or error.code == _CONNECTION_CLOSED:
            return AwayError(f"{place} is temporarily unavailable ({self._status}); try again")
        if self._status == 404 and error.message == "Not Found":
            return CliError(f"there is no AgentRun at {place}: check --url")
        if error.code in _UNKNOWN:
            return UnknownError(error.message)
        return CliError(f"{place} answered with an error ({self._status}): {error.message}")


class UnknownError(CliError):
    """The MCP server does not know the requested method or resource."""


@asynccontextmanager
async def open_tools(options: ConnectionOptions) -> AsyncIterator[Tools]:
    """Connect to the MCP server that the options select."""
    from agentrun.cli.connection import server_endpoint

    # The SDK also logs the errors that are raised here.
    logging.getLogger("mcp").setLevel(logging.CRITICAL)
    async with server_endpoint(options) as endpoint:
        yield Tools(endpoint, options.namespace)


def _refused(tool: str, text: str, place: str) -> CliError:
    message = text.removeprefix(f"Error executing tool {tool}: ").removeprefix("Error: ")
    if message.startswith("Unknown tool"):
        return CliError(
            f"{place} does not offer {tool}: it is older than this agentrun {__version__};"
            " upgrade its Helm release"
        )
    return ToolRefusedError(message)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """Yield the errors of a group, ``CliError`` first."""
    if not isinstance(error, BaseExceptionGroup):
        yield error
        return
    inner = [leaf for one in error.exceptions for leaf in _leaves(one)]
    yield from sorted(inner, key=lambda leaf: not isinstance(leaf, CliError))
