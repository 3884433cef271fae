"""
Writes runners' reports to ``status.agent``.

Each write is based on the run as read from the API server and has its resourceVersion, so that
several replicas can handle reports of one run. Within a process, the writes of a run are
serialized, which avoids conflicts. A server-side apply removes the fields that its manager omits,
so each write contains all of them: a report is merged into what is known.
"""

import asyncio
from weakref import WeakValueDictionary

from agentrun.api.v1alpha1 import AgentRun, AgentStatus, Outcome, Snapshot
from agentrun.store.base import ConflictError, FencedError, RunRow, RunStore, SealedError
from mcp_server.gateway.ports import Change, RunDirectory, RunGoneError
from mcp_server.gateway.problems import RequestError
from mcp_server.gateway.runner_identity import RunnerIdentity

# A restarted runner does not know these fields; their values stay valid.
_REMEMBERED = (
    "session_id", "acknowledged_input", "prompt_sent", "usage", "snapshot", "remote_ref",
)  # fmt: skip


class Reports:
    """Records runners' reports."""

    def __init__(self, store: RunStore, runs: RunDirectory) -> None:
        self._store = store
        self._runs = runs
        self._turns = WeakValueDictionary[str, asyncio.Lock]()

    async def state(self, runner: RunnerIdentity, reported: AgentStatus) -> Snapshot | None:
        """
        Write the agent's state, if it has changed.

        Returns the snapshot that a newer one has replaced, if any. Raises RequestError,
        RunGoneError, SealedError or FencedError.
        """
        if reported.outcome is not None:
            message = "AgentStatus: outcome: an outcome is sent to /v1/outcome, not with the state."
            raise RequestError("invalid", message)
        async with self._turn(runner.uid):
            run = await self._as_it_is(runner)
            before = run.status.agent
            await self._change(run, _state_change(runner, before, reported))
        replaced = before.snapshot if before else None
        if replaced is None or reported.snapshot is None or reported.snapshot.name == replaced.name:
            return None
        return replaced

    async def outcome(self, runner: RunnerIdentity, outcome: Outcome) -> None:
        """
        Write the outcome of the attempt. It is durable when this returns; repeats have no effect.

        Raises ConflictError if the attempt has another outcome.
        """
        if outcome.attempt != runner.attempt:
            message = f"Outcome: attempt: it is {outcome.attempt}, but the request is from attempt"
            raise RequestError("invalid", f"{message} {runner.attempt}. Send its own outcome.")
        async with self._turn(runner.uid):
            run = await self._as_it_is(runner)
            head = await self._store.head(runner.uid)
            await self._change(run, _outcome_change(runner, outcome, head.last_seq))

    async def _as_it_is(self, runner: RunnerIdentity) -> AgentRun:
        """Read the run from the API server: the store may be behind."""
        name = runner.run.metadata.name
        run = await self._runs.get(runner.run.metadata.namespace, name)
        if run is None or run.metadata.uid != runner.uid:
            raise RunGoneError(f"Run {name} was deleted.")
        return run

    async def _change(self, run: AgentRun, change: Change) -> None:
        changed = await self._runs.change_agent_status(run, change)
        if changed is not run:
            await self._store.record_run(RunRow(changed))

    def _turn(self, uid: str) -> asyncio.Lock:
        return self._turns.setdefault(uid, asyncio.Lock())


def _state_change(
    runner: RunnerIdentity, previous: AgentStatus | None, reported: AgentStatus
) -> Change:
    def change(run: AgentRun) -> AgentStatus | None:
        _check_alive(run, runner)
        before = run.status.agent
        if not is_same_state(before, previous):
            # A runner sends its states one after the other: it has aborted this request and sent
            # another to another replica. Only the runner knows which one is newer.
            message = f"Another report of run {run.metadata.name} was written concurrently."
            raise RequestError("unavailable", f"{message} Send the newest state again.")
        after = merge_state(before, reported, runner.attempt)
        return None if is_same(before, after) else after

    return change


def _outcome_change(runner: RunnerIdentity, outcome: Outcome, last_seq: int) -> Change:
    def change(run: AgentRun) -> AgentStatus | None:
        _check_alive(run, runner)
        known = run.status.agent.outcome if run.status.agent else None
        if known is None or known.attempt != outcome.attempt:
            return merge_outcome(run.status.agent, outcome)
        if is_same(known, outcome):
            return None
        name = run.metadata.name
        message = f"Attempt {outcome.attempt} of run {name} already has another outcome."
        raise ConflictError(message, last_seq)

    return change


def _check_alive(run: AgentRun, runner: RunnerIdentity) -> None:
    name = run.metadata.name
    if run.is_finished:
        raise SealedError(f"Run {name} has ended.")
    if run.attempts > runner.attempt:
        raise FencedError(f"Attempt {run.attempts} of run {name} has started.")


def merge_state(before: AgentStatus | None, said: AgentStatus, attempt: int) -> AgentStatus:
    """
    Return the status for a runner's reported state.

    Omitted fields are cleared: without ``question``, none is open. Fields that a restarted runner
    cannot know are retained unless they are explicitly null. The outcome of the same attempt is
    retained as well: it is reported separately.
    """
    before = before or AgentStatus()
    kept = {
        name: getattr(before, name)
        for name in _REMEMBERED
        if name not in said.model_fields_set and getattr(before, name) is not None
    }
    # Only a newer snapshot clears the error of an earlier one.
    if not {"snapshot", "snapshot_error"} & said.model_fields_set:
        kept["snapshot_error"] = before.snapshot_error
    outcome = before.outcome
    if outcome is not None and outcome.attempt != attempt:
        outcome = None
    status = said.model_copy(update={**kept, "attempt": attempt, "outcome": outcome})
    if before.acknowledged_input and status.acknowledged_input is not None:
        newest = max(before.acknowledged_input, status.acknowledged_input)
        status = status.model_copy(update={"acknowledged_input": newest})
    return status


def merge_outcome(before: AgentStatus | None, outcome: Outcome) -> AgentStatus:
    """Return the status with the outcome of the attempt."""
    before = before or AgentStatus()
    return before.model_copy(update={"attempt": outcome.attempt, "outcome": outcome})


def is_same(one: AgentStatus | Outcome | None, other: AgentStatus | Outcome | None) -> bool:
    """Whether both have the same serialized form."""
    return (one.to_json() if one else None) == (other.to_json() if other else None)


def is_same_state(one: AgentStatus | None, other: AgentStatus | None) -> bool:
    """Whether both are the same except for the fields that an outcome sets."""
    nothing = {"attempt": None, "outcome": None}
    return is_same(
        *((status or AgentStatus()).model_copy(update=nothing) for status in (one, other))
    )
