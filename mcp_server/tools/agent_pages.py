"""
Pages of agents, most recently changed first, at a cost that does not depend on the number of
agents.

Two lists, each ordered by the time of the last change, are merged: the runs that represent an
existing session, and the sessions that have had no run. Both are read in batches, from the place
where the previous page ended.
"""

from collections.abc import Sequence
from typing import Protocol

from agentrun.api.v1alpha1 import AgentSession
from agentrun.store.base import RunStore, SessionRun
from agentrun.store.paging import Place, encode_cursor
from mcp_server.schemas.agent_views import AgentEntry, Wanted, agent_view, place_of_session
from mcp_server.schemas.agents import AgentView, ListAgentsResult
from mcp_server.schemas.answer_size import PAGE_BYTES, shown_bytes

_LOOKED_AT_ONCE = 200
"""The batch size: how many runs, and how many sessions, are scanned before others run."""
_MOST_LOOKED_AT = 5000
"""The maximum number of runs and sessions that a call scans."""
_READ_AT_ONCE = 10
"""How many runs are read with their documents before other tasks run."""
_MOST_READ = 500
"""The maximum number of documents that a call reads: the size of the largest page."""


class Sessions(Protocol):
    """The cached sessions; lookups send no requests."""

    def last(self, namespace: str, limit: int, before: Place | None) -> list[AgentSession]:
        """Return up to ``limit`` sessions below ``before``, most recently changed first."""

    def named(self, namespace: str, name: str) -> AgentSession | None:
        """Return the session of that name."""


async def page_of_agents(
    store: RunStore,
    sessions: Sessions,
    namespace: str,
    wanted: Wanted,
    limit: int,
    before: Place | None = None,
) -> ListAgentsResult:
    """
    Return up to ``limit`` agents below the place ``before``.

    The work per call is limited: a page may have fewer agents, or none, and still a cursor. The
    last page has no cursor.
    """
    walk = _Walk(store, sessions, namespace, wanted, limit, before)
    shown: list[AgentView] = []
    size = read = 0
    passed = before
    while agents := await walk.next(min(_READ_AT_ONCE, max(1, limit - len(shown)))):
        if len(shown) == limit or read >= _MOST_READ:
            return _page(shown, passed)
        rows = await store.get_runs([agent.run.uid for agent in agents if agent.run])
        read += len(rows)
        by_uid = {row.run.metadata.uid: row for row in rows}
        for agent in agents:
            view = agent_view(agent.session, by_uid.get(agent.run.uid) if agent.run else None)
            if wanted.is_asked_for(view):
                size += shown_bytes(view)
                if shown and size > PAGE_BYTES:
                    return _page(shown, passed)
                shown.append(view)
            passed = agent.place
    return _page(shown, walk.place if walk.has_more else None)


def _page(shown: list[AgentView], place: Place | None) -> ListAgentsResult:
    cursor = encode_cursor(place) if place is not None else None
    return ListAgentsResult(agents=shown, next_cursor=cursor)


class _Walk:
    """Iterates over the candidate agents below a place, in order, within the limits of one call."""

    def __init__(
        self,
        store: RunStore,
        sessions: Sessions,
        namespace: str,
        wanted: Wanted,
        limit: int,
        before: Place | None,
    ) -> None:
        self._store = store
        self._sessions = sessions
        self._namespace = namespace
        self._wanted = wanted
        self._at_once = min(_LOOKED_AT_ONCE, max(_READ_AT_ONCE, limit + 1))
        self._looked_at = 0
        self._ahead: list[AgentEntry] = []
        self._standing: dict[str, SessionRun | None] = {}
        """By the uid of a session, the run that represents it."""
        self.place = before
        """Everything at or above this place has been scanned."""
        self.has_more = True
        """Whether there may be agents below ``place``."""

    async def next(self, limit: int) -> list[AgentEntry]:
        """Return up to ``limit`` agents; none at the end, or if the scan limit is reached."""
        while not self._ahead and self.has_more and self._looked_at < _MOST_LOOKED_AT:
            self._ahead = await self._look_further()
        some, self._ahead = self._ahead[:limit], self._ahead[limit:]
        return some

    async def _look_further(self) -> list[AgentEntry]:
        count = self._at_once
        self._at_once = _LOOKED_AT_ONCE
        runs, sessions = list[SessionRun](), list[AgentSession]()
        if self._wanted.some_with_runs:
            runs = await self._store.changed_runs(self._namespace, count, self.place)
        # The order is runs, sessions, representatives: an agent that has a run is never shown
        # without it.
        if self._wanted.some_without_runs:
            sessions = self._sessions.last(self._namespace, count, self.place)
        ends = [runs[-1].place] if len(runs) == count else []
        ends += [place_of_session(sessions[-1])] if len(sessions) == count else []
        end = max(ends, default=None)
        if end is not None:
            # Beyond the end of one batch, there may be unread items of that list in between.
            runs = [run for run in runs if run.place >= end]
            sessions = [one for one in sessions if place_of_session(one) >= end]
        self._looked_at += len(runs) + len(sessions)
        self.place, self.has_more = end, end is not None
        candidates = [AgentEntry(one, None, place_of_session(one)) for one in sessions]
        candidates += [
            AgentEntry(session, run, run.place)
            for run in runs
            if (session := self._session_of(run))
        ]
        # Filtered first: representatives are only queried for candidates.
        wanted = list(filter(self._wanted.may_be, candidates))
        await self._ask([agent.session for agent in wanted])
        return sorted(filter(self._represents, wanted), key=_place, reverse=True)

    def _session_of(self, run: SessionRun) -> AgentSession | None:
        session = self._sessions.named(self._namespace, run.session_name)
        # A row has no session uid until the MCP server has observed the session.
        if session is None or run.session_uid not in ("", session.metadata.uid):
            return None
        return session

    async def _ask(self, sessions: Sequence[AgentSession]) -> None:
        names = {(one.metadata.name, one.metadata.uid) for one in sessions}
        keys = sorted(key for key in names if key[1] not in self._standing)
        found = await self._store.standing_runs(self._namespace, keys)
        self._standing |= {key[1]: found.get(key) for key in keys}
        asked = {uid for _, uid in keys}
        await self._prefer_active([one for one in sessions if one.metadata.uid in asked])

    async def _prefer_active(self, sessions: Sequence[AgentSession]) -> None:
        """Let active runs without a pod represent their sessions, not the runs behind them."""
        active = dict[str, str]()
        for session in sessions:
            uid, holder = session.metadata.uid, session.status.active_run
            standing = self._standing[uid]
            if holder is not None and standing is not None and standing.is_queued:
                active[holder.uid] = uid
        for run in await self._store.session_runs(sorted(active)) if active else ():
            if not run.has_ended:
                self._standing[active[run.uid]] = run

    def _represents(self, agent: AgentEntry) -> bool:
        standing = self._standing[agent.session.metadata.uid]
        return (standing and standing.uid) == (agent.run and agent.run.uid)


def _place(agent: AgentEntry) -> Place:
    return agent.place
