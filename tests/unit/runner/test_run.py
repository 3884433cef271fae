"""What an attempt makes of the errors of its own parts."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from agentrun.api.v1alpha1 import AgentStatus, Outcome, OutcomeState, Snapshot
from agentrun.runner.acp.driver import AcpDriver
from agentrun.runner.attempt import Attempt, AttemptResult
from agentrun.runner.finish import deliver
from agentrun.runner.gateway import Gateway, GatewayUnavailableError
from agentrun.runner.journal.journal import Journal
from agentrun.runner.journal.redact import Redactor
from agentrun.runner.layout import Layout
from agentrun.runner.outcome import End
from agentrun.runner.outcome_reporter import OutcomeReporter
from agentrun.runner.pipes import make_pipes
from agentrun.runner.run import run
from agentrun.runner.settings import Settings
from agentrun.runner.status_reporter import StatusReporter
from agentrun.runner.transcript import Transcript
from agentrun.runner.wiring import make_attempt
from tests.unit.runner.harness import RUN, FakeGateway, PlayedInit, a_gateway, prepare, serve
from tests.waiting import LATE_SECONDS


@asynccontextmanager
async def an_attempt(root: Path, gateway: FakeGateway) -> AsyncIterator[Attempt]:
    """Make an attempt in this process, whose agent never starts."""
    prepare(root)
    layout = Layout(root=root, init_program=root / "init")
    pipes = make_pipes(layout)
    redactor = Redactor()
    async with (
        serve(gateway.app()) as url,
        Gateway(url, layout.token, redactor.add) as client,
    ):
        settings = Settings(url, RUN, 1, "acp", None, grace=8, patience=5)
        yield make_attempt(settings, layout, pipes, client, Transcript(), redactor)
    pipes.close()


async def broken(*_: Any) -> None:
    raise ValueError("nobody expected this")


@pytest.mark.parametrize(
    ("part", "name", "events"),
    [
        pytest.param(StatusReporter, "run", ["run_failed"], id="reporter"),
        pytest.param(AcpDriver, "listen", ["run_failed"], id="listener"),
        pytest.param(Journal, "ship", [], id="journal"),
    ],
)
async def test_error_of_a_helper_determines_the_outcome_of_the_run(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    part: type,
    name: str,
    events: list[str],
) -> None:
    monkeypatch.setattr(part, name, broken)
    gateway = a_gateway(["say", "never"])
    async with an_attempt(tmp_path, gateway) as attempt:
        await asyncio.wait_for(run(attempt), LATE_SECONDS)
    assert gateway.outcome is not None
    assert (gateway.outcome.state, gateway.outcome.reason) == (OutcomeState.FAILED, "RunnerFailed")
    assert "ValueError: nobody expected this" in (gateway.outcome.message or "")
    assert gateway.outcome == Outcome.model_validate_json(left(tmp_path))
    assert gateway.types == events
    assert "Traceback" in caplog.text


async def test_helper_that_fails_at_the_end_delays_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: Callable[..., bool] = OutcomeReporter.final_events

    def then_break(*args: Any) -> bool:
        is_stored = told(*args)
        monkeypatch.setattr(Journal, "_send", broken)
        return is_stored

    monkeypatch.setattr(OutcomeReporter, "final_events", then_break)
    gateway = a_gateway(["say", "never"])
    async with an_attempt(tmp_path, gateway) as attempt:
        init = PlayedInit(tmp_path / "agentrun/pipes")
        init.say("started", "3", "end")
        await asyncio.wait_for(run(attempt), LATE_SECONDS)
        init.close()
    assert gateway.outcome is not None
    assert gateway.outcome.reason == "AgentExited"
    assert gateway.outcome == Outcome.model_validate_json(left(tmp_path))


@pytest.mark.parametrize("part", ["final_events", "outcome"])
async def test_error_at_the_end_also_determines_the_outcome_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    whole = getattr(OutcomeReporter, part)

    def fail(*_: Any) -> None:
        monkeypatch.setattr(OutcomeReporter, part, whole)
        raise ValueError("nobody expected this")

    monkeypatch.setattr(OutcomeReporter, part, fail)
    gateway = a_gateway(["say", "never"])
    async with an_attempt(tmp_path, gateway) as attempt:
        init = PlayedInit(tmp_path / "agentrun/pipes")
        init.say("started", "3", "end")
        await asyncio.wait_for(run(attempt), LATE_SECONDS)
        init.close()
    assert gateway.outcome is not None
    assert gateway.outcome.reason == "RunnerFailed"
    assert "nobody expected this" in (gateway.outcome.message or "")
    assert gateway.outcome == Outcome.model_validate_json(left(tmp_path))


def left(root: Path) -> str:
    return (root / "dev/termination-log").read_text()


async def test_the_outcome_is_reported_after_the_snapshot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gateway takes no state for a while: an outcome by then would end the run without it."""
    taken, tries = Gateway.state, list[None]()

    async def away_at_first(gateway: Gateway, status: AgentStatus) -> Any:
        tries.append(None)
        if len(tries) < 3:
            raise GatewayUnavailableError("the gateway starts again")
        return await taken(gateway, status)

    monkeypatch.setattr(Gateway, "state", away_at_first)
    monkeypatch.setattr("agentrun.runner.gateway._PAUSES", (0.02,))
    gateway = a_gateway()
    async with an_attempt(tmp_path, gateway) as attempt:
        reporting = asyncio.create_task(attempt.reporter.run())
        attempt.senders.reporting = reporting
        snapshot = Snapshot(name="snapshots/1", session_id="s", acknowledged_input=0)
        await attempt.reporter.update(snapshot=snapshot)
        end = End(OutcomeState.INTERRUPTED, None, "Nobody answered.", waiting=True)
        await deliver(attempt, AttemptResult(end))
        reporting.cancel()
    assert gateway.asked == ["POST /v1/state", "POST /v1/outcome"]
