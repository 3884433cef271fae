"""Runs that somebody, or a bound, stops. They end when nothing of them is left."""

from agentrun.api.v1alpha1 import Phase, Reason
from dev.failures.row import Failure, Theme

_GRACE = "at most the grace period of run and profile (30 s), if the node answers"

THEME = Theme(
    "The run is stopped",
    (
        Failure(
            key="cancelled",
            happened="Somebody cancels the run.",
            reason=Reason.CANCEL_REQUESTED,
            message=r"^Cancellation was requested",
            shows="Cancellation was requested by ada@example.org: not needed any more",
            bound=_GRACE,
            remedy="Nothing: no process of it is left.",
            phase=Phase.CANCELLED,
        ),
        Failure(
            key="run-deleted",
            happened="Somebody deletes the AgentRun.",
            reason=Reason.DELETED,
            message=r"deleted",
            shows="The AgentRun was deleted before the run had ended.",
            bound=_GRACE,
            remedy="Its events are kept: `get_run` and `poll_events` still know it.",
            phase=Phase.CANCELLED,
        ),
        Failure(
            key="namespace-deleted",
            happened="Somebody deletes the namespace while runs work in it.",
            reason=Reason.DELETED,
            message=r"deleted",
            shows="Namespace agents is being deleted.",
            bound=_GRACE,
            remedy="Its runs' events are kept: `get_run` and `poll_events` still know them.",
            phase=Phase.CANCELLED,
        ),
        Failure(
            key="pod-held",
            happened="The pod of a run that is stopped is held by somebody's finalizer.",
            reason=Reason.CANCEL_REQUESTED,
            message=r"^Cancellation was requested",
            shows="Cancellation was requested.",
            bound="half a minute after the pod should be gone, if its containers are over",
            remedy="Nothing for the run. Whoever put the finalizer there is to take it away.",
            phase=Phase.CANCELLED,
        ),
        Failure(
            key="deadline",
            happened="The agent hangs, or works too long.",
            reason=Reason.DEADLINE_EXCEEDED,
            message=r"^The run worked longer than \d+ s\.",
            shows="The run worked longer than 3600 s.",
            bound="after `timeouts.activeDeadlineSeconds` of run and profile, else "
            "`operator.defaultDeadlineSeconds`",
            remedy="Look at the last events; ask for more time, or for less work.",
        ),
        Failure(
            key="input-timeout",
            happened="The run waits for a person, and nobody answers.",
            reason=Reason.INPUT_TIMEOUT,
            message=r"^Nobody answered within \d+ s\.$",
            shows="Nobody answered within 86400 s.",
            bound="after `timeouts.inputTimeoutSeconds` of run and profile, else a day",
            remedy="Answer earlier, or allow more time.",
        ),
    ),
)
