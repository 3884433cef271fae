"""Minimal runs and observations for the tests of decisions."""

from datetime import UTC, datetime, timedelta
from typing import Any

from agentrun.api.v1alpha1 import (
    ActiveRun,
    AgentProfile,
    AgentRun,
    Condition,
    Outcome,
    Phase,
    Reason,
)
from agentrun.controller.actions import Action, DeletePod, SetStatus
from agentrun.controller.observed import (
    ContainerObservation,
    Failure,
    Observed,
    PodObservation,
    SessionObservation,
    WaitClass,
)
from agentrun.controller.settings import OperatorTimeouts

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
UID = "11111111-1111-1111-1111-111111111111"
POD_UID = "22222222-2222-2222-2222-222222222222"
TIMEOUTS = OperatorTimeouts()


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def ahead(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def stamp(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def a_run(
    phase: Phase | None = None,
    *,
    spec: dict[str, Any] | None = None,
    meta: dict[str, Any] | None = None,
    **status: Any,
) -> AgentRun:
    """Build a run; ``status`` uses Python's field names."""
    run = AgentRun.model_validate(
        {
            "metadata": {
                "name": "r",
                "namespace": "ns",
                "uid": UID,
                "resourceVersion": "7",
                "generation": 1,
                **(meta or {}),
            },
            "spec": {"backend": "codex", "prompt": "Fix it.", **(spec or {})},
            "status": status,
        }
    )
    return run.model_copy(update={"status": run.status.model_copy(update={"phase": phase})})


def cancelled(**more: Any) -> dict[str, Any]:
    return {"desiredState": "Cancelled", **more}


def a_started_run(phase: Phase = Phase.RUNNING, **more: Any) -> AgentRun:
    """Build a run whose first pod is known and whose agent works."""
    status: dict[str, Any] = {
        "attempts": 1,
        "pod_name": "r-1",
        "pod_uid": POD_UID,
        "start_time": ago(10),
        "agent": {"state": "Working", "promptSent": True},
    }
    return a_run(phase, **status | more)


def a_condition(
    kind: str, value: str, reason: str, since: datetime, message: str = ""
) -> Condition:
    return Condition.model_validate(
        {
            "type": kind,
            "status": value,
            "reason": reason,
            "message": message,
            "lastTransitionTime": since,
        }
    )


def on_a_node(since: datetime) -> Condition:
    return a_condition("PodScheduled", "True", "Scheduled", since)


def not_ready(since: datetime) -> dict[str, Any]:
    """Return status fields that record the agent as not ready."""
    return {"conditions": [a_condition("AgentReady", "False", "RunnerFailed", since)]}


def an_outcome(state: str = "Completed", attempt: int = 1, **more: Any) -> dict[str, Any]:
    return {"attempt": attempt, "state": state, **more}


def a_profile(**spec: Any) -> AgentProfile:
    return AgentProfile.model_validate(
        {
            "metadata": {"name": "codex", "namespace": "ns"},
            "spec": {"backend": "codex", "image": "registry/codex:1", **spec},
        }
    )


def a_session(*, held_by: str | None = UID, **more: Any) -> SessionObservation:
    """Build the session of the run, held by the run by default."""
    values: dict[str, Any] = {
        "name": "r",
        "exists": True,
        "backend": "codex",
        "resource_version": "3",
        "active": ActiveRun(name="r" if held_by == UID else "a", uid=held_by) if held_by else None,
        "first_in_line": "r",
    }
    return SessionObservation(**values | more)


RUNNING = ContainerObservation(started=True)


def ended(
    code: int = 0, reason: str = "Completed", at: datetime | None = None, message: str = ""
) -> ContainerObservation:
    return ContainerObservation(
        started=True, exit_code=code, ended=at or ago(1), reason=reason, message=message
    )


def a_pod(**more: Any) -> PodObservation:
    """Build a running pod."""
    values: dict[str, Any] = {
        "name": "r-1",
        "uid": POD_UID,
        "created": ago(10),
        "node": "node-1",
        "agent": RUNNING,
        "runner": RUNNING,
    }
    return PodObservation(**values | more)


def a_pending_pod(**more: Any) -> PodObservation:
    return a_pod(**{"agent": ContainerObservation(), "runner": ContainerObservation()} | more)


def a_finished_pod(**more: Any) -> PodObservation:
    return a_pod(**{"finished": True, "agent": ended(), "runner": ended()} | more)


def seen(**more: Any) -> Observed:
    """Build an observation in which nothing blocks the run."""
    values: dict[str, Any] = {"session": a_session(), "profile": a_profile()}
    return Observed(**values | more)


def outcome(**more: Any) -> Outcome:
    return Outcome.model_validate(an_outcome(**more))


def a_failure(
    reason: Reason, message: str = "why", wait_class: WaitClass = WaitClass.STUCK
) -> Failure:
    return Failure(reason, message, wait_class)


DELETE = DeletePod("r-1", POD_UID)


def told(actions: list[Action]) -> list[Any]:
    """Abbreviate actions: a status to its phase and reason; others are unchanged."""
    return [
        (str(action.status.phase), action.status.reason)
        if isinstance(action, SetStatus)
        else action
        for action in actions
    ]


def status_of(actions: list[Action]) -> Any:
    """Return the one status that is set."""
    (found,) = [action.status for action in actions if isinstance(action, SetStatus)]
    return found


def conditions_of(actions: list[Action]) -> dict[str, tuple[str, str]]:
    return {one.type: (one.status, one.reason) for one in status_of(actions).conditions}


RESUMES: dict[str, Any] = {"session": {"mode": "resume", "name": "s"}}
WAITING: dict[str, Any] = {"agent": {"state": "InputRequired", "promptSent": True}}
DONE: dict[str, Any] = {"agent": {"state": "Finished", "promptSent": True, "outcome": an_outcome()}}
FRESH: dict[str, Any] = {"agent": None}
