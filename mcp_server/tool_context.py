"""What every tool call has at hand: the store, the runs, who is calling, and the time to stop."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from mcp.server.mcpserver.exceptions import ToolError

from agentrun.api.quarantine import Quarantined
from agentrun.api.v1alpha1 import AgentRun, ParentRun
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
from mcp_server.kube import RUNS, ApiError, ApiUnavailableError
from mcp_server.manifests import InvalidArgumentsError
from mcp_server.runs import Runs
from mcp_server.schemas import SpawnArguments
from mcp_server.waiting import listening

_NO_EVENT = 2**62


@dataclass(frozen=True)
class ToolContext:
    """What the tools work with."""

    store: RunStore
    blobs: BlobStore
    runs: Runs
    namespaces: Sequence[str]
    """The namespaces that are served; the first is the default."""
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the process ends: whoever waits answers at once with what there is."""
    leaving: asyncio.Event = field(default_factory=asyncio.Event)
    """Set some time before: other replicas answer new requests."""
    access: Access = NOBODY
    """Who may call."""
    caller: Callable[[], Caller] = current_caller
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    async def authorize(
        self, caller: Caller, namespace: str | None = None, row: RunRow | None = None
    ) -> None:
        """
        Refuse what ``caller`` may not do, with Forbidden. It is the one place that decides.

        It is asked of every request before anything is read of it, then of the namespace that the
        call turns out to be about, and of each run that it would show or change.
        """
        self.access.check(caller)

    async def namespace(self, requested: str | None) -> str:
        """Return the namespace that a call is about, if the caller may use it."""
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
        """Whether the caller may look into a run."""
        try:
            await self.check_access(row)
        except ForbiddenError:
            return False
        return True

    def unreadable(self, namespace: str) -> list[Quarantined]:
        """Return the runs that cannot be read as they are, as far as the caller may know."""
        return self.runs.quarantine.of(RUNS.plural, (namespace,))

    async def check_access(self, row: RunRow) -> None:
        """Refuse a run that the caller may not look into or change."""
        await self.authorize(self.caller(), row.run.metadata.namespace, row)

    def check_may_answer(self, row: RunRow) -> None:
        """Refuse to answer what a run asks just now, if that is not for the caller to answer."""

    def parent(self) -> ParentRun | None:
        """Return the parent of the run that the caller may ask for: people's runs have none."""
        return None

    def restrict(self, arguments: SpawnArguments) -> SpawnArguments:
        """Return what to start; an agent is held to its profile."""
        return arguments

    def check_may_repeat(self, run: AgentRun) -> None:
        """Refuse one more run like ``run``, if the caller may not start such a run."""

    @asynccontextmanager
    async def reserve_child(self, resumed: str = "") -> AsyncIterator[None]:
        """
        Refuse another run where there is no room for it, and keep the room for the block.

        It is refused, too, if it would resume a session that is not the caller's.
        """
        yield

    async def confirm_child(self, row: RunRow) -> RunRow:
        """Return a run that was just made, if there was room for it after all."""
        return row

    def agent_name_of(self, given: str | None) -> str | None:
        """Return the name of the agent that a message is from, or a mailbox belongs to."""
        return (given or "").strip() or None

    async def wait_for_message(self, session_uid: str, after_seq: int, seconds: float) -> None:
        """Wait until there may be a message, time is up, or the process stops."""
        news = self.store.messages.wait(session_uid, after_seq, seconds)
        async with listening(news, self.stopping) as heard:
            await heard()

    async def follow(
        self,
        row: RunRow,
        is_done: Callable[[RunRow], bool],
        seconds: float,
        after_seq: int = _NO_EVENT,
    ) -> RunRow:
        """
        Wait until a run is as it should be, time is up, or the process stops; return it.

        It looks when the run changes, and at events after ``after_seq``.
        """
        clock = asyncio.get_running_loop().time
        deadline, uid = clock() + seconds, row.run.metadata.uid
        while True:
            left = deadline - clock()
            news = self.store.wait(uid, after_seq, max(0.0, left))
            async with listening(news, self.stopping) as heard:
                row = await self.store.get_run_by_uid(uid) or row
                if is_done(row) or left <= 0 or self.stopping.is_set():
                    return row
                await heard()


@contextmanager
def tool_errors() -> Iterator[None]:
    """Turn what can go wrong into words that tell a model what to do next."""
    try:
        yield
    except (InvalidArgumentsError, TooLargeError, MailboxFullError, NotStorableError) as error:
        raise ToolError(str(error)) from error
    except StoreUnavailableError as error:
        raise ToolError(
            f"The event store is unavailable: {error} Runs go on and no event is lost;"
            " try again in a few seconds."
        ) from error
    except ApiUnavailableError as error:
        raise ToolError(
            f"The Kubernetes API server is unavailable: {error}. Try again in a few seconds;"
            " with an idempotency_key, a repeated spawn_run makes no second run."
        ) from error
    except ApiError as error:
        raise ToolError(f"The Kubernetes API server refused this: {error.message}") from error
