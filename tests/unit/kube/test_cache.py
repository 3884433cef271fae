"""A cache is as new as the newest that it was told, whatever the order."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from agentrun.api.quarantine import UNREADABLE, Quarantine
from agentrun.kube import cache as module
from agentrun.kube.api import Object
from agentrun.kube.cache import ObjectCache, version_number
from agentrun.kube.resources import RUNS
from tests.objects import QUIETLY, nested

NAMESPACE = "ns"


def an_object(name: str, version: int, uid: str = "", team: Any = "red") -> Object:
    meta = {"namespace": NAMESPACE, "uid": uid or f"uid-{name}", "resourceVersion": str(version)}
    return {"metadata": {"name": name, **meta}, "spec": {"team": team}}


def team_of(obj: Object) -> Any:
    return obj["spec"]["team"]


def a_cache(on_change: Callable[[Object], None] = lambda obj: None) -> ObjectCache[Object]:
    return ObjectCache(
        RUNS, lambda obj: obj, Quarantine(), indexes={"team": team_of}, on_change=on_change
    )


def versions(cache: ObjectCache[Object]) -> dict[str, str]:
    return {one["metadata"]["name"]: one["metadata"]["resourceVersion"] for one in cache}


def team(cache: ObjectCache[Object], value: str) -> list[str]:
    return [one["metadata"]["name"] for one in cache.by_index("team", value)]


def quarantined(cache: ObjectCache[Object]) -> dict[str, str]:
    return {one.name: one.reason for one in cache._quarantine.of(RUNS.plural, [NAMESPACE])}


@pytest.mark.parametrize("version", [1, 2])
def test_an_object_that_is_not_newer_is_ignored(version: int) -> None:
    told = list[Object]()
    cache = a_cache(told.append)
    assert cache.put(NAMESPACE, an_object("a", 2))
    assert not cache.put(NAMESPACE, an_object("a", version))
    assert versions(cache) == {"a": "2"}
    assert len(told) == 1


def test_a_deleted_object_does_not_return_but_another_of_its_name_may() -> None:
    cache = a_cache()
    cache.put(NAMESPACE, an_object("a", 1))
    assert cache.remove(NAMESPACE, "a", "uid-a")
    assert not cache.put(NAMESPACE, an_object("a", 9))
    assert cache.get((NAMESPACE, "a")) is None
    assert cache.put(NAMESPACE, an_object("a", 3, "another"))
    assert not cache.remove(NAMESPACE, "a", "uid-a"), "this is the deletion of the earlier one"
    assert versions(cache) == {"a": "3"}


def test_an_object_replaced_by_another_of_its_name_does_not_return() -> None:
    cache = a_cache()
    cache.put(NAMESPACE, an_object("a", 1))
    cache.put(NAMESPACE, an_object("a", 3, "another"))
    cache.remove(NAMESPACE, "a", "another")
    assert not cache.put(NAMESPACE, an_object("a", 2))
    assert versions(cache) == {}


def test_a_deletion_that_precedes_its_object_is_respected() -> None:
    cache = a_cache()
    assert not cache.remove(NAMESPACE, "a", "uid-a")
    assert not cache.put(NAMESPACE, an_object("a", 1))


def test_the_number_of_remembered_deletions_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TOMBSTONES", 2)
    cache = a_cache()
    for name in "abc":
        cache.remove(NAMESPACE, name, f"uid-{name}")
    assert [name for name in "abc" if cache.put(NAMESPACE, an_object(name, 1))] == ["a"]


def test_a_manifest_without_a_uid_reports_the_deletion_by_its_name() -> None:
    cache = a_cache()
    cache.put(NAMESPACE, an_object("a", 1))
    assert cache.remove(NAMESPACE, "a", "")
    assert versions(cache) == {}


async def test_objects_missing_from_a_list_are_removed_unless_newer() -> None:
    told = list[str]()
    cache = a_cache(lambda obj: told.append(obj["metadata"]["name"]))
    for name, version in (("a", 1), ("b", 2), ("newer", 7)):
        cache.put(NAMESPACE, an_object(name, version))
    cache.put("other", an_object("elsewhere", 1))
    told.clear()
    await cache.replace(NAMESPACE, [an_object("b", 2), an_object("c", 4)], 5)
    assert versions(cache) == {"b": "2", "c": "4", "newer": "7", "elsewhere": "1"}
    assert [one["metadata"]["name"] for one in cache.in_namespace("other")] == ["elsewhere"]
    assert told == ["c", "a"]
    assert not cache.put(NAMESPACE, an_object("a", 9)), "its uid is known to be deleted"


async def test_a_long_list_lets_other_tasks_run() -> None:
    cache, turns = a_cache(), 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    await cache.replace(NAMESPACE, [an_object(f"o-{number}", 1) for number in range(1000)], 1)
    counting.cancel()
    assert turns >= 9


def test_an_index_follows_changes_and_deletions() -> None:
    cache = a_cache()
    for name in "abc":
        cache.put(NAMESPACE, an_object(name, 1))
    cache.put(NAMESPACE, an_object("a", 2))
    assert team(cache, "red") == ["a", "b", "c"]
    cache.put(NAMESPACE, an_object("a", 3, team="blue"))
    cache.put(NAMESPACE, an_object("b", 3, team=None))
    assert (team(cache, "red"), team(cache, "blue")) == (["c"], ["a"])
    cache.remove(NAMESPACE, "a", "uid-a")
    assert team(cache, "blue") == []
    cache.put(NAMESPACE, an_object("a", 4, "another", team="red"))
    assert team(cache, "red") == ["c", "a"]
    assert list(cache._indexes) == [("team", "red")], "no values are kept of which nothing is left"


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param({"spec": 7}, id="of-another-type"),
        pytest.param({"spec": {"team": {}}}, id="not-to-be-indexed"),
        pytest.param({}, id="without"),
    ],
)
def test_an_unreadable_object_is_quarantined_until_it_is_readable(odd: Object) -> None:
    told = list[Object]()
    cache = a_cache(told.append)
    broken = {**odd, "metadata": an_object("a", 2)["metadata"]}
    cache.put(NAMESPACE, an_object("a", 1))
    assert not cache.put(NAMESPACE, broken)
    assert versions(cache) == {}, "an older version would be taken for the current one"
    assert team(cache, "red") == []
    assert len(told) == 2
    assert quarantined(cache)["a"].startswith("it does not match its schema: ")
    assert cache.put(NAMESPACE, an_object("a", 3))
    assert quarantined(cache) == {}
    assert not cache.put(NAMESPACE, broken)
    assert versions(cache) == {"a": "3"}, "it comes late"
    assert quarantined(cache) == {}


async def test_a_malformed_object_is_quarantined_until_no_list_contains_it() -> None:
    cache = a_cache()
    without_uid = {"metadata": {"name": "odd", "namespace": NAMESPACE}, "spec": {"team": "red"}}
    await cache.replace(NAMESPACE, [without_uid, None, 7, an_object("good", 1)], 5)
    assert versions(cache) == {"good": "1"}
    assert set(quarantined(cache)) == {"odd", ""}
    await cache.replace(NAMESPACE, [an_object("good", 1)], 6)
    assert quarantined(cache) == {}


def test_an_unreadable_object_is_released_once_it_is_deleted() -> None:
    cache = a_cache()
    cache.put(NAMESPACE, an_object("a", 1, team={}))
    assert set(quarantined(cache)) == {"a"}
    assert not cache.remove(NAMESPACE, "a", "uid-a")
    assert quarantined(cache) == {}


def test_a_partly_readable_object_is_cached_and_quarantined() -> None:
    cache = a_cache()
    deep = an_object("a", 1)
    deep["spec"]["metadata"] = nested(205)
    deep["metadata"]["managedFields"] = [{"manager": "kubectl"}]
    assert cache.put(NAMESPACE, deep)
    cached = cache.get((NAMESPACE, "a"))
    assert cached is not None
    assert UNREADABLE in cached["metadata"]["annotations"]
    assert "managedFields" not in cached["metadata"]
    assert set(quarantined(cache)) == {"a"}


def test_a_model_explains_why_an_object_cannot_be_read() -> None:
    class Team(BaseModel):
        spec: dict[str, str]

    cache = ObjectCache(RUNS, Team.model_validate, Quarantine())
    assert cache.put(NAMESPACE, an_object("a", 1))
    assert cache.in_namespace(NAMESPACE) == [Team(spec={"team": "red"})]
    assert not cache.put(NAMESPACE, an_object("a", 2, team=7))
    (reason,) = (one.reason for one in cache._quarantine.of(RUNS.plural, [NAMESPACE]))
    assert reason.startswith("it cannot be read: 1 validation error for Team")


def test_an_object_whose_change_cannot_be_handled_is_quarantined_and_stays_cached() -> None:
    def refuse(obj: Object) -> None:
        raise LookupError("of another object")

    cache = a_cache(refuse)
    cache.put(NAMESPACE, an_object("a", 1))
    assert versions(cache) == {"a": "1"}
    assert "of another object" in quarantined(cache)["a"]


@pytest.mark.parametrize(
    ("text", "number"), [("12", 12), ("0", 0), ("", 0), ("x1", 0), (None, 0), (7, 0)]
)
def test_an_invalid_version_counts_as_the_oldest(text: Any, number: int) -> None:
    assert version_number(text) == number


VALUES: list[Any] = ["red", "blue", None, {}, "gone"]
STEPS = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(VALUES)), max_size=12)


@QUIETLY
@given(STEPS, st.data())
def test_changes_in_any_order_converge_to_the_state_of_the_api_server(
    steps: list[tuple[str, Any]], data: st.DataObject
) -> None:
    there, news, uids = dict[str, Object](), list[tuple[bool, Object]](), dict[str, int]()
    for version, (name, value) in enumerate(steps, start=1):
        if value == "gone":
            if name in there:
                news.append((True, there.pop(name)))
            continue
        if name not in there:
            uids[name] = uids.get(name, 0) + 1
        there[name] = an_object(name, version, f"{name}-{uids[name]}", value)
        news.append((False, there[name]))
    cache, seen = a_cache(), dict[str, int]()
    for is_gone, obj in data.draw(st.permutations(news + news[:3])):
        meta = obj["metadata"]
        if is_gone:
            cache.remove(NAMESPACE, meta["name"], meta["uid"])
        else:
            cache.put(NAMESPACE, obj)
        for one in cache:
            uid, version = one["metadata"]["uid"], int(one["metadata"]["resourceVersion"])
            assert seen.get(uid, 0) <= version
            seen[uid] = version
    asyncio.run(cache.replace(NAMESPACE, list(there.values()), len(steps)))
    readable = {name: one for name, one in there.items() if team_of(one) != {}}
    assert {one["metadata"]["name"]: one for one in cache} == readable
    for value in ("red", "blue"):
        assert set(team(cache, value)) == {
            name for name, one in readable.items() if team_of(one) == value
        }
    assert set(quarantined(cache)) == set(there) - set(readable)
