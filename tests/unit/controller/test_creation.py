"""What a run says when the API server does not create its pod or its session."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from agentrun.kube.errors import ApiError, ApiUnavailableError
from agentrun.kube.resources import PODS, RUNS, SESSIONS, Resource
from dev.failures import find
from tests.failures import check_end, promised
from tests.unit.controller.operators import Operator, a_run_object

every_kind = pytest.mark.parametrize("kind", [PODS, SESSIONS], ids=lambda kind: kind.plural)


def refusing(
    refused: Resource, error: ApiError, verb: str = "create"
) -> Callable[[str, Resource, str], None]:
    """Return what has the API server answer the requests of one kind with an error."""

    def before(tried: str, kind: Resource, name: str) -> None:
        if (tried, kind) == (verb, refused):
            raise error

    return before


def check(operator: Operator, key: str) -> None:
    status = operator.run().status
    check_end(find(key), status.phase or "", status.reason or "", status.message or "")


@pytest.fixture
async def operator(operator: Operator) -> Operator:
    operator.api.put(RUNS, a_run_object())
    return operator


@every_kind
async def test_a_denial_with_any_code_is_reported_at_once(
    operator: Operator, kind: Resource
) -> None:
    denial = ApiError(413, "RequestEntityTooLarge", "policy 'p' denied request: no team")
    operator.api.before = refusing(kind, denial)
    await operator.reconcile(times=3)
    status = operator.run().status
    assert (status.phase, status.reason) == ("Queued", "PodRejected")
    assert status.message == denial.message
    operator.now += timedelta(seconds=61)
    await operator.reconcile()
    assert operator.run().status.phase == "Failed"


@promised("quota-unspecified")
async def test_a_quota_that_needs_a_limit_is_named(operator: Operator, key: str) -> None:
    refusal = 'pods "r-1" is forbidden: failed quota: house: must specify limits.cpu for: runner'
    operator.api.before = refusing(PODS, ApiError(403, "Forbidden", refusal))
    await operator.reconcile()
    operator.now += timedelta(seconds=61)
    await operator.reconcile()
    check(operator, key)


async def test_a_session_whose_acquisition_is_denied_is_reported(operator: Operator) -> None:
    denial = ApiError(422, "Invalid", 'admission webhook "w" denied the request: frozen')
    operator.api.before = refusing(SESSIONS, denial, verb="patch")
    await operator.reconcile()
    status = operator.run().status
    assert (status.phase, status.reason, status.message) == (
        "Queued",
        "PodRejected",
        denial.message,
    )


@promised("create-fails")
@every_kind
async def test_an_error_of_the_api_server_that_lasts_is_reported_and_bounded(
    operator: Operator, kind: Resource, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator.api.before = refusing(kind, ApiUnavailableError("etcdserver: no leader", 500))
    await operator.reconcile()
    assert operator.run().status.reason in (None, "Accepted")
    monkeypatch.setattr(operator.queue, "requeues_of", lambda key: 6)
    await operator.reconcile()
    assert operator.run().status.reason == find(key).reason
    operator.now += timedelta(seconds=601)
    await operator.reconcile()
    check(operator, key)


async def test_a_run_goes_on_once_the_api_server_creates_its_pod(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator.api.before = refusing(PODS, ApiUnavailableError("slow down", 429))
    monkeypatch.setattr(operator.queue, "requeues_of", lambda key: 6)
    await operator.reconcile()
    assert operator.run().status.reason == "FailedCreate"
    operator.api.before = lambda verb, kind, name: None
    await operator.reconcile()
    status = operator.run().status
    assert (status.phase, status.reason, status.attempts) == ("Starting", "PodPending", 1)
