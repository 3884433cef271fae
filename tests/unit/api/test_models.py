from datetime import UTC, datetime

import pytest

from agentrun.api.messages import AgentMessage, render_text
from agentrun.api.v1alpha1 import TERMINAL_PHASES, AgentRun, Phase


def test_initialisms_are_spelled_as_kubernetes_does() -> None:
    run = AgentRun.model_validate(
        {
            "spec": {"backend": "codex", "prompt": "x"},
            "status": {"podUID": "u", "agent": {"sessionID": "s", "usage": {"costUSD": "0.1"}}},
        }
    )
    assert run.to_json()["status"]["agent"] == {"sessionID": "s", "usage": {"costUSD": "0.1"}}
    assert run.status.pod_uid == "u"


def test_times_are_written_in_utc_with_milliseconds() -> None:
    run = AgentRun.model_validate({"spec": {"backend": "codex", "prompt": "x"}})
    run.status.start_time = datetime(2026, 1, 1, 12, 0, 0, 999_999, tzinfo=UTC)
    assert run.to_json()["status"]["startTime"] == "2026-01-01T12:00:00.999Z"


def test_unknown_fields_of_a_newer_version_are_ignored() -> None:
    body = {"spec": {"backend": "codex", "prompt": "x", "fromTheFuture": 1}}
    assert AgentRun.model_validate(body).spec.prompt == "x"


@pytest.mark.parametrize("phase", list(Phase))
def test_every_phase_has_a_status_name(phase: Phase) -> None:
    assert phase.status
    assert phase.is_terminal == (phase in TERMINAL_PHASES)


def test_starting_reads_as_queued() -> None:
    assert Phase.STARTING.status == Phase.QUEUED.status == "queued"


TEXT = {"type": "text", "text": "b"}
NAMED = {"type": "file", "uri": "u", "name": "n"}
BYTES = {"type": "file", "name": "n", "bytes_base64": "eA=="}


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        pytest.param([{"type": "text", "text": " a "}, TEXT], "a \n\nb", id="text"),
        pytest.param([{"type": "data", "data": {"a": 1}}], '{\n  "a": 1\n}', id="data"),
        pytest.param([NAMED], "Attached file: n", id="named-uri"),
        pytest.param([{"type": "file", "uri": "u"}], "Attached file: u", id="uri"),
        pytest.param([BYTES], "Attached file bytes: n", id="bytes"),
        pytest.param([{"type": "file", "bytes_base64": "eA=="}], "Attached file bytes", id="plain"),
    ],
)
def test_a_message_is_rendered_as_text(parts: list[object], text: str) -> None:
    assert render_text(AgentMessage.model_validate({"parts": parts})) == text
