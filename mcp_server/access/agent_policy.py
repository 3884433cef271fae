"""
The access policy for callers that are agents of runs.

An agent sends messages under its own name, reads its own mailbox, starts runs within the limits of
its profile, and reads or changes only its descendants: the runs that it, or a descendant, started.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from weakref import WeakValueDictionary

from mcp.server.mcpserver.exceptions import ToolError

from agentrun.api.quarantine import Quarantined
from agentrun.api.repositories import is_covered, is_same
from agentrun.api.resolve import workspace_of
from agentrun.api.v1alpha1 import (
    AgentProfileSpec,
    AgentRun,
    AgentSession,
    ParentRun,
    default_profile,
)
from agentrun.store.base import RunRow, RunStore
from mcp_server.access.auth import Caller
from mcp_server.access.subjects import ForbiddenError
from mcp_server.runs.runs import Runs
from mcp_server.schemas.runs import SpawnArguments

_MAX_DEPTH = 16
_REMEMBERED = 10_000
"""The maximum number of runs whose parents are cached."""
_MOST_PARENTS = 32
"""The maximum number of parents of a session's runs: the ancestors of each are checked."""


@dataclass(frozen=True)
class AgentCaller:
    """The run whose agent calls, and the profile that defines its permissions."""

    run: AgentRun
    session_uid: str
    profile: AgentProfileSpec

    @property
    def profile_name(self) -> str:
        """The name of the run's profile."""
        return self.run.spec.profile_name

    @property
    def allowed(self) -> frozenset[str]:
        """The names of the tools that the agent may call."""
        return frozenset(self.profile.agent_tools.allowed)


class Lineage:
    """Which runs descend from which. It is shared by the policies of all agents."""

    def __init__(self, store: RunStore) -> None:
        self._store = store
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._parents: dict[str, str] = {}
        """A cache of the parents' uids, by run uid; the parent of a run never changes."""

    def lock(self, run: AgentRun) -> asyncio.Lock:
        """Return the lock to hold while a run's children are counted and another is created."""
        return self._locks.setdefault(run.metadata.uid, asyncio.Lock())

    async def count_children(self, run: AgentRun) -> int:
        """Count the runs that ``run`` has ever requested, including deleted ones."""
        return await self._store.count_children(run.metadata.namespace, run.metadata.uid)

    async def parents_in(self, session: AgentSession, limit: int) -> set[str]:
        """Return the uids of the parents of a session's runs: up to ``limit``."""
        meta = session.metadata
        return await self._store.parents_in_session(meta.namespace, meta.name, limit)

    async def is_from(self, asked: str, uid: str) -> bool:
        """Return whether the run with uid ``asked`` is the run with ``uid`` or descends from it."""
        for _ in range(_MAX_DEPTH):
            if not asked:
                return False
            if asked == uid:
                return True
            asked = await self._parent_of(asked)
        return False

    async def _parent_of(self, uid: str) -> str:
        """Return the uid of a run's parent; empty if it has none or the run is unknown."""
        known = self._parents.get(uid)
        if known is not None:
            return known
        row = await self._store.get_run_by_uid(uid)
        if row is None:
            return ""
        if len(self._parents) >= _REMEMBERED:
            self._parents.clear()
        self._parents[uid] = row.run.parent_uid
        return self._parents[uid]


@dataclass(frozen=True)
class AgentPolicy:
    """The policy for the agent of a run."""

    agent: AgentCaller
    runs: Runs
    lineage: Lineage

    @property
    def caller(self) -> Caller:
        """The agent, as a caller."""
        run = self.agent.run
        return Caller(f"run/{run.metadata.name}", agent_name=run.session_name)

    async def authorize(self, namespace: str | None = None, row: RunRow | None = None) -> None:
        """Raise ForbiddenError if the run is not a descendant of the agent's run."""
        own = self.agent.run.metadata
        if row is not None and not await self.lineage.is_from(row.run.parent_uid, own.uid):
            raise ForbiddenError(
                f"Run {row.run.metadata.name} was not started by your run, {own.name}, or by one of"
                " its descendants: you have access only to the runs that you start with spawn_run."
            )

    async def namespace(self, requested: str | None) -> str:
        """Return the run's namespace. Raises ToolError if another one is requested."""
        own = self.agent.run.metadata.namespace
        if requested and requested != own:
            raise ToolError(
                f"You have no access to namespace {requested}. Yours is {own}: leave namespace out."
            )
        await self.authorize(own)
        return own

    def agent_name_of(self, given: str | None) -> str | None:
        """Return the agent's own name. Raises ToolError if another one is given."""
        own = self.agent.run.session_name
        if (given or "").strip() not in ("", own, self.agent.session_uid):
            raise ToolError(f"You are {own}, not {given}. Give your own name, or leave it out.")
        return own

    def unreadable(self, namespace: str) -> list[Quarantined]:
        """Return none: the parents of unreadable runs are unknown."""
        return []

    def check_may_answer(self, row: RunRow) -> None:
        """Raise ToolError if the run asks for what only a person gives: permission, credentials."""
        name, agent = row.run.metadata.name, row.run.status.agent
        question = agent.question if agent else None
        if question is None:
            raise ToolError(f"The question of run {name} is not known yet. Try again in a second.")
        if question.kind != "input":
            raise ToolError(
                f"Run {name} requires an answer from a person: {question.text} You cannot give it."
                " Wait with poll_events until a person has answered, or cancel the run with"
                " cancel_run."
            )

    def parent(self) -> ParentRun:
        """
        Return the agent's own run as the parent, with the depth of its child.

        Raises ToolError if the profile does not allow another generation.
        """
        who = self.agent
        depth = (who.run.spec.parent.depth if who.run.spec.parent else 0) + 1
        most = min(who.profile.agent_tools.children.max_depth, _MAX_DEPTH)
        if depth > most:
            raise ToolError(
                f"Profile {who.profile_name} allows {most} generations of runs below the first,"
                f" and this run would be in generation {depth}. Do the work yourself."
            )
        return ParentRun(name=who.run.metadata.name, uid=who.run.metadata.uid, depth=depth)

    def restrict(self, arguments: SpawnArguments) -> SpawnArguments:
        """
        Return the arguments with the profile chosen.

        Raises ToolError if the agent may not use the profile or the repository.
        """
        source = arguments.workspace.git if arguments.workspace else None
        if source is not None:
            _check_repository(self.agent, source.url)
        return arguments.model_copy(update={"profile": _profile(self.agent, arguments)})

    def check_may_repeat(self, run: AgentRun) -> None:
        """Raise ToolError if the agent may not use the profile of ``run``."""
        _check_profile(self.agent, run.spec.profile_name)

    @asynccontextmanager
    async def reserve_child(self, resumed: str = "") -> AsyncIterator[None]:
        """
        Raise ToolError if the run has as many children as its profile allows.

        Also if ``resumed`` is a session that is not the agent's. Other children of the run in this
        process wait until the block ends.
        """
        who = self.agent
        most = who.profile.agent_tools.children.max_count
        async with self.lineage.lock(who.run):
            if await self.lineage.count_children(who.run) >= most:
                raise _too_many(who)
            if resumed:
                await self._check_session(who, resumed)
            yield

    async def confirm_child(self, row: RunRow) -> RunRow:
        """
        Cancel a run that exceeds the limit because another replica created one concurrently.

        Raises ToolError if it did.
        """
        who = self.agent
        if await self.lineage.count_children(who.run) <= who.profile.agent_tools.children.max_count:
            return row
        error = _too_many(who)
        await self.runs.request_cancellation(row, self.caller.username, str(error))
        raise error

    async def _check_session(self, who: AgentCaller, reference: str) -> None:
        """Raise ToolError unless all runs of the session descend from the agent's run."""
        namespace = who.run.metadata.namespace
        session = await self.runs.find_session(namespace, reference.strip())
        if session is None:
            return  # reported when the run is created
        own = who.run.metadata.uid
        parents = await self.lineage.parents_in(session, _MOST_PARENTS + 1)
        if len(parents) > _MOST_PARENTS:
            raise ToolError(
                f"Session {reference} has had runs of more than {_MOST_PARENTS} agents, too many"
                " to check whether they are yours. Start another conversation: session_mode new."
            )
        # A session without known runs may be about to start as another agent's.
        if not parents or not all([await self.lineage.is_from(uid, own) for uid in parents]):
            raise ToolError(
                f"Session {reference} is not one of yours: you may resume only the"
                " conversations of runs that you started."
            )


def _profile(who: AgentCaller, arguments: SpawnArguments) -> str:
    """
    Choose the profile of a child.

    Without one in the arguments: the backend's default profile if it is allowed, else the parent's
    profile if the backend is the same. Raises ToolError if the profile is not allowed.
    """
    default = default_profile(arguments.backend)
    if not arguments.profile and default not in _profiles_of(who):
        default = who.profile_name if arguments.backend == who.run.spec.backend else default
    chosen = arguments.profile or default
    _check_profile(who, chosen)
    return chosen


def _check_profile(who: AgentCaller, chosen: str) -> None:
    allowed = _profiles_of(who)
    if chosen not in allowed:
        raise ToolError(
            f"Profile {who.profile_name} does not allow you to start runs with profile {chosen}."
            f" Give one of these as profile, with its backend: {', '.join(allowed)}."
        )


def _check_repository(who: AgentCaller, url: str) -> None:
    """
    Raise ToolError for a repository that is neither the agent's own nor allowed by its profile.

    The agent's input is untrusted.
    """
    source = workspace_of(who.run.spec, who.profile).git
    own = source.url if source else None
    allowed = who.profile.agent_tools.children.repositories
    if (own and is_same(url, own)) or is_covered(url, allowed):
        return
    offered = ", ".join([*([own] if own else []), *allowed])
    raise ToolError(
        f"Profile {who.profile_name} does not allow you to start runs on repository {url}. Give one"
        f" of these, or leave workspace out: {offered or 'none'}."
    )


def _too_many(who: AgentCaller) -> ToolError:
    return ToolError(
        f"You have started {who.profile.agent_tools.children.max_count} runs, the maximum that"
        f" profile {who.profile_name} allows. Do the rest of the work yourself."
    )


def _profiles_of(who: AgentCaller) -> list[str]:
    return who.profile.agent_tools.children.profiles or [who.profile_name]
