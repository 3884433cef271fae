"""A follower hears of everything, and of an outage that is one namespace's own."""

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest

from agentrun.kube.api import Object
from agentrun.kube.errors import ApiError, ApiUnavailableError
from agentrun.kube.list_watch import PAUSES, follow, is_closed
from agentrun.kube.resources import SESSIONS, Resource
from tests.fake_kube import FakeKube
from tests.waiting import LATE_SECONDS


class Recorder:
    """Records what it receives, and fails as told."""

    def __init__(self) -> None:
        self.received: list[tuple[str, str, object]] = []
        self.failure: Exception | None = None
        self._arrived = asyncio.Event()

    def _record(self, what: str, namespace: str, value: object) -> None:
        self.received.append((what, namespace, value))
        self._arrived.set()

    async def listed(self, namespace: str, items: list[Object], version: int) -> None:
        if self.failure:
            raise self.failure
        assert version > 0
        self._record("listed", namespace, sorted(one["metadata"]["name"] for one in items))

    async def changed(self, namespace: str, manifest: Object, is_deleted: bool) -> None:
        assert manifest["metadata"]["namespace"] == namespace
        self._record(
            "deleted" if is_deleted else "changed", namespace, manifest["metadata"]["name"]
        )

    async def failed(self, namespace: str, error: Exception) -> None:
        self._record("failed", namespace, error)

    async def until(self, what: str, namespace: str, value: object) -> None:
        """Wait until it has received something, and strike that out."""
        async with asyncio.timeout(LATE_SECONDS):
            while (what, namespace, value) not in self.received:
                self._arrived.clear()
                await self._arrived.wait()
        self.received.remove((what, namespace, value))


class Kube(FakeKube):
    """Fails in some namespaces, and sends objects without their namespace."""

    def __init__(self) -> None:
        super().__init__()
        self.failing: dict[str, Exception] = {}

    async def list(
        self, resource: Resource, namespace: str, *, labels: str = "", fields: str = ""
    ) -> tuple[list[Object], str]:
        if namespace in self.failing:
            raise self.failing[namespace]
        return await super().list(resource, namespace, labels=labels, fields=fields)

    async def watch(
        self, resource: Resource, namespace: str, resource_version: str, seconds: int
    ) -> AsyncIterator[Object]:
        yield {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": resource_version}}}
        async for event in super().watch(resource, namespace, resource_version, seconds):
            if event["type"] != "ERROR":
                del event["object"]["metadata"]["namespace"]
            yield event


@pytest.fixture
def kube() -> Kube:
    return Kube()


@pytest.fixture
async def recorder(kube: Kube) -> AsyncIterator[Recorder]:
    made = Recorder()
    following = asyncio.create_task(
        follow(kube, SESSIONS, ["a", "b"], made, pauses=(0.0,), expected=(ApiError, KeyError))
    )
    for namespace in ("a", "b"):
        await made.until("listed", namespace, [])
    yield made
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


async def test_existing_objects_and_changes_are_observed(kube: Kube, recorder: Recorder) -> None:
    kube.add(SESSIONS, "a", {"metadata": {"name": "one"}})
    await recorder.until("changed", "a", "one")
    kube.add(SESSIONS, "b", {"metadata": {"name": "two"}})
    await recorder.until("changed", "b", "two")
    kube.remove(SESSIONS, "a", "one")
    await recorder.until("deleted", "a", "one")
    assert recorder.received == []


async def test_a_watch_that_cannot_continue_is_followed_by_a_list(
    kube: Kube, recorder: Recorder
) -> None:
    kube.add(SESSIONS, "a", {"metadata": {"name": "one"}})
    await recorder.until("changed", "a", "one")
    kube.add(SESSIONS, "a", {"metadata": {"name": "two"}})
    kube.forget_history()
    await recorder.until("listed", "a", ["one", "two"])


async def test_an_outage_of_a_namespace_ends_and_does_not_affect_others(
    kube: Kube, recorder: Recorder
) -> None:
    error = ApiUnavailableError("connection refused")
    kube.failing["a"] = error
    kube.forget_history()
    await recorder.until("failed", "a", error)
    await recorder.until("listed", "b", [])
    kube.add(SESSIONS, "b", {"metadata": {"name": "one"}})
    await recorder.until("changed", "b", "one")
    kube.failing.clear()
    await recorder.until("listed", "a", [])


@pytest.mark.parametrize(
    ("error", "is_expected"),
    [
        pytest.param(ApiError(403, "Forbidden", "no"), True, id="of-the-api-server"),
        pytest.param(KeyError("no"), True, id="of-the-follower"),
        pytest.param(ValueError("no"), False, id="unexpected"),
    ],
)
async def test_an_unexpected_error_is_logged_with_its_traceback(
    kube: Kube,
    recorder: Recorder,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    is_expected: bool,
) -> None:
    recorder.failure = error
    kube.forget_history()
    await recorder.until("failed", "a", error)
    recorder.failure = None
    await recorder.until("listed", "a", [])
    line = next(one for one in caplog.records if "namespace a " in one.getMessage())
    assert line.getMessage() == (
        f"agentsessions of namespace a cannot be watched, retry in 0 s: {error}"
    )
    assert line.levelno == (logging.WARNING if is_expected else logging.ERROR)
    assert bool(line.exc_info) != is_expected


async def test_backoff_grows_with_failures_and_resets_after_a_success(
    kube: Kube, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses, failing = list[float](), ApiUnavailableError("connection refused")

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 7:
            kube.failing.clear()
        if len(pauses) == 8:
            kube.failing["a"] = failing
        if len(pauses) == 10:
            raise asyncio.CancelledError  # Ends the only task of ``follow``.

    async def end(*_: object) -> AsyncIterator[Object]:
        yield {"type": "ERROR", "object": {"code": 410}}

    monkeypatch.setattr("agentrun.kube.list_watch.asyncio.sleep", sleep)
    monkeypatch.setattr(kube, "watch", end)
    kube.failing["a"] = failing
    await follow(kube, SESSIONS, ["a"], Recorder())
    last = PAUSES[-1]
    assert pauses == [*PAUSES, last, last, PAUSES[0], PAUSES[0], PAUSES[1]]


@pytest.mark.parametrize(
    ("problem", "answer"),
    [
        (None, False),
        (ApiError(403, "Forbidden", "no"), True),
        (ApiUnavailableError("no"), False),
        (ValueError("no"), False),
    ],
    ids=["none", "forbidden", "unavailable", "another"],
)
def test_a_namespace_is_forbidden_if_its_objects_are_forbidden(
    problem: Exception | None, answer: bool
) -> None:
    assert is_closed(problem) == answer
