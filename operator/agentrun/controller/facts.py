"""
What is known of a run at a reconcile.

Each fact is derived from the run and its observed state, at most once, and read by every rule that
depends on it.
"""

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from agentrun.api.resolve import RunTimeouts, timeouts_of
from agentrun.api.v1alpha1 import AgentRun, AgentState, AgentStatus, Outcome, Reason
from agentrun.controller.endings import Ending, ending_of, has_ended, outcome_of
from agentrun.controller.observed import Failure, Observed, PodObservation, seconds_after
from agentrun.controller.settings import OperatorTimeouts
from agentrun.controller.status import agent_of
from agentrun.controller.validation import validation_failure

_WAITING = (AgentState.INPUT_REQUIRED, AgentState.AUTH_REQUIRED)


@dataclass(frozen=True)
class Facts:
    """A run, its observed state, and what follows from them."""

    run: AgentRun
    observed: Observed
    settings: OperatorTimeouts
    now: datetime
    rejection: Failure | None = None
    """Why the API server has just rejected the pod or the session."""

    @cached_property
    def timeouts(self) -> RunTimeouts:
        """The effective timeouts of the run."""
        profile = self.observed.profile
        return timeouts_of(self.run.spec, profile.spec if profile else None, self.settings.of_runs)

    @property
    def pod(self) -> PodObservation | None:
        """The pod of the newest attempt; None means that it is known not to exist."""
        return self.observed.pod

    @cached_property
    def agent(self) -> AgentStatus | None:
        """What the newest attempt's runner reported; None before its first report."""
        return agent_of(self.run)

    @cached_property
    def outcome(self) -> Outcome | None:
        """The outcome of the newest attempt; None if there is none."""
        return outcome_of(self.run, self.pod)

    @property
    def has_ended(self) -> bool:
        """Whether the newest attempt ended by itself rather than being interrupted."""
        return has_ended(self.outcome)

    @property
    def has_exited_to_wait(self) -> bool:
        """Whether the runner ended the newest attempt in order to wait without a pod."""
        return self.outcome is not None and bool(self.outcome.waiting) and not self.has_ended

    @cached_property
    def has_lost_pod(self) -> bool:
        """Whether the newest attempt's pod is known to have existed, and is gone."""
        if self.pod is not None:
            return False
        agent = self.agent
        is_its_own = agent is not None and (self.run.attempts == 1 or agent.attempt is not None)
        has_reported = is_its_own and agent is not None and agent.state is not None
        return self.run.status.pod_uid is not None or has_reported or self.outcome is not None

    @property
    def is_over(self) -> bool:
        """Whether the newest attempt had a pod of which nothing runs any more."""
        return self.has_lost_pod or (self.pod is not None and self.pod.finished)

    @cached_property
    def ending(self) -> Ending:
        """How the newest attempt ended, given that it is over."""
        return ending_of(self.run, self.pod)

    @cached_property
    def waits_without_pod(self) -> bool:
        """Whether the run, given that its newest attempt is over, still waits for input."""
        agent = self.agent
        if self.has_ended or agent is None or agent.kept is None:
            return False
        if self.has_exited_to_wait:
            return True
        if agent.state not in _WAITING:
            return False
        # After a fault, work that is not in the snapshot would be repeated, and fail again.
        is_all_in_it = agent.kept.acknowledged_input >= (agent.acknowledged_input or 0)
        return self.ending.lost or is_all_in_it

    @cached_property
    def failure(self) -> Failure | None:
        """The failure that currently blocks the run; None if there is none."""
        # Once there was a pod, its outcome decides, even if the profile is now invalid or gone.
        if self.has_lost_pod or self.has_ended or self.has_exited_to_wait:
            return None
        if self.pod is not None:
            return self.pod.failure
        return self.rejection or validation_failure(self.run, self.observed)

    @cached_property
    def remaining_pods(self) -> tuple[PodObservation, ...]:
        """
        The pods whose removal is still to be awaited.

        A finished pod whose deletion is long overdue is excluded: only a foreign finalizer retains
        it.
        """
        return tuple(
            pod for pod in self.observed.pods if not (pod.finished and self._is_overdue(pod))
        )

    @cached_property
    def lost_node(self) -> Failure | None:
        """A failure if a node is overdue to confirm that a remaining pod has terminated."""
        pod = next((pod for pod in self.remaining_pods if self._is_overdue(pod)), None)
        if pod is None:
            return None
        where = f"Node {pod.node}" if pod.node else "The node"
        message = (
            f"{where} does not confirm that pod {pod.name} has terminated. Check whether the node"
            " is down."
        )
        return Failure(Reason.NODE_LOST, message)

    @cached_property
    def next_overdue(self) -> datetime | None:
        """When the deletion of the next remaining pod becomes overdue; None if there is none."""
        times = (self._overdue_at(pod) for pod in self.remaining_pods)
        return min((at for at in times if at is not None and at > self.now), default=None)

    def _is_overdue(self, pod: PodObservation) -> bool:
        at = self._overdue_at(pod)
        return at is not None and at <= self.now

    def _overdue_at(self, pod: PodObservation) -> datetime | None:
        """Return when the node of a terminating pod counts as lost; None if not terminating."""
        due = pod.terminating_until
        return None if due is None else seconds_after(due, self.settings.unreachable)
