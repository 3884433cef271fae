"""How the phases before an attempt's end follow each other: preparation, then the agent's work."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from agentrun.api.v1alpha1 import OutcomeState, Reason
from agentrun.runner.attempt import Attempt, AttemptResult, work
from agentrun.runner.gateway import RunFinishedError
from agentrun.runner.outcome import AttemptError, End
from agentrun.runner.preparer import Prepared
from agentrun.runner.snapshot.manifest import DriverState
from agentrun.runner.supervisor import Supervisor
from agentrun.runner.transcript import Transcript

DONE = End(OutcomeState.COMPLETED, Reason.COMPLETED, "", "done")
FAILED = End(OutcomeState.FAILED, Reason.AGENT_EXITED, "It ended.")
TASK = cast(
    Any,
    SimpleNamespace(
        head=SimpleNamespace(last_seq=0), acknowledged_input=0, spec=SimpleNamespace(prompt="x")
    ),
)
PREPARED = Prepared(TASK, "/workspace")


class Played:
    """The parts of an attempt, as far as its work uses them, and a record of their calls."""

    def __init__(self, end: End, *errors: Exception) -> None:
        self.end = end
        self.errors = list(errors)
        """Raised by the preparation, or else by the driver."""
        self.calls: list[str] = []
        self.is_busy = False
        self.interrupted = asyncio.Event()
        self.supervisor = Supervisor(30, Transcript())
        self.stop_message = "told to stop"

    @property
    def attempt(self) -> Attempt:
        parts = SimpleNamespace(
            settings=SimpleNamespace(patience=5.0),
            gateway=SimpleNamespace(task=self._task),
            journal=SimpleNamespace(start_after=lambda _: None),
            reporter=SimpleNamespace(update=self._update),
            preparer=SimpleNamespace(prepare=self._prepare),
            driver=self,
            supervisor=self.supervisor,
            transcript=SimpleNamespace(log=lambda *_: None),
            redactor=SimpleNamespace(text=str),
        )
        return cast(Attempt, parts)

    def state(self) -> DriverState:
        return DriverState(prompt_sent="run" in self.calls)

    async def start(self, *_: Any) -> None:
        self.calls.append("start")

    async def run(self) -> End:
        self.calls.append("run")
        if self.is_busy:
            self.supervisor._on_signal()
            await self.interrupted.wait()
        return self.end

    async def interrupt(self) -> None:
        self.calls.append("interrupt")
        self.interrupted.set()

    async def _task(self) -> Any:
        return TASK

    async def _update(self, **_: Any) -> None:
        pass

    async def _prepare(self, task: Any) -> Prepared:
        self.calls.append("prepare")
        if self.errors:
            raise self.errors.pop()
        return PREPARED


async def test_agent_starts_after_the_pod_is_prepared() -> None:
    played = Played(DONE)
    assert await work(played.attempt) == AttemptResult(DONE, PREPARED)
    assert played.calls == ["prepare", "start", "run"]


async def test_no_agent_starts_in_an_unprepared_pod() -> None:
    played = Played(DONE, AttemptError(Reason.PROFILE_INVALID, "no"))
    result = await work(played.attempt)
    assert result == AttemptResult(End(OutcomeState.FAILED, Reason.PROFILE_INVALID, "no"))
    assert played.calls == ["prepare"]


@pytest.mark.parametrize(
    ("end", "result"),
    [
        pytest.param(DONE, DONE, id="completed-all-the-same"),
        pytest.param(FAILED, End(OutcomeState.INTERRUPTED, None, "told to stop"), id="interrupted"),
    ],
)
async def test_stop_signal_interrupts_the_agent_and_waits_for_its_turn(
    end: End, result: End
) -> None:
    played = Played(end)
    played.is_busy = True
    assert await work(played.attempt) == AttemptResult(result, PREPARED)
    assert played.calls == ["prepare", "start", "run", "interrupt"]


async def test_run_that_was_finished_by_another_writer_ends_without_a_result() -> None:
    with pytest.raises(RunFinishedError):
        await work(Played(DONE, RunFinishedError("sealed")).attempt)
