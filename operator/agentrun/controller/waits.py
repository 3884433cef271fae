"""
Runs that wait for input without a pod, and whether an answer is pending.

A pod is terminated when its run waits for long, and a run that waits survives the loss of its pod.
The run then resumes from the snapshot alone: the snapshot records which inputs it contains, and
every later input is sent again.
"""

from agentrun.api.v1alpha1 import AgentRun, AgentState, Outcome, OutcomeState, Phase, Reason
from agentrun.controller.observed import PodObservation
from agentrun.controller.outcomes import Ending, ending_of, has_ended, outcome_of
from agentrun.controller.status import agent_of

_WAITING = (AgentState.INPUT_REQUIRED, AgentState.AUTH_REQUIRED)


def is_waiting_outcome(outcome: Outcome | None) -> bool:
    """Whether a runner ended its attempt in order to wait without a pod."""
    is_interrupted = outcome is not None and outcome.state is OutcomeState.INTERRUPTED
    return bool(is_interrupted and outcome and outcome.waiting)


def waits_without_pod(run: AgentRun, pod: PodObservation | None) -> bool:
    """Whether the run, given that nothing of its newest pod runs, still waits for input."""
    outcome, agent = outcome_of(run, pod), agent_of(run)
    if has_ended(outcome) or agent is None or agent.kept is None:
        return False
    if is_waiting_outcome(outcome):
        return True
    if agent.state not in _WAITING:
        return False
    # After a fault, work that is not in the snapshot would be repeated, and fail again.
    is_all_in_it = agent.kept.acknowledged_input >= (agent.acknowledged_input or 0)
    return ending_of(run, pod).lost or is_all_in_it


def has_pending_input(run: AgentRun) -> bool:
    """Whether there is an input that the next attempt does not have in its snapshot."""
    agent = run.status.agent
    known = agent.acknowledged_input if agent else None
    if agent is not None and agent.kept is not None:
        known = agent.kept.acknowledged_input
    return run.newest_input > (known or 0)


def has_unsaved_progress(run: AgentRun) -> bool:
    """Whether the newest attempt sent its agent anything that is not in the snapshot."""
    agent = run.status.agent
    if agent is None or not agent.prompt_sent:
        return False
    if agent.kept is None or not run.status.continuations:
        return True
    is_new = agent_of(run) is None or agent.state is AgentState.PREPARING
    return not is_new and (agent.acknowledged_input or 0) > agent.kept.acknowledged_input


def waiting_phase(run: AgentRun) -> tuple[Phase, Reason, str]:
    """Return the phase, reason and message of a run that waits for input."""
    agent = run.status.agent
    question = agent.question if agent else None
    text = question.text if question else ""
    wants_auth = question is not None and question.kind == "auth"
    if wants_auth or (agent is not None and agent.state is AgentState.AUTH_REQUIRED):
        return Phase.AUTH_REQUIRED, Reason.AUTH_REQUIRED, text or "The agent needs credentials."
    return Phase.INPUT_REQUIRED, Reason.QUESTION, text or "The agent waits for an answer."


def not_resumable_ending(run: AgentRun) -> Ending:
    """Return the ending of a run that waits without a snapshot, so that no answer can resume it."""
    said = run.status.agent.snapshot_error if run.status.agent else None
    why = said or "The runner stored no snapshot of the conversation."
    message = f"The run cannot resume after its wait: {why} Run it again from the start."
    return Ending(Phase.FAILED, Reason.SESSION_NOT_RESUMABLE, message)
