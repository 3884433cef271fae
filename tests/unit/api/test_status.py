import pytest
from pydantic import TypeAdapter, ValidationError

from agentrun.api.status import Status
from agentrun.api.v1alpha1 import Phase


@pytest.mark.parametrize("phase", list(Phase))
def test_a_status_is_classified_like_its_phase(phase: Phase) -> None:
    assert phase.status.is_terminal == phase.is_terminal
    assert phase.status.is_waiting == phase.is_waiting


def test_every_status_belongs_to_a_phase() -> None:
    assert {phase.status for phase in Phase} == set(Status)


def test_a_live_status_needs_an_agent() -> None:
    live = {status for status in Status if status.is_live}
    assert live == {Status.RUNNING, Status.INPUT_REQUIRED, Status.AUTH_REQUIRED}


@pytest.mark.parametrize("word", ["paused", "", None, 1, ["queued"]])
def test_an_unknown_name_is_no_status(word: object) -> None:
    assert Status.parse(word) is None


def test_clients_see_only_the_text() -> None:
    adapter = TypeAdapter(Status)
    assert adapter.validate_python("queued") is Status.QUEUED
    assert adapter.json_schema() == {"enum": [status.value for status in Status], "type": "string"}
    with pytest.raises(ValidationError, match="Input should be 'queued', 'running', "):
        adapter.validate_python("paused")
