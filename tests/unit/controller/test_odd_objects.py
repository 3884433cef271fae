"""Objects that the API server has and the operator cannot read: everything else goes on."""

import asyncio
from typing import Any

import pytest
from hypothesis import given

from agentrun.controller.caches import Caches
from agentrun.kube.client import read_answer
from agentrun.kube.resources import PODS, PROFILES, RUNS, SESSIONS, Resource
from tests.objects import QUIETLY, nested, objects, written
from tests.unit.controller.operators import Operator, a_profile_object, a_run_object

BAD = ("ns", "bad")


@pytest.mark.parametrize(
    "metadata", [nested(205), nested(3000), {"a": "b\0c"}], ids=["deep", "bottomless", "nul"]
)
async def test_an_unreadable_run_is_rejected_and_the_others_proceed(metadata: Any) -> None:
    operator = Operator()
    operator.api.put(PROFILES, a_profile_object())
    operator.api.put(RUNS, a_run_object("good"))
    bad = read_answer(written(a_run_object("bad") | _with(metadata)).encode())
    operator.api.put(RUNS, bad)
    await operator.reconcile(BAD)
    await operator.reconcile(("ns", "good"))
    status = operator.run("bad").status
    assert (status.phase, status.reason) == ("Failed", "Unreadable")
    assert "cannot be read as it is" in (status.message or "")
    assert operator.run("good").status.phase == "Starting"
    assert "agentruns ns/bad" in operator.caches.quarantine.describe()
    operator.close()


def _with(metadata: Any) -> dict[str, Any]:
    return {"spec": {"backend": "codex", "prompt": "p", "metadata": metadata}}


@pytest.mark.parametrize("kind", [RUNS, SESSIONS, PROFILES, PODS])
async def test_an_unreadable_object_is_quarantined_until_it_is_deleted(kind: Resource) -> None:
    caches = Caches()
    odd = {"metadata": {"name": "odd", "namespace": "ns"}, "spec": 7}
    good = {"metadata": {"name": "good", "namespace": "ns", "uid": "g"}, "spec": {"backend": "x"}}
    await caches.of(kind).replace("ns", [odd, None, good], 5)
    assert caches.of(kind).get(("ns", "good")) is not None
    assert caches.quarantine.names(kind.plural, "ns") == {"odd", ""}
    await caches.of(kind).replace("ns", [good], 6)
    assert not len(caches.quarantine)


async def test_a_profile_that_violates_its_schema_blocks_only_its_own_runs() -> None:
    operator = Operator()
    operator.api.put(PROFILES, a_profile_object())
    other = {"metadata": {"name": "other"}, "spec": {"backend": 7}}
    operator.api.put(PROFILES, other)
    operator.api.put(RUNS, a_run_object("good"))
    operator.api.put(RUNS, a_run_object("held", profile="other"))
    await operator.reconcile(("ns", "held"))
    await operator.reconcile(("ns", "good"))
    assert operator.run("good").status.phase == "Starting"
    assert "agentprofiles" in operator.caches.quarantine.describe()
    operator.close()


@pytest.mark.parametrize("plural", ["agentruns", "agentsessions", "agentprofiles"])
def test_whatever_the_schema_allows_is_cached_or_quarantined(plural: str) -> None:
    kind = {"agentruns": RUNS, "agentsessions": SESSIONS}.get(plural, PROFILES)

    @QUIETLY
    @given(objects(plural))
    def take(made: dict[str, Any]) -> None:
        told = list[str]()
        caches = Caches(lambda _, kind, obj: told.append(obj["metadata"]["name"]))
        meta = {"namespace": "ns", "resourceVersion": "1"}
        listed = {
            "items": [
                {"metadata": {**meta, "name": "odd", "uid": "o"}, **made},
                {"metadata": {**meta, "name": "good", "uid": "g"}, "spec": {"backend": "codex"}},
            ]
        }
        items = read_answer(written(listed).encode())["items"]
        asyncio.run(caches.of(kind).replace("ns", items, 5))
        assert "good" in told

    take()
