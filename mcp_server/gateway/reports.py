"""Writing what runners report to ``status.agent``, one report of a run at a time."""

import asyncio
from weakref import WeakValueDictionary

from agentrun.api.v1alpha1 import AgentRun, AgentStatus, Outcome
from agentrun.store.base import Conflict, Fenced, RunRow, RunStore, Sealed
from mcp_server.gateway.merging import is_same, merge_outcome, merge_state
from mcp_server.gateway.ports import RunDirectory, RunGone
from mcp_server.gateway.problems import Refusal
from mcp_server.gateway.speakers import Speaker


class Reports:
    """Takes runners' reports."""

    def __init__(self, store: RunStore, runs: RunDirectory) -> None:
        self._store = store
        self._runs = runs
        self._turns = WeakValueDictionary[str, asyncio.Lock]()

    async def state(self, speaker: Speaker, said: AgentStatus) -> None:
        """Write how the agent is, if it is not known already."""
        if said.outcome is not None:
            message = "AgentStatus: outcome: an outcome is sent to /v1/outcome, not with the state."
            raise Refusal("invalid", message)
        async with self._turn(speaker.uid):
            row = await self._store.get_run_by_uid(speaker.uid)
            run = row.run if row else speaker.run
            await self._apply(run, merge_state(run.status.agent, said, speaker.attempt))

    async def outcome(self, speaker: Speaker, outcome: Outcome) -> None:
        """Write how the attempt ended, once. The API server has it when this returns."""
        if outcome.attempt != speaker.attempt:
            message = f"Outcome: attempt: it is {outcome.attempt}, but attempt {speaker.attempt}"
            raise Refusal("invalid", f"{message} speaks. Send the attempt's own outcome.")
        async with self._turn(speaker.uid):
            run = await self._as_it_is(speaker)
            known = run.status.agent.outcome if run.status.agent else None
            if known is None or known.attempt != outcome.attempt:
                await self._apply(run, merge_outcome(run.status.agent, outcome))
            elif not is_same(known, outcome):
                head = await self._store.head(speaker.uid)
                name = run.metadata.name
                message = f"Attempt {outcome.attempt} of run {name} has another outcome already."
                raise Conflict(message, head.last_seq)

    async def _as_it_is(self, speaker: Speaker) -> AgentRun:
        """Read the run from the API server: the store may not have seen an outcome written."""
        name = speaker.run.metadata.name
        run = await self._runs.get(speaker.run.metadata.namespace, name)
        if run is None or run.metadata.uid != speaker.uid:
            raise RunGone(f"Run {name} was deleted.")
        if run.phase.is_terminal:
            raise Sealed(f"Run {name} is over.")
        if run.attempts > speaker.attempt:
            raise Fenced(f"Attempt {run.attempts} of run {name} has begun.")
        return run

    async def _apply(self, run: AgentRun, status: AgentStatus) -> None:
        if is_same(run.status.agent, status):
            return
        applied = await self._runs.apply_agent_status(run, status)
        await self._store.record_run(RunRow(applied))

    def _turn(self, uid: str) -> asyncio.Lock:
        return self._turns.setdefault(uid, asyncio.Lock())
