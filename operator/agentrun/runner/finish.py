"""
The end of an attempt, as a list of steps: every attempt ends with all of them, in this order.

The agent is stopped, the change is collected once no process of the agent is alive, a snapshot is
taken, the remaining events are sent to the gateway, and then the outcome. Each step has a limit,
and after a stop signal a share of the time that is left.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from agentrun.api import pod_layout
from agentrun.api.events import EventType
from agentrun.api.v1alpha1 import Outcome, OutcomeState, Reason
from agentrun.runner.attempt import Attempt, AttemptResult
from agentrun.runner.gateway import RunFinishedError, report_delivered
from agentrun.runner.git.git import GitError
from agentrun.runner.outcome import End, end_of_error
from agentrun.runner.snapshot.take import SnapshotError, SnapshotWriter
from agentrun.runner.supervisor import Supervisor

_CLOSE_SECONDS = 3.0
_END_SECONDS = 60.0
"""The limit, in seconds, for all of the agent's processes to end after the agent was stopped."""
_SNAPSHOT_SECONDS = 600.0
_SETTLE_SECONDS = 10.0
_COLLECT_SECONDS = float(pod_layout.COLLECT_SECONDS)
_LAST_RESORT_SECONDS = 15.0
_MAX_TEXT = 32_000
_ALIVE = "it is not certain that all of the agent's processes have ended"
_NOT_READ = f"The workspace was not read: {_ALIVE}. No change was collected."

log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True)
class Limit:
    """The time of a step: ``seconds``, and after a stop signal a ``share`` of what is left."""

    supervisor: Supervisor
    seconds: float
    share: float

    @property
    def seconds_now(self) -> float:
        """The step's time, if no stop signal arrives during it."""
        if not self.supervisor.is_stopped:
            return self.seconds
        return min(self.seconds, self.supervisor.seconds_left * self.share)

    async def bound(self, work: Coroutine[Any, Any, T]) -> T:
        """Await ``work``. Raises TimeoutError when the step's time is up."""
        return await self.supervisor.bounded(work, self.seconds, self.share)


Phase = Callable[[Attempt, AttemptResult, Limit], Awaitable[AttemptResult]]


@dataclass(frozen=True)
class Step:
    """A phase with its limits."""

    phase: Phase
    seconds: float
    share: float


def steps(patience: float) -> list[Step]:
    """List the steps; the last one waits for the gateway, for up to ``patience`` seconds."""
    return [
        Step(end_session, _CLOSE_SECONDS, 0.25),
        Step(stop, _END_SECONDS, 0.3),
        Step(collect, _COLLECT_SECONDS, 0.5),
        Step(take_snapshot, _SNAPSHOT_SECONDS, 0.5),
        Step(report, patience, 1),
    ]


async def finish(attempt: Attempt, result: AttemptResult) -> AttemptResult:
    """Stop the agent, collect the change, take a snapshot, and deliver the outcome."""
    for step in steps(attempt.settings.patience):
        limit = Limit(attempt.supervisor, step.seconds, step.share)
        result = await step.phase(attempt, result, limit)
    return result


async def end_session(attempt: Attempt, result: AttemptResult, limit: Limit) -> AttemptResult:
    """Close the agent's session, so that the agent writes the conversation to disk."""
    with _noting_a_full_disk():
        await attempt.driver.end_session(limit.seconds_now)
    return result


async def stop(attempt: Attempt, result: AttemptResult, limit: Limit) -> AttemptResult:
    """Stop the agent, and wait until it is certain that no process of it is alive."""
    try:
        return replace(result, has_stopped=await limit.bound(attempt.driver.stop()))
    except TimeoutError:
        return result


async def collect(attempt: Attempt, result: AttemptResult, limit: Limit) -> AttemptResult:
    """
    Collect the change regardless of the end's state: a failed run's work is kept, too.

    Nothing that the agent could still change is read; the end's message states that.
    """
    end, prepared = result.end, result.prepared
    base = prepared.base if prepared else None
    has_change = base is not None and attempt.driver.state().prompt_sent
    if not result.has_stopped:
        if has_change and end.state is OutcomeState.COMPLETED:
            return replace(result, end=_not_collected(end, _ALIVE))
        return replace(result, end=replace(end, message=f"{end.message} {_NOT_READ}".strip()))
    if prepared is None or base is None or not has_change:
        return result
    collecting = attempt.outcomes.change(attempt.git, base, attempt.layout, prepared.task, end)
    try:
        end, change = await limit.bound(collecting)
        return replace(result, end=end, change=change)
    except TimeoutError:
        return replace(result, end=_not_collected(end, "it took too long"))
    except (GitError, OSError) as error:
        return replace(result, end=_not_collected(end, str(error)))
    except RunFinishedError:
        raise
    except Exception as error:
        # A defect here must not cost the answer and the snapshot.
        log.exception("The change was not collected")
        return replace(result, end=_not_collected(end, f"{type(error).__name__}: {error}"))


async def take_snapshot(attempt: Attempt, result: AttemptResult, limit: Limit) -> AttemptResult:
    """Store conversation and workspace for later attempts. A completed run does not need it."""
    if not result.has_stopped:
        return await _report_no_snapshot(attempt, result, _NOT_READ)
    prepared, state = result.prepared, attempt.driver.state()
    if prepared is None or not state.session_id:
        return result
    # A restored conversation exists even if this attempt sent no prompt.
    if not (state.prompt_sent or (prepared.origin and prepared.origin.is_own)):
        return result
    patience = attempt.settings.patience
    writer = SnapshotWriter(attempt.layout, attempt.gateway, attempt.git, patience)
    try:
        snapshot = await limit.bound(writer.take(prepared.task, state, prepared.base))
    except TimeoutError:
        why = "The conversation could not be stored: it took too long"
        return await _report_no_snapshot(attempt, result, why)
    except SnapshotError as error:
        return await _report_no_snapshot(attempt, result, str(error))
    except RunFinishedError:
        raise
    except Exception as error:
        # A defect here must not cost the answer and the change.
        log.exception("No snapshot was taken")
        why = f"The conversation could not be stored: {type(error).__name__}: {error}"
        return await _report_no_snapshot(attempt, result, why)
    await attempt.reporter.update(snapshot=snapshot, snapshot_error=None)
    await _flush_status(attempt)
    await report_delivered(attempt.gateway, state.delivered)
    return result


async def report(attempt: Attempt, result: AttemptResult, limit: Limit) -> AttemptResult:
    """Record the final event, send the remaining events, and deliver the outcome."""
    result = _current(attempt, result)
    _log_end(attempt, result.end)
    is_stored = _add_final_event(attempt, result)
    attempt.senders.ship_again()
    try:
        outcome = await limit.bound(deliver(attempt, result, is_stored))
    except TimeoutError:
        late = _current(attempt, result)
        outcome = attempt.outcomes.undelivered(attempt.outcomes.outcome(late.end, late.change))
    _write_termination_message(attempt, outcome)
    return replace(result, outcome=outcome)


async def deliver(attempt: Attempt, result: AttemptResult, is_stored: bool = True) -> Outcome:
    """
    Deliver the outcome, once all events are sent or the task that sends them has ended.

    The events that are sent make room for the final event if it could not be stored.
    """
    await attempt.senders.drained()
    if not is_stored and _add_final_event(attempt, result):
        await attempt.senders.drained()
    outcome = attempt.outcomes.outcome(_current(attempt, result).end, result.change)
    await attempt.outcomes.deliver(outcome)
    return outcome


def _add_final_event(attempt: Attempt, result: AttemptResult) -> bool:
    with _noting_a_full_disk():
        more = attempt.driver.final_data(result.end.state)
        return attempt.outcomes.final_events(result.end, attempt.driver.state().usage, more)
    return False


async def fail(attempt: Attempt, error: Exception) -> None:
    """End the run after an error in the finalization itself, such as a full disk."""
    if attempt.outcomes.is_delivered:
        log.error("The runner failed after its outcome was reported", exc_info=error)
        return
    end = end_of_error(error)
    _log_end(attempt, end)
    outcome = attempt.outcomes.outcome(end, None)
    # The termination message first: it depends on nothing else.
    _write_termination_message(attempt, outcome)
    with suppress(TimeoutError, RunFinishedError):
        async with asyncio.timeout(_LAST_RESORT_SECONDS):
            await attempt.outcomes.deliver(outcome)


async def _report_no_snapshot(attempt: Attempt, result: AttemptResult, why: str) -> AttemptResult:
    """Report that there is no snapshot. A run that waits for input without a pod fails then."""
    why = attempt.redactor.text(why)
    attempt.transcript.log("!", why)
    with _noting_a_full_disk():
        attempt.journal.add(EventType.REASONING, {"text": why})
    await attempt.reporter.update(snapshot_error=why[:_MAX_TEXT])
    await _flush_status(attempt)
    if result.end.state is OutcomeState.COMPLETED:
        # No attempt follows, and the requests in the messages are done.
        await report_delivered(attempt.gateway, attempt.driver.state().delivered)
    if not result.end.waiting:
        return result
    message = f"There was no answer while the pod waited, and the run cannot be resumed: {why}"
    end = End(OutcomeState.FAILED, Reason.SESSION_NOT_RESUMABLE, message)
    return replace(result, end=end)


async def _flush_status(attempt: Attempt) -> None:
    """Wait until the gateway has the newest status: clients read it after the outcome."""
    with suppress(TimeoutError):
        settled = attempt.reporter.settled()
        await attempt.supervisor.bounded(settled, _SETTLE_SECONDS, share=0.3)


def _current(attempt: Attempt, result: AttemptResult) -> AttemptResult:
    """Return how the run ends, taking later errors of background tasks into account."""
    attempt.supervisor.check_helpers()
    broken, end = attempt.supervisor.broken, result.end
    if broken is None or end.state is not OutcomeState.COMPLETED:
        return result
    answered = replace(broken, final_response=end.final_response, structured=end.structured)
    return replace(result, end=answered)


def _log_end(attempt: Attempt, end: End) -> None:
    summary = f"{end.state.value}{f' ({end.reason})' if end.reason else ''}"
    attempt.transcript.log("-", attempt.redactor.text(f"{summary} {end.message}".strip()))


def _write_termination_message(attempt: Attempt, outcome: Outcome) -> None:
    attempt.outcomes.write_termination_message(outcome)
    result = outcome.result
    if result and result.commit:
        attempt.transcript.log(
            "-",
            f"{result.files_changed} files changed, +{result.insertions} "
            f"-{result.deletions}, {result.branch} at {result.commit[:12]}",
        )


@contextmanager
def _noting_a_full_disk() -> Iterator[None]:
    """Log an OSError of the block, so that the run can end without some of its final events."""
    try:
        yield
    except OSError as error:
        log.error("The run's last events cannot be stored: %s", error)


def _not_collected(end: End, why: str) -> End:
    """Return a failed end for a completed run whose change is lost; other ends are unchanged."""
    if end.state is not OutcomeState.COMPLETED:
        log.warning("The change was not collected: %s", why)
        return end
    message = f"The agent finished, but its change could not be collected: {why}"
    return replace(end, state=OutcomeState.FAILED, reason=Reason.RUNNER_FAILED, message=message)
