from typing import Any

import pytest

from agentrun.api.events import EventType
from agentrun.api.v1alpha1 import Phase
from agentrun.store.journal import JournalState, advance, event_status, summary_of
from tests.contract.builders import an_event


@pytest.mark.parametrize(
    ("kind", "data", "expected"),
    [
        pytest.param("run_started", {}, "running", id="started"),
        pytest.param("run_completed", {}, "completed", id="completed"),
        pytest.param("run_failed", {"message": "no"}, "failed", id="failed"),
        pytest.param("input_required", {}, "input_required", id="input"),
        pytest.param("auth_required", {}, "auth_required", id="auth"),
        pytest.param("rejected", {}, "rejected", id="rejected"),
        pytest.param("status_changed", {"status": "cancelling"}, "cancelling", id="changed"),
        pytest.param("status_changed", {"status": "queued"}, "queued", id="back-to-queued"),
        pytest.param("status_changed", {"status": "asleep"}, None, id="no-such-status"),
        pytest.param("status_changed", {"status": 7}, None, id="no-text"),
        pytest.param("status_changed", {}, None, id="no-status"),
        pytest.param("agent_message", {"status": "failed"}, None, id="no-such-event"),
    ],
)
def test_the_status_is_derived_from_the_event(kind: str, data: Any, expected: str | None) -> None:
    assert event_status(EventType(kind), data) == expected


@pytest.mark.parametrize(
    ("kind", "data", "expected"),
    [
        ("run_started", {}, "Run started"),
        ("status_changed", {"status": "cancelled"}, "Run cancelled"),
        ("status_changed", {"status": "input_required"}, "Waiting for additional input"),
        ("status_changed", {"status": "auth_required"}, "Authentication required"),
        ("status_changed", {"status": "running"}, "Status: running"),
        ("command_started", {"command": "ls\n  -la"}, "command_started: ls -la"),
        ("command_finished", {"command": "ls", "exit_code": 1}, "command_finished: ls"),
        ("tool_started", {"tool": "Read"}, "tool_started: Read"),
        ("tool_finished", {"tool": "Read"}, "tool_finished: Read"),
        ("file_changed", {"changes": [{"path": "a"}, {"path": "b"}]}, "Updated 2 file(s)"),
        ("file_changed", {}, "Updated 0 file(s)"),
        ("artifact_added", {"name": "patch"}, "Artifact: patch"),
        ("artifact_added", {"artifact": {"name": "patch"}}, "Artifact: patch"),
        ("artifact_added", {"artifact": "patch"}, "Added artifact"),
        ("todo_updated", {}, "Updated task checklist"),
        ("input_required", {"text": "Which one?"}, "Which one?"),
        ("input_required", {}, "Waiting for additional input"),
        ("auth_required", {}, "Authentication required"),
        ("rejected", {"message": "not mine"}, "Rejected: not mine"),
        ("rejected", {}, "Run rejected"),
        ("run_completed", {"final_response": "done"}, "Run completed"),
        ("run_failed", {"message": "no tokens"}, "Run failed: no tokens"),
        ("run_failed", {}, "Run failed"),
        ("reasoning", {"text": "hm"}, "Updated reasoning"),
        ("agent_message", {"text": " two\n\twords "}, "two words"),
        ("agent_message", {"text": "x" * 120}, "x" * 120),
        ("message_added", {"text": "x" * 121}, "x" * 117 + "..."),
        ("agent_message", {"text": "a\x00b\x1b[31mc"}, "a b [31mc"),
        ("agent_message", {"text": None}, ""),
        ("run_failed", {"message": "y" * 5000}, ("Run failed: " + "y" * 5000)[:1021] + "..."),
    ],
)
def test_the_summary_describes_the_event_in_one_line(kind: str, data: Any, expected: str) -> None:
    assert summary_of(EventType(kind), data) == expected


@pytest.mark.parametrize("kind", list(EventType))
def test_every_event_has_a_summary_for_any_data(kind: EventType) -> None:
    for data in ({}, {"text": 1, "status": [], "changes": "x", "message": {}, "artifact": None}):
        assert isinstance(summary_of(kind, data), str)


def test_a_closing_status_keeps_the_reason_that_was_given() -> None:
    failed = advance(JournalState(), an_event(1, type="run_failed", message="no tokens"))
    closed = advance(failed, an_event(2, type="status_changed", status="failed"))
    assert (closed.status, closed.summary) == ("failed", "Run failed: no tokens")


def test_a_closing_status_that_differs_takes_precedence() -> None:
    completed = advance(JournalState(), an_event(1, type="run_completed", final_response="x"))
    closed = advance(completed, an_event(2, type="status_changed", status="cancelled"))
    assert (closed.status, closed.summary) == ("cancelled", "Run cancelled")


def test_every_phase_has_a_status_of_the_journal() -> None:
    for phase in Phase:
        data = {"status": phase.status}
        assert event_status(EventType.STATUS_CHANGED, data) == phase.status
