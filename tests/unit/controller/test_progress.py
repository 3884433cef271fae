"""
Nothing strands a run: whatever is there, it ends, goes on, or waits for something that is named.

The world around the run stands still while its clock goes on, and the kubelet is away: what is
done then is due to the run's own rules alone.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import product
from typing import Any

import pytest

from agentrun.api.v1alpha1 import ActiveRun, AgentRun, Phase, Reason
from agentrun.controller.actions import DeletePod, DeleteRun, RequeueAt, SetStatus
from agentrun.controller.decide import decide
from agentrun.controller.observed import (
    ContainerObservation,
    Observed,
    PodObservation,
    seconds_after,
)
from tests.unit.controller.samples import (
    NOW,
    POD_UID,
    TIMEOUTS,
    UID,
    a_pod,
    a_profile,
    a_run,
    a_session,
    ago,
    ahead,
    an_outcome,
    ended,
    seen,
)

_TURNS = 60
"""How often a run that is left alone may be looked at until it is known what it waits for."""
_SAMPLE = 4000

SNAPSHOT = {"name": "snapshots/1", "sessionID": "s"}
QUESTION = {"id": "q", "text": "Which?"}
AGENTS: dict[str, Any] = {
    "silent": None,
    "preparing": {"state": "Preparing"},
    "preparing-again": {"state": "Preparing", "promptSent": True, "snapshot": SNAPSHOT},
    "working": {"state": "Working", "promptSent": True},
    "asking": {"state": "InputRequired", "promptSent": True, "question": QUESTION},
    "asking-again": {
        "state": "InputRequired",
        "promptSent": True,
        "question": QUESTION,
        "snapshot": SNAPSHOT,
    },
    "asking-after-an-answer": {
        "state": "InputRequired",
        "promptSent": True,
        "question": QUESTION,
        "snapshot": SNAPSHOT,
        "acknowledgedInput": 1,
    },
    "asking-for-credentials": {
        "state": "AuthRequired",
        "promptSent": True,
        "snapshot": SNAPSHOT,
        "snapshotError": "It was too large.",
    },
    "finished": {"state": "Finished", "promptSent": True},
}
OUTCOMES: dict[str, Any] = {
    "none": None,
    "completed": {"state": "Completed"},
    "failed": {"state": "Failed", "reason": "AgentExited"},
    "interrupted": {"state": "Interrupted"},
    "left-to-wait": {"state": "Interrupted", "waiting": True},
}
UNSTARTED = ContainerObservation()
PODS: dict[str, PodObservation | None] = {
    "gone": None,
    "without-a-node": a_pod(node="", agent=UNSTARTED, runner=UNSTARTED),
    "starting": a_pod(agent=UNSTARTED, runner=UNSTARTED),
    "running": a_pod(),
    "without-its-agent": a_pod(agent=ended(1, "Error")),
    "without-its-runner": a_pod(runner=ended(1, "Error")),
    "over": a_pod(finished=True, agent=ended(), runner=ended()),
}
GOING: dict[str, datetime | None] = {"stays": None, "goes": ahead(20), "overdue": ago(3600)}
OTHERS: dict[str, tuple[PodObservation, ...]] = {
    "none": (),
    "kept-by-a-finalizer": (
        a_pod(name="r-9", uid="9", finished=True, terminating_until=ago(3600)),
    ),
    "on-a-lost-node": (a_pod(name="r-9", uid="9", terminating_until=ago(3600)),),
    "alive": (a_pod(name="r-9", uid="9"),),
}
SPECS: dict[str, dict[str, Any]] = {
    "wanted": {},
    "answered": {"inputs": [{"seq": 1, "message": {"parts": [{"type": "text", "text": "Yes."}]}}]},
    "cancelled": {"desiredState": "Cancelled"},
    "resumes": {"session": {"mode": "resume", "name": "r"}},
}
BUSY = ActiveRun(name="a", uid="other")
SESSIONS: dict[str, dict[str, Any]] = {
    "held": {},
    "held-by-another": {"active": BUSY},
    "held-by-one-that-is-over": {"active": BUSY, "holder_is_over": True},
    "free": {"active": None},
    "free-for-another": {"active": None, "first_in_line": "a"},
    "missing": {"exists": False, "active": None, "backend": ""},
}
DIMENSIONS: list[list[str]] = [
    ["0", "1", "2"], [*AGENTS], ["spoke", "spoke-before"], [*OUTCOMES], [*PODS], [*GOING],
    [*OTHERS], [*SPECS], [*SESSIONS], ["profile", "no-profile"], ["known-pod", "unknown-pod"],
]  # fmt: skip


@dataclass
class World:
    """A run, what there is of it, and the time."""

    run: AgentRun
    seen: Observed
    now: datetime = NOW

    def reconcile(self) -> tuple[bool, datetime | None]:
        """Decide and act; say whether that leads on, and else when to look again."""
        times, leads_on = [], False
        for action in decide(self.run, self.seen, TIMEOUTS, self.now):
            match action:
                case RequeueAt():
                    times.append(action.at)
                case SetStatus():
                    self.run = self.run.model_copy(update={"status": action.status})
                case DeletePod():
                    self._delete(action.uid)
                case _:
                    leads_on = True
        return leads_on, min(times, default=None)

    def _delete(self, uid: str) -> None:
        due = seconds_after(self.now, 30)

        def deleted(pod: PodObservation) -> PodObservation:
            return replace(pod, terminating_until=due) if pod.uid == uid else pod

        pod = deleted(self.seen.pod) if self.seen.pod else None
        self.seen = replace(self.seen, pod=pod, others=tuple(map(deleted, self.seen.others)))

    @property
    def not_ready_reason(self) -> str:
        """What the run waits for that no rule of its own brings: '' for nothing."""
        if self.run.is_finished:
            return "nothing: it is over"
        if self.run.status.reason == Reason.SESSION_BUSY:
            return "the run that holds its session, or is before it"
        if any(pod.is_terminating and not pod.finished for pod in self.seen.pods):
            return "the kubelet of a pod that is being deleted"
        return ""


def worlds() -> Iterator[tuple[str, World]]:
    """Yield a sample of all there may be, always the same."""
    everything = list(product(*DIMENSIONS))
    for names in random.Random(5).sample(everything, _SAMPLE):
        yield ", ".join(names), a_world(*names)


def a_world(*names: str) -> World:
    count, agent, spoke, outcome, pod, going, others, spec, session, profile, known = names
    attempts = int(count)
    observed = PODS[pod] if attempts else None
    if observed is not None:
        observed = replace(
            observed,
            name=f"r-{attempts}",
            attempt=attempts,
            terminating_until=GOING[going],
        )
    run = a_run(
        _phase(attempts, agent),
        spec=SPECS[spec],
        attempts=attempts or None,
        start_time=ago(10) if attempts else None,
        pod_uid=POD_UID if attempts and known == "known-pod" else None,
        agent=_said(attempts, agent, outcome, spoke) if attempts else None,
        waiting_since=ago(60) if attempts and agent.startswith("asking") else None,
    )
    around = seen(
        session=a_session(**{"held_by": UID, **SESSIONS[session]}),
        profile=a_profile() if profile == "profile" else None,
        pod=observed,
        others=OTHERS[others] if attempts else (),
    )
    return World(run, around)


def _phase(attempts: int, agent: str) -> Phase | None:
    if not attempts:
        return None
    return Phase.INPUT_REQUIRED if agent.startswith("asking") else Phase.RUNNING


def _said(attempts: int, agent: str, outcome: str, spoke: str) -> dict[str, Any] | None:
    said = AGENTS[agent]
    if said is None:
        return None
    attempt = max(1, attempts - 1) if spoke == "spoke-before" else attempts
    ending = OUTCOMES[outcome]
    ended_so = an_outcome(attempt=attempt, **ending) if ending else None
    return {**said, "attempt": attempt, "outcome": ended_so}


def left_alone(world: World) -> str:
    """Let time go by; say how it goes on."""
    for _ in range(_TURNS):
        before = world.run.status
        leads_on, at = world.reconcile()
        if leads_on:
            return "it goes on"
        if world.run.is_finished:
            return world.not_ready_reason
        if world.run.status != before:
            continue  # what it wrote gives it another turn
        if at is None:
            return world.not_ready_reason
        world.now = max(at, world.now)
    return ""


@pytest.mark.slow
def test_no_run_is_stranded() -> None:
    stranded = [name for name, world in worlds() if not left_alone(world)]
    assert not stranded, f"{len(stranded)} of {_SAMPLE}: {stranded[:5]}"


@pytest.mark.parametrize("spec", ["wanted", "answered", "cancelled"])
@pytest.mark.parametrize("agent", [*AGENTS])
def test_a_finished_pod_with_a_finalizer_blocks_nothing(spec: str, agent: str) -> None:
    kept = ("over", "overdue", "kept-by-a-finalizer", spec, "held", "profile", "known-pod")
    for outcome in OUTCOMES:
        world = a_world("1", agent, "spoke", outcome, *kept)
        assert left_alone(world), outcome


@pytest.mark.slow
def test_a_terminal_run_stays_terminal() -> None:
    for name, world in worlds():
        left_alone(world)
        if world.run.is_finished:
            end = world.run.status
            assert not any(isinstance(one, SetStatus) for one in _decided(world)), name
            world.now = seconds_after(world.now, 10 * 365 * 86_400)
            alive = any(not pod.finished for pod in world.seen.pods)
            held = world.seen.session.is_held_by(UID)
            is_deleted = any(isinstance(one, DeleteRun) for one in _decided(world))
            assert is_deleted or alive or held, (name, end)


def _decided(world: World) -> list[Any]:
    return decide(world.run, world.seen, TIMEOUTS, world.now)
