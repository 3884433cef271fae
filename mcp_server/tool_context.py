"""The context of tool calls: the store, the runs, the caller, authorization and shutdown."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from mcp.server.mcpserver.exceptions import ToolError

from agentrun.api.quarantine import Quarantined
from agentrun.api.v1alpha1 import AgentRun, ParentRun
from agentrun.kube.errors import ApiError, ApiUnavailableError
from agentrun.kube.resources import RUNS
from agentrun.store.base import (
    BlobStore,
    MailboxFullError,
    NotStorableError,
    RunRow,
    RunStore,
    StoreUnavailableError,
    TooLargeError,
)
from mcp_server.access import NOBODY, Access, ForbiddenError
from mcp_server.auth import Caller, current_caller
from mcp_server.manifests import InvalidArgumentsError
from mcp_server.runs import Runs
from mcp_server.schemas import SpawnArguments
from mcp_server.waiting import next_change


@dataclass(frozen=True)
class ToolContext:
    """The dependencies of the tools, and the permissions of callers."""

    store: RunStore
    blobs: BlobStore
    runs: Runs
    namespaces: Sequence[str]
    """The served namespaces; the first is the default."""
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the process stops: waiting calls return immediately with what is available."""
    leaving: asyncio.Event = field(default_factory=asyncio.Event)
    """Set earlier, when the process drains: new requests go to other replicas."""
    access: Access = NOBODY
    """The subjects that may call the tools."""
    caller: Callable[[], Caller] = current_caller
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    async def authorize(
        self, caller: Caller, namespace: str | None = None, row: RunRow | None = None
    ) -> None:
        """
        Raise ForbiddenError if ``caller`` is not authorized. All authorization is decided here.

        It is called for every request before the body is read, then for the namespace of the
        call, and for each run that the call would show or change.
        """
        self.access.check(caller)

    async def namespace(self, requested: str | None) -> str:
        """
        Return the namespace of a call: the requested one, else the caller's, else the default.

        Raises ToolError if it is not served, ForbiddenError if the caller may not use it.
        """
        if requested and requested not in self.namespaces:
            raise ToolError(
                f"Namespace {requested} is not served here."
                f" Served: {', '.join(self.namespaces)}. Leave namespace out for the default."
            )
        caller = self.caller()
        own = caller.namespace
        chosen = requested or (own if own in self.namespaces else None) or self.namespaces[0]
        await self.authorize(caller, chosen)
        return chosen

    async def may_read(self, row: RunRow) -> bool:
        """Whether the caller may read a run."""
        try:
            await self.check_access(row)
        except ForbiddenError:
            return False
        return True

    def unreadable(self, namespace: str) -> list[Quarantined]:
        """Return the quarantined runs of a namespace that the caller may see."""
        return self.runs.quarantine.of(RUNS.plural, (namespace,))

    async def check_access(self, row: RunRow) -> None:
        """Raise ForbiddenError if the caller may not read or change a run."""
        await self.authorize(self.caller(), row.run.metadata.namespace, row)

    def check_may_answer(self, row: RunRow) -> None:
        """Raise ToolError if the caller may not answer the current question of a run."""

    def parent(self) -> ParentRun | None:
        """Return the parent of runs that the caller starts; None unless the caller is an agent."""
        return None

    def restrict(self, arguments: SpawnArguments) -> SpawnArguments:
        """Return the arguments of a new run, restricted to what an agent's profile allows."""
        return arguments

    def check_may_repeat(self, run: AgentRun) -> None:
        """Raise ToolError if the caller may not start a run like ``run``."""

    @asynccontextmanager
    async def reserve_child(self, resumed: str = "") -> AsyncIterator[None]:
        """
        Raise ToolError if the caller may not start another run; reserve it for the block.

        Also if it would resume the session ``resumed`` and that is not the caller's.
        """
        yield

    async def confirm_child(self, row: RunRow) -> RunRow:
        """Return a run that was just created. Raises ToolError if it exceeds the limit."""
        return row

    def agent_name_of(self, given: str | None) -> str | None:
        """Return the name of the agent that sends a message or owns a mailbox; None without one."""
        return (given or "").strip() or None

    async def follow(
        self,
        row: RunRow,
        is_done: Callable[[RunRow], bool],
        seconds: float,
        after_seq: int | None = None,
    ) -> RunRow:
        """
        Wait until ``is_done``, ``seconds`` have passed, or the process stops; return the run.

        The run is read when it changes, and when it has events after ``after_seq`` unless that is
        None.
        """
        clock = asyncio.get_running_loop().time
        deadline, uid = clock() + seconds, row.run.metadata.uid
        async with self.store.changes(uid, after_seq) as changes:
            while True:
                left = deadline - clock()
                row = await self.store.get_run_by_uid(uid) or row
                if is_done(row) or left <= 0 or self.stopping.is_set():
                    return row
                await next_change(changes, left, self.stopping)


@contextmanager
def tool_errors() -> Iterator[None]:
    """Convert known errors to ToolErrors that tell a model what to do next."""
    try:
        yield
    except (InvalidArgumentsError, TooLargeError, MailboxFullError, NotStorableError) as error:
        raise ToolError(str(error)) from error
    except StoreUnavailableError as error:
        raise ToolError(
            f"The event store is unavailable: {error} Runs continue and no event is lost;"
            " try again in a few seconds."
        ) from error
    except ApiUnavailableError as error:
        raise ToolError(
            f"The Kubernetes API server is unavailable: {error}. Try again in a few seconds;"
            " with an idempotency_key, a repeated spawn_run creates no second run."
        ) from error
    except ApiError as error:
        raise ToolError(
            f"The Kubernetes API server rejected the request: {error.message}"
        ) from error
