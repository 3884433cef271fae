"""The steps after an agent's last turn: their order, their limits, and what comes of a late one."""

from collections.abc import Coroutine
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from agentrun.api.v1alpha1 import Outcome, OutcomeState, Reason, Result, Snapshot
from agentrun.runner import finish as module
from agentrun.runner.attempt import Attempt, AttemptResult
from agentrun.runner.finish import Limit, collect, finish, report, steps, stop, take_snapshot
from agentrun.runner.gateway import RunFinishedError
from agentrun.runner.git.git import GitError
from agentrun.runner.outcome import WAITING_END, End
from agentrun.runner.preparer import Prepared
from agentrun.runner.snapshot.manifest import DriverState
from agentrun.runner.snapshot.take import SnapshotError

DONE = End(OutcomeState.COMPLETED, Reason.COMPLETED, "", "done")
BROKEN = End(OutcomeState.FAILED, Reason.AGENT_EXITED, "It ended.")
CHANGE = Result(branch="b", commit="c" * 40)
TASK = cast(Any, SimpleNamespace())
BASE = cast(Any, SimpleNamespace())
PREPARED = Prepared(TASK, "/workspace", None, BASE)
OVER = AttemptResult(DONE, PREPARED, has_stopped=True)
ALIVE = "it is not certain that all of the agent's processes have ended"


@dataclass
class Played:
    """All parts of an attempt, as far as its end uses them, and a record of their calls."""

    calls: list[str] = field(default_factory=list)
    limits: list[tuple[float, float]] = field(default_factory=list)
    late: frozenset[float] = frozenset()
    """The steps whose time is up at once, by their seconds."""
    is_stopped: bool = False
    seconds_left: float = 8.0
    broken: End | None = None
    has_ended: bool = True
    driven: DriverState = field(
        default_factory=lambda: DriverState("s", prompt_sent=True, delivered=3)
    )
    refusals: int = 0
    """How often the final event finds a full disk."""
    error: Exception | None = None
    """The error of the change, and of the snapshot."""
    status: dict[str, Any] = field(default_factory=dict)

    @property
    def attempt(self) -> Attempt:
        parts = SimpleNamespace(
            settings=SimpleNamespace(patience=600.0),
            layout=SimpleNamespace(workspace="/workspace"),
            gateway=SimpleNamespace(delivered=self._delivered),
            journal=SimpleNamespace(add=lambda kind, data: self.calls.append(kind.value)),
            reporter=SimpleNamespace(update=self._update, settled=self._note("settled")),
            senders=SimpleNamespace(
                ship_again=lambda: self.calls.append("ship again"), drained=self._note("drained")
            ),
            driver=SimpleNamespace(
                end_session=self._end_session, stop=self._stop, state=lambda: self.driven,
                final_data=lambda state: {},
            ),
            git=None,
            outcomes=SimpleNamespace(
                change=self._change, final_events=self._final_event,
                outcome=self._outcome, deliver=self._note("outcome"),
                undelivered=lambda outcome: replace_reason(outcome, "StoreUnavailable"),
                write_termination_message=lambda _: self.calls.append("termination message"),
            ),
            supervisor=self,
            transcript=SimpleNamespace(log=lambda *_: None),
            redactor=SimpleNamespace(text=str),
        )  # fmt: skip
        return cast(Attempt, parts)

    def check_helpers(self) -> None:
        pass

    async def bounded(self, work: Coroutine[Any, Any, Any], seconds: float, share: float) -> Any:
        self.limits.append((seconds, share))
        if seconds in self.late:
            work.close()
            raise TimeoutError
        return await work

    def limit(self, seconds: float = 7.0) -> Limit:
        return Limit(cast(Any, self), seconds, 0.5)

    def _note(self, name: str) -> Any:
        async def note(*_: Any) -> None:
            self.calls.append(name)

        return note

    def _final_event(self, *_: Any) -> bool:
        self.calls.append("final event")
        return self.calls.count("final event") > self.refusals

    async def _delivered(self, seq: int) -> None:
        self.calls.append(f"delivered {seq}")

    async def _update(self, **fields: Any) -> None:
        self.status.update(fields)

    async def _end_session(self, seconds: float) -> None:
        self.calls.append(f"end session {seconds}")

    async def _stop(self) -> bool:
        self.calls.append("stop")
        return self.has_ended

    async def _change(self, *given: Any) -> tuple[End, Result]:
        self.calls.append("change")
        if self.error:
            raise self.error
        return given[-1], CHANGE

    def _outcome(self, end: End, result: Result | None) -> Outcome:
        reason = end.reason.value if end.reason else None
        return Outcome(
            attempt=1, state=end.state, reason=reason, message=end.message, result=result
        )


def replace_reason(outcome: Outcome, reason: str) -> Outcome:
    return outcome.model_copy(update={"reason": reason})


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> Played:
    it = Played()

    async def take(*_: Any) -> Snapshot:
        it.calls.append("snapshot")
        if it.error:
            raise it.error
        return Snapshot(name="snapshots/1", session_id="s", acknowledged_input=0)

    writer = SimpleNamespace(take=take)
    monkeypatch.setattr(module, "SnapshotWriter", lambda *_: writer)
    return it


async def test_all_steps_are_taken_in_order_each_with_its_limit(played: Played) -> None:
    result = await finish(played.attempt, AttemptResult(DONE, PREPARED))
    assert played.calls == [
        "end session 3.0", "stop", "change", "snapshot", "settled", "delivered 3", "final event",
        "ship again", "drained", "outcome", "termination message",
    ]  # fmt: skip
    assert played.limits == [(60, 0.3), (300, 0.5), (600, 0.5), (10, 0.3), (600, 1)]
    assert result.end == DONE
    assert (result.has_stopped, result.change) == (True, CHANGE)
    assert result.outcome is not None
    assert result.outcome.state is OutcomeState.COMPLETED


async def test_a_failed_run_takes_the_same_steps(played: Played) -> None:
    result = await finish(played.attempt, AttemptResult(BROKEN))
    assert played.calls == [
        "end session 3.0", "stop", "final event", "ship again", "drained", "outcome",
        "termination message",
    ]  # fmt: skip
    assert result.end == BROKEN


@pytest.mark.parametrize(
    ("is_stopped", "left", "seconds"), [(False, 1, 3), (True, 100, 3), (True, 8, 2)]
)
async def test_a_stop_signal_leaves_a_step_its_share_of_the_time(
    played: Played, is_stopped: bool, left: float, seconds: float
) -> None:
    played.is_stopped, played.seconds_left = is_stopped, left
    [first, *_] = steps(600)
    limit = Limit(cast(Any, played), first.seconds, first.share)
    assert limit.seconds_now == seconds
    await first.phase(played.attempt, OVER, limit)
    assert played.calls == [f"end session {limit.seconds_now}"]


@pytest.mark.parametrize(("has_ended", "late"), [(False, False), (True, True)])
async def test_nothing_is_collected_while_the_agent_may_be_running(
    played: Played, has_ended: bool, late: bool
) -> None:
    played.has_ended, played.late = has_ended, frozenset({60.0} if late else ())
    result = await finish(played.attempt, AttemptResult(DONE, PREPARED))
    assert not result.has_stopped
    assert {"change", "snapshot"}.isdisjoint(played.calls)
    assert (result.end.state, result.end.reason) == (OutcomeState.FAILED, Reason.RUNNER_FAILED)
    assert result.end.message.endswith(f"its change could not be collected: {ALIVE}")
    assert played.status["snapshot_error"].startswith(f"The workspace was not read: {ALIVE}.")


async def test_after_an_uncertain_end_the_message_reports_that_nothing_was_collected(
    played: Played,
) -> None:
    result = await collect(played.attempt, AttemptResult(BROKEN, PREPARED), played.limit())
    assert result.end.state is OutcomeState.FAILED
    assert result.end.message == (
        f"It ended. The workspace was not read: {ALIVE}. No change was collected."
    )


@pytest.mark.parametrize(
    ("error", "why"),
    [
        pytest.param(None, "it took too long", id="late"),
        pytest.param(GitError("no such ref"), "no such ref", id="git"),
        pytest.param(OSError("disk full"), "disk full", id="disk"),
        pytest.param(ValueError("not three"), "ValueError: not three", id="unforeseen"),
    ],
)
async def test_lost_change_fails_only_a_completed_run(
    played: Played, error: Exception | None, why: str
) -> None:
    played.error, played.late = error, frozenset(() if error else {7.0})
    answered = replace(OVER, end=replace(DONE, structured={"answer": 42}))
    result = await collect(played.attempt, answered, played.limit())
    assert result.end.reason is Reason.RUNNER_FAILED
    assert result.end.message == (
        f"The agent finished, but its change could not be collected: {why}"
    )
    assert (result.end.final_response, result.end.structured) == ("done", {"answer": 42})
    unchanged = replace(OVER, end=BROKEN)
    assert await collect(played.attempt, unchanged, played.limit()) == unchanged


@pytest.mark.parametrize(
    "result",
    [
        pytest.param(replace(OVER, prepared=None), id="not-prepared"),
        pytest.param(replace(OVER, prepared=replace(PREPARED, base=None)), id="no-repository"),
    ],
)
async def test_nothing_is_collected_without_a_repository(
    played: Played, result: AttemptResult
) -> None:
    assert await collect(played.attempt, result, played.limit()) == result
    assert played.calls == []


async def test_nothing_is_collected_or_stored_if_the_prompt_was_not_sent(
    played: Played,
) -> None:
    played.driven = DriverState("s")
    assert await collect(played.attempt, OVER, played.limit()) == OVER
    assert await take_snapshot(played.attempt, OVER, played.limit()) == OVER
    assert played.calls == []


async def test_restored_conversation_is_stored_again_although_nothing_was_sent(
    played: Played,
) -> None:
    played.driven = DriverState("s")
    origin = cast(Any, SimpleNamespace(is_own=True))
    resumed = replace(OVER, prepared=replace(PREPARED, origin=origin))
    await take_snapshot(played.attempt, resumed, played.limit())
    assert played.calls == ["snapshot", "settled"], "and no message was delivered"


@pytest.mark.parametrize(
    ("error", "why"),
    [
        pytest.param(None, "The conversation could not be stored: it took too long", id="late"),
        pytest.param(SnapshotError("It is too large."), "It is too large.", id="error"),
        pytest.param(
            KeyError("x"), "The conversation could not be stored: KeyError: 'x'", id="unforeseen"
        ),
    ],
)
async def test_run_that_waits_fails_without_a_snapshot(
    played: Played, error: Exception | None, why: str
) -> None:
    played.error, played.late = error, frozenset(() if error else {7.0})
    result = await take_snapshot(played.attempt, replace(OVER, end=WAITING_END), played.limit())
    assert result.end.reason is Reason.SESSION_NOT_RESUMABLE
    assert result.end.message.endswith(f"the run cannot be resumed: {why}")
    assert played.status["snapshot_error"] == why
    assert "delivered 3" not in played.calls


@pytest.mark.parametrize("step", [collect, take_snapshot])
async def test_run_that_finished_concurrently_ends_the_steps(played: Played, step: Any) -> None:
    played.error = RunFinishedError("sealed")
    with pytest.raises(RunFinishedError):
        await step(played.attempt, OVER, played.limit())


async def test_completed_run_needs_no_snapshot_to_report_its_messages(played: Played) -> None:
    played.error = SnapshotError("It is too large.")
    assert await take_snapshot(played.attempt, OVER, played.limit()) == OVER
    assert played.calls == ["snapshot", "reasoning", "settled", "delivered 3"]


@pytest.mark.parametrize("refusals", [1, 2])
async def test_final_event_is_stored_again_when_the_others_have_made_room(
    played: Played, refusals: int
) -> None:
    played.refusals = refusals
    result = await report(played.attempt, OVER, played.limit())
    assert result.outcome is not None
    begin = ["final event", "ship again", "drained", "final event"]
    again = ["drained"] if refusals == 1 else []
    assert played.calls == [*begin, *again, "outcome", "termination message"]


async def test_late_outcome_reports_that_events_are_lost(played: Played) -> None:
    played.late = frozenset({7.0})
    result = await report(played.attempt, OVER, played.limit())
    assert result.outcome is not None
    assert result.outcome.reason == "StoreUnavailable"
    assert played.calls == ["final event", "ship again", "termination message"]


async def test_failed_helper_determines_the_end_of_a_completed_run(played: Played) -> None:
    played.broken = BROKEN
    answered = replace(OVER, end=replace(DONE, structured={"n": 1}))
    result = await report(played.attempt, answered, played.limit())
    assert result.end == replace(BROKEN, final_response="done", structured={"n": 1})


async def test_stop_is_certain_only_if_the_driver_confirms_it(played: Played) -> None:
    result = AttemptResult(DONE, PREPARED)
    assert (await stop(played.attempt, result, played.limit())).has_stopped
    played.has_ended = False
    assert not (await stop(played.attempt, result, played.limit())).has_stopped
