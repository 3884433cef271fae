"""
What the caller of a request may do: the interface, and the policy for users.

``mcp_server.access.agent_policy`` has the policy for agents. The tools ask for permissions nowhere
else.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

from mcp.server.mcpserver.exceptions import ToolError

from agentrun.api.quarantine import Quarantine, Quarantined
from agentrun.api.v1alpha1 import AgentRun, ParentRun
from agentrun.kube.resources import RUNS
from agentrun.store.base import RunRow
from mcp_server.access.auth import Caller, current_caller
from mcp_server.access.subjects import Access, ForbiddenError
from mcp_server.schemas.runs import SpawnArguments


class AccessPolicy(Protocol):
    """The permissions of the caller of one request."""

    @property
    def caller(self) -> Caller:
        """The caller."""

    async def authorize(self, namespace: str | None = None, row: RunRow | None = None) -> None:
        """
        Raise ForbiddenError if the caller is not authorized. All authorization is decided here.

        It is called for every request before the body is read, then for the namespace of the
        call, and for each run that the call would show or change.
        """

    async def namespace(self, requested: str | None) -> str:
        """
        Return the namespace of a call: the requested one, or the default of the caller.

        Raises ToolError if it is not served, ForbiddenError if the caller may not use it.
        """

    def unreadable(self, namespace: str) -> list[Quarantined]:
        """Return the quarantined runs of a namespace that the caller may see."""

    def agent_name_of(self, given: str | None) -> str | None:
        """Return the name of the agent that sends a message or owns a mailbox; None without one."""

    def check_may_answer(self, row: RunRow) -> None:
        """Raise ToolError if the caller may not answer the current question of a run."""

    def parent(self) -> ParentRun | None:
        """Return the parent of runs that the caller starts; None unless the caller is an agent."""

    def restrict(self, arguments: SpawnArguments) -> SpawnArguments:
        """
        Return the arguments of a new run, with what the policy chooses for the caller.

        Raises ToolError if the caller may not start a run with them.
        """

    def check_may_repeat(self, run: AgentRun) -> None:
        """Raise ToolError if the caller may not start a run like ``run``."""

    def reserve_child(self, resumed: str = "") -> AbstractAsyncContextManager[None]:
        """
        Raise ToolError if the caller may not start another run; reserve it for the block.

        Also if it would resume the session ``resumed`` and that is not the caller's.
        """

    async def confirm_child(self, row: RunRow) -> RunRow:
        """Return a run that was just created. Raises ToolError if it exceeds the limit."""


@dataclass(frozen=True)
class UserPolicy:
    """The policy for users, who may do everything in the served namespaces if they are listed."""

    caller: Caller
    access: Access
    namespaces: Sequence[str]
    """The served namespaces; the first is the default."""
    quarantine: Quarantine

    async def authorize(self, namespace: str | None = None, row: RunRow | None = None) -> None:
        """Raise ForbiddenError if the caller is not in the access list."""
        self.access.check(self.caller)

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
        own = self.caller.namespace
        chosen = requested or (own if own in self.namespaces else None) or self.namespaces[0]
        await self.authorize(chosen)
        return chosen

    def unreadable(self, namespace: str) -> list[Quarantined]:
        """Return the quarantined runs of a namespace."""
        return self.quarantine.of(RUNS.plural, (namespace,))

    def agent_name_of(self, given: str | None) -> str | None:
        """Return the given name; None without one."""
        return (given or "").strip() or None

    def check_may_answer(self, row: RunRow) -> None:
        """Allow every answer."""

    def parent(self) -> None:
        """Return None: the runs of users have no parent."""

    def restrict(self, arguments: SpawnArguments) -> SpawnArguments:
        """Return the arguments."""
        return arguments

    def check_may_repeat(self, run: AgentRun) -> None:
        """Allow every run."""

    @asynccontextmanager
    async def reserve_child(self, resumed: str = "") -> AsyncIterator[None]:
        """Reserve nothing: the number of a user's runs is not limited."""
        yield

    async def confirm_child(self, row: RunRow) -> RunRow:
        """Return the run."""
        return row


def user_policies(
    access: Access,
    namespaces: Sequence[str],
    quarantine: Quarantine,
    caller: Callable[[], Caller] = current_caller,
) -> Callable[[], UserPolicy]:
    """Return a function that returns the policy of the current request, whose caller is a user."""
    return lambda: UserPolicy(caller(), access, namespaces, quarantine)


async def may_read(policy: AccessPolicy, row: RunRow) -> bool:
    """Whether the caller may read a run."""
    try:
        await policy.authorize(row.run.metadata.namespace, row)
    except ForbiddenError:
        return False
    return True
