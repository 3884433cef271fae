"""The context of tool calls: the store, the runs, the access policy and shutdown."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError

from agentrun.kube.errors import ApiError, ApiUnavailableError
from agentrun.store.base import (
    BlobStore,
    MailboxFullError,
    NotStorableError,
    RunRow,
    RunStore,
    StoreUnavailableError,
    TooLargeError,
)
from mcp_server.access.policy import AccessPolicy
from mcp_server.runs.runs import Runs
from mcp_server.schemas.arguments import InvalidArgumentsError
from mcp_server.schemas.run_views import status_of, summary_of
from mcp_server.tools.waiting import read_until

SEAL_SECONDS = 10.0
"""How long to wait for the last event of a run that has ended, even if ``wait_ms`` is shorter."""
PROGRESS_SECONDS = 5.0
"""The interval of progress notifications: clients time out on silent servers."""


@dataclass(frozen=True)
class ToolContext:
    """The dependencies of the tools."""

    store: RunStore
    blobs: BlobStore
    runs: Runs
    policy: Callable[[], AccessPolicy]
    """Returns the access policy for the caller of the current request."""
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the process stops: waiting calls return immediately with what is available."""
    leaving: asyncio.Event = field(default_factory=asyncio.Event)
    """Set earlier, when the process drains: new requests go to other replicas."""
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

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
        uid = row.run.metadata.uid

        async def read() -> RunRow:
            nonlocal row
            row = await self.store.get_run_by_uid(uid) or row
            return row

        changes = self.store.changes(uid, after_seq)
        return await read_until(is_done, read, changes, seconds, self.stopping)

    async def with_last_event(self, row: RunRow, seconds: float = SEAL_SECONDS) -> RunRow:
        """
        Return a run that has ended with its last event, which is recorded just after its end.

        It waits up to ``seconds``. Who reads a terminal status reads all events up to last_seq, and
        then no more.
        """
        if not row.run.is_finished or row.sealed:
            return row
        return await self.follow(row, lambda row: row.sealed, seconds)


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
        if error.is_conflict:
            raise ToolError(
                f"Another request changed the same object: {error.message}. Try again in a few"
                " seconds; with an idempotency_key, a repeated spawn_run creates no second run."
            ) from error
        raise ToolError(
            f"The Kubernetes API server rejected the request: {error.message}"
        ) from error


async def report_wait(ctx: Context[Any, Any], row: RunRow, waited: float, seconds: float) -> None:
    """
    Send a progress notification with the time waited and the status of the run.

    Nothing is sent to a client that did not request progress.
    """
    await ctx.report_progress(
        round(waited, 3), seconds, f"{row.run.metadata.name} {status_of(row)}: {summary_of(row)}"
    )
