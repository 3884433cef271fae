"""What `kubectl describe` tells of a run."""

from typing import Any

import pytest

from agentrun.controller.events import EventRecorder, build_event
from agentrun.kube.api import Object
from agentrun.kube.errors import ApiError, ApiUnavailableError
from agentrun.kube.resources import EVENTS, Resource
from tests.unit.controller.fake_api import FakeApi
from tests.unit.controller.samples import NOW, ahead


def a_run(phase: str = "Running", reason: str = "Working", **status: Any) -> Object:
    return {
        "metadata": {"name": "r", "namespace": "ns", "uid": "u", "resourceVersion": "1"},
        "status": {"phase": phase, "reason": reason, "message": "The agent works.", **status},
    }


NOT_READY = {"conditions": [{"type": "AgentReady", "status": "False"}]}
UNKNOWN = {"conditions": [{"type": "PodTerminated", "status": "Unknown"}]}


@pytest.mark.parametrize(
    ("run", "kind"),
    [
        pytest.param(a_run(), "Normal", id="working"),
        pytest.param(a_run("Failed", "OutOfMemory"), "Warning", id="failed"),
        pytest.param(a_run("Rejected", "Refused"), "Warning", id="rejected"),
        pytest.param(a_run("Running", "Evicted"), "Warning", id="evicted"),
        pytest.param(a_run("Cancelled", "CancelRequested"), "Normal", id="cancelled"),
        pytest.param(a_run("Starting", "ImagePullFailed", **NOT_READY), "Warning", id="stuck"),
        pytest.param(a_run("Cancelling", "NodeLost", **UNKNOWN), "Warning", id="node-lost"),
    ],
)
def test_problems_are_warning_events(run: Object, kind: str) -> None:
    assert build_event(run, "operator", NOW)["type"] == kind


def test_an_event_reports_the_phase_of_the_run_and_its_reason() -> None:
    event = build_event(a_run(), "operator", NOW)
    assert (event["reason"], event["message"]) == ("Working", "Running: The agent works.")
    assert event["involvedObject"]["uid"] == "u"


def test_the_same_change_is_the_same_event() -> None:
    first, second = (build_event(a_run(), "operator", at) for at in (NOW, ahead(9)))
    other = build_event(a_run("Completed", "Completed"), "operator", NOW)
    assert first["metadata"]["name"] == second["metadata"]["name"] != other["metadata"]["name"]


async def test_a_repeated_change_is_one_event_with_a_newer_time() -> None:
    api = FakeApi()
    recorder = EventRecorder(api, "operator", lambda: NOW)
    recorder.record(a_run())
    recorder.record(a_run())
    for _ in range(2):
        await recorder.post_next()
    assert api.verbs(EVENTS) == ["create", "create", "patch"]
    assert len(api.objects) == 1


async def test_an_event_that_cannot_be_posted_does_not_block_others() -> None:
    api = FakeApi()
    recorder = EventRecorder(api, "operator", lambda: NOW)

    def refuse(verb: str, kind: Resource, name: str) -> None:
        api.before = lambda verb, kind, name: None
        raise ApiError(403, "Forbidden", "forbidden")

    api.before = refuse
    recorder.record(a_run())
    recorder.record(a_run("Completed", "Completed"))
    for _ in range(2):
        await recorder.post_next()
    assert [obj["reason"] for obj in api.objects.values()] == ["Completed"]


def failing(api: FakeApi, error: ApiError, times: int) -> None:
    """Have the API server answer the next requests with an error."""
    left = times

    def before(verb: str, kind: Resource, name: str) -> None:
        nonlocal left
        left -= 1
        if left >= 0:
            raise error

    api.before = before


@pytest.mark.parametrize(
    "error",
    [
        ApiUnavailableError("no route to host"),
        ApiUnavailableError("slow down", 429),
        ApiUnavailableError("etcdserver: no leader", 500),
        ApiError(409, "Conflict", "the quota has changed"),
    ],
    ids=["no-answer", "too-many-requests", "no-leader", "conflict"],
)
async def test_an_error_that_passes_costs_no_event(error: ApiError) -> None:
    api = FakeApi()
    recorder = EventRecorder(api, "operator", lambda: NOW, pauses=(0.0,))
    failing(api, error, 5)
    recorder.record(a_run())
    recorder.record(a_run("Completed", "Completed"))
    for _ in range(2):
        await recorder.post_next()
    assert [obj["reason"] for obj in api.objects.values()] == ["Working", "Completed"]


async def test_an_error_that_lasts_costs_one_event_after_a_while(
    caplog: pytest.LogCaptureFixture,
) -> None:
    api = FakeApi()
    recorder = EventRecorder(api, "operator", lambda: NOW, pauses=(0.01,), seconds=0.05)
    failing(api, ApiUnavailableError("no route to host"), 1000)
    recorder.record(a_run())
    await recorder.post_next()
    assert "was not posted: no route to host" in caplog.text
    assert len(api.calls) > 1
