"""Resolves the run of a call, by its run_id or by the name of its agent."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Annotated

from mcp.server.mcpserver.exceptions import ToolError
from pydantic import Field

from agentrun.api.names import agent_name as normalised
from agentrun.api.names import unique_run_id
from agentrun.api.status import Status
from agentrun.api.v1alpha1 import TERMINAL_PHASES, AgentSession, Phase
from agentrun.store.base import RunFilter, RunRow
from mcp_server.schemas.arguments import absolute_cwd, folder_of
from mcp_server.schemas.run_views import status_of
from mcp_server.tools.context import ToolContext

RunId = Annotated[
    str | None,
    Field(
        description="The run_id that spawn_run returned, or NAME@UID. Takes precedence over"
        " agent_name."
    ),
]
AgentName = Annotated[
    str | None,
    Field(
        description="Instead of run_id: the agent. Selects its active run, else its queued one,"
        " else its newest."
    ),
]
Cwd = Annotated[str | None, Field(description="With agent_name: only runs in this folder.")]
Namespace = Annotated[
    str | None, Field(description="The Kubernetes namespace. Default: the caller's own.")
]

_ACTIVE_PHASES = tuple(
    phase for phase in Phase if phase not in TERMINAL_PHASES and phase is not Phase.QUEUED
)
_EPOCH = datetime.fromtimestamp(0, UTC)
_NEWEST = 100


async def resolve(
    context: ToolContext,
    run_id: str | None,
    agent_name: str | None,
    cwd: str | None,
    namespace: str | None,
) -> RunRow:
    """
    Return the run of a call. Raises ToolError if there is none or the caller may not use it.

    A name that was used again is that of the newest run; ``NAME@UID`` is the run of that uid.
    """
    policy = context.policy()
    row = await _find(context, run_id, agent_name, cwd, await policy.namespace(namespace))
    await policy.authorize(row.run.metadata.namespace, row)
    return row


async def resolve_at(
    context: ToolContext,
    seq: int,
    run_id: str | None,
    agent_name: str | None,
    cwd: str | None,
    namespace: str | None,
) -> RunRow:
    """
    Return the run of a call that names a seq of its journal.

    Raises ToolError as ``resolve`` does, and if the seq may be of another run of the same name.
    """
    row = await resolve(context, run_id, agent_name, cwd, namespace)
    meta, given = row.run.metadata, (run_id or "").strip()
    unique = unique_run_id(meta.name, meta.uid)
    if seq and given == meta.name and await is_reused(context, row):
        raise ToolError(
            f"Several runs had the name {meta.name}, so seq {seq} may be of another run's journal."
            f" Call again with the run_id of the run that you were reading: {unique} is the newest,"
            " and list_runs shows the others. after_seq 0 reads the newest from its beginning."
        )
    return row


async def resolve_after(
    context: ToolContext,
    after_seq: int,
    run_id: str | None,
    agent_name: str | None,
    cwd: str | None,
    namespace: str | None,
) -> RunRow:
    """
    Return the run of a call that continues reading its journal after a seq.

    Raises ToolError as ``resolve_at`` does, and if the journal ended before the seq.
    """
    row = await resolve_at(context, after_seq, run_id, agent_name, cwd, namespace)
    if row.sealed and after_seq > row.last_seq:
        meta = row.run.metadata
        raise ToolError(
            f"after_seq {after_seq} is not of run {unique_run_id(meta.name, meta.uid)}, which has"
            f" ended with seq {row.last_seq}. list_runs shows all runs; after_seq 0 reads this one"
            " from its beginning."
        )
    return row


async def is_reused(context: ToolContext, row: RunRow) -> bool:
    """Whether other runs had the name of this run."""
    meta = row.run.metadata
    return bool(await context.store.reused_names(meta.namespace, [meta.name]))


async def run_id_of(context: ToolContext, row: RunRow) -> str:
    """Return the run_id of a run: its name, and its uid if other runs had the name."""
    meta = row.run.metadata
    return unique_run_id(meta.name, meta.uid) if await is_reused(context, row) else meta.name


async def _find(
    context: ToolContext,
    run_id: str | None,
    agent_name: str | None,
    cwd: str | None,
    where: str,
) -> RunRow:
    name, agent = (run_id or "").strip(), (agent_name or "").strip()
    if name:
        row = await context.runs.find_by_id(where, name)
        if row is None:
            raise ToolError(
                f"Unknown run_id: {name}. Call list_runs to see the runs in namespace {where}."
            )
        return row
    if not agent:
        raise ToolError("Provide run_id or agent_name")
    return await _resolve_agent(context, where, agent, (cwd or "").strip())


def choose(rows: Iterable[RunRow]) -> RunRow | None:
    """Choose the run for an agent's name: an active one, else a queued one, else the newest."""

    def rank(row: RunRow) -> tuple[bool, bool, datetime, datetime]:
        status = status_of(row)
        is_queued = status is Status.QUEUED
        is_active = not (is_queued or status.is_terminal)
        return is_active, is_queued, row.updated_at or _EPOCH, row.run.created or _EPOCH

    return max(rows, key=rank, default=None)


def is_in(row: RunRow, cwd: str | None) -> bool:
    """Return whether a run works in the folder ``cwd``; true without one."""
    return not cwd or folder_of(row.run) == absolute_cwd(cwd)


async def find_agent(
    context: ToolContext, namespace: str, agent: str, cwd: str | None
) -> AgentSession:
    """
    Return the session of an agent, by its name or session id.

    With ``cwd``, it must have a run in that folder. Raises ToolError if there is none.
    """
    agent, folder = agent.strip(), (cwd or "").strip()
    session = await _find_session(context, namespace, agent)
    if session is not None and folder:
        uids = ("", session.metadata.uid)
        rows = await _runs_of(
            context,
            namespace,
            session.metadata.name,
            lambda row: row.session_uid in uids and is_in(row, folder),
        )
        session = session if rows else None
    if session is None:
        raise _unknown_agent(namespace, agent, _in(folder))
    return session


async def session_called(context: ToolContext, namespace: str, agent: str, where: str = "") -> str:
    """
    Return the name of an agent's session, by its name (also before normalization) or session id.

    Raises ToolError if there is none.
    """
    session = normalised(agent)
    if session and await _runs_of(context, namespace, session):
        return session
    known = await _find_session(context, namespace, agent)
    if known is None:
        raise _unknown_agent(namespace, agent, where)
    return known.metadata.name


async def _find_session(context: ToolContext, namespace: str, agent: str) -> AgentSession | None:
    """Return the session of that name or id, else the one of the normalized name."""
    session = await context.runs.find_session(namespace, agent) if agent else None
    if session is None and normalised(agent) not in ("", agent):
        session = await context.runs.find_session(namespace, normalised(agent))
    return session


def _unknown_agent(namespace: str, agent: str, where: str) -> ToolError:
    return ToolError(
        f"Unknown agent_name{where}: {agent}."
        f" Call list_agents to see the agents in namespace {namespace}."
    )


async def _resolve_agent(context: ToolContext, namespace: str, agent: str, cwd: str) -> RunRow:
    session = await session_called(context, namespace, agent, _in(cwd))
    chosen = choose(await _runs_of(context, namespace, session, lambda row: is_in(row, cwd)))
    if chosen is None:
        raise ToolError(f"No runs found for agent_name{_in(cwd)}: {agent}")
    return chosen


async def _runs_of(
    context: ToolContext,
    namespace: str,
    session: str,
    is_meant: Callable[[RunRow], bool] = lambda _: True,
) -> list[RunRow]:
    """
    Return the candidate runs of a session: its active runs, else its queued ones, else the newest.

    Each group is read by itself, so that a long queue does not hide the active run.
    """
    for phases in (_ACTIVE_PHASES, (Phase.QUEUED,), None):
        which = RunFilter(namespaces=[namespace], session_name=session, phases=phases)
        page = await context.store.list_runs(which, _NEWEST)
        if found := [row for row in page.rows if is_meant(row)]:
            return found
    return []


def _in(cwd: str) -> str:
    return f" in cwd {cwd}" if cwd else ""
