"""What is told at the end of an attempt, without secrets."""

import json
from errno import ENOSPC
from pathlib import Path

import pytest

from agentrun.api.v1alpha1 import Outcome, OutcomeState, Reason, Result
from agentrun.runner.gateway import Gateway
from agentrun.runner.journal.journal import Journal
from agentrun.runner.journal.redact import REDACTED, Redactor
from agentrun.runner.journal.spool import Spool
from agentrun.runner.outcome import End
from agentrun.runner.outcome_reporter import OutcomeReporter
from dev.failures import find
from tests.failures import check_end


class NoGateway(Gateway):
    """Is never asked."""

    def __init__(self) -> None:
        return


def a_delivery(root: Path, *secrets: str) -> OutcomeReporter:
    redactor, gateway = Redactor(secrets), NoGateway()
    journal = Journal(Spool(root / "spool"), gateway, redactor, 1, lambda kind, data: None)
    return OutcomeReporter(journal, gateway, redactor, 1, root / "termination-log")


def test_outcome_with_many_secrets_stays_within_its_limit(tmp_path: Path) -> None:
    delivery = a_delivery(tmp_path, "s3cr3t")
    text = "s3cr3t " * 5000
    end = End(OutcomeState.FAILED, Reason.RUNNER_FAILED, text, text, {"s3cr3t": text})
    outcome = delivery.outcome(end, Result(branch="work"))
    Outcome.model_validate_json(outcome.model_dump_json())
    assert outcome.result is not None
    assert (outcome.message or "").startswith(REDACTED)
    assert (outcome.result.summary or "").startswith(REDACTED)
    assert outcome.result.branch == "work"
    assert "s3cr3t" not in outcome.model_dump_json()


def test_patch_keeps_its_bytes_except_secrets(tmp_path: Path) -> None:
    delivery = a_delivery(tmp_path, "pässwörd €")
    raw, clean = tmp_path / "raw", tmp_path / "clean"
    raw.write_bytes(b"+\xff\r\n+" + "pässwörd €, größer\n".encode())
    size = delivery._clean(raw, clean)
    assert clean.read_bytes() == b"+\xff\r\n+[redacted]" + ", größer\n".encode()
    assert size == len(clean.read_bytes())


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        (OutcomeState.COMPLETED, "run_completed"),
        (OutcomeState.FAILED, "run_failed"),
        (OutcomeState.REJECTED, "rejected"),
    ],
)
def test_last_event_has_the_data_of_the_conversation(
    tmp_path: Path, state: OutcomeState, kind: str
) -> None:
    delivery = a_delivery(tmp_path)
    delivery.final_events(End(state, None, "so"), None, {"task_id": "t"})
    [event] = delivery.journal._spool.peek(1, 1)
    told = json.loads(event.body)
    assert (told["type"], told["data"]["task_id"]) == (kind, "t")


def test_structured_answer_that_is_too_large_for_the_status_is_named(tmp_path: Path) -> None:
    delivery = a_delivery(tmp_path)
    answer = ["x" * 1000] * 600
    end = End(OutcomeState.COMPLETED, Reason.COMPLETED, structured=answer)
    outcome = delivery.outcome(end, None)
    assert outcome.result is not None
    assert outcome.result.structured is None
    assert outcome.state is OutcomeState.COMPLETED
    assert "artifact /structured_output" in (outcome.message or "")
    assert len(outcome.model_dump_json()) < 100_000
    delivery.final_events(end, None, {})
    [event] = delivery.journal._spool.peek(1, 1)
    [blob] = event.blobs
    assert json.loads(blob.path.read_bytes()) == answer
    assert "/structured_output" in json.loads(event.body)["data"]["artifact_refs"]


@pytest.mark.parametrize(
    "answer",
    [{"score": float("nan")}, {"text": "\ud83d"}, {"list": [0] * 90_001}],
    ids=["nan", "surrogate", "values"],
)
def test_no_part_of_an_answer_stands_for_the_whole(tmp_path: Path, answer: object) -> None:
    end = End(OutcomeState.COMPLETED, Reason.COMPLETED, structured=answer)
    outcome = a_delivery(tmp_path).outcome(end, None)
    assert outcome.result is not None
    assert outcome.result.structured is None
    assert (outcome.message or "").startswith("The structured answer")
    assert "It is not in the run's status." in (outcome.message or "")


@pytest.mark.failure("runner-disk-full")
def test_outcome_reports_events_that_did_not_fit_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_space(*_: object) -> None:
        raise OSError(ENOSPC, "No space left on device")

    delivery = a_delivery(tmp_path)
    end = End(OutcomeState.COMPLETED, Reason.COMPLETED, "", "done", {"n": 1})
    monkeypatch.setattr("agentrun.runner.journal.spool._write", no_space)
    assert not delivery.final_events(end, None, {})
    outcome = delivery.outcome(end, None)
    message = outcome.message or ""
    check_end(find("runner-disk-full"), outcome.state.value, outcome.reason or "", message)
    assert outcome.result is not None
    assert (outcome.result.summary, outcome.result.structured) == ("done", {"n": 1})
