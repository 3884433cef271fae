"""What a run with an agent elsewhere says of the remote task when it ends."""

from typing import Any

import pytest

from agentrun.api.v1alpha1 import AgentRun, Phase
from agentrun.controller.endings import Ending, remote_task_message, with_remote_task
from tests.unit.controller.samples import a_started_run, an_outcome

REF = {"agentURL": "https://agent.example", "taskID": "t1"}
LOST = Ending(Phase.FAILED, "NodeLost", "The node is gone.", lost=True)
NOT_TOLD = "Remote task t1 of https://agent.example was not cancelled"


def a_remote_run(backend: str = "remote_a2a", **agent: Any) -> AgentRun:
    said = {"attempt": 1, "remoteRef": REF, **agent}
    return a_started_run(Phase.RUNNING, agent=said, spec={"backend": backend})


def test_stopped_runner_reports_what_became_of_the_task() -> None:
    run = a_remote_run(outcome=an_outcome("Interrupted", message="Remote task t1 is canceled."))
    assert remote_task_message(run) == "Remote task t1 is canceled."
    assert with_remote_task(run, LOST).message == "The node is gone. Remote task t1 is canceled."


def test_end_that_the_runner_reports_needs_no_more_text() -> None:
    run = a_remote_run(outcome=an_outcome("Failed", message="I cannot."))
    assert with_remote_task(run, LOST) == LOST


@pytest.mark.parametrize(
    "agent",
    [
        pytest.param({}, id="pod-was-lost"),
        pytest.param(
            {"outcome": an_outcome("Interrupted", waiting=True)}, id="waits-without-a-pod"
        ),
        pytest.param({"outcome": an_outcome("Interrupted", attempt=7)}, id="of-another-attempt"),
    ],
)
def test_task_that_nobody_could_cancel_is_named(agent: dict[str, Any]) -> None:
    assert (remote_task_message(a_remote_run(**agent)) or "").startswith(NOT_TOLD)


def test_lost_pod_leaves_the_remote_task_running_and_the_message_reports_it() -> None:
    message = with_remote_task(a_remote_run(), LOST).message
    assert message.startswith(f"The node is gone. {NOT_TOLD}")


@pytest.mark.parametrize(
    "run",
    [
        pytest.param(a_remote_run("codex"), id="agent-in-the-pod"),
        pytest.param(a_remote_run(remoteRef=None), id="no-task-yet"),
    ],
)
def test_where_there_is_no_remote_task_nothing_is_reported(run: AgentRun) -> None:
    assert remote_task_message(run) is None
    assert with_remote_task(run, LOST) == LOST
