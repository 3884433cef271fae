from datetime import UTC, datetime
from typing import Any

import pytest

from agentrun.api.pod_layout import REQUESTED_AT
from agentrun.api.v1alpha1 import AgentRun
from agentrun.store.base import RunRow
from mcp_server.schemas.run_views import run_view, status_of, summary_of, timestamp
from tests.unit.mcp_server.cluster import run


def a_row(phase: str | None, journal: str | None = None, **more: Any) -> RunRow:
    status = {"phase": phase, "attempts": more.pop("attempts", 1), **more.pop("status", {})}
    spec = more.pop("spec", {})
    more = {"journal_attempt": status["attempts"]} | more
    made = AgentRun.model_validate(run("run-1", status, **spec))
    return RunRow(made, journal_status=journal, **more)


@pytest.mark.parametrize(
    ("row", "status"),
    [
        pytest.param(a_row(None), "queued", id="not-seen-yet"),
        pytest.param(a_row("Starting"), "queued", id="starting-reads-as-queued"),
        pytest.param(a_row("Starting", "running"), "running", id="journal-is-ahead"),
        pytest.param(a_row("Running", "input_required"), "input_required", id="journal-waits"),
        pytest.param(a_row("InputRequired", "running"), "running", id="journal-goes-on"),
        pytest.param(
            a_row("Starting", "running", attempts=2, journal_attempt=1),
            "queued",
            id="journal-is-of-the-pod-before",
        ),
        pytest.param(
            a_row("Starting", "input_required", attempts=2),
            "input_required",
            id="the-next-one-asks",
        ),
        pytest.param(a_row("Running", "completed"), "running", id="a-claim-is-no-end"),
        pytest.param(a_row("Queued", "completed"), "running", id="a-claim-is-of-one-that-ran"),
        pytest.param(a_row("InputRequired", "failed"), "running", id="a-claim-asks-nothing"),
        pytest.param(
            a_row("InputRequired", "failed", attempts=2, journal_attempt=1),
            "input_required",
            id="a-claim-of-the-pod-before",
        ),
        pytest.param(a_row("Completed", "running"), "completed", id="phase-ends-it"),
        pytest.param(a_row("Cancelled", "completed"), "cancelled", id="phase-beats-the-claim"),
        pytest.param(a_row("Cancelling", "running"), "cancelling", id="cancelling"),
        pytest.param(
            a_row("Running", "running", spec={"desiredState": "Cancelled"}),
            "cancelling",
            id="cancel-asked-for",
        ),
        pytest.param(
            a_row("Running", "running", deleted_at=datetime(2026, 1, 1, tzinfo=UTC)),
            "cancelling",
            id="deleted-alive",
        ),
    ],
)
def test_the_status_is_the_later_of_phase_and_journal(row: RunRow, status: str) -> None:
    assert status_of(row) == status


@pytest.mark.parametrize(
    ("row", "summary"),
    [
        pytest.param(a_row(None), "Run queued", id="queued"),
        pytest.param(
            a_row("Queued", status={"reason": "SessionBusy"}),
            "Run queued behind active session run",
            id="behind-another",
        ),
        pytest.param(a_row("Running"), "Status: running", id="nothing-said-yet"),
        pytest.param(a_row("Running", summary="Hello."), "Hello.", id="what-the-journal-says"),
        pytest.param(a_row("Completed", summary="Hello."), "Run completed", id="completed"),
        pytest.param(a_row("Cancelled"), "Run cancelled", id="cancelled"),
        pytest.param(a_row("Failed"), "Run failed", id="failed"),
        pytest.param(
            a_row("Failed", status={"message": "No quota."}), "Run failed: No quota.", id="why"
        ),
        pytest.param(a_row("Rejected", status={"message": "No."}), "Rejected: No.", id="rejected"),
        pytest.param(a_row("Rejected"), "Run rejected", id="rejected-without-a-word"),
    ],
)
def test_the_summary_describes_the_last_event(row: RunRow, summary: str) -> None:
    assert summary_of(row) == summary


AGENT = {"agentURL": "https://a.example", "agentName": "a", "contextID": "c", "taskID": "t"}


@pytest.mark.parametrize(
    ("backend", "agent", "ref"),
    [
        pytest.param("codex", {"state": "Preparing"}, None, id="not-known-yet"),
        pytest.param(
            "codex", {"sessionID": "s"}, {"provider": "codex", "conversation_id": "s"}, id="acp"
        ),
        pytest.param(
            "remote_a2a",
            {"sessionID": "c", "remoteRef": {"provider": "a2a", **AGENT}},
            {
                "provider": "remote_a2a", "conversation_id": "c", "context_id": "c",
                "task_id": "t", "agent_url": "https://a.example", "agent_name": "a",
            },
            id="remote",
        ),
    ],
)  # fmt: skip
def test_the_agents_own_ids_are_named(
    backend: str, agent: dict[str, Any], ref: dict[str, Any] | None
) -> None:
    row = a_row("Running", spec={"backend": backend}, status={"agent": agent})
    assert run_view(row).model_dump(exclude_none=True).get("remote_ref") == ref


def test_a_time_is_written_in_utc_with_milliseconds() -> None:
    assert timestamp(datetime(2026, 1, 2, 3, 4, 5, 678_900)) == "2026-01-02T03:04:05.678Z"  # noqa: DTZ001
    assert timestamp(None) is None


@pytest.mark.parametrize(
    ("requested_at", "started_at"),
    [
        pytest.param("2026-11-23T12:00:00.250Z", "2026-11-23T12:00:00.250Z", id="same-second"),
        pytest.param("2026-11-23T11:59:59.990Z", "2026-11-23T12:00:00.000Z", id="second-before"),
        pytest.param("2026-11-22T12:00:00.250Z", "2026-11-23T12:00:00.000Z", id="copied"),
        pytest.param("2026-11-23T12:00:00", "2026-11-23T12:00:00.000Z", id="no-zone"),
        pytest.param("soon", "2026-11-23T12:00:00.000Z", id="no-time"),
        pytest.param(None, "2026-11-23T12:00:00.000Z", id="with-kubectl"),
    ],
)
def test_a_run_starts_when_it_was_requested(requested_at: str | None, started_at: str) -> None:
    made = run("run-1", {"phase": "Queued"})
    made["metadata"]["creationTimestamp"] = "2026-11-23T12:00:00Z"
    if requested_at:
        made["metadata"].setdefault("annotations", {})[REQUESTED_AT] = requested_at
    assert run_view(RunRow(AgentRun.model_validate(made))).started_at == started_at


def test_an_end_in_whole_seconds_of_an_older_operator_is_not_before_the_start() -> None:
    at = "2026-11-23T12:00:00Z"
    made = run("run-1", {"phase": "Cancelled", "completionTime": at, "cancelledAt": at})
    requested = {REQUESTED_AT: "2026-11-23T12:00:00.700Z"}
    made["metadata"] |= {"creationTimestamp": at, "annotations": requested}
    view = run_view(RunRow(AgentRun.model_validate(made)))
    assert view.started_at == view.completed_at == view.cancelled_at == requested[REQUESTED_AT]
