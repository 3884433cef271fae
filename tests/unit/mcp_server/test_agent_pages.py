"""Pages of agents: those of looking at everything, without looking at everything."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentrun.api.events import EventType, NewEvent
from agentrun.api.quarantine import Quarantine
from agentrun.api.status import Status
from agentrun.api.v1alpha1 import AgentRun, AgentSession, Phase
from agentrun.kube.resources import SESSIONS
from agentrun.store.base import RunRow, SessionKey, SessionRun
from agentrun.store.paging import Place, decode_cursor
from mcp_server.schemas.agent_views import Wanted, agent_view, place_of_session
from mcp_server.schemas.agents import AgentView
from mcp_server.schemas.answer_size import PAGE_BYTES, shown_bytes
from mcp_server.tools import agent_pages
from mcp_server.tools.agent_pages import page_of_agents
from mcp_server.watches.watched import Informer
from tests.memory_store import MemoryRunStore
from tests.unit.mcp_server.cluster import FakeCluster, run, session

BEGIN = datetime(2026, 11, 23, 12, tzinfo=UTC)
SMALL = {"_LOOKED_AT_ONCE": 3, "_MOST_LOOKED_AT": 7, "_READ_AT_ONCE": 2, "_MOST_READ": 3}
NAMES = [f"agent-{letter}" for letter in "abcde"]
PHASES = ["Queued", "Running", "Cancelling", "Completed", "Failed"]
CWDS = [None, "/workspace/src", "/elsewhere"]


class Team:
    """The sessions and the runs of a namespace."""

    def __init__(self) -> None:
        self.moment = BEGIN
        self.store = MemoryRunStore(lambda: self.moment)
        self.cache = Informer(
            FakeCluster(), SESSIONS, AgentSession, ["team"], Quarantine(), place_of=place_of_session
        )
        self.number = 0

    async def begin(self, sessions: Sequence[AgentSession] = ()) -> None:
        await self.cache.listed("team", [one.to_json() for one in sessions], 1)

    def put(self, one: AgentSession) -> None:
        self.cache.put("team", one.to_json())

    def last(self, namespace: str, limit: int, before: Place | None) -> list[AgentSession]:
        return self.cache.last(namespace, limit, before)

    def named(self, namespace: str, name: str) -> AgentSession | None:
        return self.cache.named(namespace, name)

    def a_session(self, name: str, backend: str = "codex", updated: bool = True) -> AgentSession:
        self.number += 1
        body = session(name, backend)
        body["metadata"] |= {
            "namespace": "team",
            "uid": f"s-{self.number}",
            "resourceVersion": str(self.number + 1),
            "creationTimestamp": BEGIN,
        }
        body["status"] = {"updatedAt": self.moment.replace(microsecond=0)} if updated else {}
        return AgentSession.model_validate(body)

    async def record(self, name: str, talk: str, of: str, phase: str, cwd: str | None) -> None:
        self.number += 1
        spec: dict[str, Any] = {"session": {"name": talk}}
        if cwd:
            spec["workspace"] = {"cwd": cwd}
        body = run(name, {"phase": phase}, **spec)
        body["metadata"] |= {
            "namespace": "team",
            "uid": f"uid-{name}",
            "resourceVersion": str(self.number),
            "creationTimestamp": BEGIN,
        }
        await self.store.record_run(RunRow(AgentRun.model_validate(body), session_uid=of))

    async def reference(self, wanted: Wanted) -> list[AgentView]:
        """Look at everything, as simply as it can be said."""
        uids = [one.uid for one in await self.store.changed_runs("team", 10_000)]
        rows = await self.store.get_runs(uids)
        placed = list[tuple[Place, AgentView]]()
        for one in self.cache.all("team"):
            name, uid = one.metadata.name, one.metadata.uid
            mine = [
                row for row in rows
                if row.run.session_name == name and row.session_uid in ("", uid)
            ]  # fmt: skip
            best = max(mine, key=rank, default=None)
            place = place_of_session(one) if best is None else place_of(best)
            placed.append((place, agent_view(one, best)))
        placed.sort(key=lambda pair: pair[0], reverse=True)
        return [view for _, view in placed if wanted.is_asked_for(view)]

    async def pages(self, wanted: Wanted, limit: int) -> list[list[AgentView]]:
        """Read page after page to the end."""
        pages, before = list[list[AgentView]](), None
        while True:
            page = await page_of_agents(self.store, self, "team", wanted, limit, before)
            pages.append(page.agents)
            if page.next_cursor is None:
                return pages
            reached = decode_cursor(page.next_cursor)
            assert before is None or reached < before
            before = reached


def rank(row: RunRow) -> Any:
    is_live = not row.run.is_finished
    is_active = is_live and row.run.phase is not Phase.QUEUED
    return is_active, is_live, row.updated_at, row.run.created, row.run.metadata.uid


def place_of(row: RunRow) -> Place:
    assert row.updated_at is not None
    micros = (row.updated_at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    return micros, row.run.session_name, row.run.metadata.uid


@dataclass
class Step:
    """Something that happens in a team."""

    kind: str
    number: int
    talk: str
    choice: int
    pause: int


STEPS = st.builds(
    Step,
    kind=st.sampled_from(["session", "run", "run", "append", "delete", "forget"]),
    number=st.integers(0, 9),
    talk=st.sampled_from(NAMES),
    choice=st.integers(0, 29),
    pause=st.sampled_from([0, 1, 999, 10**6, 10**7]),
)
WANTED = st.builds(
    Wanted,
    backend=st.sampled_from([None, None, "codex", "claude_code"]),
    status=st.sampled_from([None, None, "idle", "queued", "running", "completed", "failed"]),
    folder=st.sampled_from([None, None, None, "/workspace", "/workspace/src"]),
)


async def happen(team: Team, step: Step) -> None:
    team.moment += timedelta(microseconds=step.pause)
    known = team.cache.named("team", step.talk)
    name, uid = f"run-{step.number}", f"uid-run-{step.number}"
    match step.kind:
        case "session":
            backend = "claude_code" if step.choice % 3 == 0 else "codex"
            team.put(team.a_session(step.talk, backend, updated=step.choice % 2 == 0))
        case "delete" if known:
            team.cache.remove(known)
        case "run":
            row = await team.store.get_run_by_uid(uid)
            talk = row.run.session_name if row else step.talk
            of = [known.metadata.uid if known else "", "", f"s-{step.choice}"][step.choice % 3]
            await team.record(name, talk, of, PHASES[step.choice % 5], CWDS[step.choice % 3])
        case "append" if row := await team.store.get_run_by_uid(uid):
            event = NewEvent(
                seq=row.last_seq + 1,
                event_id=f"e-{row.last_seq}",
                ts="2026-11-23T12:00:00.000Z",
                type=EventType.STATUS_CHANGED,
                data={"status": "running"},
            )
            await team.store.append(uid, 1, [event])
        case "forget" if await team.store.get_run_by_uid(uid):
            await team.store.forget(uid)


@pytest.fixture(params=["small", "usual"])
def bounds(request: pytest.FixtureRequest) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "small":
            for name, value in SMALL.items():
                patch.setattr(agent_pages, name, value)
        yield request.param


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=st.lists(STEPS, min_size=12, max_size=60), wanted=WANTED)
def test_all_pages_together_equal_an_unpaginated_list(
    bounds: str, steps: list[Step], wanted: Wanted
) -> None:
    async def check() -> None:
        team = Team()
        await team.begin()
        for step in steps:
            await happen(team, step)
        expected = await team.reference(wanted)
        for limit in (1, 2, 3, 7, 500):
            pages = await team.pages(wanted, limit)
            assert [view for page in pages for view in page] == expected
            assert max(map(len, pages)) <= limit
            if bounds == "usual":
                full = [limit] * (len(expected) // limit)
                rest = len(expected) % limit
                assert [len(page) for page in pages if page] == full + ([rest] if rest else [])
                assert pages[-1] or not expected or wanted != Wanted(), "no page too many"

    asyncio.run(check())


async def test_agents_that_do_not_change_meanwhile_are_seen_once() -> None:
    team = Team()
    await team.begin([team.a_session(f"agent-{number:02}") for number in range(40)])
    for number in range(0, 40, 2):
        team.moment += timedelta(seconds=1)
        of = f"s-{number + 1}"
        await team.record(f"run-{number}", f"agent-{number:02}", of, "Running", None)
    seen, before = list[str](), None
    while True:
        page = await page_of_agents(team.store, team, "team", Wanted(), 3, before)
        seen += [view.agent_name for view in page.agents]
        if page.next_cursor is None:
            break
        before = decode_cursor(page.next_cursor)
        team.moment += timedelta(seconds=1)
        await team.record("busy", "agent-39", "s-40", "Running", str(team.moment))
        team.put(team.a_session(f"fresh-{team.number}"))
    still = sorted(name for name in seen if name.startswith("agent-") and name != "agent-39")
    assert still == [f"agent-{number:02}" for number in range(39)]


class Counting(MemoryRunStore):
    """A store that counts what is asked of it."""

    looked_at = asked = documents = 0
    template: RunRow | None = None

    async def changed_runs(
        self, namespace: str, limit: int, before: Place | None = None
    ) -> list[SessionRun]:
        found = await super().changed_runs(namespace, limit, before)
        self.looked_at += len(found)
        return found

    async def standing_runs(
        self, namespace: str, sessions: Sequence[SessionKey]
    ) -> dict[SessionKey, SessionRun]:
        self.asked += len(sessions)
        return await super().standing_runs(namespace, sessions)

    async def get_runs(self, uids: Sequence[str]) -> list[RunRow]:
        self.documents += len(uids)
        return [self._like(uid) for uid in uids] if self.template else await super().get_runs(uids)

    def _like(self, uid: str) -> RunRow:
        assert self.template is not None
        run = self.template.run
        meta = run.metadata.model_copy(update={"uid": uid})
        return replace(self.template, run=run.model_copy(update={"metadata": meta}))


class Crowd(Team):
    """Many sessions, of which some have runs and most of these have ended; built in little time."""

    def __init__(self) -> None:
        super().__init__()
        self.store = self.counting = Counting()
        self.sessions = 0

    async def fill(self, sessions: int, rows: int) -> None:
        await self.begin()
        one, store = self.a_session("one"), self.counting
        for number in range(sessions):
            uid = f"s-{number}"
            meta = one.metadata.model_copy(update={"name": f"agent-{number}", "uid": uid})
            self.put(one.model_copy(update={"metadata": meta}))
        await self.record("template", "agent-0", "s-0", "Completed", None)
        (store.template,) = await store.get_runs(["uid-template"])
        await store.forget("uid-template")
        for number in range(rows):
            # A tenth of the runs are of sessions that are gone, and half of one that is not.
            talk = number % sessions if number % 2 else 7
            light = SessionRun(
                uid=f"u{number:07}",
                session_name=f"agent-{talk}",
                session_uid="gone" if number % 10 == 1 else f"s-{talk}",
                phase="Completed" if number % 1000 else "Queued",
                cwd=None,
                updated_at=self.moment + timedelta(seconds=number),
                created=0,
            )
            store._place("team", light)

    def last(self, namespace: str, limit: int, before: Place | None) -> list[AgentSession]:
        found = super().last(namespace, limit, before)
        self.sessions += len(found)
        return found


async def test_a_call_reads_few_of_many_runs_and_sessions() -> None:
    team = Crowd()
    await team.fill(20_000, 100_000)
    store = team.counting
    wanted = (
        Wanted(), Wanted(status="idle"),
        Wanted(status=Status.QUEUED), Wanted(status=Status.RUNNING),
        Wanted(backend="gemini"), Wanted(folder="/workspace/nowhere"),
    )  # fmt: skip
    for one in wanted:
        for limit in (1, 100, 500):
            store.looked_at = store.asked = store.documents = team.sessions = 0
            page = await page_of_agents(store, team, "team", one, limit)
            assert len(page.agents) <= limit
            assert page.next_cursor is not None
            # One stretch may go beyond, and what comes of a stretch is read again.
            most = 2 * agent_pages._MOST_LOOKED_AT
            assert max(store.looked_at, team.sessions, store.asked) <= most
            assert store.documents <= agent_pages._MOST_READ + agent_pages._READ_AT_ONCE
            if one == Wanted():
                size = sum(shown_bytes(agent) for agent in page.agents)
                assert len(page.agents) == limit or size > PAGE_BYTES - 500
                assert store.documents < len(page.agents) + agent_pages._READ_AT_ONCE
                assert store.looked_at <= 5 * limit + 20
