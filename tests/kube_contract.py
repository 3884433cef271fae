"""
What a ``KubeApi`` promises.

The tests are run with the API server in memory (``tests/unit/kube/test_fake.py``) and with a real
one (``tests/apiserver/test_kube.py``), so that the former is no kinder than the latter.
"""

import asyncio
from secrets import token_hex

import pytest

from agentrun.api.v1alpha1 import API_VERSION
from agentrun.kube.api import APPLY_PATCH, JSON_PATCH, KubeApi, Object
from agentrun.kube.errors import ApiError
from agentrun.kube.resources import PODS, RUNS, SESSIONS
from tests.waiting import LATE_SECONDS


def a_session(**more: object) -> Object:
    """Build an AgentSession with a name of its own."""
    return {
        "apiVersion": API_VERSION,
        "kind": "AgentSession",
        "metadata": {"name": f"s-{token_hex(6)}", **more},
        "spec": {"backend": "codex"},
    }


def name_of(obj: Object) -> str:
    """Return the name of an object."""
    return str(obj["metadata"]["name"])


class KubeContract:
    """Tests of the fixture ``kube`` in the fixture ``namespace``."""

    async def test_an_object_that_does_not_exist(self, kube: KubeApi, namespace: str) -> None:
        assert await kube.find(SESSIONS, namespace, "unknown") is None
        with pytest.raises(ApiError) as missing:
            await kube.get(SESSIONS, namespace, "unknown")
        assert missing.value.is_not_found
        assert missing.value.reason == "NotFound"
        with pytest.raises(ApiError) as missing:
            await kube.patch(SESSIONS, namespace, "unknown", {"metadata": {"labels": {"a": "b"}}})
        assert missing.value.is_not_found
        assert await kube.delete(SESSIONS, namespace, "unknown", "uid") is None

    async def test_what_is_created_is_read_with_what_the_api_server_adds(
        self, kube: KubeApi, namespace: str
    ) -> None:
        body = a_session(uid="chosen", resourceVersion=None, labels={"a": "b"})
        created = await kube.create(SESSIONS, namespace, body)
        meta = created["metadata"]
        assert meta["namespace"] == namespace
        assert meta["labels"] == {"a": "b"}
        assert meta["uid"] not in ("", "chosen")
        assert int(meta["resourceVersion"]) > 0
        assert meta["creationTimestamp"]
        assert await kube.get(SESSIONS, namespace, name_of(body)) == created
        assert await kube.find(SESSIONS, namespace, name_of(body)) == created

    async def test_a_name_is_created_once(self, kube: KubeApi, namespace: str) -> None:
        body = a_session()
        await kube.create(SESSIONS, namespace, body)
        with pytest.raises(ApiError) as exists:
            await kube.create(SESSIONS, namespace, body)
        assert exists.value.already_exists
        assert not exists.value.is_conflict
        assert exists.value.reason == "AlreadyExists"

    async def test_a_patch_is_merged(self, kube: KubeApi, namespace: str) -> None:
        body = a_session(labels={"a": "1", "b": "2"}, annotations={"kept": "yes"})
        created = await kube.create(SESSIONS, namespace, body)
        patch = {"metadata": {"labels": {"a": None, "c": "3"}}}
        patched = await kube.patch(SESSIONS, namespace, name_of(body), patch)
        assert patched["metadata"]["labels"] == {"b": "2", "c": "3"}
        assert patched["metadata"]["annotations"] == {"kept": "yes"}
        assert patched["metadata"]["uid"] == created["metadata"]["uid"]
        versions = [int(one["metadata"]["resourceVersion"]) for one in (created, patched)]
        assert versions[0] < versions[1]
        again = await kube.patch(SESSIONS, namespace, name_of(body), patch)
        assert again["metadata"]["resourceVersion"] == patched["metadata"]["resourceVersion"]

    async def test_a_status_is_a_subresource(self, kube: KubeApi, namespace: str) -> None:
        status = {"activeRun": {"name": "r", "uid": "u"}}
        body = {**a_session(), "status": status}
        created = await kube.create(SESSIONS, namespace, body)
        assert not created.get("status")
        patched = await kube.patch(SESSIONS, namespace, name_of(body), {"status": status})
        assert not patched.get("status")
        both = {"status": status, "spec": {"backend": "acp"}}
        patched = await kube.patch(SESSIONS, namespace, name_of(body), both, subresource="status")
        assert patched["status"]["activeRun"] == status["activeRun"]
        assert patched["spec"] == created["spec"]
        emptied = {"status": {"activeRun": None}}
        patched = await kube.patch(
            SESSIONS, namespace, name_of(body), emptied, subresource="status"
        )
        assert "activeRun" not in patched["status"]

    @pytest.mark.parametrize(
        ("field", "status", "reason"),
        [("uid", 422, "Invalid"), ("resourceVersion", 409, "Conflict")],
    )
    async def test_a_patch_has_preconditions(
        self, kube: KubeApi, namespace: str, field: str, status: int, reason: str
    ) -> None:
        body = a_session()
        created = await kube.create(SESSIONS, namespace, body)
        before = created["metadata"][field]
        right = {"metadata": {field: before, "labels": {"a": "1"}}}
        await kube.patch(SESSIONS, namespace, name_of(body), right)
        other = "00000000-0000-0000-0000-000000000000" if field == "uid" else before
        wrong = {"metadata": {field: other, "labels": {"a": "2"}}}
        with pytest.raises(ApiError) as stale:
            await kube.patch(SESSIONS, namespace, name_of(body), wrong)
        assert (stale.value.status, stale.value.reason) == (status, reason)
        assert stale.value.is_stale
        found = await kube.get(SESSIONS, namespace, name_of(body))
        assert found["metadata"]["labels"] == {"a": "1"}

    async def test_an_applied_status_replaces_what_its_manager_applied_before(
        self, kube: KubeApi, namespace: str
    ) -> None:
        name = f"r-{token_hex(6)}"
        spec = {"backend": "codex", "prompt": "Work."}
        run = {"apiVersion": API_VERSION, "kind": "AgentRun"}
        await kube.create(RUNS, namespace, {**run, "metadata": {"name": name}, "spec": spec})
        running = {"status": {"phase": "Running", "attempts": 1}}
        merged = await kube.patch(RUNS, namespace, name, running, subresource="status")

        async def apply(version: str, agent: Object) -> Object:
            metadata = {"name": name, "resourceVersion": version}
            return await kube.patch(
                RUNS,
                namespace,
                name,
                {**run, "metadata": metadata, "status": {"agent": agent}},
                subresource="status",
                content_type=APPLY_PATCH,
                query={"fieldManager": "contract", "force": "true"},
            )

        options = [{"id": "yes", "name": "Yes"}, {"id": "no"}]
        question = {"id": "q1", "text": "May I?", "options": options}
        usage = {"inputTokens": 1, "outputTokens": 2}
        asking = {"attempt": 1, "state": "InputRequired", "question": question, "usage": usage}
        asked = await apply(merged["metadata"]["resourceVersion"], asking)
        assert asked["status"] == {**merged["status"], "agent": asking}
        again = await apply(asked["metadata"]["resourceVersion"], asking)
        assert again["metadata"]["resourceVersion"] == asked["metadata"]["resourceVersion"]
        # An object and a field of another one are omitted, and a list has fewer items.
        shorter = {"id": "q2", "text": "Really?", "options": options[1:]}
        asking = {"state": "InputRequired", "question": shorter, "usage": {"inputTokens": 3}}
        asked = await apply(asked["metadata"]["resourceVersion"], asking)
        assert asked["status"] == {**merged["status"], "agent": asking}
        working = {"attempt": 1, "state": "Working"}
        applied = await apply(asked["metadata"]["resourceVersion"], working)
        assert applied["status"] == {**merged["status"], "agent": working}
        with pytest.raises(ApiError) as stale:
            await apply(asked["metadata"]["resourceVersion"], asking)
        assert (stale.value.status, stale.value.reason) == (409, "Conflict")
        assert (await kube.get(RUNS, namespace, name))["status"] == applied["status"]

    async def test_a_json_patch_replaces_fields_as_a_whole(
        self, kube: KubeApi, namespace: str
    ) -> None:
        body = a_session(labels={"a": "1"}, annotations={"kept": "yes"})
        created = await kube.create(SESSIONS, namespace, body)
        operations = [{"op": "add", "path": "/metadata/labels", "value": {"b": "2"}}]
        patched = await kube.patch(
            SESSIONS, namespace, name_of(body), operations, content_type=JSON_PATCH
        )
        assert patched["metadata"]["labels"] == {"b": "2"}
        assert patched["metadata"]["annotations"] == {"kept": "yes"}
        assert patched["metadata"]["uid"] == created["metadata"]["uid"]

    async def test_only_the_object_with_the_uid_is_deleted(
        self, kube: KubeApi, namespace: str
    ) -> None:
        body = a_session()
        created = await kube.create(SESSIONS, namespace, body)
        assert await kube.delete(SESSIONS, namespace, name_of(body), "another") is None
        assert await kube.find(SESSIONS, namespace, name_of(body)) == created
        uid = created["metadata"]["uid"]
        assert await kube.delete(SESSIONS, namespace, name_of(body), uid) is not None
        assert await kube.find(SESSIONS, namespace, name_of(body)) is None
        again = await kube.create(SESSIONS, namespace, body)
        assert again["metadata"]["uid"] != uid

    async def test_selectors_select(self, kube: KubeApi, namespace: str) -> None:
        mark = token_hex(4)
        one, other = a_session(labels={mark: "1"}), a_session(labels={mark: "2", "more": "x"})
        for body in (one, other, a_session()):
            await kube.create(SESSIONS, namespace, body)

        async def names(**selectors: str) -> set[str]:
            found, version = await kube.list(SESSIONS, namespace, **selectors)
            assert int(version) > 0
            return {name_of(session) for session in found}

        assert await names() > {name_of(one), name_of(other)}
        assert await names(labels=mark) == {name_of(one), name_of(other)}
        assert await names(labels=f"{mark}=2") == {name_of(other)}
        assert await names(labels=f"{mark},more=x") == {name_of(other)}
        assert await names(fields=f"metadata.name={name_of(one)}") == {name_of(one)}
        everywhere, _ = await kube.list(SESSIONS.in_all_namespaces, "", labels=mark)
        assert {name_of(session) for session in everywhere} == {name_of(one), name_of(other)}

    async def test_a_watch_goes_on_where_a_list_ended(self, kube: KubeApi, namespace: str) -> None:
        body = a_session()
        await kube.create(SESSIONS, namespace, a_session())
        _, version = await kube.list(SESSIONS, namespace)
        created = await kube.create(SESSIONS, namespace, body)
        patch = {"metadata": {"labels": {"a": "1"}}}
        patched = await kube.patch(SESSIONS, namespace, name_of(body), patch)
        seen: list[Object] = []

        async def watch() -> None:
            async for event in kube.watch(SESSIONS, namespace, version, 60):
                if event["type"] != "BOOKMARK":
                    seen.append(event)
                if len(seen) == 2:
                    await kube.delete(
                        SESSIONS, namespace, name_of(body), patched["metadata"]["uid"]
                    )
                if len(seen) == 3:
                    return

        async with asyncio.timeout(LATE_SECONDS):
            await watch()
        assert [event["type"] for event in seen] == ["ADDED", "MODIFIED", "DELETED"]
        assert [event["object"] for event in seen[:2]] == [created, patched]
        assert name_of(seen[2]["object"]) == name_of(body)
        versions = [int(event["object"]["metadata"]["resourceVersion"]) for event in seen]
        assert versions == sorted(set(versions))

    async def test_a_pod_on_a_node_stays_until_its_node_confirms_its_end(
        self, kube: KubeApi, namespace: str
    ) -> None:
        name = f"p-{token_hex(6)}"
        containers = [{"name": "c", "image": "none"}]
        spec = {"nodeName": "no-such-node", "containers": containers}
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
        created = await kube.create(PODS, namespace, body)
        uid = created["metadata"]["uid"]
        deleted = await kube.delete(PODS, namespace, name, uid)
        assert deleted is not None
        found = await kube.get(PODS, namespace, name)
        assert found["metadata"]["deletionTimestamp"]
        # A second deletion changes nothing.
        assert await kube.delete(PODS, namespace, name, uid) is not None
        again = await kube.get(PODS, namespace, name)
        assert again["metadata"]["deletionTimestamp"] == found["metadata"]["deletionTimestamp"]
