"""Deciding about runs that are over: a row for every rule."""

from dataclasses import replace
from typing import Any

import pytest

from agentrun.api.v1alpha1 import AgentRun, Phase
from agentrun.controller.actions import (
    DeleteRun,
    ReleaseSession,
    RequeueAt,
)
from agentrun.controller.decide import decide
from agentrun.controller.observed import Observed
from tests.unit.controller.samples import (
    DELETE,
    NOW,
    TIMEOUTS,
    a_finished_pod,
    a_pod,
    a_run,
    a_session,
    ago,
    ahead,
    seen,
    told,
)


@pytest.mark.parametrize(
    ("run", "observed", "expected"),
    [
        pytest.param(
            a_run(Phase.COMPLETED, completion_time=ago(1)),
            seen(session=a_session(held_by="other")),
            [RequeueAt(ahead(604_799))],
            id="a-finished-run-is-kept",
        ),
        pytest.param(
            a_run(Phase.COMPLETED, completion_time=ago(1)),
            seen(),
            [ReleaseSession("r", "3"), RequeueAt(ahead(604_799))],
            id="a-finished-run-leaves-its-session",
        ),
        pytest.param(
            a_run(Phase.FAILED, completion_time=ago(1)),
            seen(pod=a_pod(), session=a_session(held_by=None)),
            [DELETE, RequeueAt(ahead(604_799))],
            id="nothing-of-a-finished-run-lives",
        ),
        pytest.param(
            a_run(Phase.COMPLETED, completion_time=ago(1)),
            seen(pod=a_finished_pod(), session=a_session(held_by=None)),
            [RequeueAt(ahead(604_799))],
            id="the-finished-pod-of-a-finished-run-is-kept-for-its-logs",
        ),
        pytest.param(
            a_run(Phase.COMPLETED, completion_time=ago(604_800)),
            seen(session=a_session(held_by=None)),
            [DeleteRun()],
            id="a-finished-run-goes-in-its-time",
        ),
        pytest.param(
            a_run(Phase.COMPLETED, completion_time=NOW, spec={"ttlSecondsAfterFinished": 0}),
            seen(session=a_session(held_by=None)),
            [DeleteRun()],
            id="a-finished-run-goes-at-once-if-asked-to",
        ),
        pytest.param(
            a_run(Phase.COMPLETED, completion_time=ago(604_800)),
            seen(),
            [ReleaseSession("r", "3"), RequeueAt(ahead(1))],
            id="a-finished-run-leaves-its-session-before-it-goes",
        ),
        pytest.param(
            a_run(
                Phase.COMPLETED,
                completion_time=ago(604_800),
                meta={"deletionTimestamp": "2026-11-23T11:59:00Z"},
            ),
            seen(session=a_session(held_by=None)),
            [],
            id="a-run-that-goes-is-not-deleted-again",
        ),
    ],
)
def test_what_follows_the_end(run: AgentRun, observed: Observed, expected: list[Any]) -> None:
    assert told(decide(run, observed, TIMEOUTS, NOW)) == expected


def test_a_finished_run_is_kept_if_neither_it_nor_the_operator_has_a_ttl() -> None:
    never, session = replace(TIMEOUTS, ttl=None), a_session(held_by=None)
    kept = a_run(Phase.COMPLETED, completion_time=ago(10**8))
    assert told(decide(kept, seen(session=session), never, NOW)) == []
    assert told(decide(kept, seen(pod=a_pod(), session=session), never, NOW)) == [DELETE]
    own = a_run(Phase.COMPLETED, completion_time=NOW, spec={"ttlSecondsAfterFinished": 0})
    assert told(decide(own, seen(session=session), never, NOW)) == [DeleteRun()]
