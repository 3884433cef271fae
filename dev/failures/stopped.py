"""Runs that are stopped on request or by a deadline. They end when none of their pods is left."""

from agentrun.api.v1alpha1 import Phase, Reason
from dev.failures.row import Failure, Theme

_GRACE = "at most after the grace period of the run or the profile (30 s), if the node answers"

THEME = Theme(
    "The run is stopped",
    (
        Failure(
            key="cancelled",
            happened="A user cancels the run.",
            reason=Reason.CANCEL_REQUESTED,
            message=r"^Cancellation was requested",
            shows="Cancellation was requested by ada@example.org: not needed any more",
            bound=_GRACE,
            remedy="Nothing: none of its processes is left.",
            phase=Phase.CANCELLED,
        ),
        Failure(
            key="run-deleted",
            happened="A user deletes the AgentRun.",
            reason=Reason.DELETED,
            message=r"deleted",
            shows="The AgentRun was deleted before the run had ended.",
            bound=_GRACE,
            remedy="Its events are retained: `get_run` and `poll_events` still return it, with"
            " `NAME@UID` as run_id if the name was used again (`list_runs`).",
            phase=Phase.CANCELLED,
        ),
        Failure(
            key="namespace-deleted",
            happened="A user deletes the namespace while runs work in it.",
            reason=Reason.DELETED,
            message=r"deleted",
            shows="Namespace agents is being deleted.",
            bound=_GRACE,
            remedy="Its runs' events are retained: `get_run` and `poll_events` still return them.",
            phase=Phase.CANCELLED,
        ),
        Failure(
            key="pod-held",
            happened="A finalizer of another controller keeps the pod of a stopped run.",
            reason=Reason.CANCEL_REQUESTED,
            message=r"^Cancellation was requested",
            shows="Cancellation was requested.",
            bound="half a minute after the pod's deletion is due, if its containers have ended",
            remedy="Nothing for the run. The owner of the finalizer has to remove it.",
            phase=Phase.CANCELLED,
        ),
        Failure(
            key="deadline",
            happened="The agent hangs, or exceeds its deadline.",
            reason=Reason.DEADLINE_EXCEEDED,
            message=r"^The run worked longer than \d+ s\.",
            shows="The run worked longer than 3600 s.",
            bound="after `timeouts.activeDeadlineSeconds` of the run or the profile, else "
            "`operator.defaultDeadlineSeconds`",
            remedy="Check the last events; allow more time, or request less work.",
        ),
        Failure(
            key="input-timeout",
            happened="The run waits for a person, and nobody answers.",
            reason=Reason.INPUT_TIMEOUT,
            message=r"^Nobody answered within \d+ s\.$",
            shows="Nobody answered within 86400 s.",
            bound="after `timeouts.inputTimeoutSeconds` of the run or the profile, else a day",
            remedy="Answer earlier, or allow more time.",
        ),
    ),
)
